"""Divide the photos of one trial into train and test.

Reads   data/manifest.csv; params seed, split
Writes  data/split/<trial>.csv: every photo with its group and its side
Command python -m stages.split --trial 0   (about 1 second)

Trials 0 to k-1 are the k folds of one stratified k-fold, so together they test every photo exactly once;
trials k to 2k-1 are the folds of the next shuffle, and so on. Or the test set that the source brings is the test
side of every trial. Byte-identical and nearly identical photos, and those that split.groups puts together, form a
group, and a group is never divided. Every side has every class. The result depends on the photos' bytes, not on their
names (except where split.groups reads these) or order.
"""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.base.seeds import derive_seed
from stages.cli.params import Params, load_params
from stages.cli.stage import parse_trial, run_stage
from stages.photos.manifest import PHOTOS, PhotoTable, SplitTable
from stages.splitting.duplicates import find_label_conflicts, group_duplicates
from stages.splitting.folds import assign_folds
from stages.splitting.given import assign_sides
from stages.splitting.groups import describe_groups, find_subjects, merge_groups
from stages.splitting.lines import join_some

MANY_CLASSES = 5


def main() -> None:
    """Split one trial."""
    trial = parse_trial(__doc__)
    params = load_params()
    photos = PhotoTable.load(PHOTOS).sort_values(["sha256", "path"], ignore_index=True)
    photos["group"] = group_duplicates(photos, params.split.near_duplicate_bits)
    if conflicts := find_label_conflicts(photos):
        shown = join_some(conflicts, "; ")
        print(f"warning: near-duplicates with different labels, which confuse a classifier: {shown}", file=sys.stderr)
    if params.split.groups:
        subjects = find_subjects(photos, params.split.groups)
        print(describe_groups(subjects))
        photos["group"] = merge_groups(photos["group"].to_numpy(), subjects)
    photos["split"] = assign_sides(photos) if params.split.scheme == "given" else deal(photos, params, trial)
    SplitTable.save(Path(f"data/split/{trial}.csv"), photos.sort_values("path"))
    print(f"split: trial {trial}: {describe(photos)}")


def deal(photos: pd.DataFrame, params: Params, trial: int) -> npt.NDArray[np.str_]:
    """The side of each photo `[N]` when every trial tests another fold."""
    num_folds = round(1 / params.split.test_fraction)
    folds = assign_folds(photos, num_folds, derive_seed(params.seed, "split", trial // num_folds))
    return np.where(folds == trial % num_folds, "test", "train")


def describe(photos: pd.DataFrame) -> str:
    """Both sides, such as ``112 train (56 cats, 56 dogs), 28 test (14 cats, 14 dogs)``.

    Of many classes only the smallest and the largest size are given: ``8,000 train (1,000 classes of 7 to 9)``.
    """
    sides = []
    for side in ("train", "test"):
        counts = photos.loc[photos["split"] == side, "class"].value_counts().sort_index()
        sizes = ", ".join(f"{n} {name}" for name, n in counts.items())
        if len(counts) > MANY_CLASSES:
            sizes = f"{len(counts):,} classes of {' to '.join(map(str, sorted({counts.min(), counts.max()})))}"
        sides.append(f"{counts.sum():,} {side} ({sizes})")
    if left := int((photos["split"] == "left out").sum()):
        sides.append(
            f"{left:,} left out (train photos that are near-duplicates of test photos, or in a group with them)"
        )
    return ", ".join(sides)


if __name__ == "__main__":
    run_stage(main)
