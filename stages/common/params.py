"""params.yaml, read once and checked as a whole before any work."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from stages.common.errors import UserError, run_stage

PARAMS = Path("params.yaml")

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Magnitude = float | Annotated[list[float], Field(min_length=2, max_length=2)]


class Section(BaseModel):
    """A part of params.yaml: unknown keys, wrong types, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FetchParams(Section):
    """Where the photos come from."""

    sources: Annotated[list[Literal["archive", "kaggle", "sample"]], Field(min_length=1)]
    archive: Annotated[str, Field(min_length=1)]
    kaggle_dataset: Annotated[str, Field(pattern=r"^[\w-]+/[\w-]+$")]
    kaggle_version: Count | None
    kaggle_deadline_s: Annotated[float, Field(gt=0, le=86_400)]
    subset: Literal["test", "train", "all"]
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)]


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


class TrainParams(Section):
    """How a model is trained."""

    budget: Literal["epochs", "steps"]
    image_size: Annotated[int, Field(ge=32, le=1024)]
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)]
    precision: Literal["auto", "fp32", "bf16"]
    checkpoint_every: Count


class EvaluateParams(Section):
    """What models are tested on."""

    robustness: bool


class ReportParams(Section):
    """How the arms are compared."""

    margin: Fraction


class Params(Section):
    """The whole file."""

    seed: Annotated[int, Field(ge=0)]
    trials: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    fetch: FetchParams
    split: SplitParams
    augment: AugmentParams
    train: TrainParams
    evaluate: EvaluateParams
    report: ReportParams

    @field_validator("trials")
    @classmethod
    def _are_distinct(cls, trials: list[int]) -> list[int]:
        if len(set(trials)) < len(trials):
            raise ValueError("a trial is listed twice")
        return trials


def load_params(path: Path = PARAMS) -> Params:
    """Read and check params.yaml. Raises UserError naming file, section, key and what is allowed."""
    found = _read_yaml(path)
    try:
        return Params.model_validate(found)
    except ValidationError as error:
        problems = "\n".join(f"  {_describe(problem)}" for problem in error.errors())
        raise UserError(f"{path} does not fit:\n{problems}\nMend {path} and run again.") from error


class _PlainLoader(yaml.SafeLoader):
    """YAML in which every value is written where it is used, and once: no aliases, no repeated keys.

    A page of aliases can stand for more values than memory holds, and of a repeated key all but the last are lost.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()  # type: ignore[no-untyped-call]
            raise ComposerError(None, None, f"write the value itself in place of *{alias.anchor}", alias.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in keys:
                raise ConstructorError(None, None, f"{name} is there twice", key.start_mark)
            keys.add(name)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing. Run from the repository's root, or restore it with git.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text: {error}. Mend it, or restore it with git.") from error
    try:
        return yaml.load(text, _PlainLoader)
    except Exception as error:  # on odd text the constructors of numbers and dates raise almost anything
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML: {reason}. Mend it, or restore it with git.") from error


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one level with dotted keys, as DVC names params: ``{"train.epochs": 10}``."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    return {k: v for name, part in value.items() for k, v in flatten(part, f"{prefix}.{name}".lstrip(".")).items()}


def _describe(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if problem["type"] == "missing":
        return f"{key}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    hint = ""
    if isinstance(problem["input"], str) and problem["type"].startswith("float"):
        hint = " (YAML reads 1e-3 as text; write 0.001 or 1.0e-3)"
    found = repr(problem["input"])
    return f"{key}: {message}, found {found if len(found) <= 100 else found[:97] + '...'}{hint}"


def main() -> None:
    """Say what is wrong with params.yaml, if anything is."""
    load_params()


if __name__ == "__main__":
    run_stage(main)
