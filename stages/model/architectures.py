"""The classifiers that params can name: those of torchvision, and as ``timm/<name>`` those of timm."""

import difflib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import nn
from torchvision import models

from stages.runtime.errors import UserError

TIMM = "timm/"


def check_name(name: str) -> None:
    """Raise UserError, with similar names, unless there is such a classifier."""
    known = list_names(name.startswith(TIMM))
    if name not in known:
        near = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.5))
        raise UserError(
            f"model.name: there is no classifier {name}{f' (similar: {near})' if near else ''}. Give one of "
            "torchvision's (https://docs.pytorch.org/vision/stable/models.html#classification), such as resnet18, or "
            "one of timm's (`python -c 'import timm; print(timm.list_models())'`) as timm/<name>."
        )


@cache
def list_names(of_timm: bool) -> list[str]:
    """All classifiers of torchvision, or of timm; of timm, also those with the tag of their weights."""
    if of_timm:
        import timm  # most need none of its thousand models

        return [TIMM + known for known in [*timm.list_models(), *timm.list_pretrained()]]
    return list(models.list_models(module=models))


def build_network(name: str, num_classes: int, image_size: int) -> nn.Module:
    """The classifier with random weights, from torch's global generator.

    Raises UserError for an unknown name, or one that cannot be built for images of ``image_size`` pixels a side.
    """
    check_name(name)
    try:
        if name.startswith(TIMM):
            return build_timm(name.removeprefix(TIMM), image_size, num_classes=num_classes)
        return build_torchvision(name, image_size, num_classes=num_classes)
    except Exception as error:  # what a network cannot do with a size it says in many ways
        raise UserError(
            f"{name} cannot be built for images of {image_size} x {image_size} pixels: {error}. "
            "Change model.image_size or model.name in params.yaml."
        ) from error


def build_torchvision(name: str, image_size: int, **options: Any) -> nn.Module:
    """One of torchvision's classifiers; ``options``: ``weights``, ``num_classes``."""
    if name.startswith("vit_"):
        options["image_size"] = image_size
    elif name == "maxvit_t":
        options["input_size"] = (image_size, image_size)
    elif name in ("googlenet", "inception_v3"):  # without the losses in the middle; input as their weights expect it
        options |= {"init_weights": True, "transform_input": True}
        options |= {} if options.get("weights") else {"aux_logits": False}
    model: nn.Module = models.get_model(name, **options)
    return model


def build_timm(name: str, image_size: int, **options: Any) -> nn.Module:
    """One of timm's classifiers; ``options``: ``pretrained``, ``num_classes``."""
    import timm

    usual_size = read_timm_config(name).input_size[1:]
    create: Callable[..., nn.Module] = partial(timm.create_model, name, **options)
    if usual_size == (image_size, image_size):
        return create()
    try:
        return create(img_size=image_size)
    except TypeError:  # it takes images of any size
        return create()


def read_timm_config(name: str) -> Any:
    """What timm knows of a network, with a tag or without: size and normalization of images, weights."""
    import timm

    return timm.get_pretrained_cfg(name)


def find_head(model: nn.Module) -> str:
    """The name of the layer that gives the logits: the last linear one, or convolution."""
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return str(layers[-1])


def describe_input(name: str, weights: Any) -> tuple[int, list[float], list[float]]:
    """Image size in pixels, mean and standard deviation per colour channel that a network is usually trained with.

    ``weights``: a set of torchvision's weights; None: what most of that network's published weights expect.
    """
    if name.startswith(TIMM):
        config = read_timm_config(name.removeprefix(TIMM))
        return config.input_size[1], list(config.mean), list(config.std)
    chosen = weights or models.get_model_weights(name).DEFAULT
    preset = chosen.transforms()
    return preset.crop_size[0], list(preset.mean), list(preset.std)


def check_forward(model: nn.Module, num_classes: int, image_size: int) -> None:
    """Raise UserError unless the network gives one logit per class for an image of this size."""
    try:
        with torch.inference_mode():
            shape = tuple(model.eval()(torch.zeros(1, 3, image_size, image_size)).shape)
    except Exception as error:
        raise UserError(
            f"model.name: the network cannot compute images of {image_size} x {image_size} pixels: {error}. "
            "Change model.image_size in params.yaml."
        ) from error
    if shape != (1, num_classes):
        raise UserError(f"model.name: the network gives {shape} instead of {num_classes} logits. Choose another one.")
