"""The doctor on Python, its packages, and the disk."""

from __future__ import annotations  # even a Python that is too old must run this far, to print that it is

import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from stages.doctor.problem import Problem

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OLDEST, TOO_NEW = (3, 11), (3, 14)  # as in the Makefile
FREE_GB = 2  # a trial of both arms takes 0.6 GB in all, its checkpoints another 0.6 GB
SET_UP = "rm -f .venv/.ready; make .venv/.ready"


def check_python(_root: Path) -> Iterator[Problem]:
    """The packages are pinned for this version of Python."""
    if not OLDEST <= sys.version_info[:2] < TOO_NEW:
        what = f"Python {sys.version.split()[0]}; the packages are pinned for 3.11, 3.12 and 3.13"
        yield Problem(what, "rm -f .venv/.ready; make .venv/.ready PYTHON=/path/to/python3.12")


def check_packages(root: Path) -> Iterator[Problem]:
    """Every package has the version that requirements.txt pins."""
    try:
        from packaging.requirements import Requirement
    except ImportError as error:
        yield Problem(str(error), SET_UP)
        return
    lines = (root / "requirements.txt").read_text().splitlines()
    pinned = [Requirement(line.rstrip(" \\")) for line in lines if line and not line.startswith((" ", "#"))]
    wrong = [fault for pin in pinned if not pin.marker or pin.marker.evaluate() for fault in compare_version(pin)]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        yield Problem(f"{'; '.join(wrong[:3])}{more}", SET_UP)


def compare_version(pin: Requirement) -> Iterator[str]:
    """What is wrong with one package, if anything."""
    try:
        found = version(pin.name)
    except PackageNotFoundError:
        yield f"{pin.name} is missing"
        return
    if not pin.specifier.contains(found, prereleases=True):
        yield f"{pin.name} {found} instead of {str(pin.specifier).lstrip('=')}"


def check_libmagic(_root: Path) -> Iterator[Problem]:
    """The C library can be loaded and knows a PNG."""
    try:
        import pylibmagic  # noqa: F401 - brings the library
        import magic  # isort: skip

        magic.from_buffer(b"\x89PNG\r\n\x1a\n", mime=True)
    except Exception as error:  # a C library that is absent, or of another machine, fails in many ways
        yield Problem(f"cannot be used: {error}", f"{SET_UP}, or apt install libmagic1")


def check_disk(root: Path) -> Iterator[Problem]:
    """There is room for a trial."""
    free = shutil.disk_usage(root).free / 1e9
    if free < FREE_GB:
        remedy = f"free {FREE_GB - free:.1f} GB; `dvc gc --workspace` drops cached results that dvc.lock does not name"
        yield Problem(f"{free:.1f} GB free; a trial needs up to {FREE_GB} GB", remedy)
