"""Manifests: tables that list images with their labels and provenance, one row per image."""

from pathlib import Path
from typing import ClassVar

import pandas as pd

from stages.base.tables import Table
from stages.runtime.errors import RESTORE, UserError

PHOTOS = Path("data/manifest.csv")
"""Written by fetch: every accepted photo."""


class _Manifest(Table):
    @classmethod
    def check(cls, path: Path, table: pd.DataFrame) -> None:
        """A wrong letter must neither change an image's class nor drop the image from both sides of a split."""
        folder = table["path"].str.extract(r"([^/]+)/[^/]*$", expand=False)  # that an image lies in, if any
        wrong = folder.notna() & (folder != table["class"])
        if "split" in table:
            wrong |= ~table["split"].isin(["train", "test"])
        if wrong.any():
            row = ", ".join(map(str, table[wrong].iloc[0]))
            raise UserError(
                f"{path} was changed or damaged: an image's class must be its folder, and its split train or test, "
                f"which line {wrong.to_numpy().argmax() + 2} breaks: {row}. {RESTORE}"
            )


class PhotoTable(_Manifest):
    """Every accepted photo: data/manifest.csv, written by fetch.

    path: below data/raw/<class>/. bytes: file size. width, height: pixels, upright. dhash: 64-bit difference hash,
    16 hex digits. notes: conversions that decoding needs. source, version: where the photo came from.
    """

    columns: ClassVar[dict[str, type]] = {
        **{"path": str, "class": str, "sha256": str, "bytes": int, "width": int, "height": int},
        **{"dhash": str, "notes": str, "source": str, "version": str},
    }


class SplitTable(_Manifest):
    """Every photo and its side in one trial: data/split/<trial>.csv, written by split.

    group: number of the group of near-duplicates, which stays on one side. split: train or test.
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
