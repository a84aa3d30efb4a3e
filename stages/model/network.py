"""ResNet-50: build it from random weights, predict, save it and load it without running anyone's code."""

import hashlib
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torchvision.models import ResNet, resnet50

from stages.model.dataset import normalize
from stages.model.device import Device
from stages.model.record import TrainRecord
from stages.runtime.errors import UserError

MODEL_FILE = "model.safetensors"
LAYERS_FILE = "layers.csv"

# Fixed, as rounding depends on it: evaluate must find exactly what train saw
PREDICTION_BATCH = 64


def build_model(num_classes: int, seed: int) -> ResNet:
    """ResNet-50 with random weights (He et al. 2015, https://arxiv.org/abs/1512.03385); 23,512,130 for two classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return resnet50(weights=None, num_classes=num_classes).to(memory_format=torch.channels_last)


def encode_weights(model: ResNet) -> bytes:
    """All tensors of a model, batch-norm statistics included, as safetensors. The same weights give the same bytes."""
    data: bytes = save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})
    return data


def compute_weights_sha256(model: ResNet) -> str:
    """SHA-256 of a model's tensors, in hex."""
    return hashlib.sha256(encode_weights(model)).hexdigest()


def load_model(folder: Path, run: TrainRecord) -> ResNet:
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
    model = build_model(num_classes, seed=0)
    try:
        model.load_state_dict(load(data))
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{path} is not a ResNet-50 with {num_classes} classes: {error}. Run `dvc repro`.") from error
    return model


def list_layers(model: ResNet) -> pd.DataFrame:
    """Every trainable tensor: layer, size (such as 64x3x7x7), number of weights, trainable. 161 rows."""
    rows = [(name, "x".join(map(str, p.shape)), p.numel(), p.requires_grad) for name, p in model.named_parameters()]
    return pd.DataFrame(rows, columns=["layer", "size", "weights", "trainable"])


@torch.inference_mode()
def predict_logits(model: ResNet, images: torch.Tensor, device: Device) -> torch.Tensor:
    """Logits `[N, C]`, float32 on the CPU, of uint8 images `[N, 3, H, W]`. Leaves the model in evaluation mode."""
    model.eval()
    logits = []
    for batch in torch.split(images, PREDICTION_BATCH):
        with device.take_turn(), device.autocast():
            logits.append(model(normalize(batch.to(device.torch_device))).float().cpu())
    return torch.cat(logits)
