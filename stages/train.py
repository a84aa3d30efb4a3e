"""Train ResNet-50 from random weights: one arm of one trial.

Reads   the manifests given (data/split/<trial>.csv, and data/augmented/<trial>.csv in the augmented arm)
        and the images they list; data/budget/<trial>.json in the original arm; params seed, train
Writes  models/<arm>/<trial>/: model.safetensors, run.json (what ran), layers.csv
        metrics/history/<arm>-<trial>.csv: loss and metrics of every epoch
        one MLflow run
Command python -m stages.train --arm original --trial 0 --budget data/budget/0.json data/split/0.csv
        (112 images: about 2 minutes on 2 cores with bf16; 336 images: about 6 minutes)

Both arms of a trial start from the same weights. The last epoch is the model: the test photos are watched at
every epoch, but nothing is chosen by them. A training that was killed goes on where it was, to the same bytes.
"""

import argparse
import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from torchvision.models import ResNet

from stages.common import tracking
from stages.common.dataset import load_images
from stages.common.errors import UserError, run_stage
from stages.common.faults import kill_point
from stages.common.files import compute_sha256, read_recorded, replace_dir, write_bytes, write_json
from stages.common.hardware import make_deterministic, select_machine
from stages.common.manifest import COPY_COLUMNS, PHOTO_COLUMNS, PHOTOS, SPLIT_COLUMNS, load_manifest
from stages.common.model import (
    LAYERS_FILE,
    MODEL_FILE,
    RUN_FILE,
    build_model,
    compute_weights_sha256,
    encode_weights,
    list_layers,
)
from stages.common.params import Params, flatten, load_params
from stages.common.seeds import derive_seed
from stages.training.journal import Journal, describe_dataset, track_run
from stages.training.loop import Task, Trainer, count_work
from stages.training.resume import catch_stop, lock_training, open_slots

LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "safetensors")


def main() -> None:
    """Train one arm of one trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=["original", "augmented"], required=True)
    parser.add_argument("--trial", type=int, required=True)
    parser.add_argument("--budget", type=Path, help="how often an epoch shows each image, as JSON; once if not given")
    parser.add_argument("manifests", type=Path, nargs="+", help="train on these; the first one has the test photos")
    args = parser.parse_args()
    params = load_params()
    train_manifest, test_manifest = read_manifests(args.manifests)
    budget = read_budget(args.budget)
    class_names = sorted(test_manifest["class"].unique())

    make_deterministic()
    machine = select_machine(params.train.precision)
    model = build_model(len(class_names), derive_seed(params.seed, "weights", args.trial))
    run = {
        "arm": args.arm,
        "trial": args.trial,
        "class_names": class_names,
        "params": {"seed": params.seed, **flatten(params.train.model_dump(exclude={"budget"}), "train")},
        **budget,
        **count_work(len(train_manifest), budget["repeats"], params.train),
        "initial_weights_sha256": compute_weights_sha256(model),
        "manifests": {path.as_posix(): compute_sha256(path) for path in args.manifests},
        "versions": {name: version(name) for name in LIBRARIES},
        **machine.describe(),
    }
    print(describe(run))
    print(explain_machine(run), end="")
    task = Task(
        train=load_images(train_manifest, class_names, params.train.image_size),
        test=load_images(test_manifest, class_names, params.train.image_size),
        repeats=budget["repeats"],
        class_names=class_names,
        params=params.train,
        seed=derive_seed(params.seed, "order", args.trial),
        machine=machine,
    )
    name = f"{args.arm}-{args.trial}"
    with (
        lock_training(name),
        catch_stop() as stop,
        open_slots(name, run, stop) as slots,
        track_run(slots.folder, start_journal(slots.folder, params, run)) as tracked,
    ):
        history = Trainer(model.to(machine.device), task, slots).run(tracked)
        kill_point("after-last-save")
        save_results(model, history, run)
        tracked.log_file(encode_layers(model), LAYERS_FILE)
        kill_point("before-finish")
        tracked.finish(run["model_sha256"])
        kill_point("after-finish")
        slots.remove()
        tracked.forget()
    kill_point("end")


def start_journal(home: Path, params: Params, run: dict[str, Any]) -> Journal:
    """What the tracked run of this training begins with; ``home`` is the folder of its states."""
    logged = collect_params(params, run["arm"])
    return Journal(
        name=home.parent.name,
        token=f"{home.parent.name}/{home.name}",
        params={key: json.dumps(value) if isinstance(value, list) else str(value) for key, value in logged.items()},
        tags=build_tags(run) | tracking.describe_workspace(),
        datasets=[describe_dataset(Path(path), sha256) for path, sha256 in run["manifests"].items()],
    )


def save_results(model: ResNet, history: pd.DataFrame, run: dict[str, Any]) -> None:
    """Write the model, what ran, and the history; adds the model's hash to ``run``."""
    weights = encode_weights(model)
    run["model_sha256"] = hashlib.sha256(weights).hexdigest()
    with replace_dir(Path("models", run["arm"], str(run["trial"]))) as folder:
        write_bytes(folder / MODEL_FILE, weights)
        write_bytes(folder / LAYERS_FILE, encode_layers(model))
        write_json(folder / RUN_FILE, run)
    table = history.to_csv(index=False, lineterminator="\n").encode()
    write_bytes(Path(f"metrics/history/{run['arm']}-{run['trial']}.csv"), table)


