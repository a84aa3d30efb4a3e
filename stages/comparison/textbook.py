"""The textbook's methods for a difference over several trials, which the report shows beside the verdict's own."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from stages.comparison.statistics import (
    LEVEL,
    Floats,
    Groups,
    Interval,
    Values,
    check_values,
    compute_reach,
    sum_groups,
)

RANDOM_SIGNS = 9999  # draws of the permutation test where there are too many trials for all of them


def compute_corrected_t_interval(values: Values, train_photos: int) -> Interval:
    """Interval of the mean over trials, for train sets that overlap (Nadeau & Bengio 2003, Mach Learn 52:239).

    t = mean / sqrt((1/T + n_test/n_train) var), var being that of the T trials' means, on T - 1 degrees of freedom.
    Groups of photos change nothing here: the trials' means vary by as much as groups make them, and both sides of a
    split hold whole groups.
    """
    check_values(values)
    means = np.nanmean(values, axis=1)
    tests = np.isfinite(values).sum(axis=1).mean()
    error = math.sqrt((1 / len(means) + tests / train_photos) * means.var(ddof=1))
    half = compute_reach(len(means) - 1) * error
    return Interval(float(means.mean()) - half, float(means.mean()) + half)


def bootstrap_interval(
    values: Values, replicates: int = 50_000, seed: int = 0, groups: Groups | None = None
) -> Interval:
    """Percentile interval of the crossed bootstrap: trials and photos, or whole groups, drawn anew with replacement.

    The pigeonhole bootstrap of Owen (2007, Ann Appl Stat 1:386). ``values`` `[T, N]`. With so many replicates another
    seed moves an end by a tenth of a percentage point at most, which is what is shown.
    """
    check_values(values)
    filled, tested = sum_groups(np.nan_to_num(values), groups), sum_groups(np.isfinite(values).astype(float), groups)
    rng, (trials, photos) = np.random.default_rng(seed), filled.shape
    means: list[float] = []
    for start in range(0, replicates, 100):  # at once, they would need gigabytes
        size = min(100, replicates - start)
        by_trial, by_photo = _draw_counts(rng, size, trials), _draw_counts(rng, size, photos)
        drawn = ((by_photo @ tested.T) * by_trial).sum(axis=1)
        sums = ((by_photo @ filled.T) * by_trial).sum(axis=1)
        means.extend(sums[drawn > 0] / drawn[drawn > 0])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def _draw_counts(rng: np.random.Generator, size: int, n: int) -> Floats:
    """How often each of ``n`` is among n draws with replacement, ``size`` times: `[size, n]`."""
    drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(float)


def compute_sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided permutation test of the trials' differences, each as likely with the other sign (Fisher 1935).

    Exact up to 13 trials, of more with `RANDOM_SIGNS`; never below `compute_sign_flip_floor`.
    """
    sample = np.asarray(differences, dtype=float)
    if len(sample) == 1:
        return 1.0  # of which scipy makes an error
    found = stats.permutation_test(
        (sample, np.zeros_like(sample)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RANDOM_SIGNS,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def compute_sign_flip_floor(trials: int) -> float:
    """The smallest two-sided p-value that the signs of T differences can give: 2 / 2^T, or 2 of the random ones."""
    return max(2.0 ** (1 - trials), 2 / (1 + RANDOM_SIGNS))
