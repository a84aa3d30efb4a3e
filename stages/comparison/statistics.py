"""Is a difference between the arms more than noise? Pure functions over counts and per-photo values.

Accuracies, differences and margins are fractions; intervals are two-sided, at 95 % unless a level is given. That of the
headline, `estimate_mean`, was chosen by simulation: docs/calibration.md compares it with the textbook's methods.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

LEVEL = 0.95
Z = float(stats.norm.ppf((1 + LEVEL) / 2))  # 1.96

Values = npt.NDArray[np.float64]
"""One value per trial and photo, `[T, N]`; NaN where a trial does not test a photo."""

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

Verdict = Literal["helps", "hurts", "no practical difference", "cannot tell"]


@dataclass(frozen=True)
class Interval:
    """From ``low`` to ``high``, both included."""

    low: float
    high: float

    def contains(self, value: float) -> bool:
        """Whether ``value`` lies between the ends."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Estimate:
    """A mean over trials and photos, its interval, and the two-sided p-value of its being 0."""

    mean: float
    interval: Interval
    p: float


def compute_wilson_interval(successes: int, n: int) -> Interval:
    """Score interval of a proportion (Wilson 1927), as scipy computes it."""
    found = stats.binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))


def compute_mcnemar_midp(b: int, c: int) -> float:
    """Mid-p McNemar test of two models on the same photos (Fagerland 2013, BMC Med Res Methodol 13:91).

    ``b``, ``c``: photos that only one, only the other model got right. The exact binomial p-value less half the
    probability of what was seen; 1 when the models differ on no photo.
    """
    return float(compute_midps(np.array([min(b, c)]), b + c)[0]) if b + c else 1.0


def compute_midps(fewer: Counts, total: int) -> Floats:
    """Of each number of photos that the worse model alone got right, of ``total`` on which two differ."""
    point, tail = stats.binom.pmf(fewer, total, 0.5), stats.binom.cdf(fewer, total, 0.5)
    midps: Floats = np.where(2 * fewer == total, 1 - point / 2, 2 * tail - point)
    return midps


def compute_tango_interval(b: int, c: int, n: int) -> Interval:
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
        return (b - c - n * d) / math.sqrt(variance) if variance > 0 else 0.0

    difference, edge = (b - c) / n, 1 - 1e-12
    low = -1.0 if b - c == -n else optimize.brentq(lambda d: score(d) - Z, -edge, difference)
    high = 1.0 if b - c == n else optimize.brentq(lambda d: score(d) + Z, difference, edge)
    return Interval(float(low), float(high))


@dataclass(frozen=True)
class Variance:
    """Variance of a mean, as seen from clusters: values of one trial, of one photo, and of each by itself."""

    trials: float
    photos: float
    cells: float


def compute_variance(values: Values) -> Variance:
    """Cluster-robust variances of the mean of ``values`` `[T, N]`, with the usual T / (T - 1) and N / (N - 1).

    Raises:
        ValueError: a trial has no value, or a value is infinite.
    """
    check_values(values)
    total, mean = np.isfinite(values).sum(), np.nanmean(values)
    rest = np.nan_to_num(values - mean)
    by_trial, by_photo = rest.sum(axis=1), rest.sum(axis=0)
    trials, photos = len(by_trial), count_photos(values)
    return Variance(
        trials=float(by_trial @ by_trial) / total**2 * trials / max(trials - 1, 1),
        photos=float(by_photo @ by_photo) / total**2 * photos / max(photos - 1, 1),
        cells=float((rest * rest).sum()) / total**2,
    )


def check_values(values: Values) -> None:
    """Raise ValueError unless every trial has a value, and none is infinite."""
    if not (values.size and np.isfinite(values).any(axis=1).all()):
        raise ValueError("a trial has no value: there is nothing to average")
    if np.isinf(values).any():
        raise ValueError("a value is infinite: it has no average")


