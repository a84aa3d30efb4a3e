"""How photos lie in a source, and what they are called here: subset, class, file name."""

import re
import unicodedata
from collections.abc import Iterable
from itertools import chain, count
from pathlib import PurePosixPath

from stages.runtime.errors import UserError

# Suffixes of pictures. Those that cannot be decoded here are set aside with a reason, not passed over in silence
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif"}
SUFFIXES |= {".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg"}
SAFE_FILE = re.compile(r"[A-Za-z0-9_(][A-Za-z0-9 ._()-]{0,99}")
SAFE_CLASS = re.compile(r"\w[\w .()-]{0,59}")
SUBSETS = ("train", "test")


def select_photos(names: Iterable[str], subset: str) -> tuple[list[str], list[str]]:
    """Sorted names of the subset's photos and empty class folders, and remarks on what is passed over.

    A photo's class is the folder it lies in. Folders ``train`` and ``test`` above class folders are subsets; without
    either every photo belongs. Raises UserError when the subset does not exist, or there are no class folders.
    """
    names = sorted(names)
    chosen = [name for name in names if _is_photo(name)]
    passed = [show(name) for name in names if not _is_photo(name)]
    remarks = []
    if passed:
        examples = ", ".join(passed[:3]) + (", ..." if len(passed) > 3 else "")
        remarks = [f"ignored {len(passed)}, hidden, no photos or in no class folder: {examples}"]
    found = sorted({find_subset(name) for name in chosen} - {""})
    if found and subset not in (*found, "all"):
        raise UserError(
            f"fetch.subset is {subset}, but the photos lie in {' and '.join(found)}/. "
            f"Set it to {' or '.join([*found, 'all'])} in params.yaml."
        )
    if found:
        chosen = [name for name in chosen if find_subset(name) in (found if subset == "all" else [subset])]
    elif subset != "all":
        remarks.append(f"no folder {subset}/: all photos are used")
    _check_classes(sorted({find_class(name) for name in chosen}))
    return chosen, remarks


def find_subset(name: str) -> str:
    """The subset a photo belongs to: ``train``, ``test``, or empty."""
    return next((part.lower() for part in name.split("/")[:-2] if part.lower() in SUBSETS), "")


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


def show(name: str) -> str:
    """A name as any terminal and any CSV reader can take it: line breaks, stray bytes and the like escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _is_photo(name: str) -> bool:
    *folders, file = name.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
    return bool(folders) and not hidden and (not file or PurePosixPath(file).suffix.lower() in SUFFIXES)


def _check_classes(classes: list[str]) -> None:
    unsafe = [show(name) for name in classes if not SAFE_CLASS.fullmatch(name)]
    if unsafe:
        raise UserError(
            f"class folders with unsafe names: {', '.join(unsafe)}. A name starts with a letter or digit and holds "
            "letters, digits, space, . _ - ( ), at most 60. Rename them."
        )
    if len({name.casefold() for name in classes}) < len(classes):
        raise UserError(f"class folders that differ only in upper and lower case: {', '.join(classes)}. Rename them.")
    if {name.lower() for name in classes} <= set(SUBSETS):
        raise UserError(
            "every photo must lie in the folder of its class, such as cats/1.jpg or test/cats/1.jpg; "
            f"class folders found: {', '.join(classes) or 'none'}."
        )
