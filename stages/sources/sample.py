"""The sample source: 140 drawings of cats and dogs, so that everything runs without a download.

They never pose as real photos, but are a fair small data set: ears, eyes, muzzle and tail tell a cat from a dog, while
fur, markings, background, light, size, place and pose are drawn from the same distributions for both.
"""

import colorsys
import io
import math
from cmath import rect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from stages.common.seeds import derive_seed

PER_CLASS = 70
SUPERSAMPLING = 2  # pixels drawn per pixel kept, along each side

Colour = tuple[int, int, int]
Points = NDArray[np.complex128]
"""Points of the plane as complex numbers: x to the right, y down."""

WHITE, INK, PINK, TONGUE, GOLD = (255, 251, 243), (42, 30, 32), (226, 150, 146), (226, 104, 112), (236, 196, 84)
GINGER, CREAM, GREY, BLACK, BROWN = (226, 146, 72), (238, 214, 172), (156, 160, 168), (84, 82, 90), (146, 100, 68)
RUST, TAN, SLATE, UMBER = (184, 96, 40), (198, 150, 100), (98, 102, 114), (92, 60, 42)
FURS = [(GINGER, RUST), (CREAM, TAN), (GREY, SLATE), (BROWN, UMBER), (BROWN, CREAM)]
FURS += [(BLACK, TAN), (BLACK, WHITE), (WHITE, TAN), (WHITE, BLACK)]
CAT_EYES = [(240, 192, 48), (226, 160, 50), (160, 196, 84), (92, 172, 110), (112, 176, 214)]
DOG_EYES = [(112, 66, 36), (84, 50, 34), (140, 90, 44)]
DOG_EARS: dict[str, list[tuple[complex, ...]]] = {
    "hanging": [(0.42 - 0.78j, 1.0 - 1.0j, 1.2 - 0.1j), (1.2 - 0.1j, 1.45 + 1.0j, 0.85 + 0.7j, 0.72 - 0.2j)],
    "folded": [(0.3 - 0.76j, 0.7 - 1.35j, 1.15 - 0.8j), (1.15 - 0.8j, 1.2 - 0.3j, 1.0 - 0.15j, 0.62 - 0.5j)],
    "flying": [(0.45 - 0.74j, 1.0 - 1.0j, 1.6 - 0.5j), (1.6 - 0.5j, 1.75 + 0.1j, 1.1 - 0.1j, 0.8 - 0.2j)],
    "upright": [(0.18 - 0.6j, 0.3 - 1.6j, 0.86 - 1.5j), (0.86 - 1.5j, 1.2 - 1.1j, 0.88 - 0.2j)],
}


def read_sample() -> Iterator[tuple[str, bytes]]:
    """Name and JPEG bytes of every drawing, such as ``cats/cat_001.jpg``; the same bytes at every call."""
    for class_name, kind in (("cats", "cat"), ("dogs", "dog")):
        for index in range(1, PER_CLASS + 1):
            picture = draw_picture(kind, Random(derive_seed("sample", class_name, index)))
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=82)
            yield f"{class_name}/{kind}_{index:03d}.jpg", file.getvalue()


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


# Lines and shapes


def path(*curves: tuple[complex, ...]) -> Points:
    """Bézier curves one after the other, each from its first knot to its last (de Casteljau's construction)."""
    t, lines = np.linspace(0, 1, 32), []
    for knots in curves:
        points: list[Points] = [np.full(len(t), knot, complex) for knot in knots]
        while len(points) > 1:
            points = [(1 - t) * a + t * b for a, b in pairwise(points)]
        lines.append(points[0])
    return np.concatenate(lines)


def ellipse(centre: complex, rx: float, ry: float) -> Points:
    """An upright ellipse."""
    t = np.linspace(0, 2 * math.pi, 40)
    return centre + rx * np.cos(t) + 1j * ry * np.sin(t)


def ribbon(spine: Points, start: float, end: float) -> Points:
    """The outline of a stroke along ``spine`` whose half width goes from start to end, with a rounded tip."""
    t, across = np.linspace(0, 1, len(spine)), 1j * np.gradient(spine)
    offset = across / np.abs(across) * (start + (end - start) * t) * np.sqrt(1 - t**8)
    return np.concatenate([spine + offset, (spine - offset)[::-1]])


