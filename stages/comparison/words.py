"""The answer in plain sentences, for the page, the report in git and the terminal alike."""

from statistics import fmean

import numpy as np

from stages.comparison.statistics import Interval
from stages.comparison.study import Study
from stages.comparison.summary import Answer

QUESTION = "Does augmentation help this classifier, or is it noise?"


def format_points(interval: Interval) -> str:
    """An interval of fractions in points: ``-3.1 to +5.5``."""
    return f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"


def describe_verdict(answer: Answer) -> str:
    """The verdict in one sentence, with the interval, the photos and the trials it rests on."""
    points, interval = 100 * answer.difference.mean, answer.difference.interval
    basis = f"{answer.photos:,} test photos, {answer.trials} trial{'s' * (answer.trials > 1)}"
    ends = f"95 % interval {format_points(interval)}"
    small = "" if max(abs(interval.low), abs(interval.high)) > answer.margin else ", less than the margin"
    match answer.verdict:
        case "helps":
            return f"Yes, it helps: {points:+.1f} points of accuracy{small} ({ends}; {basis})."
        case "hurts":
            return f"No, it hurts: {points:+.1f} points of accuracy{small} ({ends}; {basis})."
        case "no practical difference":
            margin = f"the margin of ±{100 * answer.margin:g} points"
            return f"No practical difference: {points:+.1f} points of accuracy, within {margin} ({ends}; {basis})."
    if answer.trials == 1:
        return f"Cannot tell from one trial: {points:+.1f} points of accuracy, for these two models ({ends}; {basis})."
    return f"Cannot tell: {points:+.1f} points of accuracy, and that may be noise ({ends}; {basis})."


def describe_counts(study: Study) -> str:
    """The same in photos."""
    photos, trials = int(np.isfinite(study.gains).sum()), len(study.trials)
    right = {arm: int(np.nansum(values)) for arm, values in study.right.items()}
    gain = right["augmented"] - right["original"]
    verb = f"got {abs(gain):,} {'more' if gain > 0 else 'fewer'} right than" if gain else "got as many right as"
    answers = f"Of {photos:,} test photos" if trials == 1 else f"Of {photos:,} test answers in {trials} trials"
    result = (
        f"{answers} the augmented arm {verb} the original arm ({right['augmented']:,} against {right['original']:,})"
    )
    if trials == 1:
        return f"{result}."
    gains = np.nansum(study.gains, axis=1).astype(int)
    return f"{result}; from trial to trial the difference ran from {gains.min():+,} to {gains.max():+,} photos."


def describe_need(answer: Answer) -> str:
    """What would settle a question that is open, by what the trials show; empty when it is settled."""
    if answer.trials == 1:
        return (
            "Another pair of models, from other initial weights, may differ the other way; only more trials show how "
            "much. Set `trials: [0, 1, 2, 3, 4]` in params.yaml. "
            f"Finding a difference of {100 * answer.margin:g} points "
            f"between just two models takes about {_count(answer.photos_needed)} test photos."
        )
    if answer.verdict != "cannot tell":
        return ""
    trials = f"about {answer.trials_needed:,} trials on these photos" if answer.trials_needed else ""
    photos = f"{answer.trials} trials with about {_count(answer.photos_needed)} photos" if answer.photos_needed else ""
    if not trials and not photos:
        return "Neither more trials alone nor more photos alone would settle it: it takes more of both."
    return f"By what these trials show, {' or '.join(filter(None, [trials, photos]))} would settle it."


def _count(number: int | None) -> str:
    """A need with two digits: it is known no more exactly than that."""
    return f"{float(f'{number or 0:.1e}'):,.0f}"


def describe_budget(study: Study) -> str:
    """How long each arm was trained, and what that means for the comparison."""
    steps = {arm: fmean(trial["steps"] for trial in trials) for arm, trials in study.metrics.items()}
    unit = "optimizer steps" + " per trial" * (len(study.trials) > 1)
    if steps["original"] == steps["augmented"]:
        return (
            f"Both arms took {steps['original']:,.0f} {unit}, so the length of training explains no difference "
            "between them."
        )
    return (
        f"The augmented arm took {steps['augmented']:,.0f} {unit}, the original {steps['original']:,.0f}: a difference "
        "mixes two causes, augmentation and longer training. `train.budget: steps` in params.yaml tells them apart."
    )
