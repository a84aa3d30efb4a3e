"""The verdict: does it help, and how sure is that."""

from collections.abc import Mapping
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure

from stages.comparison.answer import Answer, compute_baseline, estimate_difference, estimate_share
from stages.comparison.blocks import Chart, Section, Text
from stages.comparison.figures import FAINT, INK, QUIET, WIDTH, styled
from stages.comparison.format import MINUS, format_percent, format_points, format_signed
from stages.comparison.needs import describe_need
from stages.comparison.statistics import Estimate, Interval
from stages.comparison.study import ARMS, Study

QUESTION = "Does augmentation help this classifier, or is it noise?"
MANY = 30  # rows beyond which the forest plot names only some


def build(study: Study, answer: Answer, history: str = "", *, given: bool = False) -> Section:
    """The paragraphs under the verdict, and the difference of every trial.

    ``history``: what earlier looks do to the verdict, in words. ``given``: all trials train and test on the same
    photos, as the source divides them.
    """
    shares = {arm: estimate_share(study.correct[arm], study.groups) for arm in ARMS}
    baseline = compute_baseline(study.predictions["original"]["target"]).accuracy
    trials = {
        trial: estimate_difference(study.gains[row : row + 1], study.groups) for row, trial in enumerate(study.trials)
    }
    pooled = answer.difference if answer.trials > 1 else None
    title = (
        f"Difference in accuracy, augmented − original, with 95 % intervals, "
        f"{'each trial and all trials together' if pooled else 'of the trial'}"
        f"{f', the latter at {100 * answer.level:.4g} % as planned for this look' if answer.looks else ''}; "
        f"gray: the margin of ±{100 * answer.margin:g} percentage points"
    )
    about = [describe_baseline(shares, baseline), describe_scope(answer.trials, given=given)]
    return Section(
        "",
        [
            Text(" ".join(filter(None, about))),
            *([Text(history)] if history else []),
            Chart("forest", plot_forest(trials, pooled, answer.margin), title),
            Text(" ".join(filter(None, [describe_counts(study), describe_groups(study), describe_need(answer)]))),
            Text(describe_budget(study)),
        ],
    )


def describe_verdict(answer: Answer) -> str:
    """The verdict in one sentence, with the interval, the photos and the trials it rests on."""
    points, interval = format_signed(100 * answer.difference.mean, 1), answer.difference.interval
    basis = f"{answer.photos:,} test photos, {answer.trials} trial{'s' * (answer.trials > 1)}"
    ends = f"{name_level(answer)} interval {format_points(interval)}"
    small = "" if max(abs(interval.low), abs(interval.high)) > answer.margin else ", less than the margin"
    match answer.verdict:
        case "helps":
            return f"Yes, it helps: {points} percentage points of accuracy{small} ({ends}; {basis})."
        case "hurts":
            return f"No, it hurts: {points} percentage points of accuracy{small} ({ends}; {basis})."
        case "no practical difference":
            margin = f"the margin of ±{100 * answer.margin:g}"
            return (
                f"No practical difference: {points} percentage points of accuracy, within {margin} ({ends}; {basis})."
            )
    if answer.trials == 1:
        return (
            f"Cannot tell from one trial: {points} percentage points of accuracy, for these two models "
            f"({ends}; {basis})."
        )
    return f"Cannot tell: {points} percentage points of accuracy, which may be noise ({ends}; {basis})."


def name_level(answer: Answer) -> str:
    """The level of the verdict's interval, and the look it belongs to: ``95 %``, ``look 2 of 3, 98.75 %``."""
    look = f"look {len(answer.looks)} of {len(answer.plan)}, " if answer.looks else ""
    return f"{look}{100 * answer.level:.4g} %"


def describe_scope(trials: int, *, given: bool = False) -> str:
    """What the verdict is about; empty of one trial, whose verdict says so itself. ``given``: as in `build`.

    The interval is that of trials crossed with photos: it covers how both vary, and nothing else does.
    """
    if trials == 1:
        return ""
    if given:
        return (
            "All trials test the same photos, and differ in random weights, batch order and augmentation: the verdict "
            "is about new photos like these and new trainings on these train photos, not about training on other "
            "photos."
        )
    return (
        "The verdict is about sets of as many photos, drawn like these, and new trainings on them; with more photos, "
        "or other ones, the difference may be another."
    )


def describe_baseline(shares: Mapping[str, tuple[float, Interval]], baseline: float) -> str:
    """The accuracy of each arm, and whether it is above the majority-class baseline."""
    (original, first), (augmented, second) = shares.values()
    learned = any(interval.low > baseline for _, interval in shares.values())
    doubt = "" if learned else " As long as that is so, this says little about classifiers that beat it."
    return (
        f"The original arm was correct on {100 * original:.1f} % (95 % interval {format_percent(first)}), "
        f"the augmented arm on {100 * augmented:.1f} % ({format_percent(second)}). "
        f"The majority-class baseline, always predicting the most common class, is at {100 * baseline:.1f} %: "
        f"{name_better(shares, baseline)} clearly above it.{name_worse(shares, baseline)}{doubt}"
    )


