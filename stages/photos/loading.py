"""Photos as models and operations take them: squashed to a square, or reduced; and the check that they are the same.

`stages.model.pixels` keeps what is made here, and makes it again after a change of this file.
"""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from stages.photos.decoding import MIN_SIDE, load_photo, read_photo
from stages.runtime.workers import map_in_threads

CHECKED = 64  # files at a time


def squash(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """An RGB image as a square of ``size`` pixels, uint8 `[size, size, 3]`."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def load_square(path: Path, sha256: str, size: int) -> npt.NDArray[np.uint8]:
    """The photo at ``path`` as a square, uint8 `[size, size, 3]`. Raises UserError as `load_photo` does."""
    return squash(load_photo(path, sha256), size)


def load_reduced(path: Path, sha256: str, max_side: int) -> Image.Image:
    """The photo at ``path``, reduced so that no side is longer than ``max_side`` pixels.

    A long, narrow photo stays larger: its shorter side keeps `MIN_SIDE` pixels. Raises UserError as `load_photo` does.
    """
    photo = load_photo(path, sha256)
    side = max(max_side, math.ceil(MIN_SIDE * max(photo.size) / min(photo.size)))
    photo.thumbnail((side, side), Image.Resampling.LANCZOS)
    return photo


def check_files(manifest: pd.DataFrame) -> None:
    """Raise UserError, as `read_photo` does, unless every file of a manifest is there and has its SHA-256."""
    parts = (manifest[start : start + CHECKED] for start in range(0, len(manifest), CHECKED))
    for _ in map_in_threads(_check_some, parts):
        pass


def _check_some(manifest: pd.DataFrame) -> None:
    for path, sha256 in zip(manifest["path"], manifest["sha256"], strict=True):
        read_photo(Path(path), sha256)
