"""The comparison in numbers: against hand-computed values, pandas and scikit-learn."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, recall_score

from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.comparison.answer import answer_question, compute_baseline, compute_comparison
from stages.comparison.blocks import Chart, Table, Text
from stages.comparison.format import format_p
from stages.comparison.sections.probabilities import (
    compare_scores,
    compute_calibration,
    compute_calibration_error,
    compute_scores,
    tabulate_scores,
)
from stages.comparison.sections.robustness import build, compare_robustness
from stages.comparison.sections.scores import compare_classes
from stages.comparison.sections.trials import compare_trials, tabulate_trials
from stages.comparison.statistics import decide
from stages.comparison.study import ARMS, Study, load_study
from tests.support.pipeline_files import write_study
from tests.support.studies import make_pair, make_study

TRIALS = [2, 0, 1]
MARGIN = 0.02


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three trials of twelve test photos each, four a class."""
    root = tmp_path_factory.mktemp("study")
    write_study(root, trials=TRIALS, class_names=["ants", "bees", "cows"], per_class=20, epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return load_study(TRIALS)


def get_shares(table: pd.DataFrame, arm: str) -> dict[str, float]:
    """The share of an arm, by the table's first column; none where there is none."""
    shares = {name: share for name, share in zip(table.iloc[:, 0], table[arm], strict=True) if share is not None}
    for share, interval in shares.values():
        assert 0 <= interval.low <= share <= interval.high <= 1
    return {name: share for name, (share, _) in shares.items()}


def make_noise(rng: np.random.Generator, trials: int, photos: int, better: float = 0.0) -> Study:
    """Arms that are each right on 80 % of the photos, by chance, the augmented one on more by ``better``."""
    return make_study(rng.random((trials, photos)) < 0.8, rng.random((trials, photos)) < 0.8 + better)


@pytest.mark.parametrize(
    ("b", "c", "n", "interval", "p"),
    [
        (1, 7, 21, (-0.5172, -0.0260), 0.0391),  # Tango 1998
        (8, 0, 8, (0.3512, 1.0), 0.0039),  # low end: where 8 (1 - d) / (1 + d) = 1.96², so (8 - 3.84) / (8 + 3.84)
        (0, 0, 28, (-0.1207, 0.1207), 1.0),  # ends: 1.96² / (28 + 1.96²)
    ],
)
def test_one_trial_is_about_its_two_models(b: int, c: int, n: int, interval: tuple[float, float], p: float) -> None:
    answer = answer_question(make_study(*make_pair(b, c, n)), MARGIN)
    assert answer.difference.mean == pytest.approx((b - c) / n)
    assert (answer.difference.interval.low, answer.difference.interval.high) == pytest.approx(interval, abs=1e-4)
    assert answer.difference.p == pytest.approx(p, abs=1e-4)
    assert answer.verdict == "cannot tell", "whatever the numbers"
    assert (answer.trials, answer.photos, answer.trials_needed) == (1, n, None)
    assert answer.photos_needed


@pytest.mark.parametrize("photos", [2, 28, 5000])
@pytest.mark.parametrize("margin", [0.001, 0.02, 0.5])
def test_one_trial_needs_photos_also_when_nothing_differs(photos: int, margin: float) -> None:
    answer = answer_question(make_study(np.ones(photos), np.ones(photos)), margin)
    assert answer.verdict == "cannot tell"
    assert answer.photos_needed is not None
    assert answer.photos_needed >= 1 / margin, "so many that a difference of the margin is at least one photo"


@pytest.mark.parametrize(
    ("trials", "photos", "verdict"), [(5, 28, "cannot tell"), (3, 3000, "no practical difference")]
)
def test_no_difference_at_all_is_not_certainty(trials: int, photos: int, verdict: str) -> None:
    right = np.ones((trials, photos))
    answer = answer_question(make_study(right, right), MARGIN)
    assert answer.verdict == verdict
    assert (answer.difference.mean, answer.difference.p) == (0, 1)
    assert answer.difference.interval.low < 0 < answer.difference.interval.high
    assert answer.difference.interval.high == pytest.approx(1.96**2 / (photos + 1.96**2), rel=1e-3)


@pytest.mark.parametrize(("better", "verdict"), [(0.15, "helps"), (-0.15, "hurts"), (0.0, "no practical difference")])
def test_many_trials_on_many_photos_settle_it(better: float, verdict: str) -> None:
    study = make_noise(np.random.default_rng(0), 12, 1000, better)
    answer = answer_question(study, MARGIN)
    assert answer.verdict == verdict
    assert (answer.trials_needed, answer.photos_needed) == (None, None)
    assert answer.difference.mean == pytest.approx(better, abs=0.02)
    assert (answer.trials, answer.photos) == (12, 1000)


def test_the_margin_decides_what_is_practical() -> None:
    study = make_noise(np.random.default_rng(0), 12, 1000)
    assert [answer_question(study, margin).verdict for margin in (0.001, 0.02)] == [
        "cannot tell",
        "no practical difference",
    ]


@settings(deadline=None, max_examples=10)
@given(st.integers(2, 6), st.integers(4, 60), st.floats(-0.2, 0.2), st.sampled_from([0.005, 0.05]), st.integers(0, 99))
def test_an_answer_agrees_with_itself(trials: int, photos: int, better: float, margin: float, seed: int) -> None:
    study = make_noise(np.random.default_rng(seed), trials, photos, better)
    answer = answer_question(study, margin)
    assert answer.difference.mean == pytest.approx(study.gains.mean())
    assert answer.verdict == decide(answer.difference.interval, margin)
    assert -1 <= answer.difference.interval.low <= answer.difference.mean <= answer.difference.interval.high <= 1
    for need, have in ((answer.trials_needed, trials), (answer.photos_needed, photos)):
        assert need is None or (answer.verdict == "cannot tell" and need > have), "what there is did not settle it"


def test_comparison_has_these_keys_and_no_others(study: Study) -> None:
    answer = answer_question(study, MARGIN)
    comparison = compute_comparison(study, answer)
    assert list(comparison) == ["source", "trials", "test_photos", *ARMS, "difference", "verdict"]
    assert (comparison["source"], comparison["trials"], comparison["test_photos"]) == ("archive", 3, 36)
    for arm in ARMS:
        assert list(comparison[arm]) == ["accuracy", "macro_f1", "weighted_f1", "log_loss"]
        for key, value in comparison[arm].items():
            assert value == pytest.approx(np.mean([getattr(trial, key) for trial in study.records[arm]]), abs=1e-6)
    assert list(comparison["difference"]) == ["accuracy", "low", "high", "p"]
    gain = comparison["augmented"]["accuracy"] - comparison["original"]["accuracy"]
    assert comparison["difference"]["accuracy"] == pytest.approx(gain, abs=2e-6)
    assert comparison["difference"]["low"] == round(answer.difference.interval.low, 6)
    assert comparison["difference"]["high"] == round(answer.difference.interval.high, 6)
    assert comparison["difference"]["p"] == round(answer.difference.p, 6)
    assert comparison["verdict"] == answer.verdict


def test_trials_are_those_of_the_predictions(study: Study) -> None:
    table = compare_trials(study)
    assert table["trial"].tolist() == TRIALS
    for row in table.to_dict("records"):
        sides = {arm: study.predictions[arm][study.predictions[arm]["trial"] == row["trial"]] for arm in ARMS}
        right = {arm: set(side["path"][side["pred"] == side["target"]]) for arm, side in sides.items()}
        assert (row["original"], row["augmented"], row["photos"]) == (*map(len, right.values()), 12)
        assert row["only_augmented"] == len(right["augmented"] - right["original"])
        assert row["only_original"] == len(right["original"] - right["augmented"])
        assert row["difference"].mean == pytest.approx((len(right["augmented"]) - len(right["original"])) / 12)


def test_robustness_is_the_accuracy_under_each_operation(study: Study) -> None:
    table = compare_robustness(study)
    for arm in ARMS:
        expected = {"unchanged": float(np.mean([trial.accuracy for trial in study.records[arm]]))}
        for operation in ("rotate", "random_noise"):
            rows = study.robustness[study.robustness["operation"] == operation]
            expected[operation] = float((rows[arm] == rows["target"]).mean())
        assert get_shares(table, arm) == pytest.approx(expected)
    raw = [difference.p for difference in table["difference"]]
    smallest, largest = sorted(raw[1:])
    assert math.isnan(table["p"].iloc[0]), "the photos as they are belong to no family"
    assert sorted(table["p"][1:]) == pytest.approx(sorted([min(1, 2 * smallest), max(largest, min(1, 2 * smallest))]))


@pytest.mark.parametrize(("b", "explained"), [(3, False), (4, True), (6, False)])
def test_an_interval_and_a_p_that_disagree_are_explained(b: int, explained: bool) -> None:
    table = tabulate_trials(compare_trials(make_study(*make_pair(b, 0, 28))))
    assert ("p above 0.05: they are different methods" in table.note) == explained


def add_operation(name: str, trial: int, *, changed: int) -> None:
    """An operation that leaves all test photos but so many as they are."""
    path = Path(f"metrics/robustness/{trial}.csv")
    table = pd.read_csv(path)
    sides = {arm: pd.read_csv(f"metrics/predictions/{arm}-{trial}.csv") for arm in ARMS}
    own = sides["original"][["path", "sha256", "target"]].assign(operation=name)
    for arm, side in sides.items():
        p = np.where(side["target"] == "cats", side["p_cats"], side["p_dogs"])
        own = own.assign(**{arm: side["pred"], f"p_{arm}": p - 1e-6 * (np.arange(len(side)) < changed)})
    pd.concat([table, own])[table.columns].to_csv(path, index=False)


def test_an_operation_that_changes_no_photo_is_no_test(workspace: Path) -> None:
    write_study(workspace, trials=TRIALS, epochs=1)
    for trial in TRIALS:
        add_operation("pad_square", trial, changed=0)
        add_operation("hflip", trial, changed=trial)
    study = load_study(TRIALS)
    assert study.without_effect == ["pad_square"], "the other one changed three photos of all trials"
    section = build(study, flatten(load_params().model_dump()))
    assert section is not None
    text, chart, table = section.blocks
    assert isinstance(text, Text) and isinstance(chart, Chart) and isinstance(table, Table)
    assert "`pad_square` changed none of these photos" in text.text
    assert [row[0] for row in table.rows] == ["unchanged", "rotate", "random noise", "hflip"]
    assert "family of 3 operations" in table.note
    alone = replace(study, without_effect=["rotate", "random_noise", "pad_square", "hflip"])
    assert [type(block) for block in getattr(build(alone, {"augment.policy": "augly"}), "blocks", [])] == [Text]


def test_robustness_may_be_switched_off(workspace: Path) -> None:
    write_study(workspace, epochs=1)
    Path("metrics/robustness/0.csv").write_text(
        "operation,path,sha256,target,original,augmented,p_original,p_augmented\n"
    )
    assert build(load_study([0]), {}) is None


@pytest.mark.parametrize("names", [["1", "2"], ["1", "a"], ["NA", "null"], ["True", "False"], ["007", "7"]])
def test_classes_may_look_like_numbers(names: list[str], workspace: Path) -> None:
    write_study(workspace, class_names=names, epochs=1)
    path = Path("metrics/robustness/0.csv")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.assign(original=table["target"], augmented=names[0]).to_csv(path, index=False)
    found = compare_robustness(load_study([0]))
    assert get_shares(found, "original")["rotate"] == 1
    assert get_shares(found, "augmented")["rotate"] == 0.5


def test_recalls_are_those_of_scikit_learn(study: Study) -> None:
    table = compare_classes(study)
    for arm in ARMS:
        answers = study.predictions[arm]
        recalls = recall_score(answers["target"], answers["pred"], labels=study.class_names, average=None)
        assert list(get_shares(table, arm).values()) == pytest.approx(recalls)
    assert table["photos"].tolist() == [12, 12, 12]


def test_a_class_without_test_photos_has_no_recall() -> None:
    """Of three classes, photo 1 is the only one of the second, and no trial tests it; one tests the third."""
    right = np.array([[1, np.nan, 1, 0], [0, np.nan, np.nan, 1]])
    table = compare_classes(make_study(right, right, class_names=["a", "b", "c"]))
    assert table["photos"].tolist() == [2, 0, 1]
    assert get_shares(table, "original") == {"a": 0.5, "c": 1}


def test_losses_are_those_of_scikit_learn(study: Study) -> None:
    table = compare_scores(study).set_index("score")
    for arm in ARMS:
        answers = study.predictions[arm]
        p = answers[[f"p_{name}" for name in study.class_names]].to_numpy()
        assert table.loc["log_loss", arm] == pytest.approx(log_loss(answers["target"], p, labels=study.class_names))
        assert table.loc["brier", arm] == pytest.approx(
            brier_score_loss(answers["target"], p, labels=study.class_names, scale_by_half=False)
        )
    for row in table.to_dict("records"):
        assert row["difference"].mean == pytest.approx(row["augmented"] - row["original"])


def test_the_probability_of_the_true_class_is_the_one_score_that_is_tested(study: Study) -> None:
    table = compare_scores(study).set_index("score")
    for arm in ARMS:
        answers = study.predictions[arm]
        given = [row[f"p_{row['target']}"] for row in answers.to_dict("records")]
        assert table.loc["p_true", arm] == pytest.approx(np.mean(given))
    curves = {arm: compute_calibration(study.predictions[arm], study.class_names) for arm in ARMS}
    rows = tabulate_scores(study, curves).rows
    p = compare_scores(study)["difference"].tolist()[0].p
    assert [row[-1] for row in rows if row[-1] != "–"] == [format_p(p)]
    assert rows[0][0] == "probability of the true class"


def test_of_one_trial_the_scores_have_no_interval() -> None:
    assert compare_scores(make_study([1, 0, 1], [1, 1, 1]))["difference"].tolist() == [None, None, None]


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=60))
def test_baseline_is_what_scikit_learn_gives_for_the_shares(targets: list[str]) -> None:
    shares = pd.Series(targets).value_counts(normalize=True).sort_index()
    p = np.tile(shares, (len(targets), 1))
    baseline, labels = compute_baseline(pd.Series(targets)), list(shares.index)
    assert baseline.accuracy == pytest.approx(np.mean([target == shares.idxmax() for target in targets]))
    if len(labels) > 1:  # of a single class scikit-learn makes an error
        assert baseline.log_loss == pytest.approx(log_loss(targets, p, labels=labels))
        assert baseline.brier == pytest.approx(brier_score_loss(targets, p, labels=labels, scale_by_half=False))
    else:
        assert (baseline.accuracy, baseline.log_loss, baseline.brier) == (1, 0, 0)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_baseline_among_classes_of_equal_size(classes: int) -> None:
    baseline = compute_baseline(pd.Series(list("abcdefghij"[:classes]) * 7))
    assert (baseline.accuracy, baseline.log_loss, baseline.brier, baseline.p_true) == pytest.approx(
        (1 / classes, math.log(classes), 1 - 1 / classes, 1 / classes)
    )


