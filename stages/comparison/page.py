"""The report: its sections in order, rendered as one self-contained page, and as Markdown for git."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from stages.base.files import replace_dir, write_bytes
from stages.comparison import figures
from stages.comparison.answer import Answer
from stages.comparison.blocks import Section, list_charts
from stages.comparison.history import Caveats
from stages.comparison.sections import (
    labs,
    looks,
    probabilities,
    provenance,
    robustness,
    scores,
    training,
    trials,
    work,
)
from stages.comparison.sections import verdict as verdicts
from stages.comparison.study import Study
from stages.photos.origin import describe_source

TEMPLATES = Path(__file__).parent / "templates"

EARLIER = {
    "split.scheme": "folds",
    **{"augment.policy": "augly", "augment.mode": "copies"},
    **{"model.name": "resnet50", "model.weights": None, "model.freeze": "none", "model.normalization": None},
    **{
        "train.optimizer": "adam",
        "train.schedule": "constant",
        "train.weight_decay": 0.0,
        "train.label_smoothing": 0.0,
    },
}
"""Params at the values that were in force before they could be chosen."""


@dataclass(frozen=True)
class Report:
    """Everything that the page and the Markdown say. ``notice``: that the photos are drawings, or empty."""

    question: str
    verdict: str
    facts: list[tuple[str, str]]
    notice: str
    sections: list[Section]


def complete_params(params: dict[str, Any]) -> dict[str, Any]:
    """Params (with dotted names) with those that a study lacks which was published before there were such."""
    return EARLIER | {"model.image_size": params.get("train.image_size")} | params


def build_report(
    study: Study, answer: Answer, params: dict[str, Any], gallery: list[Section], caveats: Caveats | None = None
) -> Report:
    """Put the sections in order.

    ``params``: with dotted names. ``gallery``: sections of photographs, which only the page shows; none where the
    photographs are not at hand. ``caveats``: what earlier looks do to the verdict.
    """
    known, caveats = complete_params(params), caveats or Caveats()
    given = known["split.scheme"] == "given"
    photos, several = "pictures" if study.is_sample else "photos", "s" * (answer.trials > 1)
    optional = [
        verdicts.build(study, answer, caveats.text, given=given),
        looks.build(study, answer, late=bool(caveats.looks)),
        work.build(study, known, given=given),
        *gallery,
        trials.build(study, answer.difference, given=given),
        scores.build(study),
        labs.build(study, known),
        training.build(study),
        probabilities.build(study, answer.level),
        robustness.build(study, known),
        provenance.build(study, params),
    ]
    sections = [section for section in optional if section]
    return Report(
        question=verdicts.QUESTION,
        verdict=verdicts.describe_verdict(answer),
        facts=[
            (f"{answer.photos:,}", f"test {photos}"),
            (f"{answer.trials}", f"trial{several} of both arms"),
            (f"±{100 * answer.margin:g}", "percentage points margin"),
        ],
        notice=mark_drawings(study, sections),
        sections=sections,
    )


def mark_drawings(study: Study, sections: list[Section]) -> str:
    """Say on every chart that the photos are drawings, where they are. Returns: these words, or nothing."""
    if not study.is_sample:
        return ""
    notice = describe_source(study.first.source, study.first.version)
    for chart in list_charts(sections):
        chart.figure.supxlabel(notice, fontsize=8)  # a title would be drawn over a legend above the axes
    return notice


def save_report(report: Report, markdown: Path, page: Path, charts: Path) -> None:
    """Write the Markdown, the page, and the folder of charts that the Markdown shows."""
    rendered = render_page(report)
    with replace_dir(charts) as folder:
        for chart in list_charts(report.sections):
            figures.save_figure(chart.figure, folder / f"{chart.name}.png")
    write_bytes(markdown, render_markdown(report).encode())
    write_bytes(page, rendered.encode())


def render_markdown(report: Report) -> str:
    """The report for git; its charts lie beside it in figures/."""
    environment = _build_environment(autoescape=False)
    environment.filters["md"] = escape_markdown
    return environment.get_template("report.md.j2").render(report=report)


def render_page(report: Report) -> str:
    """The report as one HTML file that needs no network: charts and photographs are inside.

    A no-break space keeps each percent sign on the line of its number.
    """
    environment = _build_environment(autoescape=True)
    environment.filters["svg"] = lambda chart: figures.encode_svg(chart.figure, chart.title)
    page = environment.get_template("report.html.j2").render(report=report)
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", page)


def _build_environment(*, autoescape: bool) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def escape_markdown(text: Any) -> str:
    """Text that Markdown shows as it is, on one line; `code` stays code."""
    escaped = re.sub(r"([\\*_|<>\[\]~$&])", r"\\\1", " ".join(str(text).split()))
    return re.sub(r"`[^`]*`", lambda code: re.sub(r"\\([^|])", r"\1", code[0]), escaped)
