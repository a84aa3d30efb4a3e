"""Every check meets a real fault, reports it, and fixes it where no data can be lost."""

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import psutil
import pytest
from mlflow.tracking import MlflowClient

from stages.doctor import __main__ as doctor
from stages.doctor import machine, store
from stages.doctor.problem import Problem
from stages.doctor.workspace import check_locks, check_partials
from stages.tracking import store as tracking
from stages.tracking.runs import MODEL_TAG
from tests.conftest import ROOT
from tests.support.locks import make_dead_pid, write_rwlock
from tests.support.mlflow_server import find_port
from tests.support.trainer import make_database

HOUR_MS = 3_600_000
SLEEPER = "import sys, time; print('ready', flush=True); time.sleep(120)"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a real store: a finished run with an artifact, and a stored model."""
    home = tmp_path_factory.mktemp("original home")  # a space is written %20 in the store
    (home / ".dvc/tmp").mkdir(parents=True)
    (home / "requirements.txt").write_text(
        f"psutil=={psutil.__version__} \\\n    --hash=sha256:0\n    # via a comment\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        shutil.copy(make_database(), home / "mlflow.db")
        client = tracking.open_store()
        experiment = client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id
        run = client.create_run(experiment, run_name="original-0", tags={"arm": "original", "trial": "0"})
        client.log_text(run.info.run_id, "of the original", "note.txt")
        client.set_terminated(run.info.run_id)
        model = client.create_logged_model(experiment, name="model")
        (home / "weights").mkdir()
        (home / "weights/weights.txt").write_text("of the original")
        client.log_model_artifacts(model.model_id, str(home / "weights"))
    return home


@pytest.fixture
def home(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the current directory: its store still names the folder it came from."""
    copy = tmp_path / "moved home"
    shutil.copytree(original, copy)
    monkeypatch.chdir(copy)
    return copy


