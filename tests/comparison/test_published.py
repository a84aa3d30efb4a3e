"""The published studies: their two files give the committed reports again, and a study survives the way there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.comparison import published
from stages.comparison.study import ARMS, load_study
from stages.evaluation.metrics import compute_metrics
from stages.runtime.errors import UserError
from tests.conftest import ROOT
from tests.support.pipeline_files import write_study

STUDIES = sorted(path.parent for path in (ROOT / "docs/study").glob("*/summary.json"))
SEEDS = sorted(path.parent for path in (ROOT / "docs/study/seeds").glob("*/*/summary.json"))
FOLDERS = STUDIES + SEEDS


def mark_slow(folder: Path) -> Any:
    """Rendering a study takes seconds: `make test` renders those of the labs alone."""
    marks = [] if folder.name in ("epochs", "steps") else [pytest.mark.slow]
    return pytest.param(folder, id=folder.name, marks=marks)


@pytest.mark.parametrize("folder", map(mark_slow, STUDIES))
def test_committed_reports_are_rendered_from_the_committed_numbers(folder: Path, tmp_path: Path) -> None:
    for name in ("predictions.csv", "summary.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    published.render_published(tmp_path)
    rendered = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    committed = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert sorted(rendered) == sorted(committed)
    for file, data in rendered.items():
        assert data == committed[file], f"{file}: run `make study`"


def test_every_published_study_is_found() -> None:
    assert sorted(path.parent for path in (ROOT / "docs").rglob("summary.json")) == sorted(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT / "docs/study").as_posix())
def test_published_metrics_are_those_of_the_published_predictions(folder: Path) -> None:
    study, _ = published.load_published(folder)
    for arm in ARMS:
        for record in study.records[arm]:
            own = study.predictions[arm][study.predictions[arm]["trial"] == record.trial]
            targets = pd.Index(study.class_names).get_indexer(pd.Index(own["target"]))
            p = own[[f"p_{name}" for name in study.class_names]].to_numpy()
            found = compute_metrics(np.asarray(targets, dtype=np.int64), p, study.class_names)
            assert (found.accuracy, found.f1, found.confusion_matrix) == (
                record.accuracy,
                record.f1,
                record.confusion_matrix,
            )
            assert found.log_loss == pytest.approx(record.log_loss, abs=1e-6)
            assert found.roc_auc == pytest.approx(record.roc_auc, abs=0.01), "nine digits make ties"


def test_a_study_is_the_same_after_it_was_saved(workspace: Path) -> None:
    write_study(workspace, trials=[3, 0], class_names=["1", "b c", "NA"], epochs=2)
    before, params = replace(load_study([3, 0]), without_effect=["rotate"]), flatten(load_params().model_dump())
    published.save_study(before, params, Path("saved"))
    after, found = published.load_published(Path("saved"))
    assert found == params
    assert (after.trials, after.photos, after.quarantined) == (before.trials, before.photos, before.quarantined)
    assert after.records == before.records
    assert after.without_effect == ["rotate"]
    pd.testing.assert_frame_equal(after.counts, before.counts, check_names=False)
    pd.testing.assert_frame_equal(after.robustness[before.robustness.columns], before.robustness)
    for arm in ARMS:
        np.testing.assert_array_equal(after.correct[arm], before.correct[arm])
        columns = list(before.predictions[arm].columns)
        pd.testing.assert_frame_equal(after.predictions[arm][columns], before.predictions[arm], rtol=1e-8)
        for mine, theirs in zip(after.histories[arm], before.histories[arm], strict=True):
            np.testing.assert_array_equal(mine.to_numpy(), theirs.to_numpy())


def test_a_changed_prediction_is_named(workspace: Path) -> None:
    write_study(workspace, epochs=1)
    published.save_study(load_study([0]), flatten(load_params().model_dump()), Path("saved"))
    path = Path("saved/predictions.csv")
    rows = path.read_text().splitlines()
    trial, operation, photo, target, *rest = rows[1].split(",")
    other = "dogs" if target == "cats" else "cats"
    path.write_text("\n".join([rows[0], ",".join([trial, operation, photo, other, *rest]), *rows[2:]]) + "\n")
    with pytest.raises(UserError, match="are not of the same test"):
        published.load_published(Path("saved"))
