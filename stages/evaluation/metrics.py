"""How well predictions match targets, computed by scikit-learn."""

import numpy as np
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)

from stages.base.records import Record
from stages.model.scores import Probabilities, Targets, compute_scores


class ClassMetrics(Record):
    """Metrics of one class: fractions from 0 to 1. support: its test photos."""

    precision: float
    recall: float
    f1: float
    support: int


class Metrics(Record):
    """Every metric of one model on one set of photos: fractions from 0 to 1, log_loss in nats.

    precision, recall, f1: of the second of two classes, macro averages of more. A class that is never predicted has
    precision 0. roc_auc: None when a class has no photo. confusion_matrix: `[C, C]`, rows true, columns predicted.
    """

    accuracy: float
    balanced_accuracy: float
    precision: float
    recall: float
    f1: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    roc_auc: float | None
    log_loss: float
    per_class: dict[str, ClassMetrics]
    confusion_matrix: list[list[int]]


def compute_metrics(targets: Targets, probabilities: Probabilities, class_names: list[str]) -> Metrics:
    """Metrics from class indices `[N]` and probabilities `[N, C]`; the most probable class is the prediction."""
    preds, labels = probabilities.argmax(axis=1), list(range(len(class_names)))
    scores = compute_scores(targets, probabilities)
    per_class = precision_recall_fscore_support(targets, preds, labels=labels, zero_division=0)
    return Metrics(
        log_loss=scores.pop("loss"),
        **scores,
        balanced_accuracy=_compute_balanced_accuracy(targets, preds),
        **_compute_averages(targets, preds, labels),
        roc_auc=_compute_roc_auc(targets, probabilities, labels),
        per_class={
            name: ClassMetrics(precision=float(p), recall=float(r), f1=float(f), support=int(n))
            for name, p, r, f, n in zip(class_names, *per_class, strict=True)
        },
        confusion_matrix=confusion_matrix(targets, preds, labels=labels).tolist(),
    )


def _compute_balanced_accuracy(targets: Targets, preds: Targets) -> float:
    present = np.isin(preds, targets)  # scikit-learn warns about predicted classes without photos, and skips them
    if present.all():
        return float(balanced_accuracy_score(targets, preds))
    return float(np.mean([(preds[targets == label] == label).mean() for label in np.unique(targets)]))


def _compute_averages(targets: Targets, preds: Targets, labels: list[int]) -> dict[str, float]:
    averages: dict[str, float] = {}
    for average in ("macro", "weighted"):
        values = precision_recall_fscore_support(targets, preds, labels=labels, average=average, zero_division=0)
        names = (f"{average}_{name}" for name in ("precision", "recall", "f1"))
        averages |= {name: float(value) for name, value in zip(names, values, strict=False)}
    return averages


def _compute_roc_auc(targets: Targets, probabilities: Probabilities, labels: list[int]) -> float | None:
    if len(np.unique(targets)) < len(labels):
        return None
    if len(labels) == 2:
        return float(roc_auc_score(targets, probabilities[:, 1]))
    return float(roc_auc_score(targets, probabilities, multi_class="ovr", labels=labels))
