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

from ablation.policies import KINDS, choose_operations, get_run_dir, name_policy
from stages.augmentation.copies import make_copies, plan_copies
from stages.augmentation.online import load_online
from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.cli.stage import run_stage
from stages.evaluation.predictions import PredictionTable, tabulate_predictions
from stages.model.dataset import load_images
from stages.model.network import compute_weights_sha256
from stages.model.record import RUN_FILE, HistoryTable, TrainRecord
from stages.photos.manifest import CopyTable, SplitTable
from stages.tracking.store import ABLATION
from stages.tracking.training import track_training
from stages.training.session import MakeInputs, Task, Trained, run_training

if TYPE_CHECKING:
    from stages.training.loop import TrainExamples


def main() -> None:
    """Train one policy in one trial."""
    args = parse_args()
    params, name = load_params(), name_policy(args.kind, args.operation)
    augment = choose_operations(params.augment, args.kind, args.operation)
    manifest, folder = Path(f"data/split/{args.trial}.csv"), get_run_dir(args.kind, args.operation, args.trial)
    split = SplitTable.load(manifest)
    train, test = (split[split["split"] == side].reset_index(drop=True) for side in ("train", "test"))
    class_names = sorted(test["class"].unique())
    online, draws = augment.mode == "online", (params.seed, args.trial)

    with make_scratch_dir(f"{name}-{args.trial}") as scratch:
        images, manifests = train, [manifest]
        if not online:
            copies = make_copies(plan_copies(train, augment, *draws), scratch, augment.max_side)
            copies["path"] = [f"{row['class']}/{Path(row['path']).name}" for row in copies.to_dict("records")]
            CopyTable.save(folder / "copies.csv", copies)
            manifests.append(folder / "copies.csv")
            images = pd.concat([train, copies.assign(path=f"{scratch}/" + copies["path"])], ignore_index=True)

        def load_train(size: int, make_inputs: MakeInputs) -> "TrainExamples":
            if online:
                return load_online(train, class_names, augment, draws, size).map(make_inputs)
            return load_images(images, class_names, size).map(make_inputs)

        def save(trained: Trained) -> TrainRecord:
            run = trained.run.model_copy(update={"model_sha256": compute_weights_sha256(trained.model)})
            predictions = tabulate_predictions(test, trained.predict(), class_names)
            PredictionTable.of(class_names).save(folder / "predictions.csv", predictions)
            HistoryTable.save(folder / "history.csv", trained.history)
            run.save(folder / RUN_FILE)
            correct = int((predictions["pred"] == predictions["target"]).sum())
            print(f"{name}: trial {args.trial}: {len(test):,} test photos, {correct:,} correct")
            return run

        task = Task(
            arm=name,
            trial=args.trial,
            class_names=class_names,
            manifests=manifests,
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
        run_training(task, partial(track_training, params=logged, tags=tags, experiment=ABLATION), save)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("operation")
    parser.add_argument("--trial", type=int, required=True)
    return parser.parse_args()


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
