"""The stage from end to end: its files, the same bytes again, one run in MLflow, and Markdown that git shows right."""

import contextlib
import io
import itertools
import json
import math
import re
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image

from stages import report
from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.comparison.answer import answer_question
from stages.comparison.blocks import Chart, Section, Table
from stages.comparison.format import format_p, format_signed
from stages.comparison.page import build_report, escape_markdown
from stages.comparison.sections import labs, scores, verdict
from stages.comparison.sections.scores import compare_classes, compare_scores, tabulate_recalls, tabulate_scores
from stages.comparison.study import ARMS, Study, load_study
from stages.tracking import store as tracking
from tests.conftest import ROOT
from tests.support.pipeline_files import write_study
from tests.support.studies import make_study

FIGURES = ["calibration", "confusion", "counts", "forest", "learning_curves", "robustness"]
OUTPUTS = ["comparison.json", "report.md", "report.html", "classes.csv", *(f"figures/{name}.png" for name in FIGURES)]
PARAMS = flatten(load_params(ROOT / "params.yaml").model_dump())
NAMES = ["bee <i>", "c|d", "$e$ & *f*_", "x" * 60]
HEADINGS = [
    "# Does augmentation help this classifier, or is it noise?",
    "## What was compared",
    "## Every trial",
    "## Scores",
    "### Beside the two lab reports",
    "## Training",
    "## Probabilities",
    "## Robustness",
    "## Where the numbers come from",
]


@dataclass
class Report:
    """What the stage left in a folder, and printed."""

    root: Path
    printed: str

    @property
    def markdown(self) -> str:
        return self.read("report.md").decode()

    @property
    def page(self) -> str:
        return self.read("report.html").decode()

    @property
    def comparison(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.read("comparison.json"))
        return found

    def read(self, name: str) -> bytes:
        return (self.root / "metrics" / name).read_bytes()

    def load_study(self) -> Study:
        with contextlib.chdir(self.root):
            return load_study(load_params().trials)


Make = Callable[..., Report]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Run the stage in a folder of its own; all runs share an MLflow store."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"

    def make_report(root: Path | None = None, prepare: Callable[[], Any] = lambda: None, **options: Any) -> Report:
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
            patch.delenv("DVC_ROOT", raising=False)
            patch.setenv("MLFLOW_TRACKING_URI", uri)
            if root is None:
                root = tmp_path_factory.mktemp("report")
                write_study(root, **options)
                (root / ".dvc").mkdir()
            patch.chdir(root)
            prepare()
            report.main()
        return Report(root, printed.getvalue())

    return make_report


@pytest.fixture(scope="module")
def one(make: Make) -> Report:
    return make(trials=[1], epochs=1)


@pytest.fixture(scope="module")
def several(make: Make) -> Report:
    """Three trials; the store has the runs that made some of the models."""

    def prepare() -> None:
        Path("dvc.lock").write_text("stages: {}\n")
        tracking.open_store()
        for arm, trial, sha256 in (("original", 0, 0), ("augmented", 0, 0), ("original", 3, 3), ("augmented", 3, 9)):
            with mlflow.start_run(tags={"arm": arm, "trial": str(trial), "model_sha256": f"{sha256:064x}"}):
                pass

    return make(prepare=prepare, trials=[3, 0, 4], class_names=NAMES)


@pytest.fixture(scope="module")
def sample(make: Make) -> Report:
    """Drawn pictures, robustness switched off after it had been on."""

    def prepare() -> None:
        header = "operation,path,sha256,target,original,augmented,p_original,p_augmented\n"
        Path("metrics/robustness/0.csv").write_text(header)
        Path("metrics/figures").mkdir()
        Path("metrics/figures/robustness.png").write_bytes(b"stale")

    return make(prepare=prepare, source="sample", epochs=1)


@pytest.fixture(params=["one", "several", "sample"])
def any_report(request: pytest.FixtureRequest) -> Report:
    found: Report = request.getfixturevalue(request.param)
    return found


def find_comparisons(comparison: dict[str, Any]) -> list[Run]:
    """The runs that log these numbers, found by two of them."""
    client = MlflowClient()
    (experiment,) = [each for each in client.search_experiments() if each.name == tracking.EXPERIMENT]
    low, loss = comparison["difference"]["low"], comparison["augmented"]["log_loss"]
    wanted = f"metrics.`difference.low` = {low} and metrics.`augmented.log_loss` = {loss}"
    found: list[Run] = client.search_runs([experiment.experiment_id], wanted)
    return found


