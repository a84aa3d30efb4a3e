"""Test both arms of one trial on its test photos.

Reads   models/<arm>/<trial>/, metrics/history/<arm>-<trial>.csv, data/split/<trial>.csv, data/raw/,
        data/manifest.csv
Writes  metrics/<arm>/<trial>.json: every metric of the arm
        metrics/predictions/<arm>-<trial>.csv: prediction and probabilities per photo
        the results, into the MLflow run that made the model
Command python -m stages.evaluate --trial 0   (28 photos: about 15 seconds)
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.common import tracking
from stages.common.dataset import load_images
from stages.common.errors import UserError, run_stage
from stages.common.figures import plot_confusion, plot_learning_curves
from stages.common.files import write_bytes, write_json
from stages.common.hardware import make_deterministic, select_machine
from stages.common.manifest import PHOTO_COLUMNS, PHOTOS, SPLIT_COLUMNS, load_manifest
from stages.common.metrics import Probabilities, compute_metrics, compute_softmax
from stages.common.model import load_model, load_run, predict_logits

ARMS = ("original", "augmented")


def main() -> None:
    """Evaluate one trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial", type=int, required=True)
    trial = parser.parse_args().trial
    photos = load_manifest(PHOTOS, PHOTO_COLUMNS)
    split = load_manifest(Path(f"data/split/{trial}.csv"), SPLIT_COLUMNS)
    test = split[split["split"] == "test"].reset_index(drop=True)
    runs = {arm: load_run(Path("models", arm, str(trial))) for arm in ARMS}
    class_names = sorted(split["class"].unique())
    check_runs(runs, class_names)

    make_deterministic()
    images = load_images(test, class_names, runs["original"]["params"]["train.image_size"])
    for arm, run in runs.items():
        model = load_model(Path("models", arm, str(trial)), run)
        machine = select_machine(run["precision"])
        logits = predict_logits(model.to(machine.device), images.pixels, machine)
        probabilities = compute_softmax(logits.numpy())
        metrics = compute_metrics(images.targets.numpy(), probabilities, class_names)
        predictions = tabulate(test, probabilities, class_names)
        metrics = describe(run, photos, len(test)) | metrics
        save(metrics, predictions)
        track(metrics, run)
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


def tabulate(test: pd.DataFrame, probabilities: Probabilities, class_names: list[str]) -> pd.DataFrame:
    """One row per test photo: path, sha256, target, pred, and a probability per class."""
    table = test[["path", "sha256"]].assign(target=test["class"])
    table["pred"] = np.array(class_names)[probabilities.argmax(axis=1)]
    for i, name in enumerate(class_names):
        table[f"p_{name}"] = probabilities[:, i]
    return table


def count_correct(predictions: pd.DataFrame) -> int:
    """Number of photos whose prediction is right."""
    return int((predictions["target"] == predictions["pred"]).sum())


def describe(run: dict[str, Any], photos: pd.DataFrame, test_photos: int) -> dict[str, Any]:
    """What the metrics are of: the first entries of the metrics file."""
    kept = ("arm", "trial", "class_names", "steps", "image_presentations", "model_sha256")
    source = {"source": photos["source"].iloc[0], "version": photos["version"].iloc[0]}
    return {key: run[key] for key in kept} | source | {"test_photos": test_photos}


def save(metrics: dict[str, Any], predictions: pd.DataFrame) -> None:
    """Write the metrics and predictions of one arm."""
    metrics_file, predictions_file, _ = list_files(metrics)
    write_json(metrics_file, metrics)
    # nine digits give back the exact single-precision probability
    table = predictions.to_csv(index=False, lineterminator="\n", float_format="%.9g")
    write_bytes(predictions_file, table.encode())


def list_files(metrics: dict[str, Any]) -> tuple[Path, Path, Path]:
    """Metrics, predictions and history of an arm and trial."""
    arm, trial = metrics["arm"], metrics["trial"]
    name = f"{arm}-{trial}.csv"
    return Path("metrics", arm, f"{trial}.json"), Path("metrics/predictions", name), Path("metrics/history", name)


def track(metrics: dict[str, Any], run: dict[str, Any]) -> None:
    """Add the results to the MLflow run that made the model, or to a new one when the store has none."""
    client = tracking.open_store()
    history = pd.read_csv(list_files(metrics)[2])
    tags = {key: str(metrics[key]) for key in ("arm", "trial", "source", "model_sha256")}
    tags["source_version"] = metrics["version"]
    tracked = tracking.find_run(client, metrics["arm"], metrics["trial"], run["model_sha256"])
    if tracked is None:
        tracked = tracking.restore_run(client, f"{metrics['arm']}-{metrics['trial']}", run["params"], tags, history)
    results = {f"evaluate/{key}": value for key, value in metrics.items() if isinstance(value, float)}
    tracking.add_results(client, tracked, results, step=0)  # MLflow draws bars of what has no epochs
    for file in list_files(metrics):
        tracking.add_file(client, tracked, file)
    confusion = plot_confusion({metrics["arm"]: metrics["confusion_matrix"]}, metrics["class_names"])
    tracking.add_figure(client, tracked, confusion, "confusion.png")
    tracking.add_figure(client, tracked, plot_learning_curves({metrics["arm"]: [history]}), "learning_curves.png")


if __name__ == "__main__":
    run_stage(main)
