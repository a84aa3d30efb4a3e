"""The report's own charts: every number is drawn where it belongs, and every text can be read."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.comparison.blocks import Chart, Section
from stages.comparison.figures import COLOURS, encode_svg
from stages.comparison.page import mark_drawings
from stages.comparison.sections.confusion import plot_confusion
from stages.comparison.sections.probabilities import plot_calibration
from stages.comparison.sections.robustness import plot_robustness
from stages.comparison.sections.verdict import plot_forest
from stages.comparison.statistics import Estimate, Interval
from tests.support.studies import make_study
from tests.support.texts import check_layout, check_svg, draw

OPERATIONS = ["unchanged", "rotate", "random_noise", *(f"a_very_long_operation_{number}" for number in range(8))]


def get_points(line: Line2D) -> npt.NDArray[np.float64]:
    """The points of a line as (x, y) `[N, 2]`."""
    return np.asarray(line.get_xydata(), dtype=float)


def make_estimates(trials: int) -> dict[int, Estimate]:
    means = np.random.default_rng(0).normal(0.01, 0.03, trials)
    return {trial: Estimate(mean, Interval(mean - 0.04, mean + 0.05), 0.5) for trial, mean in enumerate(means)}


def make_forest(trials: int) -> Figure:
    pooled = Estimate(0.01, Interval(-0.005, 0.03), 0.2) if trials > 1 else None
    return plot_forest(make_estimates(trials), pooled, 0.02)


def make_curves(bins: int) -> dict[str, pd.DataFrame]:
    confidence = np.linspace(0.95, 0.3, bins)
    curve = pd.DataFrame({"confidence": confidence, "accuracy": confidence**2, "predictions": np.arange(bins) + 1})
    return {"original": curve, "augmented": curve.assign(accuracy=1 - confidence)}


def make_shares(number: int) -> dict[str, list[tuple[float, Interval]]]:
    return {
        arm: [((row + 1) / 20, Interval(max(0, row / 20 - 0.1), row / 20 + 0.2)) for row in range(number)]
        for arm in COLOURS
    }


CHARTS: dict[str, Callable[[], Figure]] = {
    **{f"forest, {trials}": partial(make_forest, trials) for trials in (1, 10, 31, 98, 100)},
    "calibration": lambda: plot_calibration(make_curves(7)),
    "calibration, one bin": lambda: plot_calibration(make_curves(1)),
    "robustness, one": lambda: plot_robustness(OPERATIONS[:2], make_shares(2), 0.5),
    "robustness": lambda: plot_robustness(OPERATIONS, make_shares(len(OPERATIONS)), 0.3),
    "confused pairs": lambda: plot_confusion(dict.fromkeys(COLOURS, np.ones((40, 40))), [f"c{i}" for i in range(40)]),
}


@pytest.mark.parametrize("name", CHARTS)
def test_texts_fit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_layout(CHARTS[name](), monkeypatch)


@pytest.mark.parametrize("name", ["forest, 10", "calibration", "robustness, one", "robustness", "confused pairs"])
def test_texts_fit_when_it_says_that_photos_are_drawings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study([1, 0], [1, 1])
    study.records["original"][0] = study.first.model_copy(update={"source": "sample"})
    figure = CHARTS[name]()
    notice = mark_drawings(study, [Section("", [Chart("chart", figure, "A chart")])])
    assert notice in {text.get_text() for text in draw(figure, monkeypatch)}
    check_layout(figure, monkeypatch)


@pytest.mark.parametrize("name", ["forest, 10", "calibration", "robustness"])
def test_svg_is_safe_in_a_page_of_any_colour(name: str) -> None:
    check_svg(encode_svg(CHARTS[name](), "A chart"))


def test_same_svg_again() -> None:
    assert len({encode_svg(CHARTS["calibration"](), "A chart") for _ in range(2)}) == 1


@pytest.mark.parametrize("trials", [1, 10, 100])
def test_forest_draws_every_trial_and_all_together(trials: int) -> None:
    (axes,) = make_forest(trials).axes
    points = {kind: [get_points(line) for line in axes.lines if line.get_marker() == kind] for kind in ("o", "D")}
    means = [[100 * each.mean, row] for row, each in make_estimates(trials).items()]
    np.testing.assert_allclose(np.concatenate(points["o"]), means)
    np.testing.assert_allclose(points["D"], [[[1, trials]]] * (trials > 1))
    spans = [get_points(line)[:, 0] for line in axes.lines if line.get_marker() == "None"][1:]
    expected = [[100 * each.interval.low, 100 * each.interval.high] for each in make_estimates(trials).values()]
    np.testing.assert_allclose(spans[:trials], expected)
    low, high = sorted(axes.get_ylim())
    assert low < 0 and high > len(spans) - 1, "the first and the last row are inside"


@pytest.mark.parametrize(("trials", "named"), [(1, 1), (10, 11), (100, 26)])
def test_forest_names_trials_as_far_as_they_can_be_read(
    trials: int, named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [text.get_text() for text in draw(make_forest(trials), monkeypatch)]
    names = [text for text in texts if text.startswith(("trial ", "all "))]
    assert len(names) == named
    assert names[0] == "trial 0"
    assert (names[-1] == "all trials") == (trials > 1)


def test_trials_keep_their_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = Estimate(0.0, Interval(-0.1, 0.1), 1.0)
    texts = [text.get_text() for text in draw(plot_forest({7: estimate, 3: estimate}, None, 0.02), monkeypatch)]
    assert texts.index("trial 7") < texts.index("trial 3")


def test_equal_estimates_are_not_taken_for_all_together() -> None:
    estimate = Estimate(0.0, Interval(-0.1, 0.1), 1.0)
    (axes,) = plot_forest({0: estimate, 1: estimate}, Estimate(0.0, Interval(-0.1, 0.1), 1.0), 0.02).axes
    assert [line.get_marker() for line in axes.lines].count("D") == 1


def test_signs_of_the_forest_are_those_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {text.get_text() for text in draw(make_forest(10), monkeypatch)}
    assert "−5" in texts and "+5" in texts and not any(text.startswith("-") for text in texts)


@pytest.mark.parametrize("name", ["calibration", "robustness, one"])
def test_percentages_are_spelled_as_in_the_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {text.get_text() for text in draw(CHARTS[name](), monkeypatch)}
    assert "80 %" in texts and "80%" not in texts


def test_calibration_names_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {text.get_text() for text in draw(CHARTS["calibration"](), monkeypatch)}
    assert {"perfectly calibrated", "original", "augmented"} <= texts


def test_calibration_draws_every_bin() -> None:
    (axes,) = CHARTS["calibration"]().axes
    for arm, curve in make_curves(7).items():
        (line,) = [line for line in axes.lines if line.get_color() == COLOURS[arm]]
        np.testing.assert_allclose(get_points(line), curve[["confidence", "accuracy"]])
    assert axes.get_xlim()[0] < 0.3


def test_robustness_draws_each_arm_beside_its_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = CHARTS["robustness"]()
    (axes,) = figure.axes
    for arm, offset in zip(COLOURS, (-0.14, 0.14), strict=True):
        dots = [line for line in axes.lines if line.get_marker() == "o" and line.get_color() == COLOURS[arm]]
        expected = [[share, row + offset] for row, (share, _) in enumerate(make_shares(len(OPERATIONS))[arm])]
        np.testing.assert_allclose(np.concatenate([get_points(line) for line in dots]), expected)
    (level,) = [get_points(line) for line in axes.lines if line.get_linestyle() == "--"]
    assert set(level[:, 0]) == {0.3}
    texts = [text.get_text() for text in draw(figure, monkeypatch)]
    key = ["original", "augmented", "baseline"]
    assert [text for text in texts if text in key] == key
    assert {"unchanged", "random noise"} <= set(texts)
