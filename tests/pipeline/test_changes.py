"""A stage runs again when its result could change, and only then: what `dvc status` says after each kind of change."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.changes import CHANGES, Change, change, list_stale, start_dvc
from tests.support.clone import call, share_cache
from tests.support.forks import Forks
from tests.support.story import Story


@pytest.fixture(scope="module")
def dvc() -> Iterator[Forks]:
    with start_dvc() as forks:
        yield forks


@pytest.fixture(scope="module")
def results(first_run: Story, dvc: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone of the commit that holds the results of trial 0, with everything that DVC keeps checked out."""
    folder = tmp_path_factory.mktemp("home") / "clone"
    call(first_run.folder, f"git clone --quiet . {folder}")
    share_cache(first_run.folder, folder)
    assert list_stale(folder, dvc) == set()
    yield folder
    assert list_stale(folder, dvc) == set(), "no change was left behind"


@pytest.mark.parametrize("each", CHANGES, ids=lambda each: each.name)
def test_a_change_makes_stale_what_depends_on_it_and_nothing_else(results: Path, dvc: Forks, each: Change) -> None:
    with change(results, each.edits):
        if "params.yaml" in each.edits:
            call(results, "python -m stages.cli.params")  # such a change is allowed
        assert list_stale(results, dvc) == each.stale


def render_again(folder: Path) -> str:
    """What dvc.lock is after the report was made again."""
    call(folder, "dvc repro --force --single-item report")
    return (folder / "dvc.lock").read_text()


@pytest.mark.slow
def test_rewritten_history_and_a_shallow_clone_change_nothing(results: Path, dvc: Forks, tmp_path: Path) -> None:
    lock = (results / "dvc.lock").read_text()
    folder, shallow = tmp_path / "clone", tmp_path / "shallow"
    call(results, f"git clone --quiet . {folder}")
    share_cache(results, folder)
    commits = {call(folder, "git rev-parse HEAD")}
    for command in (
        "git commit --quiet --allow-empty --message later",
        "git commit --quiet --allow-empty --amend --message renamed",
        "git rebase --quiet --root --force-rebase",
    ):
        call(folder, command, GIT_COMMITTER_NAME="other")
        commits.add(call(folder, "git rev-parse HEAD"))
        assert list_stale(folder, dvc) == set(), command
    assert len(commits) == 4
    call(folder, f"git clone --quiet --depth 1 file://{folder} {shallow}")
    assert len(call(shallow, "git log --format=%h").split()) == 1
    share_cache(results, shallow)
    assert list_stale(shallow, dvc) == set()
    assert render_again(shallow) == lock
    assert call(shallow, "git status --porcelain") == ""


@pytest.mark.slow
def test_a_tarball_without_git_changes_nothing(results: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tarball"
    packed = subprocess.run(["git", "archive", "HEAD"], cwd=results, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as file:
        file.extractall(folder, filter="data")
    for name in ("data", "models", "metrics"):
        shutil.copytree(results / name, folder / name, symlinks=True, dirs_exist_ok=True)
    shutil.copy(results / ".dvc/config.local", folder / ".dvc")  # where the cache is
    repro = call(folder, "make --assume-old .venv/.ready repro")
    assert "Data and pipelines are up to date." in repro
    assert render_again(folder) == (results / "dvc.lock").read_text()
