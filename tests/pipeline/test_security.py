"""What an attacker would try: the browser of a user of the UI, pickled code, an exchanged package."""

import ast
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
import torch

from stages.doctor.store import check_runs, check_store
from stages.tracking import runs
from stages.tracking import store as tracking
from tests.conftest import ROOT
from tests.support.mlflow_server import find_port
from tests.support.trainer import make_database

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "MLFLOW_"))}
# the real Makefile in another folder; what it sets up there is already here
MAKE = ["make", "--file", str(ROOT / "Makefile"), "--old-file", ".venv/.ready"]


def ask(port: int, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer; ``headers`` may name another host."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders())


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real `make ui` on a store of its own. The set-up is that of these tests."""
    folder, port = tmp_path_factory.mktemp("ui"), find_port()
    (folder / ".dvc").mkdir()
    shutil.copy(make_database(), folder / "mlflow.db")
    command = [*MAKE, "ui", f"PORT={port}"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT | {"PATH": path, "PYTHONPATH": str(ROOT)}, start_new_session=True
    )
    try:
        for _ in range(120):
            assert process.poll() is None
            try:
                if ask(port, "GET", "/health")[0] == 200:
                    break
            except OSError:
                time.sleep(0.5)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


FOREIGN = ["evil.example", "10.evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.1"]


def test_ui_answers_this_machine(ui: int) -> None:
    for host in (f"localhost:{ui}", f"127.0.0.1:{ui}"):
        status, headers = ask(ui, "GET", "/", Host=host)
        assert (status, headers["x-frame-options"]) == (200, "DENY")
        assert ask(ui, "GET", "/api/2.0/mlflow/experiments/search?max_results=1", Host=host)[0] == 200
        assert create_experiment(ui, f"from {host}", Host=host, Origin=f"http://{host}") == 200


def create_experiment(ui: int, name: str, **headers: str) -> int:
    """Status of a request that changes the store."""
    body = json.dumps({"name": name})
    headers["Content-Type"] = "application/json"
    return ask(ui, "POST", "/api/2.0/mlflow/experiments/create", body, **headers)[0]


@pytest.mark.parametrize("suffix", ["", ":{port}"])
@pytest.mark.parametrize("host", FOREIGN)
def test_ui_refuses_other_names(ui: int, host: str, suffix: str) -> None:
    """A page whose own name was made to lead to 127.0.0.1 must not read the runs. MLflow's default lets in `10.*`."""
    name = host + suffix.format(port=ui)
    assert ask(ui, "GET", "/", Host=name)[0] == 403
    assert ask(ui, "GET", "/api/2.0/mlflow/experiments/search?max_results=1", Host=name)[0] == 403
    assert create_experiment(ui, f"from {name}", Host=name) == 403


@pytest.mark.parametrize("origin", [*(f"http://{host}" for host in FOREIGN), "https://evil.example:{port}", "null"])
@pytest.mark.parametrize("api", ["api", "ajax-api"])
def test_ui_refuses_changes_from_other_pages(ui: int, origin: str, api: str) -> None:
    headers = {"Origin": origin.format(port=ui), "Content-Type": "application/json"}
    body = json.dumps({"name": f"from {origin} by {api}"})
    assert ask(ui, "POST", f"/{api}/2.0/mlflow/experiments/create", body, **headers)[0] == 403
    assert ask(ui, "PUT", f"/{api}/2.0/mlflow-artifacts/artifacts/a", body, **headers)[0] == 403
    assert ask(ui, "DELETE", f"/{api}/2.0/mlflow-artifacts/artifacts/a", **headers)[0] == 403
    answer = ask(ui, "GET", f"/{api}/2.0/mlflow/experiments/search?max_results=1", **headers)[1]
    assert "access-control-allow-origin" not in answer, "a browser keeps the answer from the page"


def test_ui_listens_on_the_loopback_address_only(ui: int) -> None:
    listening = [entry.laddr for entry in psutil.net_connections("inet") if entry.status == psutil.CONN_LISTEN]
    assert {address.ip for address in listening if address.port == ui} == {"127.0.0.1"}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", ui), timeout=10)


def test_doctor_finds_the_server_healthy(ui: int, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{ui}")
    assert list(check_store(workspace)) == []
    assert list(check_runs(workspace)) == []
    assert not (workspace / "mlflow.db").exists()


MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
NAMES = {"torch.load", "joblib.load", "yaml.load"}  # to be called by their full names, which are looked at below
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
CALLS |= {"joblib.load", "torch.hub.load", "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all"}


def find_code_runners(source: str) -> list[str]:
    """Imports and calls by which data could become code."""
    tree = ast.parse(source)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in names if name in NAMES or name.split(".")[0] in MODULES]
        elif isinstance(node, ast.Call) and is_code_runner(node, tree):
            found.append(ast.unparse(node))
    return found


def is_code_runner(call: ast.Call, tree: ast.AST) -> bool:
    name = ast.unparse(call.func)
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    return (
        name in CALLS
        or name.endswith(("read_pickle", "to_pickle"))
        or options.get("allow_pickle") == "True"
        or options.get("shell") == "True"
        or (name == "torch.load" and options.get("weights_only") != "True")
        or (name == "yaml.load" and not is_safe_loader(call, options, tree))
    )


def is_safe_loader(call: ast.Call, options: dict[str | None, str], tree: ast.AST) -> bool:
    """Whether YAML is read by the safe loader, or a class of this file that derives from it."""
    loader = options.get("Loader") or ast.unparse(call.args[1])
    classes = {
        node.name: [ast.unparse(base) for base in node.bases]
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    return {loader, *classes.get(loader, [])} & {"yaml.SafeLoader", "yaml.CSafeLoader"} != set()


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("stages/**/*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_no_stage_turns_data_into_code(path: Path) -> None:
    assert find_code_runners(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "from torch import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "joblib.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, yaml.Loader)",
        "yaml.load(text, Loader=yaml.FullLoader)",
        "class Loader(yaml.Loader): pass\nyaml.load(text, Loader)",
        "pd.read_pickle(path)",
        "eval(text)",
        "exec(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_that_test_can_fail(source: str) -> None:
    assert find_code_runners(source) != []


def find_pickles(folder: Path) -> list[tuple[str, bytes]]:
    """Name and bytes of every file below a folder that is a pickle, or holds one: PyTorch's archives are zips."""
    pending = [(path.name, path.read_bytes()) for path in folder.rglob("*") if path.is_file()]
    found = []
    while pending:
        name, data = pending.pop()
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = [(member, archive.read(member)) for member in archive.namelist()]
            pickled = any(member.endswith("data.pkl") for member, _ in members)
            found += [(name, data)] if pickled else []
            pending += [] if pickled else members
        elif name.endswith((".pkl", ".pickle", ".joblib")) or (data[:1] == b"\x80" and data[-1:] == b"."):
            found.append((name, data))
    return found


def test_stored_model_holds_no_pickled_code(workspace: Path) -> None:
    shutil.copy(make_database(), workspace / "mlflow.db")
    client = tracking.open_store()
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    run = client.create_run(experiment.experiment_id, tags={runs.MODEL_TAG: "aaa"})
    client.set_terminated(run.info.run_id)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten()).eval()
    versions = {"torch": torch.__version__.split("+")[0], "torchvision": "0"}
    runs.store_model(client, client.get_run(run.info.run_id), lambda: model, 8, versions)
    stored = workspace / "mlartifacts"
    assert len(list(stored.rglob("model.pt2"))) == 1
    for _, data in find_pickles(stored):
        torch.load(io.BytesIO(data), weights_only=True)  # tensors alone: anything else raises


def test_a_pickled_model_would_be_noticed(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    ((_, data),) = find_pickles(tmp_path)
    with pytest.raises(Exception, match="weights_only"):
        torch.load(io.BytesIO(data), weights_only=True)


@pytest.mark.parametrize(("name", "number"), [("requirements.txt", 150), ("requirements-cluster.txt", 10)])
def test_requirements_are_pinned_with_hashes(name: str, number: int) -> None:
    blocks = re.split(r"\n(?=[^\s#])", "\n" + (ROOT / name).read_text())[1:]
    assert len(blocks) > number
    for block in blocks:
        code = "\n".join(line for line in block.splitlines() if not line.strip().startswith("#"))
        assert re.fullmatch(
            r"[\w.\-\[\]]+==[\w.+!]+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", code.strip()
        ), block


def test_set_up_installs_nothing_without_its_hash() -> None:
    makefile = (ROOT / "Makefile").read_text()
    installs = [line for line in makefile.splitlines() if re.search(r"\bpip (install|sync)\b", line)]
    assert len(installs) == 3
    assert all("--require-hashes" in line for line in installs)


def test_set_up_spares_what_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/kept").touch()
    (tmp_path / "requirements.txt").touch()
    (tmp_path / ".venv").symlink_to("theirs")
    command = ["make", "--file", str(ROOT / "Makefile"), ".venv/.ready"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "Remove the link first: rm .venv" in done.stdout) == (2, True)
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["kept"]


class Advisories(BaseHTTPRequestHandler):
    """The two calls of osv.dev: one package has an advisory."""

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        found = {"vulns": [{"id": "GHSA-xxxx", "modified": "2026-01-01T00:00:00Z"}]}
        asked = [query["package"]["name"] for query in queries]
        self.answer({"results": [found if name == "bad" else {} for name in asked]})

    def do_GET(self) -> None:
        self.answer({"id": "GHSA-xxxx", "modified": "2026-01-01T00:00:00Z", "summary": "Runs code", "affected": []})

    def answer(self, value: dict[str, object]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def osv() -> Iterator[int]:
    """The port of an advisory database."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Advisories) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def audit(folder: Path, packages: list[str], port: int) -> subprocess.CompletedProcess[str]:
    """A real `make audit` of packages that lie in a folder, so that no index is needed."""
    for name in packages:
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            info = f"{name}-1.0.dist-info"
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    first, second = packages
    (folder / "requirements.txt").write_text(f"{first}==1.0\n")
    (folder / "requirements-cluster.txt").write_text(f"{second}==1.0\n")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [*MAKE, "audit", f"OSV=http://127.0.0.1:{port}"],
        cwd=folder,
        env=ENVIRONMENT | {"PATH": path, "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(folder), "UV_HTTP_RETRIES": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_audit_passes_when_nothing_is_known(tmp_path: Path, osv: int) -> None:
    done = audit(tmp_path, ["good", "fine"], osv)
    assert done.returncode == 0, done.stderr
    assert "no known vulnerabilities" in done.stderr
    assert "in 2 packages" in done.stderr


def test_audit_fails_on_an_advisory(tmp_path: Path, osv: int) -> None:
    done = audit(tmp_path, ["good", "bad"], osv)
    assert done.returncode == 2
    assert "GHSA-xxxx: Runs code" in done.stdout


def test_audit_that_cannot_ask_is_no_pass(tmp_path: Path) -> None:
    assert audit(tmp_path, ["good", "fine"], find_port()).returncode == 2


def test_ci_runs_the_audit_or_says_that_it_could_not(tmp_path: Path) -> None:
    """With a `make` that only says what it was asked for, and a network in which nothing is found."""
    for name, program in {".venv/bin/python": f'exec {sys.executable} "$@"', "bin/make": 'echo "make $*"'}.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci")
    proxy = f"http://127.0.0.1:{find_port()}"
    done = subprocess.run(
        ["bash", ".ci/run"],
        cwd=tmp_path,
        env=ENVIRONMENT | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "https_proxy": proxy, "no_proxy": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "make test",
        "make slow",
        "audit: SKIPPED, api.osv.dev cannot be reached from here",
    ]
