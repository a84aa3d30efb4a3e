"""Pretrained weights: fitted exactly or refused, never run as code; without a network their address."""

import pickle
import re
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from stages.base.files import compute_sha256
from stages.model.architectures import build_network
from stages.model.network import build_model, describe_network
from stages.model.params import ModelParams
from stages.model.weights import choose_published, load_weights, name_timm
from stages.runtime.errors import UserError

NAME = "mobilenet_v3_small"


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return dict(build_network(NAME, 10, 64).state_dict())


def choose(**changes: Any) -> ModelParams:
    params = {"name": NAME, "weights": None, "freeze": "none", "image_size": 64, "normalization": None}
    return ModelParams(**(params | changes))


def build(weights: str, num_classes: int = 3, **changes: Any) -> nn.Module:
    return build_model(describe_network(choose(weights=weights, **changes)), num_classes, seed=0)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_gives_all_weights_but_a_head_of_zeros(trained: dict[str, torch.Tensor], suffix: str, wrap: Any) -> None:
    if suffix == "safetensors":
        save_file(trained, "own.safetensors")
    else:
        torch.save(wrap(trained), "own.pth")
    found = build(f"own.{suffix}").state_dict()
    for key, tensor in trained.items():
        if key.startswith("classifier.3"):
            assert not found[key].any()
            assert len(found[key]) == 3
        else:
            assert torch.equal(found[key], tensor), key


def test_a_head_of_the_same_size_is_kept(trained: dict[str, torch.Tensor]) -> None:
    torch.save(trained, "own.pth")
    assert torch.equal(build("own.pth", 10).state_dict()["classifier.3.weight"], trained["classifier.3.weight"])


def test_the_file_is_recorded_by_content(trained: dict[str, torch.Tensor]) -> None:
    torch.save(trained, "own.pth")
    assert len(describe_network(choose(weights="own.pth")).weights_sha256) == 64
    assert describe_network(choose()).weights_sha256 == ""


def test_weights_of_another_network_are_refused_by_name(trained: dict[str, torch.Tensor]) -> None:
    first = next(iter(trained))
    torch.save(trained | {"extra": torch.zeros(1), first: torch.zeros(2, 2)}, "own.pth")
    with pytest.raises(UserError, match=rf"1 unknown ones, such as extra, has 1 of another shape, such as {first}"):
        build("own.pth")
    torch.save({key: tensor for key, tensor in trained.items() if key != first}, "own.pth")
    with pytest.raises(UserError, match=f"does not fit {NAME}: of its tensors it lacks 1, such as {first}"):
        build("own.pth")


def test_code_in_a_file_is_never_run(repository: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (repository / "owned",)

    Path("own.pth").write_bytes(pickle.dumps(Attack(), protocol=2))
    with pytest.raises(UserError, match="cannot be read as tensors alone"):
        build("own.pth")
    assert not (repository / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken"])
@pytest.mark.parametrize("name", ["own.pth", "own.safetensors"])
def test_a_damaged_file_is_named(name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} cannot be read"):
        build(name)


@pytest.mark.parametrize("share", [0.0002, 0.5, 0.9999])
@pytest.mark.parametrize("name", ["own.pth", "old.pth", "own.safetensors"])
def test_a_file_without_its_end_is_to_be_copied_again(
    trained: dict[str, torch.Tensor], name: str, share: float
) -> None:
    if name == "own.safetensors":
        save_file(trained, name)
    else:
        torch.save(trained, name, _use_new_zipfile_serialization=name == "own.pth")
    content = Path(name).read_bytes()
    Path(name).write_bytes(content[: int(share * len(content))])
    message = (
        rf"{name} cannot be read: the file is incomplete or damaged \([\d,]+ bytes\)\. Download or copy it again\.$"
    )
    with pytest.raises(UserError, match=message):
        build(name)


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"there is no file .*own\.pth"):
        build("own.pth")
    with pytest.raises(UserError, match=r"has no weights IMAGENET9K.* Give DEFAULT, IMAGENET1K_V1"):
        choose_published(NAME, "IMAGENET9K")
    with pytest.raises(UserError, match=r"resnet18 has no weights b9.* a1_in1k"):
        name_timm("timm/resnet18", "b9")
    assert name_timm("timm/resnet18", "a2_in1k") == "resnet18.a2_in1k"
    assert name_timm("timm/resnet18.a3_in1k", "DEFAULT") == "resnet18.a3_in1k"
    with pytest.raises(ValueError, match="freeze is backbone and weights is null"):
        choose(freeze="backbone")


def test_what_params_give_goes_before_what_the_weights_expect() -> None:
    own = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    network = describe_network(choose(image_size=48, normalization=own))
    assert (network.image_size, network.mean, network.std) == (48, own["mean"], own["std"])
    usual = describe_network(choose(image_size=None))
    assert (usual.image_size, usual.mean) == (224, [0.485, 0.456, 0.406])


@pytest.fixture
def server(repository: Path) -> Iterator[str]:
    """A web server for the files of the current folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(repository))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as own:
        Thread(target=own.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{own.server_port}"
        own.shutdown()


def test_published_weights_of_torchvision_are_downloaded_once_and_kept(
    server: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real client, against a server of our own with weights of our own."""
    monkeypatch.setenv("TORCH_HOME", str(repository / "hub"))
    chosen = models.get_model_weights(NAME)["DEFAULT"]
    torch.manual_seed(1)
    published = build_network(NAME, 1000, 224).state_dict()
    torch.save(published, "published.pth")
    file = Path("published.pth").rename(f"published-{compute_sha256(Path('published.pth'))[:8]}.pth")  # it is checked
    monkeypatch.setattr(chosen.value, "url", f"{server}/{file}")
    model = build_network(NAME, 3, 64)
    load_weights(model, NAME, "DEFAULT", 64)
    assert torch.equal(model.state_dict()["features.0.0.weight"], published["features.0.0.weight"])
    assert not model.state_dict()["classifier.3.bias"].any()
    file.unlink()
    load_weights(model, NAME, "DEFAULT", 64)


def test_without_a_network_the_message_says_where_to_get_weights_and_where_to_put_them(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(repository / "hub"))
    monkeypatch.setattr(models.get_model_weights(NAME)["DEFAULT"].value, "url", "http://127.0.0.1:1/small-01234567.pth")
    place = re.escape(str(repository / "hub/hub/checkpoints/small-01234567.pth"))
    with pytest.raises(UserError, match=rf"refused.* from http://127.0.0.1:1/small-01234567.pth and put it at {place}"):
        build("DEFAULT")


def test_published_weights_of_another_image_size_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    published = models.get_model_weights("vit_b_32")["DEFAULT"]
    monkeypatch.setattr(type(published), "get_state_dict", lambda *_, **__: models.vit_b_32(weights=None).state_dict())
    with pytest.raises(UserError, match=r"of another shape, such as encoder\.pos_embedding \[1, 50, 768\] instead of"):
        build("DEFAULT", name="vit_b_32", image_size=96)
