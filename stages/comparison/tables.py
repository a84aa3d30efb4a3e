"""The report's tables, as text: once for the page and the report in git."""

from stages.comparison.cells import Table, collect, compare, format_estimate, format_p, format_share, format_span
from stages.comparison.statistics import Estimate
from stages.comparison.study import ARMS, Study
from stages.comparison.summary import (
    compare_calibration,
    compare_losses,
    tabulate_classes,
    tabulate_robustness,
    tabulate_trials,
)
from stages.comparison.textbook import (
    bootstrap_interval,
    compute_corrected_t_interval,
    compute_sign_flip_floor,
    compute_sign_flip_p,
)
from stages.comparison.words import format_points, format_signed

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


def list_work(study: Study) -> Table:
    """How long each arm was trained."""
    keys = {"train images": "train_images", "optimizer steps": "steps", "image presentations": "samples_seen"}
    rows = [[arm, *(format_span(collect(study.metrics, arm, key)) for key in keys.values())] for arm in ARMS]
    return Table(["arm", *keys], rows)


def list_scores(study: Study) -> Table:
    """Every score of both arms."""
    n, names = len(study.trials), study.class_names
    rows = [[label, *compare(study.metrics, key)] for label, key in SCORES.items()]
    spread = (
        f"Mean ± standard deviation over {n} trials: the spread of single trials, also beside a difference, not the "
        "uncertainty of the mean."
    )
    notes = [
        spread if n > 1 else "One trial, so there is no spread to show.",
        f"Precision, recall and F1 are those of {names[1]}, the positive class."
        if len(names) == 2
        else f"Precision, recall and F1 are macro averages over the {len(names)} classes.",
        "A class that a model never answers counts as precision and F1 of 0." if _is_one_sided(study) else "",
        "n/a: a trial tests no photo of some class." if any("n/a" in row for row in rows) else "",
    ]
    return Table(["metric", *ARMS, "difference"], rows, note=" ".join(filter(None, notes)))


def _is_one_sided(study: Study) -> bool:
    """Whether some model gives some class as no answer."""
    given = [table.groupby("trial")["pred"].nunique() for table in study.answers.values()]
    return min(counts.min() for counts in given) < len(study.class_names)


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
    note = (
        "In brackets: 95 % interval for two models on the same photos (Tango's). p: McNemar's test, which looks at the "
        "photos that only one of the two got right (mid-p: the chance of exactly what was seen counts by half)."
    )
    if len(rows) > 1:
        note = "The difference of a single trial is about its two models; only all trials say something about " + (
            f"augmentation. {note}"
        )
    return Table(["trial", "photos", *right, *only, "difference, points", "McNemar p"], rows, note=note)


def list_methods(study: Study, difference: Estimate) -> Table | None:
    """How the verdict's ``difference`` was tested, and what the textbook's methods make of it; None of one trial."""
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
    degrees = f"{len(gains) - 1} degree{'s' * (len(gains) > 2)} of freedom"
    note = (
        "The verdict's interval is the wider of two: by two-way clusters (answers of one trial go together, and so do "
        f"answers for one photo; Student's t with {degrees}), and by the photos alone, as if a few more had gone "
        "one way and the other, so that few photos, all alike, never claim certainty. Its p, the larger of the two "
        f"tests, is {format_p(difference.p)}. The textbook's methods, for comparison, are below. All trials share one "
        "data set: read the corrected t when the question is about training on another one, above all when the arms "
        "learn different things from the same photos."
    )
    return Table(["method", "result"], rows, note=note)


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
    note = f"In brackets: {name_interval(study)}."
    if any("n/a" in row for row in rows):
        note += " n/a: no trial tests a photo of this class."
    return Table(["class", "photos", *(f"found by {arm}, %" for arm in ARMS)], rows, note=note)


def name_interval(study: Study) -> str:
    """The interval of a share, by the number of trials."""
    return "95 % interval " + ("(Wilson's, of one share)" if len(study.trials) == 1 else "(made as the verdict's)")


def list_robustness(study: Study) -> Table | None:
    """Accuracy under each operation; None where it was not tested."""
    found = tabulate_robustness(study)
    if found.empty:
        return None
    rows = [
        [
            "as they are" if row["operation"] == "none" else row["operation"].replace("_", " "),
            *(format_share(row[arm]) for arm in ARMS),
            format_estimate(row["difference"]),
            "–" if row["operation"] == "none" else format_p(row["p"]),
        ]
        for row in found.to_dict("records")
    ]
    header = ["test photos", *(f"{arm}, %" for arm in ARMS), "difference, points", "p (Holm)"]
    note = (
        f"In brackets: 95 % interval. p: adjusted over the family of {len(rows) - 1} operations (Holm), to which the "
        "first row does not belong."
    )
    return Table(header, rows, note=note)


def list_losses(study: Study) -> Table:
    """How good the probabilities are; less is better in all of them."""
    rows = []
    for row in compare_losses(study).to_dict("records"):
        difference, p = row["difference"], "–"
        gap = format_signed(row["augmented"] - row["original"], 4)
        if difference is not None:
            ends = (format_signed(end, 4) for end in (difference.interval.low, difference.interval.high))
            gap, p = f"{gap} ({' to '.join(ends)})", format_p(row["p"])
        rows.append([row["score"], *(f"{row[side]:.4f}" for side in (*ARMS, "guess")), gap, p])
    errors = {arm: error for arm, (_, error) in compare_calibration(study).items()}
    gap = format_signed(errors["augmented"] - errors["original"], 4)
    rows.append(["expected calibration error", *(f"{errors[arm]:.4f}" for arm in ARMS), f"{0:.4f}", gap, "–"])
    several = len(study.trials) > 1
    note = "Guessing: always giving each class its share of the test photos. " + (
        "In brackets: 95 % interval. p: adjusted for two tests (Holm); the calibration error, one number over all "
        "answers, is not tested."
        if several
        else "One trial shows no interval and no p."
    )
    return Table(["less is better", *ARMS, "guessing", "difference", "p (Holm)"], rows, note=note)


def list_models(study: Study) -> Table:
    """Every model by its SHA-256, by which the tracking store finds the run that made it."""
    rows = [
        [str(trial), arm, study.metrics[arm][index]["model_sha256"]]
        for index, trial in enumerate(study.trials)
        for arm in ARMS
    ]
    return Table(["trial", "arm", "model (SHA-256)"], rows, names=3)
