"""What the numbers rest on: photos, code, seeds, hardware and library versions."""

import subprocess
from typing import Any

from stages.comparison.cells import Table
from stages.comparison.study import Study
from stages.photos.origin import describe_source

CODE = ("stages", "dvc.yaml", "requirements.txt")


def describe_photos(study: Study) -> str:
    """One sentence on the origin of the photos."""
    return describe_source(study.photos["source"].iloc[0], study.photos["version"].iloc[0])


def find_code_commit() -> str:
    """The last git commit of what computes the results, so that committing the results themselves changes nothing."""
    commit = _git("log", "-1", "--format=%H", "--", *CODE)
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
    return f"{commit}{' and changes that are not committed' if changed else ''}" if commit else "not in git"


def list_provenance(study: Study, params: dict[str, Any]) -> Table:
    """Where everything came from."""
    machines = [trial["trained_on"] for trial in study.metrics["original"] + study.metrics["augmented"]]

    def gather(key: str) -> str:
        return ", ".join(sorted({str(machine[key]) for machine in machines}))

    libraries = {", ".join(f"{name} {number}" for name, number in machine["versions"].items()) for machine in machines}
    rows = {
        "photos": describe_photos(study),
        "code": find_code_commit(),
        "seed": str(params["seed"]),
        "device": f"{gather('device')} ({gather('cpu_name')}), threads: {gather('threads')}",
        "precision": gather("precision"),
        "trained with": "; ".join(sorted(libraries)),
    }
    return Table(["of", "value"], [[key, value] for key, value in rows.items()], names=2)


def list_params(params: dict[str, Any]) -> Table:
    """Every number that a user may change, as it was."""
    rows = [[key, str(value)] for key, value in params.items()]
    return Table(["param", "value"], rows, names=2)


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""  # a downloaded copy without git
