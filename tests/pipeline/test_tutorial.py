"""docs/tutorial.md: its params are valid, and its commands do what it says, on small images."""

import contextlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import yaml
from safetensors.torch import save_file

from stages.base.sections import flatten
from stages.cli.params import Params
from tests.conftest import ROOT, change_params
from tests.support.clone import SMALL, call, make_clone, pack_photos

TEXT = (ROOT / "docs/tutorial.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.M | re.S)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]


def list_params(part: str) -> list[dict[str, Any]]:
    """The params that a part of the text says to change, block by block, with dotted names."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", part, re.M | re.S)
    return [flatten(yaml.safe_load(block)) for block in blocks]


def merge(params: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = {key: dict(value) if isinstance(value, dict) else value for key, value in params.items()}
    for key, value in changes.items():
        section, _, name = key.partition(".")
        if name:
            merged[section][name] = value
        else:
            merged[key] = value
    return merged


def find_part(number: int) -> str:
    (part,) = re.findall(rf"^## {number}\. .*?(?=^## )", TEXT, re.M | re.S)
    return str(part)


def undot(changes: dict[str, Any]) -> dict[str, Any]:
    """`fetch.labels` and `split.groups` are values with keys of their own."""
    nested: dict[str, Any] = {}
    for key, value in changes.items():
        whole = next((name for name in ("fetch.labels", "split.groups") if key.startswith(f"{name}.")), key)
        if whole == key:
            nested[key] = value
        else:
            nested.setdefault(whole, {})[key.removeprefix(f"{whole}.")] = value
    return nested


@pytest.mark.parametrize("number", [2, 3])
def test_every_block_of_params_is_valid_after_those_before_it(number: int) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    blocks = list_params(find_part(number))
    assert blocks
    for block in blocks:
        params = merge(params, undot(block))
        Params.model_validate(params)


def test_commands_are_targets_of_make_or_programs_of_the_environment() -> None:
    targets = re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.M)
    assert {"make repro", "make ablation"} <= set(COMMANDS)
    for command in COMMANDS:
        program, *arguments = command.split()
        assert arguments[0] in targets if program == "make" else program.startswith(".venv/bin/"), command
        assert program == "make" or (Path(sys.executable).parent / Path(program).name).exists()


def test_files_that_it_names_are_made_or_there() -> None:
    made = [(ROOT / name).read_text() for name in ("dvc.yaml", "ablation/dvc.yaml", ".gitignore")]
    for name in set(re.findall(r"`((?:metrics|ablation|data)/[\w./]+)`", TEXT)):
        path = name.removeprefix("ablation/").rstrip("/")
        assert (ROOT / name).exists() or any(path in text for text in made), name


def adapt(command: str) -> str:
    """The command in a clone without an environment of its own, whose programs are on the PATH."""
    return command.replace("make ", "make --assume-old .venv/.ready ").replace(".venv/bin/", "")


@pytest.mark.slow
def test_the_commands_do_what_it_says(tmp_path: Path) -> None:
    folder = make_clone(tmp_path / "clone")
    base = (folder / "params.yaml").read_text()
    operations = {"augment.operations": {"hflip": {}, "pad_square": {}}, "augment.operations_per_copy": 2}
    small = SMALL | operations | {"train.epochs": 1, "model.name": "resnet18"}

    def play(number: int, overlay: dict[str, Any]) -> str:
        """Change params as a part says (its first block), then as small runs need, and run its commands."""
        changes = undot((list_params(find_part(number)) or [{}])[0])
        with contextlib.chdir(folder):
            change_params(changes | overlay)
        blocks = re.findall(r"^```sh\n(.*?)^```", find_part(number), re.M | re.S)
        commands = [command for block in blocks for command in block.splitlines()]
        # make ui serves until it is stopped: tests/pipeline/test_security.py starts it
        return "\n".join(call(folder, adapt(command)) for command in commands if command != "make ui")

    assert "Cannot tell from one trial" in play(1, small)

    photos = folder / "data/downloads/photos.zip"
    photos.unlink()
    (script,) = [block for kind, block in BLOCKS if kind == "python"]
    (folder / "digits.py").write_text(script)
    said = play(2, small | {"fetch.subset": "all", "model.image_size": 32})
    assert "The photos in data/raw do not come from digits.zip: fetching them again." in said
    assert "300 photos (30 0, " in said
    assert "10 classes of" in said

    (folder / "data/downloads/digits.zip").unlink()
    pack_photos(photos)
    (folder / "params.yaml").write_text(base)
    weights = folder / "models/weights/lite0.safetensors"
    weights.parent.mkdir(parents=True)
    network = timm.create_model("tf_efficientnet_lite0")
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, weights)
    pretrained = {key: value for key, value in small.items() if key != "model.name"}
    pretrained |= {"trials": [0, 1], "model.weights": "models/weights/lite0.safetensors"}
    said = play(3, pretrained)
    assert "timm/tf_efficientnet_lite0 from the weights models/weights/lite0.safetensors, only its head" in said

    said = play(4, {})
    assert "Ablation: 2 operations, each alone and all but it, in 2 trials: 8 trainings\n  8 to do at about" in said
    assert re.search(r" \(2 operations, 2 trials; p adjusted by Holm\)\.$", said, re.M)
    assert {path.name for path in (folder / "ablation/figures").iterdir()} == {"ranking.png"}
    assert "8 are done; nothing to train" in play(4, {})
    assert call(folder, "dvc status").strip() == "Data and pipelines are up to date.", "nothing of the ablation"

    said = play(5, {})
    assert "metrics/comparison.json" in said
    assert "model.freeze" in said