def estimate_mean(values: Values, bound: float = 1.0, level: float = LEVEL) -> Estimate:
    """Mean over trials and photos, when new trials and new photos would both bring other values.

    Its interval is the widest of three, each centred on the mean:

    * as trials differ: ± t error, the error that of two crossed clusters, trials and photos (Cameron, Gelbach & Miller
      2011, J Bus Econ Stat 29:238), trials + photos - cells of `compute_variance`, but at least trials; Student's t has
      T - 1 degrees of freedom;
    * as photos differ: ± z sqrt(photos), z being 1.96 at 95 %, once one test of +``bound`` and one of -``bound`` are
      added for each time that a photo was tested (after Bonett & Price 2012, J Educ Behav Stat 37:479);
    * as if nothing had happened on any photo: Tango's interval then, ± z² / (N + z²), times ``bound``.

    The last two keep few photos, all alike, from claiming certainty. The interval excludes 0 exactly when p is below
    1 - ``level``.

    Args:
        values: `[T, N]`, T at least 2.
        bound: the largest value that a photo can have; 0 where there is no largest, as of a loss.
        level: of the interval.

    Raises:
        ValueError: fewer than two trials, a trial without a value, an infinite value or one beyond ``bound``.
    """
    spread = measure_spread(values, bound)
    return Estimate(spread.mean, spread.compute_interval(level), spread.compute_p(level))


@dataclass(frozen=True)
class Spread:
    """A mean and its standard errors, as trials and as photos differ; ``photos``: how many. See `estimate_mean`."""

    mean: float
    between: float
    within: float
    freedom: int
    photos: int
    bound: float

    def compute_interval(self, level: float) -> Interval:
        """Of the mean."""
        half = max(
            compute_reach(self.freedom, level) * self.between,
            compute_reach(math.inf, level) * self._compute_within(level),
        )
        limit = self.bound or math.inf
        return Interval(max(self.mean - half, -limit), min(self.mean + half, limit))

    def compute_p(self, level: float) -> float:
        """Two-sided, of the mean's being 0; of few photos it depends on the level that it is compared with."""
        return max(
            _compute_p(self.mean, self.between, self.freedom),
            _compute_p(self.mean, self._compute_within(level), math.inf),
        )

    def _compute_within(self, level: float) -> float:
        floor = float(compute_floor(np.array(self.photos), level))
        return max(self.within, floor * self.bound / compute_reach(math.inf, level))


def measure_spread(values: Values, bound: float) -> Spread:
    """What `estimate_mean` needs of values `[T, N]`; raises as it does."""
    if len(values) < 2:
        raise ValueError("one trial says nothing on how trials differ")
    variance = compute_variance(values)
    if bound and np.nanmax(np.abs(values)) > bound:
        raise ValueError(f"a value is beyond ±{bound}")
    total, photos = int(np.isfinite(values).sum()), count_photos(values)
    added = 2 * total / photos * bool(bound)
    return Spread(
        mean=float(np.nanmean(values)),
        between=math.sqrt(max(variance.trials + variance.photos - variance.cells, variance.trials)),
        within=math.sqrt(variance.photos * total**2 + added * bound**2) / (total + added),
        freedom=len(values) - 1,
        photos=photos,
        bound=bound,
    )


def compute_floor(photos: Counts, level: float = LEVEL) -> Floats:
    """Half of Tango's interval when nothing happened on any of so many photos."""
    z = compute_reach(math.inf, level)
    return np.asarray(z**2 / (photos + z**2), dtype=np.float64)


@cache
def compute_reach(freedom: float, level: float = LEVEL) -> float:
    """Half of an interval of Student's t, in standard errors; the normal distribution's with infinite freedom."""
    share = (1 + level) / 2
    return float(stats.norm.ppf(share) if math.isinf(freedom) else stats.t.ppf(share, freedom))


def _compute_p(mean: float, error: float, freedom: float) -> float:
    return float(2 * stats.t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)


def decide(interval: Interval, margin: float) -> Verdict:
    """What an interval of the difference in accuracy says, when differences inside ±``margin`` do not matter."""
    if interval.low > 0:
        return "helps"
    if interval.high < 0:
        return "hurts"
    if -margin <= interval.low and interval.high <= margin:
        return "no practical difference"
    return "cannot tell"


def count_photos(values: Values) -> int:
    """Photos that any trial tests."""
    return int(np.isfinite(values).any(axis=0).sum())


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """P-values of a family of tests, adjusted so that one false alarm among them all is rare (Holm 1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return [float(value) for value in adjusted]
