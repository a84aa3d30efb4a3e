"""The sentences: numbers as they are, and never more certainty than they have."""

import numpy as np
import pytest

from stages.comparison.statistics import Estimate, Interval, Verdict
from stages.comparison.summary import Answer, answer_question
from stages.comparison.words import describe_budget, describe_counts, describe_need, describe_verdict
from tests.studies import make_pair, make_study


def make_answer(
    verdict: Verdict,
    mean: float,
    low: float,
    high: float,
    *,
    trials: int = 5,
    needed: tuple[int | None, ...] = (9, 400),
) -> Answer:
    return Answer(verdict, Estimate(mean, Interval(low, high), 0.04), 0.02, trials, 1400, *needed)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            make_answer("helps", 0.031, 0.004, 0.058),
            "Yes, it helps: +3.1 points of accuracy (95 % interval +0.4 to +5.8; 1,400 test photos, 5 trials).",
        ),
        (
            make_answer("helps", 0.011, 0.004, 0.018),
            "Yes, it helps: +1.1 points of accuracy, less than the margin "
            "(95 % interval +0.4 to +1.8; 1,400 test photos, 5 trials).",
        ),
        (
            make_answer("hurts", -0.031, -0.058, -0.004),
            "No, it hurts: -3.1 points of accuracy (95 % interval -5.8 to -0.4; 1,400 test photos, 5 trials).",
        ),
        (
            make_answer("no practical difference", 0.001, -0.012, 0.014),
            "No practical difference: +0.1 points of accuracy, within the margin of ±2 points "
            "(95 % interval -1.2 to +1.4; 1,400 test photos, 5 trials).",
        ),
        (
            make_answer("cannot tell", 0.012, -0.031, 0.055),
            "Cannot tell: +1.2 points of accuracy, and that may be noise "
            "(95 % interval -3.1 to +5.5; 1,400 test photos, 5 trials).",
        ),
        (
            make_answer("cannot tell", 0.1, 0.05, 0.15, trials=1),
            "Cannot tell from one trial: +10.0 points of accuracy, for these two models "
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
    assert "only more trials show how much. Set `trials: [0, 1, 2, 3, 4]` in params.yaml." in text


@pytest.mark.parametrize(
    ("b", "c", "words"),
    [
        (2, 3, "got 1 fewer right than the original arm (25 against 26)."),
        (3, 1, "got 2 more right than the original arm (27 against 25)."),
        (1, 1, "got as many right as the original arm (27 against 27)."),
    ],
)
def test_counts_of_one_trial(b: int, c: int, words: str) -> None:
    assert describe_counts(make_study(*make_pair(b, c, 28))) == f"Of 28 test photos the augmented arm {words}"


def test_counts_of_several_trials_show_how_far_they_differ() -> None:
    original, augmented = zip(make_pair(1, 2, 1000), make_pair(5, 0, 1000), make_pair(0, 0, 1000), strict=True)
    assert describe_counts(make_study(np.array(original), np.array(augmented))) == (
        "Of 3,000 test answers in 3 trials the augmented arm got 4 more right than the original arm "
        "(2,998 against 2,994); from trial to trial the difference ran from -1 to +5 photos."
    )


@pytest.mark.parametrize(
    ("needed", "sentence"),
    [
        (
            (1200, 12345),
            "By what these trials show, about 1,200 trials on these photos or 5 trials with about 12,000 photos would "
            "settle it.",
        ),
        ((9, None), "By what these trials show, about 9 trials on these photos would settle it."),
        ((None, 700), "By what these trials show, 5 trials with about 700 photos would settle it."),
        ((None, None), "Neither more trials alone nor more photos alone would settle it: it takes more of both."),
    ],
)
def test_needs_of_an_open_question(needed: tuple[int | None, ...], sentence: str) -> None:
    assert describe_need(make_answer("cannot tell", 0.01, -0.03, 0.05, needed=needed)) == sentence


@pytest.mark.parametrize("verdict", ["helps", "hurts", "no practical difference"])
def test_a_settled_question_needs_nothing(verdict: Verdict) -> None:
    assert describe_need(make_answer(verdict, 0, 0, 0, needed=(None, None))) == ""


def test_need_of_one_trial_names_photos_with_two_digits() -> None:
    text = describe_need(make_answer("cannot tell", 0, 0, 0, trials=1, needed=(None, 1234)))
    assert text.endswith("a difference of 2 points between just two models takes about 1,200 test photos.")


@pytest.mark.parametrize(
    ("trials", "steps", "sentence"),
    [
        (
            1,
            (40, 1110),
            "The augmented arm took 1,110 optimizer steps, the original 40: a difference mixes two causes, "
            "augmentation and longer training. `train.budget: steps` in params.yaml tells them apart.",
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
