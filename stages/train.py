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
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from stages.base.files import compute_sha256, replace_dir, write_bytes
from stages.base.records import Budget
from stages.base.sections import flatten
from stages.base.seeds import derive_seed
from stages.cli.params import Params, load_params
from stages.cli.stage import run_stage
from stages.model.dataset import load_images
from stages.model.device import make_deterministic, select_device, set_threads
from stages.model.features import split_model
from stages.model.network import (
    LAYERS_FILE,
    MODEL_FILE,
    build_model,
    compute_weights_sha256,
    describe_network,
    encode_weights,
    list_layers,
)
from stages.model.record import (
    RUN_FILE,
    HistoryTable,
    Machine,
    TrainRecord,
    describe_start,
    get_history_path,
    get_model_dir,
    list_differences,
)
from stages.photos.manifest import CopyTable, SplitTable
from stages.runtime.errors import UserError
from stages.runtime.failpoints import failpoint
from stages.tracking.training import start_journal, track_run
from stages.training.checkpoints import catch_stop, lock_training, open_checkpoints
from stages.training.loop import Trainer, TrainExamples, TrainSpec
from stages.training.steps import count_work

if TYPE_CHECKING:
    from torch import nn


def main() -> None:
    """Train one arm of one trial."""
    args = parse_args()
    params = load_params()
    online = args.arm == "augmented" and params.augment.mode == "online"
    train_manifest, test_manifest = read_manifests(args.manifests[:1] if online else args.manifests)
    repeats = Budget.load(args.budget).repeats if args.budget else 1
    class_names = sorted(test_manifest["class"].unique())

    make_deterministic()
    set_threads(params.train.threads)
    device = select_device(params.train.precision)
    network = describe_network(params.model)
    model = build_model(network, len(class_names), derive_seed(params.seed, "weights", args.trial))
    run = TrainRecord(
        arm=args.arm,
        trial=args.trial,
        class_names=class_names,
        network=network,
        params=select_params(params, online),
        repeats=repeats,
        **count_work(len(train_manifest), repeats, params.train),
        initial_weights_sha256=compute_weights_sha256(model),
        manifests={path.as_posix(): compute_sha256(path) for path in args.manifests},
        machine=device.describe(network.name),
        model_sha256="",
    )
    print(describe(run))
    print(explain_machine(run), end="")
    trained, make_inputs = split_model(model.to(device.torch_device), network, device)
    test = load_images(test_manifest, class_names, network.image_size).map(make_inputs)
    train: TrainExamples
    if online:
        from stages.augmentation.online import load_online  # in this arm only

        draws, size = (params.seed, args.trial), network.image_size
        train = load_online(train_manifest, class_names, params.augment, draws, size).map(make_inputs)
    else:
        train = load_images(train_manifest, class_names, network.image_size).map(make_inputs)
    spec = TrainSpec(train, test, repeats, network, params.train, derive_seed(params.seed, "order", args.trial), device)
    with (
        lock_training(run.name),
        catch_stop() as stop,
        open_checkpoints(run.name, run.model_dump(), stop) as checkpoints,
        track_run(checkpoints.folder, start_journal(checkpoints.folder, run, flatten(params.model_dump()))) as tracked,
    ):
        history = Trainer(trained, spec, checkpoints).run(tracked)
        failpoint("after-last-save")
        run = save_results(model, history, run)
        tracked.log_file(encode_layers(model), LAYERS_FILE)
        failpoint("before-finish")
        tracked.finish(run.model_sha256)
        failpoint("after-finish")
        checkpoints.remove()
        tracked.close()
    failpoint("end")


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=["original", "augmented"], required=True)
    parser.add_argument("--trial", type=int, required=True)
    parser.add_argument("--budget", type=Path, help="how often an epoch shows each image, as JSON; once if not given")
    parser.add_argument("manifests", type=Path, nargs="+", help="train on these; the first one has the test photos")
    return parser.parse_args()


def select_params(params: Params, online: bool) -> dict[str, Any]:
    """Those that decide what a training makes, with dotted names."""
    sections = {"model": params.model.model_dump(), "train": params.train.model_dump(exclude={"budget"})}
    return {"seed": params.seed, **flatten(sections | ({"augment": params.augment.model_dump()} if online else {}))}


def save_results(model: "nn.Module", history: pd.DataFrame, run: TrainRecord) -> TrainRecord:
    """Write the model, what ran, and the history. Returns: ``run`` with the model's hash."""
    weights = encode_weights(model)
    run = run.model_copy(update={"model_sha256": hashlib.sha256(weights).hexdigest()})
    with replace_dir(get_model_dir(run.arm, run.trial)) as folder:
        write_bytes(folder / MODEL_FILE, weights)
        write_bytes(folder / LAYERS_FILE, encode_layers(model))
        run.save(folder / RUN_FILE)
    HistoryTable.save(get_history_path(run.arm, run.trial), history)
    return run


def encode_layers(model: "nn.Module") -> bytes:
    """The list of layers as CSV."""
    return list_layers(model).to_csv(index=False, lineterminator="\n").encode()


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


def describe(run: TrainRecord) -> str:
    """Two lines for the terminal, before training."""
    repeats = f"{run.repeats} × " if run.repeats > 1 else ""
    return (
        f"train_{run.arm}: trial {run.trial}: {repeats}{run.train_images} images × {run.epochs} epochs = "
        f"{run.steps} steps, {run.machine.precision} on {run.machine.device}, threads: {run.machine.threads}\n"
        f"  {describe_start(run.network.name, run.network.weights, run.network.freeze)}, "
        f"{run.network.image_size} x {run.network.image_size} pixels"
    )


def explain_machine(run: TrainRecord) -> str:
    """What differs from the machine of the result at hand, and so explains another model and another dvc.lock."""
    path = Path("metrics", run.arm, f"{run.trial}.json")
    try:
        before = Machine.model_validate(json.loads(path.read_text())["trained_on"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""  # no result yet, or one of another version of this code
    differences = list_differences(before, run.machine)
    return f"  {path} is from another machine, expect another model: {', '.join(differences)}\n" if differences else ""


if __name__ == "__main__":
    run_stage(main)
