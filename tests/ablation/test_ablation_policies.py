"""Each operation alone, and all but one: which operations a copy may get."""

from pathlib import Path

import pytest

from ablation.choose import AREAS, CODE, FOLDER, write_code, write_policies
from ablation.policies import KINDS, Kind, check_ablation, choose_operations, get_run_dir, name_policy
from stages.augmentation.draws import draw_operations
from stages.augmentation.params import AugmentParams
from stages.cli.params import load_params
from stages.runtime.errors import UserError
from tests.conftest import ROOT

LABS = load_params(ROOT / "params.yaml").augment
OPERATIONS = list(LABS.operations)


def change(**values: object) -> AugmentParams:
    return AugmentParams.model_validate(LABS.model_dump() | values)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_copy_gets_the_one_operation_or_any_but_it(operation: str) -> None:
    chosen = {kind: choose_operations(LABS, kind, operation) for kind in KINDS}
    drawn = {kind: [draw_operations(params, seed) for seed in range(200)] for kind, params in chosen.items()}
    assert {tuple(step["name"] for step in copy) for copy in drawn["only"]} == {(operation,)}
    assert {step["name"] for copy in drawn["all_but"] for step in copy} == set(OPERATIONS) - {operation}
    assert {len(copy) for copy in drawn["all_but"]} == {LABS.operations_per_copy}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_the_operations_differs_from_params(kind: Kind) -> None:
    chosen = choose_operations(LABS, kind, "blur")
    ours, theirs = (each.model_dump(exclude={"operations", "operations_per_copy"}) for each in (chosen, LABS))
    assert ours == theirs
    assert all(LABS.operations[name] == given for name, given in chosen.operations.items())
    AugmentParams.model_validate(chosen.model_dump())


def test_two_operations_are_enough_and_one_or_none_left_is_drawn_alone() -> None:
    two = change(operations={"hflip": {}, "pad_square": {}}, operations_per_copy=2)
    assert choose_operations(two, "all_but", "hflip") == choose_operations(two, "only", "pad_square")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"policy": "AugMix"}, "augment.policy is AugMix, whose operations cannot be chosen. An ablation needs augly"),
        ({"operations": {"hflip": {}}, "operations_per_copy": 1}, "augment.operations lists only hflip, so all but"),
        (
            {"operations": {"hflip": {}, "blur": {"radius": 2.0, "p": 0}}, "operations_per_copy": 1},
            "the p of blur is 0, so alone nothing would be applied. Remove",
        ),
    ],
)
def test_params_of_which_no_ablation_can_be_made_are_refused(values: dict[str, object], words: str) -> None:
    params = change(**values)
    for check in (lambda: check_ablation(params), lambda: choose_operations(params, "only", "hflip")):
        with pytest.raises(UserError, match=words):
            check()


def test_an_operation_that_params_do_not_list_is_refused() -> None:
    with pytest.raises(UserError, match=r"sharpen is not in augment.operations: rotate, .* Run make ablation"):
        choose_operations(LABS, "only", "sharpen")


def test_every_policy_has_a_folder_of_its_own() -> None:
    assert name_policy("all_but", "rotate") == "all_but_rotate"
    assert len({get_run_dir(kind, name, trial) for kind in KINDS for name in OPERATIONS for trial in (0, 1)}) == 40


def read_policies() -> dict[str, bytes]:
    """What DVC compares, by policy."""
    return {path.stem: path.read_bytes() for path in FOLDER.iterdir()}


def test_a_policy_depends_on_what_it_applies_and_nothing_else(workspace: Path) -> None:
    write_policies(LABS)
    before = read_policies()
    assert set(before) == {name_policy(kind, name) for kind in KINDS for name in OPERATIONS}

    def find_changed(**values: object) -> set[str]:
        write_policies(change(**values))
        after = read_policies()
        return {name for name, written in before.items() if after[name] != written}

    assert find_changed() == set()
    rotated = find_changed(operations=LABS.operations | {"rotate": {"degrees": 10.0}})
    assert rotated == {"only_rotate"} | {name_policy("all_but", name) for name in OPERATIONS if name != "rotate"}
    assert find_changed(operations_per_copy=2) == {name_policy("all_but", name) for name in OPERATIONS}
    assert find_changed(copies=1) == set(before)


def test_code_is_known_by_its_files_and_not_by_their_bytecode(workspace: Path) -> None:
    for area in {*AREAS["train"], *AREAS["rank"]}:
        Path("stages", area, "templates").mkdir(parents=True)
        Path("stages", area, "templates", "page").write_text(area)

    def find_changed(path: str, text: str) -> set[str]:
        before = {file.name: file.read_bytes() for file in CODE.iterdir()}
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)
        write_code()
        return {name for name, written in before.items() if (CODE / name).read_bytes() != written}

    write_code()
    assert find_changed("stages/base/__pycache__/files.cpython-311.pyc", "compiled") == set()
    assert find_changed("stages/cli/params.py", "new") == set()
    assert find_changed("stages/training/loop.py", "new") == {"train.json"}
    assert find_changed("stages/comparison/templates/page", "other") == {"rank.json"}
    assert find_changed("stages/base/files.py", "new") == {"rank.json", "train.json"}
