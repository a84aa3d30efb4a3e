"""Places at which the tests kill a stage."""

import os
import signal


def failpoint(place: str) -> None:
    """Send a signal when the environment's ``FAILPOINT`` names this place.

    ``FAILPOINT=<place>``: SIGKILL, as a power cut would; ``FAILPOINT=SIGTERM:<place>``: that signal;
    ``FAILPOINT=dvc:<place>``: SIGKILL to the process that started this one. Of several processes of one training, all
    but the first have places of their own: ``<place> rank 1``.
    """
    how, _, where = os.environ.get("FAILPOINT", "").rpartition(":")
    rank = os.environ.get("RANK", "0")
    if where != (place if rank == "0" else f"{place} rank {rank}"):
        return
    target = os.getppid() if how == "dvc" else os.getpid()
    os.kill(target, signal.Signals[how] if how.startswith("SIG") else signal.SIGKILL)
