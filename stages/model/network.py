"""A network: built from random or pretrained weights, saved, and loaded without running anyone's code."""

import hashlib
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from stages.base.files import compute_sha256
from stages.model.architectures import TIMM, build_network, check_forward, check_name, describe_input, find_head
from stages.model.dataset import ModelInputs, prepare, read_ahead
from stages.model.device import Device
from stages.model.params import ModelParams, find_file
from stages.model.record import NetworkRecord, TrainRecord
from stages.model.weights import choose_published, load_weights, name_timm
from stages.runtime.errors import UserError

MODEL_FILE = "model.safetensors"
LAYERS_FILE = "layers.csv"

# Fixed, as rounding depends on it: evaluate must find exactly what train saw
PREDICTION_BATCH = 64


def describe_network(params: ModelParams) -> NetworkRecord:
    """What params ask for; what they leave open is as the network's weights were trained with.

    Raises UserError for a network or weights that do not exist.
    """
    check_name(params.name)
    name, file = params.name, find_file(params.weights)
    if name.startswith(TIMM):
        name = TIMM + name_timm(name, params.weights)
    size, mean, std = describe_input(name, choose_published(name, params.weights))
    return NetworkRecord(
        name=params.name,
        weights=params.weights,
        freeze=params.freeze,
        weights_sha256=compute_sha256(file) if file and file.is_file() else "",
        image_size=params.image_size or size,
        mean=params.normalization.mean if params.normalization else mean,
        std=params.normalization.std if params.normalization else std,
    )


def build_model(network: NetworkRecord, num_classes: int, seed: int) -> nn.Module:
    """The network as it is before training, its random weights from ``seed``; 23,512,130 in ResNet-50 of two classes.

    Raises UserError when it cannot be built, or its pretrained weights cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_network(network.name, num_classes, network.image_size)
    if network.weights:
        load_weights(model, network.name, network.weights, network.image_size)
    check_forward(model, num_classes, network.image_size)
    if network.freeze == "backbone":
        model.requires_grad_(False).get_submodule(find_head(model)).requires_grad_(True)
    return model.to(memory_format=torch.channels_last)


def encode_weights(model: nn.Module) -> bytes:
    """All tensors of a model, batch-norm statistics included, as safetensors. The same weights give the same bytes."""
    data: bytes = save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})
    return data


def compute_weights_sha256(model: nn.Module) -> str:
    """SHA-256 of a model's tensors, in hex."""
    return hashlib.sha256(encode_weights(model)).hexdigest()


def load_model(folder: Path, run: TrainRecord) -> nn.Module:
    """Load the model that ``run`` describes. Raises UserError when the file is missing or not that model."""
    path, num_classes = folder / MODEL_FILE, len(run.class_names)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}). Run `dvc repro` to make it again.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != run.model_sha256:
        raise UserError(
            f"{path} was changed: its SHA-256 is {found[:12]}…, run.json says {run.model_sha256[:12]}…. "
            f"Delete {folder} and run `dvc checkout`, or `dvc repro` to train it again."
        )
    untrained = run.network.model_copy(update={"weights": None})
    model = build_model(untrained, num_classes, seed=0)
    try:
        model.load_state_dict(load(data))
    except (SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{path} is not a {run.network.name} with {num_classes} classes: {error}. Run `dvc repro`."
        ) from error
    return model


def list_layers(model: nn.Module) -> pd.DataFrame:
    """Every tensor of weights: layer, size (such as 64x3x7x7), number of weights, trainable. 161 rows for ResNet-50."""
    rows = [(name, "x".join(map(str, p.shape)), p.numel(), p.requires_grad) for name, p in model.named_parameters()]
    return pd.DataFrame(rows, columns=["layer", "size", "weights", "trainable"])


def encode_layers(model: nn.Module) -> bytes:
    """The list of layers as CSV."""
    return list_layers(model).to_csv(index=False, lineterminator="\n").encode()


@torch.inference_mode()
def predict_logits(model: nn.Module, inputs: ModelInputs, network: NetworkRecord, device: Device) -> torch.Tensor:
    """Logits `[N, C]`, float32 on the CPU, of uint8 images `[N, 3, H, W]`, or of features `[N, F]` by a head alone.

    Leaves the model in evaluation mode.
    """
    model.eval()
    logits = []
    starts = range(0, len(inputs), PREDICTION_BATCH)
    for batch in read_ahead(inputs, (slice(start, start + PREDICTION_BATCH) for start in starts)):
        with device.take_turn(), device.autocast():
            logits.append(model(prepare(batch.to(device.torch_device), network)).float().cpu())
    return torch.cat(logits)
