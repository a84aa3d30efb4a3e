"""Groups of near-duplicate photos, which stay on one side of a split."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.photos.manifest import PHOTOS
from stages.runtime.errors import RESTORE, UserError


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


def find_label_conflicts(photos: pd.DataFrame) -> list[str]:
    """Groups of near-duplicates with more than one label, as ``path = path``, four paths at most."""
    conflicts = photos[photos.groupby("group")["class"].transform("nunique") > 1]
    return [" = ".join(paths.head(4)) for _, paths in conflicts.groupby("group")["path"]]
