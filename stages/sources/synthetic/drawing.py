"""Colours, shapes, and the pen that draws them."""

import colorsys
import math
from cmath import rect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = NDArray[np.complex128]
"""Points of the plane as complex numbers: x to the right, y down."""

WHITE, INK = (255, 251, 243), (42, 30, 32)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Colour ``a`` with a share of ``b``."""
    red, green, blue = (round(x + share * (y - x)) for x, y in zip(a, b, strict=True))
    return red, green, blue


def hsl(hue: float, saturation: float, lightness: float) -> Colour:
    """A colour from hue, saturation and lightness, each from 0 to 1."""
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)


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
        self._draw.polygon(self._pixels(outline), fill=colour)
        if edge:
            self.trace(outline, edge)

    def trace(self, outline: Points, colour: Colour) -> None:
        """Trace a closed outline."""
        self.line(np.append(outline, outline[:2]), colour)

    def line(self, points: Points, colour: Colour, width: float = 0.05) -> None:
        """Trace a line."""
        self._draw.line(self._pixels(points), fill=colour, width=max(1, round(abs(self.unit) * width)))

    @contextmanager
    def within(self, outline: Points) -> Iterator["Pen"]:
        """A pen that leaves no mark outside the outline."""
        layer, mask = self.image.copy(), Image.new("L", self.image.size)
        yield replace(self, image=layer)
        replace(self, image=mask).fill(outline, 255)
        box = mask.getbbox()
        self.image.paste(layer.crop(box), box, mask.crop(box))

    @cached_property
    def _draw(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.image)

    def _pixels(self, points: Points) -> list[float]:
        """The points as x, y, x, y and so on, which Pillow reads faster than pairs."""
        pixels: list[float] = (self.origin + self.unit * points).view(float).tolist()
        return pixels
