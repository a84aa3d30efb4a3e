"""The story of `tests.support.story`, played once for all tests that look at what it left behind."""

import contextlib
import pickle

import pytest
from filelock import FileLock

from tests.support.clone import make_clone
from tests.support.story import Story, play_story


@pytest.fixture(scope="session")
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Story:
    """Played by the first of pytest-xdist's workers that needs it, for all of them."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    with FileLock(shared / "story.lock"):
        kept = shared / "story.pickle"
        if not kept.exists():
            folder = make_clone(tmp_path_factory.mktemp("home") / "clone")
            with contextlib.chdir(folder):
                kept.write_bytes(pickle.dumps(play_story(folder, request.getfixturevalue("preloaded"))))
        played: Story = pickle.loads(kept.read_bytes())
        return played
