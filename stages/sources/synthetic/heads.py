"""The faces, which tell a cat from a dog: the shape of the head, ears, eyes and muzzle."""

import math
from random import Random

from stages.sources.synthetic.animals import Animal, draw_fur
from stages.sources.synthetic.drawing import (
    INK,
    WHITE,
    Colour,
    Pen,
    Points,
    ellipse,
    flip,
    mix,
    path,
    ribbon,
    symmetric,
)

PINK, TONGUE = (226, 150, 146), (226, 104, 112)
CAT_EYES = [(240, 192, 48), (226, 160, 50), (160, 196, 84), (92, 172, 110), (112, 176, 214)]
DOG_EYES = [(112, 66, 36), (84, 50, 34), (140, 90, 44)]
DOG_EARS: dict[str, list[tuple[complex, ...]]] = {
    "hanging": [(0.42 - 0.78j, 1.0 - 1.0j, 1.2 - 0.1j), (1.2 - 0.1j, 1.45 + 1.0j, 0.85 + 0.7j, 0.72 - 0.2j)],
    "folded": [(0.3 - 0.76j, 0.7 - 1.35j, 1.15 - 0.8j), (1.15 - 0.8j, 1.2 - 0.3j, 1.0 - 0.15j, 0.62 - 0.5j)],
    "flying": [(0.45 - 0.74j, 1.0 - 1.0j, 1.6 - 0.5j), (1.6 - 0.5j, 1.75 + 0.1j, 1.1 - 0.1j, 0.8 - 0.2j)],
    "upright": [(0.18 - 0.6j, 0.3 - 1.6j, 0.86 - 1.5j), (0.86 - 1.5j, 1.2 - 1.1j, 0.88 - 0.2j)],
}


def draw_head(pen: Pen, animal: Animal, rng: Random) -> None:
    """A cat's or a dog's head."""
    draw = draw_cat_head if animal.kind == "cat" else draw_dog_head
    draw(pen, animal, rng)


def draw_ears(pen: Pen, right: Points, colour: Colour, edge: Colour, inside: Colour | None) -> None:
    """A pair of ears, which show their inside if it has a colour."""
    for side in (-1, 1):
        ear = flip(right, side)
        pen.fill(ear, colour, edge)
        if inside:
            pen.fill(0.6 * ear + 0.24 * side - 0.24j, inside)


def draw_cat_head(pen: Pen, animal: Animal, rng: Random) -> None:
    """A wide face with upright pointed ears, slanted eyes, a small muzzle and whiskers."""
    tip = complex(rng.uniform(0.7, 0.95), rng.uniform(-1.5, -1.25))
    ear = path((0.18 - 0.6j, 0.4 - 1.1j, tip), (tip, tip + 0.2 + 0.6j, 0.86 - 0.1j))
    draw_ears(pen, ear, rng.choice([animal.base, animal.second]), animal.edge, mix(PINK, animal.base, 0.2))
    wide = rng.uniform(0.95, 1.08)
    cheek = path((-0.8j, 0.62 * wide - 0.85j, 0.9 * wide - 0.35j, 1.32 * wide + 0.45j, 0.62 + 0.9j, 0.84j))
    draw_fur(pen, symmetric(cheek), animal, rng)
    iris, opening, pupil = rng.choice(CAT_EYES), rng.uniform(0.3, 0.42), rng.choice([0.05, 0.07, 0.13])
    for side in (-1, 1):
        eye = pen.moved(math.sin(animal.turn + 0.46 * side) - 0.1j, -0.2 * side)
        eye.fill(path((-0.25, -1j * opening, 0.25), (0.25, 1j * opening, -0.25)), iris, INK)
        eye.fill(ellipse(0, pupil, 0.46 * opening), INK)
        eye.fill(ellipse(0.06 - 0.06j, 0.04, 0.04), WHITE)
    draw_cat_muzzle(pen.moved(1.1 * math.sin(animal.turn) + 0.32j), animal, rng)


