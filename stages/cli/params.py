"""The whole of params.yaml: read and checked before a stage does any work.

Each area owns the schema of its section; here they are combined.
"""

from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from stages.augmentation.params import AugmentParams
from stages.base.sections import Section
from stages.comparison.params import ReportParams
from stages.evaluation.params import EvaluateParams
from stages.model.params import ModelParams
from stages.runtime.errors import UserError
from stages.sources.params import FetchParams
from stages.splitting.params import SplitParams
from stages.training.params import TrainParams

PARAMS = Path("params.yaml")


class Params(Section):
    """The whole file."""

    seed: Annotated[int, Field(ge=0)]
    trials: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    fetch: FetchParams
    split: SplitParams
    augment: AugmentParams
    model: ModelParams
    train: TrainParams
    evaluate: EvaluateParams
    report: ReportParams

    @field_validator("trials")
    @classmethod
    def _are_distinct(cls, trials: list[int]) -> list[int]:
        if len(set(trials)) < len(trials):
            raise ValueError("a trial is listed twice")
        return trials

    @model_validator(mode="after")
    def _are_as_many_as_planned(self) -> Self:
        looks = self.report.looks
        if looks and (gap := find_gap(self.trials)):
            raise ValueError(
                f"report.looks plans when to read the answer, and trials leaves out {gap}, which would let "
                "a result choose its trials: list all from the smallest to the largest"
            )
        if looks and len(self.trials) not in looks:
            raise ValueError(
                f"report.looks plans looks after {', '.join(map(str, looks))} trials, and trials lists "
                f"{len(self.trials)}: run `make settle`, which lists as many as the next look takes"
            )
        return self

    @model_validator(mode="after")
    def _have_both_sides(self) -> Self:
        subset = self.fetch.subset
        if self.split.scheme == "given" and isinstance(subset, str) and subset.lower() != "all":
            raise ValueError(
                f"split.scheme is given and fetch.subset is {subset}, but photos to test and photos to train on lie in "
                "different subsets: set fetch.subset to all or a list such as [train, test], or split.scheme to folds"
            )
        return self


def find_gap(trials: list[int]) -> int | None:
    """The first number after the smallest and before the largest trial that is no trial, if there is one."""
    return next((number for number in range(min(trials) + 1, max(trials)) if number not in trials), None)


def load_params(path: Path = PARAMS) -> Params:
    """Read and check params.yaml. Raises UserError naming file, section, key and what is allowed."""
    found = read_yaml(path)
    try:
        return Params.model_validate(found)
    except ValidationError as error:
        problems = "\n".join(f"  {_describe(problem)}" for problem in error.errors())
        raise UserError(f"{path} is not valid:\n{problems}\nFix {path} and run again.") from error


class _PlainLoader(yaml.SafeLoader):
    """YAML in which every value is written where it is used, and once: no aliases, no repeated keys.

    A few aliases can expand to more values than memory holds, and all but the last of a repeated key are lost.
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
                raise ConstructorError(None, None, f"{name} appears twice", key.start_mark)
            keys.add(name)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The file's content, unchecked. Raises UserError when it is not YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing. Run from the repository's root, or restore it with git.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text: {error}. Fix it, or restore it with git.") from error
    try:
        return yaml.load(text, _PlainLoader)
    except Exception as error:  # on odd text the constructors of numbers and dates raise almost anything
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML: {reason}. Fix it, or restore it with git.") from error


def _describe(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if problem["type"] == "missing":
        return f"{key}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):  # names its values itself
        return f"{key}: {message}" if problem["loc"] else message
    found = repr(problem["input"])
    return f"{key}: {message}, found {found if len(found) <= 100 else found[:97] + '...'}{_describe_slip(key, problem)}"


def _describe_slip(key: str, problem: Any) -> str:
    """What was probably meant, for a number written in another way than YAML or the schema takes it."""
    value, limits = problem["input"], problem.get("ctx", {})
    if isinstance(value, str) and problem["type"].startswith("float"):
        return " (YAML reads 1e-3 as text; write 0.001 or 1.0e-3)"
    if 1 in (limits.get("lt"), limits.get("le")) and 1 < value <= 100:
        unit = "percentage points" if key == "report.margin" else "percent"
        return f" (a fraction: write {value / 100:g} for {value:g} {unit})"
    return ""
