"""What a stage reads is what the stage before it wrote: a changed byte is named, and workers change nothing."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages import augment, evaluate, fetch, split, train
from stages.base.files import read_recorded, write_bytes
from stages.base.records import Budget
from stages.base.tables import Table
from stages.cli.params import load_params
from stages.evaluation.predictions import RobustnessTable
from stages.evaluation.robustness import Predict, compute_robustness
from stages.model.dataset import load_images
from stages.model.features import Inputs
from stages.model.network import MODEL_FILE, build_model, encode_weights
from stages.model.record import RUN_FILE
from stages.photos.manifest import PHOTOS, CopyTable, PhotoTable, SplitTable
from stages.runtime.errors import UserError
from tests.conftest import ROOT, change_params
from tests.evaluation.test_evaluate import look_at_red
from tests.support.pictures import make_jpeg, make_zip
from tests.support.records import make_network, make_run

CLASS_NAMES = ["cats", "dogs"]
SIZE = 32  # pixels
SPLIT, COPIES, BUDGET = Path("data/split/0.csv"), Path("data/augmented/0.csv"), Path("data/budget/0.json")
TABLES: dict[Path, type[Table]] = {PHOTOS: PhotoTable, SPLIT: SplitTable, COPIES: CopyTable}

FLIPS = settings(
    max_examples=80,
    deadline=timedelta(seconds=20),
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker processes, which outlive a test and take long to start."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")


def run(monkeypatch: pytest.MonkeyPatch, stage: Callable[[], None], *arguments: object) -> None:
    """Run a stage's main with these arguments."""
    monkeypatch.setattr(sys, "argv", ["stage", *map(str, arguments)])
    stage()


def run_train(monkeypatch: pytest.MonkeyPatch, arm: str) -> None:
    manifests = [SPLIT] if arm == "original" else [SPLIT, COPIES]
    run(monkeypatch, train.main, "--arm", arm, "--trial", 0, *manifests)


