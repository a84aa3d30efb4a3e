"""The answer in plain sentences, for the page, the report in git and the terminal alike."""

from collections.abc import Mapping
from statistics import fmean

import numpy as np

from stages.comparison.statistics import Interval
from stages.comparison.study import Study
from stages.comparison.summary import Answer

QUESTION = "Does augmentation help this classifier, or is it noise?"
MINUS = "−"  # as wide as a plus, and never broken from its number


def format_signed(value: float, digits: int) -> str:
    """A difference with its sign, ``−3.1``; what rounds to zero has none."""
    text = f"{value:+,.{digits}f}"
    return text.replace("-", MINUS) if text.strip("+-0.") else text[1:]


def format_points(interval: Interval) -> str:
    """An interval of fractions in points: ``−3.1 to +5.5``."""
    return f"{format_signed(100 * interval.low, 1)} to {format_signed(100 * interval.high, 1)}"


def format_percent(interval: Interval) -> str:
    """An interval of fractions in percent: ``43.9 to 60.3``."""
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def describe_verdict(answer: Answer) -> str:
    """The verdict in one sentence, with the interval, the photos and the trials it rests on."""
    points, interval = format_signed(100 * answer.difference.mean, 1), answer.difference.interval
    basis = f"{answer.photos:,} test photos, {answer.trials} trial{'s' * (answer.trials > 1)}"
    ends = f"95 % interval {format_points(interval)}"
    small = "" if max(abs(interval.low), abs(interval.high)) > answer.margin else ", less than the margin"
    match answer.verdict:
        case "helps":
            return f"Yes, it helps: {points} points of accuracy{small} ({ends}; {basis})."
        case "hurts":
            return f"No, it hurts: {points} points of accuracy{small} ({ends}; {basis})."
        case "no practical difference":
            margin = f"the margin of ±{100 * answer.margin:g} points"
            return f"No practical difference: {points} points of accuracy, within {margin} ({ends}; {basis})."
    if answer.trials == 1:
        return f"Cannot tell from one trial: {points} points of accuracy, for these two models ({ends}; {basis})."
    return f"Cannot tell: {points} points of accuracy, and that may be noise ({ends}; {basis})."


def describe_scope(answer: Answer) -> str:
    """What the verdict is about; empty of one trial, whose verdict says so itself."""
    if answer.trials == 1:
        return ""
    return "The verdict is about new trials on photos like these, not about training on another data set."


def describe_guessing(shares: Mapping[str, tuple[float, Interval]], guess: float) -> str:
    """How right each arm is, and whether that is more than guessing: ``guess`` is the share of the commonest class."""
    (original, first), (augmented, second) = shares.values()
    learned = any(interval.low > guess for _, interval in shares.values())
    doubt = "" if learned else " As long as that is so, this says little about classifiers that work."
    return (
        f"The original arm got {100 * original:.1f} % right (95 % interval {format_percent(first)}), "
        f"the augmented {100 * augmented:.1f} % ({format_percent(second)}). "
        f"Always answering the most common class gets {100 * guess:.1f} %: "
        f"{name_better(shares, guess)} clearly better than guessing.{doubt}"
    )


def name_better(shares: Mapping[str, tuple[float, Interval]], guess: float) -> str:
    """The arms whose whole interval lies above ``guess``, with their verb."""
    better = [arm for arm, (_, interval) in shares.items() if interval.low > guess]
    return "both arms are" if len(better) > 1 else f"only the {better[0]} arm is" if better else "neither arm is"


def describe_counts(study: Study) -> str:
    """The same in photos."""
    tested = np.isfinite(study.gains).sum(axis=0)
    photos, trials = int(tested.sum()), len(study.trials)
    right = {arm: int(np.nansum(values)) for arm, values in study.right.items()}
    gain = right["augmented"] - right["original"]
    verb = f"got {abs(gain):,} {'more' if gain > 0 else 'fewer'} right than" if gain else "got as many right as"
    answers = f"Of {photos:,} test photos" if trials == 1 else f"Of {photos:,} test answers in {trials} trials"
    if trials > 1 and tested.min() == tested.max():
        often = {1: "once", 2: "twice"}.get(int(tested[0]), f"{tested[0]} times")
        answers += f" (each of the {len(tested):,} photos was tested {often})"
    result = (
        f"{answers} the augmented arm {verb} the original arm ({right['augmented']:,} against {right['original']:,})"
    )
    if trials == 1:
        return f"{result}."
    gains = np.nansum(study.gains, axis=1).astype(int)
    least, most = (format_signed(number, 0) for number in (gains.min(), gains.max()))
    return f"{result}; from trial to trial the difference ran from {least} to {most} photos."


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
    trials = f"{answer.trials_needed:,} trials on these photos" if answer.trials_needed else ""
    photos = f"{answer.trials} trials with {_count(answer.photos_needed)} photos" if answer.photos_needed else ""
    needed = " or ".join(filter(None, [trials, photos]))
    needed = f"at least about {needed}" if needed else "both more trials and more photos"
    return (
        f"By a rough estimate from these {answer.trials} trials, settling it takes {needed}; a true difference smaller "
        "than the one seen takes more."
    )


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
        f"mixes two causes, augmentation and longer training. `train.budget: steps` in params.yaml gives both arms "
        f"{steps['augmented']:,.0f} steps, so that augmentation is compared with mere repetition of the photos."
    )
