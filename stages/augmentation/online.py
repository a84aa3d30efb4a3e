"""Online augmentation: every epoch sees each train photo once, augmented anew by worker processes meanwhile."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from joblib import Parallel, delayed
from PIL import Image

from stages.augmentation.limits import Operation
from stages.augmentation.params import AugmentParams
from stages.augmentation.views import draw_view, render_view
from stages.model.dataset import number_classes
from stages.model.pixels import Pixels
from stages.photos.loading import load_reduced, squash

AHEAD = 2048  # views in memory, 300 MB at 224 pixels


@dataclass(frozen=True)
class OnlineExamples:
    """Train photos, from which every epoch gets views of its own.

    manifest: of N photos. photos: reduced to ``params.max_side``. targets: class indices, int64 `[N]`.
    seed, trial: what the draws follow from, with the photo's content and the epoch. size: pixels of a view's sides.
    make_inputs: turns uint8 images `[B, 3, H, W]` into what is trained on.
    """

    manifest: pd.DataFrame
    photos: Pixels
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
        for start, stop in _list_windows(batches):
            window = batches[start:stop]
            jobs = (self._plan(index, epoch) for batch in window for index in batch.tolist())
            views = iter(Parallel(n_jobs=-1, return_as="generator")(jobs))
            for batch in window:
                images = np.stack(list(islice(views, len(batch))))
                yield self.make_inputs(torch.from_numpy(images).permute(0, 3, 1, 2))

    def _plan(self, index: int, epoch: int) -> Any:
        path, sha256 = self.manifest["path"].iloc[index], self.manifest["sha256"].iloc[index]
        operations = draw_view(self.params, self.seed, self.trial, sha256, epoch)
        return delayed(_render)(Image.fromarray(self.photos.read(index)), operations, Path(path), self.size)


def load_online(
    manifest: pd.DataFrame, class_names: list[str], params: AugmentParams, draws: tuple[int, int], size: int
) -> OnlineExamples:
    """The photos of a manifest, in its order. ``draws``: seed and trial; the rest as in `OnlineExamples`.

    Each is decoded once and kept on disk. Raises UserError as `Pixels` does.
    """
    photos = Pixels(manifest, load_reduced, params.max_side)
    return OnlineExamples(manifest, photos, number_classes(manifest, class_names), params, *draws, size)


def _list_windows(batches: Sequence[npt.NDArray[np.int64]]) -> list[tuple[int, int]]:
    """Cut batches into windows of about `AHEAD` views: joblib renders a window without waiting for who trains on it."""
    ends = np.cumsum([len(batch) for batch in batches]) // AHEAD
    starts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(batches)]
    return list(pairwise(starts))


def _render(photo: Image.Image, operations: list[Operation], path: Path, size: int) -> npt.NDArray[np.uint8]:
    return squash(render_view(photo, operations, path), size)
