"""The report of trials that all test the source's own test set: what it says, and what its interval then covers."""

from pathlib import Path

import numpy as np
import pytest

from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.comparison.answer import answer_question
from stages.comparison.page import build_report, render_markdown
from stages.comparison.published import render_published, save_study
from stages.comparison.statistics import estimate_mean
from stages.comparison.study import load_study
from stages.photos.manifest import SplitTable
from tests.conftest import change_params
from tests.support.pipeline_files import write_study

SCOPE = (
    "All trials test the same photos, and differ in random weights, batch order and augmentation: the verdict is about "
    "new photos like these and new trainings on these train photos, not about training on other photos."
)
SAME = "all trials train and test on the same photos, as the source divides them, each with its own weights"
LEFT_OUT = "Train photos left out, as near-duplicates of test photos or in a group with them: 4."
FOLDS = "The verdict is about sets of as many photos, drawn like these, and new trainings on them"


def render(trials: list[int]) -> str:
    """The report of the study on disk."""
    params = load_params()
    study = load_study(trials)
    answer = answer_question(study, params.report.margin)
    return render_markdown(build_report(study, answer, flatten(params.model_dump()), gallery=[]))


@pytest.fixture
def given_study(workspace: Path) -> list[int]:
    """Two trials; three cats and a dog that are left out of the first. Returns the trials."""
    write_study(workspace, trials=[0, 1], epochs=2)
    change_params({"fetch.subset": "all", "split.scheme": "given"})
    split = SplitTable.load(Path("data/split/0.csv"))
    train = split.index[split["split"] == "train"]
    split.loc[[*train[:3], train[-1]], "split"] = "left out"
    SplitTable.save(Path("data/split/0.csv"), split)
    return [0, 1]


def test_the_report_says_what_its_interval_means(given_study: list[int]) -> None:
    text = render(given_study)
    assert (SCOPE in text, SAME in text, FOLDS in text) == (True, True, False)
    assert LEFT_OUT in text
    assert "All trials share one train set: no method here says how training on other photos would differ." in text
    assert "corrected t" not in text
    assert SCOPE not in render(given_study[:1]), "the verdict of one trial says so itself"


def test_a_published_study_says_the_same(given_study: list[int], workspace: Path) -> None:
    params = flatten(load_params().model_dump())
    save_study(load_study(given_study), params, workspace / "study")
    render_published(workspace / "study")
    text = (workspace / "study/report.md").read_text()
    assert all(sentence in text for sentence in (SCOPE, SAME, LEFT_OUT))

    del params["split.scheme"]  # as in studies published before there was a choice
    save_study(load_study(given_study), params, workspace / "study")
    render_published(workspace / "study")
    text = (workspace / "study/report.md").read_text()
    assert (SCOPE in text, FOLDS in text, "corrected t" in text) == (False, True, True)


def test_folds_say_what_they_said(given_study: list[int]) -> None:
    change_params({"split.scheme": "folds"})
    text = render(given_study)
    assert (SCOPE in text, SAME in text, FOLDS in text) == (False, False, True)
    assert "every trial has its own test photos, weights, batch order and copies." in text


def test_the_interval_covers_what_new_photos_and_new_trainings_bring() -> None:
    """Gains of 4 trials on the same 100 photos: an effect of each trial, of each photo, and of each cell."""
    rng, covered, studies = np.random.default_rng(0), 0, 400
    for _ in range(studies):
        lean = 0.06 * rng.standard_normal((4, 1)) + 0.15 * rng.uniform(-1, 1, (1, 100))
        draw = rng.random((4, 100))
        gains = (draw < 0.25 + lean / 2).astype(float) - (draw > 0.75 + lean / 2)
        covered += estimate_mean(gains).interval.contains(0)
    assert 0.93 <= covered / studies <= 0.99
