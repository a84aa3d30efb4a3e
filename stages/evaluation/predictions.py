"""Predictions as tables with a row per image: classes by name, probabilities from 0 to 1."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from stages.base.tables import Table
from stages.model.scores import Probabilities

EXACT = "%.9g"
"""Nine digits give back the exact single-precision number."""


class PredictionTable(Table):
    """One row per test photo: metrics/predictions/<arm>-<trial>.csv, written by evaluate.

    target, pred: class names. Then a column ``p_<class>`` per class: its probability.
    """

    columns: ClassVar[dict[str, type]] = {"path": str, "sha256": str, "target": str, "pred": str}
    float_format = EXACT

    @classmethod
    def of(cls, class_names: list[str]) -> type["PredictionTable"]:
        """The table of these classes."""
        scores = dict.fromkeys((f"p_{name}" for name in class_names), float)
        return type("PredictionTable", (cls,), {"columns": {**cls.columns, **scores}})


class RobustnessTable(Table):
    """One row per operation and test photo: metrics/robustness/<trial>.csv, written by evaluate; may have no rows.

    original, augmented: the class that the arm predicts. p_original, p_augmented: its probability of the target.
    """

    columns: ClassVar[dict[str, type]] = {
        **{"operation": str, "path": str, "sha256": str, "target": str, "original": str, "augmented": str},
        **{"p_original": float, "p_augmented": float},
    }
    float_format = EXACT
    may_be_empty = True


class CopyPredictionTable(Table):
    """What the augmented arm predicts for each copy, or sample of its views: metrics/copies/<trial>.csv, by evaluate.

    operations: as in the copies' manifest. p_target: probability of the target.
    """

    columns: ClassVar[dict[str, type]] = {
        **{"path": str, "source_path": str, "operations": str, "target": str, "pred": str, "p_target": float},
    }
    float_format = EXACT


def get_predictions_path(arm: str, trial: int) -> Path:
    """Where evaluate leaves the predictions of an arm."""
    return Path(f"metrics/predictions/{arm}-{trial}.csv")


def tabulate_predictions(test: pd.DataFrame, probabilities: Probabilities, class_names: list[str]) -> pd.DataFrame:
    """A `PredictionTable` from a manifest of N photos and probabilities `[N, C]`."""
    table = test[["path", "sha256"]].assign(target=test["class"], pred=_name_preds(probabilities, class_names))
    scores = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in class_names], index=table.index)
    return pd.concat([table, scores], axis=1)


def tabulate_copies(copies: pd.DataFrame, probabilities: Probabilities, class_names: list[str]) -> pd.DataFrame:
    """A `CopyPredictionTable` from a manifest of N copies and probabilities `[N, C]`."""
    table = copies[["path", "source_path", "operations"]].assign(target=copies["class"])
    table["pred"] = _name_preds(probabilities, class_names)
    table["p_target"] = _select_targets(probabilities, table["target"], class_names)
    return table


def tabulate_operation(
    operation: str, test: pd.DataFrame, probabilities: dict[str, Probabilities], class_names: list[str]
) -> pd.DataFrame:
    """The rows of a `RobustnessTable` for N photos under an operation; ``probabilities``: per arm `[N, C]`."""
    table = test[["path", "sha256"]].assign(operation=operation, target=test["class"])
    for arm, values in probabilities.items():
        table[arm] = _name_preds(values, class_names)
        table[f"p_{arm}"] = _select_targets(values, table["target"], class_names)
    return table


def compute_accuracies(robustness: pd.DataFrame, arm: str) -> dict[str, float]:
    """Accuracy of an arm under each operation, from a `RobustnessTable`."""
    correct = robustness[arm] == robustness["target"]
    return {str(name): float(part.mean()) for name, part in correct.groupby(robustness["operation"], sort=False)}


def _name_preds(probabilities: Probabilities, class_names: list[str]) -> list[str]:
    return [class_names[pred] for pred in probabilities.argmax(axis=1)]


def _select_targets(probabilities: Probabilities, targets: pd.Series, class_names: list[str]) -> Probabilities:
    return probabilities[np.arange(len(targets)), [class_names.index(name) for name in targets]]