def run_doctor(*options: str) -> subprocess.CompletedProcess[str]:
    """The doctor as `make doctor` calls it, in the current directory; ``options`` are Python's."""
    command = [sys.executable, *options, "-m", "stages.doctor"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


Examine = Callable[..., tuple[int, str]]


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Examine:
    """The doctor in this process, as importing MLflow takes seconds: its exit status, and what it printed."""

    def call(*options: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["doctor", *options])
        status = 0
        try:
            doctor.main()
        except SystemExit as error:
            status = int(error.code or 0)
        printed = capsys.readouterr()
        assert printed.err == ""
        return status, printed.out

    return call


def find_marks(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("✗")]


def fix(problems: Iterator[Problem]) -> list[str]:
    """Apply every fix; returns what was wrong."""
    found = list(problems)
    for problem in found:
        assert problem.fix is not None
        problem.fix()
    return [problem.what for problem in found]


@pytest.fixture
def start_process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python on a program that prints a line when it is ready; it is ended with the test."""
    started = []

    def start(program: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def fresh(workspace: Path) -> Path:
    """A workspace in which nothing has run."""
    (workspace / ".dvc/tmp").mkdir()
    (workspace / "requirements.txt").write_text("")
    return workspace


def test_a_fresh_workspace_is_healthy_and_stays_as_it_is(fresh: Path) -> None:
    before = sorted(fresh.rglob("*"))
    done = run_doctor()
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 9)
    assert {line[:2] for line in done.stdout.splitlines()} == {"✓ "}
    assert sorted(fresh.rglob("*")) == before, "above all, no store is made"


def test_many_faults_are_reported_and_fixed_in_one_go(home: Path, examine: Examine) -> None:
    (home / "data/raw.partial").mkdir(parents=True)
    (home / ".dvc/tmp/rwlock").write_text("")
    make_run(MlflowClient(f"sqlite:///{home}/mlflow.db"), "augmented-3")
    status, printed = examine()
    wrong = ["✗ half-written outputs", "✗ DVC's locks", "✗ MLflow artifact store", "✗ MLflow runs"]
    assert (status, find_marks(printed)) == (1, wrong)
    assert printed.count("(make doctor FIX=1 does it)") == 4
    status, printed = examine("--fix")
    assert (status, find_marks(printed), printed.count("→ done: ")) == (0, wrong, 4)
    status, printed = examine()
    assert (status, find_marks(printed)) == (0, [])


def test_what_cannot_be_fixed_remains_and_the_rest_is_fixed(home: Path, examine: Examine) -> None:
    (home / "requirements.txt").write_text("psutil==0.1 \\\n")
    (home / "data/raw.partial").mkdir(parents=True)
    status, printed = examine("--fix")
    assert status == 1
    assert f"psutil {psutil.__version__} instead of 0.1" in printed
    assert "→ rm -f .venv/.ready; make .venv/.ready" in printed
    assert not (home / "data/raw.partial").exists()


def test_without_any_package_it_names_the_remedy(home: Path) -> None:
    done = run_doctor("-S")
    assert (done.returncode, done.stderr) == (1, "")
    assert "No module named 'packaging'\n    → rm -f .venv/.ready; make .venv/.ready\n" in done.stdout
    assert "✓ Python\n" in done.stdout


def test_make_doctor_works_without_set_up_and_sets_nothing_up(fresh: Path) -> None:
    shutil.copy(ROOT / "Makefile", fresh)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    environment |= {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    (fresh / ".venv/bin").mkdir(parents=True)
    (fresh / ".venv/bin/python").symlink_to("/nowhere/python3.12")  # the system's Python was removed
    done = subprocess.run(["make", "doctor"], env=environment, capture_output=True, text=True, check=False)
    assert "✓ Python\n" in done.stdout or "✗ Python\n" in done.stdout
    assert "rm -f .venv/.ready; make .venv/.ready" in done.stdout
    assert done.returncode == 2, "of make, for any status but 0"
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (fresh / ".venv/bin").iterdir()) == ["python"]


@pytest.mark.parametrize(("version", "well"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)])
def test_python(version: tuple[int, int], well: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    assert (not list(machine.check_python(ROOT))) == well


def test_packages(workspace: Path) -> None:
    pins = workspace / "requirements.txt"
    pins.write_text(
        "# a comment\nPSUtil==0.1 \\\n    --hash=sha256:0\n    # via x\nno-such-package==1\n"
        "psutil==0.1 ; python_full_version < '3'\n"
    )
    (problem,) = machine.check_packages(workspace)
    assert problem.what == f"PSUtil {psutil.__version__} instead of 0.1; no-such-package is missing"
    pins.write_text("".join(f"absent-{number}==1\n" for number in range(9)))
    (problem,) = machine.check_packages(workspace)
    assert problem.what == "absent-0 is missing; absent-1 is missing; absent-2 is missing; and 6 more"


def test_packages_of_these_tests_are_those_that_are_pinned() -> None:
    assert list(machine.check_packages(ROOT)) == []
    assert list(machine.check_libmagic(ROOT)) == []


def test_libmagic_that_is_missing(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "magic", None)
    assert [problem.what for problem in machine.check_libmagic(workspace)] == [
        "cannot be used: import of magic halted; None in sys.modules"
    ]


def test_disk(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FREE_GB", 10**6)
    (problem,) = machine.check_disk(workspace)
    assert "a trial needs up to 1000000 GB" in problem.what


def test_partials_of_killed_stages_are_removed_and_nothing_else(fresh: Path) -> None:
    names = ("data/raw.partial", "metrics/a.json.partial", "data/split/0.csv.partial", ".dvc/tmp/pixels/a.pack.partial")
    left = [fresh / name for name in names]
    kept = [fresh / name for name in ("data/raw/a.jpg", "data/downloads/photos.zip.partial", "models/partial")]
    for path in [left[0] / "cats/a.jpg.partial", *left[1:], *kept]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert len(fix(check_partials(fresh))) == 4
    assert [path.exists() for path in left] == [False] * 4
    assert [path.exists() for path in kept] == [True] * 3


def test_a_stage_at_work_keeps_its_partials(fresh: Path, start_process: Callable[..., subprocess.Popen[str]]) -> None:
    (fresh / "data/raw.partial").mkdir(parents=True)
    stage = start_process(SLEEPER, "-m", "stages.fetch")
    assert list(check_partials(fresh)) == []
    stage.kill()
    stage.wait()
    assert fix(check_partials(fresh)) == ["data/raw.partial was left by a stage that was killed"]


@pytest.mark.parametrize("mode", ["write", "read"])
def test_locks_of_dead_processes_are_no_problem(fresh: Path, mode: str) -> None:
    """The next `make repro` drops them, and so does DVC."""
    write_rwlock(fresh, **{mode: make_dead_pid()})
    assert list(check_locks(fresh)) == []


def test_locks_of_a_living_process_stay(fresh: Path) -> None:
    write_rwlock(fresh, write=os.getpid(), read=make_dead_pid())
    assert list(check_locks(fresh)) == []


def test_lock_whose_pid_was_reused(fresh: Path) -> None:
    """DVC would wait for this process, which has nothing to do with it."""
    path = write_rwlock(fresh, write=os.getpid())
    os.utime(path, (0, psutil.Process().create_time() - 60))
    (what,) = fix(check_locks(fresh))
    assert what.endswith(f"DVC waits for it, as its PID is still taken: {os.getpid()}")
    assert not path.exists()


@pytest.mark.parametrize("content", ["", '{"write": {"a": {"pi', "[]", '{"write": {"a": {}}}', '{"write": 1}'])
def test_locks_that_are_truncated(fresh: Path, content: str) -> None:
    (fresh / ".dvc/tmp/rwlock").write_text(content)
    assert len(fix(check_locks(fresh))) == 1


@pytest.mark.parametrize("content", ["{}", '{"write": {}}', '{"write": {}, "read": {}}'])
def test_locks_that_dvc_has_left_in_order(fresh: Path, content: str) -> None:
    (fresh / ".dvc/tmp/rwlock").write_text(content)
    assert list(check_locks(fresh)) == []


@pytest.mark.parametrize("where", ["every page's header", "the first bytes", "the second half"])
def test_damaged_store(home: Path, where: str) -> None:
    database = home / "mlflow.db"
    data = bytearray(database.read_bytes())
    if where == "every page's header":
        for start in range(4096, len(data), 4096):
            data[start : start + 8] = bytes(byte ^ 0xFF for byte in data[start : start + 8])
    elif where == "the first bytes":
        data[:16] = b"not a database.."
    else:
        del data[len(data) // 2 :]
    database.write_bytes(data)
    (problem,) = store.check_store(home)
    assert problem.what.startswith("mlflow.db is damaged: ")
    assert problem.fix is None
    assert "dvc repro --force --single-item evaluate" in problem.remedy
    assert list(store.check_artifacts(home)) == list(store.check_runs(home)) == []
    assert database.read_bytes() == data
    shutil.move(database, home / "mlflow.db.damaged")
    assert list(store.check_store(home)) == []


def test_store_that_mlflow_cannot_open(home: Path) -> None:
    """A whole database, but what several processes leave that create a store at once."""
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute("DROP TABLE experiments")
    (problem,) = store.check_store(home)
    assert problem.what.startswith("MLflow cannot open it: ")
    assert list(store.check_runs(home)) == []


def test_store_of_a_process_that_was_killed_while_writing(
    home: Path, start_process: Callable[..., subprocess.Popen[str]]
) -> None:
    """SQLite left a journal, with which the next one to open the store undoes the half."""
    program = (
        "import sqlite3, time; c = sqlite3.connect('mlflow.db'); c.execute('PRAGMA cache_size = 1');"
        "c.execute('CREATE TABLE big (x)');"
        "c.executemany('INSERT INTO big VALUES (?)', [('x' * 4000,)] * 500); print('ready', flush=True); time.sleep(99)"
    )
    writer = start_process(program)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert (home / "mlflow.db-journal").stat().st_size > 0
    assert list(store.check_store(home)) == []
    assert not (home / "mlflow.db-journal").exists()


def test_store_in_use_is_not_called_damaged(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ANSWER_SECONDS", 0.1)
    with closing(sqlite3.connect(home / "mlflow.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        problem = store.check_database(home / "mlflow.db")
    assert problem is not None
    assert problem.what == "mlflow.db cannot be opened: database is locked"


def test_a_server_that_is_down(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = find_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}/")
    (problem,) = store.check_store(workspace)
    assert problem.what == f"no MLflow tracking server responds at http://127.0.0.1:{port} (ConnectionError)"
    assert list(store.check_runs(workspace)) == list(store.check_artifacts(workspace)) == []


def test_a_store_elsewhere_is_not_made_either(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace / 'other.db'}")
    for check in (store.check_store, store.check_artifacts, store.check_runs):
        assert list(check(workspace)) == []
    assert not (workspace / "other.db").exists()


def read_artifacts(home: Path) -> list[str]:
    """What MLflow downloads of the run and of the model."""
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id
    (run,) = client.search_runs([experiment])
    (model,) = client.search_logged_models([experiment])
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["note.txt"]
    assert [item.path for item in client.list_logged_model_artifacts(model.model_id)] == ["weights.txt"]
    files = [
        mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="note.txt"),
        Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}"), "weights.txt"),
    ]
    return [Path(file).read_text() for file in files]


def test_moved_folder(home: Path, original: Path) -> None:
    for file in (*home.glob("mlartifacts/**/note.txt"), *home.glob("mlartifacts/**/weights.txt")):
        file.write_text("of the copy")
    assert read_artifacts(home) == ["of the original"] * 2, "the fault: a copy reads and writes the original's"
    assert fix(store.check_artifacts(home)) == [f"mlflow.db points to the artifacts in {original / 'mlartifacts'}"]
    assert read_artifacts(home) == ["of the copy"] * 2
    assert list(store.check_artifacts(home)) == []
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    run = make_run(client, "original-1")
    client.log_text(run, "new", "note.txt")
    assert len(list((home / "mlartifacts").rglob("note.txt"))) == 2, "new ones too"
    assert list(store.check_artifacts(original)) == [], "the original is where it was made"
    assert read_artifacts(original) == ["of the original"] * 2


def test_moved_folder_whose_artifacts_stayed_behind(home: Path, original: Path) -> None:
    shutil.rmtree(home / "mlartifacts")
    (problem,) = store.check_artifacts(home)
    assert problem.fix is None, "the store would lose sight of them"
    assert problem.remedy.startswith(f"move {original / 'mlartifacts'} to {home / 'mlartifacts'}")


def make_run(client: MlflowClient, name: str, age_ms: int = 0, **tags: str) -> str:
    """A run that is marked as RUNNING."""
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id
    started = int(time.time() * 1000) - age_ms
    arm, _, trial = name.rpartition("-")
    tags = {"arm": arm, "trial": trial} | tags if arm else tags
    run_id: str = client.create_run(experiment, start_time=started, tags=tags, run_name=name).info.run_id
    return run_id


@pytest.mark.parametrize(
    ("name", "age_ms", "tags", "status"),
    [
        ("original-0", 0, {}, "KILLED"),
        ("original-0", 0, {"restored": "true"}, "RUNNING"),
        ("original-0", 2 * HOUR_MS, {"restored": "true"}, "KILLED"),
        ("comparison", 0, {}, "RUNNING"),
        ("comparison", 2 * HOUR_MS, {}, "KILLED"),
        ("../../original-0", 2 * HOUR_MS, {}, "KILLED"),
    ],
)
def test_orphaned_runs(home: Path, name: str, age_ms: int, tags: dict[str, str], status: str) -> None:
    client = tracking.open_store()
    run = make_run(client, name, age_ms, **tags)
    (home / ".dvc/tmp/original-0.lock").write_text("1")  # left by a process that is gone: nobody holds it
    fix(store.check_runs(home))
    assert client.get_run(run).info.status == status


def test_orphaned_runs_of_the_ablation(home: Path) -> None:
    client = tracking.open_store(tracking.ABLATION)
    experiment = client.get_experiment_by_name(tracking.ABLATION).experiment_id
    run = client.create_run(experiment, run_name="left", tags={"arm": "only_rotate", "trial": "0"}).info.run_id
    fix(store.check_runs(home))
    assert client.get_run(run).info.status == "KILLED"


def test_run_that_was_opened_again(home: Path) -> None:
    """By evaluate, to add the model of a training that is done; by a training that went on and was killed again."""
    client = tracking.open_store()
    adding, done, killed = (make_run(client, f"original-{trial}", 3 * HOUR_MS) for trial in range(3))
    ended = {adding: int(time.time() * 1000), done: int(time.time() * 1000) - 2 * HOUR_MS, killed: 1}
    for run, end in ended.items():
        client.set_terminated(run, end_time=end)
        client.update_run(run, "RUNNING")
    client.set_tag(adding, MODEL_TAG, "aaa")
    client.set_tag(done, MODEL_TAG, "bbb")
    fix(store.check_runs(home))
    found = [client.get_run(run).info for run in ended]
    assert [info.status for info in found] == ["RUNNING", "FINISHED", "KILLED"]
    assert [info.end_time == end for info, end in zip(found, ended.values(), strict=True)] == [True, True, False]


def test_old_run_that_still_logs_is_alive(home: Path) -> None:
    client = tracking.open_store()
    run = make_run(client, "comparison", 9 * HOUR_MS)
    client.log_metric(run, "gain", 0.1)
    assert list(store.check_runs(home)) == []


@pytest.mark.parametrize("folder", [".dvc/tmp", ".dvc/tmp/exps/tmpabc/.dvc/tmp"])
def test_run_of_a_living_trainer_survives(
    home: Path, folder: str, start_process: Callable[..., subprocess.Popen[str]]
) -> None:
    client = tracking.open_store()
    live, dead = make_run(client, "original-7"), make_run(client, "augmented-7")
    (home / folder).mkdir(parents=True, exist_ok=True)
    program = (
        "import fcntl, os, sys, time; file = open(sys.argv[1], 'a+'); fcntl.flock(file, fcntl.LOCK_EX);"
        "file.write(str(os.getpid())); file.flush(); print('ready', flush=True); time.sleep(120)"
    )
    trainer = start_process(program, str(home / folder / "original-7.lock"))
    fix(store.check_runs(home))
    assert [client.get_run(run).info.status for run in (live, dead)] == ["RUNNING", "KILLED"]
    trainer.kill()
    trainer.wait()
    assert len(fix(store.check_runs(home))) == 1
    assert client.get_run(live).info.status == "KILLED"
    with (home / folder / "original-7.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the doctor keeps no lock itself


def test_runs_of_other_machines_on_a_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here can know whether they are alive, unless nothing was logged for long."""
    client = tracking.open_store()
    young, old = make_run(client, "original-0"), make_run(client, "original-1", 2 * HOUR_MS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert [store.is_orphan(home, client, client.get_run(run)) for run in (young, old)] == [False, True]
