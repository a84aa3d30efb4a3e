"""What the terminal shows while a stage works. Nothing here affects a result."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def show_steps(total: int, done: int) -> "tqdm[Any]":
    """A bar of optimizer steps, of which ``done`` were taken before; on a terminal only."""
    return tqdm(total=total, initial=done, unit="step", dynamic_ncols=True, disable=not sys.stderr.isatty())


def show_items(items: Iterable[Any], what: str) -> "tqdm[Any]":
    """The items, with a bar while they are read; on a terminal only."""
    return tqdm(items, desc=what, leave=False, disable=None)


def compute_speed(images: float, seconds: float, share: float) -> dict[str, float]:
    """Speed of training on ``share`` of an epoch of so many images; nothing when only the test was left to do."""
    if not share:
        return {}
    return {"train/images_per_second": images * share / seconds, "train/seconds_per_epoch": seconds / share}


def describe_epoch(epoch: int, epochs: int, row: dict[str, float]) -> str:
    """One line for the terminal, after an epoch."""
    speed = f"  {row['train/images_per_second']:.1f} images/s" if "train/images_per_second" in row else ""
    return (
        f"  epoch {epoch:>{len(str(epochs))}}/{epochs}  loss {row['train/loss']:.4f}  "
        f"test accuracy {row['test/accuracy']:.3f}{speed}"
    )


def format_duration(seconds: float) -> str:
    """``45 s``, ``6 min``, ``3.2 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
