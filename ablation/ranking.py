"""Which operation helps: every policy of the ablation against the original arm, in numbers, a table and a figure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ablation.policies import Kind
from stages.comparison.answer import estimate_difference
from stages.comparison.blocks import Chart, Section, Table, Text
from stages.comparison.figures import FAINT, INK, QUIET, WIDTH, styled
from stages.comparison.format import MINUS, format_estimate, format_many, format_p
from stages.comparison.sections.verdict import describe_budget, describe_scope
from stages.comparison.statistics import LEVEL, Estimate, Values, adjust_holm
from stages.comparison.study import Study

QUESTION = "Which augmentation operation helps this classifier?"
Correct = Mapping[tuple[Kind, str], Values]


def rank_operations(study: Study, correct: Correct) -> pd.DataFrame:
    """One row per operation, the best alone first.

    Columns ``operation``; ``only``, ``all_but``: the difference of that policy to the original arm, an `Estimate`;
    ``p_only``, ``p_all_but``: p-values adjusted over all of these differences (Holm); ``lost``: what the policy of all
    operations loses without this one, an `Estimate`. ``correct``: of each policy 1 where it was correct, 0 where not,
    NaN where a trial does not test a photo, `[T, N]`.
    """
    original, augmented = study.correct["original"], study.correct["augmented"]
    operations = sorted({operation for _, operation in correct})
    found = pd.DataFrame(
        {
            "operation": operations,
            "only": [estimate_difference(correct["only", name] - original, study.groups) for name in operations],
            "all_but": [estimate_difference(correct["all_but", name] - original, study.groups) for name in operations],
            "lost": [estimate_difference(augmented - correct["all_but", name], study.groups) for name in operations],
        }
    )
    adjusted = adjust_holm([each.p for each in [*found["only"], *found["all_but"]]])
    found["p_only"], found["p_all_but"] = adjusted[: len(found)], adjusted[len(found) :]
    return found.iloc[np.argsort([-each.mean for each in found["only"]], kind="stable")].reset_index(drop=True)


def build_section(
    study: Study, found: pd.DataFrame, margin: float, operations_per_copy: int, *, given: bool = False
) -> Section:
    """The figure, the table, and how to read them.

    ``margin``: a fraction; differences within it do not matter. ``operations_per_copy``: of the augmented arm.
    ``given``: as in `verdict.build`.
    """
    whole = estimate_difference(study.gains, study.groups)
    photos = "pictures" if study.is_sample else "photos"
    title = (
        "Difference in accuracy to the original arm, with 95 % intervals: each operation alone (●), all but it (◆); "
        f"dashed: all operations; gray: the margin of ±{100 * margin:g} percentage points"
    )
    scope = describe_scope(len(study.trials), given=given)
    one_trial = "One trial is about its models only: more trials show how much they vary."
    strength = (
        f"An operation alone is the only one that its images get; in the other policies an image gets up to "
        f"{operations_per_copy}. "
        if operations_per_copy > 1
        else ""
    )
    return Section(
        "",
        [
            Text(
                f"Every policy was trained from the initial weights of the trial's original arm, on the same train "
                f"{photos} and as many images as the augmented arm, and tested on the same test {photos}. All "
                f"operations together, the augmented arm of the main report: {format_estimate(whole)} percentage "
                f"points. {scope or one_trial}"
            ),
            Text(strength + describe_budget(study)),
            Chart("ranking", plot_ranking(found, whole.mean, margin), title),
            tabulate_ranking(found),
        ],
    )


def tabulate_ranking(found: pd.DataFrame) -> Table:
    """The same as text."""
    rows = [
        [
            row["operation"].replace("_", " "),
            format_estimate(row["only"]),
            format_p(row["p_only"]),
            format_estimate(row["all_but"]),
            format_p(row["p_all_but"]),
            format_estimate(row["lost"]),
        ]
        for row in found.to_dict("records")
    ]
    note = (
        "Differences in accuracy, in percentage points, and in brackets the 95 % interval of each by itself. p: of no "
        f"difference to the original arm, adjusted over the family of {2 * len(rows)} policies (Holm), so that one "
        "false alarm in the whole table is rare. Last column: the policy of all operations less the one without this "
        "operation; where it is positive, the policy loses without it. The first of a ranking owes some of its place "
        "to luck: expect less of it in new trials."
    )
    header = ["operation", "alone, pp", "p (Holm)", "all but it, pp", "p (Holm)", "lost without it, pp"]
    return Table(header, rows, note=note)


def describe_ranking(found: pd.DataFrame, trials: int) -> str:
    """Which operations make a clear difference alone, and which policies do without one of them."""
    count = len(found)
    if trials == 1:
        best = found["operation"].iloc[0].replace("_", " ")
        return f"Cannot tell from one trial: {best} alone comes out best of {count} operations, which may be luck."
    basis = f"{count} operations, {trials} trials; p adjusted by Holm"
    better, worse = (_list_clear(found, sign) for sign in (1, -1))
    sentences = [
        f"Clearly better than no augmentation: {better}." if better else "",
        f"Clearly worse{'' if better else ' than no augmentation'}: {worse}." if worse else "",
    ]
    said = " ".join(filter(None, sentences)) or "No operation makes a clear difference, alone or left out."
    return f"{said[:-1]} ({basis})."


def _list_clear(found: pd.DataFrame, sign: int) -> str:
    """The policies with a clear difference of this sign, such as ``rotate alone, all but blur``."""
    names = []
    for kind, name in (("only", "{} alone"), ("all_but", "all but {}")):
        for row in found[found[f"p_{kind}"] < 1 - LEVEL].to_dict("records"):
            if row[kind].mean * sign > 0:
                names.append(name.format(row["operation"].replace("_", " ")))
    return format_many(names)


def list_numbers(found: pd.DataFrame) -> dict[str, Any]:
    """By operation and policy: the difference in accuracy to the original arm, its interval and its adjusted p."""

    def describe(estimate: Estimate, p: float) -> dict[str, float]:
        values = {"accuracy": estimate.mean, "low": estimate.interval.low, "high": estimate.interval.high, "p": p}
        return {key: round(value, 6) for key, value in values.items()}

    return {
        row["operation"]: {kind: describe(row[kind], row[f"p_{kind}"]) for kind in ("only", "all_but")}
        for row in found.to_dict("records")
    }


@styled
def plot_ranking(found: pd.DataFrame, whole: float, margin: float) -> Figure:
    """Each operation alone and all but it, in percentage points, with 95 % intervals.

    ``whole``: the difference of all operations together, a fraction.
    """
    figure = Figure(figsize=(WIDTH, 1.1 + 0.42 * len(found)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-100 * margin, 100 * margin, color=FAINT, linewidth=0)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    axes.axvline(100 * whole, color=QUIET, linewidth=0.8, linestyle="--", label="all operations")
    for kind, label, colour, marker, offset in (
        ("only", "alone", INK, "o", -0.14),
        ("all_but", "all but it", QUIET, "D", 0.14),
    ):
        for row, estimate in enumerate(found[kind]):
            ends = [100 * estimate.interval.low, 100 * estimate.interval.high]
            axes.plot(ends, [row + offset] * 2, color=colour, linewidth=1.5)
            point = 100 * estimate.mean, row + offset
            axes.plot(*point, marker, color=colour, markersize=5, label=None if row else label)
    axes.set_yticks(range(len(found)), [name.replace("_", " ") for name in found["operation"]])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel("← original better   accuracy, percentage points   policy better →")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", MINUS) if value else "0")
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside upper center", ncols=3)
    return figure
