"""Before `make repro`: files that DVC does not watch are seen, and a network that cannot be trained is refused."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stages import fetch
from stages.base.files import compute_sha256
from stages.base.sections import flatten
from stages.cli import before_repro
from stages.cli.params import load_params
from stages.cli.starts import ARMS
from stages.model.architectures import build_network
from stages.model.record import RUN_FILE, get_model_dir
from stages.runtime.errors import UserError
from stages.sources import drawings
from stages.sources.choice import open_source
from tests.conftest import ROOT, change_params
from tests.support.clone import call, make_clone
from tests.support.pictures import make_folder, make_jpeg, make_zip
from tests.support.records import make_network, make_run

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


def record_models(weights_sha256: str = "", trials: tuple[int, ...] = (0,)) -> None:
    """Leave of models what train writes about them, as if they were of the params that are there now."""
    params = flatten({"model": load_params().model.model_dump()})
    for arm in ARMS:
        for trial in trials:
            run = make_run(arm=arm, trial=trial, params=params, network=make_network(weights_sha256=weights_sha256))
            run.save(get_model_dir(arm, trial) / RUN_FILE)


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


# The network

SMALL = "mobilenet_v3_small"
WEIGHTS = Path("models/weights/mine.pth")


def use_weights(name: str) -> None:
    """A file of weights of this network, and params that name the file, and `SMALL`."""
    WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
    torch.save(build_network(name, 3, 64).state_dict(), WEIGHTS)
    change_params({"model.name": SMALL, "model.image_size": 64, "model.weights": WEIGHTS.as_posix()})


def test_a_file_of_weights_that_was_replaced_is_seen(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_params({"trials": [0, 3]})
    use_weights(SMALL)
    record_models(compute_sha256(WEIGHTS), trials=(0, 3))
    assert ask(capsys) == ""
    use_weights(SMALL)
    assert ask(capsys) == "models/weights/mine.pth is not the file that models began with: training again.\n"
    record_models(compute_sha256(WEIGHTS), trials=(0,))
    before_repro.main()
    assert capsys.readouterr().out == (
        "dvc repro augment && dvc repro --force --single-item train_original@3 train_augmented@3 && dvc repro\n"
    )
    WEIGHTS.unlink()
    assert ask(capsys) == "", "models that are there need it no more"


def test_the_commands_force_the_train_stages_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the real dvc, which only says what it would run."""
    (tmp_path / "home").mkdir()
    folder = make_clone(tmp_path / "home/clone", {"trials": [0, 1]})
    with contextlib.chdir(folder):
        use_weights(SMALL)
        record_models("of the file before", trials=(0, 1))
        before_repro.main()
    forced = capsys.readouterr().out.split(" && ")[1]
    stages = re.findall("Running stage '(.*)'", call(folder, f"{forced} --dry"))
    assert stages == ["train_original@0", "train_augmented@0", "train_original@1", "train_augmented@1"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"params": []}', b'{"params": {"model.name": "resnet50"}}', b"\xff"])
def test_a_damaged_record_does_not_stop_it(workspace: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    use_weights(SMALL)
    record_models("of the file before")
    for arm in ARMS:
        (get_model_dir(arm, 0) / RUN_FILE).write_bytes(content)
    assert ask(capsys) == "", "DVC sees that it was changed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.name": "resnet5"}, r"model\.name: there is no classifier resnet5 \(similar: resnet50, .* Give one of"),
        ({"model.name": "timm/resnet_18"}, r"there is no classifier timm/resnet_18 \(similar: timm/resnet18"),
        (
            {"model.weights": "IMAGENET9K"},
            r"model\.weights: mobilenet_v3_small has no weights IMAGENET9K\. Give DEFAULT",
        ),
        (
            {"model.weights": "gone.pth"},
            r"model\.weights: there is no file .*gone\.pth\. Put it there, or name another",
        ),
        ({"model.name": "alexnet", "model.image_size": 32}, r"cannot compute images of 32 x 32 .* Change model\."),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused_before_anything_runs(
    workspace: Path, changes: dict[str, object], message: str
) -> None:
    change_params({"model.name": SMALL, "model.image_size": 64})
    record_models()
    before_repro.main()
    change_params(changes)
    with pytest.raises(UserError, match=message):
        before_repro.main()


def test_weights_of_another_network_are_refused_before_anything_runs(workspace: Path) -> None:
    use_weights("resnet18")
    with pytest.raises(UserError, match=r"mine\.pth does not fit mobilenet_v3_small: .* lacks .* unknown .* Name the"):
        before_repro.main()


def test_a_network_that_was_trained_here_is_not_built_again(workspace: Path) -> None:
    """Loading torch would take longer than all else that `make repro` does when nothing is out of date."""
    record_models()
    program = (
        "import sys; from stages.cli.before_repro import main; main(); print({'torch', 'pandas'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("dvc repro\nset()\n", "")


def test_make_repro_fetches_another_archive_and_stops_at_an_error(fetched: Path) -> None:
    """The recipe itself, with a dvc that only says what it was asked."""
    for name, program in (("dvc", 'echo dvc "$@"'), ("python", f'exec {sys.executable} "$@"')):
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
