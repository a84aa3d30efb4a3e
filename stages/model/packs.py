"""Packs: files of decoded images, from which any image is read alone.

A pack is a header, the images one after the other (uint8 RGB, row by row), and an index of them, sorted by the SHA-256
of the file that an image was decoded from. It is written once. Nothing of it stays in memory but the index, 84 bytes an
image: a mapped file would count as memory of the process.
"""

import fcntl
import os
import struct
import weakref
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from stages.runtime.errors import UserError
from stages.runtime.failpoints import failpoint

MAGIC = b"PIXELS 1"
HEADER = struct.Struct("<8s32sQQI")  # MAGIC, key, bytes up to the index, images, CRC-32 of the index
INDEX = np.dtype([("sha256", "S64"), ("offset", "<u8"), ("height", "<u4"), ("width", "<u4"), ("crc", "<u4")])

RGBImage = npt.NDArray[np.uint8]
"""One image, `[H, W, 3]`."""


class DamagedPackError(UserError):
    """The bytes of a pack are not those that were written."""

    def __init__(self, path: Path, reason: str) -> None:
        """``reason``: what is wrong."""
        super().__init__(
            f"{path} is damaged ({reason}), and so was the one before: the disk or the memory changes bytes. "
            "Check them; to delete the file costs time only."
        )
        self.reason = reason


@dataclass(frozen=True)
class Pack:
    """An open pack. It can be read to its end of use even after it was deleted."""

    path: Path
    file: BinaryIO
    index: npt.NDArray[np.void]

    def find(self, names: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int64]:
        """The places in the index of images, by the SHA-256 of their files; -1 where the pack does not have one."""
        places = np.searchsorted(self.index["sha256"], names).clip(max=len(self.index) - 1)
        return np.where(self.index["sha256"][places] == names, places, -1)

    def read(self, entry: np.void) -> RGBImage:
        """The image of an entry of the index. Raises DamagedPackError unless it is the one that was written."""
        image = np.empty((entry["height"], entry["width"], 3), dtype=np.uint8)
        try:
            count = os.preadv(self.file.fileno(), [image.data], int(entry["offset"]))
        except OSError as error:
            raise DamagedPackError(self.path, str(error)) from error
        if count != image.nbytes or zlib.crc32(image.data) != entry["crc"]:
            raise DamagedPackError(self.path, "an image has other bytes")
        return image


def open_pack(path: Path, key: bytes) -> Pack:
    """Open a pack, with a lock that tells others that it is in use.

    Raises DamagedPackError unless it is whole and has this key of 32 bytes; OSError when there is none.
    """
    file = path.open("rb")
    try:
        fcntl.flock(file, fcntl.LOCK_SH)
        pack = Pack(path, file, _read_index(path, file, key))
    except BaseException:
        file.close()
        raise
    weakref.finalize(pack, file.close)
    return pack


def _read_index(path: Path, file: BinaryIO, key: bytes) -> npt.NDArray[np.void]:
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        raise DamagedPackError(path, "truncated")
    magic, found_key, offset, count, crc = HEADER.unpack(header)
    if (magic, found_key) != (MAGIC, key):
        raise DamagedPackError(path, "not its header")
    if os.fstat(file.fileno()).st_size != offset + count * INDEX.itemsize:
        raise DamagedPackError(path, "truncated")
    file.seek(offset)
    data = file.read()
    if zlib.crc32(data) != crc:
        raise DamagedPackError(path, "not its index")
    return np.frombuffer(data, dtype=INDEX)


def write_pack(file: BinaryIO, key: bytes, names: Iterable[str], images: Iterable[RGBImage]) -> None:
    """Write a pack of images, each decoded from the file with the SHA-256 of ``names``, no two the same."""
    file.write(bytes(HEADER.size))
    offset, entries = HEADER.size, []
    for number, (name, image) in enumerate(zip(names, images, strict=True)):
        pixels = np.ascontiguousarray(image)
        file.write(pixels.data)
        entries.append((name.encode(), offset, *image.shape[:2], zlib.crc32(pixels.data)))
        offset += image.nbytes
        failpoint(f"packed {number}")
    index = np.sort(np.array(entries, dtype=INDEX), order="sha256").tobytes()
    file.write(index)
    file.seek(0)
    file.write(HEADER.pack(MAGIC, key, offset, len(entries), zlib.crc32(index)))
