"""What takes long to make, made once for all of pytest-xdist's workers."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

Made = TypeVar("Made")


def make_once(kept: Path, make: Callable[[], Made]) -> Made:
    """Made by the first worker that needs it, for all of them."""
    with FileLock(kept.with_suffix(".lock")):
        if not kept.exists():
            kept.write_bytes(pickle.dumps(make()))
        made: Made = pickle.loads(kept.read_bytes())
        return made
