"""The sentences: numbers as they are, and never more certainty than they have."""

from dataclasses import replace

import numpy as np
import pytest

from stages.comparison.answer import Answer, answer_question
from stages.comparison.format import format_points, format_signed
from stages.comparison.needs import describe_need
from stages.comparison.sections.verdict import (
    describe_baseline,
    describe_budget,
    describe_counts,
    describe_scope,
    describe_verdict,
)
from stages.comparison.statistics import Estimate, Interval, Verdict
from stages.comparison.study import ARMS
from tests.support.studies import make_pair, make_study


def make_answer(
    verdict: Verdict,
    mean: float,
    low: float,
    high: float,
    *,
    trials: int = 5,
    needed: tuple[int | None, int | None] = (9, 400),
) -> Answer:
    return Answer(verdict, Estimate(mean, Interval(low, high), 0.04), 0.02, trials, 1400, needed[0], needed[1])


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            make_answer("helps", 0.031, 0.004, 0.058),
            "Yes, it helps: +3.1 percentage points of accuracy "
            "(95 % interval +0.4 to +5.8; 1,400 test photos, 5 trials).",
        ),
        (
            make_answer("helps", 0.011, 0.004, 0.018),
            "Yes, it helps: +1.1 percentage points of accuracy, less than the margin "
            "(95 % interval +0.4 to +1.8; 1,400 test photos, 5 trials).",
        ),
        (
            make_answer("hurts", -0.031, -0.058, -0.004),
            "No, it hurts: −3.1 percentage points of accuracy "
            "(95 % interval −5.8 to −0.4; 1,400 test photos, 5 trials).",
        ),
        (
            make_answer("no practical difference", 0.001, -0.012, 0.014),
            "No practical difference: +0.1 percentage points of accuracy, within the margin of ±2 "
            "(95 % interval −1.2 to +1.4; 1,400 test photos, 5 trials).",
        ),
        (
            make_answer("cannot tell", 0.012, -0.031, 0.055),
            "Cannot tell: +1.2 percentage points of accuracy, which may be noise "
            "(95 % interval −3.1 to +5.5; 1,400 test photos, 5 trials).",
        ),
        (
            make_answer("cannot tell", 0.1, 0.05, 0.15, trials=1),
            "Cannot tell from one trial: +10.0 percentage points of accuracy, for these two models "
            "(95 % interval +5.0 to +15.0; 1,400 test photos, 1 trial).",
        ),
    ],
)
def test_verdict(answer: Answer, sentence: str) -> None:
    assert describe_verdict(answer) == sentence


@pytest.mark.parametrize(("b", "c"), [(0, 0), (3, 1), (1, 3), (0, 28), (28, 0)])
def test_one_trial_is_never_called_a_gain(b: int, c: int) -> None:
    study = make_study(*make_pair(b, c, 28))
    answer = answer_question(study, 0.02)
    text = " ".join([describe_verdict(answer), describe_counts(study), describe_need(answer)])
    assert text.startswith("Cannot tell from one trial")
    for word in ("helps", "hurts", "better", "No practical difference", "noise", "proof", "significant"):
        assert word not in text
    assert "only more trials show by how much. Set `trials: [0, 1, 2, 3, 4]` in params.yaml." in text


@pytest.mark.parametrize(
    ("b", "c", "words"),
    [
        (2, 3, "25 correct, 1 fewer than the original arm (26)"),
        (3, 1, "27 correct, 2 more than the original arm (25)"),
        (1, 1, "27 correct, as many as the original arm (27)"),
    ],
)
def test_counts_of_one_trial(b: int, c: int, words: str) -> None:
    assert describe_counts(make_study(*make_pair(b, c, 28))) == (f"Of 28 test photos the augmented arm got {words}.")


@pytest.mark.parametrize(
    ("verdict", "low", "high", "doubted"),
    [
        ("helps", 0.003, 0.021, True),
        ("helps", 0.003, 0.015, True),
        ("helps", 0.02, 0.05, False),
        ("hurts", -0.021, -0.003, True),
        ("hurts", -0.05, -0.02, False),
        ("no practical difference", -0.002, 0.02, False),
    ],
)
def test_a_settled_question_needs_nothing_but_a_clear_effect_may_be_too_small_to_matter(
    verdict: Verdict, low: float, high: float, doubted: bool
) -> None:
    words = describe_need(make_answer(verdict, (low + high) / 2, low, high, needed=(None, None)))
    assert ("differences of less than 2 percentage points" in words) == doubted
    assert bool(words) == doubted


@pytest.mark.parametrize(("room", "only_loss"), [(0.034, True), (0.2, False)])
def test_no_gain_is_promised_that_the_original_arm_does_not_leave(room: float, only_loss: bool) -> None:
    answer = replace(make_answer("cannot tell", 0.0, -0.04, 0.04), detectable=0.088, room=room)
    words = describe_need(answer)
    assert "a true difference of about 8.8 percentage points with a probability of about 80 %" in words
    assert (", which can only be a loss: the original arm leaves 3.4 to gain." in words) == only_loss


def test_the_room_for_a_gain_is_what_the_original_arm_gets_wrong() -> None:
    original, augmented = zip(make_pair(1, 2, 1000), make_pair(5, 0, 1000), strict=True)
    answer = answer_question(make_study(np.array(original), np.array(augmented)), 0.02)
    assert answer.room == pytest.approx(1 - np.mean(original))


def test_counts_of_several_trials_show_how_far_they_differ() -> None:
    original, augmented = zip(make_pair(1, 2, 1000), make_pair(5, 0, 1000), make_pair(0, 0, 1000), strict=True)
    assert describe_counts(make_study(np.array(original), np.array(augmented))) == (
        "Of 3,000 predictions in 3 trials (each of the 1,000 photos was tested 3 times) the augmented arm got 2,998 "
        "correct, 4 more than the original arm (2,994); from trial to trial the difference ranged from −1 to +5 photos."
    )


