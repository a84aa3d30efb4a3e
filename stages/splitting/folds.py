"""Stratified folds of whole groups, every class in every fold."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.runtime.errors import UserError
from stages.splitting.cover import find_cover, find_scarce_classes
from stages.splitting.lines import join_some

Groups = Mapping[int, Counter[str]]
"""Photos per class of every group of photos that stay together."""

SMALLER_GROUPS = "use an expression or column in split.groups that puts fewer photos together"


def assign_folds(photos: pd.DataFrame, num_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Deal whole groups to folds so that every fold has as equal a share of every class as can be.

    Large groups are dealt first, then the rest in random order, each to the fold that holds the fewest
    photos of the group's classes; ties go to the smallest fold, then to a random one. Where groups of several
    classes leave a fold without a class, the groups that prevent it are dealt before all others.

    Returns: fold of each photo `[N]`.

    Raises UserError when no dealing gives every fold every class.
    """
    check_class_sizes(photos, num_folds, SMALLER_GROUPS)
    rng = random.Random(seed)
    items = _count_classes(photos)
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


def check_class_sizes(photos: pd.DataFrame, num_folds: int, smaller_groups: str | None) -> None:
    """Raise UserError unless every class has a group of photos for each fold.

    ``smaller_groups``: what the user can do to have more groups of the same photos, if anything.
    """
    sizes = photos.groupby("class")["group"].agg(groups="nunique", photos="size")
    small = sizes[sizes["groups"] < num_folds]
    if small.empty:
        return
    remedies = [smaller_groups] if smaller_groups and (small["photos"] >= num_folds).any() else []
    remedies.append("add photos")
    if len(sizes) - len(small) >= 2:  # fewer classes are none to tell apart
        remedies.append("remove the class")
    if fraction := _suggest_fraction(dict(_count_classes(photos)), int(small["groups"].min())):
        remedies.append(fraction)
    raise UserError(f"{_describe_small(small, num_folds)} {_join_remedies(remedies)}")


def _describe_small(small: pd.DataFrame, num_folds: int) -> str:
    """What was counted of classes with too few ``groups``: photos, where each is a group of its own."""
    counts = zip(small.index, small["groups"], small["photos"], strict=True)
    if (small["groups"] == small["photos"]).all():
        return (
            f"too few distinct photos for {num_folds} folds: {join_some(f'{name} has {n}' for name, n, _ in counts)}. "
            f"Every class needs at least {num_folds}, one for each fold."
        )
    listed = join_some(f"{name} has {groups} (photos: {photos:,})" for name, groups, photos in counts)
    return (
        f"too few groups of photos for {num_folds} folds: {listed}. Every class needs at least {num_folds} groups, as "
        "near-duplicates, and what split.groups puts together, stay in one fold."
    )


def _count_classes(photos: pd.DataFrame) -> list[tuple[Any, Counter[str]]]:
    return list(photos.groupby("group")["class"].agg(Counter).items())


def _suggest_fraction(groups: Groups, most: int) -> str:
    """The remedy of fewer folds, at most ``most``; empty where no number of folds is possible."""
    possible = next((k for k in range(most, 1, -1) if find_cover(groups, k) is not None), None)
    return f"set split.test_fraction to {1 / possible:.3g} ({possible} folds are possible)" if possible else ""


def _join_remedies(remedies: Sequence[str]) -> str:
    *others, last = remedies
    text = f"{', '.join(others)}, or {last}." if others else f"{last}."
    return text[0].upper() + text[1:]


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
    remedy = _suggest_fraction(groups, num_folds - 1) or "add photos"
    return (
        f"no {num_folds} folds have every class in each: near-duplicates, and photos of one group of split.groups, "
        f"stay in one fold, and some of these are of several classes. Groups of one class and of several: {sizes}. "
        f"Correct the labels of near-duplicates, use smaller groups in split.groups, or {remedy}."
    )
