"""Work on all cores, in forks of this process: they have its libraries, which take seconds to import."""

import signal
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from joblib import cpu_count

from stages.runtime.errors import UserError
from stages.runtime.parent import end_with_parent

Result = TypeVar("Result")


def map_in_forks(function: Callable[..., Result], *arguments: Iterable[Any], chunk: int = 1) -> list[Result]:
    """As `map` does, in order; a process gets ``chunk`` calls at a time, and torch has one thread there.

    Raises what the function raises, and UserError when a process is killed.
    """
    calls = list(zip(*arguments, strict=True))
    processes = min(cpu_count(), -(-len(calls) // chunk))
    if processes < 2:
        return [function(*call) for call in calls]
    try:
        with ProcessPoolExecutor(processes, get_context("fork"), _prepare) as pool:
            return list(pool.map(function, *zip(*calls, strict=True), chunksize=chunk))
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, probably because memory was short. Close other programs, or run with "
            "LOKY_MAX_CPU_COUNT=1, which takes longer and needs less."
        ) from error


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started it has it as well, and waits for the job
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # a fork has lost the others, and would wait for them
