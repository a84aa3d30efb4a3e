"""Images in memory: every file decoded once, kept as bytes, normalized batch by batch."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from PIL import Image

from stages.common.images import load_photo

# https://docs.pytorch.org/vision/stable/models.html: statistics of ImageNet, of intensities from 0 to 1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def load_images(manifest: pd.DataFrame, size: int) -> torch.Tensor:
    """Decode every image of a manifest and squash it to a square.

    Raises UserError when a file is missing, or is not the one the manifest describes.

    Returns: uint8 `[N, 3, size, size]`, RGB, in the manifest's order.
    """
    # threads are enough: Pillow decodes and resizes without holding the interpreter
    rows = zip(manifest["path"], manifest["sha256"], strict=True)
    images = Parallel(n_jobs=-1, prefer="threads")(delayed(_load_square)(Path(p), sha, size) for p, sha in rows)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def _load_square(path: Path, sha256: str, size: int) -> np.ndarray:
    return np.asarray(load_photo(path, sha256).resize((size, size), Image.Resampling.BILINEAR))


def encode_targets(manifest: pd.DataFrame, class_names: list[str]) -> torch.Tensor:
    """Class index of every image, int64 `[N]`."""
    index = {name: i for i, name in enumerate(class_names)}
    return torch.tensor([index[name] for name in manifest["class"]])


def normalize(images: torch.Tensor) -> torch.Tensor:
    """Intensities from 0 to 255 to ImageNet's mean 0, deviation 1: uint8 `[N, 3, H, W]` to float32, channels last."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1)
    return ((images / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
