"""The section ``augment`` of params.yaml."""

import sys
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from stages.augmentation.catalogue import KINDS, find_signature
from stages.base.sections import Count, Section

Policy = Literal["augly", "TrivialAugmentWide", "RandAugment", "AugMix"]
TORCHVISION_POLICIES = get_args(Policy)[1:]

Magnitude = bool | int | float | str | list[int] | list[float]
"""A value, or [low, high] to draw from evenly; whole numbers where AugLy takes whole numbers."""

P = "p"
"""The key of an operation that is no magnitude: with which probability it is applied once it was drawn."""

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
    "brightness": {"factor": 1.0},
    "contrast": {"factor": 1.0},
    "opacity": {"level": 1.0},
    "sharpen": {"factor": 1.0},
    "shuffle_pixels": {"factor": 0.0},
    "skew": {"skew_factor": 0.0},
}
"""Operations, and the magnitudes at which AugLy changes nothing. Those must be given; all others have defaults."""

NO_OP_BY_DEFAULT = {"clip_image_size", "convert_color", "resize"}
"""Operations that change nothing unless they are given something."""

LIMITS: dict[str, dict[str, tuple[float, float]]] = {
    "rotate": {"degrees": (-360, 360)},
    "scale": {"factor": (0.01, 100)},
    "saturation": {"factor": (0.01, 100)},
    "blur": {"radius": (0, 1000)},
    "random_noise": {"mean": (-1, 1), "var": (0, 1)},
    "color_jitter": {"brightness_factor": (0, 100), "contrast_factor": (0, 100), "saturation_factor": (0, 100)},
    "pad": {"w_factor": (0, 10), "h_factor": (0, 10)},
    "pixelization": {"ratio": (0.01, 1)},
    "resize": {"width": (8, 7071), "height": (8, 7071)},
    "clip_image_size": {"min_resolution": (0, 50_000_000), "max_resolution": (64, 50_000_000)},
}
"""Per magnitude the values that AugLy can work with, where its signature does not say so.

Sizes in pixels are those of pictures that `photos.decoding.check_size` accepts, so that no other is ever made: it would
fill the memory before it is refused.
"""


class AugmentParams(Section):
    """How train photos are augmented."""

    policy: Policy
    mode: Literal["copies", "online"]
    copies: Count
    operations_per_copy: Count
    max_side: Annotated[int, Field(ge=16)]
    operations: dict[str, dict[str, Magnitude]]

    @field_validator("operations", mode="before")
    @classmethod
    def _fit_their_signatures(cls, operations: Any) -> Any:
        if not isinstance(operations, dict):
            return operations  # which pydantic refuses
        return {str(name): check_operation(str(name), given) for name, given in operations.items()}

    @model_validator(mode="after")
    def _has_enough_operations(self) -> "AugmentParams":
        if self.policy != "augly":
            return self
        if all(given.get(P) == 0 for given in self.operations.values()):
            raise ValueError(
                "policy augly applies no operation, so every copy would be the photo itself: list operations whose p "
                f"is not 0, or choose another policy ({', '.join(TORCHVISION_POLICIES)})"
            )
        if self.operations_per_copy > len(self.operations):
            raise ValueError(
                f"operations_per_copy is {self.operations_per_copy}, but operations lists only {len(self.operations)}"
            )
        return self


def get_magnitudes(given: dict[str, Magnitude]) -> dict[str, Magnitude]:
    """What an operation of params.yaml passes to AugLy: everything but `P`."""
    return {key: value for key, value in given.items() if key != P}


def check_operation(name: str, given: Any) -> dict[str, Magnitude]:
    """The magnitudes of an operation, and its `P`, with the types that AugLy takes.

    Raises ValueError when they are not what AugLy's signature names, or would change nothing.
    """
    signature = find_signature(name)
    if not isinstance(given, dict):
        raise ValueError(f"{name} needs its magnitudes, such as {{factor: 0.5}}, or {{}} for none, not {given!r}")
    if P in given:
        _check_probability(f"{name}.{P}", given[P])
    magnitudes = get_magnitudes(given)
    _check_keys(name, signature.magnitudes, magnitudes)
    checked = {key: _check_kind(f"{name}.{key}", value, signature.magnitudes[key]) for key, value in magnitudes.items()}
    for key, limits in LIMITS.get(name, {}).items():
        if key in checked:
            _check_limits(f"{name}.{key}", checked[key], *limits)
    identity = IDENTITY.get(name, {})
    if identity and all(_bounds(checked[key]) == (same, same) for key, same in identity.items()):
        raise ValueError(f"{name} would change nothing at {magnitudes}; remove it or choose other values")
    return checked | ({P: float(given[P])} if P in given else {})


def _check_keys(name: str, known: dict[str, str], magnitudes: dict[str, Any]) -> None:
    usable = [key for key, kind in known.items() if kind]
    takes = f"it takes {', '.join([*usable, P])}"
    if fixed := [key for key in magnitudes if known.get(key) == ""]:
        raise ValueError(f"{name}.{fixed[0]} cannot be given in params.yaml, which holds numbers and text; {takes}")
    if strange := [key for key in magnitudes if key not in known]:
        raise ValueError(f"{name} has no {', '.join(map(str, strange))}; {takes}")
    if missing := [key for key in IDENTITY.get(name, {}) if key not in magnitudes]:
        raise ValueError(f"{name} lacks {', '.join(missing)}; {takes}")
    if name in NO_OP_BY_DEFAULT and not magnitudes:
        raise ValueError(f"{name} would change nothing at {{}}; {takes}")


def _check_kind(name: str, value: Any, kind: str) -> Magnitude:
    ends = value if isinstance(value, list) and kind in ("int", "float") and len(value) == 2 else [value]
    if not all(_is_kind(end, kind) for end in ends):
        drawn = ", or [low, high] to draw from" if kind in ("int", "float") else ""
        raise ValueError(f"{name} must be {KINDS[kind]}{drawn}, not {value!r}")
    if ends[0] > ends[-1]:
        raise ValueError(f"{name}: [low, high] is the wrong way round in {value}")
    typed = [float(end) for end in ends] if kind == "float" else ends
    checked: Magnitude = typed if isinstance(value, list) else typed[0]
    return checked


def _is_kind(value: Any, kind: str) -> bool:
    match kind:
        case "float":
            return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "bool":
            return isinstance(value, bool)
    return isinstance(value, str)


def _check_probability(name: str, p: Any) -> None:
    if not _is_kind(p, "float") or not 0 <= p <= 1:
        raise ValueError(f"{name} must be a probability from 0 to 1, not {p!r}")


def _bounds(magnitude: Magnitude) -> tuple[Any, Any]:
    return (magnitude[0], magnitude[1]) if isinstance(magnitude, list) else (magnitude, magnitude)


def _check_limits(name: str, magnitude: Magnitude, smallest: float, largest: float) -> None:
    low, high = _bounds(magnitude)
    if low < smallest or high > largest:
        raise ValueError(f"{name} must lie between {smallest:,.9g} and {largest:,.9g}, not {magnitude}")
