"""Put all trials together: the verdict, a page with pictures, and a report for git.

Reads   params trials, report, and for these trials only: data/split/, data/augmented/, metrics/<arm>/,
        metrics/history/, metrics/predictions/, metrics/robustness/, metrics/copies/; data/manifest.csv,
        metrics/quarantine.csv, data/raw/
Writes  metrics/comparison.json: the verdict and a few numbers, for `dvc metrics diff`
        metrics/report.md, metrics/figures/*.png, metrics/classes.csv: for git
        metrics/looks.json: of which trials this was done before; kept from one run to the next
        metrics/report.html: one file with everything; it shows photographs, so it stays out of git
        one MLflow run of the comparison
Command python -m stages.report   (about 5 seconds)
"""

import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from stages.base.files import write_bytes, write_json
from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.cli.stage import run_stage
from stages.comparison.answer import answer_question, compute_comparison
from stages.comparison.format import format_signed
from stages.comparison.history import LOOKS, SeenLook, describe_history, identify_question, load_history
from stages.comparison.page import Report, build_report, save_report
from stages.comparison.sections import gallery
from stages.comparison.sections.scores import list_classes
from stages.comparison.study import ARMS, Study, load_study

METRICS = Path("metrics")
COMPARISON, MARKDOWN, PAGE, CLASSES = (
    METRICS / name for name in ("comparison.json", "report.md", "report.html", "classes.csv")
)


def main() -> None:
    """Write the comparison, the report and its figures."""
    params = load_params()
    study = load_study(params.trials)
    answer = answer_question(study, params.report.margin, params.report.looks)
    dotted = flatten(params.model_dump())
    question = identify_question(study, dotted)
    look = SeenLook(trials=params.trials, plan=params.report.looks, margin=params.report.margin)
    history = load_history(LOOKS).add(question, look)
    caveats = describe_history(history.questions.get(question, []))
    report = build_report(study, answer, dotted, gallery.build(study, dotted), caveats)
    comparison = compute_comparison(study, answer)
    save_report(report, MARKDOWN, PAGE, METRICS / "figures")
    write_bytes(CLASSES, list_classes(study).to_csv(index=False, lineterminator="\n").encode())
    write_json(COMPARISON, comparison)
    history.save(LOOKS)
    track(study, comparison)
    print(summarise(report, comparison))


def track(study: Study, comparison: dict[str, Any]) -> None:
    """Log the comparison as an MLflow run of its own that leads to the runs of the arms."""
    from stages.tracking.comparison import log_comparison  # slow to import
    from stages.tracking.store import attempt

    if reason := attempt(lambda: log_comparison(study, comparison, [COMPARISON, MARKDOWN, PAGE])):
        remedy = "Once the tracking server is back, `dvc repro --force --single-item report` logs it."
        print(f"warning: this comparison is not logged: {reason}. {remedy}", file=sys.stderr)


def summarise(report: Report, comparison: dict[str, Any]) -> str:
    """What the terminal shows. On drawings the first and the last line say so.

    Without the verdict in the environment of `make repro`, which prints it when DVC has ended.
    """
    notice = [report.notice] if report.notice else []
    table = pd.DataFrame({arm: comparison[arm] for arm in ARMS})
    table["difference"] = (table["augmented"] - table["original"]).map(lambda gap: format_signed(gap, 4))
    files = f"open {PAGE} in a browser; for git: {MARKDOWN}"
    numbers = table.to_string(float_format="{:.4f}".format)
    verdict = [] if "VERDICT_FOLLOWS" in os.environ else ["", report.verdict, *notice]
    return "\n".join([*notice, "", numbers, "", files, *verdict])


if __name__ == "__main__":
    run_stage(main)