def test_baseline_among_unequal_classes() -> None:
    """Photo i is of class i mod 3; of four photos two are of the first class."""
    right = np.array([[1, 0, 1, 1]])
    losses = compare_scores(make_study(right, right, class_names=["a", "b", "c"])).set_index("score")
    assert losses.loc["log_loss", "baseline"] == pytest.approx(1.5 * math.log(2))
    assert losses.loc["brier", "baseline"] == pytest.approx(1 - (1 / 4 + 1 / 16 + 1 / 16))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=30))
def test_brier_score_of_two_classes_is_twice_that_of_the_second(rows: list[tuple[bool, float]]) -> None:
    dogs, p = (np.array(column) for column in zip(*rows, strict=True))
    answers = pd.DataFrame({"target": np.where(dogs, "dogs", "cats"), "p_cats": 1 - p, "p_dogs": p})
    found = compute_scores(answers, ["cats", "dogs"])
    assert found["brier"].mean() == pytest.approx(2 * brier_score_loss(dogs, p, pos_label=True))
    # a zero costs what scikit-learn lets it cost: 36 nats
    assert found["log_loss"].mean() == pytest.approx(log_loss(dogs, p, labels=[False, True]), abs=1e-12)


def make_predictions(bins: list[tuple[float, int, int]]) -> pd.DataFrame:
    """Per (probability of the answer, answers, of them right)."""
    rows = [(p, i < right) for p, number, right in bins for i in range(number)]
    p, right = (np.array(column) for column in zip(*rows, strict=True))
    return pd.DataFrame({"target": np.where(right, "a", "b"), "pred": "a", "p_a": p, "p_b": 1 - p})


