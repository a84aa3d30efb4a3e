"""Planned looks: numbers of trials, declared before the first, after which the answer may be read and acted on.

Who adds trials until the answer looks clear finds a difference sooner or later, also where there is none. With a plan,
each look spends a part of the 5 % that its new trials are of all planned ones: with looks after 5, 10 and 20 trials
1.25, 1.25 and 2.5 %. As these parts add up to 5 %, all intervals, if each keeps its own level, hold together with a
probability of at least 95 %, whenever one stops (Bonferroni's inequality, with the weights of a linear spending
function: Lan & DeMets 1983, Biometrika 70:659). docs/looks.md shows how the whole procedure fares in simulated studies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from stages.comparison.statistics import LEVEL, Estimate, Groups, Values, Verdict, decide, estimate_mean


@dataclass(frozen=True)
class Look:
    """What a number of trials says, with an interval at the level that the plan leaves to it."""

    trials: int
    level: float
    difference: Estimate
    verdict: Verdict


def compute_levels(looks: Sequence[int]) -> list[float]:
    """The level of the interval at each look, such as 0.9875, 0.9875 and 0.975 after 5, 10 and 20 trials."""
    return [1 - (1 - LEVEL) * (trials - before) / looks[-1] for before, trials in pairwise([0, *looks])]


def take_looks(gains: Values, looks: Sequence[int], margin: float, groups: Groups | None = None) -> list[Look]:
    """The looks that the trials at hand allow; ``gains`` `[T, N]`: 1, 0, -1 or NaN, trials in the order of the plan."""
    taken = []
    for trials, level in zip(looks, compute_levels(looks), strict=True):
        if trials <= len(gains):
            difference = estimate_mean(gains[:trials, :], level=level, groups=groups)
            taken.append(Look(trials, level, difference, decide(difference.interval, margin)))
    return taken
