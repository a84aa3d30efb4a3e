"""What the real pipeline leaves behind, played once by the fixtures ``first_run`` and ``story``; every test
looks at one thing."""

import json
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from stages.cli.params import load_params
from stages.model.device import Device
from stages.model.network import load_model, predict_logits
from stages.model.record import RUN_FILE, TrainRecord
from stages.photos.manifest import SplitTable
from tests.support.story import Story, read_test_photos


def find_ran(output: str) -> Counter[str]:
    """How often each stage ran; stages restored from DVC's cache do not count."""
    return Counter(re.findall(r"Running stage '(\w+)", output))


def test_first_run_runs_everything_once(first_run: Story) -> None:
    assert find_ran(first_run.output["first"]) == dict.fromkeys(
        ["fetch", "split", "augment", "train_original", "train_augmented", "evaluate", "report"], 1
    )
    assert "Traceback" not in first_run.output["first"]
    assert "Warning" not in first_run.output["first"]


def test_second_run_does_nothing(first_run: Story) -> None:
    assert find_ran(first_run.output["again"]) == {}
    assert "up to date" in first_run.output["again"]
    assert first_run.lock["again"] == first_run.lock["first"]
    assert len(first_run.runs["again"]) == len(first_run.runs["first"])


def test_only_results_appear_in_git(first_run: Story) -> None:
    assert {line[3:] for line in first_run.output["status"].splitlines()} == {"dvc.lock", "metrics/"}


@pytest.mark.slow
def test_changed_param_runs_only_what_depends_on_it(story: Story) -> None:
    assert find_ran(story.output["changed"]) == dict.fromkeys(["augment", "train_augmented", "evaluate", "report"], 1)


@pytest.mark.slow
def test_experiment_in_a_temporary_copy_logs_into_the_one_store(story: Story) -> None:
    runs = story.runs["changed"]
    new = runs[runs["tags.dvc_experiment"] == "fewer"]
    assert new["params.augment.copies"].tolist() == ["1"]
    assert new["metrics.evaluate/accuracy"].notna().all()
    assert len(runs) == len(story.runs["first"]) + 1
    assert story.lock["changed"] == story.lock["first"]
    assert story.output["status after"] == "", "the workspace stays as it was"


@pytest.mark.slow
def test_new_trial_runs_only_itself(story: Story) -> None:
    ran = sum((find_ran(story.output[name]) for name in ("trial", "restored", "compared")), Counter[str]())
    assert ran == dict.fromkeys(["split", "augment", "train_original", "train_augmented", "evaluate", "report"], 1)
    assert "split@1" in story.output["trial"]


@pytest.mark.slow
def test_equal_steps_train_only_the_original_arm_anew(story: Story) -> None:
    assert find_ran(story.output["steps"]) == dict.fromkeys(["augment", "train_original"], 1), "of both train stages"
    runs = story.runs["steps"]
    (equal,) = runs[runs["tags.dvc_experiment"] == "equal"].to_dict("records")
    assert (equal["tags.arm"], equal["params.train.budget"]) == ("original", "steps")
    first = story.runs["first"].set_index("tags.arm")
    steps = first["tags.steps"].astype(int).to_dict()
    assert int(equal["tags.steps"]) == steps["augmented"] > steps["original"]
    assert equal["tags.initial_weights_sha256"] == first.loc["original", "tags.initial_weights_sha256"]


def test_a_comparison_leads_to_the_runs_of_its_arms(first_run: Story) -> None:
    for name in ("first", "again"):
        (comparison,) = first_run.comparisons[name].to_dict("records")
        for _, run in first_run.runs["first"].iterrows():
            assert comparison[f"tags.run:{run['tags.arm']}-0"] == run["run_id"]
        assert (comparison["status"], comparison["tags.verdict"]) == ("FINISHED", "cannot tell")
        assert comparison["metrics.difference.p"] <= 1


def test_a_report_made_again_is_the_same_and_logs_no_second_comparison(first_run: Story) -> None:
    assert find_ran(first_run.output["report again"]) == {"report": 1}
    assert first_run.lock["report again"] == first_run.lock["first"]
    assert first_run.comparisons["report again"]["run_id"].tolist() == first_run.comparisons["first"]["run_id"].tolist()


@pytest.mark.slow
def test_each_different_result_is_logged_as_one_comparison(story: Story) -> None:
    assert len(story.comparisons["steps"]) == 2


