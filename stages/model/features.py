"""Features: what a frozen backbone makes of an image, computed once and kept.

They are kept in ``.dvc/tmp/features.db`` of the main repository, by the content of the image or of its file, and by all
that decides them: the backbone's weights, the normalization, the machine. Deleting the file costs time only.
"""

import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from stages.model.architectures import find_head
from stages.model.dataset import Examples, load_images, load_pixels, number_classes, prepare
from stages.model.device import Device
from stages.model.record import NetworkRecord
from stages.photos.loading import check_files
from stages.runtime.errors import UserError
from stages.runtime.progress import show_items
from stages.runtime.root import find_root

FORMAT = 2  # of the computation below; with another, what is kept is computed again
BATCH = 32  # images; always so many, as what is computed of an image may depend on it
LOCK_SECONDS = 60

Vectors = dict[str, npt.NDArray[np.float32]]
"""Features `[F]` by the SHA-256 of an image's pixels, or of its file with the size it is squashed to."""


def split_model(model: nn.Module, network: NetworkRecord, device: Device) -> tuple[nn.Module, "Inputs"]:
    """What of a model is trained, and what it is trained on."""
    if network.freeze == "none":
        return model, Inputs(network.image_size)
    extractor = FeatureExtractor(model, network, device)
    return extractor.head, Inputs(network.image_size, extractor)


@dataclass(frozen=True)
class Inputs:
    """Makes what a model is trained on: images of ``size`` pixels as they are, or what ``extractor`` makes of them."""

    size: int
    extractor: "FeatureExtractor | None" = None

    def make(self, images: torch.Tensor) -> torch.Tensor:
        """The inputs for uint8 images `[N, 3, size, size]`."""
        return self.extractor.extract(images) if self.extractor else images

    def load(self, manifest: pd.DataFrame, class_names: list[str]) -> Examples:
        """The inputs for the images of a manifest, in its order, and their classes.

        Raises UserError when a file is missing, or is not the one the manifest describes.
        """
        if not self.extractor:
            return load_images(manifest, class_names, self.size)
        return Examples(self.extractor.load(manifest, self.size), number_classes(manifest, class_names))


@dataclass(frozen=True)
class FeatureExtractor:
    """The frozen part of a model: everything before its head, in evaluation mode."""

    model: nn.Module
    network: NetworkRecord
    device: Device

    def extract(self, images: torch.Tensor) -> torch.Tensor:
        """Features `[N, F]`, float32 on the CPU, of uint8 images `[N, 3, H, W]`; of one that is kept, what is kept.

        Raises UserError when the head does not take one vector per image.
        """
        names = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images]
        return self._complete(names, lambda indices: images[indices])

    def load(self, manifest: pd.DataFrame, size: int) -> torch.Tensor:
        """Features `[N, F]` of the images of a manifest at ``size`` pixels. Only what is not kept is decoded.

        Raises UserError as `extract` does, and when a file is missing, or is not the one the manifest describes.
        """
        started = time.perf_counter()
        check_files(manifest)
        names = [f"{sha256} {size}" for sha256 in manifest["sha256"]]
        features = self._complete(names, lambda indices: load_pixels(manifest.iloc[indices], size))
        print(f"  features of {len(names):,} images: {time.perf_counter() - started:.1f} s")
        return features

    def _complete(self, names: list[str], get_images: Callable[[list[int]], torch.Tensor]) -> torch.Tensor:
        """Features `[N, F]` by name; ``get_images`` gives the images at some indices, of which nothing is kept."""
        wanted: dict[str, int] = {}
        for index, name in enumerate(names):
            wanted.setdefault(name, index)
        rows = {name: row for row, name in enumerate(wanted)}
        features = np.empty((len(rows), 0), dtype=np.float32)  # filled part by part, so that none is in memory twice
        for found in read_features(self.key, list(rows)):
            features = _fill(features, rows, found)
            for name in found:
                del wanted[name]
        missing = list(wanted)
        batches = [missing[start : start + BATCH] for start in range(0, len(missing), BATCH)]
        for batch in show_items(batches, "computing features"):
            vectors = self.compute(get_images([wanted[name] for name in batch]))
            new = dict(zip(batch, vectors, strict=True))
            keep_features(self.key, new)
            features = _fill(features, rows, new)
        return torch.from_numpy(features if len(rows) == len(names) else features[[rows[name] for name in names]])

    @torch.inference_mode()
    def compute(self, images: torch.Tensor) -> npt.NDArray[np.float32]:
        """Features `[B, F]` of at most `BATCH` images, which are padded to as many."""
        inputs: list[torch.Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
        padded = images[torch.arange(BATCH).clamp(max=len(images) - 1)]
        self.model.eval()
        with hook, self.device.take_turn(), self.device.autocast():
            logits = self.model(prepare(padded.to(self.device.torch_device), self.network))
            if len(inputs) != 1 or not torch.equal(self.head(inputs[0]), logits):
                raise UserError(
                    f"model.freeze: the last layer of {self.network.name} does not turn one vector per image into "
                    "logits, so it cannot be trained alone. Set model.freeze to none, or choose another network."
                )
        return np.asarray(inputs[0][: len(images)].float().cpu().numpy())

    @property
    def head(self) -> nn.Module:
        """The only layer that is trained."""
        return self.model.get_submodule(find_head(self.model))

    @cached_property
    def key(self) -> str:
        """What decides the features of an image, in hex."""
        head = find_head(self.model)
        content = hashlib.sha256()
        for name, tensor in self.model.state_dict().items():
            if not name.startswith(f"{head}."):
                content.update(name.encode() + tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
        machine = self.device.describe(self.network.name).model_dump()
        known = [FORMAT, content.hexdigest(), self.network.name, self.network.mean, self.network.std, machine]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _fill(table: npt.NDArray[np.float32], rows: dict[str, int], vectors: Vectors) -> npt.NDArray[np.float32]:
    """Put vectors into their rows of a table, which may have no columns yet. Returns: the table."""
    for name, vector in vectors.items():
        if not table.shape[1]:
            table = np.empty((len(table), len(vector)), dtype=np.float32)
        table[rows[name]] = vector
    return table


def read_features(key: str, names: list[str]) -> Iterator[Vectors]:
    """Those of these images that are kept, some at a time; a damaged one counts as absent."""
    with _open_database() as database:
        for start in range(0, len(names), 500):  # SQLite takes a limited number of values in one query
            some = names[start : start + 500]
            query = (
                f"SELECT image, vector, checksum FROM features WHERE key = ? AND image IN ({','.join('?' * len(some))})"
            )
            yield {
                name: np.frombuffer(vector, dtype=np.float32)
                for name, vector, checksum in database.execute(query, [key, *some])
                if zlib.crc32(vector) == checksum
            }


def keep_features(key: str, vectors: Vectors) -> None:
    """Keep features, in one transaction."""
    data = {name: vector.tobytes() for name, vector in vectors.items()}
    rows = [(key, name, vector, zlib.crc32(vector)) for name, vector in data.items()]
    with _open_database() as database:
        database.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)", rows)


@contextmanager
def _open_database() -> Iterator[sqlite3.Connection]:
    path = find_root() / ".dvc" / "tmp" / "features.db"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS features (key TEXT, image TEXT, vector BLOB, checksum INTEGER, "
                "PRIMARY KEY (key, image)) WITHOUT ROWID"
            )
            yield database
    except (sqlite3.Error, OSError) as error:
        raise UserError(
            f"{path} cannot be used: {error}. It only saves time: free some space if the disk is full, else delete it."
        ) from error
