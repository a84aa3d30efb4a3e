"""Shards: zips that hold the images of a folder of very many, as DVC handles every file by itself.

The path of such an image is that of its zip, followed by its own within: data/raw/images-0003.zip/cats/cat_1.jpg.
Any program for zips opens them.
"""

import errno
import os
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from stages.runtime.progress import show_items

LIMIT = 10_000  # images of a folder of which each has a file of its own
SIZE = 1_000  # images of a shard
SUFFIX = ".zip"
LOCAL_HEADER = struct.Struct("<26x2H")  # of a zip's entry: the lengths of name and extra field, which follow it


def gather_images(folder: Path, paths: Sequence[str]) -> list[str]:
    """Move the images of a folder with more than `LIMIT` of them into shards of `SIZE`, in the order of their paths.

    ``paths``: those that the images have once the folder is in its place, each ending in <class>/<name>.

    Returns: their paths from now on, in the order given; the same order sorts them. The same images give the same
    bytes.
    """
    if len(paths) <= LIMIT:
        return list(paths)
    places, ordered = {}, sorted(paths)
    starts = range(0, len(ordered), SIZE)
    for number, start in enumerate(show_items(starts, "gathering images")):
        shard = f"images-{number:04}{SUFFIX}"
        with ZipFile(folder / shard, "w") as file:
            for path in ordered[start : start + SIZE]:
                home, name = PurePosixPath(path).parents[1], "/".join(PurePosixPath(path).parts[-2:])
                file.writestr(ZipInfo(name), (folder / name).read_bytes())  # stored, dated 1980
                (folder / name).unlink()
                places[path] = (home / shard / name).as_posix()
    for emptied in {PurePosixPath(path).parent.name for path in paths}:
        (folder / emptied).rmdir()
    return [places[path] for path in paths]


def find_home(path: Path) -> Path:
    """The folder that holds the folders of classes, or the shards."""
    home = path.parent.parent
    return home.parent if home.suffix == SUFFIX else home


def read_image(path: Path) -> bytes:
    """The bytes of an image, in a file or in a shard. Raises OSError, as reading a file does."""
    shard = path.parent.parent
    if shard.suffix != SUFFIX:
        return path.read_bytes()
    with shard.open("rb") as file:
        state = os.fstat(file.fileno())
        offset, size = _find(shard, path, state)
        file.seek(offset)
        header = file.read(LOCAL_HEADER.size)
        if len(header) == LOCAL_HEADER.size:
            file.seek(sum(LOCAL_HEADER.unpack(header)), os.SEEK_CUR)
        return file.read(size)


def _find(shard: Path, path: Path, state: os.stat_result) -> tuple[int, int]:
    name = "/".join(path.parts[-2:])
    entries = _list_entries(shard, (state.st_ino, state.st_size, state.st_mtime_ns))
    if name not in entries:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return entries[name]


@lru_cache(maxsize=16)  # manifests list images shard by shard
def _list_entries(shard: Path, _state: tuple[int, int, int]) -> dict[str, tuple[int, int]]:
    """Offset and bytes of each image of a shard in a certain state."""
    try:
        with ZipFile(shard) as file:
            return {info.filename: (info.header_offset, info.file_size) for info in file.infolist()}
    except BadZipFile as error:
        raise OSError(f"{shard} is damaged: {error}") from error
