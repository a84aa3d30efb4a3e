"""A real tracking server that goes down and comes back: no weight changes, no point is lost or logged twice."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.base.files import write_json
from stages.tracking import journal, training
from stages.tracking import store as tracking
from stages.tracking.journal import Journal, load_journal, replay_journals
from stages.tracking.training import TrackedRun, track_run
from stages.training.checkpoints import Stop, open_checkpoints
from tests.support.mlflow_server import Server
from tests.support.trainer import (
    make_database,
    make_workspace,
    read_results,
    run_trainer,
    start_trainer,
    wait_for,
    wait_until,
)

QUIET = {"RESUME_SECONDS": "1000"}  # checkpoints are of no interest here
OUTAGE = {**QUIET, "REQUIRE_TRACKING": ""}


def make_journal(model_sha256: str = "") -> Journal:
    """Of a training of one epoch, which is complete if it has made a model."""
    entry = Journal("original-0", "original-0/abc", {"seed": "0"}, {"arm": "original"})
    entry.add_epoch(1, {"train/loss": 0.9})
    if model_sha256:
        entry.end(model_sha256)
    return entry


def write_journal(home: Path, journal: Journal) -> Path:
    """Leave a journal as a training that has ended leaves it."""
    file = home / tracking.identify_store() / "journal.json"
    write_json(file, vars(journal))
    return file


@pytest.fixture
def tracked_workspace(workspace: Path) -> Path:
    """With a database, as making one takes seconds."""
    shutil.copy(make_database(), workspace / "mlflow.db")
    return workspace


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    yield server
    if server.process:
        server.send(signal.SIGKILL)


def read_server() -> list[tuple[str, list[int], list[str]]]:
    """Of every run: status, steps of all points of one metric, files."""
    client = tracking.open_store()
    found = []
    for run in client.search_runs([client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id]):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
        files = [file.path for file in client.list_artifacts(run.info.run_id, "checkpoints")]
        files += [file.path for file in client.list_artifacts(run.info.run_id) if not file.is_dir]
        found.append((run.info.status, steps, files))
    return found


COMPLETE = ("FINISHED", [1, 2], ["checkpoints/epoch-001.safetensors", "layers.csv"])


@pytest.mark.parametrize(
    ("place", "how"),
    [
        pytest.param("", 0, id="dead at the start"),
        pytest.param("step 2.1", signal.SIGKILL, id="killed in the middle"),
        pytest.param("after-last-save", signal.SIGKILL, id="killed at the end", marks=pytest.mark.slow),
        pytest.param("step 2.1", signal.SIGSTOP, id="hangs in the middle", marks=pytest.mark.slow),
    ],
)
def test_an_outage_changes_no_weight_and_loses_no_point(
    place: str, how: int, server: Server, photos_to_train: Path, whole: dict[str, bytes]
) -> None:
    if place:
        server.start()
        trainer = start_trainer(MLFLOW_TRACKING_URI=server.uri, FAILPOINT=f"SIGSTOP:{place}", **OUTAGE)
        wait_until(lambda: is_stopped(trainer.pid or 0), "the trainer stops")
        server.send(how)
        os.kill(trainer.pid or 0, signal.SIGCONT)
        assert wait_for(trainer) == 0
    else:
        assert run_trainer(MLFLOW_TRACKING_URI=server.uri, **OUTAGE).status == 0
    assert read_results() == whole
    said = Path("err.txt").read_text()
    assert said.count("warning: the tracking server is unreachable") == len(said.splitlines()) == 1, "one line, once"
    (kept,) = Path(".resume").rglob("journal.json")
    found = load_journal(kept.parent)
    assert found is not None
    assert list(found.epochs) == ["1", "2"]

    if how == signal.SIGSTOP:
        server.send(signal.SIGCONT)
    else:
        server.start()
    replay_journals()
    assert read_server() == [COMPLETE]
    assert not list(Path(".resume").rglob("journal.json"))
    replay_journals()
    assert read_server() == [COMPLETE]


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def test_after_an_outage_the_next_epoch_logs_what_is_unsynced(
    server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUIRE_TRACKING")
    with track_run(workspace / "run", make_journal()) as tracked:
        tracked.log_epoch(1, {"train/loss": 0.9})
        server.start()
        tracked.log_epoch(2, {"train/loss": 0.8})
        tracked.log_epoch(2, {"train/loss": 0.8})
        assert [steps for _, steps, _ in read_server()] == [[1, 2]]
        server.send(signal.SIGKILL)
        tracked.log_epoch(3, {"train/loss": 0.7})
        server.start()
        tracked.finish("abc")
        tracked.close()
    (run,) = read_server()
    assert run[:2] == ("FINISHED", [1, 2, 3])
    assert not (workspace / "run").exists()


def test_a_run_whose_creation_was_not_seen_is_found_again(tracked_workspace: Path) -> None:
    assert journal.sync_journal(make_journal()) == journal.sync_journal(make_journal())


def test_a_replay_removes_only_the_journal_of_its_own_server(
    tracked_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tracked_workspace / ".resume/original-0/abc"
    other = f"sqlite:///{shutil.copy(make_database(), tracked_workspace / 'other.db')}"
    here = write_journal(home, make_journal("abc"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    there = write_journal(home, make_journal("abc"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    replay_journals()
    assert (here.exists(), there.exists()) == (False, True)
    assert [run[:2] for run in read_server()] == [("FINISHED", [1])]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    replay_journals()
    assert [run[:2] for run in read_server()] == [("FINISHED", [1])]
    assert not home.exists(), "nothing is left in it"


def test_a_replay_keeps_the_checkpoint_beside_the_journal(tracked_workspace: Path) -> None:
    """A complete training is repeated, as by `dvc repro --force`, and killed: it resumes from there."""
    home = tracked_workspace / ".resume/original-0/abc"
    file = write_journal(home, make_journal("abc"))
    (home / "checkpoint-0.pt").write_bytes(b"checkpoint")
    replay_journals()
    assert not file.exists()
    assert (home / "checkpoint-0.pt").read_bytes() == b"checkpoint"


def test_a_new_password_orphans_no_journal(server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri.replace("//", "//alice:old@"))
    file = write_journal(workspace / ".resume/original-0/abc", make_journal("abc"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri.replace("//", "//alice:new@") + "/")
    replay_journals()
    assert not file.exists()
    assert [run[:2] for run in read_server()] == [("FINISHED", [1])]


def test_servers_are_told_apart_by_all_but_their_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def identify(uri: str) -> str:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        return tracking.identify_store()

    same = ["http://host:1", "http://host:1/", "http://alice:s3cret@host:1", "http://alice:p@ss@host:1/"]
    others = ["http://host:2", "https://host:1", "http://other:1", "http://host:1/path", "sqlite:////a/b@c.db"]
    assert len({identify(uri) for uri in same}) == 1
    assert len({identify(uri) for uri in [same[0], *others, "sqlite:////a/c.db"]}) == 7


@pytest.mark.parametrize("credentials", ["alice:s3cret", "alice:p@s3cret", "alice@example.org:s3cret", "s3cret"])
def test_a_password_is_not_repeated(credentials: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_TRACKING")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{credentials}@127.0.0.1:1")
    reason = tracking.attempt(tracking.open_store)
    assert "http://127.0.0.1:1: " in reason
    assert "s3cret" not in reason
    assert "alice" not in reason


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://alice:s3/cret@host/db",  # SQLAlchemy, which connects to databases, allows it
        "postgresql://host/db?user=alice&password=s3cret",
        "postgresql://alice:s3cret?@host/db?sslmode=require",
    ],
)
def test_no_part_of_a_uri_that_can_hold_a_password_is_kept(uri: str) -> None:
    assert (
        tracking.hide_credentials(f"cannot connect to {uri} now. Why?")
        == "cannot connect to postgresql://host/db now. Why?"
    )


def test_the_outage_budget_ends(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REQUIRE_TRACKING")
    tracked = TrackedRun(workspace / "run", make_journal())
    tried: list[int] = []

    def fail() -> None:
        tried.append(1)
        time.sleep(0.02)
        raise ConnectionError("nobody there")

    monkeypatch.setattr(training, "OUTAGE_BUDGET_S", 0.05)
    for _ in range(10):
        assert not tracked.attempt(fail)
    assert len(tried) <= 3
    assert capsys.readouterr().err.count("nobody there") == 1


def test_tracking_may_be_required(photos_to_train: Path) -> None:
    done = run_trainer(MLFLOW_TRACKING_URI="http://127.0.0.1:1", REQUIRE_TRACKING="1", **QUIET)
    assert done.status == 1
    assert "error: the tracking server failed, and REQUIRE_TRACKING=1" in done.stderr
    assert "Traceback" not in done.stderr


def test_four_trainings_at_once_lose_no_point(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As four experiments of `dvc queue` do: folders of their own, one store, made by whoever comes first."""
    trainers = []
    folders = [make_workspace(tmp_path_factory.mktemp("experiment")) for _ in range(4)]
    for folder in folders:
        monkeypatch.chdir(folder)
        trainers.append(start_trainer(DVC_ROOT=str(workspace), **QUIET))
    for trainer, folder in zip(trainers, folders, strict=True):
        assert wait_for(trainer) == 0
        monkeypatch.chdir(folder)
        assert read_results() == whole
        assert Path("err.txt").read_text() == ""
    monkeypatch.chdir(workspace)
    assert read_server() == [COMPLETE] * 4


