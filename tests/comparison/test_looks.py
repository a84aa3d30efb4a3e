"""Planned looks: levels that add up, looks that do not depend on later trials, and what the report says of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.comparison.answer import Answer, answer_question
from stages.comparison.blocks import Chart, Table, Text
from stages.comparison.history import Caveats, SeenLook, describe_history, identify_question, load_history
from stages.comparison.looks import compute_levels, take_looks
from stages.comparison.needs import describe_need
from stages.comparison.page import build_report, escape_markdown, render_markdown
from stages.comparison.sections import looks as section
from stages.comparison.sections.verdict import describe_verdict
from stages.comparison.statistics import Values, estimate_mean
from stages.comparison.study import ARMS, Study
from stages.runtime.errors import UserError
from tests.conftest import ROOT
from tests.support.pipeline_files import make_history
from tests.support.studies import make_study

PLAN = [5, 10, 20]


def make_gains(trials: int, share: float, photos: int = 140, seed: int = 0) -> Values:
    """Every photo tested once in five trials; gained in ``share`` of the tests, lost in 5 %."""
    rng = np.random.default_rng(seed)
    values = rng.choice([1.0, 0.0, -1.0], p=[share, 0.95 - share, 0.05], size=(trials, photos))
    return np.where(np.arange(photos) % 5 == np.arange(trials)[:, None] % 5, values, np.nan)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_levels_spend_five_percent_in_all(steps: list[int]) -> None:
    plan = [5 + sum(steps[: index + 1]) for index in range(len(steps))]
    spent = [1 - level for level in compute_levels(plan)]
    assert sum(spent) == pytest.approx(0.05)
    assert all(part > 0 for part in spent)


def test_levels_of_the_documentation() -> None:
    assert compute_levels(PLAN) == pytest.approx([0.9875, 0.9875, 0.975])
    assert compute_levels([10]) == pytest.approx([0.95]), "one look is no other than a fixed number of trials"


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 0.4), st.integers(0, 9))
def test_a_look_does_not_know_what_comes_after_it(share: float, seed: int) -> None:
    gains = make_gains(20, share, seed=seed)
    early = [look for trials in PLAN for look in take_looks(gains[:trials], PLAN, 0.02)[-1:]]
    assert take_looks(gains, PLAN, 0.02) == early
    for look in early:
        wide, usual = look.difference.interval, estimate_mean(gains[: look.trials]).interval
        assert wide.low <= usual.low <= usual.high <= wide.high


@given(st.floats(0.5, 0.999), st.integers(0, 9))
def test_the_interval_excludes_zero_exactly_when_p_is_below_what_the_level_leaves(level: float, seed: int) -> None:
    found = estimate_mean(make_gains(5, 0.15, seed=seed), level=level)
    assert (not found.interval.contains(0)) == (found.p < 1 - level)


def make_answer(trials: int, share: float) -> tuple[Study, Answer]:
    gains = make_gains(trials, share)
    original = np.where(np.isfinite(gains), (gains < 0).astype(float), np.nan)
    study = make_study(original, original + gains)
    return study, answer_question(study, 0.02, PLAN)


@pytest.mark.parametrize(
    ("key", "same"),
    [
        ("report.margin", True),
        ("trials", True),
        ("evaluate.robustness", True),
        ("train.threads", True),
        ("train.launcher", True),
        ("train.epochs", False),
        ("augment.copies", False),
        ("seed", False),
    ],
)
def test_a_question_is_about_photos_and_what_is_trained_on_them(key: str, same: bool) -> None:
    study, params = make_answer(5, 0.4)[0], flatten(load_params(ROOT / "params.yaml").model_dump())
    assert key in params
    changed = identify_question(study, params | {key: "another"})
    assert (changed == identify_question(study, params)) == same


def test_the_verdict_names_its_look_and_its_level() -> None:
    study, answer = make_answer(5, 0.4)
    assert answer.verdict == "helps"
    assert "(look 1 of 3, 98.75 % interval +" in describe_verdict(answer)
    assert answer.difference == estimate_mean(study.gains, level=0.9875)


def test_an_open_answer_names_the_next_look() -> None:
    study, answer = make_answer(10, 0.05)
    assert section.describe_cost(study, answer) == (
        "The 20 trainings so far saw 160 samples; the look after 20 trials adds 20 trainings and about 160 samples. "
        "`make settle` says how long that takes here."
    )
    assert answer.verdict == "cannot tell"
    assert describe_need(answer).endswith(". The next look is planned after 20 trials: `make settle` runs them.")
    assert "out of reach on 140 photos, however many trials: it takes at least 247. " in describe_need(answer)
    study, last = make_answer(20, 0.07)
    assert section.describe_cost(study, last) == "The 40 trainings so far saw 320 samples."
    assert "next look" not in describe_need(last)


def test_the_section_shows_looks_that_were_taken_and_those_that_were_not() -> None:
    study, answer = make_answer(10, 0.4)
    found = section.build(study, answer)
    assert found is not None
    text, cost, chart, table = found.blocks
    assert cost == Text("The 20 trainings so far saw 160 samples.")
    assert isinstance(text, Text)
    assert isinstance(chart, Chart)
    assert isinstance(table, Table)
    assert [row[:3] for row in table.rows] == [["1", "5", "98.75 %"], ["2", "10", "98.75 %"], ["3", "20", ""]]
    assert [row[-1] for row in table.rows] == ["helps", "helps", "not taken"]
    assert "The look after 5 trials had settled it" in text.text
    assert section.build(study, answer_question(study, 0.02)) is None


def test_a_late_plan_promises_nothing() -> None:
    study, answer = make_answer(10, 0.4)
    kept, late = (section.describe_plan(study, answer, late=late) for late in (False, True))
    assert "So the intervals of all looks, if each keeps its own level, hold together with a probability" in kept
    assert "This plan was declared or changed later, so that these do not." in late
    assert "So the intervals" not in late
    params = flatten(load_params(ROOT / "params.yaml").model_dump())
    trained = replace(study, histories={arm: [make_history(np.random.default_rng(0), 2)] for arm in ARMS})
    report = build_report(trained, answer, params, gallery=[], caveats=Caveats(looks="The plan was changed."))
    assert escape_markdown(late) in render_markdown(report)


def see(trials: int | list[int], plan: list[int] | None = None, margin: float = 0.02) -> SeenLook:
    return SeenLook(trials=list(range(trials)) if isinstance(trials, int) else trials, plan=plan, margin=margin)


def note(path: Path, looks: list[SeenLook], question: str = "q") -> list[SeenLook]:
    """Each as a run of its own."""
    for look in looks:
        load_history(path).add(question, look).save(path)
    return load_history(path).questions.get(question, [])


SWAPPED = [5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ([see(1), see(5)], ""),
        ([see(5), see(5)], ""),
        ([see(5, PLAN), see(10, PLAN), see(20, PLAN)], ""),
        ([see(5), see(10), see(20)], "looked at before, after 5 and 10 trials, without a plan"),
        ([see([1, 0, 2, 3, 4]), see(5)], ""),
        ([see(5), see(SWAPPED)], "looked at before, after 5 other trials, without a plan"),
        ([see(5), see(5, PLAN)], "The plan was declared or changed after looks at 5 trials"),
        ([see(5, [5, 10]), see(10, [5, 10]), see(10, PLAN), see(20, PLAN)], "changed after looks at 5 and 10 trials"),
        ([see(5, PLAN), see(SWAPPED, PLAN)], "The plan, or the trials it looks at, were declared or changed after"),
    ],
)
def test_looks_outside_a_plan_are_told(looks: list[SeenLook], said: str, tmp_path: Path) -> None:
    found = describe_history(note(tmp_path / "looks.json", looks))
    assert (said in found.looks) if said else not found.looks
    assert not found.margin


@pytest.mark.parametrize("plan", [None, PLAN])
def test_a_margin_that_was_changed_is_told(plan: list[int] | None, tmp_path: Path) -> None:
    found = describe_history(note(tmp_path / "looks.json", [see(5, plan), see(5, plan, margin=0.05)]))
    assert found.margin.startswith("Earlier looks had a margin of ±2 percentage points: ")
    assert not found.looks, "the interval is the same one"
    kept = describe_history(note(tmp_path / "kept.json", [see(5, plan, margin=0.05), see(10, plan, margin=0.05)]))
    assert not kept.margin


def test_each_question_has_its_own_looks(tmp_path: Path) -> None:
    path = tmp_path / "looks.json"
    assert note(path, [see(5)], "one") == [see(5)]
    assert note(path, [see(10)], "other") == [see(10)]
    assert "after 5 trials" in describe_history(note(path, [see(10)], "one")).looks


def test_a_damaged_history_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "looks.json"
    path.write_text("{}")
    with pytest.raises(UserError, match=r"looks\.json cannot be used.*Restore it with git"):
        load_history(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "report")
    Path("dvc.lock").write_text("path: looks.json\n md5: of another file\n")
    with pytest.raises(UserError, match=r"looks\.json was changed or damaged: dvc\.lock has another MD5\. Restore it"):
        load_history(Path("looks.json"))
