"""Loss and scores after every epoch."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from stages.comparison.answer import compute_baseline
from stages.comparison.blocks import Chart, Section, Text
from stages.comparison.figures import COLOURS, QUIET, WIDTH, styled
from stages.comparison.study import Study

CURVES = {
    "train/loss": "loss on train images",
    "test/loss": "loss on test photos",
    "train/accuracy": "accuracy on train images",
    "test/accuracy": "accuracy on test photos",
    "test/precision": "precision on test photos",
    "test/recall": "recall on test photos",
    "test/f1": "F1 on test photos",
}
"""Columns of a history, and their titles."""


def build(study: Study) -> Section:
    """The learning curves of both arms."""
    baseline = compute_baseline(study.predictions["original"]["target"])
    levels = {"test/accuracy": baseline.accuracy, "test/loss": baseline.log_loss}
    of = f" of {study.class_names[1]}" if len(study.class_names) == 2 else ", macro averages"
    title = f"Loss and scores per epoch; precision, recall and F1{of}; baseline: by the shares of the classes"
    return Section(
        "Training",
        [
            Text("Test scores are logged at every epoch, never used to select anything.", quiet=True),
            Chart("learning_curves", plot_learning_curves(study.histories, levels), title),
        ],
    )


@styled
def plot_learning_curves(
    histories: Mapping[str, Sequence[pd.DataFrame]], baseline: Mapping[str, float] | None = None
) -> Figure:
    """Loss and test scores after every epoch, one panel per curve.

    ``histories``: per arm (one or both) one frame per trial, columns ``epoch`` and those of `CURVES`. ``baseline``:
    its level, by column.
    """
    baseline = baseline or {}
    figure = Figure(figsize=(WIDTH, 7.6), layout="constrained")
    panels = figure.subplots(4, 2).flat
    for axes, curve in zip(panels, CURVES, strict=False):
        for arm, trials in histories.items():
            _draw_curve(axes, trials, curve, COLOURS[arm])
        if curve in baseline:
            axes.axhline(baseline[curve], color=QUIET, linewidth=0.8, linestyle="--")
        _dress_curve(axes, curve)
    _draw_key(panels[len(CURVES)], histories, "dashed: baseline\n" if baseline else "")
    return figure


def _draw_curve(axes: Axes, trials: Sequence[pd.DataFrame], curve: str, colour: str) -> None:
    marker = "o" if max(map(len, trials)) <= 12 else ""
    if len(trials) > 1:
        for trial in trials:
            axes.plot(
                trial["epoch"], trial[curve], color=colour, alpha=max(0.1, 0.4 - 0.015 * len(trials)), linewidth=0.8
            )
    mean = pd.concat(trials).groupby("epoch")[curve].mean()
    axes.plot(mean.index, mean, color=colour, linewidth=2, marker=marker, markersize=4)


def _dress_curve(axes: Axes, curve: str) -> None:
    axes.set_title(CURVES[curve])
    axes.set_xlabel("epoch")
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, axes.dataLim.xmax + 0.5)
    if not curve.endswith("loss"):
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        return
    losses = np.concatenate([line.get_ydata() for line in axes.lines])
    if losses.max() > 10 * np.median(losses):  # one wild epoch would flatten all others
        axes.set_yscale("log")
        axes.set_title(f"{CURVES[curve]} (log scale)")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            set_formatter("{x:g}")  # the usual 10¹ would need parse_math
    else:
        axes.set_ylim(0, 1.1 * losses.max() or 1)


def _draw_key(axes: Axes, histories: Mapping[str, Sequence[pd.DataFrame]], dashed: str) -> None:
    axes.set_axis_off()
    for row, arm in enumerate(histories):
        axes.text(
            0.1, 0.85 - 0.15 * row, f"— {arm}", color=COLOURS[arm], weight="bold", size=12, transform=axes.transAxes
        )
    trials = len(next(iter(histories.values())))
    lines = "thick: mean of the trials\nthin: one trial each\n" if trials > 1 else ""
    note = f"{trials} trial{'s' * (trials > 1)}\n{lines}{dashed}test scores are logged,\nnever used to select"
    axes.text(0.1, 0.5, note, color=QUIET, va="top", linespacing=1.4, transform=axes.transAxes)
