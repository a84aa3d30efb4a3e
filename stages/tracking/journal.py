"""The tracked run of a training: written to a journal on disk first, and told to the store when that can be reached."""

import contextlib
import json
import logging
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags

from stages.base.files import write_bytes, write_json
from stages.runtime.locks import try_lock
from stages.runtime.root import find_root
from stages.tracking import store as tracking

JOURNAL, FILES = "journal.json", "files"
EVERY_EPOCH = "train/loss"  # every epoch has it, so it shows which epochs the store knows
PATIENCE = 4.0  # seconds of failures after which a training no longer asks; the last request may take 5 more


@dataclass
class Journal:
    """All that the store shall know of a training. Files wait in a folder beside it.

    ``token`` is a tag that follows from what is trained, so that the run is found again even if its creation was not
    seen to succeed, and a training that has to be repeated adds no second run.
    ``datasets``: the fields of MLflow's Dataset. ``epochs``: time in milliseconds and metrics, by epoch.
    ``model_sha256``: empty until the training is complete.
    """

    name: str
    token: str
    params: dict[str, str]
    tags: dict[str, str]
    datasets: list[dict[str, str]] = field(default_factory=list)
    epochs: dict[str, dict[str, Any]] = field(default_factory=dict)
    model_sha256: str = ""
    ended: int = 0

    def add_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Note an epoch, once."""
        self.epochs.setdefault(str(epoch), {"time": _now(), "metrics": metrics})

    def end(self, model_sha256: str) -> None:
        """The training is complete and made this model."""
        self.model_sha256, self.ended = model_sha256, _now()


@dataclass
class TrackedRun:
    """The run of one training.

    A store that is away costs about `PATIENCE` seconds in all, changes nothing in the training, and loses nothing: what
    it lacks is told at the next epoch, at the end, or by `replay_journals`. With ``REQUIRE_TRACKING=1`` it is an error.
    """

    folder: Path
    journal: Journal
    run_id: str = ""
    told: bool = False
    lost: float = 0.0  # seconds
    monitor: SystemMetricsMonitor | None = None

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Log the metrics of an epoch, once; epochs count from 1."""
        if str(epoch) not in self.journal.epochs:
            self.journal.add_epoch(epoch, metrics)
            self.sync()

    def log_file(self, data: bytes, path: str) -> None:
        """Keep bytes for the store, as an artifact of the run."""
        write_bytes(self.folder / FILES / path, data)

    def finish(self, model_sha256: str) -> None:
        """The training is complete and made this model."""
        self.journal.end(model_sha256)
        self.sync()
        self.stop_monitor()

    def forget(self) -> None:
        """Delete the journal if the store knows all of it."""
        if self.told:
            shutil.rmtree(self.folder)
            with contextlib.suppress(OSError):  # not empty
                self.folder.parent.rmdir()

    def sync(self) -> None:
        """Write the journal, then tell the store what it lacks."""
        write_json(self.folder / JOURNAL, asdict(self.journal))
        self.told = self.attempt(self._tell)

    def attempt(self, action: Callable[[], object]) -> bool:
        """Do something with the store while patience lasts. Returns whether it was done."""
        if self.lost >= PATIENCE:
            return False
        started = time.monotonic()
        reason = tracking.attempt(action)
        if not reason:
            return True
        if not self.lost:
            print(
                f"warning: no tracking for now ({reason}): training goes on. What the store misses waits in "
                f"{self.folder}; evaluate tells it at the latest.",
                file=sys.stderr,
            )
        self.lost += time.monotonic() - started
        return False

    def stop_monitor(self) -> None:
        """End the thread that watches the machine, unless it may be waiting for a store that is away."""
        if self.monitor and self.told:
            self.monitor.finish()
        self.monitor = None

    def _tell(self) -> None:
        self.run_id = tell(self.journal, self.folder / FILES)
        if self.monitor is None and not self.journal.model_sha256:
            # what the machine did is of this process only: it is not in the journal
            logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)
            self.monitor = SystemMetricsMonitor(
                self.run_id, sampling_interval=5, samples_before_logging=1, resume_logging=True
            )
            self.monitor.start()