def name_better(shares: Mapping[str, tuple[float, Interval]], baseline: float) -> str:
    """The arms whose whole interval lies above the baseline, with their verb."""
    better = [arm for arm, (_, interval) in shares.items() if interval.low > baseline]
    return "both arms are" if len(better) > 1 else f"only the {better[0]} arm is" if better else "neither arm is"


def name_worse(shares: Mapping[str, tuple[float, Interval]], baseline: float) -> str:
    """A sentence on the arms whose whole interval lies below the baseline; empty where there is none."""
    worse = [arm for arm, (_, interval) in shares.items() if interval.high < baseline]
    return f" {'Both arms are' if len(worse) > 1 else f'The {worse[0]} arm is'} clearly below it." if worse else ""


def describe_counts(study: Study) -> str:
    """The difference in photos."""
    tested = np.isfinite(study.gains).sum(axis=0)
    predictions, trials = int(tested.sum()), len(study.trials)
    correct = {arm: int(np.nansum(values)) for arm, values in study.correct.items()}
    gain = correct["augmented"] - correct["original"]
    compared = f"{abs(gain):,} {'more' if gain > 0 else 'fewer'} than" if gain else "as many as"
    numbers = f"{correct['augmented']:,} correct, {compared} the original arm ({correct['original']:,})"
    if trials == 1:
        return f"Of {predictions:,} test photos the augmented arm got {numbers}."
    often = ""
    if tested.min() == tested.max():
        times = {1: "once", 2: "twice"}.get(int(tested[0]), f"{tested[0]} times")
        often = f" (each of the {len(tested):,} photos was tested {times})"
    gains = np.nansum(study.gains, axis=1).astype(int)
    least, most = (format_signed(number, 0) for number in (gains.min(), gains.max()))
    return (
        f"Of {predictions:,} predictions in {trials} trials{often} the augmented arm got {numbers}; from trial "
        f"to trial the difference ranged from {least} to {most} photos."
    )


def describe_groups(study: Study) -> str:
    """That photos of a group count together; empty where every photo is by itself."""
    if study.groups is None:
        return ""
    return (
        "Near-duplicates, and photos that `split.groups` puts together, count together in every interval: the "
        f"{len(study.groups):,} test photos are {len(np.unique(study.groups)):,} groups."
    )


def describe_budget(study: Study) -> str:
    """How long each arm was trained, and what that means for the comparison."""
    steps = {arm: fmean(record.steps for record in study.records[arm]) for arm in ARMS}
    unit = "optimizer steps" + " per trial" * (len(study.trials) > 1)
    if steps["original"] == steps["augmented"]:
        return (
            f"Both arms took {steps['original']:,.0f} {unit}, so the length of training explains no difference "
            "between them."
        )
    return (
        f"The augmented arm took {steps['augmented']:,.0f} {unit}, the original {steps['original']:,.0f}: a difference "
        f"confounds augmentation with longer training. `train.budget: steps` in params.yaml gives both arms "
        f"{steps['augmented']:,.0f} steps, so that augmentation is compared with mere repetition of the photos."
    )


@styled
def plot_forest(trials: Mapping[int, Estimate], pooled: Estimate | None, margin: float) -> Figure:
    """The difference in accuracy, in percentage points, of every trial and of all together, with 95 % intervals.

    ``pooled``: None when there is one trial. ``margin``: a fraction; differences within it do not matter.
    """
    rows = [*trials.values(), *([pooled] if pooled else [])]
    height = min(0.24, 7 / len(rows))  # inches a row
    figure = Figure(figsize=(WIDTH, 0.9 + height * (len(rows) + 0.6)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-100 * margin, 100 * margin, color=FAINT, linewidth=0)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    for row, estimate in enumerate(rows):
        whole = estimate is pooled
        ends = [100 * estimate.interval.low, 100 * estimate.interval.high]
        colour, marker, size = (INK, "D", 7) if whole else (QUIET, "o", 4)
        axes.plot(ends, [row, row], color=colour, linewidth=3 if whole else 1.2)
        axes.plot(100 * estimate.mean, row, marker, color=colour, markersize=size)
    names = [f"trial {trial}" for trial in trials] + (["all trials"] if pooled else [])
    step, last = len(names) // (MANY + 1) + 1, len(names) - 1
    shown = [*range(0, last - step + 1, step), last]
    axes.set_yticks(shown, [names[row] for row in shown])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("← original better   accuracy, percentage points   augmented better →")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", MINUS) if value else "0")
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    return figure
