"""Photos already on disk: a zip, read in place and never unpacked, or a folder. Nothing outside either is touched."""

import glob
import lzma
import os
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath

from stages.base.files import compute_sha256
from stages.photos.decoding import BadImage, describe_start
from stages.runtime.errors import UserError
from stages.sources.layout import SUFFIXES, enumerate_some


@dataclass(frozen=True)
class File:
    """A file of a source: its size in bytes, as declared, and a function that reads it, or raises BadImage."""

    size: int
    read: Callable[[], bytes]


Listing = dict[str, File]
"""What a source holds: posix path inside it -> file.

An empty folder is listed as well, with ``/`` at its end: it may be a class without photos.
"""

MAX_FILES = 200_000
MAX_FILE_BYTES = 200_000_000
MAX_TOTAL_BYTES = 20_000_000_000
MAX_RATIO = 200  # unpacked / packed; photos hardly shrink, flat drawings as BMP reach 100
RATIO_FREE_BYTES = 100_000_000  # below this size any ratio is harmless

DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


def find_archive(pattern: str, root: Path) -> Path | None:
    """The one zip or folder that ``pattern``, relative to ``root``, names; None when there is none.

    Raises UserError when several match.
    """
    pattern = str(Path(pattern).expanduser())
    if (root / pattern).exists():
        return root / pattern
    found = sorted(glob.glob(pattern, root_dir=root, recursive=True))  # noqa: PTH207 - Path.glob refuses absolute ones
    if len(found) > 1:
        raise UserError(
            f"fetch.archive: {pattern} matches {len(found)} archives: {enumerate_some(found)}. "
            "Name the one to use in params.yaml, or move the others away."
        )
    return root / found[0] if found else None


def check_room(folder: Path, needed: int) -> None:
    """Raise UserError unless ``needed`` bytes fit on the disk of ``folder``, which need not exist yet."""
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise UserError(
            f"{folder} needs {needed / 1e6:,.1f} MB, and the disk has {free / 1e6:,.1f} MB free. "
            "Free some space, then run again."
        )


def list_archive(path: Path) -> tuple[Listing, str]:
    """What a zip or a folder holds, and its version.

    Raises UserError for a file that is not a zip, or a zip that is damaged, encrypted or unsafe.
    """
    if path.is_dir():
        return list_folder(path), compute_version(path)
    if not path.is_file():
        raise UserError(f"{path} is neither a zip nor a folder. Set fetch.archive in params.yaml to one of them.")
    return list_zip(path), compute_version(path)


def compute_version(path: Path) -> str:
    """``sha256:`` and 12 digits for a zip, empty for anything else."""
    return f"sha256:{compute_sha256(path)[:12]}" if path.is_file() else ""


def list_folder(root: Path) -> Listing:
    """What a folder holds. Links that lead out of it, pipes and the like are listed, and refused when read.

    Raises UserError for a folder that cannot be listed, or a link to a folder.
    """
    listing: Listing = {}
    for place, folders, files in os.walk(root, onerror=_refuse_folder):
        folder = Path(place)
        for name in list(folders):
            if (folder / name).is_symlink() and not name.startswith("."):
                raise UserError(f"{folder / name} is a link to a folder, which is not followed. Put the folder there.")
            if Path(name).suffix.lower() in SUFFIXES:
                folders.remove(name)
                listing[(folder / name).relative_to(root).as_posix()] = NOTHING
        for name in files:
            path = folder / name
            listing[path.relative_to(root).as_posix()] = File(_measure(path), partial(_read_file, path, root))
        if not folders and not files and folder != root:
            listing[f"{folder.relative_to(root).as_posix()}/"] = NOTHING
    return listing


def _refuse_folder(error: OSError) -> None:
    raise UserError(
        f"{error.filename} cannot be listed ({error.strerror}). Make it readable, then run again."
    ) from error


def _read_nothing() -> bytes:
    raise BadImage("a folder, not a photo")


NOTHING = File(0, _read_nothing)


