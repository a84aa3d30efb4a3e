"""Checkpoints, from which a killed training resumes to the same bytes.

``.resume/<name>/<key>/`` at the root of the DVC repository, outside everything that DVC deletes, holds two files that
are written in turn, so that a save that is cut short leaves the one before. The key is a hash of all that decides the
bytes: a training of other code, params or photos, or on another machine, never resumes from a checkpoint not its own.
"""

import hashlib
import io
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from stages.base.files import compute_sha256, write_bytes
from stages.runtime.errors import UserError
from stages.runtime.locks import try_lock
from stages.runtime.root import find_root

FORMAT = 2
KEPT = 4  # folders of unfinished trainings under one name, 560 MB each; experiments may have several under way
DIGEST = 32  # bytes of a SHA-256
SAVE_SECONDS = 60  # between two saves of 280 MB, which take a second or two; RESUME_SECONDS in the environment wins
CODE = ("__main__", "stages.train", "stages.base.", "stages.model.", "stages.photos.", "stages.training.")
"""The modules that decide the bytes of a model: the code deps of train_original in dvc.yaml."""

ONLINE = "stages.augmentation."
"""Those that do so as well in a training that augments online."""

Checkpoint = dict[str, Any]
"""Tensors and plain values only, so that loading one runs nobody's code."""


@dataclass
class Stop:
    """By which signal someone asked the process to end, and whether all processes of the training know: ``signum``."""

    asked: int = 0
    signum: int = 0


@dataclass
class Checkpoints:
    """Two files that are written in turn, each a checkpoint and its SHA-256."""

    folder: Path
    stop: Stop
    turn: int = 0
    seconds: float = field(default_factory=lambda: float(os.environ.get("RESUME_SECONDS", SAVE_SECONDS)))
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def is_due(self) -> bool:
        """Whether it is time for another one."""
        return bool(self.stop.signum) or time.monotonic() - self.saved_at > self.seconds

    def load(self) -> Checkpoint | None:
        """The newest intact checkpoint, or None. A damaged file is skipped with a warning."""
        found = [checkpoint for path in self._list() if (checkpoint := _read(path)) is not None]
        newest = max(found, key=lambda checkpoint: checkpoint["turn"], default=None)
        self.turn = newest["turn"] if newest else 0
        return newest

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint over the older file, in one step."""
        self.turn += 1
        buffer = io.BytesIO()
        torch.save(checkpoint | {"turn": self.turn}, buffer)
        buffer.write(hashlib.sha256(buffer.getbuffer()).digest())
        write_bytes(self._list()[self.turn % 2], buffer.getvalue())
        self.saved_at = time.monotonic()

    def save_when_due(self, take_checkpoint: Callable[[], Checkpoint]) -> None:
        """Save now and then; save and leave (SystemExit) when someone asked the process to end."""
        if self.is_due:
            self.save(take_checkpoint())
        if self.stop.signum:
            with suppress(OSError):  # whoever read this may be gone
                print("  interrupted: a checkpoint is saved, the next run resumes from it")
            raise SystemExit(128 + self.stop.signum)

    def remove(self) -> None:
        """Delete both files: the training is complete, its results are in place."""
        for path in self._list():
            path.unlink(missing_ok=True)

    def _list(self) -> list[Path]:
        return [self.folder / f"checkpoint-{number}.pt" for number in range(2)]


class NoCheckpoints(Checkpoints):
    """Those of a process that keeps none, beside the first one of the same training."""

    def load(self) -> None:
        """None."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Nothing."""


def _read(path: Path) -> Checkpoint | None:
    if not path.exists():
        return None
    blob = path.read_bytes()
    data, digest = blob[:-DIGEST], blob[-DIGEST:]
    if hashlib.sha256(data).digest() != digest:  # torch.load accepts flipped bits in tensors
        print(f"warning: {path} is damaged and skipped", file=sys.stderr)
        return None
    checkpoint: Checkpoint = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return checkpoint


@contextmanager
def open_checkpoints(
    name: str, identity: dict[str, Any], stop: Stop, size: tuple[int, int] = (1, 1)
) -> Iterator[Checkpoints]:
    """The checkpoints of the training that ``identity`` describes, for this process alone until the block ends.

    ``size``: the processes that train, and the threads of each. Those of another number of processes are named.
    Experiments that run beside each other may train the same: each gets a folder of its own. Only the newest folders of
    ``name`` are kept, those in use, and those of complete trainings that a tracking server has not been sent yet.
    """
    known = json.dumps({"format": FORMAT, "code": hash_code(), **identity}, sort_keys=True, allow_nan=False)
    code = hashlib.sha256(known.encode()).hexdigest()[:16]
    home = find_root() / ".resume" / name
    home.mkdir(parents=True, exist_ok=True)
    key = f"{code}-{size[0]}x{size[1]}"
    _name_other_sizes(home, code, size[0])
    folders = (home / f"{key}{suffix}" for suffix in ["", *(f"-{number}" for number in range(1, 1000))])
    folder, lock = next((folder, lock) for folder in folders if (lock := try_lock(folder.with_suffix(".lock"))))
    folder.mkdir(exist_ok=True)
    os.utime(folder)
    for old in sorted(home.glob("*/"), key=_read_age, reverse=True)[KEPT:]:
        if not _is_unsynced(old) and (unused := try_lock(old.with_suffix(".lock"))):
            shutil.rmtree(old, ignore_errors=True)
            unused.close()
    with lock:
        yield Checkpoints(folder, stop)


def _name_other_sizes(home: Path, code: str, processes: int) -> None:
    """Say that there are checkpoints of the same training by another number of processes."""
    files = home.glob(f"{code}-*x*/checkpoint-*.pt")
    numbers = {int(file.parent.name.split("-")[1].partition("x")[0]) for file in files}
    if numbers and processes not in numbers:
        found = min(numbers)
        owner = f"{found} processes" if found > 1 else "one process"
        print(f"  not resuming from the checkpoint of {owner}: results differ with the number of processes")


def _read_age(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0  # another process has just removed it


def _is_unsynced(folder: Path) -> bool:
    """Whether a complete training has not been logged to its tracking server."""
    try:
        return any(json.loads(file.read_text())["model_sha256"] for file in folder.glob("*/journal.json"))
    except (OSError, ValueError, LookupError):
        return False


def hash_code() -> dict[str, str]:
    """SHA-256 of every imported module of `CODE`: what only observes a training is not among them."""
    code = (*CODE, ONLINE) if f"{ONLINE}online" in sys.modules else CODE
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items() if name.startswith(code)}
    return {name: compute_sha256(Path(file)) for name, file in sorted(files.items()) if file}


@contextmanager
def lock_training(name: str) -> Iterator[None]:
    """Let no other process train the same model in this workspace. Raises UserError with the PID of another trainer."""
    path = Path(".dvc/tmp", f"{name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = try_lock(path)
    if lock is None:
        raise UserError(f"process {path.read_text()} is already training {name} here. Wait for it or end it.")
    with lock:
        yield


@contextmanager
def catch_stop() -> Iterator[Stop]:
    """Note SIGTERM and SIGINT instead of dying at once, so that a checkpoint can be saved between two steps."""
    stop = Stop()

    def note(signum: int, _frame: object) -> None:
        stop.asked = signum

    previous = {signum: signal.signal(signum, note) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
