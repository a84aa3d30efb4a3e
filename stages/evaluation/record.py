"""What one arm of one trial scored, and what the scores are of."""

from pathlib import Path
from typing import Self

import pandas as pd

from stages.evaluation.metrics import Metrics
from stages.model.record import Machine, TrainRecord


class EvaluationRecord(Metrics):
    """Metrics of one arm of one trial: metrics/<arm>/<trial>.json, written by evaluate.

    train_images, steps, samples_seen, model_sha256, trained_on: as in the model's `TrainRecord`. image_size: of the
    network's input, pixels along each side. source, version: of the photos. test_photos: how many the metrics are of.
    """

    arm: str
    trial: int
    class_names: list[str]
    train_images: int
    steps: int
    samples_seen: int
    model_sha256: str
    trained_on: Machine
    image_size: int
    source: str
    version: str
    test_photos: int

    @classmethod
    def build(cls, metrics: Metrics, run: TrainRecord, photos: pd.DataFrame, test_photos: int) -> Self:
        """The record of the model that ``run`` left, tested on some of ``photos`` (a `PhotoTable`)."""
        shared = {name: value for name, value in run if name in cls.model_fields}
        source, version = photos["source"].iloc[0], photos["version"].iloc[0]
        what = {"source": source, "version": version, "test_photos": test_photos}
        return cls(trained_on=run.machine, image_size=run.network.image_size, **dict(metrics), **shared, **what)

    def count_correct(self) -> int:
        """Number of test photos whose prediction is their class."""
        return sum(row[i] for i, row in enumerate(self.confusion_matrix))

    @property
    def name(self) -> str:
        """Arm and trial, such as ``original-0``."""
        return f"{self.arm}-{self.trial}"


def get_metrics_path(arm: str, trial: int) -> Path:
    """Where evaluate leaves the metrics of an arm."""
    return Path(f"metrics/{arm}/{trial}.json")
