"""Manifests: tables that list images with their labels and provenance, one row per image."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import pandas as pd

from stages.base.tables import Table
from stages.runtime.errors import RESTORE, UserError

PHOTOS = Path("data/manifest.csv")
"""Written by fetch: every accepted photo."""

CSV_PREFIX = "csv_"
"""Columns of a CSV of labels have it before their names in the manifest, so that they never are taken for others."""

SIDES = ("train", "test", "left out")
"""What a photo can be in a trial. Left out: a train photo that would show the model what it is tested on."""


class _Manifest(Table):
    @classmethod
    def check(cls, path: Path, table: pd.DataFrame) -> None:
        """A wrong letter must neither change an image's class nor drop the image from both sides of a split."""
        folder = table["path"].str.extract(r"([^/]+)/[^/]*$", expand=False)  # that an image lies in, if any
        wrong = folder.notna() & (folder != table["class"])
        if "split" in table:
            wrong |= ~table["split"].isin(SIDES)
        if wrong.any():
            row = ", ".join(map(str, table[wrong].iloc[0]))
            sides = f"{', '.join(SIDES[:-1])} or {SIDES[-1]}"
            raise UserError(
                f"{path} was changed or damaged: an image's class must be its folder, and its split {sides}, "
                f"which line {wrong.to_numpy().argmax() + 2} breaks: {row}. {RESTORE}"
            )


class PhotoTable(_Manifest):
    """Every accepted photo: data/manifest.csv, written by fetch.

    path: below data/raw/<class>/. bytes: file size. width, height: pixels, upright. dhash: 64-bit difference hash,
    16 hex digits. notes: conversions that decoding needs. path_in_source: where the photo lies there. subset: train,
    test or the like, in lower case, or empty. source, version: where the photo came from. Then a column
    ``csv_<column>`` of text for each other column of the CSV that holds the labels, if any.
    """

    columns: ClassVar[dict[str, type]] = {
        **{"path": str, "class": str, "sha256": str, "bytes": int, "width": int, "height": int},
        **{"dhash": str, "notes": str, "path_in_source": str, "subset": str, "source": str, "version": str},
    }

    @classmethod
    def of(cls, names: Iterable[str]) -> type["PhotoTable"]:
        """The table of photos with these columns of a CSV, which already have the prefix."""
        return type("PhotoTable", (cls,), {"columns": {**cls.columns, **dict.fromkeys(names, str)}})


class SplitTable(_Manifest):
    """Every photo and its side in one trial: data/split/<trial>.csv, written by split.

    group: number of the group of near-duplicates, and of photos that split.groups puts together, which stays on one
    side. split: one of `SIDES`.
    """

    columns: ClassVar[dict[str, type]] = {"path": str, "class": str, "sha256": str, "group": int, "split": str}


class CopyTable(_Manifest):
    """Every augmented copy of one trial: data/augmented/<trial>.csv, written by augment.

    source_path: the train photo. copy: from 1. operations: a JSON list, in the order applied, of name and magnitudes;
    drawn_<magnitude>: what was drawn, where the photo was too small for it.
    """

    columns: ClassVar[dict[str, type]] = {
        **{"path": str, "class": str, "sha256": str, "source_path": str, "copy": int, "operations": str},
    }


class QuarantineTable(Table):
    """Photos set aside: metrics/quarantine.csv, written by fetch. path: in the source. sha256: empty if unreadable."""

    columns: ClassVar[dict[str, type]] = {"path": str, "sha256": str, "reason": str}
    may_be_empty = True
