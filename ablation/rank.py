"""Rank the augmentation operations by what they do to the accuracy, over all trials.

Reads   ablation/runs/, and of the original and the augmented arm what the main report reads; all params
Writes  ablation/ranking.json: the differences, for `dvc metrics diff`
        ablation/report.md, ablation/figures/: for git
        ablation/report.html: the same as one file
        one MLflow run, in the experiment `ablation`
Command python -m ablation.rank   (about 5 seconds)
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from ablation.policies import KINDS, PREDICTIONS_FILE, Kind, check_ablation, get_run_dir, name_policy
from ablation.ranking import QUESTION, build_section, describe_ranking, list_numbers, rank_operations
from stages.base.files import write_json
from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.cli.stage import run_stage
from stages.comparison.blocks import Section
from stages.comparison.page import Report, mark_drawings, save_report
from stages.comparison.sections import provenance
from stages.comparison.statistics import Values
from stages.comparison.study import Study, load_study, spread
from stages.evaluation.predictions import PredictionTable
from stages.model.record import RUN_FILE, TrainRecord, get_model_dir, list_differences
from stages.runtime.errors import UserError

FOLDER = Path("ablation")
RANKING, MARKDOWN, PAGE = (FOLDER / name for name in ("ranking.json", "report.md", "report.html"))


def main() -> None:
    """Write the ranking and its report."""
    params = load_params()
    check_ablation(params.augment)
    study = load_study(params.trials)
    policies = [(kind, operation) for kind in KINDS for operation in params.augment.operations]
    models = check_models(policies, params.trials)
    correct = {policy: load_correct(*policy, study) for policy in policies}
    found = rank_operations(study, correct)
    sections = [
        build_section(
            study,
            found,
            params.report.margin,
            params.augment.operations_per_copy,
            given=params.split.scheme == "given",
        ),
        provenance.build(study, flatten(params.model_dump())),
    ]
    report = build_report(study, found, params.report.margin, sections)
    save_report(report, MARKDOWN, PAGE, FOLDER / "figures")
    write_json(RANKING, list_numbers(found))
    track(models, found)
    print(f"\nopen {PAGE} in a browser; for git: {MARKDOWN}\n\n{report.verdict}")


def check_models(policies: list[tuple[Kind, str]], trials: list[int]) -> dict[str, str]:
    """The model's hash by policy and trial.

    Raises UserError unless each is there, and started like the trial's original arm, on the same machine.
    """
    models = {}
    for trial in trials:
        original = TrainRecord.load(get_model_dir("original", trial) / RUN_FILE)
        for kind, operation in policies:
            with made_by_ablation(get_run_dir(kind, operation, trial) / RUN_FILE) as path:
                run = TrainRecord.load(path)
            remedy = f"Run `dvc --cd ablation repro --force --single-item train@{kind}-{operation}-{trial}`."
            if run.initial_weights_sha256 != original.initial_weights_sha256:
                raise UserError(
                    f"{run.name} started from other weights than the original arm of trial {trial}, so they cannot be "
                    f"compared. {remedy}"
                )
            if differences := list_differences(original.machine, run.machine):
                raise UserError(
                    f"{run.name} was trained on another machine or library versions than the original arm (original -> "
                    f"this: {', '.join(differences)}), so their difference need not be due to augmentation. {remedy}"
                )
            models[run.name] = run.model_sha256
    return models


@contextmanager
def made_by_ablation(path: Path) -> Iterator[Path]:
    """While the file is read: say of one that is absent or damaged what makes it, which `dvc repro` does not."""
    try:
        yield path
    except UserError as error:
        raise UserError(f"{path} is absent or damaged. Run make ablation, which makes it again.") from error


def load_correct(kind: Kind, operation: str, study: Study) -> Values:
    """Where a policy was correct, `[T, N]` like `Study.correct`.

    Raises UserError when its predictions are not for the same photos as the original arm's.
    """
    table, keys = PredictionTable.of(study.class_names), ["trial", "path", "target"]
    paths = {trial: get_run_dir(kind, operation, trial) / PREDICTIONS_FILE for trial in study.trials}
    tables = []
    for trial, path in paths.items():
        with made_by_ablation(path):
            tables.append(table.load(path).assign(trial=trial))
    predictions = pd.concat(tables, ignore_index=True)
    original = study.predictions["original"]
    if (
        not predictions[keys]
        .sort_values(keys, ignore_index=True)
        .equals(original[keys].sort_values(keys, ignore_index=True))
    ):
        raise UserError(
            f"{name_policy(kind, operation)} was not tested on the same photos as the original arm. Run make ablation."
        )
    return spread(predictions, predictions["pred"] == predictions["target"])


def build_report(study: Study, found: pd.DataFrame, margin: float, sections: list[Section]) -> Report:
    """The page's contents."""
    trials, photos = len(study.trials), "pictures" if study.is_sample else "photos"
    return Report(
        question=QUESTION,
        verdict=describe_ranking(found, trials),
        facts=[
            (f"{study.gains.shape[1]:,}", f"test {photos}"),
            (f"{trials}", f"trial{'s' * (trials > 1)} of {2 * len(found)} policies"),
            (f"±{100 * margin:g}", "percentage points margin"),
        ],
        notice=mark_drawings(study, sections),
        sections=sections,
    )


def track(models: dict[str, str], found: pd.DataFrame) -> None:
    """Log the ranking beside the runs of the ablation."""
    from stages.tracking.comparison import log_ranking  # slow to import
    from stages.tracking.store import attempt

    if reason := attempt(lambda: log_ranking(models, list_numbers(found), [RANKING, MARKDOWN, PAGE])):
        remedy = "Once the tracking server is back, `dvc --cd ablation repro --force --single-item rank` logs it."
        print(f"warning: this ranking is not logged: {reason}. {remedy}", file=sys.stderr)


if __name__ == "__main__":
    run_stage(main)
