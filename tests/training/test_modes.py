"""The trainer online and with a frozen backbone: through its stages, killed and resumed, as evaluate finds it."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.model.record import RUN_FILE, TrainRecord, get_history_path, get_model_dir
from stages.photos import shards
from stages.photos.manifest import CopyTable, SplitTable
from stages.photos.shards import gather_images
from tests.conftest import change_params
from tests.support.trainer import STEPS, TRAIN, make_small_resnet, start_stages, wait_for

AUGMENT = ["augment", "--trial", "0"]
TRAIN_AUGMENTED = ["train", "--arm", "augmented", "--trial", "0", "data/split/0.csv", "data/augmented/0.csv"]


# a process that multiprocessing has started waits for joblib's workers at its end: here there are none
ONE_PROCESS = {"LOKY_MAX_CPU_COUNT": "1"}


def run(*commands: list[str]) -> str:
    """What the stages print; they must succeed without a word on stderr."""
    assert wait_for(start_stages(list(commands), **ONE_PROCESS)) == 0, Path("err.txt").read_text()
    assert not Path("err.txt").read_text()
    return Path("out.txt").read_text()


def read_model(arm: str) -> dict[str, torch.Tensor]:
    return dict(load_file(get_model_dir(arm, 0) / "model.safetensors"))


def test_online_training_resumes_to_the_same_bytes(photos_to_train: Path) -> None:
    change_params({"augment.mode": "online", "augment.max_side": 64})
    run(AUGMENT, TRAIN_AUGMENTED)
    record = TrainRecord.load(get_model_dir("augmented", 0) / RUN_FILE)
    assert (record.train_images, record.repeats, record.steps) == (16, 1, STEPS), "the work of the original arm"
    assert record.params["augment.mode"] == "online"
    whole = (get_model_dir("augmented", 0) / "model.safetensors").read_bytes()

    shutil.rmtree("models")
    assert wait_for(start_stages([TRAIN_AUGMENTED], FAILPOINT="step 2.1", **ONE_PROCESS)) == -signal.SIGKILL
    assert f"resuming after step 3 of {STEPS}" in run(TRAIN_AUGMENTED)
    assert (get_model_dir("augmented", 0) / "model.safetensors").read_bytes() == whole

    change_params({"augment.operations": {"hflip": {}}, "augment.operations_per_copy": 1})
    run(AUGMENT, TRAIN_AUGMENTED)
    assert (get_model_dir("augmented", 0) / "model.safetensors").read_bytes() != whole


def test_shards_train_the_same_model(photos_to_train: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(AUGMENT, TRAIN_AUGMENTED)
    model, copies = (get_model_dir("augmented", 0) / "model.safetensors").read_bytes(), Path("data/augmented/0.csv")
    hashes = CopyTable.load(copies)["sha256"].tolist()

    monkeypatch.setattr(shards, "LIMIT", 5)
    monkeypatch.setattr(shards, "SIZE", 3)
    split = SplitTable.load(Path("data/split/0.csv"))
    split["path"] = gather_images(Path("data/raw"), split["path"].tolist())
    SplitTable.save(Path("data/split/0.csv"), split)
    run(AUGMENT)
    made = CopyTable.load(copies)
    assert made["sha256"].tolist() == hashes
    made["path"] = gather_images(Path("data/augmented/0"), made["path"].tolist())
    CopyTable.save(copies, made)
    assert not list(Path("data").rglob("*.jpg"))
    for left in Path(".dvc/tmp/pixels").glob("*.pack"):
        left.unlink()
    run(TRAIN_AUGMENTED)
    assert (get_model_dir("augmented", 0) / "model.safetensors").read_bytes() == model
    packs = len(list(Path(".dvc/tmp/pixels").glob("*.pack")))
    assert packs == 3, "test photos, train photos and copies, however many shards they fill"


@pytest.fixture
def weights(photos_to_train: Path) -> dict[str, torch.Tensor]:
    """Pretrained weights of the small network, for ten classes, which params name."""
    torch.manual_seed(0)
    tensors: dict[str, Any] = make_small_resnet("", 32, num_classes=10).state_dict()
    Path("models/weights").mkdir(parents=True)
    save_file(tensors, "models/weights/own.safetensors")
    change_params({"model.weights": "models/weights/own.safetensors", "augment.max_side": 64})
    return tensors


@pytest.mark.parametrize("mode", ["copies", "online"])
def test_with_a_frozen_backbone_only_the_head_learns(mode: str, weights: dict[str, torch.Tensor]) -> None:
    change_params({"model.freeze": "backbone", "augment.mode": mode, "evaluate.robustness": False})
    said = run(AUGMENT, TRAIN, TRAIN_AUGMENTED, ["evaluate", "--trial", "0"])
    assert "resnet50 from the weights models/weights/own.safetensors, only its head" in said
    on_images = [line for line in said.splitlines() if "images/s" in line]
    assert len(on_images) == (2 if mode == "online" else 0), "epochs on features have no speed to speak of"
    for arm in ("original", "augmented"):
        trained = read_model(arm)
        changed = {name for name, tensor in trained.items() if not torch.equal(tensor, weights[name])}
        assert changed == {"fc.weight", "fc.bias"}
        assert trained["fc.weight"].any(), "it starts from zeros"
        layers = pd.read_csv(get_model_dir(arm, 0) / "layers.csv")
        assert layers.loc[layers["trainable"], "layer"].tolist() == ["fc.weight", "fc.bias"]
        history = pd.read_csv(get_history_path(arm, 0))
        found = json.loads(Path(f"metrics/{arm}/0.json").read_text())
        assert found["accuracy"] == history["test/accuracy"].iloc[-1]
        assert found["log_loss"] == pytest.approx(history["test/loss"].iloc[-1])


def test_without_freezing_every_layer_learns_from_the_same_weights(weights: dict[str, torch.Tensor]) -> None:
    run(TRAIN)
    trained = read_model("original")
    same = [name for name, tensor in trained.items() if torch.equal(tensor, weights[name])]
    assert not [name for name in same if name.endswith("weight")]
    assert TrainRecord.load(get_model_dir("original", 0) / RUN_FILE).network.weights_sha256
