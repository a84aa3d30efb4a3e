"""The doctor on what killed processes leave in the workspace."""

from __future__ import annotations  # even a Python that is too old must run this far, to print that it is

import json
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stages.doctor.problem import Problem

OUTPUTS = ("data", "models", "metrics", ".resume", ".dvc/tmp/pixels")
DOWNLOADS = Path("data/downloads")  # the user's own
RWLOCK = Path(".dvc/tmp/rwlock")  # DVC's list of files in use


def check_partials(root: Path) -> Iterator[Problem]:
    """No half-written output is left; while DVC or a stage runs here it may be theirs."""
    found = [path.relative_to(root) for folder in OUTPUTS for path in sorted((root / folder).rglob("*.partial"))]
    left = [path for path in found if DOWNLOADS not in path.parents and ".partial" not in path.parent.as_posix()]
    if left and not is_at_work(root):
        for path in left:
            yield Problem(f"{path} was left by a stage that was killed", f"rm -r {path}", partial(remove, root / path))


def remove(path: Path) -> None:
    """Delete a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def check_locks(root: Path) -> Iterator[Problem]:
    """DVC can read its list of files in use, and waits for no process that has nothing to do with it.

    It drops a process that is gone, but waits forever for one that is a zombie or whose PID was reused, and stops at a
    truncated list. Its other locks end with the process that holds them.
    """
    import psutil

    path = root / RWLOCK
    if not path.exists():
        return
    remedy, fix = f"rm {RWLOCK}", path.unlink
    try:
        pids = read_pids(json.loads(path.read_text()))
    except (ValueError, TypeError, KeyError, AttributeError):
        if not is_at_work(root):
            yield Problem(f"{RWLOCK} is truncated, and DVC cannot read it", remedy, fix)
        return
    written = path.stat().st_mtime
    taken = sorted(pid for pid in pids if psutil.pid_exists(pid))
    if taken and not any(is_alive(pid, written) for pid in taken):
        listed = ", ".join(map(str, taken))
        what = f"{RWLOCK} names a run that is gone, and DVC waits for it, as its PID is still taken: {listed}"
        yield Problem(what, remedy, fix)


def read_pids(locks: dict[str, dict[str, Any]], modes: Sequence[str] = ("write", "read")) -> set[int]:
    """The PIDs in DVC's list: ``{"write": {path: holder}, "read": {path: [holder, ...]}}``."""
    entries = [entry for mode in modes for entry in locks.get(mode, {}).values()]
    holders = [holder for entry in entries for holder in (entry if isinstance(entry, list) else [entry])]
    return {int(holder["pid"]) for holder in holders}


def is_alive(pid: int, since: float) -> bool:
    """Whether the process that had this PID at a time (seconds since 1970) still runs."""
    import psutil

    try:
        process = psutil.Process(pid)
        # a process that started later has reused the PID; clocks differ by a little
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since + 1)
    except psutil.NoSuchProcess:
        return False


def is_at_work(root: Path) -> bool:
    """Whether DVC or a stage runs in this workspace."""
    import psutil

    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        works = any(Path(part).name == "dvc" or part.startswith("stages.") for part in command)
        if works and "stages.doctor" not in command and root.resolve() in Path(process.info["cwd"] or "", "x").parents:
            return True
    return False
