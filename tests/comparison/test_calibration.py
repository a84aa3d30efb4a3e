"""A small calibration: the bars hold, the others miss them where the page says so, and the page is of this code."""

import math
import re

import numpy as np
import pytest

from benchmarks import calibration, looks
from benchmarks.calibration import (
    COVERAGE,
    DIFFERENCES,
    EXTREME,
    FALSE_ALARMS,
    GROUPED,
    HALVES,
    LEARNERS,
    MEMBERS,
    METHODS,
    PAGE,
    SETTINGS,
    SIZES,
    TRIALS,
    Effects,
    Learner,
    Row,
    Size,
    compute_error,
    draw_tested,
    fill,
    name_size,
    render_table,
    run_learner,
    score_all,
    score_grouped,
    score_one_trial,
    simulate,
    simulate_grouped,
)
from stages.comparison.one_trial import compute_tango_interval

STUDIES = 120
ALIKE, DIFFER, REACT, GOOD_ALIKE, GOOD_REACT = SETTINGS


@pytest.mark.parametrize("effects", [ALIKE, REACT, GOOD_REACT], ids=lambda each: each.name)
@pytest.mark.parametrize("difference", [0.0, 0.05])
def test_ours_keeps_the_bars(effects: Effects, difference: float) -> None:
    values = [study.values for study in simulate(effects, 140, difference, STUDIES)]
    ours = [row for row in score_all(values, effects.name, difference, 0) if row.method == "ours"]
    assert [row.trials for row in ours] == list(TRIALS)
    assert all(row.keeps_bars for row in ours)


def test_a_bar_can_be_missed() -> None:
    def row(coverage: float, helps: float, difference: float) -> Row:
        return Row(140, 5, "", difference, "ours", 400, coverage, helps, 0.0, 0.1)

    error = 2 * compute_error(COVERAGE, 400)
    assert error == pytest.approx(0.02375, abs=1e-5)
    assert row(COVERAGE - error, FALSE_ALARMS, 0.0).keeps_bars
    assert not row(COVERAGE - error - 0.01, 0.0, 0.0).keeps_bars
    assert not row(1.0, FALSE_ALARMS + 0.03, 0.0).keeps_bars
    assert row(1.0, 0.9, 0.05).keeps_bars  # finding what is there is no alarm


def test_few_photos_without_an_event_fool_every_method_but_ours() -> None:
    values = [study.values for study in simulate(GOOD_ALIKE, 28, 0.02, 100)]
    rows = list(score_all(values, "", 0.02, 40))
    assert {row.method for row in rows if row.keeps_bars} == {"ours"}
    assert all(row.coverage < 0.9 for row in rows if row.method != "ours")


def test_ours_is_wider_than_the_plain_t_and_narrower_than_the_corrected() -> None:
    values = [study.values for study in simulate(DIFFER, 140, 0.0, 60)]
    for trials in TRIALS:
        width = {row.method: row.width for row in score_all(values, "", 0.0, 0) if row.trials == trials}
        assert width["paired t"] <= width["ours"] < 0.85 * width["Nadeau–Bengio t"]


def test_one_trial_tells_of_two_models_but_not_of_the_augmentation() -> None:
    alike, differ = (score_one_trial(simulate(each, 1000, 0.0, 200), each.name, 0.0) for each in (ALIKE, DIFFER))
    assert alike.tested == differ.tested == 200
    least = COVERAGE - 2 * compute_error(COVERAGE, 200)
    assert min(alike.of_models, alike.of_augmentation, differ.of_models) >= least
    assert differ.of_augmentation < 0.8
    assert differ.false_alarms is not None and differ.false_alarms > 0.2


def test_two_seeds_of_a_real_learner_do_not_alarm() -> None:
    values = [run_learner(LEARNERS[0], 60, np.random.default_rng(seed)) for seed in range(30)]
    ours = [row for row in score_all(values, "", 0.0, 0) if row.method == "ours"]
    assert all(row.keeps_bars for row in ours)
    assert all(np.nanstd(each) > 0 for each in values)  # the seeds do matter


