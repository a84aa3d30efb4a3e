"""Steps of a training: how many, of which images, at which learning rate."""

import math
from typing import TypedDict

import numpy as np

from stages.training.params import TrainParams


def compute_learning_rate(step: int, steps: int, params: TrainParams) -> float:
    """The learning rate of a step, from 0: constant, or half a cosine from ``learning_rate`` down to almost 0.

    Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts.
    """
    if params.schedule == "constant":
        return params.learning_rate
    return params.learning_rate * (1 + math.cos(math.pi * step / steps)) / 2


class Work(TypedDict):
    """How much training an arm gets; fields as in `TrainRecord`."""

    epochs: int
    steps: int
    train_images: int
    samples_seen: int


def count_work(num_images: int, repeats: int, params: TrainParams) -> Work:
    """How much training an arm gets that is shown ``num_images`` so often an epoch."""
    return {
        "epochs": params.epochs,
        "steps": params.epochs * count_steps(repeats * num_images, params.batch_size),
        "train_images": num_images,
        "samples_seen": params.epochs * repeats * num_images,
    }


def count_steps(num_samples: int, batch_size: int) -> int:
    """Optimizer steps on so many samples."""
    return len(split_batches(np.arange(num_samples), batch_size))


def split_batches(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut an order `[N]` into batches; a lone last image joins the batch before it.

    Batch norm cannot normalize a single image whose feature map is 1x1, as it is below 64 pixels.
    """
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) % batch_size == 1:
        starts.pop()
    return np.split(order, starts[1:])
