"""Pixels: images of a manifest, decoded once, kept on disk and read from there.

They are kept in ``.dvc/tmp/pixels/`` of the main repository, in packs (`stages.model.packs`) named by all that decides
their bytes: the files' content, the way they are loaded, its code, and the libraries that decode. An image that any
trial, arm or experiment has decoded is not decoded again while its pack is kept. Deleting the folder costs time only.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.base.files import compute_sha256, replace_file
from stages.model import packs
from stages.model.packs import INDEX, DamagedPackError, Pack, RGBImage, open_pack, write_pack
from stages.photos import decoding, loading
from stages.photos.loading import check_files
from stages.photos.shards import find_home
from stages.runtime.errors import UserError
from stages.runtime.locks import is_locked, wait_for_lock
from stages.runtime.progress import show_items
from stages.runtime.root import find_root
from stages.runtime.workers import map_in_threads

KEPT = 100_000_000_000
"""Bytes of all packs beyond which those that nobody uses are deleted, as they are where packs would take more than is
left free. 100,000 photos are 15 GB at 224 x 224 pixels, and 59 GB as online augmentation takes them by default."""

SPARE = 2_000_000_000
"""Bytes that a pack leaves free on the disk, or as many as it takes itself: a trial writes up to 2 GB beside it."""

PLANNED = 256  # images between two looks at the room that is left

Load = Callable[[Path, str, int], Any]
"""A function of `stages.photos.loading`, from path, SHA-256 and pixels of a side to an image."""


class Pixels:
    """The images of a manifest, each read from disk when it is asked for."""

    def __init__(self, manifest: pd.DataFrame, load: Load, side: int) -> None:
        """Decode what no pack has; check that all other files are the ones the manifest describes.

        Raises UserError when a file is missing or another one, or there is no room for the decoded images.
        """
        self.manifest = manifest[["path", "sha256"]].reset_index(drop=True)
        self.load, self.side = load, side
        self.packs: list[Pack] = []
        self.names = np.array([name.encode() for name in manifest["sha256"]])
        self.pack_numbers = np.full(len(manifest), -1)  # -1: in no open pack
        self.entries = np.zeros(len(manifest), dtype=INDEX)
        decoded = self._complete()
        check_files(self.manifest[~decoded])

    def __len__(self) -> int:
        """Number of images, N."""
        return len(self.manifest)

    def read(self, number: int) -> RGBImage:
        """One image, uint8 `[H, W, 3]`. A damaged pack is made again, with a warning."""
        try:
            return self._read(number)
        except DamagedPackError as damage:
            pack_number = self.pack_numbers[number]
            self._discard(self.packs[pack_number].path, damage, self.packs[pack_number])
            self.pack_numbers[self.pack_numbers == pack_number] = -1
            self._complete()
            return self._read(number)

    def _read(self, number: int) -> RGBImage:
        pack: Pack = self.packs[self.pack_numbers[number]]
        return pack.read(self.entries[number])

    @cached_property
    def key(self) -> bytes:
        """What decides the bytes of an image beside its file."""
        code = [compute_sha256(Path(str(module.__file__))) for module in (decoding, loading, packs)]
        libraries = [version(name) for name in ("pillow", "pillow-heif")]
        return hashlib.sha256(json.dumps([self.load.__name__, self.side, code, libraries]).encode()).digest()

    def _complete(self) -> npt.NDArray[np.bool_]:
        """Find each image in a pack, or decode it into a new one. Returns: which were decoded now."""
        decoded = np.zeros(len(self), dtype=bool)
        self._find()
        if (self.pack_numbers >= 0).all():
            return decoded
        folder, started = _find_folder(), time.perf_counter()
        with wait_for_lock(folder / "lock", "decodes images"):
            self._find()  # what that process has decoded
            for left in folder.glob("*.partial"):  # by a process that was killed
                left.unlink()
            decoded = (self.pack_numbers < 0) & ~self.manifest["sha256"].duplicated().to_numpy()
            for part in _divide(self.manifest[decoded]):
                self._use(self._make_pack(folder, part))
        if decoded.any():
            print(f"  decoded {decoded.sum():,} images: {time.perf_counter() - started:.1f} s")
        return decoded

    def _find(self) -> None:
        """Use the packs that are kept, of what is still missing."""
        for path, _ in reversed(_list_packs(_find_folder(), self.key.hex()[:16])):
            if (self.pack_numbers >= 0).all():
                return
            try:
                self._use(open_pack(path, self.key))
            except DamagedPackError as damage:
                self._discard(path, damage)
            except FileNotFoundError:
                pass  # another process has just deleted it

    def _use(self, pack: Pack) -> None:
        rows = np.flatnonzero(self.pack_numbers < 0)
        places = pack.find(self.names[rows])
        rows, places = rows[places >= 0], places[places >= 0]
        if not len(rows):
            return
        with suppress(FileNotFoundError):
            os.utime(pack.path)  # it was used now
        self.pack_numbers[rows] = len(self.packs)
        self.entries[rows] = pack.index[places]
        self.packs.append(pack)

    def _make_pack(self, folder: Path, part: pd.DataFrame) -> Pack:
        names = part["sha256"].tolist()
        content = hashlib.sha256(" ".join(sorted(names)).encode()).hexdigest()
        path = folder / f"{self.key.hex()[:16]}-{content[:16]}.pack"
        rows = show_items(list(zip(part["path"], names, strict=True)), "decoding images")
        with replace_file(path) as file:
            write_pack(file, self.key, names, _watch_room(folder, len(names), map_in_threads(self._decode, rows)))
        return open_pack(path, self.key)

    def _decode(self, row: tuple[str, str]) -> RGBImage:
        return np.asarray(self.load(Path(row[0]), row[1], self.side))

    @staticmethod
    def _discard(path: Path, damage: DamagedPackError, pack: Pack | None = None) -> None:
        """Delete a damaged pack, unless another process has made it again by now."""
        print(f"warning: {path} is damaged ({damage.reason}): its images are decoded again", file=sys.stderr)
        with suppress(FileNotFoundError):
            if pack is None or os.path.samestat(os.fstat(pack.file.fileno()), path.stat()):
                path.unlink()


def _find_folder() -> Path:
    folder = find_root() / ".dvc" / "tmp" / "pixels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _divide(manifest: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows by the folder that their class's folder lies in: photos are of use for longer than a trial's copies."""
    folders = pd.Series([str(find_home(Path(path))) for path in manifest["path"]], index=manifest.index, dtype=str)
    return (manifest[folders == folder] for folder in folders.unique())


