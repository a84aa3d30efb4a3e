"""Against worked examples of the literature, exact enumerations, and what must hold for all data."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from stages.comparison import one_trial
from stages.comparison.one_trial import compute_mcnemar_midp, compute_tango_interval, compute_wilson_interval
from stages.comparison.power import (
    compute_power,
    count_least_photos,
    find_detectable,
    find_pairs_needed,
    find_photos_needed,
    find_trials_needed,
)
from stages.comparison.statistics import (
    Interval,
    Values,
    adjust_holm,
    compute_variance,
    decide,
    estimate_mean,
)
from stages.comparison.textbook import (
    bootstrap_interval,
    compute_corrected_t_interval,
    compute_sign_flip_floor,
    compute_sign_flip_p,
)

quick = settings(max_examples=50, deadline=None)
counts = st.integers(0, 60)
shares = st.floats(0.001, 0.4)


@st.composite
def experiments(draw: st.DrawFn, least: int = 2) -> Values:
    """Differences of right answers, each trial with at least one tested photo."""
    shape = draw(st.tuples(st.integers(2, 7), st.integers(least, 12)))
    values = draw(arrays.arrays(float, shape, elements=st.sampled_from([-1.0, 0.0, 0.0, 1.0])))
    tested = draw(arrays.arrays(bool, shape))
    assume(tested.any(axis=1).all())
    return np.where(tested, values, np.nan)


def make_folds(trials: int, photos: int, rng: np.random.Generator, p: tuple[float, float, float]) -> Values:
    """Independent differences, every photo tested once in five trials."""
    values = rng.choice([-1.0, 0.0, 1.0], p=p, size=(trials, photos))
    tested = np.arange(photos)[None, :] % 5 == np.arange(trials)[:, None] % 5
    return np.where(tested, values, np.nan)


def close(found: Interval, low: float, high: float, digits: int = 12) -> bool:
    return math.isclose(found.low, low, abs_tol=10**-digits) and math.isclose(found.high, high, abs_tol=10**-digits)


# --- one trial ---


@pytest.mark.parametrize(
    ("b", "c", "midp"),
    [
        (1, 7, 0.0391),  # Fagerland 2013, table 1 (Bentur 2009): airways of 21 children
        (6, 16, 0.0347),  # Cavo 2012, in Fagerland, Lydersen & Laake, Statistical Analysis of Contingency Tables, ch. 8
        (1, 0, 0.5),
        (3, 3, 0.84375),
        (0, 0, 1.0),
    ],
)
def test_midp_of_worked_examples(b: int, c: int, midp: float) -> None:
    assert compute_mcnemar_midp(b, c) == pytest.approx(midp, abs=5e-5)


@given(counts, counts)
@quick
def test_midp_is_the_mean_of_the_two_tails_with_and_without_what_was_seen(b: int, c: int) -> None:
    chances = [math.comb(b + c, k) / 2 ** (b + c) for k in range(b + c + 1)]
    beyond = sum(chances[: min(b, c)])
    both = 1.0 if b == c else 2 * (beyond + chances[min(b, c)])
    expected = 1.0 if b + c == 0 else both - chances[b] * (0.5 if b == c else 1)
    assert compute_mcnemar_midp(b, c) == pytest.approx(expected, rel=1e-9)
    assert compute_mcnemar_midp(c, b) == compute_mcnemar_midp(b, c)


@given(st.integers(1, 100))
@quick
def test_midp_falls_as_one_model_wins_more_of_the_photos_that_differ(total: int) -> None:
    p = [compute_mcnemar_midp(b, total - b) for b in range((total + 1) // 2, total + 1)]
    assert all(after < before for before, after in itertools.pairwise(p))
    assert min(p) > 0 and max(p) <= 1


@pytest.mark.parametrize(
    ("b", "c", "n", "low", "high"),
    [
        (1, 7, 21, -0.5172, -0.0260),  # Bentur 2009, in Fagerland, Lydersen & Laake 2014, Stat Med 33:2850
        (6, 16, 161, -0.1240, -0.0054),  # Cavo 2012, as for the mid-p
    ],
)
def test_tango_of_worked_examples(b: int, c: int, n: int, low: float, high: float) -> None:
    assert close(compute_tango_interval(b, c, n), low, high, digits=4)


def test_tangos_own_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tango 1998, section 6.1, soft contact lenses: the 90 % interval starts at -0.096."""
    monkeypatch.setattr(one_trial, "Z", float(stats.norm.ppf(0.95)))
    assert compute_tango_interval(0, 1, 44).low == pytest.approx(-0.096, abs=5e-4)


