"""Views: a train photo as one epoch sees it, augmented anew each time. A copy is a view that was written to a file."""

from pathlib import Path

from PIL import Image

from stages.augmentation.draws import draw_operations
from stages.augmentation.limits import Operation
from stages.augmentation.operations import apply_operations
from stages.augmentation.params import AugmentParams
from stages.base.seeds import derive_seed


def draw_view(params: AugmentParams, seed: int, trial: int, photo_sha256: str, epoch: int) -> list[Operation]:
    """What is done to a photo in an epoch, counted from 1; to copy number ``epoch`` of the photo, the same is done."""
    return draw_operations(params, derive_seed(seed, "augment", trial, photo_sha256, epoch))


def render_view(photo: Image.Image, operations: list[Operation], path: Path = Path("a photo")) -> Image.Image:
    """Apply the draw to a photo that `load_reduced` gave; no file is written, so none of a copy's JPEG losses occur.

    The global generators of Python, numpy and torch are seeded meanwhile, and restored: no thread may use them then.

    Returns: an RGB image, of a size that depends on the operations.

    Raises UserError naming ``path`` and the operations when one fails or leaves too little of the picture.
    """
    return apply_operations(photo, operations, path)[0]
