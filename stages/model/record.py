"""What a training leaves beside the weights: a record of what ran, and the scores of every epoch."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from stages.base.records import Record
from stages.base.sections import flatten
from stages.base.tables import Table

RUN_FILE = "run.json"


class Machine(Record):
    """What decides the bytes of a trained model beside code, params and photos.

    device: name of the GPU, or cpu. cpu_name, cpu_flags: torch's name of the processor, and what it can do, by which
    torch's libraries choose their kernels. threads: of each process. precision: fp32 or bf16. versions: of the
    libraries that compute. processes: of one training; the file has it where there are several.
    """

    device: str
    cpu_name: str
    cpu_flags: str
    threads: int
    precision: Literal["fp32", "bf16"]
    versions: dict[str, str]
    processes: Annotated[int, Field(ge=1, exclude_if=lambda count: count == 1)] = 1


def list_differences(before: Machine, now: Machine) -> list[str]:
    """What differs between two machines, such as ``threads 2 -> 8``; of flags only those that one of them lacks.

    A library that only one of them used belongs to another network, and is no difference.
    """
    left, right = (
        flatten(machine.model_dump(exclude={"cpu_flags"})) | {"processes": machine.processes}
        for machine in (before, now)
    )
    found = [f"{key} {left[key]} -> {right[key]}" for key in left if key in right and left[key] != right[key]]
    flags = sorted(set(before.cpu_flags.split()) ^ set(now.cpu_flags.split()))
    return found + ([f"processor features {' '.join(flags)}"] if flags else [])


class NetworkRecord(Record):
    """Which network was trained from what, and how images become its input.

    name, weights, freeze: as in params.yaml. weights_sha256: of the file of pretrained weights that ``weights`` names,
    or empty. image_size: pixels along each side. mean, std: per colour channel, of intensities from 0 to 1.
    """

    name: str
    weights: str | None
    freeze: Literal["none", "backbone"]
    weights_sha256: str
    image_size: int
    mean: list[float]
    std: list[float]


def describe_start(name: str, weights: str | None, freeze: str) -> str:
    """What is trained from what, such as ``resnet50 from random weights``; the arguments as in params.yaml."""
    start = f"{name} from {f'the weights {weights}' if weights else 'random weights'}"
    return f"{start}, only its head" if freeze == "backbone" else start


class TrainRecord(Record):
    """What was trained on what: models/<arm>/<trial>/run.json, written by train.

    params: seed and the sections model and train, with dotted names. repeats: how often an epoch shows each train
    image. steps: optimizer updates in all. samples_seen: images shown to the model in all. manifests: SHA-256 by path.
    """

    arm: str
    trial: int
    class_names: list[str]
    network: NetworkRecord
    params: dict[str, Any]
    repeats: int
    epochs: int
    steps: int
    train_images: int
    samples_seen: int
    initial_weights_sha256: str
    manifests: dict[str, str]
    machine: Machine
    model_sha256: str

    @property
    def name(self) -> str:
        """Arm and trial, such as ``original-0``."""
        return f"{self.arm}-{self.trial}"


class HistoryTable(Table):
    """Scores after every epoch: metrics/history/<arm>-<trial>.csv, written by train.

    epoch: from 1. loss: cross-entropy in nats. Scores are fractions from 0 to 1; those on train images are of the
    predictions that the model learned from, those on test photos of the model after the epoch.
    """

    columns: ClassVar[dict[str, type]] = {
        **{"epoch": int, "train/loss": float, "train/accuracy": float, "test/loss": float},
        **{"test/accuracy": float, "test/precision": float, "test/recall": float, "test/f1": float},
    }


def get_model_dir(arm: str, trial: int) -> Path:
    """Where train leaves a model."""
    return Path("models", arm, str(trial))


def get_history_path(arm: str, trial: int) -> Path:
    """Where train leaves a history."""
    return Path(f"metrics/history/{arm}-{trial}.csv")
