"""The figures of the study: pure functions from data to a matplotlib Figure, all in one style.

Nothing here reads a file. matplotlib is imported here (about 1 second), so import this module where it is used.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image

from stages.common.files import write_bytes

# Okabe & Ito's blue and vermilion: told apart with any colour vision
COLOURS = {"original": "#0072B2", "augmented": "#D55E00"}
INK, QUIET, FAINT = "#222222", "#666666", "#E6E6E6"
CURVES = ["train/loss", "test/loss", "train/accuracy", "test/accuracy", "test/precision", "test/recall", "test/f1"]
WIDTH = 9.0  # inches, so that 9 point text stays readable where GitHub shows 900 pixels

_STYLE = {
    "figure.dpi": 160,
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
_styled = matplotlib.style.context(["default", _STYLE])


@dataclass(frozen=True)
class Picture:
    """A photo or a copy (RGB) and the lines to write under it."""

    image: Image.Image
    lines: Sequence[str]


@_styled
def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG in one step; the same figure always gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


@_styled
def plot_counts(counts: pd.DataFrame) -> Figure:
    """Images per class as bars: what each arm trains on, and what both are tested on.

    ``counts``: one row per class (index: its name), whole-number columns ``train``, ``copies``, ``test``.
    """
    figure = Figure(figsize=(WIDTH, 0.8 + 0.3 * len(counts)), layout="constrained")
    train, copies, test = (int(counts[column].sum()) for column in ("train", "copies", "test"))
    panels = {
        f"original arm trains on\n{train:,} photos": {"train": COLOURS["original"]},
        f"augmented arm trains on\n{train:,} photos + {copies:,} copies": {
            "train": COLOURS["original"],
            "copies": COLOURS["augmented"],
        },
        f"both are tested on\n{test:,} photos": {"test": QUIET},
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
    axes.set_yticks(rows, [_shorten(name, 28) for name in counts.index])
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


@_styled
def plot_learning_curves(histories: Mapping[str, Sequence[pd.DataFrame]]) -> Figure:
    """Loss and test scores after every epoch, one panel per curve.

    ``histories``: per arm (one or both) one frame per trial, columns ``epoch`` and those of `CURVES`.
    """
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    panels = figure.subplots(2, 4).flat
    for axes, curve in zip(panels, CURVES, strict=False):
        for arm, trials in histories.items():
            _draw_curve(axes, trials, curve, COLOURS[arm])
        _dress_curve(axes, curve)
    _draw_key(panels[len(CURVES)], histories)
    return figure


def _draw_curve(axes: Axes, trials: Sequence[pd.DataFrame], curve: str, colour: str) -> None:
    marker = "o" if max(map(len, trials)) <= 12 else ""
    if len(trials) > 1:
        for trial in trials:
            axes.plot(
                trial["epoch"], trial[curve], color=colour, alpha=0.35, linewidth=0.8, marker=marker, markersize=1.5
            )
    mean = pd.concat(trials).groupby("epoch")[curve].mean()
    axes.plot(mean.index, mean, color=colour, linewidth=2, marker=marker, markersize=4)


def _dress_curve(axes: Axes, curve: str) -> None:
    axes.set_title(curve)
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
    else:
        axes.set_ylim(0, 1.1 * losses.max() or 1)


def _draw_key(axes: Axes, histories: Mapping[str, Sequence[pd.DataFrame]]) -> None:
    axes.set_axis_off()
    for row, arm in enumerate(histories):
        axes.text(
            0.1, 0.85 - 0.15 * row, f"— {arm}", color=COLOURS[arm], weight="bold", size=12, transform=axes.transAxes
        )
    trials = len(next(iter(histories.values())))
    lines = "thick: mean of the trials\nthin: one trial each\n" if trials > 1 else ""
    note = f"{trials} trial{'s' * (trials > 1)}\n{lines}test scores are watched,\nnever used to choose"
    axes.text(0.1, 0.5, note, color=QUIET, va="top", linespacing=1.4, transform=axes.transAxes)


@_styled
def plot_confusion(matrices: Mapping[str, npt.ArrayLike], class_names: Sequence[str]) -> Figure:
    """Confusion matrices side by side, with counts and the share of each true class.

    ``matrices``: per arm (one or both) whole numbers [C, C], rows = true class, columns = predicted class.
    """
    names = [_shorten(name, 20) for name in class_names]
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
    # up to 1.4, so that dark text stays readable on the deepest shade
    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("arm", ["white", colour]), vmin=0, vmax=1.4)
    for (true, predicted), count in np.ndenumerate(counts):
        if len(counts) <= 40:  # beyond that no number could be read
            text = f"{count:,}\n{shares[true, predicted]:.0%}" if count else "0"
            axes.text(predicted, true, text, ha="center", va="center", size=7.5 if len(counts) > 4 else 10)
    axes.tick_params(length=0)
    axes.spines[:].set_color(FAINT)
    axes.spines[:].set_visible(True)


@_styled
def plot_contact_sheet(rows: Sequence[Sequence[Picture]]) -> Figure:
    """Source photos with their augmented copies: one row per source, which comes first, then its copies."""
    cells = [[(picture.image, [(line, INK) for line in picture.lines]) for picture in row] for row in rows]
    headings = ["source photo", *(f"copy {number}" for number in range(1, max(map(len, rows))))]
    return _draw_photos(cells, "Train photos and what augmentation makes of them", headings)


def describe_operations(operations: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per operation of a copy, in the order applied, such as ``1 blur: radius 2.1``."""
    lines = []
    for number, operation in enumerate(operations, start=1):
        magnitudes = [
            f"{k.removesuffix('_factor')}\N{NO-BREAK SPACE}{v:.3g}"
            for k, v in operation.items()
            if k not in ("name", "seed")
        ]
        lines.append(f"{number} {operation['name'].replace('_', ' ')}{': ' * bool(magnitudes)}{', '.join(magnitudes)}")
    return lines


