"""Time and memory as trials become many: a small network on few photos, so that what a trial costs beside it shows."""

import time

from benchmarks.parts.growth import PARAMS, draw_photos
from benchmarks.processes import Usage
from benchmarks.table import Row
from benchmarks.workspace import Workspace

PHOTOS = 200
LOOKS = [5, 6]


def measure(workspace: Workspace, numbers: list[int]) -> list[Row]:
    """`make settle` to its end; then seconds per further trial, and what `make repro` without work and report take."""
    for archive in (workspace.folder / "data/downloads").glob("*.zip"):
        archive.unlink()
    draw_photos(PHOTOS, workspace.folder / "data/downloads/photos.zip")
    workspace.change_params(PARAMS | {"train.batch_size": 32, "report.looks": LOOKS})
    settled = workspace.run("make", "settle")
    made = len(list((workspace.folder / "metrics/original").glob("*.json")))
    rows = [name_row(f"`make settle`, {made} trials", settled)]
    first: list[float] | None = None
    for trials in sorted(numbers):
        workspace.change_params({"report.looks": None, "trials": list(range(trials))})
        started, new = time.perf_counter(), trials - made
        workspace.run("make", "repro")
        if new > 0:
            seconds = [(time.perf_counter() - started) / new]
            rows.append(Row("trials", f"a trial more, up to {trials}", "s", seconds, more_is_better=False))
        made = max(made, trials)
        rows.append(name_row(f"`make repro` with nothing to do, {trials} trials", workspace.run("make", "repro")))
        used = workspace.run("python", "-m", "stages.report")
        first = first or [used.peak_mib]
        rows.append(name_row(f"report, {trials} trials", used))
        rows.append(Row("trials", f"report, {trials} trials", "MiB", [used.peak_mib], first, more_is_better=False))
    return rows


def name_row(what: str, used: Usage) -> Row:
    """Seconds of a command."""
    print(f"{what}: {used.wall_s:.1f} s", flush=True)
    return Row("trials", what, "s", [used.wall_s], more_is_better=False)
