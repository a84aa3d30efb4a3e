"""A clone of the committed project, with these photos, in which benchmarks run real commands."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import yaml

from benchmarks.processes import Usage, run
from stages.photos.manifest import SplitTable

ROOT = Path(__file__).parent.parent
STAGES = ("fetch", "split", "augment", "train_original", "train_augmented", "evaluate", "report")


@dataclass(frozen=True)
class Workspace:
    """A folder with a clone."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """As a user has it, with the virtual environment's programs on the PATH."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "GIT_"))}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        programs = Path(sys.executable).parent
        return kept | {"PATH": f"{programs}{os.pathsep}{kept['PATH']}", "DVC_NO_ANALYTICS": "1"}

    def run(self, *command: str, **extra: str) -> Usage:
        """Run a command here."""
        return run(command, self.folder, self.environment | extra)

    def plan(self, *command: str, **extra: str) -> "partial[Usage]":
        """The same, later."""
        return partial(self.run, *command, **extra)

    def change_params(self, changes: Mapping[str, object]) -> None:
        """Change params.yaml; keys are dotted."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for key, value in changes.items():
            *sections, last = key.split(".")
            section = params
            for name in sections:
                section = section[name]
            section[last] = value
        path.write_text(yaml.safe_dump(params))

    @property
    def params(self) -> dict[str, dict[str, object]]:
        """params.yaml."""
        loaded: dict[str, dict[str, object]] = yaml.safe_load((self.folder / "params.yaml").read_text())
        return loaded

    def load_split(self) -> pd.DataFrame:
        """The photos of trial 0."""
        return SplitTable.load(self.folder / "data/split/0.csv")


def make_workspace(folder: Path, photos: Sequence[Path] = ()) -> Workspace:
    """Clone the project as it is committed. ``photos``: zips for `fetch`, beside those that are here."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    environment = folder / ".venv"
    environment.mkdir()
    for path in (Path(sys.prefix) / name for name in ("bin", "lib", "pyvenv.cfg")):
        (environment / path.name).symlink_to(path)
    for name in (".ready", ".cluster-ready"):
        (environment / name).touch()
    downloads = folder / "data/downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    for archive in photos or sorted((ROOT / "data/downloads").glob("*.zip")):
        (downloads / archive.name).symlink_to(archive.resolve())
    return Workspace(folder)
