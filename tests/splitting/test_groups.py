"""Photos of one subject on one side: groups by path or column, merged with near-duplicates."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stages import split
from stages.photos.manifest import PHOTOS, PhotoTable, SplitTable
from stages.runtime.errors import UserError
from stages.splitting.folds import assign_folds
from stages.splitting.groups import find_subjects, merge_groups
from stages.splitting.params import SplitParams
from tests.conftest import change_params


def run_split(monkeypatch: pytest.MonkeyPatch, trial: int = 0) -> pd.DataFrame:
    monkeypatch.setattr(sys, "argv", ["split", "--trial", str(trial)])
    split.main()
    return SplitTable.load(Path(f"data/split/{trial}.csv"))


def match(expression: str, paths: list[str]) -> list[str]:
    return find_subjects(pd.DataFrame({"path_in_source": paths}), {"path": expression}).tolist()


# What photos have in common


@pytest.mark.parametrize(
    ("expression", "subjects"),
    [
        (r"patient\d+", ["patient1", "patient1", "patient2", ""]),
        (r"patient(\d+)", ["1", "1", "2", ""]),
        (r"^(?:.*/)?(\w+?)_(\d+)", ["patient1", "patient1", "patient2", ""]),  # the first of two
        (r"_(\d+)?", ["1", "2", "1", ""]),
        (r"^[a-z]+/", ["ill/", "well/", "ill/", "ill/"]),
        (r"9|patient2", ["", "", "patient2", "9"]),
    ],
)
def test_the_first_group_of_an_expression_or_the_whole_match_names_the_subject(
    expression: str, subjects: list[str]
) -> None:
    paths = ["ill/patient1_1.png", "well/patient1_2.png", "ill/patient2_1.png", "ill/9.png"]
    assert match(expression, paths) == subjects


@pytest.mark.parametrize("expression", ["person", "^patient", "x*", "(z)?patient"])
def test_an_expression_that_names_no_subject_is_an_error(expression: str) -> None:
    with pytest.raises(UserError, match=r"matches no photo's path in the source, such as 'a/patient1\.png'\. Fix"):
        match(expression, ["a/patient1.png", "a/patient2.png"])


def test_a_column_names_the_subject() -> None:
    photos = pd.DataFrame({"path": ["a", "b"], "csv_patient": ["7", ""], "csv_age": ["", ""]})
    assert find_subjects(photos, {"column": "patient"}).tolist() == ["7", ""]
    message = (
        r"split\.groups\.column is 'person', which data/manifest\.csv does not have; columns from the CSV of labels "
        r"beside path and label: patient, age\. Fix"
    )
    with pytest.raises(UserError, match=message):
        find_subjects(photos, {"column": "person"})
    with pytest.raises(UserError, match=r"beside path and label: none\. Fix split\.groups in params\.yaml, or name a"):
        find_subjects(photos[["path"]], {"column": "path"})
    with pytest.raises(UserError, match="'age', which is empty for all photos"):
        find_subjects(photos, {"column": "age"})


GOOD = {"scheme": "folds", "test_fraction": 0.2, "near_duplicate_bits": None}


@pytest.mark.parametrize("groups", [None, {"path": "a(b)"}, {"column": "patient"}])
def test_params_that_are_allowed(groups: object) -> None:
    assert SplitParams.model_validate(GOOD | {"groups": groups}).groups == groups


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            {"path": "(a"},
            r"must be a regular expression, and '\(a' is none: missing \), unterminated",
        ),
        ({"path": "a", "column": "b"}, "at most 1 item"),
        ({}, "at least 1 item"),
        ({"column": ""}, "at least 1 character"),
        ({"file": "a"}, "'path' or 'column'"),
        ("patient", "valid dictionary"),
    ],
)
def test_params_that_are_refused(groups: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SplitParams.model_validate(GOOD | {"groups": groups})


# Merged with near-duplicates


def test_groups_that_share_a_subject_become_one() -> None:
    groups = np.array([0, 1, 1, 2, 3, 4, 5])
    assert merge_groups(groups, pd.Series(["", "", "", "", "", "", ""])).tolist() == [0, 1, 1, 2, 3, 4, 5]
    # the twins 1 and 2 are of the patients a and b, and so join these
    assert merge_groups(groups, pd.Series(["a", "a", "b", "b", "c", "c", ""])).tolist() == [0, 0, 0, 0, 1, 1, 2]


ROWS = st.tuples(st.sampled_from("abc"), st.integers(0, 200), st.sampled_from(["", *"ABCDEFGHIJKLMNOP"]))


@settings(max_examples=200, deadline=None)
@given(st.lists(ROWS, min_size=20, max_size=80), st.integers(2, 4), st.integers(0, 3))
def test_no_subject_and_no_twin_is_on_two_sides_and_every_class_on_each(
    rows: list[tuple[str, int, str]], num_folds: int, seed: int
) -> None:
    photos = pd.DataFrame(rows, columns=["class", "twins", "subject"])
    twins = np.asarray(pd.factorize(photos["twins"])[0], dtype=np.int64)
    photos["group"] = merge_groups(twins, photos["subject"])
    try:
        photos["fold"] = assign_folds(photos, num_folds, seed)
    except UserError as error:
        assert f"{num_folds} folds" in str(error)
        return
    event("divided")
    assert (photos.groupby("twins")["fold"].nunique() == 1).all()
    assert (photos[photos["subject"] != ""].groupby("subject")["fold"].nunique() == 1).all()
    for fold in range(num_folds):
        for side in (photos["fold"] == fold, photos["fold"] != fold):
            assert set(photos.loc[side, "class"]) == set(photos["class"])


# The stage


def test_photos_of_a_patient_stay_on_one_side(
    photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each patient has a photo of both classes; two photos of each class are of nobody known."""
    patients = ["" if i % 10 in (4, 7) else f"p{i % 10 // 2}" for i in range(20)]
    table = photos.assign(
        path_in_source=[f"scans/{name or 'x'}-{i}.png" for i, name in enumerate(patients)], csv_patient=patients
    )
    PhotoTable.of(["csv_patient"]).save(PHOTOS, table)
    sides: dict[str, pd.DataFrame] = {}
    for key, groups in (("path", {"path": "/(p.)-"}), ("column", {"column": "patient"})):
        change_params({"split.groups": groups, "split.test_fraction": 0.25})
        sides[key] = run_split(monkeypatch)
        printed = capsys.readouterr().out.splitlines()
        assert printed[0] == "split.groups: 5 groups; photos that belong to none, each a group of its own: 4"
    assert sides["path"].equals(sides["column"])
    by_path = sides["path"].set_index("path")["split"]
    of_patients = table[table["csv_patient"] != ""]
    found = of_patients["path"].map(by_path).groupby(of_patients["csv_patient"]).nunique()
    assert (found == 1).all()
    assert set(by_path) == {"train", "test"}