@pytest.mark.parametrize(
    ("bins", "error"),
    [
        ([(0.8, 5, 4)], 0.0),
        ([(0.75, 4, 3), (0.6, 10, 6), (1.0, 3, 3)], 0.0),
        ([(0.9, 10, 5)], 0.4),
        ([(0.9, 10, 5), (0.6, 30, 18)], 0.1),
        ([(0.72, 1, 1), (0.78, 1, 0)], 0.25),  # one bin: 75 % sure, half right
        ([(1.0, 4, 0)], 1.0),
    ],
)
def test_calibration_error_by_hand(bins: list[tuple[float, int, int]], error: float) -> None:
    curve = compute_calibration(make_predictions(bins), ["a", "b"])
    assert curve["predictions"].sum() == sum(number for _, number, _ in bins)
    assert compute_calibration_error(curve) == pytest.approx(error, abs=1e-9)


def test_calibration_is_over_all_answers(study: Study) -> None:
    for arm in ARMS:
        answers = study.predictions[arm]
        curve = compute_calibration(answers, study.class_names)
        error = compute_calibration_error(curve)
        assert curve["predictions"].sum() == len(answers)
        assert np.average(curve["accuracy"], weights=curve["predictions"]) == pytest.approx(
            (answers["pred"] == answers["target"]).mean()
        )
        assert 0 <= error <= 1 and math.isfinite(error)
