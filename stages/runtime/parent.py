"""What becomes of a stage when the process that started it dies."""

import ctypes
import os
import signal
import sys


def end_with_parent() -> None:
    """Have Linux send SIGTERM when DVC dies, so that no stage goes on unseen beside the next `dvc repro`.

    DVC may be dead by now, as imports take seconds. It starts stages in its own process group, and init has another.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG, see prctl(2)
    if os.getppid() != parent or ("DVC_STAGE" in os.environ and os.getpgid(parent) != os.getpgrp()):
        raise SystemExit(128 + signal.SIGTERM)
