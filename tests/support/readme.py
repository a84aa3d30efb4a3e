"""The results block of README.md, made from docs/study/. ``make readme`` writes it; a test compares it."""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd

from stages.comparison.statistics import Interval
from stages.comparison.study import ARMS, spread
from stages.comparison.summary import compute_guess, estimate_share
from stages.comparison.words import format_percent, format_points, format_signed, name_better

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BUDGETS = {
    "epochs": "`epochs`, as in the labs: the augmented arm takes {augmented} steps, the original {original}",
    "steps": "`steps`: both arms take {augmented}",
}
SOURCES = [
    f"docs/study/{budget}/{name}"
    for budget in BUDGETS
    for name in ("comparison.json", "augmented/0.json", "original/0.json")
]
BLOCK = re.compile(r"(<!-- results: .*? -->\n)(.*?)(<!-- /results -->)", re.S)


def render_results(read: "dict[str, Any]") -> str:
    """A table with a row per budget, from the parsed `SOURCES` and the predictions beside them."""
    rows, better = [], []
    for budget, label in BUDGETS.items():
        found = read[f"docs/study/{budget}/comparison.json"]
        steps = {arm: read[f"docs/study/{budget}/{arm}/0.json"]["steps"] for arm in ARMS}
        difference = found["difference"]
        ends = format_points(Interval(difference["low"], difference["high"]))
        answers = {arm: load_answers(budget, arm, found["trials"]) for arm in ARMS}
        right = {arm: spread(table, table["pred"] == table["target"]) for arm, table in answers.items()}
        shares = {arm: estimate_share(values) for arm, values in right.items()}
        guess = compute_guess(answers["original"]["target"]).accuracy
        better.append(f"{name_better(shares, guess).rsplit(' ', 1)[0]} under `{budget}`")
        cells = [label.format(**steps), found["trials"], found["test_photos"], f"{100 * guess:.1f} %"]
        cells += [f"{100 * share:.1f} % ({format_percent(interval)})" for share, interval in shares.values()]
        points = f"{format_signed(100 * difference['accuracy'], 1)} ({ends})"
        rows.append([*cells, points, f"**{found['verdict']}**"])
    header = [
        "`train.budget`",
        "trials",
        "photos",
        "guessing",
        "original right",
        "augmented right",
        "augmented − original, points",
        "does it help?",
    ]
    table = [header, ["---", *["---:"] * 6, "---"], *rows]
    note = (
        "In brackets: 95 % intervals. Guessing: always answering the most common class. Clearly better than guessing: "
        f"{', '.join(better)}. {warn_of_rows(read)}"
    )
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in table]
    return "\n".join(["", *lines, "", *textwrap.wrap(note, 120, break_on_hyphens=False), "", ""])


def warn_of_rows(read: "dict[str, Any]") -> str:
    """Why the rows are not to be compared, with the numbers of the trials that both have."""
    trials = read["docs/study/steps/comparison.json"]["trials"]
    right = {}
    for arm in ARMS:
        answers = load_answers("epochs", arm, trials)
        right[arm] = f"{100 * (answers['pred'] == answers['target']).mean():.1f} %"
    return (
        f"Do not compare the rows: the second has only the first {trials} trials, in which the arms of the first row "
        f"got {right['original']} and {right['augmented']}; the augmented models are the same."
    )


def load_answers(budget: str, arm: str, trials: int) -> pd.DataFrame:
    """The published answers of an arm: columns trial, path, target, pred."""
    files = [ROOT / f"docs/study/{budget}/predictions/{arm}-{trial}.csv" for trial in range(trials)]
    return pd.concat([pd.read_csv(file, dtype=str).assign(trial=trial) for trial, file in enumerate(files)])


def render_readme(readme: str, read: "dict[str, Any]") -> str:
    """README.md with a fresh results block."""
    results = render_results(read)
    return BLOCK.sub(lambda match: match[1] + results + match[3], readme)


if __name__ == "__main__":
    README.write_text(
        render_readme(README.read_text(), {name: json.loads((ROOT / name).read_text()) for name in SOURCES})
    )
