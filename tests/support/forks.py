"""Python programs in processes of their own, forked from one that has loaded their slow libraries once.

A program sees its own environment, folder and standard streams. Only libraries that read none of these when they are
imported may be loaded beforehand.
"""

import gc
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Forks:
    """A running parent of forks."""

    def __init__(self, parent: subprocess.Popen[str]) -> None:
        self.parent = parent

    def run(self, arguments: list[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Like ``subprocess.run([sys.executable, *arguments])``; they begin with ``-c`` or ``-m``."""
        assert self.parent.stdin
        assert self.parent.stdout
        with tempfile.TemporaryDirectory() as folder:
            streams = [Path(folder, name) for name in ("stdout", "stderr")]
            job = {"arguments": arguments, "cwd": str(cwd), "env": env, "streams": [str(path) for path in streams]}
            print(json.dumps(job), file=self.parent.stdin, flush=True)
            status = int(self.parent.stdout.readline())
            return subprocess.CompletedProcess(arguments, status, *(path.read_text() for path in streams))


@contextmanager
def start_forks(*modules: str) -> Iterator[Forks]:
    """A parent that has imported ``modules``, until the block ends."""
    command = [sys.executable, "-m", "tests.support.forks", *modules]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        yield Forks(parent)
        assert parent.stdin
        parent.stdin.close()


def wait_for_job() -> dict[str, list[str]]:
    """Fork for every job, and return it in the child; the parent ends with its input."""
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            os.chdir(job["cwd"])
            os.environ.clear()
            os.environ.update(job["env"])
            for number, path in enumerate(["/dev/null", *job["streams"]]):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
            return dict(job)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    raise SystemExit


if __name__ == "__main__":
    for module in sys.argv[1:]:
        __import__(module)
    gc.freeze()  # else a fork looks for garbage among them when it ends
    kind, program, *rest = wait_for_job()["arguments"]
    sys.argv = [kind, *rest]
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(program, {"__name__": "__main__"})
