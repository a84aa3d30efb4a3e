"""One training from its images to its model: resumable, and tracked as an MLflow run."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from torch import nn

from stages.base.files import compute_sha256
from stages.base.sections import flatten
from stages.base.seeds import derive_seed
from stages.model.dataset import Examples, place_images
from stages.model.device import choose_algorithms, select_device, set_threads
from stages.model.features import Inputs, split_model
from stages.model.network import (
    LAYERS_FILE,
    build_model,
    compute_weights_sha256,
    describe_network,
    encode_layers,
    predict_logits,
)
from stages.model.params import ModelParams
from stages.model.record import Machine, TrainRecord, describe_start, list_differences
from stages.model.scores import Probabilities, compute_softmax
from stages.runtime.errors import UserError
from stages.runtime.failpoints import failpoint
from stages.training.checkpoints import Checkpoints, NoCheckpoints, catch_stop, lock_training, open_checkpoints
from stages.training.loop import Log, Trainer, TrainExamples, TrainSpec
from stages.training.params import TrainParams
from stages.training.ranks import Ranks, is_rank, join_ranks
from stages.training.steps import count_work


class RunLog(Log, Protocol):
    """The run that a training is logged to."""

    def finish(self, model_sha256: str) -> None:
        """The training is complete and made this model."""

    def close(self) -> None:
        """Nothing more comes."""


class NoLog:
    """The run as the ranks see it that log nothing: all but the first."""

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Nothing."""

    def log_file(self, data: bytes, path: str) -> None:
        """Nothing."""

    def finish(self, model_sha256: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


Track = Callable[[Path, TrainRecord], AbstractContextManager[RunLog]]
"""Opens the run to log to, which may keep files in the folder."""


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and how: one arm of one trial.

    manifests: files that list the images; their hashes are recorded. test: a manifest of the test photos. num_images:
    how many images the arm is trained on. load_train: loads these, as inputs of what is trained. repeats: how often an
    epoch shows each. augment: the section's values, where they decide what is trained on and no manifest does.
    """

    arm: str
    trial: int
    class_names: list[str]
    manifests: list[Path]
    test: pd.DataFrame
    num_images: int
    load_train: Callable[[Inputs], TrainExamples]
    repeats: int
    seed: int
    model: ModelParams
    train: TrainParams
    augment: dict[str, Any] | None

    def list_params(self) -> dict[str, Any]:
        """Those that decide what a training makes, with dotted names."""
        # of the launcher only the number of processes decides anything, which `Machine` has
        train = self.train.model_dump(exclude={"budget", "launcher"})
        sections = {"model": self.model.model_dump(), "train": train}
        return {"seed": self.seed, **flatten(sections | ({"augment": self.augment} if self.augment else {}))}


@dataclass(frozen=True)
class Trained:
    """What a training made. run: without the model's hash. predict: probabilities `[N, C]` for the test photos."""

    run: TrainRecord
    model: nn.Module
    history: pd.DataFrame
    predict: Callable[[], Probabilities]


def run_training(task: Task, track: Track, save: Callable[[Trained], TrainRecord]) -> None:
    """Train, or resume a training that was killed, to the same bytes.

    ``track`` opens the run to log to, which may keep files in a folder. ``save`` writes the results and returns the
    record with the model's hash; only then are the checkpoints removed and the run complete.

    With ``train.launcher`` this process starts others for it, and waits for them.

    Raises UserError when the network cannot be built, the images do not fit their manifests, or the loss becomes NaN.
    """
    if task.train.launcher and not is_rank():
        from stages.training.launcher import launch  # loads much of torch that nothing else needs

        launch(task.train.launcher)
        return
    with join_ranks() as ranks:
        train(task, ranks, track, save)
    failpoint("end")


def train(task: Task, ranks: Ranks, track: Track, save: Callable[[Trained], TrainRecord]) -> None:
    """Train in this process, alone or as one of several; arguments and errors as in `run_training`."""
    check_share(task, ranks)
    choose_algorithms(task.train.deterministic)
    set_threads(task.train.threads)
    device = select_device(task.train.precision, alone=ranks.count == 1)
    network = describe_network(task.model)
    with ranks.take_turns(bool(network.weights)):  # a download
        model = build_model(network, len(task.class_names), derive_seed(task.seed, "weights", task.trial))
    model = ranks.synchronize_norms(model)
    run = TrainRecord(
        arm=task.arm,
        trial=task.trial,
        class_names=task.class_names,
        network=network,
        params=task.list_params(),
        repeats=task.repeats,
        **count_work(task.num_images, task.repeats, task.train),
        initial_weights_sha256=compute_weights_sha256(model),
        manifests={path.as_posix(): compute_sha256(path) for path in task.manifests},
        machine=device.describe(network.name).model_copy(update={"processes": ranks.count}),
        model_sha256="",
    )
    print(describe(run))
    print(explain_machine(run), end="")
    trained, inputs = split_model(model.to(device.torch_device), network, device)
    with ranks.take_turns(network.freeze == "backbone"):  # features are kept
        test = inputs.load(task.test, task.class_names)
        images = task.load_train(inputs)
    if isinstance(images, Examples):  # others are made anew in each epoch
        images = place_images(images, device)
    test = place_images(test, device)
    order = derive_seed(task.seed, "order", task.trial)
    spec = TrainSpec(images, test, task.repeats, network, task.train, order, device, ranks)
    with open_session(run, ranks, track) as (checkpoints, log):
        history = Trainer(trained, spec, checkpoints).run(log)

        def finish() -> None:
            failpoint("after-last-save")
            complete = save(Trained(run, model, history, lambda: predict(trained, spec)))
            log.log_file(encode_layers(model), LAYERS_FILE)
            failpoint("before-finish")
            log.finish(complete.model_sha256)
            failpoint("after-finish")
            checkpoints.remove()
            log.close()

        ranks.call_first(finish)


def predict(trained: nn.Module, spec: TrainSpec) -> Probabilities:
    """Probabilities `[N, C]` for the test photos."""
    return compute_softmax(predict_logits(trained, spec.test.inputs, spec.network, spec.device).numpy())


def check_share(task: Task, ranks: Ranks) -> None:
    """Raise UserError when batches are too small to give each process images."""
    images = task.repeats * task.num_images
    batch = min(task.train.batch_size, images)
    if ranks.count > 1 and batch < 2 * ranks.count:
        raise UserError(
            f"train.launcher starts {ranks.count} processes, and a batch has {batch} images "
            f"(train.batch_size: {task.train.batch_size}, images: {images}): each process needs two or more. Start "
            "fewer, or raise train.batch_size."
        )


@contextmanager
def open_session(run: TrainRecord, ranks: Ranks, track: Track) -> Iterator[tuple[Checkpoints, RunLog]]:
    """The checkpoints and the run of a training, which only the first rank writes."""
    with catch_stop() as stop:
        if ranks.rank:
            yield NoCheckpoints(Path(os.devnull), stop), NoLog()
            return
        identity = run.model_dump(exclude={"machine": {"processes", "threads"}})
        size = (run.machine.processes, run.machine.threads)
        with (
            lock_training(run.name),
            open_checkpoints(run.name, identity, stop, size) as checkpoints,
            track(checkpoints.folder, run) as log,
        ):
            yield checkpoints, log


def describe(run: TrainRecord) -> str:
    """Two lines for the terminal, before training."""
    repeats = f"{run.repeats} × " if run.repeats > 1 else ""
    machine, processes = run.machine, f", processes: {run.machine.processes}" if run.machine.processes > 1 else ""
    return (
        f"train_{run.arm}: trial {run.trial}: {repeats}{run.train_images} images × {run.epochs} epochs = "
        f"{run.steps} steps, {machine.precision} on {machine.device}, threads: {machine.threads}{processes}\n"
        f"  {describe_start(run.network.name, run.network.weights, run.network.freeze)}, "
        f"{run.network.image_size} x {run.network.image_size} pixels"
    )


def explain_machine(run: TrainRecord) -> str:
    """What differs from the machine of the result at hand, and so explains another model and another dvc.lock."""
    path = Path("metrics", run.arm, f"{run.trial}.json")
    try:
        before = Machine.model_validate(json.loads(path.read_text())["trained_on"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""  # no result yet, or one of another version of this code
    differences = list_differences(before, run.machine)
    return f"  {path} is from another machine, expect another model: {', '.join(differences)}\n" if differences else ""
