"""Operations weakened where a picture is small, so that enough of it is left to learn from."""

from typing import Any

from stages.augmentation.catalogue import import_augly
from stages.augmentation.params import IDENTITY
from stages.photos.decoding import BadImage, check_size

Operation = dict[str, Any]
"""An operation: its name and magnitudes, such as ``{"name": "blur", "radius": 2.1}``.

Where the picture was too small for the magnitude that was drawn, that stands beside the one that was applied:
``{"name": "scale", "factor": 0.256, "drawn_factor": 0.2}``.
"""

STEPS = 100  # from the drawn magnitude to the one that changes nothing
MIN_BLOCKS = 4  # along the shorter side, that pixelization leaves


def limit_operation(operation: Operation, width: int, height: int) -> Operation:
    """The operation, weakened if it would make a picture of this size (pixels) one that `check_size` refuses.

    Its magnitudes then go towards the values that change nothing, by as few hundredths of the way as suffice. The
    size after an operation is known of `scale`, `rotate` and `pad`; others stay as they are.
    """
    if _leaves_enough(operation, width, height):
        return operation
    identity = IDENTITY[operation["name"]]
    drawn = {f"drawn_{key}": operation[key] for key in identity}
    weaker = (
        operation | {key: round(same + (operation[key] - same) * step / STEPS, 6) for key, same in identity.items()}
        for step in range(STEPS - 1, -1, -1)
    )
    return next(candidate for candidate in weaker if _leaves_enough(candidate, width, height)) | drawn


def _leaves_enough(operation: Operation, width: int, height: int) -> bool:
    if operation["name"] == "pixelization":
        return int(min(width, height) * operation["ratio"]) >= MIN_BLOCKS
    try:
        check_size(*_predict_size(operation, width, height))
    except BadImage:
        return False
    return True


def _predict_size(operation: Operation, width: int, height: int) -> tuple[int, int]:
    """Width and height after an operation, as AugLy computes them."""
    match operation:
        case {"name": "scale", "factor": factor}:
            return int(width * factor), int(height * factor)
        case {"name": "rotate", "degrees": degrees}:
            inner = import_augly().utils.rotated_rect_with_max_area(width, height, degrees)
            return int(inner[0]), int(inner[1])  # AugLy's crop is this, or a pixel more
        case {"name": "pad", "w_factor": w_factor, "h_factor": h_factor}:
            return width + 2 * int(w_factor * width), height + 2 * int(h_factor * height)
    return width, height