@pytest.mark.parametrize(
    ("tested", "words"),
    [
        ([[1, 1, 0, 0], [0, 0, 1, 1]], "Of 4 predictions in 2 trials (each of the 4 photos was tested once) the"),
        ([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1], [0, 1, 1, 0]], "(each of the 4 photos was tested twice) the"),
        ([[1, 1, 0], [0, 1, 1]], "Of 4 predictions in 2 trials the augmented"),
        ([[1, 1, 0, 0]], "Of 2 test photos the augmented"),
    ],
)
def test_how_often_photos_were_tested_is_said_where_it_is_true_of_all(tested: list[list[int]], words: str) -> None:
    right = np.where(np.array(tested), 1.0, np.nan)
    assert words in describe_counts(make_study(right, right))


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (-3.14, 1, "−3.1"),
        (3.15, 1, "+3.1"),
        (0.04, 1, "0.0"),
        (-0.04, 1, "0.0"),
        (-0.05001, 1, "−0.1"),
        (-0.0, 4, "0.0000"),
        (-1234, 0, "−1,234"),
        (0, 0, "0"),
        (10, 0, "+10"),
    ],
)
def test_signs(value: float, digits: int, text: str) -> None:
    assert format_signed(value, digits) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (-0.031, 0.055, "−3.1 to +5.5"),
        (-0.0004, 0.018, "−0.04 to +1.8"),
        (-0.018, 0.00049, "−1.8 to +0.05"),
        (0.00001, 0.02, "+0.001 to +2.0"),
        (0.0, 0.02, "0.0 to +2.0"),
        (-1e-17, 0.02, "0.0 to +2.0"),
    ],
)
def test_an_interval_shows_whether_it_holds_zero(low: float, high: float, text: str) -> None:
    assert format_points(Interval(low, high)) == text


def make_shares(*ends: tuple[float, float]) -> dict[str, tuple[float, Interval]]:
    return {arm: (sum(end) / 2, Interval(*end)) for arm, end in zip(ARMS, ends, strict=True)}


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ([(0.48, 0.62), (0.47, 0.60)], "neither arm is"),
        ([(0.5, 0.62), (0.1, 0.2)], "neither arm is"),  # low end at the level itself, and clearly worse
        ([(0.501, 0.62), (0.5, 0.62)], "only the original arm is"),
        ([(0.48, 0.62), (0.9, 1.0)], "only the augmented arm is"),
        ([(0.51, 0.62), (0.9, 1.0)], "both arms are"),
    ],
)
def test_above_the_baseline_is_what_lies_above_it_as_a_whole(ends: list[tuple[float, float]], words: str) -> None:
    text = describe_baseline(make_shares(*ends), 0.5)
    assert f"always predicting the most common class, is at 50.0 %: {words} clearly above it." in text
    assert ("says little about classifiers that beat it" in text) == (words == "neither arm is")


def test_both_arms_with_their_own_intervals() -> None:
    assert describe_baseline(make_shares((0.48, 0.62), (0.47, 0.61)), 1 / 3).startswith(
        "The original arm was correct on 55.0 % (95 % interval 48.0 to 62.0), the augmented arm on 54.0 % (47.0 to "
        "61.0). The majority-class baseline, always predicting the most common class, is at 33.3 %: both arms"
    )


@pytest.mark.parametrize(("trials", "said"), [(1, False), (2, True)])
def test_the_verdict_of_several_trials_says_what_it_is_about(trials: int, said: bool) -> None:
    text = describe_scope(trials)
    assert ("sets of as many photos, drawn like these" in text) == said


@pytest.mark.parametrize(
    ("needed", "sentence"),
    [
        (
            (1200, 12345),
            "at least about 1,200 trials on these photos or 5 trials with about 12,000 photos",
        ),
        ((9, None), "at least about 9 trials on these photos"),
        ((None, 700), "5 trials with about 700 photos"),
        ((None, None), "both more trials and more photos"),
    ],
)
def test_needs_of_an_open_question(needed: tuple[int | None, int | None], sentence: str) -> None:
    assert describe_need(make_answer("cannot tell", 0.01, -0.03, 0.05, needed=needed)) == (
        f"By a rough estimate from these 5 trials, settling it takes {sentence}: then the interval excludes 0 with a "
        "probability of about 80 %, if the difference seen is the true one, or is too narrow to leave the question "
        "open; fewer are enough where the true difference is near 0."
        + (" More photos also mean larger train sets, and with them perhaps another difference." if needed[1] else "")
    )


def test_need_of_one_trial_names_photos_with_two_digits() -> None:
    text = describe_need(make_answer("cannot tell", 0, 0, 0, trials=1, needed=(None, 1234)))
    assert text.endswith("a difference of 2 percentage points between just two models takes about 1,200 test photos.")


@pytest.mark.parametrize(
    ("trials", "steps", "sentence"),
    [
        (
            1,
            (40, 1110),
            "The augmented arm took 1,110 optimizer steps, the original 40: a difference confounds "
            "augmentation with longer training. `train.budget: steps` in params.yaml gives both arms 1,110 steps, so "
            "that augmentation is compared with mere repetition of the photos.",
        ),
        (
            2,
            (1110, 1110),
            "Both arms took 1,110 optimizer steps per trial, so the length of training explains no difference between "
            "them.",
        ),
    ],
)
def test_budget(trials: int, steps: tuple[int, int], sentence: str) -> None:
    right = np.array([[1, 0, 1, 1]] * trials)
    assert describe_budget(make_study(right, right, steps=steps)) == sentence
