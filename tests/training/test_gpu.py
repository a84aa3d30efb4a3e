"""What differs on a GPU: numbers are asked for late, images lie in its memory. On the CPU, then on a GPU if any."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from stages.base.files import compute_sha256
from stages.model.dataset import Batch, Examples, load_images, place_images, read_ahead
from stages.model.device import Device, choose_algorithms
from stages.model.network import build_model, compute_weights_sha256, predict_logits
from stages.runtime.errors import UserError
from stages.training import loop, session
from stages.training.checkpoints import Checkpoints, Stop
from stages.training.loop import Taken, Trainer, TrainSpec
from stages.training.optimizer import build_optimizer
from stages.training.ranks import ALONE
from tests.support.records import make_network
from tests.training.test_loop import Notes, choose, make_spec, small_resnet

__all__ = ["small_resnet"]  # a fixture that every test uses

SIDE = 16  # pixels
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Ahead(Device):
    """A CPU that is treated as if it computed while the program goes on."""

    runs_ahead = True


@pytest.fixture
def same_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fused optimizer rounds differently."""
    monkeypatch.setattr(loop, "build_optimizer", lambda model, params, fused: build_optimizer(model, params))


def make_trainer(spec: TrainSpec, folder: Path, stop: Stop | None = None) -> Trainer:
    model = build_model(make_network(), 2, seed=3).to(spec.device.torch_device)
    return Trainer(model, spec, Checkpoints(folder, stop or Stop()))


def run_ahead(spec: TrainSpec) -> TrainSpec:
    return replace(spec, device=Ahead(torch.device("cpu"), "fp32"))


@pytest.mark.usefixtures("same_optimizer")
def test_results_that_are_asked_for_late_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(choose())
    now, late = make_trainer(spec, tmp_path / "now"), make_trainer(run_ahead(spec), tmp_path / "late")
    (tmp_path / "now").mkdir()
    (tmp_path / "late").mkdir()
    asked: list[int] = []
    add = Trainer._add

    def count(self: Trainer, taken: list[Taken]) -> None:
        asked.append(len(taken))
        add(self, taken)

    monkeypatch.setattr(Trainer, "_add", count)
    assert now.run(Notes()).equals(late.run(Notes()))
    assert compute_weights_sha256(now.model) == compute_weights_sha256(late.model)
    assert asked == [1] * 12 + [3] * 4, "one by one, and an epoch at once"


@pytest.mark.usefixtures("same_optimizer")
@pytest.mark.parametrize("asked_at", [1, 2, 3, 5])
def test_a_training_that_is_asked_to_end_early_resumes_to_the_same_bytes(
    asked_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = run_ahead(make_spec(choose()))
    whole, stop = make_trainer(spec, tmp_path), Stop()
    history = whole.run(Notes())
    for path in tmp_path.iterdir():
        path.unlink()
    stopped = make_trainer(spec, tmp_path, stop)
    take_step, steps = stopped._take_step, iter(range(1, 100))

    def count_step(*arguments: Any) -> torch.Tensor:
        if next(steps) == asked_at:
            stop.asked = signal.SIGTERM
        return take_step(*arguments)

    monkeypatch.setattr(stopped, "_take_step", count_step)
    with pytest.raises(SystemExit):
        stopped.run(Notes())
    resumed = make_trainer(spec, tmp_path)
    assert resumed._count_done() == asked_at
    assert resumed.run(Notes()).equals(history)
    assert compute_weights_sha256(resumed.model) == compute_weights_sha256(whole.model)


def test_a_nan_is_named_with_its_own_step_though_seen_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(run_ahead(make_spec(choose(epochs=2))), tmp_path)
    losses = iter([0.7] * 4 + [float("nan")] * 2)  # three steps an epoch
    monkeypatch.setattr(trainer, "_take_step", lambda *_: torch.tensor([next(losses), 1]))
    with pytest.raises(UserError, match=r"the loss became nan in epoch 2, step 5 of 6\."):
        trainer.run(Notes())


@pytest.fixture
def examples(workspace: Path) -> Iterator[Examples]:
    """Five photos in a pack."""
    rng, paths = np.random.default_rng(0), [workspace / f"data/raw/cats/{n}.png" for n in range(5)]
    paths[0].parent.mkdir(parents=True)
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    manifest = pd.DataFrame({"path": map(str, paths), "sha256": map(compute_sha256, paths), "class": "cats"})
    yield load_images(manifest, ["cats"], SIDE)


@pytest.mark.parametrize("missing", [0, 1])
def test_images_are_placed_where_they_fit(missing: int, examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.model.dataset.PLACED", 2)
    device = Device(torch.device("cpu"), "fp32")
    assert place_images(examples, device) is examples, "a CPU reads them from disk"
    monkeypatch.setattr(Device, "measure_room", lambda _: 5 * 3 * SIDE * SIDE - missing)
    placed = place_images(examples, device)
    assert isinstance(placed.inputs, torch.Tensor) != bool(missing)
    batches: list[Batch] = [np.array([4, 0, 4]), slice(3, 9), np.array([2])]
    for found, wanted in zip(read_ahead(placed.inputs, batches), read_ahead(examples.inputs, batches), strict=True):
        assert torch.equal(found, wanted)
        assert found.is_contiguous(memory_format=torch.channels_last)
    assert place_images(placed, device) is placed


def spec_on_gpu(precision: str, **changes: Any) -> TrainSpec:
    spec = make_spec(choose(optimizer="sgd", learning_rate=0.01, **changes))
    device: Device = Device(torch.device("cuda"), precision)  # type: ignore[arg-type]
    placed = Examples(spec.train.read_batches(1, [np.arange(24)]).__next__().to("cuda"), spec.train.targets)
    return replace(spec, device=device, train=placed, test=placed)


@gpu
def test_gpu_repeats_to_the_byte(tmp_path: Path) -> None:
    choose_algorithms()
    trainers = [make_trainer(spec_on_gpu("bf16"), tmp_path / str(number)) for number in range(2)]
    for number, trainer in enumerate(trainers):
        (tmp_path / str(number)).mkdir()
        trainer.run(Notes())
    assert compute_weights_sha256(trainers[0].model) == compute_weights_sha256(trainers[1].model)


@gpu
@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 5e-2)])
def test_gpu_and_cpu_agree(deterministic: bool, precision: str, tolerance: float, tmp_path: Path) -> None:
    """The mean loss of an epoch of three steps, and the logits after it; no such number was measured yet."""
    choose_algorithms(deterministic)
    cpu = make_spec(choose(optimizer="sgd", learning_rate=0.01, epochs=1))
    found = []
    for number, spec in enumerate([cpu, spec_on_gpu(precision, epochs=1)]):
        (tmp_path / str(number)).mkdir()
        trainer = make_trainer(spec, tmp_path / str(number))
        losses = trainer.run(Notes())["train/loss"].to_numpy()
        found.append((losses, predict_logits(trainer.model, spec.test.inputs, spec.network, spec.device).numpy()))
    choose_algorithms()
    for theirs, ours in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("deterministic", [True, False])
def test_params_choose_the_algorithms(deterministic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage asks for what train.deterministic says, and torch is told so."""
    task = SimpleNamespace(train=choose(deterministic=deterministic), repeats=1, num_images=8)
    monkeypatch.setattr(session, "set_threads", lambda _: (_ for _ in ()).throw(InterruptedError))
    try:
        with pytest.raises(InterruptedError):
            session.train(cast(session.Task, task), ALONE, cast(session.Track, None), lambda _: pytest.fail())
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        assert torch.backends.cudnn.benchmark != deterministic
    finally:
        choose_algorithms()
