"""How photos lie in a source, and what they are called here: subset, class, file name."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import PurePosixPath

from stages.runtime.errors import UserError

# Suffixes of pictures. Those that cannot be decoded here are set aside with a reason, not passed over in silence
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
SUFFIXES |= {".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg"}
SUFFIXES |= {".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2"}
SAFE_FILE = re.compile(r"[A-Za-z0-9_(][A-Za-z0-9 ._()-]{0,99}")
SAFE_CLASS = re.compile(r"\w[\w .()-]{0,59}")
SUBSETS = {"train", "training", "val", "valid", "validation", "test", "testing"}


@dataclass(frozen=True)
class Selection:
    """What of a source is used.

    photos: the chosen photos and empty class folders, whose names end with ``/``, sorted -> the subset, or empty.
    unused: the other files of the source by reason, sorted.
    """

    photos: dict[str, str]
    unused: dict[str, list[str]]


def select_photos(names: Iterable[str], subset: str | list[str]) -> Selection:
    """Choose the photos of one or several subsets, or of ``"all"``.

    A photo's class is the folder it lies in. A subset is a folder above class folders, at any depth, whose name is in
    `SUBSETS` or chosen, in any case. Where there is none, every photo is used.
    Raises UserError when a subset does not exist, or there are no class folders.
    """
    names = sorted(names)
    wanted = {subset.lower()} if isinstance(subset, str) else {name.lower() for name in subset}
    unused = {name: fault for name in names if (fault := _find_fault(name))}
    folders = {_find_subset(name, SUBSETS) for name in names if name not in unused} - {""}
    unused = {name: "in no class folder" for name in names if name.rpartition("/")[0] in folders} | unused

    photos = {name: _get_label(name, wanted) for name in names if name not in unused}
    found = set(photos.values()) - {""}
    if "all" in wanted or (not found and wanted <= SUBSETS):
        classes = {find_class(name) for name, label in photos.items() if label or not found}
        chosen = {name: label for name, label in photos.items() if find_class(name) in classes}
    else:
        _check_subsets(wanted, found, photos)
        chosen = {name: label for name, label in photos.items() if label in wanted}
    _check_classes(sorted({find_class(name) for name in chosen}))

    unused |= {n: f"in {label}/" if label else "in no subset" for n, label in photos.items() if n not in chosen}
    by_reason = defaultdict(list)
    for name in sorted(name for name in unused if not name.endswith("/")):
        by_reason[unused[name]].append(name)
    return Selection(chosen, dict(sorted(by_reason.items())))


def find_class(name: str) -> str:
    """The folder a photo lies in, in Unicode's composed form, which is the same on all systems."""
    return unicodedata.normalize("NFC", name.split("/")[-2])


def choose_file_name(wanted: str, sha256: str, taken: set[str]) -> str:
    """``wanted`` where that is safe on any system and free, else a name from the content; entered in ``taken``."""
    suffix = PurePosixPath(wanted).suffix.lower()
    own = [wanted] if SAFE_FILE.fullmatch(wanted) else []
    by_content = (f"{sha256[:16]}{twin}{suffix}" for twin in chain([""], (f"-{i}" for i in count(2))))
    chosen = next(name for name in chain(own, by_content) if name.casefold() not in taken)
    taken.add(chosen.casefold())
    return chosen


def enumerate_some(names: Sequence[str], most: int = 10) -> str:
    """The names in one short line: all of them, or the first few and how many there are."""
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:3])}, ... ({len(names):,} in all)"


def show(name: str) -> str:
    """A name as any terminal and any CSV reader can take it: line breaks, stray bytes and the like escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _find_fault(name: str) -> str:
    """Why a file is no photo in a class folder, or empty."""
    *folders, file = name.split("/")
    if any(part.startswith(".") or part == "__MACOSX" for part in (*folders, file)):
        return "hidden"
    if file and PurePosixPath(file).suffix.lower() not in SUFFIXES:
        return "not pictures"
    return "" if folders else "in no class folder"


def _find_subset(name: str, subsets: set[str]) -> str:
    """The path of the outermost folder above the class folder that is named like one of ``subsets``, or empty."""
    above = name.split("/")[:-2]
    return "/".join(above[: next((i for i, folder in enumerate(above, 1) if folder.lower() in subsets), 0)])


def _get_label(name: str, wanted: set[str]) -> str:
    """The subset a photo belongs to, in lower case, or empty. Usual names go before others that are wanted."""
    return (_find_subset(name, SUBSETS) or _find_subset(name, wanted - {"all"})).rpartition("/")[2].lower()


def _check_subsets(wanted: set[str], found: set[str], photos: Iterable[str]) -> None:
    if missing := sorted(wanted - found):
        there = sorted(found or {folder.lower() for name in photos for folder in name.split("/")[:-2]})
        raise UserError(
            f"fetch.subset names {enumerate_some(missing)}, but the folders above the classes are "
            f"{enumerate_some(there) or 'none'}. Set it in params.yaml to one of them, a list of them, or all."
        )


def _check_classes(classes: list[str]) -> None:
    unsafe = [show(name) for name in classes if not SAFE_CLASS.fullmatch(name)]
    if unsafe:
        raise UserError(
            f"class folders with unsafe names: {enumerate_some(unsafe)}. A name starts with a letter or digit and "
            "holds letters, digits, space, . _ - ( ), at most 60. Rename them."
        )
    spellings = Counter(name.casefold() for name in classes)
    if twins := [name for name in classes if spellings[name.casefold()] > 1]:
        raise UserError(
            f"class folders that differ only in upper and lower case: {enumerate_some(twins)}. Rename them."
        )
    if {name.lower() for name in classes} <= SUBSETS:
        raise UserError(
            "every photo must lie in the folder of its class, such as cats/1.jpg or test/cats/1.jpg; "
            f"class folders found: {', '.join(classes) or 'none'}."
        )
