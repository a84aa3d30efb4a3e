"""Studies made of numbers, without files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.comparison.study import Study
from stages.evaluation.metrics import compute_metrics
from stages.evaluation.record import EvaluationRecord
from tests.support.records import make_machine


def make_study(
    original: npt.ArrayLike,
    augmented: npt.ArrayLike,
    *,
    trials: Sequence[int] | None = None,
    class_names: Sequence[str] = ("cats", "dogs"),
    steps: tuple[int, int] = (40, 110),
) -> Study:
    """A study in which each arm was correct (1), wrong (0) or did not test a photo (NaN): `[T, N]`.

    Photo i is of class i mod C; each prediction has a probability of 0.8, a wrong one names the next class.
    """
    correct = {"original": np.atleast_2d(original), "augmented": np.atleast_2d(augmented)}
    trials, names = list(trials or range(len(correct["original"]))), list(class_names)
    predictions: dict[str, pd.DataFrame] = {}
    records: dict[str, list[EvaluationRecord]] = {}
    for (arm, rows), number in zip(correct.items(), steps, strict=True):
        tables, records[arm] = [], []
        for trial, row in zip(trials, rows, strict=True):
            photos = np.flatnonzero(np.isfinite(row))
            targets = photos % len(names)
            preds = (targets + (row[photos] == 0)) % len(names)
            p = np.full((len(photos), len(names)), 0.2 / (len(names) - 1))
            p[np.arange(len(photos)), preds] = 0.8
            about: dict[str, Any] = {
                "arm": arm,
                "trial": trial,
                "class_names": names,
                "train_images": 8,
                "steps": number,
            }
            about |= {
                "samples_seen": 8,
                "model_sha256": f"{trial:064x}",
                "trained_on": make_machine(),
                "image_size": 32,
            }
            about |= {"source": "archive", "version": "1", "test_photos": len(photos)}
            records[arm].append(EvaluationRecord(**about, **dict(compute_metrics(targets, p, names))))
            columns = {"path": [f"photo_{i:06}.jpg" for i in photos], "target": np.array(names)[targets]}
            table = pd.DataFrame(columns).assign(pred=np.array(names)[preds], trial=trial)
            tables.append(table.join(pd.DataFrame(p, columns=[f"p_{name}" for name in names])))
        predictions[arm] = pd.concat(tables, ignore_index=True)
    photos = correct["original"].shape[1]
    counts = pd.DataFrame({"train": 4 * photos // len(names), "copies": 0, "test": photos // len(names)}, index=names)
    empty = pd.DataFrame({"operation": []})
    return Study(trials, photos, 0, counts, records, {arm: [] for arm in records}, predictions, empty)


def make_pair(only_augmented: int, only_original: int, photos: int) -> tuple[npt.NDArray[np.float64], ...]:
    """What two arms got right on ``photos``, of which some were got right by only one of them, the rest by both."""
    original, augmented = np.ones(photos), np.ones(photos)
    original[:only_augmented] = 0
    augmented[only_augmented : only_augmented + only_original] = 0
    return original, augmented
