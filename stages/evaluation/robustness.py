"""Predictions on the test photos under each augmentation operation alone."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from stages.augmentation.operations import apply_each
from stages.augmentation.params import AugmentParams
from stages.evaluation.predictions import RobustnessTable, tabulate_operation
from stages.model.dataset import ModelInputs
from stages.model.features import Inputs
from stages.model.network import PREDICTION_BATCH
from stages.model.scores import Probabilities
from stages.runtime.workers import map_in_forks

Predict = Callable[[ModelInputs], Probabilities]
"""What was trained as a function from its inputs to probabilities `[N, C]`."""


def compute_robustness(
    test: pd.DataFrame, class_names: list[str], models: dict[str, Predict], params: AugmentParams, inputs: Inputs
) -> pd.DataFrame:
    """What every model predicts for every test photo under each operation alone, made into inputs of all models.

    Returns: a `RobustnessTable`, operation by operation, within each in the order of ``test``; without rows where
    params list no operation, as a policy of torchvision allows.
    """
    if not params.operations:
        return pd.DataFrame(columns=list(RobustnessTable.columns))
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in params.operations}
    apply = partial(apply_each, params=params, size=inputs.size)  # AugLy's random_noise seeds numpy for all threads
    for start in range(0, len(test), PREDICTION_BATCH):  # bounds memory: each operation is as many images as photos
        part = test[start : start + PREDICTION_BATCH]
        squares = map_in_forks(apply, map(Path, part["path"]), part["sha256"])
        for name, pixels in zip(tables, np.stack(squares, axis=1), strict=True):
            changed = inputs.make(torch.from_numpy(pixels).permute(0, 3, 1, 2))
            probabilities = {arm: predict(changed) for arm, predict in models.items()}
            tables[name].append(tabulate_operation(name, part, probabilities, class_names))
    return pd.concat([table for parts in tables.values() for table in parts], ignore_index=True)
