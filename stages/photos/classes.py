"""Classes and how many photos each has, in one short line."""

from collections.abc import Mapping

MANY_CLASSES = 5


def describe_classes(counts: Mapping[str, int]) -> str:
    """``"cats: 70, dogs: 70"``; of many classes the smallest and the largest, ``"1,000 classes of 5 to 12"``."""
    if len(counts) <= MANY_CLASSES:
        return ", ".join(f"{name}: {number:,}" for name, number in sorted(counts.items()))
    sizes = sorted({min(counts.values()), max(counts.values())})
    return f"{len(counts):,} classes of {' to '.join(f'{size:,}' for size in sizes)}"
