"""Do the probabilities mean what they say? Losses and calibration."""

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
from stages.comparison.statistics import adjust_holm, estimate_mean
from stages.comparison.study import ARMS, Study, spread

BINS = 10
LOSSES = {"log_loss": "log loss", "brier": "Brier score"}


def build(study: Study) -> Section:
    """The calibration curves, and a table of losses."""
    curves = {arm: compute_calibration(table, study.class_names) for arm, table in study.predictions.items()}
    title = "Share of correct predictions, by the probability the model gave them; larger: more predictions"
    return Section(
        "Probabilities", [Chart("calibration", plot_calibration(curves), title), tabulate_losses(study, curves)]
    )


def get_probabilities(predictions: pd.DataFrame, class_names: list[str]) -> npt.NDArray[np.float64]:
    """Probabilities `[N, C]` from the columns ``p_<class>``."""
    return predictions[[f"p_{name}" for name in class_names]].to_numpy()


def compute_losses(predictions: pd.DataFrame, class_names: list[str]) -> pd.DataFrame:
    """Log loss (nats) and Brier score (0 to 2) of every prediction; lower is better.

    Brier 1950, Mon Weather Rev 78:1: the squared distance of the probabilities from the truth.
    """
    p = get_probabilities(predictions, class_names)
    truth = np.zeros_like(p)
    truth[np.arange(len(p)), pd.Index(class_names).get_indexer(pd.Index(predictions["target"]))] = 1
    smallest = np.finfo(np.float64).eps  # as scikit-learn's log_loss: a zero would cost infinitely much
    likelihood = np.clip((p * truth).sum(axis=1), smallest, 1)
    losses = {"log_loss": -np.log(likelihood), "brier": ((p - truth) ** 2).sum(axis=1)}
    return pd.DataFrame(losses, index=predictions.index)


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


def compare_losses(study: Study) -> pd.DataFrame:
    """A row per loss: mean of each arm and, of several trials, the difference; p-values adjusted (Holm).

    ``baseline``: the loss of always predicting the shares of the classes.
    """
    baseline = compute_baseline(study.predictions["original"]["target"])
    losses = {arm: compute_losses(table, study.class_names) for arm, table in study.predictions.items()}
    rows = []
    for key, label in LOSSES.items():
        sides = {arm: spread(study.predictions[arm], losses[arm][key]) for arm in ARMS}
        gaps = sides["augmented"] - sides["original"]
        difference = estimate_mean(gaps, bound=0) if len(gaps) > 1 else None
        means = {arm: float(np.nanmean(values)) for arm, values in sides.items()}
        rows.append({"score": label, **means, "baseline": getattr(baseline, key), "difference": difference})
    table = pd.DataFrame(rows)
    if table["difference"].notna().all():
        table["p"] = adjust_holm([difference.p for difference in table["difference"]])
    return table


def tabulate_losses(study: Study, curves: Mapping[str, pd.DataFrame]) -> Table:
    """How good the probabilities are; lower is better in all rows."""
    rows = []
    for row in compare_losses(study).to_dict("records"):
        difference, p = row["difference"], "–"
        gap = format_signed(row["augmented"] - row["original"], 4)
        if difference is not None:
            ends = (format_signed(end, 4) for end in (difference.interval.low, difference.interval.high))
            gap, p = f"{gap} ({' to '.join(ends)})", format_p(row["p"])
        rows.append([row["score"], *(f"{row[side]:.4f}" for side in (*ARMS, "baseline")), gap, p])
    errors = {arm: compute_calibration_error(curve) for arm, curve in curves.items()}
    gap = format_signed(errors["augmented"] - errors["original"], 4)
    rows.append(["expected calibration error", *(f"{errors[arm]:.4f}" for arm in ARMS), f"{0:.4f}", gap, "–"])
    note = "Baseline: always predicting each class with its share of the test photos. " + (
        "In brackets: 95 % interval. p: adjusted for two tests (Holm); the calibration error, one number over all "
        "predictions, is not tested."
        if len(study.trials) > 1
        else "One trial shows no interval and no p."
    )
    return Table(["lower is better", *ARMS, "baseline", "difference", "p (Holm)"], rows, note=note)


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
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y")
    axes.legend(frameon=False, loc="upper left")
    return figure
