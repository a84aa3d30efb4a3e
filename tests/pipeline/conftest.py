"""The story of `tests.support.story`, played once for all tests that look at what it left behind."""

import contextlib

import pytest

from tests.support.clone import make_clone
from tests.support.story import Story, play_story


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = make_clone(tmp_path_factory.mktemp("home") / "clone")
    with contextlib.chdir(folder):
        return play_story(folder)
