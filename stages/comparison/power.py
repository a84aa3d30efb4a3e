"""How many trials or photos would settle a question that is open, as far as the data show.

Accuracies, differences and margins are fractions.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from stages.comparison.one_trial import compute_midps
from stages.comparison.statistics import (
    LEVEL,
    Counts,
    Floats,
    Groups,
    Values,
    Variance,
    Z,
    compute_floor,
    compute_reach,
    compute_variance,
    count_effective,
    measure_groups,
    measure_spread,
)

POWER = 0.8  # probability of finding a difference that is there
MOST_TRIALS = 40  # on one dataset: the longest plan that docs/looks.md follows


def find_trials_needed(values: Values, margin: float, groups: Groups | None = None) -> int | None:
    """Trials on the same photos that would settle what ``values`` `[T, N]` leave inconclusive, as far as they show.

    Settled: either an interval no wider than the margin, which always gives a verdict, or a difference as large as
    the one seen, found with a probability of 80 %. None when no number of trials up to `MOST_TRIALS` is enough. As long
    as no photo has been tested twice, nothing shows what a second test of it would repeat: the number is then the least
    that it can be.

    Raises:
        ValueError: fewer than two trials, or one without a value.
    """
    parts, mean, sizes = _measure(values, groups)
    photos = max(parts.photos - parts.cells, 0.0)  # what stays, however often the same photos are tested
    rest = max(parts.trials, parts.cells) * len(values)
    more = np.arange(len(values) + 1, MOST_TRIALS + 1)
    return _find_first(more, _settles(rest / more + photos, more, np.array(count_effective(sizes)), mean, margin))


def find_photos_needed(values: Values, margin: float, groups: Groups | None = None) -> int | None:
    """The same for test photos, with the trials as they are, in groups like these.

    None when no number up to a million is enough.
    """
    parts, mean, sizes = _measure(values, groups)
    tested = int(sizes.sum())
    trials = max(parts.trials - parts.cells, 0.0)  # what stays, however many photos are tested
    rest = max(parts.photos, parts.cells) * tested
    more = _list_round_numbers(tested + 1)
    effective = np.asarray(more * (count_effective(sizes) / tested), dtype=np.float64)
    return _find_first(more, _settles(rest / more + trials, np.array(len(values)), effective, mean, margin))


def count_least_photos(margin: float, level: float) -> int:
    """Photos below which an interval of this ``level`` is wider than ±``margin``, whatever the trials show.

    Where nothing happens on any of N photos it is ± z² / (N + z²), Tango's.
    """
    return math.ceil(compute_reach(math.inf, level) ** 2 * (1 / margin - 1))


def find_detectable(values: Values, level: float = LEVEL, groups: Groups | None = None) -> float:
    """The true difference that trials like ``values`` `[T, N]` find with a probability of about 80 %.

    Where d is the difference, one arm alone is right on a share d of the photos at least. If always on the same ones,
    that adds d (1 - d) / N to the variance; so d is the smallest with d² = k² (variance + d (1 - d) / N), k being the
    reach of the interval and of the power. Without any other variance it is k² / (N + k²), after Tango.

    Raises ValueError as `measure_spread` does.
    """
    spread = measure_spread(values, 1, groups)
    wide = compute_reach(spread.freedom, level) + float(stats.t.ppf(POWER, spread.freedom))
    narrow = compute_reach(math.inf, level) + float(stats.norm.ppf(POWER))
    return max(_solve(wide**2, spread.between**2, spread.photos), _solve(narrow**2, spread.within**2, spread.photos))


def _solve(square: float, variance: float, photos: float) -> float:
    """The d above 0 with d² = ``square`` (``variance`` + d (1 - d) / ``photos``)."""
    share = square / photos
    return (share + math.sqrt(share**2 + 4 * (1 + share) * square * variance)) / (2 * (1 + share))


def _measure(values: Values, groups: Groups | None) -> tuple[Variance, float, Floats]:
    if len(values) < 2:
        raise ValueError("one trial says nothing on how trials differ")
    return compute_variance(values, groups), float(np.nanmean(values)), measure_groups(values, groups)


def _list_round_numbers(start: int) -> Counts:
    """Numbers of two digits and zeros from ``start`` to a million: needs are known no more exactly than that."""
    units = (1, 10, 100, 1_000, 10_000)
    return np.array([n for unit in units for n in range(10 * unit, 100 * unit, unit) if n >= start], dtype=np.int64)


def _settles(variance: Floats, trials: Counts, photos: Floats, mean: float, margin: float) -> npt.NDArray[np.bool_]:
    error, floor = np.sqrt(variance), compute_floor(photos)
    reach, power = (stats.t.ppf(share, trials - 1) for share in ((1 + LEVEL) / 2, POWER))
    narrow = np.maximum(reach * error, floor) <= margin / 2
    found: npt.NDArray[np.bool_] = narrow | (np.maximum((reach + power) * error, floor) < abs(mean))
    return found


def _find_first(numbers: Counts, fit: npt.NDArray[np.bool_]) -> int | None:
    return int(numbers[fit.argmax()]) if fit.any() else None


def compute_power(n: int, discordance: float, difference: float) -> float:
    """Probability that the mid-p McNemar test finds a true difference of accuracies, at p < 0.05, on ``n`` photos.

    ``discordance``: the share of photos on which exactly one of the two models is right, above 0 and at least as large
    as the difference; else ValueError.
    """
    _check_discordance(discordance, difference)
    share = (1 + difference / discordance) / 2  # of the discordant photos, won by the better model
    power = 0.0
    for count in range(n + 1):
        weight = float(stats.binom.pmf(count, n, discordance))
        if weight > 1e-9:
            wins = np.arange(count + 1)
            significant = compute_midps(np.minimum(wins, count - wins), count) < 1 - LEVEL
            power += weight * float(stats.binom.pmf(wins, count, share) @ significant)
    return power


def find_pairs_needed(discordance: float, difference: float) -> int:
    """Photos that McNemar's test needs to find a true difference, not 0, with a probability of 80 %.

    Connett, Smith & McHugh 1987, Stat Med 6:167. Raises as `compute_power`.
    """
    _check_discordance(discordance, difference)
    if not difference:
        raise ValueError("no number of photos shows a difference of 0")
    spread = Z * math.sqrt(discordance) + float(stats.norm.ppf(POWER)) * math.sqrt(discordance - difference**2)
    return math.ceil((spread / difference) ** 2)


def _check_discordance(discordance: float, difference: float) -> None:
    if not (0 < discordance <= 1 and abs(difference) <= discordance):
        raise ValueError(f"a difference of {difference} needs a discordance between itself and 1, not {discordance}")
