"""Forks that work for a process: real ones, and real signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
import torch

from stages.runtime import workers
from stages.runtime.errors import INTERRUPTED, UserError
from stages.runtime.workers import map_in_forks
from tests.conftest import ROOT

PROGRAM = """
import os, time
from stages.cli.stage import run_stage
from stages.runtime import workers

def work(seconds):
    os.write(1, f"{os.getpid()}\\n".encode())  # as a whole
    time.sleep(seconds)

workers.cpu_count = lambda: 2
run_stage(lambda: workers.map_in_forks(work, [SECONDS, 0]))
"""


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cpu_count", lambda: 2)


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A stage, in a process group of its own, one of whose two workers takes so many seconds."""
    command = [sys.executable, "-c", PROGRAM.replace("SECONDS", str(request.param))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        yield process
        process.kill()


def read_workers(stage: subprocess.Popen[str]) -> list[psutil.Process]:
    """One at work, and one that has nothing left to do."""
    assert stage.stdout is not None
    forks = [psutil.Process(int(stage.stdout.readline())) for _ in range(2)]
    time.sleep(0.2)
    return forks


def multiply(a: int, b: int) -> tuple[int, int]:
    return a * b, os.getpid()


def test_results_come_in_order_from_other_processes() -> None:
    products, pids = zip(*map_in_forks(multiply, range(9), range(9), chunk=2), strict=True)
    assert list(products) == [number**2 for number in range(9)]
    assert os.getpid() not in pids and len(set(pids)) <= 2


def test_one_call_takes_no_fork() -> None:
    assert map_in_forks(multiply, [3], [4]) == [(12, os.getpid())]
    assert map_in_forks(multiply, range(3), range(3), chunk=3)[2] == (4, os.getpid())
    assert map_in_forks(multiply, [], []) == []


def compute(size: int) -> float:
    return float((torch.eye(size) @ torch.eye(size)).sum())


def test_torch_works_in_forks_of_a_process_whose_threads_have_worked() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert compute(1000) == 1000
        assert map_in_forks(compute, [1000, 999]) == [1000, 999]
    finally:
        torch.set_num_threads(before)


def refuse(number: int) -> None:
    raise UserError(f"no {number}")


def test_what_a_call_raises_is_raised() -> None:
    with pytest.raises(UserError, match="no 1"):
        map_in_forks(refuse, [1, 2])


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_an_error_that_says_so() -> None:
    with pytest.raises(UserError, match="a worker process was killed"):
        map_in_forks(die, [1, 2])


@pytest.mark.parametrize("stage", [60], indirect=True)
def test_workers_end_with_the_process_that_started_them(stage: subprocess.Popen[str]) -> None:
    forks = read_workers(stage)
    stage.kill()
    assert psutil.wait_procs(forks, timeout=10)[1] == []


@pytest.mark.parametrize("stage", [1], indirect=True)
def test_ctrl_c_ends_in_one_line_after_what_has_begun(stage: subprocess.Popen[str]) -> None:
    forks = read_workers(stage)
    os.killpg(stage.pid, signal.SIGINT)
    _, message = stage.communicate(timeout=20)
    assert (stage.returncode, message) == (130, f": {INTERRUPTED}\n")
    assert not any(fork.is_running() for fork in forks)
