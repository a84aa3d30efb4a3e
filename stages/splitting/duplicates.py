"""Groups of near-duplicate photos, which stay on one side of a split."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.photos.manifest import PHOTOS
from stages.runtime.errors import RESTORE, UserError

HASH_BITS = 64
LEAST_BITS = 8  # of a part: 256 values


def group_duplicates(photos: pd.DataFrame, max_bits: int | None) -> npt.NDArray[np.int64]:
    """Number the groups of near-duplicates, or of identical files where ``max_bits`` is None.

    Returns: group of each photo `[N]`, numbered by first appearance. Raises UserError for a damaged hash.
    """
    if max_bits is None:
        return np.asarray(pd.factorize(photos["sha256"])[0], dtype=np.int64)
    check_hashes(photos["dhash"])
    return group_near_duplicates(photos["dhash"].tolist(), max_bits)


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

    every = np.array([int(dhash, 16) for dhash in dhashes], dtype=np.uint64)
    hashes, index = np.unique(every, return_inverse=True)
    rows, columns = np.concatenate([find_pairs(hashes, mask, max_bits) for mask in list_masks(max_bits)], axis=1)
    links = csr_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(len(hashes), len(hashes)))
    labels = connected_components(links, directed=False)[1]
    return np.asarray(pd.factorize(labels[index])[0], dtype=np.int64)


def list_masks(max_bits: int) -> list[int]:
    """Parts of a hash, of which near-duplicates have at least one in common: one part more than bits may differ.

    Comparing only hashes with a part in common takes less than all pairs, unless parts are so short that many have one
    in common: there the one part is empty, and common to all.
    """
    parts = max_bits + 1
    if HASH_BITS // parts < LEAST_BITS:
        return [0]
    ends = [HASH_BITS * part // parts for part in range(parts + 1)]
    return [(1 << high) - (1 << low) for low, high in pairwise(ends)]


def find_pairs(hashes: npt.NDArray[np.uint64], mask: int, max_bits: int) -> npt.NDArray[np.int64]:
    """Index pairs `[2, P]` of the hashes that are alike under a mask and differ in at most ``max_bits`` bits."""
    masked = hashes & np.uint64(mask)
    order = np.argsort(masked, kind="stable")
    hashes, masked = hashes[order], masked[order]
    ends = np.searchsorted(masked, masked, side="right")
    pairs = [np.empty((2, 0), dtype=np.int64)]
    for i in np.flatnonzero(ends > np.arange(len(hashes)) + 1):  # row by row: all distances at once would not fit
        near = i + 1 + np.flatnonzero(np.bitwise_count(hashes[i + 1 : ends[i]] ^ hashes[i]) <= max_bits)
        if len(near):
            pairs.append(np.stack([np.full(len(near), order[i]), order[near]]))
    return np.concatenate(pairs, axis=1)


def find_label_conflicts(photos: pd.DataFrame) -> list[str]:
    """Groups of near-duplicates with more than one label, as ``path = path``, four paths at most."""
    conflicts = photos[photos.groupby("group")["class"].transform("nunique") > 1]
    return [" = ".join(paths.head(4)) for _, paths in conflicts.groupby("group")["path"]]
