"""Time and memory of every stage as the photos become many: small images, a small network, one epoch."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from benchmarks.processes import Usage
from benchmarks.table import Row
from benchmarks.workspace import STAGES, Workspace

SIDE = 32  # pixels
FILES = 300  # that DVC handles at most
MANY = 100_000  # photos
READING = ("train", "evaluate")  # stages that read all images as a network takes them; others hold tables
FLAT = 1.2  # times the memory at the smallest number of photos
PARAMS = {
    "augment.copies": 1,
    "augment.max_side": SIDE,
    "augment.mode": "copies",
    "evaluate.robustness": False,
    "model.image_size": SIDE,
    "model.name": "timm/test_resnet",
    "split.near_duplicate_bits": None,
    "train.batch_size": 256,
    "train.checkpoint_every": 1,
    "train.epochs": 1,
}


def measure(workspace: Workspace, numbers: list[int]) -> list[Row]:
    """Seconds and peak memory of every stage, alone, for each number of photos; and of DVC, which records them all.

    Memory is compared with that of the smallest number: what grows with the photos is to stay small beside the rest.
    """
    rows: list[Row] = []
    first: dict[str, float] = {}
    for photos in sorted(numbers):
        replace_photos(workspace, photos)
        for name, used in run_stages(workspace, again=photos < MANY):
            what, memory = f"{name}, {photos:,} photos", [used.peak_mib]
            others = [first.setdefault(name, used.peak_mib)] if len(numbers) > 1 else None
            rows.append(Row("growth", what, "s", [used.wall_s], more_is_better=False))
            bar = FLAT if others and name.startswith(READING) else None
            rows.append(Row("growth", what, "MiB", memory, others, bar=bar, more_is_better=False))
            print(f"{what}: {used.wall_s:.1f} s, {used.peak_mib:.0f} MiB", flush=True)
        files, most = [float(count_files(workspace))], FILES if photos >= MANY else None
        rows.append(
            Row("growth", f"data/ and models/, {photos:,} photos", "files", files, bar=most, more_is_better=False)
        )
    return rows


def count_files(workspace: Workspace) -> int:
    """Files that DVC records one by one."""
    return sum(
        path.is_file()
        for folder in ("data/raw", "data/augmented", "models")
        for path in (workspace.folder / folder).rglob("*")
    )


def run_stages(workspace: Workspace, *, again: bool) -> Iterator[tuple[str, Usage]]:
    """What each stage used, then DVC; then, if this is done again, training, as it is and online."""
    workspace.change_params(PARAMS)
    stages = yaml.safe_load((workspace.folder / "dvc.yaml").read_text())["stages"]

    def run(stage: str) -> Usage:
        command = stages[stage].get("do", stages[stage])["cmd"]
        return workspace.run(*command.removeprefix("exec ").replace("${item}", "0").split())

    for stage in STAGES:
        yield stage, run(stage)
    yield "DVC", workspace.run("dvc", "commit", "--force", "--quiet")
    if not again:
        return
    yield "train_original again", run("train_original")
    workspace.change_params({"augment.mode": "online"})
    for stage in ("augment", "train_augmented"):
        yield f"{stage} online", run(stage)


def replace_photos(workspace: Workspace, photos: int) -> None:
    """Put so many drawn ones where fetch finds them, and no others."""
    downloads = workspace.folder / "data/downloads"
    for archive in downloads.glob("*.zip"):
        archive.unlink()
    draw_photos(photos, downloads / "photos.zip")


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
