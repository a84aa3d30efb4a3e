"""Several processes for one training: they compute what one does, are resumed, and end together."""

import contextlib
import json
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from stages.base.seeds import derive_seed
from stages.model.architectures import build_network
from stages.model.dataset import prepare
from stages.runtime.errors import UserError
from stages.training.launcher import count_local_ranks, parse_launcher
from stages.training.ranks import share_batch
from tests.conftest import change_params
from tests.support.ranks import (
    BATCH,
    VIT,
    Case,
    finish,
    make_images,
    make_model,
    read_statuses,
    stop_first,
    train_case,
    train_together,
)
from tests.support.ranks import (
    launch as start,
)
from tests.support.records import make_network
from tests.support.trainer import make_workspace, read_results

EPOCHS = 4  # of two steps each
CASE = Case(VIT, images=19)  # batches of 8, 8 and 3


@given(st.integers(1, 200), st.integers(1, 9))
def test_the_shares_are_the_batch_in_its_order(size: int, ranks: int) -> None:
    batch = np.random.default_rng(size).permutation(size)
    shares = [share_batch(batch, rank, ranks) for rank in range(ranks)]
    counted = [share for share in shares if share.weight]
    assert np.array_equal(np.concatenate([share.indices for share in counted]), batch)
    assert sum(share.weight for share in shares) == pytest.approx(1)
    assert [share.weight for share in counted] == [len(share.indices) / size for share in counted]
    assert all(len(share.indices) > 1 for share in shares) or size == 1, "batch norm cannot normalize a lone image"
    if size >= 2 * ranks:
        sizes = [len(share.indices) for share in counted]
        assert len(sizes) == ranks
        assert max(sizes) - min(sizes) <= 1


def subtract(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference between two models."""
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_three_processes_compute_what_one_does(tmp_path: Path) -> None:
    """Shares of 3, 3 and 2 images, and a last batch that is too small to share; the rest is rounding."""
    before = {name: tensor.clone() for name, tensor in make_model(CASE).state_dict().items()}
    alone = train_case(CASE, tmp_path)
    together = train_together(CASE, tmp_path / "three", 3)
    assert subtract(alone["model"], together[0]["model"]) < 1e-6
    assert subtract(alone["model"], before) > 1e-3, "so that it would show"
    for key, values in alone["history"].items():
        assert together[0]["history"][key] == pytest.approx(values, abs=1e-5)
        assert together[2]["history"][key] == together[0]["history"][key], "every process knows all scores"
    assert subtract(together[0]["model"], together[2]["model"]) == 0


@pytest.mark.slow
def test_three_processes_resume_to_the_same_bytes(tmp_path: Path) -> None:
    """With three, the order of a sum shows; the others start from the checkpoint of the first."""
    whole = train_together(CASE, tmp_path / "whole", 3)
    assert train_together(replace(CASE, stop_after=1), tmp_path / "parts", 3) == [{}] * 3
    for rank in (1, 2):
        shutil.rmtree(tmp_path / "parts" / f"{rank}")
    resumed = train_together(CASE, tmp_path / "parts", 3)
    assert subtract(whole[0]["model"], resumed[0]["model"]) == 0
    assert whole[0]["history"] == resumed[0]["history"]


@pytest.mark.slow
def test_dropout_of_the_first_process_is_that_of_one_alone(tmp_path: Path) -> None:
    seeds = [result["seed"] for result in train_together(CASE, tmp_path / "two", 2)]
    assert seeds[0] == train_case(CASE, tmp_path)["seed"] != seeds[1]


def test_on_cpus_each_process_normalizes_its_own_share(tmp_path: Path) -> None:
    """Of batch norm; so the scores are those of two halves, and the model is another than that of one process."""
    case = Case("resnet", images=BATCH, epochs=1)
    together = train_together(case, tmp_path / "two", 2)[0]
    images, model = make_images(BATCH), make_model(case)
    order = np.random.default_rng(derive_seed(0, 1)).permutation(BATCH)
    losses = [
        nn.functional.cross_entropy(model(prepare(images.inputs[half], make_network())), images.targets[half]).item()
        for half in np.split(order, 2)
    ]
    assert together["history"]["train/loss"] == [pytest.approx(np.mean(losses), abs=1e-6)]
    assert train_case(case, tmp_path)["history"]["train/loss"] != [pytest.approx(np.mean(losses), abs=1e-4)]


def prepare_workspace(folder: Path) -> Path:
    """Make a folder for a training in two processes."""
    with contextlib.chdir(make_workspace(folder)):
        changes: dict[str, Any] = {"model.name": VIT, "train.precision": "fp32", "train.epochs": EPOCHS}
        changes |= {"train.optimizer": "sgd", "train.learning_rate": 0.01, "train.threads": 1}
        change_params(changes | {"train.launcher": "torchrun --nproc-per-node 2"})
    return folder


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workspace for a training in two processes, as the current directory."""
    monkeypatch.chdir(prepare_workspace(tmp_path / "pair"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, preloaded: dict[str, str]) -> dict[str, bytes]:
    """What a training in two processes leaves, by path."""
    with contextlib.chdir(prepare_workspace(tmp_path_factory.mktemp("pair") / "pair")):
        status, stdout, stderr = finish(start(preloaded))
        assert (status, stderr) == (0, "")
        assert "threads: 1, processes: 2\n" in stdout
        assert stdout.count("test accuracy") == EPOCHS, "only the first process prints"
        assert read_statuses() == ["FINISHED"], "there is one MLflow run"
        return read_results()


@pytest.mark.slow
def test_a_killed_process_ends_the_training_which_resumes(
    pair: None, undisturbed: dict[str, bytes], preloaded: dict[str, str]
) -> None:
    status, stdout, stderr = finish(start(preloaded, FAILPOINT="step 3.2 rank 1"))
    saved = max(path.stat().st_mtime for path in Path(".resume").rglob("*.pt"))
    assert time.time() - saved < 30
    assert status == 1
    assert stderr.startswith("train_original: error: rank 1 (process ")
    assert "was killed by SIGKILL, and the training ended with it" in stderr
    assert len(stderr.splitlines()) == 1
    assert read_statuses() == ["FAILED"]

    change_params({"train.launcher": None})
    status, stdout, stderr = finish(start(preloaded))
    assert (status, stderr) == (0, "")
    assert "not resuming from the checkpoint of 2 processes" in stdout
    assert "resuming after" not in stdout
    assert "processes" not in read_machine(read_results())

    change_params({"train.launcher": "torchrun --nproc-per-node=2"})
    status, stdout, stderr = finish(start(preloaded))
    assert (status, stderr) == (0, "")
    assert "resuming after step 6 of 8" in stdout
    assert read_results() == undisturbed
    assert read_machine(undisturbed)["processes"] == 2
    assert read_statuses() == ["FINISHED"] * 2, "one run in two processes, and one alone"


def read_machine(results: dict[str, bytes]) -> dict[str, Any]:
    """What decided the bytes of a model."""
    machine: dict[str, Any] = json.loads(results["models/original/0/run.json"])["machine"]
    return machine


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["launcher killed", "stage asked", "rank asked", "Ctrl-C"])
def test_both_processes_stop_at_the_same_step(
    whom: str, pair: None, undisturbed: dict[str, bytes], preloaded: dict[str, str]
) -> None:
    """While the first rank stands still, so that what reaches it does so between two steps."""
    with stop_first("step 1.1", {} if whom == "Ctrl-C" else preloaded) as (stage, rank):
        launcher = rank.parent()
        if whom == "launcher killed":
            launcher.kill()
            launcher.wait()
        elif whom == "rank asked":
            rank.terminate()
        else:
            launcher.send_signal(signal.SIGINT) if whom == "Ctrl-C" else stage.terminate()
            time.sleep(2)  # until that has reached the ranks
    status, stdout, stderr = finish(stage)
    assert (status, stderr) == ({"launcher killed": 137, "Ctrl-C": 130}.get(whom, 143), "")
    assert stdout.endswith("interrupted: a checkpoint is saved, the next run resumes from it\n")
    assert read_statuses() == ["KILLED"]
    status, stdout, stderr = finish(start(preloaded))
    assert (status, stderr) == (0, "")
    assert "resuming after step 2 of 8" in stdout
    assert read_results() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["copies", "online"])
