"""Training: learns, gives the same bytes again, counts its work, and stops when the loss explodes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stages.cli.params import load_params
from stages.model.dataset import Examples
from stages.model.device import Device, choose_algorithms
from stages.model.network import build_model, compute_weights_sha256
from stages.runtime.errors import UserError
from stages.training import loop
from stages.training.checkpoints import Checkpoints, Stop
from stages.training.loop import Trainer, TrainSpec
from stages.training.optimizer import build_optimizer
from stages.training.params import TrainParams
from stages.training.steps import compute_learning_rate, count_work, split_batches
from tests.conftest import ROOT
from tests.support.records import make_network
from tests.support.trainer import make_small_resnet

PARAMS = load_params(ROOT / "params.yaml").train


@pytest.fixture(autouse=True)
def small_resnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.model.architectures.build_torchvision", make_small_resnet)


def make_spec(params: TrainParams, seed: int = 0, repeats: int = 1) -> TrainSpec:
    """Bright against dark noise, 32 px: a few steps are enough to learn it."""
    rng = np.random.default_rng(0)
    targets = np.arange(24) % 2
    pixels = (
        rng.integers(0, 100, (24, 3, 32, 32), dtype=np.uint8) + (targets * 120).astype(np.uint8)[:, None, None, None]
    )
    images = Examples(torch.from_numpy(pixels), torch.from_numpy(targets))
    return TrainSpec(images, images, repeats, make_network(), params, seed, Device(torch.device("cpu"), "fp32"))


def choose(**changes: float | str) -> TrainParams:
    return TrainParams(**(PARAMS.model_dump() | {"batch_size": 8, "epochs": 4} | changes))


class Notes:
    """A log that keeps what it gets; the real one is tested in test_journal."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.files: list[str] = []

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        self.epochs.append(epoch)

    def log_file(self, data: bytes, path: str) -> None:
        self.files.append(path)


def train_model(model: nn.Module, spec: TrainSpec, folder: Path, log: Notes | None = None) -> pd.DataFrame:
    return Trainer(model, spec, Checkpoints(folder, Stop())).run(log or Notes())


def test_training_learns_and_repeats_to_the_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    choose_algorithms()
    spec = make_spec(choose(checkpoint_every=2))
    models = [build_model(make_network(), 2, seed=3) for _ in range(2)]
    log = Notes()
    histories = [train_model(model, spec, tmp_path / str(n), log) for n, model in enumerate(models)]
    assert histories[0].equals(histories[1])
    assert compute_weights_sha256(models[0]) == compute_weights_sha256(models[1])
    assert compute_weights_sha256(models[0]) != compute_weights_sha256(build_model(make_network(), 2, seed=3))
    assert histories[0]["epoch"].tolist() == [1, 2, 3, 4]
    assert histories[0]["train/accuracy"].iloc[-1] > 0.75
    assert histories[0]["train/loss"].iloc[-1] < histories[0]["train/loss"].iloc[0]

    assert log.epochs == [1, 2, 3, 4] * 2
    assert log.files == ["checkpoints/epoch-002.safetensors"] * 2, "the last epoch is the model itself"
    assert capsys.readouterr().out.count("test accuracy") == 8


def test_order_of_batches_follows_from_the_seed(tmp_path: Path) -> None:
    losses = [
        train_model(build_model(make_network(), 2, seed=3), make_spec(choose(epochs=1), seed), tmp_path / str(seed))[
            "train/loss"
        ][0]
        for seed in (0, 1)
    ]
    assert losses[0] != losses[1]


def test_exploding_loss_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the loss became (nan|inf) in epoch 1, step \d of 12.*learning_rate"):
        train_model(build_model(make_network(), 2, seed=3), make_spec(choose(learning_rate=1e30)), tmp_path)


