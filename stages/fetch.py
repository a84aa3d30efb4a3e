"""Get the photos, decode every one once, and record what they are.

Reads   the first available source of params.yaml's fetch.sources: a zip or folder on disk, Kaggle, drawn samples
Writes  data/raw/<class>/ (or zips of 1,000, where there are more than 10,000 photos), data/manifest.csv,
        metrics/quarantine.csv (photos set aside, and why),
        metrics/source.json (how many files of the source were used, set aside, and not used for which reason)
Command python -m stages.fetch   (about 4 seconds for 140 photos on disk; a download as long as the network needs)
"""

from collections import Counter
from pathlib import Path

import pandas as pd

from stages.base.files import replace_dir, write_json
from stages.cli.params import load_params
from stages.cli.stage import run_stage
from stages.photos.classes import describe_classes
from stages.photos.manifest import CSV_PREFIX, PHOTOS, PhotoTable, QuarantineTable
from stages.photos.origin import describe_source
from stages.photos.shards import gather_images
from stages.sources.archive import check_room
from stages.sources.choice import Source, open_source, remember_photographs
from stages.sources.labels import select_labelled
from stages.sources.layout import Selection, enumerate_some, select_photos, show
from stages.sources.params import FetchParams
from stages.sources.reading import RAW, Row, check_photos, store_photos

QUARANTINE = Path("metrics/quarantine.csv")
FILES = Path("metrics/source.json")
SAMPLE_REMEDY = (
    "For real ones put a zip in data/downloads and run `make repro`, or connect to the network for Kaggle "
    "and run `dvc repro --force fetch`, then `make repro`."
)


def main() -> None:
    """Fill data/raw from the first available source."""
    params = load_params().fetch
    source, skipped = open_source(params)
    print(describe_source(source.kind, source.version) + (f" {SAMPLE_REMEDY}" if source.kind == "sample" else ""))
    for line in skipped:
        print(f"  {line}")
    selection = select(source, params)
    for line in (*selection.notes, *explain_whole(source, params.subset, selection)):
        print(f"  {line}")
    check_room(RAW, sum(source.listing[name].size for name in selection.photos))
    classes = {photo.class_name for photo in selection.photos.values()}
    with replace_dir(RAW) as folder:
        photos, rejected = store_photos(source, selection.photos, folder)
        check_photos(classes, photos, rejected, params.max_bad_fraction)
        gather(photos, folder)
        PHOTOS.unlink(missing_ok=True)  # so that it never describes other photos than those in data/raw
    QuarantineTable.save(QUARANTINE, pd.DataFrame(rejected, columns=list(QuarantineTable.columns)))
    account_for_files(selection.unused, len(photos) + len(selection.tables), len(rejected))
    save_manifest(photos)
    if source.kind != "sample":
        remember_photographs()
    print(summarize(source, photos, len(rejected)))


def select(source: Source, params: FetchParams) -> Selection:
    """Which files are used as photos of which class. Of the sample, which has no subsets, all."""
    if source.kind == "sample":
        return select_photos(source.listing, "all")
    if params.labels:
        return select_labelled(source.listing, params.labels, params.subset)
    return select_photos(source.listing, params.subset)


def explain_whole(source: Source, subset: str | list[str], selection: Selection) -> list[str]:
    """A line where a subset was wished for, and the source has none."""
    if source.kind == "sample" or subset == "all" or any(photo.subset for photo in selection.photos.values()):
        return []
    return [f"no folder {subset if isinstance(subset, str) else '/, '.join(subset)}/: all photos are used"]


def gather(photos: list[Row], folder: Path) -> None:
    """Keep very many photos in zips, and enter their paths there."""
    for row, path in zip(photos, gather_images(folder, [row["path"] for row in photos]), strict=True):
        row["path"] = path


def save_manifest(photos: list[Row]) -> None:
    """Write the manifest; after its own columns those of the CSV of labels, if any."""
    table = pd.DataFrame(photos).sort_values("path")
    PhotoTable.of([name for name in map(str, table) if name.startswith(CSV_PREFIX)]).save(PHOTOS, table)


def account_for_files(unused: dict[str, list[str]], used: int, set_aside: int) -> None:
    """Print and record what became of every file of the source; the numbers add up to all of them."""
    numbers = {reason: len(names) for reason, names in unused.items()}
    total = used + set_aside + sum(numbers.values())
    write_json(FILES, {"files": total, "used": used, "set_aside": set_aside, "not_used": numbers})
    for reason, names in unused.items():
        examples = "" if reason.startswith("in ") and reason.endswith("/") else f": {enumerate_some(names, most=3)}"
        remedy = "" if examples else " (fetch.subset: all uses them as well)"
        print(f"  not used: {len(names):,} {reason}{show(examples)}{remedy}")
    print(f"  {total:,} files: {used:,} used, {set_aside:,} set aside, {sum(numbers.values()):,} not used")


def summarize(source: Source, photos: list[Row], rejected: int) -> str:
    """The stage's last line."""
    classes = describe_classes(Counter(row["class"] for row in photos))
    what = "drawings, not photographs" if source.kind == "sample" else "photos"
    aside = f"{rejected:,} set aside" + (f", see {QUARANTINE}" if rejected else "")
    return f"fetch: {len(photos):,} {what} ({classes}) from {source.name}, {aside}"


if __name__ == "__main__":
    run_stage(main)
