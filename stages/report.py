"""Put all trials together: tables, figures and one honest sentence.

Reads   params trials, and for these trials only: data/split/, data/augmented/, metrics/<arm>/, metrics/history/,
        metrics/predictions/; data/manifest.csv, data/quarantine.csv, data/raw/
Writes  metrics/comparison.json, metrics/report.md, metrics/figures/*.png
        data/sheets/*.png: these show the photographs, so they stay out of git
Command python -m stages.report   (about 5 seconds)
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from statistics import fmean, mean, stdev
from typing import Any, cast

import jinja2
import numpy as np
import pandas as pd
from PIL import Image

from stages.common import figures
from stages.common.errors import UserError, run_stage
from stages.common.files import write_bytes, write_json
from stages.common.images import load_photo
from stages.common.manifest import COPY_COLUMNS, PHOTO_COLUMNS, PHOTOS, SPLIT_COLUMNS, load_manifest
from stages.common.params import load_params
from stages.common.provenance import describe_source

ARMS = ("original", "augmented")
COMPARISON, REPORT = Path("metrics/comparison.json"), Path("metrics/report.md")
FIGURES, SHEETS = Path("metrics/figures"), Path("data/sheets")

HEADLINE = ["accuracy", "macro_f1", "weighted_f1", "log_loss"]
SHEET_ROWS, SHEET_COPIES, SHEET_CASES = 6, 4, 12  # pictures at most

Metrics = dict[str, list[dict[str, Any]]]
"""Per arm the contents of metrics/<arm>/<trial>.json, one element per trial."""


@dataclass(frozen=True)
class Study:
    """What the earlier stages made. Lists have one element per trial, in the order of params."""

    trials: list[int]
    photos: pd.DataFrame
    quarantined: int
    split: pd.DataFrame  # of the first trial
    copies: pd.DataFrame  # of the first trial
    metrics: Metrics
    histories: dict[str, list[pd.DataFrame]]
    predictions: dict[str, list[pd.DataFrame]]


def main() -> None:
    """Write the comparison, the report and its figures."""
    study = load_study(load_params().trials)
    comparison = compute_comparison(study.metrics)
    notice = describe_source(comparison["source"], study.metrics["original"][0]["version"])
    draw_figures(study, notice if comparison["source"] == "sample" else "")
    write_json(COMPARISON, comparison)
    write_bytes(REPORT, render_report(study, notice).encode())
    print(summarise(comparison, describe_result(study.metrics), notice))


def load_study(trials: list[int]) -> Study:
    """Read the files of ``trials``. Raises UserError naming the first that is missing or damaged."""

    def load_frames(pattern: str, columns: list[str]) -> dict[str, list[pd.DataFrame]]:
        return {arm: [load_manifest(Path(pattern.format(arm, trial)), columns) for trial in trials] for arm in ARMS}

    histories = load_frames("metrics/history/{}-{}.csv", ["epoch", *figures.CURVES])
    return Study(
        trials=trials,
        photos=load_manifest(PHOTOS, PHOTO_COLUMNS),
        quarantined=len(pd.read_csv(_require(Path("data/quarantine.csv")), dtype=str)),
        split=load_manifest(Path(f"data/split/{trials[0]}.csv"), SPLIT_COLUMNS),
        copies=load_manifest(Path(f"data/augmented/{trials[0]}.csv"), COPY_COLUMNS),
        metrics={arm: [_load_json(Path(f"metrics/{arm}/{trial}.json")) for trial in trials] for arm in ARMS},
        histories={arm: [frame.astype(float) for frame in frames] for arm, frames in histories.items()},
        predictions=load_frames("metrics/predictions/{}-{}.csv", ["path", "target", "pred"]),
    )


def _require(path: Path) -> Path:
    if not path.exists():
        raise UserError(f"{path} is missing. Run `dvc repro`, which makes it.")
    return path


def _load_json(path: Path) -> Any:
    try:
        return json.loads(_require(path).read_bytes())
    except ValueError as error:
        raise UserError(f"{path} cannot be read as JSON ({error}). Delete it and run `dvc repro`.") from error


def compute_comparison(metrics: Metrics) -> dict[str, Any]:
    """The few numbers that `dvc metrics diff` shows: means over trials; photos are summed over them."""
    original, augmented = metrics["original"], metrics["augmented"]
    means = {arm: {name: fmean(trial[name] for trial in metrics[arm]) for name in HEADLINE} for arm in ARMS}
    return {
        "source": original[0]["source"],
        "trials": len(original),
        "test_photos": mean(trial["test_photos"] for trial in original),
        **{arm: {name: round(value, 6) for name, value in means[arm].items()} for arm in ARMS},
        "difference": {
            "accuracy": round(means["augmented"]["accuracy"] - means["original"]["accuracy"], 6),
            "photos": sum(_count_right(augmented)) - sum(_count_right(original)),
        },
    }


def _count_right(trials: list[dict[str, Any]]) -> list[int]:
    return [int(np.trace(trial["confusion_matrix"])) for trial in trials]


def describe_result(metrics: Metrics) -> str:
    """What may be said in words: photos, repeats, and how long each arm was trained."""
    photos = sum(trial["test_photos"] for trial in metrics["original"])
    right = {arm: _count_right(metrics[arm]) for arm in ARMS}
    original, augmented = sum(right["original"]), sum(right["augmented"])
    gain = augmented - original
    verb = f"got {abs(gain)} {'more' if gain > 0 else 'fewer'} right than" if gain else "got as many right as"
    result = f"the augmented arm {verb} the original arm ({augmented} against {original})"
    gains = [a - o for o, a in zip(right["original"], right["augmented"], strict=True)]
    if len(gains) == 1:
        claim = f"Of {photos} test photos {result}. One trial without a repeat cannot say how much of that is noise."
    else:
        claim = (
            f"Of {photos} test answers in {len(gains)} trials {result}; from trial to trial the difference ran from "
            f"{min(gains):+d} to {max(gains):+d} photos. No test of significance was made, so this is no proof."
        )
    return f"{claim} {_describe_steps(metrics)}"


def _describe_steps(metrics: Metrics) -> str:
    steps = {arm: round(fmean(trial["steps"] for trial in metrics[arm])) for arm in ARMS}
    unit = "optimizer steps per trial" if len(metrics["original"]) > 1 else "optimizer steps"
    if steps["original"] == steps["augmented"]:
        return f"Both arms took {steps['original']:,} {unit}."
    return f"The augmented arm took {steps['augmented']:,} {unit}, the original {steps['original']:,}."


def summarise(comparison: dict[str, Any], result: str, notice: str) -> str:
    """What the terminal shows. On the sample the first and the last line say so."""
    sample = [notice] if comparison["source"] == "sample" else []
    table = pd.DataFrame({arm: comparison[arm] for arm in ARMS})
    table["difference"] = (table["augmented"] - table["original"]).map("{:+.4f}".format)
    files = f"report {REPORT}, pictures {SHEETS}/"
    return "\n".join([*sample, "", table.to_string(float_format="{:.4f}".format), "", files, "", result, *sample])


def render_report(study: Study, notice: str) -> str:
    """The report as Markdown, without dates or absolute paths: the same from run to run."""
    loader = jinja2.FileSystemLoader(Path(__file__).with_name("templates"))
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"md": _escape, "span": _format_span}
    return environment.get_template("report.md.j2").render(
        study=study,
        first=study.metrics["original"][0],
        notice=notice,
        result=describe_result(study.metrics),
        collect=partial(collect, study.metrics),
        compare=partial(compare, study.metrics),
        right={arm: _count_right(study.metrics[arm]) for arm in ARMS},
    )


def _escape(text: Any) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(str(text).split()))


def _format_span(values: Iterable[float]) -> str:
    """``40``, or ``38 to 40`` where trials differ."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def collect(metrics: Metrics, arm: str, *keys: str) -> list[Any]:
    """One value, found by nested ``keys``, of every trial of an arm."""
    return [reduce(getitem, keys, cast(Any, trial)) for trial in metrics[arm]]


