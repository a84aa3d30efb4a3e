"""How a stage runs: messages, progress, locks. What is set here counts for the libraries that are loaded after it."""

import gc
import os

# Loading torch and MLflow makes a million objects, among which Python would look for garbage hundreds of times: with
# gc.freeze in stages/cli/stage.py, train starts and ends in 5 s instead of 8
gc.set_threshold(10_000)

# The threads of torch's OpenMP (libgomp) wait for each other hundreds of times a second, and by default they spin while
# they wait, which a busy neighbour turns into a slowdown, tenfold on some processors: benchmarks/neighbour.py
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
