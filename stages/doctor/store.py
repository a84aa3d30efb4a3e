"""The doctor on MLflow: can its database be read, does it find its artifacts, are its running runs alive?"""

from __future__ import annotations  # even a Python that is too old must run this far, to print that it is

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from stages.doctor.problem import Problem
from stages.runtime.locks import is_locked

ANSWER_SECONDS = 5
SILENT_MS = 3_600_000  # an hour: far longer than a run without a lock takes
FOLDER = "/mlartifacts"
PLACES = [  # where MLflow keeps absolute paths
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
]


def check_store(root: Path) -> Iterator[Problem]:
    """The database is intact, or the server responds, and MLflow can open it. No database yet is fine."""
    uri, database = os.environ.get("MLFLOW_TRACKING_URI", ""), find_database(root)
    if uri.startswith("http"):
        problem = ask_server(uri)
    elif database:
        problem = check_database(database) if database.exists() else None
    else:
        problem = None
    if problem:
        yield problem
    elif exists(root):
        from stages.tracking.store import open_store

        try:
            open_store()
        except Exception as error:  # MLflow lets the errors of many libraries through
            reason = " ".join(str(error).split())[:200]
            yield Problem(f"MLflow cannot open it: {reason}", _explain_renewal(database))


def find_database(root: Path) -> Path | None:
    """MLflow's SQLite file, whether it exists or not; None for a server."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def exists(root: Path) -> bool:
    """Whether there is a backend store, which opening would otherwise create."""
    database = find_database(root)
    return database is None or database.exists()


def ask_server(uri: str) -> Problem | None:
    """What is wrong with a tracking server. A name and password in its address are not repeated."""
    import requests

    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=ANSWER_SECONDS).raise_for_status()
    except requests.RequestException as error:
        server = urlsplit(uri)
        address = f"{server.scheme}://{server.netloc.rpartition('@')[2]}"
        what = f"no MLflow tracking server responds at {address} ({type(error).__name__})"
        return Problem(what, "start it, or unset MLFLOW_TRACKING_URI to use mlflow.db")
    return None


def check_database(database: Path) -> Problem | None:
    """What is wrong with a SQLite file. It is opened for writing, as SQLite then rolls back what a kill cut short."""
    try:
        uri = f"{database.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, ANSWER_SECONDS, uri=True)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.OperationalError as error:
        remedy = "end the program that uses it, or make the file yours to write"
        return Problem(f"{database.name} cannot be opened: {error}", remedy)
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict == "ok":
        return None
    first = verdict.splitlines()[0]
    return Problem(f"{database.name} is damaged: {first}", _explain_renewal(database))


def _explain_renewal(database: Path | None) -> str:
    if not database:
        return "ask whoever runs the server"
    return (
        f"mv {database.name} {database.name}.damaged, "
        "then `dvc repro --force --single-item evaluate` logs the results on disk to a new one"
    )


def check_artifacts(root: Path) -> Iterator[Problem]:
    """The database points to the artifacts in this folder, not to those in one that it was moved or copied from."""
    database, here = root / "mlflow.db", root / "mlartifacts"
    if find_database(root) != database or not database.exists() or check_database(database):
        return
    with closing(sqlite3.connect(database)) as connection:
        old = {prefix for table, column in PLACES for prefix in find_prefixes(connection, table, column)}
    for prefix in sorted(old - {here.as_uri()}):
        there = Path(unquote(urlsplit(prefix).path))
        if there.resolve() == here.resolve():
            continue
        what = f"mlflow.db points to the artifacts in {there}"
        if here.exists():
            yield Problem(what, f"point it to {here}", partial(move_prefix, database, prefix, here.as_uri()))
        else:
            yield Problem(what, f"move {there} to {here}, then make doctor FIX=1")


def find_prefixes(connection: sqlite3.Connection, table: str, column: str) -> set[str]:
    """The distinct values of a column up to the folder of all artifacts."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
        return set()
    rows = connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} LIKE 'file:///%'")
    parts = [f"{value}/".rpartition(f"{FOLDER}/") for (value,) in rows]
    return {before + FOLDER for before, found, _ in parts if found}


def move_prefix(database: Path, old: str, new: str) -> None:
    """Replace the start of every path in the database, all or none."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in PLACES:
            if find_prefixes(connection, table, column):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                )


def check_runs(root: Path) -> Iterator[Problem]:
    """No run is marked as RUNNING that no process works on."""
    if not exists(root) or any(check_store(root)):
        return
    from stages.tracking.runs import MODEL_TAG
    from stages.tracking.store import ABLATION, EXPERIMENT, open_store

    client = open_store()
    found = [client.get_experiment_by_name(name) for name in (EXPERIMENT, ABLATION)]
    ids = [experiment.experiment_id for experiment in found if experiment]
    for run in client.search_runs(ids, "attributes.status = 'RUNNING'"):
        if is_orphan(root, client, run):
            # evaluate opens a finished run once more, to add the model
            done = run.info.end_time is not None and MODEL_TAG in run.data.tags
            status = "FINISHED" if done else "KILLED"
            yield Problem(
                f"run {run.info.run_name} ({run.info.run_id}) is marked as RUNNING, but no process works on it",
                f"mark it as {status}" + ("" if done else "; `make repro` resumes it either way"),
                partial(client.set_terminated, run.info.run_id, status, run.info.end_time if done else None),
            )


def is_orphan(root: Path, client: Any, run: Any) -> bool:
    """Whether a run marked as RUNNING was left by a process that no longer exists.

    A training in this workspace, or in a DVC experiment's temporary copy of it, holds a lock. Every other run counts as
    left when nothing was logged for an hour: a comparison, a restored run, one that evaluate adds to, and on a server
    also that of another machine.
    """
    from stages.tracking.runs import MODEL_TAG

    name = f"{run.data.tags.get('arm')}-{run.data.tags.get('trial')}"
    trains = bool(re.fullmatch(r"\w+-\d+", name))
    if trains and any(is_locked(path) for path in (root / ".dvc/tmp").rglob(f"{name}.lock")):
        return False
    if trains and find_database(root) and not {MODEL_TAG, "restored"} & set(run.data.tags):
        return True
    signs = [run.info.start_time, run.info.end_time or 0]
    signs += [point.timestamp for key in run.data.metrics for point in client.get_metric_history(run.info.run_id, key)]
    return bool(time.time() * 1000 - max(signs) > SILENT_MS)
