"""Records that cross stages: JSON files whose fields and types stand in one class, which writes and reads them."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from stages.base.files import read_recorded, write_json
from stages.runtime.errors import UserError


class Record(BaseModel):
    """A JSON file. Missing and unknown fields, wrong types, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def save(self, path: Path) -> None:
        """Write the record in one step, so that git shows it line by line."""
        write_json(path, self.model_dump())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the record. Raises UserError when it is absent, not what was written, or does not have these fields."""
        try:
            return cls.model_validate_json(read_recorded(path))
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error}). Run `dvc repro` to make it again.") from error
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(map(str, problem["loc"])) or "JSON"
            raise UserError(
                f"{path} cannot be used: {field}: {problem['msg'].lower()}. Run `dvc repro` to make it again."
            ) from error


class Budget(Record):
    """How long the original arm is trained; data/budget/<trial>.json, written by augment.

    It has a file of its own so that the original arm depends on the number of copies only where it matters.

    budget: ``train.budget`` of params.yaml. repeats: how often an epoch shows each train photo.
    """

    budget: str
    repeats: int
