"""The real trainer in a process of its own, forked from one that has imported torch and mlflow already."""

import atexit
import contextlib
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import numpy as np
import pandas as pd
import torch
from mlflow.tracking import MlflowClient
from torchvision.models.resnet import Bottleneck, ResNet

from stages.cli.stage import run_stage
from stages.photos.manifest import PHOTOS, PhotoTable, SplitTable
from tests.conftest import ROOT, change_params, make_photo

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(  # those of MLflow: what it imports when it first opens a store, and its server
    [
        "stages.train",
        "tests.support.trainer",
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.tracing.processor.base_mlflow",
        "mlflow.server.fastapi_app",
    ]
)

Process: TypeAlias = multiprocessing.context.ForkServerProcess

EPOCHS, STEPS = 2, 4
DEFAULTS = {"RESUME_SECONDS": "0", "REQUIRE_TRACKING": "1"}
TRAIN = ["train", "--arm", "original", "--trial", "0", "data/split/0.csv"]


@dataclass(frozen=True)
class Outcome:
    """How a training ended: its exit status, or minus the signal that killed it, and what it printed."""

    status: int
    stdout: str
    stderr: str


def wait_for(process: Process) -> int:
    """The exit status of a process, or minus the signal that killed it."""
    process.join(timeout=120)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def make_workspace(folder: Path) -> Path:
    """Make a folder, which may be there and empty, one that a training can run in."""
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / ".dvc").mkdir()
    with contextlib.chdir(folder):
        prepare_photos()
    shutil.copy(make_database(), folder / "mlflow.db")
    return folder


@cache
def make_database() -> Path:
    """An MLflow database without an experiment: making its tables takes longer than a training here."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
    return folder / "mlflow.db"


def prepare_photos() -> None:
    """16 train and 4 test photos in the current folder, and params for two steps an epoch."""
    rng = np.random.default_rng(0)
    photos = pd.DataFrame([make_photo(rng, name, number) for name in ("cats", "dogs") for number in range(10)])
    PhotoTable.save(PHOTOS, photos)
    split = photos.assign(group=photos.index, split=np.where(photos.index % 5 == 0, "test", "train"))
    SplitTable.save(Path("data/split/0.csv"), split)
    change_params({"model.image_size": 32, "train.batch_size": 8, "train.epochs": EPOCHS, "train.checkpoint_every": 1})


def start_trainer(**environment: str) -> Process:
    """Start train_original of trial 0 in the current folder; it saves a checkpoint after every step."""
    return start_stages([TRAIN], **environment)


def start_stages(commands: list[list[str]], **environment: str) -> Process:
    """Start stages in the current folder, one after the other in one process; a command is a stage and its options."""
    return fork(_run, str(Path.cwd()), commands, DEFAULTS | environment)


def fork(program: Callable[..., None], *arguments: Any) -> Process:
    """Call a function of a module in a process that has torch and MLflow already: importing them takes seconds."""
    with mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)):  # else the server fails to import ahead, and says nothing
        forkserver.ensure_running()
    process = CONTEXT.Process(target=program, args=arguments)
    process.start()
    return process


def run_trainer(**environment: str) -> Outcome:
    """Run it to its end."""
    return Outcome(wait_for(start_trainer(**environment)), Path("out.txt").read_text(), Path("err.txt").read_text())


def read_results() -> dict[str, bytes]:
    """The files that the training in the current folder has left, models and history."""
    files = [*Path().glob("models/original/0/*"), *Path().glob("metrics/history/*")]
    return {path.as_posix(): path.read_bytes() for path in files}


def wait_until(happens: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.05)


def _run(folder: str, commands: list[list[str]], environment: dict[str, str]) -> None:
    os.chdir(folder)
    for name in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_TRACKING", "FAILPOINT"))]:
        del os.environ[name]
    os.environ.update(environment)
    for handle, name in ((1, "out.txt"), (2, "err.txt")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), handle)
    torch.set_num_threads(1)
    capabilities = dict(torch.cpu.get_capabilities())
    capabilities["cpu_name"] = environment.get("CPU_NAME", capabilities["cpu_name"])
    with (
        mock.patch("stages.model.architectures.build_torchvision", make_small_resnet),
        mock.patch("torch.cpu.get_capabilities", lambda: capabilities),
    ):
        for sys.argv in commands:
            module = sys.argv[0] if "." in sys.argv[0] else f"stages.{sys.argv[0]}"
            run_stage(importlib.import_module(module).main)


class NarrowBlock(Bottleneck):  # type: ignore[misc]  # torchvision has no types
    """A block that ends as wide as its stage, not four times as wide."""

    expansion = 1


def make_small_resnet(_name: str, _image_size: int, *, num_classes: int) -> ResNet:
    """A ResNet with one narrow block a stage: what is tested with it does not need 23 million weights."""
    return ResNet(NarrowBlock, [1, 1, 1, 1], num_classes=num_classes, width_per_group=8)
