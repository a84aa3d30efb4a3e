"""Images as the model gets them, with the numbers of the labs written out."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torchvision.transforms import v2

from stages.base.files import compute_sha256
from stages.model.dataset import load_images, prepare
from tests.support.records import make_network


def test_photos_are_squashed_with_antialiased_bilinear_interpolation(workspace: Path) -> None:
    """From 8 to 4 pixels every new one is a weighted mean of the four nearest: 1, 3, 3 and 1 eighths.

    At the edge the weights are 3, 3 and 1 sevenths: (3 x 0 + 3 x 80 + 1 x 160) / 7 = 57.1.
    """
    rows = np.array([[0, 80, 160, 240, 0, 80, 160, 240]] * 12, dtype=np.uint8)
    red = np.stack([rows, 0 * rows, rows], axis=2)
    Image.fromarray(red).save(workspace / "photo.png")
    manifest = pd.DataFrame({"path": [workspace / "photo.png"], "class": "dogs"})
    manifest["sha256"] = compute_sha256(workspace / "photo.png")
    images = load_images(manifest, ["cats", "dogs"], 4)
    assert images.targets.tolist() == [1]
    assert images.inputs.dtype == torch.uint8
    assert images.inputs[:].tolist() == [
        [[[57, 160, 80, 183]] * 4, [[0] * 4] * 4, [[57, 160, 80, 183]] * 4],
    ]


def test_images_are_normalized_with_the_statistics_of_the_network() -> None:
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    for mean, std in (([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.5, 0.4, 0.3], [0.5, 0.5, 0.1])):
        reference = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
        torch.testing.assert_close(prepare(images, make_network(mean=mean, std=std)), reference(images))


def test_features_pass_as_they_are() -> None:
    features = torch.rand(4, 7)
    assert prepare(features, make_network()) is features
