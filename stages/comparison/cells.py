"""Cells of a table, as text: shares, differences, p-values, and means over trials."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from statistics import fmean, stdev
from typing import Any, cast

from stages.comparison.statistics import Estimate, Interval
from stages.comparison.study import ARMS, Metrics
from stages.comparison.words import format_percent, format_points, format_signed


@dataclass(frozen=True)
class Table:
    """Cells as text. The first ``names`` columns hold names, the others numbers; ``note`` says how to read them."""

    header: list[str]
    rows: list[list[str]]
    names: int = 1
    note: str = ""


def format_estimate(estimate: Estimate) -> str:
    """A difference of fractions in points, with its interval: ``+1.2 (−3.1 to +5.5)``."""
    return f"{format_signed(100 * estimate.mean, 1)} ({format_points(estimate.interval)})"


def format_share(share: tuple[float, Interval] | None) -> str:
    """A fraction in percent, with its interval: ``52.1 (43.9 to 60.3)``."""
    if share is None:
        return "n/a"
    mean, interval = share
    return f"{100 * mean:.1f} ({format_percent(interval)})"


def format_span(values: Iterable[float]) -> str:
    """``40``, or ``38 to 40`` where trials differ."""
    low, high = min(values := list(values)), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def format_p(p: float) -> str:
    """Three digits, and no p-value of zero."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def collect(metrics: Metrics, arm: str, *keys: str) -> list[Any]:
    """One value, found by nested ``keys``, of every trial of an arm."""
    return [reduce(getitem, keys, cast(Any, trial)) for trial in metrics[arm]]


def compare(metrics: Metrics, *keys: str) -> list[str]:
    """A value of both arms, ready to print: original, augmented, difference.

    Each is a mean ± standard deviation over trials, the mean alone of one trial, n/a when a trial has no value.
    """
    original, augmented = (collect(metrics, arm, *keys) for arm in ARMS)
    if None in original + augmented:
        return ["n/a"] * 3
    gains = [a - o for o, a in zip(original, augmented, strict=True)]
    means = [f"{fmean(original):.4f}", f"{fmean(augmented):.4f}", format_signed(fmean(gains), 4)]
    return [
        mean + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")
        for mean, values in zip(means, (original, augmented, gains), strict=True)
    ]
