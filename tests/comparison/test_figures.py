"""Every figure is read as a person reads it: which texts are drawn, whether they fit, in which colours."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from stages.comparison import figures
from stages.comparison.sections.confusion import plot_confusion
from stages.comparison.sections.training import CURVES, plot_learning_curves
from stages.comparison.sections.work import plot_counts
from tests.support.pipeline_files import make_history
from tests.support.texts import check_layout, check_svg, draw, parse_svg

SHORT = ["cats", "dogs"]
LONG = ["bird", "cat", "dog_with_a_very_long_class_name_indeed", "frog", "ordinary_domestic_shorthair_cat"]
BASELINE = {"test/accuracy": 0.5, "test/loss": 0.693}
MANY = [f"class number {number:03}" for number in range(1000)]
ODD = ["$a$ & <b>", r"\alpha_{x}", "50%", "a|b", "-->"]


def make_counts(class_names: list[str]) -> pd.DataFrame:
    train = np.arange(len(class_names)) * 1000 + 1
    return pd.DataFrame({"train": train, "copies": 2 * train, "test": train // 4}, index=class_names)


def make_histories(trials: int, epochs: int) -> dict[str, list[pd.DataFrame]]:
    rng = np.random.default_rng(0)
    return {arm: [make_history(rng, epochs) for _ in range(trials)] for arm in figures.COLOURS}


def make_matrices(size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {arm: rng.integers(0, 200, (size, size)) for arm in figures.COLOURS}


DRAWINGS: dict[str, Callable[[], Figure]] = {
    "counts": lambda: plot_counts(make_counts(SHORT)),
    "counts, long names": lambda: plot_counts(make_counts(LONG)),
    "counts, online": lambda: plot_counts(make_counts(SHORT), online=True),
    "curves, 1 epoch": lambda: plot_learning_curves(make_histories(trials=1, epochs=1)),
    "curves, 5 trials": lambda: plot_learning_curves(make_histories(trials=5, epochs=30)),
    "curves, baseline": lambda: plot_learning_curves(make_histories(trials=5, epochs=10), BASELINE),
    "curves, one arm": lambda: plot_learning_curves({"augmented": make_histories(1, 10)["augmented"]}),
    "confusion": lambda: plot_confusion(make_matrices(2), SHORT),
    "confusion, one arm": lambda: plot_confusion({"original": [[11, 3], [1, 13]]}, SHORT),
    "confusion, long names": lambda: plot_confusion(make_matrices(5), LONG),
    "confusion, 10 classes": lambda: plot_confusion(make_matrices(10), LONG + LONG),
    "counts, odd names": lambda: plot_counts(make_counts(ODD)),
    "odd names": lambda: plot_confusion(make_matrices(5), ODD),
    "counts, 1,000 classes": lambda: plot_counts(make_counts(MANY) // 1000),
    "confusion, 40 classes": lambda: plot_confusion(make_matrices(40), MANY[:40]),
    "confusion, pairs of long names": lambda: plot_confusion(
        {arm: np.ones((50, 50), dtype=int) for arm in figures.COLOURS}, [f"a long class name {i:03}" for i in range(50)]
    ),
    "confusion, 1,000 classes": lambda: plot_confusion(make_matrices(1000), MANY),
    "confusion, 1,000 classes, one arm": lambda: plot_confusion({"augmented": make_matrices(1000)["augmented"]}, MANY),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_texts_fit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_layout(DRAWINGS[name](), monkeypatch)


@pytest.mark.parametrize("name", ["counts, long names", "confusion, long names"])
def test_long_class_names_are_cut_not_broken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {text.get_text() for text in draw(DRAWINGS[name](), monkeypatch)}
    assert {"cat", "dog_with_a_very_lon…", "ordinary_domestic_s…"} <= texts


@pytest.mark.parametrize("name", ["odd names", "counts, odd names"])
def test_odd_class_names_are_written_as_they_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(ODD) <= {text.get_text() for text in draw(DRAWINGS[name](), monkeypatch)}


@pytest.mark.parametrize("name", ["counts", "confusion", "odd names"])
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
    figure = plot_counts(counts)
    places = {text.get_text(): box for text, box in draw(figure, monkeypatch).items()}
    assert places["56 + 112"].x0 > max(bar.get_window_extent().x1 for bar in figure.axes[1].patches[::2])
    texts = list(places)
    assert {"56", "1,000", "56 + 112", "1,000 + 2,000", "14", "0", "cats", "dogs"} <= set(texts)
    assert any("1,056 photos + 2,112 copies" in " ".join(text.split()) for text in texts)


def test_curves_show_every_trial_and_their_mean() -> None:
    histories = make_histories(trials=3, epochs=4)
    panels = {axes.get_title(loc="left"): axes for axes in plot_learning_curves(histories).axes}
    for curve in CURVES:
        lines = panels[CURVES[curve]].lines
        assert len(lines) == 2 * (3 + 1)
        for arm, colour in figures.COLOURS.items():
            own = [np.asarray(line.get_ydata()) for line in lines if line.get_color() == colour]
            expected = [trial[curve].to_numpy() for trial in histories[arm]]
            np.testing.assert_allclose(own[:3], expected)
            np.testing.assert_allclose(own[3], np.mean(expected, axis=0))


def test_a_single_epoch_is_visible() -> None:
    """A line through one point shows nothing: it needs a marker, inside the axes."""
    figure = plot_learning_curves(make_histories(trials=1, epochs=1))
    for axes in figure.axes[: len(CURVES)]:
        for line in axes.lines:
            assert line.get_marker() == "o"
            assert axes.viewLim.contains(*np.asarray(line.get_xydata())[0])


@pytest.mark.parametrize(("wildest", "scale"), [(5.0, "linear"), (500.0, "log")])
def test_one_wild_epoch_does_not_flatten_the_loss(wildest: float, scale: str) -> None:
    histories = make_histories(trials=1, epochs=10)
    histories["original"][0].loc[1, "test/loss"] = wildest
    panels = {axes.get_title(loc="left"): axes for axes in plot_learning_curves(histories).axes}
    title = "loss on test photos" + " (log scale)" * (scale == "log")
    assert panels[title].get_yscale() == scale
    assert panels["loss on train images"].get_yscale() == "linear"


def test_the_baseline_is_drawn_where_it_is_known_and_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = plot_learning_curves(make_histories(trials=1, epochs=10), BASELINE)
    for axes, curve in zip(figure.axes, CURVES, strict=False):
        levels = [np.asarray(line.get_ydata())[0] for line in axes.lines if line.get_linestyle() == "--"]
        assert levels == ([BASELINE[curve]] if curve in BASELINE else [])
        assert all(axes.get_ylim()[0] < level < axes.get_ylim()[1] for level in levels)
    assert any("dashed: baseline" in text.get_text() for text in draw(figure, monkeypatch))
    without = plot_learning_curves(make_histories(trials=1, epochs=10))
    assert not any("baseline" in text.get_text() for text in draw(without, monkeypatch))


def test_confusion_shows_counts_and_row_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = plot_confusion({"original": [[9, 3], [0, 0]], "augmented": [[1, 2], [3, 4]]}, SHORT)
    texts = [text.get_text() for text in draw(figure, monkeypatch)]
    assert {"9\n75 %", "3\n25 %", "1\n33 %", "4\n57 %"} <= set(texts)
    assert {"original: 9 of 12 correct", "augmented: 5 of 10 correct"} <= set(texts)
    assert texts.count("0") == 2


def test_arms_keep_their_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("curves, 1 epoch", "confusion"):
        texts = draw(DRAWINGS[name](), monkeypatch)
        for arm, colour in figures.COLOURS.items():
            colours = {text.get_color() for text in texts if arm in text.get_text()}
            assert colours == {colour}, (name, arm)


@pytest.mark.parametrize("name", ["counts", "confusion, long names", "curves, 1 epoch"])
def test_svg_is_safe_in_a_page_of_any_colour(name: str) -> None:
    check_svg(figures.encode_svg(DRAWINGS[name](), "A chart"))


def test_svg_is_one_element_that_says_what_it_shows() -> None:
    title = """<b> & "quoted" 'title' of ±2"""
    figure = DRAWINGS["odd names"]()
    svg = figures.encode_svg(figure, title)
    root = parse_svg(svg)
    assert (root.attrib["role"], root.attrib["aria-label"]) == ("img", title)
    assert "<b>" not in svg
    assert list(map(float, root.attrib["viewBox"].split())) == pytest.approx([0, 0, *(72 * figure.get_size_inches())])


def test_same_svg_whatever_the_users_settings() -> None:
    first = figures.encode_svg(DRAWINGS["confusion"](), "A chart")
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "none", "svg.hashsalt": "other"}):
        assert figures.encode_svg(DRAWINGS["confusion"](), "A chart") == first


@pytest.mark.parametrize("name", ["counts, 1,000 classes", "confusion, 1,000 classes"])
def test_figures_of_many_classes_stay_small(name: str) -> None:
    width, height = DRAWINGS[name]().get_size_inches()
    assert width <= 7 and height <= 14


@pytest.mark.parametrize("size", [2, 8, 9, 20, 21, 40])
def test_matrices_stay_readable_in_a_page(size: int) -> None:
    """A page shows a figure 8.9 inches wide (40 rem at 72 points an inch): none may be shrunk to less than half."""
    width, height = plot_confusion(make_matrices(size), [f"class {number}" for number in range(size)]).get_size_inches()
    assert width <= 12 and height <= 24


def test_counts_of_pairs_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text.get_text() for text in draw(DRAWINGS["confusion, pairs of long names"](), monkeypatch)]
    assert {"0", "1"} <= set(texts) and not any("." in text for text in texts)


def test_counts_of_many_classes_are_those_of_the_largest_and_smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text.get_text() for text in draw(DRAWINGS["counts, 1,000 classes"](), monkeypatch)]
    named = [text for text in texts if text.startswith("class number")]
    assert named == [MANY[index] for index in [*range(999, 979, -1), *range(19, -1, -1)]]
    assert any("499,500 photos" in " ".join(text.split()) for text in texts), "the title counts all of them"


def test_confusions_of_many_classes_are_the_most_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.eye(50, dtype=int) * 1000
    for rank in range(30):
        matrix[rank, rank + 7] = 100 - rank
    figure = plot_confusion({"original": matrix, "augmented": matrix}, MANY[:50])
    texts = [text.get_text() for text in draw(figure, monkeypatch)]
    pairs = [text for text in texts if "→" in text]
    assert pairs == [f"{MANY[rank]} → {MANY[rank + 7]}" for rank in range(20)]
    correct, total = np.trace(matrix), matrix.sum()
    assert f"original: {correct:,} of {total:,} correct" in texts
    widths = [bar.get_window_extent().width for bar in figure.axes[0].patches[:20]]
    assert widths == sorted(widths, reverse=True) and widths[19] / widths[0] == pytest.approx(81 / 100)
