"""A zip or a folder on disk: read in place, and nothing unsafe, damaged or endless gets through."""

import os
import shutil
import stat
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from stages.base.files import compute_sha256
from stages.photos.decoding import BadImage
from stages.runtime.errors import UserError
from stages.sources import archive
from stages.sources.archive import check_room, find_archive, list_archive, list_folder
from tests.support.pictures import make_folder, make_zip

FILES = {"test/cats/1.jpg": b"one", "test/dogs/2 (b).jpg": b"two" * 500, "test/dogs/é.jpg": b"", "notes.txt": b"x"}


def test_zip_and_folder_list_and_give_the_same(tmp_path: Path) -> None:
    packed, version = list_archive(make_zip(tmp_path / "a.zip", {**FILES, "test/birds/": b"", "test/": b""}))
    folder = make_folder(tmp_path / "a", FILES)
    (folder / "test/birds").mkdir()
    loose, no_version = list_archive(folder)
    assert {name: file.read() for name, file in packed.items() if not name.endswith("/")} == FILES
    assert {name: file.read() for name, file in loose.items() if not name.endswith("/")} == FILES
    assert packed.keys() - FILES.keys() == loose.keys() - FILES.keys() == {"test/birds/"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.zip"]  # nothing was unpacked
    assert no_version == ""
    assert version == f"sha256:{compute_sha256(tmp_path / 'a.zip')[:12]}"


# Which archive


def test_finds_the_one_archive_below_the_root(tmp_path: Path) -> None:
    root = tmp_path / "a [1] root"  # brackets are no pattern in the root's own name
    path = make_zip(root / "data" / "cats.zip", FILES)
    assert find_archive("data/*.zip", root) == path
    assert find_archive("data/cats.zip", root) == path
    assert find_archive("data", root) == root / "data"
    assert find_archive(str(path), Path("/nowhere")) == path
    assert find_archive("data/*.tar", root) is None
    assert find_archive("absent/cats.zip", root) is None


def test_several_archives_are_for_the_user_to_choose_from(tmp_path: Path) -> None:
    for name in ("b.zip", "a.zip"):
        make_zip(tmp_path / name, FILES)
    with pytest.raises(UserError, match=r"matches 2 archives: a\.zip, b\.zip\. Name the one"):
        find_archive("*.zip", tmp_path)


# Files that are not zips, or damaged


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><title>Sign in", r"starts with b'<!DOCTYPE html>.*web page\?"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\x1f\x8b\x08 a tarball", "it starts with"),
    ],
)
def test_refuses_what_is_not_a_zip(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "photos.zip"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"photos\.zip is not a zip file: .*{expected}"):
        list_archive(path)


def test_refuses_a_zip_that_was_cut_short(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", FILES)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="its end is missing"):
        list_archive(path)


def test_refuses_a_pipe_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(UserError, match="neither a zip nor a folder"):
        list_archive(tmp_path / "a.zip")


def patch(path: Path, central: int | None, local: int, value: bytes) -> None:
    """Overwrite a field of the only entry, in its central and its local header, given their offsets."""
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x01\x02", central), (b"PK\x03\x04", local)):
        if offset is not None:
            at = data.index(signature) + offset
            data[at : at + len(value)] = value
    path.write_bytes(data)


def test_refuses_an_encrypted_entry(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"cats/1.jpg": b"1"})
    patch(path, 8, 6, b"\x01\x00")
    with pytest.raises(UserError, match=r"'cats/1\.jpg' is encrypted"):
        list_archive(path)


@pytest.mark.parametrize(
    ("central", "local", "value"),
    [
        (16, 14, b"\x00\x01\x02\x03"),  # the CRC
        (10, 8, b"\x63\x00"),  # a way of packing that does not exist
        (None, 30, b"dogs"),  # a name that differs between the headers
    ],
)
def test_refuses_a_damaged_entry(tmp_path: Path, central: int | None, local: int, value: bytes) -> None:
    path = make_zip(tmp_path / "a.zip", {"cats/1.jpg": b"1" * 100})
    patch(path, central, local, value)
    with pytest.raises(UserError, match=r"a\.zip: the entry 'cats/1\.jpg' is damaged"):
        list_archive(path)[0]["cats/1.jpg"].read()


def test_refuses_flipped_bytes_inside_an_entry(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"cats/1.jpg": os.urandom(1000)})
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        list_archive(path)[0]["cats/1.jpg"].read()


# Unsafe entries


@pytest.mark.parametrize("name", ["../1.jpg", "cats/../../1.jpg", "/cats/1.jpg", "cats\\1.jpg", "C:/cats/1.jpg"])
def test_refuses_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="leads out of the archive"):
        list_archive(make_zip(tmp_path / "a.zip", {"cats/ok.jpg": b"", name: b""}))


def test_refuses_an_entry_without_a_name(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"cats/1.jpg": b"1"})
    patch(path, 46, 30, b"\0")  # which ends a name
    with pytest.raises(UserError, match="the entry '' has no name"):
        list_archive(path)


