"""Trials as tasks of a Ray cluster: no more submitted than it can soon start, and retried when their worker dies."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stages.cluster import task
from stages.cluster.task import Files
from stages.runtime.errors import UserError

RETRIES = 3  # of a trial whose worker or node dies
PATIENCE = 60  # seconds in which trials end after Ctrl-C


@dataclass(frozen=True)
class Cluster:
    """Where trials run, what each of them takes there, and what its environment has beside the node's."""

    address: str
    cores: int
    gpus: float
    environment: dict[str, str]


def run_trials(
    cluster: Cluster, trials: list[int], code: Files, pack: Callable[[int], Files]
) -> Iterator[tuple[int, Files]]:
    """Yield each trial and what it returned, in the order in which they end; ``pack`` gives what only a trial needs.

    After a failure no further trial begins. Raises UserError for it when those that run have ended.
    """
    with connect(cluster) as ray:
        task_of_trial = ray.remote(num_cpus=cluster.cores, num_gpus=cluster.gpus, max_retries=RETRIES)(task.run_trial)
        shared, waiting = ray.put(code), list(trials)
        running: dict[Any, int] = {}
        failures: list[str] = []
        try:
            while running or waiting:
                while waiting and len(running) < count_places(ray, cluster):
                    trial = waiting.pop(0)
                    named = task_of_trial.options(name=f"trial {trial}")
                    running[named.remote(trial, cluster.cores, shared, pack(trial))] = trial
                [ended], _ = ray.wait(list(running))
                trial = running.pop(ended)
                try:
                    results = ray.get(ended)
                except ray.exceptions.RayError as error:
                    failures.append(describe_failure(trial, error))
                    waiting.clear()
                    continue
                yield trial, results
                print(f"cluster: trial {trial} is done; {len(running)} submitted, {len(waiting)} waiting", flush=True)
        finally:  # also when interrupted
            for each in running:
                ray.cancel(each)
            ray.wait(list(running), num_returns=len(running), timeout=PATIENCE)
    if failures:
        raise UserError(f"{'; '.join(failures)}. Fix that and run again: what was done is kept.")


@contextmanager
def connect(cluster: Cluster) -> Iterator[Any]:
    """Yield Ray, connected. Raises UserError when it is missing, of another version, or has no node for a trial."""
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # else it leaves out lines that two trials print
    try:
        import ray
    except ImportError as error:
        raise UserError("Ray is not installed here: make repro CLUSTER=auto installs it first.") from error
    ray.cloudpickle.register_pickle_by_value(task)
    check_address(cluster.address)
    try:
        ray.init(address=cluster.address, logging_level="warning", runtime_env={"env_vars": cluster.environment})
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).split(". ")[0]
        raise UserError(
            f"the Ray cluster CLUSTER={cluster.address} cannot be used: {reason}. Start one with ray start --head, or "
            "name its address, such as head:6379 (docs/scale.md)."
        ) from error
    try:
        check_nodes(ray, cluster)
        yield ray
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Raise UserError when nobody listens at host:port; Ray itself tries for minutes."""
    if found := re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address):
        try:
            socket.create_connection((found[1], int(found[2])), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise UserError(
                f"no Ray cluster listens at CLUSTER={address}: {error}. Start one with ray start --head, or name its "
                "address; auto is the cluster that this machine belongs to (docs/scale.md)."
            ) from error


def check_nodes(ray: Any, cluster: Cluster) -> None:
    """Raise UserError when no node is large enough for a trial, for which Ray would wait forever."""
    offers = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(has_place(offer, cluster) for offer in offers):
        found = ", ".join(f"{offer.get('CPU', 0):g} and {offer.get('GPU', 0):g}" for offer in offers)
        raise UserError(
            f"a trial takes {cluster.cores} cores (train.threads) and {cluster.gpus:g} GPUs (CLUSTER_GPUS), and no "
            f"node of the cluster has as many; they have {found}. Lower these, or add a larger node."
        )


def has_place(offer: dict[str, float], cluster: Cluster) -> bool:
    """Whether a trial fits on a node."""
    return offer.get("CPU", 0) >= cluster.cores and offer.get("GPU", 0) >= cluster.gpus


def count_places(ray: Any, cluster: Cluster) -> int:
    """How many trials to have submitted: as many as run at once, and as many again, so that no node waits for us."""
    offer = ray.cluster_resources()
    places = [offer.get("CPU", 0) // cluster.cores]
    if cluster.gpus:
        places.append(offer.get("GPU", 0) // cluster.gpus)
    return max(2 * int(min(places)), 1)


def describe_failure(trial: int, error: Exception) -> str:
    """One line; what the trial printed is above."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return lines[0] if isinstance(cause, task.TrialError) else f"trial {trial}: {type(error).__name__}: {lines[0]}"
