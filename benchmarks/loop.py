"""The product's own training loop on made-up pixels, as params.yaml has it."""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

from stages.model.dataset import Examples
from stages.model.device import Device
from stages.model.network import build_model, describe_network
from stages.model.params import ModelParams
from stages.training.checkpoints import Checkpoints, Stop
from stages.training.loop import Trainer, TrainSpec
from stages.training.params import TrainParams

SIZE = 224  # pixels


def make_step(trainer: Trainer) -> Callable[[], torch.Tensor]:
    """Its optimizer step on its first batch, again and again."""
    train, batch = trainer.spec.train, np.arange(trainer.spec.params.batch_size)
    inputs, share = next(train.read_batches(1, [batch])), trainer.spec.ranks.share(batch)
    trainer.model.train()
    return partial(trainer._take_step, inputs, train.targets[batch], share)


@contextmanager
def open_trainer(device: Device, steps: int, epochs: int = 1, batch_size: int = 32) -> Iterator[Trainer]:
    """Trains ResNet-50 for ``epochs`` of ``steps`` steps, without checkpoints: a save would be part of the time."""
    images = steps * batch_size
    pixels = np.random.default_rng(0).integers(0, 256, (images, 3, SIZE, SIZE), dtype=np.uint8)
    inputs = torch.from_numpy(pixels).to(device.torch_device)
    train, test = (Examples(inputs[:count], torch.arange(count) % 2) for count in (images, 2))
    params = TrainParams(
        budget="epochs",
        epochs=epochs,
        batch_size=batch_size,
        optimizer="adam",
        learning_rate=0.001,
        schedule="constant",
        weight_decay=0.0,
        label_smoothing=0.0,
        precision="auto",
        deterministic=True,
        threads=None,
        launcher=None,
        checkpoint_every=epochs,
    )
    labs = ModelParams(name="resnet50", weights=None, freeze="none", image_size=SIZE, normalization=None)
    network = describe_network(labs)
    model = build_model(network, 2, seed=0).to(device.torch_device)
    spec = TrainSpec(train, test, 1, network, params, 0, device)
    with tempfile.TemporaryDirectory() as folder:
        yield Trainer(model, spec, Checkpoints(Path(folder), Stop(), seconds=math.inf))
