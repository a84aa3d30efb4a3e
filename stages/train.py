"""Train ResNet-50 from random weights: one arm of one trial.

Reads   the manifests given (data/split/<trial>.csv, and data/augmented/<trial>.csv in the augmented arm)
        and the images they list; data/budget/<trial>.json in the original arm; params seed, train
Writes  models/<arm>/<trial>/: model.safetensors, run.json (what ran), layers.csv
        metrics/history/<arm>-<trial>.csv: loss and metrics of every epoch
        one MLflow run
Command python -m stages.train --arm original --trial 0 --budget data/budget/0.json data/split/0.csv
        (112 images: about 2 minutes on 2 cores with bf16; 336 images: about 6 minutes)

Both arms of a trial start from the same weights. The last epoch is the model: the test photos are watched at
every epoch, but nothing is chosen by them.
"""

import argparse
import hashlib
import json
import math
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torchvision.models import ResNet
from tqdm import tqdm

from stages.common import tracking
from stages.common.dataset import Images, load_images, normalize
from stages.common.errors import UserError, run_stage
from stages.common.files import compute_sha256, replace_dir, write_bytes, write_json
from stages.common.hardware import Machine, make_deterministic, select_machine
from stages.common.manifest import PHOTO_COLUMNS, PHOTOS, SPLIT_COLUMNS, load_manifest
from stages.common.metrics import compute_metrics, compute_softmax
from stages.common.model import (
    LAYERS_FILE,
    MODEL_FILE,
    RUN_FILE,
    build_model,
    compute_weights_sha256,
    encode_weights,
    list_layers,
    predict_logits,
)
from stages.common.params import Params, TrainParams, flatten, load_params
from stages.common.seeds import derive_seed

WATCHED = ("accuracy", "precision", "recall", "f1")
LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "safetensors")


@dataclass(frozen=True)
class Task:
    """What is trained on what, and how.

    ``repeats``: how often an epoch shows each train image. ``seed``: that of the trial's batch order.
    """

    train: Images
    test: Images
    repeats: int
    class_names: list[str]
    params: TrainParams
    seed: int
    machine: Machine


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
    with tracking.start_run(name, collect_params(params, args.arm), build_tags(run)):
        for path in args.manifests:
            tracking.log_dataset(load_manifest(path, []), path, run["manifests"][path.as_posix()])
        history = train_model(model.to(machine.device), task)
        weights = encode_weights(model)
        run["model_sha256"] = hashlib.sha256(weights).hexdigest()
        layers = list_layers(model).to_csv(index=False, lineterminator="\n").encode()
        tracking.log_file(layers, LAYERS_FILE)
        tracking.log_model(model.cpu().eval(), normalize(task.test.pixels[:2]).contiguous(), run["versions"])
        tracking.set_model_tag(run["model_sha256"])

    with replace_dir(Path("models", args.arm, str(args.trial))) as folder:
        write_bytes(folder / MODEL_FILE, weights)
        write_bytes(folder / LAYERS_FILE, layers)
        write_json(folder / RUN_FILE, run)
    write_bytes(Path(f"metrics/history/{name}.csv"), history.to_csv(index=False, lineterminator="\n").encode())


