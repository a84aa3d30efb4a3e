"""dvc.yaml agrees with the code: DVC does not follow Python imports, so a forgotten dep means stale results."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.common.params import flatten, load_params
from tests.conftest import ROOT

PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SCRIPTS = sorted(path.stem for path in (ROOT / "stages").glob("*.py"))


def get_body(stage: str) -> dict[str, Any]:
    return {**PIPELINE[stage], **PIPELINE[stage].get("do", {})}


def get_script(stage: str) -> Path:
    match = re.match(r"exec python -m (stages\.\w+)", get_body(stage)["cmd"])
    assert match
    return ROOT / (match[1].replace(".", "/") + ".py")


def list_names(entries: list[Any]) -> list[str]:
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


@cache
def find_imports(script: Path) -> frozenset[Path]:
    """The project files that a script imports, directly or through others, itself included."""
    found = {script}
    for node in ast.walk(ast.parse(script.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            path = ROOT / (module.replace(".", "/") + ".py")
            if module.startswith("stages.") and path.exists():
                found |= find_imports(path)
    return frozenset(found)


def test_every_script_is_a_stage() -> None:
    assert {get_script(stage).stem for stage in PIPELINE} == set(SCRIPTS)


@pytest.mark.parametrize("stage", list(PIPELINE))
def test_deps_list_every_import(stage: str) -> None:
    wanted = {path.relative_to(ROOT).as_posix() for path in find_imports(get_script(stage))}
    listed = {name for name in list_names(get_body(stage)["deps"]) if name.endswith(".py")}
    assert listed == wanted


@pytest.mark.parametrize("stage", list(PIPELINE))
def test_params_are_those_the_script_reads(stage: str) -> None:
    source = get_script(stage).read_text()
    params = load_params(ROOT / "params.yaml")
    read = set(re.findall(r"params(?:\(\))?\.(\w+)", source)) & set(type(params).model_fields)
    listed = set(get_body(stage).get("params", []))
    every = {key for key in flatten(params.model_dump(exclude={"augment": {"operations"}})) if key.startswith("train.")}
    if stage == "augment":
        assert "params.train.budget" in source
        assert listed == read - {"train"} | {"train.budget"}
    elif stage.startswith("train"):
        assert listed == read - {"train"} | every - {"train.budget"}
        assert not re.search(r"params\.train\.budget|params\.budget", source)
    elif stage == "report":
        assert "params)" in source, "the report lists every param"
        assert listed == set(type(params).model_fields)
    else:
        assert listed == read


def test_import_direction() -> None:
    """A stage never imports a stage, and common imports neither stages nor sources."""
    for script in SCRIPTS:
        imported = find_imports(ROOT / "stages" / f"{script}.py") - {ROOT / "stages" / f"{script}.py"}
        assert not [path for path in imported if path.parent == ROOT / "stages"]
    for module in (ROOT / "stages/common").glob("*.py"):
        assert all(path.parent == module.parent for path in find_imports(module))


def test_two_modules_know_mlflow() -> None:
    importers = [
        path.stem
        for path in (ROOT / "stages").rglob("*.py")
        if re.search(r"^\s*(import|from) mlflow", path.read_text(), re.M)
    ]
    assert sorted(importers) == ["journal", "tracking"]


@pytest.mark.parametrize("stage", list(PIPELINE))
def test_every_stage_says_what_it_does(stage: str) -> None:
    assert get_body(stage)["desc"]
    docstring = ast.get_docstring(ast.parse(get_script(stage).read_text())) or ""
    for word in ("Reads", "Writes", "Command"):
        assert word in docstring, f"{stage}: the docstring says nothing on {word!r}"


def test_train_stages_differ_only_in_arm_and_images() -> None:
    original, augmented = get_body("train_original"), get_body("train_augmented")
    extra = set(list_names(augmented["deps"])) - set(list_names(original["deps"]))
    assert extra == {"data/augmented/${item}", "data/augmented/${item}.csv"}
    assert set(list_names(original["deps"])) - set(list_names(augmented["deps"])) == {"data/budget/${item}.json"}
    assert original["params"] == augmented["params"]
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
