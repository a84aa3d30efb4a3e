"""Photos from a source into a folder: every one decoded once, described, or set aside with a reason."""

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from stages.photos.classes import describe_classes
from stages.photos.decoding import BadImage, compute_dhash, decode_photo
from stages.photos.manifest import CSV_PREFIX
from stages.runtime.errors import UserError
from stages.runtime.progress import show_items
from stages.sources.choice import Source
from stages.sources.label_table import count
from stages.sources.layout import Photo, choose_file_name, enumerate_some, show

RAW = Path("data/raw")
MAX_IMBALANCE = 20  # photos of the largest class per photo of the smallest

Row = dict[str, Any]


def store_photos(source: Source, chosen: Mapping[str, Photo], folder: Path) -> tuple[list[Row], list[Row]]:
    """Decode every photo of ``chosen``, by its path in the source; write its bytes unchanged to ``<folder>/<class>/``.

    Where they come from several subsets, a file's name begins with its own, since subsets may use the same names.

    Returns: manifest rows of the accepted photos, quarantine rows of the others.
    """
    photos: list[Row] = []
    rejected: list[Row] = []
    taken: dict[str, set[str]] = defaultdict(set)
    files = [name for name in chosen if not name.endswith("/")]
    several = len({photo.subset for photo in chosen.values()}) > 1
    for name in show_items(files, "reading photos"):
        sha256 = ""
        try:
            data = source.listing[name].read()
            sha256 = hashlib.sha256(data).hexdigest()
            row = describe_photo(data)
        except BadImage as reason:
            rejected.append({"path": show(name), "sha256": sha256, "reason": str(reason)})
            continue
        photo = chosen[name]
        wanted = (f"{photo.subset}-" if several and photo.subset else "") + PurePosixPath(name).name
        path = Path(photo.class_name, choose_file_name(wanted, sha256, taken[photo.class_name]))
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
        identity = {"path": (RAW / path).as_posix(), "class": photo.class_name, "sha256": sha256}
        place = {"path_in_source": show(name), "subset": photo.subset}
        cells = {CSV_PREFIX + column: cell for column, cell in photo.cells.items()}
        photos.append(identity | row | place | {"source": source.kind, "version": source.version} | cells)
    return photos, rejected


def describe_photo(data: bytes) -> Row:
    """What follows from the bytes alone: size in bytes and pixels, difference hash, conversions. Raises BadImage."""
    image, notes = decode_photo(data)
    return {
        "bytes": len(data),
        "width": image.width,
        "height": image.height,
        "dhash": compute_dhash(image),
        "notes": "; ".join(notes),
    }


def check_photos(classes: Iterable[str], photos: list[Row], rejected: list[Row], max_bad_fraction: float) -> None:
    """Raise UserError when there is none, too many are bad, one of ``classes`` is empty, or a photo has two labels."""
    names, total = sorted(set(classes)), len(photos) + len(rejected)
    if not total:
        raise UserError(
            f"found no photo in what fetch.subset chooses; empty class folders: {enumerate_some(names) or 'none'}. "
            "Every class needs photos: add some, or set fetch.subset in params.yaml to another folder or all."
        )
    if len(rejected) > max_bad_fraction * total:
        reasons = "\n  ".join(f"{row['path']}: {row['reason']}" for row in rejected[:5])
        raise UserError(
            f"{len(rejected)} of {total} photos cannot be used, more than fetch.max_bad_fraction "
            f"({max_bad_fraction:g}) allows:\n  {reasons}\nFix or remove them, or raise the limit in params.yaml."
        )
    counts = Counter(dict.fromkeys(names, 0))
    counts.update(row["class"] for row in photos)
    if len(counts) < 2:
        raise UserError(
            f"found photos of {describe_classes(counts)}; at least two classes are needed. Add photos of another class."
        )
    if empty := sorted(name for name, number in counts.items() if number == 0):
        raise UserError(
            f"found photos of {describe_classes(counts)}; every class needs photos, which is not so for "
            f"{enumerate_some(empty)}. Add photos or remove the class."
        )
    (largest, most), *_, (smallest, fewest) = counts.most_common()
    if most > MAX_IMBALANCE * fewest:
        print(
            f"warning: classes differ by more than {MAX_IMBALANCE}:1 in size: "
            f"{most:,} photos of {largest}, {fewest:,} of {smallest}",
            file=sys.stderr,
        )
    _check_labels(photos)


def _check_labels(photos: list[Row]) -> None:
    paths: dict[str, dict[str, str]] = defaultdict(dict)
    for row in photos:
        paths[row["sha256"]][row["class"]] = row["path"]
    torn = [" = ".join(labels.values()) for labels in paths.values() if len(labels) > 1]
    if torn:
        raise UserError(
            f"the same photo under two labels ({count(len(torn), 'time')}):\n  " + "\n  ".join(torn[:10]) + "\n"
            "Remove the wrong ones from the source."
        )
