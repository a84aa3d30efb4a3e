"""A real MLflow database: one run per model, no point twice, and several processes may create it at once."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from mlflow.tracking import MlflowClient

from stages.runtime.root import find_root
from stages.tracking import runs
from stages.tracking import store as tracking
from stages.tracking import workspace as workspace_tags
from stages.tracking.journal import Journal, sync_journal
from tests.conftest import ROOT
from tests.support.trainer import fork, make_database, wait_for, wait_until


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(make_database(), tmp_path_factory.mktemp("store") / "mlflow.db"))


@pytest.fixture
def client(store: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
    return tracking.open_store()


def train(model: str, arm: str = "original") -> None:
    token = uuid4().hex
    journal = Journal(f"{arm}-0", token, {"train.epochs": "2"}, {"arm": arm, "trial": "0"})
    journal.add_epoch(1, {"train/loss": 0.9})
    journal.end(model)
    sync_journal(journal)


def test_run_is_found_by_its_model(client: MlflowClient) -> None:
    train("aaa")
    train("aaa")
    train("aaa", arm="augmented")
    found = runs.find_run(client, "original", 0, "aaa")
    assert found is not None
    assert (found.info.status, found.data.tags["arm"], found.data.params["train.epochs"]) == (
        "FINISHED",
        "original",
        "2",
    )
    same = client.search_runs([found.info.experiment_id], "tags.model_sha256 = 'aaa' and tags.arm = 'original'")
    assert found.info.start_time == max(run.info.start_time for run in same), "the newest one"
    assert runs.find_run(client, "original", 0, "bbb") is None
    assert runs.find_run(client, "original", 1, "aaa") is None


def test_results_are_added_once(client: MlflowClient) -> None:
    train("ccc")
    for _ in range(2):
        run = runs.find_run(client, "original", 0, "ccc")
        assert run is not None
        runs.add_results(client, run, {"evaluate/accuracy": 0.5, "evaluate/log_loss": 0.7}, step=2)
    assert run is not None
    points = client.get_metric_history(run.info.run_id, "evaluate/accuracy")
    assert [(point.step, point.value) for point in points] == [(2, 0.5)]
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


@pytest.mark.slow
def test_processes_may_create_the_store_together(workspace: Path) -> None:
    """MLflow's own creation breaks for good when several processes do it at once."""
    processes = [fork(create_store, str(workspace), number) for number in range(10)]
    wait_until(lambda: len(list(workspace.glob("*.ready"))) == 10, "all processes are ready")
    Path("go").touch()
    statuses = [wait_for(process) for process in processes]
    outputs = [Path(f"{number}.txt").read_text() for number in range(10)]
    assert statuses == [0] * 10, outputs
    assert outputs == [f"{tracking.EXPERIMENT}\n"] * 10, "one experiment, and not a word of chatter"
    assert (workspace / "mlflow.db").exists()
    program = "from stages.tracking.store import open_store; print(open_store().search_experiments()[0].name)"
    command = [sys.executable, "-c", program]
    printed = subprocess.check_output(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.STDOUT)
    assert printed.decode() == f"{tracking.EXPERIMENT}\n", "nor while MLflow is imported"


def create_store(folder: str, number: int) -> None:
    """Wait for the others, then open the store that does not exist yet."""
    os.chdir(folder)
    for handle in (1, 2):
        os.dup2(os.open(f"{number}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), handle)
    Path(f"{number}.ready").touch()
    wait_until(Path("go").exists, "the start")
    print(tracking.open_store().search_experiments()[0].name, flush=True)


def test_store_is_at_the_root_of_the_main_repository(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir(workspace / "deep" / "down")
    assert find_root() == workspace
    monkeypatch.setenv("DVC_ROOT", "/elsewhere")  # what DVC sets in experiments that run in a temporary copy
    assert find_root() == Path("/elsewhere")


def test_upstream_hashes_are_those_of_dvc_lock(workspace: Path) -> None:
    assert workspace_tags.read_upstream_md5s(["data/raw"]) == {}, "before the first run there is no dvc.lock"
    Path("dvc.lock").write_text("stages:\n  fetch:\n    outs:\n    - path: data/raw\n      md5: abc.dir\n")
    assert workspace_tags.read_upstream_md5s(["data/raw", "data/other"]) == {"md5:data/raw": "abc.dir"}


def test_only_changes_that_matter_make_a_run_dirty(workspace: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)

    assert workspace_tags.describe_workspace()["git_commit"] == "", "a downloaded copy has no git"
    Path("dvc.lock").write_text("1")
    Path("metrics").mkdir()
    Path("metrics/a.json").write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    Path("dvc.lock").write_text("2")
    Path("metrics/a.json").unlink()
    assert workspace_tags.describe_workspace()["git_dirty"] == "false"
    assert len(workspace_tags.describe_workspace()["git_commit"]) == 40
    Path("params.yaml").write_text("seed: 1")
    assert workspace_tags.describe_workspace()["git_dirty"] == "true"


def test_uploads_get_time_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    with contextlib.suppress(ConnectionError), tracking.allow_slow_uploads():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "120"
        raise ConnectionError
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "5"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")
    with tracking.allow_slow_uploads():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "600", "who asks for more gets it"
