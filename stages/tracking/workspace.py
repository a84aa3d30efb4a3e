"""Where a run came from: tags that lead from MLflow back to DVC and git."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

LOCK = Path("dvc.lock")
GIT_TAGS = "GIT_TAGS"
"""The environment variable with what `describe_git` found, for a trial on a cluster, whose folder has no git."""


def describe_workspace() -> dict[str, str]:
    """Tags that lead from a run to the DVC stage, the DVC experiment and the git commit it came from."""
    tags = {"dvc_stage": os.environ.get("DVC_STAGE", ""), "dvc_experiment": os.environ.get("DVC_EXP_NAME", "")}
    return tags | (json.loads(os.environ[GIT_TAGS]) if GIT_TAGS in os.environ else describe_git())


def describe_git() -> dict[str, str]:
    """Tags with the commit, and whether files differ from it."""
    # dvc.lock and metrics always differ while the pipeline runs; what makes a run dirty is code and params
    status = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!metrics")
    return {"git_commit": _git("rev-parse", "HEAD") or "", "git_dirty": str(bool(status)).lower()}


def read_upstream_md5s(paths: list[str]) -> dict[str, str]:
    """Tags ``md5:<path>`` with the hash that DVC knows each input by, as far as dvc.lock has it."""
    outs = {out["path"]: out["md5"] for stage in read_lock().values() for out in stage.get("outs", [])}
    return {f"md5:{path}": outs[path] for path in paths if path in outs}


def read_lock() -> dict[str, Any]:
    """The stages of dvc.lock by name; empty where there is no such file."""
    # ten times as fast as safe_load, which with fifty trials would take seconds
    lock = yaml.load(LOCK.read_text(), yaml.CSafeLoader) if LOCK.exists() else {}
    stages: dict[str, Any] = lock.get("stages", {})
    return stages


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None  # a downloaded copy without git
