"""Run the trials that are out of date on a Ray cluster, several at once, and bring their results into this workspace.

Each trial runs in a folder of its own on some node, as `stages.cluster.trial` says. Photos, copies and models travel
through the DVC remote, the small files in metrics/ and what DVC notes in dvc.lock through Ray, and MLflow's runs go to
its tracking server. `dvc repro` then finds all trials up to date.

Command python -m stages.cluster      all trials of params.yaml   (make repro CLUSTER=auto)
        python -m stages.cluster 0    that one
"""

import argparse
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from stages.cli.params import Params, load_params
from stages.cli.settle import find_stale
from stages.cli.stage import run_stage
from stages.cluster.checks import check_request
from stages.cluster.payload import is_of, merge_results, pack_code, pack_trial
from stages.cluster.queue import Cluster, run_trials
from stages.model.params import find_file
from stages.runtime.errors import UserError
from stages.runtime.locks import try_lock
from stages.runtime.root import find_root
from stages.tracking.workspace import GIT_TAGS, describe_git, read_lock

Entry = dict[str, Any]
"""What dvc.lock has of a stage."""

PASSED = ("AWS_", "AZURE_", "GOOGLE_", "MLFLOW_", "REQUIRE_TRACKING")
"""What the names of environment variables begin with that a trial gets: credentials, and where to track."""


def main() -> None:
    """Run what is stale; keep the results of all that were done, also when one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", nargs="*", type=int)
    chosen = parser.parse_args().trials
    params = load_params()
    threads, gpus = check_request(params)
    with hold_lock(find_root() / ".dvc/tmp/cluster.lock"):
        stale = find_stale()
        trials = [trial for trial in chosen or params.trials if f"{trial}" in stale]
        if trials:
            share_known(trials)
            run_on_cluster(params, trials, find_lost(trials), threads, gpus)


def run_on_cluster(params: Params, trials: list[int], lost: set[str], threads: int, gpus: float) -> None:
    """Run these trials, with what is ``lost`` of them; pull what they made. Raises UserError when one failed."""
    code = pack_code(find_file(params.model.weights))
    environment = {name: value for name, value in os.environ.items() if name.startswith(PASSED)}
    environment[GIT_TAGS] = json.dumps(describe_git())
    cluster = Cluster(os.environ["CLUSTER"], threads, gpus, environment)
    done = []
    try:
        for trial, results in run_trials(cluster, trials, code, partial(pack_trial, lost=lost)):
            merge_results(trial, results)
            done.append(trial)
    finally:
        if done:
            call_dvc("pull", "--quiet", *(name for name in read_lock() if name.partition("@")[2] in map(str, done)))


def share_known(trials: list[int]) -> None:
    """Push what a trial may need and this workspace has: the photos, and what earlier runs of these trials left."""
    stages = [("fetch", read_lock().get("fetch", {})), *list_stages(trials)]
    call_dvc("push", "--quiet", *(out for _, entry in stages for out in list_outs(entry) if Path(out).exists()))


def find_lost(trials: list[int]) -> set[str]:
    """The stages of these trials whose results are neither here nor in the remote: git brings the hashes of any.

    What is in the remote alone is pulled, as it is when its trial is done.
    """
    lost = set()
    for name, entry in list_stages(trials):
        if not all(Path(out).exists() for out in list_outs(entry)):
            pulled = subprocess.run(["dvc", "pull", "--quiet", name], check=False, stderr=subprocess.DEVNULL)
            if pulled.returncode:
                lost.add(name)
    return lost


def list_stages(trials: list[int]) -> list[tuple[str, Entry]]:
    """The stages of these trials that dvc.lock knows, each with its entry."""
    return [(name, entry) for name, entry in read_lock().items() if any(is_of(name, trial) for trial in trials)]


def list_outs(entry: Entry) -> list[str]:
    """What travels through the remote."""
    return [out["path"] for out in entry.get("outs", []) if not out["path"].startswith("metrics/")]


def call_dvc(*arguments: str) -> None:
    """Raises UserError when DVC fails; it has said why."""
    if subprocess.run(["dvc", *arguments], check=False).returncode:
        raise UserError(f"dvc {arguments[0]} failed, as it says above. Fix that and run again.")


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Raise UserError while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = try_lock(path)
    if lock is None:
        raise UserError(
            f"another run on a cluster is active in this workspace (PID {path.read_text()}). Wait until it ends."
        )
    with lock:
        yield


if __name__ == "__main__":
    run_stage(main)
