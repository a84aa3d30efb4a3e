"""Which photographs the page shows: chosen by what is in them and by what models made of them, never by luck."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.comparison.blocks import Card, Cards, Section, Text
from stages.comparison.sections import gallery
from stages.comparison.sections.gallery import (
    build_copies,
    build_disagreements,
    build_wrong_copies,
    describe_operations,
    find_wrong_copies,
    rank_disagreements,
    show_copies,
)
from stages.comparison.study import load_study
from stages.photos.manifest import CopyTable, SplitTable
from stages.runtime.errors import UserError
from tests.support.pipeline_files import OPERATIONS, write_study
from tests.support.studies import make_study


@pytest.fixture
def names_for_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards show the path in place of the picture."""
    monkeypatch.setattr(gallery, "_embed", lambda path: path)


def get_cards(section: Section) -> list[Card]:
    """The photographs of a section."""
    return [card for block in section.blocks if isinstance(block, Cards) for card in block.cards]


def make_predictions(rows: Mapping[tuple[int, str], tuple[str, float]]) -> pd.DataFrame:
    """Answers for photos of cats. Rows: (trial, path) -> (answer, probability of dogs)."""
    records = [
        {"trial": trial, "path": path, "target": "cats", "pred": pred, "p_cats": 1 - p, "p_dogs": p}
        for (trial, path), (pred, p) in rows.items()
    ]
    return pd.DataFrame(records)


def test_disagreements_are_ordered_by_how_sure_both_models_were() -> None:
    original = {(7, "a"): ("cats", 0.4), (7, "b"): ("cats", 0.1), (7, "c"): ("dogs", 0.9), (7, "d"): ("cats", 0.2)}
    augmented = {(7, "d"): ("cats", 0.1), (7, "c"): ("cats", 0.3), (7, "b"): ("dogs", 0.75), (7, "a"): ("dogs", 0.6)}
    ranked = rank_disagreements({"original": make_predictions(original), "augmented": make_predictions(augmented)})
    assert list(ranked["path"]) == ["b", "c", "a"]
    assert ranked.drop(columns=["path", "confidence"]).to_dict("records")[0] == {
        "trial": 7,
        "target": "cats",
        "original": "cats",
        "p_original": 0.9,
        "augmented": "dogs",
        "p_augmented": 0.75,
    }


def test_ties_are_ordered_by_path_then_trial() -> None:
    """The same photo may divide the arms in two trials."""
    places = [(2, "b"), (2, "a"), (0, "b"), (0, "a")]
    ranked = rank_disagreements(
        {
            "original": make_predictions(dict.fromkeys(places, ("cats", 0.25))),
            "augmented": make_predictions(dict.fromkeys(places[::-1], ("dogs", 0.75))),
        }
    )
    assert list(zip(ranked["path"], ranked["trial"], strict=True)) == [("a", 0), ("a", 2), ("b", 0), ("b", 2)]


@pytest.mark.usefixtures("names_for_pictures")
def test_disagreements_say_who_is_right() -> None:
    right = np.ones((1, 30))
    study = make_study(right, right - np.eye(30)[4], trials=[3])
    (card,) = get_cards(build_disagreements(rank_disagreements(study.predictions)))
    assert card.picture == "photo_000004.jpg"
    assert card.lines == [
        ("photo_000004.jpg, trial 3", ""),
        ("true: cats", ""),
        ("✓ original: cats (80 %)", "original"),
        ("✗ augmented: dogs (80 %)", "augmented"),
    ]
    everything = rank_disagreements(make_study(right, right - 1).predictions)
    assert (len(everything), len(get_cards(build_disagreements(everything)))) == (30, 12)


def test_no_disagreement() -> None:
    right = np.array([[1, 0, 1]])
    assert get_cards(build_disagreements(rank_disagreements(make_study(right, right).predictions))) == []


