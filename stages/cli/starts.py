"""What the models that are there began with, and whether the network of params.yaml can begin at all."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from stages.base.files import compute_sha256
from stages.base.sections import flatten
from stages.cli.params import Params
from stages.model.params import ModelParams, find_file

ARMS = ("original", "augmented")


class Start(NamedTuple):
    """What a model began with: the section ``model`` of params.yaml, and the SHA-256 of the file of weights."""

    params: dict[str, Any]
    weights_sha256: str


def find_replaced_weights(params: Params) -> list[str]:
    """The train stages whose models are of these params, but began with other bytes than ``model.weights`` has now.

    Raises UserError when a network is to be trained that cannot be built, or whose weights are absent or do not fit:
    the same as its training would, but before anything else runs. What was trained in one trial can be in another.
    """
    file = find_file(params.model.weights)
    sha256 = compute_sha256(file) if file and file.is_file() else ""
    wanted = flatten({"model": params.model.model_dump()})
    starts = {f"train_{arm}@{trial}": read_start(arm, trial) for trial in params.trials for arm in ARMS}
    trained = {stage: start for stage, start in starts.items() if start and start.params == wanted}
    replaced = [stage for stage, start in trained.items() if sha256 and start.weights_sha256 != sha256]
    if replaced or not trained:
        check_network(params.model)
    return replaced


def read_start(arm: str, trial: int) -> Start | None:
    """What the model that is there began with; None where there is none, or one of another version of this code."""
    path = Path("models", arm, str(trial), "run.json")  # model.record has the name too, but loads pandas
    try:
        run = json.loads(path.read_bytes())
        params = {key: value for key, value in run["params"].items() if key.startswith("model.")}
        return Start(params, run["network"]["weights_sha256"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def check_network(params: ModelParams) -> None:
    """Build the network as its training would, for any number of classes. Raises UserError when that fails."""
    from stages.model.network import build_model, describe_network  # loads torch, which takes seconds

    build_model(describe_network(params), num_classes=2, seed=0)
