"""Test results in the MLflow run that made the model."""

from functools import partial
from pathlib import Path

import pandas as pd
import torch

from stages.evaluation.predictions import get_predictions_path
from stages.evaluation.record import EvaluationRecord, get_metrics_path
from stages.model.network import load_model
from stages.model.record import HistoryTable, TrainRecord, get_history_path, get_model_dir
from stages.tracking import store as tracking
from stages.tracking.journal import Journal, replay_journals, tell


def log_evaluation(
    metrics: EvaluationRecord, run: TrainRecord, robustness: dict[str, float], example: torch.Tensor
) -> None:
    """Add the results to the MLflow run that made the model, or to a new one when the store has none.

    Args:
        metrics: of the model. run: what was trained. robustness: accuracy under each operation.
        example: normalized float32 `[2, 3, H, W]`.
    """
    from stages.comparison.figures import plot_confusion, plot_learning_curves

    replay_journals()
    client = tracking.open_store()
    history = HistoryTable.load(get_history_path(run.arm, run.trial))
    find = partial(tracking.find_run, client, run.arm, run.trial, run.model_sha256)
    if find() is None:
        tell(restore_journal(metrics, run, history))
    tracked = find()
    folder = get_model_dir(run.arm, run.trial)
    tracking.store_model(client, tracked, lambda: load_model(folder, run).eval(), example, run.machine.versions)
    results = {f"evaluate/{key}": value for key, value in metrics if isinstance(value, float)}
    results |= {f"robustness/{operation}": accuracy for operation, accuracy in robustness.items()}
    tracking.add_results(client, tracked, results, step=0)  # MLflow draws bars of what has no epochs
    for file in list_files(run.arm, run.trial):
        tracking.add_file(client, tracked, file)
    confusion = plot_confusion({run.arm: metrics.confusion_matrix}, run.class_names)
    tracking.add_figure(client, tracked, confusion, "confusion.png")
    tracking.add_figure(client, tracked, plot_learning_curves({run.arm: [history]}), "learning_curves.png")


def list_files(arm: str, trial: int) -> list[Path]:
    """Metrics, predictions and history of an arm and trial."""
    return [get_metrics_path(arm, trial), get_predictions_path(arm, trial), get_history_path(arm, trial)]


def restore_journal(metrics: EvaluationRecord, run: TrainRecord, history: pd.DataFrame) -> Journal:
    """The journal of a model that came from DVC's cache, from what is on disk."""
    tags = {"arm": run.arm, "trial": str(run.trial), "source": metrics.source, "source_version": metrics.version}
    journal = Journal(
        name=run.name,
        token=f"restored/{run.name}/{run.model_sha256}",
        params={key: str(value) for key, value in run.params.items()},
        tags=tags | tracking.describe_workspace() | {"restored": "true"},
    )
    for row in history.to_dict("records"):
        journal.add_epoch(int(row.pop("epoch")), {str(key): float(value) for key, value in row.items()})
    journal.end(run.model_sha256)
    return journal
