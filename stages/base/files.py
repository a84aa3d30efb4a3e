"""Files between stages: written whole or not at all, and read only as they were written."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from stages.runtime.errors import RESTORE, UserError
from stages.runtime.failpoints import failpoint


@contextmanager
def replace_dir(target: Path) -> Iterator[Path]:
    """Yield an empty folder ``<target>.partial``; on success it takes the place of ``target``.

    A folder left by a killed process is emptied first. Raises UserError when the disk is full or read-only.
    """
    partial = _partial(target)
    with _writing(target):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            yield partial
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def replace_file(target: Path) -> Iterator[BinaryIO]:
    """Yield a file ``<target>.partial``; on success it takes the place of ``target``, as `write_bytes` does it.

    Raises UserError when the disk is full or read-only.
    """
    partial = _partial(target)
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # without it a rename can reach the disk before the bytes do
            failpoint(f"before-rename {target.name}")
            partial.replace(target)
            _sync_dir(target.parent)
            failpoint(f"after-rename {target.name}")
        finally:
            partial.unlink(missing_ok=True)


def write_bytes(target: Path, data: bytes) -> None:
    """Write ``data`` to ``target`` in one step that survives a power cut.

    Raises UserError when the disk is full or read-only.
    """
    half = len(data) // 2
    with replace_file(target) as file:
        file.write(data[:half])
        failpoint(f"mid-write {target.name}")
        file.write(data[half:])


def write_json(target: Path, value: Any) -> None:
    """Write ``value`` as JSON that git shows line by line; NaN is refused (ValueError)."""
    write_bytes(target, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_recorded(path: Path) -> bytes:
    """The bytes of a file that another stage wrote.

    Raises UserError when DVC runs this stage and recorded other bytes: it takes a file of known size and time for
    unchanged. OSError when the file cannot be read.
    """
    data, lock = path.read_bytes(), Path("dvc.lock")
    recorded = lock.read_text() if "DVC_STAGE" in os.environ and lock.exists() else ""
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if f"path: {path.as_posix()}\n" in recorded and digest not in recorded:
        raise UserError(f"{path} was changed or damaged: dvc.lock has another MD5. {RESTORE}")
    return data


def compute_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_dir(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        free = shutil.disk_usage(next(p for p in (target, *target.absolute().parents) if p.exists())).free
        raise UserError(
            f"cannot write {target}: {os.strerror(error.errno)} ({free / 1e6:,.0f} MB free). "
            "Free some space or make the folder writable, then run again."
        ) from error
