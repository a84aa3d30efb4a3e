"""A policy is trained as the pipeline would train it: the same copies, weights and order give the same predictions."""

import json
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from ablation.policies import get_run_dir
from stages.model.record import RUN_FILE, TrainRecord, get_history_path, get_model_dir
from stages.tracking.store import ABLATION
from tests.conftest import change_params
from tests.support.trainer import start_stages, wait_for

ONE_PROCESS = {"LOKY_MAX_CPU_COUNT": "1"}
AUGMENTED = ["train", "--arm", "augmented", "--trial", "0", "data/split/0.csv", "data/augmented/0.csv"]
FILES = {"run.json", "history.csv", "predictions.csv"}


def policy(kind: str, operation: str) -> list[str]:
    return ["ablation.train", kind, operation, "--trial", "0"]


def run(*commands: list[str], status: int = 0, **environment: str) -> str:
    """What they print."""
    assert wait_for(start_stages(list(commands), **ONE_PROCESS, **environment)) == status, Path("err.txt").read_text()
    return Path("out.txt").read_text()


@pytest.fixture
def two(photos_to_train: Path) -> Path:
    operations = {"hflip": {}, "pixelization": {"ratio": [0.2, 0.4]}}
    change_params({"augment.operations": operations, "augment.operations_per_copy": 2, "augment.max_side": 64})
    return photos_to_train


@pytest.mark.parametrize("mode", ["copies", "online"])
def test_a_policy_gives_what_the_augmented_arm_gives_with_it(mode: str, two: Path) -> None:
    change_params({"augment.mode": mode})
    said = run(policy("only", "hflip"), policy("all_but", "pixelization"))
    assert "train_only_hflip: trial 0: " in said
    left = {"only": get_run_dir("only", "hflip", 0), "all_but": get_run_dir("all_but", "pixelization", 0)}
    predictions = {kind: (folder / "predictions.csv").read_bytes() for kind, folder in left.items()}
    assert predictions["only"] == predictions["all_but"], "of two operations, one alone is all but the other"
    for folder in left.values():
        assert {path.name for path in folder.iterdir()} == FILES | ({"copies.csv"} if mode == "copies" else set())
    assert not list(Path(".dvc/tmp/ablation").iterdir()), "the copies are gone"

    change_params({"augment.operations": {"hflip": {}}, "augment.operations_per_copy": 1})
    run(["augment", "--trial", "0"], AUGMENTED)
    main, alone = (TrainRecord.load(each / RUN_FILE) for each in (get_model_dir("augmented", 0), left["only"]))
    assert alone.model_sha256 == main.model_sha256
    assert alone.initial_weights_sha256 == main.initial_weights_sha256
    assert (left["only"] / "history.csv").read_bytes() == get_history_path("augmented", 0).read_bytes()


def test_a_killed_policy_resumes_to_the_same_bytes_and_one_run(two: Path) -> None:
    run(policy("only", "hflip"))
    folder = get_run_dir("only", "hflip", 0)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    run(policy("only", "hflip"), status=-signal.SIGKILL, FAILPOINT="step 2.1")
    assert list(Path(".dvc/tmp/ablation").iterdir()), "nobody could delete the copies"
    assert "resuming after step" in run(policy("only", "hflip"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert not list(Path(".dvc/tmp/ablation").iterdir())

    client = MlflowClient(f"sqlite:///{two}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name(ABLATION).experiment_id])
    assert [each.info.status for each in runs] == ["FINISHED"]
    tags = runs[0].data.tags
    assert (tags["kind"], tags["operation"], tags["trial"]) == ("only", "hflip", "0")
    assert json.loads(runs[0].data.params["augment.operations_per_copy"]) == 1
    assert not [key for key in runs[0].data.params if "pixelization" in key], "only what this policy applies"


def test_copies_say_what_was_applied(two: Path) -> None:
    run(policy("only", "pixelization"))
    copies = pd.read_csv(get_run_dir("only", "pixelization", 0) / "copies.csv")
    assert {step["name"] for row in copies["operations"] for step in json.loads(row)} == {"pixelization"}
    assert len(copies) == 32


def test_an_unknown_operation_is_one_message(two: Path) -> None:
    run(policy("only", "rotate"), status=1)
    assert (
        "error: rotate is not in augment.operations: hflip, pixelization. Run make ablation.\n"
        in Path("err.txt").read_text()
    )
    assert not Path("ablation").exists()


def test_several_processes_are_refused(two: Path) -> None:
    change_params({"train.launcher": "torchrun --nproc-per-node 2"})
    run(policy("only", "hflip"), status=1)
    assert "and an ablation trains in one process" in Path("err.txt").read_text()
    assert not get_run_dir("only", "hflip", 0).exists()
