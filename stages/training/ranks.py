"""The processes of one training, its ranks: what each computes of a batch, and what they exchange."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from stages.runtime.errors import UserError

Result = TypeVar("Result")

PATIENCE = timedelta(hours=1)  # the first rank tests, computes features and writes while the others wait for it
LOST = 75  # exit status of a rank that ends only because another one did
COMPLETE = "complete"  # file beside that of a rank's error, when it has none


@dataclass(frozen=True)
class Share:
    """What a rank computes of a batch. weight: of the mean loss of these ``indices`` `[S]` in that of the batch."""

    indices: npt.NDArray[np.int64]
    weight: float


def share_batch(batch: npt.NDArray[np.int64], rank: int, ranks: int) -> Share:
    """The rank's part of a batch `[B]`: the parts follow each other, and their sizes differ by one at most.

    A part has at least two images, as batch norm cannot normalize a lone one. Where there are too few for that, every
    rank computes the whole batch, and the first one's counts.
    """
    if len(batch) < 2 * ranks:
        return Share(batch, 1.0 if rank == 0 else 0.0)
    part = np.array_split(batch, ranks)[rank]
    return Share(part, len(part) / len(batch))


@dataclass(frozen=True)
class Ranks:
    """This process among ``count`` of one training, numbered from 0; ``local`` counts those of this host."""

    rank: int = 0
    count: int = 1
    local: int = 0

    def share(self, batch: npt.NDArray[np.int64]) -> Share:
        """What this rank computes of a batch of indices `[B]`."""
        return share_batch(batch, self.rank, self.count)

    def parallelize(self, model: nn.Module) -> nn.Module:
        """The model, with the first rank's tensors, so that a backward pass leaves the mean of all ranks' gradients.

        By default torch groups the gradients anew after the first step, so that those of a training that is resumed
        were added in another order. It does not where it looks for unused parameters.
        """
        if self.count == 1:
            return model
        return DistributedDataParallel(model, find_unused_parameters=True, forward_sync_buffers=False)

    def synchronize_norms(self, model: nn.Module) -> nn.Module:
        """The model, whose batch norm on GPUs normalizes whole batches; torch has none that does so on CPUs."""
        if self.count == 1 or not torch.cuda.is_available():
            return model
        # torch's own conversion would drop the activations in timm's layers
        from timm.layers.norm_act import convert_sync_batchnorm

        converted: nn.Module = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted

    def weigh(self, loss: torch.Tensor, share: Share) -> torch.Tensor:
        """The loss whose gradients, in the mean over all ranks, are those of the mean loss of the whole batch."""
        return loss if self.count == 1 else loss * (share.weight * self.count)

    def add(self, loss: float, correct: int, share: Share, asked: int) -> tuple[float, int, int]:
        """What a step gave in all ranks: the batch's mean loss and correct predictions, and by which signal to end."""
        if self.count == 1:
            return loss, correct, asked
        own = torch.tensor([share.weight * loss, correct if share.weight else 0, asked], dtype=torch.float64)
        every = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(every, own)
        losses, corrects, signals = torch.stack(every).T.tolist()
        return sum(losses), int(sum(corrects)), int(max(signals))

    def call_first(self, function: Callable[[], Result]) -> Result:
        """Call a function in the first rank alone. Returns: what it gave, in all of them."""
        if self.count == 1:
            return function()
        result = [None if self.rank else function()]
        dist.broadcast_object_list(result)
        return result[0]  # type: ignore[return-value]

    @contextmanager
    def take_turns(self, needed: bool) -> Iterator[None]:
        """Let the first rank of each host go first, so that the others find what it has downloaded or computed."""
        if needed and self.local:
            self._wait_for_all()
        yield
        if needed and not self.local:
            self._wait_for_all()

    def _wait_for_all(self) -> None:
        if self.count > 1:
            dist.all_reduce(torch.zeros(1))


ALONE = Ranks()


def is_rank() -> bool:
    """Whether torchrun has started this process."""
    return dist.is_torchelastic_launched()


@contextmanager
def join_ranks() -> Iterator[Ranks]:
    """Meet the other processes of this training, if there are any; only the first one prints.

    A rank leaves its error where torchrun looks for it, and ends in silence: SystemExit.
    """
    if not is_rank() or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    ranks = Ranks(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    report = Path(os.environ["TORCHELASTIC_ERROR_FILE"])
    if ranks.rank:
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
    try:
        _meet(ranks)
        yield ranks
        dist.destroy_process_group()
        report.with_name(COMPLETE).touch()
    except UserError as error:
        report.write_text(json.dumps({"message": str(error)}))
        raise SystemExit(1) from None
    except Exception as error:
        if _is_lost(error):
            raise SystemExit(LOST) from None
        report.write_text(json.dumps({"message": traceback.format_exc()}))
        raise SystemExit(1) from None


def _meet(ranks: Ranks) -> None:
    """Raises UserError when this host has fewer GPUs than ranks."""
    backend, gpus = "gloo", torch.cuda.device_count()
    if gpus:
        if ranks.local >= gpus:
            raise UserError(
                f"train.launcher starts {os.environ['LOCAL_WORLD_SIZE']} processes on this host, more than its GPUs "
                f"({gpus}): each process needs its own. Lower --nproc-per-node."
            )
        torch.cuda.set_device(ranks.local)
        backend = "cpu:gloo,cuda:nccl"
    usual = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Python could not act on it meanwhile
    dist.init_process_group(backend, timeout=PATIENCE)
    signal.signal(signal.SIGTERM, usual)


def _is_lost(error: Exception) -> bool:
    """Whether another rank has ended; gloo has no exception of its own for it."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
