"""Test both arms of one trial on its test photos, as they are and under each augmentation operation.

Reads   models/<arm>/<trial>/, metrics/history/<arm>-<trial>.csv, data/split/<trial>.csv, data/raw/,
        data/manifest.csv, data/augmented/<trial>/ and its manifest; params augment, evaluate
Writes  metrics/<arm>/<trial>.json: every metric of the arm
        metrics/predictions/<arm>-<trial>.csv: prediction and probabilities per photo
        metrics/robustness/<trial>.csv: both arms' predictions per operation and photo, header only when switched off
        metrics/copies/<trial>.csv: the augmented arm's predictions on the copies it was trained on
        the results, into the MLflow run that made the model
Command python -m stages.evaluate --trial 0   (28 photos, 224 copies: about 50 seconds on 2 cores)
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed

from stages.common import tracking
from stages.common.answers import (
    ROBUSTNESS_COLUMNS,
    compute_accuracies,
    save_table,
    tabulate,
    tabulate_copies,
    tabulate_operation,
)
from stages.common.dataset import load_images, normalize
from stages.common.errors import UserError, run_stage
from stages.common.figures import plot_confusion, plot_learning_curves
from stages.common.files import write_json
from stages.common.hardware import make_deterministic, select_machine
from stages.common.manifest import COPY_COLUMNS, PHOTO_COLUMNS, PHOTOS, SPLIT_COLUMNS, load_manifest
from stages.common.metrics import Probabilities, compute_metrics, compute_softmax
from stages.common.model import PREDICTION_BATCH, load_model, load_run, predict_logits
from stages.common.operations import apply_each
from stages.common.params import AugmentParams, load_params
from stages.training.journal import Journal, replay_journals, tell

ARMS = ("original", "augmented")

Predict = Callable[[torch.Tensor], Probabilities]
"""A model as a function from uint8 images `[N, 3, H, W]` to probabilities `[N, C]`."""


def main() -> None:
    """Evaluate one trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial", type=int, required=True)
    trial = parser.parse_args().trial
    params = load_params()
    photos = load_manifest(PHOTOS, PHOTO_COLUMNS)
    split = load_manifest(Path(f"data/split/{trial}.csv"), SPLIT_COLUMNS)
    copies = load_manifest(Path(f"data/augmented/{trial}.csv"), COPY_COLUMNS)
    test = split[split["split"] == "test"].reset_index(drop=True)
    runs = {arm: load_run(Path("models", arm, str(trial))) for arm in ARMS}
    class_names = sorted(split["class"].unique())
    check_runs(runs, class_names)

    make_deterministic()
    size = runs["original"]["params"]["train.image_size"]
    models = {arm: load_predict(Path("models", arm, str(trial)), run) for arm, run in runs.items()}
    robustness = pd.DataFrame(columns=ROBUSTNESS_COLUMNS)
    if params.evaluate.robustness:
        robustness = compute_robustness(test, class_names, models, params.augment, size)
    save_table(Path(f"metrics/robustness/{trial}.csv"), robustness)
    answers = models["augmented"](load_images(copies, class_names, size).pixels)
    save_table(Path(f"metrics/copies/{trial}.csv"), tabulate_copies(copies, answers, class_names))

    images = load_images(test, class_names, size)
    for arm, run in runs.items():
        probabilities = models[arm](images.pixels)
        metrics = compute_metrics(images.targets.numpy(), probabilities, class_names)
        predictions = tabulate(test, probabilities, class_names)
        metrics = describe(run, photos, len(test)) | metrics
        save(metrics, predictions)
        example = normalize(images.pixels[:2]).contiguous()
        if reason := tracking.attempt(partial(track, metrics, run, compute_accuracies(robustness, arm), example)):
            print(
                f"warning: {arm}, trial {trial} is not in the tracking store: {reason}. Once the store is back, "
                f"`dvc repro --force --single-item evaluate@{trial}` tells it.",
                file=sys.stderr,
            )
        print(f"evaluate: trial {trial}: {arm} {count_correct(predictions)} of {len(test)} test photos right")


def check_runs(runs: dict[str, dict[str, Any]], class_names: list[str]) -> None:
    """Raise UserError unless both models know these classes and started from the same weights."""
    for arm, run in runs.items():
        if run["class_names"] != class_names:
            raise UserError(
                f"the {arm} model knows {run['class_names']}, the photos have {class_names}. Run `dvc repro`."
            )
    first, second = (run["initial_weights_sha256"] for run in runs.values())
    if first != second:
        raise UserError(
            "the two arms started from different weights, so they cannot be compared. "
            "They were trained with other seeds or library versions: run `dvc repro` to train both."
        )


def load_predict(folder: Path, run: dict[str, Any]) -> Predict:
    """The model in ``folder`` as a function, in the precision that it was trained in."""
    machine = select_machine(run["precision"])
    model = load_model(folder, run).to(machine.device)
    return lambda pixels: compute_softmax(predict_logits(model, pixels, machine).numpy())


