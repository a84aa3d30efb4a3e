"""Every photo on exactly one side, every class on both, near-duplicates together, whatever the listing order."""

import itertools
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.sparse.csgraph import connected_components

from stages import split
from stages.base.files import compute_sha256
from stages.photos.decoding import compute_dhash
from stages.photos.manifest import PHOTOS, PhotoTable, SplitTable
from stages.runtime.errors import UserError
from stages.splitting.duplicates import group_near_duplicates
from stages.splitting.folds import assign_folds, check_class_sizes
from stages.splitting.params import SplitParams


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
    try:
        photos["fold"] = assign_folds(photos, num_folds, seed)
    except UserError:
        return
    assert photos["fold"].between(0, num_folds - 1).all()
    assert (photos.groupby("group")["fold"].nunique() == 1).all()


CLASS_SETS = st.frozensets(st.sampled_from("abc"), min_size=1)


@settings(deadline=None)
@given(st.lists(st.tuples(CLASS_SETS, st.integers(1, 4)), min_size=2, max_size=7), st.integers(2, 3), st.integers(0, 3))
def test_every_fold_has_every_class_where_that_is_possible(
    groups: list[tuple[frozenset[str], int]], num_folds: int, seed: int
) -> None:
    """Compared with a search through all dealings, so that neither a lost class nor a needless error passes."""
    classes = frozenset[str]().union(*(names for names, _ in groups))
    dealings = itertools.product(range(num_folds), repeat=len(groups))
    possible = any(
        len({(fold, name) for (names, _), fold in zip(groups, dealing, strict=True) for name in names})
        == num_folds * len(classes)
        for dealing in dealings
    )
    rows = [(name, i) for i, (names, size) in enumerate(groups) for name in sorted(names) for _ in range(size)]
    photos = make_table([name for name, _ in rows], [group for _, group in rows])
    if not possible:
        with pytest.raises(UserError, match=f"{num_folds} folds"):
            assign_folds(photos, num_folds, seed)
        return
    folds = assign_folds(photos, num_folds, seed)
    for fold in range(num_folds):
        assert set(photos.loc[folds == fold, "class"]) == classes, "test side"
        assert set(photos.loc[folds != fold, "class"]) == classes, "train side"


def test_a_class_that_only_near_duplicates_could_take_from_a_fold() -> None:
    """10 dogs alike, 3 cats alike, and a cat that is nearly a dog: dealt by size, both other groups meet."""
    photos = make_table(["dogs"] * 10 + ["cats"] * 3 + ["cats", "dogs"], [0] * 10 + [1] * 3 + [2] * 2)
    for seed in range(10):
        folds = assign_folds(photos, 2, seed).tolist()
        assert folds == [folds[0]] * 13 + [1 - folds[0]] * 2


def test_impossible_folds_are_explained_with_numbers_and_a_remedy() -> None:
    triangle = make_table(["cats", "dogs", "dogs", "hens", "hens", "cats"], [0, 0, 1, 1, 2, 2])
    with pytest.raises(UserError) as caught:
        assign_folds(triangle, 2, 0)
    assert str(caught.value) == (
        "no 2 folds have every class in each: near-duplicates, and photos of one group of split.groups, stay in one "
        "fold, and some of these are of several classes. Groups of one class and of several: cats 0 and 2, dogs 0 and "
        "2, hens 0 and 2. Correct the labels of near-duplicates, use smaller groups in split.groups, or add photos."
    )
    more = pd.concat([triangle, make_table(["cats", "dogs", "hens"], [3, 3, 3])])
    assert set(assign_folds(more, 2, 0)) == {0, 1}
    with pytest.raises(UserError, match=r"set split\.test_fraction to 0\.5 \(2 folds are possible\)\.$"):
        assign_folds(more, 3, 0)


