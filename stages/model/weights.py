"""Pretrained weights: published ones by name, or a file; loaded into a network with a head for other classes."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torchvision import models

from stages.model.architectures import (
    TIMM,
    build_timm,
    build_torchvision,
    describe_input,
    find_head,
    read_timm_config,
)
from stages.model.params import WEIGHTS_SUFFIXES, find_file
from stages.runtime.errors import UserError

FOLDER = "models/weights"
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # heads that googlenet and inception_v3 have in training only
# what safetensors and torch say of a file without its end
CUT_OFF = ("invalid header length", "incomplete metadata", "failed reading zip archive", "unexpected EOF")

StateDict = dict[str, torch.Tensor]


def choose_published(name: str, weights: str | None) -> Any:
    """torchvision's weights of this name; None for timm's, for a file, and for random ones.

    Raises UserError when the network has no such weights.
    """
    if weights is None or name.startswith(TIMM) or find_file(weights):
        return None
    published = models.get_model_weights(name)
    if weights not in published.__members__:
        raise _explain_unknown(name, weights, [each.name for each in published])
    return published[weights]


def name_timm(name: str, weights: str | None) -> str:
    """timm's own name of a network with these weights, such as ``resnet18.a1_in1k``.

    Raises UserError when the network has no such weights.
    """
    import timm

    architecture, _, tag = name.removeprefix(TIMM).partition(".")
    if weights is None or weights == "DEFAULT" or find_file(weights):
        return f"{architecture}.{tag}" if tag else architecture
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if weights not in tags:
        raise _explain_unknown(name, weights, tags)
    return f"{architecture}.{weights}"


def _explain_unknown(name: str, weights: str, known: list[str]) -> UserError:
    return UserError(
        f"model.weights: {name} has no weights {weights}. Give {', '.join(['DEFAULT', *known])}, "
        f"a file ({', '.join(WEIGHTS_SUFFIXES)}), or null for random ones."
    )


def load_weights(model: nn.Module, name: str, weights: str, image_size: int) -> None:
    """Load pretrained weights into a network; a head of another size is replaced.

    Raises UserError when they cannot be had, or are of another network.
    """
    if file := find_file(weights):
        found = read_file(file)
    elif name.startswith(TIMM):
        found = download_timm(name, weights, image_size)
    else:
        found = download_torchvision(name, weights)
    fit_weights(model, found, f"model.weights: {weights}", name)


def read_file(path: Path) -> StateDict:
    """The tensors of a file, without running code that it may hold. Raises UserError when that cannot be done."""
    if not path.is_file():
        raise UserError(f"model.weights: there is no file {path}. Put it there, or name another in params.yaml.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on damaged bytes the readers raise almost anything
        raise _explain_unreadable(path, error) from error
    for key in ("state_dict", "model"):  # as training scripts often save it
        found = found[key] if isinstance(found, dict) and isinstance(found.get(key), dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise UserError(f"model.weights: {path} does not hold a state_dict, names with tensors. Save one.")
    return {key.removeprefix("module."): value for key, value in found.items()}


def _explain_unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200]
    if isinstance(error, EOFError) or any(sign in reason for sign in CUT_OFF):
        return UserError(
            f"model.weights: {path} cannot be read: the file is incomplete or damaged ({path.stat().st_size:,} bytes). "
            "Download or copy it again."
        )
    return UserError(
        f"model.weights: {path} cannot be read as tensors alone ({reason}). Save the network's state_dict() "
        "with safetensors.torch.save_file, or with torch.save."
    )


def download_torchvision(name: str, weights: str) -> StateDict:
    """Published weights of torchvision, from its cache or its server."""
    chosen = choose_published(name, weights)
    size, _, _ = describe_input(name, chosen)  # some networks can be built with these weights for no other
    try:
        return dict(build_torchvision(name, size, weights=chosen).state_dict())
    except OSError as error:  # as urllib's errors are
        place = Path(torch.hub.get_dir(), "checkpoints", Path(chosen.url).name)
        raise UserError(_explain_download(f"{name} ({chosen.name})", chosen.url, str(place), error)) from error


def download_timm(name: str, weights: str, image_size: int) -> StateDict:
    """Published weights of timm, from the cache or the server of its hub."""
    from huggingface_hub import constants

    full_name = name_timm(name, weights)
    config = read_timm_config(full_name)
    if not config.has_weights:
        raise UserError(
            f"model.weights: timm publishes no weights of {name}. Set it to a file, or null for random ones."
        )
    try:
        return dict(build_timm(full_name, image_size, pretrained=True).state_dict())
    except Exception as error:  # its hub's client lets those of many libraries through
        url = (
            f"{constants.ENDPOINT}/{config.hf_hub_id}/resolve/main/model.safetensors"
            if config.hf_hub_id
            else config.url
        )
        place = f"{FOLDER}/{full_name}.safetensors and name that file in model.weights"
        raise UserError(_explain_download(full_name, url, place, error)) from error


def _explain_download(what: str, url: str, place: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return (
        f"model.weights: {what} could not be downloaded ({reason}). Connect to the network, or get the file elsewhere "
        f"from {url} and put it at {place}."
    )


def fit_weights(model: nn.Module, found: StateDict, what: str, name: str) -> None:
    """Load tensors into a network. A head of another size gives way to one of zeros, which prefers no class.

    Zeros: Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929, section 3.2.

    Raises UserError, with examples, when any other tensor is missing, unknown or of another shape.
    """
    own, head = dict(model.state_dict()), find_head(model)
    found = {key: tensor for key, tensor in found.items() if not key.startswith(AUXILIARY)}
    new_head = {key: torch.zeros_like(tensor) for key, tensor in own.items() if key.startswith(f"{head}.")}
    if any(key not in found or found[key].shape != zeros.shape for key, zeros in new_head.items()):
        found |= new_head
    missing = [key for key in own if key not in found and not key.endswith("num_batches_tracked")]
    unknown = [key for key in found if key not in own]
    reshaped = [key for key in own if key in found and own[key].shape != found[key].shape]
    if missing or unknown or reshaped:
        shapes = [f"{k} {list(found[k].shape)} instead of {list(own[k].shape)}" for k in reshaped[:1]]
        problems = [f"lacks {len(missing)}, such as {missing[0]}"] if missing else []
        problems += [f"has {len(unknown)} unknown ones, such as {unknown[0]}"] if unknown else []
        problems += [f"has {len(reshaped)} of another shape, such as {shapes[0]}"] if reshaped else []
        raise UserError(
            f"{what} does not fit {name}: of its tensors it {', '.join(problems)}. "
            "Name the network that it was saved from in model.name, or other weights."
        )
    model.load_state_dict(own | found)
