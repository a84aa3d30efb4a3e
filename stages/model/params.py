"""The section ``model`` of params.yaml."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.base.sections import Section
from stages.runtime.root import find_root

WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")

Channels = Annotated[list[float], Field(min_length=3, max_length=3)]


class Normalization(Section):
    """Mean and standard deviation of each colour channel, of intensities from 0 to 1."""

    mean: Channels
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]


class ModelParams(Section):
    """Which network is trained, from which weights, and what of it."""

    name: Annotated[str, Field(min_length=1)]
    weights: Annotated[str, Field(min_length=1)] | None
    freeze: Literal["none", "backbone"]
    image_size: Annotated[int, Field(ge=32, le=1024)] | None
    normalization: Normalization | None

    @model_validator(mode="after")
    def _frozen_layers_have_learned(self) -> Self:
        if self.freeze == "backbone" and self.weights is None:
            raise ValueError(
                "freeze is backbone and weights is null, but random layers that are never trained learn nothing: "
                "set weights, e.g. to DEFAULT, or freeze to none"
            )
        return self


def find_file(weights: str | None) -> Path | None:
    """The file that ``model.weights`` names, relative to the repository; None where it names published weights."""
    return find_root() / Path(weights).expanduser() if weights and weights.endswith(WEIGHTS_SUFFIXES) else None
