"""Which source the photos come from: the first of fetch.sources that is available."""

import glob
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stages.base.files import write_bytes
from stages.runtime.errors import UserError
from stages.runtime.root import find_root
from stages.sources.archive import File, Listing, find_archive, list_archive, list_folder
from stages.sources.layout import show
from stages.sources.params import FetchParams


@dataclass(frozen=True)
class Source:
    """An available source: its kind, what to call it, which version, and its files."""

    kind: str
    name: str
    version: str
    listing: Listing


class Unavailable(Exception):  # noqa: N818 - no failure while there is another source
    """A source that is not available here and now. The message says why."""


PHOTOS_REMEDY = "Put a zip of photos in data/downloads, connect to the network"


def open_source(params: FetchParams) -> tuple[Source, list[str]]:
    """The first available source, and a line for each that was passed over.

    Raises UserError when none is, or only drawings are and this workspace has had photographs: then they must be named
    first to take their place.
    """
    openers = {"archive": _open_archive, "kaggle": _open_kaggle, "sample": _open_sample}
    skipped: list[str] = []
    for kind, following in zip(params.sources, [*params.sources[1:], None], strict=True):
        if kind == "sample" and skipped and _find_memory().exists():
            raise UserError(
                "no photographs are available now, and drawings do not silently replace those that this workspace "
                "has had:\n  " + "\n  ".join(skipped) + f"\n{PHOTOS_REMEDY}, or set fetch.sources to [sample] in "
                "params.yaml to have drawings. `dvc checkout fetch` restores the pictures of the last run."
            )
        try:
            return openers[kind](params), skipped
        except Unavailable as reason:
            skipped.append(f"skipped {kind}: {reason}")
            if kind == "kaggle" and following:
                print(f"warning: {reason}. Trying the next source: {following}.", file=sys.stderr)
    raise UserError(
        "none of fetch.sources is available:\n  " + "\n  ".join(skipped) + f"\n{PHOTOS_REMEDY}, or add sample, which "
        "draws pictures, to fetch.sources in params.yaml."
    )


def remember_photographs() -> None:
    """Note for good that this workspace has had photographs: outside every DVC output, as DVC deletes those."""
    if _find_memory().parents[1].is_dir():
        write_bytes(_find_memory(), b"")


def _find_memory() -> Path:
    return find_root() / ".dvc/tmp/had-photographs"


def _open_archive(params: FetchParams) -> Source:
    path = find_archive(params.archive, find_root())
    if path is None:
        check_intent(params.archive)
        raise Unavailable(f"nothing matches {show(params.archive)}")
    listing, version = list_archive(path)
    return Source("archive", show(path.name), version, listing)


def check_intent(archive: str) -> None:
    """Raise UserError when someone seems to mean photos that fetch.archive does not match: no others may stand in."""
    pattern = find_root() / Path(archive).expanduser()
    if not glob.has_magic(archive):
        raise UserError(
            f"fetch.archive names {show(archive)}, which does not exist. Fix it in params.yaml, or set it back to "
            "data/downloads/*.zip."
        )
    there = sorted(pattern.parent.iterdir()) if pattern.parent.is_dir() else []
    others = [show(path.name) for path in there if path.name != "README.md" and not path.name.startswith(".")]
    if others:
        raise UserError(
            f"fetch.archive is {show(archive)}, which does not match {', '.join(others[:3])} in that folder. "
            "Name it in fetch.archive in params.yaml, or move it away."
        )


def _open_kaggle(params: FetchParams) -> Source:
    from stages.sources.kaggle import Unreachable, download_dataset  # slow to import

    print(f"fetch: asking Kaggle for {params.kaggle_dataset}", file=sys.stderr)
    try:
        folder, version = download_dataset(params.kaggle_dataset, params.kaggle_version, params.kaggle_deadline_s)
    except Unreachable as reason:
        raise Unavailable(str(reason)) from reason
    return Source("kaggle", f"Kaggle's {params.kaggle_dataset}", version, list_folder(folder))


def _open_sample(params: FetchParams) -> Source:
    from stages.sources.drawings import read_sample  # draws, so only when asked

    listing = {name: File(len(data), partial(bytes, data)) for name, data in read_sample()}
    return Source("sample", "the sample", "1", listing)
