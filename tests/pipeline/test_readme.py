"""What README.md says agrees with the files."""

import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.comparison.statistics import LEVEL, estimate_mean
from tests.conftest import ROOT
from tests.support.readme import BLOCK, PAGES, README, STUDIES, render_blocks

TEXT = README.read_text()
STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_tables_are_those_of_the_studies(page: Path) -> None:
    text = page.read_text()
    assert BLOCK.search(text)
    assert render_blocks(text) == text, "`make readme`"


@pytest.mark.parametrize("folder", ["metrics", *(f"docs/study/{name}" for name in STUDIES)])
def test_committed_results_are_of_photographs(folder: str) -> None:
    """As git has them: a run on drawings may have changed metrics/ in this workspace."""
    shown = subprocess.run(["git", "show", f"HEAD:{folder}/comparison.json"], cwd=ROOT, capture_output=True, check=True)
    assert json.loads(shown.stdout)["source"] in ("archive", "kaggle")


@pytest.mark.parametrize("name", list(STUDIES))
def test_published_verdict_follows_from_the_published_predictions(name: str) -> None:
    """The study's numbers, computed anew from the predictions of both arms that lie beside them."""
    found = json.loads((ROOT / f"docs/study/{name}/comparison.json").read_text())
    table = pd.read_csv(ROOT / f"docs/study/{name}/predictions.csv")
    table = table[table["operation"] == "unchanged"]
    correct = {
        arm: (table[arm] == table["target"]).astype(float).groupby([table["trial"], table["path"]]).first().unstack()
        for arm in ("original", "augmented")
    }
    together = json.loads((ROOT / f"docs/study/{name}/summary.json").read_text())["groups"]
    number = {path: index for index, group in enumerate(together) for path in group}
    groups = np.array([number.get(path, 1000 + column) for column, path in enumerate(correct["original"].columns)])
    for arm, values in correct.items():
        assert values.mean(axis=1).mean() == pytest.approx(found[arm]["accuracy"])
        share = estimate_mean(values.to_numpy(), groups=groups)
        ends = f"({100 * share.interval.low:.1f} to {100 * share.interval.high:.1f})"
        assert f" | {100 * share.mean:.1f} {ends} | " in TEXT
    level = found["difference"].get("level", LEVEL)
    estimate = estimate_mean((correct["augmented"] - correct["original"]).to_numpy(), level=level, groups=groups)
    assert found["difference"]["low"] == pytest.approx(estimate.interval.low, abs=1e-6)
    assert found["difference"]["high"] == pytest.approx(estimate.interval.high, abs=1e-6)
    assert found["difference"]["p"] == pytest.approx(estimate.p, abs=1e-6)


def test_stages_are_those_of_the_pipeline() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.M) == STAGES
    (graph,) = re.findall(r"```mermaid\n(.*?)```", TEXT, re.S)
    assert set(re.findall(r"\w+", graph)) - {"flowchart", "LR"} == set(STAGES)


def test_graph_has_the_edges_of_the_pipeline() -> None:
    """An edge of the drawing is a file that one stage writes and the other reads."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    (graph,) = re.findall(r"```mermaid\n(.*?)```", TEXT, re.S)
    for line in graph.splitlines()[1:]:
        names = [name.strip() for name in line.split("-->")]
        for source, target in pairwise(names):
            source_stage, target_stage = (stages[name].get("do", stages[name]) for name in (source, target))
            outs = [out if isinstance(out, str) else next(iter(out)) for out in source_stage["outs"]]
            deps = target_stage["deps"]
            assert any(out == dep or out.startswith(f"{dep}/") for out in outs for dep in deps), (source, target)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make (\w+)", TEXT, re.M))))
def test_commands_exist(target: str) -> None:
    assert re.search(rf"^{target}:.*##", (ROOT / "Makefile").read_text(), re.M)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize(
    "key", sorted(set(re.findall(r"`(?:-S )?((?:fetch|split|augment|train|evaluate|report)\.\w+)", TEXT)))
)
def test_params_exist(key: str) -> None:
    section, name = key.split(".")
    assert name in yaml.safe_load((ROOT / "params.yaml").read_text())[section]
