"""Every trial by itself, and how textbook methods see all of them."""

import numpy as np
import pandas as pd

from stages.comparison.answer import estimate_difference
from stages.comparison.blocks import Section, Table
from stages.comparison.format import format_estimate, format_p, format_points
from stages.comparison.statistics import LEVEL, Estimate
from stages.comparison.study import ARMS, Study
from stages.comparison.textbook import (
    RANDOM_SIGNS,
    bootstrap_interval,
    compute_corrected_t_interval,
    compute_sign_flip_floor,
    compute_sign_flip_p,
)


def build(study: Study, difference: Estimate, *, given: bool = False) -> Section:
    """A table of trials and, of several, one of methods. ``given``: all trials train and test on the same photos."""
    found = compare_trials(study)
    methods = [tabulate_methods(study, difference, found, given=given)] if len(study.trials) > 1 else []
    return Section("Every trial", [tabulate_trials(found), *methods])


def compare_trials(study: Study) -> pd.DataFrame:
    """One row per trial: correct predictions, those of only one arm, and what this pair of models shows."""
    rows = []
    for index, trial in enumerate(study.trials):
        tested = study.gains[index : index + 1]
        b, c = study.count_discordant(index)
        correct = {arm: int(np.nansum(study.correct[arm][index])) for arm in ARMS}
        counts = {"trial": trial, "photos": int(np.isfinite(tested).sum()), **correct}
        difference = estimate_difference(tested, study.groups)
        rows.append(counts | {"only_original": c, "only_augmented": b, "difference": difference})
    return pd.DataFrame(rows)


def tabulate_trials(found: pd.DataFrame) -> Table:
    """What each pair of models did on its test photos."""
    rows = [
        [
            *(str(row[key]) for key in ("trial", "photos", *ARMS, "only_original", "only_augmented")),
            format_estimate(row["difference"]),
            format_p(row["difference"].p),
        ]
        for row in found.to_dict("records")
    ]
    header = ["trial", "photos", *(f"{arm} correct" for arm in ARMS), *(f"only {arm} correct" for arm in ARMS)]
    note = (
        "In brackets: 95 % interval for two models on the same photos (Tango's). p: McNemar's test, which looks at the "
        "photos on which exactly one of the two was correct (mid-p: the probability of exactly what was seen counts "
        "by half). pp: percentage points."
    )
    if any(each.p >= 1 - LEVEL and not each.interval.contains(0) for each in found["difference"]):
        note += (
            " An interval that excludes 0 can stand beside a p above 0.05: they are different methods, a score "
            "interval and an exact test, which is the more cautious where the two models differ on few photos."
        )
    if len(rows) > 1:
        note = (
            "The difference of a single trial is about its two models; only all trials say something about "
            f"augmentation. {note}"
        )
    return Table([*header, "difference, pp", "McNemar p"], rows, note=note)


def tabulate_methods(study: Study, difference: Estimate, found: pd.DataFrame, *, given: bool) -> Table:
    """How the verdict's ``difference`` was tested, and what the textbook's methods make of several trials.

    The corrected t allows for train sets that overlap; where all are the same one, no method knows of others.
    """
    gains = study.gains
    flips = compute_sign_flip_p([each.mean for each in found["difference"]])
    corrected = compute_corrected_t_interval(gains, int(study.counts["train"].sum()))
    sampled = 2 ** len(gains) > RANDOM_SIGNS
    rows = [
        [
            "crossed bootstrap over trials and photos",
            f"{format_points(bootstrap_interval(gains, groups=study.groups))} pp",
        ],
        *([] if given else [["corrected t of Nadeau and Bengio", f"{format_points(corrected)} pp"]]),
        [
            "sign-flip permutation test over trials",
            f"p = {format_p(flips)}; {len(gains)} trials cannot give less than "
            f"{compute_sign_flip_floor(len(gains)):.2g}{f' with {RANDOM_SIGNS:,} random signs' * sampled}",
        ],
    ]
    others = (
        "All trials share one train set: no method here says how training on other photos would differ."
        if given
        else "All trials share one dataset. That matters where the arms learn different things from the same photos, "
        "as two different networks would: there the corrected t is the one to read."
    )
    degrees = f"{len(gains) - 1} degree{'s' * (len(gains) > 2)} of freedom"
    note = (
        "The verdict's interval is the widest of three around the same mean: across trials, by two-way clusters "
        "(predictions of one trial are correlated, and so are predictions for one photo; Student's t with "
        f"{degrees}; as long as no photo is tested twice, it is the paired t); across photos alone, as if a few more "
        "had gone one way and the other (normal distribution); and Tango's, as if nothing had happened on any photo, "
        "so that few photos, all alike, never claim certainty. Its p is the larger of the t test's across trials and "
        f"the z test's across photos: {format_p(difference.p)}. The textbook's methods are for comparison: the "
        "bootstrap assumes no distribution, and is too narrow with few trials or few photos; the permutation test "
        f"looks at the trials alone, and assumes only that each might as well have gone the other way. {others}"
    )
    return Table(["method", "result"], rows, names=2, note=note)