def test_too_few_patients_for_the_folds(
    photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change_params({"split.groups": {"path": "^cats/"}})
    with pytest.raises(UserError) as caught:
        run_split(monkeypatch)
    assert capsys.readouterr().out.startswith("split.groups: 1 group; photos that belong to none")
    assert str(caught.value) == (
        "too few groups of photos for 5 folds: cats has 1 (photos: 10). Every class needs at least 5 groups, as "
        "near-duplicates, and what split.groups puts together, stay in one fold. Use an expression or column in "
        "split.groups that puts fewer photos together, or add photos."
    )


def test_the_search_for_near_duplicates_can_be_switched_off(
    photos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for scans, which all look alike: identical files still stay together."""
    photos["dhash"] = "0" * 16
    twins = photos.iloc[:2].assign(path=["data/raw/cats/twin_0.jpg", "data/raw/cats/twin_1.jpg"])
    PhotoTable.save(PHOTOS, pd.concat([photos, twins]))
    change_params({"split.groups": {"path": "^cats/"}})
    with pytest.raises(UserError) as caught:
        run_split(monkeypatch)
    assert str(caught.value) == (
        "too few groups of photos for 5 folds: cats has 1 (photos: 12), dogs has 1 (photos: 10). Every class needs at "
        "least 5 groups, as near-duplicates, and what split.groups puts together, stay in one fold. Set "
        "split.near_duplicate_bits to null if photos that look alike are different ones, or add photos."
    )
    change_params({"split.groups": None})
    change_params({"split.near_duplicate_bits": None})
    for trial in range(5):
        found = run_split(monkeypatch, trial)
        assert (found.groupby("sha256")["split"].nunique() == 1).all()
        assert Counter(found["split"])["test"] in (4, 5)
    assert found["group"].nunique() == 20
