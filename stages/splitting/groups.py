"""Groups of photos that belong together for a reason that pixels do not show, such as one patient."""

import re

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.photos.manifest import CSV_PREFIX, PHOTOS
from stages.runtime.errors import UserError
from stages.splitting.lines import join_some
from stages.splitting.params import Groups


def find_subjects(photos: pd.DataFrame, groups: Groups) -> "pd.Series[str]":
    """What each photo has in common with others of its group, or empty where it belongs to none.

    ``groups``: ``split.groups`` of params.yaml, the expression of ``path`` or the name of a ``column``.
    Raises UserError when no photo belongs to a group, or there is no such column.
    """
    if "path" in groups:
        return _match_paths(photos["path_in_source"], groups["path"])
    return _read_column(photos, groups["column"])


def _match_paths(paths: "pd.Series[str]", expression: str) -> "pd.Series[str]":
    pattern = re.compile(expression)
    matches = [pattern.search(path) for path in paths]
    subjects = [(match[1] if pattern.groups else match[0]) or "" if match else "" for match in matches]
    if not any(subjects):
        raise UserError(
            f"split.groups.path is {expression!r}, which matches no photo's path in the source, such as "
            f"{paths.iloc[0]!r}. Fix the expression in params.yaml, or set split.groups to null."
        )
    return pd.Series(subjects, index=paths.index)


def _read_column(photos: pd.DataFrame, column: str) -> "pd.Series[str]":
    there = [str(name).removeprefix(CSV_PREFIX) for name in photos if str(name).startswith(CSV_PREFIX)]
    if column not in there:
        raise UserError(
            f"split.groups.column is {column!r}, which {PHOTOS} does not have; columns from the CSV of labels beside "
            f"path and label: {join_some(there) or 'none'}. Fix split.groups in params.yaml, or name a CSV that has "
            "the column in fetch.labels."
        )
    subjects = photos[CSV_PREFIX + column]
    if not subjects.any():
        raise UserError(f"split.groups.column is {column!r}, which is empty for all photos. Set another, or null.")
    return subjects


def merge_groups(groups: npt.NDArray[np.int64], subjects: "pd.Series[str]") -> npt.NDArray[np.int64]:
    """Join the ``groups`` `[N]` that share a subject, directly or by a chain of others.

    ``subjects`` `[N]`: empty where a photo has none. Returns: group of each photo `[N]`, by first appearance.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    has_one = (subjects != "").to_numpy()
    numbers, known = pd.factorize(subjects[has_one])
    first = int(groups.max()) + 1  # of the nodes that stand for subjects; those before stand for groups
    size = first + len(known)
    links = coo_array((np.ones(len(numbers), dtype=bool), (groups[has_one], first + numbers)), shape=(size, size))
    labels = connected_components(links, directed=False)[1]
    return np.asarray(pd.factorize(labels[groups])[0], dtype=np.int64)


def describe_groups(subjects: "pd.Series[str]") -> str:
    """How many subjects there are, and how many photos have none."""
    number, alone = subjects[subjects != ""].nunique(), (subjects == "").sum()
    found = f"{number:,} {'group' if number == 1 else 'groups'}"
    return f"split.groups: {found}; photos that belong to none, each a group of its own: {alone:,}"
