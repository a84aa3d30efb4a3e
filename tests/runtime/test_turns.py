"""Trainings take turns at the cores: real processes, and the times at which they compute."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from stages.runtime import turns
from stages.runtime.turns import take_turn
from tests.conftest import ROOT

PROGRAM = """
import sys, time
from pathlib import Path
from stages.runtime import turns
turns.FOLDER, turns.cpu_count, turns.LONG = Path(sys.argv[1]), lambda: 4, 0.1
for _ in range(int(sys.argv[3])):
    with turns.take_turn(int(sys.argv[2])):
        started = time.monotonic()
        print("turn", flush=True)
        time.sleep(float(sys.argv[4]))
        print(started, time.monotonic(), flush=True)
"""


def start(folder: Path, threads: int, turns: int = 5, seconds: float = 0.05) -> subprocess.Popen[str]:
    """A process that computes in turns on a machine of four cores."""
    command = [sys.executable, "-c", PROGRAM, str(folder), str(threads), str(turns), str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def read_times(processes: list[subprocess.Popen[str]]) -> list[list[tuple[float, float]]]:
    """When the turns of each process began and ended."""
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes)
    lines = [[line.split() for line in output.splitlines() if line != "turn"] for output in outputs]
    return [[(float(begin), float(end)) for begin, end in found] for found in lines]


def count_most_at_once(times: list[list[tuple[float, float]]]) -> int:
    """The largest number of turns at one moment."""
    every = [turn for found in times for turn in found]
    return max(sum(begin <= moment < end for begin, end in every) for moment, _ in every)


@pytest.mark.parametrize(("threads", "most"), [(1, 4), (2, 2), (3, 1), (99, 1)])
def test_no_more_threads_than_cores_compute_at_once(tmp_path: Path, threads: int, most: int) -> None:
    times = read_times([start(tmp_path, threads) for _ in range(most + 1)])
    assert [len(found) for found in times] == [5] * (most + 1)
    assert count_most_at_once(times) <= most


def test_after_a_long_turn_others_come_first(tmp_path: Path) -> None:
    first = start(tmp_path, 4, turns=15, seconds=0.12)
    assert first.stdout
    first.stdout.readline()
    second = start(tmp_path, 4, turns=3, seconds=0.12)
    times = read_times([first, second])
    assert times[1][-1][1] < times[0][-1][0], "the second waited until the first had ended"


def test_a_killed_process_leaves_its_cores(tmp_path: Path) -> None:
    holder = start(tmp_path, 4, seconds=600)
    assert holder.stdout
    holder.stdout.readline()
    waiting = start(tmp_path, 4, turns=1)
    holder.kill()
    ended = time.monotonic()
    ((begin, _),) = read_times([waiting])[0]
    assert begin < ended + turns.PATIENCE / 2
    holder.communicate()


def test_nobody_waits_forever_for_a_suspended_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "FOLDER", tmp_path)
    monkeypatch.setattr(turns, "cpu_count", lambda: 4)
    monkeypatch.setattr(turns, "PATIENCE", 0.2)
    holder = start(tmp_path, 1, seconds=600)
    assert holder.stdout
    holder.stdout.readline()
    holder.send_signal(signal.SIGSTOP)
    for threads, waits in [(3, False), (4, True)]:
        began = time.monotonic()
        with take_turn(threads):
            assert (time.monotonic() - began >= 0.2) == waits
    holder.kill()
    holder.communicate()


def test_without_a_place_for_lock_files_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(turns, "FOLDER", tmp_path / "file")
    with take_turn(1), take_turn(1):
        pass


@pytest.mark.parametrize(("own", "waits"), [({"TURNS": "0"}, False), ({}, True)])
def test_who_has_cores_of_its_own_waits_for_nobody(
    own: dict[str, str], waits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FOLDER": tmp_path / "cores", "cpu_count": lambda: 1}.items():
        monkeypatch.setattr(turns, name, value)
    monkeypatch.setattr(turns, "PATIENCE", 0.1)
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    with take_turn(1), take_turn(1):
        assert bool(waited) == waits


def test_a_folder_of_another_user_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    folder = tmp_path / "cores"
    folder.mkdir()
    (folder / "0").symlink_to(victim)
    monkeypatch.setattr(turns, "FOLDER", folder)
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    with take_turn(1):
        assert victim.read_text() == "kept"


def read_affinities() -> list[set[int]]:
    return [os.sched_getaffinity(int(thread.name)) for thread in Path("/proc/self/task").iterdir()]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot bind threads")
def test_threads_that_need_all_cores_have_one_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "FOLDER", tmp_path)
    cores = os.sched_getaffinity(0)
    if len(cores) == 1:
        pytest.skip("one core: there is nothing to choose")
    with take_turn(len(cores) - 1):
        assert os.sched_getaffinity(0) == cores
    before = torch.get_num_threads()
    torch.set_num_threads(len(cores))
    try:
        with take_turn(len(cores)):
            torch.ones(2000, 2000).sum()
            bound = [found for found in read_affinities() if len(found) == 1]
            assert set().union(*bound) == cores
            assert os.sched_getaffinity(0) == {min(cores)}
    finally:
        torch.set_num_threads(before)
    assert os.sched_getaffinity(0) == cores
