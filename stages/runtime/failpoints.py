"""Places at which the tests kill a stage."""

import os
import signal


def failpoint(place: str) -> None:
    """Send a signal when the environment's ``FAILPOINT`` names this place.

    ``FAILPOINT=<place>``: SIGKILL, as a power cut would; ``FAILPOINT=SIGTERM:<place>``: that signal;
    ``FAILPOINT=dvc:<place>``: SIGKILL to the process that started this one.
    """
    how, _, where = os.environ.get("FAILPOINT", "").rpartition(":")
    if where != place:
        return
    target = os.getppid() if how == "dvc" else os.getpid()
    os.kill(target, signal.Signals[how] if how.startswith("SIG") else signal.SIGKILL)
