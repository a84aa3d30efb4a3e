"""The write-ahead log of a run: on disk first, then synced to the tracking server whenever that can be reached."""

import contextlib
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags

from stages.runtime.locks import try_lock
from stages.runtime.root import find_root
from stages.tracking import store
from stages.tracking.runs import MODEL_TAG, SECONDS_TAG

JOURNAL, FILES = "journal.json", "files"
EVERY_EPOCH = "train/loss"  # every epoch has it, so it shows which epochs are synced


@dataclass
class Journal:
    """All that is to be logged of a training. Files wait in a folder beside it.

    ``token`` is a tag that follows from what is trained, so that the run is found again even if the response to its
    creation was lost, and a training that has to be repeated adds no second run.
    ``datasets``: the fields of MLflow's Dataset. ``epochs``: time in milliseconds and metrics, by epoch.
    ``model_sha256``: empty until the training is complete. ``started``: time of the process's start, in milliseconds.
    ``seconds``: that the training took, without the pauses after which it was resumed.
    """

    name: str
    token: str
    params: dict[str, str]
    tags: dict[str, str]
    datasets: list[dict[str, str]] = field(default_factory=list)
    epochs: dict[str, dict[str, Any]] = field(default_factory=dict)
    model_sha256: str = ""
    ended: int = 0
    experiment: str = store.EXPERIMENT
    started: int | None = None
    seconds: float = 0.0

    def add_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Note an epoch, once."""
        self.epochs.setdefault(str(epoch), {"time": _now(), "metrics": metrics})

    def end(self, model_sha256: str) -> None:
        """The training is complete and made this model."""
        self.model_sha256, self.ended = model_sha256, _now()


def load_journal(folder: Path) -> Journal | None:
    """The journal in a folder, or None if there is none or it is damaged."""
    try:
        return Journal(**json.loads((folder / JOURNAL).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def sync_journal(journal: Journal, files: Path | None = None) -> str:
    """Log what the server lacks, and delete the files that it has then. Raises what MLflow raises.

    Returns: the id of the run.
    """
    client = store.open_store(journal.experiment)
    run_id = _open_run(client, journal)
    synced = {point.step for point in client.get_metric_history(run_id, EVERY_EPOCH)}
    for epoch, row in journal.epochs.items():
        if int(epoch) not in synced:
            points = [Metric(key, value, row["time"], int(epoch)) for key, value in row["metrics"].items()]
            client.log_batch(run_id, metrics=points)
    if journal.model_sha256:
        client.set_tag(run_id, MODEL_TAG, journal.model_sha256)
        if journal.seconds:
            client.set_tag(run_id, SECONDS_TAG, f"{journal.seconds:.1f}")
        client.set_terminated(run_id, "FINISHED", end_time=journal.ended)
    for file in sorted(files.rglob("*") if files else []):  # last, as they are large
        if file.is_file() and file.suffix != ".partial":
            parent = file.relative_to(files or "").parent.as_posix()
            with store.allow_slow_uploads():
                client.log_artifact(run_id, str(file), None if parent == "." else parent)
            file.unlink()
    return run_id


def remove_journal(folder: Path) -> None:
    """Delete a journal that is synced, and the folders above it that held nothing else."""
    shutil.rmtree(folder)
    with contextlib.suppress(OSError):  # not empty: a journal for another server, or checkpoints to resume from
        folder.parent.rmdir()


def replay_journals() -> None:
    """Sync complete trainings that this server was unreachable for. Raises what MLflow raises."""
    for file in sorted(find_root().glob(f".resume/*/*/{store.identify_store()}/{JOURNAL}")):
        journal, home = load_journal(file.parent), file.parent.parent
        if journal is None or not journal.model_sha256:
            continue  # a training that is not complete syncs by itself
        lock = try_lock(home.with_suffix(".lock"))
        if lock is None:
            continue  # it is about to
        with lock:
            if file.exists():  # else another process has just synced it
                sync_journal(journal, file.parent / FILES)
                remove_journal(file.parent)


def _open_run(client: MlflowClient, journal: Journal) -> str:
    """The id of the run of this journal, made now when the server does not have it."""
    experiment = client.get_experiment_by_name(journal.experiment).experiment_id
    found = client.search_runs([experiment], f"tags.journal = '{journal.token}'", max_results=1)
    tags = resolve_tags(journal.tags | {"journal": journal.token})  # user and program, as start_run() adds them
    run = found[0] if found else client.create_run(experiment, journal.started, tags, journal.name)
    run_id: str = run.info.run_id
    if not run.data.params:
        context = [InputTag("mlflow.data.context", "train")]
        client.log_inputs(run_id, [DatasetInput(Dataset(**fields), context) for fields in journal.datasets])
        client.log_batch(run_id, params=[Param(key, value) for key, value in journal.params.items()])
    if run.info.status not in ("RUNNING", "FINISHED") and not journal.model_sha256:
        client.update_run(run_id, status="RUNNING")
    return run_id


def _now() -> int:
    return int(time.time() * 1000)  # milliseconds
