"""Which stages a change makes stale, asked of `dvc status` in a workspace with results.

``python -m tests.support.changes`` runs the pipeline once, on drawings, and prints the table as Markdown.
"""

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.support.clone import build_env, call, make_clone
from tests.support.forks import Forks, start_forks

Edit = Callable[[str], str]


@dataclass(frozen=True)
class Change:
    """What is changed (how, by glob pattern), and the stages that are stale then: they would run at once."""

    name: str
    edits: dict[str, Edit]
    stale: frozenset[str]


def add_comment(text: str) -> str:
    return f"{text}# changed\n"


def add_field(text: str) -> str:
    """To the schema of a params section, whose class ends the file."""
    return f"{text}    added: int\n"


def add_key(section: str) -> Edit:
    return lambda text: text.replace(f"\n{section}:\n", f"\n{section}:\n  added: 1\n")


def set_value(key: str, value: str) -> Edit:
    return lambda text: re.sub(rf"^  {key}: .*$", f"  {key}: {value}", text, flags=re.M)


def in_code(area: str, stale: str = "") -> Change:
    return Change(f"code in `stages/{area}/`", {f"stages/{area}/**/*.py": add_comment}, frozenset(stale.split()))


def in_params(name: str, edit: Edit, stale: str) -> Change:
    return Change(name, {"params.yaml": edit}, frozenset(stale.split()))


TRAIN = "train_original train_augmented"
CHANGES = [
    Change("README, docs, tests, Makefile", {"README.md": add_comment, "Makefile": add_comment}, frozenset()),
    Change("an error text in `stages/runtime/errors.py`", {"stages/runtime/errors.py": add_comment}, frozenset()),
    *(in_code(area) for area in ("runtime", "cli", "tracking", "doctor")),
    in_code("comparison", "report"),
    in_code("evaluation", "evaluate report"),
    in_code("training", TRAIN),
    in_code("augmentation", "augment train_augmented evaluate"),
    in_code("splitting", "split"),
    in_code("sources", "fetch"),
    in_code("model", f"{TRAIN} evaluate report"),
    Change(
        "a new key in section `report`",
        {"stages/comparison/params.py": add_field, "params.yaml": add_key("report")},
        frozenset({"report"}),
    ),
    Change(
        "a new key in section `evaluate`",
        {"stages/evaluation/params.py": add_field, "params.yaml": add_key("evaluate")},
        frozenset({"evaluate", "report"}),
    ),
    in_params("`report.margin`", set_value("margin", "0.03"), "report"),
    in_params("`evaluate.robustness`", set_value("robustness", "false"), "evaluate report"),
    in_params("`train.budget`", set_value("budget", "steps"), "augment report"),
    in_params("`train.epochs`", set_value("epochs", "3"), f"{TRAIN} report"),
    in_params("`augment.copies`", set_value("copies", "3"), "augment train_augmented evaluate report"),
]


@contextlib.contextmanager
def change(folder: Path, edits: dict[str, Edit]) -> Iterator[None]:
    """Edit files below ``folder``; on leaving they are as they were."""
    before = {path: path.read_text() for pattern in edits for path in folder.glob(pattern)}
    try:
        for pattern, edit in edits.items():
            paths = list(folder.glob(pattern))
            assert paths, pattern
            for path in paths:
                text = edit(before[path])
                assert text != before[path], path
                path.write_text(text)
        yield
    finally:
        for path, text in before.items():
            path.write_text(text)


def start_dvc() -> AbstractContextManager[Forks]:
    """DVC, loaded once for many a `dvc status`."""
    return start_forks("dvc.cli.parser", "dvc.repo.plots", "dvc.repo.stage", "dvc.stage.loader", "scmrepo.git")


def list_stale(folder: Path, dvc: Forks) -> set[str]:
    """The stages that `dvc status` finds changed, without their trials."""
    done = dvc.run(["-m", "dvc", "status", "--json"], folder, build_env(folder))
    assert (done.returncode, done.stderr) == (0, "")
    return {stage.split("@")[0] for stage in json.loads(done.stdout)}


def list_descendants(folder: Path, stale: set[str]) -> set[str]:
    """The stages that run too, once the stale ones have written other bytes than before."""
    output = call(folder, "dvc repro --dry --force-downstream")
    return set(re.findall(r"Running stage '(\w+)", output)) - stale


def print_table(folder: Path, dvc: Forks) -> None:
    print("| changed | runs | runs if those write other bytes |\n|---|---|---|")
    for each in CHANGES:
        with change(folder, each.edits):
            stale = list_stale(folder, dvc)
            cells = [
                ", ".join(f"`{name}`" for name in sorted(names)) for names in (stale, list_descendants(folder, stale))
            ]
        print(f"| {each.name} | {cells[0] or 'nothing'} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home, start_dvc() as forks:
        workspace = make_clone(Path(home, "clone"))
        call(workspace, "dvc repro")
        print_table(workspace, forks)
