"""The section ``train`` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from stages.base.sections import Count, Section


class TrainParams(Section):
    """How a model is trained."""

    budget: Literal["epochs", "steps"]
    image_size: Annotated[int, Field(ge=32, le=1024)]
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)]
    precision: Literal["auto", "fp32", "bf16"]
    threads: Count | None
    checkpoint_every: Count
