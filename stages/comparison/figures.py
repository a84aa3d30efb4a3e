"""The one style of all figures, and their bytes: the same figure always gives the same PNG and the same SVG."""

import html
import io
import re
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

from stages.base.files import write_bytes

# Okabe & Ito's blue and vermilion: distinct with any colour vision
COLOURS = {"original": "#0072B2", "augmented": "#D55E00"}
INK, QUIET, FAINT = "#222222", "#666666", "#E6E6E6"
# what encode_svg() writes for a colour: a CSS variable, so that a page can be light or dark
VARIABLES = {INK: "ink", QUIET: "quiet", FAINT: "faint", **{colour: arm for arm, colour in COLOURS.items()}}
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


def shorten(text: str, width: int) -> str:
    """At most ``width`` characters of a text, with an ellipsis where some are left out."""
    return text if len(text) <= width else text[: width - 1] + "…"
