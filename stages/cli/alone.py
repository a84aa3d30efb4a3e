"""One run at a time in a workspace: DVC would refuse the second as well, but in words about its own files."""

import json
from pathlib import Path

from stages.doctor.workspace import RWLOCK, is_alive, read_pids
from stages.runtime.errors import UserError
from stages.runtime.locks import try_lock


def check_alone(root: Path) -> None:
    """Raise UserError while another run changes the workspace at ``root``, or its ablation.

    What runs that were killed left of DVC's locks is dropped; DVC would do so too, with a warning for every file.
    """
    for path in (root / RWLOCK, root / "ablation" / RWLOCK):
        guard = try_lock(path.with_name("rwlock.lock")) if path.exists() else None
        if guard:  # else DVC is writing it at this moment
            with guard:
                _check_locks(path)


def _check_locks(path: Path) -> None:
    """The same for DVC's list of files in use. A damaged one stays: DVC stops at it, and the doctor has the remedy."""
    try:
        locks, written = json.loads(path.read_text()), path.stat().st_mtime
        users = {pid for pid in read_pids(locks) if is_alive(pid, written)}
        writers = users & read_pids(locks, ["write"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return
    if writers:
        pid = min(writers)
        raise UserError(
            f"another run is active in this workspace (PID {pid}), and two would change the same files. Wait until it "
            f"ends, or end it: kill {pid}. What it has done by then is kept."
        )
    if not users:
        path.unlink()
