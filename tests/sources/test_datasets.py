"""Datasets as people have them, from the source to the split: few and many classes, scans, icons, labels in a CSV."""

import io
import json
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages import fetch, split
from stages.fetch import FILES
from stages.photos.manifest import PHOTOS, PhotoTable, SplitTable
from stages.runtime.errors import UserError
from tests.conftest import change_params
from tests.support.pictures import encode, make_folder, make_jpeg, make_zip


def run(entries: dict[str, bytes], *, folder: bool = False, **params: object) -> pd.DataFrame:
    """Fetch a zip or a folder of these entries; params are those of fetch. Returns the manifest."""
    source = (make_folder if folder else make_zip)(Path("photos" if folder else "photos.zip"), entries)
    change_params({"fetch.sources": ["archive"], "fetch.archive": str(source), "fetch.subset": "all"})
    change_params({f"fetch.{key}": value for key, value in params.items()})
    fetch.main()
    return PhotoTable.load(PHOTOS)


def run_split(monkeypatch: pytest.MonkeyPatch, **params: object) -> pd.DataFrame:
    """Split trial 0; params are those of split."""
    change_params({f"split.{key}": value for key, value in params.items()})
    monkeypatch.setattr(sys, "argv", ["split", "--trial", "0"])
    split.main()
    return SplitTable.load(Path("data/split/0.csv"))


def check_sides(found: pd.DataFrame, classes: int) -> None:
    """Every class is on both sides."""
    for side in ("train", "test"):
        assert found.loc[found["split"] == side, "class"].nunique() == classes


# Classes


@pytest.mark.parametrize(("classes", "each"), [(2, 5), (3, 7), (10, 5), (120, 4), (1000, 2)])
@pytest.mark.parametrize("labelled", [False, True], ids=["folders", "csv"])
def test_from_two_to_a_thousand_classes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, classes: int, each: int, labelled: bool
) -> None:
    names = {f"{i}-{j}": f"class {i}" for i in range(classes) for j in range(each)}
    photos = {name: make_jpeg(number, (16, 12)) for number, name in enumerate(names)}
    if labelled:
        table = "id;breed\n" + "".join(f"{name};{label}\n" for name, label in names.items())
        entries = {f"images/{name}.jpg": data for name, data in photos.items()} | {"labels.csv": table.encode()}
        manifest = run(entries, labels={"file": "labels.csv", "path": "id", "label": "breed"})
    else:
        manifest = run({f"{names[name]}/{name}.jpg": data for name, data in photos.items()})
    assert (len(manifest), manifest["class"].nunique()) == (classes * each, classes)
    check_sides(run_split(monkeypatch, test_fraction=0.5, near_duplicate_bits=0), classes)


def test_one_class_too_many_is_one_message(workspace: Path) -> None:
    photo = make_jpeg(0)
    with pytest.raises(UserError) as caught:
        run({f"class {i}/1.jpg": photo for i in range(1001)})
    assert str(caught.value) == (
        "1,001 class folders, such as class 0, class 1, class 10; at most 1,000 classes are accepted. Keep fewer of "
        "them; many with a photo or two each may be something else than classes."
    )


def test_one_class_is_too_few(workspace: Path) -> None:
    entries = {f"{i}.jpg": make_jpeg(i) for i in range(3)} | {"labels.csv": b"id,breed\n0,pug\n1,pug\n2,pug\n"}
    with pytest.raises(
        UserError, match=r"found photos of pug: 3; at least two classes are needed\. Add photos of another class"
    ):
        run(entries, labels={"file": "labels.csv", "path": "id", "label": "breed"})


def test_labels_of_another_subset_alone_are_too_few(workspace: Path) -> None:
    entries = {"test/1.jpg": make_jpeg(1), "labels.csv": b"id,breed\ntrain/8.jpg,pug\ntrain/9.jpg,beagle\n"}
    with pytest.raises(
        UserError, match=r"found no photo in what fetch\.subset chooses; empty class folders: none\. Every"
    ):
        run(entries, subset="test", labels={"file": "labels.csv", "path": "id", "label": "breed"})


