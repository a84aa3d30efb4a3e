"""Train a network, as in the labs ResNet-50 from random weights: one arm of one trial.

Reads   the manifests given (data/split/<trial>.csv, and data/augmented/<trial>.csv in the augmented arm)
        and the images they list; data/budget/<trial>.json in the original arm; params seed, model, train, and
        augment in the augmented arm, which online augments the train photos itself
Writes  models/<arm>/<trial>/: model.safetensors, run.json (what ran), layers.csv
        metrics/history/<arm>-<trial>.csv: loss and metrics of every epoch
        one MLflow run
Command python -m stages.train --arm original --trial 0 --budget data/budget/0.json data/split/0.csv
        (112 images: about 2 minutes on 2 cores with bf16; 336 images: about 6 minutes)

Both arms of a trial start from the same weights. The last epoch is the model: the test photos are watched at
every epoch, but nothing is chosen by them. A training that was killed goes on where it was, to the same bytes.
With a frozen backbone the features of every image are computed first, and only the head is trained.
"""

import argparse
import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from stages.base.files import replace_dir, write_bytes
from stages.base.records import Budget
from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.cli.stage import run_stage
from stages.model.features import Inputs
from stages.model.network import LAYERS_FILE, MODEL_FILE, encode_layers, encode_weights
from stages.model.record import RUN_FILE, HistoryTable, TrainRecord, get_history_path, get_model_dir
from stages.photos.manifest import CopyTable, SplitTable
from stages.runtime.errors import UserError
from stages.tracking.training import track_training
from stages.training.session import Task, Trained, run_training

if TYPE_CHECKING:
    from stages.training.loop import TrainExamples


def main() -> None:
    """Train one arm of one trial."""
    args = parse_args()
    params = load_params()
    online = args.arm == "augmented" and params.augment.mode == "online"
    train, test = read_manifests(args.manifests[:1] if online else args.manifests)
    class_names = sorted(test["class"].unique())

    def load_train(inputs: Inputs) -> "TrainExamples":
        if not online:
            return inputs.load(train, class_names)
        from stages.augmentation.online import load_online  # in this arm only

        draws = (params.seed, args.trial)
        return load_online(train, class_names, params.augment, draws, inputs.size).map(inputs.make)

    task = Task(
        arm=args.arm,
        trial=args.trial,
        class_names=class_names,
        manifests=args.manifests,
        test=test,
        num_images=len(train),
        load_train=load_train,
        repeats=Budget.load(args.budget).repeats if args.budget else 1,
        seed=params.seed,
        model=params.model,
        train=params.train,
        augment=params.augment.model_dump() if online else None,
    )
    run_training(task, partial(track_training, params=flatten(params.model_dump())), save_results)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=["original", "augmented"], required=True)
    parser.add_argument("--trial", type=int, required=True)
    parser.add_argument("--budget", type=Path, help="how often an epoch shows each image, as JSON; once if not given")
    parser.add_argument("manifests", type=Path, nargs="+", help="train on these; the first one has the test photos")
    return parser.parse_args()


def save_results(trained: Trained) -> TrainRecord:
    """Write the model, what ran, and the history. Returns: the run with the model's hash."""
    weights = encode_weights(trained.model)
    run = trained.run.model_copy(update={"model_sha256": hashlib.sha256(weights).hexdigest()})
    with replace_dir(get_model_dir(run.arm, run.trial)) as folder:
        write_bytes(folder / MODEL_FILE, weights)
        write_bytes(folder / LAYERS_FILE, encode_layers(trained.model))
        run.save(folder / RUN_FILE)
    HistoryTable.save(get_history_path(run.arm, run.trial), trained.history)
    return run


def read_manifests(paths: list[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The train images of all manifests, and the test photos of the first.

    Raises UserError when a copy is not of a train photo: it would show the model what it is tested on.
    """
    split = SplitTable.load(paths[0])
    train, test = (split[split["split"] == side].reset_index(drop=True) for side in ("train", "test"))
    copies = [CopyTable.load(path) for path in paths[1:]]
    for path, manifest in zip(paths[1:], copies, strict=True):
        strangers = set(manifest["source_path"]) - set(train["path"])
        if strangers:
            raise UserError(
                f"{path} has copies of {len(strangers)} photos that are not train photos of {paths[0]}, such as "
                f"{min(strangers)}. Run `dvc repro`, which makes both."
            )
    return pd.concat([train, *copies], ignore_index=True), test


if __name__ == "__main__":
    run_stage(main)
