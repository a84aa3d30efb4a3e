"""What one arm of one trial scored, and what the scores are of."""

from pathlib import Path

from stages.evaluation.metrics import Metrics
from stages.model.record import Machine


class EvaluationRecord(Metrics):
    """Metrics of one arm of one trial: metrics/<arm>/<trial>.json, written by evaluate.

    train_images, steps, samples_seen, model_sha256, trained_on: as in the model's `TrainRecord`. source, version: of
    the photos. test_photos: how many the metrics are of.
    """

    arm: str
    trial: int
    class_names: list[str]
    train_images: int
    steps: int
    samples_seen: int
    model_sha256: str
    trained_on: Machine
    source: str
    version: str
    test_photos: int

    @property
    def name(self) -> str:
        """Arm and trial, such as ``original-0``."""
        return f"{self.arm}-{self.trial}"


def get_metrics_path(arm: str, trial: int) -> Path:
    """Where evaluate leaves the metrics of an arm."""
    return Path(f"metrics/{arm}/{trial}.json")
