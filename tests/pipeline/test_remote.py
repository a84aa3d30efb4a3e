"""The commands of docs/remote.md, word by word: results are pushed from one clone, and pulled into a fresh one."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.clone import call, share_cache
from tests.support.s3 import CREDENTIALS, serve_bucket
from tests.support.story import Story

TEXT = (ROOT / "docs/remote.md").read_text()
RECORDER = """
import os, sys
def record(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):  # else: a Unix socket
        host = arguments[1][0]
    else:
        return
    with open(os.environ["CONNECTIONS"], "a") as file:
        print(host, file=file)
sys.addaudithook(record)
"""


def read_commands(heading: str) -> list[str]:
    """The commands in the first code block below a heading that begins with this."""
    match = re.search(rf"^## {heading}.*?```\n(.*?)```", TEXT, re.M | re.S)
    assert match
    return match[1].splitlines()


@dataclass(frozen=True)
class Host:
    """A folder for clones in which every connection that a command opens is written down."""

    home: Path

    def __post_init__(self) -> None:
        (self.home / "sitecustomize.py").write_text(RECORDER)
        (self.home / "connections").touch()

    def call(self, folder: str, command: str) -> str:
        return call(
            self.home / folder,
            command,
            status=0,
            **CREDENTIALS | {"PYTHONPATH": str(self.home), "CONNECTIONS": str(self.home / "connections")},
        )

    def list_peers(self) -> set[str]:
        """Hosts that were looked up or connected to."""
        return set((self.home / "connections").read_text().split())


def test_results_reach_a_fresh_clone_through_a_folder(first_run: Story, tmp_path: Path) -> None:
    host = Host(tmp_path)
    push(host, first_run, [line.replace("/mnt/share", str(tmp_path)) for line in read_commands("A folder")])
    pull(host)
    assert len(list((tmp_path / "dvc-store/files/md5").iterdir())) > 10
    assert host.list_peers() == set()


@pytest.mark.slow
def test_results_reach_a_fresh_clone_through_s3(first_run: Story, tmp_path: Path) -> None:
    host = Host(tmp_path)
    with serve_bucket("my-bucket") as url:
        push(host, first_run, [line.replace("http://127.0.0.1:9000", url) for line in read_commands("S3")])
        pull(host)
    assert host.list_peers() == {"127.0.0.1"}, "and nobody else is asked"


def push(host: Host, first_run: Story, commands: list[str]) -> None:
    """Run the commands in a clone of the story's results."""
    host.call("", f"git clone --quiet {first_run.folder} results")
    share_cache(first_run.folder, host.home / "results")
    output = {command: host.call("results", command) for command in commands}
    assert "files pushed" in output["dvc push"]


def pull(host: Host) -> None:
    """Follow the page in a clone of that clone; there is nothing left to run."""
    host.call("", "git clone --quiet results fresh")
    output = {command: host.call("fresh", command) for command in read_commands("In a fresh clone")}
    assert re.search(r"^A\s+models/original/0", output["dvc pull"], re.M)
    assert "Data and pipelines are up to date." in output["dvc repro"]
    assert "Running stage" not in output["dvc repro"]
    assert host.call("fresh", "git status --porcelain") == ""
    for name in ("models/original/0/model.safetensors", "metrics/report.html"):
        assert (host.home / "fresh" / name).read_bytes() == (host.home / "results" / name).read_bytes()
