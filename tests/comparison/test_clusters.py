"""Photos of a group count together: as one photo where they are all alike, as ever where every group is one photo."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.comparison import published
from stages.comparison.answer import answer_question, estimate_difference, estimate_share
from stages.comparison.looks import take_looks
from stages.comparison.one_trial import (
    compute_design_effect,
    compute_mcnemar_midp,
    compute_tango_interval,
    compute_wilson_interval,
)
from stages.comparison.page import build_report, render_markdown
from stages.comparison.power import find_detectable, find_photos_needed, find_trials_needed
from stages.comparison.sections.probabilities import compare_scores
from stages.comparison.sections.robustness import compare_robustness
from stages.comparison.sections.scores import compare_classes
from stages.comparison.sections.trials import compare_trials
from stages.comparison.statistics import (
    Groups,
    Interval,
    Values,
    compute_variance,
    count_effective,
    estimate_mean,
    measure_groups,
)
from stages.comparison.study import ARMS, Study, load_study, spread
from stages.comparison.textbook import bootstrap_interval
from stages.runtime.errors import UserError
from tests.support.pipeline_files import write_study
from tests.support.studies import make_study

quick = settings(max_examples=50, deadline=None)
PLAN = [2, 4]
DOGS = ("dogs/photo_0", "dogs/photo_5")


@st.composite
def experiments(draw: st.DrawFn, least: int = 2) -> Values:
    shape = draw(st.tuples(st.integers(least, 6), st.integers(3, 12)))
    values = draw(arrays.arrays(float, shape, elements=st.sampled_from([-1.0, 0.0, 0.0, 1.0])))
    tested = draw(arrays.arrays(bool, shape))
    assume(tested.any(axis=1).all())
    return np.where(tested, values, np.nan)


def copy(values: Values, times: int) -> tuple[Values, Groups]:
    """Every photo so many times, in a group of its own."""
    return np.tile(values, (1, times)), np.tile(np.arange(values.shape[1]), times)


def width(interval: Interval) -> float:
    return interval.high - interval.low


@given(experiments())
@quick
def test_groups_of_one_photo_change_no_digit(values: Values) -> None:
    alone = np.arange(values.shape[1])
    for bound in (0.0, 1.0):
        assert estimate_mean(values, bound, groups=alone) == estimate_mean(values, bound)
    assert compute_variance(values, alone) == compute_variance(values)
    assert take_looks(values, PLAN, 0.02, alone) == take_looks(values, PLAN, 0.02)
    assert bootstrap_interval(values, 300, groups=alone) == bootstrap_interval(values, 300)
    for find in (find_trials_needed, find_photos_needed):
        assert find(values, 0.3, alone) == find(values, 0.3)
    assert find_detectable(values, groups=alone) == find_detectable(values)
    assert estimate_difference(values[:1], alone) == estimate_difference(values[:1], None)
    right = np.abs(values[:1])
    assert estimate_share(right, alone) == estimate_share(right, None)


def close(found: Any, expected: Any) -> bool:
    """Whether two estimates or intervals differ by rounding errors only."""
    if isinstance(found, Interval):
        return (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    return close(found.interval, expected.interval) and (found.mean, found.p) == pytest.approx(
        (expected.mean, expected.p)
    )


@given(experiments(), st.integers(2, 5))
@quick
def test_a_group_of_copies_says_as_much_as_the_photo(values: Values, times: int) -> None:
    many, groups = copy(values, times)
    for bound in (0.0, 1.0):
        assert close(estimate_mean(many, bound, groups=groups), estimate_mean(values, bound))
    assert close(bootstrap_interval(many, 300, groups=groups), bootstrap_interval(values, 300))
    assert find_trials_needed(many, 0.3, groups) == find_trials_needed(values, 0.3)
    assert find_detectable(many, groups=groups) == pytest.approx(find_detectable(values))
    needed, photos = find_photos_needed(values, 0.3), find_photos_needed(many, 0.3, groups)
    if needed is not None and photos is not None and needed > 20:  # numbers are rounded up to two digits
        assert photos == pytest.approx(times * needed, rel=0.15)
    assert close(estimate_difference(many[:1], groups), estimate_difference(values[:1], None))
    (share, one), (same, other) = estimate_share(abs(values[:1]), None), estimate_share(abs(many[:1]), groups)
    assert same == pytest.approx(share) and close(other, one)


@given(experiments(least=1), st.randoms(use_true_random=False))
@quick
def test_neither_the_order_of_photos_nor_the_numbers_of_groups_matter(values: Values, random: Any) -> None:
    photos = values.shape[1]
    groups = np.array([random.randrange(4) for _ in range(photos)])
    order = random.sample(range(photos), photos)
    names = np.array(random.sample(range(100), 4))
    found = estimate_difference(values, groups)
    assert close(estimate_difference(values[:, order], names[groups[order]]), found)
    assert close(estimate_difference(-values, groups).interval, Interval(-found.interval.high, -found.interval.low))


def make_patients(patients: int, photos: int, trials: int, seed: int) -> tuple[Values, Groups]:
    """Gains that every photo of a patient repeats in every trial but for a tenth; five folds of whole patients."""
    rng = np.random.default_rng(seed)
    own = rng.choice([-1.0, 0.0, 1.0], p=[0.2, 0.6, 0.2], size=patients)
    noise = rng.choice([-1.0, 0.0, 1.0], size=(trials, patients * photos))
    values = np.where(rng.random(noise.shape) < 0.1, noise, np.repeat(own, photos))
    groups = np.repeat(np.arange(patients), photos)
    return np.where(groups % 5 == np.arange(trials)[:, None] % 5, values, np.nan), groups


@pytest.mark.parametrize("trials", [1, 5, 10])
@pytest.mark.parametrize("patients", [5, 40])
def test_big_groups_widen_every_interval(trials: int, patients: int) -> None:
    for seed in range(20):
        values, groups = make_patients(patients, 20, trials, seed)
        counted, alone = (estimate_difference(values, each) for each in (groups, None))
        assert width(counted.interval) > width(alone.interval)
        if patients == 40 and trials == 10:
            assert width(counted.interval) > 1.2 * width(alone.interval)
            drawn, by_photo = (bootstrap_interval(values, 300, groups=each) for each in (groups, None))
            assert width(drawn) > 1.2 * width(by_photo), "groups are drawn, not photos"


def test_the_bootstrap_of_groups_is_that_of_their_sums() -> None:
    rng = np.random.default_rng(0)
    values, groups = rng.normal(size=(3, 60)), np.repeat(np.arange(12), 5)
    sums = values.reshape(3, 12, 5).mean(axis=2)
    assert close(bootstrap_interval(values, 500, groups=groups), bootstrap_interval(sums, 500))


def test_where_nothing_happens_groups_are_counted() -> None:
    """Tango's interval of no event among so many groups; one large group is not worth forty small ones."""
    five = np.repeat(np.arange(5), 20)
    for trials in (1, 5):
        nothing = (
            np.where(five % 5 == np.arange(trials)[:, None] % 5, 0.0, np.nan) if trials > 1 else np.zeros((1, 100))
        )
        assert close(estimate_difference(nothing, five), estimate_difference(np.zeros((trials, 5)), None))
    uneven = np.array([*range(40), *[40] * 100])
    assert count_effective(measure_groups(np.zeros((1, 140)), uneven)) == pytest.approx(140**2 / (40 + 100**2))
    assert estimate_difference(np.zeros((5, 140)), uneven).interval.high > 0.6


