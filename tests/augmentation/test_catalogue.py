"""Any image function of AugLy is an operation: its names and magnitudes are checked, and it runs or says why not."""

import inspect
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages import augment, split
from stages.augmentation.catalogue import PLUMBING, UNUSABLE, find_signature, import_augly, load_catalogue
from stages.augmentation.draws import draw_operations, fix_magnitudes
from stages.augmentation.operations import apply_each, apply_operations
from stages.augmentation.params import IDENTITY, AugmentParams, check_operation
from stages.base.files import compute_sha256
from stages.cli.params import load_params
from stages.photos.manifest import CopyTable
from stages.runtime.errors import UserError
from tests.conftest import ROOT, change_params, make_image

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # AugLy leaves a file open

PARAMS = load_params(ROOT / "params.yaml").augment

OPERATIONS: dict[str, dict[str, Any]] = {
    "brightness": {"factor": [0.6, 1.4]},
    "change_aspect_ratio": {"ratio": [0.5, 1.5]},
    "clip_image_size": {"max_resolution": [600, 1200]},
    "contrast": {"factor": [0.6, 1.4]},
    "convert_color": {"mode": "L"},
    "crop": {"x1": [0.0, 0.3], "y1": [0.0, 0.3], "x2": [0.7, 1.0], "y2": [0.7, 1.0]},
    "encoding_quality": {"quality": [5, 30]},
    "grayscale": {"mode": "average"},
    "opacity": {"level": [0.2, 0.8]},
    "overlay_emoji": {"x_pos": [0.0, 0.6], "emoji_size": 0.3},
    "overlay_onto_screenshot": {"crop_src_to_fit": True},
    "overlay_stripes": {"line_type": "dashed", "line_angle": [-30.0, 30.0]},
    "perspective_transform": {"sigma": [5.0, 20.0]},
    "resize": {"width": [40, 90], "height": 60},
    "sharpen": {"factor": [3.0, 5.0]},
    "shuffle_pixels": {"factor": [0.1, 0.9]},
    "skew": {"skew_factor": [-0.5, 0.5], "axis": 1},
    "vflip": {},
}
"""Magnitudes for everything in the catalogue that params.yaml does not list."""


SCALARS = {"float": float, "int": int, "bool": bool, "str": str}


def choose(**operations: dict[str, Any]) -> AugmentParams:
    """Params that draw one of these operations."""
    given = PARAMS.model_dump() | {"operations": operations, "operations_per_copy": 1}
    return AugmentParams.model_validate(given)


def test_every_operation_of_augly_is_known() -> None:
    functions = {name for name, _ in inspect.getmembers(import_augly().functional, inspect.isfunction)}
    own = {name for name in functions if getattr(import_augly(), name, None)} - {"spatial_bbox_helper"}
    assert set(load_catalogue()) | set(UNUSABLE) == own
    assert set(load_catalogue()) == set(OPERATIONS) | set(PARAMS.operations)


@pytest.mark.parametrize("name", list(load_catalogue()))
def test_signatures_are_those_that_python_sees(name: str) -> None:
    """What is parsed from the source, against the imported function."""
    found, known = inspect.signature(getattr(import_augly(), name)).parameters, load_catalogue()[name]
    assert known.takes_seed == ("seed" in found)
    assert list(known.magnitudes) == [each for each in found if each not in {*PLUMBING, "seed"}]
    for key, kind in known.magnitudes.items():
        scalars = [name for name, scalar in SCALARS.items() if found[key].annotation in (scalar, scalar | None)]
        is_file = key in ("emoji_path", "template_filepath", "template_bboxes_filepath")
        assert [kind] == (scalars if scalars and not is_file else [""])


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_any_operation_runs_on_a_small_photo_and_changes_it(name: str) -> None:
    image = make_image(96, 64)
    before = image.tobytes()
    for seed in range(3):
        (drawn,) = draw_operations(choose(**{name: OPERATIONS[name]}), seed)
        copy, applied = apply_operations(image, [drawn], Path())
        assert applied == [drawn]
        assert copy.mode == "RGB"
        assert measure_change(image, copy) > 1
        again, _ = apply_operations(image, [drawn], Path())
        assert again.tobytes() == copy.tobytes()
        assert image.tobytes() == before, "the photo serves for the next copy as well"


