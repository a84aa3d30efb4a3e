"""Photos from bytes: decoded fully to RGB, or refused with a reason that a person can act on."""

import hashlib
import warnings
from io import BytesIO
from pathlib import Path

import imagehash
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from stages.runtime.errors import RESTORE, UserError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""Accepted by content, whatever the file's name says. EPS and the like, which run code, are not among them."""

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

# About metadata, and sizes that are checked here. For good, because catch_warnings() is not safe in threads
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadImage(Exception):  # noqa: N818 - a verdict on a file, not a failure of the program
    """These bytes are no photo to learn from. The message says why."""


def decode_photo(data: bytes) -> tuple[Image.Image, list[str]]:
    """Decode to upright 8-bit RGB, and note every conversion that was needed, such as ``"CMYK to RGB"``.

    Raises BadImage for anything that is not whole, not one of `FORMATS`, or of an absurd size.
    """
    if not data:
        raise BadImage("empty file")
    try:
        return _decode(data)
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(f"no readable {', '.join(FORMATS[:-1])} or {FORMATS[-1]}: {describe_start(data)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"more than {MAX_PIXELS / 1e6:.0f} megapixels") from error
    except Exception as error:  # on damaged bytes decoders raise almost anything
        raise BadImage(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from error


def load_photo(path: Path, sha256: str | None = None) -> Image.Image:
    """The photo at ``path`` as upright RGB.

    Raises UserError naming a file that is missing, cannot be decoded, or does not have the given ``sha256``.
    """
    try:
        data = path.read_bytes()
        if sha256 and hashlib.sha256(data).hexdigest() != sha256:
            raise BadImage("its bytes are not those in the manifest")
        return decode_photo(data)[0]
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing. Run `dvc repro`, which makes it again.") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise UserError(f"{str(path)!r} cannot be read: {error}. {RESTORE}") from error
    except BadImage as error:
        raise UserError(f"{path} was changed or damaged: {error}. {RESTORE}") from error


def compute_dhash(image: Image.Image) -> str:
    """64-bit difference hash, 16 hex digits; near-duplicates differ in few bits (N. Krawetz, hackerfactor.com)."""
    return str(imagehash.dhash(image))


def describe_start(data: bytes) -> str:
    """What a file that is not what it should be looks like, from its first bytes."""
    start = data[:200].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer (`git lfs pull` fetches the file)"
    if data[4:8] == b"ftyp":
        return "HEIC or another format of phones (convert it to JPEG)"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF or a camera's raw format (convert it to JPEG)"
    page = " (a web page?)" if start.startswith((b"<!doctype html", b"<html")) else ""
    return f"it starts with {data[:24]!r}{page}"


def _decode(data: bytes) -> tuple[Image.Image, list[str]]:
    image = Image.open(BytesIO(data), formats=FORMATS)
    check_size(*image.size)
    if image.format == "PNG":  # only verify() compares PNG checksums; it leaves the image unusable
        image.verify()
        image = Image.open(BytesIO(data), formats=FORMATS)
    frames = getattr(image, "n_frames", 1)
    image.seek(0)
    image.load()
    notes = [f"first frame of {frames}"] if frames > 1 else []
    upright, turned = _turn_upright(image)
    rgb, converted = _convert_to_rgb(upright)
    rgb.info.clear()  # nothing but pixels goes on
    return rgb, notes + turned + converted


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
    if image.mode.startswith("I"):  # 16 bits in I or I;16; a plain convert() would clip them to white
        levels = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB"), ["16-bit gray to RGB"]
    name = MODE_NAMES.get(image.mode, image.mode)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"), [f"{name} with alpha over white"]
    return image.convert("RGB"), [f"{name} to RGB"]