@contextmanager
def track_run(home: Path, journal: Journal) -> Iterator[TrackedRun]:
    """Open the run of a training, or go on with the one whose journal for this store is below ``home``.

    It is marked as FAILED or KILLED when the block is left by an exception or a signal. A complete one that is only
    repeated, as `dvc repro --force` does, stays FINISHED: what it says is true still.
    """
    folder = home / tracking.identify_store()
    tracked = TrackedRun(folder, load_journal(folder) or journal)
    tracked.sync()
    try:
        yield tracked
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        tracked.told = tracked.told and tracked.attempt(lambda: _terminate(tracked.run_id, status))
        tracked.stop_monitor()
        raise


def load_journal(folder: Path) -> Journal | None:
    """The journal in a folder, if there is a whole one."""
    try:
        return Journal(**json.loads((folder / JOURNAL).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def tell(journal: Journal, files: Path | None = None) -> str:
    """Bring the store up to date, and delete the files that it has; what it knows is not told again.

    Raises what MLflow raises.

    Returns: the id of the run.
    """
    client = tracking.open_store()
    run_id = _open_run(client, journal)
    told = {point.step for point in client.get_metric_history(run_id, EVERY_EPOCH)}
    for epoch, row in journal.epochs.items():
        if int(epoch) not in told:
            points = [Metric(key, value, row["time"], int(epoch)) for key, value in row["metrics"].items()]
            client.log_batch(run_id, metrics=points)
    if journal.model_sha256:
        client.set_tag(run_id, tracking.MODEL_TAG, journal.model_sha256)
        client.set_terminated(run_id, "FINISHED", end_time=journal.ended)
    for file in sorted(files.rglob("*") if files else []):  # last, as they are large
        if file.is_file() and file.suffix != ".partial":
            parent = file.relative_to(files or "").parent.as_posix()
            with tracking.allow_slow_uploads():
                client.log_artifact(run_id, str(file), None if parent == "." else parent)
            file.unlink()
    return run_id


def replay_journals() -> None:
    """Tell this store of complete trainings that it has not heard all of, as it was away. Raises what MLflow raises."""
    for file in sorted(find_root().glob(f".resume/*/*/{tracking.identify_store()}/{JOURNAL}")):
        journal, home = load_journal(file.parent), file.parent.parent
        if journal is None or not journal.model_sha256:
            continue  # a training that is not complete tells by itself
        lock = try_lock(home.with_suffix(".lock"))
        if lock is None:
            continue  # it is about to
        with lock:
            if not file.exists():
                continue  # it has
            tell(journal, file.parent / FILES)
            shutil.rmtree(home)


def describe_dataset(path: Path, sha256: str) -> dict[str, str]:
    """A manifest as MLflow describes a dataset, in plain strings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow registers its source for local files twice
        table, name = pd.read_csv(path, dtype=str), path.as_posix()
        dataset = mlflow.data.from_pandas(table, source=name, name=name, digest=sha256[:36])
    return dict(dataset._to_mlflow_entity())


def _open_run(client: MlflowClient, journal: Journal) -> str:
    """The id of the run of this journal, made now when the store does not have it."""
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id
    found = client.search_runs([experiment], f"tags.journal = '{journal.token}'", max_results=1)
    tags = resolve_tags(journal.tags | {"journal": journal.token})  # user and program, as start_run() adds them
    run = found[0] if found else client.create_run(experiment, tags=tags, run_name=journal.name)
    run_id: str = run.info.run_id
    if not run.data.params:
        context = [InputTag("mlflow.data.context", "train")]
        client.log_inputs(run_id, [DatasetInput(Dataset(**fields), context) for fields in journal.datasets])
        client.log_batch(run_id, params=[Param(key, value) for key, value in journal.params.items()])
    if run.info.status not in ("RUNNING", "FINISHED") and not journal.model_sha256:
        client.update_run(run_id, status="RUNNING")
    return run_id


def _terminate(run_id: str, status: str) -> None:
    client = MlflowClient()
    if client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, status)


def _now() -> int:
    return int(time.time() * 1000)  # milliseconds
