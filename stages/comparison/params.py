"""The section ``report`` of params.yaml."""

from typing import Any

from pydantic import field_validator

from stages.base.sections import Fraction, Section

FIRST_LOOK = 5  # trials; fewer hardly show how much trials differ


class ReportParams(Section):
    """How the arms are compared, and after which numbers of trials."""

    margin: Fraction
    looks: list[int] | None

    @field_validator("looks", mode="before")
    @classmethod
    def _increase(cls, looks: Any) -> Any:
        plan = looks if isinstance(looks, list) and all(type(look) is int for look in looks) else []
        if looks is not None and (not plan or plan != sorted(set(plan)) or plan[0] < FIRST_LOOK):
            raise ValueError(
                f"give increasing numbers of trials, the first at least {FIRST_LOOK}, such as [5, 10, 20]; or null"
            )
        return looks
