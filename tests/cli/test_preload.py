"""Stages forked from a process with their libraries loaded: they run, end and die as those that DVC starts alone do."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.runtime.handover import ADDRESS
from tests.conftest import ROOT

PROBE = """
import hashlib, os, subprocess, sys, time
from pathlib import Path
from stages.cli.stage import run_stage
from stages.runtime.errors import UserError

def main():
    try:
        print("started", flush=True)
        {action}
    finally:
        print("cleaned up")

if __name__ == "__main__":
    run_stage(main)
"""

TRAIN = """
        import torch
        from torch import nn
        from stages.model.device import choose_algorithms, set_threads
        choose_algorithms(); set_threads(2); torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
        images, classes = torch.rand(64, 3, 32, 32), torch.arange(64) % 2
        model(images)
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(5):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), classes).backward()
            optimizer.step()
        print(hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start a stage of another workspace, with the action and what makes it a fork of a preloading process, if any."""
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))

    def start(action: str, preloaded: dict[str, str] | None = None, **options: str) -> "subprocess.Popen[str]":
        (tmp_path / "stages/probe.py").write_text(PROBE.format(action=action.strip()))
        environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"} | (preloaded or {}) | options
        command = [sys.executable, "-m", "stages.probe", "--trial", "3"]
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return start


@pytest.mark.parametrize(
    "action",
    [
        "pass",
        'raise UserError("no photos. Add some.")',
        "sys.exit(3)",
        "subprocess.run(['sh', '-c', 'echo of a process of its own; exit 4'], check=False)",
        "print(sys.argv[1:], Path.cwd(), os.environ['WORD'], sys.modules['__main__'].__spec__.name, __name__)",
        "print('on the terminal', sys.stdin.isatty(), sorted(set(os.environ) - {'LC_CTYPE'}))",
        "import atexit; atexit.register(print, 'at exit')",
        TRAIN,
    ],
)
def test_a_stage_does_the_same_as_one_that_starts_alone(start: Start, preloaded: dict[str, str], action: str) -> None:
    alone = start(action, WORD="größe")
    expected = (*alone.communicate(timeout=60), alone.returncode)
    forked = start(action, preloaded, WORD="größe")
    assert (*forked.communicate(timeout=60), forked.returncode) == expected


def test_libraries_are_loaded_and_our_code_is_what_is_on_disk(start: Start, preloaded: dict[str, str]) -> None:
    loaded = "print([name in sys.modules for name in ('torch', 'mlflow', 'sklearn', 'stages.train')])"
    assert start(loaded).communicate(timeout=60)[0] == "started\n[False, False, False, False]\ncleaned up\n"
    assert start(loaded, preloaded).communicate(timeout=60)[0] == "started\n[True, True, True, False]\ncleaned up\n"
    assert start("print('edited')", preloaded).communicate(timeout=60)[0] == "started\nedited\ncleaned up\n"


def test_mlflow_knows_the_installed_packages_from_the_second_stage_on(start: Start, preloaded: dict[str, str]) -> None:
    known = "import mlflow.utils.requirements_utils as r; print('torch' in (r._PACKAGES_TO_MODULES or {}))"
    start("pass", preloaded).communicate(timeout=60)
    assert start(known, preloaded).communicate(timeout=60)[0] == "started\nTrue\ncleaned up\n"


def test_a_fault_of_ours_keeps_its_traceback(start: Start, preloaded: dict[str, str]) -> None:
    _, err = (process := start("1 / 0", preloaded)).communicate(timeout=60)
    assert process.returncode == 1
    assert "ZeroDivisionError" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_ends_with_the_process_that_dvc_started(
    start: Start, preloaded: dict[str, str], number: signal.Signals
) -> None:
    with start("time.sleep(60); print('went on')", preloaded) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        assert process.stdout.read() == "cleaned up\n", "the pipe ends when the stage, too, has ended"
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL)


def test_a_stage_that_is_killed_is_reported(start: Start, preloaded: dict[str, str]) -> None:
    out, err = (process := start("os.kill(os.getpid(), 9)", preloaded)).communicate(timeout=60)
    assert (out, err, process.returncode) == ("started\n", "", 137)


def test_where_nobody_is_ready_a_stage_runs_alone(start: Start, tmp_path: Path) -> None:
    out, err = (process := start("pass", {ADDRESS: f"{tmp_path}/socket"})).communicate(timeout=60)
    assert (out, err, process.returncode) == ("started\ncleaned up\n", "", 0)


def preload(shell: str, modules: tuple[str, ...], delay: float = 0) -> list[str]:
    """The command that preloads these modules alone, which takes less time than all, and runs a shell's commands."""
    program = (
        f"import sys; import stages.cli.preload as p; p.DELAY = {delay}; p.MODULES = {modules}; "
        f"sys.argv = ['', 'sh', '-c', {shell!r}]"
    )
    return [sys.executable, "-c", f"{program}; p.main()"]


INTERRUPTED = """
until [ -e "$STAGES_PRELOADED.ready" ]; do sleep 0.1; done
cd {workspace} && exec {python} -m stages.probe
"""


def test_ctrl_c_ends_the_stage_once_and_all_else_after_it(start: Start, tmp_path: Path) -> None:
    start("pass").communicate(timeout=60)
    probe = tmp_path / "stages/probe.py"
    probe.write_text(PROBE.format(action="time.sleep(60)").replace("print(", "time.sleep(0.3); print("))
    shell = INTERRUPTED.format(workspace=tmp_path, python=sys.executable)
    command = [sys.executable, "-m", "stages.cli.preload", "sh", "-c", shell]
    with subprocess.Popen(
        command, cwd=ROOT, text=True, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    said = "stages.probe: interrupted; run the same command again, and it goes on where it was\n"
    assert (out, err, process.returncode) == ("cleaned up\n", said, 130)


def test_no_stage_starts_after_a_ctrl_c_that_the_stage_before_did_not_heed(start: Start, tmp_path: Path) -> None:
    """As one that is about to end does not; DVC waits for it, and then starts the next."""
    start("pass").communicate(timeout=60)
    unheeding = "signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); time.sleep(1)"
    (tmp_path / "stages/probe.py").write_text("import signal" + PROBE.format(action=unheeding))
    (tmp_path / "stages/next.py").write_text(PROBE.format(action="pass"))
    shell = "trap : INT" + INTERRUPTED.format(workspace=tmp_path, python=sys.executable)
    shell = shell.replace("exec", "") + f"{sys.executable} -m stages.next"
    with subprocess.Popen(
        preload(shell, ("json",)),
        cwd=ROOT,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(2)] == ["started\n", "deaf\n"]
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    said = "stages.next: interrupted; run the same command again, and it goes on where it was\n"
    assert (out, err, process.returncode) == ("cleaned up\n", said, 130)


def test_where_ctrl_c_met_dvc_it_says_how_to_go_on() -> None:
    command = [sys.executable, "-m", "stages.cli.preload", "sh", "-c", "exit 252"]
    process = subprocess.run(command, cwd=ROOT, timeout=60, check=False, capture_output=True, text=True)
    said = "interrupted; run the same command again, and it goes on where it was\n"
    assert (process.returncode, process.stdout, process.stderr) == (130, "", said)


def test_a_command_that_ends_at_once_is_not_kept_waiting() -> None:
    program = "import importlib, sys, time; import stages.cli.preload as p; sys.argv = ['', 'sh', '-c', 'exit 5']; "
    command = [sys.executable, "-c", program + "importlib.import_module = lambda _: time.sleep(50); p.main()"]
    process = subprocess.run(command, cwd=ROOT, timeout=20, check=False)
    assert process.returncode == 5


def test_nothing_is_loaded_where_dvc_soon_finds_nothing_to_do() -> None:
    program = "import importlib, sys; import stages.cli.preload as p; sys.argv = ['', 'sh', '-c', 'sleep 1']; "
    command = [sys.executable, "-c", program + "importlib.import_module = print; p.main()"]
    assert subprocess.run(command, cwd=ROOT, timeout=20, check=True, capture_output=True).stdout == b""


@pytest.mark.parametrize(
    ("modules", "cluster", "loaded"), [("mlflow", "", True), ("none", "", False), ("mlflow", "auto", False)]
)
def test_a_stage_that_loads_torch_waits_for_the_process_that_loads_it_unless_that_fails_or_does_not(
    start: Start, tmp_path: Path, modules: str, cluster: str, loaded: bool
) -> None:
    start("print('mlflow' in sys.modules)").communicate(timeout=60)
    (tmp_path / "stages/probe.py").rename(tmp_path / "stages/train.py")
    command = preload(f"cd {tmp_path} && exec {sys.executable} -m stages.train", (modules,), delay=100)
    environment = os.environ | {"CLUSTER": cluster}
    process = subprocess.run(command, cwd=ROOT, env=environment, timeout=60, check=True, capture_output=True, text=True)
    assert (process.stdout, process.stderr) == (f"started\n{loaded}\ncleaned up\n", "")


def test_loading_the_libraries_does_not_start_cuda() -> None:
    """A fork cannot use a GPU that the process before it has used."""
    program = """
import socket
import torch
from stages.cli.preload import load_libraries
calls = []
for name in ("_cuda_init", "_cuda_getDeviceCount"):
    setattr(torch._C, name, lambda *_, name=name: calls.append(name) or 0)
load_libraries(socket.socket())
print(calls)
torch.cuda.is_available()
print(bool(calls))
"""
    out = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert out == "[]\nTrue\n"
