"""Fixed magnitudes are typical ones, change every photo, and give the same picture each time."""

import contextlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.augmentation.draws import fix_magnitudes
from stages.augmentation.limits import Operation
from stages.augmentation.operations import apply_each, apply_operations
from stages.augmentation.params import LIMITS, AugmentParams
from stages.base.files import compute_sha256
from stages.cli.params import load_params
from stages.model.dataset import load_pixels
from stages.photos.loading import load_reduced
from stages.runtime.errors import UserError
from tests.conftest import ROOT, make_image

PARAMS = load_params(ROOT / "params.yaml").augment


def choose(**operations: dict[str, float | list[float]]) -> AugmentParams:
    return PARAMS.model_copy(update={"operations": operations})


def find(name: str, sha256: str = "a") -> Operation:
    return next(operation for operation in fix_magnitudes(PARAMS, sha256) if operation["name"] == name)


@pytest.mark.parametrize("name", list(PARAMS.operations))
def test_every_operation_changes_a_photo(name: str) -> None:
    image = make_image(512, 384)
    before = np.asarray(image.resize((224, 224)), dtype=float)
    after = np.asarray(apply_operations(image, [find(name)], Path())[0].resize((224, 224)), dtype=float)
    assert np.abs(after - before).mean() > 1, "less than one grey level in 255"


def test_operations_are_those_of_params_in_their_order() -> None:
    assert [operation["name"] for operation in fix_magnitudes(PARAMS, "a")] == list(PARAMS.operations)
    assert [operation["name"] for operation in fix_magnitudes(choose(hflip={}, blur={"radius": 1}), "a")] == [
        "hflip",
        "blur",
    ]


def test_magnitudes_are_the_number_or_the_middle() -> None:
    assert find("rotate") == {"name": "rotate", "degrees": 30}
    assert find("scale") == {"name": "scale", "factor": 0.3}
    assert find("hflip") == {"name": "hflip"}
    assert fix_magnitudes(choose(blur={"radius": [1 / 3, 1]}), "a") == [{"name": "blur", "radius": 0.666667}]


@pytest.mark.parametrize(
    ("degrees", "expected"), [([-30, 30], 15), ([-40, 10], -20), ([-10, 40], 20), ([0, 40], 20), ([-40, 0], -20)]
)
def test_range_on_both_sides_of_no_change_gives_the_middle_of_its_longer_side(
    degrees: list[float], expected: float
) -> None:
    """The middle of [-30, 30] would test nothing."""
    assert fix_magnitudes(choose(rotate={"degrees": degrees}), "a") == [{"name": "rotate", "degrees": expected}]


@given(st.lists(st.floats(*LIMITS["scale"]["factor"]), min_size=2, max_size=2, unique=True).map(sorted))
def test_fixed_magnitude_lies_in_its_range(bounds: list[float]) -> None:
    (operation,) = fix_magnitudes(choose(scale={"factor": bounds}), "a")
    assert bounds[0] - 1e-6 <= operation["factor"] <= bounds[1] + 1e-6


@given(st.text(), st.text())
def test_noise_follows_from_the_photo_alone(first: str, second: str) -> None:
    seeds = [find("random_noise", sha256)["seed"] for sha256 in (first, second)]
    assert (seeds[0] == seeds[1]) == (first == second)
    assert all(0 <= seed < 2**32 for seed in seeds), "what numpy takes"


def test_noise_differs_between_photos() -> None:
    image = make_image(64, 48)
    first, again, other = (
        np.asarray(apply_operations(image, [find("random_noise", sha256)], Path())[0]) for sha256 in "aab"
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_each_operation_gives_what_training_would_load(tmp_path: Path) -> None:
    """Reduced like a copy and squashed like any image: the same pixels as from a lossless file of it."""
    path = tmp_path / "photo.png"
    make_image(700, 300).save(path)
    sha256 = compute_sha256(path)
    pixels = apply_each(path, sha256, PARAMS, 32)
    assert pixels.shape == (10, 32, 32, 3)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, apply_each(path, sha256, PARAMS, 32))

    photo = load_reduced(path, sha256, PARAMS.max_side)
    assert photo.size == (512, 219)
    files = [tmp_path / f"{name}.png" for name in PARAMS.operations]
    for file, operation in zip(files, fix_magnitudes(PARAMS, sha256), strict=True):
        apply_operations(photo, [operation], path)[0].save(file)
    manifest = pd.DataFrame({"path": files, "sha256": map(compute_sha256, files), "class": "cats"})
    loaded = load_pixels(manifest, 32).permute(0, 2, 3, 1)
    assert np.array_equal(pixels, loaded.numpy())


def test_small_photo_is_not_enlarged(tmp_path: Path) -> None:
    make_image(40, 30).save(tmp_path / "photo.png")
    assert load_reduced(tmp_path / "photo.png", compute_sha256(tmp_path / "photo.png"), 512).size == (40, 30)


def test_narrow_photo_keeps_enough_pixels(tmp_path: Path) -> None:
    make_image(400, 20).save(tmp_path / "photo.png")
    assert load_reduced(tmp_path / "photo.png", compute_sha256(tmp_path / "photo.png"), 32).size == (160, 8)


def test_failing_operation_names_photo_and_magnitudes() -> None:
    with pytest.raises(UserError, match=r'"blur", "radius": 0.* to cat.jpg.*augment.operations in params'):
        apply_operations(make_image(32, 24), [{"name": "blur", "radius": 0}], Path("cat.jpg"))


@pytest.mark.parametrize("variance", [0.01, -1.0])
def test_numpys_random_state_is_restored(variance: float) -> None:
    """AugLy's random_noise seeds numpy for the whole process; with a negative variance it fails after that."""
    noise = {"name": "random_noise", "mean": 0.0, "var": variance, "seed": 3}
    np.random.seed(7)
    with pytest.raises(UserError) if variance < 0 else contextlib.nullcontext():
        apply_operations(make_image(32, 24), [noise], Path())
    assert np.random.random() == 0.07630828937395717, "the first number after np.random.seed(7)"
