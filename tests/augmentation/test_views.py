"""Online, each epoch draws anew; what the stage writes are samples of the first epoch. And the probability p."""

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages import augment, split
from stages.augmentation.copies import SAMPLES, choose_samples, plan_copies
from stages.augmentation.draws import draw_operations, fix_magnitudes
from stages.augmentation.params import AugmentParams
from stages.augmentation.views import draw_view, render_view
from stages.base.records import Budget
from stages.cli.params import load_params
from stages.photos.loading import load_reduced
from stages.photos.manifest import CopyTable, SplitTable
from stages.runtime.errors import UserError
from tests.conftest import ROOT, change_params, make_image

PARAMS = load_params(ROOT / "params.yaml").augment
ONLINE = PARAMS.model_copy(update={"mode": "online"})


def run_augment(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    monkeypatch.setattr(sys, "argv", ["stage", "--trial", "0"])
    split.main()
    augment.main()
    return CopyTable.load(Path("data/augmented/0.csv"))


def add_p(p: float, params: AugmentParams = PARAMS, names: Sequence[str] | None = None) -> AugmentParams:
    """The same operations, those of ``names`` or all with a probability."""
    operations = {
        name: given | ({"p": p} if names is None or name in names else {}) for name, given in params.operations.items()
    }
    return params.model_copy(update={"operations": operations})


@pytest.mark.parametrize("policy", ["augly", "TrivialAugmentWide"])
def test_samples_are_the_views_of_the_first_epoch(
    policy: str,
    photos: None,
    one_process: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change_params({"augment.policy": policy, "augment.mode": "online", "train.budget": "steps"})
    samples = run_augment(monkeypatch)
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith("augment: trial 0: samples of 16 of 16 train photos, drawn anew each epoch")
    )
    assert Budget.load(Path("data/budget/0.json")) == Budget(budget="steps", repeats=1), "both arms take as many steps"
    assert (samples["copy"] == 1).all()
    params = load_params().augment
    sources = SplitTable.load(Path("data/split/0.csv")).set_index("path")["sha256"]
    for sample in samples.to_dict("records"):
        source = sample["source_path"]
        drawn = draw_view(params, 0, 0, sources[source], epoch=1)
        view = render_view(load_reduced(Path(source), sources[source], params.max_side), drawn, Path(source))
        view.save("view.jpg", "JPEG", quality=95, subsampling=0)
        assert Path("view.jpg").read_bytes() == Path(sample["path"]).read_bytes()
        assert [each["name"] for each in json.loads(sample["operations"])] == [each["name"] for each in drawn]


def test_copies_are_views_as_well() -> None:
    """So that switching the mode changes nothing but how often a photo is drawn."""
    train = pd.DataFrame({"path": ["data/raw/cats/a.jpg"], "class": ["cats"], "sha256": ["a" * 64]})
    copies = plan_copies(train, PARAMS, 7, 3)
    views = [draw_view(PARAMS, 7, 3, "a" * 64, epoch) for epoch in (1, 2)]
    assert [json.loads(operations) for operations in copies["operations"]] == views
    assert plan_copies(train, ONLINE, 7, 3)["operations"].tolist() == copies["operations"].tolist()[:1]


@given(st.integers(0, 9), st.integers(0, 9), st.text(), st.integers(1, 1000))
def test_a_view_depends_on_seed_trial_photo_and_epoch_alone(seed: int, trial: int, sha256: str, epoch: int) -> None:
    place = (seed, trial, sha256, epoch)
    view = draw_view(ONLINE, *place)
    random.seed(seed)
    draw_view(ONLINE, seed, trial, sha256, epoch + 1)
    assert draw_view(ONLINE, *place) == view
    others = [(seed + 1, *place[1:]), (seed, trial + 1, sha256, epoch), (*place[:2], sha256 + "a", epoch)]
    assert view not in [draw_view(ONLINE, *other) for other in others]


def test_a_view_that_cannot_be_rendered_names_its_photo() -> None:
    with pytest.raises(UserError, match=r'"blur", "radius": 0\}\] to data/raw/cats/a.jpg: .*augment\.operations'):
        render_view(make_image(32, 24), [{"name": "blur", "radius": 0}], Path("data/raw/cats/a.jpg"))


def make_train(sizes: Sequence[int]) -> pd.DataFrame:
    rows = [
        {"path": f"data/raw/c{number:02}/{i}.jpg", "class": f"c{number:02}", "sha256": f"{(7919 * i) % 104729:064x}"}
        for number, size in enumerate(sizes)
        for i in range(size)
    ]
    return pd.DataFrame(rows)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_samples_are_few_and_of_every_class_as_many(sizes: list[int], order: random.Random) -> None:
    train = make_train(sizes)
    samples = choose_samples(train)
    assert len(samples) == min(SAMPLES, len(train))
    assert samples.index.is_monotonic_increasing, "in the order of the photos"
    counts = [int((samples["class"] == f"c{number:02}").sum()) for number in range(len(sizes))]
    for size, count in zip(sizes, counts, strict=True):
        assert count == size or count >= max(counts) - 1
    shuffled = train.sample(frac=1, random_state=order.randrange(2**32))
    assert set(choose_samples(shuffled)["path"]) == set(samples["path"]), "listing order decides nothing"


@given(st.integers(0, 2**62))
def test_p_leaves_every_other_draw_as_it_was(seed: int) -> None:
    without, half = draw_operations(PARAMS, seed), draw_operations(add_p(0.5), seed)
    assert half == [operation for operation in without if operation in half]
    one = draw_operations(add_p(0.5, names=["rotate"]), seed)
    assert [each for each in one if each["name"] != "rotate"] == [each for each in without if each["name"] != "rotate"]
    assert draw_operations(add_p(1.0), seed) == without
    assert draw_operations(add_p(0.0), seed) == []
    assert draw_operations(add_p(0.5), seed) == half


@given(st.integers(0, 2**62))
def test_a_larger_p_applies_whatever_a_smaller_one_does(seed: int) -> None:
    smaller, larger = (draw_operations(add_p(p), seed) for p in (0.3, 0.6))
    assert all(operation in larger for operation in smaller)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_p_is_how_often_a_drawn_operation_is_applied(p: float) -> None:
    applied = pd.Series([op["name"] for seed in range(4000) for op in draw_operations(add_p(p), seed)]).value_counts()
    assert set(applied.index) == set(PARAMS.operations)
    # 1200 of each are drawn: within four standard deviations
    assert (applied - 1200 * p).abs().max() < 4 * np.sqrt(4000 * 0.3 * p * (1 - 0.3 * p))


def test_p_is_no_magnitude() -> None:
    assert not [operation for operation in fix_magnitudes(add_p(0.5), "a") if "p" in operation]
    assert fix_magnitudes(add_p(0.0), "a") == fix_magnitudes(PARAMS, "a"), "robustness is tested whatever p"


def test_a_copy_without_operations_is_the_photo(
    photos: None, one_process: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change_params({"augment.operations": {"hflip": {"p": 0.5}}, "augment.operations_per_copy": 1})
    copies = run_augment(monkeypatch)
    skipped = copies[copies["operations"] == "[]"]
    assert 5 < len(skipped) < 27
    assert f"; every operation skipped by its p in {len(skipped)} of 32 copies" in capsys.readouterr().out
    for row in skipped.to_dict("records"):
        with Image.open(row["source_path"]) as photo, Image.open(row["path"]) as copy:
            before, after = (np.asarray(image.convert("RGB"), dtype=float) for image in (photo, copy))
        assert np.abs(before - after).mean() < 3, "but for the JPEG losses of the copy"


@pytest.mark.parametrize(
    ("mode", "budget", "repeats"), [("copies", "steps", 4), ("copies", "epochs", 1), ("online", "steps", 1)]
)
def test_the_budget_is_a_matter_of_copies(mode: Any, budget: str, repeats: int) -> None:
    params = PARAMS.model_copy(update={"mode": mode, "copies": 3})
    assert augment.plan_budget(budget, params).repeats == repeats
