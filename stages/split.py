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
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.base.seeds import derive_seed
from stages.cli.params import Params, load_params
from stages.cli.stage import parse_trial, run_stage
from stages.photos.classes import describe_classes
from stages.photos.manifest import PHOTOS, PhotoTable, SplitTable
from stages.splitting.duplicates import find_label_conflicts, group_duplicates
from stages.splitting.folds import assign_folds, check_class_sizes
from stages.splitting.given import assign_sides
from stages.splitting.groups import describe_groups, find_subjects, merge_groups
from stages.splitting.lines import join_some

DIFFERENT_PHOTOS = "set split.near_duplicate_bits to null if photos that look alike are different ones"


def main() -> None:
    """Split one trial."""
    trial = parse_trial(__doc__)
    params = load_params()
    photos = PhotoTable.load(PHOTOS).sort_values(["sha256", "path"], ignore_index=True)
    bits = params.split.near_duplicate_bits
    photos["group"] = group_duplicates(photos, bits)
    if conflicts := find_label_conflicts(photos):
        shown = join_some(conflicts, "; ")
        print(f"warning: near-duplicates with different labels, which confuse a classifier: {shown}", file=sys.stderr)
    if params.split.scheme == "folds":  # before split.groups, so that what fails later is due to that
        check_class_sizes(photos, params.split.count_folds(), None if bits is None else DIFFERENT_PHOTOS)
    if params.split.groups:
        subjects = find_subjects(photos, params.split.groups)
        print(describe_groups(subjects))
        photos["group"] = merge_groups(photos["group"].to_numpy(), subjects)
    photos["split"] = assign_sides(photos) if params.split.scheme == "given" else deal(photos, params, trial)
    SplitTable.save(Path(f"data/split/{trial}.csv"), photos.sort_values("path"))
    print(f"split: trial {trial}: {describe(photos)}")


def deal(photos: pd.DataFrame, params: Params, trial: int) -> npt.NDArray[np.str_]:
    """The side of each photo `[N]` when every trial tests another fold."""
    num_folds = params.split.count_folds()
    folds = assign_folds(photos, num_folds, derive_seed(params.seed, "split", trial // num_folds))
    return np.where(folds == trial % num_folds, "test", "train")


def describe(photos: pd.DataFrame) -> str:
    """Both sides, such as ``112 train (cats: 56, dogs: 56), 28 test (cats: 14, dogs: 14)``."""
    sides = []
    for side in ("train", "test"):
        counts = Counter(photos.loc[photos["split"] == side, "class"])
        sides.append(f"{counts.total():,} {side} ({describe_classes(counts)})")
    if left := int((photos["split"] == "left out").sum()):
        sides.append(
            f"{left:,} left out (train photos that are near-duplicates of test photos, or in a group with them)"
        )
    return ", ".join(sides)


if __name__ == "__main__":
    run_stage(main)
