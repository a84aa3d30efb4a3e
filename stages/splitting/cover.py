"""Which groups must go to which folds so that every fold has every class: a small integer program."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

import numpy as np


def find_scarce_classes(groups: Mapping[int, Collection[str]], num_folds: int) -> list[str]:
    """Classes with fewer groups of their own than there are folds.

    All others reach every fold, however groups of several classes are dealt: while a fold lacks a class, the next
    group of that class alone goes there.
    """
    own = Counter(name for classes in groups.values() if len(classes) == 1 for name in classes)
    return sorted({name for classes in groups.values() for name in classes if own[name] < num_folds})


def find_cover(groups: Mapping[int, Collection[str]], num_folds: int) -> dict[int, int] | None:
    """Give a few groups a fold so that every fold has every scarce class.

    ``groups``: the classes of every group. Groups with the same scarce classes are interchangeable, so the unknowns
    are K x F whole numbers: how many groups of each of K kinds go to each of F folds.

    Returns: fold by group, or None when it cannot be done.
    """
    from scipy.optimize import LinearConstraint, milp
    from scipy.sparse import eye_array, kron

    scarce = find_scarce_classes(groups, num_folds)
    if not scarce:
        return {}
    kinds: dict[frozenset[str], list[int]] = defaultdict(list)
    for group, classes in groups.items():
        if kind := frozenset(classes) & frozenset(scarce):
            kinds[kind].append(group)
    contains = np.array([[name in kind for kind in kinds] for name in scarce], dtype=float)  # [scarce classes, K]
    available = [len(members) for members in kinds.values()]
    covered = LinearConstraint(kron(contains, eye_array(num_folds)), lb=1)
    dealt_once = LinearConstraint(kron(eye_array(len(kinds)), np.ones((1, num_folds))), ub=available)
    size = len(kinds) * num_folds
    # twice as many groups as needed would do: proving the smallest number can take minutes
    result = milp(
        np.ones(size), integrality=np.ones(size), constraints=[covered, dealt_once], options={"mip_rel_gap": 1}
    )
    if result.x is None:
        return None
    counts = result.x.round().astype(int).reshape(len(kinds), num_folds)
    return {
        group: fold
        for members, row in zip(kinds.values(), counts, strict=True)
        for group, fold in zip(members, np.repeat(np.arange(num_folds), row).tolist(), strict=False)
    }
