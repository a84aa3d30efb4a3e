"""Where the main repository is, also for an experiment that DVC runs in a temporary copy of it."""

import os
from pathlib import Path


def find_root() -> Path:
    """The main DVC repository: ``$DVC_ROOT``, else the nearest folder upwards with ``.dvc``, else the current one.

    A temporary copy lacks what git ignores, such as archives and the MLflow database, and is deleted at the end. The
    ablation is a DVC repository of its own within the main one.
    """
    if "DVC_ROOT" in os.environ:
        root = Path(os.environ["DVC_ROOT"]).absolute()
        return root.parent if root.name == "ablation" and (root.parent / ".dvc").is_dir() else root
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), here)
