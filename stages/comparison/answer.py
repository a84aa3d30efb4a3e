"""The answer to the question whether augmentation helps, in numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from stages.comparison.looks import Look, compute_levels, take_looks
from stages.comparison.one_trial import (
    compute_design_effect,
    compute_mcnemar_midp,
    compute_tango_interval,
    compute_wilson_interval,
)
from stages.comparison.power import (
    count_least_photos,
    find_detectable,
    find_pairs_needed,
    find_photos_needed,
    find_trials_needed,
)
from stages.comparison.statistics import (
    LEVEL,
    Estimate,
    Groups,
    Interval,
    Values,
    Verdict,
    decide,
    estimate_mean,
)
from stages.comparison.study import ARMS, Study

HEADLINE = ["accuracy", "macro_f1", "weighted_f1", "log_loss"]


@dataclass(frozen=True)
class Baseline:
    """What is reached without looking at a photo.

    ``accuracy``: of always predicting the most common class. ``log_loss`` (nats), ``brier``, ``p_true`` (the mean
    probability of the true class): of always predicting each class with its share as its probability; with C classes of
    equal size ln C, 1 - 1/C and 1/C.
    """

    accuracy: float
    log_loss: float
    brier: float
    p_true: float


def compute_baseline(targets: "pd.Series[str]") -> Baseline:
    """From the classes of the test photos."""
    shares = targets.value_counts(normalize=True).to_numpy()
    alike = float(shares @ shares)
    return Baseline(float(shares.max()), float(shares @ np.log(1 / shares)), 1 - alike, alike)


@dataclass(frozen=True)
class Answer:
    """``difference``: in accuracy, augmented less original; of one trial it is about its two models only.

    ``photos``: distinct test photos. ``trials_needed``, ``photos_needed``: what would settle an open question.
    ``detectable``: the true difference that would be found with a probability of about 80 %; of one trial None.
    ``room``: the gain that the original arm leaves, as it was wrong on that share of the predictions.
    ``photos_least``: those below which *no practical difference* is out of reach, in the plan's last look.
    ``plan``: the numbers of trials at which looks are planned, empty without a plan; ``looks``: those taken.
    """

    verdict: Verdict
    difference: Estimate
    margin: float
    trials: int
    photos: int
    trials_needed: int | None
    photos_needed: int | None
    photos_least: int = 0
    detectable: float | None = None
    room: float = 1.0
    plan: Sequence[int] = ()
    looks: Sequence[Look] = ()

    @property
    def level(self) -> float:
        """Of the difference's interval."""
        return self.looks[-1].level if self.looks else LEVEL


def answer_question(study: Study, margin: float, plan: Sequence[int] | None = None) -> Answer:
    """Compare the arms. One trial never settles it: it cannot show how much trials vary.

    ``plan``: as in `Answer`; it has as many trials as the study, and then the last look's interval.
    """
    gains, groups = study.gains, study.groups
    looks = take_looks(gains, plan, margin, groups) if plan else []
    difference = looks[-1].difference if looks else estimate_difference(gains, groups)
    trials = len(study.trials)
    verdict = decide(difference.interval, margin) if trials > 1 else "cannot tell"
    settled = verdict != "cannot tell"
    if trials == 1:
        discordant = int(np.abs(np.nan_to_num(gains)).sum())
        # a difference as large as the margin takes at least that share of discordant photos
        discordance = max((discordant + 1) / (gains.size + 2), margin)
        pairs = find_pairs_needed(discordance, margin)
        photos_needed: int | None = math.ceil(pairs * compute_design_effect(gains, groups))
    else:
        photos_needed = None if settled else find_photos_needed(gains, margin, groups)
    return Answer(
        verdict=verdict,
        difference=difference,
        margin=margin,
        trials=trials,
        photos=gains.shape[1],
        trials_needed=None if settled or trials == 1 else find_trials_needed(gains, margin, groups),
        photos_needed=photos_needed,
        photos_least=count_least_photos(margin, compute_levels(plan)[-1] if plan else LEVEL),
        detectable=find_detectable(gains, looks[-1].level if looks else LEVEL, groups) if trials > 1 else None,
        room=1 - float(np.nanmean(study.correct["original"])),
        plan=plan or (),
        looks=looks,
    )


def estimate_difference(gains: Values, groups: Groups | None) -> Estimate:
    """Mean of gains (1, 0, -1 or NaN) `[T, N]`: of one trial Tango's interval and McNemar's mid-p."""
    if len(gains) > 1:
        found = estimate_mean(gains, groups=groups)
        return Estimate(found.mean, _clip(found.interval, -1, 1), found.p)
    b, c = int((gains > 0).sum()), int((gains < 0).sum())
    n, effect = int(np.isfinite(gains).sum()), compute_design_effect(gains, groups)
    return Estimate((b - c) / n, compute_tango_interval(b, c, n, effect), compute_mcnemar_midp(b, c, effect))


def estimate_share(correct: Values, groups: Groups | None) -> tuple[float, Interval]:
    """Share of correct predictions (1, 0 or NaN) `[T, N]`: of one trial Wilson's interval."""
    if len(correct) > 1:
        found = estimate_mean(correct, groups=groups)
        return found.mean, _clip(found.interval, 0, 1)
    n, count = int(np.isfinite(correct).sum()), int(np.nansum(correct))
    return count / n, compute_wilson_interval(count, n, compute_design_effect(correct, groups))


def name_interval(study: Study) -> str:
    """The interval of a share, by the number of trials."""
    return "95 % interval " + ("(Wilson's, of one share)" if len(study.trials) == 1 else "(computed as the verdict's)")


def _clip(interval: Interval, low: float, high: float) -> Interval:
    return Interval(max(interval.low, low), min(interval.high, high))


def compute_comparison(study: Study, answer: Answer) -> dict[str, Any]:
    """The few numbers that `dvc metrics diff` shows: means over trials, the difference and the verdict."""
    difference = answer.difference
    return {
        "source": study.first.source,
        "trials": answer.trials,
        "test_photos": answer.photos,
        **{
            arm: {key: round(fmean(getattr(each, key) for each in study.records[arm]), 6) for key in HEADLINE}
            for arm in ARMS
        },
        "difference": {
            "accuracy": round(difference.mean, 6),
            "low": round(difference.interval.low, 6),
            "high": round(difference.interval.high, 6),
            "p": round(difference.p, 6),
            **({"level": round(answer.level, 6)} if answer.plan else {}),
        },
        "verdict": answer.verdict,
    }
