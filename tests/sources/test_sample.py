"""The sample: complete, the same everywhere, free of duplicates, and a fair test for a classifier."""

import hashlib
import io
import os
import random
import subprocess
import sys
from itertools import combinations, islice
from pathlib import PurePosixPath

import imagehash
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageStat
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stages.sources.drawings import read_sample

Entry = tuple[str, bytes]


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return list(read_sample())


@pytest.fixture(scope="module")
def images(entries: list[Entry]) -> list[Image.Image]:
    return [Image.open(io.BytesIO(data)).convert("RGB") for _, data in entries]


def test_holds_seventy_cats_and_seventy_dogs_under_distinct_names(entries: list[Entry]) -> None:
    expected = [f"{name}s/{name}_{index:03d}.jpg" for name in ("cat", "dog") for index in range(1, 71)]
    assert [name for name, _ in entries] == expected


def test_every_entry_is_a_whole_rgb_jpeg_of_a_modest_size(entries: list[Entry]) -> None:
    for name, data in entries:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert (image.format, image.mode) == ("JPEG", "RGB"), name
            assert 240 <= min(image.size) <= max(image.size) <= 480, name
        assert 5_000 < len(data) < 50_000, name


def test_sizes_and_aspects_vary_within_each_class(entries: list[Entry], images: list[Image.Image]) -> None:
    for class_name in ("cats", "dogs"):
        sizes = [
            image.size for (name, _), image in zip(entries, images, strict=True) if name.startswith(f"{class_name}/")
        ]
        assert len(set(sizes)) > 60
        assert 10 < sum(width > height for width, height in sizes) < 60


DIGEST_OF_SOME = """
import hashlib
from stages.sources.drawings import draw_jpeg
some = [("cat", index) for index in range(61, 71)] + [("dog", index) for index in range(1, 11)]
print(hashlib.sha256(b"".join(draw_jpeg(kind, index) for kind, index in some)).hexdigest())
"""


def test_a_fresh_process_draws_the_same_bytes(entries: list[Entry]) -> None:
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", DIGEST_OF_SOME]
    drawn = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    assert drawn == hashlib.sha256(b"".join(data for _, data in entries[60:80])).hexdigest()


def test_a_second_call_draws_the_same_bytes_whatever_the_global_state_and_leaves_it_alone(entries: list[Entry]) -> None:
    random.seed(1)
    state = random.getstate()
    assert list(islice(read_sample(), 8)) == entries[:8]
    assert random.getstate() == state


def test_no_two_drawings_are_near_duplicates(entries: list[Entry], images: list[Image.Image]) -> None:
    hashes = [(name, imagehash.dhash(image)) for (name, _), image in zip(entries, images, strict=True)]
    close = [(a, b) for (a, x), (b, y) in combinations(hashes, 2) if x - y <= 2]
    assert close == []  # a pair kept together would upset the split into 112 and 28


def test_colour_size_and_bytes_do_not_give_the_class_away(entries: list[Entry], images: list[Image.Image]) -> None:
    statistics = [
        [*ImageStat.Stat(image).mean, *ImageStat.Stat(image).stddev, *image.size, len(data)]
        for image, (_, data) in zip(images, entries, strict=True)
    ]
    assert compute_accuracy(np.array(statistics), entries) < 0.65  # chance is 0.5


def test_shape_does_give_the_class_away(entries: list[Entry], images: list[Image.Image]) -> None:
    edges = np.array([compute_edge_histograms(image) for image in images])
    assert compute_accuracy(edges, entries) > 0.75


def compute_edge_histograms(image: Image.Image) -> list[float]:
    """Histograms of 8 edge directions in 4 x 4 cells, each scaled to a length below 1 (a small HOG)."""
    gray = np.asarray(image.convert("L").resize((96, 96)), float)
    down, right = np.gradient(gray)
    strength, direction = np.hypot(down, right), (np.arctan2(down, right) / np.pi % 1 * 8).astype(int) % 8
    cells = [np.where(direction == i, strength, 0).reshape(4, 24, 4, 24).sum((1, 3)) for i in range(8)]
    histograms = np.stack(cells, -1)
    scaled: list[float] = (histograms / (np.linalg.norm(histograms, axis=-1, keepdims=True) + 30)).ravel().tolist()
    return scaled


def compute_accuracy(features: NDArray[np.float64], entries: list[Entry]) -> float:
    """Accuracy of a linear classifier over twice five folds."""
    targets = [PurePosixPath(name).parent.name for name, _ in entries]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0)
    return float(cross_val_score(classifier, features, targets, cv=folds).mean())