def _measure(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # reading it will say why
        return 0


def _read_file(path: Path, root: Path) -> bytes:
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(root.resolve()):
            raise BadImage("a link that leads out of the folder")
        status = real.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise BadImage("not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise BadImage(f"{status.st_size:,} bytes, more than {MAX_FILE_BYTES:,}")
        return real.read_bytes()
    except RuntimeError as error:  # before Python 3.13
        raise BadImage("links in a circle") from error
    except OSError as error:
        raise BadImage("a dangling link" if path.is_symlink() else f"cannot be read: {error.strerror}") from error


def list_zip(path: Path) -> Listing:
    """What a zip holds. Raises UserError for a file that is not a zip, or one that is damaged, encrypted or unsafe."""
    try:
        archive = zipfile.ZipFile(path)  # closed with the last of the functions that read from it
    except (*DAMAGED, ValueError) as error:
        raise _explain_not_a_zip(path) from error
    _check_names(path, archive.infolist())
    files = [member for member in archive.infolist() if not member.is_dir()]
    _check_sizes(path, files)
    listing: Listing = {
        member.filename: File(member.file_size, partial(_read_member, archive, member)) for member in files
    }
    filled = {str(parent) + "/" for name in listing for parent in Path(name).parents}
    empty = (member.filename for member in archive.infolist() if member.is_dir() and member.filename not in filled)
    return listing | dict.fromkeys(empty, NOTHING)


def _explain_not_a_zip(path: Path) -> UserError:
    try:
        with path.open("rb") as file:
            start = file.read(200)
    except OSError as error:
        return UserError(f"{path} cannot be read ({error.strerror}). Make it readable.")
    found = describe_start(start) if start else "it is empty"
    if start.startswith(b"PK"):
        found = "it starts like one, but its end is missing or damaged"
    return UserError(f"{path} is not a zip file: {found}. Download it again, or remove it.")


def _check_sizes(path: Path, files: list[zipfile.ZipInfo]) -> None:
    largest = max((member.file_size for member in files), default=0)
    total, packed = sum(member.file_size for member in files), sum(member.compress_size for member in files)
    for found, most, what in (
        (len(files), MAX_FILES, "files"),
        (largest, MAX_FILE_BYTES, "bytes in one file"),
        (total, MAX_TOTAL_BYTES, "bytes unpacked"),
        (total, max(RATIO_FREE_BYTES, MAX_RATIO * packed), f"bytes unpacked from {packed:,}"),
    ):
        if found > most:
            raise UserError(
                f"{path} declares {found:,} {what}; at most {most:,} are accepted. "
                "If you trust it, unpack it and name the folder in fetch.archive."
            )


def _check_names(path: Path, members: list[zipfile.ZipInfo]) -> None:
    # systems differ on whether names that differ in case or in the spelling of accents are one file
    names = (member.filename for member in members)
    twins = Counter(unicodedata.normalize("NFC", name).casefold() for name in names if not name.endswith("/"))
    for member in members:
        name = member.filename
        problem = None
        if not name:
            problem = "has no name"
        elif name.startswith("/") or PureWindowsPath(name).drive or ".." in name.split("/") or "\\" in name:
            problem = "leads out of the archive, or uses \\ between folders"
        elif stat.S_ISLNK(member.external_attr >> 16):
            problem = "is a link"
        elif twins[unicodedata.normalize("NFC", name).casefold()] > 1:
            problem = "is there twice, or twice but for upper and lower case"
        elif member.flag_bits & 1:
            problem = "is encrypted"
        if problem:
            raise UserError(f"{path}: the entry {name!r} {problem}. Nothing was read; pack the photos again.")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(member) as file:
            # asking for a byte more than declared makes zipfile check the CRC, yet never unpack more than that
            return file.read(member.file_size + 1)
    except DAMAGED as error:
        raise UserError(
            f"{archive.filename}: the entry {member.filename!r} is damaged or packed in an unknown way ({error}). "
            "Download the archive again, or pack it again."
        ) from error
