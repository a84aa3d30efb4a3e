"""Accuracy on the test photos under each augmentation operation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from stages.comparison.answer import compute_baseline, estimate_difference, estimate_share
from stages.comparison.blocks import Chart, Section, Table, Text
from stages.comparison.figures import COLOURS, QUIET, WIDTH, styled
from stages.comparison.format import format_estimate, format_p, format_share
from stages.comparison.sections.work import describe_input
from stages.comparison.statistics import Interval, adjust_holm
from stages.comparison.study import ARMS, Study, spread

UNCHANGED = "unchanged"


def build(study: Study, params: dict[str, Any]) -> Section | None:
    """A chart and a table; None where it was not tested. ``params``: with dotted names."""
    if study.robustness.empty:
        return None
    photos = "pictures" if study.is_sample else "photos"
    policy = params["augment.policy"]
    scope = (
        f"The same models on the test {photos} under each operation, at the middle of its range; the network gets the "
        f"result as {describe_input(study)}. Secondary: the verdict does not rest on it."
    )
    if policy != "augly":
        scope += f" The augmented arm was trained with {policy}, not with these operations of AugLy."
    scope += describe_without_effect(study.without_effect, photos)
    found = compare_robustness(study)
    if len(found) == 1:  # the unchanged photos alone
        return Section("Robustness", [Text(scope, quiet=True)])
    baseline = compute_baseline(study.predictions["original"]["target"]).accuracy
    chart = plot_robustness(list(found["operation"]), {arm: list(found[arm]) for arm in ARMS}, baseline)
    title = "Accuracy under each operation, with 95 % intervals; baseline: always the most common class"
    return Section(
        "Robustness", [Text(scope, quiet=True), Chart("robustness", chart, title), tabulate_robustness(found)]
    )


def describe_without_effect(operations: Sequence[str], photos: str) -> str:
    """That these changed none of the test photos and are not shown, as a sentence; empty where there are none."""
    if not operations:
        return ""
    names = " and ".join(f"`{name}`" for name in operations)
    return f" {names} changed none of these {photos}: not shown, and not counted in the correction of the p-values."


def compare_robustness(study: Study) -> pd.DataFrame:
    """One row per operation, the unchanged photos first: accuracy of each arm and their difference.

    P-values are adjusted over the operations (Holm); the unchanged photos belong to no family and have none here.
    Operations without effect are left out.
    """
    tested = study.robustness[~study.robustness["operation"].isin(study.without_effect)]
    cases = {UNCHANGED: study.correct} | {
        str(name): {arm: spread(rows, rows[arm] == rows["target"], study.paths) for arm in ARMS}
        for name, rows in tested.groupby("operation", sort=False)
    }
    found = pd.DataFrame(
        {
            "operation": cases.keys(),
            **{arm: [estimate_share(correct[arm], study.groups) for correct in cases.values()] for arm in ARMS},
            "difference": [
                estimate_difference(each["augmented"] - each["original"], study.groups) for each in cases.values()
            ],
        }
    )
    return found.assign(p=[np.nan, *adjust_holm([difference.p for difference in found["difference"][1:]])])


def tabulate_robustness(found: pd.DataFrame) -> Table:
    """The same as text."""
    rows = [
        [
            row["operation"].replace("_", " "),
            *(format_share(row[arm]) for arm in ARMS),
            format_estimate(row["difference"]),
            "–" if row["operation"] == UNCHANGED else format_p(row["p"]),
        ]
        for row in found.to_dict("records")
    ]
    note = (
        f"In brackets: 95 % interval. p: adjusted over the family of {len(rows) - 1} operations (Holm), to which the "
        "first row does not belong."
    )
    header = ["test photos", *(f"{arm}, %" for arm in ARMS), "difference, pp", "p (Holm)"]
    return Table(header, rows, note=note)


@styled
def plot_robustness(
    operations: Sequence[str], shares: Mapping[str, Sequence[tuple[float, Interval]]], baseline: float
) -> Figure:
    """Accuracy with 95 % intervals on the test photos under each operation.

    ``operations``: names. ``shares``: per arm the accuracy and interval of each. ``baseline``: the accuracy of always
    predicting the most common class.
    """
    figure = Figure(figsize=(WIDTH, 0.9 + 0.42 * len(operations)), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(operations))
    for offset, (arm, values) in zip((-0.14, 0.14), shares.items(), strict=True):
        for row, (share, interval) in zip(rows + offset, values, strict=True):
            axes.plot([interval.low, interval.high], [row, row], color=COLOURS[arm], linewidth=1.5)
            axes.plot(share, row, "o", color=COLOURS[arm], markersize=5, label=arm if row < 0.5 else None)
    axes.axvline(baseline, color=QUIET, linewidth=0.8, linestyle="--", label="baseline")
    axes.set_yticks(rows, [name.replace("_", " ") for name in operations])
    axes.set_ylim(len(operations) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.set_xlabel("accuracy")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside upper center", ncols=3)
    return figure
