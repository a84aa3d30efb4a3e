"""Run the stages of one trial on a node: take what is known from the DVC remote, and push what is new.

Command python -m stages.cluster.trial --trial 0
"""

import os
import subprocess
from pathlib import Path

from stages.cli.settle import run_commands
from stages.cli.stage import parse_trial, run_stage

STAGES = ("split", "augment", "train_original", "train_augmented", "evaluate")


def main() -> None:
    """Trials of one node share a cache, so that it gets the photos only once."""
    trial = parse_trial(__doc__)
    settings = {"core.no_scm": "true", "cache.dir": f"{find_cache()}", "cache.type": "reflink,symlink"}
    for name, value in settings.items():
        subprocess.run(["dvc", "config", "--local", name, value], check=True)
    stages = " ".join(f"{stage}@{trial}" for stage in STAGES)
    # --allow-missing: a stage that only lacks files is up to date, and nothing is pulled for it
    run_commands([f"dvc repro --pull --allow-missing evaluate@{trial}", f"dvc push --quiet {stages}"])


def find_cache() -> Path:
    """Where DVC's cache of this node lies: in the user's cache, as all of it is in the remote, too."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "augmentation-trials" / "dvc"


if __name__ == "__main__":
    run_stage(main)
