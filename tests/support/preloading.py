"""A process whose forks the stages are, as `make repro` starts one: see stages/cli/preload.py."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from stages.runtime.handover import ADDRESS
from tests.conftest import ROOT

# like DVC, a program that starts stages by a shell: it tells the address, and ends with its input
COMMAND = [
    "sh",
    "-c",
    f'until [ -e "${ADDRESS}.ready" ]; do sleep 0.1; done; echo "${ADDRESS}"; cat; exit 7',
]


@contextmanager
def preload() -> Iterator[dict[str, str]]:
    """Wait until it is ready. Yields: what a stage needs in its environment to be a fork of it."""
    command = [sys.executable, "-m", "stages.cli.preload", *COMMAND]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield {ADDRESS: process.stdout.readline().strip()}
        process.stdin.close()
        assert process.wait(timeout=10) == 7, "it ends as its command does"
