"""Studies made of numbers, without files."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.comparison.study import Metrics, Study
from stages.evaluation.metrics import compute_metrics


def make_study(
    original: npt.ArrayLike,
    augmented: npt.ArrayLike,
    *,
    trials: Sequence[int] | None = None,
    class_names: Sequence[str] = ("cats", "dogs"),
    steps: tuple[int, int] = (40, 110),
) -> Study:
    """A study in which each arm was right (1), wrong (0) or did not test a photo (NaN): `[T, N]`.

    Photo i is of class i mod C; each answer has a probability of 0.8, a wrong one names the next class.
    """
    right = {"original": np.atleast_2d(original), "augmented": np.atleast_2d(augmented)}
    trials, names = list(trials or range(len(right["original"]))), list(class_names)
    answers: dict[str, pd.DataFrame] = {}
    metrics: Metrics = {}
    for (arm, rows), number in zip(right.items(), steps, strict=True):
        tables, metrics[arm] = [], []
        for trial, row in zip(trials, rows, strict=True):
            photos = np.flatnonzero(np.isfinite(row))
            targets = photos % len(names)
            preds = (targets + (row[photos] == 0)) % len(names)
            p = np.full((len(photos), len(names)), 0.2 / (len(names) - 1))
            p[np.arange(len(photos)), preds] = 0.8
            about = {"steps": number, "class_names": names, "test_photos": len(photos), "model_sha256": f"{trial:064x}"}
            metrics[arm].append(about | compute_metrics(targets, p, names).model_dump())
            columns = {"path": [f"photo_{i:06}.jpg" for i in photos], "target": np.array(names)[targets]}
            table = pd.DataFrame(columns).assign(pred=np.array(names)[preds], trial=trial)
            tables.append(table.assign(**{f"p_{name}": p[:, i] for i, name in enumerate(names)}))
        answers[arm] = pd.concat(tables, ignore_index=True)
    sides = pd.DataFrame({"split": ["train"] * 4 * right["original"].shape[1]})
    source = pd.DataFrame({"source": ["archive"], "version": ["1"]})
    empty = pd.DataFrame()
    return Study(trials, source, 0, sides, empty, metrics, {}, answers, pd.DataFrame({"operation": []}), empty)


def make_pair(only_augmented: int, only_original: int, photos: int) -> tuple[npt.NDArray[np.float64], ...]:
    """What two arms got right on ``photos``, of which some were got right by only one of them, the rest by both."""
    original, augmented = np.ones(photos), np.ones(photos)
    original[:only_augmented] = 0
    augmented[only_augmented : only_augmented + only_original] = 0
    return original, augmented