def read_manifests(paths: list[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The train images of all manifests, and the test photos of the first."""
    split = load_manifest(paths[0], SPLIT_COLUMNS)
    copies = [load_manifest(path, ["path", "class", "sha256"]) for path in paths[1:]]
    train = pd.concat([split[split["split"] == "train"], *copies], ignore_index=True)
    return train, split[split["split"] == "test"].reset_index(drop=True)


def read_budget(path: Path | None) -> dict[str, Any]:
    """What the file says on the budget: ``repeats``, and its name. Raises UserError when it cannot be read."""
    if path is None:
        return {"repeats": 1}
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}). Run `dvc repro` to make it again.") from error
    return found


def count_work(num_images: int, repeats: int, params: TrainParams) -> dict[str, int]:
    """How much training an arm gets."""
    steps = params.epochs * len(split_batches(np.arange(repeats * num_images), params.batch_size))
    return {
        "epochs": params.epochs,
        "steps": steps,
        "train_images": num_images,
        "image_presentations": params.epochs * repeats * num_images,
    }


def split_batches(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut an order `[N]` into batches; a lone last image joins the batch before it.

    Batch norm cannot normalize a single image whose feature map is 1x1, as it is below 64 pixels.
    """
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) % batch_size == 1:
        starts.pop()
    return np.split(order, starts[1:])


def train_model(model: ResNet, task: Task) -> pd.DataFrame:
    """Train in place, logging every epoch and keeping checkpoints.

    Returns: history, one row per epoch.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=task.params.learning_rate)
    epochs, num_images = task.params.epochs, len(task.train.targets)
    total = count_work(num_images, task.repeats, task.params)["steps"]
    history = []
    with tqdm(total=total, unit="step", dynamic_ncols=True, disable=not sys.stderr.isatty()) as bar:
        for epoch in range(1, epochs + 1):
            bar.set_description(f"epoch {epoch}/{epochs}")
            started = time.perf_counter()
            row = train_one_epoch(model, optimizer, task, epoch, bar)
            seconds = time.perf_counter() - started
            row |= watch(model, task)
            history.append({"epoch": epoch, **row})
            speed = {"train/images_per_second": task.repeats * num_images / seconds, "train/seconds_per_epoch": seconds}
            tracking.log_epoch(epoch, row | speed)
            bar.write(describe_epoch(epoch, epochs, row | speed), file=sys.stdout)
            if epoch % task.params.checkpoint_every == 0 and epoch < epochs:
                tracking.log_file(encode_weights(model), f"checkpoints/epoch-{epoch:03d}.safetensors")
    return pd.DataFrame(history)


def train_one_epoch(
    model: ResNet, optimizer: torch.optim.Optimizer, task: Task, epoch: int, bar: "tqdm[Any]"
) -> dict[str, float]:
    """``repeats`` passes over the train images, shuffled together by the seed and the epoch.

    Raises UserError when the loss is not finite.

    Returns: mean loss and accuracy of the predictions that the model learned from.
    """
    model.train()
    num_images = len(task.train.targets)
    order = np.random.default_rng(derive_seed(task.seed, epoch)).permutation(task.repeats * num_images) % num_images
    loss_sum, correct = 0.0, 0
    for batch in split_batches(order, task.params.batch_size):
        images = task.train.pixels[batch].to(task.machine.device)
        targets = task.train.targets[batch].to(task.machine.device)
        with task.machine.autocast():
            logits = model(normalize(images))  # [B, C]
            loss = nn.functional.cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if not math.isfinite(loss.item()):
            raise UserError(
                f"the loss became {loss.item()} in epoch {epoch}, step {bar.n + 1} of {bar.total}. "
                "Lower train.learning_rate in params.yaml, or set train.precision to fp32."
            )
        loss_sum += loss.item() * len(batch)
        correct += int((logits.argmax(dim=1) == targets).sum())
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        bar.update()
    return {"train/loss": loss_sum / len(order), "train/accuracy": correct / len(order)}


def watch(model: ResNet, task: Task) -> dict[str, float]:
    """Test metrics after an epoch, to look at, not to choose by."""
    logits = predict_logits(model, task.test.pixels, task.machine)
    metrics = compute_metrics(task.test.targets.numpy(), compute_softmax(logits.numpy()), task.class_names)
    return {"test/loss": metrics["log_loss"], **{f"test/{key}": metrics[key] for key in WATCHED}}


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


def describe_epoch(epoch: int, epochs: int, row: dict[str, float]) -> str:
    """One line for the terminal, after an epoch."""
    return (
        f"  epoch {epoch:>{len(str(epochs))}}/{epochs}  loss {row['train/loss']:.4f}  "
        f"test accuracy {row['test/accuracy']:.3f}  {row['train/images_per_second']:.1f} images/s"
    )


if __name__ == "__main__":
    run_stage(main)
