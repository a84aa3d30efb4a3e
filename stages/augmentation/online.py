"""Online augmentation: every epoch sees each train photo once, augmented anew by worker processes meanwhile."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from joblib import Parallel, cpu_count, delayed
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from stages.augmentation.catalogue import import_augly
from stages.augmentation.operations import load_reduced
from stages.augmentation.params import AugmentParams
from stages.augmentation.views import draw_view, render_view
from stages.model.dataset import number_classes, squash

NICE = 10  # workers give way to the training, which else waits for its own threads


@dataclass(frozen=True)
class OnlineExamples:
    """Train photos in memory, from which every epoch gets views of its own.

    manifest: of N photos. photos: decoded and reduced to ``params.max_side``. targets: class indices, int64 `[N]`.
    seed, trial: what the draws follow from, with the photo's content and the epoch. size: pixels of a view's sides.
    make_inputs: turns uint8 images `[B, 3, H, W]` into what is trained on.
    """

    manifest: pd.DataFrame
    photos: list[Image.Image]
    targets: torch.Tensor
    params: AugmentParams
    seed: int
    trial: int
    size: int
    make_inputs: Callable[[torch.Tensor], torch.Tensor] = lambda images: images

    def map(self, make_inputs: Callable[[torch.Tensor], torch.Tensor]) -> "OnlineExamples":
        """The same with other inputs, made of the images."""
        return replace(self, make_inputs=make_inputs)

    def read_batches(self, epoch: int, batches: Sequence[npt.NDArray[np.int64]]) -> Iterator[torch.Tensor]:
        """The inputs of each batch of indices `[B]`, as they are in this epoch, from 1.

        Raises UserError when an operation fails on a photo.
        """
        loader = DataLoader(
            _Epoch(self, epoch),
            batch_sampler=[batch.tolist() for batch in batches],
            num_workers=cpu_count(),
            worker_init_fn=_start_worker,
            collate_fn=np.stack,
        )
        for images in loader:
            yield self.make_inputs(torch.from_numpy(images).permute(0, 3, 1, 2))

    def render(self, index: int, epoch: int) -> npt.NDArray[np.uint8]:
        """The view of a photo in an epoch: uint8 `[H, W, 3]`."""
        path, sha256 = self.manifest["path"].iloc[index], self.manifest["sha256"].iloc[index]
        operations = draw_view(self.params, self.seed, self.trial, sha256, epoch)
        return squash(render_view(self.photos[index], operations, Path(path)), self.size)


def load_online(
    manifest: pd.DataFrame, class_names: list[str], params: AugmentParams, draws: tuple[int, int], size: int
) -> OnlineExamples:
    """Decode every photo of a manifest, in its order. ``draws``: seed and trial; the rest as in `OnlineExamples`.

    Raises UserError when a file is missing, or is not the one the manifest describes.
    """
    if params.policy == "augly":
        import_augly()  # takes a second, which every worker of every epoch would take again
    rows = zip(manifest["path"], manifest["sha256"], strict=True)
    load = delayed(load_reduced)
    photos = Parallel(n_jobs=-1, prefer="threads")(load(Path(path), sha, params.max_side) for path, sha in rows)
    return OnlineExamples(manifest, photos, number_classes(manifest, class_names), params, *draws, size)


@dataclass(frozen=True)
class _Epoch(Dataset[npt.NDArray[np.uint8]]):
    examples: OnlineExamples
    epoch: int

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        return self.examples.render(index, self.epoch)

    def __len__(self) -> int:
        return len(self.examples.photos)


def _start_worker(_number: int) -> None:
    os.nice(NICE)
