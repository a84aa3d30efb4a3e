"""How a stage runs: messages, progress, locks. What is set here is read by torch when that is loaded, later."""

import os

# The threads of torch's OpenMP (libgomp) wait for each other hundreds of times a second, and by default they spin while
# they wait, which a busy neighbour turns into a slowdown, tenfold on some processors: benchmarks/neighbour.py
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
