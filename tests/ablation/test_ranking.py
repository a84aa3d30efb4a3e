"""The ranking finds the effects that were put in, calls no luck an effect, and its words say what its numbers say."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from ablation.policies import Kind
from ablation.ranking import (
    Correct,
    build_section,
    describe_ranking,
    list_numbers,
    plot_ranking,
    rank_operations,
    tabulate_ranking,
)
from stages.comparison.answer import estimate_difference
from stages.comparison.blocks import Table, Text
from stages.comparison.format import format_estimate
from stages.comparison.sections.verdict import describe_budget, describe_scope
from stages.comparison.statistics import Estimate, Interval
from stages.comparison.study import Study
from tests.support.studies import make_study
from tests.support.texts import check_layout

OPERATIONS = ("rotate", "random_noise", "hflip")


def draw_correct(rng: np.random.Generator, share: float, trials: int = 5, photos: int = 200) -> npt.NDArray[np.float64]:
    return (rng.random((trials, photos)) < share).astype(float)


def make_ablation(shares: dict[tuple[Kind, str], float], trials: int = 5) -> tuple[Study, Correct]:
    """A study whose arms are right on 70 % and 80 %, and policies that are right on these shares."""
    rng = np.random.default_rng(0)
    study = make_study(draw_correct(rng, 0.7, trials), draw_correct(rng, 0.8, trials))
    return study, {policy: draw_correct(rng, share, trials) for policy, share in shares.items()}


@pytest.fixture(scope="module")
def ablation() -> tuple[Study, Correct]:
    shares = {"rotate": (0.9, 0.7), "random_noise": (0.7, 0.8), "hflip": (0.5, 0.7)}
    policies: dict[tuple[Kind, str], float] = {}
    for name, (alone, without) in shares.items():
        policies["only", name], policies["all_but", name] = alone, without
    return make_ablation(policies)


def test_operations_are_ranked_by_what_they_do_alone(ablation: tuple[Study, Correct]) -> None:
    study, correct = ablation
    found = rank_operations(study, correct)
    assert found["operation"].tolist() == ["rotate", "random_noise", "hflip"]
    for row in found.to_dict("records"):
        for kind in ("only", "all_but"):
            expected = estimate_difference(correct[kind, row["operation"]] - study.correct["original"], study.groups)
            assert row[kind] == expected
        gap = study.correct["augmented"].mean() - correct["all_but", row["operation"]].mean()
        assert row["lost"].mean == pytest.approx(gap)


def test_photos_of_a_group_count_together(ablation: tuple[Study, Correct]) -> None:
    study, correct = ablation
    grouped = replace(study, together=[study.paths[start : start + 50] for start in range(0, 200, 50)])
    found = rank_operations(grouped, correct).set_index("operation")
    original, augmented = study.correct["original"], study.correct["augmented"]
    for name in OPERATIONS:
        only, without = correct["only", name], correct["all_but", name]
        for kind, gains in {
            "only": only - original,
            "all_but": without - original,
            "lost": augmented - without,
        }.items():
            assert found.loc[name, kind] == estimate_difference(gains, grouped.groups)
            assert found.loc[name, kind] != estimate_difference(gains, None)
    whole = format_estimate(estimate_difference(study.gains, grouped.groups))
    assert whole != format_estimate(estimate_difference(study.gains, None))
    texts = [
        block.text for block in build_section(grouped, found.reset_index(), 0.02, 3).blocks if isinstance(block, Text)
    ]
    assert whole in texts[0]


def test_p_values_are_adjusted_over_every_policy(ablation: tuple[Study, Correct]) -> None:
    found = rank_operations(*ablation)
    raw = [row[kind].p for row in found.to_dict("records") for kind in ("only", "all_but")]
    adjusted = [row[f"p_{kind}"] for row in found.to_dict("records") for kind in ("only", "all_but")]
    for p, given in zip(raw, adjusted, strict=True):  # Holm's definition, one by one
        smaller = sorted(each for each in raw if each <= p)
        expected = max((len(raw) - index) * each for index, each in enumerate(smaller))
        assert given == pytest.approx(min(1, expected))


def test_clear_effects_are_named_and_the_others_are_not(ablation: tuple[Study, Correct]) -> None:
    sentence = describe_ranking(rank_operations(*ablation), 5)
    assert sentence == (
        "Clearly better than no augmentation: rotate alone, all but random noise. Clearly worse: hflip alone "
        "(3 operations, 5 trials; p adjusted by Holm)."
    )


@pytest.mark.slow
def test_policies_like_the_original_arm_are_rarely_called_clear() -> None:
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        study = make_study(draw_correct(rng, 0.7, 4, 60), draw_correct(rng, 0.7, 4, 60))
        policies: dict[tuple[Kind, str], Any] = {}
        for name in OPERATIONS:
            policies["only", name] = draw_correct(rng, 0.7, 4, 60)
            policies["all_but", name] = draw_correct(rng, 0.7, 4, 60)
        found = rank_operations(study, policies)
        alarms += bool((found[["p_only", "p_all_but"]] < 0.05).any(axis=None))
    assert alarms <= 8, "5 % of studies may have one; more than 8 of 60 have a chance of 0.003"


def test_one_trial_names_the_first_and_says_that_it_may_be_luck() -> None:
    policies: dict[tuple[Kind, str], float] = {}
    for name in OPERATIONS:
        policies["only", name], policies["all_but", name] = 0.9 if name == "hflip" else 0.5, 0.7
    study, correct = make_ablation(policies, trials=1)
    found = rank_operations(study, correct)
    assert describe_ranking(found, 1) == (
        "Cannot tell from one trial: hflip alone comes out best of 3 operations, which may be luck."
    )
    words = " ".join(block.text for block in build_section(study, found, 0.02, 3).blocks if isinstance(block, Text))
    assert "One trial is about its models only" in words


def test_ties_keep_the_order_of_their_names() -> None:
    study = make_study([[1, 0, 1, 0]] * 2, [[1, 0, 1, 0]] * 2)
    same: Correct = {(kind, name): study.correct["original"] for kind in ("only", "all_but") for name in OPERATIONS}
    assert rank_operations(study, same)["operation"].tolist() == sorted(OPERATIONS)
    assert describe_ranking(rank_operations(study, same), 2) == (
        "No operation makes a clear difference, alone or left out (3 operations, 2 trials; p adjusted by Holm)."
    )


def test_the_table_and_the_json_hold_the_numbers(ablation: tuple[Study, Correct]) -> None:
    found = rank_operations(*ablation)
    table, numbers = tabulate_ranking(found), list_numbers(found)
    assert [row[0] for row in table.rows] == ["rotate", "random noise", "hflip"]
    assert {len(row) for row in table.rows} == {len(table.header)}
    assert "family of 6 policies" in table.note
    best = found.iloc[0]
    assert numbers["rotate"]["only"] == {
        "accuracy": round(best["only"].mean, 6),
        "low": round(best["only"].interval.low, 6),
        "high": round(best["only"].interval.high, 6),
        "p": round(best["p_only"], 6),
    }


@pytest.mark.parametrize("count", [2, 10, 35])
def test_the_figure_shows_every_operation_and_nothing_overlaps(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = Estimate(0.1, Interval(-0.1, 0.3), 0.5)
    names = [f"operation_{i}" for i in range(count)]
    figure = plot_ranking(pd.DataFrame({"operation": names, "only": estimate, "all_but": estimate}), 0.05, 0.02)
    check_layout(figure, monkeypatch)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [name.replace("_", " ") for name in names]


def test_the_section_says_what_was_compared_with_what(ablation: tuple[Study, Correct]) -> None:
    study, correct = ablation
    section = build_section(study, rank_operations(study, correct), 0.02, 3)
    words = " ".join(block.text for block in section.blocks if isinstance(block, Text))
    assert "from the initial weights of the trial's original arm" in words
    assert describe_scope(len(study.trials)) in words
    assert "a difference confounds augmentation with longer training" in words
    assert "in the other policies an image gets up to 3. " in words
    assert any(isinstance(block, Table) for block in section.blocks)


def test_the_section_of_as_many_steps_and_a_given_test_set_says_so(ablation: tuple[Study, Correct]) -> None:
    study, correct = ablation
    fair = make_study(study.correct["original"], study.correct["augmented"], steps=(110, 110))
    section = build_section(fair, rank_operations(study, correct), 0.02, 1, given=True)
    words = " ".join(block.text for block in section.blocks if isinstance(block, Text))
    assert describe_budget(fair) in words and "explains no difference" in words
    assert describe_scope(len(study.trials), given=True) in words
    assert "an image gets up to" not in words
