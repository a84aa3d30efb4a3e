"""The section ``split`` of params.yaml."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from stages.base.sections import Fraction, Section

Groups = Annotated[
    dict[Literal["path", "column"], Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=1)
]
"""What photos of one subject have in common: a match of an expression on their path, or the value of a column."""


class SplitParams(Section):
    """How photos are divided."""

    scheme: Literal["folds", "given"]
    test_fraction: Fraction
    groups: Groups | None
    near_duplicate_bits: Annotated[int, Field(ge=0, le=16)] | None

    def count_folds(self) -> int:
        """The k of a ``test_fraction`` of 1/k."""
        return round(1 / self.test_fraction)

    @field_validator("test_fraction")
    @classmethod
    def _is_one_over_k(cls, fraction: float) -> float:
        if abs(fraction - 1 / round(1 / fraction)) > 0.005 or fraction > 0.5:
            raise ValueError("must be 1/k for whole k, such as 0.5, 0.33, 0.25, 0.2 or 0.1")
        return fraction

    @field_validator("groups")
    @classmethod
    def _has_an_expression(cls, groups: Groups | None) -> Groups | None:
        expression = (groups or {}).get("path", "")
        try:
            re.compile(expression)
        except re.error as error:
            raise ValueError(f"path must be a regular expression, and {expression!r} is none: {error}") from error
        return groups