@pytest.mark.usefixtures("names_for_pictures")
def test_wrong_copies_begin_with_the_worst() -> None:
    rows = [("d", "dogs", 0.2), ("b", "dogs", 0.01), ("a", "cats", 0.0), ("c", "dogs", 0.2)]
    seen = pd.DataFrame(rows, columns=["path", "pred", "p_target"])
    seen = seen.assign(target="cats", operations='[{"name": "blur", "radius": 2.13}]')
    wrong = find_wrong_copies(seen)
    assert list(wrong["path"]) == ["b", "c", "d"], "and leave out what is right"
    card = get_cards(build_wrong_copies(0, seen))[0]
    assert card.lines == [
        ("true: cats", ""),
        ("✗ augmented: dogs (true class: 1 %)", "augmented"),
        ("1 blur: radius 2.13", ""),
    ]


def test_operations_are_described_in_order_without_seeds() -> None:
    assert describe_operations(OPERATIONS) == [
        "1 color jitter: brightness 0.847, contrast 1.2, saturation 1.31",
        "2 hflip",
        "3 random noise: mean 0, var 0.01",
    ]
    assert describe_operations([{"name": "rotate", "degrees": -12.3}]) == ["1 rotate: degrees −12.3"]
    limited = [{"name": "pixelization", "ratio": 0.448, "drawn_ratio": 0.2}]
    assert describe_operations(limited) == ["1 pixelization: ratio 0.448, drawn ratio 0.2"]


def load(root: Path, classes: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    write_study(root, class_names=[f"c{number}" for number in range(classes)], epochs=1)
    return SplitTable.load(Path("data/split/0.csv")), CopyTable.load(Path("data/augmented/0.csv"))


@pytest.mark.usefixtures("names_for_pictures")
@pytest.mark.parametrize(("classes", "per_class"), [(2, 2), (3, 1), (6, 1)])
def test_copies_are_shown_beside_their_own_source(classes: int, per_class: int, workspace: Path) -> None:
    split, copies_table = load(workspace, classes)
    rows = show_copies(split, copies_table)
    names = [Path(row[0].picture).parent.name for row in rows]
    assert len(names) == min(4, classes * per_class)
    assert {names.count(name) for name in names} == {per_class}
    train = set(split[split["split"] == "train"]["path"])
    for source, *copies in rows:
        assert source.picture in train
        assert f"data/raw/{source.lines[0][0]}" == source.picture, "classes may have photos of the same name"
        own = copies_table[copies_table["source_path"] == source.picture].sort_values("copy")
        assert [card.picture for card in copies] == list(own["path"])
        assert [text for text, _ in copies[0].lines] == describe_operations(OPERATIONS)
    assert show_copies(split.sample(frac=1, random_state=0), copies_table[::-1]) == rows, (
        "listing order decides nothing"
    )


def test_pictures_are_small_and_in_proportion(workspace: Path) -> None:
    split, copies = load(workspace, 2)
    path = split[split["split"] == "train"].sort_values("sha256")["path"].iloc[0]
    Image.new("RGB", (1500, 500)).save(path)
    (card,) = [row[0] for row in show_copies(split, copies) if f"data/raw/{row[0].lines[0][0]}" == path]
    kind, data = card.picture.split(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (320, 107)


def test_the_page_says_how_large_pictures_are_for_the_network(workspace: Path) -> None:
    """As the record has it: the size may be the weights' own."""
    load(workspace, 2)
    copies, *_ = gallery.build(load_study([0]), {"augment.mode": "copies"})
    note = copies.blocks[0]
    assert isinstance(note, Text)
    assert note.text.endswith("as a square of 32 × 32 pixels.") and "no picture is larger than 320 pixels" in note.text


@pytest.mark.parametrize(("classes", "said"), [(4, "of trial 0, each"), (6, "of the first 4 of 6 classes, each")])
def test_the_page_says_which_classes_it_shows(classes: int, said: str, workspace: Path) -> None:
    (note, _) = build_copies(0, *load(workspace, classes), "a square").blocks
    assert isinstance(note, Text) and said in note.text


def test_a_missing_photo_is_named(workspace: Path) -> None:
    load(workspace, 2)
    for path in Path("data/raw").rglob("*.jpg"):
        path.unlink()
    with pytest.raises(UserError, match=r"data/raw/c\d/photo_\d\.jpg"):
        gallery.build(load_study([0]), {"augment.mode": "copies"})
