"""Photos from bytes: decoded fully to RGB, or refused with a reason that a person can act on."""

import hashlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from stages.photos.shards import read_image
from stages.runtime.errors import RESTORE, UserError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
"""Accepted by content, whatever the file's name says; HEIC as well. EPS and the like, which run code, are not."""

MAX_PIXELS = 50_000_000
MIN_SIDE = 8  # pixels
MAX_ASPECT = 20  # longer side / shorter side

# EXIF orientation -> what undoes it, as in ImageOps.exif_transpose, which fails where another tag is broken
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

MODE_NAMES = {"1": "black and white", "L": "gray", "LA": "gray", "P": "palette", "PA": "palette", "RGBA": "RGB"}

# Files of many cameras begin like a TIFF but hold a preview where a TIFF has its picture. CR2 says so in its header,
# the others in tags: DNGVersion (DNG), or a first page marked as reduced (NEF, ARW)
DNG_VERSION = 50706
RAW_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
TIFF_STARTS = tuple(TiffImagePlugin.PREFIXES)

# About metadata, and sizes that are checked here. For good, because catch_warnings() is not safe in threads
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


class BadImage(Exception):  # noqa: N818 - a verdict on a file, not a failure of the program
    """These bytes are no photo to learn from. The message says why."""


def decode_photo(data: bytes) -> tuple[Image.Image, list[str]]:
    """Decode to upright 8-bit RGB, and note every conversion that was needed, such as ``"CMYK to RGB"``.

    Raises BadImage for anything that is incomplete, neither one of `FORMATS` nor HEIC, or of an absurd size.
    """
    if not data:
        raise BadImage("empty file")
    try:
        return _decode(data)
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(f"not a readable {', '.join(FORMATS)} or HEIC file: {describe_start(data)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"more than {MAX_PIXELS / 1e6:.0f} megapixels") from error
    except Exception as error:  # on damaged bytes decoders raise almost anything
        raise BadImage(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from error


def load_photo(path: Path, sha256: str | None = None) -> Image.Image:
    """The photo at ``path`` as upright RGB.

    Raises UserError naming a file that is missing, cannot be decoded, or does not have the given ``sha256``.
    """
    data = read_photo(path, sha256)
    try:
        return decode_photo(data)[0]
    except BadImage as error:
        raise UserError(f"{path} was changed or damaged: {error}. {RESTORE}") from error


def read_photo(path: Path, sha256: str | None = None) -> bytes:
    """The bytes of the image at ``path``. Raises UserError when it is missing, or does not have this ``sha256``."""
    try:
        data = read_image(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing. Run `dvc repro`, which makes it again.") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise UserError(f"{str(path)!r} cannot be read: {error}. {RESTORE}") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path} was changed or damaged: its bytes are not those in the manifest. {RESTORE}")
    return data


def compute_dhash(image: Image.Image) -> str:
    """64-bit difference hash, 16 hex digits; near-duplicates differ in few bits (N. Krawetz, hackerfactor.com)."""
    import imagehash  # as numpy below, too slow for `make repro` with nothing to do

    return str(imagehash.dhash(image))


def describe_start(data: bytes) -> str:
    """What a file that is not what it should be looks like, from its first bytes."""
    start = data[:200].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer (`git lfs pull` fetches the file)"
    if data[4:12] == b"ftypcrx " or data.startswith(RAW_STARTS):
        return "a camera's raw file (convert it to JPEG)"
    if data[4:8] == b"ftyp":
        return "a damaged HEIC or AVIF file, or a video"
    if data.startswith(TIFF_STARTS):
        return "a damaged TIFF file, or one of an unusual kind (convert it to JPEG)"
    page = " (a web page?)" if start.startswith((b"<!doctype html", b"<html")) else ""
    return f"it starts with {data[:24]!r}{page}"


def _decode(data: bytes) -> tuple[Image.Image, list[str]]:
    image = _open(data)
    check_size(*image.size)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiff(data, image)
        with _refusing_what_libtiff_reports():
            image.load()
    if image.format == "PNG":  # only verify() compares PNG checksums; it leaves the image unusable
        image.verify()
        image = _open(data)
    notes = _describe_frames(image)
    image.load()
    upright, turned = _turn_upright(image)
    rgb, converted = _convert_to_rgb(upright)
    rgb.info.clear()  # nothing but pixels goes on
    return rgb, notes + turned + converted


def _open(data: bytes) -> Image.Image:
    """The image, of which nothing but the header has been read."""
    if data[4:8] != b"ftyp":
        return Image.open(BytesIO(data), formats=FORMATS)
    import pillow_heif  # loads a decoder that few photos need

    pillow_heif.register_heif_opener()
    return Image.open(BytesIO(data), formats=(*FORMATS, "HEIF"))


def _check_tiff(data: bytes, image: TiffImagePlugin.TiffImageFile) -> None:
    tags = image.tag_v2
    preview = tags.get(ExifTags.Base.NewSubfileType, 0) & 1
    if data[8:10] == b"CR" or DNG_VERSION in tags or preview:
        raise BadImage("a camera's raw file, or a TIFF whose first page is a preview (convert it to JPEG)")
    tile = tags.get(ExifTags.Base.TileWidth, 0) * tags.get(ExifTags.Base.TileLength, 0)
    if tile > MAX_PIXELS:  # the decoder makes room for a whole one
        raise BadImage(f"tiles of more than {MAX_PIXELS / 1e6:.0f} megapixels")


@contextmanager
def _refusing_what_libtiff_reports() -> Iterator[None]:
    """libtiff writes errors straight to stderr, and some of them only there: raise BadImage with the first instead."""
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            log.seek(0)
            if reported := log.readline():
                raise BadImage(f"damaged: {reported.decode(errors='replace').strip().removeprefix('tempfile.tif: ')}")


def _describe_frames(image: Image.Image) -> list[str]:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return ["first page of several"] if image.tag_v2.next else []  # counting many would take minutes
    frames = getattr(image, "n_frames", 1)
    which = "primary image" if image.format == "HEIF" else "first frame"
    return [f"{which} of {frames}"] if frames > 1 else []


def check_size(width: int, height: int) -> None:
    """Raise BadImage unless a picture of so many pixels can be learned from."""
    size = f"{width} x {height} pixels"
    if width * height > MAX_PIXELS:
        raise BadImage(f"{size}, more than {MAX_PIXELS / 1e6:.0f} megapixels")
    if min(width, height) < MIN_SIDE:
        raise BadImage(f"{size}, a side shorter than {MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadImage(f"{size}, longer than {MAX_ASPECT}:1")


def _turn_upright(image: Image.Image) -> tuple[Image.Image, list[str]]:
    try:
        turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a broken EXIF block does not spoil the picture
        return image, ["EXIF unreadable, orientation unknown"]
    return (image.transpose(turn), ["EXIF orientation applied"]) if turn is not None else (image, [])


def _convert_to_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image, []
    if image.mode.startswith("I;16"):  # a plain convert() would clip these to white
        return _scale_to_8_bits(image).convert("RGB"), ["16-bit gray to RGB"]
    if image.mode in ("I", "F"):
        raise BadImage("32-bit, signed or floating-point pixels, whose range is unknown (save it with 8 or 16 bits)")
    name = MODE_NAMES.get(image.mode, image.mode)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"), [f"{name} with alpha over white"]
    return image.convert("RGB"), [f"{name} to RGB"]


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    import numpy as np

    tags = getattr(image, "tag_v2", {})
    (bits,) = tags.get(ExifTags.Base.BitsPerSample, (16,))
    levels = np.asarray(image).astype(np.int64)
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # 0 is white, which Pillow heeds up to 8 bits only
        levels = 2**bits - 1 - levels
    return Image.fromarray(((levels * 255 + 2 ** (bits - 1)) // (2**bits - 1)).astype(np.uint8))
