"""Making the augmented copies of trial 0: the stage, against a plain AugLy loop, and by its number of processes."""

from functools import partial

from joblib import cpu_count

from benchmarks.processes import Usage, alternate
from benchmarks.table import Row
from benchmarks.workspace import ROOT, Workspace

STAGE = ("python", "-m", "stages.augment", "--trial", "0")
COPIES = 2  # as params.yaml has it


def measure(workspace: Workspace, rounds: int) -> list[Row]:
    """Copies/s of whole processes."""
    workspace.run("dvc", "repro", "--quiet", "augment@0")
    split = workspace.load_split()
    train = split[split["split"] == "train"]
    listing, folder = workspace.folder / "photos.txt", workspace.folder / "copies"
    listing.write_text("\n".join(train["path"]) + "\n")
    loop = ROOT / "benchmarks/baselines/augly_loop.py"
    used = alternate(
        {
            "loop": workspace.plan("python", str(loop), str(listing), str(folder)),
            "all cores": workspace.plan(*STAGE),
            "one process": workspace.plan(*STAGE, LOKY_MAX_CPU_COUNT="1"),
        },
        rounds,
    )
    rates = {name: list(map(partial(compute_rate, COPIES * len(train)), usages)) for name, usages in used.items()}
    cores = cpu_count()
    return [
        Row(
            "augmentation",
            f"stage against a plain AugLy loop, {cores} cores",
            "copies/s",
            rates["all cores"],
            rates["loop"],
        ),
        Row("augmentation", "stage in one process against the loop", "copies/s", rates["one process"], rates["loop"]),
        Row(
            "augmentation",
            f"stage with {cores} processes against one",
            "copies/s",
            rates["all cores"],
            rates["one process"],
        ),
    ]


def compute_rate(copies: int, usage: Usage) -> float:
    """Copies/s."""
    return copies / usage.wall_s
