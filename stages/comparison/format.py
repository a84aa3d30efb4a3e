"""Numbers as text. Accuracies and differences are fractions, shown in percent and percentage points."""

import math
from collections.abc import Iterable, Sequence

from stages.comparison.statistics import Estimate, Interval

MINUS = "−"  # as wide as a plus, and never broken from its number


def format_signed(value: float, digits: int) -> str:
    """A difference with its sign, ``−3.1``; what rounds to zero has none."""
    text = f"{value:+,.{digits}f}"
    return text.replace("-", MINUS) if text.strip("+-0.") else text[1:]


def format_points(interval: Interval) -> str:
    """An interval in percentage points: ``−3.1 to +5.5``."""
    return f"{_format_end(100 * interval.low)} to {_format_end(100 * interval.high)}"


def _format_end(points: float) -> str:
    """One digit, or as many as show on which side of zero an interval ends: ``−0.04``."""
    size = abs(points)
    return format_signed(points, math.ceil(-math.log10(size)) if 1e-9 < size < 0.05 else 1)


def format_percent(interval: Interval) -> str:
    """An interval in percent: ``43.9 to 60.3``."""
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def format_estimate(estimate: Estimate) -> str:
    """A difference in percentage points, with its interval: ``+1.2 (−3.1 to +5.5)``."""
    return f"{format_signed(100 * estimate.mean, 1)} ({format_points(estimate.interval)})"


def format_share(share: tuple[float, Interval] | None) -> str:
    """A fraction in percent, with its interval: ``52.1 (43.9 to 60.3)``."""
    return f"{100 * share[0]:.1f} ({format_percent(share[1])})" if share else "n/a"


def format_range(values: Iterable[float]) -> str:
    """``40``, or ``38 to 40`` where trials differ."""
    low, high = min(values := list(values)), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def format_p(p: float) -> str:
    """Three digits, and no p-value of zero."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def format_rough(number: int) -> str:
    """Two digits: an estimate that is known no more exactly than that."""
    return f"{float(f'{number:.1e}'):,.0f}"


def format_many(items: Sequence[str]) -> str:
    """Items in a row, at most three of them: ``a, b, c and 4 more``."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more