@pytest.mark.slow
def test_arms_start_from_the_same_weights_and_trials_do_not(story: Story) -> None:
    hashes = {
        (arm, trial): TrainRecord.load(story.folder / f"models/{arm}/{trial}/run.json").initial_weights_sha256
        for arm in ("original", "augmented")
        for trial in (0, 1)
    }
    assert hashes["original", 0] == hashes["augmented", 0] != hashes["original", 1] == hashes["augmented", 1]


@pytest.mark.slow
def test_test_photos_are_never_trained_on(story: Story) -> None:
    for trial in (0, 1):
        split = SplitTable.load(story.folder / f"data/split/{trial}.csv")
        sources = set(pd.read_csv(story.folder / f"data/augmented/{trial}.csv")["source_path"])
        assert sources == set(split.loc[split["split"] == "train", "path"])
        predicted = pd.read_csv(story.folder / f"metrics/predictions/original-{trial}.csv")["path"]
        assert sorted(predicted) == sorted(split.loc[split["split"] == "test", "path"])


def test_evaluate_finds_what_train_saw(first_run: Story) -> None:
    """The reloaded model gives the very numbers that the last epoch gave."""
    for arm in ("original", "augmented"):
        history = pd.read_csv(first_run.folder / f"metrics/history/{arm}-0.csv").iloc[-1]
        metrics = json.loads((first_run.folder / f"metrics/{arm}/0.json").read_text())
        assert history["test/loss"] == metrics["log_loss"]
        for key in ("accuracy", "precision", "recall", "f1"):
            assert history[f"test/{key}"] == metrics[key]


def test_predictions_give_the_metrics(first_run: Story) -> None:
    for arm in ("original", "augmented"):
        predictions = pd.read_csv(first_run.folder / f"metrics/predictions/{arm}-0.csv")
        metrics = json.loads((first_run.folder / f"metrics/{arm}/0.json").read_text())
        assert (predictions["target"] == predictions["pred"]).mean() == metrics["accuracy"]
        likelihood = np.where(predictions["target"] == "cats", predictions["p_cats"], predictions["p_dogs"])
        assert -np.log(likelihood).mean() == pytest.approx(metrics["log_loss"], abs=1e-6)


@pytest.mark.slow
def test_arms_predict_under_every_operation_and_on_every_copy(story: Story) -> None:
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


@pytest.mark.slow
def test_one_finished_run_per_arm_and_trial(story: Story) -> None:
    runs = story.runs["trial"]
    runs = runs[~runs["tags.dvc_experiment"].isin(["fewer", "equal"])]
    assert Counter(zip(runs["tags.arm"], runs["tags.trial"], strict=True)) == {
        (arm, trial): 1 for arm in ("original", "augmented") for trial in ("0", "1")
    }
    assert set(runs["status"]) == {"FINISHED"}


def test_runs_say_where_they_come_from(first_run: Story) -> None:
    for _, run in first_run.runs["first"].iterrows():
        arm, trial = run["tags.arm"], run["tags.trial"]
        assert run["tags.dvc_stage"] == f"train_{arm}@{trial}"
        assert (run["tags.source"], run["tags.git_dirty"]) == ("archive", "false")
        assert re.fullmatch("[0-9a-f]{40}", run["tags.git_commit"])
        assert run[f"tags.md5:data/split/{trial}.csv"] in first_run.lock["first"]
        assert re.fullmatch("[0-9a-f]{64}", run["tags.model_sha256"])
        assert run["params.model.image_size"] == "32"
        assert run["params.fetch.subset"] == "test"
        assert (run["params.augment.copies"] == "2") == (arm == "augmented")


def test_every_point_is_logged_once_at_its_epoch(first_run: Story) -> None:
    per_epoch = [
        "train/loss",
        "train/accuracy",
        "test/loss",
        "test/accuracy",
        "test/precision",
        "test/recall",
        "test/f1",
    ]
    for points in first_run.points.values():
        for key in [*per_epoch, "train/images_per_second", "train/seconds_per_epoch"]:
            assert points[key] == [1, 2]
        for key in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "roc_auc", "log_loss"):
            assert points[f"evaluate/{key}"] == [0]
        for operation in load_params(first_run.folder / "params.yaml").augment.operations:
            assert points[f"robustness/{operation}"] == [0]


