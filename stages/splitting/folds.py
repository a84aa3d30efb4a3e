"""Stratified folds of whole groups, every class in every fold."""

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.runtime.errors import UserError
from stages.splitting.cover import find_cover, find_scarce_classes
from stages.splitting.lines import join_some

Groups = Mapping[int, Counter[str]]
"""Photos per class of every group of photos that stay together."""


def assign_folds(photos: pd.DataFrame, num_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Deal whole groups to folds so that every fold has as equal a share of every class as can be.

    Large groups are dealt first, then the rest in random order, each to the fold that holds the fewest
    photos of the group's classes; ties go to the smallest fold, then to a random one. Where groups of several
    classes leave a fold without a class, the groups that prevent it are dealt before all others.

    Returns: fold of each photo `[N]`.

    Raises UserError when no dealing gives every fold every class.
    """
    check_class_sizes(photos, num_folds)
    rng = random.Random(seed)
    items: list[tuple[Any, Counter[str]]] = list(photos.groupby("group")["class"].agg(Counter).items())
    rng.shuffle(items)
    items.sort(key=lambda item: -item[1].total())  # stable: the shuffle decides among equals
    groups: Groups = dict(items)
    fold_of = _deal(groups, num_folds, rng, reserved={})
    if not _is_complete(groups, fold_of, photos["class"].nunique(), num_folds):
        reserved = find_cover(groups, num_folds)
        if reserved is None:
            raise UserError(_explain_impossible(groups, num_folds))
        fold_of = _deal(groups, num_folds, rng, reserved)
    return np.array([fold_of[group] for group in photos["group"]], dtype=np.int64)


def check_class_sizes(photos: pd.DataFrame, num_folds: int) -> None:
    """Raise UserError unless every class has a group of photos for each fold."""
    groups = photos.groupby("class")["group"].nunique()
    small = groups[groups < num_folds]
    if len(small):
        raise UserError(
            f"too few distinct photos for {num_folds} folds: "
            f"{join_some(f'{name} has {count}' for name, count in small.items())}. Every class needs at least "
            f"{num_folds} (near-duplicates, and photos of one group of split.groups, count once). Add photos or raise "
            "split.test_fraction in params.yaml."
        )


def _deal(groups: Groups, num_folds: int, rng: random.Random, reserved: Mapping[int, int]) -> dict[int, int]:
    """Fold of every group; that of some is ``reserved``."""
    fold_of = dict(reserved)
    sizes = [Counter[str]() for _ in range(num_folds)]
    for group, fold in reserved.items():
        sizes[fold] += groups[group]
    for group, classes in groups.items():
        if group not in reserved:
            order = rng.sample(range(num_folds), num_folds)
            fold = min(order, key=lambda f: (sum(sizes[f][c] for c in classes), sizes[f].total()))
            sizes[fold] += classes
            fold_of[group] = fold
    return fold_of


def _is_complete(groups: Groups, fold_of: Mapping[int, int], num_classes: int, num_folds: int) -> bool:
    found = {(fold_of[group], name) for group, classes in groups.items() for name in classes}
    return len(found) == num_classes * num_folds


def _explain_impossible(groups: Groups, num_folds: int) -> str:
    counts = {name: Counter[str]() for name in find_scarce_classes(groups, num_folds)}
    for classes in groups.values():
        for name in counts.keys() & classes:
            counts[name]["shared" if len(classes) > 1 else "own"] += 1
    sizes = join_some(f"{name} {count['own']} and {count['shared']}" for name, count in counts.items())
    possible = next((k for k in range(num_folds - 1, 1, -1) if find_cover(groups, k) is not None), None)
    remedy = (
        f"set split.test_fraction to {1 / possible:.2g} ({possible} folds are possible)" if possible else "add photos"
    )
    return (
        f"no {num_folds} folds have every class in each: near-duplicates, and photos of one group of split.groups, "
        f"stay in one fold, and some of these are of several classes. Groups of one class and of several: {sizes}. "
        f"Correct the labels of near-duplicates, use smaller groups in split.groups, or {remedy}."
    )