def list_tables(markdown: str) -> list[list[list[str]]]:
    """Every table as rows of cells, split as GitHub splits them."""
    blocks = re.findall(r"(?:^\|.*\n)+", markdown, re.M)
    return [
        [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()]
        for block in blocks
    ]


def read_table(markdown: str, first_header: str) -> list[list[str]]:
    """Body of the first table whose header begins with ``first_header``."""
    return next(table[2:] for table in list_tables(markdown) if table[0][0] == first_header)


def test_files_and_terminal_say_the_same(any_report: Report) -> None:
    study = any_report.load_study()
    sentence = verdict.describe_verdict(answer_question(study, 0.02))
    assert any_report.markdown.count(f"**{sentence}**") == 1
    assert f'<p class="verdict">{sentence}</p>' in any_report.page.replace("\N{NO-BREAK SPACE}", " ")
    assert sentence in any_report.printed.splitlines()[-2:]
    for arm in ARMS:
        tables = [pd.read_csv(any_report.root / f"metrics/predictions/{arm}-{trial}.csv") for trial in study.trials]
        correct = [(table["pred"] == table["target"]).mean() for table in tables]
        assert any_report.comparison[arm]["accuracy"] == pytest.approx(statistics.mean(correct), abs=1e-6)


def test_every_figure_is_whole_and_embedded(any_report: Report) -> None:
    embedded = re.findall(r"!\[(.+)\]\((.*)\)", any_report.markdown)
    files = sorted((any_report.root / "metrics/figures").iterdir())
    assert sorted(any_report.root / "metrics" / name for _, name in embedded) == files
    assert any_report.page.count("<svg ") == len(files)
    for file in files:
        Image.open(file).load()
    assert not list(any_report.root.rglob("*.partial"))


def test_headings_come_in_order(one: Report, several: Report, sample: Report) -> None:
    leave_out = {"one": [], "several": ["lab"], "sample": ["lab", "Robustness"]}
    for name, found in {"one": one, "several": several, "sample": sample}.items():
        expected = [line for line in HEADINGS if not any(word in line for word in leave_out[name])]
        assert re.findall(r"^#+ .*", found.markdown, re.M) == expected


def test_markdown_tables_are_well_formed(any_report: Report) -> None:
    markdown = any_report.markdown
    found = list_tables(markdown)
    assert len(found) >= 9
    for table in found:
        assert len({len(row) for row in table}) == 1, table
        assert all(re.fullmatch(r"-{3,}:?", cell) for cell in table[1])
        assert all(cell for row in table for cell in row)
    for line in re.findall(r"^(?!\|).+\n\|", markdown, re.M):
        pytest.fail(f"a table needs an empty line before it: {line}")


def test_every_class_is_in_the_csv(several: Report) -> None:
    table = pd.read_csv(several.root / "metrics/classes.csv", index_col="class")
    records = several.load_study().records
    assert list(table.index) == NAMES
    for arm in ARMS:
        for measure in ("precision", "recall", "f1"):
            expected = [
                statistics.mean(getattr(each.per_class[name], measure) for each in records[arm]) for name in table.index
            ]
            assert table[f"{arm}/{measure}"].tolist() == pytest.approx(expected, abs=1e-6)


def test_of_many_classes_those_at_both_ends_are_listed() -> None:
    names = [f"c{number:03}" for number in range(100)]
    augmented = np.ones((2, 200))
    augmented[:, [3, 7]] = 0  # photo i is of class i mod 100
    original = np.ones((2, 200))
    original[:, [50, 150]] = 0
    study = make_study(original, augmented, class_names=names)
    table = tabulate_recalls(study, compare_classes(study))
    shown = [row[0] for row in table.rows]
    assert len(shown) == 40
    assert (shown[0], sorted(shown[-2:])) == ("c050", ["c003", "c007"])
    assert shown[1:20] == [name for name in names if name not in ("c003", "c007", "c050")][:19], "ties in order"
    assert "of 100; metrics/classes.csv has all" in table.note
    section = scores.build(study)
    assert "most frequent confusions" in next(block.title for block in section.blocks if isinstance(block, Chart))


@pytest.fixture(scope="module")
def many(make: Make) -> Report:
    """More classes than pandas adds columns one by one without a warning; most have no test photo."""
    return make(class_names=[f"species {number:03}" for number in range(150)], per_class=1, epochs=1)


