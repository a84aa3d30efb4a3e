"""What `make repro` must know before DVC runs: another run, params that lead to no result, files DVC does not watch.

Prints the commands that `make repro` then runs: `dvc repro`, and before it those that force stages which DVC would skip
although data/raw came from another source than the archive that is there now, or a model began with another file of
weights. DVC cannot tell: neither file is a dependency, as experiments in a temporary copy cannot see it, and the times
of outputs say nothing, since `dvc checkout` sets them. Imports nothing slow, unless a network is yet to be trained.

Command python -m stages.cli.before_repro
"""

import csv
import os
import sys
from pathlib import Path

from stages.cli.alone import check_alone
from stages.cli.params import Params, load_params
from stages.cli.stage import run_stage
from stages.cli.starts import find_replaced_weights
from stages.runtime.root import find_root
from stages.sources.archive import compute_version, find_archive
from stages.sources.choice import remember_photographs
from stages.sources.layout import show
from stages.sources.params import FetchParams

MANIFEST = Path("data/manifest.csv")  # photos.manifest has the name too, but loads pandas
REPRO = "dvc repro"


def main() -> None:
    """Check params.yaml and print the commands; note that there are photographs, which `dvc pull` may have brought.

    Raises UserError as well while another run is active in this workspace.
    """
    check_alone(find_root())
    print(" && ".join(list_commands(load_params())))


def list_commands(params: Params, trial: int | None = None) -> list[str]:
    """What runs whatever is out of date, or only this trial: DVC's own knowledge and ours together.

    With ``$CLUSTER`` set, trials run on that Ray cluster; DVC then finds them done.
    """
    cluster = bool(os.environ.get("CLUSTER"))
    if cluster:
        from stages.cluster.checks import check_request  # few runs need it

        check_request(params)
    archive = check_photos(params.fetch)
    stages = find_replaced_weights(params)
    commands = []  # announced after both checks: where one of them fails, nothing runs
    if archive:
        commands += [f"{REPRO} --force fetch"]
        print(f"The photos in data/raw do not come from {show(archive.name)}: fetching them again.", file=sys.stderr)
    if stages:
        # alone, as --force holds for all stages before them too; these must be up to date then
        commands += [f"{REPRO} augment", f"{REPRO} --force --single-item {' '.join(stages)}"]
        print(f"{params.model.weights} is not the file that models began with: training again.", file=sys.stderr)
    if cluster:
        commands += [f"{REPRO} fetch", "python -m stages.cluster" + ("" if trial is None else f" {trial}")]
    return [*commands, REPRO if trial is None else f"{REPRO} evaluate@{trial}"]


def check_photos(params: FetchParams) -> Path | None:
    """The archive to fetch instead of what was fetched, if any."""
    if not MANIFEST.exists():  # DVC will run fetch by itself
        return None
    with MANIFEST.open(encoding="utf-8", errors="replace", newline="") as file:
        recorded = next(csv.DictReader(file), {})
    source, version = recorded.get("source", ""), recorded.get("version", "")
    if source in ("archive", "kaggle"):
        remember_photographs()
    return find_other_archive(params, source, version)


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
