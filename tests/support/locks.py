"""DVC's own list of files in use, as processes leave it."""

import json
import subprocess
import sys
from pathlib import Path


def write_rwlock(home: Path, *, write: int | None = None, read: int | None = None) -> Path:
    """The list as it looks while processes with these PIDs use files."""
    path = home / ".dvc/tmp/rwlock"
    path.parent.mkdir(parents=True, exist_ok=True)
    locks = {
        "write": {"/a/models": {"pid": write, "cmd": "dvc repro"}} if write else {},
        "read": {"/a/data": [{"pid": read, "cmd": "dvc repro"}]} if read else {},
    }
    path.write_text(json.dumps(locks))
    return path


def make_dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
