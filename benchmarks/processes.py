"""Whole processes, measured from outside."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """What a process used, with all the processes that it waited for.

    peak_mib: memory of the largest one. lines: what was printed, each with the second at which it was.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float
    lines: list[tuple[float, str]]


# Linux counts into the memory of a process that of the one it was forked from, here with torch: so a small one forks it
LAUNCH = """
import os, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=file)
sys.exit(status)
"""


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Usage:
    """Run a command to its end. Raises RuntimeError, with what it printed last, when it fails."""
    with tempfile.NamedTemporaryFile("r") as file:
        launch = [sys.executable, "-S", "-c", LAUNCH, file.name, *command]
        started = time.perf_counter()
        with subprocess.Popen(
            launch, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout
            lines = [(time.perf_counter() - started, line.rstrip()) for line in process.stdout]
        wall_s = time.perf_counter() - started
        if process.returncode:
            last = "\n".join(line for _, line in lines[-20:])
            raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}\n{last}")
        cpu_s, peak_kib = map(float, file.read().split())
    return Usage(wall_s, cpu_s, peak_kib / 1024, lines)


def alternate(commands: Mapping[str, Callable[[], Usage]], rounds: int) -> dict[str, list[Usage]]:
    """Run every command once a round, in turn, so that a machine whose speed drifts is as fast for one as for another.

    Returns: what each used, round by round.
    """
    used: dict[str, list[Usage]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            used[name].append(command())
            print(".", end="", flush=True, file=sys.stderr)
    return used


@contextmanager
def start_busy() -> Iterator[None]:
    """A process that only counts, as a neighbour."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            yield
        finally:
            busy.kill()
