"""Predictions on photos and copies: a row for every image, and the numbers that a direct computation gives."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import augment, evaluate, split
from stages.augmentation.operations import apply_each
from stages.cli.params import load_params
from stages.evaluation import robustness
from stages.evaluation.predictions import (
    PredictionTable,
    RobustnessTable,
    compute_accuracies,
    tabulate_copies,
    tabulate_operation,
    tabulate_predictions,
)
from stages.evaluation.record import EvaluationRecord
from stages.evaluation.robustness import Predict, compute_robustness
from stages.model.dataset import ModelInputs
from stages.model.features import Inputs
from stages.model.record import RUN_FILE, TrainRecord, get_model_dir
from stages.model.scores import Probabilities
from stages.photos.manifest import CopyTable, SplitTable
from stages.runtime import workers
from stages.runtime.errors import UserError
from tests.conftest import ROOT, change_params
from tests.support.records import make_machine, make_run

PARAMS = load_params(ROOT / "params.yaml").augment
CLASS_NAMES = ["cats", "dogs"]
SIZE = 32  # pixels

pytestmark = pytest.mark.usefixtures("one_process")


def look_at_red(inputs: ModelInputs) -> Probabilities:
    """A model that looks at one channel alone, so that a prediction does not depend on the batch."""
    pixels = inputs[:]
    red = pixels[:, 0].double().mean(dim=(1, 2)).numpy() / 255
    return np.stack([1 - red, red], axis=1)


def look_at_blue(inputs: ModelInputs) -> Probabilities:
    """Another one."""
    return look_at_red(inputs[:].flip(1))


MODELS: dict[str, Predict] = {"original": look_at_red, "augmented": look_at_blue}


def test_robustness_is_what_each_model_predicts_for_each_changed_photo(
    photos: pd.DataFrame,
) -> None:
    photos = photos[::4].reset_index(drop=True)
    table = compute_robustness(photos, CLASS_NAMES, MODELS, PARAMS, Inputs(SIZE))
    assert set(table.columns) == set(RobustnessTable.columns)
    assert table["operation"].tolist() == [name for name in PARAMS.operations for _ in photos.index]
    assert table["path"].tolist() == photos["path"].tolist() * 10
    assert table["target"].tolist() == photos["class"].tolist() * 10

    targets = np.array([CLASS_NAMES.index(name) for name in photos["class"]])
    changed = np.stack(
        [apply_each(Path(p), sha256, PARAMS, SIZE) for p, sha256 in zip(photos["path"], photos["sha256"], strict=True)]
    )
    for arm, predict in MODELS.items():
        accuracies = compute_accuracies(table, arm)
        assert list(accuracies) == list(PARAMS.operations)
        for i, name in enumerate(PARAMS.operations):
            expected = predict(torch.from_numpy(changed[:, i]).permute(0, 3, 1, 2))
            rows = table[table["operation"] == name]
            assert rows[f"p_{arm}"].tolist() == expected[photos.index, targets].tolist()
            assert accuracies[name] == (expected.argmax(axis=1) == targets).mean()
    assert not np.allclose(table["p_original"], table["p_augmented"], rtol=1e-3), "each arm has its own predictions"


def test_robustness_does_not_depend_on_how_many_photos_are_in_memory(
    photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = compute_robustness(photos, CLASS_NAMES, MODELS, PARAMS, Inputs(SIZE))
    monkeypatch.setattr(robustness, "PREDICTION_BATCH", 7)
    pd.testing.assert_frame_equal(compute_robustness(photos, CLASS_NAMES, MODELS, PARAMS, Inputs(SIZE)), expected)


def run_evaluate(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, float]]:
    """Run the stage with models that need no training, and return what MLflow would get per arm."""
    tracked = {}
    runs = {arm: make_run(arm=arm) for arm in evaluate.ARMS}

    def log(metrics: EvaluationRecord, run: TrainRecord, accuracies: dict[str, float]) -> None:
        tracked[metrics.arm] = accuracies

    for arm, run in runs.items():
        run.save(get_model_dir(arm, 0) / RUN_FILE)
    monkeypatch.setattr(evaluate, "load_trained", lambda run: (Inputs(SIZE), MODELS[run.arm]))
    monkeypatch.setattr(evaluate, "log_evaluation", log)
    monkeypatch.setattr(sys, "argv", ["stage", "--trial", "0"])
    for stage in (split, augment, evaluate):
        stage.main()
    return tracked


def test_stage_predicts_every_photo_and_every_copy(
    photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracked = run_evaluate(monkeypatch)
    sides = SplitTable.load(Path("data/split/0.csv"))
    table = pd.read_csv("metrics/robustness/0.csv")
    for name in PARAMS.operations:
        rows = table[table["operation"] == name]
        assert rows["path"].tolist() == sides.loc[sides["split"] == "test", "path"].tolist()
    assert tracked == {arm: compute_accuracies(table, arm) for arm in evaluate.ARMS}

    copies = CopyTable.load(Path("data/augmented/0.csv"))
    predictions = pd.read_csv("metrics/copies/0.csv")
    assert predictions.columns.tolist() == ["path", "source_path", "operations", "target", "pred", "p_target"]
    for column, source in {"path": "path", "operations": "operations", "target": "class"}.items():
        assert predictions[column].tolist() == copies[source].tolist()
    assert ((predictions["p_target"] > 0.5) == (predictions["pred"] == predictions["target"])).all()

    lines = capsys.readouterr().out.splitlines()[-2:]
    for arm, line in zip(evaluate.ARMS, lines, strict=True):
        tested = pd.read_csv(f"metrics/predictions/{arm}-0.csv")
        correct = (tested["pred"] == tested["target"]).sum()
        assert line == f"evaluate: trial 0, {arm}: 4 test photos, {correct} correct"
        assert EvaluationRecord.load(Path(f"metrics/{arm}/0.json")).accuracy == correct / 4


@pytest.mark.parametrize(
    "changes", [{"evaluate.robustness": False}, {"augment.policy": "RandAugment", "augment.operations": {}}]
)
def test_nothing_to_test_leaves_a_header(
    changes: dict[str, Any], photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_params(changes)
    assert run_evaluate(monkeypatch) == {"original": {}, "augmented": {}}
    assert Path("metrics/robustness/0.csv").read_text() == ",".join(RobustnessTable.columns) + "\n"
    assert len(pd.read_csv("metrics/copies/0.csv")) == 32


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.floats(0.01, 1), min_size=3, max_size=3)), min_size=1))
def test_tables_hold_the_most_probable_class_and_the_probability_of_the_true_one(
    rows: list[tuple[str, list[float]]],
) -> None:
    names = ["a", "b", "c"]
    probabilities = np.array([values for _, values in rows])
    images = pd.DataFrame({"class": [target for target, _ in rows], "path": "p", "sha256": "s", "source_path": "q"})
    images["operations"] = "[]"
    copies = tabulate_copies(images, probabilities, names)
    both = {"original": probabilities, "augmented": probabilities[:, ::-1]}
    operation = tabulate_operation("blur", images, both, names)
    for i, (target, values) in enumerate(rows):
        assert copies["p_target"][i] == operation["p_original"][i] == values[names.index(target)]
        assert copies["pred"][i] == operation["original"][i] == names[int(np.argmax(values))]
        assert operation["p_augmented"][i] == values[::-1][names.index(target)]
    assert compute_accuracies(operation, "original") == {"blur": (copies["pred"] == copies["target"]).mean()}


def test_hundreds_of_classes_make_one_table_without_warnings(tmp_path: Path) -> None:
    """pandas warns of columns that are added one by one from the hundredth on, here an error."""
    names = [f"class {i:03}" for i in range(120)]
    probabilities = np.random.default_rng(0).dirichlet(np.ones(120), size=240)
    photos = pd.DataFrame({"path": [f"{i}.jpg" for i in range(240)], "sha256": "s", "class": names * 2})
    table = tabulate_predictions(photos[::2], probabilities[::2], names)
    PredictionTable.of(names).save(tmp_path / "predictions.csv", table)
    read = PredictionTable.of(names).load(tmp_path / "predictions.csv")
    assert read.columns.tolist() == ["path", "sha256", "target", "pred", *(f"p_{name}" for name in names)]
    np.testing.assert_allclose(read.filter(like="p_"), probabilities[::2], rtol=1e-8)
    assert read["pred"].tolist() == [names[i] for i in probabilities[::2].argmax(axis=1)]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        (
            {"cpu_name": "AMD EPYC", "cpu_flags": "AVX512"},
            "cpu_name Intel Xeon -> AMD EPYC, processor features avx512_f",
        ),
        ({"threads": 1}, "threads 2 -> 1"),
        ({"versions": {"torch": "2.15.0", "numpy": "2.4.0"}}, r"versions\.torch 2\.14\.1 -> 2\.15\.0"),
    ],
)
def test_arms_of_one_trial_from_two_machines_are_not_compared(changes: dict[str, Any], difference: str) -> None:
    runs = {"original": make_run(trial=3, machine=make_machine())}
    runs["augmented"] = make_run(arm="augmented", trial=3, machine=make_machine(**changes))
    with pytest.raises(UserError, match=f"{difference}\\)\\. Run `dvc repro --force --single-item train_original@3"):
        evaluate.check_runs(runs, ["cats", "dogs"])
    evaluate.check_runs(
        {arm: run.model_copy(update={"machine": make_machine()}) for arm, run in runs.items()}, ["cats", "dogs"]
    )


def tell(arm: str, process: int, accuracies: dict[str, float]) -> str:
    """In place of logging: in which process it would have been."""
    return "" if arm == "silent" else f"{arm} {os.getpid() == process}"


@pytest.mark.parametrize("cuda", [True, False])
def test_arms_are_logged_in_forks_unless_these_would_need_cuda(cuda: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: cuda)
    monkeypatch.setattr(evaluate, "log", tell)
    arms: dict[str, Any] = {arm: arm for arm in ("original", "augmented", "silent")}
    processes: dict[str, Any] = dict.fromkeys(arms, os.getpid())
    warnings = evaluate.log_both(arms, processes, {arm: {} for arm in arms})
    assert warnings == [f"original {cuda}", f"augmented {cuda}"]
