"""A small study on disk, with the files and shapes that the stages before report leave behind."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from stages.base.files import compute_sha256, write_bytes, write_json
from stages.evaluation.metrics import compute_metrics
from stages.evaluation.predictions import (
    CopyPredictionTable,
    PredictionTable,
    RobustnessTable,
    tabulate_predictions,
)
from stages.photos.manifest import CopyTable, PhotoTable, QuarantineTable, SplitTable

PARAMS = Path(__file__).parents[2] / "params.yaml"
FOLDS, COPIES, BATCH = 5, 2, 32
MACHINE = {
    "device": "cpu",
    "cpu_name": "Intel Xeon",
    "cpu_flags": "AVX512 avx512_f",
    "threads": 2,
    "precision": "bf16",
    "versions": {"torch": "2.14.1", "numpy": "2.4.0"},
}
OPERATIONS: list[dict[str, Any]] = [
    {"name": "color_jitter", "brightness_factor": 0.847433, "contrast_factor": 1.2, "saturation_factor": 1.31},
    {"name": "hflip"},
    {"name": "random_noise", "mean": 0.0, "var": 0.01, "seed": 1234567890},
]


def write_study(
    root: Path,
    *,
    trials: Sequence[int] = (0,),
    class_names: Sequence[str] = ("cats", "dogs"),
    per_class: int = 10,
    epochs: int = 3,
    source: str = "archive",
) -> None:
    """Write params.yaml, photos, manifests, histories, metrics and predictions of a study below ``root``."""
    params = yaml.safe_load(PARAMS.read_text())
    params["trials"] = list(trials)
    write_bytes(root / "params.yaml", yaml.safe_dump(params, sort_keys=False).encode())
    photos = _write_photos(root, class_names, per_class, source)
    quarantined = pd.DataFrame({"path": ["cats/empty.jpg"], "sha256": ["0" * 64], "reason": ["empty file"]})
    QuarantineTable.save(root / "metrics/quarantine.csv", quarantined)
    for trial in trials:
        _write_trial(root, photos, list(class_names), trial, epochs)


def _write_photos(root: Path, class_names: Sequence[str], per_class: int, source: str) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for name in class_names:
        for number in range(per_class):
            path = f"data/raw/{name}/photo_{number}.jpg"
            _save_image(root / path, rng, (40 + number, 60 - number % 7))
            rows.append({"path": path, "class": name, "sha256": compute_sha256(root / path)})
    about = {"dhash": "0" * 16, "notes": "", "path_in_source": "", "subset": "", "source": source, "version": "1"}
    photos = pd.DataFrame(rows).assign(bytes=1, width=1, height=1, **about)
    PhotoTable.save(root / "data/manifest.csv", photos)
    return photos


def _save_image(path: Path, rng: np.random.Generator, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)).resize(size).save(path)


def _write_trial(root: Path, photos: pd.DataFrame, class_names: list[str], trial: int, epochs: int) -> None:
    fold = np.arange(len(photos)) % FOLDS == trial % FOLDS
    split = photos.assign(group=photos.index, split=np.where(fold, "test", "train"))
    SplitTable.save(root / f"data/split/{trial}.csv", split)
    train, test = split[~fold], split[fold]
    copies = _write_copies(root, train, trial)
    seen = copies[["path", "source_path", "operations"]].assign(
        target=copies["class"], pred=class_names[0], p_target=0.4
    )
    CopyPredictionTable.save(root / f"metrics/copies/{trial}.csv", seen)
    for arm, images in (("original", len(train)), ("augmented", len(train) * (1 + COPIES))):
        rng = np.random.default_rng([trial, images])
        _write_history(root / f"metrics/history/{arm}-{trial}.csv", rng, epochs)
        work = {"steps": epochs * -(-images // BATCH), "samples_seen": epochs * images, "train_images": images}
        _write_answers(
            root, test, {"arm": arm, "trial": trial, **work, "trained_on": MACHINE, "image_size": 32}, class_names, rng
        )
    _write_robustness(root, test, class_names, trial)


def _write_robustness(root: Path, test: pd.DataFrame, class_names: list[str], trial: int) -> None:
    rng = np.random.default_rng(trial)
    parts = []
    for operation in ("rotate", "random_noise"):
        part = test[["path", "sha256"]].assign(operation=operation, target=test["class"])
        for arm in ("original", "augmented"):
            part[arm] = rng.choice(class_names, len(test))
            part[f"p_{arm}"] = rng.random(len(test))
        parts.append(part)
    table = pd.concat(parts)
    RobustnessTable.save(root / f"metrics/robustness/{trial}.csv", table)


def _write_copies(root: Path, train: pd.DataFrame, trial: int) -> pd.DataFrame:
    rng = np.random.default_rng(trial)
    rows = []
    for photo in train.to_dict("records"):
        for copy in range(1, COPIES + 1):
            path = f"data/augmented/{trial}/{photo['class']}/{Path(photo['path']).stem}-{copy}.jpg"
            _save_image(root / path, rng, (50, 50))
            row = {"path": path, "class": photo["class"], "source_path": photo["path"], "copy": copy}
            rows.append({**row, "sha256": compute_sha256(root / path), "operations": json.dumps(OPERATIONS)})
    copies = pd.DataFrame(rows)
    CopyTable.save(root / f"data/augmented/{trial}.csv", copies)
    return copies


def make_history(rng: np.random.Generator, epochs: int) -> pd.DataFrame:
    """A history in which losses fall and scores rise, with noise."""
    progress = np.arange(1, epochs + 1) / epochs
    losses = {f"{split}/loss": 1 - 0.4 * progress + 0.1 * rng.random(epochs) for split in ("train", "test")}
    names = ("train/accuracy", "test/accuracy", "test/precision", "test/recall", "test/f1")
    scores = {name: 0.4 + 0.2 * progress + 0.2 * rng.random(epochs) for name in names}
    columns = ["epoch", "train/loss", "train/accuracy", "test/loss", *names[1:]]
    return pd.DataFrame({"epoch": np.arange(1, epochs + 1), **losses, **scores})[columns]


def _write_history(path: Path, rng: np.random.Generator, epochs: int) -> None:
    write_bytes(path, make_history(rng, epochs).to_csv(index=False, lineterminator="\n").encode())


def _write_answers(
    root: Path, test: pd.DataFrame, work: dict[str, Any], class_names: list[str], rng: np.random.Generator
) -> None:
    """Metrics and predictions of one arm that is right somewhat more often than by chance."""
    targets = test["class"].map(class_names.index).to_numpy()
    logits = rng.normal(size=(len(test), len(class_names))) + np.eye(len(class_names))[targets]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    arm, trial = work["arm"], work["trial"]
    about = {**work, "source": test["source"].iloc[0], "version": test["version"].iloc[0], "class_names": class_names}
    about |= {"test_photos": len(test), "model_sha256": f"{trial:064x}"}
    write_json(
        root / f"metrics/{arm}/{trial}.json", about | compute_metrics(targets, probabilities, class_names).model_dump()
    )
    predictions = tabulate_predictions(test, probabilities, class_names)
    PredictionTable.of(class_names).save(root / f"metrics/predictions/{arm}-{trial}.csv", predictions)
