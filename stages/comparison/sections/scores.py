"""Every score of both arms, and of each class."""

from collections.abc import Callable
from operator import attrgetter
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd

from stages.comparison.answer import estimate_share, name_interval
from stages.comparison.blocks import Details, Section, Table
from stages.comparison.format import format_share, format_signed
from stages.comparison.sections import confusion
from stages.comparison.statistics import Values
from stages.comparison.study import ARMS, Study
from stages.evaluation.record import EvaluationRecord

SCORES = {
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "macro F1": "macro_f1",
    "weighted F1": "weighted_f1",
    "ROC AUC": "roc_auc",
    "log loss (lower is better)": "log_loss",
}
MEASURES = {"precision": "precision", "recall": "recall", "f1": "F1"}
MANY = 40  # classes beyond which only those at both ends are listed


def build(study: Study) -> Section:
    """All scores, then the classes: of many only those whose recall changed most."""
    classes = compare_classes(study)
    return Section(
        "Scores",
        [
            tabulate_scores(study),
            confusion.build(study),
            tabulate_recalls(study, classes),
            Details("Precision, recall and F1 of every class", [tabulate_class_scores(study, classes)]),
        ],
    )


def compare_scores(study: Study, get: Callable[[EvaluationRecord], Any]) -> list[str]:
    """A score of both arms, ready to print: original, augmented, difference.

    Each is a mean ± standard deviation over trials, the mean alone of one trial, n/a when a trial has no value.
    """
    original, augmented = ([get(record) for record in study.records[arm]] for arm in ARMS)
    pairs = [(o, a) for o, a in zip(original, augmented, strict=True) if o is not None and a is not None]
    if len(pairs) < len(original):
        return ["n/a"] * 3
    columns = [*zip(*pairs, strict=True), [a - o for o, a in pairs]]
    means = [f"{fmean(columns[0]):.4f}", f"{fmean(columns[1]):.4f}", format_signed(fmean(columns[2]), 4)]
    spreads = [f" ± {stdev(values):.4f}" if len(pairs) > 1 else "" for values in columns]
    return [mean + spread for mean, spread in zip(means, spreads, strict=True)]


def tabulate_scores(study: Study) -> Table:
    """Every score of both arms."""
    n, names = len(study.trials), study.class_names
    rows = [[label, *compare_scores(study, attrgetter(key))] for label, key in SCORES.items()]
    spread = (
        f"Mean ± standard deviation over {n} trials: the spread of single trials, also beside a difference, not the "
        "uncertainty of the mean."
    )
    notes = [
        spread if n > 1 else "One trial, so there is no spread to show.",
        f"Precision, recall and F1 are those of {names[1]}, the positive class."
        if len(names) == 2
        else f"Precision, recall and F1 are macro averages over the {len(names):,} classes.",
        "A class that a model never predicts counts as precision and F1 of 0." if _never_predicts(study) else "",
        "n/a: a trial tests no photo of some class." if any("n/a" in row for row in rows) else "",
    ]
    return Table(["metric", *ARMS, "difference"], rows, note=" ".join(filter(None, notes)))


def _never_predicts(study: Study) -> bool:
    """Whether some model never predicts some class."""
    predicted = [table.groupby("trial")["pred"].nunique() for table in study.predictions.values()]
    return min(counts.min() for counts in predicted) < len(study.class_names)


def compare_classes(study: Study) -> pd.DataFrame:
    """One row per class: test photos, recall of each arm and its interval (None without test photos)."""
    targets = study.predictions["original"].groupby("path")["target"].first().sort_index()
    rows = []
    for name in study.class_names:
        own = (targets == name).to_numpy()
        tested = {arm: _keep_tested(study.correct[arm][:, own]) for arm in ARMS}
        groups = None if study.groups is None else study.groups[own]
        shares = {arm: estimate_share(correct, groups) if correct.size else None for arm, correct in tested.items()}
        rows.append({"class": name, "photos": int(own.sum()), **shares})
    return pd.DataFrame(rows)


def _keep_tested(values: Values) -> Values:
    """Without the trials that have no photo of a class."""
    return values[np.isfinite(values).any(axis=1)]


def select_classes(classes: pd.DataFrame) -> pd.DataFrame:
    """All classes, or of many those whose recall rose and fell most, among those that a trial tests."""
    if len(classes) <= MANY:
        return classes
    tested = classes[classes["original"].notna()]
    rises = [after[0] - before[0] for before, after in zip(tested["original"], tested["augmented"], strict=True)]
    ordered = tested.iloc[np.argsort(-np.array(rises), kind="stable")]
    return ordered if len(ordered) <= MANY else pd.concat([ordered.head(MANY // 2), ordered.tail(MANY // 2)])


def tabulate_recalls(study: Study, classes: pd.DataFrame) -> Table:
    """Recall of each class, with intervals."""
    shown = select_classes(classes)
    rows = [
        [row["class"], f"{row['photos']:,}", *(format_share(row[arm]) for arm in ARMS)]
        for row in shown.to_dict("records")
    ]
    note = f"In brackets: {name_interval(study)}."
    if any("n/a" in row for row in rows):
        note += " n/a: no trial tests a photo of this class."
    if len(shown) < len(classes):
        half = f"The {MANY // 2} classes whose recall rose most and the {MANY // 2} whose recall fell most"
        which = half if len(shown) == MANY else "The classes with test photos"
        note = f"{which}, of {len(classes):,}; metrics/classes.csv has all. {note}"
    return Table(["class", "photos", *(f"recall, {arm}, %" for arm in ARMS)], rows, note=note)


def tabulate_class_scores(study: Study, classes: pd.DataFrame) -> Table:
    """Precision, recall and F1 of every class; of many, of those in the table of recalls."""

    def compare(name: str, measure: str) -> list[str]:
        return compare_scores(study, lambda record: float(getattr(record.per_class[name], measure)))

    rows = [
        [name, f"{count_predictions(study, name):,}", label, *compare(name, measure)]
        for name in select_classes(classes)["class"]
        for measure, label in MEASURES.items()
    ]
    return Table(["class", "predictions", "measure", *ARMS, "difference"], rows)


def count_predictions(study: Study, name: str) -> int:
    """Test photos of a class, counted once a trial."""
    return sum(record.per_class[name].support for record in study.records["original"])


def list_classes(study: Study) -> pd.DataFrame:
    """metrics/classes.csv: one row per class, its predictions, and the means over trials of each arm's measures."""

    def average(arm: str, name: str, measure: str) -> float:
        return round(fmean(getattr(record.per_class[name], measure) for record in study.records[arm]), 6)

    return pd.DataFrame(
        [
            {"class": name, "predictions": count_predictions(study, name)}
            | {f"{arm}/{measure}": average(arm, name, measure) for measure in MEASURES for arm in ARMS}
            for name in study.class_names
        ]
    )
