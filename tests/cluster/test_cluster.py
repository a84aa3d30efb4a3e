"""Trials on a Ray cluster: what is refused, what travels, and real ones on two nodes that lose a worker."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from stages.cli.before_repro import list_commands
from stages.cli.params import load_params
from stages.cluster import __main__ as cluster
from stages.cluster import checks
from stages.cluster.payload import merge_results, pack_code, pack_trial
from stages.cluster.queue import Cluster, check_address, count_places, has_place
from stages.cluster.task import run_trial
from stages.cluster.trial import STAGES
from stages.runtime.errors import UserError
from stages.tracking.workspace import LOCK, read_lock
from tests.conftest import ROOT, change_params
from tests.support.clone import SMALL, build_env, call, make_clone
from tests.support.mlflow_server import Server, find_port
from tests.support.ray_nodes import start_nodes
from tests.support.s3 import CREDENTIALS, serve_bucket
from tests.support.trainer import wait_until

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
BODIES = {name: body.get("do", body) for name, body in PIPELINE.items()}


def test_the_stages_of_a_trial_are_those_of_the_pipeline() -> None:
    assert {name for name, body in PIPELINE.items() if "foreach" in body} == set(STAGES)


@pytest.mark.parametrize("name", ["fetch", *STAGES])
def test_what_lies_in_metrics_travels_through_ray_and_the_rest_through_the_remote(name: str) -> None:
    for out in BODIES[name]["outs"]:
        path, cached = (out, True) if isinstance(out, str) else (next(iter(out)), next(iter(out.values()))["cache"])
        assert cached != path.startswith("metrics/")


def make_entry(*outs: str) -> dict[str, Any]:
    return {"cmd": "exec true", "outs": [{"path": out, "md5": "0" * 32} for out in outs]}


@pytest.fixture
def known(workspace: Path) -> Path:
    """A workspace with the results of trials 3 and 30."""
    files = ["metrics/source.json", *(f"metrics/original/{trial}.json" for trial in (3, 30)), "metrics/report.md"]
    for name in files:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    stages = {f"evaluate@{trial}": make_entry(f"metrics/original/{trial}.json") for trial in (3, 30)}
    stages |= {"fetch": make_entry("data/raw", "metrics/source.json"), "report": make_entry("metrics/report.md")}
    LOCK.write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    change_params({"trials": [3, 30], "train.threads": 2})
    return workspace


def test_a_trial_gets_what_is_its_own(known: Path) -> None:
    change_params({"report.looks": [5, 10], "trials": [3, 30, 31, 32, 33]})
    own = pack_trial(3)
    assert set(own) == {"dvc.lock", "metrics/original/3.json", "metrics/source.json", "params.yaml"}
    assert set(yaml.safe_load(own["dvc.lock"])["stages"]) == {"evaluate@3", "fetch"}
    Path("params.yaml").write_bytes(own["params.yaml"])
    alone = load_params()
    assert alone.trials == [3]
    assert alone.report.looks is None, "a plan of looks would not allow one trial"


def test_a_trial_computes_on_cores_that_no_other_trial_has() -> None:
    """Ray counts them; a trial that is told of its own alone would take the first one to be all there are."""
    program = b"import json, os; os.mkdir('metrics'); json.dump(dict(os.environ), open('metrics/found.json', 'w'))"
    files = run_trial(0, 3, {"stages/cluster/trial.py": program}, {"dvc.lock": b""})
    found = json.loads(files["metrics/found.json"])
    names = ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT", "TURNS")
    assert [found[name] for name in names] == ["3", "3", "0"]


def test_a_trial_that_is_new_gets_the_photos(known: Path) -> None:
    assert set(yaml.safe_load(pack_trial(0)["dvc.lock"])["stages"]) == {"fetch"}
    LOCK.unlink()
    assert read_lock() == {}


def test_what_no_remote_has_is_made_again(workspace: Path) -> None:
    """A clone has hashes of what its author has never pushed."""
    call(workspace, "dvc init --no-scm --force")
    stage = {"cmd": "mkdir made-${item} && echo ${item} > made-${item}/file", "outs": ["made-${item}"]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"split": {"foreach": [0, 1, 10], "do": stage}}}))
    call(workspace, "dvc repro")
    call(workspace, "dvc remote add --default store store")
    call(workspace, "dvc push split@1")
    assert cluster.find_lost([0, 1]) == set()
    for folder in ("made-0", "made-1", "made-10", ".dvc/cache"):
        shutil.rmtree(folder)
    assert cluster.find_lost([0, 1]) == {"split@0"}
    assert Path("made-1/file").read_text() == "1\n", "it was in the remote alone"
    own = pack_trial(0, {"split@0"}), pack_trial(1, {"split@0"})
    assert [list(yaml.safe_load(files["dvc.lock"])["stages"]) for files in own] == [[], ["split@1"]]


def test_results_change_nothing_of_other_trials(known: Path) -> None:
    before = read_lock()
    entry = make_entry("metrics/original/4.json")
    lock = yaml.safe_dump({"schema": "2.0", "stages": {"evaluate@4": entry, "evaluate@3": {}, "fetch": {}}})
    merge_results(4, {"metrics/original/4.json": b"new", "dvc.lock": lock.encode()})
    assert read_lock() == before | {"evaluate@4": entry}
    assert Path("metrics/original/4.json").read_text() == "new"
    assert Path("metrics/original/3.json").read_text() == "metrics/original/3.json"


def test_code_and_weights_are_sent() -> None:
    os.chdir(ROOT)
    code = pack_code(Path("README.md"))
    listed = subprocess.run(["git", "ls-files", "stages", ".dvc"], cwd=ROOT, capture_output=True, text=True, check=True)
    expected = {name for name in listed.stdout.split() if not name.endswith(".gitignore")}
    assert expected <= set(code) | {".dvc/.gitignore"}
    assert set(code) >= {"README.md", "dvc.yaml", ".dvcignore"}
    assert code["README.md"] == (ROOT / "README.md").read_bytes()


def test_the_number_of_cores_must_be_said(workspace: Path) -> None:
    with pytest.raises(UserError, match=r"train\.threads in params\.yaml is null.*Set the number of cores"):
        checks.check_params(load_params())
    change_params({"train.threads": 4})
    assert checks.check_params(load_params()) == 4
    change_params({"train.launcher": "torchrun --nproc-per-node 2"})
    with pytest.raises(UserError, match=r"train\.launcher is 'torchrun.*Set it to null"):
        checks.check_params(load_params())


@pytest.mark.parametrize(("text", "gpus"), [("0", 0), ("0.25", 0.25), ("1", 1), ("2", 2)])
def test_a_trial_may_share_a_gpu(text: str, gpus: float) -> None:
    assert checks.parse_gpus(text) == gpus


@pytest.mark.parametrize("text", ["-1", "1.5", "nan", "inf", "a", ""])
def test_gpus_that_ray_does_not_know_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="CLUSTER_GPUS="):
        checks.parse_gpus(text)


@pytest.mark.parametrize("uri", ["", "sqlite:///mlflow.db", "file:///tmp/runs", "./runs"])
def test_places_that_nodes_do_not_share_are_refused(uri: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(workspace, "dvc init --no-scm --force")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match="there is no default DVC remote"):
        checks.check_places()
    call(workspace, "dvc remote add --default store /mnt/store")
    with pytest.raises(UserError, match="Name a tracking server"):
        checks.check_places()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    checks.check_places()


def test_what_is_wrong_shows_before_anything_runs(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "auto")
    with pytest.raises(UserError, match=r"train\.threads"):
        list_commands(load_params())
    monkeypatch.setenv("CLUSTER_GPUS", "1.5")
    with pytest.raises(UserError, match=r"CLUSTER_GPUS=1\.5"):
        list_commands(load_params())


def test_an_address_where_nobody_listens_is_named_at_once() -> None:
    port = find_port()
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(UserError, match=rf"no Ray cluster listens at CLUSTER={address}: .*refused"):
            check_address(address)
    check_address("auto")


@pytest.mark.parametrize(
    ("offer", "cores", "gpus", "places"),
    [
        ({"CPU": 8.0}, 2, 0, 8),
        ({"CPU": 9.0, "GPU": 1.0}, 2, 0.25, 8),
        ({"CPU": 64.0, "GPU": 1.0}, 2, 0.25, 8),
        ({"CPU": 1.0}, 2, 0, 1),
        ({}, 2, 1, 1),
    ],
)
def test_twice_as_many_are_submitted_as_run_at_once(
    offer: dict[str, float], cores: int, gpus: float, places: int
) -> None:
    class Ray:
        @staticmethod
        def cluster_resources() -> dict[str, float]:
            return offer

    wanted = Cluster("auto", cores, gpus, {})
    assert count_places(Ray, wanted) == places
    assert has_place(offer, wanted) == (places > 1)


def test_one_run_at_a_time(workspace: Path) -> None:
    path = workspace / ".dvc/tmp/cluster.lock"
    refused = pytest.raises(UserError, match=f"another run on a cluster .* .PID {os.getpid()}.")
    with cluster.hold_lock(path), refused, cluster.hold_lock(path):
        pass
    with cluster.hold_lock(path):
        pass


PLANNED = SMALL | {
    "trials": [0, 1],
    "train.epochs": 1,
    "train.threads": 1,
    "augment.copies": 1,
    "augment.operations": {"hflip": {}},
    "augment.operations_per_copy": 1,
    "evaluate.robustness": False,
}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[str]:
    """The address of a cluster of two nodes of one core each, on this machine."""
    home = tmp_path / "home"
    home.mkdir()
    with start_nodes(2, build_env(home / "node")) as address:
        yield address


def find_trials() -> list[psutil.Process]:
    """The processes that workers started for trials."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "stages.cluster.trial" in (process.info["cmdline"] or [])
    ]


