"""Every photo on exactly one side, classes in balance, near-duplicates together, whatever the listing order."""

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages import split
from stages.base.files import compute_sha256
from stages.photos.decoding import compute_dhash
from stages.photos.manifest import PHOTOS, PhotoTable, SplitTable
from stages.runtime.errors import UserError
from stages.splitting.duplicates import group_near_duplicates
from stages.splitting.folds import assign_folds, check_class_sizes


def run_split(monkeypatch: pytest.MonkeyPatch, trial: int) -> pd.DataFrame:
    monkeypatch.setattr(sys, "argv", ["split", "--trial", str(trial)])
    split.main()
    return SplitTable.load(Path(f"data/split/{trial}.csv"))


def make_table(classes: list[str], groups: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"class": classes, "group": groups})


def test_labs_sizes_are_exact() -> None:
    """140 photos, three near-duplicate pairs among them: 112/28 and 14 of each class in every fold."""
    groups = list(range(140))
    for first, second in ((3, 4), (80, 81), (100, 139)):
        groups[second] = groups[first]
    photos = make_table(["cats"] * 70 + ["dogs"] * 70, groups)
    for seed in range(20):
        folds = assign_folds(photos, 5, seed)
        assert all(count == 14 for count in Counter(zip(photos["class"], folds, strict=True)).values())


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 40)), min_size=30, max_size=120),
    st.integers(2, 6),
    st.integers(0, 5),
)
def test_groups_are_never_divided(rows: list[tuple[str, int]], num_folds: int, seed: int) -> None:
    photos = make_table([name for name, _ in rows], [group for _, group in rows])
    photos["fold"] = assign_folds(photos, num_folds, seed)
    assert photos["fold"].between(0, num_folds - 1).all()
    assert (photos.groupby("group")["fold"].nunique() == 1).all()


@given(st.lists(st.integers(5, 40), min_size=2, max_size=4), st.integers(2, 5), st.integers(0, 3))
def test_classes_are_in_balance(sizes: list[int], num_folds: int, seed: int) -> None:
    classes = [f"class {i}" for i, size in enumerate(sizes) for _ in range(size)]
    photos = make_table(classes, list(range(len(classes))))
    photos["fold"] = assign_folds(photos, num_folds, seed)
    counts = photos.groupby(["class", "fold"]).size().unstack(fill_value=0)
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()


def test_chains_of_near_duplicates_form_one_group() -> None:
    hashes = [
        "0" * 16,
        "f" * 16,
        "0" * 15 + "3",
        "0" * 15 + "f",
        "f" * 15 + "e",
    ]  # 0-2 and 2-3 are 2 bits apart, 0-3 are 4
    assert group_near_duplicates(hashes, 2).tolist() == [0, 1, 0, 0, 1]
    assert group_near_duplicates(hashes, 1).tolist() == [0, 1, 2, 3, 1]
    assert group_near_duplicates(hashes, 0).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("count", "fits"), [(4, False), (5, True), (6, True)])
def test_class_needs_one_group_per_fold(count: int, fits: bool) -> None:
    photos = make_table(["cats"] * 20 + ["dogs"] * count, list(range(20 + count)))
    if fits:
        check_class_sizes(photos, 5)
    else:
        with pytest.raises(UserError, match="dogs has 4"):
            check_class_sizes(photos, 5)


def test_five_trials_test_every_photo_once(photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [run_split(monkeypatch, trial) for trial in range(5)]
    tested = pd.concat([trial.loc[trial["split"] == "test", "path"] for trial in trials])
    assert sorted(tested) == sorted(photos["path"])
    for trial in trials:
        assert sorted(trial["path"]) == sorted(photos["path"])
        assert trial.loc[trial["split"] == "test", "class"].value_counts().to_dict() == {"cats": 2, "dogs": 2}
    assert not run_split(monkeypatch, 5).equals(trials[0]), "trial 5 begins a new shuffle"


def test_listing_order_and_names_do_not_matter(photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run_split(monkeypatch, 0)
    PhotoTable.save(PHOTOS, photos.sample(frac=1, random_state=1))
    assert run_split(monkeypatch, 0).equals(expected)

    renamed = photos.assign(path=[f"data/raw/{name}/{99 - i}.jpg" for i, name in enumerate(photos["class"])])
    PhotoTable.save(PHOTOS, renamed)
    sides = run_split(monkeypatch, 0).set_index("sha256")["split"].to_dict()
    assert sides == expected.set_index("sha256")["split"].to_dict()


def test_byte_identical_photos_stay_together(photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    twins = photos.iloc[:4].assign(path=[f"data/raw/cats/twin_{i}.jpg" for i in range(4)])
    PhotoTable.save(PHOTOS, pd.concat([photos, twins]))
    for trial in range(5):
        sides = run_split(monkeypatch, trial).groupby("sha256")["split"].nunique()
        assert (sides == 1).all()


def test_nearly_identical_photos_stay_together(photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pictures, smaller, stored anew and with a mark in a corner, as they come from another site."""
    twins = []
    for i, row in enumerate(photos[:6].to_dict("records")):
        with Image.open(row["path"]) as image:
            smaller = image.resize((140, 105))
        smaller.paste("white" if i % 2 else "black", (0, 0, 15, 13))
        smaller.save(f"data/raw/cats/again_{i}.jpg", quality=60)
        with Image.open(f"data/raw/cats/again_{i}.jpg") as again:
            twins.append({**row, "path": f"data/raw/cats/again_{i}.jpg", "dhash": compute_dhash(again)})
            twins[-1]["sha256"] = compute_sha256(Path(twins[-1]["path"]))
    PhotoTable.save(PHOTOS, pd.concat([photos, pd.DataFrame(twins)]))
    assert any(twin["dhash"] != photo for twin, photo in zip(twins, photos["dhash"], strict=False))
    for trial in range(5):
        sides = run_split(monkeypatch, trial).set_index("path")["split"]
        for i in range(6):
            assert sides[f"data/raw/cats/again_{i}.jpg"] == sides[f"data/raw/cats/cats_{i}.jpg"]


def test_the_same_picture_under_two_labels_is_warned_of(
    photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_split(monkeypatch, 0)
    assert capsys.readouterr().err == ""
    dhashes = photos["dhash"].tolist()
    photos["dhash"] = [*dhashes[:19], dhashes[0]]  # the first picture stored anew, so with other bytes
    PhotoTable.save(PHOTOS, photos)
    run_split(monkeypatch, 0)
    assert sorted(re.findall(r"data/raw\S+jpg", capsys.readouterr().err)) == [
        "data/raw/cats/cats_0.jpg",
        "data/raw/dogs/dogs_9.jpg",
    ]


@pytest.mark.parametrize("dhash", ["", "g" * 16, "0" * 15, "0x" + "0" * 14])
def test_a_damaged_hash_is_named(photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, dhash: str) -> None:
    photos.loc[3, "dhash"] = dhash
    PhotoTable.save(PHOTOS, photos)
    with pytest.raises(UserError, match=f"data/manifest.csv was changed or damaged: dhash is '{dhash}'"):
        run_split(monkeypatch, 0)


def test_grouping_scales() -> None:
    """20,000 photos: no distance matrix of 400 million entries."""
    hashes = [f"{h:016x}" for h in np.random.default_rng(0).integers(0, 2**63, 20_000)]
    assert len(set(group_near_duplicates(hashes, 2).tolist())) == 20_000
