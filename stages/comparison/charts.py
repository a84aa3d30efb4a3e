"""Charts that only the report draws: pure functions from numbers to a matplotlib Figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from stages.comparison.figures import COLOURS, FAINT, INK, QUIET, WIDTH, styled
from stages.comparison.statistics import Estimate, Interval
from stages.comparison.words import MINUS


@dataclass(frozen=True)
class Chart:
    """A figure and what it shows, in words."""

    figure: Figure
    title: str


MANY = 30  # rows beyond which a forest plot names only some


@styled
def plot_forest(trials: Mapping[int, Estimate], pooled: Estimate | None, margin: float) -> Figure:
    """The difference in accuracy, in points, of every trial and of all together, with 95 % intervals.

    ``pooled``: None when there is one trial. ``margin``: a fraction; differences within it do not matter.
    """
    rows = [*trials.values(), *([pooled] if pooled else [])]
    height = min(0.24, 7 / len(rows))  # inches a row
    figure = Figure(figsize=(WIDTH, 0.9 + height * (len(rows) + 0.6)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-100 * margin, 100 * margin, color=FAINT, linewidth=0)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    for row, estimate in enumerate(rows):
        whole = estimate is pooled
        ends = [100 * estimate.interval.low, 100 * estimate.interval.high]
        axes.plot(ends, [row, row], color=INK if whole else QUIET, linewidth=3 if whole else 1.2)
        axes.plot(
            100 * estimate.mean, row, "D" if whole else "o", color=INK if whole else QUIET, markersize=7 if whole else 4
        )
    names = [f"trial {trial}" for trial in trials] + (["all trials"] if pooled else [])
    step, last = len(names) // (MANY + 1) + 1, len(names) - 1
    shown = [*range(0, last - step + 1, step), last]
    axes.set_yticks(shown, [names[row] for row in shown])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("← original better     points of accuracy     augmented better →")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", MINUS) if value else "0")
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    return figure


@styled
def plot_calibration(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """How often answers were right, by how sure the model was.

    ``curves``: per arm columns ``confidence`` and ``accuracy`` (fractions) and ``answers``, one row per bin.
    """
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle="--", label="as sure as right")
    for arm, curve in curves.items():
        axes.plot(curve["confidence"], curve["accuracy"], color=COLOURS[arm], linewidth=1.5, label=arm)
        areas = 12 + 150 * curve["answers"] / curve["answers"].sum()
        axes.scatter(curve["confidence"], curve["accuracy"], areas, color=COLOURS[arm])
    lowest = min(float(curve["confidence"].min()) for curve in curves.values())
    axes.set_xlim(max(0, lowest - 0.05), 1.02)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("probability the model gave its answer")
    axes.set_ylabel("share of these answers that were right")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y")
    axes.legend(frameon=False, loc="upper left")
    return figure


@styled
def plot_robustness(
    operations: Sequence[str], shares: Mapping[str, Sequence[tuple[float, Interval]]], guess: float
) -> Figure:
    """Accuracy with 95 % intervals on the test photos under each operation.

    ``operations``: names, the photos as they are first. ``shares``: per arm the accuracy and interval of each.
    ``guess``: the accuracy of always answering the commonest class.
    """
    figure = Figure(figsize=(WIDTH, 0.9 + 0.42 * len(operations)), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(operations))
    for offset, (arm, values) in zip((-0.14, 0.14), shares.items(), strict=True):
        for row, (share, interval) in zip(rows + offset, values, strict=True):
            axes.plot([interval.low, interval.high], [row, row], color=COLOURS[arm], linewidth=1.5)
            axes.plot(share, row, "o", color=COLOURS[arm], markersize=5, label=arm if row < 0.5 else None)
    axes.axvline(guess, color=QUIET, linewidth=0.8, linestyle="--", label="guessing")
    names = [name.replace("_", " ") if name != "none" else "as they are" for name in operations]
    axes.set_yticks(rows, names)
    axes.set_ylim(len(operations) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("test photos classified right")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside upper center", ncols=3)
    return figure
