"""What a check of the doctor finds."""

from __future__ import annotations  # a Python that is too old must get as far as being told so

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """What is wrong, what to do about it, and a function that does it where nothing can be lost."""

    what: str
    remedy: str
    fix: Callable[[], object] | None = None