def test_the_journal_of_a_living_training_is_left_to_it(workspace: Path) -> None:
    with open_checkpoints("original-0", {}, Stop()) as checkpoints:
        file = write_journal(checkpoints.folder, make_journal("abc"))
        replay_journals()
        assert file.exists()
        assert not Path("mlflow.db").exists()
    shutil.copy(make_database(), workspace / "mlflow.db")
    replay_journals()
    assert not checkpoints.folder.exists()
    assert [run[0] for run in read_server()] == ["FINISHED"]


def test_the_journal_of_a_training_that_was_cut_short_is_left_to_it(workspace: Path) -> None:
    """With the checkpoints beside it, from which it resumes."""
    file = write_journal(workspace / ".resume/original-0/abc", make_journal())
    replay_journals()
    assert file.exists()
    assert not Path("mlflow.db").exists()


def test_a_replay_reads_no_manifest(tracked_workspace: Path) -> None:
    """The photos of the training may be others by then, or gone."""
    Path("split.csv").write_text("path,class\na,b\n")
    entry = make_journal("abc")
    entry.datasets = [training.describe_dataset(Path("split.csv"), "0" * 64)]
    Path("split.csv").unlink()
    run = tracking.open_store().get_run(journal.sync_journal(entry))
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("split.csv", "0" * 36)
    assert '"num_rows": 1' in dataset.dataset.profile


def test_damaged_journal_is_no_journal(workspace: Path) -> None:
    for text in ("", "{", "[]", '{"name": 1, "surprise": 2}'):
        Path("journal.json").write_text(text)
        assert load_journal(Path()) is None


def test_only_the_time_in_which_it_ran_counts_as_training(tmp_path: Path) -> None:
    journal = Journal("original-0", "token", {}, {"arm": "original", "trial": "0"}, started=0)
    for seconds in (30, 20):  # two sessions, with any pause between them
        TrackedRun(tmp_path, load_journal(tmp_path) or journal, since=time.time() - seconds).write_journal()
    loaded = load_journal(tmp_path)
    assert loaded
    assert loaded.seconds == pytest.approx(50, abs=5)
