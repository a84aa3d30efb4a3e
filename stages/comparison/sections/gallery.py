"""Photographs, for the page alone: what augmentation makes of them, and where the models are wrong."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from stages.comparison.blocks import Card, Cards, Section, Text
from stages.comparison.format import MINUS
from stages.comparison.study import ARMS, Study
from stages.evaluation.predictions import CopyPredictionTable
from stages.photos.decoding import load_photo
from stages.photos.manifest import CopyTable, SplitTable

SOURCES, COPIES, CASES = 4, 2, 12  # photographs at most
THUMBNAIL = 320  # pixels: twice what a page shows, for dense screens


def build(study: Study) -> list[Section]:
    """Three sections of photographs. Raises UserError naming one that is missing or damaged."""
    trial = study.trials[0]
    split = SplitTable.load(Path(f"data/split/{trial}.csv"))
    copies = CopyTable.load(Path(f"data/augmented/{trial}.csv"))
    return [
        build_copies(trial, split, copies),
        build_disagreements(rank_disagreements(study.predictions)),
        build_wrong_copies(trial, CopyPredictionTable.load(Path(f"metrics/copies/{trial}.csv"))),
    ]


def build_copies(trial: int, split: pd.DataFrame, copies: pd.DataFrame) -> Section:
    """A few train photos of each class, each followed by its first copies and their operations."""
    note = f"Train photos of trial {trial}, each with its copies and the operations applied to them, in order."
    cards = [card for row in show_copies(split, copies) for card in row]
    return Section("Augmented copies", [Text(note, quiet=True), Cards(cards, columns=1 + COPIES)], page_only=True)


def show_copies(split: pd.DataFrame, copies: pd.DataFrame) -> list[list[Card]]:
    """Rows of a train photo and its copies, chosen by hash, so that names and listing order decide nothing."""
    train = split[split["split"] == "train"].sort_values(["class", "sha256", "path"])
    sources = train.groupby("class").head(max(1, SOURCES // train["class"].nunique())).head(SOURCES)
    rows = []
    for path, name in zip(sources["path"], sources["class"], strict=True):
        own = copies[copies["source_path"] == path].sort_values("copy").head(COPIES)
        cards = [
            Card(_embed(copy), [(line, "") for line in describe_operations(json.loads(operations))])
            for copy, operations in zip(own["path"], own["operations"], strict=True)
        ]
        rows.append([Card(_embed(path), [(Path(path).name, ""), (name, "")]), *cards])
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


def rank_disagreements(predictions: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Test photos on which the arms disagree, first those on which both models together were most confident.

    Returns: trial, path, target, and per arm its prediction and the probability of that: original, p_original, ...
    """
    sides = []
    for arm in ARMS:
        table = predictions[arm].set_index(["trial", "path", "target"])
        sides.append(pd.DataFrame({arm: table["pred"], f"p_{arm}": table.filter(regex="^p_").max(axis=1)}))
    both = sides[0].join(sides[1]).reset_index()
    differ = both[both["original"] != both["augmented"]]
    differ = differ.assign(confidence=differ["p_original"] + differ["p_augmented"])
    return differ.sort_values(["confidence", "path", "trial"], ascending=[False, True, True], ignore_index=True)


def build_disagreements(differ: pd.DataFrame) -> Section:
    """The photos on which the arms disagree, the most confident predictions first."""
    title = "Where the arms disagree"
    if differ.empty:
        return Section(title, [Text("Both arms make the same prediction for every test photo.")], page_only=True)
    cards = [
        Card(
            _embed(case["path"]),
            [
                (f"{Path(case['path']).name}, trial {case['trial']}", ""),
                (f"true: {case['target']}", ""),
                *(
                    (f"{'✓' if case[arm] == case['target'] else '✗'} {arm}: {case[arm]} {case[f'p_{arm}']:.0%}", arm)
                    for arm in ARMS
                ),
            ],
        )
        for case in differ.head(CASES).to_dict("records")
    ]
    more = "; these are the most confident" if len(differ) > CASES else ""
    return Section(
        title, [Text(f"{len(differ):,} predictions differ{more}.", quiet=True), Cards(cards)], page_only=True
    )


def find_wrong_copies(predictions: pd.DataFrame) -> pd.DataFrame:
    """Copies that the augmented arm gets wrong though it was trained on them, the most confident first."""
    wrong = predictions[predictions["pred"] != predictions["target"]]
    return wrong.sort_values(["p_target", "path"], ignore_index=True)


def build_wrong_copies(trial: int, predictions: pd.DataFrame) -> Section:
    """The copies that the augmented arm still gets wrong."""
    title, wrong = "Copies that the augmented arm still gets wrong", find_wrong_copies(predictions)
    if wrong.empty:
        text = f"None: after training it classifies every copy of trial {trial} correctly."
        return Section(title, [Text(text)], page_only=True)
    cards = [
        Card(
            _embed(case["path"]),
            [
                (f"true: {case['target']}", ""),
                (f"✗ augmented: {case['pred']}, {case['p_target']:.0%} for the true class", "augmented"),
                *((line, "") for line in describe_operations(json.loads(case["operations"]))),
            ],
        )
        for case in wrong.head(CASES).to_dict("records")
    ]
    more = "; these are the worst" if len(wrong) > CASES else ""
    note = f"{len(wrong):,} of {len(predictions):,} copies of trial {trial}, though it was trained on them{more}."
    return Section(title, [Text(note, quiet=True), Cards(cards)], page_only=True)


def _embed(path: str) -> str:
    """The photograph as a small JPEG in a data URI."""
    image = load_photo(Path(path))
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
