"""Train and test a network with one operation only, or with all but one: one policy of one trial.

Reads   data/split/<trial>.csv, data/raw/; params seed, augment, model, train
Writes  ablation/runs/<policy>/<trial>/: run.json (what ran), history.csv (scores of every epoch), predictions.csv (for
        the test photos), copies.csv (the operations of each copy)
        one MLflow run, in the experiment `ablation`
Command python -m ablation.train only rotate --trial 0   (as long as train_augmented)

It starts from the weights of the trial's original arm. The copies are those that augment would make of these params;
they are deleted at the end, and of the weights only the hash is kept.
"""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ablation.policies import (
    COPIES_FILE,
    KINDS,
    PREDICTIONS_FILE,
    check_launcher,
    choose_operations,
    get_run_dir,
    name_policy,
)
from stages.augmentation.copies import make_copies, plan_copies
from stages.augmentation.online import load_online
from stages.augmentation.params import AugmentParams
from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.cli.stage import run_stage
from stages.evaluation.predictions import PredictionTable, tabulate_predictions
from stages.model.features import Inputs
from stages.model.network import compute_weights_sha256
from stages.model.record import RUN_FILE, HistoryTable, TrainRecord
from stages.photos.manifest import CopyTable, SplitTable
from stages.tracking.store import ABLATION
from stages.tracking.training import track_training
from stages.training.session import Task, Trained, run_training

if TYPE_CHECKING:
    from stages.training.loop import TrainExamples


def main() -> None:
    """Train one policy in one trial."""
    args = parse_args()
    params, name = load_params(), name_policy(args.kind, args.operation)
    check_launcher(params.train.launcher)
    augment, draws = choose_operations(params.augment, args.kind, args.operation), (params.seed, args.trial)
    manifest, folder = Path(f"data/split/{args.trial}.csv"), get_run_dir(args.kind, args.operation, args.trial)
    split = SplitTable.load(manifest)
    train, test = (split[split["split"] == side].reset_index(drop=True) for side in ("train", "test"))
    class_names, online = sorted(test["class"].unique()), augment.mode == "online"

    def load_train(inputs: Inputs) -> "TrainExamples":
        if online:
            return load_online(train, class_names, augment, draws, inputs.size).map(inputs.make)
        return inputs.load(images, class_names)

    with make_scratch_dir(f"{name}-{args.trial}") as scratch:
        copies = [] if online else [copy_photos(train, augment, draws, scratch, folder / COPIES_FILE)]
        images = pd.concat([train, *copies], ignore_index=True)
        task = Task(
            arm=name,
            trial=args.trial,
            class_names=class_names,
            manifests=[manifest] if online else [manifest, folder / COPIES_FILE],
            test=test,
            num_images=len(images),
            load_train=load_train,
            repeats=1,
            seed=params.seed,
            model=params.model,
            # no checkpoints in MLflow: a hundred trainings would leave ten gigabytes
            train=params.train.model_copy(update={"checkpoint_every": params.train.epochs}),
            augment=augment.model_dump(),
        )
        logged = flatten(params.model_copy(update={"augment": augment}).model_dump())
        tags = {"kind": args.kind, "operation": args.operation}
        track = partial(track_training, params=logged, tags=tags, experiment=ABLATION)
        run_training(task, track, partial(save_results, test=test, folder=folder))


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("operation")
    parser.add_argument("--trial", type=int, required=True)
    return parser.parse_args()


def copy_photos(
    train: pd.DataFrame, augment: AugmentParams, draws: tuple[int, int], scratch: Path, manifest: Path
) -> pd.DataFrame:
    """Make the copies of the train photos in ``scratch``, and write what was done to each to ``manifest``.

    ``draws``: seed and trial. Returns: a `CopyTable` with the paths of the copies; in the file they are relative.
    """
    copies = make_copies(plan_copies(train, augment, *draws), scratch, augment.max_side)
    copies["path"] = copies["path"].str.removeprefix(f"data/augmented/{draws[1]}/")
    CopyTable.save(manifest, copies)
    return copies.assign(path=f"{scratch}/" + copies["path"])


def save_results(trained: Trained, test: pd.DataFrame, folder: Path) -> TrainRecord:
    """Write what ran, its history and its predictions for the ``test`` photos. Returns: the run with its hash."""
    run, table = trained.run, PredictionTable.of(trained.run.class_names)
    run = run.model_copy(update={"model_sha256": compute_weights_sha256(trained.model)})
    predictions = tabulate_predictions(test, trained.predict(), run.class_names)
    table.save(folder / PREDICTIONS_FILE, predictions)
    HistoryTable.save(folder / "history.csv", trained.history)
    run.save(folder / RUN_FILE)
    correct = int((predictions["pred"] == predictions["target"]).sum())
    print(f"{run.arm}: trial {run.trial}: {len(test):,} test photos, {correct:,} correct")
    return run


@contextmanager
def make_scratch_dir(name: str) -> Iterator[Path]:
    """An empty folder that is deleted at the end; one that a killed process left is emptied first."""
    folder = Path(".dvc/tmp/ablation", name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run_stage(main)
