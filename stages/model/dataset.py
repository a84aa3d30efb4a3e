"""Images as a model gets them: read batch by batch, as bytes, and normalized then."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from stages.model.device import Device
from stages.model.pixels import Pixels
from stages.model.record import NetworkRecord
from stages.photos.loading import load_square
from stages.runtime.workers import map_in_threads

PLACED = 256  # images on their way to a GPU at a time

Batch = slice | npt.NDArray[np.int64]
"""Indices of the examples in a batch."""


@dataclass(frozen=True)
class PackedImages:
    """uint8 images `[N, 3, H, W]`, RGB, that are on disk. Indexing reads some into memory."""

    pixels: Pixels
    dtype: ClassVar[torch.dtype] = torch.uint8

    def __len__(self) -> int:
        """Number of images, N."""
        return len(self.pixels)

    def __getitem__(self, batch: Batch) -> torch.Tensor:
        """The images of a batch."""
        images = [self.pixels.read(number) for number in np.arange(len(self))[batch]]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


ModelInputs = torch.Tensor | PackedImages
"""uint8 `[N, 3, H, W]`, or float32 features `[N, F]` in memory."""


@dataclass(frozen=True)
class Examples:
    """What a model is trained or tested on: inputs and their class indices, int64 `[N]`.

    inputs: uint8 images `[N, 3, H, W]`, RGB; or float32 features `[N, F]`, where only a head is trained.
    """

    inputs: ModelInputs
    targets: torch.Tensor

    def read_batches(self, _epoch: int, batches: Sequence[npt.NDArray[np.int64]]) -> Iterator[torch.Tensor]:
        """The inputs of each batch of indices `[B]`; the same in every epoch."""
        return read_ahead(self.inputs, batches)


def read_ahead(inputs: ModelInputs, batches: Iterable[Batch]) -> Iterator[torch.Tensor]:
    """The inputs of each batch; those on disk are read while the model computes on the batch before."""
    if isinstance(inputs, torch.Tensor):
        return (inputs[_move(batch, inputs.device)] for batch in batches)
    return map_in_threads(inputs.__getitem__, batches, threads=1)


def _move(batch: Batch, device: torch.device) -> slice | torch.Tensor:
    return batch if isinstance(batch, slice) else torch.from_numpy(batch).to(device, non_blocking=True)


def place_images(examples: Examples, device: Device) -> Examples:
    """The same examples, with their images in a GPU's memory where they fit beside a training; else as they are."""
    images = examples.inputs
    if isinstance(images, torch.Tensor) or not len(images):
        return examples
    shape = (len(images), *images[:1].shape[1:])
    if math.prod(shape) > device.measure_room():
        return examples
    placed = torch.empty(shape, dtype=images.dtype, device=device.torch_device, memory_format=torch.channels_last)
    parts = [slice(start, start + PLACED) for start in range(0, len(images), PLACED)]
    for part, batch in zip(parts, read_ahead(images, parts), strict=True):
        placed[part] = batch
    return Examples(placed, examples.targets)


def load_images(manifest: pd.DataFrame, class_names: list[str], size: int) -> Examples:
    """The images of a manifest as squares of ``size`` pixels, in its order, and their classes.

    Each is decoded once and kept on disk. Raises UserError as `Pixels` does.
    """
    return Examples(PackedImages(Pixels(manifest, load_square, size)), number_classes(manifest, class_names))


def load_pixels(manifest: pd.DataFrame, size: int) -> torch.Tensor:
    """Decode every image of a manifest, and squash it to a square of ``size`` pixels: uint8 `[N, 3, size, size]`.

    Raises UserError when a file is missing, or is not the one the manifest describes.
    """
    rows = zip(manifest["path"], manifest["sha256"], strict=True)
    squares = map_in_threads(lambda row: load_square(Path(row[0]), row[1], size), rows)
    return torch.from_numpy(np.stack(list(squares))).permute(0, 3, 1, 2)


def number_classes(manifest: pd.DataFrame, class_names: list[str]) -> torch.Tensor:
    """The class index of every image of a manifest, int64 `[N]`."""
    numbers = {name: number for number, name in enumerate(class_names)}
    return torch.tensor([numbers[name] for name in manifest["class"]])


def prepare(inputs: torch.Tensor, network: NetworkRecord) -> torch.Tensor:
    """What a module computes on: images normalized as the network expects, features as they are.

    uint8 `[N, 3, H, W]` becomes float32, channels last.
    """
    if inputs.dtype != torch.uint8:
        return inputs
    mean, std = (_make_channels(tuple(values), inputs.device) for values in (network.mean, network.std))
    return ((inputs / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=8)
def _make_channels(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """A value per colour channel, `[3, 1, 1]`; made once, as a GPU would be waited for."""
    return torch.tensor(values, device=device).view(3, 1, 1)
