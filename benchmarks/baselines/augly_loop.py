"""The plain AugLy loop: photo by photo, each copy with three operations, in one process.

Command  python benchmarks/baselines/augly_loop.py PHOTOS FOLDER   (PHOTOS: a file with a path per line)
"""

import random
import sys
from pathlib import Path

import augly.image as imaugs
from PIL import Image, ImageOps

MAX_SIDE = 512  # as augment.max_side: otherwise the two would not do the same work
OPERATIONS = (
    lambda image: imaugs.rotate(image, degrees=30.0),
    lambda image: imaugs.scale(image, factor=random.uniform(0.2, 0.4)),
    lambda image: imaugs.saturation(image, factor=random.uniform(1.5, 2.5)),
    lambda image: imaugs.blur(image, radius=random.uniform(1.5, 3.0)),
    lambda image: imaugs.random_noise(image, mean=0.0, var=0.01),
    lambda image: imaugs.color_jitter(
        image,
        brightness_factor=random.uniform(0.6, 1.4),
        contrast_factor=random.uniform(0.6, 1.4),
        saturation_factor=random.uniform(0.6, 1.4),
    ),
    imaugs.pad_square,
    lambda image: imaugs.pad(image, w_factor=0.25, h_factor=0.25),
    imaugs.hflip,
    lambda image: imaugs.pixelization(image, ratio=random.uniform(0.2, 0.4)),
)


def main() -> None:
    listing, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(exist_ok=True)
    for path in map(Path, listing.read_text().splitlines()):
        for copy in (1, 2):
            image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
            image.thumbnail((MAX_SIDE, MAX_SIDE))
            for operation in random.sample(OPERATIONS, 3):
                image = operation(image)
            image.convert("RGB").save(folder / f"{path.stem}-{copy}.jpg", quality=95, subsampling=0)


if __name__ == "__main__":
    main()
