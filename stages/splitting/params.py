"""The section ``split`` of params.yaml."""

from typing import Annotated

from pydantic import Field, field_validator

from stages.base.sections import Fraction, Section


class SplitParams(Section):
    """How photos are divided."""

    test_fraction: Fraction
    near_duplicate_bits: Annotated[int, Field(ge=0, le=16)]

    @field_validator("test_fraction")
    @classmethod
    def _is_one_over_k(cls, fraction: float) -> float:
        if abs(fraction - 1 / round(1 / fraction)) > 0.005 or fraction > 0.5:
            raise ValueError("must be 1/k for whole k, such as 0.5, 0.33, 0.25, 0.2 or 0.1")
        return fraction
