"""What one trial shows: two models on the same photos. Shares and differences are fractions, intervals at 95 %.

Photos in groups say less than as many by themselves. How much less is their design effect, by which all counts are
divided (Rao & Scott 1992, Biometrics 48:577); without groups it is 1.
"""

import math

import numpy as np
from scipy import optimize, special

from stages.comparison.statistics import (
    Counts,
    Floats,
    Groups,
    Interval,
    Values,
    Z,
    count_effective,
    measure_groups,
    sum_groups,
)


def compute_design_effect(values: Values, groups: Groups | None) -> float:
    """The variance of the mean of ``values`` `[1, N]` over what it would be if every photo were by itself, at least 1.

    Values that are -1, 0 or 1, NaN where a photo is not tested. To both variances one group of mean size is added that
    is all 1: where nothing happened, the design effect is the mean size; where groups are all alike, it is their size.
    """
    if groups is None:
        return 1.0
    rest, sizes = np.nan_to_num(values - np.nanmean(values)), measure_groups(values, groups)
    sums, size = sum_groups(rest, groups), float(sizes.sum()) / count_effective(sizes)
    return max(float(((sums * sums).sum() + size**2) / ((rest * rest).sum() + size)), 1.0)


def compute_wilson_interval(successes: int, n: int, design_effect: float = 1.0) -> Interval:
    """Score interval of a proportion (Wilson 1927, J Am Stat Assoc 22:209)."""
    share, doubt = successes / n, Z**2 * design_effect / n
    middle = (share + doubt / 2) / (1 + doubt)
    half = math.sqrt(doubt * (share * (1 - share) + doubt / 4)) / (1 + doubt)
    # rounding must not put the share outside
    return Interval(max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0))


def compute_mcnemar_midp(b: int, c: int, design_effect: float = 1.0) -> float:
    """Mid-p McNemar test of two models on the same photos (Fagerland 2013, BMC Med Res Methodol 13:91).

    ``b``, ``c``: photos that only one, only the other model got right. The exact binomial p-value less half the
    probability of what was seen; 1 when the models differ on no photo.
    """
    fewer, total = np.array([min(b, c) / design_effect]), (b + c) / design_effect
    return float(compute_midps(fewer, total)[0]) if total else 1.0


def compute_midps(fewer: Floats | Counts, total: float) -> Floats:
    """Of each number of photos that the worse model alone got right, of ``total`` > 0 on which two differ.

    The binomial distribution's, continued between whole numbers by the beta and gamma functions.
    """
    more = total - fewer
    ways = special.gammaln(total + 1) - special.gammaln(fewer + 1) - special.gammaln(more + 1)
    point, tail = np.exp(ways - total * math.log(2)), special.betainc(more, fewer + 1, 0.5)
    midps: Floats = np.where(2 * fewer == total, 1 - point / 2, 2 * tail - point)
    return midps


def compute_tango_interval(b: int, c: int, n: int, design_effect: float = 1.0) -> Interval:
    """Score interval of the difference of two paired proportions, (b - c) / n (Tango 1998, Stat Med 17:891).

    It holds the differences d whose score (b - c - n d) / sqrt(n (2 q + d (1 - d))) is within ±1.96, q being the
    maximum-likelihood share of photos counted by c, given d. ``b``, ``c``: as in `compute_mcnemar_midp`; ``n``: all
    photos. Raises ValueError when they do not fit together.
    """
    if min(b, c) < 0 or not 1 <= n >= b + c:
        raise ValueError(f"{b} and {c} are no parts of {n} photos")

    def score(d: float) -> float:
        linear = -b - c + (2 * n - b + c) * d
        root = math.sqrt(max(linear * linear + 8 * n * c * d * (1 - d), 0.0))  # rounding can make it negative
        q = (root - linear) / (4 * n)
        variance = n * (2 * q + d * (1 - d))
        return (b - c - n * d) / math.sqrt(variance * design_effect) if variance > 0 else 0.0

    difference, edge = (b - c) / n, 1 - 1e-12
    low = -1.0 if b - c == -n else optimize.brentq(lambda d: score(d) - Z, -edge, difference)
    high = 1.0 if b - c == n else optimize.brentq(lambda d: score(d) + Z, difference, edge)
    return Interval(float(low), float(high))
