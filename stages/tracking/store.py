"""The MLflow tracking server or database: one experiment in one place, for every DVC experiment.

It is ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` and ``mlartifacts/`` at the root of the DVC repository: also for
experiments that DVC runs in a temporary copy.
"""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mlflow
from filelock import FileLock
from mlflow.tracking import MlflowClient

from stages.runtime.errors import UserError
from stages.runtime.root import find_root

EXPERIMENT, ABLATION = "original vs augmented", "ablation"
UPLOAD_SECONDS = 120


def find_store() -> str:
    """The tracking URI."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{find_root() / 'mlflow.db'}"


def hide_credentials(text: str) -> str:
    """Text in which no URI has a query, or a user name or password, which may hold ``@`` and ``/`` as they are."""
    return re.sub(r"(://[^?\s]*)\?\S*", r"\1", re.sub(r"//[^/:\s]*(:\S*)?@", "//", text))


def identify_store() -> str:
    """A short name of the place that gives no password away, and stays when the password changes."""
    return hashlib.sha256(hide_credentials(find_store()).rstrip("/").encode()).hexdigest()[:8]


def open_store(experiment: str = EXPERIMENT) -> MlflowClient:
    """Connect, and create the database and the experiment (of this name) when they do not exist.

    A lock lets one process create them: MLflow's own creation breaks when several start at once.
    """
    root, uri = find_root(), find_store()
    own = uri == f"sqlite:///{root / 'mlflow.db'}"
    (root / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # that pip is not installed
    seconds = 5 if uri.startswith("http") else 120  # a server responds or is down; creating a database takes a while
    with FileLock(root / ".dvc" / "tmp" / "mlflow.lock", timeout=seconds):
        client = MlflowClient()
        if client.get_experiment_by_name(experiment) is None:
            client.create_experiment(experiment, artifact_location=(root / "mlartifacts").as_uri() if own else None)
    mlflow.set_experiment(experiment)
    return client


def attempt(action: Callable[[], object]) -> str:
    """Log something; a tracking server that is unreachable must not stop the work.

    Raises UserError for a failure when the environment has ``REQUIRE_TRACKING=1``.

    Returns: why it failed, or nothing.
    """
    try:
        action()
    except UserError:
        raise
    except Exception as error:  # MLflow lets the errors of many libraries through when its server is unreachable
        message = f"{find_store()}: {_find_cause(error)}"
        reason = hide_credentials(" ".join(message.split()))[:200]
        if os.environ.get("REQUIRE_TRACKING") == "1":
            raise UserError(
                f"the tracking server failed, and REQUIRE_TRACKING=1: {reason}. Start it, or unset REQUIRE_TRACKING."
            ) from error
        return reason
    return ""


def _find_cause(error: BaseException) -> str:
    # what MLflow says of an unreachable server is five errors around "Connection refused"
    while cause := error.__cause__ or error.__context__:
        error = cause
    return str(error) or type(error).__name__


@contextmanager
def allow_slow_uploads() -> Iterator[None]:
    """Allow `UPLOAD_SECONDS` for sending a file to a server that has just responded: the network may be slow."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"  # read by MLflow at every request
    usual = os.environ[name]
    os.environ[name] = str(max(int(usual), UPLOAD_SECONDS))
    try:
        yield
    finally:
        os.environ[name] = usual


def find_chart_page() -> str:
    """The path, within the MLflow UI, of the page that charts the experiment's runs."""
    experiment = open_store().get_experiment_by_name(EXPERIMENT)
    return f"#/experiments/{experiment.experiment_id}/runs?compareRunsMode=CHART&workflowType=machine_learning"