def _list_packs(folder: Path, prefix: str = "") -> list[tuple[Path, int]]:
    """Packs and their bytes, those first that have been used least recently."""
    found = []
    for path in folder.glob(f"{prefix}*.pack"):
        with suppress(FileNotFoundError):  # another process has just deleted it
            found.append((path.stat().st_mtime_ns, path, path.stat().st_size))
    return [(path, size) for _, path, size in sorted(found)]


def _watch_room(folder: Path, total: int, images: Iterable[RGBImage]) -> Iterator[RGBImage]:
    """The images on their way to a pack of ``total``, for which room is made."""
    written = 0
    for number, image in enumerate(images, start=1):
        written += image.nbytes
        if number == total or number % PLANNED == 0:
            expected = written * total // number
            make_room(folder, expected, expected - written + image.nbytes)
        yield image


def make_room(folder: Path, size: int, missing: int) -> None:
    """Delete packs that nobody uses, least recently used first, until there is room for a new one of ``size`` bytes.

    ``missing``: how many of its bytes are not written yet. Raises UserError when the disk lacks room all the same.
    """
    needed = missing + min(size, SPARE)  # the least
    kept = _list_packs(folder)
    total = sum(taken for _, taken in kept)
    for path, taken in kept:
        free = shutil.disk_usage(folder).free
        if total + size <= min(KEPT, free - missing) and free >= needed:
            return
        with suppress(FileNotFoundError):
            if not is_locked(path):
                path.unlink()
                total -= taken
    if (free := shutil.disk_usage(folder).free) < needed:
        raise UserError(
            f"{folder} has no room for decoded images: they take {size / 1e9:,.1f} GB, and of the {free / 1e9:,.1f} GB "
            f"that are free {min(size, SPARE) / 1e9:,.1f} GB must stay so. Free some space, or lower model.image_size "
            "in params.yaml (augment.max_side where photos are augmented online)."
        )
