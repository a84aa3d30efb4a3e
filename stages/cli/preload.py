"""Run a command, such as `dvc repro`, whose stages start with their slow libraries loaded.

A stage that trains only a head has half a second of work, and takes five to import torch, MLflow and scikit-learn. This
process imports them once, while the first stages run; from then on every stage is a fork of it, in the folder and with
the environment and streams that DVC gave the stage. Our own modules are imported anew by each, so that what
runs is the code on disk. Without this process, or before it is ready, stages run as they do under plain `dvc repro`.

Command python -m stages.cli.preload dvc repro
"""

import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from stages.runtime.errors import INTERRUPTED
from stages.runtime.handover import ADDRESS, GREETING, READY

DELAY = 2.0  # seconds in which DVC may find that there is nothing to do, which imports beside it would slow down
DVC_INTERRUPTED = 252  # DVC's exit status when Ctrl-C meets itself and no stage
OWN = ("ablation", "stages")
MODULES = (
    "stages.tracking",  # before MLflow, which reads the environment when it is imported
    *(f"stages.{stage}" for stage in ("split", "augment", "train", "evaluate", "report")),
    "stages.tracking.comparison",
    "timm",
    "alembic.command",
    "git",
    "mlflow.pyfunc",
    "mlflow.pytorch",
    "mlflow.store.tracking.sqlalchemy_store",
    "torch._functorch.aot_autograd",
    "torch.export._trace",
)
"""What stages import sooner or later."""


def main() -> None:
    """Run the command; in a fork, a stage."""
    interrupted, on_interrupt = threading.Event(), signal.getsignal(signal.SIGINT)
    if on_interrupt != signal.SIG_IGN:  # which it is where a script runs this in the background
        signal.signal(signal.SIGINT, lambda *_: interrupted.set())  # the command ends by it, and we with the command
    connection = wait_for_stage(sys.argv[1:])
    arguments = adopt(connection)
    if stage := os.fork():
        supervise(stage, connection)
    connection.close()
    try:
        signal.signal(signal.SIGINT, on_interrupt)
        if interrupted.is_set():  # when the stage before this one was about to end, and DVC waited for it
            raise KeyboardInterrupt
        for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
            del sys.modules[name]
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:  # before `stages.cli.stage.run_stage` sees to it
        print(f"{arguments[0]}: {INTERRUPTED}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def wait_for_stage(command: list[str]) -> socket.socket:
    """Start the command, import the libraries, and return in a fork for every stage; end as the command ends."""
    folder = tempfile.mkdtemp()
    address = f"{folder}/socket"
    process = subprocess.Popen(command, env=os.environ | {ADDRESS: address})

    def reap(*_: object) -> None:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == process.pid:
                shutil.rmtree(folder)
                end(get_exit_status(status))
            if pid == 0:
                return

    usual = {
        # not process.terminate(), which may see that it has ended and take its exit status from reap
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: os.kill(process.pid, signal.SIGTERM)),
        signal.SIGCHLD: signal.signal(signal.SIGCHLD, reap),
    }
    reap()  # it may have ended before
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        select.select([listener], [], [], DELAY)  # until a stage waits for them
        load_libraries(listener)
        Path(address + READY).touch()
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
            with suppress(Exception):  # it only saves time: while this stage runs, for those to come
                from stages.tracking.runs import list_packages

                list_packages()
    for number, action in usual.items():
        signal.signal(number, action)
    return connection


def end(status: int) -> NoReturn:
    """End as the command did. A stage says itself that it was interrupted; DVC does not say how to go on."""
    if status == DVC_INTERRUPTED:
        print(INTERRUPTED, file=sys.stderr, flush=True)
        status = 128 + signal.SIGINT
    os._exit(status)


def load_libraries(listener: socket.socket) -> None:
    """Import what stages need. Where that fails, stages start alone, and say so themselves.

    So they do where trials run on a cluster: this process would keep a gigabyte for the report.
    """
    if os.environ.get("CLUSTER"):
        turn_away(listener)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for name in MODULES:
                importlib.import_module(name)
        except Exception:
            turn_away(listener)
    gc.freeze()


def turn_away(listener: socket.socket) -> NoReturn:
    """Let stages start alone until the command ends, and with it this process."""
    listener.close()
    while True:
        signal.pause()


def adopt(connection: socket.socket) -> list[str]:
    """Take on the streams, folder and environment of the process that DVC started. Returns: what follows its ``-m``."""
    connection.sendall(GREETING)
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    with connection.makefile("rb") as lines:
        command = json.loads(lines.readline())
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["env"])
    sys.path[0] = command["cwd"]
    return list(command["arguments"])


def supervise(stage: int, connection: socket.socket) -> None:
    """Tell the process that DVC started how the stage ends; end the stage when that process does."""
    running = threading.Event()
    running.set()

    def watch() -> None:
        with suppress(OSError):
            connection.recv(1)
        if running.is_set():
            os.kill(stage, signal.SIGTERM)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stage has it as well
    threading.Thread(target=watch, daemon=True).start()
    os.waitid(os.P_PID, stage, os.WEXITED | os.WNOWAIT)  # until then the number belongs to nobody else
    running.clear()
    status = get_exit_status(os.waitpid(stage, 0)[1])
    with suppress(OSError):
        connection.sendall(bytes([status]))
    os._exit(status)


def get_exit_status(status: int) -> int:
    """As a shell reports it: 128 and the signal for a process that a signal has ended."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main()
