"""Kill the real trainer in many places: it resumes, and ends with the bytes of one that was left alone."""

import hashlib
import json
import os
import pickle
import signal
import sqlite3
from pathlib import Path

import pytest
import torch
import yaml

from stages.base.files import write_json
from stages.model.record import TrainRecord
from stages.runtime.errors import UserError
from stages.training.checkpoints import Checkpoints, Stop, hash_code, lock_training, open_checkpoints
from tests.conftest import ROOT, change_params
from tests.support.trainer import (
    CONTEXT,
    EPOCHS,
    STEPS,
    read_results,
    run_trainer,
    start_trainer,
    wait_until,
)

PLACES = {  # -> the step after which it resumes
    "step 2.1": 3,
    "before-rename checkpoint-0.pt": 1,
    "mid-write model.safetensors": STEPS,
}
MORE_PLACES = {
    "step 1.1": 1,
    "mid-write checkpoint-1.pt": 0,  # the first checkpoint of all: from scratch
    "mid-write checkpoint-0.pt": 1,
    "after-rename checkpoint-0.pt": 2,
    "mid-write journal.json": 0,
    "before-log 1": 2,
    "before-log 2": STEPS,
    "after-last-save": STEPS,
    "before-rename run.json": STEPS,
    "before-rename original-0.csv": STEPS,
    "before-finish": STEPS,
    "after-finish": STEPS,
    "end": 0,  # complete, but DVC has not stored it: the same once more
}


def read_store() -> tuple[list[str], list[int]]:
    """Status of every run, and the steps of all points of one metric."""
    with sqlite3.connect("mlflow.db") as store:
        statuses = [status for (status,) in store.execute("SELECT status FROM runs")]
        steps = [step for (step,) in store.execute("SELECT step FROM metrics WHERE key = 'train/loss' ORDER BY step")]
    return statuses, steps


def list_leftovers() -> list[str]:
    return [path.as_posix() for root in (".resume", "models", "metrics") for path in Path(root).rglob("*.p*t*")]


@pytest.mark.parametrize(
    ("place", "step"),
    [*PLACES.items(), *(pytest.param(*item, marks=pytest.mark.slow) for item in MORE_PLACES.items())],
)
def test_killed_anywhere_it_ends_with_the_same_bytes(
    place: str, step: int, photos_to_train: Path, whole: dict[str, bytes]
) -> None:
    assert run_trainer(FAILPOINT=place).status == -signal.SIGKILL
    again = run_trainer()
    assert (again.status, again.stderr) == (0, "")
    assert ("resuming" in again.stdout) == (step > 0)
    assert not step or f"resuming after step {step} of {STEPS}" in again.stdout
    assert read_results() == whole
    assert read_store() == (["FINISHED"], [1, 2])
    assert not list_leftovers(), "a complete training leaves neither checkpoints nor half-written files"


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_saves_a_checkpoint_and_leaves_within_a_step(
    signum: signal.Signals, status: int, photos_to_train: Path, whole: dict[str, bytes]
) -> None:
    """Sent by the trainer to itself after a step, so that no clock decides; it stops after the next."""
    done = run_trainer(FAILPOINT=f"{signum.name}:step 1.1", RESUME_SECONDS="1000")
    assert (done.status, done.stderr) == (status, "")
    assert done.stdout.endswith("interrupted: a checkpoint is saved, the next run resumes from it\n")
    assert read_store() == (["KILLED"], [])
    again = run_trainer()
    assert f"resuming after step 2 of {STEPS}" in again.stdout
    assert read_results() == whole
    assert read_store() == (["FINISHED"], [1, 2])


@pytest.mark.parametrize("place", ["step 2.1", "SIGTERM:step 2.1"])
def test_a_complete_run_stays_so_when_its_repetition_is_killed(place: str, photos_to_train: Path) -> None:
    assert run_trainer().status == 0
    assert run_trainer(FAILPOINT=place).status != 0
    assert read_store() == (["FINISHED"], [1, 2])
    assert run_trainer().status == 0
    assert read_store() == (["FINISHED"], [1, 2])


def test_a_checkpoint_of_another_training_is_never_resumed_from(photos_to_train: Path, whole: dict[str, bytes]) -> None:
    """Of other params, or another processor: two with AVX-512 may differ in what else they can do, and so in bytes."""
    assert run_trainer(FAILPOINT="step 2.1").status == -signal.SIGKILL

    change_params({"train.learning_rate": 0.002})
    other = run_trainer()
    assert other.status == 0
    assert "resuming" not in other.stdout
    assert read_results() != whole
    change_params({"train.learning_rate": 0.001})

    other = run_trainer(CPU_NAME="Another Processor")
    assert other.status == 0
    assert "resuming" not in other.stdout
    assert TrainRecord.load(Path("models/original/0/run.json")).machine.cpu_name == "Another Processor"

    assert "resuming after step 3" in run_trainer().stdout, "nothing is lost by trying others meanwhile"
    assert read_results() == whole


