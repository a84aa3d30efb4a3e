"""What an ablation says it will cost."""

import io
import json
import time
from pathlib import Path

import pytest

from ablation import cost
from stages.model.record import RUN_FILE, get_model_dir
from stages.runtime.errors import UserError
from stages.runtime.progress import format_duration
from stages.tracking import journal
from tests.conftest import change_params
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
    stale = {name: ["changed deps"] for name in ("only@rotate-0", "all_but@blur-0", "rank")}
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
    stale = {f"only@{number}-0": ["changed deps"] for number in range(20)}
    said = estimate(monkeypatch, capsys, json.dumps(stale))
    assert "20 to do at about 90 s each, as the augmented arm took here: about 30 min. Ctrl-C stops" in said


def test_what_dvc_cannot_read_ends_with_one_message(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="DVC cannot say what there is to do"):
        estimate(monkeypatch, capsys, "")
    change_params({"augment.policy": "RandAugment"})
    with pytest.raises(UserError, match="An ablation needs augly"):
        estimate(monkeypatch, capsys, "{}")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5399, "90 min"), (5400, "1.5 h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
