"""The pipeline beside its trainings: every stage, a run with nothing to do, and what a start costs."""

import re

from benchmarks.processes import Usage, alternate
from benchmarks.table import Row
from benchmarks.workspace import STAGES, Workspace

OUTSIDE_BAR = 40.0  # seconds of everything but training, on 2 cores
NOTHING_FACTOR, NOTHING_SECONDS = 1.5, 0.5  # a run with nothing to do, against `dvc status`
TRAININGS = ("train_original", "train_augmented")


def measure(workspace: Workspace, rounds: int) -> list[Row]:
    """Seconds of the default pipeline by stage, of `make repro` with nothing to do, and of starts."""
    workspace.change_params({"train.epochs": 1, "train.checkpoint_every": 1})  # training is not what is measured
    whole = workspace.run("make", "repro")
    stages = measure_stages(whole)
    rows = [
        Row("pipeline", f"stage {name}", "s", [seconds], more_is_better=False)
        for name, seconds in stages.items()
        if name not in TRAININGS
    ]
    training = sum(stages[name] for name in TRAININGS)
    outside = [whole.wall_s - training]
    rows.append(
        Row("pipeline", "`make repro` without the trainings", "s", outside, bar=OUTSIDE_BAR, more_is_better=False)
    )
    return rows + measure_nothing(workspace, rounds) + measure_starts(workspace, rounds)


def measure_stages(used: Usage) -> dict[str, float]:
    """Seconds of each stage of trial 0, from its start until DVC goes on, after it has recorded what is new."""
    seconds: dict[str, float] = {}
    running, started = "", 0.0
    for time, line in [*used.lines, (used.wall_s, "Running stage")]:
        if running and line.startswith(("Updating lock file", "Running stage", "Stage ")):
            seconds[running] = time - started
            running = ""
        if found := re.match(r"Running stage '(\w+)", line):
            running, started = found[1], time
    return {name: seconds[name] for name in STAGES if name in seconds}


def measure_nothing(workspace: Workspace, rounds: int) -> list[Row]:
    """`make repro` with nothing to do, against `dvc status`."""
    used = alternate({"repro": workspace.plan("make", "repro"), "status": workspace.plan("dvc", "status")}, rounds)
    repro, status = ([usage.wall_s for usage in usages] for usages in used.values())
    allowed = [NOTHING_FACTOR * seconds + NOTHING_SECONDS for seconds in status]
    what = f"`make repro` with nothing to do, against {NOTHING_FACTOR} × `dvc status` + {NOTHING_SECONDS} s"
    return [Row("pipeline", what, "s", repro, allowed, bar=1.0, more_is_better=False)]


def measure_starts(workspace: Workspace, rounds: int) -> list[Row]:
    """How long each stage's script takes to import what it needs."""
    scripts = [name for name in STAGES if name not in TRAININGS] + ["train"]
    used = alternate({name: workspace.plan("python", "-c", f"import stages.{name}") for name in scripts}, rounds)
    return [
        Row("start", f"stages/{name}.py", "s", [usage.wall_s for usage in usages], more_is_better=False)
        for name, usages in used.items()
    ]