def test_a_report_of_many_classes_is_short_and_lists_those_that_are_tested(many: Report) -> None:
    assert len(many.read("classes.csv").splitlines()) == 1 + 150
    rows = read_table(many.markdown, "class")
    assert len(rows) == len({row[0] for row in rows}) == 30, "the tested ones, of which there are fewer than 40"
    assert "n/a" not in {cell for row in rows for cell in row}
    assert len(many.markdown) < 40_000
    for file in (many.root / "metrics/figures").iterdir():
        with Image.open(file) as image:
            assert max(image.size) < 3000, file


def test_class_names_are_shown_as_they_are(several: Report) -> None:
    names = [row[0] for row in read_table(several.markdown, "class")[: len(NAMES)]]
    assert [re.sub(r"\\(.)", r"\1", name) for name in names] == NAMES
    assert "macro averages over the 4 classes" in several.markdown
    assert "two lab reports" not in several.markdown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b_c", r"a\|b\_c"),
        ("two\nlines", "two lines"),
        ("<b> & $a$ ~x~ [y](z) *", r"\<b\> \& \$a\$ \~x\~ \[y\](z) \*"),
        ("set `trials: [0, 1]` in a_b", r"set `trials: [0, 1]` in a\_b"),
        ("`a|b_c<d>`", r"`a\|b_c<d>`"),
        (3, "3"),
    ],
)
def test_markdown_is_escaped(text: Any, expected: str) -> None:
    assert escape_markdown(text) == expected


def test_the_labs_numbers_stand_beside_ours_only_with_what_differs() -> None:
    params = load_params(ROOT / "params.yaml")
    study = make_study([1, 0], [1, 1])
    assert "other params" not in get_note(labs.build(study, flatten(params.model_dump())))
    train = params.train.model_copy(update={"epochs": 3, "budget": "steps"})
    two = {name: params.augment.operations[name] for name in ("hflip", "blur")}
    augment = params.augment.model_copy(update={"operations": two})
    other = labs.build(study, flatten(params.model_copy(update={"train": train, "augment": augment}).model_dump()))
    listed = re.findall(r"([\w.]+) (\S+|blur, hflip) \(labs: ([^)]*)\)", get_note(other))
    assert [(key, ours) for key, ours, _ in listed] == [
        ("augment.operations", "blur, hflip"),
        ("train.budget", "steps"),
        ("train.epochs", "3"),
    ]
    assert [len(labs.split(", ")) for _, _, labs in listed] == [10, 1, 1]
    model = params.model.model_copy(update={"freeze": "backbone", "image_size": 96, "weights": "DEFAULT"})
    train = params.train.model_copy(update={"optimizer": "sgd", "schedule": "cosine", "label_smoothing": 0.1})
    other = labs.build(study, flatten(params.model_copy(update={"model": model, "train": train}).model_dump()))
    for expected in (
        "image_size 96 (labs: 224)",
        "weights DEFAULT (labs: null)",
        "freeze backbone",
        "optimizer sgd",
        "schedule cosine",
        "smoothing 0.1",
    ):
        assert expected in get_note(other)
    mice = make_study([1, 0], [1, 1], class_names=["cats", "mice"])
    assert labs.build(mice, flatten(params.model_dump())) is None


@pytest.mark.parametrize(("augmented", "said"), [([1, 1, 1, 1], False), ([1, 0, 1, 0], True)])
def test_a_class_that_is_never_predicted_is_mentioned(augmented: list[int], said: bool) -> None:
    note = tabulate_scores(make_study([1, 1, 1, 1], augmented)).note
    assert ("A class that a model never predicts" in note) == said


def test_same_bytes_in_another_place_and_beside_stale_trials(one: Report, make: Make) -> None:
    def leave_out_trial_0() -> None:
        text = Path("params.yaml").read_text()
        Path("params.yaml").write_text(text.replace("trials:\n- 0\n- 1\n", "trials:\n- 1\n"))

    other = make(prepare=leave_out_trial_0, trials=[0, 1], epochs=1)
    assert (other.root / "metrics/original/0.json").exists()
    assert other.root != one.root
    for name in OUTPUTS:
        assert other.read(name) == one.read(name), name


def test_comparison_is_logged_once(one: Report, make: Make) -> None:
    before = {name: one.read(name) for name in OUTPUTS}
    make(root=one.root)
    assert {name: one.read(name) for name in OUTPUTS} == before
    (one.root / "dvc.lock").write_text("stages: {}\n")
    page = (one.root / "metrics/report.html").read_text()
    make(root=one.root, prepare=lambda: Path("metrics/report.html").write_text(f"{page} "))
    assert len(find_comparisons(one.comparison)) == 1, "neither DVC's lock nor the page make it another comparison"


