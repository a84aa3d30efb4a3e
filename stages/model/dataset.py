"""Images in memory: every file decoded once, kept as bytes, normalized batch by batch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from PIL import Image

from stages.photos.decoding import load_photo

# https://docs.pytorch.org/vision/stable/models.html: statistics of ImageNet, of intensities from 0 to 1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Images:
    """Labelled images: uint8 `[N, 3, H, W]`, RGB, and their class indices, int64 `[N]`."""

    pixels: torch.Tensor
    targets: torch.Tensor


def load_images(manifest: pd.DataFrame, class_names: list[str], size: int) -> Images:
    """Decode every image of a manifest, in its order, and squash it to a square of ``size`` pixels.

    Raises UserError when a file is missing, or is not the one the manifest describes.
    """
    # threads are enough: Pillow decodes and resizes without holding the interpreter
    rows = zip(manifest["path"], manifest["sha256"], strict=True)
    squares = Parallel(n_jobs=-1, prefer="threads")(delayed(_load_square)(Path(p), sha, size) for p, sha in rows)
    targets = [class_names.index(name) for name in manifest["class"]]
    return Images(torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2), torch.tensor(targets))


def _load_square(path: Path, sha256: str, size: int) -> np.ndarray:
    return np.asarray(load_photo(path, sha256).resize((size, size), Image.Resampling.BILINEAR))


def normalize(images: torch.Tensor) -> torch.Tensor:
    """Intensities from 0 to 255 to ImageNet's mean 0, deviation 1: uint8 `[N, 3, H, W]` to float32, channels last."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1)
    return ((images / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
