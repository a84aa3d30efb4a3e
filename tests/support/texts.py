"""A figure as a person reads it: which texts are drawn, whether they fit, and in which colours."""

import io
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def draw(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> dict[Text, Bbox]:
    """Draw a figure. Returns: every text that is drawn, and where, in pixels."""
    drawn: list[Text] = []
    original = Text.draw

    def record(text: Text, renderer: Any) -> None:
        drawn.append(text)
        original(text, renderer)

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", record)
        figure.savefig(io.BytesIO())
    return {text: text.get_window_extent() for text in drawn if text.get_visible() and text.get_text()}


def check_layout(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Assert that texts lie within the figure and apart."""
    texts = draw(figure, monkeypatch)
    assert texts
    for text, box in texts.items():
        assert box.x0 >= 0 and box.y0 >= 0, text
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text
    # boxes of slanted texts are larger than the texts
    level = [(text, box) for text, box in texts.items() if text.get_rotation() in (0, 90)]
    for index, (text, box) in enumerate(level):
        for other, place in level[:index]:
            shared = Bbox.intersection(box, place)
            assert shared is None or min(shared.width, shared.height) < 1, (text, other)


def parse_svg(svg: str) -> ET.Element:
    """The element as XML; HTML knows by itself what xlink is."""
    return ET.fromstring(svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))


def check_svg(svg: str) -> None:
    """Assert that a drawing needs nothing from outside, and has no colours but the page's."""
    assert not re.findall(r"(?i)#[0-9a-f]{6}\b|\brgb\(|(?:fill|stroke): *(?:black|white)", svg)
    assert set(re.findall(r"var\(--(\w+)\)", svg)) <= {"ink", "quiet", "faint", "original", "augmented"}
    for element in parse_svg(svg).iter():
        assert element.tag.split("}")[-1] not in ("script", "image", "foreignObject")
        for key, value in element.attrib.items():
            assert value.startswith("#") or not key.endswith(("href", "src"))
        for use in element.findall("use"):  # a letter or a marker; without a colour it is black, also on black
            assert "var(--" in element.get("style", "") + use.get("style", "")
