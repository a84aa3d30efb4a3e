"""The section ``fetch`` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from stages.base.sections import Count, Section


class FetchParams(Section):
    """Where the photos come from."""

    sources: Annotated[list[Literal["archive", "kaggle", "sample"]], Field(min_length=1)]
    archive: Annotated[str, Field(min_length=1)]
    kaggle_dataset: Annotated[str, Field(pattern=r"^[\w-]+/[\w-]+$")]
    kaggle_version: Count | None
    kaggle_deadline_s: Annotated[float, Field(gt=0, le=86_400)]
    subset: Literal["test", "train", "all"]
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)]
