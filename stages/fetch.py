"""Get the photos, decode every one once, and record what they are.

Reads   the first of params.yaml's fetch.sources that can be had: a zip or folder on disk, Kaggle, drawn samples
Writes  data/raw/<class>/, data/manifest.csv, metrics/quarantine.csv (photos set aside, and why)
Command python -m stages.fetch   (about 4 seconds for 140 photos on disk; a download as long as the network needs)
"""

from collections import Counter
from pathlib import Path

import pandas as pd

from stages.base.files import replace_dir
from stages.cli.params import load_params
from stages.cli.stage import run_stage
from stages.photos.manifest import PHOTOS, PhotoTable, QuarantineTable
from stages.photos.origin import describe_source
from stages.sources.archive import check_room
from stages.sources.choice import Source, open_source
from stages.sources.layout import select_photos
from stages.sources.reading import RAW, Row, check_photos, store_photos

QUARANTINE = Path("metrics/quarantine.csv")
SAMPLE_REMEDY = (
    "For real ones put a zip in data/downloads and run `make repro`, or connect to the network for Kaggle "
    "and run `dvc repro --force fetch`, then `make repro`."
)


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
    QuarantineTable.save(QUARANTINE, pd.DataFrame(rejected, columns=list(QuarantineTable.columns)))
    PhotoTable.save(PHOTOS, pd.DataFrame(photos).sort_values("path"))
    print(summarise(source, photos, len(rejected)))


def summarise(source: Source, photos: list[Row], rejected: int) -> str:
    """The stage's last line."""
    classes = ", ".join(f"{number} {name}" for name, number in sorted(Counter(row["class"] for row in photos).items()))
    what = "drawings, not photographs" if source.kind == "sample" else "photos"
    aside = f"{rejected} set aside" + (f", see {QUARANTINE}" if rejected else "")
    return f"fetch: {len(photos)} {what} ({classes}) from {source.name}, {aside}"


if __name__ == "__main__":
    run_stage(main)
