"""Stratified folds of whole groups."""

import random
from collections import Counter

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.runtime.errors import UserError


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
