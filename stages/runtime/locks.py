"""Locks between processes. They end with the process that holds them, however it ends."""

import fcntl
import os
from pathlib import Path
from typing import TextIO

from stages.runtime.errors import UserError


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
