"""The training loop: epochs and optimizer steps, with checkpoints to resume from."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from stages.base.seeds import derive_seed
from stages.model.dataset import Examples, prepare
from stages.model.device import Device
from stages.model.network import encode_weights, predict_logits
from stages.model.record import NetworkRecord
from stages.model.scores import compute_scores, compute_softmax
from stages.runtime.errors import UserError
from stages.runtime.failpoints import failpoint
from stages.runtime.progress import compute_speed, describe_epoch, show_steps
from stages.training.checkpoints import Checkpoint, Checkpoints
from stages.training.optimizer import build_optimizer
from stages.training.params import TrainParams
from stages.training.ranks import ALONE, Ranks, Share
from stages.training.steps import compute_learning_rate, count_steps, split_batches

REMEDY = "Lower train.learning_rate in params.yaml, or set train.precision to fp32."


class TrainExamples(Protocol):
    """What is trained on, such as `Examples`. targets: class indices, int64 `[N]`."""

    @property
    def targets(self) -> torch.Tensor:
        """Class index of each example."""

    def read_batches(self, epoch: int, batches: Sequence[npt.NDArray[np.int64]]) -> Iterator[torch.Tensor]:
        """The inputs of each batch of indices `[B]`, one after the other, as they are in this epoch, from 1."""


@dataclass(frozen=True)
class TrainSpec:
    """What is trained on what, and how.

    ``repeats``: how often an epoch shows each train image. ``seed``: of the trial's batch order.
    """

    train: TrainExamples
    test: Examples
    repeats: int
    network: NetworkRecord
    params: TrainParams
    seed: int
    device: Device
    ranks: Ranks = ALONE

    @property
    def samples_per_epoch(self) -> int:
        """Images that an epoch shows to the model."""
        return self.repeats * len(self.train.targets)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return count_steps(self.samples_per_epoch, self.params.batch_size)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.params.epochs * self.steps_per_epoch

    @property
    def reads_images(self) -> bool:
        """Whether an epoch computes on images, rather than on features that are kept."""
        return not isinstance(self.train, Examples) or self.train.inputs.dtype == torch.uint8


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


@dataclass(frozen=True)
class Taken:
    """A step that was taken, on so many images; its results `[2]`, loss and correct predictions, are on the device."""

    results: torch.Tensor
    share: Share
    images: int


class Log(Protocol):
    """Where the loop logs to."""

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Metrics of an epoch, from 1. An epoch that was logged before is not logged again."""

    def log_file(self, data: bytes, path: str) -> None:
        """A file to keep with the run."""


