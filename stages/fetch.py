"""Get the photos, decode every one once, and record what they are.

Reads   the first of params.yaml's fetch.sources that can be had: a zip or folder on disk, Kaggle, drawn samples
Writes  data/raw/<class>/, data/manifest.csv, metrics/quarantine.csv (photos set aside, and why)
Command python -m stages.fetch   (about 4 seconds for 140 photos on disk; a download as long as the network needs)
"""

import glob
import hashlib
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from tqdm import tqdm

from stages.common.errors import UserError, run_stage
from stages.common.files import replace_dir
from stages.common.images import BadImage, compute_dhash, decode_photo
from stages.common.manifest import PHOTO_COLUMNS, PHOTOS, save_manifest
from stages.common.params import FetchParams, load_params
from stages.common.provenance import describe_source
from stages.common.root import find_root
from stages.sources.archive import File, Listing, check_room, find_archive, list_archive, list_folder
from stages.sources.layout import choose_file_name, find_class, find_subset, select_photos, show

RAW = Path("data/raw")
QUARANTINE = Path("metrics/quarantine.csv")
QUARANTINE_COLUMNS = ["path", "sha256", "reason"]
MAX_IMBALANCE = 20  # photos of the largest class per photo of the smallest
SAMPLE_REMEDY = (
    "For real ones put a zip in data/downloads and run `make repro`, or connect to the network for Kaggle "
    "and run `dvc repro --force fetch`, then `make repro`."
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Photos that can be had: kind of source, what to call it, which version, and the files."""

    kind: str
    name: str
    version: str
    listing: Listing


class Unavailable(Exception):  # noqa: N818 - no failure while there is another source
    """A source that cannot be had here and now."""


def main() -> None:
    """Fill data/raw from the first source that can be had."""
    params = load_params().fetch
    source, skipped = open_source(params)
    print(describe_source(source.kind, source.version) + (f" {SAMPLE_REMEDY}" if source.kind == "sample" else ""))
    subset = params.subset if source.kind != "sample" else "all"
    names, remarks = select_photos(source.listing, subset)
    for line in skipped + remarks:
        print(f"  {line}")
    check_room(RAW, sum(source.listing[name].size for name in names))
    with replace_dir(RAW) as folder:
        photos, rejected = store_photos(source, names, folder, prefix=subset == "all")
        check_photos(names, photos, rejected, params.max_bad_fraction)
        PHOTOS.unlink(missing_ok=True)  # so that it never describes other photos than those in data/raw
    save_manifest(QUARANTINE, pd.DataFrame(rejected, columns=QUARANTINE_COLUMNS), QUARANTINE_COLUMNS)
    save_manifest(PHOTOS, pd.DataFrame(photos).sort_values("path"), PHOTO_COLUMNS)
    print(summarise(source, photos, len(rejected)))


def open_source(params: FetchParams) -> tuple[Source, list[str]]:
    """The first source that can be had, and a line for each that was passed over. Raises UserError when none can."""
    openers = {"archive": _open_archive, "kaggle": _open_kaggle, "sample": _open_sample}
    skipped: list[str] = []
    for kind, following in zip(params.sources, [*params.sources[1:], None], strict=True):
        try:
            return openers[kind](params), skipped
        except Unavailable as reason:
            skipped.append(f"skipped {kind}: {reason}")
            if kind == "kaggle" and following:
                print(f"warning: {reason}. Trying the next source: {following}.", file=sys.stderr)
    raise UserError(
        "none of fetch.sources can be had:\n  " + "\n  ".join(skipped) + "\nPut a zip of photos in data/downloads, "
        "connect to the network, or add sample, which draws pictures, to fetch.sources in params.yaml."
    )


def _open_archive(params: FetchParams) -> Source:
    path = find_archive(params.archive, find_root())
    if path is None:
        check_intent(params.archive)
        raise Unavailable(f"nothing matches {show(params.archive)}")
    listing, version = list_archive(path)
    return Source("archive", show(path.name), version, listing)


def check_intent(archive: str) -> None:
    """Raise UserError when someone seems to mean photos that fetch.archive does not match: no others may stand in."""
    pattern = find_root() / Path(archive).expanduser()
    if not glob.has_magic(archive):
        raise UserError(
            f"fetch.archive names {show(archive)}, which does not exist. Mend it in params.yaml, or set it back to "
            "data/downloads/*.zip."
        )
    there = sorted(pattern.parent.iterdir()) if pattern.parent.is_dir() else []
    others = [show(path.name) for path in there if path.name != "README.md" and not path.name.startswith(".")]
    if others:
        raise UserError(
            f"fetch.archive is {show(archive)}, which does not match {', '.join(others[:3])} in that folder. "
            "Name it in fetch.archive in params.yaml, or move it away."
        )


def _open_kaggle(params: FetchParams) -> Source:
    from stages.sources.kaggle import Unreachable, download_dataset  # slow to import

    print(f"fetch: asking Kaggle for {params.kaggle_dataset}", file=sys.stderr)
    try:
        folder, version = download_dataset(params.kaggle_dataset, params.kaggle_version, params.kaggle_deadline_s)
    except Unreachable as reason:
        raise Unavailable(str(reason)) from reason
    return Source("kaggle", f"Kaggle's {params.kaggle_dataset}", version, list_folder(folder))


def _open_sample(params: FetchParams) -> Source:
    from stages.sources.sample import read_sample  # draws, so only when asked

    listing = {name: File(len(data), partial(bytes, data)) for name, data in read_sample()}
    return Source("sample", "the sample", "1", listing)


def store_photos(source: Source, names: list[str], folder: Path, prefix: bool) -> tuple[list[Row], list[Row]]:
    """Decode every photo, and write its bytes unchanged to ``<folder>/<class>/``.

    With ``prefix`` a file's name begins with its subset, since train and test may use the same names.

    Returns: manifest rows of the accepted photos, quarantine rows of the others.
    """
    photos: list[Row] = []
    rejected: list[Row] = []
    taken: dict[str, set[str]] = defaultdict(set)
    files = [name for name in names if not name.endswith("/")]
    for name in tqdm(files, desc="reading photos", leave=False, disable=None):
        sha256 = ""
        try:
            data = source.listing[name].read()
            sha256 = hashlib.sha256(data).hexdigest()
            row = describe_photo(data)
        except BadImage as reason:
            rejected.append({"path": show(name), "sha256": sha256, "reason": str(reason)})
            continue
        class_name = find_class(name)
        wanted = (f"{find_subset(name)}-" if prefix and find_subset(name) else "") + PurePosixPath(name).name
        path = Path(class_name, choose_file_name(wanted, sha256, taken[class_name]))
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
        identity = {"path": (RAW / path).as_posix(), "class": class_name, "sha256": sha256}
        photos.append(identity | row | {"source": source.kind, "version": source.version})
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


def check_photos(names: list[str], photos: list[Row], rejected: list[Row], max_bad_fraction: float) -> None:
    """Raise UserError when too many photos are bad, a class is missing or empty, or a photo has two labels."""
    total = len(photos) + len(rejected)
    if len(rejected) > max_bad_fraction * total:
        reasons = "\n  ".join(f"{row['path']}: {row['reason']}" for row in rejected[:5])
        raise UserError(
            f"{len(rejected)} of {total} photos cannot be used, more than fetch.max_bad_fraction "
            f"({max_bad_fraction:g}) allows:\n  {reasons}\nMend or remove them, or raise the limit in params.yaml."
        )
    counts = Counter({find_class(name): 0 for name in names})
    counts.update(row["class"] for row in photos)
    listed = ", ".join(f"{name} ({number} photos)" for name, number in sorted(counts.items()))
    if len(counts) < 2 or min(counts.values()) == 0:
        raise UserError(
            f"at least two classes, none empty, are needed; found {listed}. Add photos or remove the folder."
        )
    if max(counts.values()) > MAX_IMBALANCE * min(counts.values()):
        print(f"warning: classes differ by more than {MAX_IMBALANCE}:1 in size: {listed}", file=sys.stderr)
    _check_labels(photos)


def _check_labels(photos: list[Row]) -> None:
    paths: dict[str, dict[str, str]] = defaultdict(dict)
    for row in photos:
        paths[row["sha256"]][row["class"]] = row["path"]
    torn = [" = ".join(labels.values()) for labels in paths.values() if len(labels) > 1]
    if torn:
        raise UserError(
            f"the same bytes under two labels ({len(torn)} times):\n  " + "\n  ".join(torn[:10]) + "\n"
            "Remove the wrong ones from the source."
        )


def summarise(source: Source, photos: list[Row], rejected: int) -> str:
    """The stage's last line."""
    classes = ", ".join(f"{number} {name}" for name, number in sorted(Counter(row["class"] for row in photos).items()))
    what = "drawings, not photographs" if source.kind == "sample" else "photos"
    aside = f"{rejected} set aside" + (f", see {QUARANTINE}" if rejected else "")
    return f"fetch: {len(photos)} {what} ({classes}) from {source.name}, {aside}"


if __name__ == "__main__":
    run_stage(main)
