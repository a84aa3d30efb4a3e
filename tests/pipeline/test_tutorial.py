"""docs/tutorial.md: its params are valid, and its commands, run in order on small images, print what it shows."""

import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.cli.params import Params
from tests.conftest import ROOT
from tests.support.clone import SMALL, call, make_clone

TEXT = (ROOT / "docs/tutorial.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.M | re.S)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
UP_TO_DATE = "Data and pipelines are up to date."
WEIGHTS = "models/weights/efficientnet_lite0.safetensors"
SMALLER = SMALL | {
    "train.epochs": 1,
    "model.name": "resnet18",  # whose name has the words of resnet50, which the text shows
    "augment.copies": 1,
    "augment.operations": {"hflip": {}, "scale": {"factor": [0.2, 0.4]}},  # digits are too small for some factors
    "augment.operations_per_copy": 1,
    "evaluate.robustness": False,
}


def merge(params: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The params after an edit as a block shows it: the keys that it has, and all others as they were."""
    merged = dict(params)
    for key, value in changes.items():
        old = params.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def test_every_edit_of_params_is_valid_after_those_before_it() -> None:
    original = params = yaml.safe_load((ROOT / "params.yaml").read_text())
    edits = 0
    for kind, block in BLOCKS:
        if kind == "yaml":
            params, before = merge(params, yaml.safe_load(block)), params
            Params.model_validate(params)
            assert params != before, f"changes nothing:\n{block}"
            edits += 1
        elif "git checkout params.yaml" in block:
            params = original
    assert edits == 5


def test_commands_exist() -> None:
    targets = re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.M)
    assert {"make repro", "make ablation", "make ui"} <= set(COMMANDS)
    for command in COMMANDS:
        program, argument, *_ = command.split()
        if program == "make":
            assert argument in targets
        elif program != "source":
            assert (Path(sys.executable).parent / program).exists() or shutil.which(program), command


def test_params_that_the_text_names_exist() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    named = re.findall(r"`(fetch|split|augment|model|train|evaluate|report)\.(\w+)", TEXT)
    assert named
    assert [f"{section}.{name}" for section, name in named if name not in params[section]] == []


def test_files_that_the_text_names_are_there_or_made() -> None:
    (script,) = [block for kind, block in BLOCKS if kind == "python"]
    makers = [script, *((ROOT / name).read_text() for name in ("dvc.yaml", "ablation/dvc.yaml"))]
    named = set(re.findall(r"`((?:metrics|ablation|data|docs)/[\w./-]+)`", TEXT)) - {"data/digits.py"}
    assert {"metrics/report.html", "ablation/report.md"} <= named
    for name in named:
        made = name.removeprefix("ablation/")
        assert (ROOT / name).exists() or any(made in text for text in makers), name


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def prepare_clone(folder: Path) -> Path:
    """A clone with a small experiment, its results committed as in this repository, and the set-up of these tests."""
    make_clone(folder, SMALLER)
    downloads = folder / "data/downloads"
    (downloads / "photos.zip").rename(downloads / "cats-and-dogs-image-classification-test.zip")
    environment = folder / ".venv"
    environment.mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != ".ready":
            (environment / path.name).symlink_to(path)
    (environment / ".ready").touch()  # else make would set it up
    return folder


def save_random_weights(path: Path) -> None:
    import timm  # takes seconds
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True)
    network = timm.create_model("tf_efficientnet_lite0")
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)


def edit_params(path: Path, block: str) -> None:
    """Edit params.yaml as a block says; five trials become two, a plan a short one, and a download a file."""
    edit = yaml.safe_load(block)
    if "trials" in edit:
        edit["trials"] = [0, 1]
    if "report" in edit:
        edit["report"]["looks"] = [5, 6]
    if edit.get("model", {}).get("weights") == "DEFAULT":
        edit["model"]["weights"] = WEIGHTS
    path.write_text(yaml.safe_dump(merge(yaml.safe_load(path.read_text()), edit)))


def find_words(line: str) -> tuple[str, ...]:
    """What of a printed line does not depend on sizes, scores and times."""
    return tuple(re.findall(r"[A-Za-z_]{4,}", line))


@pytest.mark.slow
def test_commands_print_what_it_shows(tmp_path: Path) -> None:
    folder = prepare_clone(tmp_path / "clone")
    save_random_weights(folder / WEIGHTS)
    printed = ""
    for kind, block in BLOCKS:
        if kind == "python":
            (folder / "data/digits.py").write_text(block)
        elif kind == "yaml":
            edit_params(folder / "params.yaml", block)
        elif kind == "sh" and block != "make ui\n":  # serves until stopped; test_security starts it
            if "git switch" in block:
                call(folder, "git add --all")
                call(folder, "git commit --message results")
            printed = call(folder, f"bash -ec {shlex.quote(block)}")
            if block == "make ablation\n":
                assert call(folder, "dvc --cd ablation status").strip() == UP_TO_DATE
        elif kind == "":
            known = {find_words(line) for line in printed.splitlines()}
            shown = [line for line in block.splitlines() if line != "…"]
            assert [line for line in shown if find_words(line) not in known] == []
    assert call(folder, "dvc status").strip() == UP_TO_DATE