def test_comparison_leads_to_the_runs_of_the_models(several: Report) -> None:
    comparison = several.comparison
    (run,) = find_comparisons(comparison)
    assert re.fullmatch("comparison [0-9a-f]{6}", run.info.run_name)
    assert run.info.status == "FINISHED"
    assert run.data.tags["verdict"] == comparison["verdict"]
    assert run.data.metrics["difference.low"] == comparison["difference"]["low"]
    assert run.data.metrics["augmented.accuracy"] == comparison["augmented"]["accuracy"]
    linked = {tag: run_id for tag, run_id in run.data.tags.items() if tag.startswith("run:")}
    assert sorted(linked) == ["run:augmented-0", "run:original-0", "run:original-3"], "only those the store has"
    client = MlflowClient()
    for tag, run_id in linked.items():
        tags = client.get_run(run_id).data.tags
        assert tag == f"run:{tags['arm']}-{tags['trial']}"
    assert {file.path for file in client.list_artifacts(run.info.run_id, "metrics")} == {
        f"metrics/{name}" for name in ("comparison.json", "report.md", "report.html")
    }


def test_outputs_hold_nothing_of_git_and_no_address(one: Report, make: Make) -> None:
    """In a clone, whole or shallow, in a tarball and after a rebase the same results are the same bytes."""
    before = {name: one.read(name) for name in OUTPUTS}

    def commit() -> None:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        for command in (["init"], ["add", "params.yaml"], ["commit", "-m", "first"]):
            subprocess.run(["git", *identity, *command], check=True, capture_output=True)

    make(root=one.root, prepare=commit)
    assert {name: one.read(name) for name in OUTPUTS} == before
    assert "<a " not in one.page
    assert not re.findall(r"127\.0\.0\.1|localhost|:5000", one.page + one.markdown)


def test_on_the_sample_the_first_and_the_last_line_say_so(sample: Report) -> None:
    paragraphs = re.findall(r"<p[^>]*>(.*?)</p>", sample.page)
    for lines in (sample.markdown.strip().splitlines(), sample.printed.strip().splitlines(), paragraphs):
        assert lines[0] == lines[-1]
        assert "sample" in lines[0] and "not photographs" in lines[0]
    assert "two lab reports" not in sample.markdown + sample.page
    assert "photograph" not in re.sub(r"not photographs", "", sample.markdown + sample.page)


def test_without_robustness_nothing_is_said_of_it(sample: Report) -> None:
    assert not (sample.root / "metrics/figures/robustness.png").exists()
    assert "Robustness" not in sample.markdown + sample.page


def test_table_shows_mean_spread_and_n(several: Report) -> None:
    assert "Mean ± standard deviation over 3 trials" in several.markdown
    assert "not the uncertainty of the mean" in several.markdown
    records = several.load_study().records
    rows = {row[0]: row[1:] for row in read_table(several.markdown, "metric")}
    keys = {"accuracy": "accuracy", "weighted F1": "weighted_f1", "log loss (lower is better)": "log_loss"}
    for label, key in keys.items():
        original, augmented = ([getattr(each, key) for each in records[arm]] for arm in ARMS)
        gains = [a - o for o, a in zip(original, augmented, strict=True)]
        assert rows[label] == [
            f"{statistics.mean(original):.4f} ± {statistics.stdev(original):.4f}",
            f"{statistics.mean(augmented):.4f} ± {statistics.stdev(augmented):.4f}",
            f"{format_signed(statistics.mean(gains), 4)} ± {statistics.stdev(gains):.4f}",
        ]


def test_trials_stand_in_the_order_of_params(several: Report) -> None:
    assert [row[0] for row in read_table(several.markdown, "trial")] == ["3", "0", "4"]
    predictions = several.load_study().predictions
    for trial, photos, original, augmented, only_original, only_augmented, *_ in read_table(several.markdown, "trial"):
        sides = [predictions[arm][predictions[arm]["trial"] == int(trial)] for arm in ARMS]
        right = [set(side["path"][side["pred"] == side["target"]]) for side in sides]
        assert [photos, original, augmented] == [str(len(sides[0])), *(str(len(side)) for side in right)]
        assert [only_original, only_augmented] == [str(len(right[0] - right[1])), str(len(right[1] - right[0]))]


def test_one_trial_has_no_spread(one: Report) -> None:
    assert "One trial, so there is no spread to show." in one.markdown
    assert "±" not in re.sub(r"±2 percentage points", "", one.markdown)
    assert "textbook" not in one.markdown + one.page


