"""The page as a browser shows it: whole without a network, safe with odd names, readable on a phone."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.comparison.answer import answer_question
from stages.comparison.page import build_report, render_page
from stages.comparison.sections import gallery
from stages.comparison.sections.verdict import describe_verdict
from stages.comparison.study import load_study
from tests.support.pipeline_files import write_study

NAMES = ["bee <i> & 'co'", "c|d", '"onmouseover="x', "x" * 60]
VOID = {"meta", "img", "br", "link", "input", "hr"}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# says in the page's title whether it is wider than its window, with everything unfolded, and which words are broken
PROBE = """<script>addEventListener("load", () => {
  document.querySelectorAll("details").forEach((each) => { each.open = true; });
  const { scrollWidth, clientWidth } = document.documentElement;
  const wide = [...document.querySelectorAll("main > *")].filter((e) => e.getBoundingClientRect().right > clientWidth);
  const isBroken = (node, word) => {
    const range = document.createRange();
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    return range.getClientRects().length > 1;
  };
  const broken = [...document.querySelectorAll("td:first-child")].flatMap(({ firstChild: text }) =>
    [...text.data.matchAll(/(?<![^\\s-])[^\\s-]{1,20}(?![^\\s-])/g)].filter((word) => isBroken(text, word)));
  const odd = [...wide.map((e) => e.outerHTML.slice(0, 80)), ...broken.map(String)];
  document.title = `${scrollWidth} of ${clientWidth} pixels: ${odd}`;
})</script>"""


@dataclass
class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    source: str
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.text += data

    def find(self, tag: str) -> Iterator[dict[str, str]]:
        return (attributes for name, attributes in self.elements if name == tag)


@pytest.fixture(scope="module")
def verdict_and_page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    """The page of two trials with four classes whose names try to break out."""
    root = tmp_path_factory.mktemp("page")
    write_study(root, trials=[0, 3], class_names=NAMES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        study = load_study([0, 3])
        answer = answer_question(study, 0.02)
        params = flatten(load_params().model_dump()) | {"model.weights": f"models/weights/{'w' * 60}.safetensors"}
        source = render_page(build_report(study, answer, params, gallery.build(study, params)))
    return describe_verdict(answer), Page(source)


@pytest.fixture(scope="module")
def page(verdict_and_page: tuple[str, Page]) -> Page:
    return verdict_and_page[1]


def test_elements_are_closed_and_titled(verdict_and_page: tuple[str, Page]) -> None:
    verdict, page = verdict_and_page
    assert page.source.startswith('<!doctype html>\n<html lang="en">')
    assert page.open == []
    assert re.findall(r"<title>(.*?)</title>", page.source) == [verdict.replace(" %", "\N{NO-BREAK SPACE}%")]
    assert [tag for tag, _ in page.elements if tag in ("h1", "main")] == ["main", "h1"]


def test_nothing_comes_from_outside(page: Page) -> None:
    assert not {tag for tag, _ in page.elements} & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "use2",
    }
    policies = [meta["content"] for meta in page.find("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    for tag, attributes in page.elements:
        for key, value in attributes.items():
            assert not key.startswith("on"), "a name broke out of its attribute"
            if key in ("src", "srcset", "href", "xlink:href", "action", "poster"):
                assert value.startswith("data:image/jpeg;base64," if tag == "img" else "#"), (tag, key)
    assert not re.findall(r"@import|url\((?!#)", page.source)


def test_references_within_the_page_lead_somewhere(page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    used = set(re.findall(r'url\(#([^)]+)\)|xlink:href="#([^"]+)"', page.source))
    assert used
    assert {first or second for first, second in used} <= ids


def test_names_are_text(page: Page) -> None:
    for name in NAMES:
        assert page.text.count(name) >= 10, name
    assert "i" not in {tag for tag, _ in page.elements}


def test_a_percent_sign_stays_on_the_line_of_its_number(page: Page) -> None:
    assert page.text.count("95\N{NO-BREAK SPACE}%") >= 5
    assert not re.findall(r"\d %", page.text)


def test_what_is_drawn_is_also_said(page: Page) -> None:
    pictures = list(page.find("img"))
    assert len(pictures) > 12
    assert all(picture["alt"] for picture in pictures)
    charts = [drawing["aria-label"] for drawing in page.find("svg")]
    assert len(charts) == 6
    assert all(len(label) > 20 and label in page.text for label in charts)


def open_in_browser(source: str, width: int, folder: Path) -> tuple[str, list[str]]:
    """The title of a page once it is loaded, and what the browser complained about."""
    file = folder / "page.html"
    file.write_text(source)
    quiet = ["quic", "first-run", "background-networking", "component-update", "sync", "gpu"]
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            *(f"--{'no' if each == 'first-run' else 'disable'}-{each}" for each in quiet),
            f"--user-data-dir={folder / 'profile'}",
            "--enable-logging=stderr",
            f"--window-size={width},900",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    (title,) = re.findall(r"<title>(.*?)</title>", done.stdout, re.S)[:1]
    return title, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="neither chromium nor google-chrome is installed")
class TestInABrowser:
    @pytest.mark.parametrize("width", [500, 1200])
    def test_no_sideways_scrolling_and_no_complaint(self, width: int, page: Page, tmp_path: Path) -> None:
        source = page.source.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
        title, complaints = open_in_browser(source.replace("</body>", f"{PROBE}</body>"), width, tmp_path)
        used, available = map(int, re.findall(r"\d+", title)[:2])
        assert width - 20 <= available <= width, "a scroll bar takes some"
        assert title == f"{used} of {used} pixels: "
        assert complaints == []

    def test_the_check_sees_what_is_wide_and_what_is_blocked(self, tmp_path: Path) -> None:
        policy = '<meta http-equiv="Content-Security-Policy" content="img-src data:">'
        body = '<main><p style="width: 900px">wide</p><img src="http://127.0.0.1:9/a.png"></main>'
        title, complaints = open_in_browser(f"{policy}<title></title>{body}{PROBE}", 500, tmp_path)
        assert re.match(r"9\d\d of \d+ pixels: <p ", title.replace("&lt;", "<"))
        assert len(complaints) == 1 and "Content Security Policy" in complaints[0]
