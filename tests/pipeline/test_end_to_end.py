"""The real pipeline, by real `dvc repro`, in a temporary clone: 20 drawings, 32 px, 2 epochs, 2 trials.

One story is played once (fixture ``story``); every test then looks at one thing that it left behind.
"""

import json
import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.tracking import MlflowClient

from stages.augmentation.params import IDENTITY
from stages.cli.params import load_params
from stages.model.dataset import load_images, normalize
from stages.model.device import Device
from stages.model.network import load_model, predict_logits
from stages.model.record import RUN_FILE, TrainRecord
from stages.photos.manifest import PhotoTable, SplitTable
from stages.tracking.store import EXPERIMENT
from tests.conftest import change_params
from tests.support.clone import SMALL, call, clone, pack_photos


@dataclass
class Story:
    """A clone, and what the commands in it printed and left."""

    folder: Path
    output: dict[str, str] = field(default_factory=dict)
    lock: dict[str, str] = field(default_factory=dict)
    runs: dict[str, pd.DataFrame] = field(default_factory=dict)  # of the arms
    comparisons: dict[str, pd.DataFrame] = field(default_factory=dict)
    points: dict[str, dict[str, list[int]]] = field(default_factory=dict)  # run id -> metric -> steps
    artifacts: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # arm, trial -> paths
    logits: np.ndarray = field(default_factory=lambda: np.empty(0))  # of the model that MLflow stored

    def call(self, command: str) -> str:
        """Run a command in the clone and return what it printed."""
        return call(self.folder, command)

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
            model = mlflow.pytorch.load_model(f"runs:/{run['run_id']}/model", dst_path=str(story.folder.parent))
            story.logits = model(normalize(read_test_photos(story.folder))).detach().numpy()


def read_test_photos(folder: Path) -> torch.Tensor:
    """Three photos `[3, 3, 32, 32]`."""
    manifest = SplitTable.load(folder / "data/split/0.csv").head(3)
    manifest["path"] = [str(folder / path) for path in manifest["path"]]
    return load_images(manifest, ["cats", "dogs"], 32).pixels


def change_unseen(path: Path) -> None:
    """Change the difference hash of a photo as a failing disk would: DVC sees the size and time that it knows."""
    stat, manifest = path.stat(), PhotoTable.load(path)
    first, *rest = manifest["dhash"].tolist()
    manifest["dhash"] = [f"{int(first, 16) ^ 1:016x}", *rest]
    PhotoTable.save(path, manifest)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("home") / "clone"
    folder.mkdir()
    clone(folder)
    pack_photos(folder / "data/downloads/photos.zip")
    before = Path.cwd()
    os.chdir(folder)
    try:
        change_params(SMALL)
        story = Story(folder)
        for command in ("git init --initial-branch main", "git add --all", "git commit --message first"):
            story.call(command)
        story.play("first", "dvc repro")
        inspect_store(story)
        story.play("again", "dvc repro")
        story.output["status"] = story.call("git status --porcelain")
        story.call("git add --all")
        story.call("git commit --message results")

        story.play("changed", "dvc exp run --temp --name fewer --set-param augment.copies=1")
        story.output["status after"] = story.call("git status --porcelain")
        story.call("dvc exp branch fewer fewer-copies")
        story.output["diff"] = story.call("dvc metrics diff main fewer-copies --md")
        story.output["params"] = story.call("dvc params diff main fewer-copies --md")
        story.output["show"] = story.call("dvc metrics show")
        history = "metrics/history/augmented-0.csv"
        story.output["plots"] = story.call(f"dvc plots diff main fewer-copies --show-vega --targets {history}")

        story.play("steps", "dvc exp run --temp --name equal --set-param train.budget=steps")

        change_params({"trials": [0, 1]})
        story.play("trial", "dvc repro")
        (folder / "mlflow.db").unlink()
        story.play("restored", "dvc repro --force --single-item evaluate@0")

        change_unseen(folder / "data/manifest.csv")
        story.output["damaged"] = call(folder, "dvc repro --force --single-item split@0", status=255)
        (folder / "data/manifest.csv").unlink()
        story.call("dvc checkout")
        story.play("mended", "dvc repro")

        archive = folder / "data/downloads/photos.zip"
        photos = archive.read_bytes()
        archive.write_bytes(photos[:1000])
        story.output["broken"] = call(folder, "dvc repro --force --single-item fetch", status=255)
        archive.write_bytes(photos)
        story.play("whole again", "dvc repro")
    finally:
        os.chdir(before)
    return story