@pytest.mark.parametrize("learner", [*LEARNERS[2:], HALVES], ids=lambda each: each.name)
def test_arms_of_a_learner_differ_and_repeat_themselves(learner: Learner) -> None:
    values = [run_learner(learner, 60, np.random.default_rng(0)) for _ in range(2)]
    assert np.array_equal(values[0], values[1], equal_nan=True)
    assert np.nanmax(np.abs(values[0])) == 1


def test_every_photo_is_tested_once_in_five_trials() -> None:
    tested = draw_tested(28, 10, np.random.default_rng(0))
    assert (tested[:5].sum(axis=0) == 1).all() and (tested[5:].sum(axis=0) == 1).all()
    assert set(tested.sum(axis=1)) == {5, 6}
    assert not np.array_equal(tested[:5], tested[5:])


@pytest.mark.parametrize("effects", [*SETTINGS, EXTREME], ids=lambda each: each.name)
def test_the_simulated_difference_is_the_true_one(effects: Effects) -> None:
    studies = simulate(effects, 140, 0.1, 200)
    means = [float(np.nanmean(study.values)) for study in studies]
    models = [study.of_models for study in studies]
    for found in (means, models):
        assert np.mean(found) == pytest.approx(0.1, abs=4 * float(np.std(found)) / math.sqrt(len(found)) + 1e-9)
    assert (np.std(models) > 1e-9) == (effects.trial > 0)


def test_one_trial_is_scored_on_its_own_photos() -> None:
    found = score_one_trial(simulate(ALIKE, 28, 0.0, 20), "", 0.0)
    trials = [study.values[0] for study in simulate(ALIKE, 28, 0.0, 20)]
    counts = [(int((each == 1).sum()), int((each == -1).sum()), int(np.isfinite(each).sum())) for each in trials]
    alarms = [not compute_tango_interval(*each).contains(0) for each in counts]
    assert found.false_alarms == np.mean(alarms)


def test_photos_of_a_group_are_alike_and_tested_together() -> None:
    values = simulate_grouped(GROUPED[-1], 40, 0.0, np.random.default_rng(0)).values.reshape(-1, 40, MEMBERS)
    tested = np.isfinite(values)
    assert (tested.all(axis=2) == tested.any(axis=2)).all()
    assert (tested.all(axis=2).sum(axis=0) == 2).all(), "in ten trials of five folds"
    first, second = (values[..., member][tested[..., 0]] for member in range(2))
    assert np.corrcoef(first, second)[0, 1] > 0.3


def test_counting_groups_keeps_the_bars_where_counting_photos_does_not() -> None:
    one, _, row = score_grouped(GROUPED[-1], 200, 0.0, 500)
    assert one.trials == 1 and one.coverage[0] < 0.85 and one.coverage[1] >= COVERAGE - 2 * compute_error(COVERAGE, 500)
    assert row.trials == max(TRIALS) and row.difference == 0
    assert row.excludes[1] <= FALSE_ALARMS + 2 * compute_error(FALSE_ALARMS, 500) < row.excludes[0]
    assert row.coverage == pytest.approx(tuple(1 - share for share in row.excludes))


# --- docs/calibration.md ---

TEXT = PAGE.read_text()
LINE = re.compile(r"^\| (.+?) \| ([\d,]+) \((\d+)\) \| (\d+) \| (\S+) \| (.+) \|$", re.M)
LINES = LINE.findall(TEXT)


def list_settings(lines: list[tuple[str, ...]]) -> set[tuple[str, int, int, float]]:
    """Name, photos, trials and true difference in points of every line."""
    return {
        (name, int(photos.replace(",", "")), int(trials), float(difference.replace("−", "-")))
        for name, photos, _, trials, difference, _ in lines
    }


def test_the_page_shows_every_setting() -> None:
    expected = {
        (effects.name, size.photos, trials, 100 * difference)
        for effects in SETTINGS
        for size in SIZES
        for trials in TRIALS
        for difference in DIFFERENCES
    }
    assert expected <= list_settings(LINES), "run `make calibration` and commit"
    assert {each.name for each in (*LEARNERS, HALVES, EXTREME)} <= {line[0] for line in LINES}


