"""What a Ray worker does for one trial. It is sent to the nodes as it is here, and so needs nothing but Python."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

Files = dict[str, bytes]
"""Content by path in the workspace."""


class TrialError(Exception):
    """A trial failed on a node; what it printed says why."""


def run_trial(trial: int, cores: int, code: Files, own: Files) -> Files:
    """Run a trial in a folder of its own, which is deleted at the end, with so many cores.

    When this worker is asked to end, or dies, so does all that it started.

    Returns: dvc.lock, and the files of metrics/. Raises TrialError when a stage failed.
    """
    with tempfile.TemporaryDirectory(prefix=f"trial-{trial}-") as name:
        folder = Path(name)
        for path, data in (code | own).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")} | {
            "LOKY_MAX_CPU_COUNT": f"{cores}",  # processes that make copies
            "OMP_NUM_THREADS": f"{cores}",
            "TURNS": "0",  # at the machine's cores: Ray gives a trial some that no other has
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        command = [sys.executable, "-m", "stages.cluster.trial", "--trial", f"{trial}"]
        with subprocess.Popen(command, cwd=folder, env=environment) as process:
            try:
                status = process.wait()
            except BaseException:
                process.terminate()
                process.wait()
                raise
        if status:
            raise TrialError(f"trial {trial} failed on {os.uname().nodename} (exit status {status})")
        paths = [folder / "dvc.lock", *(path for path in folder.glob("metrics/**/*") if path.is_file())]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
