"""What the earlier stages made of all trials, read and checked: the report's only source beside its photographs."""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.comparison.statistics import Groups, Values
from stages.evaluation.predictions import PredictionTable, RobustnessTable, get_predictions_path
from stages.evaluation.record import EvaluationRecord, get_metrics_path
from stages.model.record import HistoryTable, get_history_path
from stages.photos.manifest import PHOTOS, SIDES, CopyTable, PhotoTable, QuarantineTable, SplitTable
from stages.runtime.errors import UserError

ARMS = ("original", "augmented")


@dataclass(frozen=True)
class Study:
    """Lists and lists in dicts have one element per trial, in the order of params.

    ``photos``, ``quarantined``: how many were accepted and set aside. ``counts``: images of the first trial, a row per
    class, columns ``train``, ``copies``, ``test``, ``left_out`` (in older studies not). ``predictions``: per arm one
    row per trial and test photo, columns ``trial``, ``path``, ``target``, ``pred``, ``p_<class>``. ``robustness``: one
    row per trial, operation and test photo, columns ``trial``, ``operation``, ``path``, ``target`` and each arm's
    prediction. ``together``: paths of the test photos in each group of more than one. ``without_effect``: operations of
    ``robustness`` that changed no test photo of any trial.
    """

    trials: list[int]
    photos: int
    quarantined: int
    counts: pd.DataFrame
    records: dict[str, list[EvaluationRecord]]
    histories: dict[str, list[pd.DataFrame]]
    predictions: dict[str, pd.DataFrame]
    robustness: pd.DataFrame
    together: list[list[str]] = field(default_factory=list)
    without_effect: list[str] = field(default_factory=list)

    @property
    def first(self) -> EvaluationRecord:
        """The record of the original arm in the first trial: what it says of the photos is true of all."""
        return self.records["original"][0]

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of the model's outputs."""
        return self.first.class_names

    @property
    def is_sample(self) -> bool:
        """Whether the photos are drawings."""
        return self.first.source == "sample"

    @cached_property
    def correct(self) -> dict[str, Values]:
        """Per arm 1 where it was correct, 0 where not, NaN where a trial does not test a photo: `[T, N]`."""
        return {arm: spread(table, table["pred"] == table["target"]) for arm, table in self.predictions.items()}

    @cached_property
    def gains(self) -> Values:
        """Augmented less original, photo by photo: 1, 0, -1 or NaN, `[T, N]`."""
        return self.correct["augmented"] - self.correct["original"]

    @cached_property
    def paths(self) -> list[str]:
        """Of the test photos, in the order of the columns of ``gains``."""
        return sorted(self.predictions["original"]["path"].unique())

    @cached_property
    def groups(self) -> Groups | None:
        """The number of each test photo's group, `[N]`, that of its first photo; None if every photo is by itself."""
        if not self.together:
            return None
        column = {path: number for number, path in enumerate(self.paths)}
        first = {path: min(map(column.__getitem__, group)) for group in self.together for path in group}
        return np.array([first.get(path, number) for path, number in column.items()], dtype=np.int64)

    def count_discordant(self, trial: int) -> tuple[int, int]:
        """Photos on which only the augmented, only the original arm was correct, in the trial at this place."""
        gains = self.gains[trial]
        return int((gains > 0).sum()), int((gains < 0).sum())


def spread(table: pd.DataFrame, values: "pd.Series[Any]", paths: list[str] | None = None) -> Values:
    """One row per trial and one column per photo from one value per prediction; NaN where there is none.

    ``paths``: of the columns; None: of all photos in ``table``, sorted.
    """
    wide = values.astype(float).groupby([table["trial"], table["path"]]).first().unstack()
    return wide.reindex(index=table["trial"].unique(), columns=wide.columns if paths is None else paths).to_numpy()


def load_study(trials: list[int]) -> Study:
    """Read the files of ``trials``. Raises UserError naming the first that is missing, damaged or does not fit."""
    records = {arm: [EvaluationRecord.load(get_metrics_path(arm, trial)) for trial in trials] for arm in ARMS}
    class_names = records["original"][0].class_names
    table = PredictionTable.of(class_names)
    predictions = {arm: [table.load(get_predictions_path(arm, trial)) for trial in trials] for arm in ARMS}
    for index, trial in enumerate(trials):
        check_pair(predictions["original"][index], predictions["augmented"][index], trial)
        for arm in ARMS:
            check_predictions(records[arm][index], predictions[arm][index], class_names)
    stacked = {arm: _stack(predictions[arm], trials).drop(columns="sha256") for arm in ARMS}
    robustness = _stack([load_robustness(trial, class_names) for trial in trials], trials)
    return Study(
        trials=trials,
        photos=len(PhotoTable.load(PHOTOS)),
        quarantined=len(QuarantineTable.load(Path("metrics/quarantine.csv"))),
        counts=count_images(trials[0], class_names),
        records=records,
        histories={arm: [HistoryTable.load(get_history_path(arm, trial)) for trial in trials] for arm in ARMS},
        predictions=stacked,
        robustness=robustness.drop(columns=[f"p_{arm}" for arm in ARMS]),
        together=find_groups(trials[0], set(stacked["original"]["path"])),
        without_effect=find_without_effect(robustness, stacked, class_names),
    )


