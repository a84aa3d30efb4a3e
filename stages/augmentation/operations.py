"""Operations on one photo: AugLy's, each limited to what leaves enough of the picture, and torchvision's policies."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from stages.augmentation.catalogue import import_augly
from stages.augmentation.draws import fix_magnitudes
from stages.augmentation.limits import Operation, limit_operation
from stages.augmentation.params import TORCHVISION_POLICIES, AugmentParams
from stages.augmentation.policies import apply_policy
from stages.photos.decoding import check_size
from stages.photos.loading import load_reduced, squash
from stages.runtime.errors import UserError


def apply_operations(
    image: Image.Image, operations: list[Operation], path: Path
) -> tuple[Image.Image, list[Operation]]:
    """Apply operations in order to an RGB image, each limited to what leaves enough of the picture.

    Returns: the RGB image, and the operations with the magnitudes that were applied.

    Raises UserError naming ``path`` and the operations when one fails, or leaves a picture of an unusable size.
    """
    applied = []
    try:
        with _seeded():
            for operation in operations:
                applied.append(limit_operation(operation, *image.size))
                image = _apply(image, applied[-1])
                check_size(*image.size)
    except Exception as error:
        key = "policy" if operations[0]["name"] in TORCHVISION_POLICIES else "operations"
        raise UserError(
            f"cannot apply {json.dumps(operations)} to {path}: {str(error) or type(error).__name__}. "
            f"Change augment.{key} in params.yaml or remove the photo."
        ) from error
    return image.convert("RGB"), applied


def _apply(image: Image.Image, operation: Operation) -> Image.Image:
    if operation["name"] in TORCHVISION_POLICIES:
        return apply_policy(image, operation["name"], operation["seed"])
    magnitudes = {key: value for key, value in operation.items() if key != "name" and not key.startswith("drawn_")}
    changed: Image.Image = getattr(import_augly(), operation["name"])(image, **magnitudes)
    return changed.convert("RGB")  # convert_color leaves other modes, which other operations cannot take


@contextmanager
def _seeded() -> Iterator[None]:
    """Python's and numpy's global generators in the same state on entry, and afterwards as they were before.

    Importing AugLy draws from the one, random_noise and shuffle_pixels seed the other for the whole process.
    """
    states = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(0)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def apply_each(path: Path, sha256: str, params: AugmentParams, size: int) -> np.ndarray:
    """One photo under every operation alone, as the model gets it.

    Returns: uint8 `[operations, size, size, 3]`, without the JPEG step of a copy.
    """
    photo = load_reduced(path, sha256, params.max_side)
    images = [apply_operations(photo, [operation], path)[0] for operation in fix_magnitudes(params, sha256)]
    return np.stack([squash(image, size) for image in images])
