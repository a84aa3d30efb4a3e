"""How a stage ends: one message, the right exit status, and lines that appear when they are written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROGRAM = """
import signal, time
from stages.cli.stage import run_stage
from stages.runtime.errors import UserError

def main():
    try:
        print("started")
        {action}
    finally:
        print("cleaned up")

signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts with & ignores Ctrl-C
run_stage(main)
"""


def start(action: str) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "DVC_STAGE": "split@3"}
    command = [sys.executable, "-c", PROGRAM.format(action=action)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_user_error_is_one_message_without_a_traceback() -> None:
    out, err = (process := start('raise UserError("no photos. Add some.")')).communicate(timeout=60)
    assert (process.returncode, out, err) == (1, "started\ncleaned up\n", "split: error: no photos. Add some.\n")


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    _, err = (process := start("1 / 0")).communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" in err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_unwind_and_give_their_status(number: signal.Signals, status: int) -> None:
    with start("time.sleep(60)") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n", "written at once, although it is a pipe"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    said = "split: interrupted; run the same command again, and it goes on where it was\n"
    assert (process.returncode, out, err) == (status, "cleaned up\n", said if number == signal.SIGINT else "")


def test_ctrl_c_while_a_stage_loads_is_one_line(tmp_path: Path) -> None:
    module = tmp_path / "stages/probe.py"
    module.parent.mkdir()
    for name in ("__init__.py", "runtime"):
        (tmp_path / "stages" / name).symlink_to(ROOT / "stages" / name)
    setup = "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)"
    module.write_text(f"{setup}; print('loading', flush=True); time.sleep(60)")
    command = [sys.executable, "-m", "stages.probe"]
    with subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert err == "stages.probe: interrupted; run the same command again, and it goes on where it was\n"
    assert process.returncode == -signal.SIGINT


PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", {program!r}])
"""

IMPORTS_UNTIL_DVC_DIES = """
import os
parent = os.getppid()
print("importing", flush=True)
while os.getppid() == parent:
    pass
"""


def start_parent(program: str) -> subprocess.Popen[str]:
    """Start what starts a stage as DVC does: in its own process group, with the stage's name in the environment."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "DVC_STAGE": "split@3"}
    command = [sys.executable, "-c", PARENT.format(program=program)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, start_new_session=True)


def test_a_stage_ends_with_the_dvc_that_started_it() -> None:
    with start_parent(PROGRAM.format(action="time.sleep(60); print('went on')")) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        parent.kill()
        assert parent.stdout.read() == "cleaned up\n", "the pipe ends when the stage, too, has ended"


def test_a_stage_does_not_start_when_dvc_died_while_it_imported() -> None:
    with start_parent(IMPORTS_UNTIL_DVC_DIES + PROGRAM.format(action="pass")) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "importing\n"
        parent.kill()
        assert parent.stdout.read() == ""
