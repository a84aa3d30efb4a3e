"""The optimizer that a training takes its steps with."""

import torch
from torch import nn

from stages.training.params import TrainParams


def build_optimizer(model: nn.Module, params: TrainParams, fused: bool = False) -> torch.optim.Optimizer:
    """The optimizer of a model's weights; SGD with a momentum of 0.9. fused: all weights in one GPU kernel."""
    weights = model.parameters()
    rate, decay, one = params.learning_rate, params.weight_decay, fused or None  # None: as torch chooses
    match params.optimizer:
        case "adam":
            return torch.optim.Adam(weights, lr=rate, weight_decay=decay, fused=one)
        case "adamw":
            return torch.optim.AdamW(weights, lr=rate, weight_decay=decay, fused=one)
        case "sgd":
            return torch.optim.SGD(weights, lr=rate, weight_decay=decay, momentum=0.9, fused=one)
