"""Get the photos, decode every one once, and record what they are.

Reads   the first available source of params.yaml's fetch.sources: a zip or folder on disk, Kaggle, drawn samples
Writes  data/raw/<class>/, data/manifest.csv, metrics/quarantine.csv (photos set aside, and why),
        metrics/source.json (how many files of the source were used, set aside, and not used for which reason)
Command python -m stages.fetch   (about 4 seconds for 140 photos on disk; a download as long as the network needs)
"""

from collections import Counter
from pathlib import Path

import pandas as pd

from stages.base.files import replace_dir, write_json
from stages.cli.params import load_params
from stages.cli.stage import run_stage
from stages.photos.manifest import PHOTOS, PhotoTable, QuarantineTable
from stages.photos.origin import describe_source
from stages.sources.archive import check_room
from stages.sources.choice import Source, open_source, remember_photographs
from stages.sources.layout import enumerate_some, select_photos, show
from stages.sources.reading import RAW, Row, check_photos, describe_counts, store_photos

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
    subset = params.subset if source.kind != "sample" else "all"
    selection = select_photos(source.listing, subset)
    for line in skipped:
        print(f"  {line}")
    if subset != "all" and not any(selection.photos.values()):
        print(f"  no folder {subset if isinstance(subset, str) else '/, '.join(subset)}/: all photos are used")
    check_room(RAW, sum(source.listing[name].size for name in selection.photos))
    with replace_dir(RAW) as folder:
        photos, rejected = store_photos(source, selection.photos, folder)
        check_photos(selection.photos, photos, rejected, params.max_bad_fraction)
        PHOTOS.unlink(missing_ok=True)  # so that it never describes other photos than those in data/raw
    QuarantineTable.save(QUARANTINE, pd.DataFrame(rejected, columns=list(QuarantineTable.columns)))
    account_for_files(selection.unused, len(photos), len(rejected))
    PhotoTable.save(PHOTOS, pd.DataFrame(photos).sort_values("path"))
    if source.kind != "sample":
        remember_photographs()
    print(summarize(source, photos, len(rejected)))


def account_for_files(unused: dict[str, list[str]], used: int, set_aside: int) -> None:
    """Print and record what became of every file of the source; the numbers add up to all of them."""
    numbers = {reason: len(names) for reason, names in unused.items()}
    total = used + set_aside + sum(numbers.values())
    write_json(FILES, {"files": total, "used": used, "set_aside": set_aside, "not_used": numbers})
    for reason, names in unused.items():
        examples = "" if reason.startswith("in ") and reason.endswith("/") else f": {enumerate_some(names, most=3)}"
        print(f"  not used: {len(names):,} {reason}{show(examples)}")
    print(f"  {total:,} files: {used:,} used, {set_aside:,} set aside, {sum(numbers.values()):,} not used")


def summarize(source: Source, photos: list[Row], rejected: int) -> str:
    """The stage's last line."""
    classes = describe_counts(Counter(row["class"] for row in photos))
    what = "drawings, not photographs" if source.kind == "sample" else "photos"
    aside = f"{rejected:,} set aside" + (f", see {QUARANTINE}" if rejected else "")
    return f"fetch: {len(photos):,} {what} ({classes}) from {source.name}, {aside}"


if __name__ == "__main__":
    run_stage(main)
