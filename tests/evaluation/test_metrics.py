"""Metrics equal scikit-learn's where it has them, and hand-counted cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report

from stages.evaluation.metrics import compute_metrics
from stages.model.scores import compute_softmax


def expand(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets `[N]` and probabilities `[N, C]` that have this confusion matrix."""
    cells = [(t, p) for t, row in enumerate(confusion) for p, count in enumerate(row) for _ in range(count)]
    targets, preds = np.array(cells).T
    return targets, np.eye(len(confusion))[preds] * 0.8 + 0.2 / len(confusion)


def test_published_example() -> None:
    # Report 002, augmented arm: 11 of 14 dogs and 6 of 14 cats correct is all that fits its four published values
    metrics = compute_metrics(*expand(np.array([[6, 8], [3, 11]])), ["cats", "dogs"])
    published = {"precision": 0.5789, "recall": 0.7857, "f1": 0.6667, "accuracy": 0.6071}
    assert {key: round(getattr(metrics, key), 4) for key in published} == published
    assert metrics.confusion_matrix == [[6, 8], [3, 11]]
    assert metrics.per_class["cats"].model_dump() == {
        "precision": 6 / 9,
        "recall": 6 / 14,
        "f1": pytest.approx(12 / 23),
        "support": 14,
    }


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), min_size=3, max_size=3).filter(
        lambda m: all(map(sum, m))
    )
)
def test_three_classes_equal_scikit_learns_report(matrix: list[list[int]]) -> None:
    names = ["a", "b", "c"]
    targets, probabilities = expand(np.array(matrix))
    metrics = compute_metrics(targets, probabilities, names)
    report = classification_report(
        targets, probabilities.argmax(axis=1), target_names=names, labels=[0, 1, 2], output_dict=True, zero_division=0
    )
    for average in ("macro", "weighted"):
        for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert getattr(metrics, f"{average}_{ours}") == pytest.approx(report[f"{average} avg"][theirs])
    assert metrics.f1 == metrics.macro_f1
    assert metrics.confusion_matrix == matrix
    assert metrics.balanced_accuracy == pytest.approx(report["macro avg"]["recall"])
    assert metrics.weighted_recall == pytest.approx(metrics.accuracy)


def test_perfect_and_reversed_order() -> None:
    targets = np.array([0, 0, 1, 1])
    scores = np.array([0.1, 0.2, 0.8, 0.9])
    right = compute_metrics(targets, np.stack([1 - scores, scores], axis=1), ["a", "b"])
    wrong = compute_metrics(targets, np.stack([scores, 1 - scores], axis=1), ["a", "b"])
    assert (right.accuracy, right.roc_auc, wrong.accuracy, wrong.roc_auc) == (1, 1, 0, 0)
    assert right.log_loss == pytest.approx(-np.mean(np.log([0.9, 0.8, 0.8, 0.9])))


def test_class_that_is_never_predicted_has_precision_zero() -> None:
    metrics = compute_metrics(np.array([0, 1, 1]), np.array([[0.9, 0.1]] * 3), ["a", "b"])
    assert (metrics.precision, metrics.recall, metrics.f1) == (0, 0, 0)
    assert metrics.roc_auc == 0.5


def test_class_without_photos_has_no_roc_auc() -> None:
    metrics = compute_metrics(np.array([0, 0]), np.array([[0.9, 0.1], [0.2, 0.8]]), ["a", "b"])
    assert metrics.roc_auc is None
    assert metrics.per_class["b"].support == 0
    assert metrics.balanced_accuracy == 0.5


@given(st.lists(st.floats(-500, 500), min_size=2, max_size=5), st.floats(-1e3, 1e3))
def test_softmax_is_a_distribution_and_ignores_shifts(logits: list[float], shift: float) -> None:
    row = np.array([logits])
    probabilities = compute_softmax(row)
    assert math.isclose(probabilities.sum(), 1)
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities, compute_softmax(row + shift), atol=1e-9)
