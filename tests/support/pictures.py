"""Small pictures and archives for tests."""

import io
import random
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


def make_zip(path: Path, entries: dict[str, bytes]) -> Path:
    """A zip of these files; a name that ends with / is a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def make_folder(path: Path, entries: dict[str, bytes]) -> Path:
    """The same as a folder."""
    for name, data in entries.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path
