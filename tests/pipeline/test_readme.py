"""What README.md says agrees with the files."""

import json
import re
import subprocess
from itertools import pairwise
from statistics import fmean

import pandas as pd
import pytest
import yaml

from stages.comparison.statistics import estimate_mean
from tests.support.readme import README, ROOT, SOURCES, render_readme

TEXT = README.read_text()
STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


def read_committed(name: str) -> str:
    """A file as git has it: a run on other photos may have changed metrics/ in this workspace."""
    return subprocess.run(["git", "show", f"HEAD:{name}"], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_results_are_those_of_the_study() -> None:
    readme = read_committed("README.md")
    assert render_readme(readme, {name: json.loads(read_committed(name)) for name in SOURCES}) == readme, (
        "`make readme`"
    )


@pytest.mark.parametrize("folder", ["metrics", "docs/study/epochs", "docs/study/steps"])
def test_committed_results_are_of_the_photographs(folder: str) -> None:
    assert json.loads(read_committed(f"{folder}/comparison.json"))["source"] in ("archive", "kaggle")


@pytest.mark.parametrize("budget", ["epochs", "steps"])
def test_published_verdict_follows_from_the_published_predictions(budget: str) -> None:
    """The study's numbers, computed anew from the answers of both arms that lie beside them."""
    found = json.loads(read_committed(f"docs/study/{budget}/comparison.json"))
    right = {
        arm: [
            pd.read_csv(ROOT / f"docs/study/{budget}/predictions/{arm}-{trial}.csv") for trial in range(found["trials"])
        ]
        for arm in ("original", "augmented")
    }
    for arm, tables in right.items():
        assert fmean((table["pred"] == table["target"]).mean() for table in tables) == pytest.approx(
            found[arm]["accuracy"]
        )
        answers = [table.set_index("path") for table in tables]
        share = estimate_mean(
            pd.concat([each["pred"] == each["target"] for each in answers], axis=1).astype(float).T.to_numpy()
        )
        ends = f"({100 * share.interval.low:.1f} to {100 * share.interval.high:.1f})"
        assert f" | {100 * share.mean:.1f} % {ends} | " in TEXT
    gains = [
        (after.set_index("path")["pred"] == after.set_index("path")["target"]).astype(float)
        - (before.set_index("path")["pred"] == before.set_index("path")["target"])
        for before, after in zip(right["original"], right["augmented"], strict=True)
    ]
    estimate = estimate_mean(pd.concat(gains, axis=1).T.to_numpy())
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