@given(counts, counts, st.integers(0, 3000))
@quick
def test_tango_mirrors_and_contains_the_difference(b: int, c: int, same: int) -> None:
    n = b + c + same
    assume(n)
    found, mirrored = compute_tango_interval(b, c, n), compute_tango_interval(c, b, n)
    assert close(mirrored, -found.high, -found.low, digits=8)
    assert -1 <= found.low <= (b - c) / n <= found.high <= 1
    assert found.low < found.high


@given(st.integers(1, 10_000))
@quick
def test_tango_at_the_ends(n: int) -> None:
    narrow = Z2 / (n + Z2)
    assert close(compute_tango_interval(0, 0, n), -narrow, narrow, digits=8)
    assert close(compute_tango_interval(n, 0, n), (n - Z2) / (n + Z2), 1.0, digits=8)
    assert close(compute_tango_interval(0, n, n), -1.0, (Z2 - n) / (n + Z2), digits=8)


Z2 = float(stats.norm.ppf(0.975)) ** 2


@pytest.mark.parametrize(("b", "c", "n"), [(0, 0, 0), (-1, 2, 5), (2, -1, 5), (3, 3, 5)])
def test_tango_refuses_counts_that_do_not_fit(b: int, c: int, n: int) -> None:
    with pytest.raises(ValueError, match="parts of"):
        compute_tango_interval(b, c, n)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),  # Newcombe 1998, Stat Med 17:857, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_of_published_examples(successes: int, n: int, low: float, high: float) -> None:
    assert close(compute_wilson_interval(successes, n), low, high, digits=4)


@given(st.integers(1, 500), st.floats(0, 1))
@quick
def test_wilson_solves_its_equation(n: int, share: float) -> None:
    """Both ends p fulfil (x/n - p)² = 1.96² p (1 - p) / n, or are 0 and 1."""
    successes = round(share * n)
    found = compute_wilson_interval(successes, n)
    for end in (found.low, found.high):
        assert end in (0, 1) or (successes / n - end) ** 2 == pytest.approx(Z2 * end * (1 - end) / n, abs=1e-9)
    assert found.contains(successes / n)


# --- several trials ---


def compute_variance_by_definition(values: Values) -> tuple[float, float, float]:
    cells = {(t, i): float(values[t, i]) for t, i in np.ndindex(*values.shape) if not math.isnan(values[t, i])}
    mean = sum(cells.values()) / len(cells)

    def clustered(axis: int) -> float:
        names = sorted({key[axis] for key in cells})
        sums = [sum(value - mean for key, value in cells.items() if key[axis] == name) for name in names]
        return sum(each**2 for each in sums) / len(cells) ** 2 * len(names) / max(len(names) - 1, 1)

    return clustered(0), clustered(1), sum((value - mean) ** 2 for value in cells.values()) / len(cells) ** 2


@given(experiments())
@quick
def test_variance_is_what_the_definition_says(values: Values) -> None:
    found = compute_variance(values)
    assert (found.trials, found.photos, found.cells) == pytest.approx(compute_variance_by_definition(values))


@given(experiments())
@quick
def test_swapping_the_arms_mirrors_everything(values: Values) -> None:
    found, swapped = estimate_mean(values), estimate_mean(-values)
    assert swapped.mean == pytest.approx(-found.mean)
    assert close(swapped.interval, -found.interval.high, -found.interval.low)
    assert swapped.p == pytest.approx(found.p)
    verdicts = {"helps": "hurts", "hurts": "helps"}
    for margin in (0.02, 0.5):
        verdict = decide(found.interval, margin)
        assert decide(swapped.interval, margin) == verdicts.get(verdict, verdict)
    corrected, mirrored = (compute_corrected_t_interval(each, 10) for each in (values, -values))
    assert close(mirrored, -corrected.high, -corrected.low)


