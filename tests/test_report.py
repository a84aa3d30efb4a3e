"""The report over all trials: numbers against independent ones, honest words, the same bytes again."""

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from stages import report
from stages.common.errors import UserError
from tests.pipeline_files import write_study

OUTPUTS = [
    "metrics/comparison.json",
    "metrics/report.md",
    "metrics/figures/counts.png",
    "metrics/figures/learning_curves.png",
    "metrics/figures/confusion.png",
    "data/sheets/copies.png",
    "data/sheets/disagreements.png",
]


def read_outputs(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in OUTPUTS}


def render(trials: list[int], notice: str = "Photos from an archive on disk (1).") -> str:
    return report.render_report(report.load_study(trials), notice)


def make_metrics(original: list[int], augmented: list[int], steps: tuple[int, int] = (40, 110)) -> report.Metrics:
    """What `describe_result` needs: photos right of 28 per trial, and steps per arm."""
    return {
        arm: [
            {"test_photos": 28, "steps": count, "confusion_matrix": [[number, 28 - number], [0, 0]]} for number in right
        ]
        for arm, right, count in zip(report.ARMS, (original, augmented), steps, strict=True)
    }


def read_table(markdown: str, first_header: str) -> list[list[str]]:
    """Body of the table whose header begins with ``first_header``, as cells."""
    lines = markdown.split(f"\n| {first_header} |")[1].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_runs_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, trials=[0, 3])
    monkeypatch.chdir(tmp_path)
    report.main()
    comparison = json.loads(Path("metrics/comparison.json").read_text())
    assert list(comparison) == ["source", "trials", "test_photos", "original", "augmented", "difference"]
    assert (comparison["source"], comparison["trials"], comparison["test_photos"]) == ("archive", 2, 4)
    right = {}
    for arm in report.ARMS:
        answers = pd.concat(pd.read_csv(f"metrics/predictions/{arm}-{trial}.csv") for trial in (0, 3))
        right[arm] = int((answers["target"] == answers["pred"]).sum())
        assert comparison[arm]["accuracy"] == right[arm] / len(answers)
    assert comparison["difference"]["photos"] == right["augmented"] - right["original"]
    assert comparison["difference"]["accuracy"] == pytest.approx((right["augmented"] - right["original"]) / 8)
    markdown = Path("metrics/report.md").read_text()
    sentence = markdown.splitlines()[2]
    assert f"({right['augmented']} against {right['original']})" in sentence
    assert capsys.readouterr().out.splitlines()[-1] == sentence
    embedded = [Path("metrics", name) for name in re.findall(r"!\[.*\]\((.*)\)", markdown)]
    assert sorted(map(str, embedded)) == sorted(name for name in OUTPUTS if name.startswith("metrics/figures"))
    for name in OUTPUTS:
        if name.endswith(".png"):
            Image.open(name).load()


def test_same_bytes_in_another_place_and_beside_stale_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = []
    for name, trials in (("a", [1]), ("b", [0, 1])):
        root = tmp_path / name
        write_study(root, trials=trials, epochs=1)
        params = (root / "params.yaml").read_text()
        (root / "params.yaml").write_text(re.sub(r"trials:\n(- \d+\n)+", "trials:\n- 1\n", params))
        monkeypatch.chdir(root)
        report.main()
        outputs.append(read_outputs(root))
    assert outputs[0] == outputs[1]


def test_on_the_sample_the_first_and_the_last_line_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, source="sample", epochs=1)
    monkeypatch.chdir(tmp_path)
    report.main()
    for text in (Path("metrics/report.md").read_text(), capsys.readouterr().out):
        lines = text.strip().splitlines()
        assert lines[0] == lines[-1]
        assert "sample" in lines[0] and "not photographs" in lines[0]
    assert "report 000" not in Path("metrics/report.md").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "metrics/original/1.json",
        "metrics/augmented/0.json",
        "metrics/history/augmented-1.csv",
        "metrics/predictions/original-1.csv",
        "data/split/0.csv",
        "data/augmented/0.csv",
        "data/manifest.csv",
        "data/quarantine.csv",
    ],
)
def test_a_missing_file_is_named_and_nothing_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path, trials=[0, 1], epochs=1)
    (tmp_path / name).unlink()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"^{re.escape(name)} is missing\. Run `dvc repro`"):
        report.main()
    assert not any((tmp_path / output).exists() for output in OUTPUTS)


