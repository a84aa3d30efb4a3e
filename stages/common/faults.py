"""Places at which the tests pull the plug."""

import os
import signal


def kill_point(place: str) -> None:
    """Send a signal when the environment's ``KILL_AT`` names this place.

    ``KILL_AT=<place>``: SIGKILL, as a power cut would; ``KILL_AT=SIGTERM:<place>``: that signal;
    ``KILL_AT=dvc:<place>``: SIGKILL to the process that started this one.
    """
    how, _, where = os.environ.get("KILL_AT", "").rpartition(":")
    if where != place:
        return
    target = os.getppid() if how == "dvc" else os.getpid()
    os.kill(target, signal.Signals[how] if how.startswith("SIG") else signal.SIGKILL)
