"""Divide the photos of one trial into train and test.

Reads   data/manifest.csv; params seed, split
Writes  data/split/<trial>.csv: every photo with its near-duplicate group and its side
Command python -m stages.split --trial 0   (about 1 second)

Trials 0 to k-1 are the k folds of one stratified k-fold, so together they test every photo exactly once;
trials k to 2k-1 are the folds of the next shuffle, and so on. Byte-identical and nearly identical photos
form a group, and a group is never divided. The result depends on the photos' bytes, not on their names or order.
"""

import argparse
import random
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.common.errors import RESTORE, UserError, run_stage
from stages.common.manifest import PHOTO_COLUMNS, PHOTOS, SPLIT_COLUMNS, load_manifest, save_manifest
from stages.common.params import load_params
from stages.common.seeds import derive_seed


def main() -> None:
    """Split one trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial", type=int, required=True)
    trial = parser.parse_args().trial
    params = load_params()
    num_folds = round(1 / params.split.test_fraction)

    photos = load_manifest(PHOTOS, PHOTO_COLUMNS).sort_values(["sha256", "path"], ignore_index=True)
    check_hashes(photos["dhash"])
    photos["group"] = group_near_duplicates(photos["dhash"].tolist(), params.split.near_duplicate_bits)
    if torn := find_torn_groups(photos):
        print(f"warning: nearly the same picture under two labels: {'; '.join(torn[:5])}", file=sys.stderr)
    check_class_sizes(photos, num_folds)
    folds = assign_folds(photos, num_folds, derive_seed(params.seed, "split", trial // num_folds))
    photos["split"] = np.where(folds == trial % num_folds, "test", "train")
    save_manifest(Path(f"data/split/{trial}.csv"), photos.sort_values("path"), SPLIT_COLUMNS)
    print(f"split: trial {trial}: {describe(photos)}")


def check_hashes(dhashes: pd.Series) -> None:
    """Raise UserError unless all are 64-bit difference hashes in hex."""
    wrong = dhashes[~dhashes.str.fullmatch("[0-9a-f]{16}")]
    if len(wrong):
        raise UserError(f"{PHOTOS} was changed or damaged: dhash is {wrong.iloc[0]!r}. {RESTORE}")


def group_near_duplicates(dhashes: list[str], max_bits: int) -> npt.NDArray[np.int64]:
    """Number the groups of photos that are linked by chains of near-duplicates.

    Two photos are near-duplicates when their 64-bit difference hashes (hex) differ in at most ``max_bits`` bits.

    Returns: group of each photo `[N]`, numbered by first appearance.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    hashes = np.array([int(dhash, 16) for dhash in dhashes], dtype=np.uint64)
    pairs = [  # row by row: N × N distances at once would not fit for 100,000 photos
        (np.full(len(near), i), near)
        for i in range(len(hashes))
        for near in [i + np.flatnonzero(np.bitwise_count(hashes[i:] ^ hashes[i]) <= max_bits)]
    ]
    rows, columns = (np.concatenate(side) for side in zip(*pairs, strict=True))
    links = csr_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(len(hashes), len(hashes)))
    labels = connected_components(links, directed=False)[1]
    return np.asarray(pd.factorize(labels)[0], dtype=np.int64)


def find_torn_groups(photos: pd.DataFrame) -> list[str]:
    """Groups whose near-duplicates do not have one label, as ``path = path``."""
    torn = photos[photos.groupby("group")["class"].transform("nunique") > 1]
    return [" = ".join(paths.head(4)) for _, paths in torn.groupby("group")["path"]]


def check_class_sizes(photos: pd.DataFrame, num_folds: int) -> None:
    """Raise UserError unless every class has a group of photos for each fold."""
    groups = photos.groupby("class")["group"].nunique()
    small = {name: count for name, count in groups.items() if count < num_folds}
    if small:
        sizes = ", ".join(f"{name} has {count}" for name, count in small.items())
        raise UserError(
            f"too few distinct photos for {num_folds} folds: {sizes}. Every class needs at least {num_folds} "
            "(near-duplicates count once). Add photos or raise split.test_fraction in params.yaml."
        )


def assign_folds(photos: pd.DataFrame, num_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Deal whole groups to folds so that every fold has as equal a share of every class as can be.

    Large groups are dealt first, then the rest in random order, each to the fold that holds the fewest
    photos of the group's classes; ties go to the smallest fold, then to a random one.

    Returns: fold of each photo `[N]`.
    """
    rng = random.Random(seed)
    groups = list(photos.groupby("group")["class"].agg(Counter).items())
    rng.shuffle(groups)
    groups.sort(key=lambda item: -item[1].total())  # stable: the shuffle decides among equals
    sizes = [Counter[str]() for _ in range(num_folds)]
    fold_of = {}
    for group, classes in groups:
        order = rng.sample(range(num_folds), num_folds)
        fold = min(order, key=lambda f: (sum(sizes[f][c] for c in classes), sizes[f].total()))
        sizes[fold] += classes
        fold_of[group] = fold
    return np.array([fold_of[group] for group in photos["group"]], dtype=np.int64)


def describe(photos: pd.DataFrame) -> str:
    """For example ``112 train (56 cats, 56 dogs), 28 test (14 cats, 14 dogs)``."""
    sides = []
    for side in ("train", "test"):
        counts = photos.loc[photos["split"] == side, "class"].value_counts().sort_index()
        sides.append(f"{counts.sum()} {side} ({', '.join(f'{n} {name}' for name, n in counts.items())})")
    return ", ".join(sides)


if __name__ == "__main__":
    run_stage(main)
