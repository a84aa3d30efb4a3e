"""Is this workspace fit to run? Each check says what is wrong and how to fix it.

With --fix it applies the fixes that lose no data.

Imports only the standard library until a check needs more, so that it works where packages are missing.
Exit status: 0 if there are no problems left, 1 otherwise.

Command  python -m stages.doctor [--fix]   (about 5 seconds)
"""

from __future__ import annotations  # even a Python that is too old must run this far, to print that it is

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
    "MLflow backend store": store.check_store,
    "MLflow artifact store": store.check_artifacts,
    "MLflow runs": store.check_runs,
}


def main() -> None:
    """Print a line per check and two per problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fix", action="store_true", help="apply the fixes that lose no data")
    fix = parser.parse_args().fix
    root = find_root()
    remaining = sum(run_check(name, check, root, fix) for name, check in CHECKS.items())
    if remaining:
        sys.exit(1)


def run_check(name: str, check: Callable[[Path], Iterator[Problem]], root: Path, fix: bool) -> int:
    """Print what a check finds, and fix it if ``fix`` is set. Returns the number of problems that remain."""
    try:
        problems = list(check(root))
    except ImportError as error:
        problems = [Problem(f"cannot be checked: {error}", "fix the packages first")]
    print(f"{'✗' if problems else '✓'} {name}")
    return sum(treat(problem, fix) for problem in problems)


def treat(problem: Problem, fix: bool) -> bool:
    """Print a problem, and fix it if ``fix`` is set and that is safe. Returns whether it remains."""
    print(f"    {problem.what}")
    if not (fix and problem.fix):
        print(f"    → {problem.remedy}{'  (make doctor FIX=1 does it)' if problem.fix else ''}")
        return True
    try:
        problem.fix()
    except Exception as error:  # the other problems can still be fixed
        print(f"    → could not be fixed: {error}. {problem.remedy}")
        return True
    print(f"    → done: {problem.remedy}")
    return False


if __name__ == "__main__":
    main()