def compute_robustness(
    test: pd.DataFrame, class_names: list[str], models: dict[str, Predict], params: AugmentParams, size: int
) -> pd.DataFrame:
    """What every model answers for every test photo under each operation alone.

    Returns: `ROBUSTNESS_COLUMNS`, operation by operation, within each in the order of ``test``.
    """
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in params.operations}
    parallel = Parallel(n_jobs=-1)  # processes: AugLy's random_noise seeds numpy for all threads
    for start in range(0, len(test), PREDICTION_BATCH):  # bounds memory: ten operations are ten times the photos
        part = test[start : start + PREDICTION_BATCH]
        rows = zip(part["path"], part["sha256"], strict=True)
        squares = parallel(delayed(apply_each)(Path(path), sha256, params, size) for path, sha256 in rows)
        for name, pixels in zip(tables, np.stack(squares, axis=1), strict=True):
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
            probabilities = {arm: predict(images) for arm, predict in models.items()}
            tables[name].append(tabulate_operation(name, part, probabilities, class_names))
    return pd.concat([table for parts in tables.values() for table in parts], ignore_index=True)


def count_correct(predictions: pd.DataFrame) -> int:
    """Number of photos whose prediction is right."""
    return int((predictions["target"] == predictions["pred"]).sum())


def describe(run: dict[str, Any], photos: pd.DataFrame, test_photos: int) -> dict[str, Any]:
    """What the metrics are of: the first entries of the metrics file."""
    work = ("arm", "trial", "class_names", "train_images", "steps", "image_presentations", "model_sha256")
    machine = ("device", "cpu_capability", "threads", "precision", "versions")
    source = {"source": photos["source"].iloc[0], "version": photos["version"].iloc[0]}
    return {
        **{key: run[key] for key in work},
        "trained_on": {key: run[key] for key in machine},
        **source,
        "test_photos": test_photos,
    }


def save(metrics: dict[str, Any], predictions: pd.DataFrame) -> None:
    """Write the metrics and predictions of one arm."""
    metrics_file, predictions_file, _ = list_files(metrics)
    write_json(metrics_file, metrics)
    save_table(predictions_file, predictions)


def list_files(metrics: dict[str, Any]) -> tuple[Path, Path, Path]:
    """Metrics, predictions and history of an arm and trial."""
    arm, trial = metrics["arm"], metrics["trial"]
    name = f"{arm}-{trial}.csv"
    return Path("metrics", arm, f"{trial}.json"), Path("metrics/predictions", name), Path("metrics/history", name)


def track(metrics: dict[str, Any], run: dict[str, Any], robustness: dict[str, float], example: torch.Tensor) -> None:
    """Add the results to the MLflow run that made the model, or to a new one when the store has none."""
    replay_journals()
    client = tracking.open_store()
    history = pd.read_csv(list_files(metrics)[2])
    find = partial(tracking.find_run, client, metrics["arm"], metrics["trial"], run["model_sha256"])
    if find() is None:
        tell(restore_journal(metrics, run, history))
    tracked = find()
    folder = Path("models", metrics["arm"], str(metrics["trial"]))
    tracking.store_model(client, tracked, lambda: load_model(folder, run).eval(), example, run["versions"])
    results = {f"evaluate/{key}": value for key, value in metrics.items() if isinstance(value, float)}
    results |= {f"robustness/{operation}": accuracy for operation, accuracy in robustness.items()}
    tracking.add_results(client, tracked, results, step=0)  # MLflow draws bars of what has no epochs
    for file in list_files(metrics):
        tracking.add_file(client, tracked, file)
    confusion = plot_confusion({metrics["arm"]: metrics["confusion_matrix"]}, metrics["class_names"])
    tracking.add_figure(client, tracked, confusion, "confusion.png")
    tracking.add_figure(client, tracked, plot_learning_curves({metrics["arm"]: [history]}), "learning_curves.png")


def restore_journal(metrics: dict[str, Any], run: dict[str, Any], history: pd.DataFrame) -> Journal:
    """The journal of a model that came from DVC's cache, from what is on disk."""
    tags = {key: str(metrics[key]) for key in ("arm", "trial", "source")} | {"source_version": metrics["version"]}
    name = f"{metrics['arm']}-{metrics['trial']}"
    journal = Journal(
        name=name,
        token=f"restored/{name}/{run['model_sha256']}",
        params={key: str(value) for key, value in run["params"].items()},
        tags=tags | tracking.describe_workspace() | {"restored": "true"},
    )
    for row in history.to_dict("records"):
        journal.add_epoch(int(row.pop("epoch")), {str(key): float(value) for key, value in row.items()})
    journal.end(run["model_sha256"])
    return journal


if __name__ == "__main__":
    run_stage(main)