def test_imbalanced_classes_keep_their_shares(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"common": 100, "rare": 5, "usual": 25}
    run({f"{name}/{i}.jpg": make_jpeg(1000 * len(name) + i) for name, size in sizes.items() for i in range(size)})
    found = run_split(monkeypatch)
    assert found[found["split"] == "test"]["class"].value_counts().to_dict() == {"common": 20, "usual": 5, "rare": 1}
    assert "differ by more than" not in capsys.readouterr().err


def test_a_class_with_one_photo_is_fetched_and_named_by_split(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = {f"{name}/{i}.jpg": make_jpeg(100 * len(name) + i) for name in ("cat", "horse") for i in range(21)}
    run(photos | {"unicorn/1.jpg": make_jpeg(999)})
    assert "differ by more than 20:1 in size: 21 photos of cat, 1 of unicorn" in capsys.readouterr().err
    with pytest.raises(UserError, match="too few distinct photos for 5 folds: unicorn has 1"):
        run_split(monkeypatch)
    with pytest.raises(UserError, match=r"photos by subset: no subset 43\. Set fetch\.subset to all"):
        run_split(monkeypatch, scheme="given")


# Pictures


def make_gray(seed: int, mode: str) -> bytes:
    """A scan of 40 x 30 pixels as PNG, of 8 or 16 bits."""
    levels = np.random.default_rng(seed).integers(0, 2**16, (30, 40), dtype=np.uint16)
    return encode(Image.fromarray(levels if mode == "I;16" else (levels >> 8).astype(np.uint8)), "PNG")


def make_large(seed: int) -> bytes:
    """A photo of 4,000 x 3,000 pixels."""
    noise = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return encode(noise.resize((4000, 3000)))


def make_icon(seed: int) -> bytes:
    """An icon of 32 x 32 pixels with a transparent background."""
    return encode(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 4), dtype=np.uint8)), "PNG")


@pytest.mark.parametrize(
    ("kind", "size", "note"),
    [
        ("L", (40, 30), "gray to RGB"),
        ("I;16", (40, 30), "16-bit gray to RGB"),
        ("icon", (32, 32), "RGB with alpha over white"),
        ("large", (4000, 3000), ""),
    ],
)
def test_scans_icons_and_large_photos(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, kind: str, size: tuple[int, int], note: str
) -> None:
    make = {"icon": make_icon, "large": make_large}.get(kind, partial(make_gray, mode=kind))
    manifest = run({f"{name}/{i}.png": make(10 * len(name) + i) for name in ("ill", "well") for i in range(2)})
    assert manifest[["width", "height", "notes"]].drop_duplicates().to_numpy().tolist() == [[*size, note]]
    check_sides(run_split(monkeypatch, test_fraction=0.5), 2)


# Labels in a CSV


DOGS = {f"train/{i:03d}.jpg": make_jpeg(i) for i in range(20)}
UNKNOWN = {f"test/{i:03d}.jpg": make_jpeg(100 + i) for i in range(30, 35)}
LABELS = "id,breed,owner\n" + "".join(f"{i:03d},{'pug' if i % 2 else 'husky'},owner {i // 4}\n" for i in range(20))
KEYS = {"file": "labels.csv", "path": "id", "label": "breed"}


@pytest.mark.parametrize("folder", [False, True], ids=["zip", "folder"])
def test_a_dataset_as_on_kaggle(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: bool
) -> None:
    """Ids without suffix, test photos without labels, a column of owners, whose dogs are kept together."""
    entries = DOGS | UNKNOWN | {"labels.csv": LABELS.encode(), "sample_submission.csv": b"id\n"}
    manifest = run(entries, folder=folder, labels=KEYS)
    assert capsys.readouterr().out.splitlines()[1:-1] == [
        "  not used: 5 not in labels.csv: test/030.jpg, test/031.jpg, test/032.jpg, ... (5 in all)",
        "  not used: 1 not pictures: sample_submission.csv",
        "  27 files: 21 used, 0 set aside, 6 not used",
    ]
    assert json.loads(FILES.read_text()) == {
        "files": 27,
        "used": 21,  # with the CSV
        "set_aside": 0,
        "not_used": {"not in labels.csv": 5, "not pictures": 1},
    }
    first = manifest[["path", "class", "path_in_source", "subset", "csv_owner"]].to_numpy()[0]
    assert list(first) == ["data/raw/husky/000.jpg", "husky", "train/000.jpg", "train", "owner 0"]
    assert list(manifest.columns)[-1] == "csv_owner"
    found = run_split(monkeypatch, groups={"column": "owner"}).set_index("path")["split"]
    assert (manifest["path"].map(found).groupby(manifest["csv_owner"]).nunique() == 1).all()
    check_sides(SplitTable.load(Path("data/split/0.csv")), 2)


