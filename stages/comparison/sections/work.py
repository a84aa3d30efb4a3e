"""What was compared: images of each arm, and how long it was trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.comparison.blocks import Chart, Section, Table, Text
from stages.comparison.figures import COLOURS, QUIET, WIDTH, shorten, styled
from stages.comparison.format import format_range
from stages.comparison.study import ARMS, Study
from stages.model.record import describe_start
from stages.photos.origin import describe_source

MANY = 40  # classes beyond which only the largest and the smallest are drawn


def build(study: Study, params: dict[str, Any], *, given: bool = False) -> Section:
    """How the arms were trained, on how many images of which photos.

    ``params``: with dotted names. ``given``: all trials train and test on the same photos.
    """
    photos = "pictures" if study.is_sample else "photos"
    aside = (
        f"{study.quarantined} set aside (`metrics/quarantine.csv` says why)" if study.quarantined else "none set aside"
    )
    ends = f": the {MANY // 2} largest and the {MANY // 2} smallest classes" if len(study.counts) > MANY else ""
    start = describe_start(params["model.name"], params["model.weights"], params["model.freeze"])
    title = f"Images per class, train and test, of trial {study.trials[0]}{ends}"
    online = is_online(params)
    return Section(
        "What was compared",
        [
            Text(
                f"{start}, trained on the train {photos} (original arm) and on the same {photos} "
                f"{describe_augmentation(params)} (augmented arm). Within a trial both arms start from the same "
                f"weights and are tested on the same {photos}; {describe_trials(photos, params, given=given)}."
            ),
            tabulate_work(study),
            Text(
                f"{describe_source(study.first.source, study.first.version)} {study.photos:,} {photos} were accepted, "
                f"{aside}.{describe_left_out(study.counts, photos)}"
            ),
            Chart("counts", plot_counts(study.counts, online=online), title),
        ],
    )


def describe_trials(photos: str, params: dict[str, Any], *, given: bool) -> str:
    """What every trial has of its own; all that start from pretrained weights start from the same."""
    weights = "" if params["model.weights"] else "weights, "
    others = f"{weights}batch order and {'augmentation' if is_online(params) else 'copies'}"
    if given:
        return f"all trials train and test on the same {photos}, as the source divides them, each with its own {others}"
    return f"every trial has its own test {photos}, {others}"


def describe_left_out(counts: pd.DataFrame, photos: str) -> str:
    """How many photos of the source's train set were not used, as a sentence; empty if none, or in older studies."""
    left = int(counts["left_out"].sum()) if "left_out" in counts else 0
    if not left:
        return ""
    return f" Train {photos} left out, as near-duplicates of test {photos} or in a group with them: {left:,}."


def is_online(params: dict[str, Any]) -> bool:
    """Whether the augmented arm saw every photo augmented anew each epoch."""
    return bool(params["augment.mode"] == "online")


def describe_augmentation(params: dict[str, Any]) -> str:
    """What the augmented arm has that the original has not."""
    policy = params["augment.policy"]
    if is_online(params):
        return f"augmented anew each epoch by {'operations of AugLy' if policy == 'augly' else policy}"
    return "with augmented copies" if policy == "augly" else f"with copies augmented by {policy}"


def describe_input(study: Study) -> str:
    """As what the network gets every image, whatever its size: ``a square of 224 × 224 pixels``."""
    return f"a square of {study.first.image_size} × {study.first.image_size} pixels"


def tabulate_work(study: Study) -> Table:
    """How long each arm was trained."""
    keys = {"train images": "train_images", "optimizer steps": "steps", "samples seen": "samples_seen"}
    rows = [
        [arm, *(format_range(getattr(record, key) for record in study.records[arm]) for key in keys.values())]
        for arm in ARMS
    ]
    return Table(["arm", *keys], rows)


@styled
def plot_counts(counts: pd.DataFrame, *, online: bool = False) -> Figure:
    """Images per class as bars: what each arm trains on, and what both are tested on.

    ``counts``: one row per class (index: its name), whole-number columns ``train``, ``copies``, ``test``. ``online``:
    the copies are samples, on which nothing is trained.
    """
    train, copies, test = (int(counts[column].sum()) for column in ("train", "copies", "test"))
    if len(counts) > MANY:
        ordered = counts.sort_values("train", ascending=False, kind="stable")
        counts = pd.concat([ordered.head(MANY // 2), ordered.tail(MANY // 2)])
    figure = Figure(figsize=(WIDTH, 1.0 + 0.3 * len(counts)), layout="constrained")
    augmented = {f"augmented arm:\n{train:,} photos,\nanew each epoch": {"train": COLOURS["augmented"]}}
    if not online:
        colours = {"train": COLOURS["original"], "copies": COLOURS["augmented"]}
        augmented = {f"augmented arm:\n{train:,} photos\n+ {copies:,} copies": colours}
    panels = {
        f"original arm:\n{train:,} photos\n": {"train": COLOURS["original"]},
        **augmented,
        f"test, both arms:\n{test:,} photos\n": {"test": QUIET},
    }
    for axes, (title, colours) in zip(figure.subplots(1, 3, sharex=True, sharey=True), panels.items(), strict=True):
        _draw_bars(axes, counts, colours)
        axes.set_title(title)
    axes.set_ylim(len(counts) - 0.4, -0.6)
    longest = counts["train"] if online else counts["train"] + counts["copies"]
    axes.set_xlim(right=1.4 * longest.max())  # room for the numbers
    return figure


def _draw_bars(axes: Axes, counts: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """One bar per class, stacked from the columns that ``colours`` names, with the numbers at its end."""
    rows = np.arange(len(counts))
    start = np.zeros(len(counts))
    for column, colour in colours.items():
        axes.barh(rows, counts[column], left=start, color=colour, height=0.7)
        start += counts[column].to_numpy()
    for row, numbers in zip(rows, counts[list(colours)].to_numpy(), strict=True):
        label = " + ".join(f"{number:,}" for number in numbers)
        axes.annotate(label, (numbers.sum(), row), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, [shorten(name, 20) for name in counts.index])
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
