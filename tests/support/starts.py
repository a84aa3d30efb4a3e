"""Models as `make repro` finds them, and files of weights for others."""

from pathlib import Path

import torch

from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.cli.starts import ARMS
from stages.model.architectures import build_network
from stages.model.record import RUN_FILE, get_model_dir
from tests.conftest import change_params
from tests.support.records import make_network, make_run

SMALL = "mobilenet_v3_small"
WEIGHTS = Path("models/weights/mine.pth")


def record_models(weights_sha256: str = "", trials: tuple[int, ...] = (0,)) -> None:
    """Leave of models what train writes about them, as if they were of the params that are there now."""
    params = flatten({"model": load_params().model.model_dump()})
    for arm in ARMS:
        for trial in trials:
            run = make_run(arm=arm, trial=trial, params=params, network=make_network(weights_sha256=weights_sha256))
            run.save(get_model_dir(arm, trial) / RUN_FILE)


def use_weights(name: str) -> None:
    """A file of weights of this network, and params that name the file, and `SMALL`."""
    WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
    torch.save(build_network(name, 3, 64).state_dict(), WEIGHTS)
    change_params({"model.name": SMALL, "model.image_size": 64, "model.weights": WEIGHTS.as_posix()})
