"""The comparison in numbers: what `dvc metrics diff` shows, and the tables of the report."""

from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from stages.comparison.needs import find_pairs_needed, find_photos_needed, find_trials_needed
from stages.comparison.reliability import compute_calibration, compute_calibration_error, compute_losses
from stages.comparison.statistics import (
    Estimate,
    Interval,
    Values,
    Verdict,
    adjust_holm,
    compute_mcnemar_midp,
    compute_tango_interval,
    compute_wilson_interval,
    decide,
    estimate_mean,
)
from stages.comparison.study import ARMS, Study, spread

HEADLINE = ["accuracy", "macro_f1", "weighted_f1", "log_loss"]


@dataclass(frozen=True)
class Guess:
    """What one gets without looking at any photo.

    ``accuracy``: always answering the commonest class. ``log_loss`` (nats), ``brier``: always giving each class its
    share as its probability; with C classes of equal size ln C and 1 - 1/C.
    """

    accuracy: float
    log_loss: float
    brier: float


def compute_guess(targets: "pd.Series[str]") -> Guess:
    """Guess the classes of test answers from nothing but their shares."""
    shares = targets.value_counts(normalize=True).to_numpy()
    return Guess(float(shares.max()), float(shares @ np.log(1 / shares)), float(1 - shares @ shares))


@dataclass(frozen=True)
class Answer:
    """The answer to the question whether augmentation helps.

    ``difference``: in accuracy, augmented less original; of one trial it is about its two models only.
    """

    verdict: Verdict
    difference: Estimate
    margin: float
    trials: int
    photos: int  # distinct test photos
    trials_needed: int | None
    photos_needed: int | None


def answer_question(study: Study, margin: float) -> Answer:
    """Compare the arms. One trial never settles it: it cannot show how much trials differ."""
    gains = study.gains
    difference, trials = estimate_difference(gains), len(study.trials)
    verdict = decide(difference.interval, margin) if trials > 1 else "cannot tell"
    settled = verdict != "cannot tell"
    if trials == 1:
        discordant = int(np.abs(np.nan_to_num(gains)).sum())
        # a difference as large as the margin takes at least that share of discordant photos
        discordance = max((discordant + 1) / (gains.size + 2), margin)
        photos_needed: int | None = find_pairs_needed(discordance, margin)
    else:
        photos_needed = None if settled else find_photos_needed(gains, margin)
    return Answer(
        verdict=verdict,
        difference=difference,
        margin=margin,
        trials=trials,
        photos=gains.shape[1],
        trials_needed=None if settled or trials == 1 else find_trials_needed(gains, margin),
        photos_needed=photos_needed,
    )


def estimate_difference(gains: Values) -> Estimate:
    """Mean of gains (1, 0, -1 or NaN) `[T, N]`: of one trial Tango's interval and McNemar's mid-p."""
    if len(gains) > 1:
        found = estimate_mean(gains)
        return Estimate(found.mean, _clip(found.interval, -1, 1), found.p)
    b, c = int((gains > 0).sum()), int((gains < 0).sum())
    n = int(np.isfinite(gains).sum())
    return Estimate((b - c) / n, compute_tango_interval(b, c, n), compute_mcnemar_midp(b, c))


def estimate_share(right: Values) -> tuple[float, Interval]:
    """Share of right answers (1, 0 or NaN) `[T, N]`: of one trial Wilson's interval."""
    if len(right) > 1:
        found = estimate_mean(right)
        return found.mean, _clip(found.interval, 0, 1)
    n, count = int(np.isfinite(right).sum()), int(np.nansum(right))
    return count / n, compute_wilson_interval(count, n)


def _clip(interval: Interval, low: float, high: float) -> Interval:
    return Interval(max(interval.low, low), min(interval.high, high))


