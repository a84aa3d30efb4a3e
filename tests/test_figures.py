"""Every figure is read as a person reads it: which texts are drawn, whether they fit, in which colours."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from stages.common import figures
from tests.pipeline_files import OPERATIONS, make_history

SHORT = ["cats", "dogs"]
LONG = ["bird", "cat", "dog_with_a_very_long_class_name_indeed", "frog", "ordinary_domestic_shorthair_cat"]
ODD = ["$a$ & <b>", r"\alpha_{x}", "50%"]


def make_counts(class_names: list[str]) -> pd.DataFrame:
    train = np.arange(len(class_names)) * 1000 + 1
    return pd.DataFrame({"train": train, "copies": 2 * train, "test": train // 4}, index=class_names)


def make_histories(trials: int, epochs: int) -> dict[str, list[pd.DataFrame]]:
    rng = np.random.default_rng(0)
    return {arm: [make_history(rng, epochs) for _ in range(trials)] for arm in figures.COLOURS}


def make_matrices(size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {arm: rng.integers(0, 200, (size, size)) for arm in figures.COLOURS}


def make_image(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), "tan")


def make_disagreements(class_names: list[str], number: int) -> pd.DataFrame:
    rows = [
        {
            "trial": row,
            "path": f"data/raw/{class_names[0]}/photo_{row}.jpg",
            "target": class_names[0],
            "original": class_names[0],
            "p_original": 0.981,
            "augmented": class_names[-1],
            "p_augmented": 0.514,
        }
        for row in range(number)
    ]
    return pd.DataFrame(rows)


def make_pictures(copies: int) -> list[list[figures.Picture]]:
    lines = figures.describe_operations(OPERATIONS)
    shapes = [(300, 200), (200, 300), (100, 100), (400, 90), (30, 32)]
    source = figures.Picture(make_image(300, 200), ["photo_1.jpg", LONG[2]])
    return [[source, *(figures.Picture(make_image(*shapes[copy]), lines) for copy in range(copies))] for _ in range(3)]


DRAWINGS: dict[str, Callable[[], Figure]] = {
    "counts": lambda: figures.plot_counts(make_counts(SHORT)),
    "counts, long names": lambda: figures.plot_counts(make_counts(LONG)),
    "curves, 1 epoch": lambda: figures.plot_learning_curves(make_histories(trials=1, epochs=1)),
    "curves, 5 trials": lambda: figures.plot_learning_curves(make_histories(trials=5, epochs=30)),
    "curves, one arm": lambda: figures.plot_learning_curves({"augmented": make_histories(1, 10)["augmented"]}),
    "confusion": lambda: figures.plot_confusion(make_matrices(2), SHORT),
    "confusion, one arm": lambda: figures.plot_confusion({"original": [[11, 3], [1, 13]]}, SHORT),
    "confusion, long names": lambda: figures.plot_confusion(make_matrices(5), LONG),
    "confusion, 10 classes": lambda: figures.plot_confusion(make_matrices(10), LONG + LONG),
    "copies": lambda: figures.plot_contact_sheet(make_pictures(copies=2)),
    "copies, one of each": lambda: figures.plot_contact_sheet(make_pictures(copies=1)),
    "disagreements": lambda: figures.plot_disagreements(
        make_disagreements(LONG, 7), [make_image(90, 60 + 30 * row) for row in range(6)], answers=100
    ),
    "one disagreement": lambda: figures.plot_disagreements(make_disagreements(SHORT, 1), [make_image(90, 60)], 1400),
    "no disagreement": lambda: figures.plot_disagreements(pd.DataFrame(), [], answers=28),
    "odd names": lambda: figures.plot_confusion(make_matrices(3), ODD),
}


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


@pytest.mark.parametrize("name", DRAWINGS)
def test_texts_lie_within_the_figure_and_apart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = DRAWINGS[name]()
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


def test_long_class_names_are_cut_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text.get_text() for text in draw(DRAWINGS["disagreements"](), monkeypatch)]
    assert texts.count("✗ augmented: ordinary_dom… 51%") == 6


@pytest.mark.parametrize("name", ["counts", "confusion", "copies, one of each"])
def test_same_bytes_whatever_the_users_settings(name: str, tmp_path: Path) -> None:
    figures.save_figure(DRAWINGS[name](), tmp_path / "a.png")
    with matplotlib.rc_context({"font.size": 30, "figure.dpi": 50, "savefig.dpi": 72, "savefig.facecolor": "black"}):
        figures.save_figure(DRAWINGS[name](), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert set(image.info) == {"dpi"}
        assert image.info["dpi"] == pytest.approx((160, 160), abs=1)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_counts_are_written_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = pd.DataFrame({"train": [56, 1000], "copies": [112, 2000], "test": [14, 0]}, index=["cats", "dogs"])
    figure = figures.plot_counts(counts)
    places = {text.get_text(): box for text, box in draw(figure, monkeypatch).items()}
    assert places["56 + 112"].x0 > max(bar.get_window_extent().x1 for bar in figure.axes[1].patches[::2])
    texts = list(places)
    assert {"56", "1,000", "56 + 112", "1,000 + 2,000", "14", "0", "cats", "dogs"} <= set(texts)
    assert any("1,056 photos + 2,112 copies" in text for text in texts)


def test_curves_show_every_trial_and_their_mean() -> None:
    histories = make_histories(trials=3, epochs=4)
    panels = {axes.get_title(loc="left"): axes for axes in figures.plot_learning_curves(histories).axes}
    for curve in figures.CURVES:
        lines = panels[curve].lines
        assert len(lines) == 2 * (3 + 1)
        for arm, colour in figures.COLOURS.items():
            own = [np.asarray(line.get_ydata()) for line in lines if line.get_color() == colour]
            expected = [trial[curve].to_numpy() for trial in histories[arm]]
            np.testing.assert_allclose(own[:3], expected)
            np.testing.assert_allclose(own[3], np.mean(expected, axis=0))


def test_a_single_epoch_is_visible() -> None:
    """A line through one point shows nothing: it needs a marker, inside the axes."""
    figure = figures.plot_learning_curves(make_histories(trials=1, epochs=1))
    for axes in figure.axes[: len(figures.CURVES)]:
        for line in axes.lines:
            assert line.get_marker() == "o"
            assert axes.viewLim.contains(*np.asarray(line.get_xydata())[0])


@pytest.mark.parametrize(("wildest", "scale"), [(5.0, "linear"), (500.0, "log")])
def test_one_wild_epoch_does_not_flatten_the_loss(wildest: float, scale: str) -> None:
    histories = make_histories(trials=1, epochs=10)
    histories["original"][0].loc[1, "test/loss"] = wildest
    panels = {axes.get_title(loc="left"): axes for axes in figures.plot_learning_curves(histories).axes}
    assert panels["test/loss"].get_yscale() == scale
    assert panels["train/loss"].get_yscale() == "linear"


def test_confusion_shows_counts_and_row_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = figures.plot_confusion({"original": [[9, 3], [0, 0]], "augmented": [[1, 2], [3, 4]]}, SHORT)
    texts = [text.get_text() for text in draw(figure, monkeypatch)]
    assert {"9\n75%", "3\n25%", "1\n33%", "4\n57%", "original: 9 of 12 right", "augmented: 5 of 10 right"} <= set(texts)
    assert texts.count("0") == 2


def test_arms_keep_their_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("curves, 1 epoch", "confusion", "disagreements"):
        texts = draw(DRAWINGS[name](), monkeypatch)
        for arm, colour in figures.COLOURS.items():
            colours = {text.get_color() for text in texts if arm in text.get_text()}
            assert colours == {colour}, (name, arm)


def test_operations_are_described_in_order_without_seeds() -> None:
    space = "\N{NO-BREAK SPACE}"
    assert figures.describe_operations(OPERATIONS) == [
        f"1 color jitter: brightness{space}0.847, contrast{space}1.2, saturation{space}1.31",
        "2 hflip",
        f"3 random noise: mean{space}0, var{space}0.01",
    ]


def test_disagreements_say_who_is_right_and_how_many_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = figures.plot_disagreements(make_disagreements(SHORT, 3), [make_image(9, 9)] * 2, answers=28)
    texts = [text.get_text() for text in draw(figure, monkeypatch)]
    assert texts.count("✓ original: cats 98%") == 2
    assert texts.count("✗ augmented: dogs 51%") == 2
    assert {"truth: cats", "photo_0.jpg, trial 0", "photo_1.jpg, trial 1"} <= set(texts)
    assert "The arms differ in 3 of 28 answers; here the 2 on which the models were surest" in texts


def test_no_disagreement_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = draw(figures.plot_disagreements(pd.DataFrame(), [], answers=140), monkeypatch)
    assert [text.get_text() for text in texts] == ["Both arms give the same answer to all 140 test photos."]


def test_pictures_are_shown_whole_and_in_proportion() -> None:
    figure = figures.plot_contact_sheet(
        [[figures.Picture(make_image(300, 200), []), figures.Picture(make_image(50, 200), [])]]
    )
    for axes, (width, height) in zip(figure.axes, [(300, 200), (50, 200)], strict=True):
        assert axes.viewLim.x0 <= -0.5 and axes.viewLim.x1 >= width - 0.5
        assert axes.viewLim.y1 <= -0.5 and axes.viewLim.y0 >= height - 0.5
        box = axes.get_position().transformed(figure.transFigure)
        assert box.width / axes.viewLim.width == pytest.approx(box.height / abs(axes.viewLim.height))