@given(experiments(), st.randoms(use_true_random=False))
@quick
def test_the_order_of_trials_and_photos_changes_nothing(values: Values, random: Any) -> None:
    trials, photos = (random.sample(range(size), size) for size in values.shape)
    found, shuffled = estimate_mean(values), estimate_mean(values[trials][:, photos])
    assert (shuffled.mean, shuffled.p) == pytest.approx((found.mean, found.p))
    assert close(shuffled.interval, found.interval.low, found.interval.high)
    assert find_trials_needed(values, 0.3) == find_trials_needed(values[trials][:, photos], 0.3)


@given(experiments())
@quick
def test_photos_that_nobody_tests_change_nothing(values: Values) -> None:
    wider = np.concatenate([values, np.full((len(values), 3), np.nan)], axis=1)
    found, same = estimate_mean(values), estimate_mean(wider)
    assert (same.mean, same.p) == pytest.approx((found.mean, found.p))
    assert close(same.interval, found.interval.low, found.interval.high)
    assert find_photos_needed(wider, 0.3) == find_photos_needed(values, 0.3)


@given(experiments())
@quick
def test_the_interval_holds_the_estimate_in_sane_bounds(values: Values) -> None:
    found = estimate_mean(values)
    assert -1 <= found.interval.low <= found.mean <= found.interval.high <= 1
    assert found.interval.low < found.interval.high
    assert 0 <= found.p <= 1


@given(experiments(), st.sampled_from([0.0, 1.0]))
@quick
def test_the_interval_excludes_0_exactly_when_p_is_below_005(values: Values, bound: float) -> None:
    found = estimate_mean(values, bound)
    assume(abs(found.p - 0.05) > 1e-9)
    assert (found.p < 0.05) == (not found.interval.contains(0))


def test_some_estimates_exclude_0_and_some_do_not() -> None:
    rng = np.random.default_rng(0)
    assert estimate_mean(make_folds(5, 100, rng, (0.05, 0.25, 0.7))).p < 0.001
    assert estimate_mean(make_folds(5, 100, rng, (0.3, 0.4, 0.3))).p > 0.05


@given(experiments(), st.floats(0.01, 100))
@quick
def test_the_unit_of_the_values_is_free(values: Values, unit: float) -> None:
    for bound in (0.0, 1.0):
        found, scaled = estimate_mean(values, bound), estimate_mean(unit * values, unit * bound)
        assert scaled.p == pytest.approx(found.p)
        assert close(scaled.interval, unit * found.interval.low, unit * found.interval.high, digits=9)


@pytest.mark.parametrize("trials", [5, 10])
@pytest.mark.parametrize("photos", [5, 28, 140, 1000])
def test_arms_that_never_differ_give_tangos_interval(trials: int, photos: int) -> None:
    nothing = 0 * make_folds(trials, photos, np.random.default_rng(0), (0.1, 0.8, 0.1))
    found, tango = estimate_mean(nothing), compute_tango_interval(0, 0, photos)
    assert (found.mean, found.p) == (0, 1)
    assert close(found.interval, tango.low, tango.high, digits=8)
    assert found.interval.low == -found.interval.high


def test_the_first_photo_that_differs_does_not_make_the_interval_certain() -> None:
    """The upper end rises, photo by photo, although the estimate of the spread starts at nothing."""
    for trials in (5, 10):
        values = 0 * make_folds(trials, 140, np.random.default_rng(0), (0.1, 0.8, 0.1))
        ends = [estimate_mean(values).interval.high]
        for photo in range(10):
            values[photo % 5, photo] = 1
            ends.append(estimate_mean(values).interval.high)
        assert all(after > before for before, after in itertools.pairwise(ends))


def test_trials_that_differ_widen_the_interval_by_students_t() -> None:
    """All photos of a trial alike and no photo tested twice: nothing but trials, hence the paired t."""
    means = np.array([0.0, 0.1, 0.3, 0.2, 0.4])
    values = np.where(np.isnan(make_folds(5, 500, np.random.default_rng(0), (0, 1, 0))), np.nan, means[:, None])
    expected, found = stats.ttest_1samp(means, 0), estimate_mean(values, bound=0)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-3)
    low, high = map(float, expected.confidence_interval(0.95))
    assert close(found.interval, low, high, digits=4)


