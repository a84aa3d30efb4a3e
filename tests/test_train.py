"""Training: learns, gives the same bytes again, counts its work, and stops when the loss explodes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages import train
from stages.common import tracking
from stages.common.dataset import Images
from stages.common.errors import UserError
from stages.common.hardware import Machine, make_deterministic
from stages.common.model import build_model, compute_weights_sha256
from stages.common.params import TrainParams, load_params
from stages.train import Task, count_work, read_manifests, split_batches, train_model
from tests.conftest import ROOT

PARAMS = load_params(ROOT / "params.yaml").train


def make_task(params: TrainParams, seed: int = 0, repeats: int = 1) -> Task:
    """Bright against dark noise, 32 px: a few steps are enough to learn it."""
    rng = np.random.default_rng(0)
    targets = np.arange(24) % 2
    pixels = (
        rng.integers(0, 100, (24, 3, 32, 32), dtype=np.uint8) + (targets * 120).astype(np.uint8)[:, None, None, None]
    )
    images = Images(torch.from_numpy(pixels), torch.from_numpy(targets))
    return Task(images, images, repeats, ["dark", "light"], params, seed, Machine(torch.device("cpu"), "fp32"))


def choose(**changes: float) -> TrainParams:
    return TrainParams(**(PARAMS.model_dump() | {"image_size": 32, "batch_size": 8, "epochs": 4} | changes))


@pytest.fixture
def untracked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict[str, float]]]:
    """What training hands to tracking; the real store is tested in test_tracking and test_end_to_end."""
    logged: list[tuple[int, dict[str, float]]] = []
    monkeypatch.setattr(tracking, "log_epoch", lambda epoch, metrics: logged.append((epoch, metrics)))
    monkeypatch.setattr(tracking, "log_file", lambda data, path: logged.append((len(data), {path: 0})))
    return logged


def test_training_learns_and_repeats_to_the_byte(
    untracked: list[tuple[int, dict[str, float]]], capsys: pytest.CaptureFixture[str]
) -> None:
    make_deterministic()
    task = make_task(choose(checkpoint_every=2))
    models = [build_model(2, seed=3) for _ in range(2)]
    histories = [train_model(model, task) for model in models]
    assert histories[0].equals(histories[1])
    assert compute_weights_sha256(models[0]) == compute_weights_sha256(models[1])
    assert compute_weights_sha256(models[0]) != compute_weights_sha256(build_model(2, seed=3))
    assert histories[0]["epoch"].tolist() == [1, 2, 3, 4]
    assert histories[0]["train/accuracy"].iloc[-1] > 0.75
    assert histories[0]["train/loss"].iloc[-1] < histories[0]["train/loss"].iloc[0]

    epochs = [epoch for epoch, metrics in untracked[: len(untracked) // 2] if "train/loss" in metrics]
    files = [path for _, metrics in untracked[: len(untracked) // 2] for path in metrics if "checkpoints" in path]
    assert epochs == [1, 2, 3, 4]
    assert files == ["checkpoints/epoch-002.safetensors"], "the last epoch is the model itself"
    assert capsys.readouterr().out.count("test accuracy") == 8


def test_order_of_batches_follows_from_the_seed(untracked: list[tuple[int, dict[str, float]]]) -> None:
    losses = [
        train_model(build_model(2, seed=3), make_task(choose(epochs=1), seed))["train/loss"][0] for seed in (0, 1)
    ]
    assert losses[0] != losses[1]


def test_exploding_loss_is_an_error(untracked: list[tuple[int, dict[str, float]]]) -> None:
    with pytest.raises(UserError, match=r"the loss became (nan|inf) in epoch 1, step \d of 12.*learning_rate"):
        train_model(build_model(2, seed=3), make_task(choose(learning_rate=1e30)))


@given(st.integers(1, 300), st.integers(2, 40))
def test_batches_hold_every_image_once_and_none_is_alone(count: int, size: int) -> None:
    order = np.random.default_rng(count).permutation(count)
    batches = split_batches(order, size)
    assert np.array_equal(np.concatenate(batches), order)
    assert all(len(batch) == size for batch in batches[:-1])
    assert 1 < len(batches[-1]) <= size + 1 or count == 1


@pytest.mark.parametrize(("images", "steps"), [(112, 40), (336, 110), (31, 10), (32, 10), (33, 10), (34, 20), (64, 20)])
def test_work_is_counted(images: int, steps: int) -> None:
    work = count_work(images, 1, PARAMS)
    assert (work["steps"], work["image_presentations"]) == (steps, images * 10)


def test_repeats_give_the_original_arm_the_work_of_the_augmented_one(
    untracked: list[tuple[int, dict[str, float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    original, augmented = count_work(112, 3, PARAMS), count_work(336, 1, PARAMS)
    assert {**original, "train_images": 336} == augmented

    seen: list[int] = []
    split = train.split_batches

    def watch(order: np.ndarray, size: int) -> list[np.ndarray]:
        seen.extend(order)
        return split(order, size)

    monkeypatch.setattr(train, "split_batches", watch)
    train_model(build_model(2, seed=3), make_task(choose(epochs=1), repeats=3))
    per_photo = np.bincount(seen[-72:], minlength=24)
    assert per_photo.tolist() == [3] * 24


def test_augmented_arm_trains_on_photos_and_copies(workspace: Path) -> None:
    pd.DataFrame(
        {
            "path": ["a", "b", "c"],
            "class": ["x", "y", "x"],
            "sha256": list("123"),
            "group": list("123"),
            "split": ["train", "train", "test"],
        }
    ).to_csv("split.csv", index=False)
    pd.DataFrame({"path": ["a-1", "b-1"], "class": ["x", "y"], "sha256": list("45")}).to_csv("copies.csv", index=False)
    original, test = read_manifests([Path("split.csv")])
    augmented, same_test = read_manifests([Path("split.csv"), Path("copies.csv")])
    assert original["path"].tolist() == ["a", "b"]
    assert augmented["path"].tolist() == ["a", "b", "a-1", "b-1"]
    assert test["path"].tolist() == same_test["path"].tolist() == ["c"]


def test_original_arm_is_not_fed_by_augment() -> None:
    params = load_params(ROOT / "params.yaml")
    original, augmented = (train.collect_params(params, arm) for arm in ("original", "augmented"))
    assert "augment.copies" in augmented
    assert "train.budget" in original
    assert not [key for key in original if key.startswith("augment")]
    assert (
        {"seed", "fetch.subset", "split.test_fraction", "train.epochs"}
        <= set(original) - {"train.budget"}
        <= set(augmented)
    )