def draw_cat_muzzle(pen: Pen, animal: Animal, rng: Random) -> None:
    """Two small puffs, a small triangular nose and long whiskers; the frame's origin lies under the nose."""
    for puff in (ellipse(0.26j, 0.17, 0.13), ellipse(0.1j - 0.19, 0.26, 0.19), ellipse(0.1j + 0.19, 0.26, 0.19)):
        pen.fill(puff, animal.light)
    for side in (-1, 1):
        for rise in (-0.14, 0.02, 0.18):
            whisker = path((0.3 + 0.1j + 0.3j * rise, 0.8 + 1j * rise, 1.25 + 0.1j + 2.2j * rise))
            pen.fill(ribbon(flip(whisker, side), 0.028, 0.008), animal.edge if sum(animal.base) > 400 else WHITE)
        pen.line(flip(path((0.06j, 0.02 + 0.28j, 0.24 + 0.18j)), side), INK, 0.04)
    nose = symmetric(path((-0.13j, 0.14 - 0.15j, 0.14 - 0.06j, 0.03 + 0.05j, 0.06j)))
    pen.fill(nose, rng.choice([PINK, PINK, (150, 92, 88)]), INK)


def draw_dog_head(pen: Pen, animal: Animal, rng: Random) -> None:
    """A narrower face with round dark eyes, a long muzzle and ears of several kinds."""
    ears, ear_colour = rng.choice(["hanging", *DOG_EARS]), rng.choice([animal.second, mix(animal.base, INK, 0.2)])
    wide = rng.uniform(0.95, 1.08)
    cheek = path((-0.82j, 0.6 * wide - 0.86j, 0.92 * wide - 0.3j, 0.86 * wide + 0.45j, 0.5 + 0.85j, 0.8j))
    inside = mix(PINK, ear_colour, 0.5) if ears == "upright" else None
    draw_ears(pen, path(*DOG_EARS[ears]), ear_colour, animal.edge, inside)
    draw_fur(pen, symmetric(cheek), animal, rng)
    iris = rng.choice(DOG_EYES)
    for side in (-1, 1):
        eye = pen.moved(0.95 * math.sin(animal.turn + 0.4 * side) - 0.2j)
        for radius, colour in ((0.2, mix(animal.base, INK, 0.45)), (0.155, iris), (0.11, INK)):
            eye.fill(ellipse(0, radius, radius), colour)
        eye.fill(ellipse(0.05 - 0.06j, 0.045, 0.045), WHITE)
        eye.fill(ribbon(flip(path((-0.12 - 0.28j, 0.02 - 0.38j, 0.16 - 0.26j)), side), 0.05, 0.03), animal.light)
    draw_dog_muzzle(pen.moved(1.25 * math.sin(animal.turn) + 0.5j), animal, rng)


def draw_dog_muzzle(pen: Pen, animal: Animal, rng: Random) -> None:
    """A snout from between the eyes down to a big nose, a jaw, and sometimes the tongue; the nose is at the origin."""
    pen.fill(ellipse(0.42j, 0.34, 0.3), mix(animal.light, INK, 0.2), animal.edge)
    if rng.random() < 0.6:
        pen.fill(ellipse(0.68j, 0.19, 0.36), TONGUE, mix(TONGUE, INK, 0.5))
        pen.line(path((0.5j, 0.85j)), mix(TONGUE, INK, 0.3), 0.04)
    bridge, lip = -0.45 * math.sin(animal.turn) - 0.7j, 0.52 + 0.2j
    right = [(0.4j, 0.45 + 0.6j, lip), (lip, lip + 0.1 - 0.4j, bridge + 0.13)]
    left = [(bridge - 0.13, -0.62 - 0.2j, -0.52 + 0.2j), (-0.52 + 0.2j, -0.45 + 0.6j, 0.4j)]
    pen.fill(path(*right, *left), rng.choice([animal.light, animal.light, animal.second]), animal.edge)
    pen.line(path((0j, 0.4j)), INK)
    pen.fill(symmetric(path((-0.24j, 0.34 - 0.25j, 0.34 + 0j, 0.16j))), INK)
    pen.fill(ellipse(-0.08 - 0.12j, 0.08, 0.04), mix(INK, WHITE, 0.6))