def test_photos_that_repeat_their_answer_are_counted_once() -> None:
    """Ten rounds of the same answers are no more evidence on other photos than one."""
    rng = np.random.default_rng(0)
    once = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.7, 0.2], size=(1, 300))
    many = np.repeat(once, 10, axis=0)
    assert estimate_mean(many).interval.high - estimate_mean(many).interval.low >= 2 * 1.95 * once.std() / 300**0.5


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.25, 1.0])
def test_values_that_are_all_equal(value: float) -> None:
    values = np.full((5, 20), value)
    found = estimate_mean(values)
    assert found.mean == value
    assert found.interval.contains(value)
    assert (found.interval.high, found.interval.low) != (value, value)
    assert estimate_mean(values, bound=0).interval.contains(value)
    assert (estimate_mean(values, bound=0).p == 1) == (value == 0)


def test_one_photo_in_each_trial() -> None:
    found = estimate_mean(np.where(np.eye(5), 1.0, np.nan))
    assert found.mean == 1
    assert found.interval == Interval(1 - Z2 / (5 + Z2), 1.0)
    assert not math.isnan(found.p)


def test_the_same_photo_in_every_trial() -> None:
    found = estimate_mean(np.array([[1.0], [0.0], [1.0]]))
    assert found.mean == pytest.approx(2 / 3)
    assert found.interval.contains(-0.12) and found.p > 0.05


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((1, 5)), "one trial"),
        (np.zeros((0, 5)), "one trial"),
        (np.zeros((3, 0)), "a trial has no value"),
        (np.array([[0.0, 1.0], [np.nan, np.nan]]), "a trial has no value"),
        (np.full((3, 4), np.nan), "a trial has no value"),
        (np.array([[0.0, np.inf], [0.0, 1.0]]), "infinite"),
        (np.array([[0.0, -1.5], [0.0, 1.0]]), "beyond ±1"),
    ],
)
def test_an_estimate_of_nothing_is_refused(values: Values, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_mean(values)
    if "beyond" not in message:
        with pytest.raises(ValueError, match=message):
            find_trials_needed(values, 0.02)


@pytest.mark.parametrize("values", [np.full((3, 4), np.nan), np.array([[0.0, 1.0], [np.nan, np.nan]])])
def test_the_textbooks_intervals_of_nothing_are_refused(values: Values) -> None:
    with pytest.raises(ValueError, match="a trial has no value"):
        compute_corrected_t_interval(values, 100)
    with pytest.raises(ValueError, match="a trial has no value"):
        bootstrap_interval(values)


def test_corrected_t_by_hand() -> None:
    """Variance 0.0125, (1/5 + 28/112) 0.0125 = 0.075², t(4) = 2.776445."""
    means = np.array([0.1, 0.2, 0.3, 0.0, 0.15])
    tested = np.arange(140)[None, :] % 5 == np.arange(5)[:, None]
    values = np.where(tested, means[:, None], np.nan)
    found = compute_corrected_t_interval(values, train_photos=112)
    assert close(found, 0.15 - 0.20823338, 0.15 + 0.20823338, digits=8)


def test_bootstrap_of_photos_alone_is_that_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=(1, 400)), 3, axis=0)
    found = bootstrap_interval(values)
    assert found.contains(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_bootstrap_of_trials_alone_is_that_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=(200, 1)), 3, axis=1)
    found = bootstrap_interval(values)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(200), rel=0.1)


def test_bootstrap_repeats_itself_and_takes_any_number_of_replicates() -> None:
    values = np.array([[1.0, np.nan], [np.nan, -1.0]])  # draws may well miss every test
    assert bootstrap_interval(values, 250) == bootstrap_interval(values, 250)
    assert bootstrap_interval(values, 250, seed=1).contains(0)
    assert bootstrap_interval(values, 1).low in (-1, 0, 1)


