"""The script: from the predictions of every policy to a report, and no report of what cannot be compared."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ablation import rank
from ablation.policies import KINDS, PREDICTIONS_FILE, get_run_dir, name_policy
from stages.cli.params import load_params
from stages.model.record import RUN_FILE, TrainRecord, get_model_dir
from stages.runtime.errors import UserError
from tests.conftest import ROOT, change_params
from tests.support.pipeline_files import write_study
from tests.support.records import make_machine, make_run

TRIALS = [1, 0]
OPERATIONS = ("hflip", "blur")
MACHINE = make_machine()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study, and policies of two operations: blur alone is always right, all others are like the augmented arm."""
    root = tmp_path_factory.mktemp("written")
    write_study(root, trials=TRIALS, epochs=1)
    for trial in TRIALS:
        make_run(trial=trial, machine=MACHINE).save(root / get_model_dir("original", trial) / RUN_FILE)
        augmented = pd.read_csv(root / f"metrics/predictions/augmented-{trial}.csv")
        for kind in KINDS:
            for operation in OPERATIONS:
                folder = root / get_run_dir(kind, operation, trial)
                run = make_run(arm=name_policy(kind, operation), trial=trial, machine=MACHINE, model_sha256="f" * 64)
                run.save(folder / RUN_FILE)
                perfect = (kind, operation) == ("only", "blur")
                table = augmented.assign(pred=augmented["target"]) if perfect else augmented
                table.to_csv(folder / PREDICTIONS_FILE, index=False)
    return root


@pytest.fixture
def ablation(written: Path, workspace: Path) -> None:
    """The same, anew in the current directory."""
    shutil.copytree(written, workspace, dirs_exist_ok=True)
    change_params({"augment.operations": {"hflip": {}, "blur": {"radius": 2.0}}, "augment.operations_per_copy": 1})


def test_it_writes_a_page_a_report_for_git_and_numbers(
    ablation: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rank, "track", lambda *_: None)  # MLflow: test_policy_training, and the tutorial
    rank.main()
    verdict = capsys.readouterr().out.splitlines()[-1]
    numbers = json.loads(rank.RANKING.read_text())
    assert list(numbers) == ["blur", "hflip"], "the best first"
    originals = [pd.read_csv(f"metrics/predictions/original-{trial}.csv") for trial in TRIALS]
    original = pd.concat(originals)
    wrong = float((original["pred"] != original["target"]).mean())
    assert numbers["blur"]["only"]["accuracy"] == pytest.approx(wrong, abs=1e-6)
    markdown = rank.MARKDOWN.read_text()
    assert verdict in markdown.replace("\\", "")
    assert "![" in markdown and Path("ablation/figures/ranking.png").exists()
    assert verdict in rank.PAGE.read_text()
    assert numbers["hflip"]["only"] == numbers["hflip"]["all_but"]


def change_run(**changes: object) -> None:
    path = get_run_dir("all_but", "blur", 0) / RUN_FILE
    TrainRecord.load(path).model_copy(update=changes).save(path)


def drop_a_photo() -> None:
    path = get_run_dir("all_but", "blur", 0) / PREDICTIONS_FILE
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)


def damage_file(name: str) -> None:
    (get_run_dir("all_but", "blur", 0) / name).write_text("")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda: change_run(initial_weights_sha256="other"), "all_but_blur-0 started from other weights than the ori"),
        (lambda: change_run(machine=make_machine(threads=7)), "all_but_blur-0 was trained on .* threads 2 -> 7"),
        (drop_a_photo, "all_but_blur was not tested on the same photos as the original arm"),
        (
            lambda: shutil.rmtree(get_run_dir("only", "hflip", 1)),
            "hflip/1/run.json is absent .* Run make ablation",
        ),
        (lambda: damage_file(PREDICTIONS_FILE), "all_but_blur/0/predictions.csv is absent or damaged. Run make ablat"),
        (lambda: change_params({"augment.policy": "AugMix"}), "An ablation needs augly"),
    ],
)
def test_what_cannot_be_compared_stops_it(ablation: None, damage: Callable[[], None], message: str) -> None:
    damage()
    with pytest.raises(UserError, match=message) as error:
        rank.main()
    assert any(word in str(error.value) for word in ("Run `dvc", "Run make ablation", "params.yaml"))
    assert not rank.RANKING.exists() and not rank.MARKDOWN.exists()


@pytest.mark.parametrize("folder", ["docs/ablation", "docs/ablation-697"])
def test_the_published_ranking_has_the_numbers_of_its_report(folder: str) -> None:
    numbers = json.loads((ROOT / folder / "ranking.json").read_text())
    report = (ROOT / folder / "report.md").read_text()
    assert len(numbers) == len(load_params(ROOT / "params.yaml").augment.operations)
    for name, kinds in numbers.items():
        (row,) = [line for line in report.splitlines() if line.startswith(f"| {name.replace('_', ' ')} | ")]
        for each in kinds.values():
            assert f"{100 * abs(each['accuracy']):.1f} (" in row
