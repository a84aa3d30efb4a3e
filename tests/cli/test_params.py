"""params.yaml is refused as a whole, before any work, with the key and the rule in the message."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.augmentation.params import IDENTITY
from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.comparison.sections.labs import LAB_OPERATIONS
from stages.runtime.errors import UserError
from tests.conftest import ROOT, change_params

WRONG: list[tuple[str, Any, str]] = [
    ("train.epochs", "10", "train.epochs: Input should be a valid integer, found '10'"),
    ("train.epochs", True, "train.epochs: Input should be a valid integer"),
    ("train.epochs", 0, "train.epochs: Input should be greater than or equal to 1, found 0"),
    ("train.epochz", 3, "train.epochz: unknown key"),
    ("train.learning_rate", "1e-3", "write 0.001 or 1.0e-3"),
    ("train.learning_rate", float("nan"), "train.learning_rate: Input should be a finite number"),
    ("train.learning_rate", float("inf"), "finite"),
    ("train.launcher", "mpirun -n 2", "train.launcher: must be torchrun and its options, such as torchrun --nproc-per"),
    ("train.launcher", "", "train.launcher: must be torchrun and its options"),
    ("train.launcher", "torchrun '", "train.launcher: No closing quotation"),
    ("train.launcher", 2, "train.launcher: Input should be a valid string, found 2"),
    ("train.precision", "fp16", "'auto', 'fp32' or 'bf16'"),
    ("split.test_fraction", 0.0, "split.test_fraction"),
    ("split.test_fraction", 1.0, "split.test_fraction"),
    ("split.test_fraction", 0.3, "must be 1/k"),
    ("split.test_fraction", 20, "less than 1, found 20 (a fraction: write 0.2 for 20 percent)"),
    ("split.test_fraction", 1.0, "less than 1, found 1.0\n"),
    ("report.margin", 2, "less than 1, found 2 (a fraction: write 0.02 for 2 percentage points)"),
    ("report.margin", 2.5, "less than 1, found 2.5 (a fraction: write 0.025 for 2.5 percentage points)"),
    ("report.margin", 200, "less than 1, found 200\n"),
    ("fetch.max_bad_fraction", 10, "less than or equal to 1, found 10 (a fraction: write 0.1 for 10 percent)"),
    ("train.label_smoothing", 10, "less than 1, found 10 (a fraction: write 0.1 for 10 percent)"),
    ("train.learning_rate", 0, "train.learning_rate: Input should be greater than 0, found 0"),
    ("model.image_size", 31, "model.image_size: Input should be greater than or equal to 32, found 31"),
    ("trials", [], "trials: List should have at least 1 item"),
    ("trials", [0, 0], "a trial is listed twice"),
    ("trials", [-1], "trials.0"),
    ("seed", -1, "seed"),
    ("fetch.sources", ["kagle"], "'archive', 'kaggle' or 'sample', found 'kagle'"),
    ("fetch.kaggle_dataset", "https://kaggle.com/a/b", "fetch.kaggle_dataset"),
    ("augment.operations", {"rotat": {}}, "rotat is not an operation of AugLy; near it are rotate"),
    ("augment.operations", {"blur": {}}, "blur lacks radius; it takes radius, p"),
    ("augment.operations.hflip", {"degrees": 1.0}, "hflip has no degrees; it takes p"),
    ("augment.operations.blur.radius", [3, 1], "wrong way round"),
    ("augment.operations.pixelization.ratio", 1.5, "must lie between 0.01 and 1"),
    ("augment.operations_per_copy", 11, "operations lists only 10"),
    ("extra", 1, "extra: unknown key"),
    ("fetch.kaggle_deadline_s", 1e300, "less than or equal to 86400"),
    ("seed", ["x" * 99] * 99, "seed: Input should be a valid integer, found ['xxx"),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG, ids=lambda part: str(part)[:40])
def test_wrong_value_is_named(workspace: Path, key: str, value: Any, message: str) -> None:
    change_params({key: value})
    with pytest.raises(UserError) as caught:
        load_params()
    assert message in str(caught.value)
    assert "params.yaml" in str(caught.value)
    assert "Fix params.yaml" in str(caught.value)


@pytest.mark.parametrize("name", [name for name, magnitudes in IDENTITY.items() if magnitudes])
def test_operation_that_changes_nothing_is_refused(workspace: Path, name: str) -> None:
    change_params({f"augment.operations.{name}": IDENTITY[name]})
    with pytest.raises(UserError, match=f"{name} would change nothing"):
        load_params()
    change_params({f"augment.operations.{name}": {key: [value, value] for key, value in IDENTITY[name].items()}})
    with pytest.raises(UserError, match=f"{name} would change nothing"):
        load_params()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "model.freeze",
            "backbone",
            "model: freeze is backbone and weights is null, but random layers that are never trained learn nothing: "
            "set weights, e.g. to DEFAULT, or freeze to none",
        ),
        (
            "split.scheme",
            "given",
            "split.scheme is given and fetch.subset is test, but photos to test and photos to train on lie in "
            "different subsets: set fetch.subset to all or a list such as [train, test], or split.scheme to folds",
        ),
        (
            "augment.operations_per_copy",
            11,
            "augment: operations_per_copy is 11, but operations lists only 10",
        ),
        (
            "split.groups",
            {"path": "(a"},
            "split.groups: path must be a regular expression, and '(a' is none: missing ), unterminated subpattern at "
            "position 0",
        ),
    ],
)
def test_a_rule_about_several_keys_shows_only_the_values_that_matter(
    workspace: Path, key: str, value: Any, message: str
) -> None:
    change_params({key: value})
    with pytest.raises(UserError) as caught:
        load_params()
    assert str(caught.value) == f"params.yaml is not valid:\n  {message}\nFix params.yaml and run again."


def test_missing_key_is_named(workspace: Path) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    del params["train"]["epochs"]
    Path("params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match=r"train\.epochs: missing"):
        load_params()


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnopqrstuvwxyz"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file: Input should be a valid dictionary"),
        ("[1, 2]", "the file: Input should be a valid dictionary"),
        ("a: [", "is not valid YAML: .* line 1, column 5"),
        ("a:\n\t- b", "is not valid YAML: "),
        ("\x00", "is not valid YAML: unacceptable character #x0000"),
        (b"\xff", "cannot be read as UTF-8 text: "),
        ("seed: 0\n".encode("utf-16"), "cannot be read as UTF-8 text: "),
        ("[" * 50_000, "nested too deeply"),
        ("seed: " + "9" * 5000, "limit .* for integer"),
        ("seed: 2024-13-45", "month must be in 1..12"),
        ("seed: !!bool x", "is not valid YAML: "),
        ("seed: !!python/object/apply:os.mkdir [owned]", "could not determine a constructor"),
        ("seed: 0\ntrain:\n  epochs: 1\n  epochs: 2", "epochs appears twice .* line 4, column 3"),
        ("a: &a 1\nseed: *a", r"write the value itself in place of \*a .* line 2, column 7"),
        (BOMB, r"write the value itself in place of \*a"),
        (f"seed: {'x' * 100_000}", "seed: .*found 'x{96}\\.\\.\\.\n"),
    ],
    ids=lambda part: str(part)[:30],
)
def test_file_that_is_no_plain_yaml_is_refused(workspace: Path, content: str | bytes, message: str) -> None:
    Path("params.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=f"(?s)^params\\.yaml .*{message}"):
        load_params()
    assert not Path("owned").exists()


def test_byte_order_mark_and_line_ends_do_not_matter(workspace: Path) -> None:
    expected = load_params()
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_params() == expected


def test_missing_file_is_named(workspace: Path) -> None:
    Path("params.yaml").unlink()
    with pytest.raises(UserError, match=r"params\.yaml is missing"):
        load_params()


def test_all_problems_are_named_at_once(workspace: Path) -> None:
    change_params({"train.epochs": 0, "split.test_fraction": 2})
    with pytest.raises(UserError) as caught:
        load_params()
    assert "train.epochs" in str(caught.value)
    assert "split.test_fraction" in str(caught.value)


@pytest.mark.parametrize(("old", "status"), [("epochs", 1), ("no such key", 0)])
def test_as_a_command_it_says_in_one_message_what_is_wrong(workspace: Path, old: str, status: int) -> None:
    path = Path("params.yaml")
    path.write_text(path.read_text().replace(f"  {old}:", "  epocs:"))
    command = [sys.executable, "-m", "stages.cli.before_repro"]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "" if status else "dvc repro\n")
    assert ("train.epochs: missing" in done.stderr) == ("train.epocs: unknown key" in done.stderr) == bool(status)
    assert "Traceback" not in done.stderr


def test_params_in_git_are_the_labs_experiment() -> None:
    params = load_params()
    assert (params.trials, params.fetch.subset, params.split.test_fraction) == ([0], "test", 0.2)
    augment = params.augment
    assert (augment.policy, augment.mode, augment.copies, augment.operations_per_copy) == ("augly", "copies", 2, 3)
    assert sorted(augment.operations) == LAB_OPERATIONS.split(", ")
    train = params.train
    assert (train.epochs, train.batch_size, train.optimizer, train.learning_rate) == (10, 32, "adam", 0.001)


def test_flatten_names_keys_as_dvc_does() -> None:
    assert flatten({"train": {"epochs": 2, "deep": {"x": [1, 2]}}, "seed": 0}) == {
        "train.epochs": 2,
        "train.deep.x": [1, 2],
        "seed": 0,
    }