@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 2)), min_size=1, max_size=8))
@quick
def test_sign_flip_counts_the_signs_that_are_as_extreme(differences: list[float]) -> None:
    flips = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=len(differences))]
    expected = np.mean(np.array(flips) >= abs(sum(differences)) - 1e-9)
    assert compute_sign_flip_p(differences) == pytest.approx(expected)


@pytest.mark.parametrize(("trials", "floor"), [(1, 1.0), (5, 0.0625), (6, 0.03125), (10, 2 / 1024), (20, 2e-4)])
def test_sign_flip_floor_is_reached_and_five_trials_are_not_enough(trials: int, floor: float) -> None:
    assert compute_sign_flip_floor(trials) == floor
    assert compute_sign_flip_p([0.01 * (1 + k) for k in range(trials)]) == pytest.approx(floor)
    assert compute_sign_flip_p([-0.01] * trials) == pytest.approx(floor)


# --- verdict and needs ---


@pytest.mark.parametrize(("level", "least"), [(0.95, 189), (0.975, 247), (0.9875, 306)])
def test_no_practical_difference_takes_a_least_number_of_photos(level: float, least: int) -> None:
    assert count_least_photos(0.02, level) == least
    for photos, verdict in ((least, "no practical difference"), (least - 1, "cannot tell")):
        assert decide(estimate_mean(np.zeros((20, photos)), level=level).interval, 0.02) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1e-9, 0.3, "helps"),
        (0.0, 0.3, "cannot tell"),
        (-0.3, -1e-9, "hurts"),
        (-0.3, 0.0, "cannot tell"),
        (-0.02, 0.02, "no practical difference"),
        (0.0, 0.0, "no practical difference"),
        (-0.0201, 0.02, "cannot tell"),
        (-0.02, 0.0201, "cannot tell"),
        (0.001, 0.01, "helps"),
        (-0.01, -0.001, "hurts"),
    ],
)
def test_verdicts_at_their_boundaries(low: float, high: float, verdict: str) -> None:
    assert decide(Interval(low, high), margin=0.02) == verdict


@given(experiments(least=4), shares, shares)
@quick
def test_needs_fall_as_the_margin_grows(values: Values, one: float, other: float) -> None:
    small, large = sorted((one, other))
    for find in (find_trials_needed, find_photos_needed):
        assert (find(values, large) or math.inf) <= (find(values, small) or math.inf)


@given(experiments(least=4), shares)
@quick
def test_needs_are_more_than_there_is(values: Values, margin: float) -> None:
    trials, photos = find_trials_needed(values, margin), find_photos_needed(values, margin)
    assert trials is None or len(values) < trials <= 1000
    assert photos is None or np.isfinite(values).any(axis=0).sum() < photos <= 1_000_000


