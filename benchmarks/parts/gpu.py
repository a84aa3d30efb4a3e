"""Training steps of ResNet-50 on a GPU, with images in its memory: at the labs' batch size and at one that suits it."""

import json

import torch

from benchmarks.processes import alternate
from benchmarks.step import Measured
from benchmarks.table import Row
from benchmarks.workspace import Workspace

BARS = {(32, False): 1_500.0, (256, False): 3_000.0}  # images/s on an H100, by batch size and train.deterministic


def measure(workspace: Workspace, rounds: int) -> list[Row]:
    """Images/s, exact and fast; nothing where there is no GPU."""
    if not torch.cuda.is_available():
        print("gpu: there is none here")
        return []
    settings = [(batch, deterministic) for batch in (32, 256) for deterministic in (True, False)]
    plans = {
        f"batches of {batch}, train.deterministic: {str(deterministic).lower()}": workspace.plan(
            *("python", "-m", "benchmarks.step", "--batch", str(batch)), *([] if deterministic else ["--fast"])
        )
        for batch, deterministic in settings
    }
    used = alternate(plans, rounds)
    return [
        Row("gpu", name, "images/s", [read_rate(usage.lines[-1][1]) for usage in usages], bar=BARS.get(setting))
        for setting, (name, usages) in zip(settings, used.items(), strict=True)
    ]


def read_rate(line: str) -> float:
    """Images/s, of what a process printed."""
    return Measured(**json.loads(line)).images_per_second
