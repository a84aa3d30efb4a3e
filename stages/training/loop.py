"""The training loop: epochs, steps, and states to go on from."""

import math
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypedDict

import numpy as np
import pandas as pd
import torch
from torch import nn
from torchvision.models import ResNet
from tqdm import tqdm

from stages.base.seeds import derive_seed
from stages.model.dataset import Images, normalize
from stages.model.device import Device
from stages.model.network import encode_weights, predict_logits
from stages.model.scores import compute_scores, compute_softmax
from stages.runtime.errors import UserError
from stages.runtime.failpoints import failpoint
from stages.training.checkpoints import Slots, State
from stages.training.params import TrainParams

REMEDY = "Lower train.learning_rate in params.yaml, or set train.precision to fp32."


@dataclass(frozen=True)
class TrainSpec:
    """What is trained on what, and how.

    ``repeats``: how often an epoch shows each train image. ``seed``: that of the trial's batch order.
    """

    train: Images
    test: Images
    repeats: int
    params: TrainParams
    seed: int
    device: Device


@dataclass
class Progress:
    """How far a training is: the scores of every complete epoch, and the steps of the running one with their sums."""

    history: list[dict[str, float]] = field(default_factory=list)
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0

    @property
    def epoch(self) -> int:
        """The running epoch, from 1."""
        return len(self.history) + 1


class Log(Protocol):
    """Where the loop tells what happens."""

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Metrics of an epoch, from 1. Only the first telling of an epoch counts."""

    def log_file(self, data: bytes, path: str) -> None:
        """A file to keep with the run."""


@dataclass
class Trainer:
    """Trains ``model`` in place, from where a killed training was."""

    model: ResNet
    task: TrainSpec
    slots: Slots
    progress: Progress = field(default_factory=Progress)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        """Go on from the newest state, if there is one."""
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.task.params.learning_rate)
        if state := self.slots.load():
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])

    def run(self, log: Log) -> pd.DataFrame:
        """Train to the end; log every epoch and keep checkpoints.

        Raises UserError when the loss is not finite, SystemExit when the process was asked to end.

        Returns: history, one row per epoch.
        """
        epochs, per_epoch, every = self.task.params.epochs, count_steps(self.task), self.task.params.checkpoint_every
        total, done = epochs * per_epoch, len(self.progress.history) * per_epoch + self.progress.step
        if done:
            print(f"  going on after step {done} of {total}")
        for epoch, scores in enumerate(self.progress.history, start=1):
            log.log_epoch(epoch, scores)
        with tqdm(total=total, initial=done, unit="step", dynamic_ncols=True, disable=not sys.stderr.isatty()) as bar:
            for epoch in range(self.progress.epoch, epochs + 1):
                bar.set_description(f"epoch {epoch}/{epochs}")
                started, left = time.perf_counter(), 1 - self.progress.step / per_epoch
                scores = self._train_one_epoch(bar)
                speed = describe_speed(time.perf_counter() - started, left, self.task)
                scores |= self._watch()
                self.progress = Progress([*self.progress.history, scores])
                if epoch % every == 0 and epoch < epochs:
                    log.log_file(encode_weights(self.model), f"checkpoints/epoch-{epoch:03d}.safetensors")
                if epoch == epochs:
                    self.slots.save(self._take_state())
                failpoint(f"before-log {epoch}")
                log.log_epoch(epoch, scores | speed)
                bar.write(describe_epoch(epoch, epochs, scores | speed), file=sys.stdout)
        return pd.DataFrame([{"epoch": epoch, **scores} for epoch, scores in enumerate(self.progress.history, start=1)])

    def _train_one_epoch(self, bar: "tqdm[Any]") -> dict[str, float]:
        """``repeats`` passes over the train images, shuffled together by the seed and the epoch; the steps still to do.

        Returns: mean loss and accuracy of the predictions that the model learned from.
        """
        self.model.train()
        task, progress, num_images = self.task, self.progress, len(self.task.train.targets)
        rng = np.random.default_rng(derive_seed(task.seed, progress.epoch))
        order = rng.permutation(task.repeats * num_images) % num_images
        for batch in split_batches(order, task.params.batch_size)[progress.step :]:
            loss, correct = self._take_step(batch)
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss became {loss} in epoch {progress.epoch}, step {bar.n + 1} of {bar.total}. {REMEDY}"
                )
            progress.loss_sum += loss * len(batch)
            progress.correct += correct
            progress.step += 1
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()
            self.slots.save_when_due(self._take_state)
            failpoint(f"step {progress.epoch}.{progress.step}")
        return {"train/loss": progress.loss_sum / len(order), "train/accuracy": progress.correct / len(order)}

    def _take_step(self, batch: np.ndarray) -> tuple[float, int]:
        """One optimizer step on the train images with these indices `[B]`. Returns: loss, number of right answers."""
        images = self.task.train.pixels[batch].to(self.task.device.torch_device)
        targets = self.task.train.targets[batch].to(self.task.device.torch_device)
        with self.task.device.autocast():
            logits = self.model(normalize(images))  # [B, C]
            loss = nn.functional.cross_entropy(logits, targets)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item(), int((logits.argmax(dim=1) == targets).sum())

    def _watch(self) -> dict[str, float]:
        """Test metrics after an epoch, to look at, not to choose by."""
        test = self.task.test
        logits = predict_logits(self.model, test.pixels, self.task.device).numpy()
        if not np.isfinite(logits).all():  # as when the last step of the epoch has spoiled the weights
            raise UserError(f"the model answers no numbers after epoch {self.progress.epoch}. {REMEDY}")
        scores = compute_scores(test.targets.numpy(), compute_softmax(logits))
        return {f"test/{name}": value for name, value in scores.items()}

    def _take_state(self) -> State:
        """Everything that training goes on from; the order of batches follows from the seed."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
        }


def count_steps(task: TrainSpec) -> int:
    """Optimizer steps of an epoch."""
    return len(split_batches(np.arange(task.repeats * len(task.train.targets)), task.params.batch_size))


class Work(TypedDict):
    """How much training an arm gets."""

    epochs: int
    steps: int
    train_images: int
    samples_seen: int


def count_work(num_images: int, repeats: int, params: TrainParams) -> Work:
    """How much training an arm gets."""
    steps = params.epochs * len(split_batches(np.arange(repeats * num_images), params.batch_size))
    return {
        "epochs": params.epochs,
        "steps": steps,
        "train_images": num_images,
        "samples_seen": params.epochs * repeats * num_images,
    }


def split_batches(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut an order `[N]` into batches; a lone last image joins the batch before it.

    Batch norm cannot normalize a single image whose feature map is 1x1, as it is below 64 pixels.
    """
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) % batch_size == 1:
        starts.pop()
    return np.split(order, starts[1:])


def describe_speed(seconds: float, share: float, task: TrainSpec) -> dict[str, float]:
    """Speed of training on this share of an epoch; nothing when only the test was left to do."""
    if not share:
        return {}
    images = task.repeats * len(task.train.targets)
    return {"train/images_per_second": images * share / seconds, "train/seconds_per_epoch": seconds / share}


def describe_epoch(epoch: int, epochs: int, row: dict[str, float]) -> str:
    """One line for the terminal, after an epoch."""
    speed = f"  {row['train/images_per_second']:.1f} images/s" if "train/images_per_second" in row else ""
    return (
        f"  epoch {epoch:>{len(str(epochs))}}/{epochs}  loss {row['train/loss']:.4f}  "
        f"test accuracy {row['test/accuracy']:.3f}{speed}"
    )
