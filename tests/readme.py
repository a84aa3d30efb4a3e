"""The results block of README.md, made from docs/study/. ``make readme`` writes it; a test compares it."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
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
    """A table with a row per budget, from the parsed `SOURCES`."""
    rows = []
    for budget, label in BUDGETS.items():
        found = read[f"docs/study/{budget}/comparison.json"]
        steps = {arm: read[f"docs/study/{budget}/{arm}/0.json"]["steps"] for arm in ("original", "augmented")}
        difference = found["difference"]
        points = (
            f"{100 * difference['accuracy']:+.1f} ({100 * difference['low']:+.1f} to {100 * difference['high']:+.1f})"
        )
        cells = [label.format(**steps), found["trials"], found["test_photos"]]
        cells += [f"{100 * found[arm]['accuracy']:.1f} %" for arm in ("original", "augmented")]
        rows.append([*cells, points, f"**{found['verdict']}**"])
    header = [
        "`train.budget`",
        "trials",
        "photos",
        "original",
        "augmented",
        "difference, points (95 % interval)",
        "does it help?",
    ]
    table = [header, ["---", "---:", "---:", "---:", "---:", "---:", "---"], *rows]
    return "\n".join(["", *(f"| {' | '.join(map(str, cells))} |" for cells in table), "", ""])


def render_readme(readme: str, read: "dict[str, Any]") -> str:
    """README.md with a fresh results block."""
    results = render_results(read)
    return BLOCK.sub(lambda match: match[1] + results + match[3], readme)


if __name__ == "__main__":
    README.write_text(
        render_readme(README.read_text(), {name: json.loads((ROOT / name).read_text()) for name in SOURCES})
    )
