"""The photographs of the report: what augmentation makes of them, and where the models go wrong."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from stages.comparison.study import ARMS, Study
from stages.comparison.words import MINUS
from stages.photos.decoding import load_photo

SOURCES, COPIES, CASES = 4, 2, 12  # pictures at most
THUMBNAIL = 320  # pixels: twice what a page shows, for dense screens


@dataclass(frozen=True)
class Card:
    """A picture as a data URI, and the lines under it, each with the name of an arm or an empty string."""

    picture: str
    lines: list[tuple[str, str]]


@dataclass(frozen=True)
class Pictures:
    """What the page shows, and how many there are in all."""

    copies: list[list[Card]]
    disagreements: list[Card]
    disagreement_count: int
    wrong_copies: list[Card]
    wrong_copy_count: int


def collect_pictures(study: Study) -> Pictures:
    """Load and shrink the photographs of the page. Raises UserError naming one that is missing or damaged."""
    differ, wrong = rank_disagreements(study.answers), find_wrong_copies(study)
    return Pictures(show_copies(study), show_disagreements(differ), len(differ), show_wrong_copies(wrong), len(wrong))


def show_copies(study: Study) -> list[list[Card]]:
    """A few train photos of each class, each followed by its first copies and their operations.

    They are chosen by hash, so that names and listing order decide nothing.
    """
    train = study.split[study.split["split"] == "train"].sort_values(["class", "sha256", "path"])
    sources = train.groupby("class").head(max(1, SOURCES // train["class"].nunique())).head(SOURCES)
    rows = []
    for path, name in zip(sources["path"], sources["class"], strict=True):
        own = study.copies[study.copies["source_path"] == path].sort_values(
            "copy", key=lambda numbers: numbers.astype(int)
        )
        copies = [
            Card(_embed(copy), [(line, "") for line in describe_operations(json.loads(operations))])
            for copy, operations in zip(own["path"].head(COPIES), own["operations"], strict=False)
        ]
        rows.append([Card(_embed(path), [(Path(path).name, ""), (name, "")]), *copies])
    return rows


def describe_operations(operations: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per operation of a copy, in the order applied, such as ``1 blur: radius 2.1``."""
    lines = []
    for number, operation in enumerate(operations, start=1):
        magnitudes = [
            f"{key.removesuffix('_factor').replace('_', ' ')} {value:.3g}".replace("-", MINUS)
            for key, value in operation.items()
            if key not in ("name", "seed")
        ]
        lines.append(f"{number} {operation['name'].replace('_', ' ')}{': ' * bool(magnitudes)}{', '.join(magnitudes)}")
    return lines


def rank_disagreements(answers: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Test answers in which the arms differ, first those on which both models together were surest.

    Returns: trial, path, target, and per arm its answer and the probability of that: original, p_original, ...
    """
    sides = []
    for arm in ARMS:
        table = answers[arm].set_index(["trial", "path", "target"])
        sides.append(pd.DataFrame({arm: table["pred"], f"p_{arm}": table.filter(regex="^p_").max(axis=1)}))
    both = sides[0].join(sides[1]).reset_index()
    differ = both[both["original"] != both["augmented"]]
    differ = differ.assign(sureness=differ["p_original"] + differ["p_augmented"])
    return differ.sort_values(["sureness", "path", "trial"], ascending=[False, True, True], ignore_index=True)


def show_disagreements(differ: pd.DataFrame) -> list[Card]:
    """The photos that divide the arms, the surest answers first."""
    return [
        Card(
            _embed(case["path"]),
            [
                (f"{Path(case['path']).name}, trial {case['trial']}", ""),
                (f"truth: {case['target']}", ""),
                *(
                    (f"{'✓' if case[arm] == case['target'] else '✗'} {arm}: {case[arm]} {case[f'p_{arm}']:.0%}", arm)
                    for arm in ARMS
                ),
            ],
        )
        for case in differ.head(CASES).to_dict("records")
    ]


def find_wrong_copies(study: Study) -> pd.DataFrame:
    """Copies of the first trial that the augmented arm gets wrong though it was trained on them, the surest first."""
    wrong = study.copies_seen[study.copies_seen["pred"] != study.copies_seen["target"]]
    return wrong.sort_values(["p_target", "path"], ignore_index=True)


def show_wrong_copies(wrong: pd.DataFrame) -> list[Card]:
    """The copies that the augmented arm still gets wrong."""
    return [
        Card(
            _embed(case["path"]),
            [
                (f"truth: {case['target']}", ""),
                (f"✗ augmented: {case['pred']}, {case['p_target']:.0%} for the truth", "augmented"),
                *((line, "") for line in describe_operations(json.loads(case["operations"]))),
            ],
        )
        for case in wrong.head(CASES).to_dict("records")
    ]


def _embed(path: str) -> str:
    """The picture as a small JPEG in a data URI."""
    image = load_photo(Path(path))
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
