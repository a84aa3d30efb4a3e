"""A command handed over to the process that has its slow libraries loaded: see stages/cli/preload.py."""

import json
import os
import signal
import socket
import sys
from pathlib import Path

from stages.runtime.parent import end_with_parent

ADDRESS = "STAGES_PRELOADED"  # the environment variable that names the process's socket
READY = ".ready"  # ending of a file beside the socket, which is there when the libraries are loaded
PATIENT = ("stages.train", "stages.evaluate", "ablation.train")  # these need as long to load torch themselves
GREETING = b"+"


def hand_over(address: str) -> None:
    """Have ``python -m module ...``, which this process was started as, run over there, and end as it ends.

    Returns when nobody is there, or would be too late: then this process runs it.
    """
    if sys.orig_argv[1:2] != ["-m"] or not (sys.orig_argv[2] in PATIENT or Path(address + READY).exists()):
        return
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
        if connection.recv(1) != GREETING:
            return
    except OSError:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the other process as well: it is in the same group
    signal.signal(signal.SIGTERM, lambda *_: connection.shutdown(socket.SHUT_WR))
    end_with_parent()
    command = {"arguments": sys.orig_argv[2:], "cwd": str(Path.cwd()), "env": dict(os.environ)}
    socket.send_fds(connection, [b"\0"], [0, 1, 2])
    connection.sendall(json.dumps(command).encode() + b"\n")
    status = connection.recv(1)
    os._exit(status[0] if status else 128 + signal.SIGKILL)  # nothing comes from a process that was killed