def test_folds_that_were_valid_are_what_they_were() -> None:
    """Results that users have: another order of draws would change every one of them."""
    classes = ["cats"] * 9 + ["dogs"] * 7 + ["cats", "dogs"]
    photos = make_table(classes, [0, 0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 12, 12])
    assert assign_folds(photos, 3, 0).tolist() == [2, 2, 2, 1, 1, 1, 0, 0, 0, 1, 2, 1, 1, 2, 2, 0, 0, 0]
    assert assign_folds(photos, 3, 1).tolist() == [1, 1, 1, 0, 1, 2, 2, 0, 0, 2, 1, 0, 0, 2, 0, 1, 2, 2]


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


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 16), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_groups_are_those_of_all_pairs(max_bits: int, centers: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**63, centers, dtype=np.uint64).repeat(3) * 2
    for _ in range(max_bits + 1):  # around each center, within reach of each other and just out of it
        hashes ^= np.uint64(1) << rng.integers(0, 64, len(hashes), dtype=np.uint64)
    rng.shuffle(hashes)
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= max_bits
    expected = pd.factorize(connected_components(near, directed=False)[1])[0]
    assert group_near_duplicates([f"{value:016x}" for value in hashes], max_bits).tolist() == expected.tolist()


@pytest.mark.parametrize(("count", "fits"), [(4, False), (5, True), (6, True)])
def test_class_needs_one_group_per_fold(count: int, fits: bool) -> None:
    photos = make_table(["cats"] * 20 + ["dogs"] * count, list(range(20 + count)))
    if fits:
        check_class_sizes(photos, 5, None)
    else:
        with pytest.raises(UserError, match="dogs has 4"):
            check_class_sizes(photos, 5, None)


@pytest.mark.parametrize(
    ("sizes", "num_folds", "remedies"),
    [
        ({"cats": 20, "dogs": 20, "hens": 1}, 5, "Add photos, or remove the class."),
        ({"cats": 20, "dogs": 1}, 2, "Add photos."),
        ({"cats": 20, "dogs": 3}, 5, "Add photos, or set split.test_fraction to 0.333 (3 folds are possible)."),
        ({"cats": 20, "dogs": 8}, 10, "Add photos, or set split.test_fraction to 0.125 (8 folds are possible)."),
        (
            {"cats": 9, "dogs": 9, "hens": 4, "pigs": 2},
            5,
            "Add photos, remove the class, or set split.test_fraction to 0.5 (2 folds are possible).",
        ),
    ],
)
def test_only_what_helps_a_small_class_is_advised(sizes: dict[str, int], num_folds: int, remedies: str) -> None:
    classes = [name for name, size in sizes.items() for _ in range(size)]
    with pytest.raises(UserError) as caught:
        assign_folds(make_table(classes, list(range(len(classes)))), num_folds, 0)
    assert str(caught.value).endswith(f"Every class needs at least {num_folds}, one for each fold. {remedies}")
    if advised := re.search(r"to ([.\d]+) \((\d+) folds", remedies):
        split = {"scheme": "folds", "test_fraction": float(advised[1]), "groups": None, "near_duplicate_bits": 2}
        assert SplitParams.model_validate(split).count_folds() == int(advised[2])


def test_a_thousand_classes_fit_in_one_line() -> None:
    few = make_table([f"class {i}" for i in range(1000) for _ in range(2)], list(range(2000)))
    with pytest.raises(UserError) as caught:
        check_class_sizes(few, 5, None)
    assert "class 0 has 2, class 1 has 2, class 10 has 2, class 100 has 2, class 101 has 2 and 995 more. " in str(
        caught.value
    )
    many = make_table([f"class {i % 1000}" for i in range(3500)], list(range(3500)))
    many["split"] = np.where(assign_folds(many, 3, 0) == 0, "test", "train")
    assert re.fullmatch(
        r"2,\d\d\d train \(1,000 classes of 2 to 3\), 1,\d\d\d test \(1,000 classes of 1 to 2\)", split.describe(many)
    )


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


def test_many_photos_alike_fit_in_memory() -> None:
    """100,000 black photos: no list of 5 billion pairs."""
    assert set(group_near_duplicates(["0" * 16] * 100_000, 2).tolist()) == {0}
