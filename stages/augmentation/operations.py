"""AugLy's operations on one photo: drawn ones for augmented copies, fixed ones for tests under each of them."""

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

from stages.augmentation.limits import Operation, import_augly, limit_operation
from stages.augmentation.params import IDENTITY, AugmentParams, Magnitude
from stages.base.seeds import derive_seed
from stages.photos.decoding import MIN_SIDE, load_photo
from stages.runtime.errors import UserError


def load_reduced(path: Path, sha256: str, max_side: int) -> Image.Image:
    """The photo at ``path``, reduced so that no side is longer than ``max_side`` pixels.

    A long, narrow photo stays larger: its shorter side keeps `MIN_SIDE` pixels.
    """
    photo = load_photo(path, sha256)
    side = max(max_side, math.ceil(MIN_SIDE * max(photo.size) / min(photo.size)))
    photo.thumbnail((side, side), Image.Resampling.LANCZOS)
    return photo


def apply_operations(
    image: Image.Image, operations: list[Operation], path: Path
) -> tuple[Image.Image, list[Operation]]:
    """Apply operations in order to an RGB image, each limited to what leaves enough of the picture.

    Returns: the image, and the operations with the magnitudes that were applied.

    Raises UserError naming ``path`` and the operations when AugLy fails.
    """
    applied = []
    try:
        for operation in operations:
            applied.append(limit_operation(operation, *image.size))
            image = _call_augly(image, applied[-1])
    except Exception as error:
        raise UserError(
            f"AugLy cannot apply {json.dumps(operations)} to {path}: {error}. "
            "Change augment.operations in params.yaml or remove the photo."
        ) from error
    return image.convert("RGB"), applied


def _call_augly(image: Image.Image, operation: Operation) -> Image.Image:
    magnitudes = {key: value for key, value in operation.items() if key != "name" and not key.startswith("drawn_")}
    state = np.random.get_state()  # AugLy's random_noise reseeds numpy for the whole process
    try:
        changed: Image.Image = getattr(import_augly(), operation["name"])(image, **magnitudes)
    finally:
        np.random.set_state(state)
    return changed


def fix_magnitudes(params: AugmentParams, photo_sha256: str) -> list[Operation]:
    """Every operation of params once, in their order, at the magnitudes of a typical draw.

    Noise follows from the photo: it differs between photos, and one photo gets the same noise in every trial.
    """
    return [
        {"name": name}
        | {key: _fix(value, IDENTITY[name][key]) for key, value in magnitudes.items()}
        | ({"seed": derive_seed(name, photo_sha256) >> 31} if name == "random_noise" else {})  # numpy takes 32 bits
        for name, magnitudes in params.operations.items()
    ]


def _fix(magnitude: Magnitude, identity: float) -> float:
    """The number itself, or the middle of [low, high].

    Where draws go both ways from the value that changes nothing, the middle would be about that value: there it is
    the middle of the longer side, so [0.6, 1.4] gives 1.2.
    """
    if not isinstance(magnitude, list):
        return magnitude
    low, high = magnitude
    if low < identity < high:
        low, high = (identity, high) if high - identity >= identity - low else (low, identity)
    return round((low + high) / 2, 6)


def apply_each(path: Path, sha256: str, params: AugmentParams, size: int) -> np.ndarray:
    """One photo under every operation alone, as the model gets it.

    Returns: uint8 `[operations, size, size, 3]`, squashed as `load_images` does, without the JPEG step of a copy.
    """
    photo = load_reduced(path, sha256, params.max_side)
    images = [apply_operations(photo, [operation], path)[0] for operation in fix_magnitudes(params, sha256)]
    return np.stack([np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) for image in images])
