"""What report reads is checked: answers that cannot be compared stop it with the file's name and the remedy."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import report
from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.comparison.answer import answer_question, compute_comparison
from stages.comparison.page import build_report
from stages.comparison.sections.scores import list_classes
from stages.comparison.study import ARMS, load_study, spread
from stages.runtime.errors import UserError
from tests.support.pipeline_files import write_study
from tests.support.studies import make_pair, make_study


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trials 3 and 0, in this order, of four test photos each, two a class."""
    root = tmp_path_factory.mktemp("written")
    write_study(root, trials=[3, 0], epochs=1)
    return root


@pytest.fixture
def study(written: Path, workspace: Path) -> None:
    """The same, anew in the current directory."""
    shutil.copytree(written, workspace, dirs_exist_ok=True)


def refuse(message: str) -> None:
    """Assert that the stage stops with a message, and leaves every file as it was."""
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    with pytest.raises(UserError, match=message) as error:
        report.main()
    assert "dvc repro" in str(error.value)
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def change(path: str, damage: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    damage(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


@pytest.mark.parametrize(
    "name",
    [
        "metrics/original/0.json",
        "metrics/augmented/3.json",
        "metrics/history/augmented-0.csv",
        "metrics/predictions/original-0.csv",
        "metrics/robustness/0.csv",
        "metrics/copies/3.csv",
        "data/split/3.csv",
        "data/augmented/3.csv",
        "data/manifest.csv",
        "metrics/quarantine.csv",
    ],
)
def test_a_missing_file(name: str, study: None) -> None:
    Path(name).unlink()
    refuse(rf"^{re.escape(name)} (is missing|cannot be read .*No such file.*)\. Run `dvc repro`")


@pytest.mark.parametrize(
    "name",
    [
        "metrics/original/0.json",
        "metrics/history/augmented-0.csv",
        "metrics/predictions/original-0.csv",
        "metrics/robustness/0.csv",
        "metrics/copies/3.csv",
    ],
)
def test_a_merge_conflict(name: str, study: None) -> None:
    lines = Path(name).read_text().splitlines()
    Path(name).write_text("\n".join([lines[0], "<<<<<<< HEAD", *lines[1:2], "=======", *lines[1:], ">>>>>>> b", ""]))
    refuse(name)


@pytest.mark.parametrize("content", ["[]", "[[1]]", "5", "null", '"a"', "{}", ""])
def test_json_of_another_kind(content: str, study: None) -> None:
    Path("metrics/augmented/0.json").write_text(content)
    refuse(r"^metrics/augmented/0\.json cannot be used")


def test_every_key_that_the_report_needs_is_asked_for(study: None) -> None:
    path = Path("metrics/original/0.json")
    whole = {path: json.loads(path.read_text()) for arm in ARMS for path in Path("metrics", arm).iterdir()}
    for key in whole[path]:
        path.write_text(json.dumps({name: value for name, value in whole[path].items() if name != key}))
        with pytest.raises(UserError, match=rf"metrics/original/0\.json cannot be used: {key}: field required"):
            load_study([3, 0])
    path.write_text(json.dumps(whole[path]))
    loaded = load_study([3, 0])
    answer = answer_question(loaded, 0.02)
    compute_comparison(loaded, answer)
    build_report(loaded, answer, flatten(load_params().model_dump()), [])
    list_classes(loaded)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"operation,path\nblur,a\n"])
def test_a_robustness_table_of_another_kind(content: bytes, study: None) -> None:
    Path("metrics/robustness/3.csv").write_bytes(content)
    refuse(r"^metrics/robustness/3\.csv (cannot be read as CSV|lacks the column)")


def drop_first(table: pd.DataFrame) -> pd.DataFrame:
    return table[1:]


