"""How well predictions match targets, computed by scikit-learn. All values are fractions from 0 to 1."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

Targets = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]


def compute_softmax(logits: npt.NDArray[np.floating[Any]]) -> Probabilities:
    """Probabilities `[N, C]` in double precision from logits `[N, C]`."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def compute_metrics(targets: Targets, probabilities: Probabilities, class_names: list[str]) -> dict[str, Any]:
    """Every metric of one model on one set of photos.

    Args:
        targets: class index of each photo `[N]`.
        probabilities: `[N, C]`; the prediction is the most probable class.
        class_names: the C names. With two of them precision, recall and f1 are those of the second class, else
            their macro averages.

    A class that is never predicted has precision 0. ``roc_auc`` is None when a class has no photo.
    """
    preds = probabilities.argmax(axis=1)
    labels = list(range(len(class_names)))
    per_class = precision_recall_fscore_support(targets, preds, labels=labels, zero_division=0)
    return {
        "accuracy": float(accuracy_score(targets, preds)),
        "balanced_accuracy": _compute_balanced_accuracy(targets, preds),
        **_compute_averages(targets, preds, labels),
        "roc_auc": _compute_roc_auc(targets, probabilities, labels),
        "log_loss": float(log_loss(targets, probabilities, labels=labels)),
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
            for name, p, r, f, n in zip(class_names, *per_class, strict=True)
        },
        "confusion_matrix": confusion_matrix(targets, preds, labels=labels).tolist(),
    }


def _compute_balanced_accuracy(targets: Targets, preds: Targets) -> float:
    present = np.isin(preds, targets)  # scikit-learn warns about predicted classes without photos, and skips them
    if present.all():
        return float(balanced_accuracy_score(targets, preds))
    return float(np.mean([(preds[targets == label] == label).mean() for label in np.unique(targets)]))


def _compute_averages(targets: Targets, preds: Targets, labels: list[int]) -> dict[str, float]:
    averages: dict[str, float] = {}
    for prefix, average in (
        ("", "binary" if len(labels) == 2 else "macro"),
        ("macro_", "macro"),
        ("weighted_", "weighted"),
    ):
        options = {} if average == "binary" else {"labels": labels}
        values = precision_recall_fscore_support(targets, preds, average=average, zero_division=0, **options)
        averages |= {
            f"{prefix}{name}": float(v) for name, v in zip(("precision", "recall", "f1"), values, strict=False)
        }
    return averages


def _compute_roc_auc(targets: Targets, probabilities: Probabilities, labels: list[int]) -> float | None:
    if len(np.unique(targets)) < len(labels):
        return None
    if len(labels) == 2:
        return float(roc_auc_score(targets, probabilities[:, 1]))
    return float(roc_auc_score(targets, probabilities, multi_class="ovr", labels=labels))
