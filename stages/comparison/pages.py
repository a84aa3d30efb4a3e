"""The report as one self-contained page, and as Markdown for git. Both hold the same sentences, tables and charts."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from stages.comparison import tables, words
from stages.comparison.charts import Chart
from stages.comparison.figures import encode_svg
from stages.comparison.gallery import Pictures
from stages.comparison.labs import list_labs
from stages.comparison.provenance import describe_photos, list_params, list_provenance
from stages.comparison.study import ARMS, Study
from stages.comparison.summary import Answer, compute_guess, estimate_share

TEMPLATES = Path(__file__).parent / "templates"


def collect_content(study: Study, answer: Answer, params: dict[str, Any]) -> dict[str, Any]:
    """What both forms of the report say, without dates or absolute paths: the same from run to run."""
    shares = {arm: estimate_share(study.right[arm]) for arm in ARMS}
    guess = compute_guess(study.answers["original"]["target"])
    return {
        "study": study,
        "answer": answer,
        "question": words.QUESTION,
        "verdict": words.describe_verdict(answer),
        "scope": words.describe_scope(answer),
        "guessing": words.describe_guessing(shares, guess.accuracy),
        "counts": words.describe_counts(study),
        "need": words.describe_need(answer),
        "budget": words.describe_budget(study),
        "photos": describe_photos(study),
        "work": tables.list_work(study),
        "scores": tables.list_scores(study),
        "trials": tables.list_trials(study),
        "methods": tables.list_methods(study, answer.difference),
        "class_scores": tables.list_class_scores(study),
        "recalls": tables.list_recalls(study),
        "robustness": tables.list_robustness(study),
        "losses": tables.list_losses(study),
        "labs": list_labs(study, params),
        "models": tables.list_models(study),
        "provenance": list_provenance(study, params),
        "params": list_params(params),
    }


def render_markdown(content: Mapping[str, Any], drawn: Mapping[str, Chart]) -> str:
    """The report for git; its charts lie beside it in figures/."""
    environment = _build_environment(autoescape=False)
    environment.filters["md"] = escape_markdown
    return environment.get_template("report.md.j2").render(content, charts=drawn)


def render_page(content: Mapping[str, Any], drawn: Mapping[str, Chart], pictures: Pictures) -> str:
    """The report as one HTML file that needs no network: charts and photographs are inside."""
    environment = _build_environment(autoescape=True)
    svgs = {name: encode_svg(chart.figure, chart.title) for name, chart in drawn.items()}
    return environment.get_template("report.html.j2").render(content, charts=drawn, svgs=svgs, pictures=pictures)


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
