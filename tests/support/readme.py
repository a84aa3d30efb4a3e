"""The tables of studies in README.md and docs/study/README.md. ``make readme`` writes them; a test compares them."""

import itertools
import re
import textwrap
from typing import Any, NamedTuple

from stages.comparison.answer import Answer, answer_question, compute_baseline, estimate_share
from stages.comparison.format import format_estimate, format_share, format_signed
from stages.comparison.published import load_published
from stages.comparison.sections.verdict import name_better
from stages.comparison.statistics import Interval
from stages.comparison.study import ARMS, Study
from tests.conftest import ROOT

README = ROOT / "README.md"
PAGES = (README, ROOT / "docs/study/README.md")


class Row(NamedTuple):
    """A study as README.md names it; cost: how long `make repro` or `make settle` took."""

    label: str
    cost: str


STUDIES = {
    "pretrained": Row("697 photos, EfficientNet-Lite0 from ImageNet weights, only its last layer trained", "14 min"),
    "pretrained-steps": Row("as row {pretrained}, with equal steps", "45 min beside other work"),
    "trivialaugment": Row("as row {pretrained}, with TrivialAugmentWide in place of AugLy's operations", "4 min more"),
    "random-697": Row("697 photos at 64 x 64 pixels, RegNetX-200MF from random weights", "50 min beside other work"),
    "pretrained-140": Row("the labs' 140 photos, otherwise as in row {pretrained}", "11 min"),
    "trivialaugment-140": Row(
        "as row {pretrained-140}, with TrivialAugmentWide in place of AugLy's operations", "10 min more"
    ),
    "epochs": Row("the labs' experiment: 140 photos, ResNet-50 from random weights", "1 h 40 min"),
    "steps": Row("as row {epochs}, with equal steps", "3 h 20 min more"),
}
FOLDERS = {  # of the other seeds
    "pretrained": "augly",
    "trivialaugment": "trivialaugment",
    "pretrained-140": "augly-140",
    "trivialaugment-140": "trivialaugment-140",
}
SEEDS = {study: (study, *(f"seeds/{name}/{seed}" for seed in (1, 2, 3))) for study, name in FOLDERS.items()}
BLOCK = re.compile(r"(<!-- (\w+): made .*? -->\n)(.*?)(<!-- /\2 -->)", re.S)


def render_results() -> str:
    """A table with a row per study, and how to read it."""
    rows: list[list[object]] = []
    studies: dict[str, Study] = {}
    better: dict[str, list[int]] = {}
    numbers = {name: number for number, name in enumerate(STUDIES, start=1)}
    for name, (label, cost) in STUDIES.items():
        studies[name], _, answer = load_answer(name)
        study = studies[name]
        shares = estimate_shares(study)
        baseline = compute_baseline(study.predictions["original"]["target"]).accuracy
        assert round(100 * baseline) == 50
        better.setdefault(name_better(shares, baseline).rsplit(" ", 1)[0], []).append(numbers[name])
        question = f"{numbers[name]}. [{label.format(**numbers)}](docs/study/{name}/report.md)"
        steps = " / ".join(f"{study.records[arm][0].steps:,}" for arm in ARMS)
        cells = [question, answer.photos, answer.trials, steps, *map(format_share, shares.values())]
        rows.append(
            [
                *cells,
                *describe_answer(answer),
                f"{cost}, {' and '.join(name.rsplit(' ', 1)[-1] for name in name_processors(study))}",
            ]
        )
    header = ["question", "photos", "trials", "steps of each arm", "original, %", "augmented, %"]
    processors = sorted({name for study in studies.values() for name in name_processors(study)}, reverse=True)
    above = "; ".join(f"{arms} in {name_rows(those)}" for arms, those in better.items())
    note = (
        "Accuracy; in brackets: 95 % intervals, unless stated otherwise. The augmentation is two copies of every "
        "photo, each by three of ten AugLy operations, unless stated otherwise. Look 3 of 3: the last of three planned "
        f"numbers of trials. The majority-class baseline is at 50 %; clearly above it: {above}. Cost: of all trials, "
        f"on two cores of an {' or an '.join(processors)}; the Xeon computes in bf16, the EPYC in fp32. "
        f"{warn_of_seeds()}"
    )
    table = format_table([*header, "augmented − original, pp", "does it help?", "cost"], rows)
    return table + "\n".join([*textwrap.wrap(note, 120, break_on_hyphens=False), "", ""])


def name_rows(numbers: list[int]) -> str:
    """``row 2``, ``rows 1, 2 and 4``."""
    listed = [str(number) for number in numbers]
    return f"rows {', '.join(listed[:-1])} and {listed[-1]}" if len(listed) > 1 else f"row {listed[0]}"


def render_seeds() -> str:
    """A table with the same studies under other seeds, a row per study and seed."""
    rows: list[list[object]] = []
    for name in itertools.chain(*SEEDS.values()):
        study, params, answer = load_answer(name)
        policy = {"augly": "AugLy's operations"}.get(params["augment.policy"], params["augment.policy"])
        shares = map(format_share, estimate_shares(study).values())
        rows.append([policy, answer.photos, params["seed"], answer.trials, *shares, *describe_answer(answer)])
    header = ["policy", "photos", "seed", "trials", "original, %", "augmented, %"]
    return format_table([*header, "augmented − original, pp", "does it help?"], rows)


def load_answer(name: str) -> tuple[Study, dict[str, Any], Answer]:
    """A published study, its params, and what it says by them."""
    study, params = load_published(ROOT / "docs/study" / name)
    return study, params, answer_question(study, params["report.margin"], params.get("report.looks"))


def estimate_shares(study: Study) -> dict[str, tuple[float, Interval]]:
    """Of correct predictions, by arm."""
    return {arm: estimate_share(study.correct[arm], study.groups) for arm in ARMS}


def describe_answer(answer: Answer) -> list[str]:
    """The difference with its interval, and the verdict."""
    level = f" at {100 * answer.level:.4g} %" if answer.looks else ""
    look = f", look {len(answer.looks)} of {len(answer.plan)}" if answer.looks else ""
    return [format_estimate(answer.difference) + level, f"**{answer.verdict}**{look}"]


def format_table(header: list[str], rows: list[list[object]]) -> str:
    """In Markdown, all columns but the first aligned to the right."""
    table: list[list[object]] = [[*header], ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(["", *(f"| {' | '.join(map(str, cells))} |" for cells in table), "", ""])


def name_processors(study: Study) -> list[str]:
    """On which a study was trained, on two cores of each."""
    found = dict.fromkeys(
        (record.trained_on.cpu_name, record.trained_on.threads) for record in study.records["original"]
    )
    assert {threads for _, threads in found} == {2}
    return [str(name) for name, _ in found]


def warn_of_seeds() -> str:
    """What the studies that were repeated with other seeds say under each of them."""
    sentences = []
    for study, names in SEEDS.items():
        answers = [load_answer(name)[2] for name in names[1:]]
        found = [f"{format_signed(100 * each.difference.mean, 1)} **{each.verdict}**" for each in answers]
        sentences.append(f"row {list(STUDIES).index(study) + 1}: {', '.join(found)}")
    return f"With [three other seeds](docs/study/README.md#other-seeds), on the EPYC, in {'; in '.join(sentences)}."


def render_blocks(text: str) -> str:
    """README.md or docs/study/README.md with its tables as they are to be."""
    render = {"results": render_results, "seeds": render_seeds}
    return BLOCK.sub(lambda match: match[1] + render[match[2]]() + match[4], text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(render_blocks(page.read_text()))