def test_a_nan_is_named_with_its_own_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal there is no progress bar that counts; resumed or not, steps count from the first epoch."""
    trainer = Trainer(
        build_model(make_network(), 2, seed=3), make_spec(choose(epochs=2)), Checkpoints(tmp_path, Stop())
    )
    losses = iter([0.7] * 4 + [float("nan")])  # three steps an epoch
    monkeypatch.setattr(trainer, "_take_step", lambda *_: torch.tensor([next(losses), 1]))
    with pytest.raises(UserError, match=r"the loss became nan in epoch 2, step 5 of 6\."):
        trainer.run(Notes())


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
    assert (work["steps"], work["samples_seen"]) == (steps, images * 10)


def test_repeats_give_the_original_arm_the_work_of_the_augmented_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, augmented = count_work(112, 3, PARAMS), count_work(336, 1, PARAMS)
    assert {**original, "train_images": 336} == augmented

    seen: list[int] = []
    split = split_batches

    def watch(order: np.ndarray, size: int) -> list[np.ndarray]:
        seen.extend(order)
        return split(order, size)

    monkeypatch.setattr(loop, "split_batches", watch)
    train_model(build_model(make_network(), 2, seed=3), make_spec(choose(epochs=1), repeats=3), tmp_path)
    per_photo = np.bincount(seen[-72:], minlength=24)
    assert per_photo.tolist() == [3] * 24


def test_learning_rate_falls_as_half_a_cosine() -> None:
    constant, cosine = choose(learning_rate=0.2), choose(learning_rate=0.2, schedule="cosine")
    assert [compute_learning_rate(step, 4, constant) for step in range(4)] == [0.2] * 4
    rates = [compute_learning_rate(step, 4, cosine) for step in range(5)]
    np.testing.assert_allclose(rates, [0.2, 0.17071068, 0.1, 0.02928932, 0], atol=1e-8)


@pytest.mark.parametrize(
    ("optimizer", "reference"),
    [
        ("adam", partial(torch.optim.Adam, lr=0.1, weight_decay=0.3)),
        ("adamw", partial(torch.optim.AdamW, lr=0.1, weight_decay=0.3)),
        ("sgd", partial(torch.optim.SGD, lr=0.1, weight_decay=0.3, momentum=0.9)),
    ],
)
def test_optimizers_take_the_steps_of_torch(optimizer: str, reference: Callable[..., torch.optim.Optimizer]) -> None:
    """Two steps on the same gradients, so that momentum and moments count; without a gradient weights stay."""
    layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
    layers[1].load_state_dict(layers[0].state_dict())
    before = layers[0].bias.clone()
    params = choose(optimizer=optimizer, learning_rate=0.1, weight_decay=0.3)
    for layer, own in zip(layers, [build_optimizer(layers[0], params), reference([layers[1].weight])], strict=True):
        for gradient in (1.0, -0.5):
            layer.weight.grad = torch.full((2, 2), gradient)
            own.step()
    assert torch.equal(layers[0].weight, layers[1].weight)
    assert torch.equal(layers[0].bias, before)


def test_label_smoothing_reaches_the_loss(tmp_path: Path) -> None:
    losses = [
        train_model(
            build_model(make_network(), 2, seed=3), make_spec(choose(epochs=1, label_smoothing=share)), tmp_path / name
        )["train/loss"][0]
        for name, share in (("none", 0.0), ("some", 0.3))
    ]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_cosine_training_resumes_to_the_same_bytes(dropout: float, tmp_path: Path) -> None:
    """The learning rate and what dropout drops follow from the step alone, so that neither has a state to lose."""
    spec = make_spec(choose(epochs=2, schedule="cosine", optimizer="sgd", learning_rate=0.01))
    whole, interrupted, resumed, other = (build_with_dropout(dropout) for _ in range(4))
    train_model(whole, spec, tmp_path / "whole")

    class Stopper(Notes):
        def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
            raise InterruptedError

    checkpoints = Checkpoints(tmp_path / "parts", Stop(), seconds=-1)  # saves after every step
    with pytest.raises(InterruptedError):
        Trainer(interrupted, spec, checkpoints).run(Stopper())
    train_model(resumed, spec, tmp_path / "parts")
    assert compute_weights_sha256(resumed) == compute_weights_sha256(whole)
    train_model(other, spec, tmp_path / "other")
    assert compute_weights_sha256(other) == compute_weights_sha256(whole)


def build_with_dropout(share: float) -> nn.Module:
    """The small network, which drops so many of its features in training."""
    model = build_model(make_network(), 2, seed=3)
    model.set_submodule("fc", nn.Sequential(nn.Dropout(share), model.get_submodule("fc")))
    return model


def test_dropout_differs_between_steps_and_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    step = Trainer._take_step

    def take_step(self: Trainer, *arguments: Any) -> torch.Tensor:
        taken = step(self, *arguments)
        drawn.append(torch.initial_seed())
        return taken

    monkeypatch.setattr(Trainer, "_take_step", take_step)
    for seed in (0, 1):
        train_model(build_with_dropout(0.5), make_spec(choose(), seed), tmp_path / str(seed))
    assert len(set(drawn)) == len(drawn) == 2 * 4 * 3
