"""What models answer, as tables with a row per image: classes by name, probabilities from 0 to 1."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.common.files import write_bytes
from stages.common.metrics import Probabilities

ROBUSTNESS_COLUMNS = ["operation", "path", "sha256", "target", "original", "augmented", "p_original", "p_augmented"]


def tabulate(test: pd.DataFrame, probabilities: Probabilities, class_names: list[str]) -> pd.DataFrame:
    """One row per test photo: path, sha256, target, pred, and a probability per class."""
    table = test[["path", "sha256"]].assign(target=test["class"])
    table["pred"] = _name_preds(probabilities, class_names)
    for i, name in enumerate(class_names):
        table[f"p_{name}"] = probabilities[:, i]
    return table


def tabulate_copies(copies: pd.DataFrame, probabilities: Probabilities, class_names: list[str]) -> pd.DataFrame:
    """One row per augmented copy: path, source_path, operations, target, pred, p_target."""
    table = copies[["path", "source_path", "operations"]].assign(target=copies["class"])
    table["pred"] = _name_preds(probabilities, class_names)
    table["p_target"] = _select_targets(probabilities, table["target"], class_names)
    return table


def tabulate_operation(
    operation: str, test: pd.DataFrame, probabilities: dict[str, Probabilities], class_names: list[str]
) -> pd.DataFrame:
    """One row per test photo under an operation: `ROBUSTNESS_COLUMNS`.

    Per arm its answer, such as ``original``, and the probability it gave the true class, ``p_original``.
    """
    table = test[["path", "sha256"]].assign(operation=operation, target=test["class"])
    for arm, values in probabilities.items():
        table[arm] = _name_preds(values, class_names)
        table[f"p_{arm}"] = _select_targets(values, table["target"], class_names)
    return table[ROBUSTNESS_COLUMNS]


def compute_accuracies(robustness: pd.DataFrame, arm: str) -> dict[str, float]:
    """Accuracy of an arm under each operation."""
    right = robustness[arm] == robustness["target"]
    return {str(name): float(part.mean()) for name, part in right.groupby(robustness["operation"], sort=False)}


def save_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table in one step; nine digits give back the exact single-precision probability."""
    write_bytes(path, table.to_csv(index=False, lineterminator="\n", float_format="%.9g").encode())


def _name_preds(probabilities: Probabilities, class_names: list[str]) -> list[str]:
    return [class_names[pred] for pred in probabilities.argmax(axis=1)]


def _select_targets(probabilities: Probabilities, targets: pd.Series, class_names: list[str]) -> Probabilities:
    return probabilities[np.arange(len(targets)), [class_names.index(name) for name in targets]]
