"""The pipeline. What is set here is read by libraries when they are loaded, so it comes before any of them."""

import os

# The threads of torch's OpenMP (libgomp) wait for each other hundreds of times a second, and by default they spin while
# they wait, which a busy neighbour on the same cores turns into a tenfold slowdown: benchmarks/neighbour.py
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