def find_ran(output: str) -> Counter[str]:
    """How often each stage ran; stages restored from DVC's cache do not count."""
    return Counter(re.findall(r"Running stage '(\w+)", output))


def test_first_run_runs_everything_once(story: Story) -> None:
    assert find_ran(story.output["first"]) == dict.fromkeys(
        ["fetch", "split", "augment", "train_original", "train_augmented", "evaluate", "report"], 1
    )
    assert "Traceback" not in story.output["first"]
    assert "Warning" not in story.output["first"]


def test_second_run_does_nothing(story: Story) -> None:
    assert find_ran(story.output["again"]) == {}
    assert "up to date" in story.output["again"]
    assert story.lock["again"] == story.lock["first"]
    assert len(story.runs["again"]) == len(story.runs["first"])


def test_only_results_appear_in_git(story: Story) -> None:
    assert {line[3:] for line in story.output["status"].splitlines()} == {"dvc.lock", "metrics/"}


def test_changed_param_runs_only_what_depends_on_it(story: Story) -> None:
    assert find_ran(story.output["changed"]) == dict.fromkeys(["augment", "train_augmented", "evaluate", "report"], 1)


def test_experiment_in_a_temporary_copy_logs_into_the_one_store(story: Story) -> None:
    runs = story.runs["changed"]
    new = runs[runs["tags.dvc_experiment"] == "fewer"]
    assert new["params.augment.copies"].tolist() == ["1"]
    assert new["metrics.evaluate/accuracy"].notna().all()
    assert len(runs) == len(story.runs["first"]) + 1
    assert story.lock["changed"] == story.lock["first"]
    assert story.output["status after"] == "", "the workspace stays as it was"


def test_new_trial_runs_only_itself(story: Story) -> None:
    ran = find_ran(story.output["trial"])
    assert ran == dict.fromkeys(["split", "augment", "train_original", "train_augmented", "evaluate", "report"], 1)
    assert "split@1" in story.output["trial"]


def test_equal_steps_train_only_the_original_arm_anew(story: Story) -> None:
    assert find_ran(story.output["steps"]) == dict.fromkeys(["augment", "train_original", "evaluate", "report"], 1)
    runs = story.runs["steps"]
    (equal,) = runs[runs["tags.dvc_experiment"] == "equal"].to_dict("records")
    assert (equal["tags.arm"], equal["params.train.budget"]) == ("original", "steps")
    first = story.runs["first"].set_index("tags.arm")
    steps = first["tags.steps"].astype(int).to_dict()
    assert int(equal["tags.steps"]) == steps["augmented"] > steps["original"]
    assert equal["tags.initial_weights_sha256"] == first.loc["original", "tags.initial_weights_sha256"]


def test_a_comparison_leads_to_the_runs_of_its_arms(story: Story) -> None:
    for name in ("first", "again"):
        (comparison,) = story.comparisons[name].to_dict("records")
        for _, run in story.runs["first"].iterrows():
            assert comparison[f"tags.run:{run['tags.arm']}-0"] == run["run_id"]
        assert (comparison["status"], comparison["tags.verdict"]) == ("FINISHED", "cannot tell")
        assert re.fullmatch("[0-9a-f]{64}", comparison["tags.dvc_lock_sha256"])
        assert comparison["metrics.difference.p"] <= 1
    assert len(story.comparisons["trial"]) == 4, "one for each different result"


