"""Augmented copies of train photos: drawn in a plan first, then made in parallel."""

import json
import random
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed

from stages.augmentation.limits import Operation
from stages.augmentation.operations import apply_operations, load_reduced
from stages.augmentation.params import AugmentParams, Magnitude
from stages.base.files import compute_sha256
from stages.base.seeds import derive_seed


def plan_copies(train: pd.DataFrame, params: AugmentParams, seed: int, trial: int) -> pd.DataFrame:
    """Draw the operations of every copy: `params.copies` rows per train photo, without the copies' hashes."""
    rows = [
        {
            "path": f"data/augmented/{trial}/{photo['class']}/{_stem(photo['path'])}-{copy}.jpg",
            "class": photo["class"],
            "source_path": photo["path"],
            "source_sha256": photo["sha256"],
            "copy": copy,
            "operations": json.dumps(
                draw_operations(params, derive_seed(seed, "augment", trial, photo["sha256"], copy))
            ),
        }
        for photo in train.to_dict("records")
        for copy in range(1, params.copies + 1)
    ]
    return pd.DataFrame(rows)


def _stem(path: str) -> str:
    # cat_1.png stays whole, so that it does not meet cat_1.jpg, and cat_1.png.jpg, so that it does not meet cat_1.png
    name = Path(path).name
    stem = name.removesuffix(".jpg")
    return name if Path(stem).suffix else stem


def draw_operations(params: AugmentParams, seed: int) -> list[Operation]:
    """Draw operations without replacement, in the order of the draw, with their magnitudes."""
    rng = random.Random(seed)
    names = rng.sample(sorted(params.operations), params.operations_per_copy)
    operations = []
    for name in names:
        magnitudes = {key: _draw(value, rng) for key, value in sorted(params.operations[name].items())}
        noise_seed = {"seed": rng.getrandbits(31)} if name == "random_noise" else {}  # AugLy's own default is always 42
        operations.append({"name": name} | magnitudes | noise_seed)
    return operations


def _draw(magnitude: Magnitude, rng: random.Random) -> float:
    # six digits: what the manifest shows is exactly what AugLy gets
    return round(rng.uniform(*magnitude), 6) if isinstance(magnitude, list) else magnitude


def make_copies(copies: pd.DataFrame, folder: Path, max_side: int) -> pd.DataFrame:
    """Write every copy of a plan to ``<folder>/<class>/``, in parallel.

    Returns: the plan with the SHA-256 of each copy, and with the operations that were applied to it.
    """
    for name in copies["class"].unique():
        (folder / name).mkdir()
    rows = copies.to_dict("records")
    jobs = [list(group) for _, group in groupby(rows, key=itemgetter("source_path"))]
    parallel = Parallel(n_jobs=-1, batch_size=4)
    made = parallel(delayed(_copy_photo)(job, folder, max_side) for job in jobs)
    return copies.assign(**pd.DataFrame(chain.from_iterable(made), index=copies.index))


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
