"""Time and memory as trials become many: a small network on few photos, so that what a trial costs beside it shows."""

import json
import shutil
import time

from benchmarks.parts.growth import PARAMS, replace_photos
from benchmarks.processes import Usage
from benchmarks.table import Row
from benchmarks.workspace import Workspace

PHOTOS = 200
LOOKS = [5, 6]
TRAINED = 10  # trials at most; the report of more is made of copies of these under other numbers


def measure(workspace: Workspace, numbers: list[int]) -> list[Row]:
    """`make settle` to its end; then seconds per further trial, and what `make repro` without work and report take."""
    replace_photos(workspace, PHOTOS)
    workspace.change_params(PARAMS | {"train.batch_size": 32, "report.looks": LOOKS})
    settled = workspace.run("make", "settle")
    made = len(list((workspace.folder / "metrics/original").glob("*.json")))
    rows = [show(f"`make settle`, {made} trials", settled)]
    first: list[float] | None = None
    for trials in sorted(numbers):
        workspace.change_params({"report.looks": None, "trials": list(range(trials))})
        if trials <= TRAINED:
            rows += make_trials(workspace, trials - made, trials)
            made = max(made, trials)
        else:
            copy_trials(workspace, made, trials)
        used = workspace.run("python", "-m", "stages.report")
        first = first or [used.peak_mib]
        rows.append(show(f"report, {trials} trials", used))
        rows.append(Row("trials", f"report, {trials} trials", "MiB", [used.peak_mib], first, more_is_better=False))
    return rows


def make_trials(workspace: Workspace, new: int, trials: int) -> list[Row]:
    """Run the pipeline for ``new`` trials more, of ``trials`` in all, then once more."""
    started = time.perf_counter()
    workspace.run("make", "repro")
    rows = []
    if new > 0:
        seconds = [(time.perf_counter() - started) / new]
        rows.append(Row("trials", f"a trial more, up to {trials}", "s", seconds, more_is_better=False))
    return [*rows, show(f"`make repro` with nothing to do, {trials} trials", workspace.run("make", "repro"))]


def copy_trials(workspace: Workspace, made: int, trials: int) -> None:
    """Give what the first ``made`` trials left to those up to ``trials``, as far as report reads it."""
    for trial in range(made, trials):
        source = trial % made
        for folder in ("data/split", "data/augmented", "metrics/history", "metrics/predictions"):
            for file in (workspace.folder / folder).glob(f"*{source}.csv"):
                if file.stem.rpartition("-")[2] == str(source):
                    shutil.copy(file, file.with_stem(file.stem.removesuffix(str(source)) + str(trial)))
        for folder in ("metrics/robustness", "metrics/copies"):
            shutil.copy(workspace.folder / folder / f"{source}.csv", workspace.folder / folder / f"{trial}.csv")
        for folder in ("metrics/original", "metrics/augmented"):
            record = json.loads((workspace.folder / folder / f"{source}.json").read_text())
            (workspace.folder / folder / f"{trial}.json").write_text(json.dumps(record | {"trial": trial}))


def show(what: str, used: Usage) -> Row:
    """Seconds of a command, which are printed as well."""
    print(f"{what}: {used.wall_s:.1f} s", flush=True)
    return Row("trials", what, "s", [used.wall_s], more_is_better=False)