def test_artifacts_of_a_run(first_run: Story) -> None:
    for (arm, trial), files in first_run.artifacts.items():
        assert files == {
            "checkpoints/epoch-001.safetensors",
            "figures/confusion.png",
            "figures/learning_curves.png",
            "layers.csv",
            f"metrics/{arm}/{trial}.json",
            f"metrics/history/{arm}-{trial}.csv",
            f"metrics/predictions/{arm}-{trial}.csv",
        }


def test_logged_model_predicts_as_the_model_on_disk(first_run: Story) -> None:
    assert first_run.logits.shape == (3, 2)
    folder = first_run.folder / "models/original/0"
    images = read_test_photos(first_run.folder)
    run = TrainRecord.load(folder / RUN_FILE)
    logits = predict_logits(load_model(folder, run), images, run.network, Device(torch.device("cpu"), "fp32"))
    np.testing.assert_allclose(first_run.logits, logits.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_deleted_store_is_filled_from_what_is_on_disk(story: Story) -> None:
    runs = story.runs["restored"]
    assert sorted(zip(runs["tags.arm"], runs["tags.restored"], strict=True)) == [
        ("augmented", "true"),
        ("original", "true"),
    ]
    for _, run in runs.iterrows():
        metrics = json.loads((story.folder / f"metrics/{run['tags.arm']}/1.json").read_text())
        assert run["metrics.evaluate/accuracy"] == metrics["accuracy"]
        assert run["metrics.test/loss"] == metrics["log_loss"]


@pytest.mark.slow
def test_a_manifest_damaged_unseen_by_dvc_is_named_and_made_again(story: Story) -> None:
    message = (
        "split: error: data/manifest.csv was changed or damaged: dvc.lock has another MD5. Delete the file, then run"
    )
    assert message in story.output["damaged"]
    assert "Traceback" not in story.output["damaged"]
    assert story.lock["repaired"] == story.lock["compared"]
    assert not find_ran(story.output["repaired"])


@pytest.mark.slow
def test_after_a_failed_fetch_no_photos_of_before_come_back_unasked(story: Story) -> None:
    """DVC cannot see the archive, so it must not take the same params for the same photos."""
    assert re.search(r"fetch: error: \S*photos.zip is not a zip file", story.output["broken"])
    assert find_ran(story.output["whole again"]) == {"fetch": 1}
    assert story.lock["whole again"] == story.lock["compared"]


@pytest.mark.slow
def test_diffs_are_short_and_name_what_changed(story: Story) -> None:
    diff = story.call("dvc metrics diff main fewer-copies --md")
    rows = [line for line in diff.splitlines() if line.startswith("| metrics")]
    assert 1 <= len(rows) <= 12, diff
    assert all("metrics/comparison.json" in row for row in rows)
    assert any("augmented.log_loss" in row for row in rows)
    assert not any("original." in row for row in rows), "the original arm did not change"
    assert "augment.copies" in story.call("dvc params diff main fewer-copies --md")
    assert "augmented.accuracy" in story.call("dvc metrics show")


@pytest.mark.slow
def test_plots_are_one_chart_of_both_arms_and_the_figures(story: Story) -> None:
    folder = story.folder.parent / "plots"
    story.call(f"dvc plots diff main fewer-copies --out {folder}")
    page = (folder / "index.html").read_text()
    figures = sorted(path.name for path in (story.folder / "metrics/figures").iterdir())
    assert re.findall(r"<p>metrics/figures/(.*?)</p>", page) == figures, "however many trials there are"
    assert sorted(path.name for path in (folder / "static").iterdir()) == sorted(
        f"{branch}_metrics_figures_{name}" for branch in ("fewer-copies", "main") for name in figures
    )
    chart = story.call("dvc plots diff main fewer-copies --show-vega --targets first_trial")
    points = json.loads(chart)["data"]["values"]
    branches, arms = ("main", "fewer-copies"), ("original", "augmented")
    assert {(point["rev"], point["filename"]) for point in points} == {
        (branch, f"{arm}-0.csv") for branch in branches for arm in arms
    }
    assert [point["epoch"] for point in points[:2]] == ["1", "2"]
    assert all(0 <= float(point["test/accuracy"]) <= 1 for point in points)


def test_models_record_the_threads_they_were_computed_with(first_run: Story) -> None:
    assert TrainRecord.load(first_run.folder / "models/original/0/run.json").machine.threads == 1
