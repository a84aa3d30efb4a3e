"""The division that a dataset brings: its test set is the test side of every trial."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.runtime.errors import UserError
from stages.splitting.lines import join_some

TEST_SETS = (("test", "testing"), ("val", "valid", "validation"))
"""Subsets that are the test side, the first kind that is there."""

REMEDY = "or set split.scheme to folds in params.yaml."


def assign_sides(photos: pd.DataFrame) -> npt.NDArray[np.str_]:
    """``train``, ``test`` or ``left out`` of each photo `[N]`, from its columns ``class``, ``group``, ``subset``.

    Left out is a photo of another subset than the test set that is in a group with a test photo.
    Raises UserError when a side has no photo, or lacks a class.
    """
    tested = photos["subset"].isin(_find_test_set(photos["subset"]))
    leaks = ~tested & photos["group"].isin(photos.loc[tested, "group"])
    sides = np.select([tested, leaks], ["test", "left out"], "train")
    _check_classes(photos["class"], sides)
    return sides


def _find_test_set(subsets: "pd.Series[str]") -> tuple[str, ...]:
    there = set(subsets)
    found = next((names for names in TEST_SETS if there & set(names)), ())
    if not found or there <= set(found):
        counts = subsets.value_counts(sort=False).sort_index()
        listed = join_some(f"{name or 'no subset'} {count:,}" for name, count in counts.items())
        raise UserError(
            f"split.scheme is given, which needs photos of a test set (a folder test, else val) and others to train "
            f"on; photos by subset: {listed}. Set fetch.subset to all or a list such as [train, test], {REMEDY}"
        )
    return found


def _check_classes(classes: "pd.Series[str]", sides: npt.NDArray[np.str_]) -> None:
    for side in ("train", "test"):
        missing = sorted(set(classes) - set(classes[sides == side]))
        if missing:
            left = int((sides == "left out").sum())
            why = f", once {left:,} that are in a group with test photos are left out" if left else ""
            raise UserError(
                f"split.scheme is given, and no {side} photo is of the class {join_some(missing)}{why}; every "
                f"class needs some on both sides. Add photos, remove the class, {REMEDY}"
            )
