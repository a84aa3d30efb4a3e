"""Whether trials can run on a cluster at all, as far as that shows without it, and before anything else runs."""

import os
import subprocess

from stages.cli.params import Params
from stages.runtime.errors import UserError


def check_request(params: Params) -> tuple[int, float]:
    """How many cores and GPUs a trial takes. Raises UserError when that is open, or nodes could not share results."""
    gpus = parse_gpus(os.environ.get("CLUSTER_GPUS", "0"))
    threads = check_params(params)
    check_places()
    return threads, gpus


def check_params(params: Params) -> int:
    """How many cores a trial takes. Raises UserError when that is open, or a trial would take them several times."""
    if params.train.launcher:
        raise UserError(
            f"train.launcher is {params.train.launcher!r}, and on a cluster each training is one process on one node. "
            "Set it to null in params.yaml, or run without CLUSTER."
        )
    if params.train.threads is None:
        raise UserError(
            "train.threads in params.yaml is null, as many as a machine has, which may differ from node to node, and "
            "results differ with it. Set the number of cores that a trial takes on the cluster, such as 4."
        )
    return params.train.threads


def check_places() -> None:
    """Raise UserError when nodes could not share their results."""
    listed = subprocess.run(["dvc", "config", "core.remote"], capture_output=True, text=True, check=False)
    if not listed.stdout.strip():
        raise UserError(
            "there is no default DVC remote, through which nodes share photos and models. Add one that all of them "
            "reach: dvc remote add --default store s3://my-bucket/dvc-store (docs/remote.md)."
        )
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri or uri.startswith(("sqlite:", "file:", "/", ".")):
        raise UserError(
            f"MLFLOW_TRACKING_URI is {uri or 'not set'}, and a node's own store would be lost with its folder. Name a "
            "tracking server that all nodes reach: export MLFLOW_TRACKING_URI=http://host:5000 (docs/scale.md)."
        )


def parse_gpus(text: str) -> float:
    """The GPUs of a trial, such as 0.25. Raises UserError when it is no such number."""
    try:
        gpus = float(text)
    except ValueError:
        gpus = -1.0
    if not (0 <= gpus < 1 or (gpus >= 1 and gpus.is_integer())):  # Ray's rule; no number compares with NaN
        raise UserError(f"CLUSTER_GPUS={text}: a trial takes 0 GPUs, a part of one, such as 0.25, or a whole number.")
    return gpus
