"""Online augmentation: the same views whatever the batches, others in every epoch, and those that the samples show."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from joblib.externals.loky import get_reusable_executor

from stages.augmentation import online
from stages.augmentation.online import OnlineExamples, load_online
from stages.augmentation.params import AugmentParams
from stages.augmentation.views import draw_view, render_view
from stages.cli.params import load_params
from stages.photos.loading import load_reduced, squash
from tests.conftest import ROOT, make_photo

PARAMS = load_params(ROOT / "params.yaml").augment.model_copy(update={"mode": "online", "max_side": 64})


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("photos"))
        rng = np.random.default_rng(0)
        photos = pd.DataFrame([make_photo(rng, name, number) for name in ("cats", "dogs") for number in range(3)])
        return photos.assign(path=[str(Path(path).absolute()) for path in photos["path"]])


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    """joblib keeps its workers, which stay in the folder where they were started: the next test has another."""
    yield
    get_reusable_executor().shutdown()


def load(manifest: pd.DataFrame, params: AugmentParams = PARAMS, seed: int = 0) -> OnlineExamples:
    return load_online(manifest, ["cats", "dogs"], params, (seed, 0), 32)


def read(examples: OnlineExamples, epoch: int, batches: list[list[int]]) -> torch.Tensor:
    return torch.cat(list(examples.read_batches(epoch, [np.array(batch) for batch in batches])))


def test_views_follow_from_the_photo_and_the_epoch_alone(
    manifest: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = load(manifest)
    views = read(examples, 1, [[0, 1, 2, 3], [4, 5]])
    assert views.shape == (6, 3, 32, 32)
    assert views.dtype == torch.uint8
    assert examples.targets.tolist() == [0, 0, 0, 1, 1, 1]
    monkeypatch.setattr(online, "AHEAD", 2)  # windows of one batch
    order = [5, 3, 1, 0, 2, 4]
    assert torch.equal(read(examples, 1, [[index] for index in order]), views[order])
    assert torch.equal(read(load(manifest), 1, [[4, 5]]), views[4:]), "as after a resumed training"


def test_every_epoch_and_seed_has_views_of_its_own(manifest: pd.DataFrame) -> None:
    examples, batches = load(manifest), [[0, 1, 2, 3, 4, 5]]
    first = read(examples, 1, batches)
    for other in (read(examples, 2, batches), read(load(manifest, seed=1), 1, batches)):
        assert all(not torch.equal(*pair) for pair in zip(first, other, strict=True))


@pytest.mark.parametrize("policy", ["augly", "TrivialAugmentWide"])
def test_a_view_is_the_photo_under_its_draw(manifest: pd.DataFrame, policy: str) -> None:
    params = PARAMS.model_copy(update={"policy": policy})
    row = manifest.iloc[4]
    photo = load_reduced(Path(row["path"]), row["sha256"], params.max_side)
    expected = squash(render_view(photo, draw_view(params, 0, 0, row["sha256"], 3)), 32)
    found = read(load(manifest, params), 3, [[4]])[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found, expected)


def test_inputs_are_made_of_the_views(manifest: pd.DataFrame) -> None:
    sums = load(manifest).map(lambda images: images.float().sum(dim=(1, 2, 3)))
    assert torch.equal(read(sums, 1, [[0, 1]]), read(load(manifest), 1, [[0, 1]]).float().sum(dim=(1, 2, 3)))
