"""The sample source: 140 drawings of cats and dogs, so that everything runs without a download.

They never pose as real photos, but are a fair small data set: ears, eyes, muzzle and tail tell a cat from a dog, while
fur, markings, background, light, size, place and pose are drawn from the same distributions for both.
"""

import io
import math
from cmath import rect
from collections.abc import Iterator
from random import Random

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from stages.base.seeds import derive_seed
from stages.sources.synthetic.animals import Animal, choose_animal
from stages.sources.synthetic.bodies import draw_bust, draw_lying_body, draw_sitting_body
from stages.sources.synthetic.drawing import Pen
from stages.sources.synthetic.heads import draw_head
from stages.sources.synthetic.scenes import draw_scene

PER_CLASS = 70
SUPERSAMPLING = 2  # pixels drawn per pixel kept, along each side


def read_sample() -> Iterator[tuple[str, bytes]]:
    """Name and JPEG bytes of every drawing, such as ``cats/cat_001.jpg``; the same bytes at every call."""
    for kind in ("cat", "dog"):
        for index in range(1, PER_CLASS + 1):
            yield f"{kind}s/{kind}_{index:03d}.jpg", draw_jpeg(kind, index)


def draw_jpeg(kind: str, index: int) -> bytes:
    """The JPEG bytes of one drawing, whatever was drawn before it."""
    file = io.BytesIO()
    draw_picture(kind, Random(derive_seed("sample", f"{kind}s", index))).save(file, "JPEG", quality=82)
    return file.getvalue()


def draw_picture(kind: str, rng: Random) -> Image.Image:
    """A "cat" or a "dog" in a scene: RGB, sides of 240 to 480 pixels."""
    long = rng.randint(320, 480)
    short = round(long * rng.uniform(0.75, 1))
    width, height = (long, short) if rng.random() < 0.6 else (short, long)
    scene = draw_scene(width, height, rng)
    canvas = scene.resize((width * SUPERSAMPLING, height * SUPERSAMPLING), Image.Resampling.NEAREST)
    draw_animal(canvas, choose_animal(kind, rng), rng)
    picture = canvas.reduce(SUPERSAMPLING)
    return expose(ImageOps.mirror(picture) if rng.random() < 0.5 else picture, rng)


def draw_animal(canvas: Image.Image, animal: Animal, rng: Random) -> None:
    """An animal in one of the poses, as large as it fits or somewhat smaller."""
    # Each pose with its extent to the left, right and bottom of the middle of the head, in radii of the head
    poses = [(draw_bust, -1.4, 1.4, 1.3), (draw_sitting_body, -1.6, 1.6, 2.8), (draw_lying_body, -1.5, 3.2, 1.7)]
    draw_body, left, right, bottom = rng.choice(poses if canvas.width > 1.1 * canvas.height else poses[:2])
    unit = rng.uniform(0.78, 1) * min(canvas.width / (right - left), canvas.height / (bottom + 1.6))
    x = rng.uniform(-left * unit, canvas.width - right * unit)
    y = rng.uniform(0.92, 1) * canvas.height - bottom * unit
    pen = Pen(canvas, complex(x, y), complex(unit))
    draw_body(pen, animal, rng)
    draw_head(pen.moved(0, rng.uniform(-0.22, 0.22)), animal, rng)


def expose(picture: Image.Image, rng: Random) -> Image.Image:
    """The picture in some light and through a camera: brightness, warmth, a lit side, vignette, blur and noise."""
    blurred = picture.filter(ImageFilter.BoxBlur(rng.uniform(0, 0.8)))
    y, x = np.ogrid[-1 : 1 : picture.height * 1j, -1 : 1 : picture.width * 1j]
    toward, warmth = rect(rng.uniform(0, 0.2), rng.uniform(0, 2 * math.pi)), rng.uniform(-0.12, 0.12)
    shading = (1 + toward.real * x + toward.imag * y - rng.uniform(0, 0.2) * (x**2 + y**2)).astype(np.float32)
    tint = rng.uniform(0.85, 1.12) * np.array([1 + warmth, 1, 1 - warmth], np.float32)
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(shading.shape, np.float32) * rng.uniform(1, 5)
    bands = [np.asarray(band) * shading * gain + noise for band, gain in zip(blurred.split(), tint, strict=True)]
    return Image.merge("RGB", [Image.fromarray(band.clip(0, 255).astype(np.uint8)) for band in bands])
