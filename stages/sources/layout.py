"""How photos lie in a source, and what they are called here: subset, class, file name."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
MAX_CLASSES = 1000
CLASS_DEPTH = 2  # parts of a photo's path that are not above the class folders: its class and its own name


@dataclass(frozen=True)
class Photo:
    """What is known of a photo before it is read.

    subset: the folder above that it belongs to, in lower case, or empty. cells: what a CSV of labels says of it beside
    its class, by column.
    """

    subset: str
    class_name: str
    cells: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """What of a source is used.

    photos: the chosen photos and empty class folders, whose names end with ``/``, sorted. unused: the other files of
    the source by reason, sorted. tables: files that hold labels. notes: lines for the terminal.
    """

    photos: dict[str, Photo]
    unused: dict[str, list[str]]
    tables: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def select_photos(names: Iterable[str], subset: str | list[str]) -> Selection:
    """Choose the photos of one or several subsets, or of ``"all"``.

    A photo's class is the folder it lies in. A subset is a folder above class folders, at any depth, whose name is in
    `SUBSETS` or chosen, in any case. Where there is none, every photo is used.
    Raises UserError when a subset does not exist, or there are no class folders.
    """
    names = sorted(names)
    wanted = to_wanted(subset)
    unused = {name: fault for name in names if (fault := find_fault(name) or _find_homeless(name))}
    folders = {_find_subset(name.split("/")[:-CLASS_DEPTH], SUBSETS) for name in names if name not in unused} - {""}
    unused = {name: "in no class folder" for name in names if name.rpartition("/")[0] in folders} | unused

    photos = {
        name: Photo(get_subset(name.split("/")[:-CLASS_DEPTH], wanted), find_class(name))
        for name in names
        if name not in unused
    }
    if takes_all(wanted, photos):
        some = any(photo.subset for photo in photos.values())
        classes = {photo.class_name for photo in photos.values() if photo.subset or not some}
        chosen = {name: photo for name, photo in photos.items() if photo.class_name in classes}
    else:
        chosen = choose_subsets(photos, wanted, CLASS_DEPTH)
    check_classes(chosen.values(), "class folders", "Rename them.")
    _check_folders({photo.class_name for photo in chosen.values()})
    return Selection(chosen, group_by_reason(unused | name_unchosen(photos, chosen)))


def to_wanted(subset: str | list[str]) -> set[str]:
    """The names in ``fetch.subset``, in lower case."""
    return {subset.lower()} if isinstance(subset, str) else {name.lower() for name in subset}


def takes_all(wanted: set[str], photos: Mapping[str, Photo]) -> bool:
    """Whether no photo is left out for its subset: by wish, or where there are none of the usual names."""
    return "all" in wanted or (wanted <= SUBSETS and not any(photo.subset for photo in photos.values()))


def choose_subsets(photos: Mapping[str, Photo], wanted: set[str], depth: int) -> dict[str, Photo]:
    """The photos of the wanted subsets, whose folders lie above the last ``depth`` parts of a photo's path.

    Raises UserError when a subset does not exist.
    """
    found = {photo.subset for photo in photos.values()} - {""}
    if missing := sorted(wanted - found):
        there = sorted(found or {folder.lower() for name in photos for folder in name.split("/")[:-depth]})
        what = "classes" if depth == CLASS_DEPTH else "photos"
        raise UserError(
            f"fetch.subset names {enumerate_some(missing)}, but the folders above the {what} are "
            f"{enumerate_some(there) or 'none'}. Set it in params.yaml to one of them, a list of them, or all."
        )
    return {name: photo for name, photo in photos.items() if photo.subset in wanted}


def name_unchosen(photos: Mapping[str, Photo], chosen: Mapping[str, Photo]) -> dict[str, str]:
    """The reason for every photo that is not chosen: the subset it is in."""
    return {
        name: f"in {photo.subset}/" if photo.subset else "in no subset"
        for name, photo in photos.items()
        if name not in chosen
    }


def group_by_reason(unused: Mapping[str, str]) -> dict[str, list[str]]:
    """Files by reason, both sorted; empty folders are no files."""
    by_reason = defaultdict(list)
    for name in sorted(name for name in unused if not name.endswith("/")):
        by_reason[unused[name]].append(name)
    return dict(sorted(by_reason.items()))


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


def find_fault(name: str) -> str:
    """Why a file is no photo, or empty."""
    *folders, file = name.split("/")
    if any(part.startswith(".") or part == "__MACOSX" for part in (*folders, file)):
        return "hidden"
    return "not pictures" if file and PurePosixPath(file).suffix.lower() not in SUFFIXES else ""


def _find_homeless(name: str) -> str:
    return "" if "/" in name else "in no class folder"


def _find_subset(folders: Sequence[str], subsets: set[str]) -> str:
    """The path of the outermost of ``folders``, one in the other, that is named like one of ``subsets``, or empty."""
    return "/".join(folders[: next((i for i, folder in enumerate(folders, 1) if folder.lower() in subsets), 0)])


def get_subset(folders: Sequence[str], wanted: set[str]) -> str:
    """The subset that ``folders``, one in the other, make a photo part of, in lower case, or empty.

    Usual names go before others that are ``wanted``.
    """
    return (_find_subset(folders, SUBSETS) or _find_subset(folders, wanted - {"all"})).rpartition("/")[2].lower()


def check_classes(photos: Iterable[Photo], what: str, remedy: str) -> None:
    """Raise UserError unless the names of the classes are safe on any system, and not too many.

    ``what``: where they stand. ``remedy``: what to do about a name.
    """
    classes = sorted({photo.class_name for photo in photos})
    unsafe = [show(name) for name in classes if not SAFE_CLASS.fullmatch(name)]
    if unsafe:
        raise UserError(
            f"{what} with unsafe names: {enumerate_some(unsafe)}. A name starts with a letter or digit and "
            f"holds letters, digits, space, . _ - ( ), at most 60. {remedy}"
        )
    spellings = Counter(name.casefold() for name in classes)
    if twins := [name for name in classes if spellings[name.casefold()] > 1]:
        raise UserError(f"{what} that differ only in upper and lower case: {enumerate_some(twins)}. {remedy}")
    if len(classes) > MAX_CLASSES:
        raise UserError(
            f"{len(classes):,} {what}, such as {', '.join(classes[:3])}; at most {MAX_CLASSES:,} classes are accepted. "
            "Keep fewer of them; many with a photo or two each may be something else than classes."
        )


def _check_folders(classes: set[str]) -> None:
    if {name.lower() for name in classes} <= SUBSETS:
        raise UserError(
            "every photo must lie in the folder of its class, such as cats/1.jpg or test/cats/1.jpg; "
            f"class folders found: {', '.join(sorted(classes)) or 'none'}. Labels in a CSV are named in fetch.labels."
        )