def test_a_group_never_says_more_than_its_photos() -> None:
    """Also where its two photos went one way and the other."""
    values, groups = np.array([[1.0, -1.0, 0, 0, 1.0, -1.0, 0, 0]]), np.repeat(np.arange(4), 2)
    assert compute_design_effect(values, groups) == 1
    assert estimate_difference(values, groups) == estimate_difference(values, None)


@given(st.integers(0, 30), st.integers(0, 30), st.floats(1, 5), st.floats(1, 5))
@quick
def test_a_larger_design_effect_says_less(b: int, c: int, one: float, other: float) -> None:
    small, large = sorted((one, other))
    narrow, wide = (compute_tango_interval(b, c, 70, effect) for effect in (small, large))
    assert wide.low <= narrow.low + 1e-9 and narrow.high <= wide.high + 1e-9
    if b != c:  # of as many on both sides the mid-p is no larger for fewer
        assert compute_mcnemar_midp(b, c, large) >= compute_mcnemar_midp(b, c, small) - 1e-9
    narrow, wide = (compute_wilson_interval(b, 30, effect) for effect in (small, large))
    assert wide.low <= narrow.low + 1e-9 and narrow.high <= wide.high + 1e-9


# --- a whole study ---


def make_small_study(times: int) -> Study:
    """Three trials of 24 photos with two classes, every photo there so many times; an operation beside them."""
    rng = np.random.default_rng(0)
    tested = np.arange(24) // 2 % 3 == np.arange(3)[:, None]
    original, augmented = (np.where(tested, rng.random((3, 24)) < share, np.nan) for share in (0.5, 0.7))
    study = make_study(*(np.tile(arm, (1, times)) for arm in (original, augmented)))
    together = [[f"photo_{i + 24 * k:06}.jpg" for k in range(times)] for i in range(24)] if times > 1 else []
    own = {arm: study.predictions[arm]["pred"].to_numpy() for arm in ARMS}
    rows = study.predictions["original"][["trial", "path", "target"]].assign(operation="rotate", **own)
    return replace(study, together=together, robustness=rows)


