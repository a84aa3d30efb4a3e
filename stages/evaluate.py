"""Test both arms of one trial on its test photos, as they are and under each augmentation operation.

Reads   models/<arm>/<trial>/, metrics/history/<arm>-<trial>.csv, data/split/<trial>.csv, data/raw/,
        data/manifest.csv, data/augmented/<trial>/ and its manifest; params augment, evaluate
Writes  metrics/<arm>/<trial>.json: every metric of the arm
        metrics/predictions/<arm>-<trial>.csv: prediction and probabilities per photo
        metrics/robustness/<trial>.csv: both arms' predictions per operation and photo, header only when switched off
        metrics/copies/<trial>.csv: the augmented arm's predictions on its copies, or on samples of its views
Logs    all of it, to the MLflow run that trained the model
Command python -m stages.evaluate --trial 0   (28 photos, 224 copies: about 50 seconds on 2 cores)
"""

import sys
from functools import partial
from itertools import zip_longest
from pathlib import Path

import pandas as pd
import torch

from stages.cli.params import load_params
from stages.cli.stage import parse_trial, run_stage
from stages.evaluation.metrics import compute_metrics
from stages.evaluation.predictions import (
    CopyPredictionTable,
    PredictionTable,
    RobustnessTable,
    compute_accuracies,
    get_predictions_path,
    tabulate_copies,
    tabulate_predictions,
)
from stages.evaluation.record import EvaluationRecord, get_metrics_path
from stages.evaluation.robustness import Predict, compute_robustness
from stages.model.device import choose_algorithms, select_device, set_threads
from stages.model.features import Inputs, split_model
from stages.model.network import load_model, predict_logits
from stages.model.record import RUN_FILE, TrainRecord, get_model_dir, list_differences
from stages.model.scores import compute_softmax
from stages.photos.manifest import PHOTOS, CopyTable, PhotoTable, SplitTable
from stages.runtime.errors import UserError
from stages.runtime.workers import map_in_forks
from stages.tracking import store as tracking
from stages.tracking.evaluation import log_evaluation

ARMS = ("original", "augmented")


def main() -> None:
    """Evaluate one trial."""
    trial = parse_trial(__doc__)
    params = load_params()
    photos, copies = PhotoTable.load(PHOTOS), CopyTable.load(Path(f"data/augmented/{trial}.csv"))
    split = SplitTable.load(Path(f"data/split/{trial}.csv"))
    test = split[split["split"] == "test"].reset_index(drop=True)
    class_names = sorted(split["class"].unique())
    runs = {arm: TrainRecord.load(get_model_dir(arm, trial) / RUN_FILE) for arm in ARMS}
    check_runs(runs, class_names)

    choose_algorithms()
    inputs, original = load_trained(runs["original"])
    _, augmented = load_trained(runs["augmented"])  # with the same inputs, as it is the same network
    models = {"original": original, "augmented": augmented}
    examples = inputs.load(test, class_names)
    probabilities = {arm: predict(examples.inputs) for arm, predict in models.items()}
    on_copies = augmented(inputs.load(copies, class_names).inputs)
    robustness = pd.DataFrame(columns=list(RobustnessTable.columns))
    if params.evaluate.robustness:
        robustness = compute_robustness(test, class_names, models, params.augment, inputs)
    metrics = {arm: compute_metrics(examples.targets.numpy(), probabilities[arm], class_names) for arm in ARMS}
    records = {arm: EvaluationRecord.build(metrics[arm], run, photos, len(test)) for arm, run in runs.items()}

    for arm in ARMS:
        records[arm].save(get_metrics_path(arm, trial))
        predictions = tabulate_predictions(test, probabilities[arm], class_names)
        PredictionTable.of(class_names).save(get_predictions_path(arm, trial), predictions)
    RobustnessTable.save(Path(f"metrics/robustness/{trial}.csv"), robustness)
    CopyPredictionTable.save(Path(f"metrics/copies/{trial}.csv"), tabulate_copies(copies, on_copies, class_names))

    for arm in ARMS:
        print(f"evaluate: trial {trial}, {arm}: {len(test):,} test photos, {records[arm].count_correct():,} correct")
    for warning in log_both(records, runs, {arm: compute_accuracies(robustness, arm) for arm in ARMS}):
        print(warning, file=sys.stderr)


def check_runs(runs: dict[str, TrainRecord], class_names: list[str]) -> None:
    """Raise UserError unless both models know these classes and can be compared: same network, start and machine."""
    for arm, run in runs.items():
        if run.class_names != class_names:
            theirs, ours = next(
                pair for pair in zip_longest(run.class_names, class_names, fillvalue="none") if pair[0] != pair[1]
            )
            raise UserError(
                f"the {arm} model was trained on other classes than the photos have, such as {theirs} instead of "
                f"{ours}. Run `dvc repro`."
            )
    original, augmented = runs.values()
    trial = original.trial
    remedy = f"Run `dvc repro --force --single-item train_original@{trial} train_augmented@{trial}`, then `dvc repro`."
    starts = [(run.network, run.initial_weights_sha256) for run in runs.values()]
    if starts[0] != starts[1]:
        raise UserError(
            "the two arms started from different weights, so they cannot be compared: they were trained with another "
            f"network, another seed or another version of a library. {remedy}"
        )
    if differences := list_differences(original.machine, augmented.machine):
        raise UserError(
            f"the arms of trial {trial} were trained on different machines or library versions, so their difference "
            f"need not be due to augmentation (original -> augmented: {', '.join(differences)}). {remedy}"
        )


def load_trained(run: TrainRecord) -> tuple[Inputs, Predict]:
    """What was trained in ``run``, as a function, in the precision of the training; and what makes its inputs."""
    device = select_device(run.machine.precision)
    set_threads(run.machine.threads)  # rounding depends on it
    model = load_model(get_model_dir(run.arm, run.trial), run).to(device.torch_device)
    trained, inputs = split_model(model, run.network, device)
    return inputs, lambda batch: compute_softmax(predict_logits(trained, batch, run.network, device).numpy())


def log_both(
    records: dict[str, EvaluationRecord], runs: dict[str, TrainRecord], accuracies: dict[str, dict[str, float]]
) -> list[str]:
    """Add the results of both arms to their MLflow runs, at once, as storing a model keeps a core busy for seconds.

    Not so where CUDA is in use: torch.export, which stores a model, reads CUDA's random state, and no fork can.

    Returns: warnings, in the order of the arms.
    """
    each = map if torch.cuda.is_initialized() else map_in_forks  # type: ignore[no-untyped-call]
    return list(filter(None, each(log, records.values(), runs.values(), accuracies.values())))


def log(record: EvaluationRecord, run: TrainRecord, accuracies: dict[str, float]) -> str:
    """Add the results to the arm's MLflow run. Returns: a warning why they are not there, or nothing."""
    reason = tracking.attempt(partial(log_evaluation, record, run, accuracies))
    return reason and (
        f"warning: {run.arm}, trial {run.trial} is not logged: {reason}. Once the tracking server is back, "
        f"`dvc repro --force --single-item evaluate@{run.trial}` logs it."
    )


if __name__ == "__main__":
    run_stage(main)
