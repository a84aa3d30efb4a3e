"""The results block of README.md, made from docs/study/. ``make readme`` writes it; a test compares it."""

import re
import textwrap
from typing import NamedTuple

import numpy as np

from stages.comparison.answer import answer_question, compute_baseline, estimate_share
from stages.comparison.format import format_estimate, format_share
from stages.comparison.published import load_published
from stages.comparison.sections.verdict import name_better
from stages.comparison.study import ARMS, Study
from tests.conftest import ROOT

README = ROOT / "README.md"


class Row(NamedTuple):
    """A study as README.md names it; cost: how long `make repro` or `make settle` took."""

    label: str
    cost: str


STUDIES = {
    "epochs": Row(
        "140 photos, ResNet-50 from random weights, `budget: epochs`, as in the labs: the augmented arm takes "
        "{augmented} steps, the original {original}",
        "1 h 40 min",
    ),
    "steps": Row("the same, `budget: steps`: both arms take {augmented}", "35 min more"),
    "pretrained": Row("697 photos, EfficientNet-Lite0 from ImageNet weights, only its last layer trained", "14 min"),
    "trivialaugment": Row(
        "the same with TrivialAugmentWide in place of AugLy's operations; settled at the first look", "4 min more"
    ),
}
BLOCK = re.compile(r"(<!-- results: .*? -->\n)(.*?)(<!-- /results -->)", re.S)


def render_results() -> str:
    """A table with a row per study, and how to read it."""
    rows: list[list[object]] = []
    better, studies = [], {}
    for name, (label, cost) in STUDIES.items():
        study, params = load_published(ROOT / "docs/study" / name)
        answer, studies[name] = answer_question(study, params["report.margin"], params.get("report.looks")), study
        shares = {arm: estimate_share(study.correct[arm], study.groups) for arm in ARMS}
        baseline = compute_baseline(study.predictions["original"]["target"]).accuracy
        better.append(f"{name_better(shares, baseline).rsplit(' ', 1)[0]} in row {len(rows) + 1}")
        cells: list[object] = [
            label.format(**{arm: study.records[arm][0].steps for arm in ARMS}),
            answer.trials,
            answer.photos,
        ]
        cells += [f"{100 * baseline:.1f}", *(format_share(share) for share in shares.values())]
        level = f" at {100 * answer.level:.4g} %" if answer.looks else ""
        rows.append([*cells, format_estimate(answer.difference) + level, f"**{answer.verdict}**", cost])
    header = ["question", "trials", "photos", "majority class, %", "original, %", "augmented, %"]
    table: list[list[object]] = [
        [*header, "augmented − original, pp", "does it help?", "cost"],
        ["---", *["---:"] * 6, "---", "---:"],
        *rows,
    ]
    note = (
        "Accuracy; in brackets: 95 % intervals, where nothing else is said. Majority class: the baseline of always "
        f"predicting the most common class; clearly above it: {', '.join(better)}. Cost: of all trials, "
        f"on {describe_machine(studies)}. {warn_of_rows(studies)}"
    )
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in table]
    return "\n".join(["", *lines, "", *textwrap.wrap(note, 120, break_on_hyphens=False), "", ""])


def describe_machine(studies: dict[str, Study]) -> str:
    """The processor on which all of them were trained."""
    (machine,) = {record.trained_on.cpu_name for study in studies.values() for record in study.records["original"]}
    (threads,) = {record.trained_on.threads for study in studies.values() for record in study.records["original"]}
    return f"{threads} cores of an {machine}"


def warn_of_rows(studies: dict[str, Study]) -> str:
    """Why the rows are not to be compared, with the numbers of the trials that both have."""
    trials = len(studies["steps"].trials)
    shares = [f"{100 * np.nanmean(studies['epochs'].correct[arm][:trials]):.1f} %" for arm in ARMS]
    return (
        f"Do not compare the first two rows: the second has only the first {trials} trials, in which the arms of the "
        f"first row reach {shares[0]} and {shares[1]}; the augmented models are the same."
    )


def render_readme(readme: str) -> str:
    """README.md with a fresh results block."""
    results = render_results()
    return BLOCK.sub(lambda match: match[1] + results + match[3], readme)


if __name__ == "__main__":
    README.write_text(render_readme(README.read_text()))