def compare(metrics: Metrics, *keys: str) -> list[str]:
    """A value of both arms, ready to print: original, augmented, difference.

    Each is a mean ± standard deviation over trials, the mean alone of one trial, n/a when a trial has no value.
    """
    original, augmented = (collect(metrics, arm, *keys) for arm in ARMS)
    if None in original + augmented:
        return ["n/a"] * 3
    gains = [a - o for o, a in zip(original, augmented, strict=True)]
    return [
        f"{fmean(values):{form}}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")
        for values, form in ((original, ".4f"), (augmented, ".4f"), (gains, "+.4f"))
    ]


def rank_disagreements(predictions: dict[str, list[pd.DataFrame]], trials: list[int]) -> pd.DataFrame:
    """Test answers in which the arms differ, first those on which both models together were surest.

    Returns: trial, path, target, and per arm its answer and the probability of that: original, p_original, ...
    Raises UserError when the arms answered for different photos.
    """
    sides = []
    for arm in ARMS:
        answers = pd.concat(predictions[arm], keys=trials, names=["trial", None])
        answers = answers.reset_index("trial").set_index(["trial", "path", "target"])
        sureness = answers.filter(regex="^p_").astype(float).max(axis=1)
        sides.append(pd.DataFrame({arm: answers["pred"], f"p_{arm}": sureness}))
    if unpaired := set(sides[0].index) ^ set(sides[1].index):
        trial, path, _ = min(unpaired)
        raise UserError(
            f"only one arm of trial {trial} answers for {path} in metrics/predictions/; both must answer for the same "
            "photos. Delete that folder and run `dvc repro`."
        )
    both = sides[0].join(sides[1]).reset_index()
    differ = both[both["original"] != both["augmented"]]
    differ = differ.assign(sureness=differ["p_original"] + differ["p_augmented"])
    return differ.sort_values(["sureness", "path", "trial"], ascending=[False, True, True], ignore_index=True)


