"""Features: computed once per image, whatever is asked for beside it, and never taken from what is damaged."""

import re
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from stages.base.files import compute_sha256
from stages.model import features as features_module
from stages.model.architectures import find_head
from stages.model.dataset import load_pixels
from stages.model.device import Device
from stages.model.features import FeatureExtractor, split_model
from stages.model.network import build_model, predict_logits
from stages.model.record import NetworkRecord
from stages.runtime.errors import UserError
from tests.support.records import make_network

CPU = Device(torch.device("cpu"), "fp32")
NETWORK = make_network(name="mobilenet_v3_small")
FROZEN = NETWORK.model_copy(update={"freeze": "backbone"})
IMAGES = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".dvc/tmp/features.db"


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build_model(NETWORK, 2, seed=0).eval()


def extract(model: nn.Module, images: torch.Tensor, network: NetworkRecord = FROZEN) -> torch.Tensor:
    return FeatureExtractor(model, network, CPU).extract(images)


def count_kept(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        return int(connection.execute("SELECT count(*) FROM features").fetchone()[0])


def test_the_head_gives_the_logits_of_the_whole_network(model: nn.Module) -> None:
    head, inputs = split_model(model, FROZEN, CPU)
    logits = predict_logits(head, inputs.make(IMAGES), FROZEN, CPU)
    torch.testing.assert_close(logits, predict_logits(model, IMAGES, NETWORK, CPU))
    whole, same = split_model(model, NETWORK, CPU)
    assert whole is model
    assert same.make(IMAGES) is IMAGES


def test_features_of_an_image_do_not_depend_on_its_neighbours(model: nn.Module, repository: Path) -> None:
    features = extract(model, IMAGES)
    repository.unlink()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert torch.equal(extract(model, IMAGES[order[:7]]), features[order[:7]])
    assert torch.equal(extract(model, IMAGES[order]), features[order])


def test_an_image_is_computed_once(model: nn.Module, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = extract(model, IMAGES[[0, 1, 0]])
    assert torch.equal(features[0], features[2])
    assert count_kept(repository) == 2
    monkeypatch.setattr(FeatureExtractor, "compute", None)
    assert torch.equal(extract(model, IMAGES[[1, 0]]), features[[1, 0]])


@pytest.fixture
def manifest(tmp_path: Path) -> pd.DataFrame:
    """Five photos of 48 x 32 pixels, the last one the same as the first."""
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        pixels = IMAGES[i % 4, :, :, :16].permute(1, 2, 0).numpy().repeat(3, axis=1)
        Image.fromarray(pixels).save(path)
    sha256s = [compute_sha256(path) for path in paths]
    return pd.DataFrame({"path": map(str, paths), "sha256": sha256s, "class": ["cats", "dogs", "dogs", "cats", "cats"]})


@pytest.mark.parametrize("network", [NETWORK, FROZEN])
def test_photos_become_the_inputs_that_their_pixels_become(
    network: NetworkRecord, model: nn.Module, manifest: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = split_model(model, network.model_copy(update={"image_size": 32}), CPU)[1]
    examples = inputs.load(manifest, ["cats", "dogs"])
    assert examples.targets.tolist() == [0, 1, 1, 0, 0]
    assert torch.equal(examples.inputs[:], inputs.make(load_pixels(manifest, 32)))
    assert bool(re.fullmatch(r"  features of 5 images: \d+\.\d s\n", capsys.readouterr().out)) == (network is FROZEN)


def test_only_photos_without_features_are_decoded(
    model: nn.Module, manifest: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, decoded = FeatureExtractor(model, FROZEN, CPU), []

    def load(part: pd.DataFrame, size: int) -> torch.Tensor:
        decoded.extend(part["path"].tolist())
        return load_pixels(part, size)

    monkeypatch.setattr(features_module, "load_pixels", load)
    extractor.load(manifest.iloc[:2], 32)
    decoded.clear()
    features = extractor.load(manifest, 32)
    assert decoded == manifest["path"].tolist()[2:4]
    assert torch.equal(features[0], features[4])
    decoded.clear()
    assert not torch.equal(extractor.load(manifest, 24), features), "another size has features of its own"
    assert len(decoded) == 4


def test_a_changed_photo_is_refused_though_its_features_are_kept(model: nn.Module, manifest: pd.DataFrame) -> None:
    extractor = FeatureExtractor(model, FROZEN, CPU)
    extractor.load(manifest, 32)
    first, second = map(Path, manifest["path"].iloc[:2])
    first.write_bytes(second.read_bytes())
    with pytest.raises(UserError, match=r"0\.png was changed or damaged: its bytes are not those in the manifest"):
        extractor.load(manifest, 32)
    first.unlink()
    with pytest.raises(UserError, match=r"0\.png is missing\. Run `dvc repro`"):
        extractor.load(manifest, 32)


def test_another_backbone_or_normalization_has_features_of_its_own_and_another_head_has_not(
    model: nn.Module, repository: Path
) -> None:
    extract(model, IMAGES[:2])
    extract(model, IMAGES[:2], FROZEN.model_copy(update={"mean": [0.5, 0.5, 0.5]}))
    assert count_kept(repository) == 4
    other = build_model(NETWORK, 2, seed=0)
    nn.init.zeros_(next(other.get_submodule(find_head(other)).parameters()))
    extract(other, IMAGES[:2])
    assert count_kept(repository) == 4
    nn.init.ones_(next(other.parameters()))
    extract(other, IMAGES[:2])
    assert count_kept(repository) == 6


def test_a_damaged_vector_is_computed_again(model: nn.Module, repository: Path) -> None:
    features = extract(model, IMAGES[:1])
    with sqlite3.connect(repository) as connection:
        connection.execute("UPDATE features SET vector = zeroblob(length(vector))")
    assert torch.equal(extract(model, IMAGES[:1]), features)


def test_a_damaged_database_is_named(model: nn.Module, repository: Path) -> None:
    repository.parent.mkdir(parents=True)
    repository.write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match=r"features\.db cannot be used: .* delete it"):
        extract(model, IMAGES[:1])


def test_a_head_that_takes_maps_cannot_be_trained_alone() -> None:
    network = make_network(name="squeezenet1_1", freeze="backbone")
    with pytest.raises(UserError, match="the last layer of squeezenet1_1 does not turn one vector"):
        extract(build_model(network, 2, seed=0), IMAGES[:1], network)
