"""Copies come from train photos only, every operation does something, and bytes depend on nothing but the draw."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages import augment, fetch, split
from stages.augmentation.draws import draw_operations
from stages.augmentation.operations import apply_operations
from stages.augmentation.params import AugmentParams
from stages.base.files import compute_sha256
from stages.cli.params import load_params
from stages.photos.decoding import load_photo
from stages.photos.manifest import PHOTOS, CopyTable, PhotoTable, SplitTable
from stages.runtime.errors import UserError
from tests.conftest import ROOT, change_params, make_image
from tests.support.pictures import make_folder, make_jpeg

PARAMS = load_params(ROOT / "params.yaml").augment

pytestmark = pytest.mark.usefixtures("one_process")


def run_augment(monkeypatch: pytest.MonkeyPatch, trial: int = 0) -> pd.DataFrame:
    monkeypatch.setattr(sys, "argv", ["stage", "--trial", str(trial)])
    split.main()
    augment.main()
    return CopyTable.load(Path(f"data/augmented/{trial}.csv"))


def draw_each(params: AugmentParams, seed: int) -> list[dict[str, Any]]:
    return draw_operations(params.model_copy(update={"operations_per_copy": len(params.operations)}), seed)


@pytest.mark.parametrize("name", list(PARAMS.operations))
def test_no_operation_is_a_silent_no_op(name: str) -> None:
    """From the bounded size to what the model sees, every operation still changes the picture."""
    image = make_image(512, 384)
    before = np.asarray(image.resize((224, 224)), dtype=float)
    for seed in range(5):
        operation = next(op for op in draw_each(PARAMS, seed) if op["name"] == name)
        after = np.asarray(apply_operations(image, [operation], Path())[0].resize((224, 224)), dtype=float)
        assert np.abs(after - before).mean() > 1, f"{operation} changes less than one grey level in 255"


@given(st.integers(0, 2**62))
def test_draw_is_without_replacement_and_in_range(seed: int) -> None:
    operations = draw_operations(PARAMS, seed)
    names = [operation["name"] for operation in operations]
    assert len(names) == len(set(names)) == 3
    for operation in operations:
        for key, value in operation.items():
            magnitude = PARAMS.operations[operation["name"]].get(key)
            if isinstance(magnitude, list):
                assert magnitude[0] <= value <= magnitude[1]
            elif magnitude is not None:
                assert value == magnitude
    assert json.loads(json.dumps(operations)) == operations, "the manifest gives back exactly what was applied"


def test_the_order_of_keys_in_params_decides_no_draw() -> None:
    jitter = {"brightness_factor": [0.6, 1.4], "contrast_factor": [0.6, 1.4], "saturation_factor": [0.6, 1.4]}
    operations = {"scale": {"factor": [0.2, 0.4]}, "color_jitter": jitter, "hflip": {}, "blur": {"radius": [1.5, 3.0]}}
    backwards = {name: dict(reversed(magnitudes.items())) for name, magnitudes in reversed(operations.items())}
    for ordered in (operations, backwards):
        params = PARAMS.model_copy(update={"operations": ordered, "operations_per_copy": 2})
        assert draw_operations(params, 2) == [
            {"name": "blur", "radius": 1.627308},
            {"name": "scale", "factor": 0.3671},
        ]
        assert draw_operations(params, 4) == [
            {
                "name": "color_jitter",
                "brightness_factor": 0.682533,
                "contrast_factor": 0.916847,
                "saturation_factor": 0.723978,
            },
            {"name": "scale", "factor": 0.213303},
        ]


def test_every_operation_is_drawn_equally_often() -> None:
    names = [op["name"] for seed in range(4000) for op in draw_operations(PARAMS, seed)]
    counts = pd.Series(names).value_counts()
    assert set(counts.index) == set(PARAMS.operations)
    assert counts.between(1050, 1350).all()  # 1200 expected, deviation 29


def test_noise_differs_between_draws_and_leaves_numpy_alone() -> None:
    image = make_image(512, 384)
    draws = [next(op for op in draw_each(PARAMS, seed) if op["name"] == "random_noise") for seed in range(2)]
    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)
    first, second = (np.asarray(apply_operations(image, [draw], Path())[0]) for draw in draws)
    assert not np.array_equal(first, second)
    assert np.random.random() == expected


def test_copies_follow_from_train_photos_only(photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = run_augment(monkeypatch)
    sides = SplitTable.load(Path("data/split/0.csv")).set_index("path")
    train = sides[sides["split"] == "train"]
    assert sorted(copies["source_path"].unique()) == sorted(train.index)
    assert (copies.groupby("source_path").size() == 2).all()
    assert (copies["class"].to_numpy() == train.loc[copies["source_path"], "class"].to_numpy()).all()
    assert sorted(p.as_posix() for p in Path("data/augmented/0").rglob("*.jpg")) == sorted(copies["path"])
    assert [compute_sha256(Path(path)) for path in copies["path"]] == copies["sha256"].tolist()
    assert copies["sha256"].is_unique


def test_photos_of_similar_names_never_share_a_copy(photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "a.jpg",
        "a.png",
        "a.png.jpg",
        "a.jpg.jpg",
        "a-1.jpg",
        "a.1.jpg",
        "a.JPG.png",
        "a.jpeg",
        "a.jpeg.jpg",
        "b.jpg",
    ]
    cats = photos["class"] == "cats"
    for path, name in zip(photos.loc[cats, "path"], names, strict=True):
        Path(path).rename(Path(path).with_name(name))
    photos.loc[cats, "path"] = [f"data/raw/cats/{name}" for name in names]
    PhotoTable.save(PHOTOS, photos)
    copies = run_augment(monkeypatch)
    assert len(copies) == copies["path"].str.casefold().nunique() == 32
    assert [compute_sha256(Path(path)) for path in copies["path"]] == copies["sha256"].tolist()
    assert {"data/augmented/0/dogs/dogs_0-1.jpg", "data/augmented/0/dogs/dogs_1-1.jpg"} & set(copies["path"])


def test_bytes_do_not_depend_on_the_order_of_rows(photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run_augment(monkeypatch).set_index("path")["sha256"]
    shuffled = pd.read_csv("data/split/0.csv", dtype=str).sample(frac=1, random_state=1)
    SplitTable.save(Path("data/split/0.csv"), shuffled)
    augment.main()
    found = CopyTable.load(Path("data/augmented/0.csv")).set_index("path")["sha256"]
    assert found.index.tolist() != expected.index.tolist()
    assert found.sort_index().equals(expected.sort_index())


def test_trials_and_seeds_draw_differently(photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_augment(monkeypatch, trial=0)
    again = run_augment(monkeypatch, trial=5)  # the same fold number, in the next shuffle
    change_params({"seed": 1})
    other = run_augment(monkeypatch, trial=0)
    for run in (again, other):
        common = first.merge(run, on=["source_path", "copy"])
        assert len(common) > 5
        assert (common["operations_x"] != common["operations_y"]).mean() > 0.9


def test_max_side_bounds_the_copies(photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    change_params({"augment.max_side": 32, "augment.operations": {"hflip": {}}, "augment.operations_per_copy": 1})
    copies = run_augment(monkeypatch)
    for path in copies["path"]:
        with Image.open(path) as copy:
            assert copy.size == (32, 24)


def test_failing_operation_names_photo_and_magnitudes(photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    change_params({"augment.operations": {"blur": {"radius": [0, 1e-7]}}, "augment.operations_per_copy": 1})
    with pytest.raises(UserError, match=r'"blur", "radius": 0\.0.* to data/raw/\w+/\w+\.jpg: .*augment\.operations'):
        run_augment(monkeypatch)
    assert not Path("data/augmented/0").exists()
    assert not Path("data/augmented/0.csv").exists()


def test_copies_are_never_too_small_to_learn_from(
    photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """160 x 120 pixels by a factor of 0.05 would be 8 x 6."""
    change_params({"augment.operations": {"scale": {"factor": 0.05}}, "augment.operations_per_copy": 1})
    copies = run_augment(monkeypatch)
    assert set(copies["operations"]) == {'[{"name": "scale", "factor": 0.069, "drawn_factor": 0.05}]'}
    for path in copies["path"]:
        assert load_photo(Path(path)).size == (11, 8)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "augment: trial 0: 16 train photos -> 32 copies, 48 in all; weaker operations for small photos in 32 of 32 "
        "copies"
    )


def test_icons_pass_the_pipeline(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole data sets are 32 x 32: CIFAR-10, for example."""
    make_folder(Path("icons"), {f"{name}/{i}.jpg": make_jpeg(i, (32, 32)) for i, name in enumerate("ab" * 10)})
    change_params({"fetch.sources": ["archive"], "fetch.archive": "icons", "fetch.subset": "all"})
    monkeypatch.setattr(sys, "argv", ["fetch"])
    fetch.main()
    copies = run_augment(monkeypatch)
    assert len(copies) == 32
    for path in copies["path"]:
        load_photo(Path(path))
    assert 0 < copies["operations"].str.contains('"drawn_').sum() < 32