def put(column: str, value: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A damage: another value in the first row."""
    return lambda table: table.assign(**{column: [value, *table[column][1:]]})


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize(
    "damage", [drop_first, put("path", "a.jpg"), put("sha256", "1"), put("target", "dogs"), put("path", "")]
)
def test_arms_with_predictions_for_different_photos(
    arm: str, damage: Callable[[pd.DataFrame], pd.DataFrame], study: Path
) -> None:
    change(f"metrics/predictions/{arm}-0.csv", damage)
    refuse(
        r"^only one arm of trial 0 has a prediction for .* in metrics/predictions/.* "
        r"Run `dvc repro --force evaluate@0`\.$"
    )


@pytest.mark.parametrize("changes", [{}, {"sha256": "1"}, {"target": "dogs"}])
@pytest.mark.parametrize("arms", [["original"], ["augmented"], ARMS])
def test_the_same_photo_twice(arms: list[str], changes: dict[str, str], study: None) -> None:
    for arm in arms:
        change(
            f"metrics/predictions/{arm}-3.csv", lambda table: pd.concat([table, table[:1].assign(**changes)], axis=0)
        )
    if changes and len(arms) == 1:
        refuse("only one arm of trial 3 has a prediction for")
    else:
        refuse(rf"^metrics/predictions/{arms[0]}-3\.csv lists data/raw/.* twice; .*`dvc repro --force evaluate@3`")


@pytest.mark.parametrize(
    ("column", "value"),
    [("p_cats", value) for value in ("", "nan", "inf", "-0.2", "1.2", "0.5", "much", "1e400")]
    + [("pred", value) for value in ("cows", "", "Cats", "0")],
)
def test_predictions_that_are_none(column: str, value: str, study: None) -> None:
    path = "metrics/predictions/augmented-0.csv"
    change(path, put("p_cats", "0.6"))
    change(path, put("p_dogs", "0.4"))
    change(path, put(column, value))
    unreadable = r" was changed or damaged: could not convert string to float: '(|much)'.*'p_cats'"
    impossible = r": the prediction for data/raw/cats/photo_0\.jpg is not a known class with one probability per class"
    refuse(rf"^{re.escape(path)}({unreadable if column == 'p_cats' and value in ('', 'much') else impossible})")


def test_probabilities_for_another_class(study: None) -> None:
    change("metrics/predictions/original-0.csv", lambda table: table.rename(columns={"p_dogs": "p_cows"}))
    refuse(r"^metrics/predictions/original-0\.csv lacks the column\(s\) p_dogs")


@pytest.mark.parametrize("changes", [{"accuracy": 0.123}, {"test_photos": 3}, {"class_names": ["dogs", "cats"]}])
@pytest.mark.parametrize("arm", ARMS)
def test_scores_of_another_test_than_the_predictions(arm: str, changes: dict[str, Any], study: None) -> None:
    path = Path(f"metrics/{arm}/0.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    refuse(rf"^metrics/{arm}/0\.json and metrics/predictions/{arm}-0\.csv are not of the same test")


@pytest.mark.parametrize("column", ["target", "original", "augmented"])
def test_an_unknown_class_under_an_operation(column: str, study: None) -> None:
    change("metrics/robustness/0.csv", put(column, "cows"))
    refuse(r"^metrics/robustness/0\.csv cannot be used: line 2 does not name a class of the study")


def test_numbers_are_those_of_the_files(study: None) -> None:
    loaded = load_study([3, 0])
    assert (loaded.class_names, loaded.is_sample, loaded.quarantined) == (["cats", "dogs"], False, 1)
    for row, trial in enumerate([3, 0]):
        sides = [pd.read_csv(f"metrics/predictions/{arm}-{trial}.csv", index_col="path") for arm in ARMS]
        right = [side["pred"] == side["target"] for side in sides]
        only = (int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum()))
        assert loaded.count_discordant(row) == only
        assert np.nansum(loaded.gains[row]) == only[0] - only[1]
        assert np.isfinite(loaded.gains[row]).sum() == 4
    assert loaded.gains.shape == (2, 8)
    assert loaded.robustness["trial"].tolist() == [3] * 8 + [0] * 8
    assert loaded.counts.to_dict("list") == {
        "train": [8, 8],
        "copies": [16, 16],
        "test": [2, 2],
        "left_out": [0, 0],
    }


def test_row_order_changes_nothing(study: None) -> None:
    expected = load_study([3, 0])
    for seed, path in enumerate(sorted(Path("metrics/predictions").iterdir())):
        table = pd.read_csv(path, dtype=str)
        table.sample(frac=1, random_state=seed).to_csv(path, index=False)
    found = load_study([3, 0])
    for arm in ARMS:
        np.testing.assert_array_equal(found.correct[arm], expected.correct[arm])


def test_a_class_without_test_photos(workspace: Path) -> None:
    write_study(workspace, class_names=["ants", "bees", "cows"], epochs=1)
    for arm in ARMS:
        answers = Path(f"metrics/predictions/{arm}-0.csv")
        change(str(answers), lambda table: table[table["target"] != "bees"])
        table = pd.read_csv(answers)
        path = Path(f"metrics/{arm}/0.json")
        scores = {"test_photos": len(table), "accuracy": float((table["pred"] == table["target"]).mean())}
        path.write_text(json.dumps(json.loads(path.read_text()) | scores))
    loaded = load_study([0])
    assert loaded.gains.shape == (1, 4)
    assert "p_bees" in loaded.predictions["original"]


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.tuples(st.sampled_from([7, 2, 10]), st.sampled_from("abcde")), st.booleans(), min_size=1),
    st.randoms(use_true_random=False),
)
def test_spread_puts_each_answer_in_its_place(answers: dict[tuple[int, str], bool], random: Any) -> None:
    """Trials in the order in which they come, photos in that of their names, NaN where nothing was asked."""
    rows = sorted(answers, key=lambda row: ([7, 2, 10].index(row[0]), random.random()))
    table = pd.DataFrame(rows, columns=["trial", "path"])
    trials, paths = list(dict.fromkeys(table["trial"])), sorted(set(table["path"]))
    expected = [[float(answers.get((trial, path), np.nan)) for path in paths] for trial in trials]
    np.testing.assert_array_equal(spread(table, pd.Series([answers[row] for row in rows])), expected)


def test_one_trial_and_no_discordant_photo() -> None:
    right = [1, 0, 1, 1]
    study = make_study(right, right)
    np.testing.assert_array_equal(study.gains, [[0, 0, 0, 0]])
    assert study.count_discordant(0) == (0, 0)


def test_discordant_photos_are_counted_on_their_side() -> None:
    assert make_study(*make_pair(5, 3, 20)).count_discordant(0) == (5, 3)