@pytest.fixture
def prepared(photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Twenty photos, split and augmented. Returns the split."""
    change_params({"model.image_size": SIZE, "augment.copies": 1, "augment.operations_per_copy": 1})
    run(monkeypatch, split.main, "--trial", 0)
    run(monkeypatch, augment.main, "--trial", 0)
    return SplitTable.load(SPLIT)


def flip(path: Path, position: int = -20) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


# Photos and copies


@pytest.mark.parametrize("side", ["train", "test"])
def test_a_changed_photo_stops_every_stage_that_decodes_it(
    prepared: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    path = Path(prepared.loc[prepared["split"] == side, "path"].iloc[1])
    flip(path)
    message = f"{path} was changed or damaged: its bytes are not those in the manifest. Delete the file, then run"
    with pytest.raises(UserError, match=message):
        run_train(monkeypatch, "original")
    with pytest.raises(UserError, match=message):
        run_evaluate_on(prepared[prepared["split"] == side])
    if side == "train":
        with pytest.raises(UserError, match=message):
            run(monkeypatch, augment.main, "--trial", 0)


def run_evaluate_on(images: pd.DataFrame) -> pd.DataFrame:
    """What evaluate does with photos under each operation, with models that need no training."""
    models: dict[str, Predict] = dict.fromkeys(evaluate.ARMS, look_at_red)
    return compute_robustness(images, CLASS_NAMES, models, load_params().augment, Inputs(SIZE))


def test_a_changed_copy_stops_training(prepared: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(CopyTable.load(COPIES)["path"].iloc[3])
    flip(path)
    with pytest.raises(UserError, match=f"{path} was changed or damaged"):
        run_train(monkeypatch, "augmented")


# Manifests


def read_images() -> list[Any]:
    """Pixels and labels that the augmented arm learns from and is tested on."""
    images = [load_images(part, CLASS_NAMES, SIZE) for part in train.read_manifests([SPLIT, COPIES])]
    return [tensor.tolist() for part in images for tensor in (part.inputs[:], part.targets)]


@pytest.mark.parametrize("path", [SPLIT, COPIES], ids=str)
def test_no_changed_byte_of_a_manifest_is_trained_on(prepared: pd.DataFrame, path: Path) -> None:
    good, expected = path.read_bytes(), read_images()

    @FLIPS
    @given(st.integers(0, len(good) - 1), st.integers(0, 255))
    def check(position: int, value: int) -> None:
        path.write_bytes(good[:position] + bytes([value]) + good[position + 1 :])
        try:
            assert read_images() == expected
        except UserError as error:
            assert str(error)

    check()


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (SPLIT, ",cats,", ",cbts,"),
        (SPLIT, ",cats,", ",dogs,"),
        (SPLIT, ",train", ",traim"),
        (COPIES, ",dogs,", ",cats,"),
        (PHOTOS, ",dogs,", ",hogs,"),
    ],
)
def test_a_wrong_word_is_named_with_its_line(
    prepared: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, path: Path, old: str, new: str
) -> None:
    text = path.read_text()
    line = text[: text.index(old)].count("\n") + 1
    path.write_text(text.replace(old, new, 1))
    message = f"{path} was changed or damaged: .* line {line} breaks: .* {new.strip(',')}.* Delete the file, then run"
    with pytest.raises(UserError, match=message):
        if path == PHOTOS:
            run(monkeypatch, split.main, "--trial", 0)
        else:
            run_train(monkeypatch, "augmented")


def test_no_changed_byte_of_the_photos_manifest_changes_a_label(
    photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = PHOTOS.read_bytes()
    expected = set(zip(photos["sha256"], photos["class"], strict=True))

    @FLIPS
    @given(st.integers(0, len(good) - 1), st.integers(0, 255))
    def check(position: int, value: int) -> None:
        PHOTOS.write_bytes(good[:position] + bytes([value]) + good[position + 1 :])
        try:
            run(monkeypatch, split.main, "--trial", 0)
            for part in train.read_manifests([SPLIT]):
                load_images(part, CLASS_NAMES, SIZE)
        except UserError:
            return
        found = SplitTable.load(SPLIT)
        assert set(zip(found["sha256"], found["class"], strict=True)) == expected

    check()


@pytest.mark.parametrize("path", [PHOTOS, SPLIT, COPIES, BUDGET], ids=str)
def test_under_dvc_any_changed_byte_of_what_it_recorded_is_named(
    prepared: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    good = path.read_bytes()
    record = {"path": path.as_posix(), "hash": "md5", "md5": hashlib.md5(good).hexdigest(), "size": len(good)}
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"one": {"outs": [record]}}}, sort_keys=False))
    monkeypatch.setenv("DVC_STAGE", "two@0")
    assert read_recorded(path) == good

    @FLIPS
    @given(st.integers(0, len(good) - 1), st.integers(1, 255))
    def check(position: int, flip: int) -> None:
        path.write_bytes(good[:position] + bytes([good[position] ^ flip]) + good[position + 1 :])
        with pytest.raises(
            UserError, match=f"^{path} was changed or damaged: dvc.lock has another MD5. Delete the file, then run"
        ):
            Budget.load(path) if path == BUDGET else TABLES[path].load(path)

    check()
    with monkeypatch.context() as patch:
        patch.delenv("DVC_STAGE")
        assert read_recorded(path) != good, "by hand anyone may run a stage on what is there"
    Path("dvc.lock").write_text("stages: {}\n")
    assert read_recorded(path) != good, "nothing was recorded of it"


# Models


@pytest.fixture(scope="module")
def weights() -> bytes:
    return encode_weights(build_model(make_network(), 2, seed=0))


@pytest.fixture
def trained(prepared: pd.DataFrame, weights: bytes) -> Path:
    """Both arms' models, untrained but whole. Returns the folder of the augmented arm."""
    for arm in evaluate.ARMS:
        write_bytes(Path("models", arm, "0", MODEL_FILE), weights)
        make_run(arm=arm, model_sha256=hashlib.sha256(weights).hexdigest()).save(Path("models", arm, "0", RUN_FILE))
    return Path("models/augmented/0")


@pytest.mark.parametrize("position", [0, 100, 50_000_000, -1])
def test_a_changed_model_stops_evaluate(trained: Path, monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    flip(trained / MODEL_FILE, position)
    with pytest.raises(UserError, match=f"{trained / MODEL_FILE} was changed: its SHA-256 is"):
        run(monkeypatch, evaluate.main, "--trial", 0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"dogs"',
            '"hogs"',
            "augmented model was trained on other classes than the photos have, such as hogs instead of dogs",
        ),
        ('"same"', '"sane"', "the two arms started from different weights"),
        ('"freeze": "none"', '"freeze": "backbone"', "the two arms started from different weights"),
        ('"precision"', 'precision"', r"models/augmented/0/run\.json cannot be used: JSON: "),
        (
            '"precision"',
            '"decision"',
            r"models/augmented/0/run\.json cannot be used: machine\.precision: field required",
        ),
    ],
)
def test_a_changed_record_of_a_run_stops_evaluate(
    trained: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    text = (trained / RUN_FILE).read_text()
    (trained / RUN_FILE).write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        run(monkeypatch, evaluate.main, "--trial", 0)


# Workers


def run_stages() -> None:
    """Run all that comes before training, and what evaluate computes beside a model."""
    for stage in (fetch, split, augment):
        sys.argv = ["stage", "--trial", "0"]
        stage.main()
    train_images, test = train.read_manifests([SPLIT, COPIES])
    RobustnessTable.save(Path("data/robustness.csv"), run_evaluate_on(test))
    images = load_images(train_images, CLASS_NAMES, SIZE)
    torch.save((images.inputs[:], images.targets), "data/images.pt")


def snapshot_data() -> dict[str, bytes]:
    return {path.as_posix(): path.read_bytes() for path in sorted(Path("data").rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_the_number_of_workers_changes_no_byte(workspace: Path) -> None:
    photos = {f"cats/{i}.jpg": make_jpeg(i, (120, 90)) for i in range(6)}
    photos |= {f"dogs/{i}.jpg": make_jpeg(10 + i, (120, 90)) for i in range(6)}
    make_zip(Path("photos.zip"), photos)
    change_params({"fetch.sources": ["archive"], "fetch.archive": "photos.zip"})
    run_stages()
    expected = snapshot_data()
    assert len(expected) == 12 + 1 + 1 + 20 + 1 + 1 + 2, "photos, manifest, split, copies, theirs, budget, results"
    subprocess.run(
        [sys.executable, "-c", "from tests.pipeline.test_integrity import run_stages; run_stages()"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "LOKY_MAX_CPU_COUNT": "3", "PYTHONHASHSEED": "1"},
        check=True,
    )
    assert snapshot_data() == expected
