"""The comparison of all trials as an MLflow run of its own, which leads to the runs of the arms."""

import hashlib
import json
from pathlib import Path
from typing import Any

import mlflow
from mlflow.tracking import MlflowClient

from stages.base.sections import flatten
from stages.comparison.study import ARMS, Study
from stages.tracking.runs import find_run
from stages.tracking.store import ABLATION, EXPERIMENT, open_store
from stages.tracking.workspace import describe_workspace


def log_comparison(study: Study, comparison: dict[str, Any], files: list[Path]) -> None:
    """Log a comparison, unless it is there already: the same models and numbers make no second run.

    Args:
        study: whose models are compared. Tags ``run:<arm>-<trial>`` lead to the runs that made them.
        comparison: the numbers, nested, and the verdict. files: kept as artifacts.
    """
    client = open_store()
    models = {(arm, record.trial): record.model_sha256 for arm in ARMS for record in study.records[arm]}
    runs = {f"run:{arm}-{trial}": find_run(client, arm, trial, sha256) for (arm, trial), sha256 in models.items()}
    metrics = {key: float(value) for key, value in flatten(comparison).items() if isinstance(value, int | float)}
    content = [sorted((arm, trial, sha256) for (arm, trial), sha256 in models.items()), metrics]
    tags = {"comparison": identify(content), "verdict": comparison["verdict"]}
    log_result(client, EXPERIMENT, tags | {tag: run.info.run_id for tag, run in runs.items() if run}, metrics, files)


def log_ranking(models: dict[str, str], ranking: dict[str, Any], files: list[Path]) -> None:
    """Log a ranking of operations among the runs of the ablation, unless it is there already.

    ``models``: SHA-256 by arm and trial. ``ranking``: the numbers, nested. ``files``: kept as artifacts.
    """
    metrics = {key.replace(".", "/"): float(value) for key, value in flatten(ranking).items()}
    tags = {"ranking": identify([sorted(models.items()), metrics])}
    log_result(open_store(ABLATION), ABLATION, tags, metrics, files)


def identify(content: Any) -> str:
    """A hash by which the run of the same content is found again."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def log_result(
    client: MlflowClient, experiment: str, tags: dict[str, str], metrics: dict[str, float], files: list[Path]
) -> None:
    """Log numbers and files as a run, unless there is one with the first of ``tags``: its kind, and its identity."""
    kind, identity = next(iter(tags.items()))
    wanted = f"tags.{kind} = '{identity}' and attributes.status = 'FINISHED'"
    if client.search_runs([client.get_experiment_by_name(experiment).experiment_id], wanted, max_results=1):
        return
    with mlflow.start_run(run_name=f"{kind} {identity[:6]}", tags=tags | describe_workspace()):
        mlflow.log_metrics(metrics, step=0)
        for file in files:
            mlflow.log_artifact(str(file), file.parent.as_posix())