def test_metrics_with_a_merge_conflict_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(tmp_path, epochs=1)
    (tmp_path / "metrics/original/0.json").write_text("<<<<<<< HEAD\n{}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"metrics/original/0\.json cannot be read as JSON"):
        report.load_study([0])


@pytest.mark.parametrize(
    ("original", "augmented", "words"),
    [
        ([14], [13], "Of 28 test photos the augmented arm got 1 fewer right than the original arm (13 against 14)"),
        ([13], [15], "Of 28 test photos the augmented arm got 2 more right than the original arm (15 against 13)"),
        ([14], [14], "Of 28 test photos the augmented arm got as many right as the original arm (14 against 14)"),
    ],
)
def test_one_trial_is_never_called_a_gain(original: list[int], augmented: list[int], words: str) -> None:
    assert report.describe_result(make_metrics(original, augmented)) == (
        f"{words}. One trial without a repeat cannot say how much of that is noise. "
        "The augmented arm took 110 optimizer steps, the original 40."
    )


def test_several_trials_show_how_far_they_differ() -> None:
    result = report.describe_result(make_metrics([14, 14, 14], [13, 19, 14], steps=(110, 110)))
    assert "Of 84 test answers in 3 trials the augmented arm got 4 more right" in result
    assert "from -1 to +5 photos" in result
    assert "no proof" in result
    assert result.endswith("Both arms took 110 optimizer steps per trial.")


def test_table_shows_mean_spread_and_n(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(tmp_path, trials=[0, 1, 2], epochs=1)
    monkeypatch.chdir(tmp_path)
    study = report.load_study([0, 1, 2])
    markdown = render([0, 1, 2])
    assert "n = 3 trials of 4 test photos each" in markdown
    rows = {row[0]: row[1:] for row in read_table(markdown, "metric")}
    keys = {"accuracy": "accuracy", "weighted F1": "weighted_f1", "log loss (less is better)": "log_loss"}
    for label, key in keys.items():
        original, augmented = ([trial[key] for trial in study.metrics[arm]] for arm in report.ARMS)
        gains = [a - o for o, a in zip(original, augmented, strict=True)]
        assert rows[label] == [
            f"{statistics.mean(original):.4f} ± {statistics.stdev(original):.4f}",
            f"{statistics.mean(augmented):.4f} ± {statistics.stdev(augmented):.4f}",
            f"{statistics.mean(gains):+.4f} ± {statistics.stdev(gains):.4f}",
        ]


def test_one_trial_has_no_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(tmp_path, epochs=1)
    monkeypatch.chdir(tmp_path)
    markdown = render([0])
    assert "(n = 1)" in markdown
    assert "±" not in markdown


def test_published_numbers_stand_beside_numbers_of_the_same_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path, epochs=1)
    monkeypatch.chdir(tmp_path)
    metrics = report.load_study([0]).metrics
    rows = read_table(render([0]), "averages")
    assert [row[2] for row in rows] == ["report 000", "this run"] * 2 + ["report 002", "this run"] * 2
    for published, ours in zip(rows[::2], rows[1::2], strict=True):
        assert published[:2] == ours[:2]
        prefix = "weighted_" if ours[0] == "weighted" else ""
        keys = ["accuracy", *(f"{prefix}{name}" for name in ("precision", "recall", "f1"))]
        assert ours[3:] == [f"{metrics[ours[1]][0][key]:.4f}" for key in keys]
    assert rows[0][3:] == ["0.4643", "0.4067", "0.4643", "0.3665"]
    assert rows[6][3:] == ["0.6071", "0.5789", "0.7857", "0.6667"]


def test_other_classes_are_not_compared_with_the_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(tmp_path, class_names=["a|b", "c_d_e", "values"], epochs=1)
    monkeypatch.chdir(tmp_path)
    markdown = render([0])
    assert "report 000" not in markdown
    assert "macro averages over the 3 classes" in markdown
    rows = read_table(markdown, "class")
    assert [row[0] for row in rows[::3]] == [r"a\|b", r"c\_d\_e", "values"]
    assert {len(row) for row in rows} == {6}


@pytest.mark.parametrize("arm", report.ARMS)
def test_a_value_that_does_not_exist_is_not_averaged(arm: str) -> None:
    trials: report.Metrics = {name: [{"roc_auc": 0.5}, {"roc_auc": 0.5}] for name in report.ARMS}
    trials[arm][1] = {"roc_auc": None}
    assert report.compare(trials, "roc_auc") == ["n/a", "n/a", "n/a"]


def make_predictions(rows: dict[str, tuple[str, float]]) -> pd.DataFrame:
    """Predictions of cats, as they are read: text cells. Rows: path -> (predicted class, probability of dogs)."""
    records: list[dict[str, Any]] = [
        {"path": path, "sha256": "", "target": "cats", "pred": pred, "p_cats": str(1 - p), "p_dogs": str(p)}
        for path, (pred, p) in rows.items()
    ]
    return pd.DataFrame(records)


def test_disagreements_are_ordered_by_how_sure_both_models_were() -> None:
    original = make_predictions({"a": ("cats", 0.4), "b": ("cats", 0.1), "c": ("dogs", 0.9), "d": ("cats", 0.2)})
    augmented = make_predictions({"d": ("cats", 0.1), "c": ("cats", 0.3), "b": ("dogs", 0.75), "a": ("dogs", 0.6)})
    ranked = report.rank_disagreements({"original": [original], "augmented": [augmented]}, [7])
    assert list(ranked["path"]) == ["b", "c", "a"]
    assert ranked.drop(columns=["path", "sureness"]).to_dict("records")[0] == {
        "trial": 7,
        "target": "cats",
        "original": "cats",
        "p_original": 0.9,
        "augmented": "dogs",
        "p_augmented": 0.75,
    }


def test_the_same_photo_may_divide_the_arms_in_two_trials() -> None:
    original, augmented = make_predictions({"a": ("cats", 0.4)}), make_predictions({"a": ("dogs", 0.6)})
    ranked = report.rank_disagreements({"original": [original] * 2, "augmented": [augmented] * 2}, [2, 0])
    assert list(ranked["trial"]) == [0, 2]


def test_arms_that_answered_for_different_photos_are_refused() -> None:
    original, augmented = make_predictions({"a": ("cats", 0.4)}), make_predictions({"b": ("dogs", 0.6)})
    with pytest.raises(UserError, match="only one arm of trial 0 answers for a in"):
        report.rank_disagreements({"original": [original], "augmented": [augmented]}, [0])


@pytest.mark.parametrize(("classes", "rows_per_class"), [(2, 3), (5, 1), (8, 1)])
def test_contact_sheet_has_some_of_each_class_and_their_own_copies(
    classes: int, rows_per_class: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path, class_names=[f"c{number}" for number in range(classes)], epochs=1)
    monkeypatch.chdir(tmp_path)
    study = report.load_study([0])
    rows = report.choose_pictures(study.split, study.copies)
    names = [Path(row[0][0]).parent.name for row in rows]
    assert len(names) == min(6, classes * rows_per_class)
    assert {names.count(name) for name in names} == {rows_per_class}
    train = set(study.split[study.split["split"] == "train"]["path"])
    for (source, _), *copies in rows:
        assert source in train
        own = study.copies[study.copies["source_path"] == source].sort_values("copy")
        assert [path for path, _ in copies] == list(own["path"])
    shuffled = report.choose_pictures(
        study.split.sample(frac=1, random_state=0), study.copies.sample(frac=1, random_state=1)
    )
    assert shuffled == rows