@pytest.mark.slow
def test_a_checkpoint_of_other_photos_is_never_resumed_from(photos_to_train: Path) -> None:
    assert run_trainer(FAILPOINT="step 2.1").status == -signal.SIGKILL
    split = Path("data/split/0.csv")
    split.write_text(
        split.read_text().replace(",train", ",TRAIN", 1).replace(",test", ",train", 1).replace("TRAIN", "test")
    )
    other = run_trainer()
    assert other.status == 0
    assert "resuming" not in other.stdout


def test_the_key_holds_the_code_that_decides_bytes_and_no_other() -> None:
    """A changed message, log entry or schema of report's params must not orphan a checkpoint; changed code must."""
    with CONTEXT.Pool(1) as trainer:  # which has imported what the trainer imports
        hashed = {name.split(".")[1] for name in trainer.apply(hash_code) if name != "__main__"}
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    deps = pipeline["train_original"]["do"]["deps"]
    assert hashed == {Path(dep).stem for dep in deps if dep.startswith("stages/")}


def test_a_second_trainer_is_refused_with_the_pid(workspace: Path) -> None:
    with lock_training("original-0"):
        with (
            pytest.raises(UserError, match=rf"process {os.getpid()} is already training original-0"),
            lock_training("original-0"),
        ):
            raise AssertionError
        with lock_training("augmented-0"):
            pass
    with lock_training("original-0"):
        pass


def test_a_trainer_beside_an_orphan_is_refused(photos_to_train: Path) -> None:
    orphan = start_trainer(FAILPOINT="SIGSTOP:step 1.1")
    wait_until(lambda: bool(list(Path(".resume").rglob("checkpoint-1.pt"))), "the orphan trains")
    with (
        pytest.raises(UserError, match=rf"process {orphan.pid} is already training original-0"),
        lock_training("original-0"),
    ):
        raise AssertionError
    os.kill(orphan.pid or 0, signal.SIGKILL)
    orphan.join()
    assert run_trainer().status == 0, "a lock ends with its process"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_checkpoint_is_skipped(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = Checkpoints(tmp_path, Stop())
    for epoch in (1, 2):
        checkpoints.save({"epoch": epoch, "weights": torch.full((1000,), float(epoch))})
    newest = tmp_path / "checkpoint-0.pt"
    data = bytearray(newest.read_bytes())
    data[-2500] ^= 1  # within the tensor: torch.load would not notice
    newest.write_bytes({"flip": bytes(data), "cut": bytes(data[:-100]), "empty": b""}[damage])
    again = Checkpoints(tmp_path, Stop())
    older = again.load()
    assert older is not None
    assert older["epoch"] == 1
    assert "checkpoint-0.pt is damaged" in capsys.readouterr().err
    again.save({"epoch": 3})
    newer = Checkpoints(tmp_path, Stop()).load()
    assert newer is not None
    assert newer["epoch"] == 3, "the damaged file is the one that is written next"


def test_pickled_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    evil = tmp_path / "evil"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {evil}",)

    data = pickle.dumps(Evil(), protocol=2)
    (tmp_path / "checkpoint-0.pt").write_bytes(data + hashlib.sha256(data).digest())
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        Checkpoints(tmp_path, Stop()).load()
    assert not evil.exists()
    pickle.loads(data)
    assert evil.exists(), "it would have run"


def open_folder(seed: int) -> Path:
    """The folder of a training, after it has ended."""
    with open_checkpoints("original-0", {"seed": seed}, Stop()) as checkpoints:
        return checkpoints.folder


def test_only_the_newest_folders_stay_those_in_use_and_those_unsynced(workspace: Path) -> None:
    unsynced = open_folder(8)
    write_json(unsynced / "12345678" / "journal.json", {"model_sha256": "abc"})
    with open_checkpoints("original-0", {"seed": 9}, Stop()) as used:
        folders = [open_folder(seed) for seed in range(6)]
        assert [folder.exists() for folder in folders] == [False, False, True, True, True, True]
        assert used.folder.exists()
    open_folder(5)
    assert [folder.exists() for folder in [*folders, used.folder]] == [False, False, True, True, True, True, False]
    assert unsynced.exists(), "its tracking server does not have it yet"


def test_those_who_train_the_same_at_once_have_folders_of_their_own(workspace: Path) -> None:
    with open_checkpoints("original-0", {}, Stop()) as first:
        with open_checkpoints("original-0", {}, Stop()) as second:
            assert first.folder != second.folder
        with open_checkpoints("original-0", {}, Stop()) as third:
            assert third.folder == second.folder
    with open_checkpoints("original-0", {}, Stop()) as fourth:
        assert fourth.folder == first.folder, "the next one resumes from what this one leaves"


def test_two_points_of_an_epoch_are_one_row_of_history(photos_to_train: Path) -> None:
    """Killed after an epoch was logged and before its checkpoint: the epoch runs again, and is logged once."""
    assert run_trainer(FAILPOINT="step 2.1", RESUME_SECONDS="1000").status == -signal.SIGKILL
    journal = json.loads(next(Path(".resume").rglob("journal.json")).read_text())
    assert list(journal["epochs"]) == ["1"]
    assert "resuming" not in run_trainer().stdout
    assert read_store() == (["FINISHED"], list(range(1, EPOCHS + 1)))
