"""Two trials on a Ray cluster of two nodes of one core each, against one such node, all on this machine.

The tracking server, and the workspace that waits for its trials, run beside them on the same cores.
"""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import Usage
from benchmarks.table import Row
from benchmarks.workspace import Workspace
from tests.support.mlflow_server import Server
from tests.support.ray_nodes import start_nodes

BAR = 1.7  # times as fast with two nodes
PARAMS = {
    "trials": [0, 1],
    "model.image_size": 96,
    "train.epochs": 3,
    "train.checkpoint_every": 3,
    "train.threads": 1,
    "evaluate.robustness": False,
}


def measure(workspace: Workspace) -> list[Row]:
    """Trials an hour, from the start of `make repro CLUSTER=...` to its end, with photos that are there."""
    workspace.change_params(PARAMS)
    workspace.run("dvc", "remote", "add", "--default", "store", str(workspace.folder.parent / "store"))
    workspace.run("dvc", "repro", "--quiet", "fetch")
    rates = {nodes: [2 * 3600 / run_on(nodes, workspace).wall_s] for nodes in (1, 2)}
    return [Row("cluster", "two nodes of one core against one", "trials/h", rates[2], rates[1], bar=BAR)]


def run_on(nodes: int, workspace: Workspace) -> Usage:
    """Both trials from the start, on so many nodes."""
    home = workspace.folder.parent / str(nodes)  # what a node keeps must not serve the other run
    home.mkdir()
    copy = Workspace(home / "workspace")
    shutil.copytree(workspace.folder, copy.folder, symlinks=True)
    shutil.rmtree(workspace.folder.parent / "store", ignore_errors=True)
    with start_nodes(nodes, copy.environment | {"HOME": str(home)}, bind=True) as address, start_server(home) as uri:
        used = copy.run("make", "repro", CLUSTER=address, MLFLOW_TRACKING_URI=uri, HOME=str(home))
    print(f"{nodes} nodes: {used.wall_s:.0f} s", flush=True)
    return used


@contextmanager
def start_server(folder: Path) -> Iterator[str]:
    """The address of an MLflow server."""
    server = Server(folder)
    server.start()
    try:
        yield server.uri
    finally:
        server.send(signal.SIGKILL)
