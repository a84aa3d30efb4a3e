"""Is a difference between the arms more than noise? Pure functions over per-photo values of several trials.

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
from scipy import stats

LEVEL = 0.95
Z = float(stats.norm.ppf((1 + LEVEL) / 2))  # 1.96

Values = npt.NDArray[np.float64]
"""One value per trial and photo, `[T, N]`; NaN where a trial does not test a photo."""

Groups = npt.NDArray[np.int64]
"""The number of each photo's group, `[N]`. New photos come in groups: patients, or near-duplicates of one scene. So a
group is what is sampled, and its photos count together. Where a function takes None, every photo is by itself."""

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


@dataclass(frozen=True)
class Variance:
    """Variance of a mean, as seen from clusters: values of one trial, of one photo, and of one photo in one trial.

    Where photos have groups, a group takes the place of the photo.
    """

    trials: float
    photos: float
    cells: float


def compute_variance(values: Values, groups: Groups | None = None) -> Variance:
    """Cluster-robust variances of the mean of ``values`` `[T, N]`, with the usual T / (T - 1) and N / (N - 1).

    Raises:
        ValueError: a trial has no value, or a value is infinite.
    """
    check_values(values)
    total, mean = np.isfinite(values).sum(), np.nanmean(values)
    rest = sum_groups(np.nan_to_num(values - mean), groups)
    by_trial, by_photo = rest.sum(axis=1), rest.sum(axis=0)
    trials, photos = len(by_trial), np.count_nonzero(measure_groups(values, groups))
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


def sum_groups(values: Floats, groups: Groups | None) -> Floats:
    """Sums over each group's photos, `[T, N]` to `[T, G]`, in the order of the groups' numbers."""
    if groups is None:
        return values
    numbers, members = np.unique(groups, return_inverse=True)
    return np.stack([np.bincount(members, row, len(numbers)) for row in values])


def measure_groups(values: Values, groups: Groups | None) -> Floats:
    """How many photos of each group any trial tests, `[G]`."""
    tested = np.asarray(np.isfinite(values).any(axis=0, keepdims=True), dtype=np.float64)
    return sum_groups(tested, groups).ravel()


def count_effective(sizes: Floats) -> float:
    """As many groups of one size say as much as groups of these ``sizes``: (Σ n)² / Σ n² (Kish 1965)."""
    return float(sizes.sum() ** 2 / (sizes @ sizes))


def estimate_mean(values: Values, bound: float = 1.0, level: float = LEVEL, groups: Groups | None = None) -> Estimate:
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

    Photos of one of ``groups`` count together: a cluster is a group, N the number of groups (of unequal ones, as
    `count_effective` counts them), and a test that is added is one of a whole group of mean size. Groups whose photos
    are all alike give the same interval as one photo of each.

    Args:
        values: `[T, N]`, T at least 2.
        bound: the largest value that a photo can have; 0 where there is no largest, as of a loss.
        level: of the interval.
        groups: of the photos.

    Raises:
        ValueError: fewer than two trials, a trial without a value, an infinite value or one beyond ``bound``.
    """
    spread = measure_spread(values, bound, groups)
    return Estimate(spread.mean, spread.compute_interval(level), spread.compute_p(level))


@dataclass(frozen=True)
class Spread:
    """A mean and its standard errors, as trials and as photos differ. See `estimate_mean`.

    ``photos``: how many, or how many groups by `count_effective`.
    """

    mean: float
    between: float
    within: float
    freedom: int
    photos: float
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


def measure_spread(values: Values, bound: float, groups: Groups | None = None) -> Spread:
    """What `estimate_mean` needs of values `[T, N]`; raises as it does."""
    if len(values) < 2:
        raise ValueError("one trial says nothing on how trials differ")
    variance = compute_variance(values, groups)
    if bound and np.nanmax(np.abs(values)) > bound:
        raise ValueError(f"a value is beyond ±{bound}")
    total, sizes = int(np.isfinite(values).sum()), measure_groups(values, groups)
    photos = count_effective(sizes)
    size, added = float(sizes.sum()) / photos, 2 * total / photos * bool(bound)
    return Spread(
        mean=float(np.nanmean(values)),
        between=math.sqrt(max(variance.trials + variance.photos - variance.cells, variance.trials)),
        within=math.sqrt(variance.photos * total**2 + added * size * bound**2) / (total + added),
        freedom=len(values) - 1,
        photos=photos,
        bound=bound,
    )


def compute_floor(photos: Floats | Counts, level: float = LEVEL) -> Floats:
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


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """P-values of a family of tests, adjusted so that one false alarm among them all is rare (Holm 1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return [float(value) for value in adjusted]
