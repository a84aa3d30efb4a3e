"""What a check of the doctor finds."""

from __future__ import annotations  # even a Python that is too old must run this far, to print that it is

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """What is wrong, how to fix it, and a function that does so where no data can be lost."""

    what: str
    remedy: str
    fix: Callable[[], object] | None = None
