"""Lists in one short line."""

from collections.abc import Iterable


def join_some(items: Iterable[str], separator: str = ", ", limit: int = 5) -> str:
    """The first items, and how many more there are."""
    shown = list(items)
    return separator.join(shown[:limit]) + (f" and {len(shown) - limit:,} more" if len(shown) > limit else "")
