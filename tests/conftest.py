"""A workspace of its own for each test, with small photos in the shape that fetch leaves."""

import stages.runtime  # noqa: F401, I001 - first, as it makes loading the libraries faster

import contextlib
import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import settings
from PIL import Image

from stages.base.files import compute_sha256
from stages.photos.decoding import compute_dhash
from stages.photos.manifest import PHOTOS, PhotoTable

ROOT = Path(__file__).parent.parent
FIRST = ("test_end_to_end", "test_checkpoints", "test_journal", "test_kaggle", "test_security")
LAST = ("test_changes", "test_remote", "test_fuzz", "test_outputs")
"""Files in the order in which they start. test_changes and test_remote need the run that test_end_to_end begins."""

# how long an example takes says more about the machine's other work than about the code
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure() -> None:
    """Heed Ctrl-C, as does then all that tests start: a shell has what runs in its background ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files so that no worker waits for the other, or is left alone with a long one at the end."""
    order = {name: number - len(FIRST) for number, name in enumerate(FIRST)}
    order |= {name: number + 1 for number, name in enumerate(LAST)}
    items.sort(key=lambda item: order.get(item.path.stem, 0))


def pytest_collection_finish() -> None:
    """Never look for garbage among what is loaded by now: pytest does so several times when it ends."""
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a DVC run nor a tracking server around the tests must leak into them."""
    for name in os.environ:
        if name.startswith(("DVC_", "MLFLOW_TRACKING", "MLFLOW_EXPERIMENT", "MLFLOW_RUN", "KAGGLE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("REQUIRE_TRACKING", "1")  # what goes wrong with the store is an error, not a warning


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tests run beside each other: threads that wait for a busy core are many times slower than one thread."""
    import torch  # takes seconds, which the process that starts the workers need not wait

    torch.set_num_threads(1)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with params.yaml, as the current directory."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photos(workspace: Path) -> pd.DataFrame:
    """Ten small photos of each of two classes in data/raw, and their manifest."""
    rng = np.random.default_rng(0)
    rows = [make_photo(rng, name, number) for name in ("cats", "dogs") for number in range(10)]
    manifest = pd.DataFrame(rows)
    PhotoTable.save(PHOTOS, manifest)
    return manifest


@pytest.fixture
def photos_to_train(workspace: Path) -> Path:
    """A workspace in which the trainer of `tests.support.trainer` can run."""
    from tests.support.trainer import make_database, prepare_photos  # imports this module, and slow libraries

    prepare_photos()
    shutil.copy(make_database(), workspace / "mlflow.db")
    return workspace


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a training leaves that nobody disturbs, by path."""
    from tests.support.trainer import make_workspace, read_results, run_trainer

    with contextlib.chdir(make_workspace(tmp_path_factory.mktemp("whole"))):
        done = run_trainer()
        assert (done.status, done.stderr) == (0, "")
        assert "resuming" not in done.stdout
        results = read_results()
    assert len(results) == 4
    return results


@pytest.fixture(scope="session")
def preloaded() -> Iterator[dict[str, str]]:
    """The environment of stages that start with their libraries loaded, as under `make repro`."""
    from tests.support.preloading import preload

    with preload() as environment:
        yield environment


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker processes: they take seconds to import AugLy, and stay in the folder they were started in."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")


def make_image(width: int, height: int) -> Image.Image:
    """Coloured noise, blurred a little: every operation changes it."""
    pixels = np.random.default_rng(0).integers(0, 256, (height // 2, width // 2, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def make_photo(rng: np.random.Generator, class_name: str, number: int) -> dict[str, Any]:
    """Coarse coloured noise: every photo is different, and every operation changes it."""
    path = Path(f"data/raw/{class_name}/{class_name}_{number}.jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
        (160, 120), Image.Resampling.BICUBIC
    )
    image.save(path, quality=95)
    return {
        "path": path.as_posix(),
        "class": class_name,
        "sha256": compute_sha256(path),
        "bytes": path.stat().st_size,
        "width": 160,
        "height": 120,
        "dhash": compute_dhash(Image.open(path)),
        "notes": "",
        "path_in_source": f"{class_name}/{class_name}_{number}.jpg",
        "subset": "",
        "source": "sample",
        "version": "1",
    }


def change_params(changes: dict[str, Any]) -> None:
    """Change params.yaml in the current directory; keys are dotted."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    for key, value in changes.items():
        section, last = params, key
        while "." in last:
            head, last = last.split(".", 1)
            section = section[head]
        section[last] = value
    Path("params.yaml").write_text(yaml.safe_dump(params))