def encode_layers(model: ResNet) -> bytes:
    """The list of layers as CSV."""
    return list_layers(model).to_csv(index=False, lineterminator="\n").encode()


def read_manifests(paths: list[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The train images of all manifests, and the test photos of the first.

    Raises UserError when a copy is not of a train photo: it would show the model what it is tested on.
    """
    split = load_manifest(paths[0], SPLIT_COLUMNS)
    train, test = (split[split["split"] == side].reset_index(drop=True) for side in ("train", "test"))
    copies = [load_manifest(path, COPY_COLUMNS) for path in paths[1:]]
    for path, manifest in zip(paths[1:], copies, strict=True):
        strangers = set(manifest["source_path"]) - set(train["path"])
        if strangers:
            raise UserError(
                f"{path} has copies of {len(strangers)} photos that are not train photos of {paths[0]}, such as "
                f"{min(strangers)}. Run `dvc repro`, which makes both."
            )
    return pd.concat([train, *copies], ignore_index=True), test


def read_budget(path: Path | None) -> dict[str, Any]:
    """What the file says on the budget: ``repeats``, and its name. Raises UserError when it cannot be read."""
    if path is None:
        return {"repeats": 1}
    try:
        found: dict[str, Any] = json.loads(read_recorded(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}). Run `dvc repro` to make it again.") from error
    return found


def collect_params(params: Params, arm: str) -> dict[str, Any]:
    """All params of the stages that feed this arm, with dotted names."""
    unused = ["augment"] if arm == "original" else ["train.budget"]
    every = flatten(params.model_dump(exclude={"trials", "evaluate", "report"}))
    return {key: value for key, value in every.items() if not key.startswith(tuple(unused))}


def build_tags(run: dict[str, Any]) -> dict[str, str]:
    """What to find a run by."""
    photos = load_manifest(PHOTOS, PHOTO_COLUMNS)
    tags = {key: str(run[key]) for key in ("arm", "trial", "steps", "initial_weights_sha256", "device", "precision")}
    source = {"source": photos["source"].iloc[0], "source_version": photos["version"].iloc[0]}
    return tags | source | tracking.read_upstream_md5s(list(run["manifests"]))


def describe(run: dict[str, Any]) -> str:
    """One line for the terminal, before training."""
    repeats = f"{run['repeats']} × " if run["repeats"] > 1 else ""
    return (
        f"train_{run['arm']}: trial {run['trial']}: {repeats}{run['train_images']} images × {run['epochs']} epochs = "
        f"{run['steps']} steps, {run['precision']} on {run['device']}, threads: {run['threads']}"
    )


def explain_machine(run: dict[str, Any]) -> str:
    """What differs from the machine of the result at hand, and so explains another model and another dvc.lock."""
    path = Path("metrics", run["arm"], f"{run['trial']}.json")
    try:
        before = flatten(json.loads(path.read_text())["trained_on"])
    except (OSError, ValueError, LookupError, AttributeError):
        return ""  # no result yet
    now = flatten({key: run[key] for key in ("device", "cpu_capability", "threads", "precision", "versions")})
    differences = [f"{key} {before.get(key)} -> {value}" for key, value in now.items() if before.get(key) != value]
    if not differences:
        return ""
    return f"  not the machine of {path}, expect another model: {', '.join(differences)}\n"


if __name__ == "__main__":
    run_stage(main)