def test_arms_start_from_the_same_weights_and_trials_do_not(story: Story) -> None:
    hashes = {
        (arm, trial): TrainRecord.load(story.folder / f"models/{arm}/{trial}/run.json").initial_weights_sha256
        for arm in ("original", "augmented")
        for trial in (0, 1)
    }
    assert hashes["original", 0] == hashes["augmented", 0] != hashes["original", 1] == hashes["augmented", 1]


def test_test_photos_are_never_trained_on(story: Story) -> None:
    for trial in (0, 1):
        split = SplitTable.load(story.folder / f"data/split/{trial}.csv")
        sources = set(pd.read_csv(story.folder / f"data/augmented/{trial}.csv")["source_path"])
        assert sources == set(split.loc[split["split"] == "train", "path"])
        predicted = pd.read_csv(story.folder / f"metrics/predictions/original-{trial}.csv")["path"]
        assert sorted(predicted) == sorted(split.loc[split["split"] == "test", "path"])


def test_evaluate_finds_what_train_saw(story: Story) -> None:
    """The reloaded model gives the very numbers that the last epoch gave."""
    for arm in ("original", "augmented"):
        history = pd.read_csv(story.folder / f"metrics/history/{arm}-0.csv").iloc[-1]
        metrics = json.loads((story.folder / f"metrics/{arm}/0.json").read_text())
        assert history["test/loss"] == metrics["log_loss"]
        for key in ("accuracy", "precision", "recall", "f1"):
            assert history[f"test/{key}"] == metrics[key]


def test_predictions_give_the_metrics(story: Story) -> None:
    for arm in ("original", "augmented"):
        predictions = pd.read_csv(story.folder / f"metrics/predictions/{arm}-0.csv")
        metrics = json.loads((story.folder / f"metrics/{arm}/0.json").read_text())
        assert (predictions["target"] == predictions["pred"]).mean() == metrics["accuracy"]
        likelihood = np.where(predictions["target"] == "cats", predictions["p_cats"], predictions["p_dogs"])
        assert -np.log(likelihood).mean() == pytest.approx(metrics["log_loss"], abs=1e-6)


def test_arms_answer_under_every_operation_and_on_every_copy(story: Story) -> None:
    operations = list(load_params(story.folder / "params.yaml").augment.operations)
    for trial in (0, 1):
        tested = pd.read_csv(story.folder / f"metrics/predictions/original-{trial}.csv")["path"].tolist()
        robustness = pd.read_csv(story.folder / f"metrics/robustness/{trial}.csv")
        assert robustness["operation"].tolist() == [name for name in operations for _ in tested]
        assert robustness["path"].tolist() == tested * len(operations)
        made, seen = (
            pd.read_csv(story.folder / f"{kind}/{trial}.csv") for kind in ("data/augmented", "metrics/copies")
        )
        assert seen["path"].tolist() == made["path"].tolist()


def test_one_finished_run_per_arm_and_trial(story: Story) -> None:
    runs = story.runs["trial"]
    runs = runs[~runs["tags.dvc_experiment"].isin(["fewer", "equal"])]
    assert Counter(zip(runs["tags.arm"], runs["tags.trial"], strict=True)) == {
        (arm, trial): 1 for arm in ("original", "augmented") for trial in ("0", "1")
    }
    assert set(runs["status"]) == {"FINISHED"}


def test_runs_say_where_they_come_from(story: Story) -> None:
    for _, run in story.runs["first"].iterrows():
        arm, trial = run["tags.arm"], run["tags.trial"]
        assert run["tags.dvc_stage"] == f"train_{arm}@{trial}"
        assert (run["tags.source"], run["tags.git_dirty"]) == ("archive", "false")
        assert re.fullmatch("[0-9a-f]{40}", run["tags.git_commit"])
        assert run[f"tags.md5:data/split/{trial}.csv"] in story.lock["first"]
        assert re.fullmatch("[0-9a-f]{64}", run["tags.model_sha256"])
        assert run["params.train.image_size"] == "32"
        assert run["params.fetch.subset"] == "test"
        assert (run["params.augment.copies"] == "2") == (arm == "augmented")


