"""The statistics against those of other software: on data that a formula gives, and of a published multi-reader study.

statsmodels would be a dependency of 45 MB for these tests alone, so its numbers are kept here, with the calls that gave
them.
"""

import numpy as np
import numpy.typing as npt
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


# --- multi-reader studies: readers are crossed with cases as trials are with photos ---

RATINGS = """
122151111111411111111131311214111113121211233131133111111221111332111555545554555434245555555154454553555115554451
232222222322522232222222422223222222222222222222222222222432232222222535555542555442225555555243354552425225555352
222235112242422232221232411322112224121412112222223211211221151421212545555555555542355555555252255552555225555552
111111311111111111112111211112111111111111111111331111111111111311111555555555555555155555555554544553555125555555
351211112221211122113221111211211231221113332111211111111341231212113525255551545452235555554144322151515115553552
333222223213122222211111421312214323123122233111333113412421241442111535555554555544335555555355355554455535555551
322222223222222122221222322222212212222231223222222222322322222222122535555552555344245455545252355532425525555552
242222322211132222121121411512112122212221132111233113221232341242121525555555555354145555555253355543555534555551
221111312111122111211111321212111122112111112121212211111212111323211545555554555455555555555455445555555535555555
223122221222111222122212322321212222112121132122332122221222231233111525455555455343335555555251332532545533555553
"""
"""Two kinds of MRI of 69 patients without and 45 with a dissection of the aorta, rated 1 to 5 by five readers, a line
each (Van Dyke et al. 1993, 79th RSNA Meeting): VanDyke of the R package MRMCaov, dataset02 of RJafroc."""
NORMAL = 69


def compute_pseudovalues(ratings: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Of the AUC (ties count by half), one per case, by the jackknife: their mean is the AUC."""
    differences = ratings[NORMAL:, None] - ratings[:NORMAL]
    wins = (differences > 0) + (differences == 0) / 2
    sick, well = wins.shape
    without_well = (wins.sum() - wins.sum(axis=0)) / (sick * (well - 1))
    without_sick = (wins.sum() - wins.sum(axis=1)) / ((sick - 1) * well)
    without = np.concatenate([without_well, without_sick])
    return np.asarray(len(ratings) * wins.mean() - (len(ratings) - 1) * without)


def test_variances_are_those_of_obuchowski_and_rockette() -> None:
    """Published: what OR-DBM MRMC 2.51 (University of Iowa) prints of these data; trapezoidal AUC, jackknife.

    Of the difference of two treatments, read by five readers, our *trials* is the variance as readers differ (its
    analysis 3, fixed cases), our *photos* that as cases differ (its analysis 2, fixed readers). When both are random
    (its analysis 1), Obuchowski & Rockette add to *trials* the covariance of two readers, C = 2 (Cov2 - Cov3). Two
    crossed clusters, trials + photos - cells, add (T - 1) / T of it, and terms that n divides: their residuals are
    from the mean of the readers at hand. That is the difference by definition, here 5 % of the standard error. It is
    made up for by the degrees of freedom, T - 1 = 4 to Hillis's 15.26, so that our interval is the wider one.
    """
    ratings = np.array([[int(digit) for digit in line] for line in RATINGS.split()]).reshape(2, 5, -1)
    pseudo = np.array([[compute_pseudovalues(each) for each in treatment] for treatment in ratings])
    areas = pseudo.mean(axis=-1)
    assert areas[0] == pytest.approx([0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066], abs=5e-9)
    assert areas[1] == pytest.approx([0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169], abs=5e-9)
    values = pseudo[1] - pseudo[0]
    readers, cases = values.shape
    found, spread = compute_variance(values), measure_spread(values, bound=0)
    assert spread.mean == pytest.approx(0.04380032, abs=5e-9)
    assert np.sqrt(found.trials) == pytest.approx(0.01485, abs=5e-6)
    assert found.trials == pytest.approx(2 / readers * 0.00055103, abs=5e-9)  # MS(T*R)
    assert np.sqrt(found.photos) == pytest.approx(0.01872, abs=5e-6)

    alone = np.mean([compute_variance(values[reader : reader + 1]).photos for reader in range(readers)])
    assert alone == pytest.approx(2 * (0.00080229 - 0.00034661), abs=3e-8)  # Var(Error) - Cov1
    covariance = (readers * found.photos - alone) / (readers - 1)
    assert covariance == pytest.approx(2 * (0.00034407 - 0.00023903), abs=3e-8)
    published = found.trials + covariance
    assert np.sqrt(published) == pytest.approx(0.02075, abs=5e-6)

    small = (alone - (readers - 1) * found.trials) / (readers * cases)
    assert spread.between**2 == pytest.approx(published - covariance / readers + small)
    assert spread.between == pytest.approx(0.95 * 0.02075, rel=0.01)
    ours, theirs = spread.compute_interval(0.95), (-0.00036, 0.08796)
    assert ours.low < theirs[0] and theirs[1] < ours.high
