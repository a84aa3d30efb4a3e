"""Manifests: CSV files that list images with their labels and provenance, one row per image."""

from io import BytesIO
from pathlib import Path

import pandas as pd

from stages.common.errors import RESTORE, UserError
from stages.common.files import read_recorded, write_bytes

PHOTOS = Path("data/manifest.csv")
"""Written by fetch: every accepted photo."""

PHOTO_COLUMNS = ["path", "class", "sha256", "bytes", "width", "height", "dhash", "notes", "source", "version"]
SPLIT_COLUMNS = ["path", "class", "sha256", "group", "split"]
COPY_COLUMNS = ["path", "class", "sha256", "source_path", "copy", "operations"]


def load_manifest(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read a manifest as text cells.

    Raises UserError when it is absent, empty, not what was written, lacks one of ``columns``, or says of an image
    what cannot be.
    """
    try:
        # keep_default_na=False: a class may be called "NA" or "null"
        manifest = pd.read_csv(BytesIO(read_recorded(path)), dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing. Run `dvc repro`, which makes it.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as CSV ({error}). {RESTORE}") from error
    missing = [column for column in columns if column not in manifest.columns]
    if missing or manifest.empty:
        found = f"lacks the column(s) {', '.join(missing)}" if missing else "has no rows"
        raise UserError(f"{path} {found}. {RESTORE}")
    _check_rows(path, manifest)
    return manifest


def save_manifest(path: Path, manifest: pd.DataFrame, columns: list[str]) -> None:
    """Write ``columns`` of a manifest, in this order, in one step."""
    write_bytes(path, manifest[columns].to_csv(index=False, lineterminator="\n").encode())


def _check_rows(path: Path, manifest: pd.DataFrame) -> None:
    """A wrong letter must neither change an image's class nor drop the image from both sides of a split."""
    wrong = pd.Series(data=False, index=manifest.index)
    if "split" in manifest:
        wrong |= ~manifest["split"].isin(["train", "test"])
    if "class" in manifest and "path" in manifest:
        folder = manifest["path"].str.extract(r"([^/]+)/[^/]*$", expand=False)  # that an image lies in, if any
        wrong |= folder.notna() & (folder != manifest["class"])
    if wrong.any():
        row = ", ".join(manifest[wrong].iloc[0])
        raise UserError(
            f"{path} was changed or damaged: an image's class must be its folder, and its split train or test, "
            f"which line {wrong.to_numpy().argmax() + 2} breaks: {row}. {RESTORE}"
        )
