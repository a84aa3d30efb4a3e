"""One training from its images to its model: resumable, and tracked as an MLflow run."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from torch import nn

from stages.base.files import compute_sha256
from stages.base.sections import flatten
from stages.base.seeds import derive_seed
from stages.model.device import make_deterministic, select_device, set_threads
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
from stages.runtime.failpoints import failpoint
from stages.training.checkpoints import catch_stop, lock_training, open_checkpoints
from stages.training.loop import Log, Trainer, TrainExamples, TrainSpec
from stages.training.params import TrainParams
from stages.training.steps import count_work


class RunLog(Log, Protocol):
    """The run that a training is logged to."""

    def finish(self, model_sha256: str) -> None:
        """The training is complete and made this model."""

    def close(self) -> None:
        """Nothing more comes."""


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
        sections = {"model": self.model.model_dump(), "train": self.train.model_dump(exclude={"budget"})}
        return {"seed": self.seed, **flatten(sections | ({"augment": self.augment} if self.augment else {}))}


@dataclass(frozen=True)
class Trained:
    """What a training made. run: without the model's hash. predict: probabilities `[N, C]` for the test photos."""

    run: TrainRecord
    model: nn.Module
    history: pd.DataFrame
    predict: Callable[[], Probabilities]


def run_training(
    task: Task,
    track: Callable[[Path, TrainRecord], AbstractContextManager[RunLog]],
    save: Callable[[Trained], TrainRecord],
) -> None:
    """Train, or resume a training that was killed, to the same bytes.

    ``track`` opens the run to log to, which may keep files in a folder. ``save`` writes the results and returns the
    record with the model's hash; only then are the checkpoints removed and the run complete.

    Raises UserError when the network cannot be built, the images do not fit their manifests, or the loss becomes NaN.
    """
    make_deterministic()
    set_threads(task.train.threads)
    device = select_device(task.train.precision)
    network = describe_network(task.model)
    model = build_model(network, len(task.class_names), derive_seed(task.seed, "weights", task.trial))
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
        machine=device.describe(network.name),
        model_sha256="",
    )
    print(describe(run))
    print(explain_machine(run), end="")
    trained, inputs = split_model(model.to(device.torch_device), network, device)
    test = inputs.load(task.test, task.class_names)
    train = task.load_train(inputs)
    order = derive_seed(task.seed, "order", task.trial)
    spec = TrainSpec(train, test, task.repeats, network, task.train, order, device)
    with (
        lock_training(run.name),
        catch_stop() as stop,
        open_checkpoints(run.name, run.model_dump(), stop) as checkpoints,
        track(checkpoints.folder, run) as log,
    ):
        history = Trainer(trained, spec, checkpoints).run(log)
        failpoint("after-last-save")

        def predict() -> Probabilities:
            return compute_softmax(predict_logits(trained, test.inputs, network, device).numpy())

        run = save(Trained(run, model, history, predict))
        log.log_file(encode_layers(model), LAYERS_FILE)
        failpoint("before-finish")
        log.finish(run.model_sha256)
        failpoint("after-finish")
        checkpoints.remove()
        log.close()
    failpoint("end")


def describe(run: TrainRecord) -> str:
    """Two lines for the terminal, before training."""
    repeats = f"{run.repeats} × " if run.repeats > 1 else ""
    return (
        f"train_{run.arm}: trial {run.trial}: {repeats}{run.train_images} images × {run.epochs} epochs = "
        f"{run.steps} steps, {run.machine.precision} on {run.machine.device}, threads: {run.machine.threads}\n"
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
