"""The MLflow runs of trainings: found by the model they made, and given what was computed later."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow.entities import Metric, Run
from mlflow.tracking import MlflowClient

from stages.model.record import RUN_FILE, TrainRecord, get_model_dir
from stages.tracking.store import EXPERIMENT, allow_slow_uploads, attempt, open_store

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

MODEL_TAG, STORED_TAG = "model_sha256", "stored_model_sha256"


def find_run(client: MlflowClient, arm: str, trial: int, model_sha256: str) -> Run | None:
    """The newest run that made this model in this arm and trial, if there is one."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    wanted = f"tags.arm = '{arm}' and tags.trial = '{trial}' and tags.{MODEL_TAG} = '{model_sha256}'"
    runs = client.search_runs([experiment.experiment_id], wanted, max_results=1, order_by=["start_time DESC"])
    return runs[0] if runs else None


SECONDS_TAG = "training_seconds"
"""Says how long a run was trained. From its start to its end there may be pauses, and a training that is repeated keeps
the start of the first."""


def find_duration(arm: str, trial: int) -> float | None:
    """How many seconds the training of a model took, or None where there is none, or MLflow did not see it train."""
    file = get_model_dir(arm, trial) / RUN_FILE
    if not file.exists():
        return None
    model = TrainRecord.load(file).model_sha256
    found: list[Run | None] = []
    attempt(lambda: found.append(find_run(open_store(), arm, trial, model)))
    run = found[0] if found else None
    if run is None or "restored" in run.data.tags:
        return None
    return float(run.data.tags.get(SECONDS_TAG) or (run.info.end_time - run.info.start_time) / 1000)


def store_model(
    client: MlflowClient,
    run: Run,
    load_model: Callable[[], "torch.nn.Module"],
    size: int,
    versions: dict[str, str],
) -> None:
    """Log a model to the run that made it, unless it is there: in PyTorch's exported form, without pickled code.

    Args:
        client: of the tracking server.
        run: that has ended; its end time is preserved.
        load_model: gives it, on the CPU, in evaluation mode.
        size: of the images that it takes, in pixels.
        versions: of the libraries that the model needs.
    """
    if run.data.tags.get(STORED_TAG) == run.data.tags[MODEL_TAG]:
        return
    import torch
    from mlflow.models import infer_signature

    model = load_model()
    example = torch.zeros(2, 3, size, size)  # two gray images, for the shapes; with one the batch size would be fixed
    with torch.inference_mode():
        signature = infer_signature(example.numpy(), model(example).numpy())
    try:
        with warnings.catch_warnings(), allow_slow_uploads(), mlflow.start_run(run_id=run.info.run_id):
            warnings.simplefilter("ignore", UserWarning)  # torch.export on where weights lie: on the CPU
            mlflow.pytorch.log_model(
                model,
                name="model",
                signature=signature,
                input_example=example,  # an array would be kept as text, for a second of work; the signature is enough
                pip_requirements=[f"{name}=={versions[name]}" for name in ("torch", "torchvision")],
                validate_serving_input=False,  # would load the model anew, which takes as long as storing it
            )
            mlflow.set_tag(STORED_TAG, run.data.tags[MODEL_TAG])
    finally:
        client.set_terminated(run.info.run_id, "FINISHED", end_time=run.info.end_time)


def list_packages() -> None:
    """Let MLflow find out, once, which packages are installed: storing a model asks for it, which takes 0.8 seconds."""
    from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

    warn_dependency_requirement_mismatches(["torch"])


def add_results(client: MlflowClient, run: Run, metrics: dict[str, float], step: int) -> None:
    """Add test results to a run that has ended. A value that it has already is not logged again."""
    now = int(time.time() * 1000)  # milliseconds
    new = [Metric(key, value, now, step) for key, value in metrics.items() if run.data.metrics.get(key) != value]
    client.log_batch(run.info.run_id, metrics=new)


def add_figure(client: MlflowClient, run: Run, figure: "Figure", name: str) -> None:
    """Log a figure as an artifact of a run that has ended."""
    client.log_figure(run.info.run_id, figure, f"figures/{name}")


def add_file(client: MlflowClient, run: Run, file: Path) -> None:
    """Log a file of the workspace as an artifact of a run that has ended, under its own path."""
    client.log_artifact(run.info.run_id, str(file), file.parent.as_posix())
