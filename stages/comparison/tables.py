"""The report's tables, as text: once for the page and the report in git."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from statistics import fmean, stdev
from typing import Any, cast

from stages.comparison.statistics import (
    Estimate,
    Interval,
    bootstrap_interval,
    compute_corrected_t_interval,
    compute_sign_flip_floor,
    compute_sign_flip_p,
)
from stages.comparison.study import ARMS, Metrics, Study
from stages.comparison.summary import (
    compare_calibration,
    compare_losses,
    tabulate_classes,
    tabulate_robustness,
    tabulate_trials,
)
from stages.comparison.words import format_points

SCORES = {
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "macro F1": "macro_f1",
    "weighted F1": "weighted_f1",
    "ROC AUC": "roc_auc",
    "log loss (less is better)": "log_loss",
}

# The two lab reports' published numbers: 000 gives weighted averages, 002 those of the class dogs
LABS = {
    ("weighted", "original", "report 000"): ["0.4643", "0.4067", "0.4643", "0.3665"],
    ("weighted", "augmented", "report 000"): ["0.5000", "0.5000", "0.5000", "0.4556"],
    ("dogs", "original", "report 002"): ["0.5714", "0.5714", "0.5714", "0.5714"],
    ("dogs", "augmented", "report 002"): ["0.6071", "0.5789", "0.7857", "0.6667"],
}


@dataclass(frozen=True)
class Table:
    """Cells as text. The first ``names`` columns hold names, the others numbers."""

    header: list[str]
    rows: list[list[str]]
    names: int = 1


def format_estimate(estimate: Estimate) -> str:
    """A difference of fractions in points, with its interval: ``+1.2 (-3.1 to +5.5)``."""
    return f"{100 * estimate.mean:+.1f} ({format_points(estimate.interval)})"


def format_share(share: tuple[float, Interval] | None) -> str:
    """A fraction in percent, with its interval: ``52.1 (43.9 to 60.3)``."""
    if share is None:
        return "n/a"
    mean, interval = share
    return f"{100 * mean:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def format_span(values: Iterable[float]) -> str:
    """``40``, or ``38 to 40`` where trials differ."""
    low, high = min(values := list(values)), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def format_p(p: float) -> str:
    """Three digits, and no p-value of zero."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def collect(metrics: Metrics, arm: str, *keys: str) -> list[Any]:
    """One value, found by nested ``keys``, of every trial of an arm."""
    return [reduce(getitem, keys, cast(Any, trial)) for trial in metrics[arm]]


def compare(metrics: Metrics, *keys: str) -> list[str]:
    """A value of both arms, ready to print: original, augmented, difference.

    Each is a mean ± standard deviation over trials, the mean alone of one trial, n/a when a trial has no value.
    """
    original, augmented = (collect(metrics, arm, *keys) for arm in ARMS)
    if None in original + augmented:
        return ["n/a"] * 3
    gains = [a - o for o, a in zip(original, augmented, strict=True)]
    return [
        f"{fmean(values):{form}}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")
        for values, form in ((original, ".4f"), (augmented, ".4f"), (gains, "+.4f"))
    ]


def list_work(study: Study) -> Table:
    """How long each arm was trained."""
    keys = {"train images": "train_images", "optimizer steps": "steps", "image presentations": "image_presentations"}
    rows = [[arm, *(format_span(collect(study.metrics, arm, key)) for key in keys.values())] for arm in ARMS]
    return Table(["arm", *keys], rows)


def list_scores(study: Study) -> Table:
    """Every score of both arms."""
    return Table(
        ["metric", *ARMS, "difference"], [[label, *compare(study.metrics, key)] for label, key in SCORES.items()]
    )


def list_trials(study: Study) -> Table:
    """What each pair of models did on its test photos."""
    rows = [
        [
            *(str(row[key]) for key in ("trial", "photos", *ARMS, "only_original", "only_augmented")),
            format_estimate(row["difference"]),
            format_p(row["difference"].p),
        ]
        for row in tabulate_trials(study).to_dict("records")
    ]
    right = [f"{arm} right" for arm in ARMS]
    only = [f"only {arm} right" for arm in ARMS]
    return Table(["trial", "photos", *right, *only, "difference, points", "McNemar p"], rows)


