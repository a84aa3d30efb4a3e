"""The comparison of all trials as an MLflow run of its own, which leads to the runs of the arms."""

import hashlib
import json
from pathlib import Path
from typing import Any

import mlflow

from stages.base.sections import flatten
from stages.comparison.study import ARMS, Study
from stages.tracking.runs import find_run
from stages.tracking.store import EXPERIMENT, open_store
from stages.tracking.workspace import describe_workspace


def log_comparison(study: Study, comparison: dict[str, Any], files: list[Path]) -> None:
    """Log a comparison, unless it is there already: the same models and numbers make no second run.

    Args:
        study: whose models are compared. Tags ``run:<arm>-<trial>`` lead to the runs that made them.
        comparison: the numbers, nested, and the verdict. files: kept as artifacts.
    """
    client = open_store()
    models = {(arm, record.trial): record.model_sha256 for arm in ARMS for record in study.records[arm]}
    metrics = {key: float(value) for key, value in flatten(comparison).items() if isinstance(value, int | float)}
    content = json.dumps([sorted((arm, trial, sha) for (arm, trial), sha in models.items()), metrics], sort_keys=True)
    identity = hashlib.sha256(content.encode()).hexdigest()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    wanted = f"tags.comparison = '{identity}' and attributes.status = 'FINISHED'"
    if client.search_runs([experiment.experiment_id], wanted, max_results=1):
        return
    runs = {f"run:{arm}-{trial}": find_run(client, arm, trial, sha256) for (arm, trial), sha256 in models.items()}
    tags = {"comparison": identity, "verdict": comparison["verdict"]}
    tags |= {tag: run.info.run_id for tag, run in runs.items() if run}
    with mlflow.start_run(run_name=f"comparison {identity[:6]}", tags=tags | describe_workspace()):
        mlflow.log_metrics(metrics, step=0)
        for file in files:
            mlflow.log_artifact(str(file), file.parent.as_posix())
