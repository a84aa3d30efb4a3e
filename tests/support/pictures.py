"""Small pictures and archives for tests."""

import io
import random
import struct
import zipfile
from pathlib import Path

from PIL import Image


def encode(image: Image.Image, format_name: str = "JPEG", **options: object) -> bytes:
    """The image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def make_jpeg(seed: int, size: tuple[int, int] = (24, 16)) -> bytes:
    """A picture of coloured noise; another one for every seed."""
    return encode(Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1])))


def make_tiff(tags: dict[int, int | bytes], pixels: bytes, header: int = 0, pages: int = 1) -> bytes:
    """A little-endian TIFF of 16 x 16 pixels, 8-bit gray unless ``tags`` (number -> value) say otherwise.

    ``pixels`` are its only strip, or its only tile where tag 322 is given. ``header`` zero bytes follow the file's
    header, and empty pages the first.
    """
    offset, length = (324, 325) if 322 in tags else (273, 279)
    fields = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1, offset: 0, length: len(pixels)} | tags
    end = 8 + header + 2 + 12 * len(fields) + 4
    chain = b"".join(struct.pack("<HI", 0, end + 6 * page if page < pages - 1 else 0) for page in range(1, pages))
    fields[offset] = end + len(chain)
    directory = b""
    for tag, value in sorted(fields.items()):
        if isinstance(value, int):
            directory += struct.pack("<HHII", tag, 4, 1, value)
        elif len(value) == 4:  # bytes
            directory += struct.pack("<HHI4s", tag, 1, 4, value)
        else:  # 16-bit numbers, which follow the pixels
            directory += struct.pack("<HHII", tag, 3, len(value) // 2, end + len(chain) + len(pixels))
            pixels += value
    first = struct.pack("<H", len(fields)) + directory + struct.pack("<I", end if chain else 0)
    return struct.pack("<2sHI", b"II", 42, 8 + header) + bytes(header) + first + chain + pixels


def make_zip(path: Path, entries: dict[str, bytes]) -> Path:
    """A zip of these files; a name that ends with / is a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(
                zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED
            )  # without the time: always the same bytes
    return path


def make_folder(path: Path, entries: dict[str, bytes]) -> Path:
    """The same as a folder."""
    for name, data in entries.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path
