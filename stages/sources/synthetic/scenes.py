"""The places in which the animals are drawn."""

from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from stages.sources.synthetic.drawing import INK, WHITE, Colour, hsl, mix


def draw_scene(width: int, height: int, rng: Random) -> Image.Image:
    """A place, in or out of doors, slightly out of focus."""
    details = rng.choice([draw_lawn, draw_room, draw_hills, draw_sofa, draw_discs, None])
    outdoors = details in (draw_lawn, draw_hills)
    top = hsl(rng.uniform(0.53, 0.62), 0.5, rng.uniform(0.6, 0.8)) if outdoors else pastel(rng)
    rows = np.linspace(top, mix(top, WHITE, 0.8) if outdoors else pastel(rng), height)[:, None]
    image = Image.fromarray(np.broadcast_to(rows, (height, width, 3)).astype(np.uint8))
    if details:
        details(image, rng.uniform(0.35, 0.7) * height, rng)
    return image.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 4)))


def pastel(rng: Random) -> Colour:
    """A quiet colour for walls and cloth."""
    return hsl(rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.5, 0.82))


def draw_lawn(image: Image.Image, ground: float, rng: Random) -> None:
    """Bushes, and grass down to the lower edge."""
    draw, (width, height) = ImageDraw.Draw(image), image.size
    green = hsl(rng.uniform(0.2, 0.34), rng.uniform(0.3, 0.55), rng.uniform(0.42, 0.58))
    for _ in range(7):
        bush = (rng.uniform(0, width), ground)
        draw.circle(bush, rng.uniform(0.05, 0.15) * width, mix(green, INK, rng.uniform(0.1, 0.4)))
    draw.rectangle((0, ground, width, height), green)
    for _ in range(400):
        x, y = rng.uniform(0, width), rng.uniform(ground, height)
        draw.line((x, y, x + rng.uniform(-3, 3), y - 10), mix(green, rng.choice([WHITE, INK]), rng.uniform(0, 0.3)), 2)


def draw_room(image: Image.Image, ground: float, rng: Random) -> None:
    """A picture on the wall, and a floor of boards."""
    draw, (width, height), wood = ImageDraw.Draw(image), image.size, hsl(0.08, 0.4, rng.uniform(0.45, 0.65))
    x, y, side = rng.uniform(0, 0.7) * width, rng.uniform(0.02, 0.1) * height, rng.uniform(0.2, 0.3) * width
    draw.rectangle((x, y, x + side, y + 0.8 * side), pastel(rng), mix(wood, INK, 0.3), 5)
    draw.rectangle((0, ground, width, height), wood)
    draw.rectangle((0, ground - 8, width, ground), WHITE)
    for i in range(-6, 18):
        draw.line((width * i / 11, height, width * (0.25 + 0.5 * i / 11), ground), mix(wood, INK, 0.25), 2)


def draw_hills(image: Image.Image, ground: float, rng: Random) -> None:
    """Clouds over two hills."""
    draw, width, hill = ImageDraw.Draw(image), image.width, hsl(rng.uniform(0.08, 0.33), 0.35, rng.uniform(0.45, 0.7))
    for _ in range(rng.randint(2, 5)):
        x, y, size = rng.uniform(0, width), rng.uniform(0, ground), rng.uniform(0.03, 0.07) * width
        for dx, r in ((-2.2, 0.8), (-1, 1.1), (0.4, 1.4), (1.7, 0.9)):
            draw.circle((x + dx * size, y - r * size), r * size, WHITE)
    for x, shade in ((0.2, 0.25), (0.8, 0)):
        draw.circle((width * (x + rng.uniform(-0.2, 0.2)), ground + 1.5 * width), 1.5 * width, mix(hill, INK, shade))


def draw_sofa(image: Image.Image, ground: float, rng: Random) -> None:
    """The back, a cushion and the seat of a sofa."""
    draw, (width, height), seam = ImageDraw.Draw(image), image.size, rng.uniform(0.2, 0.8) * image.width
    cloth = hsl(rng.random(), rng.uniform(0.15, 0.45), rng.uniform(0.4, 0.65))
    edge, x, side = mix(cloth, INK, 0.35), rng.uniform(-0.1, 0.8) * width, rng.uniform(0.2, 0.35) * width
    for left, right in ((-60, seam), (seam, width + 60)):
        draw.rounded_rectangle((left, 0.4 * ground, right, height), 30, cloth, edge, 3)
    draw.rounded_rectangle((x, ground - 0.6 * side, x + side, ground + 0.4 * side), 18, pastel(rng), edge, 2)
    draw.rounded_rectangle((-30, ground + 0.3 * side, width + 30, height + 40), 20, mix(cloth, WHITE, 0.15), edge, 3)


def draw_discs(image: Image.Image, ground: float, rng: Random) -> None:
    """Discs of light out of focus."""
    draw, colours = ImageDraw.Draw(image), [pastel(rng) for _ in range(4)]
    for _ in range(rng.randint(12, 30)):
        centre = (rng.uniform(0, image.width), rng.uniform(0, image.height))
        draw.circle(centre, rng.uniform(8, 45), rng.choice(colours))