def test_on_the_page_ours_keeps_the_bars_everywhere_and_no_other_method_does() -> None:
    kept = re.search(r"these meet both: (.+?)\. ", " ".join(TEXT.split()))
    assert kept
    shares = re.findall(r"(\d+) of (\d+)", kept[1])
    assert [name.strip() for name in re.split(r" in \d+ of \d+,?", kept[1])[:-1]] == list(METHODS)
    assert [some == every for some, every in shares] == [False, False, False, True]
    assert len({every for _, every in shares}) == 1


def test_the_page_has_the_numbers_of_this_code() -> None:
    """One cell computed anew: a setting's draws must not change with the words that name it."""
    size = SIZES[0]
    values = [study.values for study in simulate(ALIKE, size.photos, 0.0, calibration.STUDIES)]
    for trials in TRIALS:
        (results,) = [
            line[-1].split(" | ")
            for line in LINES
            if (line[0], line[1], line[3], line[4]) == (ALIKE.name, str(size.photos), str(trials), "0")
        ]
        found = {row.method: row for row in score_all(values, ALIKE.name, 0.0, 0) if row.trials == trials}
        for method, result in zip(METHODS, results, strict=True):
            if method != "bootstrap":  # slow
                row = found[method]
                numbers = [100 * row.coverage, 100 * (row.helps + row.hurts), 100 * row.width]
                assert [float(number) for number in re.findall(r"[\d.]+", result)] == pytest.approx(numbers, abs=0.051)


def test_the_page_of_a_small_calibration_has_the_same_text_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the numbers it is the committed page, so that words changed here are changed there."""
    monkeypatch.setattr(calibration, "SIZES", tuple(Size(size.photos, 1) for size in SIZES))
    monkeypatch.setattr(calibration, "STUDIES", 2)
    page = calibration.render_page(calibration.calibrate())
    assert max(len(line) for line in page.splitlines() if not line.startswith("|")) <= 120
    assert list_settings(LINE.findall(page)) >= list_settings([line for line in LINES if "copies" not in line[0]])
    texts = [re.sub(r"^\|.*\n|[\d.,/\s]+", "", text, flags=re.M) for text in (page, TEXT)]
    assert texts[0] == texts[1], "run `make calibration` and commit"


def test_photos_are_shown_with_those_that_one_trial_tests() -> None:
    assert [name_size(size.photos) for size in SIZES] == ["28 (6)", "140 (28)", "1,000 (200)"]
    for size in SIZES:
        tested = draw_tested(size.photos, 1, np.random.default_rng(0))
        assert name_size(size.photos).endswith(f"({tested.sum()})")


def test_pages_are_filled_without_breaking_tables() -> None:
    table = render_table(["a", "b"], [["x" * 200, 1]], texts=1)
    page = fill(f"# {'title ' * 30}\n\n{'word ' * 60}\n\n{table}")
    assert table in page
    assert max(len(line) for line in page.split("\n\n")[1].splitlines()) <= 120


def test_the_table_of_errors_is_about_regimes_alone() -> None:
    """Classifiers are tested on 140 rows too, and have a table of their own."""
    rows = [
        looks.Row(setting, photos, 0.0, way, 2000, coverage, 0.02, 0.01, 0, 0.03, 20)
        for way, _, _ in looks.list_ways()
        for photos in looks.PHOTOS
        for setting, coverage in ((looks.REGIMES[0].name, 0.97), (HALVES.name, 0.5))
    ]
    assert "| 140 | 5 10 20 | 3.0 | 97.0 |" in looks.render_errors(rows)
    assert "✗" not in looks.render_errors(rows)
    assert "| 50.0 ✗ |" in looks.render_learners(rows)


@pytest.mark.parametrize(
    ("verdict", "difference", "right"),
    [
        ("helps", 0.02, True),
        ("helps", 0.0, False),
        ("hurts", 0.02, False),
        ("no practical difference", 0.02, True),
        ("no practical difference", 0.05, False),
        ("cannot tell", 0.0, False),
    ],
)
def test_a_verdict_is_right_when_it_holds_of_the_true_difference(verdict: str, difference: float, right: bool) -> None:
    assert looks.is_true(verdict, difference) == right
