"""The section ``augment`` of params.yaml."""

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from stages.base.sections import Count, Section

Magnitude = float | Annotated[list[float], Field(min_length=2, max_length=2)]

IDENTITY = {
    "rotate": {"degrees": 0.0},
    "scale": {"factor": 1.0},
    "saturation": {"factor": 1.0},
    "blur": {"radius": 0.0},
    "random_noise": {"mean": 0.0, "var": 0.0},
    "color_jitter": {"brightness_factor": 1.0, "contrast_factor": 1.0, "saturation_factor": 1.0},
    "pad_square": {},
    "pad": {"w_factor": 0.0, "h_factor": 0.0},
    "hflip": {},
    "pixelization": {"ratio": 1.0},
}
"""The ten operations, and per magnitude the value at which AugLy changes nothing."""

LIMITS: dict[str, tuple[float, float]] = {
    "degrees": (-360, 360),
    "factor": (0.01, 100),
    "radius": (0, 1000),
    "mean": (-1, 1),
    "var": (0, 1),
    "brightness_factor": (0, 100),
    "contrast_factor": (0, 100),
    "saturation_factor": (0, 100),
    "w_factor": (0, 10),
    "h_factor": (0, 10),
    "ratio": (0.01, 1),
}
"""Per magnitude the values that AugLy can work with."""


class AugmentParams(Section):
    """How copies are made."""

    copies: Count
    operations_per_copy: Count
    max_side: Annotated[int, Field(ge=16)]
    operations: dict[str, dict[str, Magnitude]]

    @field_validator("operations")
    @classmethod
    def _are_known_and_not_no_ops(cls, operations: dict[str, Any]) -> dict[str, Any]:
        for name, magnitudes in operations.items():
            if name not in IDENTITY:
                raise ValueError(f"{name} is not an operation; known are {', '.join(IDENTITY)}")
            if set(magnitudes) != set(IDENTITY[name]):
                raise ValueError(f"{name} needs exactly: {', '.join(IDENTITY[name]) or 'nothing, write {}'}")
            for key, value in magnitudes.items():
                _check_magnitude(f"{name}.{key}", value, *LIMITS[key])
            if magnitudes and all(_bounds(v) == (IDENTITY[name][k],) * 2 for k, v in magnitudes.items()):
                raise ValueError(f"{name} would change nothing at {magnitudes}; remove it or choose other values")
        return operations

    @model_validator(mode="after")
    def _enough_operations(self) -> "AugmentParams":
        if self.operations_per_copy > len(self.operations):
            raise ValueError(
                f"operations_per_copy is {self.operations_per_copy}, but operations lists only {len(self.operations)}"
            )
        return self


def _bounds(magnitude: float | list[float]) -> tuple[float, float]:
    return (magnitude[0], magnitude[1]) if isinstance(magnitude, list) else (magnitude, magnitude)


def _check_magnitude(name: str, magnitude: float | list[float], smallest: float, largest: float) -> None:
    low, high = _bounds(magnitude)
    if low > high:
        raise ValueError(f"{name}: [low, high] is the wrong way round in {magnitude}")
    if low < smallest or high > largest:
        raise ValueError(f"{name} must lie between {smallest:g} and {largest:g}, not {magnitude}")
