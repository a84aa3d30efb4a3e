"""One story of the real pipeline, played by real `dvc repro` in a temporary clone: 20 drawings, 32 px, 2 epochs."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.tracking import MlflowClient

from stages.model.dataset import load_pixels, prepare
from stages.model.record import RUN_FILE, TrainRecord
from stages.photos.manifest import PhotoTable, SplitTable
from stages.tracking.store import EXPERIMENT
from tests.conftest import change_params
from tests.support.clone import call


@dataclass
class Story:
    """A clone, and what the commands in it printed and left."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    output: dict[str, str] = field(default_factory=dict)
    lock: dict[str, str] = field(default_factory=dict)
    runs: dict[str, pd.DataFrame] = field(default_factory=dict)  # of the arms
    comparisons: dict[str, pd.DataFrame] = field(default_factory=dict)
    points: dict[str, dict[str, list[int]]] = field(default_factory=dict)  # run id -> metric -> steps
    artifacts: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # arm, trial -> paths
    logits: np.ndarray = field(default_factory=lambda: np.empty(0))  # of the model that MLflow stored

    def call(self, command: str, status: int = 0) -> str:
        """Run a command in the clone, with one worker process, and return what it printed."""
        return call(self.folder, command, status=status, LOKY_MAX_CPU_COUNT="1", **self.environment)

    def play(self, name: str, command: str) -> None:
        """Run a command and keep what it printed, dvc.lock, and the runs in the store, under ``name``."""
        self.output[name] = self.call(command)
        self.lock[name] = (self.folder / "dvc.lock").read_text()
        found = self.search_runs()
        of_comparison = found.get("tags.comparison", pd.Series(index=found.index)).notna()
        self.runs[name], self.comparisons[name] = found[~of_comparison], found[of_comparison]

    def search_runs(self) -> pd.DataFrame:
        """All runs in the store, read from a copy: this process would hold on to a store that is deleted."""
        copy = self.folder.parent / f"{len(self.runs)}.db"
        shutil.copy(self.folder / "mlflow.db", copy)
        mlflow.set_tracking_uri(f"sqlite:///{copy}")
        runs: pd.DataFrame = mlflow.search_runs(experiment_names=[EXPERIMENT])
        return runs


def inspect_store(story: Story) -> None:
    """Keep what the runs in the store hold, as the store is deleted later in the story."""
    client = MlflowClient()
    for _, run in story.runs["first"].iterrows():
        keys = client.get_run(run["run_id"]).data.metrics
        steps = {key: [point.step for point in client.get_metric_history(run["run_id"], key)] for key in keys}
        story.points[run["run_id"]] = steps
        root = Path(run["artifact_uri"].removeprefix("file://"))
        files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        story.artifacts[run["tags.arm"], run["tags.trial"]] = files
        if (run["tags.arm"], run["tags.trial"]) == ("original", "0"):
            network = TrainRecord.load(story.folder / "models/original/0" / RUN_FILE).network
            model = mlflow.pytorch.load_model(f"runs:/{run['run_id']}/model", dst_path=str(story.folder.parent))
            story.logits = model(prepare(read_test_photos(story.folder), network)).detach().numpy()


def read_test_photos(folder: Path) -> torch.Tensor:
    """Three photos `[3, 3, 32, 32]`."""
    manifest = SplitTable.load(folder / "data/split/0.csv").head(3)
    manifest["path"] = [str(folder / path) for path in manifest["path"]]
    return load_pixels(manifest, 32)


def change_unseen(path: Path) -> None:
    """Change the difference hash of a photo as a failing disk would: DVC sees the size and time that it knows."""
    stat, manifest = path.stat(), PhotoTable.load(path)
    first, *rest = manifest["dhash"].tolist()
    manifest["dhash"] = [f"{int(first, 16) ^ 1:016x}", *rest]
    PhotoTable.save(path, manifest)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size


def play_first_run(folder: Path, preloaded: dict[str, str]) -> Story:
    """Run the pipeline as a user would, find nothing left to do, and commit the results.

    Stages start as under `make repro`, and some that are made again as under plain `dvc repro`.
    """
    story = Story(folder, preloaded)
    story.play("first", "dvc repro")
    inspect_store(story)
    story.play("again", "dvc repro")
    story.environment = {}
    story.play("report again", "dvc repro --force --single-item report")
    story.output["status"] = story.call("git status --porcelain")
    story.call("git add --all")
    story.call("git commit --message results")
    return story


def play_rest(story: Story, preloaded: dict[str, str]) -> Story:
    """Change params, add a trial, lose and damage files. Leaves all up to date."""
    folder, story.environment = story.folder, preloaded
    story.play("changed", "dvc exp run --temp --name fewer --set-param augment.copies=1")
    story.output["status after"] = story.call("git status --porcelain")
    story.call("dvc exp branch fewer fewer-copies")
    arms = "train_original train_augmented"
    story.play("steps", f"dvc exp run --temp --name equal --set-param train.budget=steps {arms}")

    change_params({"trials": [0, 1]})
    story.play("trial", f"dvc repro {arms}")
    (folder / "mlflow.db").unlink()
    story.play("restored", "dvc repro --force --single-item evaluate@1")
    story.play("compared", "dvc repro")

    change_unseen(folder / "data/manifest.csv")
    story.output["damaged"] = story.call("dvc repro --force --single-item split@0", status=255)
    (folder / "data/manifest.csv").unlink()
    story.call("dvc checkout")
    story.play("repaired", "dvc repro")

    archive = folder / "data/downloads/photos.zip"
    photos = archive.read_bytes()
    archive.write_bytes(photos[:1000])
    story.environment = {}
    story.output["broken"] = story.call("dvc repro --force --single-item fetch", status=255)
    archive.write_bytes(photos)
    story.play("whole again", "dvc repro")
    return story
