"""How a stage runs: messages, progress, locks. What is set here counts for the libraries that are loaded after it."""

import ctypes
import gc
import os
import sys

# Loading torch and MLflow makes a million objects, among which Python would look for garbage hundreds of times: with
# gc.freeze in stages/cli/stage.py, train starts and ends in 5 s instead of 8
gc.set_threshold(10_000)

# The threads of torch's OpenMP (libgomp) wait for each other hundreds of times a second, and by default they spin while
# they wait, which a busy neighbour turns into a slowdown, tenfold on some processors: benchmarks/neighbour.py
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# By default glibc gives a large tensor back to Linux as soon as it is freed, and gets each page of the next one anew,
# zeroed: without that, training is a tenth faster and computing features a third. ResNet-50 needs 5.3 GB instead of 4.1
if sys.platform == "linux":
    for option, size in {-3: 1 << 30, -1: (1 << 31) - 1}.items():  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, mallopt(3)
        getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)(option, size)  # other C libraries do not have it