def flip(points: Points, side: int) -> Points:
    """The points for side 1, their mirror image for side -1."""
    return side * points.real + 1j * points.imag


def symmetric(right: Points) -> Points:
    """A closed outline from its right half, which runs from top to bottom."""
    return np.concatenate([right, flip(right[::-1], -1)])


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Colour ``a`` with a share of ``b``."""
    red, green, blue = (round(x + share * (y - x)) for x, y in zip(a, b, strict=True))
    return red, green, blue


def hsl(hue: float, saturation: float, lightness: float) -> Colour:
    """A colour from hue, saturation and lightness, each from 0 to 1."""
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)


@dataclass(frozen=True)
class Pen:
    """Draws in a frame of its own. An animal's head is centred on 0 and has a radius of about 1."""

    image: Image.Image
    origin: complex
    unit: complex  # pixels per unit of length; its argument is the frame's rotation

    def moved(self, offset: complex, angle: float = 0) -> "Pen":
        """A pen whose frame is shifted and turned (radians, clockwise) within this one's."""
        return replace(self, origin=self.origin + self.unit * offset, unit=self.unit * rect(1, angle))

    def fill(self, outline: Points, colour: Colour | int, edge: Colour | None = None) -> None:
        """Fill a closed outline, and trace it with ``edge`` if given."""
        ImageDraw.Draw(self.image).polygon(self._pixels(outline), fill=colour)
        if edge:
            self.line(np.append(outline, outline[:2]), edge)

    def line(self, points: Points, colour: Colour, width: float = 0.05) -> None:
        """Trace a line."""
        ImageDraw.Draw(self.image).line(self._pixels(points), fill=colour, width=max(1, round(abs(self.unit) * width)))

    @contextmanager
    def within(self, outline: Points) -> Iterator["Pen"]:
        """A pen that leaves no mark outside the outline."""
        layer, mask = self.image.copy(), Image.new("L", self.image.size)
        yield replace(self, image=layer)
        replace(self, image=mask).fill(outline, 255)
        box = mask.getbbox()
        self.image.paste(layer.crop(box), box, mask.crop(box))

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        pixels = self.origin + self.unit * points
        return list(zip(pixels.real.tolist(), pixels.imag.tolist(), strict=True))


# Animals


@dataclass(frozen=True)
class Animal:
    """What one animal looks like."""

    kind: str  # "cat" or "dog"
    base: Colour
    second: Colour
    light: Colour
    edge: Colour
    markings: str
    tufts: float  # length of the tufts along outlines
    collar: Colour | None
    turn: float  # of the face to the right, in radians


def choose_animal(kind: str, rng: Random) -> Animal:
    """Any fur with any markings, whatever the kind."""
    base, second = (mix(colour, hsl(rng.random(), 0.5, 0.5), 0.08) for colour in rng.choice(FURS))
    fur = base, second, mix(base, WHITE, 0.7), mix(base, INK, 0.7)
    markings, tufts = rng.choice(["plain", "stripes", "patches", "mask", "spots"]), rng.choice([0, 0, 0.05, 0.1])
    collar = hsl(rng.random(), 0.65, 0.45) if rng.random() < 0.4 else None
    return Animal(kind, *fur, markings, tufts, collar, rng.uniform(-0.3, 0.3))


def draw_animal(canvas: Image.Image, animal: Animal, rng: Random) -> None:
    """An animal in one of the poses, as large as it fits or somewhat smaller."""
    poses = [(draw_bust, -1.4, 1.4, 1.3), (draw_sitting_body, -1.6, 1.6, 2.8), (draw_lying_body, -1.5, 3.2, 1.7)]
    draw_body, left, right, bottom = rng.choice(poses if canvas.width > 1.1 * canvas.height else poses[:2])
    unit = rng.uniform(0.78, 1) * min(canvas.width / (right - left), canvas.height / (bottom + 1.6))
    x = rng.uniform(-left * unit, canvas.width - right * unit)
    y = rng.uniform(0.92, 1) * canvas.height - bottom * unit
    pen = Pen(canvas, complex(x, y), complex(unit))
    draw_body(pen, animal, rng)
    draw_head = draw_cat_head if animal.kind == "cat" else draw_dog_head
    draw_head(pen.moved(0, rng.uniform(-0.22, 0.22)), animal, rng)


