"""Before `make repro`: a replaced file of weights is seen, and a network that cannot be trained is refused."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stages.base.files import compute_sha256
from stages.cli import before_repro
from stages.cli.starts import ARMS
from stages.model.record import RUN_FILE, get_model_dir
from stages.runtime.errors import UserError
from tests.conftest import ROOT, change_params
from tests.support.clone import call, make_clone
from tests.support.pictures import make_jpeg, make_zip
from tests.support.starts import SMALL, WEIGHTS, record_models, use_weights


def ask(capsys: pytest.CaptureFixture[str]) -> str:
    """The reason to train again, or empty."""
    before_repro.main()
    said = capsys.readouterr()
    assert (said.out == "dvc repro\n") == (not said.err)
    return said.err


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


def test_weights_of_another_network_are_refused_before_anything_runs(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use_weights("resnet18")
    before_repro.MANIFEST.parent.mkdir(exist_ok=True)
    before_repro.MANIFEST.write_text("path,source,version\nx,archive,1\n")
    make_zip(Path("data/downloads/another.zip"), {"cats/1.jpg": make_jpeg(1)})
    with pytest.raises(UserError, match=r"mine\.pth does not fit mobilenet_v3_small: .* lacks .* unknown .* Name the"):
        before_repro.main()
    assert capsys.readouterr().err == "", "no word of fetching the other zip, which does not happen"


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