@pytest.mark.parametrize("p", [(0.1, 0.8, 0.1), (0.08, 0.8, 0.12)])
def test_what_is_said_to_be_enough_is_enough(p: tuple[float, float, float]) -> None:
    """On independent answers, for which both needs can be checked by drawing so much."""
    rng = np.random.default_rng(0)
    pilot = make_folds(5, 300, rng, p)
    photos, trials = find_photos_needed(pilot, 0.06), find_trials_needed(pilot, 0.1)
    assert photos and trials

    def settle(trials: int, photos: int, margin: float) -> float:
        found = [estimate_mean(make_folds(trials, photos, rng, p)).interval for _ in range(60)]
        return sum(decide(each, margin) != "cannot tell" for each in found) / len(found)

    assert settle(5, photos, 0.06) >= 0.75
    assert settle(5, photos // 4, 0.06) <= 0.6
    assert settle(trials, 300, 0.1) >= 0.75


def test_nothing_is_enough_where_no_number_would_be() -> None:
    nothing = 0 * make_folds(5, 20, np.random.default_rng(0), (0.1, 0.8, 0.1))
    assert find_trials_needed(nothing, 0.02) is None  # 20 photos can never show that little
    assert find_photos_needed(nothing, 0.02) == 390  # 1.96² / (380 + 1.96²) is just above 0.01
    apart = np.where(np.isnan(nothing), np.nan, np.array([[-0.5], [0.5], [0.0], [-0.3], [0.3]]))
    assert find_photos_needed(apart, 0.02) is None  # trials that differ so much need more trials


@pytest.mark.parametrize(
    ("trials", "photos", "noise", "always"),
    [(20, 140, 0.0, True), (20, 140, 0.02, True), (10, 140, 0.1, True), (5, 140, 0.02, False), (5, 697, 0.01, False)],
)
def test_a_detectable_difference_is_found(trials: int, photos: int, noise: float, always: bool) -> None:
    """As large as studies without a difference say; ``always``: the same photos gain whenever they are tested."""
    rng = np.random.default_rng(0)
    chances = (noise, 1 - 2 * noise, noise)
    difference = np.median([find_detectable(make_folds(trials, photos, rng, chances)) for _ in range(20)])
    found = 0
    for _ in range(150):
        values = make_folds(trials, photos, rng, chances)
        gains = rng.random((1 if always else trials, photos)) < difference
        found += estimate_mean(np.where(np.isfinite(values) & gains, 1.0, values)).interval.low > 0
    assert found >= 100, "of 120; fewer than 100 have a chance of 0.0001"


@pytest.mark.parametrize(
    ("n", "difference", "power"),
    [
        (140, 0.01, 0.06),
        (140, 0.02, 0.15),
        (140, 0.03, 0.31),
        (1000, 0.01, 0.31),
        (1000, 0.02, 0.83),
        (1000, 0.03, 1.0),
    ],
)
def test_power_at_a_discordance_of_5_percent(n: int, difference: float, power: float) -> None:
    assert compute_power(n, 0.05, difference) == pytest.approx(power, abs=0.02)


@pytest.mark.parametrize("difference", [0.0, 0.15, -0.3, 0.4])
def test_power_is_the_sum_over_all_outcomes(difference: float) -> None:
    n, discordance = 12, 0.4
    chances = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    outcomes = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    expected = sum(
        stats.multinomial.pmf([b, c, n - b - c], n, chances)
        for b, c in outcomes
        if compute_mcnemar_midp(b, c) < 0.05 and b + c
    )
    assert compute_power(n, discordance, difference) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("discordance", "difference"), [(0.05, 0.03), (0.2, 0.1), (0.3, 0.05), (0.5, -0.2)])
def test_pairs_needed_have_the_power(discordance: float, difference: float) -> None:
    needed = find_pairs_needed(discordance, difference)
    assert compute_power(needed, discordance, difference) == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(("discordance", "difference"), [(0.0, 0.0), (0.01, 0.02), (-0.1, 0.0), (1.1, 0.1)])
def test_a_difference_needs_discordance(discordance: float, difference: float) -> None:
    for compute in (
        lambda: compute_power(100, discordance, difference),
        lambda: find_pairs_needed(discordance, difference),
    ):
        with pytest.raises(ValueError, match="discordance"):
            compute()


def test_no_number_of_pairs_shows_a_difference_of_0() -> None:
    with pytest.raises(ValueError, match="no number"):
        find_pairs_needed(0.1, 0.0)


# --- families ---


def test_holm_of_published_p_values() -> None:
    """The 15 p-values of Benjamini & Hochberg 1995, adjusted by statsmodels 0.15.0, multipletests(method="holm")."""
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.324,
        0.4262,
        0.5719,
        0.6528,
        0.759,
        1,
    ]
    expected = [0.0015, 0.0056, 0.0247, 0.114, 0.2211, 0.278, 0.278, 0.278, 0.3213, 1, 1, 1, 1, 1, 1]
    assert adjust_holm(p) == pytest.approx(expected)
    assert adjust_holm(p[::-1]) == pytest.approx(expected[::-1])


@given(st.lists(st.floats(0, 1), max_size=7))
@quick
def test_holm_is_bonferroni_on_every_family_that_holds_the_test(p: list[float]) -> None:
    """The closed test that Holm 1979 shortens: reject one hypothesis when all families with it are rejected."""
    families = [each for size in range(1, len(p) + 1) for each in itertools.combinations(range(len(p)), size)]
    expected = [max(min(1, len(f) * min(p[i] for i in f)) for f in families if k in f) for k in range(len(p))]
    assert adjust_holm(p) == pytest.approx(expected)