@dataclass
class Trainer:
    """Trains ``model``, a network or its head alone, in place, from the newest checkpoint if there is one."""

    model: nn.Module
    spec: TrainSpec
    checkpoints: Checkpoints
    progress: Progress = field(default_factory=Progress)
    optimizer: torch.optim.Optimizer = field(init=False)
    parallel: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        """Restore the newest checkpoint."""
        self.optimizer = build_optimizer(self.model, self.spec.params, fused=self.spec.device.runs_ahead)
        if checkpoint := self.spec.ranks.call_first(self.checkpoints.load):
            self.model.load_state_dict(checkpoint["model"])
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            self.progress = Progress(**checkpoint["progress"])
        self.parallel = self.spec.ranks.parallelize(self.model)

    def run(self, log: Log) -> pd.DataFrame:
        """Train to the end; log every epoch.

        Raises UserError when the loss is not finite, SystemExit when the process was asked to end.

        Returns: the history, a `HistoryTable`.
        """
        epochs, every = self.spec.params.epochs, self.spec.params.checkpoint_every
        if done := self._count_done():
            print(f"  resuming after step {done} of {self.spec.steps}")
        for epoch, scores in enumerate(self.progress.history, start=1):
            log.log_epoch(epoch, scores)
        with show_steps(self.spec.steps, done) as bar:
            for epoch in range(self.progress.epoch, epochs + 1):
                bar.set_description(f"epoch {epoch}/{epochs}")
                started, left = time.perf_counter(), 1 - self.progress.step / self.spec.steps_per_epoch
                scores = self._train_one_epoch(bar.update)
                seconds = time.perf_counter() - started
                speed = compute_speed(self.spec.samples_per_epoch, seconds, left) if self.spec.reads_images else {}
                scores |= self.spec.ranks.call_first(self._test)
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
        batches = split_batches(order, spec.params.batch_size)[progress.step :]
        shares = [spec.ranks.share(batch) for batch in batches]
        inputs = spec.train.read_batches(progress.epoch, [share.indices for share in shares])
        taken: list[Taken] = []
        for batch, share, batch_inputs in zip(batches, shares, inputs, strict=True):
            with spec.device.take_turn():
                results = self._take_step(batch_inputs, spec.train.targets[share.indices], share)
            taken.append(Taken(results, share, len(batch)))
            progress.step += 1
            show_step()
            if self._must_wait():
                self._add(taken)
                self.checkpoints.save_when_due(self._take_checkpoint)
            failpoint(f"step {progress.epoch}.{progress.step}")
        return {"train/loss": progress.loss_sum / len(order), "train/accuracy": progress.correct / len(order)}

    def _must_wait(self) -> bool:
        """Whether the numbers of the steps so far are needed; a GPU would rather compute on."""
        alone_on_gpu = self.spec.device.runs_ahead and self.spec.ranks.count == 1
        due = bool(self.checkpoints.stop.asked) or self.checkpoints.is_due
        return not alone_on_gpu or due or self.progress.step == self.spec.steps_per_epoch

    def _add(self, taken: list[Taken]) -> None:
        """Wait for the results of steps, and add them to the progress. Raises UserError unless a loss is finite."""
        spec, progress, stop = self.spec, self.progress, self.checkpoints.stop
        results = torch.stack([step.results for step in taken]).tolist()
        for number, ((own_loss, own_correct), step) in enumerate(zip(results, taken, strict=True), start=1):
            loss, correct, stop.signum = spec.ranks.add(own_loss, int(own_correct), step.share, stop.asked)
            if not math.isfinite(loss):
                at = self._count_done() - len(taken) + number
                raise UserError(
                    f"the loss became {loss} in epoch {progress.epoch}, step {at} of {spec.steps}. {REMEDY}"
                )
            progress.loss_sum += loss * step.images
            progress.correct += correct
        taken.clear()

    def _take_step(self, inputs: torch.Tensor, targets: torch.Tensor, share: Share) -> torch.Tensor:
        """One optimizer step on images or features `[B, ...]` of classes `[B]`, this rank's share of a batch.

        Returns: their loss and number of correct predictions, `[2]`, on the device.
        """
        spec, step = self.spec, self._count_done()
        others = [spec.ranks.rank] if spec.ranks.rank else []
        torch.manual_seed(derive_seed(spec.seed, "dropout", step, *others))  # also of stochastic depth
        for group in self.optimizer.param_groups:
            group["lr"] = compute_learning_rate(step, spec.steps, spec.params)
        inputs, targets = (x.to(spec.device.torch_device, non_blocking=True) for x in (inputs, targets))
        with spec.device.autocast():
            logits = self.parallel(prepare(inputs, spec.network))  # [B, C]
            loss = nn.functional.cross_entropy(logits, targets, label_smoothing=spec.params.label_smoothing)
        self.optimizer.zero_grad()
        spec.ranks.weigh(loss, share).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return torch.stack([loss.detach(), (logits.argmax(dim=1) == targets).sum()])

    def _test(self) -> dict[str, float]:
        """Test scores after an epoch; nothing is selected by them."""
        test = self.spec.test
        logits = predict_logits(self.model, test.inputs, self.spec.network, self.spec.device).numpy()
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
