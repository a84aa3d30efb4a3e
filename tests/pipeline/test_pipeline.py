"""dvc.yaml agrees with the code: DVC does not follow Python imports, so a forgotten dep means stale results."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from ablation.choose import AREAS, CODE, FOLDER
from ablation.policies import KINDS
from stages.base.sections import flatten
from stages.cli.params import load_params
from tests.conftest import ROOT

PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
ABLATION: dict[str, Any] = yaml.safe_load((ROOT / "ablation/dvc.yaml").read_text())["stages"]
SCRIPTS = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py"))


def get_body(stage: str) -> dict[str, Any]:
    return {**PIPELINE[stage], **PIPELINE[stage].get("do", {})}


def get_script(stage: str) -> Path:
    match = re.match(r"exec python -m (stages\.\w+)", get_body(stage)["cmd"])
    assert match
    return ROOT / (match[1].replace(".", "/") + ".py")


def list_names(entries: list[Any]) -> list[str]:
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def list_params(stage: str) -> set[str]:
    """The params of a stage; an entry is a name, or the names in a file."""
    entries = get_body(stage).get("params", [])
    return {name for entry in entries for name in ([entry] if isinstance(entry, str) else entry["params.yaml"])}


OBSERVERS = {
    "cli": "puts the sections of params.yaml together, checks them, and says how a stage ended",
    "runtime": "messages, locks, places to be killed at, where the repository is",
    "tracking": "logs to MLflow: tracking/test_outputs shows the same bytes with it on, off and failing",
    "doctor": "runs outside of all stages",
    "cluster": "runs the stages of a trial as they are, on another machine",
}
"""Areas that decide no byte of a result, and so are no deps; why."""


@cache
def find_imports(script: Path) -> frozenset[Path]:
    """The project files that a script imports, directly or through others, itself included; observers are left out."""
    found = {script}
    for node in ast.walk(ast.parse(script.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            path = ROOT / (module.replace(".", "/") + ".py")
            ours = module.startswith(("ablation.", "stages.")) and path.exists()
            if ours and module.split(".")[1] not in OBSERVERS:
                found |= find_imports(path)
    return frozenset(found)


def find_area(path: Path) -> str:
    """The folder below stages/ that a file lies in, or the file itself: ``stages/photos``, ``stages/fetch.py``."""
    return "/".join(path.relative_to(ROOT).parts[:2])


def list_code(stage: str) -> set[str]:
    """The deps of a stage that are code."""
    return {name for name in list_names(get_body(stage)["deps"]) if name.startswith("stages/")}


def test_every_script_is_a_stage() -> None:
    assert {get_script(stage).stem for stage in PIPELINE} == set(SCRIPTS)


@pytest.mark.parametrize("stage", list(PIPELINE))
def test_deps_are_the_script_and_the_areas_that_decide_its_bytes(stage: str) -> None:
    code = list_code(stage)
    expected = {find_area(path) for path in find_imports(get_script(stage))}
    if stage == "train_original":  # its script augments nothing in this arm
        expected.remove("stages/augmentation")
    assert code == expected
    assert len(code) <= 6


@pytest.mark.parametrize("stage", list(ABLATION))
def test_the_ablation_depends_on_its_scripts_and_areas(stage: str) -> None:
    """Areas reach it as the hashes that `choose` wrote of their files."""
    body = ABLATION[stage]
    match = re.match(r"cd \.\. && exec python -m ablation\.(\w+)", body["cmd"])
    assert match
    imported = {find_area(path) for path in find_imports(ROOT / f"ablation/{match[1]}.py")}
    scripts = {name.removeprefix("ablation/") for name in imported if name.startswith("ablation/")}
    code = {dep for dep in body["deps"] if dep.endswith(".py") or dep.startswith(("code/", "../stages"))}
    assert code == scripts | {"../stages" if stage == "choose" else f"code/{stage}.json"}
    if stage != "choose":
        assert {f"stages/{area}" for area in AREAS[stage]} == {name for name in imported if name.startswith("stages/")}


def test_the_ablation_trains_on_the_params_of_the_augmented_arm() -> None:
    """Those of `augment` reach it as what `choose` wrote of them."""
    (entry,) = ABLATION["train"]["params"]
    without = {"augment", "train.checkpoint_every"}  # it leaves no checkpoints in MLflow
    assert set(entry["../params.yaml"]) == list_params("train_augmented") - without
    assert ABLATION["choose"]["params"] == [{"../params.yaml": ["augment"]}]
    assert ABLATION["choose"]["outs"] == [CODE.name, FOLDER.name]
    assert "params/${item.kind}_${item.operation}.json" in ABLATION["train"]["deps"]
    assert ABLATION["train"]["matrix"]["kind"] == list(KINDS)


def test_dvc_yaml_is_short_and_ignores_bytecode() -> None:
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 200
    assert "__pycache__/" in (ROOT / ".dvcignore").read_text().split()


@pytest.mark.parametrize("stage", list(PIPELINE))
def test_params_are_those_the_script_reads(stage: str) -> None:
    source = get_script(stage).read_text()
    params = load_params(ROOT / "params.yaml")
    read = set(re.findall(r"params(?:\(\))?\.(\w+)", source)) & set(type(params).model_fields)
    listed = list_params(stage)
    every = {key for key in flatten(params.model_dump(exclude={"augment": {"operations"}})) if key.startswith("train.")}
    if stage == "augment":
        assert "params.train.budget" in source
        assert listed == read - {"train"} | {"train.budget"}
    elif stage.startswith("train"):
        assert listed == read - {"train", "augment"} | every - {"train.budget"} | (
            {"augment"} if stage == "train_augmented" else set()
        )
        assert not re.search(r"params\.train\.budget|params\.budget", source)
    elif stage == "report":
        assert "flatten(params.model_dump())" in source, "the report lists every param"
        assert listed == set(type(params).model_fields)
    else:
        assert listed == read


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_torch_is_loaded_with_the_settings_that_it_reads_then(stage: str) -> None:
    program = (
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'torch':\n"
        "            print('spins', os.environ.get('GOMP_SPINCOUNT'), flush=True)\n"
        "            os._exit(0)\n"
        f"sys.meta_path.insert(0, Finder())\nimport stages.{stage}"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=kept, capture_output=True, text=True, check=True
    )
    assert done.stdout == "spins 10000\n"


@pytest.mark.parametrize(
    ("name", "value", "spins"), [("GOMP_SPINCOUNT", "7", "7"), ("OMP_WAIT_POLICY", "ACTIVE", "None")]
)
def test_a_users_own_settings_win(name: str, value: str, spins: str) -> None:
    program = "import os, stages.runtime; print(os.environ.get('GOMP_SPINCOUNT'))"
    kept = {key: text for key, text in os.environ.items() if not key.startswith(("GOMP_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=kept | {name: value}, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{spins}\n"


LAYERS = ["runtime", "base", "photos", "model", "augmentation sources splitting training", "evaluation", "comparison"]
"""Areas from the ground up: each imports only itself and those before it, never a script."""


def test_import_direction() -> None:
    below: set[str] = set()
    for layer in LAYERS:
        for area in layer.split():
            for path in (ROOT / "stages" / area).rglob("*.py"):
                imported = set(re.findall(r"^\s*from stages\.(\w+)", path.read_text(), re.M))
                assert imported <= below | {area}, path
        below |= set(layer.split())
    for script in SCRIPTS:
        assert not find_imports(ROOT / f"stages/{script}.py") & {ROOT / f"stages/{other}.py" for other in SCRIPTS} - {
            ROOT / f"stages/{script}.py"
        }


def test_only_tracking_knows_mlflow() -> None:
    for path in (ROOT / "stages").rglob("*.py"):
        if re.search(r"^\s*(import|from) mlflow", path.read_text(), re.M):
            assert path.parent.name == "tracking", path


@pytest.mark.parametrize("stage", ["fetch", "split", "augment", "report"])
def test_stages_that_need_neither_torch_nor_mlflow_do_not_import_them(stage: str) -> None:
    program = f"import sys, stages.{stage}; print([name for name in ('torch', 'mlflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("stage", list(PIPELINE))
def test_every_stage_says_what_it_does(stage: str) -> None:
    assert get_body(stage)["desc"]
    docstring = ast.get_docstring(ast.parse(get_script(stage).read_text())) or ""
    for word in ("Reads", "Writes", "Command"):
        assert word in docstring, f"{stage}: the docstring says nothing on {word!r}"


def test_train_stages_differ_only_in_arm_and_images() -> None:
    original, augmented = get_body("train_original"), get_body("train_augmented")
    extra = set(list_names(augmented["deps"])) - set(list_names(original["deps"]))
    assert extra == {"data/augmented/${item}", "data/augmented/${item}.csv", "stages/augmentation"}
    assert set(list_names(original["deps"])) - set(list_names(augmented["deps"])) == {"data/budget/${item}.json"}
    assert list_params("train_augmented") == list_params("train_original") | {"augment"}
    assert augmented["cmd"].replace("augmented --", "original --").removesuffix(" data/augmented/${item}.csv") == (
        original["cmd"].replace(" --budget data/budget/${item}.json", "")
    )


def test_what_is_committed_is_not_cached() -> None:
    for stage in PIPELINE:
        for entry in [*get_body(stage).get("outs", []), *get_body(stage).get("metrics", [])]:
            name, options = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
            # the page shows photographs, which do not belong into git
            in_git = name.startswith("metrics/") and name != "metrics/report.html"
            assert (options.get("cache") is False) == in_git, name
