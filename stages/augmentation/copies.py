"""Augmented copies of train photos: drawn in a plan first, then made in parallel."""

import json
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd

from stages.augmentation.operations import apply_operations
from stages.augmentation.params import AugmentParams
from stages.augmentation.views import draw_view
from stages.base.files import compute_sha256
from stages.photos.loading import load_reduced
from stages.photos.shards import gather_images
from stages.runtime.workers import map_in_forks

SAMPLES = 24  # photos that online mode writes a view of


def plan_copies(train: pd.DataFrame, params: AugmentParams, seed: int, trial: int) -> pd.DataFrame:
    """Draw the operations of every copy, without the copies' hashes.

    Returns: a `CopyTable` with `params.copies` rows per train photo; in online mode one row, the view of epoch 1, for
    each photo of `choose_samples`.
    """
    online = params.mode == "online"
    photos, count = (choose_samples(train), 1) if online else (train, params.copies)
    rows = [
        {
            "path": f"data/augmented/{trial}/{photo['class']}/{_stem(photo['path'])}-{copy}.jpg",
            "class": photo["class"],
            "source_path": photo["path"],
            "source_sha256": photo["sha256"],
            "copy": copy,
            "operations": json.dumps(draw_view(params, seed, trial, photo["sha256"], copy)),
        }
        for photo in photos.to_dict("records")
        for copy in range(1, count + 1)
    ]
    return pd.DataFrame(rows)


def choose_samples(train: pd.DataFrame) -> pd.DataFrame:
    """At most `SAMPLES` train photos, in their order: of every class as many, as far as possible.

    They are chosen by hash, so that names and listing order decide nothing.
    """
    ordered = train.sort_values(["class", "sha256", "path"])
    turn = ordered.groupby("class").cumcount().sort_values(kind="stable")
    return train[train.index.isin(turn.index[:SAMPLES])]


def _stem(path: str) -> str:
    # cat_1.png stays whole, so that it does not meet cat_1.jpg, and cat_1.png.jpg, so that it does not meet cat_1.png
    name = Path(path).name
    stem = name.removesuffix(".jpg")
    return name if Path(stem).suffix else stem


def make_copies(copies: pd.DataFrame, folder: Path, max_side: int) -> pd.DataFrame:
    """Write every copy of a plan to ``<folder>/<class>/``, in parallel; very many are then gathered in zips.

    Returns: the plan with the path and SHA-256 of each copy, and with the operations that were applied to it.
    """
    for name in copies["class"].unique():
        (folder / name).mkdir()
    rows = copies.to_dict("records")
    jobs = [list(group) for _, group in groupby(rows, key=itemgetter("source_path"))]
    made = map_in_forks(partial(_copy_photo, folder=folder, max_side=max_side), jobs, chunk=4)
    copies = copies.assign(**pd.DataFrame(chain.from_iterable(made), index=copies.index))
    return copies.assign(path=gather_images(folder, copies["path"].tolist()))


def _copy_photo(rows: list[dict[str, Any]], folder: Path, max_side: int) -> list[dict[str, str]]:
    """Decode one photo once and write its copies. Returns the columns that are known now."""
    source = Path(rows[0]["source_path"])
    photo = load_reduced(source, rows[0]["source_sha256"], max_side)
    made = []
    for row in rows:
        target = folder / row["class"] / Path(row["path"]).name
        copy, operations = apply_operations(photo, json.loads(row["operations"]), source)
        copy.save(target, "JPEG", quality=95, subsampling=0)
        made.append({"sha256": compute_sha256(target), "operations": json.dumps(operations)})
    return made