def count_images(trial: int, class_names: list[str]) -> pd.DataFrame:
    """Images of a trial: a row per class, columns ``train``, ``copies``, ``test``, ``left_out``."""
    split, copies = (
        SplitTable.load(Path(f"data/split/{trial}.csv")),
        CopyTable.load(Path(f"data/augmented/{trial}.csv")),
    )
    sides = {side: split[split["split"] == side] for side in SIDES}
    parts = {"train": sides["train"], "copies": copies, "test": sides["test"], "left_out": sides["left out"]}
    counts = pd.DataFrame({name: part["class"].value_counts() for name, part in parts.items()})
    return counts.reindex(class_names).fillna(0).astype(int)


def find_groups(trial: int, tested: Collection[str]) -> list[list[str]]:
    """Paths of the ``tested`` photos in each group of more than one; groups are the same in every trial.

    Raises UserError when a tested photo is not among those that were split.
    """
    path = Path(f"data/split/{trial}.csv")
    split = SplitTable.load(path)
    if strange := set(tested) - set(split["path"]):
        raise UserError(
            f"metrics/predictions/ has a prediction for {min(strange)}, which {path} does not list; both must be of "
            f"the same photos. Run `dvc repro`."
        )
    groups = split[split["path"].isin(tested)].groupby("group")["path"]
    return [paths.tolist() for _, paths in groups if len(paths) > 1]


def check_pair(original: pd.DataFrame, augmented: pd.DataFrame, trial: int) -> None:
    """Raise UserError unless both arms predict once for the same photos, of the same classes."""
    sides = [set(zip(side["path"], side["sha256"], side["target"], strict=True)) for side in (original, augmented)]
    remedy = f"Run `dvc repro --force evaluate@{trial}`."
    if odd := sides[0] ^ sides[1]:
        raise UserError(
            f"only one arm of trial {trial} has a prediction for {min(odd)[0]} in metrics/predictions/; both must "
            f"have one for the same photos. {remedy}"
        )
    for arm, side in zip(ARMS, (original, augmented), strict=True):
        if (twice := side["path"].duplicated()).any():
            raise UserError(
                f"metrics/predictions/{arm}-{trial}.csv lists {side['path'][twice].iloc[0]} twice; each photo may "
                f"occur once. {remedy}"
            )


def check_predictions(record: EvaluationRecord, table: pd.DataFrame, class_names: list[str]) -> None:
    """Raise UserError unless every prediction is a distribution over the classes, and the metrics are of them."""
    path, remedy = get_predictions_path(record.arm, record.trial), f"Run `dvc repro --force evaluate@{record.trial}`."
    p = table[[f"p_{name}" for name in class_names]].to_numpy()
    wrong = ~(np.isfinite(p).all(axis=1) & (p >= 0).all(axis=1) & np.isclose(p.sum(axis=1), 1, atol=1e-5))
    wrong |= ~table[["target", "pred"]].isin(class_names).all(axis=1).to_numpy()
    if wrong.any():
        raise UserError(
            f"{path}: the prediction for {table['path'].iloc[int(wrong.argmax())]} is not a known class with one "
            f"probability per class, summing to 1. {remedy}"
        )
    accuracy = float((table["pred"] == table["target"]).mean())
    found = (record.class_names, record.test_photos, round(record.accuracy, 9))
    if found != (class_names, len(table), round(accuracy, 9)):
        raise UserError(f"{get_metrics_path(record.arm, record.trial)} and {path} are not of the same test. {remedy}")


def load_robustness(trial: int, class_names: list[str]) -> pd.DataFrame:
    """What both arms predict under each operation, and its probability of the target; it may have no rows.

    Raises UserError on an unknown class.
    """
    path = Path(f"metrics/robustness/{trial}.csv")
    table = RobustnessTable.load(path).drop(columns="sha256")
    strange = ~table[["target", *ARMS]].isin(class_names).all(axis=1)
    if strange.any():
        raise UserError(
            f"{path} cannot be used: line {int(strange.argmax()) + 2} does not name a class of the study. "
            f"Run `dvc repro --force evaluate@{trial}`."
        )
    return table


def find_without_effect(
    robustness: pd.DataFrame, predictions: dict[str, pd.DataFrame], class_names: list[str]
) -> list[str]:
    """Operations that changed no photo, as `pad_square` does where all are square.

    Under these each arm gives the true class of every photo exactly the probability that it gives it on the photo as it
    is: the same pixels in batches of the same size. ``robustness``: with ``trial``, ``p_original``, ``p_augmented``.
    """
    same = np.ones(len(robustness), dtype=bool)
    for arm in ARMS:
        own = predictions[arm]
        targets = pd.Index(class_names).get_indexer(pd.Index(own["target"]))
        p = own[[f"p_{name}" for name in class_names]].to_numpy()[np.arange(len(own)), targets]
        unchanged = pd.Series(p, index=pd.MultiIndex.from_frame(own[["trial", "path"]]))
        there = unchanged.reindex(pd.MultiIndex.from_frame(robustness[["trial", "path"]])).to_numpy()
        same &= there == robustness[f"p_{arm}"].to_numpy()
    return [str(name) for name, rows in pd.Series(same).groupby(robustness["operation"], sort=False) if rows.all()]


def _stack(tables: list[pd.DataFrame], trials: list[int]) -> pd.DataFrame:
    """Tables of one trial each, one under the other, with a column ``trial``."""
    stacked = pd.concat(tables, ignore_index=True).copy()  # in one block: pandas warns of hundreds, one per class
    return stacked.assign(trial=np.repeat(trials, [len(table) for table in tables]))
