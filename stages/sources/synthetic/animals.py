"""What a cat or a dog looks like: its colours, fur, markings and collar."""

import math
from cmath import rect
from dataclasses import dataclass
from random import Random

import numpy as np

from stages.sources.synthetic.drawing import INK, WHITE, Colour, Pen, Points, ellipse, flip, hsl, mix, path, ribbon

GINGER, CREAM, GREY, BLACK, BROWN = (226, 146, 72), (238, 214, 172), (156, 160, 168), (84, 82, 90), (146, 100, 68)
RUST, TAN, SLATE, UMBER = (184, 96, 40), (198, 150, 100), (98, 102, 114), (92, 60, 42)
FURS = [(GINGER, RUST), (CREAM, TAN), (GREY, SLATE), (BROWN, UMBER), (BROWN, CREAM)]
FURS += [(BLACK, TAN), (BLACK, WHITE), (WHITE, TAN), (WHITE, BLACK)]


@dataclass(frozen=True)
class Animal:
    """What one animal looks like."""

    kind: str  # "cat" or "dog"
    base: Colour
    second: Colour
    markings: str
    tufts: float  # length of the tufts along outlines
    collar: Colour | None
    turn: float  # of the face to the right, in radians

    @property
    def light(self) -> Colour:
        """The fur of muzzle, chest and paws."""
        return mix(self.base, WHITE, 0.7)

    @property
    def edge(self) -> Colour:
        """The lines around the parts of the body."""
        return mix(self.base, INK, 0.7)


def choose_animal(kind: str, rng: Random) -> Animal:
    """Any fur with any markings, whatever the kind."""
    base, second = (mix(colour, hsl(rng.random(), 0.5, 0.5), 0.08) for colour in rng.choice(FURS))
    markings, tufts = rng.choice(["plain", "stripes", "patches", "mask", "spots"]), rng.choice([0, 0, 0.05, 0.1])
    collar = hsl(rng.random(), 0.65, 0.45) if rng.random() < 0.4 else None
    return Animal(kind, base, second, markings, tufts, collar, rng.uniform(-0.3, 0.3))


def draw_fur(pen: Pen, outline: Points, animal: Animal, rng: Random) -> None:
    """A furry part of the body: shaded, marked, with short hairs, and outlined with tufts."""
    away = outline - outline.mean()
    outline = outline + away / np.abs(away) * [rng.random() * animal.tufts * (i % 3) / 2 for i in range(len(away))]
    rx, ry = np.ptp(outline.real) / 2, np.ptp(outline.imag) / 2
    middle = complex(outline.real.min() + rx, outline.imag.min() + ry)
    hairs = [mix(animal.base, WHITE, 0.3), mix(animal.base, INK, 0.25)]
    with pen.within(outline) as inner:
        inner.fill(outline, mix(animal.base, INK, 0.2))
        inner.fill(ellipse(middle - 0.12 * rx - 0.14j * ry, rx, ry), animal.base)
        for shape in outline_markings(animal.markings, rng):
            inner.fill(middle + rx * shape.real + 1j * ry * shape.imag, animal.second)
        for _ in range(round(100 * rx * ry)):
            offset = complex(rng.uniform(-rx, rx), rng.uniform(-ry, ry))
            inner.line(middle + np.array([offset, 1.1 * offset + 0.07j]), rng.choice(hairs), 0.015)
    pen.trace(outline, animal.edge)


def outline_markings(markings: str, rng: Random) -> list[Points]:
    """Outlines of the markings on a part of the body that reaches from -1 to 1 both ways."""
    if markings == "stripes":
        angles = [math.radians(angle + rng.uniform(-4, 4)) for angle in (-118, -90, -62, -28, -5, 18, 162, 185, 208)]
        spines = [path((rect(1.1, a), rect(0.8, a + 0.1), rect(rng.uniform(0.45, 0.65), a))) for a in angles]
        return [ribbon(spine, 0.1, 0.02) for spine in spines]
    if markings == "mask":
        blaze = rng.uniform(0.1, 0.25)
        right = path((blaze - 1.1j, blaze + 0j, 0.9 + 0.6j), (1.2 + 0j, 1.2 - 1.2j))
        return [right, flip(right, -1)]
    count, smallest, largest = {"plain": (0, 0, 0), "patches": (3, 0.3, 0.55), "spots": (14, 0.05, 0.12)}[markings]
    places = [rect(rng.uniform(0.4, 0.95), rng.uniform(0, 2 * math.pi)) for _ in range(count)]
    return [ellipse(place, rng.uniform(smallest, largest), rng.uniform(smallest, largest)) for place in places]
