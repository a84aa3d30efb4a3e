"""The results block of README.md, made from metrics/. ``make readme`` writes it; a test compares it."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SOURCES = ("README.md", "metrics/comparison.json", "metrics/report.md")
BLOCK = re.compile(r"(<!-- results: .*? -->\n)(.*?)(<!-- /results -->)", re.S)
METRICS = {"accuracy": "accuracy", "macro F1": "macro_f1", "weighted F1": "weighted_f1", "log loss": "log_loss"}


def render_results(comparison: dict[str, Any], report: str) -> str:
    """A table of both arms and the report's honest sentence."""
    rows = [
        f"| {label} | {comparison['original'][key]:.4f} | {comparison['augmented'][key]:.4f} "
        f"| {comparison['augmented'][key] - comparison['original'][key]:+.4f} |"
        for label, key in METRICS.items()
    ]
    number = comparison["trials"]
    heading = f"{number} trial{'s' if number > 1 else ''} of {comparison['test_photos']} test photos"
    sentence = next(line for line in report.splitlines() if line and not line.startswith(("#", "**")))
    table = [f"| {heading} | original | augmented | difference |", "|---|---:|---:|---:|", *rows]
    return "\n".join(["", *table, "", sentence, "", "[The whole report](metrics/report.md)", ""])


def render_readme(readme: str, comparison: str, report: str) -> str:
    """README.md with a fresh results block."""
    results = render_results(json.loads(comparison), report)
    return BLOCK.sub(lambda match: match[1] + results + match[3], readme)


if __name__ == "__main__":
    texts = [(ROOT / name).read_text() for name in SOURCES]
    README.write_text(render_readme(*texts))
