"""Turns at this machine's cores. What two computations with as many threads as cores cost each other without them:
benchmarks/neighbour.py.
"""

import ctypes
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from joblib import cpu_count

from stages.runtime.errors import UserError
from stages.runtime.locks import try_lock

FOLDER = Path(tempfile.gettempdir(), f"dvc-cores-{os.getuid()}")  # of this machine, as its cores are
POLL = 0.01  # seconds between two tries
PATIENCE = 10.0  # seconds, after which whoever holds the cores is taken to be suspended
LONG = 1.0  # seconds; after a turn as long as this, other processes come first


@contextmanager
def take_turn(threads: int) -> Iterator[None]:
    """Compute with ``threads`` threads when as many cores are free of others who ask here: processes of the same user.

    It decides when and on which core something is computed, never what. Who has waited for long goes on all the same.
    With TURNS=0 in the environment nobody waits.
    """
    patience = 0.0 if os.environ.get("TURNS") == "0" else PATIENCE
    deadline, available = time.monotonic() + patience, cpu_count()
    with ExitStack() as cores:
        while not _try_cores(min(threads, available), available, cores) and time.monotonic() < deadline:
            time.sleep(POLL)
        started = time.monotonic()
        with _bind_threads(threads):
            yield
    if time.monotonic() - started > LONG:
        time.sleep(3 * POLL)


def _try_cores(needed: int, available: int, cores: ExitStack) -> bool:
    """Lock the files of so many cores, or none. True as well where there is no place for such files."""
    try:
        FOLDER.mkdir(mode=0o700, exist_ok=True)
        if FOLDER.lstat().st_uid != os.getuid():  # made by somebody else, who could put links to our files there
            return True
        for number in range(available):
            if needed and (lock := try_lock(FOLDER / str(number))):
                cores.enter_context(lock)
                needed -= 1
    except (OSError, UserError):
        return True
    if needed:
        cores.close()
    return not needed


@contextmanager
def _bind_threads(threads: int) -> Iterator[None]:
    """Keep each of torch's threads on a core of its own, where they need all cores.

    Beside a busy process they would be moved to and fro hundreds of times a second, and find their caches empty.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if threads < max(2, len(cores)) or threads > len(cores):
        yield
        return
    openmp = ctypes.CDLL("libgomp.so.1")  # torch has loaded it

    def bind(_: None) -> None:
        os.sched_setaffinity(0, {cores[openmp.omp_get_thread_num()]})

    openmp.GOMP_parallel(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(bind), None, threads, 0)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)  # of this thread, as those that it starts inherit it
