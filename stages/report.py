"""Put all trials together: the verdict, a page with pictures, and a report for git.

Reads   params trials, report, and for these trials only: data/split/, data/augmented/, metrics/<arm>/,
        metrics/history/, metrics/predictions/, metrics/robustness/, metrics/copies/; data/manifest.csv,
        metrics/quarantine.csv, data/raw/
Writes  metrics/comparison.json: the verdict and a few numbers, for `dvc metrics diff`
        metrics/report.md, metrics/figures/*.png: for git
        metrics/report.html: one file with everything; it shows photographs, so it stays out of git
        one MLflow run named comparison
Command python -m stages.report   (about 10 seconds)
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.base.files import replace_dir, write_bytes, write_json
from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.cli.stage import run_stage
from stages.comparison import charts, figures, pages
from stages.comparison.charts import Chart
from stages.comparison.gallery import collect_pictures
from stages.comparison.provenance import describe_photos
from stages.comparison.study import ARMS, Study, load_study
from stages.comparison.summary import (
    Answer,
    answer_question,
    compare_calibration,
    compute_comparison,
    compute_guess,
    tabulate_robustness,
    tabulate_trials,
)
from stages.comparison.words import describe_verdict, format_signed

COMPARISON, REPORT, PAGE = (Path("metrics", name) for name in ("comparison.json", "report.md", "report.html"))
FIGURES = Path("metrics/figures")


def main() -> None:
    """Write the comparison, the report and its figures."""
    params = load_params()
    study = load_study(params.trials)
    answer = answer_question(study, params.report.margin)
    comparison = compute_comparison(study, answer)
    drawn = draw_charts(study, answer)
    content = pages.collect_content(study, answer, flatten(params.model_dump()))
    page = pages.render_page(content, drawn, collect_pictures(study))
    with replace_dir(FIGURES) as folder:
        for name, chart in drawn.items():
            figures.save_figure(chart.figure, folder / f"{name}.png")
    write_json(COMPARISON, comparison)
    write_bytes(REPORT, pages.render_markdown(content, drawn).encode())
    write_bytes(PAGE, page.encode())
    from stages.tracking import store as tracking  # slow to import

    if reason := tracking.attempt(lambda: track(study, comparison)):
        remedy = "Once the tracking server is back, `dvc repro --force --single-item report` logs it."
        print(f"warning: this comparison is not logged: {reason}. {remedy}", file=sys.stderr)
    print(summarise(comparison, answer, describe_photos(study)))


def draw_charts(study: Study, answer: Answer) -> dict[str, Chart]:
    """Every chart of the report, by the name of its file."""
    trials = tabulate_trials(study)
    shown = "each trial and all together" if len(study.trials) > 1 else "of the trial"
    robustness = tabulate_robustness(study)
    curves = {arm: curve for arm, (curve, _) in compare_calibration(study).items()}
    guess = compute_guess(study.answers["original"]["target"])
    levels = {"test/accuracy": guess.accuracy, "test/loss": guess.log_loss}
    of = f" of {study.class_names[1]}" if len(study.class_names) == 2 else ", macro averages"
    pooled = answer.difference if answer.trials > 1 else None
    margin = f"gray: the margin of ±{100 * answer.margin:g} points"
    drawn = {
        "forest": Chart(
            charts.plot_forest(dict(zip(trials["trial"], trials["difference"], strict=True)), pooled, answer.margin),
            f"Accuracy, augmented − original, with 95 % intervals, {shown}; {margin}",
        ),
        "counts": Chart(
            figures.plot_counts(count_images(study)), f"Images per class, train and test, of trial {study.trials[0]}"
        ),
        "confusion": Chart(
            figures.plot_confusion(sum_confusion(study), study.class_names),
            f"Confusion matrices of both arms{', all trials' * bool(pooled)}",
        ),
        "learning_curves": Chart(
            figures.plot_learning_curves(study.histories, levels),
            f"Loss and scores per epoch; precision, recall and F1{of}; guessing: by the shares of the classes",
        ),
        "calibration": Chart(
            charts.plot_calibration(curves),
            "How often answers were right, by how sure the model was; larger: more answers",
        ),
    }
    if len(robustness):
        shares = {arm: list(robustness[arm]) for arm in ARMS}
        chart = charts.plot_robustness(list(robustness["operation"]), shares, guess.accuracy)
        title = "Accuracy on the test photos under each operation, with 95 % intervals; guessing: the most common class"
        drawn["robustness"] = Chart(chart, title)
    if study.is_sample:
        for each in drawn.values():
            each.figure.suptitle(describe_photos(study), fontsize=8)
    return drawn


def count_images(study: Study) -> pd.DataFrame:
    """Images of the first trial: one row per class, columns train, test, copies."""
    parts = {side: study.split[study.split["split"] == side] for side in ("train", "test")} | {"copies": study.copies}
    counts = pd.DataFrame({name: part["class"].value_counts() for name, part in parts.items()})
    return counts.reindex(study.class_names).fillna(0).astype(int)


def sum_confusion(study: Study) -> dict[str, np.ndarray]:
    """Per arm the confusion matrix `[C, C]` over all trials."""
    return {arm: np.sum([trial["confusion_matrix"] for trial in study.metrics[arm]], axis=0) for arm in ARMS}


def track(study: Study, comparison: dict[str, Any]) -> None:
    """Log the comparison as an MLflow run of its own that leads to the runs of the arms."""
    from stages.tracking.comparison import log_comparison

    models = {
        (arm, trial): study.metrics[arm][index]["model_sha256"]
        for arm in ARMS
        for index, trial in enumerate(study.trials)
    }
    numbers = {key: float(value) for key, value in flatten(comparison).items() if isinstance(value, int | float)}
    log_comparison(models, numbers, comparison["verdict"], [COMPARISON, REPORT, PAGE])


def summarise(comparison: dict[str, Any], answer: Answer, photos: str) -> str:
    """What the terminal shows. On the sample the first and the last line say so."""
    sample = [photos] if comparison["source"] == "sample" else []
    table = pd.DataFrame({arm: comparison[arm] for arm in ARMS})
    table["difference"] = (table["augmented"] - table["original"]).map(lambda gap: format_signed(gap, 4))
    files = f"open {PAGE} in a browser; for git: {REPORT}"
    verdict = describe_verdict(answer)
    return "\n".join([*sample, "", table.to_string(float_format="{:.4f}".format), "", files, "", verdict, *sample])


if __name__ == "__main__":
    run_stage(main)