def compute_comparison(study: Study, answer: Answer) -> dict[str, Any]:
    """The few numbers that `dvc metrics diff` shows: means over trials, the difference and the verdict."""
    difference = answer.difference
    return {
        "source": study.photos["source"].iloc[0],
        "trials": answer.trials,
        "test_photos": answer.photos,
        **{arm: {key: _round(fmean(trial[key] for trial in study.metrics[arm])) for key in HEADLINE} for arm in ARMS},
        "difference": {
            "accuracy": _round(difference.mean),
            "low": _round(difference.interval.low),
            "high": _round(difference.interval.high),
            "p": _round(difference.p),
        },
        "verdict": answer.verdict,
    }


def _round(value: float) -> float:
    return round(value, 6)


def tabulate_trials(study: Study) -> pd.DataFrame:
    """One row per trial: photos right, those that only one arm got right, and what this pair of models shows."""
    rows = []
    for index, trial in enumerate(study.trials):
        tested = study.gains[index : index + 1]
        b, c = study.count_discordant(index)
        right = {arm: int(np.nansum(study.right[arm][index])) for arm in ARMS}
        photos = int(np.isfinite(tested).sum())
        counts = {"trial": trial, "photos": photos, **right, "only_augmented": b, "only_original": c}
        rows.append({**counts, "difference": estimate_difference(tested)})
    return pd.DataFrame(rows)


def tabulate_robustness(study: Study) -> pd.DataFrame:
    """One row per operation, and one for the photos as they are: accuracy of each arm and their difference.

    P-values are adjusted over the operations (Holm); the photos as they are belong to no family and have none here.
    """
    table = study.robustness
    cases = {"none": study.right} | {
        name: {arm: spread(rows, rows[arm] == rows["target"]) for arm in ARMS}
        for name, rows in table.groupby("operation", sort=False)
    }
    if len(cases) == 1:
        return pd.DataFrame()
    found = pd.DataFrame(
        {
            "operation": cases.keys(),
            **{arm: [estimate_share(right[arm]) for right in cases.values()] for arm in ARMS},
            "difference": [estimate_difference(right["augmented"] - right["original"]) for right in cases.values()],
        }
    )
    adjusted = adjust_holm([difference.p for difference in found["difference"][1:]])
    return found.assign(p=[np.nan, *adjusted])


def tabulate_classes(study: Study) -> pd.DataFrame:
    """One row per class: test photos, recall of each arm and its interval."""
    targets = study.answers["original"].groupby("path")["target"].first().sort_index()
    rows = []
    for name in study.class_names:
        own = (targets == name).to_numpy()
        tested = {arm: _keep_tested(study.right[arm][:, own]) for arm in ARMS}
        shares = {arm: estimate_share(right) if right.size else None for arm, right in tested.items()}
        rows.append({"class": name, "photos": int(own.sum()), **shares})
    return pd.DataFrame(rows)


def _keep_tested(values: Values) -> Values:
    """Without the trials that have no photo of a class."""
    return values[np.isfinite(values).any(axis=1)]


def compare_losses(study: Study) -> pd.DataFrame:
    """Log loss and Brier score: mean of each arm and, of several trials, the difference; p-values adjusted (Holm).

    ``guess``: the score of always giving the shares of the classes.
    """
    guess = compute_guess(study.answers["original"]["target"])
    losses = {arm: compute_losses(table, study.class_names) for arm, table in study.answers.items()}
    rows = []
    for key, label in {"log_loss": "log loss", "brier": "Brier score"}.items():
        sides = {arm: spread(study.answers[arm], losses[arm][key]) for arm in ARMS}
        gaps = sides["augmented"] - sides["original"]
        difference = estimate_mean(gaps, bound=0) if len(gaps) > 1 else None
        means = {arm: float(np.nanmean(values)) for arm, values in sides.items()}
        rows.append({"score": label, **means, "guess": getattr(guess, key), "difference": difference})
    table = pd.DataFrame(rows)
    if table["difference"].notna().all():
        table["p"] = adjust_holm([difference.p for difference in table["difference"]])
    return table


def compare_calibration(study: Study) -> dict[str, tuple[pd.DataFrame, float]]:
    """Per arm the calibration curve and the expected calibration error, over all answers."""
    curves = {arm: compute_calibration(table, study.class_names) for arm, table in study.answers.items()}
    return {arm: (curve, compute_calibration_error(curve)) for arm, curve in curves.items()}
