"""The section ``report`` of params.yaml."""

from itertools import pairwise
from typing import Annotated

from pydantic import Field, field_validator

from stages.base.sections import Count, Fraction, Section

FIRST_LOOK = 5  # trials; fewer hardly show how much trials differ


class ReportParams(Section):
    """How the arms are compared, and after which numbers of trials."""

    margin: Fraction
    looks: Annotated[list[Count], Field(min_length=1)] | None

    @field_validator("looks")
    @classmethod
    def _increase(cls, looks: list[int] | None) -> list[int] | None:
        if looks and (looks[0] < FIRST_LOOK or any(later <= earlier for earlier, later in pairwise(looks))):
            raise ValueError(f"give increasing numbers of trials, the first at least {FIRST_LOOK}, such as [5, 10, 20]")
        return looks
