"""Several processes of one training, with and without torchrun, on data that takes no time."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import torch.distributed as dist
from torch import nn

from stages.cli.params import load_params
from stages.model.architectures import build_network
from stages.model.dataset import Examples
from stages.model.device import Device, choose_algorithms
from stages.training.checkpoints import Checkpoints, Stop
from stages.training.loop import Trainer, TrainSpec
from stages.training.ranks import ALONE, Ranks
from stages.training.session import NoLog
from tests.conftest import ROOT
from tests.support.records import make_network
from tests.support.trainer import DEFAULTS, TRAIN, fork, make_small_resnet, wait_for, wait_until

VIT = "timm/test_vit"  # 300,000 weights and no batch norm: several processes compute what one does
BATCH = 8
COMMANDS = {
    "original": ["stages.train", *TRAIN[1:]],
    "augmented": ["stages.train", "--arm", "augmented", "--trial", "0", "data/split/0.csv", "data/augmented/0.csv"],
    "augment": ["stages.augment", "--trial", "0"],
}


@dataclass(frozen=True)
class Case:
    """A training: of which network, on how many images, by how many processes, until which epoch of how many."""

    network: str
    images: int
    epochs: int = 2
    stop_after: int = 0
    dropout: float = 0.0


class Leaver(NoLog):
    """A log by which every process leaves the training after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Leave."""
        if epoch == self.epoch:
            raise InterruptedError


def make_model(case: Case) -> nn.Module:
    """The same weights every time."""
    torch.manual_seed(1)
    small = case.network == "resnet"
    model = make_small_resnet("", 32, num_classes=2) if small else build_network(case.network, 2, 32)
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = case.dropout
    return model.to(memory_format=torch.channels_last)


def make_images(count: int) -> Examples:
    """Noise of two classes, 32 pixels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return Examples(torch.from_numpy(pixels), torch.from_numpy(np.arange(count) % 2))


def train_case(case: Case, folder: Path, ranks: Ranks = ALONE) -> dict[str, Any]:
    """Train in this process, as one of ``ranks``, with checkpoints in the folder of each."""
    params = load_params(ROOT / "params.yaml").train.model_copy(
        update={"epochs": case.epochs, "batch_size": BATCH, "optimizer": "sgd", "learning_rate": 0.01}
    )
    device = Device(torch.device("cpu"), "fp32", alone=False)
    images, model = make_images(case.images), make_model(case)
    spec = TrainSpec(images, images, 1, make_network(), params, 0, device, ranks)
    own = folder / f"{ranks.rank}"
    own.mkdir(exist_ok=True)
    trainer = Trainer(model, spec, Checkpoints(own, Stop(), seconds=-1))
    try:
        history = trainer.run(Leaver(case.stop_after))
    except InterruptedError:
        return {}
    return {"model": model.state_dict(), "history": history.to_dict("list"), "seed": torch.initial_seed()}


def train_together(case: Case, folder: Path, count: int) -> list[dict[str, Any]]:
    """Train in so many processes. Returns: what each of them ended with."""
    folder.mkdir(exist_ok=True)
    processes = [fork(_train_rank, case, str(folder), Ranks(rank, count, rank)) for rank in range(count)]
    assert [wait_for(process) for process in processes] == [0] * count
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]


def _train_rank(case: Case, folder: str, ranks: Ranks) -> None:
    torch.set_num_threads(1)
    choose_algorithms()
    meeting = f"file://{folder}/meeting-{case.stop_after}"
    dist.init_process_group("gloo", init_method=meeting, rank=ranks.rank, world_size=ranks.count,
                            timeout=timedelta(seconds=60))  # fmt: skip
    torch.save(train_case(case, Path(folder), ranks), Path(folder, f"{ranks.rank}.pt"))
    dist.destroy_process_group()


def launch(environment: dict[str, str], stage: str = "original", **more: str) -> "subprocess.Popen[str]":
    """Start a stage of trial 0 in the current folder as DVC does: an arm's training, or augment.

    ``environment``: of a preloaded stage.
    """
    if not Path("stages").exists():
        Path("stages").symlink_to(ROOT / "stages")
    known = {"PATH": os.environ["PATH"], "DVC_STAGE": f"train_{stage}@0"} | DEFAULTS | environment | more
    command = [sys.executable, "-m", *COMMANDS[stage]]
    return subprocess.Popen(command, env=known, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]", seconds: float = 120) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a stage that ends by itself; nothing that it started may outlive it."""
    stdout, stderr = process.communicate(timeout=seconds)
    deadline = time.monotonic() + 10
    while (left := list_processes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, left
    return process.returncode, stdout, stderr


def list_processes(rank: str = "") -> list[psutil.Process]:
    """Processes in the current folder but this one; of one rank only."""
    here, found = Path.cwd(), []
    for process in psutil.process_iter():
        try:
            ours = process.pid != os.getpid() and Path(process.cwd()) == here and process.status() != "zombie"
            if ours and (not rank or process.environ().get("RANK") == rank):
                found.append(process)
        except psutil.Error:
            continue
    return found


@contextmanager
def stop_first(place: str, environment: dict[str, str]) -> Iterator[tuple["subprocess.Popen[str]", psutil.Process]]:
    """A training whose first rank stands still at a failpoint until the block ends. Yields: its stage, that rank."""
    stage = launch(environment, FAILPOINT=f"SIGSTOP:{place}")
    wait_until(lambda: [process.status() for process in list_processes("0")] == ["stopped"], "the first rank stops")
    (rank,) = list_processes("0")
    yield stage, rank
    rank.send_signal(signal.SIGCONT)


def read_statuses() -> list[str]:
    """Of every MLflow run in the current folder."""
    with sqlite3.connect("mlflow.db") as store:
        return [status for (status,) in store.execute("SELECT status FROM runs")]
