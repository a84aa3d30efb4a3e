"""The table of benchmarks: its rows, which can be kept as JSON by machine, so that a regression shows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import MappingProxyType

PAGE_HEAD = """# Benchmarks

What `make bench` measured, by machine: whole processes in turn. A figure is the median of the rounds with its range, a
ratio the median of the rounds' ratios. [docs/speed.md](../docs/speed.md) says what follows from it.
"""
TOLERANCE = 0.1  # of a ratio: less is noise on a shared machine
DRIFT = 0.5  # of seconds that nothing is compared with: so far a shared machine's speed drifts


@dataclass(frozen=True)
class Row:
    """A measurement, round by round, and what it is compared with in the same rounds.

    bar: for the ratio to ``others``, or where there are none for the values themselves. more_is_better: whether the
    bar is a lower bound.
    """

    part: str
    what: str
    unit: str
    values: list[float]
    others: list[float] | None = None
    bar: float | None = None
    more_is_better: bool = True

    @property
    def result(self) -> float:
        """The median of the rounds' ratios, or of the values."""
        if self.others is None:
            return median(self.values)
        return median(value / other for value, other in zip(self.values, self.others, strict=True))

    @property
    def met(self) -> bool:
        """Whether the result is within the bar."""
        return self.bar is None or (self.result >= self.bar if self.more_is_better else self.result <= self.bar)


def render_table(rows: Sequence[Row], before: Mapping[str, float] = MappingProxyType({})) -> str:
    """The rows as a Markdown table. ``before``: results of an earlier run, by name."""
    lines = ["| part | what | here | compared with | ratio | bar |", "|---|---|---:|---:|---:|---:|"]
    if before:
        lines = [lines[0] + " before |", lines[1] + "---:|"]
    for row in rows:
        ratio = "" if row.others is None else f"{row.result:.2f}"
        others = "" if row.others is None else describe(row.others)
        bar = (
            ""
            if row.bar is None
            else f"{'≥' if row.more_is_better else '≤'} {row.bar:g}{'' if row.met else ' **missed**'}"
        )
        earlier = before.get(name_row(row))
        cell = "" if earlier is None else f"{earlier:.3g}{' **worse**' if is_worse(row, earlier) else ''}"
        cells = [row.part, row.what, f"{describe(row.values)} {row.unit}", others, ratio, bar]
        lines.append(f"| {' | '.join([*cells, cell] if before else cells)} |")
    return "\n".join(lines) + "\n"


def describe(values: Sequence[float]) -> str:
    """Median and range."""
    if len(values) == 1:
        return format_number(values[0])
    return f"{format_number(median(values))} ({format_number(min(values))} to {format_number(max(values))})"


def format_number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def is_worse(row: Row, before: float) -> bool:
    """Whether the result is worse than it was, by more than noise."""
    change = row.result / before - 1
    noise = DRIFT if row.others is None and row.unit == "s" else TOLERANCE
    return (-change if row.more_is_better else change) > noise


def name_row(row: Row) -> str:
    """What identifies a row in another run."""
    return f"{row.part}: {row.what}, {row.unit}"


def save_rows(rows: Sequence[Row], machine: str, path: Path) -> None:
    """Keep rows for the next run, and beside them their tables for readers.

    What was measured earlier and not now stays, as does what other machines measured.
    """
    kept, now = load_machines(path), {name_row(row) for row in rows}
    kept[machine] = [*(row for row in kept.get(machine, []) if name_row(row) not in now), *rows]
    fields = {name: [asdict(row) for row in own] for name, own in kept.items()}
    path.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n")
    path.with_suffix(".md").write_text(render_page(kept))


def render_page(machines: Mapping[str, Sequence[Row]]) -> str:
    """The tables of all machines as a page."""
    tables = [f"## {name}\n\n{render_table(rows)}" for name, rows in machines.items()]
    return "\n".join([PAGE_HEAD, *tables])


def load_machines(path: Path) -> dict[str, list[Row]]:
    """The rows that are kept, by machine."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    return {machine: [Row(**fields) for fields in rows] for machine, rows in kept.items()}


def load_results(path: Path, machine: str) -> dict[str, float]:
    """The results that are kept, by the names of their rows."""
    return {name_row(row): row.result for row in load_machines(path).get(machine, [])}
