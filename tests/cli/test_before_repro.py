"""Before `make repro`: an archive that is not the one the photos came from is seen, whatever the times of files say."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ablation import plan
from stages import fetch
from stages.cli import before_repro, settle
from stages.cli.alone import check_alone
from stages.cli.params import load_params
from stages.runtime.errors import UserError
from stages.sources import drawings
from stages.sources.choice import open_source
from tests.conftest import ROOT, change_params
from tests.support.locks import make_dead_pid, write_rwlock
from tests.support.pictures import make_folder, make_jpeg, make_zip
from tests.support.starts import SMALL, record_models, use_weights

ZIP = Path("data/downloads/photos.zip")
PHOTOS = {f"{name}/{i}.jpg": make_jpeg(i + len(name)) for name in ("cats", "birds") for i in (0, 10)}


@pytest.fixture
def fetched(workspace: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    record_models()
    make_zip(ZIP, PHOTOS)
    fetch.main()
    capsys.readouterr()
    return workspace


def ask(capsys: pytest.CaptureFixture[str]) -> str:
    """The reason to run more than `dvc repro`, or empty."""
    before_repro.main()
    said = capsys.readouterr()
    assert said.out.endswith("dvc repro\n")
    assert (said.out == "dvc repro\n") == (not said.err)
    return said.err


def record(source: str, version: str) -> None:
    before_repro.MANIFEST.parent.mkdir(exist_ok=True)
    before_repro.MANIFEST.write_text(f"path,source,version\nx,{source},{version}\n")


def test_a_replaced_zip_is_seen_even_when_the_manifest_is_newer(
    fetched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(capsys) == ""
    status = ZIP.stat()
    os.utime(ZIP, (status.st_atime + 1e6, status.st_mtime + 1e6))  # touched, and still the same
    assert ask(capsys) == ""
    make_zip(ZIP, PHOTOS | {"cats/new.jpg": make_jpeg(99)})
    os.utime(ZIP, (0, 0))
    os.utime(before_repro.MANIFEST)  # as `dvc checkout` does
    assert ask(capsys) == "The photos in data/raw do not come from photos.zip: fetching them again.\n"
    fetch.main()
    capsys.readouterr()
    assert ask(capsys) == ""
    ZIP.unlink()  # the photos stay
    assert ask(capsys) == ""


@pytest.mark.parametrize(
    ("sources", "source", "seen"),
    [
        (["archive", "kaggle", "sample"], "sample", True),
        (["archive", "kaggle", "sample"], "kaggle", True),
        (["kaggle", "archive"], "kaggle", False),
        (["kaggle", "archive"], "sample", True),
        (["kaggle", "sample"], "sample", False),
        (["sample"], "kaggle", False),
    ],
)
def test_a_new_zip_counts_where_fetch_would_take_it(
    workspace: Path, capsys: pytest.CaptureFixture[str], sources: list[str], source: str, seen: bool
) -> None:
    record_models()
    make_zip(ZIP, PHOTOS)
    change_params({"fetch.sources": sources})
    assert ask(capsys) == "", "without a manifest fetch runs anyway"
    record(source, "1")
    assert ("fetching them again" in ask(capsys)) == seen


def test_a_folder_in_place_of_a_zip_is_seen(fetched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(Path("photos"), PHOTOS)
    change_params({"fetch.archive": "photos"})
    assert "do not come from" in ask(capsys)
    record("archive", "")
    assert ask(capsys) == ""


def test_photographs_that_another_way_brought_are_remembered(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record_models()
    monkeypatch.setattr(drawings, "PER_CLASS", 2)
    change_params({"fetch.sources": ["archive", "sample"]})
    record("sample", "1")
    assert ask(capsys) == ""
    open_source(load_params().fetch)
    record("kaggle", "3")  # as `dvc pull` leaves it
    assert ask(capsys) == ""
    with pytest.raises(UserError, match="drawings do not silently replace"):
        open_source(load_params().fetch)


@pytest.mark.parametrize("content", [b"", b"path,source,version\n", b"\xff\0\n\xff\0", b"path\nx\n"])
def test_a_damaged_manifest_does_not_stop_it(
    workspace: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    record_models()
    record("archive", "1")
    before_repro.MANIFEST.write_bytes(content)
    make_zip(ZIP, PHOTOS)
    assert "fetching them again" in ask(capsys)


@pytest.mark.parametrize("repository", [".", "ablation"])
@pytest.mark.parametrize("program", [before_repro, settle, plan])
def test_a_second_run_in_the_workspace_is_refused(
    workspace: Path, repository: str, program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["program"])
    before = write_rwlock(workspace / repository, write=os.getpid(), read=os.getpid()).read_text()
    message = rf"another run is active in this workspace \(PID {os.getpid()}\), .* Wait until it ends, or end it: kill"
    with pytest.raises(UserError, match=message):
        program.main()
    assert (workspace / repository / ".dvc/tmp/rwlock").read_text() == before


def test_locks_that_killed_runs_left_are_dropped(workspace: Path) -> None:
    path = write_rwlock(workspace, write=make_dead_pid(), read=make_dead_pid())
    check_alone(workspace)
    assert not path.exists()


def test_locks_that_are_in_use_or_damaged_stay(workspace: Path) -> None:
    path = write_rwlock(workspace, write=make_dead_pid(), read=os.getpid())  # `dvc status` reads
    check_alone(workspace)
    assert path.exists()
    path.write_text('{"write": {"a": {"pi')
    check_alone(workspace)
    assert path.exists(), "the doctor's"
    write_rwlock(workspace, write=make_dead_pid())
    with path.with_name("rwlock.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as DVC does while it writes the list
        check_alone(workspace)
    assert path.exists()


def test_make_repro_fetches_another_archive_and_stops_at_an_error(fetched: Path) -> None:
    """The recipe itself, with a dvc that only says what it was asked and, as the report does, the verdict."""
    asked = 'echo dvc "$@"; [ -n "$VERDICT_FOLLOWS" ] || echo The answer.'
    for name, program in (("dvc", asked), ("python", f'exec {sys.executable} "$@"')):
        path = fetched / ".venv/bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{program}\n")
        path.chmod(0o755)
    for name in ("requirements.txt", ".venv/.ready"):  # set up in this order, so that nothing is to be done
        Path(name).touch()
    Path(".git").mkdir()
    make_folder(Path("metrics"), {"report.md": b"**The answer.**\n"})

    def make() -> tuple[int, list[str]]:
        command = ["make", "--silent", "--file", str(ROOT / "Makefile"), "repro"]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
        return done.returncode, done.stdout.decode().splitlines()

    assert make() == (0, ["dvc repro", "", "The answer."])
    make_zip(ZIP, PHOTOS | {"cats/new.jpg": make_jpeg(99)})
    assert make() == (0, ["dvc repro --force fetch", "dvc repro", "", "The answer."])
    use_weights(SMALL)
    record_models("of the file before")
    trained = "dvc repro --force --single-item train_original@0 train_augmented@0"
    assert make() == (0, ["dvc repro --force fetch", "dvc repro augment", trained, "dvc repro", "", "The answer."])
    make_zip(ZIP.with_name("another.zip"), PHOTOS)
    assert make() == (2, [])
