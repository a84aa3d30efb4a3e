"""Test results in the MLflow run that made the model."""

from functools import partial
from pathlib import Path

import pandas as pd
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from stages.evaluation.predictions import get_predictions_path
from stages.evaluation.record import EvaluationRecord, get_metrics_path
from stages.model.network import load_model
from stages.model.record import HistoryTable, TrainRecord, get_history_path, get_model_dir
from stages.tracking import runs
from stages.tracking.journal import Journal, replay_journals, sync_journal
from stages.tracking.store import open_store
from stages.tracking.training import name_run
from stages.tracking.workspace import describe_workspace

DRAWINGS = " (drawings)"


def log_evaluation(metrics: EvaluationRecord, run: TrainRecord, robustness: dict[str, float]) -> None:
    """Add the results to the MLflow run that made the model, or to a new one when the server has none.

    Args:
        metrics: of the model. run: what was trained. robustness: accuracy under each operation.
    """
    replay_journals()
    client = open_store()
    # slow to import, and not needed where the server is unreachable
    from stages.comparison.sections.confusion import plot_confusion
    from stages.comparison.sections.training import plot_learning_curves

    history = HistoryTable.load(get_history_path(run.arm, run.trial))
    find = partial(runs.find_run, client, run.arm, run.trial, run.model_sha256)
    if find() is None:
        sync_journal(restore_journal(run, history))
    tracked = find()
    folder = get_model_dir(run.arm, run.trial)
    runs.store_model(
        client, tracked, lambda: load_model(folder, run).eval(), run.network.image_size, run.machine.versions
    )
    describe_photos(client, tracked, metrics)
    results = {f"evaluate/{key}": value for key, value in metrics if isinstance(value, float)}
    results |= {f"robustness/{operation}": accuracy for operation, accuracy in robustness.items()}
    runs.add_results(client, tracked, results, step=0)  # MLflow draws bars of what has no epochs
    for file in list_files(run.arm, run.trial):
        runs.add_file(client, tracked, file)
    confusion = plot_confusion({run.arm: metrics.confusion_matrix}, run.class_names)
    runs.add_figure(client, tracked, confusion, "confusion.png")
    runs.add_figure(client, tracked, plot_learning_curves({run.arm: [history]}), "learning_curves.png")


def list_files(arm: str, trial: int) -> list[Path]:
    """Metrics, predictions and history of an arm and trial."""
    return [get_metrics_path(arm, trial), get_predictions_path(arm, trial), get_history_path(arm, trial)]


def describe_photos(client: MlflowClient, run: Run, metrics: EvaluationRecord) -> None:
    """Record the source of the photos as tags, and drawings also in the run's name."""
    for key, value in {"source": metrics.source, "source_version": metrics.version}.items():
        client.set_tag(run.info.run_id, key, value)
    if metrics.source == "sample" and not run.info.run_name.endswith(DRAWINGS):
        client.update_run(run.info.run_id, name=run.info.run_name + DRAWINGS)


def restore_journal(run: TrainRecord, history: pd.DataFrame) -> Journal:
    """The journal of a model that came from DVC's cache, from what is on disk."""
    workspace = describe_workspace()
    journal = Journal(
        name=name_run(run, workspace["dvc_experiment"], run.model_sha256),
        token=f"restored/{run.name}/{run.model_sha256}",
        params={key: str(value) for key, value in run.params.items()},
        tags={"arm": run.arm, "trial": str(run.trial), "restored": "true"} | workspace,
    )
    for row in history.to_dict("records"):
        journal.add_epoch(int(row.pop("epoch")), {str(key): float(value) for key, value in row.items()})
    journal.end(run.model_sha256)
    return journal