def choose_pictures(split: pd.DataFrame, copies: pd.DataFrame) -> list[list[tuple[str, list[str]]]]:
    """For the contact sheet: a few train photos of each class, each followed by its first copies.

    They are chosen by hash, so that names and listing order decide nothing.
    Returns: rows of (path, lines to write under it).
    """
    train = split[split["split"] == "train"].sort_values(["class", "sha256", "path"])
    sources = train.groupby("class").head(max(1, SHEET_ROWS // train["class"].nunique())).head(SHEET_ROWS)
    rows = []
    for path, name in zip(sources["path"], sources["class"], strict=True):
        own = copies[copies["source_path"] == path].sort_values("copy", key=lambda numbers: numbers.astype(int))
        captions = own["operations"].map(json.loads).map(figures.describe_operations)
        rows.append([(path, [Path(path).name, name]), *zip(own["path"], captions, strict=True)][: 1 + SHEET_COPIES])
    return rows


def draw_figures(study: Study, caption: str) -> None:
    """Draw and save the figures, the charts under a caption; those that show photographs go to their own folder."""
    class_names = study.metrics["original"][0]["class_names"]
    parts = {side: study.split[study.split["split"] == side] for side in ("train", "test")} | {"copies": study.copies}
    counts = pd.DataFrame({name: part["class"].value_counts() for name, part in parts.items()}).reindex(class_names)
    matrices = {arm: np.sum([trial["confusion_matrix"] for trial in study.metrics[arm]], axis=0) for arm in ARMS}
    chosen = choose_pictures(study.split, study.copies)
    pictures = [[figures.Picture(_load_thumbnail(path), lines) for path, lines in row] for row in chosen]
    differ = rank_disagreements(study.predictions, study.trials)
    shown = [_load_thumbnail(path) for path in differ["path"].head(SHEET_CASES)]
    answers = sum(map(len, study.predictions["original"]))
    charts = {
        "counts": figures.plot_counts(counts.fillna(0).astype(int)),
        "learning_curves": figures.plot_learning_curves(study.histories),
        "confusion": figures.plot_confusion(matrices, class_names),
    }
    for name, figure in charts.items():
        if caption:
            figure.suptitle(caption, fontsize=8)
        figures.save_figure(figure, FIGURES / f"{name}.png")
    figures.save_figure(figures.plot_contact_sheet(pictures), SHEETS / "copies.png")
    figures.save_figure(figures.plot_disagreements(differ, shown, answers), SHEETS / "disagreements.png")


def _load_thumbnail(path: str) -> Image.Image:
    image = load_photo(Path(path))
    image.thumbnail((480, 480), Image.Resampling.LANCZOS)  # pixels: more than a sheet's cell has
    return image


if __name__ == "__main__":
    run_stage(main)
