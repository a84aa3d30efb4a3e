"""What a training is given: the images of its arm, and the params that its run shows."""

import json
from pathlib import Path

import pandas as pd
import pytest

from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.runtime.errors import UserError
from stages.tracking.training import select_params
from stages.train import read_manifests
from stages.training.session import explain_machine
from tests.conftest import ROOT
from tests.support.records import make_machine, make_run


def write_manifests(sources: list[str]) -> list[Path]:
    """Two train photos and a test photo, and a copy of each of ``sources``."""
    paths = [f"data/raw/{name}.jpg" for name in ("x/a", "y/b", "x/c")]
    photos = pd.DataFrame({"path": paths, "class": list("xyx"), "sha256": list("123"), "group": list("123")})
    photos.assign(split=["train", "train", "test"]).to_csv("split.csv", index=False)
    rows = [(f"data/augmented/0/{name}.1.jpg", name[0], "4", f"data/raw/{name}.jpg", "1", "[]") for name in sources]
    pd.DataFrame(rows, columns=["path", "class", "sha256", "source_path", "copy", "operations"]).to_csv(
        "copies.csv", index=False
    )
    return [Path("split.csv"), Path("copies.csv")]


def test_augmented_arm_trains_on_photos_and_copies(workspace: Path) -> None:
    manifests = write_manifests(["x/a", "y/b"])
    original, test = read_manifests(manifests[:1])
    augmented, same_test = read_manifests(manifests)
    assert original["path"].tolist() == ["data/raw/x/a.jpg", "data/raw/y/b.jpg"]
    assert augmented["path"].tolist()[:2] == original["path"].tolist()
    assert augmented["path"].tolist()[2:] == ["data/augmented/0/x/a.1.jpg", "data/augmented/0/y/b.1.jpg"]
    assert test["path"].tolist() == same_test["path"].tolist() == ["data/raw/x/c.jpg"]


def test_copies_of_test_photos_are_refused(workspace: Path) -> None:
    """The manifests of two splits, mixed by hand."""
    with pytest.raises(UserError, match=r"copies.csv has copies of 1 photos .* split.csv, such as data/raw/x/c.jpg"):
        read_manifests(write_manifests(["x/a", "x/c"]))


def test_another_machine_is_named(workspace: Path) -> None:
    run = make_run(machine=make_machine())
    assert explain_machine(run) == "", "no result yet"
    Path("metrics/original").mkdir(parents=True)
    Path("metrics/original/0.json").write_text(json.dumps({"trained_on": run.machine.model_dump()}))
    assert explain_machine(run) == ""
    other = make_machine(threads=8, versions={"torch": "2.15.0", "numpy": "2.4.0"})
    printed = explain_machine(make_run(machine=other))
    assert "metrics/original/0.json" in printed
    assert "threads 2 -> 8, versions.torch 2.14.1 -> 2.15.0\n" in printed


def test_original_arm_is_not_fed_by_augment() -> None:
    params = flatten(load_params(ROOT / "params.yaml").model_dump())
    original, augmented = (select_params(params, arm) for arm in ("original", "augmented"))
    assert "augment.copies" in augmented
    assert "train.budget" in original
    assert not [key for key in original if key.startswith("augment")]
    assert (
        {"seed", "fetch.subset", "split.test_fraction", "train.epochs"}
        <= set(original) - {"train.budget"}
        <= set(augmented)
    )
