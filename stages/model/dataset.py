"""Images in memory: every file decoded once, kept as bytes, normalized batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from joblib import Parallel, delayed
from PIL import Image

from stages.model.record import NetworkRecord
from stages.photos.decoding import load_photo


@dataclass(frozen=True)
class Examples:
    """What a model is trained or tested on, in memory: inputs and their class indices, int64 `[N]`.

    inputs: uint8 images `[N, 3, H, W]`, RGB; or float32 features `[N, F]`, where only a head is trained.
    """

    inputs: torch.Tensor
    targets: torch.Tensor

    def read_batches(self, _epoch: int, batches: Sequence[npt.NDArray[np.int64]]) -> Iterator[torch.Tensor]:
        """The inputs of each batch of indices `[B]`; the same in every epoch."""
        return (self.inputs[batch] for batch in batches)


def load_images(manifest: pd.DataFrame, class_names: list[str], size: int) -> Examples:
    """The images of a manifest, in its order, and their classes. Raises UserError as `load_pixels` does."""
    return Examples(load_pixels(manifest, size), number_classes(manifest, class_names))


def load_pixels(manifest: pd.DataFrame, size: int) -> torch.Tensor:
    """Decode every image of a manifest, and squash it to a square of ``size`` pixels: uint8 `[N, 3, size, size]`.

    Raises UserError when a file is missing, or is not the one the manifest describes.
    """
    # threads are enough: Pillow decodes and resizes without holding the interpreter
    rows = zip(manifest["path"], manifest["sha256"], strict=True)
    squares = Parallel(n_jobs=-1, prefer="threads")(delayed(_load_square)(Path(p), sha, size) for p, sha in rows)
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def number_classes(manifest: pd.DataFrame, class_names: list[str]) -> torch.Tensor:
    """The class index of every image of a manifest, int64 `[N]`."""
    return torch.tensor([class_names.index(name) for name in manifest["class"]])


def squash(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """An RGB image as a square of ``size`` pixels, uint8 `[size, size, 3]`."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def _load_square(path: Path, sha256: str, size: int) -> npt.NDArray[np.uint8]:
    return squash(load_photo(path, sha256), size)


def prepare(inputs: torch.Tensor, network: NetworkRecord) -> torch.Tensor:
    """What a module computes on: images normalized as the network expects, features as they are.

    uint8 `[N, 3, H, W]` becomes float32, channels last.
    """
    if inputs.dtype != torch.uint8:
        return inputs
    mean = torch.tensor(network.mean, device=inputs.device).view(3, 1, 1)
    std = torch.tensor(network.std, device=inputs.device).view(3, 1, 1)
    return ((inputs / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
