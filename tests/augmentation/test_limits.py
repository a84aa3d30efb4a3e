"""Small pictures: operations are weakened as far as needed and no further, and the manifest says what was applied."""

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.augmentation.draws import draw_operations
from stages.augmentation.limits import limit_operation
from stages.augmentation.operations import apply_each, apply_operations
from stages.augmentation.params import LIMITS
from stages.base.files import compute_sha256
from stages.cli.params import load_params
from stages.photos.decoding import BadImage, check_size, decode_photo
from tests.conftest import ROOT, make_image

PARAMS = load_params(ROOT / "params.yaml").augment
SIDES = st.integers(8, 64)
NARROW = st.integers(8, 10).flatmap(lambda side: st.tuples(st.just(side), st.integers(19 * side, 20 * side)))
SIZES = st.one_of(st.tuples(SIDES, SIDES), NARROW, NARROW.map(lambda size: size[::-1]))


@pytest.mark.parametrize(
    ("size", "drawn", "applied", "result"),
    [
        ((32, 32), {"name": "scale", "factor": 0.2}, {"factor": 0.256, "drawn_factor": 0.2}, (8, 8)),
        ((50, 40), {"name": "scale", "factor": 0.2}, {}, (10, 8)),
        ((50, 40), {"name": "scale", "factor": 0.19}, {"factor": 0.2062, "drawn_factor": 0.19}, (10, 8)),
        ((9, 9), {"name": "scale", "factor": 0.2}, {"factor": 0.896, "drawn_factor": 0.2}, (8, 8)),
        ((32, 32), {"name": "rotate", "degrees": 30}, {}, (23, 23)),
        ((9, 9), {"name": "rotate", "degrees": 30}, {"degrees": 7.5, "drawn_degrees": 30}, (8, 8)),
        ((9, 9), {"name": "rotate", "degrees": -30}, {"degrees": -7.5, "drawn_degrees": -30}, (8, 8)),
        ((32, 32), {"name": "pixelization", "ratio": 0.2}, {}, (32, 32)),
        ((9, 9), {"name": "pixelization", "ratio": 0.2}, {"ratio": 0.448, "drawn_ratio": 0.2}, (9, 9)),
        ((9, 9), {"name": "pad_square"}, {}, (9, 9)),
        (
            (60, 8),
            {"name": "pad", "w_factor": 1.0, "h_factor": 0.0},
            {"w_factor": 0.84, "h_factor": 0.0, "drawn_w_factor": 1.0, "drawn_h_factor": 0.0},
            (160, 8),
        ),
    ],
)
def test_magnitudes_are_weakened_as_far_as_needed(
    size: tuple[int, int], drawn: dict[str, Any], applied: dict[str, float], result: tuple[int, int]
) -> None:
    image, operations = apply_operations(make_image(64, 64).resize(size), [drawn], Path())
    assert operations == [drawn | applied]
    assert image.size == result


@settings(deadline=None)
@given(SIZES, st.integers(0, 2**62))
def test_every_copy_can_be_learned_from_and_made_again(size: tuple[int, int], seed: int) -> None:
    image = make_image(64, 64).resize(size)
    drawn = draw_operations(PARAMS, seed)
    copy, applied = apply_operations(image, drawn, Path())
    file = io.BytesIO()
    copy.save(file, "JPEG", quality=95, subsampling=0)
    assert decode_photo(file.getvalue())[0].size == copy.size
    for before, after in zip(drawn, applied, strict=True):
        assert {key: after.get(f"drawn_{key}", after[key]) for key in before} == before
    again, unchanged = apply_operations(image, applied, Path())
    assert again.tobytes() == copy.tobytes()
    assert unchanged == applied


@settings(deadline=None)
@given(SIZES, st.sampled_from(["scale", "rotate", "pixelization", "pad"]), st.data())
def test_any_magnitude_is_possible_on_any_picture(size: tuple[int, int], name: str, data: st.DataObject) -> None:
    """Whatever params.yaml may say, short of pictures that fill the memory."""
    largest = {"factor": 4.0}
    drawn = {
        key: data.draw(st.floats(low, largest.get(key, high)).map(lambda value: round(value, 6)))
        for key, (low, high) in LIMITS[name].items()
    }
    copy, _ = apply_operations(make_image(64, 64).resize(size), [{"name": name, **drawn}], Path())
    assert min(copy.size) >= 8
    assert max(copy.size) <= 20 * min(copy.size)


def test_a_picture_that_would_fill_the_memory_is_not_made() -> None:
    applied = limit_operation({"name": "scale", "factor": 100.0}, 512, 512)
    assert 12 < applied["factor"] < 14, "50 megapixels are 7,071 x 7,071"
    assert applied["drawn_factor"] == 100


def test_sizes_that_params_may_give_are_those_of_photos() -> None:
    shortest, longest = LIMITS["resize"]["width"]
    for side in (shortest, longest):
        check_size(int(side), int(side))
    for side in (shortest - 1, longest + 1):
        with pytest.raises(BadImage):
            check_size(int(side), int(side))


@pytest.mark.parametrize("size", [(32, 32), (50, 40), (9, 9), (160, 8)])
def test_robustness_of_small_photos(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "photo.png"
    make_image(64, 64).resize(size, Image.Resampling.NEAREST).save(path)
    pixels = apply_each(path, compute_sha256(path), PARAMS, 32)
    assert pixels.shape == (10, 32, 32, 3)
    assert all(image.std() > 1 for image in pixels), "something is left of the picture"
