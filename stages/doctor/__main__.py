"""Is this workspace fit to run? Each check says what is wrong and what to do; --fix does what loses nothing.

Imports nothing but the standard library until a check needs more, so that it also works where packages are missing.
Exit status: 0 when all is well, 1 when something needs care.

Command  python -m stages.doctor [--fix]   (about 5 seconds)
"""

from __future__ import annotations  # a Python that is too old must get as far as being told so

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from stages.doctor import machine, store, workspace
from stages.doctor.problem import Problem
from stages.runtime.root import find_root

CHECKS: dict[str, Callable[[Path], Iterator[Problem]]] = {
    "Python": machine.check_python,
    "packages": machine.check_packages,
    "libmagic, which AugLy needs": machine.check_libmagic,
    "free disk": machine.check_disk,
    "half-written outputs": workspace.check_partials,
    "DVC's locks": workspace.check_locks,
    "tracking store": store.check_store,
    "artifacts of the tracking store": store.check_artifacts,
    "tracked runs": store.check_runs,
}


def main() -> None:
    """Print a line per check and two per problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fix", action="store_true", help="do the remedies that lose nothing")
    fix = parser.parse_args().fix
    root = find_root()
    remaining = sum(run_check(name, check, root, fix) for name, check in CHECKS.items())
    if remaining:
        sys.exit(1)


def run_check(name: str, check: Callable[[Path], Iterator[Problem]], root: Path, fix: bool) -> int:
    """Print what a check finds, and mend it if ``fix`` is set. Returns the number of problems that remain."""
    try:
        problems = list(check(root))
    except ImportError as error:
        problems = [Problem(f"cannot be checked: {error}", "mend the packages first")]
    print(f"{'✗' if problems else '✓'} {name}")
    return sum(treat(problem, fix) for problem in problems)


def treat(problem: Problem, fix: bool) -> bool:
    """Print a problem, and mend it if ``fix`` is set and it can be. Returns whether it remains."""
    print(f"    {problem.what}")
    if not (fix and problem.fix):
        print(f"    → {problem.remedy}{'  (make doctor FIX=1 does it)' if problem.fix else ''}")
        return True
    try:
        problem.fix()
    except Exception as error:  # the other problems can still be mended
        print(f"    → could not be mended: {error}. {problem.remedy}")
        return True
    print(f"    → done: {problem.remedy}")
    return False


if __name__ == "__main__":
    main()
