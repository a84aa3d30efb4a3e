"""Planned looks: what each said at its level, and the path of the estimate over trials."""

import numpy as np
from matplotlib.figure import Figure

from stages.comparison.answer import Answer, estimate_difference
from stages.comparison.blocks import Chart, Section, Table, Text
from stages.comparison.figures import FAINT, INK, QUIET, WIDTH, styled
from stages.comparison.format import MINUS, format_estimate, format_points, format_rough
from stages.comparison.statistics import Values
from stages.comparison.study import ARMS, Study


def build(study: Study, answer: Answer, *, late: bool = False) -> Section | None:
    """The plan, the looks taken so far and the path; None without a plan.

    ``late``: the plan was declared or changed after looks that it does not account for.
    """
    if not answer.plan:
        return None
    title = (
        "Difference in accuracy after each trial, with the interval of each look; gray: the margin of "
        f"±{100 * answer.margin:g} percentage points"
    )
    return Section(
        "Planned looks",
        [
            Text(describe_plan(study, answer, late=late)),
            Text(describe_cost(study, answer)),
            Chart("looks", plot_path(study.gains, answer), title),
            tabulate_looks(answer),
        ],
    )


def describe_plan(study: Study, answer: Answer, *, late: bool = False) -> str:
    """The rule, whether it holds, and what the interval would be without it; ``late``: as in `build`."""
    plan = [str(trials) for trials in answer.plan]
    listed = f"{', '.join(plan[:-1])} and {plan[-1]}" if len(plan) > 1 else plan[0]
    alone = estimate_difference(study.gains, study.groups).interval
    first = next((look for look in answer.looks if look.verdict != "cannot tell"), None)
    settled = (
        f" The look after {first.trials} trials had settled it; what was run since narrows the interval."
        if first and first is not answer.looks[-1]
        else ""
    )
    held = (
        "Of a plan that is declared before the first look, the intervals of all looks, if each keeps its own level, "
        "hold together with a probability of at least 95 %, whenever one stops. This plan was declared or changed "
        "later, so that these do not."
        if late
        else "So the intervals of all looks, if each keeps its own level, hold together with a probability of at least "
        "95 %, whenever one stops."
    )
    return (
        f"The plan in params.yaml looks at the answer after {listed} trials. Each look spends a part of 5 %, as large "
        f"as its new trials are of all planned ones. {held} Without a plan, by one look at these "
        f"{answer.trials} trials, the 95 % interval would be {format_points(alone)}.{settled}"
    )


def describe_cost(study: Study, answer: Answer) -> str:
    """What the trials took and, of an open question, what the next look adds; in samples, as no output holds a time."""
    samples = sum(record.samples_seen for arm in ARMS for record in study.records[arm])
    spent = f"The {2 * answer.trials:,} trainings so far saw {samples:,} samples"
    if answer.verdict != "cannot tell" or len(answer.looks) == len(answer.plan):
        return f"{spent}."
    look = answer.plan[len(answer.looks)]
    new = look - answer.trials
    return (
        f"{spent}; the look after {look} trials adds {2 * new:,} trainings and about "
        f"{format_rough(samples * new // answer.trials)} samples. `make settle` says how long that takes here."
    )


def tabulate_looks(answer: Answer) -> Table:
    """A row per planned look."""
    taken = {look.trials: look for look in answer.looks}
    rows = []
    for number, trials in enumerate(answer.plan, start=1):
        look = taken.get(trials)
        found = (
            [f"{100 * look.level:.4g} %", format_estimate(look.difference), look.verdict]
            if look
            else ["", "", "not taken"]
        )
        rows.append([f"{number}", f"{trials}", *found])
    return Table(["look", "trials", "level", "difference, pp", "verdict"], rows, note="pp: percentage points.")


@styled
def plot_path(gains: Values, answer: Answer) -> Figure:
    """The mean difference of the first trials, in percentage points, and each look's interval; ``gains`` `[T, N]`."""
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.axhspan(-100 * answer.margin, 100 * answer.margin, color=FAINT, linewidth=0)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    trials = np.arange(1, len(gains) + 1)
    axes.plot(trials, [100 * float(np.nanmean(gains[:number])) for number in trials], color=QUIET, linewidth=1.2)
    for look in answer.looks:
        ends = [100 * look.difference.interval.low, 100 * look.difference.interval.high]
        axes.plot([look.trials] * 2, ends, color=INK, linewidth=3)
        axes.plot(look.trials, 100 * look.difference.mean, "D", color=INK, markersize=7)
    axes.set_xlim(0, answer.plan[-1] + 1)
    axes.set_xticks(list(answer.plan))
    axes.set_xlabel("trials")
    axes.set_ylabel("difference, percentage points")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", MINUS) if value else "0")
    return figure