def test_published_numbers_stand_beside_numbers_of_the_same_kind(one: Report) -> None:
    records = one.load_study().records
    rows = read_table(one.markdown, "averages")
    assert [row[2] for row in rows] == ["lab 1", "here"] * 2 + ["lab 2", "here"] * 2
    for published, ours in zip(rows[::2], rows[1::2], strict=True):
        assert published[:2] == ours[:2]
        prefix = "weighted_" if ours[0] == "weighted" else ""
        keys = ["accuracy", *(f"{prefix}{name}" for name in ("precision", "recall", "f1"))]
        assert ours[3:] == [f"{getattr(records[ours[1]][0], key):.4f}" for key in keys]
    assert rows[0][3:] == ["0.4643", "0.4067", "0.4643", "0.3665"]
    assert rows[6][3:] == ["0.6071", "0.5789", "0.7857", "0.6667"]


def test_differences_have_minus_signs_and_zero_has_no_sign(any_report: Report) -> None:
    text = re.sub(r"<[^>]*>|\(.*?\.png\)", " ", any_report.markdown + any_report.page)
    assert not re.findall(r"(?<![\w.\-\\#])-\d[\d.]*|[+−]0\.0+(?!\d)", text)
    assert re.findall(r"−\d", text)


def test_unchanged_photos_have_no_adjusted_p(one: Report, several: Report) -> None:
    for found in (one, several):
        header, _, *rows = next(table for table in list_tables(found.markdown) if table[0][0] == "test photos")
        assert (header[-1], rows[0][0], rows[0][-1]) == ("p (Holm)", "unchanged", "–")
        assert all(re.fullmatch(r"[01]\.\d{3}", row[-1]) for row in rows[1:])
        assert f"the family of {len(rows) - 1} operations (Holm)" in found.markdown


def test_the_baseline_stands_beside_the_arms(one: Report, several: Report) -> None:
    for found, classes in ((one, 2), (several, 4)):
        rows = {row[0]: row[3] for row in read_table(found.markdown, "score")}
        assert rows["log loss"] == f"{math.log(classes):.4f}"
        assert rows["Brier score"] == f"{1 - 1 / classes:.4f}"
        assert rows["probability of the true class"] == f"{1 / classes:.4f}"
        sentence = f"always predicting the most common class, is at {100 / classes:.1f} %"
        assert found.markdown.count(sentence) == found.page.replace("\N{NO-BREAK SPACE}", " ").count(sentence) == 1


def test_brackets_and_missing_values_are_explained(any_report: Report) -> None:
    """Wherever a table has an interval or n/a, the paragraph before it says what that is."""
    blocks = any_report.markdown.split("\n\n")
    for before, block in itertools.pairwise(blocks):
        if block.startswith("|") and re.search(r"\([+−]?[\d.]+ to ", block):
            assert "In brackets: 95 % interval" in before
        if block.startswith("|") and "n/a" in block:
            assert "n/a: " in before


def test_the_verdict_is_left_to_a_caller_that_prints_it_last(sample: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    found = build_report(sample.load_study(), answer_question(sample.load_study(), 0.02), PARAMS, gallery=[])
    shown = report.summarise(found, sample.comparison)
    monkeypatch.setenv("VERDICT_FOLLOWS", "1")
    assert shown == f"{report.summarise(found, sample.comparison)}\n\n{found.verdict}\n{found.notice}"


def test_p_and_the_corrected_t_are_explained(several: Report) -> None:
    answer = answer_question(several.load_study(), 0.02)
    assert (
        f"the t test's across trials and the z test's across photos: {format_p(answer.difference.p)}."
        in several.markdown
    )
    assert "there the corrected t is the one to read" in several.markdown
    assert verdict.describe_scope(answer.trials) in several.markdown


@pytest.mark.parametrize("arm", ARMS)
def test_a_value_that_does_not_exist_is_not_averaged(arm: str) -> None:
    study = make_study([[1, 0, 1], [1, 1, 0]], [[1, 0, 1], [1, 1, 0]])
    assert compare_scores(study, lambda record: record.roc_auc)[0].startswith("0.")
    study.records[arm][1] = study.records[arm][1].model_copy(update={"roc_auc": None})
    assert compare_scores(study, lambda record: record.roc_auc) == ["n/a", "n/a", "n/a"]


def get_note(section: Section | None) -> str:
    """The note of a section's table."""
    assert section
    (table,) = section.blocks
    assert isinstance(table, Table)
    return table.note


@pytest.mark.parametrize(("p", "text"), [(0.04951, "0.050"), (0.001, "0.001"), (0.0009, "< 0.001"), (0.0, "< 0.001")])
def test_no_p_value_is_zero(p: float, text: str) -> None:
    assert format_p(p) == text
