"""MLflow: one experiment, one run per arm and trial, in one store for every DVC experiment.

The store is ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` and
``mlartifacts/`` at the root of the DVC repository: also for experiments that DVC runs in a temporary copy.
"""

import hashlib
import logging
import os
import re
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from filelock import FileLock

from stages.runtime.errors import UserError
from stages.runtime.root import find_root

# Before mlflow is imported: no telemetry, no chatter, and a dead server found out in seconds, not in minutes
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
import mlflow
from mlflow.entities import Metric, Run
from mlflow.tracking import MlflowClient

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

EXPERIMENT = "original vs augmented"
UPLOAD_SECONDS = 120
MODEL_TAG, STORED_TAG = "model_sha256", "stored_model_sha256"


def find_store() -> str:
    """The URI of the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{find_root() / 'mlflow.db'}"


def identify_store() -> str:
    """A short name of the store that gives no password away."""
    return hashlib.sha256(find_store().encode()).hexdigest()[:8]


def open_store() -> MlflowClient:
    """Connect to the store, creating it and the experiment when they do not exist.

    A lock lets one process create them: MLflow's own creation breaks when several start at once.
    """
    root, uri = find_root(), find_store()
    own = uri == f"sqlite:///{root / 'mlflow.db'}"
    (root / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # that pip is not installed
    seconds = 5 if uri.startswith("http") else 120  # a server answers or is away; a new database takes a while
    with FileLock(root / ".dvc" / "tmp" / "mlflow.lock", timeout=seconds):
        client = MlflowClient()
        if client.get_experiment_by_name(EXPERIMENT) is None:
            client.create_experiment(EXPERIMENT, artifact_location=(root / "mlartifacts").as_uri() if own else None)
    mlflow.set_experiment(EXPERIMENT)
    return client


def attempt(action: Callable[[], object]) -> str:
    """Do something with the store; a store that is away must not stop the work.

    Raises UserError for a failure when the environment has ``REQUIRE_TRACKING=1``.

    Returns: why it failed, or nothing.
    """
    try:
        action()
    except UserError:
        raise
    except Exception as error:  # MLflow lets the errors of many libraries through when its store is away
        message = f"{find_store()}: {_find_cause(error)}"
        reason = re.sub(r"//[^/@\s]+@", "//", " ".join(message.split()))[:200]  # without name and password
        if os.environ.get("REQUIRE_TRACKING") == "1":
            raise UserError(f"REQUIRE_TRACKING=1, but the tracking store failed: {reason}") from error
        return reason
    return ""


def _find_cause(error: BaseException) -> str:
    # what MLflow says of a server that is away is five errors around "Connection refused"
    while cause := error.__cause__ or error.__context__:
        error = cause
    return str(error) or type(error).__name__


@contextmanager
def allow_slow_uploads() -> Iterator[None]:
    """Give a server that has just answered `UPLOAD_SECONDS` to store a file: the network behind it may be slow."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"  # read by MLflow at every request
    usual = os.environ[name]
    os.environ[name] = str(max(int(usual), UPLOAD_SECONDS))
    try:
        yield
    finally:
        os.environ[name] = usual


def store_model(
    client: MlflowClient,
    run: Run,
    load_model: Callable[[], "torch.nn.Module"],
    example: "torch.Tensor",
    versions: dict[str, str],
) -> None:
    """Store a model with the run that made it, unless it is there: in PyTorch's exported form, without pickled code.

    Args:
        client: of the store.
        run: that has ended; its end stays what it was.
        load_model: gives it, on the CPU, in evaluation mode.
        example: normalized float32 `[2, 3, H, W]`; two of them, so that the batch size stays free.
        versions: of the libraries that the model needs.
    """
    if run.data.tags.get(STORED_TAG) == run.data.tags[MODEL_TAG]:
        return
    import torch
    from mlflow.models import infer_signature

    model = load_model()
    with torch.inference_mode():
        signature = infer_signature(example.numpy(), model(example).numpy())
    try:
        with warnings.catch_warnings(), allow_slow_uploads(), mlflow.start_run(run_id=run.info.run_id):
            warnings.simplefilter("ignore", UserWarning)  # torch.export on where weights lie: on the CPU
            mlflow.pytorch.log_model(
                model,
                name="model",
                signature=signature,
                input_example=example.numpy(),
                pip_requirements=[f"{name}=={versions[name]}" for name in ("torch", "torchvision")],
                validate_serving_input=False,  # would load the model anew, which takes as long as storing it
            )
            mlflow.set_tag(STORED_TAG, run.data.tags[MODEL_TAG])
    finally:
        client.set_terminated(run.info.run_id, "FINISHED", end_time=run.info.end_time)


