"""What travels between the workspace and a node: code and params there, dvc.lock and metrics back."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from stages.base.files import write_bytes
from stages.cli.params import PARAMS, read_yaml
from stages.cluster.task import Files
from stages.tracking.workspace import LOCK, read_lock


def pack_code(weights: Path | None) -> Files:
    """What all trials need: code, DVC's configuration, and the file of weights that a network begins with, if any."""
    paths = [*Path("stages").rglob("*.py"), *Path("stages").rglob("templates/*"), *Path(".dvc").glob("config*")]
    paths += [Path("dvc.yaml"), Path(".dvcignore"), *([weights] if weights else [])]
    return {path.as_posix(): path.read_bytes() for path in paths if path.is_file()}


def pack_trial(trial: int, lost: Collection[str] = ()) -> Files:
    """What only this trial needs: params with no other trial, and what DVC and metrics/ hold of it.

    ``lost``: stages that a node makes again, as it cannot pull what they made.
    """
    params = read_yaml(PARAMS)
    params["trials"], params["report"]["looks"] = [trial], None
    known = {name: entry for name, entry in read_lock().items() if name == "fetch" or is_of(name, trial)}
    known = {name: entry for name, entry in known.items() if name not in lost}
    outs = [Path(out["path"]) for entry in known.values() for out in entry.get("outs", [])]
    files = {path.as_posix(): path.read_bytes() for path in outs if path.parts[0] == "metrics" and path.is_file()}
    return files | {PARAMS.name: _dump(params), LOCK.name: _dump({"schema": "2.0", "stages": known})}


def merge_results(trial: int, results: Files) -> None:
    """Take what a node returned into this workspace: last of all what DVC then takes for done."""
    for name, data in results.items():
        if name != LOCK.name:
            write_bytes(Path(name), data)
    returned = yaml.safe_load(results[LOCK.name])["stages"]
    stages = read_lock() | {name: entry for name, entry in returned.items() if is_of(name, trial)}
    write_bytes(LOCK, _dump({"schema": "2.0", "stages": stages}))


def is_of(stage: str, trial: int) -> bool:
    """Whether a stage is one of this trial's."""
    return stage.partition("@")[2] == f"{trial}"


def _dump(value: Any) -> bytes:
    """As DVC writes it."""
    return yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False).encode()
