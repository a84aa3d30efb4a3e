"""The test set that a source brings: on the test side of every trial, and nothing of it on the train side."""

import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import split
from stages.photos.manifest import PHOTOS, PhotoTable, SplitTable
from stages.runtime.errors import UserError
from stages.splitting.given import assign_sides
from tests.conftest import change_params


def assign(rows: list[tuple[str, str, int]]) -> list[str]:
    """The sides of photos with these subsets, classes and groups."""
    return list(assign_sides(pd.DataFrame(rows, columns=["subset", "class", "group"])))


@pytest.mark.parametrize(
    ("subsets", "tested"),
    [
        (["train", "test"], ["test"]),
        (["training", "testing"], ["testing"]),
        (["train", "val"], ["val"]),
        (["train", "valid"], ["valid"]),
        (["train", "validation"], ["validation"]),
        (["train", "val", "test"], ["test"]),
        (["val", "test"], ["test"]),
        (["dev", "validation"], ["validation"]),
        (["", "test"], ["test"]),
    ],
)
def test_the_test_set_is_test_and_everything_else_train(subsets: list[str], tested: list[str]) -> None:
    rows = [(subset, name, 2 * i + j) for i, subset in enumerate(subsets) for j, name in enumerate(["cats", "dogs"])]
    assert assign(rows) == ["test" if subset in tested else "train" for subset, _, _ in rows]


@pytest.mark.parametrize(
    ("subsets", "listed"),
    [
        (["test"], "test 2"),
        (["train"], "train 2"),
        ([""], "no subset 2"),
        (["train", "dev"], "dev 2, train 2"),
        (["test", "testing"], "test 2, testing 2"),
    ],
)
def test_a_side_without_photos_is_an_error_with_the_remedy(subsets: list[str], listed: str) -> None:
    with pytest.raises(UserError) as caught:
        assign([(subset, name, i) for i, subset in enumerate(subsets) for name in ("cats", "dogs")])
    assert str(caught.value) == (
        "split.scheme is given, which needs photos of a test set (a folder test, else val) and others to train on; "
        f"photos by subset: {listed}. Set fetch.subset to all or a list such as [train, test], or set split.scheme to "
        "folds in params.yaml."
    )


BOTH = [("train", "cats", 0), ("train", "dogs", 1), ("test", "cats", 2), ("test", "dogs", 3)]


@pytest.mark.parametrize("side", ["train", "test"])
def test_a_class_without_photos_on_a_side_is_an_error(side: str) -> None:
    with pytest.raises(UserError, match=rf"no {side} photo is of the class hens; every class needs some on both sides"):
        assign([*BOTH, ("test" if side == "train" else "train", "hens", 4)])
    with pytest.raises(UserError, match=rf"no {side} photo is of the class 0, 1, 10, 100, 101 and 995 more; every"):
        assign([*BOTH, *(("test" if side == "train" else "train", str(i), 4 + i) for i in range(1000))])


def test_train_photos_in_a_group_with_a_test_photo_are_left_out() -> None:
    leak = [("train", "cats", 2), ("val", "dogs", 2), ("train", "dogs", 0)]
    assert assign([*BOTH, *leak]) == ["train", "train", "test", "test", "left out", "left out", "train"]
    with pytest.raises(UserError, match=r"no train photo is of the class dogs, once 2 that are in a group"):
        assign([BOTH[0], ("train", "dogs", 3), ("val", "dogs", 2), *BOTH[2:]])


ROWS = st.tuples(st.sampled_from(["train", "test", "val", ""]), st.sampled_from("ab"), st.integers(0, 20))


@settings(deadline=None)
@given(st.lists(ROWS, min_size=2, max_size=30))
def test_nothing_of_the_test_set_is_trained_on_and_nothing_is_lost(rows: list[tuple[str, str, int]]) -> None:
    try:
        sides = assign(rows)
    except UserError:
        return
    found = pd.DataFrame(rows, columns=["subset", "class", "group"]).assign(side=sides)
    by_side = {side: set(found.loc[found["side"] == side, "group"]) for side in ("train", "test", "left out")}
    assert not by_side["train"] & by_side["test"]
    assert by_side["left out"] <= by_side["test"], "only what would leak is left out"
    assert set(found["side"]) <= {"train", "test", "left out"}
    for side in ("train", "test"):
        assert set(found.loc[found["side"] == side, "class"]) == set(found["class"])


def test_every_trial_tests_the_given_set_without_leaks(
    photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """cats_0 to cats_2 and dogs_0 to dogs_2 are the test set; cats_5 looks like cats_0, dogs_7 is the dog of dogs_1."""
    photos["subset"] = ["test" if i % 10 < 3 else "train" for i in range(20)]
    dhashes = photos["dhash"].tolist()
    photos["dhash"] = [*dhashes[:5], dhashes[0], *dhashes[6:]]
    photos["path_in_source"] = [f"rex_{i}.jpg" if i in (11, 17) else f"{i}.jpg" for i in range(20)]
    PhotoTable.save(PHOTOS, photos)
    change_params({"fetch.subset": "all", "split.scheme": "given", "split.groups": {"path": "[a-z]+_"}})
    sides = []
    for trial in (0, 1, 9):
        monkeypatch.setattr(sys, "argv", ["split", "--trial", str(trial)])
        split.main()
        sides.append(SplitTable.load(Path(f"data/split/{trial}.csv")).set_index("path")["split"])
        assert capsys.readouterr().out.splitlines()[-1] == (
            f"split: trial {trial}: 12 train (cats: 6, dogs: 6), 6 test (cats: 3, dogs: 3), 2 left out (train photos "
            "that are near-duplicates of test photos, or in a group with them)"
        )
    assert sides[0].equals(sides[1])
    assert sides[0].equals(sides[2])
    assert set(sides[0].index[sides[0] == "left out"]) == {"data/raw/cats/cats_5.jpg", "data/raw/dogs/dogs_7.jpg"}
    tested = {f"data/raw/{name}/{name}_{i}.jpg" for name in ("cats", "dogs") for i in range(3)}
    assert set(sides[0].index[sides[0] == "test"]) == tested