def find_run(client: MlflowClient, arm: str, trial: int, model_sha256: str) -> Run | None:
    """The newest run that made this model in this arm and trial, if the store has one."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    wanted = f"tags.arm = '{arm}' and tags.trial = '{trial}' and tags.{MODEL_TAG} = '{model_sha256}'"
    runs = client.search_runs([experiment.experiment_id], wanted, max_results=1, order_by=["start_time DESC"])
    return runs[0] if runs else None


def log_comparison(
    models: dict[tuple[str, int], str], metrics: dict[str, float], tags: dict[str, str], files: list[Path]
) -> None:
    """Make a run of its own for the comparison of all trials, unless the store has one with these tags.

    Args:
        models: SHA-256 of the model of each arm and trial. Tags ``run:<arm>-<trial>`` lead to the runs that made them.
        metrics: of the comparison. tags: what makes it this comparison. files: kept as artifacts.
    """
    client = open_store()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    wanted = " and ".join([*(f"tags.`{tag}` = '{value}'" for tag, value in tags.items()), "status = 'FINISHED'"])
    if client.search_runs([experiment.experiment_id], wanted, max_results=1):
        return
    runs = {f"run:{arm}-{trial}": find_run(client, arm, trial, sha256) for (arm, trial), sha256 in models.items()}
    tags = tags | {tag: run.info.run_id for tag, run in runs.items() if run}
    with mlflow.start_run(run_name="comparison", tags=tags | describe_workspace()):
        mlflow.log_metrics(metrics, step=0)
        for file in files:
            mlflow.log_artifact(str(file), file.parent.as_posix())


def add_results(client: MlflowClient, run: Run, metrics: dict[str, float], step: int) -> None:
    """Add test results to a run that has ended. A value that it has already is not logged again."""
    now = int(time.time() * 1000)  # milliseconds
    new = [Metric(key, value, now, step) for key, value in metrics.items() if run.data.metrics.get(key) != value]
    client.log_batch(run.info.run_id, metrics=new)


def add_figure(client: MlflowClient, run: Run, figure: "Figure", name: str) -> None:
    """Store a figure as an artifact of a run that has ended."""
    client.log_figure(run.info.run_id, figure, f"figures/{name}")


def add_file(client: MlflowClient, run: Run, file: Path) -> None:
    """Store a file of the workspace as an artifact of a run that has ended, under its own path."""
    client.log_artifact(run.info.run_id, str(file), file.parent.as_posix())


def describe_workspace() -> dict[str, str]:
    """Tags that lead from a run to the DVC stage, the DVC experiment and the git commit it came from."""
    tags = {"dvc_stage": os.environ.get("DVC_STAGE", ""), "dvc_experiment": os.environ.get("DVC_EXP_NAME", "")}
    # dvc.lock and metrics always differ while the pipeline runs; what makes a run dirty is code and params
    status = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!metrics")
    return tags | {"git_commit": _git("rev-parse", "HEAD") or "", "git_dirty": str(bool(status)).lower()}


def read_upstream_md5s(paths: list[str]) -> dict[str, str]:
    """Tags ``md5:<path>`` with the hash that DVC knows each input by, as far as dvc.lock has it."""
    lock = Path("dvc.lock")
    stages = yaml.safe_load(lock.read_text()).get("stages", {}) if lock.exists() else {}
    outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    return {f"md5:{path}": outs[path] for path in paths if path in outs}


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None  # a downloaded copy without git


def find_chart_page() -> str:
    """The path, within the MLflow UI, of the page that charts the experiment's runs."""
    experiment = open_store().get_experiment_by_name(EXPERIMENT)
    return f"#/experiments/{experiment.experiment_id}/runs?compareRunsMode=CHART&workflowType=machine_learning"
