"""Work on all cores, in forks of this process, which have its libraries, or in its threads."""

import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from joblib import cpu_count

from stages.runtime.errors import UserError
from stages.runtime.parent import end_with_parent

Argument = TypeVar("Argument")
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


def map_in_threads(
    function: Callable[[Argument], Result], arguments: Iterable[Argument], threads: int | None = None
) -> Iterator[Result]:
    """As `map` does, in order, in threads that are a few calls ahead of who reads. None: a thread per core.

    For what leaves the interpreter alone, such as reading and decoding. Few results wait, whatever their number in all.
    """
    count = threads or cpu_count()
    with ThreadPoolExecutor(count) as pool:
        waiting: deque[Future[Result]] = deque()
        for argument in arguments:
            waiting.append(pool.submit(function, argument))
            if len(waiting) > 2 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started it has it as well, and waits for the job
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # a fork has lost the others, and would wait for them
