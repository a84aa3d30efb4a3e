"""The section ``train`` of params.yaml."""

import shlex
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stages.base.sections import Count, Section


def split_launcher(launcher: str) -> list[str]:
    """The words of a launcher, as a shell would split them. Raises ValueError when it does not begin with torchrun."""
    words = shlex.split(launcher)
    if words[:1] != ["torchrun"]:
        raise ValueError("must be torchrun and its options, such as torchrun --nproc-per-node 2, or null")
    return words


def _check_launcher(launcher: str) -> str:
    split_launcher(launcher)
    return launcher


class TrainParams(Section):
    """How a model is trained."""

    budget: Literal["epochs", "steps"]
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    optimizer: Literal["adam", "adamw", "sgd"]
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["constant", "cosine"]
    weight_decay: Annotated[float, Field(ge=0)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    precision: Literal["auto", "fp32", "bf16"]
    deterministic: bool
    threads: Count | None
    launcher: Annotated[str, AfterValidator(_check_launcher)] | None
    checkpoint_every: Count
