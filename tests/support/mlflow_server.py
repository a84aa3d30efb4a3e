"""A real MLflow server that starts within a second, as it is forked from a process that has imported it."""

import os
import shutil
import signal
import socket
from pathlib import Path

import requests


def find_port() -> int:
    """A port of this machine that is free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


class Server:
    """An MLflow server on loopback, with a SQLite backend or the one that BACKEND_STORE_URI names."""

    def __init__(self, folder: Path) -> None:
        from tests.support.trainer import Process, make_database

        self.port = find_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.process: Process | None = None
        shutil.copy(make_database(), folder / "server.db")

    def start(self) -> None:
        """Start it and wait until it responds."""
        from tests.support.trainer import fork, wait_until

        backend = os.environ.get("BACKEND_STORE_URI", f"sqlite:///{self.folder}/server.db")
        self.process = fork(_serve, self.port, backend, str(self.folder))
        wait_until(self.responds, "the server starts")

    def responds(self) -> bool:
        """Whether it is up."""
        try:
            return requests.get(f"{self.uri}/health", timeout=1).ok
        except requests.RequestException:
            return False

    def send(self, signum: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        os.kill(self.process.pid or 0, signum)
        if signum == signal.SIGKILL:
            self.process.join()
            self.process = None


def _serve(port: int, backend: str, folder: str) -> None:
    """What ``mlflow server --backend-store-uri --artifacts-destination`` runs as its one worker."""
    import uvicorn
    from mlflow import server
    from mlflow.server.fastapi_app import app

    os.chdir(folder)
    log = os.open("server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for handle in (1, 2):
        os.dup2(log, handle)
    os.environ[server.BACKEND_STORE_URI_ENV_VAR] = backend
    os.environ[server.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    os.environ[server.ARTIFACTS_DESTINATION_ENV_VAR] = f"{folder}/artifacts"
    os.environ[server.SERVE_ARTIFACTS_ENV_VAR] = "true"
    uvicorn.run(app, host="127.0.0.1", port=port)