def test_every_point_is_logged_once_at_its_epoch(story: Story) -> None:
    per_epoch = [
        "train/loss",
        "train/accuracy",
        "test/loss",
        "test/accuracy",
        "test/precision",
        "test/recall",
        "test/f1",
    ]
    for points in story.points.values():
        for key in [*per_epoch, "train/images_per_second", "train/seconds_per_epoch"]:
            assert points[key] == [1, 2]
        for key in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "roc_auc", "log_loss"):
            assert points[f"evaluate/{key}"] == [0]
        for operation in IDENTITY:
            assert points[f"robustness/{operation}"] == [0]


def test_artifacts_of_a_run(story: Story) -> None:
    for (arm, trial), files in story.artifacts.items():
        assert files == {
            "checkpoints/epoch-001.safetensors",
            "figures/confusion.png",
            "figures/learning_curves.png",
            "layers.csv",
            f"metrics/{arm}/{trial}.json",
            f"metrics/history/{arm}-{trial}.csv",
            f"metrics/predictions/{arm}-{trial}.csv",
        }


def test_logged_model_predicts_as_the_model_on_disk(story: Story) -> None:
    assert story.logits.shape == (3, 2)
    folder = story.folder / "models/original/0"
    images = read_test_photos(story.folder)
    logits = predict_logits(
        load_model(folder, TrainRecord.load(folder / RUN_FILE)), images, Device(torch.device("cpu"), "fp32")
    )
    np.testing.assert_allclose(story.logits, logits.numpy(), rtol=1e-4, atol=1e-4)


def test_deleted_store_is_filled_from_what_is_on_disk(story: Story) -> None:
    runs = story.runs["restored"]
    assert sorted(zip(runs["tags.arm"], runs["tags.restored"], strict=True)) == [
        ("augmented", "true"),
        ("original", "true"),
    ]
    for _, run in runs.iterrows():
        metrics = json.loads((story.folder / f"metrics/{run['tags.arm']}/0.json").read_text())
        assert run["metrics.evaluate/accuracy"] == metrics["accuracy"]
        assert run["metrics.test/loss"] == metrics["log_loss"]


def test_a_manifest_damaged_unseen_by_dvc_is_named_and_made_again(story: Story) -> None:
    message = (
        "split: error: data/manifest.csv was changed or damaged: dvc.lock has another MD5. Delete the file, then run"
    )
    assert message in story.output["damaged"]
    assert "Traceback" not in story.output["damaged"]
    assert story.lock["mended"] == story.lock["restored"]
    assert not find_ran(story.output["mended"])


def test_after_a_failed_fetch_no_photos_of_before_come_back_unasked(story: Story) -> None:
    """DVC cannot see the archive, so it must not take the same params for the same photos."""
    assert re.search(r"fetch: error: \S*photos.zip is no zip", story.output["broken"])
    assert find_ran(story.output["whole again"]) == {"fetch": 1}
    assert story.lock["whole again"] == story.lock["restored"]


def test_diffs_are_short_and_name_what_changed(story: Story) -> None:
    rows = [line for line in story.output["diff"].splitlines() if line.startswith("| metrics")]
    assert 1 <= len(rows) <= 12, story.output["diff"]
    assert all("metrics/comparison.json" in row for row in rows)
    assert any("augmented.log_loss" in row for row in rows)
    assert not any("original." in row for row in rows), "the original arm did not change"
    assert "augment.copies" in story.output["params"]
    assert "augmented.accuracy" in story.output["show"]
    assert "test/accuracy" in story.output["plots"]


def test_models_record_the_threads_they_were_computed_with(story: Story) -> None:
    assert TrainRecord.load(story.folder / "models/original/0/run.json").machine.threads == 1
