"""Time and memory of every stage as the photos become many: small images, a small network, two epochs."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.table import Row
from benchmarks.workspace import STAGES, Workspace

SIDE = 32  # pixels
PARAMS = {
    "augment.copies": 1,
    "augment.max_side": SIDE,
    "evaluate.robustness": False,
    "model.image_size": SIDE,
    "model.name": "timm/test_resnet",
    "split.near_duplicate_bits": None,
    "train.checkpoint_every": 2,
    "train.epochs": 2,
}


def measure(workspace: Workspace, numbers: list[int]) -> list[Row]:
    """Seconds and peak memory by stage, the largest of DVC and the stage, one run for each number of photos."""
    workspace.change_params(PARAMS)
    rows = []
    for photos in numbers:
        for archive in (workspace.folder / "data/downloads").glob("*.zip"):
            archive.unlink()
        draw_photos(photos, workspace.folder / "data/downloads/photos.zip")
        for stage in STAGES:
            name = stage if stage in ("fetch", "report") else f"{stage}@0"
            used = workspace.run("dvc", "repro", "--force", "--single-item", name)
            what = f"{stage}, {photos:,} photos"
            rows.append(Row("growth", what, "s", [used.wall_s], more_is_better=False))
            rows.append(Row("growth", what, "MiB", [used.peak_mib], more_is_better=False))
    return rows


def draw_photos(photos: int, archive: Path) -> None:
    """A zip with so many images of noise, no two alike, of two classes that differ in brightness."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(photos):
            name, brightness = (("dark", 90), ("light", 130))[number % 2]
            pixels = rng.integers(0, 2 * brightness - 60, (SIDE, SIDE, 3), dtype=np.uint8)
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "JPEG")
            file.writestr(f"test/{name}/{number:06}.jpg", data.getvalue())
