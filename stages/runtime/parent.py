"""What becomes of a stage when the process that started it dies."""

import ctypes
import os
import signal
import sys

LAUNCHER = "LAUNCHER_PID"  # the environment variable that names the process to which a rank of a training belongs


def end_with_parent() -> None:
    """Have Linux send SIGTERM when DVC dies, so that no stage goes on unseen beside the next `dvc repro`.

    DVC may be dead by now, as imports take seconds. It starts stages in its own process group, and init has another.
    torchrun starts ranks in sessions of their own.
    """
    parent = os.getppid()
    if launcher := os.environ.pop(LAUNCHER, ""):
        orphaned = parent != int(launcher)
    else:
        orphaned = "DVC_STAGE" in os.environ and os.getpgid(parent) != os.getpgrp()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG, see prctl(2)
    if os.getppid() != parent or orphaned:
        raise SystemExit(128 + signal.SIGTERM)
