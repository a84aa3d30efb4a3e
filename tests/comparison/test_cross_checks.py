"""The statistics against those of other software, on data that a formula gives.

statsmodels would be a dependency of 45 MB for these tests alone, so its numbers are kept here, with the calls that gave
them.
"""

import numpy as np
import pytest
from scipy import stats

from stages.comparison.one_trial import compute_mcnemar_midp, compute_wilson_interval
from stages.comparison.statistics import Groups, Values, adjust_holm, compute_variance, measure_spread


def make_values(trials: int, photos: int, size: int) -> tuple[Values, Groups]:
    """Gains without chance, of photos in groups of one size; every trial tests a fifth of the groups."""
    t, i = np.ogrid[:trials, :photos]
    values = ((t * t + 3 * i + t * i // 2) % 7 % 3 - 1).astype(float)
    groups = np.arange(photos) // size
    return np.where((groups + t * (1 + t // 5)) % 5 == 0, values, np.nan), groups


@pytest.mark.parametrize(
    ("shape", "by_trial", "by_photo", "both"),
    [
        ((5, 20, 1), 0.00375, 0.0257894736842105, 0.00375),
        ((10, 30, 1), 0.00262345679012346, 0.00636973180076629, 0.000353828892208011),
        ((10, 60, 4), 0.00698302469135804, 0.00342261904761906, 0.00684960925621847),
        ((7, 45, 3), 0.00520702108003696, 0.00464239253632563, 0.00317266884437971),
        ((10, 40, 8), 0.00223958333333333, 0.0040625, 0.0040625),
    ],
)
def test_variances_are_those_of_two_way_clusters_in_statsmodels(
    shape: tuple[int, int, int], by_trial: float, by_photo: float, both: float
) -> None:
    """statsmodels 0.15.0: of ``values``, ``groups`` = make_values(*shape)

        t, i = np.nonzero(np.isfinite(values))
        fit = sm.OLS(values[t, i], np.ones(len(t))).fit()
        both, by_trial, by_photo = cov_cluster_2groups(fit, t, groups[i])

    It multiplies the variance of each way to cluster by n / (n - 1), also that of the cells (trial × group), which
    Cameron, Gelbach & Miller leave open; ours leaves that one factor out.
    """
    values, groups = make_values(*shape)
    found = compute_variance(values, groups)
    assert (found.trials, found.photos) == pytest.approx((by_trial, by_photo))
    cells = np.isfinite(values[:, :: shape[2]]).sum()
    assert found.trials + found.photos - found.cells * cells / (cells - 1) == pytest.approx(both)
    spread = measure_spread(values, 1, groups)
    assert spread.between**2 == pytest.approx(max(found.trials + found.photos - found.cells, found.trials))
    if shape[2] == 1:
        assert compute_variance(values) == found


@pytest.mark.parametrize(
    ("b", "c", "exact"),
    [(1, 7, 0.0703125), (6, 16, 0.0524787902832), (12, 3, 0.03515625), (0, 5, 0.0625), (40, 25, 0.0816815339415)],
)
def test_midp_is_the_exact_p_of_statsmodels_less_what_was_seen(b: int, c: int, exact: float) -> None:
    """statsmodels 0.15.0: mcnemar([[50, b], [c, 9]], exact=True).pvalue; it has no mid-p."""
    assert compute_mcnemar_midp(b, c) == pytest.approx(exact - stats.binom.pmf(min(b, c), b + c, 0.5))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 6, 0, 0.390334287902),
        (1, 5, 0.0362241086324, 0.624465370237),
        (13, 28, 0.295315699828, 0.641873107655),
        (28, 28, 0.879356695234, 1),
        (69, 70, 0.923418128688, 0.997473753542),
        (674, 697, 0.950971150431, 0.977912253663),
    ],
)
def test_wilson_is_that_of_statsmodels(successes: int, n: int, low: float, high: float) -> None:
    """statsmodels 0.15.0: proportion_confint(successes, n, method="wilson")."""
    found = compute_wilson_interval(successes, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-11)


def test_holm_is_that_of_statsmodels() -> None:
    """statsmodels 0.15.0: multipletests(p, method="holm")[1]; with ties, which a published example lacks."""
    p = [0.04, 0.3, 0.001, 0.04, 0.7, 0.012, 0.0499]
    assert adjust_holm(p) == pytest.approx([0.2, 0.6, 0.007, 0.2, 0.7, 0.072, 0.2])