@_styled
def plot_disagreements(disagreements: pd.DataFrame, images: Sequence[Image.Image], answers: int) -> Figure:
    """Photos to which the arms give different answers, four in a row, in the order given.

    ``disagreements``: all of them; columns ``trial``, ``path``, ``target``, and per arm its predicted class and the
    probability (0 to 1) of that: ``original``, ``p_original``, ``augmented``, ``p_augmented``.
    ``images``: RGB, of the first rows, which are shown. ``answers``: how many test answers there are in all.
    """
    if disagreements.empty:
        figure = Figure(figsize=(WIDTH, 1.2))
        sentence = f"Both arms give the same answer to all {answers:,} test photos."
        figure.text(0.5, 0.5, sentence, ha="center", va="center", size=12)
        return figure
    shown = zip(images, disagreements.to_dict("records"), strict=False)
    cells = [(image, _describe_answers(case)) for image, case in shown]
    rest = f"; here the {len(images)} on which the models were surest" if len(images) < len(disagreements) else ""
    title = f"The arms differ in {len(disagreements):,} of {answers:,} answers{rest}"
    return _draw_photos([cells[start : start + 4] for start in range(0, len(cells), 4)], title)


def _describe_answers(case: Mapping[Any, Any]) -> list[tuple[str, str]]:
    lines = [
        (f"{Path(case['path']).name}, trial {case['trial']}", QUIET),
        (f"truth: {_shorten(case['target'], 26)}", INK),
    ]
    for arm, colour in COLOURS.items():
        mark = "✓" if case[arm] == case["target"] else "✗"
        lines.append((f"{mark} {arm}: {_shorten(case[arm], 13)} {case[f'p_{arm}']:.0%}", colour))
    return lines


_Cell = tuple[Image.Image, Sequence[tuple[str, str]]]
"""A picture and the lines under it with their colours."""

_CELL, _GAP, _LINE = 2.3, 0.2, 0.165  # inches: a cell's width, between cells, a line of text


def _draw_photos(rows: Sequence[Sequence[_Cell]], title: str, headings: Sequence[str] = ()) -> Figure:
    """Pictures in a grid, bottoms of a row aligned, so that the lines under them start at one height."""
    wrapped = [[(image, _wrap(lines)) for image, lines in row] for row in rows]
    shapes = [min(max(image.height / image.width for image, _ in row), 1.0) for row in rows]
    below = [_LINE * max(len(lines) for _, lines in row) + 1.5 * _GAP for row in wrapped]
    width = _GAP + (_CELL + _GAP) * max(2, *map(len, rows))  # at least what the title needs
    head = 0.7 if headings else 0.4
    height = head + sum(shapes) * _CELL + sum(below)
    figure = Figure(figsize=(width, height))
    figure.text(_GAP / width, 1 - 0.12 / height, title, size=11, weight="bold", va="top")
    bottom = height - head
    for number, (row, shape, space) in enumerate(zip(wrapped, shapes, below, strict=True)):
        bottom -= shape * _CELL
        for column, (image, lines) in enumerate(row):
            left = _GAP + column * (_CELL + _GAP)
            axes = figure.add_axes((left / width, bottom / height, _CELL / width, shape * _CELL / height))
            _show(axes, image, shape, lines)
            if headings and number == 0:
                axes.set_title(headings[column], color=QUIET)
        bottom -= space
    return figure


def _wrap(lines: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Lines broken to a cell's width: about 33 characters of 9 points in 2.3 inches."""
    return [(part, colour) for text, colour in lines for part in textwrap.wrap(text, 33, subsequent_indent="    ")]


def _show(axes: Axes, image: Image.Image, shape: float, lines: Sequence[tuple[str, str]]) -> None:
    """Draw a picture in the lower left corner of axes whose height is ``shape`` times their width."""
    axes.imshow(np.asarray(image))
    side = max(image.width, image.height / shape)
    axes.set_xlim(-0.5, side - 0.5)
    axes.set_ylim(image.height - 0.5, image.height - 0.5 - side * shape)
    axes.set_axis_off()
    axes.add_patch(Rectangle((-0.5, -0.5), image.width, image.height, fill=False, edgecolor=FAINT, clip_on=False))
    for number, (text, colour) in enumerate(lines):
        below = (0, -4 - 72 * _LINE * number)
        axes.annotate(text, (0, 0), below, "axes fraction", "offset points", va="top", color=colour)


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