def test_no_number_of_the_report_changes_when_photos_are_copied() -> None:
    one, three = make_small_study(1), make_small_study(3)
    answers = [answer_question(study, 0.02) for study in (one, three)]
    assert close(answers[1].difference, answers[0].difference)
    assert answers[1].verdict == answers[0].verdict
    assert answers[1].trials_needed == answers[0].trials_needed
    assert answers[1].detectable == pytest.approx(answers[0].detectable)
    looks = [answer_question(study, 0.02, [2, 3]).looks for study in (one, three)]
    assert all(close(mine.difference, theirs.difference) for mine, theirs in zip(*looks, strict=True))
    for compare in (compare_robustness, compare_classes, compare_trials, compare_scores):
        for mine, theirs in zip(*(compare(study).to_dict("records") for study in (three, one)), strict=True):
            for key, value in theirs.items():
                if isinstance(value, tuple):  # a share and its interval
                    assert mine[key][0] == pytest.approx(value[0]) and close(mine[key][1], value[1])
                elif hasattr(value, "interval"):
                    assert close(mine[key], value), (compare.__name__, key)


def test_of_one_trial_as_many_more_photos_are_needed() -> None:
    one, three = (make_study(*(np.tile(arm, times) for arm in ([1, 0, 0, 1], [1, 1, 0, 1]))) for times in (1, 3))
    grouped = replace(three, together=[[f"photo_{i + 4 * k:06}.jpg" for k in range(3)] for i in range(4)])
    alone, together = (answer_question(study, 0.2).photos_needed or 0 for study in (three, grouped))
    assert together == pytest.approx(3 * alone, abs=3)
    assert close(answer_question(grouped, 0.2).difference, answer_question(one, 0.2).difference)


def test_the_report_says_what_counts_together_and_nothing_where_nothing_does(workspace: Path) -> None:
    write_study(workspace, epochs=1)
    params = flatten(load_params().model_dump())
    pages = []
    for study in (make_small_study(1), make_small_study(3)):
        bare = replace(study, histories={arm: load_study([0]).histories[arm] * 3 for arm in ARMS})
        pages.append(render_markdown(build_report(bare, answer_question(bare, 0.02), params, gallery=[])))
    said = "count together in every interval: the 72 test photos are 24 groups."
    assert said in pages[1]
    assert "count together" not in pages[0]


# --- files ---


def group_photos(trial: int, groups: dict[str, int]) -> None:
    path = Path(f"data/split/{trial}.csv")
    table = pd.read_csv(path)
    table["group"] = [groups.get(name, 100 + number) for number, name in enumerate(table["path"])]
    table.to_csv(path, index=False)


def test_groups_are_those_of_the_split_among_tested_photos(workspace: Path) -> None:
    """Trial 0 tests the photos 0 and 5 of each class; number 1 is a train photo."""
    write_study(workspace, epochs=1)
    assert load_study([0]).groups is None
    cat, train, dog = (f"data/raw/{name}.jpg" for name in ("cats/photo_5", "cats/photo_1", DOGS[0]))
    group_photos(0, {cat: 1, dog: 1, train: 1})
    study = load_study([0])
    assert study.together == [[cat, dog]]
    assert study.paths == [f"data/raw/{name}.jpg" for name in ("cats/photo_0", "cats/photo_5", *DOGS)]
    assert study.groups is not None and study.groups.tolist() == [0, 1, 1, 3]
    group_photos(0, {cat: 1, train: 1})
    assert load_study([0]).groups is None, "one tested photo is no group"
    table = pd.read_csv("data/split/0.csv")
    table[table["path"] != cat].to_csv("data/split/0.csv", index=False)
    with pytest.raises(
        UserError, match=r"a prediction for data/raw/cats/photo_5\.jpg, which data/split/0\.csv does not"
    ):
        load_study([0])


def test_published_groups_survive_and_older_studies_have_none(workspace: Path) -> None:
    write_study(workspace, trials=[0, 1], epochs=1)
    members = [f"data/raw/{name}.jpg" for name in DOGS]
    for trial in (0, 1):
        group_photos(trial, dict.fromkeys(members, 1))
    before = load_study([0, 1])
    published.save_study(before, flatten(load_params().model_dump()), Path("saved"))
    after, _ = published.load_published(Path("saved"))
    assert after.together == before.together == [members]
    np.testing.assert_array_equal(np.asarray(after.groups), np.asarray(before.groups))
    path = Path("saved/summary.json")
    summary = json.loads(path.read_text())
    del summary["groups"]
    path.write_text(json.dumps(summary))
    assert published.load_published(Path("saved"))[0].groups is None


def test_photos_that_an_operation_lacks_leave_the_others_in_their_place() -> None:
    table = pd.DataFrame({"trial": [0, 0], "path": ["c", "a"]})
    np.testing.assert_array_equal(spread(table, pd.Series([1, 0]), ["a", "b", "c"]), [[0, np.nan, 1]])
