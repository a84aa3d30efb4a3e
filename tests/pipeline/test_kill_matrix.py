"""Pull the plug on a real `dvc repro`, wherever it could hurt: the next one ends as if nothing had happened."""

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from stages.runtime.handover import ADDRESS
from stages.runtime.locks import try_lock
from tests.support.clone import SMALL, call, make_clone
from tests.support.once import make_once
from tests.support.trainer import wait_until

pytestmark = pytest.mark.slow

KILLED = 255  # what DVC says when its stage was killed
PLACES = [
    "step 1.1",
    "step 2.2",
    "mid-write checkpoint-0.pt",
    "before-rename checkpoint-1.pt",  # the first checkpoint of all
    "after-rename checkpoint-1.pt",
    "before-log 1",
    "before-log 2",
    "after-last-save",
    "mid-write model.safetensors",
    "before-finish",
    "end",
    "dvc:step 2.1",
    "SIGTERM:step 2.1",
    "SIGINT:step 2.1",
]


PARAMS = SMALL | {"train.batch_size": 8}  # two steps an epoch


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A clone that is ready to train."""

    def make() -> Path:
        folder = make_clone(tmp_path_factory.mktemp("home") / "clone", PARAMS)
        call(folder, "dvc repro augment")
        return folder

    return make_once(shared / "before.pickle", make)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """Another clone, in which one worker did everything from scratch and nobody disturbed it."""

    def make() -> Path:
        folder = make_clone(tmp_path_factory.mktemp("home") / "clone", PARAMS)
        call(folder, "dvc repro", LOKY_MAX_CPU_COUNT="1")
        return folder

    return make_once(shared / "whole.pickle", make)


def read_results(folder: Path) -> dict[str, bytes]:
    """Every byte that training leaves, and what DVC records of it."""
    paths = [*folder.glob("models/original/0/*"), *folder.glob("metrics/history/original-0.csv")]
    lock = (folder / "dvc.lock").read_text()
    recorded = re.search(r"^  train_original@0:.*?(?=^  \S|\Z)", lock, re.M | re.S)
    assert recorded
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths} | {"": recorded[0].encode()}


def read_store(folder: Path) -> tuple[list[str], list[int]]:
    """Status of every run of the original arm, and the steps of all points of one metric."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        runs = store.execute("SELECT run_uuid, status FROM runs WHERE name LIKE 'original-0 %'").fetchall()
        query = "SELECT step FROM metrics WHERE key = 'train/loss' AND run_uuid = ? ORDER BY step"
        steps = [step for run, _ in runs for (step,) in store.execute(query, (run,))]
    return [status for _, status in runs], steps


def wait_for_trainer(folder: Path) -> None:
    """Wait until no trainer is left in a clone, as one outlives the DVC that was killed by a step."""

    def is_free() -> bool:
        lock = try_lock(folder / ".dvc/tmp/original-0.lock")
        if lock:
            lock.close()
        return lock is not None

    wait_until(is_free, "the trainer ends")


@pytest.mark.parametrize("place", PLACES)
def test_killed_anywhere_the_next_repro_ends_as_if_nothing_had_happened(
    place: str, before: Path, whole: Path, preloaded: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "clone"
    shutil.copytree(before, folder, symlinks=True)
    status = -9 if place.startswith("dvc:") else KILLED
    environment = preloaded | {"RESUME_SECONDS": "0", "LOKY_MAX_CPU_COUNT": "1"}  # one thread, as in ``whole``
    first = environment | {"FAILPOINT": place}
    if place.startswith("dvc:"):
        del first[ADDRESS]  # a fork's parent is another than DVC
    killed = call(folder, "dvc repro train_original", status=status, **first)
    assert "Traceback" not in killed
    wait_for_trainer(folder)
    again = call(folder, "dvc repro train_original", status=0, **environment)
    assert ("resuming after step" in again) == (place not in ("before-rename checkpoint-1.pt", "end"))
    assert read_results(folder) == read_results(whole)
    assert read_store(folder) == (["FINISHED"], [1, 2])


def test_the_whole_pipeline_ends_in_the_same_lock(before: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    shutil.copytree(before, folder, symlinks=True)
    call(folder, "dvc repro", status=-9, FAILPOINT="dvc:step 1.1", RESUME_SECONDS="0")
    wait_for_trainer(folder)
    call(folder, "dvc repro", status=KILLED, FAILPOINT="before-rename 0.json", RESUME_SECONDS="0")
    call(folder, "dvc repro")
    assert (folder / "dvc.lock").read_bytes() == (whole / "dvc.lock").read_bytes()
    assert read_metrics(folder) == read_metrics(whole)


def read_metrics(folder: Path) -> dict[str, bytes]:
    paths = [path for path in (folder / "metrics").rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
