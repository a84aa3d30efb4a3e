"""The section ``fetch`` of params.yaml."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from stages.base.sections import Count, Section


class LabelParams(Section):
    """A CSV of labels: which file of the source, and the columns that name the photo and its class."""

    file: Annotated[str, Field(min_length=1)]
    path: Annotated[str, Field(min_length=1)]
    label: Annotated[str, Field(min_length=1)]


class FetchParams(Section):
    """Where the photos come from."""

    sources: Annotated[list[Literal["archive", "kaggle", "sample"]], Field(min_length=1)]
    archive: Annotated[str, Field(min_length=1)]
    kaggle_dataset: Annotated[str, Field(pattern=r"^[\w-]+/[\w-]+$")]
    kaggle_version: Count | None
    kaggle_deadline_s: Annotated[float, Field(gt=0, le=86_400)]
    subset: str | list[str]
    labels: LabelParams | None
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)]

    @field_validator("subset", mode="before")
    @classmethod
    def _names_folders(cls, subset: Any) -> Any:
        names = subset if isinstance(subset, list) else [subset]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError("must be the name of a folder of the source, a list of them, or all")
        return subset
