"""Which classes are confused with which: matrices of both arms, or of many classes the most frequent confusions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.comparison.blocks import Chart
from stages.comparison.figures import COLOURS, FAINT, WIDTH, shorten, styled
from stages.comparison.study import ARMS, Study

ABREAST, MATRIX = 8, 20  # classes up to which matrices fit side by side, and can be read at all
PAIRS = 20  # of classes that are confused most


def build(study: Study) -> Chart:
    """The chart of all trials, for the section of scores."""
    several = ", all trials" * (len(study.trials) > 1)
    many = len(study.class_names) > MATRIX
    title = (
        f"The {PAIRS} most frequent confusions, true class → predicted class"
        if many
        else "Confusion matrices of both arms"
    )
    return Chart("confusion", plot_confusion(sum_confusion(study), study.class_names), title + several)


def sum_confusion(study: Study) -> dict[str, npt.NDArray[np.int64]]:
    """Per arm the confusion matrix `[C, C]` over all trials."""
    return {arm: np.sum([record.confusion_matrix for record in study.records[arm]], axis=0) for arm in ARMS}


@styled
def plot_confusion(matrices: Mapping[str, npt.ArrayLike], class_names: Sequence[str]) -> Figure:
    """Confusion matrices, with counts and the share of each true class; of many classes the worst pairs.

    ``matrices``: per arm (one or both) whole numbers `[C, C]`, rows = true class, columns = predicted class.
    """
    if len(class_names) > MATRIX:
        return _plot_pairs({arm: np.asarray(matrix) for arm, matrix in matrices.items()}, class_names)
    names = [shorten(name, 20) for name in class_names]
    abreast = len(names) <= ABREAST
    rows, columns = (1, len(matrices)) if abreast else (len(matrices), 1)
    side = max(2.4, 0.5 * len(names))  # inches
    label = 0.08 * max(map(len, names))  # inches: a letter of 9 points is about 0.08 wide
    crowded = label > side / len(names)
    size = (0.5 + label + (side + 0.2) * columns, (side + 0.8 + 0.75 * label * crowded) * rows)
    figure = Figure(figsize=size, layout="compressed")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, (arm, matrix) in zip(panels.flat, matrices.items(), strict=True):
        counts = np.asarray(matrix)
        _draw_matrix(axes, counts, COLOURS[arm])
        axes.set_title(f"{arm}: {np.trace(counts):,} of {counts.sum():,} correct", color=COLOURS[arm], weight="bold")
        axes.set_xlabel("predicted class")
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        if crowded:
            axes.tick_params(axis="x", labelrotation=45)
            for tick in axes.get_xticklabels():
                tick.set(ha="right", rotation_mode="anchor")
    for axes in panels[:, 0]:
        axes.set_ylabel("true class")
    return figure


def _draw_matrix(axes: Axes, counts: npt.NDArray[Any], colour: str) -> None:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # from transparent to half covering, so that text stays readable on the deepest shade, on white and on black
    shades = LinearSegmentedColormap.from_list("arm", [(*to_rgb(colour), 0), (*to_rgb(colour), 0.5)])
    edges = np.arange(len(counts) + 1) - 0.5
    axes.pcolormesh(edges, edges, shares, cmap=shades, vmin=0, vmax=1)
    axes.set_aspect("equal")
    axes.set_ylim(len(counts) - 0.5, -0.5)
    for (true, predicted), count in np.ndenumerate(counts):
        text = f"{count:,}\n{100 * shares[true, predicted]:.0f} %" if count else "0"
        axes.text(predicted, true, text, ha="center", va="center", size=7.5 if len(counts) > 4 else 10)
    axes.tick_params(length=0)
    axes.spines[:].set_color(FAINT)
    axes.spines[:].set_visible(True)


def _plot_pairs(matrices: Mapping[str, npt.NDArray[Any]], class_names: Sequence[str]) -> Figure:
    """The pairs of classes that the arms together confuse most, as bars."""
    total = sum(matrices.values(), np.zeros_like(next(iter(matrices.values()))))
    off = total - np.diag(np.diag(total))
    pairs = [divmod(int(index), len(class_names)) for index in np.argsort(-off, axis=None, kind="stable")[:PAIRS]]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.3 * PAIRS), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(matrices)
    for offset, (arm, counts) in enumerate(matrices.items()):
        rows = np.arange(PAIRS) + (offset - (len(matrices) - 1) / 2) * height
        correct = f"{arm}: {np.trace(counts):,} of {counts.sum():,} correct"
        axes.barh(rows, [counts[pair] for pair in pairs], height=height, color=COLOURS[arm], label=correct)
    axes.set_yticks(range(PAIRS), [f"{shorten(class_names[t], 18)} → {shorten(class_names[p], 18)}" for t, p in pairs])
    axes.set_ylim(PAIRS - 0.4, -0.6)
    axes.set_xlabel("number of predictions")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.tick_params(left=False)
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside upper center", ncols=2)
    return figure