@pytest.mark.parametrize("freeze", ["none", "backbone"])
def test_views_and_features_are_those_of_one_process(
    mode: str, freeze: str, pair: None, preloaded: dict[str, str]
) -> None:
    Path("models/weights").mkdir(parents=True)
    save_file(dict(build_network(VIT, 10, 32).state_dict()), "models/weights/own.safetensors")
    change_params({"model.weights": "models/weights/own.safetensors", "model.freeze": freeze, "augment.mode": mode})
    change_params({"augment.max_side": 64, "augment.copies": 1, "train.epochs": 2})
    assert finish(start(preloaded, stage="augment"))[0] == 0
    models = []
    for launcher in (None, "torchrun --nproc-per-node 2"):
        change_params({"train.launcher": launcher})
        status, stdout, stderr = finish(start(preloaded, stage="augmented"))
        assert (status, stderr) == (0, ""), stdout
        models.append(load_file("models/augmented/0/model.safetensors"))
    assert 0 < subtract(*models) < 1e-6


@pytest.mark.slow
def test_an_error_of_all_processes_is_printed_once(pair: None, preloaded: dict[str, str]) -> None:
    change_params({"train.batch_size": 3})
    status, stdout, stderr = finish(start(preloaded))
    assert (status, stdout) == (1, "")
    assert stderr == (
        "train_original: error: train.launcher starts 2 processes, and a batch has 3 images (train.batch_size: 3, "
        "images: 16): each process needs two or more. Start fewer, or raise train.batch_size.\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--nproc-per-node 2 --frobnicate", r"torchrun says: .*--frobnicate"),
        ("--nproc-per-node", r"torchrun says: .*expected one argument"),
        ("--nproc-per-node two", r"torchrun says: Unsupported nproc_per_node value: two\."),
        ("--nproc-per-node 0", r"torchrun says: --nproc-per-node is 0"),
        ("--nnodes many", r"torchrun says: "),
        ("--nproc-per-node 2 mine.py", r"mine\.py is no option of torchrun"),
        ("--nnodes 2 --rdzv-backend c10d --rdzv-endpoint a:1", r"any host may become the first.*--master-addr"),
        ("--help", r"torchrun says: "),
    ],
)
def test_what_torchrun_refuses_is_one_message(options: str, message: str, tmp_path: Path) -> None:
    launcher = f"torchrun {options}"
    with pytest.raises(UserError, match=message) as refused:
        count_local_ranks(launcher, parse_launcher(launcher, str(tmp_path), ["--no-python", "python"]))
    assert "\n" not in str(refused.value)
