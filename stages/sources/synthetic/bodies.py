"""The poses, each drawn without the head; of the body only the tail tells a cat from a dog."""

from random import Random

from PIL import Image, ImageFilter

from stages.sources.synthetic.animals import Animal, draw_fur
from stages.sources.synthetic.drawing import INK, Pen, ellipse, flip, path, ribbon, symmetric

GOLD = (236, 196, 84)


def draw_bust(pen: Pen, animal: Animal, rng: Random) -> None:
    """Shoulders and chest, cut off by the picture's lower edge."""
    draw_fur(pen, symmetric(path((0.5 + 0.2j, 0.6 + 1.0j, 1.3 + 0.9j, 1.3 + 2.2j, 1.4 + 4j))), animal, rng)
    draw_chest(pen, animal, 1.75)


def draw_sitting_body(pen: Pen, animal: Animal, rng: Random) -> None:
    """The whole animal, sitting, from the front."""
    draw_shadow(pen, 2.6j, 1.7)
    draw_tail(pen.moved(0.7 + 2.3j), animal)
    draw_fur(pen, symmetric(path((0.4 + 0.2j, 0.6 + 1.0j, 1.2 + 1.5j, 1.5 + 2.75j, 0.4 + 2.6j, 2.55j))), animal, rng)
    for side in (-1, 1):
        leg = path((0.36 + 1.4j, 0.4 + 2.0j, 0.32 + 2.6j))
        pen.fill(flip(ribbon(leg, 0.2, 0.24), side), animal.base)
        pen.line(flip(leg + 0.24, side), animal.edge, 0.04)
        draw_paw(pen.moved(0.36 * side + 2.6j), animal)
    pen.line(path((1.5j, 2.5j)), animal.edge, 0.04)
    draw_chest(pen, animal, 1.75)


def draw_lying_body(pen: Pen, animal: Animal, rng: Random) -> None:
    """The whole animal, lying, its body to the right of its head."""
    draw_shadow(pen, 1.1 + 1.45j, 2.4)
    draw_tail(pen.moved(2.6 + 1.0j), animal)
    draw_fur(pen, path((-0.6 + 1.4j, -0.7 + 0.2j, 0.8 - 0.5j, 3.1 - 0.6j, 3.4 + 1.5j, 2.3 + 1.45j)), animal, rng)
    pen.line(path((1.6 + 1.3j, 1.6 + 0.3j, 2.4 + 0.4j)), animal.edge, 0.04)
    draw_chest(pen, animal, 1.35)
    for x in (-0.45, 0.35, 1.9):
        draw_paw(pen.moved(x + 1.4j), animal)


def draw_chest(pen: Pen, animal: Animal, bottom: float) -> None:
    """A light bib, and for some a collar with a tag."""
    pen.fill(symmetric(path((0.6j, 0.7 + 0.7j, 0.35 + 1.5j, 1j * bottom))), animal.light)
    if animal.collar:
        pen.line(path((-0.62 + 0.7j, 1.15j, 0.62 + 0.7j)), animal.collar, 0.16)
        pen.fill(ellipse(1.08j, 0.12, 0.12), GOLD, INK)


def draw_paw(pen: Pen, animal: Animal) -> None:
    """A paw with three toes."""
    pen.fill(ellipse(0, 0.34, 0.2), animal.light, animal.edge)
    for x in (-0.1, 0.1):
        pen.line(path((x + 0.02j, x + 0.18j)), animal.edge, 0.04)


def draw_tail(pen: Pen, animal: Animal) -> None:
    """A cat's long thin tail, or a dog's short thick one, from its root."""
    cat, dog = path((0, 1.1 + 0.3j, 0.9 - 1.0j, 0.4 - 1.2j)), path((0, 0.6 - 0.1j, 0.75 - 0.75j))
    tail = ribbon(cat, 0.17, 0.13) if animal.kind == "cat" else ribbon(dog, 0.2, 0.14)
    pen.fill(tail, animal.base if animal.markings == "plain" else animal.second, animal.edge)


def draw_shadow(pen: Pen, centre: complex, rx: float) -> None:
    """A soft shadow on the ground."""
    mask = Image.new("L", (pen.image.width // 8, pen.image.height // 8))
    Pen(mask, pen.origin / 8, pen.unit / 8).fill(ellipse(centre, rx, 0.3), 110)
    soft = mask.filter(ImageFilter.GaussianBlur(2)).resize(pen.image.size, Image.Resampling.BILINEAR)
    pen.image.paste(INK, mask=soft)
