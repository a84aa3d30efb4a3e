"""The figures of the study: pure functions from data to a matplotlib Figure, all in one style.

Nothing here reads a file. matplotlib is imported here (about 1 second), so import this module where it is used.
"""

import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from stages.base.files import write_bytes

# Okabe & Ito's blue and vermilion: told apart with any colour vision
COLOURS = {"original": "#0072B2", "augmented": "#D55E00"}
INK, QUIET, FAINT = "#222222", "#666666", "#E6E6E6"
# what encode_svg() writes for a colour: a CSS variable, so that a page can be light or dark
VARIABLES = {INK: "ink", QUIET: "quiet", FAINT: "faint", **{colour: arm for arm, colour in COLOURS.items()}}
CURVES = {
    "train/loss": "loss on train images",
    "test/loss": "loss on test photos",
    "train/accuracy": "accuracy on train images",
    "test/accuracy": "accuracy on test photos",
    "test/precision": "precision on test photos",
    "test/recall": "recall on test photos",
    "test/f1": "F1 on test photos",
}
"""The columns of a history, and their titles."""
WIDTH = 6.0  # inches: text of 9 points stays readable on a phone

_STYLE = {
    "figure.dpi": 160,
    "svg.fonttype": "path",  # looks the same whatever fonts a reader has
    "svg.hashsalt": "figures",  # the same figure gives the same bytes
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$a$"
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}
# from matplotlib's defaults, so that a user's matplotlibrc changes nothing
styled = matplotlib.style.context(["default", _STYLE])


@styled
def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG in one step; the same figure always gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


@styled
def encode_svg(figure: Figure, title: str) -> str:
    """An ``<svg>`` element to stand in a page; ``title`` says in words what it shows.

    Its colours are the page's CSS variables ``--ink``, ``--quiet``, ``--faint``, ``--original`` and ``--augmented``.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    for colour, variable in VARIABLES.items():
        svg = re.sub(colour, f"var(--{variable})", svg, flags=re.I)
    width, height = (72 * inches for inches in figure.get_size_inches())  # points
    start = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{html.escape(title)}">'
    return start + svg[svg.index(">", svg.index("<svg")) + 1 :]


@styled
def plot_counts(counts: pd.DataFrame) -> Figure:
    """Images per class as bars: what each arm trains on, and what both are tested on.

    ``counts``: one row per class (index: its name), whole-number columns ``train``, ``copies``, ``test``.
    """
    figure = Figure(figsize=(WIDTH, 1.0 + 0.3 * len(counts)), layout="constrained")
    train, copies, test = (int(counts[column].sum()) for column in ("train", "copies", "test"))
    panels = {
        f"original arm:\n{train:,} photos\n": {"train": COLOURS["original"]},
        f"augmented arm:\n{train:,} photos\n+ {copies:,} copies": {
            "train": COLOURS["original"],
            "copies": COLOURS["augmented"],
        },
        f"test, both arms:\n{test:,} photos\n": {"test": QUIET},
    }
    for axes, (title, colours) in zip(figure.subplots(1, 3, sharex=True, sharey=True), panels.items(), strict=True):
        _draw_bars(axes, counts, colours)
        axes.set_title(title)
    axes.invert_yaxis()
    axes.set_xlim(right=1.4 * (counts["train"] + counts["copies"]).max())  # room for the numbers
    return figure


def _draw_bars(axes: Axes, counts: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """One bar per class, stacked from the columns that ``colours`` names, with the numbers at its end."""
    rows = np.arange(len(counts))
    start = np.zeros(len(counts))
    for column, colour in colours.items():
        axes.barh(rows, counts[column], left=start, color=colour, height=0.7)
        start += counts[column].to_numpy()
    for row, numbers in zip(rows, counts[list(colours)].to_numpy(), strict=True):
        label = " + ".join(f"{number:,}" for number in numbers)
        axes.annotate(label, (numbers.sum(), row), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, [shorten(name, 20) for name in counts.index])
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


@styled
def plot_learning_curves(
    histories: Mapping[str, Sequence[pd.DataFrame]], guess: Mapping[str, float] | None = None
) -> Figure:
    """Loss and test scores after every epoch, one panel per curve.

    ``histories``: per arm (one or both) one frame per trial, columns ``epoch`` and those of `CURVES`. ``guess``: what
    guessing gets, by column.
    """
    guess = guess or {}
    figure = Figure(figsize=(WIDTH, 7.6), layout="constrained")
    panels = figure.subplots(4, 2).flat
    for axes, curve in zip(panels, CURVES, strict=False):
        for arm, trials in histories.items():
            _draw_curve(axes, trials, curve, COLOURS[arm])
        if curve in guess:
            axes.axhline(guess[curve], color=QUIET, linewidth=0.8, linestyle="--")
        _dress_curve(axes, curve)
    _draw_key(panels[len(CURVES)], histories, "dashed: guessing\n" if guess else "")
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
    note = f"{trials} trial{'s' * (trials > 1)}\n{lines}{dashed}test scores are watched,\nnever used to choose"
    axes.text(0.1, 0.5, note, color=QUIET, va="top", linespacing=1.4, transform=axes.transAxes)


@styled
def plot_confusion(matrices: Mapping[str, npt.ArrayLike], class_names: Sequence[str]) -> Figure:
    """Confusion matrices side by side, with counts and the share of each true class.

    ``matrices``: per arm (one or both) whole numbers [C, C], rows = true class, columns = predicted class.
    """
    names = [shorten(name, 20) for name in class_names]
    side = float(np.clip(0.5 * len(names), 2.4, 10))  # inches
    label = 0.08 * max(map(len, names))  # inches: a letter of 9 points is about 0.08 wide
    crowded = label > side / len(names)
    size = (0.5 + label + (side + 0.2) * len(matrices), side + 0.8 + 0.75 * label * crowded)
    figure = Figure(figsize=size, layout="compressed")
    row = figure.subplots(1, len(matrices), sharey=True, squeeze=False)[0]
    for axes, (arm, matrix) in zip(row, matrices.items(), strict=True):
        counts = np.asarray(matrix)
        _draw_matrix(axes, counts, COLOURS[arm])
        axes.set_title(f"{arm}: {np.trace(counts):,} of {counts.sum():,} right", color=COLOURS[arm], weight="bold")
        axes.set_xlabel("predicted class")
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        if crowded:
            axes.tick_params(axis="x", labelrotation=45)
            for tick in axes.get_xticklabels():
                tick.set(ha="right", rotation_mode="anchor")
    row[0].set_ylabel("true class")
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
        if len(counts) <= 40:  # beyond that no number could be read
            text = f"{count:,}\n{shares[true, predicted]:.0%}" if count else "0"
            axes.text(predicted, true, text, ha="center", va="center", size=7.5 if len(counts) > 4 else 10)
    axes.tick_params(length=0)
    axes.spines[:].set_color(FAINT)
    axes.spines[:].set_visible(True)


def shorten(text: str, width: int) -> str:
    """At most ``width`` characters of a text, with an ellipsis where some are left out."""
    return text if len(text) <= width else text[: width - 1] + "…"
