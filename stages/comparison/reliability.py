"""Do the probabilities mean what they say? Per answer, from the probability of each class."""

import numpy as np
import numpy.typing as npt
import pandas as pd

BINS = 10

Scores = npt.NDArray[np.float64]


def get_probabilities(answers: pd.DataFrame, class_names: list[str]) -> Scores:
    """Probabilities `[N, C]` from the columns ``p_<class>``."""
    return answers[[f"p_{name}" for name in class_names]].to_numpy()


def compute_losses(answers: pd.DataFrame, class_names: list[str]) -> pd.DataFrame:
    """Log loss (nats) and Brier score (0 to 2) of every answer; less is better.

    Brier 1950, Mon Weather Rev 78:1: the squared distance of the probabilities from the truth.
    """
    p = get_probabilities(answers, class_names)
    truth = np.eye(len(class_names))[pd.Index(class_names).get_indexer(pd.Index(answers["target"]))]
    smallest = np.finfo(np.float64).eps  # as scikit-learn's log_loss: a zero would cost infinitely much
    likelihood = np.clip((p * truth).sum(axis=1), smallest, 1)
    return pd.DataFrame({"log_loss": -np.log(likelihood), "brier": ((p - truth) ** 2).sum(axis=1)}, index=answers.index)


def compute_calibration(answers: pd.DataFrame, class_names: list[str]) -> pd.DataFrame:
    """Answers in ten bins of equal width by their probability: ``confidence`` and ``accuracy`` (means), ``answers``.

    Bins without answers are left out.
    """
    confidence = get_probabilities(answers, class_names).max(axis=1)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    table = pd.DataFrame({"confidence": confidence, "accuracy": (answers["pred"] == answers["target"]).to_numpy()})
    groups = table.groupby(bins)
    return groups.mean().assign(answers=groups.size())


def compute_calibration_error(calibration: pd.DataFrame) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599): the mean gap of accuracy and confidence."""
    gaps = (calibration["accuracy"] - calibration["confidence"]).abs()
    return float(np.average(gaps, weights=calibration["answers"]))
