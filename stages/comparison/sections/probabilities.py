"""Do the probabilities mean what they say? Scores of them, one of which is tested, and calibration."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from stages.comparison.answer import compute_baseline
from stages.comparison.blocks import Chart, Section, Table
from stages.comparison.figures import COLOURS, QUIET, WIDTH, styled
from stages.comparison.format import format_p, format_signed
from stages.comparison.statistics import LEVEL, estimate_mean
from stages.comparison.study import ARMS, Study, spread

BINS = 10
SCORES = {"p_true": "probability of the true class", "brier": "Brier score", "log_loss": "log loss"}
TESTED = "p_true"
"""The one score that is tested beside the accuracy, chosen before any study: bounded, so that no single prediction can
decide, and more sensitive than losses where models separate the classes better. Of a log loss the test would depend on
where probabilities are clipped."""


def build(study: Study, level: float = LEVEL) -> Section:
    """The calibration curves, and a table of scores. ``level``: of the intervals, as the verdict's."""
    curves = {arm: compute_calibration(table, study.class_names) for arm, table in study.predictions.items()}
    title = "Share of correct predictions, by the probability the model gave them; larger: more predictions"
    return Section(
        "Probabilities", [Chart("calibration", plot_calibration(curves), title), tabulate_scores(study, curves, level)]
    )


def get_probabilities(predictions: pd.DataFrame, class_names: list[str]) -> npt.NDArray[np.float64]:
    """Probabilities `[N, C]` from the columns ``p_<class>``."""
    return predictions[[f"p_{name}" for name in class_names]].to_numpy()


def compute_scores(predictions: pd.DataFrame, class_names: list[str]) -> pd.DataFrame:
    """Of every prediction the true class's probability, and log loss (nats) and Brier score (0 to 2): lower is better.

    Brier 1950, Mon Weather Rev 78:1: the squared distance of the probabilities from the truth.
    """
    p = get_probabilities(predictions, class_names)
    truth = np.zeros_like(p)
    truth[np.arange(len(p)), pd.Index(class_names).get_indexer(pd.Index(predictions["target"]))] = 1
    smallest = np.finfo(np.float64).eps  # as scikit-learn's log_loss: a zero would cost infinitely much
    p_true = (p * truth).sum(axis=1)
    loss = -np.log(np.clip(p_true, smallest, 1))
    scores = {"p_true": p_true, "log_loss": loss, "brier": ((p - truth) ** 2).sum(axis=1)}
    return pd.DataFrame(scores, index=predictions.index)


def compute_calibration(predictions: pd.DataFrame, class_names: list[str]) -> pd.DataFrame:
    """Ten bins of equal width by probability: ``confidence`` and ``accuracy`` (means), ``predictions`` (number).

    Empty bins are left out.
    """
    confidence = get_probabilities(predictions, class_names).max(axis=1)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    correct = (predictions["pred"] == predictions["target"]).to_numpy()
    groups = pd.DataFrame({"confidence": confidence, "accuracy": correct}).groupby(bins)
    return groups.mean().assign(predictions=groups.size())


def compute_calibration_error(calibration: pd.DataFrame) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599): the mean gap of accuracy and confidence."""
    gaps = (calibration["accuracy"] - calibration["confidence"]).abs()
    return float(np.average(gaps, weights=calibration["predictions"]))


def compare_scores(study: Study, level: float = LEVEL) -> pd.DataFrame:
    """A row per score: mean of each arm and, of several trials, the difference at a ``level``.

    ``baseline``: the score of always predicting the shares of the classes.
    """
    baseline = compute_baseline(study.predictions["original"]["target"])
    scores = {arm: compute_scores(table, study.class_names) for arm, table in study.predictions.items()}
    rows = []
    for key in SCORES:
        sides = {arm: spread(study.predictions[arm], scores[arm][key]) for arm in ARMS}
        gaps = sides["augmented"] - sides["original"]
        difference = estimate_mean(gaps, float(key == TESTED), level, study.groups) if len(gaps) > 1 else None
        means = {arm: float(np.nanmean(values)) for arm, values in sides.items()}
        rows.append({"score": key, **means, "baseline": getattr(baseline, key), "difference": difference})
    return pd.DataFrame(rows)


def tabulate_scores(study: Study, curves: Mapping[str, pd.DataFrame], level: float = LEVEL) -> Table:
    """How good the probabilities are."""
    rows = []
    for row in compare_scores(study, level).to_dict("records"):
        difference, p = row["difference"], "–"
        gap = format_signed(row["augmented"] - row["original"], 4)
        if difference is not None:
            ends = (format_signed(end, 4) for end in (difference.interval.low, difference.interval.high))
            gap, p = f"{gap} ({' to '.join(ends)})", format_p(difference.p) if row["score"] == TESTED else "–"
        rows.append([SCORES[row["score"]], *(f"{row[side]:.4f}" for side in (*ARMS, "baseline")), gap, p])
    errors = {arm: compute_calibration_error(curve) for arm, curve in curves.items()}
    gap = format_signed(errors["augmented"] - errors["original"], 4)
    rows.append(["expected calibration error", *(f"{errors[arm]:.4f}" for arm in ARMS), f"{0:.4f}", gap, "–"])
    note = (
        "Of a probability more is better, of all other scores less. Baseline: always predicting each class with its "
        "share of the test photos. "
    ) + (
        f"In brackets: {100 * level:.4g} % interval, as of the accuracy. p: the one test beside that of the accuracy, "
        f"chosen beforehand, to be compared with {1 - level:.4g}. The log loss is not tested, as it takes "
        "probabilities below 2.2e-16 for that number, and one prediction near it can decide."
        if len(study.trials) > 1
        else "One trial shows no interval and no p."
    )
    return Table(["score", *ARMS, "baseline", "difference", "p"], rows, note=note)


@styled
def plot_calibration(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """How often predictions were correct, by their probability; ``curves``: per arm as `compute_calibration` gives."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle="--", label="perfectly calibrated")
    for arm, curve in curves.items():
        axes.plot(curve["confidence"], curve["accuracy"], color=COLOURS[arm], linewidth=1.5, label=arm)
        areas = 12 + 150 * curve["predictions"] / curve["predictions"].sum()
        axes.scatter(curve["confidence"], curve["accuracy"], areas, color=COLOURS[arm])
    lowest = min(float(curve["confidence"].min()) for curve in curves.values())
    axes.set_xlim(max(0, lowest - 0.05), 1.02)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("correct predictions")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(axis="y")
    axes.legend(frameon=False, loc="upper left")
    return figure
