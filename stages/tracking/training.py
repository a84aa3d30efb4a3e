"""The MLflow run of a training: its params, tags, datasets, scores of every epoch, and checkpoints."""

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mlflow
import pandas as pd
import psutil
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient

from stages.base.files import write_bytes, write_json
from stages.model.record import TrainRecord
from stages.tracking import store
from stages.tracking.journal import FILES, JOURNAL, Journal, load_journal, remove_journal, sync_journal
from stages.tracking.workspace import describe_workspace, read_upstream_md5s

SYNC_EVERY_S = 1.0  # epochs of a head alone take less than logging them
OUTAGE_BUDGET_S = 4.0  # failures that a training waits for in all; the last request may take 5 more


@dataclass
class TrackedRun:
    """The run of one training.

    A tracking server that is unreachable costs about `OUTAGE_BUDGET_S` in all, changes nothing in the training, and
    loses nothing: what is unsynced is logged at the next epoch, at the end, or by `replay_journals`. With
    ``REQUIRE_TRACKING=1`` it is an error.
    """

    folder: Path
    journal: Journal
    run_id: str = ""
    synced: bool = False
    synced_at: float = 0.0
    outage_s: float = 0.0
    monitor: SystemMetricsMonitor | None = None
    since: float = field(default_factory=lambda: psutil.Process().create_time())  # up to which journal.seconds counts

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Log the metrics of an epoch, once; epochs count from 1. Those that pass in no time are logged together."""
        if str(epoch) not in self.journal.epochs:
            self.journal.add_epoch(epoch, metrics)
            if self.synced and time.monotonic() < self.synced_at + SYNC_EVERY_S:
                self.write_journal()
            else:
                self.sync()

    def log_file(self, data: bytes, path: str) -> None:
        """Keep bytes until the next sync, as an artifact of the run."""
        write_bytes(self.folder / FILES / path, data)

    def finish(self, model_sha256: str) -> None:
        """The training is complete and made this model."""
        self.journal.end(model_sha256)
        self.sync()
        self.stop_monitor()

    def close(self) -> None:
        """Delete the journal if all of it is synced."""
        if self.synced:
            remove_journal(self.folder)

    def sync(self) -> None:
        """Write the journal, then log what the server lacks."""
        self.write_journal()
        self.synced = self.attempt(self._sync)
        self.synced_at = time.monotonic()

    def write_journal(self) -> None:
        """Keep on disk what is to be logged."""
        now = time.time()
        self.journal.seconds, self.since = self.journal.seconds + now - self.since, now
        write_json(self.folder / JOURNAL, asdict(self.journal))

    def attempt(self, action: Callable[[], object]) -> bool:
        """Log something while the outage budget lasts. Returns whether it was done."""
        if self.outage_s >= OUTAGE_BUDGET_S:
            return False
        started = time.monotonic()
        reason = store.attempt(action)
        if not reason:
            return True
        if not self.outage_s:
            print(
                f"warning: the tracking server is unreachable ({reason}): training continues. What is unsynced waits "
                f"in {self.folder}; evaluate uploads it.",
                file=sys.stderr,
            )
        self.outage_s += time.monotonic() - started
        return False

    def stop_monitor(self) -> None:
        """End the thread that watches the machine, unless it may be waiting for a server that is unreachable."""
        if self.monitor and self.synced:
            self.monitor.finish()
        self.monitor = None

    def _sync(self) -> None:
        self.run_id = sync_journal(self.journal, self.folder / FILES)
        if self.monitor is None and not self.journal.model_sha256:
            # system metrics are of this process only, so they are not in the journal
            logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)
            self.monitor = SystemMetricsMonitor(
                self.run_id, sampling_interval=5, samples_before_logging=1, resume_logging=True
            )
            self.monitor.start()


@contextmanager
def track_run(home: Path, journal: Journal) -> Iterator[TrackedRun]:
    """Open the run of a training, or continue the one whose journal for this server is below ``home``.

    It is marked as FAILED or KILLED when the block is left by an exception or a signal. A complete one that is only
    repeated, as by `dvc repro --force`, stays FINISHED: its contents are still true.
    """
    folder = home / store.identify_store()
    tracked = TrackedRun(folder, load_journal(folder) or journal)
    tracked.sync()
    try:
        yield tracked
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        if tracked.synced:
            tracked.sync()  # epochs since the last time
        tracked.synced = tracked.synced and tracked.attempt(lambda: _terminate(tracked.run_id, status))
        tracked.stop_monitor()
        raise


def track_training(
    home: Path,
    run: TrainRecord,
    params: dict[str, Any],
    tags: Mapping[str, str] = MappingProxyType({}),
    experiment: str = store.EXPERIMENT,
) -> AbstractContextManager[TrackedRun]:
    """Open the run of a training, as `track_run` does.

    Args:
        home: the folder of its checkpoints, whose name follows from what is trained.
        run: what is trained. params: all params, with dotted names. tags: beside those of every training.
        experiment: of MLflow.
    """
    return track_run(home, start_journal(home, run, params, dict(tags), experiment))


def start_journal(
    home: Path, run: TrainRecord, params: dict[str, Any], tags: dict[str, str], experiment: str
) -> Journal:
    """What the run of a training begins with; arguments as in `track_training`."""
    machine = run.machine
    about = {key: str(getattr(run, key)) for key in ("arm", "trial", "steps", "initial_weights_sha256")}
    about |= {"device": machine.device, "cpu": machine.cpu_name, "precision": machine.precision}
    workspace = describe_workspace()
    logged = select_params(params, run.arm)
    return Journal(
        name=name_run(run, workspace["dvc_experiment"], home.name),
        token=f"{run.name}/{home.name}",
        params={key: json.dumps(value) if isinstance(value, list) else str(value) for key, value in logged.items()},
        tags=tags | about | workspace | read_upstream_md5s(list(run.manifests)),
        datasets=[describe_dataset(Path(path), sha256) for path, sha256 in run.manifests.items()],
        experiment=experiment,
        started=int(1000 * psutil.Process().create_time()),
    )


def name_run(run: TrainRecord, experiment: str, key: str) -> str:
    """Arm and trial, the DVC experiment if there is one, and six digits of the hash of what is trained."""
    return " ".join(filter(None, [run.name, experiment, key[:6]]))


def select_params(params: dict[str, Any], arm: str) -> dict[str, Any]:
    """Those of the stages that feed this arm."""
    unused = ("trials", "evaluate", "report", "augment" if arm == "original" else "train.budget")
    return {key: value for key, value in params.items() if not key.startswith(unused)}


def describe_dataset(path: Path, sha256: str) -> dict[str, str]:
    """A manifest as MLflow describes a dataset, in plain strings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow registers its source for local files twice
        table, name = pd.read_csv(path, dtype=str), path.as_posix()
        dataset = mlflow.data.from_pandas(table, source=name, name=name, digest=sha256[:36])
    return dict(dataset._to_mlflow_entity())


def _terminate(run_id: str, status: str) -> None:
    client = MlflowClient()
    if client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, status)
