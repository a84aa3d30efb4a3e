"""A study in two files for git, from which its report can be rendered again: predictions.csv and summary.json."""

from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from pydantic import Field

from stages.base.files import write_json
from stages.base.records import Record
from stages.base.tables import Table
from stages.comparison.answer import answer_question, compute_comparison
from stages.comparison.page import build_report, save_report
from stages.comparison.sections.robustness import UNCHANGED
from stages.comparison.study import ARMS, Study, check_predictions
from stages.evaluation.record import EvaluationRecord


class PublishedTable(Table):
    """predictions.csv: one row per trial, operation (``unchanged`` first) and test photo.

    original, augmented: predicted class. Then a column ``p_<arm>_<class>`` per arm and class, empty under operations.
    """

    columns: ClassVar[dict[str, type]] = {
        **{"trial": int, "operation": str, "path": str, "target": str, "original": str, "augmented": str},
    }
    float_format = "%.9g"

    @classmethod
    def of(cls, class_names: list[str]) -> type["PublishedTable"]:
        """The table of these classes."""
        scores = dict.fromkeys((f"p_{arm}_{name}" for arm in ARMS for name in class_names), float)
        return type("PublishedTable", (cls,), {"columns": {**cls.columns, **scores}})


class Summary(Record):
    """summary.json: what is not in predictions.csv.

    counts: images of the first trial by column, a number per class. records, histories: per arm one element per trial,
    a history being the values by epoch of each column. params: with dotted names. groups: paths of the test photos in
    each group of more than one; none in studies from before groups were counted. without_effect: as in `Study`.
    """

    trials: list[int]
    photos: int
    quarantined: int
    counts: dict[str, list[int]]
    records: dict[str, list[EvaluationRecord]]
    histories: dict[str, list[dict[str, list[float]]]]
    params: dict[str, Any]
    groups: list[list[str]] = Field(default_factory=list)
    without_effect: list[str] = Field(default_factory=list)


def save_study(study: Study, params: dict[str, Any], folder: Path) -> None:
    """Write both files. ``params``: with dotted names."""
    names = study.class_names
    keys = ["trial", "path", "target"]
    wide = study.predictions["original"][keys].assign(operation=UNCHANGED)
    for arm in ARMS:
        own = study.predictions[arm].rename(columns={"pred": arm} | {f"p_{name}": f"p_{arm}_{name}" for name in names})
        wide = wide.merge(own, on=keys, validate="one_to_one")
    table = PublishedTable.of(names)
    table.save(folder / "predictions.csv", pd.concat([wide, study.robustness]).reindex(columns=list(table.columns)))
    Summary(
        trials=study.trials,
        photos=study.photos,
        quarantined=study.quarantined,
        counts={str(key): values.tolist() for key, values in study.counts.items()},
        records=study.records,
        histories={
            arm: [{str(key): values.tolist() for key, values in history.items()} for history in histories]
            for arm, histories in study.histories.items()
        },
        params=params,
        groups=study.together,
        without_effect=study.without_effect,
    ).save(folder / "summary.json")


def load_published(folder: Path) -> tuple[Study, dict[str, Any]]:
    """The study of these files, and its params. Raises UserError as `load_study` does."""
    summary = Summary.load(folder / "summary.json")
    names = summary.records["original"][0].class_names
    table = PublishedTable.of(names).load(folder / "predictions.csv")
    unchanged = table["operation"] == UNCHANGED
    predictions = {}
    for arm in ARMS:
        scores = {f"p_{arm}_{name}": f"p_{name}" for name in names}
        columns = ["path", "target", "trial", arm, *scores]
        predictions[arm] = table.loc[unchanged, columns].rename(columns={arm: "pred"} | scores).reset_index(drop=True)
        for record in summary.records[arm]:
            check_predictions(record, predictions[arm][predictions[arm]["trial"] == record.trial], names)
    study = Study(
        trials=summary.trials,
        photos=summary.photos,
        quarantined=summary.quarantined,
        counts=pd.DataFrame(summary.counts, index=names),
        records=summary.records,
        histories={arm: [pd.DataFrame(history) for history in each] for arm, each in summary.histories.items()},
        predictions=predictions,
        robustness=table.loc[~unchanged, ["operation", "path", "target", *ARMS, "trial"]].reset_index(drop=True),
        together=summary.groups,
        without_effect=summary.without_effect,
    )
    return study, summary.params


def render_published(folder: Path) -> None:
    """Write comparison.json, report.md, report.html and figures/ beside the two files."""
    study, params = load_published(folder)
    answer = answer_question(study, params["report.margin"], params.get("report.looks"))
    write_json(folder / "comparison.json", compute_comparison(study, answer))
    report = build_report(study, answer, params, gallery=[])
    save_report(report, folder / "report.md", folder / "report.html", folder / "figures")
