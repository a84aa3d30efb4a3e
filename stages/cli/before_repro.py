"""What `make repro` must know before DVC runs: is params.yaml valid, and is the archive on disk another one?

Prints a line when data/raw came from another source than the archive that is there now, and nothing otherwise. DVC
cannot tell: an archive is no dependency, as experiments in a temporary copy cannot see it, and the times of outputs say
nothing, since `dvc checkout` sets them. Imports nothing slow.

Command python -m stages.cli.before_repro
"""

import csv
from pathlib import Path

from stages.cli.params import load_params
from stages.cli.stage import run_stage
from stages.runtime.root import find_root
from stages.sources.archive import compute_version, find_archive
from stages.sources.choice import remember_photographs
from stages.sources.layout import show
from stages.sources.params import FetchParams

MANIFEST = Path("data/manifest.csv")  # photos.manifest has the name too, but loads pandas


def main() -> None:
    """Print which archive to fetch, if another; note that there are photographs, which `dvc pull` may have brought."""
    params = load_params().fetch
    if not MANIFEST.exists():  # DVC will run fetch by itself
        return
    with MANIFEST.open(encoding="utf-8", errors="replace", newline="") as file:
        recorded = next(csv.DictReader(file), {})
    source, version = recorded.get("source", ""), recorded.get("version", "")
    if source in ("archive", "kaggle"):
        remember_photographs()
    if path := find_other_archive(params, source, version):
        print(f"The photos in data/raw do not come from {show(path.name)}: fetching them again.")


def find_other_archive(params: FetchParams, source: str, version: str) -> Path | None:
    """The archive that fetch would take now, when the recorded ``source`` and ``version`` are another.

    A folder has no version, so that changes inside it are not seen.
    """
    if "archive" not in params.sources or source in params.sources[: params.sources.index("archive")]:
        return None
    path = find_archive(params.archive, find_root())
    return None if path is None or (source, version) == ("archive", compute_version(path)) else path


if __name__ == "__main__":
    run_stage(main)
