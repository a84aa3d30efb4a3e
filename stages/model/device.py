"""Where a model is computed, in which precision, and what of the machine can change the bytes of a result."""

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import torch
from joblib import cpu_count

from stages.model.architectures import TIMM
from stages.model.record import Machine
from stages.runtime.turns import take_turn

LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "safetensors")


@dataclass(frozen=True)
class Device:
    """Where and in which precision a model is computed. alone: no other process computes the same training."""

    torch_device: torch.device
    precision: Literal["fp32", "bf16"]
    alone: bool = True

    def autocast(self) -> torch.autocast:
        """Mixed precision for a forward pass; weights stay fp32."""
        return torch.autocast(self.torch_device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def take_turn(self) -> AbstractContextManager[None]:
        """Compute beside other trainings on this machine without slowing them, or being slowed, manyfold.

        Processes of one training take no turns: they wait for each other, and would do so with the cores in hand.
        """
        return take_turn(torch.get_num_threads()) if self.alone and not self.runs_ahead else nullcontext()

    @property
    def runs_ahead(self) -> bool:
        """Whether it computes while the program goes on, so that asking for a number costs time."""
        return self.torch_device.type == "cuda"

    def measure_room(self) -> int:
        """Bytes that images may take in a GPU's memory: a quarter of what is free, as training needs more; else 0."""
        return torch.cuda.mem_get_info(self.torch_device)[0] // 4 if self.torch_device.type == "cuda" else 0

    def describe(self, network: str) -> Machine:
        """What of this machine can change the bytes of a trained model; ``network``: its name in params."""
        libraries = (*LIBRARIES, "timm") if network.startswith(TIMM) else LIBRARIES
        capabilities = torch.cpu.get_capabilities()
        flags = [
            name if value is True else f"{name}={value}"  # sizes of caches decide how products are cut into blocks
            for name, value in capabilities.items()
            if value and name != "cpu_name" and not name.startswith("num_")
        ]
        return Machine(
            device=torch.cuda.get_device_name(self.torch_device) if self.torch_device.type == "cuda" else "cpu",
            cpu_name=str(capabilities.get("cpu_name", platform.machine())),
            cpu_flags=" ".join([torch.backends.cpu.get_cpu_capability(), *sorted(flags)]),
            threads=torch.get_num_threads(),
            precision=self.precision,
            versions={name: version(name) for name in libraries},
        )


def select_device(precision: Literal["auto", "fp32", "bf16"], alone: bool = True) -> Device:
    """CUDA when there is a GPU, else the CPU. ``auto``: bf16 where the hardware multiplies in it, else fp32.

    Emulated bf16 is slower than fp32.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if precision == "auto":
        precision = "bf16" if _computes_in_bf16(device) else "fp32"
    return Device(device, precision, alone)


def _computes_in_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()  # "bf16" is what 64-bit Arm calls it
    return any(bool(capabilities.get(name)) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def set_threads(threads: int | None) -> None:
    """Compute with so many threads; None: with as many as torch would take, but no more than this process may use.

    What it may use follows its affinity and its control group's quota: a container with a quota of two cores sees all
    cores of its host, and more threads than the quota only wait for each other.
    """
    torch.set_num_threads(threads or min(torch.get_num_threads(), cpu_count()))


def choose_algorithms(deterministic: bool = True) -> None:
    """Ask torch for algorithms that give the same bytes each time on this machine, else for the fastest.

    Either way single precision is no less on a GPU: by default torch rounds the inputs of convolutions to 10 bits.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = not deterministic
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when CUDA starts
    # warn_only: an operation without a deterministic GPU algorithm should cost exactness, not the run
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # writes every tensor twice
