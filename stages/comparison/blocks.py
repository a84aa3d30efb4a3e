"""What a report is made of. The page and the Markdown are both rendered from these blocks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Text:
    """A paragraph; `code` between backticks. ``quiet``: in small print."""

    kind: ClassVar[str] = "text"
    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Table:
    """Cells as text. The first ``names`` columns hold names, the others numbers; ``note`` says how to read them."""

    kind: ClassVar[str] = "table"
    header: list[str]
    rows: list[list[str]]
    names: int = 1
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A figure, the name of its file, and what it shows in words."""

    kind: ClassVar[str] = "chart"
    name: str
    figure: Figure
    title: str


@dataclass(frozen=True)
class Card:
    """A photograph as a data URI, and the lines under it, each with the name of an arm or an empty string."""

    picture: str
    lines: list[tuple[str, str]]


@dataclass(frozen=True)
class Cards:
    """Photographs side by side, for the page alone. ``columns``: so many in a row, or as many as fit (0)."""

    kind: ClassVar[str] = "cards"
    cards: list[Card]
    columns: int = 0


@dataclass(frozen=True)
class Details:
    """Blocks that are folded away under a summary."""

    kind: ClassVar[str] = "details"
    summary: str
    blocks: list["Block"]


Block = Text | Table | Chart | Cards | Details


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it. ``level``: 2, or 3 below a section of level 2."""

    title: str
    blocks: list[Block] = field(default_factory=list)
    level: int = 2
    page_only: bool = False


def list_charts(sections: list[Section]) -> Iterator[Chart]:
    """Every chart of a report, in order."""
    for section in sections:
        yield from (block for block in section.blocks if isinstance(block, Chart))