def measure_change(before: Image.Image, after: Image.Image) -> float:
    """Mean difference in grey levels, after both were squashed to one size."""
    sides = [np.asarray(image.resize((48, 48)), dtype=float) for image in (before, after)]
    return float(np.abs(sides[0] - sides[1]).mean())


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_any_operation_has_a_fixed_version_that_tests_something(name: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    make_image(96, 64).save(path)
    (pixels,) = apply_each(path, compute_sha256(path), choose(**{name: OPERATIONS[name]}), 48)
    assert measure_change(make_image(96, 64), Image.fromarray(pixels)) > 1


def test_the_middle_is_a_typical_magnitude() -> None:
    def fix(name: str, **magnitudes: Any) -> dict[str, Any]:
        return fix_magnitudes(choose(**{name: magnitudes}), "a")[0]

    assert fix("skew", skew_factor=[-0.5, 0.5])["skew_factor"] == 0.25, "where the middle would change nothing"
    assert fix("brightness", factor=[0.4, 1.2])["factor"] == 0.7
    assert fix("change_aspect_ratio", ratio=[0.5, 1.5])["ratio"] == 1.0, "the middle, of what has no such value"
    assert fix("encoding_quality", quality=[5, 30]) == {"name": "encoding_quality", "quality": 17}
    assert fix("overlay_stripes", line_type="dotted") == {"name": "overlay_stripes", "line_type": "dotted"}


@pytest.mark.parametrize("name", [name for name, magnitudes in IDENTITY.items() if magnitudes])
def test_identity_is_what_changes_nothing(name: str) -> None:
    if name == "blur":
        pytest.skip("AugLy refuses a radius of 0")
    operation = {"name": name, **IDENTITY[name], **({"seed": 3} if find_signature(name).takes_seed else {})}
    image = make_image(96, 64)
    assert apply_operations(image, [operation], Path())[0].tobytes() == image.tobytes()


@pytest.mark.parametrize("name", ["perspective_transform", "random_noise", "shuffle_pixels"])
def test_noise_is_drawn_for_each_copy(name: str) -> None:
    """AugLy's own seeds are always the same."""
    given = OPERATIONS.get(name, {"mean": 0.0, "var": 0.01})
    seeds = {draw_operations(choose(**{name: given}), seed)[0]["seed"] for seed in range(20)}
    assert len(seeds) == 20
    assert {fix_magnitudes(choose(**{name: given}), sha256)[0]["seed"] for sha256 in "ab"}.isdisjoint(seeds)


def test_whole_numbers_stay_whole_and_reach_both_ends() -> None:
    params = choose(encoding_quality={"quality": [5, 8]}, rotate={"degrees": [5, 8]})
    drawn = [draw_operations(params, seed)[0] for seed in range(200)]
    assert {each["quality"] for each in drawn if "quality" in each} == {5, 6, 7, 8}
    assert all(isinstance(each["quality"], int) for each in drawn if "quality" in each)
    assert all(isinstance(each["degrees"], float) for each in drawn if "degrees" in each)


WRONG: list[tuple[str, Any, str]] = [
    (
        "rotat",
        {},
        "rotat is not an operation of AugLy; near it are rotate.*. Its functions in augly/image/functional.py",
    ),
    ("nothing like it", {}, r"is not an operation of AugLy\. Its functions"),
    ("_read", {}, "is not an operation of AugLy"),
    ("apply_lambda", {}, "apply_lambda cannot be used: it takes a Python function. Remove it"),
    ("overlay_image", {"overlay": "a.png"}, "overlay_image cannot be used: it takes a second image"),
    ("overlay_text", {}, "overlay_text cannot be used: it draws its text anew"),
    ("brightness", {}, "brightness lacks factor; it takes factor, p"),
    ("brightness", None, r"brightness needs its magnitudes, such as \{factor: 0.5\}, or \{\} for none, not None"),
    ("brightness", {"factor": 1.0}, "brightness would change nothing"),
    ("resize", {}, r"resize would change nothing at \{\}; it takes width, height, p"),
    ("vflip", {"factor": 2}, "vflip has no factor; it takes p"),
    ("shuffle_pixels", {"factor": 0.5, "seed": 3}, "shuffle_pixels has no seed; it takes factor, p"),
    ("pad", {"w_factor": 0.1, "h_factor": 0.1, "color": 3}, "pad.color cannot be given in params.yaml"),
    ("overlay_emoji", {"emoji_path": "x.png"}, "overlay_emoji.emoji_path cannot be given in params.yaml"),
    ("grayscale", {"image": "x"}, "grayscale has no image; it takes mode, p"),
    ("grayscale", {"mode": 3}, "grayscale.mode must be text, not 3"),
    ("grayscale", {"mode": ["average", "luminosity"]}, "grayscale.mode must be text, not "),
    ("encoding_quality", {"quality": 20.5}, "encoding_quality.quality must be a whole number, or .low, high."),
    ("encoding_quality", {"quality": [20, 30.0]}, "encoding_quality.quality must be a whole number"),
    ("encoding_quality", {"quality": True}, "encoding_quality.quality must be a whole number"),
    ("brightness", {"factor": "1e-3"}, "brightness.factor must be a number, or .low, high. to draw from, not '1e-3'"),
    ("brightness", {"factor": [1.0]}, r"brightness.factor must be a number, .*not \[1.0\]"),
    ("brightness", {"factor": None}, "brightness.factor must be a number"),
    ("brightness", {"factor": float("nan")}, "brightness.factor must be a number"),
    ("brightness", {"factor": [0.5, float("inf")]}, "brightness.factor must be a number"),
    ("brightness", {"factor": 10**400}, "brightness.factor must be a number"),
    ("brightness", {"factor": [1.4, 0.6]}, "brightness.factor: .low, high. is the wrong way round"),
    ("overlay_onto_screenshot", {"crop_src_to_fit": 1}, "crop_src_to_fit must be true or false, not 1"),
    ("scale", {"factor": 0.001}, "scale.factor must lie between 0.01 and 100"),
    ("resize", {"width": 100_000, "height": 100_000}, "resize.width must lie between 8 and 7,071, not 100000"),
    ("resize", {"height": [8, 7072]}, r"resize.height must lie between 8 and 7,071, not \[8, 7072\]"),
    ("resize", {"width": 7}, "resize.width must lie between 8 and 7,071, not 7"),
    (
        "clip_image_size",
        {"min_resolution": 10**12},
        "between 0 and 50,000,000, not 1000000000000",
    ),
    ("clip_image_size", {"max_resolution": 0}, "max_resolution must lie between 64 and 50,000,000, not 0"),
    ("hflip", {"p": 1.5}, "hflip.p must be a probability from 0 to 1, not 1.5"),
    ("hflip", {"p": [0.2, 0.4]}, "hflip.p must be a probability"),
    ("hflip", {"p": True}, "hflip.p must be a probability"),
]


@pytest.mark.parametrize(("name", "given", "message"), WRONG, ids=lambda part: str(part)[:40])
def test_what_augly_cannot_take_is_one_message(name: str, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_operation(name, given)


def test_numbers_get_the_type_that_augly_takes() -> None:
    assert repr(check_operation("rotate", {"degrees": 30, "p": 1})) == "{'degrees': 30.0, 'p': 1.0}"
    assert repr(check_operation("rotate", {"degrees": [0, 30]})) == "{'degrees': [0.0, 30.0]}"
    assert repr(check_operation("encoding_quality", {"quality": [20, 30]})) == "{'quality': [20, 30]}"


def test_an_operation_is_added_in_params_alone(
    photos: None, one_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_params({"augment.operations": {"grayscale": {}, "vflip": {}}, "augment.operations_per_copy": 2})
    monkeypatch.setattr(sys, "argv", ["stage", "--trial", "0"])
    split.main()
    augment.main()
    copies = CopyTable.load(Path("data/augmented/0.csv"))
    assert set(copies["operations"]) == {
        '[{"name": "grayscale"}, {"name": "vflip"}]',
        '[{"name": "vflip"}, {"name": "grayscale"}]',
    }
    with Image.open(copies["path"][0]) as copy:
        pixels = np.asarray(copy, dtype=int)
    assert np.ptp(pixels, axis=2).max() <= 3, "gray"


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        ({"name": "crop", "x1": 0.5, "x2": 0.51}, r"0 x 32 pixels, a side shorter than 8"),
        ({"name": "resize", "width": 800, "height": 20}, r"800 x 20 pixels, longer than 20:1"),
        ({"name": "shuffle_pixels", "factor": 2.0, "seed": 1}, r"'factor' must be a value in range \[0, 1\]"),
        ({"name": "convert_color", "mode": "no mode"}, "image has wrong mode"),
    ],
)
def test_an_unusable_picture_names_operation_and_photo(operation: dict[str, Any], reason: str) -> None:
    expected = rf'cannot apply \[\{{"name": "{operation["name"]}".* to cat.jpg: {reason}.*Change augment\.operations'
    with pytest.raises(UserError, match=expected):
        apply_operations(make_image(64, 64), [operation], Path("cat.jpg"))