def start(folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """What `make repro CLUSTER=...` runs."""
    return subprocess.Popen(
        ["sh", "-c", 'trap : INT; commands=$(python -m stages.cli.before_repro) && eval "$commands"'],
        cwd=folder,
        env=build_env(folder) | environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_two_nodes_give_the_bytes_of_one_machine(nodes: str, tmp_path: Path) -> None:
    """They do so although one worker is killed; what fails is named, and Ctrl-C ends all."""
    folder = make_clone(tmp_path / "alone", PLANNED)
    shutil.copytree(folder, tmp_path / "shared")
    call(folder, f"{sys.executable} -m stages.cli.preload dvc repro")
    with serve_bucket("trials") as url:
        shared = tmp_path / "shared"
        call(shared, "dvc remote add --default store s3://trials/store")
        call(shared, f"dvc remote modify store endpointurl {url}")
        server = Server(tmp_path)
        server.start()
        environment = CREDENTIALS | {"CLUSTER": nodes, "MLFLOW_TRACKING_URI": server.uri}
        try:
            lose_a_worker(shared, environment)
            compare(folder, shared)
            assert "Running stage" not in call(shared, "dvc repro")
            name_what_fails(shared, environment)
            end_by_ctrl_c(shared, environment)
        finally:
            server.send(signal.SIGKILL)


def lose_a_worker(folder: Path, environment: dict[str, str]) -> None:
    with start(folder, environment) as process:
        wait_until(lambda: len(find_trials()) == 2, "both nodes work")
        lost = find_trials()[0]
        worker = lost.parent()
        assert worker
        worker.kill()
        wait_until(lambda: not lost.is_running(), "what a worker started ends with it", 20)
        said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert len(re.findall(r"^cluster: trial [01] is done", said, re.M)) == 2


def compare(alone: Path, shared: Path) -> None:
    for path in sorted([*alone.glob("metrics/**/*"), *alone.glob("models/**/*"), *alone.glob("data/split/*")]):
        if path.is_file() and path.name not in ("README.md", ".gitignore"):
            assert (shared / path.relative_to(alone)).read_bytes() == path.read_bytes(), path
    locks = [yaml.safe_load((folder / "dvc.lock").read_text()) for folder in (alone, shared)]
    assert locks[0] == locks[1]


def name_what_fails(folder: Path, environment: dict[str, str]) -> None:
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(re.sub(r"groups: .*", "groups: {path: (cat|dog)}", text))
    with start(folder, environment) as process:
        said, _ = process.communicate(timeout=600)
    assert process.returncode == 1, said
    assert re.search(r"stages\.cluster: error: trial \d failed on \S+ .exit status \d+.", said), said
    assert "split: error:" in said, "the stage has said why"
    assert "Traceback" not in said.rpartition("stages.cluster: error")[2]
    (folder / "params.yaml").write_text(text)


def end_by_ctrl_c(folder: Path, environment: dict[str, str]) -> None:
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(re.sub(r"seed: .*", "seed: 1", text))
    with start(folder, environment) as process:
        wait_until(lambda: len(find_trials()) == 2, "both nodes work")
        time.sleep(5)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    wait_until(lambda: not find_trials(), "all trials end", 30)
    assert "interrupted; run the same command again" in said
    assert "is done" not in said, "they did not just come to their end"
