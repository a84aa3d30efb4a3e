"""What the earlier stages made of all trials, read and checked: the report's only source."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.comparison.statistics import Values
from stages.evaluation.predictions import CopyPredictionTable, PredictionTable, RobustnessTable, get_predictions_path
from stages.evaluation.record import EvaluationRecord, get_metrics_path
from stages.model.record import HistoryTable, get_history_path
from stages.photos.manifest import PHOTOS, CopyTable, PhotoTable, QuarantineTable, SplitTable
from stages.runtime.errors import UserError

ARMS = ("original", "augmented")

Metrics = dict[str, list[dict[str, Any]]]
"""Per arm the contents of metrics/<arm>/<trial>.json, one element per trial."""


@dataclass(frozen=True)
class Study:
    """Lists and lists in dicts have one element per trial, in the order of params.

    ``answers``: per arm one row per trial and test photo, columns ``trial``, ``path``, ``target``, ``pred``,
    ``p_<class>``. ``robustness``: one row per trial, operation and test photo, with the answer of each arm.
    ``copies_seen``: what the augmented arm answers for the copies it was trained on.
    """

    trials: list[int]
    photos: pd.DataFrame
    quarantined: int
    split: pd.DataFrame  # of the first trial
    copies: pd.DataFrame  # of the first trial
    metrics: Metrics
    histories: dict[str, list[pd.DataFrame]]
    answers: dict[str, pd.DataFrame]
    robustness: pd.DataFrame
    copies_seen: pd.DataFrame  # of the first trial

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of the model's outputs."""
        names: list[str] = self.metrics["original"][0]["class_names"]
        return names

    @property
    def is_sample(self) -> bool:
        """Whether the photos are the drawn sample."""
        return bool(self.photos["source"].iloc[0] == "sample")

    @cached_property
    def right(self) -> dict[str, Values]:
        """Per arm 1 where it was right, 0 where it was wrong, NaN where a trial does not test a photo: `[T, N]`."""
        return {arm: spread(table, table["pred"] == table["target"]) for arm, table in self.answers.items()}

    @cached_property
    def gains(self) -> Values:
        """Augmented less original, photo by photo: 1, 0, -1 or NaN, `[T, N]`."""
        return self.right["augmented"] - self.right["original"]

    def count_discordant(self, trial: int) -> tuple[int, int]:
        """Photos that only the augmented, only the original arm got right, in the trial at this place."""
        gains = self.gains[trial]
        return int((gains > 0).sum()), int((gains < 0).sum())


def spread(table: pd.DataFrame, values: "pd.Series[Any]") -> Values:
    """One row per trial and one column per photo from one value per answer; NaN where there is none."""
    wide = values.astype(float).groupby([table["trial"], table["path"]]).first().unstack()
    return wide.reindex(table["trial"].unique()).to_numpy()


def load_study(trials: list[int]) -> Study:
    """Read the files of ``trials``. Raises UserError naming the first that is missing, damaged or does not fit."""
    metrics = {
        arm: [EvaluationRecord.load(get_metrics_path(arm, trial)).model_dump() for trial in trials] for arm in ARMS
    }
    class_names = metrics["original"][0]["class_names"]
    histories = {arm: [HistoryTable.load(get_history_path(arm, trial)) for trial in trials] for arm in ARMS}
    table = PredictionTable.of(class_names)
    predictions = {arm: [table.load(get_predictions_path(arm, trial)) for trial in trials] for arm in ARMS}
    for index, trial in enumerate(trials):
        check_pair(predictions["original"][index], predictions["augmented"][index], trial)
    return Study(
        trials=trials,
        photos=PhotoTable.load(PHOTOS),
        quarantined=len(QuarantineTable.load(Path("metrics/quarantine.csv"))),
        split=SplitTable.load(Path(f"data/split/{trials[0]}.csv")),
        copies=CopyTable.load(Path(f"data/augmented/{trials[0]}.csv")),
        metrics=metrics,
        histories=histories,
        answers={arm: _join(predictions[arm], metrics[arm], trials, class_names, arm) for arm in ARMS},
        robustness=pd.concat([_load_robustness(trial, class_names) for trial in trials], ignore_index=True),
        copies_seen=CopyPredictionTable.load(Path(f"metrics/copies/{trials[0]}.csv")),
    )


