"""The scores that are watched during training; evaluate computes them again, and more."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support

Targets = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]


def compute_softmax(logits: npt.NDArray[np.floating[Any]]) -> Probabilities:
    """Probabilities `[N, C]` in double precision from logits `[N, C]`."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def compute_scores(targets: Targets, probabilities: Probabilities) -> dict[str, float]:
    """Loss (cross-entropy in nats) and accuracy, precision, recall, f1 (fractions) of one model on some photos.

    With two classes precision, recall and f1 are those of the second class, else macro averages. A class that is
    never predicted has precision 0.

    Args:
        targets: class index of each photo `[N]`.
        probabilities: `[N, C]`; the prediction is the most probable class.
    """
    preds, labels = probabilities.argmax(axis=1), list(range(probabilities.shape[1]))
    options: dict[str, Any] = {"average": "binary"} if len(labels) == 2 else {"average": "macro", "labels": labels}
    precision, recall, f1, _ = precision_recall_fscore_support(targets, preds, zero_division=0, **options)
    return {
        "loss": float(log_loss(targets, probabilities, labels=labels)),
        "accuracy": float(accuracy_score(targets, preds)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
    }