@pytest.mark.parametrize(
    "table",
    [
        LABELS.replace(",", ";"),
        "\ufeff" + LABELS,
        "\ufeff" + LABELS.replace(",", "\t").replace("\n", "\r\n"),
        LABELS + "000,husky,owner 0\n019,pug,owner 4\n",
        LABELS.replace("\n0", "\ntrain/0"),
        re.sub(r"(?m)^(\d+)", r"\1.jpg", LABELS),
    ],
    ids=["semicolons", "mark", "tabs", "doubled", "paths", "suffixes"],
)
def test_the_same_labels_in_other_words_give_the_same_manifest(workspace: Path, table: str) -> None:
    expected = run(DOGS | {"labels.csv": LABELS.encode()}, labels=KEYS).drop(columns="version")
    found = run(DOGS | {"labels.csv": table.encode()}, labels=KEYS).drop(columns="version")
    assert found.equals(expected)


def test_a_failure_to_read_labels_leaves_what_was_there(workspace: Path) -> None:
    run(DOGS | {"labels.csv": LABELS.encode()}, labels=KEYS)
    before = PHOTOS.read_bytes()
    with pytest.raises(UserError, match=r"named by 1 row of labels\.csv: 099 \(line 22\)"):
        run(DOGS | {"labels.csv": (LABELS + "099,pug,\n").encode()}, labels=KEYS)
    assert PHOTOS.read_bytes() == before


def test_a_photo_that_cannot_be_decoded_is_set_aside(workspace: Path) -> None:
    manifest = run(DOGS | {"labels.csv": LABELS.encode(), "train/001.jpg": b""}, labels=KEYS)
    assert len(manifest) == 19
    assert pd.read_csv("metrics/quarantine.csv")["path"].tolist() == ["train/001.jpg"]


def test_the_drawn_sample_needs_no_labels(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.sources.drawings.PER_CLASS", 2)
    change_params({"fetch.sources": ["sample"], "fetch.labels": KEYS})
    fetch.main()
    assert PhotoTable.load(PHOTOS)["class"].value_counts().to_dict() == {"cats": 2, "dogs": 2}


# The test set that the source brings


def test_a_given_test_set_with_leaks(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A train photo stored anew among the test photos, and two photos of one rabbit on both sides."""
    sides = {"train": 6, "val": 2, "test": 3}
    photos = {
        f"{side}/{name}/{name}_{100 * len(side) + i}.jpg": make_jpeg(1000 * len(side) + 100 * len(name) + i, (64, 48))
        for side, count in sides.items()
        for name in ("hare", "rabbit")
        for i in range(count)
    }
    with Image.open(io.BytesIO(photos["train/hare/hare_500.jpg"])) as image:
        photos["test/hare/again.jpg"] = encode(image.resize((128, 96)))
    photos["train/rabbit/flopsy-1.jpg"] = make_jpeg(7)
    photos["test/rabbit/flopsy-2.jpg"] = make_jpeg(8)
    run(photos)
    found = run_split(monkeypatch, scheme="given", groups={"path": r"([a-z]+)-\d"})
    left = found[found["split"] == "left out"]["path"].tolist()
    assert left == ["data/raw/hare/train-hare_500.jpg", "data/raw/rabbit/train-flopsy-1.jpg"]
    assert found["split"].value_counts().to_dict() == {"train": 15, "test": 8, "left out": 2}
    assert capsys.readouterr().out.splitlines()[-1] == (
        "split: trial 0: 15 train (hare: 7, rabbit: 8), 8 test (hare: 4, rabbit: 4), 2 left out (train photos that are "
        "near-duplicates of test photos, or in a group with them)"
    )
    run(photos, subset=["train"])
    with pytest.raises(UserError, match=r"photos by subset: train 13\. Set fetch\.subset to all"):
        run_split(monkeypatch)