def draw_fur(pen: Pen, outline: Points, animal: Animal, rng: Random) -> None:
    """A furry part of the body: shaded, marked, with short hairs, and outlined with tufts."""
    away = outline - outline.mean()
    outline = outline + away / np.abs(away) * [rng.random() * animal.tufts * (i % 3) / 2 for i in range(len(away))]
    middle = complex(np.ptp(outline.real) / 2 + outline.real.min(), np.ptp(outline.imag) / 2 + outline.imag.min())
    rx, ry = np.ptp(outline.real) / 2, np.ptp(outline.imag) / 2
    hairs = [mix(animal.base, WHITE, 0.3), mix(animal.base, INK, 0.25)]
    with pen.within(outline) as inner:
        inner.fill(outline, mix(animal.base, INK, 0.2))
        inner.fill(ellipse(middle - 0.12 * rx - 0.14j * ry, rx, ry), animal.base)
        for shape in outline_markings(animal.markings, rng):
            inner.fill(middle + rx * shape.real + 1j * ry * shape.imag, animal.second)
        for _ in range(round(100 * rx * ry)):
            offset = complex(rng.uniform(-rx, rx), rng.uniform(-ry, ry))
            inner.line(middle + np.array([offset, 1.1 * offset + 0.07j]), rng.choice(hairs), 0.015)
    pen.line(np.append(outline, outline[:2]), animal.edge)


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
    draw_dog_muzzle(pen.moved(1.25 * math.sin(animal.turn) + 0.5j), animal, math.sin(animal.turn), rng)


def draw_dog_muzzle(pen: Pen, animal: Animal, shift: float, rng: Random) -> None:
    """A snout from between the eyes down to a big nose, a jaw, and sometimes the tongue; the nose is at the origin."""
    pen.fill(ellipse(0.42j, 0.34, 0.3), mix(animal.light, INK, 0.2), animal.edge)
    if rng.random() < 0.6:
        pen.fill(ellipse(0.68j, 0.19, 0.36), TONGUE, mix(TONGUE, INK, 0.5))
        pen.line(path((0.5j, 0.85j)), mix(TONGUE, INK, 0.3), 0.04)
    bridge, lip = -0.45 * shift - 0.7j, 0.52 + 0.2j
    right = [(0.4j, 0.45 + 0.6j, lip), (lip, lip + 0.1 - 0.4j, bridge + 0.13)]
    left = [(bridge - 0.13, -0.62 - 0.2j, -0.52 + 0.2j), (-0.52 + 0.2j, -0.45 + 0.6j, 0.4j)]
    pen.fill(path(*right, *left), rng.choice([animal.light, animal.light, animal.second]), animal.edge)
    pen.line(path((0j, 0.4j)), INK)
    pen.fill(symmetric(path((-0.24j, 0.34 - 0.25j, 0.34 + 0j, 0.16j))), INK)
    pen.fill(ellipse(-0.08 - 0.12j, 0.08, 0.04), mix(INK, WHITE, 0.6))


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


# Scenes and light


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


def expose(picture: Image.Image, rng: Random) -> Image.Image:
    """The picture in some light and through a camera: brightness, warmth, a lit side, vignette, blur and noise."""
    pixels = np.asarray(picture.filter(ImageFilter.BoxBlur(rng.uniform(0, 0.8))), np.float32)
    y, x = np.ogrid[-1 : 1 : picture.height * 1j, -1 : 1 : picture.width * 1j]
    toward, warmth = rect(rng.uniform(0, 0.2), rng.uniform(0, 2 * math.pi)), rng.uniform(-0.12, 0.12)
    shading = 1 + toward.real * x + toward.imag * y - rng.uniform(0, 0.2) * (x**2 + y**2)
    tint = rng.uniform(0.85, 1.12) * np.array([1 + warmth, 1, 1 - warmth], np.float32)
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(shading.shape, np.float32) * rng.uniform(1, 5)
    exposed = pixels * shading[..., None].astype(np.float32) * tint + noise[..., None]
    return Image.fromarray(np.clip(exposed, 0, 255).astype(np.uint8))
