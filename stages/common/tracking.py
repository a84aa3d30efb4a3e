"""MLflow: one experiment, one run per arm and trial, in one store for every DVC experiment.

The only module that imports mlflow. The store is ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` and
``mlartifacts/`` at the root of the DVC repository: also for experiments that DVC runs in a temporary copy.
"""

import json
import logging
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml
from filelock import FileLock

from stages.common.root import find_root

# Before mlflow is imported: no telemetry, no chatter, and a dead server found out in seconds, not in minutes
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
import mlflow
from mlflow.entities import Metric, Run
from mlflow.tracking import MlflowClient

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

EXPERIMENT = "original vs augmented"
MODEL_TAG = "model_sha256"


def open_store() -> MlflowClient:
    """Connect to the store, creating it and the experiment when they do not exist.

    A lock lets one process create them: MLflow's own creation breaks when several start at once.
    """
    root = find_root()
    (root / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri or f"sqlite:///{root / 'mlflow.db'}")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # that pip is not installed
    with FileLock(root / ".dvc" / "tmp" / "mlflow.lock"):
        client = MlflowClient()
        if client.get_experiment_by_name(EXPERIMENT) is None:
            client.create_experiment(EXPERIMENT, artifact_location=None if uri else (root / "mlartifacts").as_uri())
    mlflow.set_experiment(EXPERIMENT)
    return client


@contextmanager
def start_run(name: str, params: dict[str, Any], tags: dict[str, str]) -> Iterator[None]:
    """Open a run with system metrics; it ends FINISHED, or FAILED when the block is left by an exception."""
    open_store()
    mlflow.set_system_metrics_sampling_interval(5)
    mlflow.set_system_metrics_samples_before_logging(1)
    with mlflow.start_run(run_name=name, tags=tags | describe_workspace(), log_system_metrics=True):
        mlflow.log_params(
            {key: json.dumps(value) if isinstance(value, list) else value for key, value in params.items()}
        )
        yield


def log_dataset(manifest: pd.DataFrame, path: Path, sha256: str) -> None:
    """Record a manifest as an input of the open run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow registers its source for local files twice
        dataset = mlflow.data.from_pandas(manifest, source=path.as_posix(), name=path.as_posix(), digest=sha256[:36])
    mlflow.log_input(dataset, context="train")


def log_epoch(epoch: int, metrics: dict[str, float]) -> None:
    """Log an epoch's metrics to the open run in one request; epochs count from 1."""
    mlflow.log_metrics(metrics, step=epoch)


def log_file(data: bytes, path: str) -> None:
    """Store bytes as an artifact of the open run."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, Path(path).name)
        file.write_bytes(data)
        mlflow.log_artifact(str(file), str(Path(path).parent) if "/" in path else None)


def log_model(model: "torch.nn.Module", example: "torch.Tensor", versions: dict[str, str]) -> None:
    """Store a model with its signature, in PyTorch's exported form, which holds no pickled code.

    Args:
        model: on the CPU, in evaluation mode.
        example: normalized float32 `[2, 3, H, W]`; two of them, so that the batch size stays free.
        versions: of the libraries that the model needs.
    """
    import torch
    from mlflow.models import infer_signature

    with torch.inference_mode():
        signature = infer_signature(example.numpy(), model(example).numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch.export on where weights lie: on the CPU
        mlflow.pytorch.log_model(
            model,
            name="model",
            signature=signature,
            input_example=example.numpy(),
            pip_requirements=[f"{name}=={versions[name]}" for name in ("torch", "torchvision")],
            validate_serving_input=False,  # would load the model anew, which takes as long as storing it
        )


def set_model_tag(sha256: str) -> None:
    """Tag the open run with the model it made, by which evaluate finds it."""
    mlflow.set_tag(MODEL_TAG, sha256)


def find_run(client: MlflowClient, arm: str, trial: int, model_sha256: str) -> Run | None:
    """The newest run that made this model in this arm and trial, if the store has one."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    wanted = f"tags.arm = '{arm}' and tags.trial = '{trial}' and tags.{MODEL_TAG} = '{model_sha256}'"
    runs = client.search_runs([experiment.experiment_id], wanted, max_results=1, order_by=["start_time DESC"])
    return runs[0] if runs else None


def restore_run(
    client: MlflowClient, name: str, params: dict[str, Any], tags: dict[str, str], history: pd.DataFrame
) -> Run:
    """Make the run of a model that came from DVC's cache, from what is on disk."""
    with mlflow.start_run(run_name=name, tags=tags | describe_workspace() | {"restored": "true"}) as run:
        mlflow.log_params(params)
        for row in history.to_dict("records"):
            log_epoch(int(row["epoch"]), {str(key): float(value) for key, value in row.items() if key != "epoch"})
    return client.get_run(run.info.run_id)


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
    wanted = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
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
