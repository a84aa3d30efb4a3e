"""A temporary clone of the whole project, in which real commands run."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from stages.sources.drawings import read_sample
from tests.conftest import ROOT, change_params

SMALL = {
    "trials": [0],
    "fetch.sources": ["archive"],
    "augment.max_side": 128,
    "model.name": "timm/test_resnet",  # half a million weights: the pipeline does the same with them
    "model.image_size": 32,
    "train.epochs": 2,
    "train.checkpoint_every": 1,
}


def build_env(folder: Path) -> dict[str, str]:
    """The environment of a user in this clone, with the virtual environment's programs on the PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_", "GIT_"))}
    return kept | {
        "HOME": str(folder.parent),
        "DVC_SITE_CACHE_DIR": str(folder.parent / "dvc-site"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SHELL": "/bin/sh",  # DVC's choice where there is none; unlike bash, dash stays between DVC and the stage
        "OMP_NUM_THREADS": "1",
        "REQUIRE_TRACKING": "1",
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
    }


def call(folder: Path, command: str, *, status: int = 0, **extra: str) -> str:
    """Run a command as a user in this clone would.

    Returns: what it printed, on both streams.
    """
    environment = build_env(folder) | extra
    with tempfile.TemporaryFile() as file:  # a pipe would stay open as long as idle workers of a killed stage live
        done = subprocess.run(
            shlex.split(command), cwd=folder, env=environment, check=False, stdout=file, stderr=subprocess.STDOUT
        )
        file.seek(0)
        output = file.read().decode()
    assert done.returncode == status, f"{command}: exit status {done.returncode}\n{output}"
    return output


def clone(folder: Path) -> None:
    """What git would clone, were everything here committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).exists() and not name.startswith(("metrics/", "docs/")) and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def pack_photos(archive: Path) -> None:
    """Ten drawings of each class, in the layout of the Kaggle archive."""
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in read_sample():
            if re.search(r"_0(0\d|10)\.jpg$", name):
                file.writestr(zipfile.ZipInfo(f"test/{name}"), data)  # without the time: always the same archive


def make_clone(folder: Path, params: Mapping[str, object] = SMALL) -> Path:
    """A git repository with the project, 20 drawings to fetch, and params for a small run."""
    folder.mkdir()
    clone(folder)
    pack_photos(folder / "data/downloads/photos.zip")
    with contextlib.chdir(folder):
        change_params(dict(params))
    for command in ("git init --initial-branch main", "git add --all", "git commit --message first"):
        call(folder, command)
    return folder


def share_cache(source: Path, folder: Path) -> None:
    """Check out in a clone what DVC keeps, as links into the cache of the workspace that it was cloned from."""
    call(folder, f"dvc cache dir --local {call(source, 'dvc cache dir').strip()}")
    call(folder, "dvc config --local cache.type symlink")
    call(folder, "dvc checkout --quiet")
