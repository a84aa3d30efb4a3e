"""The training loop: epochs and optimizer steps, with checkpoints to resume from."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Protocol, TypedDict

import numpy as np
import pandas as pd
import torch
from torch import nn
from torchvision.models import ResNet

from stages.base.seeds import derive_seed
from stages.model.dataset import Images, normalize
from stages.model.device import Device
from stages.model.network import encode_weights, predict_logits
from stages.model.scores import compute_scores, compute_softmax
from stages.runtime.errors import UserError
from stages.runtime.failpoints import failpoint
from stages.runtime.progress import compute_speed, describe_epoch, show_steps
from stages.training.checkpoints import Checkpoint, Checkpoints
from stages.training.params import TrainParams

REMEDY = "Lower train.learning_rate in params.yaml, or set train.precision to fp32."


@dataclass(frozen=True)
class TrainSpec:
    """What is trained on what, and how.

    ``repeats``: how often an epoch shows each train image. ``seed``: of the trial's batch order.
    """

    train: Images
    test: Images
    repeats: int
    params: TrainParams
    seed: int
    device: Device

    @property
    def samples_per_epoch(self) -> int:
        """Images that an epoch shows to the model."""
        return self.repeats * len(self.train.targets)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return count_steps(self.samples_per_epoch, self.params.batch_size)


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
    """Where the loop logs to."""

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Metrics of an epoch, from 1. An epoch that was logged before is not logged again."""

    def log_file(self, data: bytes, path: str) -> None:
        """A file to keep with the run."""


@dataclass
class Trainer:
    """Trains ``model`` in place, from the newest checkpoint if there is one."""

    model: ResNet
    spec: TrainSpec
    checkpoints: Checkpoints
    progress: Progress = field(default_factory=Progress)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        """Restore the newest checkpoint."""
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.spec.params.learning_rate)
        if checkpoint := self.checkpoints.load():
            self.model.load_state_dict(checkpoint["model"])
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            self.progress = Progress(**checkpoint["progress"])

    def run(self, log: Log) -> pd.DataFrame:
        """Train to the end; log every epoch.

        Raises UserError when the loss is not finite, SystemExit when the process was asked to end.

        Returns: the history, a `HistoryTable`.
        """
        epochs, every = self.spec.params.epochs, self.spec.params.checkpoint_every
        if done := self._count_done():
            print(f"  resuming after step {done} of {epochs * self.spec.steps_per_epoch}")
        for epoch, scores in enumerate(self.progress.history, start=1):
            log.log_epoch(epoch, scores)
        with show_steps(epochs * self.spec.steps_per_epoch, done) as bar:
            for epoch in range(self.progress.epoch, epochs + 1):
                bar.set_description(f"epoch {epoch}/{epochs}")
                started, left = time.perf_counter(), 1 - self.progress.step / self.spec.steps_per_epoch
                scores = self._train_one_epoch(bar.update)
                speed = compute_speed(self.spec.samples_per_epoch, time.perf_counter() - started, left)
                scores |= self._test()
                self.progress = Progress([*self.progress.history, scores])
                if epoch % every == 0 and epoch < epochs:
                    log.log_file(encode_weights(self.model), f"checkpoints/epoch-{epoch:03d}.safetensors")
                if epoch == epochs:
                    self.checkpoints.save(self._take_checkpoint())
                failpoint(f"before-log {epoch}")
                log.log_epoch(epoch, scores | speed)
                bar.write(describe_epoch(epoch, epochs, scores | speed), file=sys.stdout)
        return pd.DataFrame([{"epoch": epoch, **scores} for epoch, scores in enumerate(self.progress.history, start=1)])

    def _count_done(self) -> int:
        return len(self.progress.history) * self.spec.steps_per_epoch + self.progress.step

    def _train_one_epoch(self, show_step: Callable[[], object]) -> dict[str, float]:
        """Train on all images ``repeats`` times, shuffled together by the seed and the epoch; the steps left to do.

        Returns: mean loss and accuracy of the predictions that the model learned from.
        """
        self.model.train()
        spec, progress, num_images = self.spec, self.progress, len(self.spec.train.targets)
        rng = np.random.default_rng(derive_seed(spec.seed, progress.epoch))
        order = rng.permutation(spec.samples_per_epoch) % num_images
        for batch in split_batches(order, spec.params.batch_size)[progress.step :]:
            with spec.device.take_turn():
                loss, correct = self._take_step(batch)
            if not math.isfinite(loss):
                step, total = self._count_done() + 1, spec.params.epochs * spec.steps_per_epoch
                raise UserError(f"the loss became {loss} in epoch {progress.epoch}, step {step} of {total}. {REMEDY}")
            progress.loss_sum += loss * len(batch)
            progress.correct += correct
            progress.step += 1
            show_step()
            self.checkpoints.save_when_due(self._take_checkpoint)
            failpoint(f"step {progress.epoch}.{progress.step}")
        return {"train/loss": progress.loss_sum / len(order), "train/accuracy": progress.correct / len(order)}

    def _take_step(self, batch: np.ndarray) -> tuple[float, int]:
        """One optimizer step on the train images with these indices `[B]`. Returns: loss, correct predictions."""
        images = self.spec.train.pixels[batch].to(self.spec.device.torch_device)
        targets = self.spec.train.targets[batch].to(self.spec.device.torch_device)
        with self.spec.device.autocast():
            logits = self.model(normalize(images))  # [B, C]
            loss = nn.functional.cross_entropy(logits, targets)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item(), int((logits.argmax(dim=1) == targets).sum())

    def _test(self) -> dict[str, float]:
        """Test scores after an epoch; nothing is selected by them."""
        test = self.spec.test
        logits = predict_logits(self.model, test.pixels, self.spec.device).numpy()
        if not np.isfinite(logits).all():  # as when the last step of the epoch has ruined the weights
            raise UserError(f"the logits are NaN or Inf after epoch {self.progress.epoch}. {REMEDY}")
        scores = compute_scores(test.targets.numpy(), compute_softmax(logits))
        return {f"test/{name}": value for name, value in scores.items()}

    def _take_checkpoint(self) -> Checkpoint:
        """Everything that training resumes from; the order of batches follows from the seed."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
        }


class Work(TypedDict):
    """How much training an arm gets; fields as in `TrainRecord`."""

    epochs: int
    steps: int
    train_images: int
    samples_seen: int


def count_work(num_images: int, repeats: int, params: TrainParams) -> Work:
    """How much training an arm gets that is shown ``num_images`` so often an epoch."""
    return {
        "epochs": params.epochs,
        "steps": params.epochs * count_steps(repeats * num_images, params.batch_size),
        "train_images": num_images,
        "samples_seen": params.epochs * repeats * num_images,
    }


def count_steps(num_samples: int, batch_size: int) -> int:
    """Optimizer steps on so many samples."""
    return len(split_batches(np.arange(num_samples), batch_size))


def split_batches(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut an order `[N]` into batches; a lone last image joins the batch before it.

    Batch norm cannot normalize a single image whose feature map is 1x1, as it is below 64 pixels.
    """
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) % batch_size == 1:
        starts.pop()
    return np.split(order, starts[1:])
