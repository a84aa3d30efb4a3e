"""The section ``train`` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from stages.base.sections import Count, Section


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
    threads: Count | None
    checkpoint_every: Count
