"""What the report says of the augmentation is true for every policy and mode, and of studies older than either."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.comparison.answer import answer_question
from stages.comparison.blocks import Cards, Section, Text
from stages.comparison.page import build_report, complete_params, render_markdown, render_page
from stages.comparison.sections import gallery, labs, robustness, work
from stages.comparison.sections.gallery import build_wrong_copies, describe_operations
from stages.comparison.sections.work import plot_counts
from stages.comparison.study import Study, load_study
from stages.photos.manifest import CopyTable
from tests.conftest import ROOT
from tests.support.pipeline_files import write_study
from tests.support.studies import make_study
from tests.support.texts import draw

OLD = {
    key: value
    for key, value in flatten(load_params(ROOT / "params.yaml").model_dump()).items()
    if key not in ("augment.policy", "augment.mode")
}
MODES = [(policy, mode) for policy in ("augly", "AugMix") for mode in ("copies", "online")]


def read(section: Section | None) -> str:
    assert section
    return " ".join(block.text for block in section.blocks if isinstance(block, Text))


def make_params(policy: str, mode: str) -> dict[str, Any]:
    return OLD | {"augment.policy": policy, "augment.mode": mode}


@pytest.fixture
def study(workspace: Path) -> Study:
    write_study(workspace, epochs=1)
    return load_study([0])


@pytest.mark.parametrize(
    ("policy", "mode", "expected"),
    [
        ("augly", "copies", "on the same photos with augmented copies (augmented arm)"),
        ("AugMix", "copies", "on the same photos with copies augmented by AugMix (augmented arm)"),
        ("augly", "online", "on the same photos augmented anew each epoch by operations of AugLy (augmented arm)"),
        ("AugMix", "online", "on the same photos augmented anew each epoch by AugMix (augmented arm)"),
    ],
)
def test_the_arms_are_what_was_trained(policy: str, mode: str, expected: str) -> None:
    text = read(work.build(make_study([1, 0], [1, 1]), make_params(policy, mode)))
    assert expected in text
    assert f"weights, batch order and {'augmentation' if mode == 'online' else 'copies'}." in text


def test_trials_that_start_from_pretrained_weights_have_none_of_their_own() -> None:
    params = make_params("augly", "copies") | {"model.weights": "DEFAULT"}
    for given, expected in ((False, "own test photos, batch order and copies."), (True, "own batch order and copies.")):
        assert expected in read(work.build(make_study([1, 0], [1, 1]), params, given=given))


def test_a_study_without_policy_and_mode_had_copies_of_augly() -> None:
    study, new = make_study([1, 0], [1, 1]), make_params("augly", "copies")
    assert complete_params(OLD) == new
    assert labs.build(study, complete_params(OLD)) == labs.build(study, new)
    assert read(work.build(study, complete_params(OLD))) == read(work.build(study, new))


def test_online_no_samples_are_counted_in_an_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = pd.DataFrame({"train": [56, 1000], "copies": [12, 12], "test": [14, 0]}, index=["cats", "dogs"])
    texts = [" ".join(text.get_text().split()) for text in draw(plot_counts(counts, online=True), monkeypatch)]
    assert "augmented arm: 1,056 photos, anew each epoch" in texts
    assert not [text for text in texts if "+" in text or "copies" in text]
    assert texts.count("56") == texts.count("1,000") == 2


def test_robustness_says_when_its_operations_were_not_trained_on(study: Study) -> None:
    said = "The augmented arm was trained with AugMix, not with these operations of AugLy."
    for policy, mode in MODES:
        assert (said in read(robustness.build(study, make_params(policy, mode)))) == (policy == "AugMix")
    assert read(robustness.build(study, complete_params(OLD))) == read(
        robustness.build(study, make_params("augly", "copies"))
    )


def test_labs_are_compared_by_what_was_trained() -> None:
    def note(**changes: Any) -> str:
        own = complete_params(OLD) | {f"augment.{key}": value for key, value in changes.items()}
        section = labs.build(make_study([1, 0], [1, 1]), own)
        assert section
        return str(section.blocks[0])

    assert "other params" not in note()
    assert "the labs': augment.policy AugMix (labs: augly)." in note(policy="AugMix", operations_per_copy=1)
    assert "the labs': augment.mode online (labs: copies)." in note(mode="online", copies=7)
    assert "the labs': augment.copies 7 (labs: 2); augment.operations_per_copy 1 (labs: 3)." in note(
        copies=7, operations_per_copy=1
    )


@pytest.mark.parametrize("mode", ["copies", "online"])
def test_pictures_are_called_what_they_are(mode: str, study: Study, workspace: Path) -> None:
    if mode == "online":  # one sample of every second photo
        copies = CopyTable.load(Path("data/augmented/0.csv"))
        CopyTable.save(Path("data/augmented/0.csv"), copies[copies["copy"] == 1].iloc[::2])
    shown, _, wrong = gallery.build(study, make_params("augly", mode))
    (cards,) = [block for block in shown.blocks if isinstance(block, Cards)]
    assert cards.columns == (2 if mode == "online" else 3)
    assert len(cards.cards) == 4 * cards.columns, "every row is full"
    titles = [shown.title, wrong.title]
    if mode == "online":
        assert titles == ["Augmented samples", "Samples that the augmented arm still gets wrong"]
        assert "each as the first epoch saw it" in read(shown)
        assert "of trial 0, though it was trained on views like them" in read(wrong)
    else:
        assert titles == ["Augmented copies", "Copies that the augmented arm still gets wrong"]
        assert "of trial 0, though it was trained on them" in read(wrong)


def test_when_every_sample_is_right_it_says_so() -> None:
    seen = pd.DataFrame({"path": ["a"], "pred": ["cats"], "target": ["cats"], "p_target": [0.9], "operations": ["[]"]})
    assert "classifies every sample of trial 3 correctly" in read(build_wrong_copies(3, seen, online=True))
    assert "classifies every copy of trial 3 correctly" in read(build_wrong_copies(3, seen))


def test_any_operation_is_described() -> None:
    assert describe_operations([]) == ["unchanged"]
    assert describe_operations([{"name": "AugMix", "seed": 2**62}]) == ["1 AugMix"]
    assert describe_operations([{"name": "overlay_stripes", "line_type": "dotted", "line_angle": -30.0}]) == [
        "1 overlay stripes: line type dotted, line angle −30"
    ]
    assert describe_operations([{"name": "perspective_transform", "crop_out_black_border": True, "sigma": 20.0}]) == [
        "1 perspective transform: crop out black border true, sigma 20"
    ]
    assert describe_operations([{"name": "encoding_quality", "quality": 17}]) == ["1 encoding quality: quality 17"]


@pytest.mark.parametrize(("policy", "mode"), MODES)
def test_the_whole_report_is_rendered(policy: str, mode: str, study: Study) -> None:
    params = make_params(policy, mode)
    report = build_report(study, answer_question(study, 0.02), params, gallery.build(study, params))
    markdown, page = render_markdown(report), render_page(report)
    for text in (markdown, page):
        assert ("AugMix" in text) == (policy == "AugMix")
        assert ("anew each epoch" in text) == (mode == "online")
