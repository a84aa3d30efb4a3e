"""Runs of the pipeline that take long, made once for all tests that look at what they left, in whatever worker."""

import contextlib
from pathlib import Path

import pytest

from tests.support.clone import make_clone
from tests.support.once import make_once
from tests.support.story import Story, play_first_run, play_rest


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of all of pytest-xdist's workers."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def first_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Story:
    """The beginning, which is enough for most tests."""

    def play() -> Story:
        folder = make_clone(tmp_path_factory.mktemp("home") / "clone")
        with contextlib.chdir(folder):
            return play_first_run(folder, request.getfixturevalue("preloaded"))

    return make_once(shared / "first_run.pickle", play)


@pytest.fixture(scope="session")
def story(request: pytest.FixtureRequest, first_run: Story, shared: Path) -> Story:
    """All of it."""

    def play() -> Story:
        with contextlib.chdir(first_run.folder):
            return play_rest(first_run, request.getfixturevalue("preloaded"))

    return make_once(shared / "story.pickle", play)