def test_refuses_links(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("cats/1.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(link, "/etc/hostname")
    with pytest.raises(UserError, match=r"'cats/1\.jpg' is a link"):
        list_archive(tmp_path / "a.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("twin", ["cats/é.jpg", "Cats/é.jpg", "cats/É.JPG", "cats/e\u0301.jpg"])
def test_refuses_entries_that_are_one_file_on_some_systems(tmp_path: Path, twin: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("cats/é.jpg", b"1")
        file.writestr(twin, b"2")
    with pytest.raises(UserError, match="is there twice"):
        list_archive(tmp_path / "a.zip")


# Limits


@pytest.mark.parametrize(
    ("limit", "value", "declared"),
    [
        ("MAX_FILES", 3, "4 files; at most 3"),
        ("MAX_FILE_BYTES", 1499, "1,500 bytes in one file; at most 1,499"),
        ("MAX_TOTAL_BYTES", 1503, "1,504 bytes unpacked; at most 1,503"),
    ],
)
def test_limits_hold_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, declared: str
) -> None:
    path = make_zip(tmp_path / "a.zip", FILES)
    monkeypatch.setattr(archive, limit, value + 1)
    list_archive(path)
    monkeypatch.setattr(archive, limit, value)
    with pytest.raises(UserError, match=f"declares {declared}"):
        list_archive(path)


def test_limit_of_the_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "a.zip", {"cats/1.jpg": bytes(1_000_000)})
    list_archive(path)  # small enough to do no harm
    monkeypatch.setattr(archive, "RATIO_FREE_BYTES", 999_999)
    with pytest.raises(UserError, match="declares 1,000,000 bytes unpacked from"):
        list_archive(path)


@pytest.mark.parametrize("declared", [0, 10])
def test_an_entry_never_unpacks_to_more_than_it_declares(tmp_path: Path, declared: int) -> None:
    path = make_zip(tmp_path / "a.zip", {"cats/1.jpg": bytes(50_000_000)})
    patch(path, 24, 22, declared.to_bytes(4, "little"))
    read = list_archive(path)[0]["cats/1.jpg"].read
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="damaged"):
            read()
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_room_is_looked_for_where_the_folder_will_be(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    check_room(tmp_path / "not/yet/there", free // 2)
    with pytest.raises(UserError, match=r"there needs .* MB, and the disk has .* MB free\. Free some space"):
        check_room(tmp_path / "not/yet/there", 2 * free)


def test_sizes_are_known_before_anything_is_read(tmp_path: Path) -> None:
    packed, _ = list_archive(make_zip(tmp_path / "a.zip", FILES))
    loose, _ = list_archive(make_folder(tmp_path / "a", FILES))
    (tmp_path / "a/test/cats/link.jpg").symlink_to("/dev/zero")
    assert {name: file.size for name, file in packed.items()} == {name: len(data) for name, data in FILES.items()}
    assert {name: file.size for name, file in loose.items()} == {name: len(data) for name, data in FILES.items()}
    assert list_folder(tmp_path / "a")["test/cats/link.jpg"].size < 100


# Folders


def test_odd_files_in_a_folder_are_refused_when_read(tmp_path: Path) -> None:
    outside = make_folder(tmp_path / "outside", {"1.jpg": b"secret"})
    cats = make_folder(tmp_path / "photos", {"cats/1.jpg": b"1"}) / "cats"
    (cats / "inside.jpg").symlink_to("1.jpg")
    (cats / "dangling.jpg").symlink_to("absent.jpg")
    (cats / "circle.jpg").symlink_to("circle.jpg")
    (cats / "escaping.jpg").symlink_to(outside / "1.jpg")
    (cats / "folder.jpg").mkdir()
    make_folder(cats / "folder.png", {"1.jpg": b"1"})
    os.mkfifo(cats / "pipe.jpg")
    listing = list_folder(tmp_path / "photos")
    assert listing["cats/inside.jpg"].read() == b"1"
    expected = {
        "dangling": "a dangling link",
        "circle": "links in a circle|a dangling link",
        "escaping": "a link that leads out",
        "pipe": "not a regular file",
        "folder": "a folder",
    }
    for name, reason in expected.items():
        with pytest.raises(BadImage, match=reason):
            listing[f"cats/{name}.jpg"].read()
    assert len(listing) == 8


def test_a_file_may_be_as_large_as_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 3)
    listing = list_folder(make_folder(tmp_path, {"cats/3.jpg": b"123", "cats/4.jpg": b"1234"}))
    assert listing["cats/3.jpg"].read() == b"123"
    with pytest.raises(BadImage, match="4 bytes, more than 3"):
        listing["cats/4.jpg"].read()


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    make_folder(tmp_path, {"elsewhere/1.jpg": b"1", "photos/cats/1.jpg": b"1"})
    (tmp_path / "photos/dogs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="dogs is a link to a folder"):
        list_folder(tmp_path / "photos")


def test_names_that_are_not_utf8_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    with open(os.fsencode(tmp_path) + b"/cats/\xe9\n.jpg", "wb") as odd:  # noqa: PTH123 - the name is no text
        odd.write(b"1")
    ((name, file),) = list_folder(tmp_path).items()
    assert (os.fsencode(name), file.read()) == (b"cats/\xe9\n.jpg", b"1")
