"""What an ablation says it will cost."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ablation import cost, plan, rank
from stages.model.record import RUN_FILE, get_model_dir
from stages.runtime.errors import UserError
from stages.runtime.progress import format_duration
from stages.tracking import journal
from tests.conftest import ROOT, change_params
from tests.support.records import make_run


def estimate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: str) -> str:
    monkeypatch.setattr("sys.stdin", io.StringIO(status))
    cost.main()
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture
def trained(workspace: Path) -> Path:
    make_run(arm="augmented", model_sha256="f" * 64).save(get_model_dir("augmented", 0) / RUN_FILE)
    return workspace


def test_without_a_run_in_mlflow_it_counts(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = {name: ["changed deps"] for name in ("train@only-rotate-0", "train@all_but-blur-0", "rank")}
    assert estimate(monkeypatch, capsys, json.dumps(stale)) == (
        "Ablation: 10 operations, each alone and all but it, in 1 trial: 20 trainings 18 are done; 2 to do, each as "
        "long as the augmented arm takes"
    )
    assert estimate(monkeypatch, capsys, "{}").endswith("20 are done; nothing to train")


def test_it_takes_the_time_that_the_augmented_arm_took(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = int(1000 * time.time())
    entry = journal.Journal("augmented-0", "token", {}, {"arm": "augmented", "trial": "0"}, started=now - 90_000)
    entry.end("f" * 64)
    entry.ended = now
    journal.sync_journal(entry)
    stale = {f"train@only-{number}-0": ["changed deps"] for number in range(20)}
    said = estimate(monkeypatch, capsys, json.dumps(stale))
    assert "20 to do at about 90 s each, as the augmented arm took here: about 30 min. Ctrl-C stops" in said


def test_what_dvc_cannot_read_ends_with_one_message(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="DVC cannot say what there is to do"):
        estimate(monkeypatch, capsys, "")


def test_before_the_pipeline_it_says_what_comes(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan.main()
    assert capsys.readouterr().out.strip() == (
        "Ablation: 10 operations, each alone and all but it, in 1 trial: 20 trainings, after what the pipeline still "
        "has to run"
    )


def test_before_the_pipeline_it_refuses_and_says_that_an_old_report_stays(workspace: Path) -> None:
    change_params({"augment.policy": "RandAugment"})
    with pytest.raises(UserError, match=r"An ablation needs augly: set it in params\.yaml\.$"):
        plan.main()
    assert plan.PAGE == rank.PAGE
    change_params({"augment.policy": "augly", "train.launcher": "torchrun --nproc-per-node 2"})
    with pytest.raises(UserError, match=r"train\.launcher is 'torchrun.*an ablation trains in one process"):
        plan.main()
    change_params({"augment.policy": "RandAugment", "train.launcher": None})
    plan.PAGE.parent.mkdir()
    plan.PAGE.touch()
    with pytest.raises(UserError, match=r"ablation/report\.html stays, and is about an earlier ablation\.$"):
        plan.main()


def test_make_ablation_refuses_before_anything_runs(workspace: Path) -> None:
    """The recipe itself, with a dvc that would say so."""
    bin_dir = workspace / ".venv/bin"
    bin_dir.mkdir(parents=True)
    for name, program in (("dvc", 'echo dvc "$@"'), ("python", f'exec {sys.executable} "$@"')):
        (bin_dir / name).write_text(f"#!/bin/sh\n{program}\n")
        (bin_dir / name).chmod(0o755)
    for name in ("requirements.txt", ".venv/.ready"):  # set up in this order, so that nothing is to be done
        Path(name).touch()
    change_params({"augment.policy": "RandAugment"})
    command = ["make", "--silent", "--file", str(ROOT / "Makefile"), "ablation"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ablation.plan: error: augment.policy is RandAugment")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5399, "90 min"), (5400, "1.5 h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
