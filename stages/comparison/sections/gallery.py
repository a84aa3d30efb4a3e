"""Photographs, for the page alone: what augmentation makes of them, and where the models are wrong."""

import base64
import io
import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from stages.comparison.blocks import Card, Cards, Section, Text
from stages.comparison.format import MINUS
from stages.comparison.sections.work import describe_input, is_online
from stages.comparison.study import ARMS, Study
from stages.evaluation.predictions import CopyPredictionTable
from stages.photos.decoding import load_photo
from stages.photos.manifest import CopyTable, SplitTable

SOURCES, COPIES, CASES = 4, 2, 12  # photographs at most
THUMBNAIL = 320  # pixels: twice what a page shows, for dense screens


def build(study: Study, params: dict[str, Any]) -> list[Section]:
    """Three sections of photographs. ``params``: with dotted names.

    Raises UserError naming a photograph that is missing or damaged.
    """
    trial, online = study.trials[0], is_online(params)
    split = SplitTable.load(Path(f"data/split/{trial}.csv"))
    copies = CopyTable.load(Path(f"data/augmented/{trial}.csv"))
    return [
        build_copies(trial, split, copies, describe_input(study), online=online),
        build_disagreements(rank_disagreements(study.predictions)),
        build_wrong_copies(trial, CopyPredictionTable.load(Path(f"metrics/copies/{trial}.csv")), online=online),
    ]


def build_copies(
    trial: int, split: pd.DataFrame, copies: pd.DataFrame, network_input: str, *, online: bool = False
) -> Section:
    """A few train photos of the first classes, each followed by its first copies, or by a sample, and their operations.

    ``network_input``: as what the network gets them, in words.
    """
    title = "Augmented copies"
    classes = copies["class"].nunique()
    some = f", of the first {SOURCES} of {classes:,} classes" if classes > SOURCES else ""
    photos = f"Train photos of trial {trial}{some}"
    note = f"{photos}, each with its copies and the operations applied to them, in order."
    if online:
        title = "Augmented samples"
        note = (
            f"{photos}, each as the first epoch saw it, with the operations applied, in order; every epoch draws anew."
        )
    note += (
        f" On this page no picture is larger than {THUMBNAIL} pixels; the network gets each, reduced from the file, as "
        f"{network_input}."
    )
    rows = show_copies(split, copies)
    cards = Cards([card for row in rows for card in row], columns=max(map(len, rows)))
    return Section(title, [Text(note, quiet=True), cards], page_only=True)


def show_copies(split: pd.DataFrame, copies: pd.DataFrame) -> list[list[Card]]:
    """Rows of a train photo and its copies, chosen by hash, so that names and listing order decide nothing."""
    train = split[split["path"].isin(copies["source_path"])].sort_values(["class", "sha256", "path"])
    sources = train.groupby("class").head(max(1, SOURCES // train["class"].nunique())).head(SOURCES)
    rows = []
    for path, name in zip(sources["path"], sources["class"], strict=True):
        own = copies[copies["source_path"] == path].sort_values("copy").head(COPIES)
        cards = [
            Card(_embed(copy), [(line, "") for line in describe_operations(json.loads(operations))])
            for copy, operations in zip(own["path"], own["operations"], strict=True)
        ]
        rows.append([Card(_embed(path), [(f"{name}/{Path(path).name}", "")]), *cards])
    return rows


def describe_operations(operations: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per operation of a copy, in the order applied, such as ``1 blur: radius 2.1``.

    Without operations, where each was skipped by its probability, one line says so.
    """
    if not operations:
        return ["unchanged"]
    lines = []
    for number, operation in enumerate(operations, start=1):
        magnitudes = [
            f"{key.removesuffix('_factor').replace('_', ' ')} {_format_magnitude(value)}"
            for key, value in operation.items()
            if key not in ("name", "seed")
        ]
        lines.append(f"{number} {operation['name'].replace('_', ' ')}{': ' * bool(magnitudes)}{', '.join(magnitudes)}")
    return lines


def _format_magnitude(value: bool | float | str) -> str:
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else value
    return f"{value:.3g}".replace("-", MINUS)


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
                *((_describe_prediction(case, arm), arm) for arm in ARMS),
            ],
        )
        for case in differ.head(CASES).to_dict("records")
    ]
    more = "; these are the most confident" if len(differ) > CASES else ""
    return Section(
        title, [Text(f"{len(differ):,} predictions differ{more}.", quiet=True), Cards(cards)], page_only=True
    )


def _describe_prediction(case: Mapping[Hashable, Any], arm: str) -> str:
    """Such as ``✗ original: dogs (80 %)``; in brackets, as a class may be called 5."""
    mark = "✓" if case[arm] == case["target"] else "✗"
    return f"{mark} {arm}: {case[arm]} ({100 * case[f'p_{arm}']:.0f} %)"


def find_wrong_copies(predictions: pd.DataFrame) -> pd.DataFrame:
    """Copies or samples that the augmented arm gets wrong, the most confident first."""
    wrong = predictions[predictions["pred"] != predictions["target"]]
    return wrong.sort_values(["p_target", "path"], ignore_index=True)


def build_wrong_copies(trial: int, predictions: pd.DataFrame, *, online: bool = False) -> Section:
    """The copies, or samples of the first epoch, that the augmented arm still gets wrong."""
    one, several, trained = ("sample", "samples", "views like them") if online else ("copy", "copies", "them")
    title, wrong = f"{several.capitalize()} that the augmented arm still gets wrong", find_wrong_copies(predictions)
    if wrong.empty:
        text = f"None: after training it classifies every {one} of trial {trial} correctly."
        return Section(title, [Text(text)], page_only=True)
    cards = [
        Card(
            _embed(case["path"]),
            [
                (f"true: {case['target']}", ""),
                (f"✗ augmented: {case['pred']} (true class: {100 * case['p_target']:.0f} %)", "augmented"),
                *((line, "") for line in describe_operations(json.loads(case["operations"]))),
            ],
        )
        for case in wrong.head(CASES).to_dict("records")
    ]
    more = "; these are the worst" if len(wrong) > CASES else ""
    share = f"{len(wrong):,} of {len(predictions):,} {several} of trial {trial}"
    note = f"{share}, though it was trained on {trained}{more}."
    return Section(title, [Text(note, quiet=True), Cards(cards)], page_only=True)


def _embed(path: str) -> str:
    """The photograph as a small JPEG in a data URI."""
    image = load_photo(Path(path))
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
