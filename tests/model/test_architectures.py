"""Every classifier of torchvision, and some of each kind of timm's, can be built for any number of classes."""

import re

import pytest
import torch
from torch import nn
from torchvision import models

from stages.model.architectures import build_network, check_forward, check_name, describe_input, find_head
from stages.runtime.errors import UserError

USUAL = ["resnet50", "vit_b_32", "squeezenet1_1", "densenet121", "googlenet", "inception_v3", "maxvit_t"]
OTHERS = [name for name in models.list_models(module=models) if name not in USUAL and not name.startswith("regnet")]
TIMM = ["resnet18", "vit_tiny_patch16_224", "convnext_atto", "tf_efficientnet_lite0", "mobilenetv3_small_050"]
TIMM += ["swin_tiny_patch4_window7_224", "regnetx_002", "mixer_s16_224", "deit_tiny_distilled_patch16_224"]


def build_without_weights(name: str, image_size: int) -> nn.Module:
    with torch.device("meta"):
        return build_network(name, 7, image_size)


def count_weights(model: nn.Module) -> list[int]:
    """The shape of the head's weights."""
    return list(next(model.get_submodule(find_head(model)).parameters()).shape)


@pytest.mark.parametrize("name", [*USUAL, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_every_classifier_of_torchvision_has_a_head_for_the_classes(name: str) -> None:
    size, mean, std = describe_input(name, None)
    model = build_without_weights(name, size)
    assert 7 in count_weights(model)
    assert (len(mean), len(std)) == (3, 3)
    assert all(0 < value < 1 for value in [*mean, *std])
    logits = model.eval()(torch.zeros(2, 3, size, size, device="meta"))
    assert logits.shape == (2, 7)


def test_regnets_compute_their_widths_while_they_are_built() -> None:
    model = build_network("regnet_y_400mf", 7, 64)
    check_forward(model, 7, 64)
    assert find_head(model) == "fc"


@pytest.mark.parametrize("name", TIMM)
def test_classifiers_of_timm_have_a_head_for_the_classes(name: str) -> None:
    size, _, _ = describe_input(f"timm/{name}", None)
    model = build_without_weights(f"timm/{name}", size)
    assert 7 in count_weights(model)
    assert model.eval()(torch.zeros(2, 3, size, size, device="meta")).shape == (2, 7)


def test_networks_of_a_fixed_size_are_built_for_the_one_that_is_asked_for() -> None:
    for name in ("vit_b_32", "timm/vit_tiny_patch16_224"):
        assert build_without_weights(name, 96).eval()(torch.zeros(1, 3, 96, 96, device="meta")).shape == (1, 7)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet5", "resnet50"),
        ("resnet50.x", "resnet50"),
        ("timm/resnet_18", "timm/resnet18"),
        ("timm/resnet18.zzz", "timm/resnet18"),
        ("timm/", "timm/"),
        ("vit_tiny_patch16_224", "vit_"),
    ],
)
def test_an_unknown_name_is_an_error_with_similar_ones(name: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"there is no classifier {re.escape(name)} \(similar: .*{near}"):
        check_name(name)


def test_a_size_that_a_network_cannot_take_is_named() -> None:
    with pytest.raises(UserError, match="vit_b_16 cannot be built for images of 100 x 100 pixels"):
        build_network("vit_b_16", 2, 100)
    with pytest.raises(UserError, match="cannot compute images of 32 x 32 pixels"):
        check_forward(build_network("alexnet", 2, 32), 2, 32)


def test_input_follows_the_weights() -> None:
    assert describe_input("resnet50", None) == (224, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert describe_input("efficientnet_b3", None)[0] == 300
    swag = models.get_model_weights("vit_b_16")["IMAGENET1K_SWAG_E2E_V1"]
    assert describe_input("vit_b_16", swag)[0] == 384
    assert describe_input("timm/tf_efficientnet_lite0", None) == (224, [0.5] * 3, [0.5] * 3)