def check_pair(original: pd.DataFrame, augmented: pd.DataFrame, trial: int) -> None:
    """Raise UserError unless both arms answer once for the same photos, of the same classes."""
    sides = [set(zip(side["path"], side["sha256"], side["target"], strict=True)) for side in (original, augmented)]
    remedy = f"Run `dvc repro --force evaluate@{trial}`."
    if odd := sides[0] ^ sides[1]:
        raise UserError(
            f"only one arm of trial {trial} answers for {min(odd)[0]} in metrics/predictions/; both must answer for "
            f"the same photos. {remedy}"
        )
    for arm, side in zip(ARMS, (original, augmented), strict=True):
        if (twice := side["path"].duplicated()).any():
            raise UserError(
                f"metrics/predictions/{arm}-{trial}.csv lists {side['path'][twice].iloc[0]} twice; each photo may "
                f"stand once. {remedy}"
            )


def check_fit(metrics: dict[str, Any], answers: pd.DataFrame, class_names: list[str], arm: str, trial: int) -> None:
    """Raise UserError unless the metrics of an arm are those of its answers."""
    accuracy = float((answers["pred"] == answers["target"]).mean())
    found = (metrics["class_names"], metrics["test_photos"], round(metrics["accuracy"], 9))
    if found != (class_names, len(answers), round(accuracy, 9)):
        raise UserError(
            f"metrics/{arm}/{trial}.json and metrics/predictions/{arm}-{trial}.csv are not of the same test. "
            f"Run `dvc repro --force evaluate@{trial}`."
        )


def _join(
    frames: list[pd.DataFrame], metrics: list[dict[str, Any]], trials: list[int], class_names: list[str], arm: str
) -> pd.DataFrame:
    """The answers of an arm in all trials, checked."""
    scores = [f"p_{name}" for name in class_names]
    tables: list[pd.DataFrame] = []
    for frame, about, trial in zip(frames, metrics, trials, strict=True):
        numbers = frame[scores].apply(pd.to_numeric, errors="coerce").astype(float)
        p = numbers.to_numpy()
        wrong = ~(np.isfinite(p).all(axis=1) & (p >= 0).all(axis=1) & np.isclose(p.sum(axis=1), 1, atol=1e-5))
        strange = ~frame[["target", "pred"]].isin(class_names).all(axis=1).to_numpy()
        if (wrong | strange).any():
            path = frame["path"][int((wrong | strange).argmax())]
            raise UserError(
                f"metrics/predictions/{arm}-{trial}.csv: the answer for {path} is not one probability per class, "
                f"summing to 1, and a class of {', '.join(class_names)}. Run `dvc repro --force evaluate@{trial}`."
            )
        check_fit(about, frame, class_names, arm, trial)
        tables.append(pd.concat([frame[["path", "target", "pred"]].assign(trial=trial), numbers], axis=1))
    return pd.concat(tables, ignore_index=True)


def _load_robustness(trial: int, class_names: list[str]) -> pd.DataFrame:
    """What both arms predict under each operation. It may have no rows."""
    path = Path(f"metrics/robustness/{trial}.csv")
    table = RobustnessTable.load(path)
    strange = ~table[["target", *ARMS]].isin(class_names).all(axis=1)
    if strange.any():
        line = int(strange.argmax()) + 2
        raise UserError(
            f"{path} cannot be used (line {line} does not name a class of {', '.join(class_names)}). "
            "Delete it and run `dvc repro`."
        )
    return table.assign(trial=trial)