def list_methods(study: Study) -> Table | None:
    """What the textbook's methods make of the same trials; None of one trial."""
    gains = study.gains
    if len(gains) == 1:
        return None
    train_photos = int((study.split["split"] == "train").sum())
    flips = compute_sign_flip_p(gains_of_trials(study))
    floor = compute_sign_flip_floor(len(gains))
    rows = [
        ["crossed bootstrap over trials and photos", f"{format_points(bootstrap_interval(gains))} points"],
        [
            "corrected t of Nadeau and Bengio",
            f"{format_points(compute_corrected_t_interval(gains, train_photos))} points",
        ],
        [
            "signs of the trials flipped",
            f"p = {format_p(flips)}; {len(gains)} trials cannot give less than {floor:.2g}",
        ],
    ]
    return Table(["method", "result"], rows)


def gains_of_trials(study: Study) -> list[float]:
    """The difference in accuracy of each trial."""
    return [row["difference"].mean for row in tabulate_trials(study).to_dict("records")]


def list_class_scores(study: Study) -> Table:
    """Precision, recall and F1 of every class."""
    rows = [
        [
            name,
            f"{sum(collect(study.metrics, 'original', 'per_class', name, 'support')):,}",
            label,
            *compare(study.metrics, "per_class", name, measure),
        ]
        for name in study.class_names
        for measure, label in {"precision": "precision", "recall": "recall", "f1": "F1"}.items()
    ]
    return Table(["class", "test answers", "measure", *ARMS, "difference"], rows)


def list_recalls(study: Study) -> Table:
    """Of each class the share that was found, with intervals."""
    rows = [
        [row["class"], f"{row['photos']:,}", *(format_share(row[arm]) for arm in ARMS)]
        for row in tabulate_classes(study).to_dict("records")
    ]
    return Table(["class", "photos", *(f"found by {arm}, %" for arm in ARMS)], rows)


def list_robustness(study: Study) -> Table | None:
    """Accuracy under each operation; None where it was not tested."""
    found = tabulate_robustness(study)
    rows = [
        [
            "as they are" if row["operation"] == "none" else row["operation"].replace("_", " "),
            *(format_share(row[arm]) for arm in ARMS),
            format_estimate(row["difference"]),
            format_p(row["p"]),
        ]
        for row in found.to_dict("records")
    ]
    header = ["test photos", *(f"{arm}, %" for arm in ARMS), "difference, points", "p (Holm)"]
    return Table(header, rows) if rows else None


def list_losses(study: Study) -> Table:
    """How good the probabilities are; less is better in all of them."""
    rows = []
    for row in compare_losses(study).to_dict("records"):
        difference, p = row["difference"], "n/a"
        gap = f"{row['augmented'] - row['original']:+.4f}"
        if difference is not None:
            gap = f"{gap} ({difference.interval.low:+.4f} to {difference.interval.high:+.4f})"
            p = format_p(row["p"])
        rows.append([row["score"], *(f"{row[arm]:.4f}" for arm in ARMS), gap, p])
    errors = {arm: error for arm, (_, error) in compare_calibration(study).items()}
    gap = f"{errors['augmented'] - errors['original']:+.4f}"
    rows.append(["expected calibration error", *(f"{errors[arm]:.4f}" for arm in ARMS), gap, "n/a"])
    return Table(["less is better", *ARMS, "difference", "p (Holm)"], rows)


def list_labs(study: Study) -> Table | None:
    """The labs' published numbers beside means of the same kind; None of other photos."""
    if study.class_names != ["cats", "dogs"] or study.is_sample:
        return None
    rows = []
    for (averages, arm, source), published in LABS.items():
        prefix = "weighted_" if averages == "weighted" else ""
        keys = ["accuracy", f"{prefix}precision", f"{prefix}recall", f"{prefix}f1"]
        rows.append([averages, arm, source, *published])
        ours = [f"{fmean(collect(study.metrics, arm, key)):.4f}" for key in keys]
        rows.append([averages, arm, "this run", *ours])
    return Table(["averages", "arm", "from", "accuracy", "precision", "recall", "F1"], rows, names=3)


def list_models(study: Study) -> Table:
    """Every model by its SHA-256, by which the tracking store finds the run that made it."""
    rows = [
        [str(trial), arm, study.metrics[arm][index]["model_sha256"]]
        for index, trial in enumerate(study.trials)
        for arm in ARMS
    ]
    return Table(["trial", "arm", "model (SHA-256)"], rows, names=3)
