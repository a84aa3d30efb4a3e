"""Shards: the same images whether each has a file or not, the same bytes each time, and one message when damaged."""

import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.photos import shards
from stages.photos.decoding import read_photo
from stages.photos.shards import find_home, gather_images
from stages.runtime.errors import UserError

NAMES = ["cats/b.jpg", "cats/a.png", "cats-and-dogs/z.jpg", "dogs/ü ß.jpg", "dogs/images.zip"]
HOME = "data/raw"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "LIMIT", 3)
    monkeypatch.setattr(shards, "SIZE", 2)


def fill(folder: Path, names: list[str] = NAMES) -> dict[str, bytes]:
    """Write files. Returns: their bytes by the paths in a manifest."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"{name} ".encode() * number)  # the first is empty
    return {f"{HOME}/{name}": (folder / name).read_bytes() for name in names}


def test_few_images_stay_files(workspace: Path) -> None:
    fill(workspace / HOME, NAMES[:3])
    paths = [f"{HOME}/{name}" for name in NAMES[:3]]
    assert gather_images(workspace / HOME, paths) == paths
    assert read_photo(Path(paths[1])) == b"cats/a.png "


def test_every_image_is_found_with_its_bytes_in_its_order(workspace: Path) -> None:
    written = fill(workspace / HOME)
    places = gather_images(workspace / HOME, list(written))
    assert sorted(path.name for path in (workspace / HOME).iterdir()) == [f"images-000{n}.zip" for n in range(3)]
    for place, (path, data) in zip(places, written.items(), strict=True):
        assert read_photo(Path(place)) == data
        assert Path(place).parts[-2:] == Path(path).parts[-2:], "a manifest wants the class to be the folder"
        assert find_home(Path(place)) == find_home(Path(path)) == Path(HOME)
    assert [path for _, path in sorted(zip(places, written, strict=True))] == sorted(written)


def test_other_programs_read_them(workspace: Path) -> None:
    written = fill(workspace / HOME)
    gather_images(workspace / HOME, list(written))
    found: dict[str, bytes] = {}
    for shard in (workspace / HOME).iterdir():
        with zipfile.ZipFile(shard) as file:
            assert file.testzip() is None
            found |= {f"{HOME}/{name}": file.read(name) for name in file.namelist()}
    assert found == written


@settings(max_examples=10)
@given(st.permutations(NAMES))
def test_the_order_of_the_rows_changes_no_byte(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    made = []
    for order in (NAMES, names):
        folder = tmp_path_factory.mktemp("made")
        fill(folder)
        gather_images(folder, [f"{HOME}/{name}" for name in order])
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert made[0] == made[1]


def test_damage_is_one_message(workspace: Path) -> None:
    places = gather_images(workspace / HOME, list(fill(workspace / HOME)))
    path = Path(places[0])
    shard = workspace / path.parent.parent
    data = shard.read_bytes()
    for damaged, message in {data[:-9]: "is damaged", b"": "is damaged"}.items():
        shard.write_bytes(damaged)
        with pytest.raises(UserError, match=message):
            read_photo(path)
    shard.unlink()
    with pytest.raises(UserError, match="is missing"):
        read_photo(path)
    with zipfile.ZipFile(shard, "w") as file:
        file.writestr("cats/other.jpg", b"")
    with pytest.raises(UserError, match="is missing"):
        read_photo(path)


def test_an_exchanged_image_is_refused(workspace: Path) -> None:
    places = gather_images(workspace / HOME, list(fill(workspace / HOME)))
    path = Path(places[1])
    before = read_photo(path)
    shard = path.parent.parent
    shard.write_bytes(shard.read_bytes().replace(before, b"x" * len(before)))
    with pytest.raises(UserError, match="bytes are not those in the manifest"):
        read_photo(path, sha256(before).hexdigest())
