"""Locks between processes. They end with the process that holds them, however it ends."""

from __future__ import annotations  # the doctor runs in a Python that is too old, to say so

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from stages.runtime.errors import UserError

POLL = 0.05  # seconds between two tries


def try_lock(path: Path) -> TextIO | None:
    """The file at ``path``, locked until it is closed, with this process's PID in it; None if another process has it.

    Raises UserError on a file system without locks.
    """
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        file.close()
        raise UserError(
            f"{path} cannot be locked: {error}. Work on a file system that supports locks, such as a local disk."
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


@contextmanager
def wait_for_lock(path: Path, work: str) -> Iterator[None]:
    """Lock the file at ``path`` once no other process has it, which ``work`` describes, such as ``decodes images``."""
    lock = try_lock(path)
    if lock is None:
        print(f"  waiting for process {path.read_text()}, which {work}", flush=True)
    while lock is None:
        time.sleep(POLL)
        lock = try_lock(path)
    with lock:
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock on this file. Raises OSError when there is none."""
    with path.open("r+") as file:  # as NFS wants it for a lock
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
