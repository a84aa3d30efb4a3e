"""The sample source: 140 drawings of cats and dogs, so that everything runs without a download.

They never pose as real photos, but are a fair small dataset: ears, muzzle and whiskers tell a cat from a dog, while
fur, background, light, size, place and pose are drawn from the same distributions for both.
"""

import io
from collections.abc import Iterator
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from stages.base.seeds import derive_seed

PER_CLASS = 70
SUPERSAMPLING = 2  # pixels drawn per pixel kept, along each side
FURS = [(226, 146, 72), (238, 214, 172), (156, 160, 168), (84, 82, 90), (146, 100, 68), (225, 222, 216)]
INK, WHITE = (40, 34, 32), (250, 248, 244)

Colour = tuple[int, int, int]


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
    """A "cat" or a "dog" somewhere before a background: RGB, sides of 240 to 480 pixels."""
    long = rng.randint(320, 480)
    short = round(long * rng.uniform(0.75, 1))
    width, height = (long, short) if rng.random() < 0.6 else (short, long)
    canvas = draw_background(width * SUPERSAMPLING, height * SUPERSAMPLING, rng)
    radius = rng.uniform(0.2, 0.28) * min(canvas.size)
    x = rng.uniform(1.7 * radius, canvas.width - 1.7 * radius)
    y = rng.uniform(1.8 * radius, canvas.height - 1.6 * radius)
    draw_head(ImageDraw.Draw(canvas), kind, (x, y), radius, rng)
    turned = canvas.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR, center=(x, y), fillcolor=_pastel(rng))
    return expose(turned.reduce(SUPERSAMPLING), rng)


def draw_background(width: int, height: int, rng: Random) -> Image.Image:
    """A wall with blurred discs before it."""
    canvas = Image.new("RGB", (width, height), _pastel(rng))
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.randint(10, 24)):
        place = (rng.uniform(0, width), rng.uniform(0, height))
        draw.circle(place, rng.uniform(0.05, 0.25) * height, _pastel(rng))
    return canvas.filter(ImageFilter.BoxBlur(rng.uniform(2, 10)))


def draw_head(draw: ImageDraw.ImageDraw, kind: str, middle: tuple[float, float], radius: float, rng: Random) -> None:
    """A face from the front. A cat has pointed ears and whiskers, a dog hanging ears and a long muzzle."""
    x, y = middle
    fur = _mix(rng.choice(FURS), _pastel(rng), 0.15)
    dark, light, line = _mix(fur, INK, 0.45), _mix(fur, WHITE, 0.6), max(2, round(0.04 * radius))

    def oval(dx: float, dy: float, rx: float, ry: float, fill: Colour) -> None:
        box = (x + (dx - rx) * radius, y + (dy - ry) * radius, x + (dx + rx) * radius, y + (dy + ry) * radius)
        draw.ellipse(box, fill, dark, line)

    def shape(points: list[tuple[float, float]], fill: Colour) -> None:
        draw.polygon([(x + dx * radius, y + dy * radius) for dx, dy in points], fill, dark, line)

    oval(0, 1.5, 0.9, 0.9, fur)  # chest
    if kind == "cat":
        height = rng.uniform(1.45, 1.7)
        for side in (-1, 1):
            shape([(side * 0.95, -0.15), (side * 0.85, -height), (side * 0.15, -0.85)], fur)
            shape([(side * 0.8, -0.45), (side * 0.78, 0.15 - height), (side * 0.4, -0.8)], light)
    oval(0, 0, 1, rng.uniform(0.88, 0.98), fur)
    if kind == "dog":
        length = rng.uniform(0.6, 0.8)
        for side in (-1, 1):
            oval(side * 1.02, length - 0.45, 0.3, length, dark)
    oval(0, 0.45, 0.5, 0.5 if kind == "dog" else 0.3, light)
    oval(0, 0.22, 0.14, 0.1, INK)  # nose
    for side in (-1, 1):
        oval(side * 0.4, -0.15, 0.16, 0.19, WHITE)
        oval(side * 0.4, -0.13, 0.08, 0.15 if kind == "cat" else 0.1, INK)
        for tilt in (-0.12, 0, 0.12) if kind == "cat" else ():
            ends = [(x + side * far * radius, y + (0.4 + tilt * far) * radius) for far in (0.3, 1.25)]
            draw.line(ends, dark, line)


def expose(picture: Image.Image, rng: Random) -> Image.Image:
    """The picture in some light and through a camera: mirrored or not, brightness, warmth, blur and noise."""
    picture = ImageOps.mirror(picture) if rng.random() < 0.5 else picture
    pixels = np.asarray(picture.filter(ImageFilter.BoxBlur(rng.uniform(0, 0.8))), np.float32)
    warmth = rng.uniform(-0.12, 0.12)
    tint = rng.uniform(0.8, 1.1) * np.array([1 + warmth, 1, 1 - warmth], np.float32)
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(pixels.shape[:2], np.float32)
    lit = pixels * tint + noise[..., None] * rng.uniform(2, 6)
    return Image.fromarray(lit.clip(0, 255).astype(np.uint8))


def _pastel(rng: Random) -> Colour:
    red, green, blue = (rng.randint(90, 235) for _ in range(3))
    return red, green, blue


def _mix(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round((1 - share) * a + share * b) for a, b in zip(colour, other, strict=True))
    return red, green, blue
