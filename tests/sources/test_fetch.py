"""The stage as a whole: whatever the source, data/raw and the manifest are whole, true, or untouched."""

import errno
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from stages import fetch
from stages.fetch import FILES
from stages.photos.manifest import PHOTOS, PhotoTable
from stages.photos.origin import describe_source
from stages.runtime.errors import UserError
from stages.sources import drawings
from stages.sources.choice import Source
from stages.sources.reading import check_photos
from tests.conftest import ROOT, change_params
from tests.support.pictures import encode, make_folder, make_jpeg, make_zip

CATS = {f"test/cats/cat_{i}.jpg": make_jpeg(i) for i in range(10)}
DOGS = {f"test/dogs/dog_{i}.jpg": make_jpeg(100 + i) for i in range(10)}


def run(entries: dict[str, bytes], **params: object) -> pd.DataFrame:
    """Run the stage on a zip of these entries; params are those of fetch. Returns the manifest."""
    for old in Path("data/downloads").glob("*.zip"):
        old.unlink()
    make_zip(Path("data/downloads/photos.zip"), entries)
    change_params({"fetch.sources": ["archive"]} | {f"fetch.{key}": value for key, value in params.items()})
    fetch.main()
    return PhotoTable.load(PHOTOS)


def snapshot() -> dict[str, bytes]:
    """Everything below data/ but the source."""
    files = (path for path in Path("data").rglob("*") if path.is_file() and "downloads" not in path.parts)
    return {path.as_posix(): path.read_bytes() for path in files}


def test_the_manifest_says_what_is_there(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = {f"train/cats/cat_{i}.jpg": b"not looked at" for i in range(3)}
    manifest = run(CATS | DOGS | train)
    assert (len(manifest), manifest["path"].is_monotonic_increasing) == (20, True)
    assert Path("metrics/quarantine.csv").read_text() == "path,sha256,reason\n"
    assert len(list(Path("data/raw").rglob("*.jpg"))) == 20
    for row in manifest.to_dict("records"):
        data = Path(row["path"]).read_bytes()
        assert data == (CATS | DOGS)["test/" + row["path"].removeprefix("data/raw/")]
        assert (row["sha256"], row["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
        assert row["class"] == Path(row["path"]).parent.name
        assert (row["width"], row["height"], row["notes"], row["source"]) == (24, 16, "", "archive")
        assert len(row["dhash"]) == 16
    digest = hashlib.sha256(Path("data/downloads/photos.zip").read_bytes()).hexdigest()
    assert set(manifest["version"]) == {f"sha256:{digest[:12]}"}
    assert json.loads(FILES.read_text()) == {"files": 23, "used": 20, "set_aside": 0, "not_used": {"in train/": 3}}
    assert capsys.readouterr().out.splitlines() == [
        f"Photos from an archive on disk (sha256:{digest[:12]}).",
        "  not used: 3 in train/ (fetch.subset: all uses them as well)",
        "  23 files: 20 used, 0 set aside, 3 not used",
        "fetch: 20 photos (cats: 10, dogs: 10) from photos.zip, 0 set aside",
    ]


def test_a_second_run_and_a_folder_give_the_same_bytes(workspace: Path) -> None:
    run(CATS | DOGS)
    first = snapshot()
    fetch.main()
    assert snapshot() == first
    make_folder(Path("photos"), dict(reversed((CATS | DOGS).items())))
    change_params({"fetch.archive": "photos"})
    fetch.main()
    version = first["data/manifest.csv"].split(b"\n")[1].split(b",")[-1]
    assert snapshot() == first | {"data/manifest.csv": first["data/manifest.csv"].replace(version, b"")}


def test_the_archive_is_looked_for_in_the_main_repository(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = tmp_path_factory.mktemp("main")
    make_zip(main / "data/downloads/photos.zip", CATS | DOGS)
    change_params({"fetch.sources": ["archive"]})
    monkeypatch.setenv("DVC_ROOT", str(main))
    fetch.main()
    assert len(PhotoTable.load(PHOTOS)) == 20


# Which source


def test_the_sample_comes_last_and_never_poses_as_real(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drawings, "PER_CLASS", 2)
    change_params({"fetch.sources": ["archive", "sample"]})
    fetch.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Drawn sample pictures, not photographs")
    assert "put a zip in data/downloads" in lines[0]
    assert lines[1] == "  skipped archive: nothing matches data/downloads/*.zip"
    assert lines[-1] == "fetch: 4 drawings, not photographs (cats: 2, dogs: 2) from the sample, 0 set aside"
    manifest = PhotoTable.load(PHOTOS)
    assert manifest[["source", "version"]].drop_duplicates().to_numpy().tolist() == [["sample", "1"]]


def test_drawings_never_take_the_place_of_photographs_unasked(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drawings, "PER_CLASS", 2)
    run(CATS | DOGS)
    before = snapshot()
    Path("data/downloads/photos.zip").unlink()
    change_params({"fetch.sources": ["archive", "sample"]})
    with pytest.raises(UserError) as caught:
        fetch.main()
    assert str(caught.value) == (
        "no photographs are available now, and drawings do not silently replace those that this workspace has had:\n"
        "  skipped archive: nothing matches data/downloads/*.zip\n"
        "Put a zip of photos in data/downloads, connect to the network, or set fetch.sources to [sample] in "
        "params.yaml to have drawings. `dvc checkout fetch` restores the pictures of the last run."
    )
    assert snapshot() == before
    for path in before:  # as DVC does before it runs a stage
        Path(path).unlink()
    with pytest.raises(UserError, match="drawings do not silently replace"):
        fetch.main()
    for asked in (["sample"], ["sample", "archive"]):
        change_params({"fetch.sources": asked})
        fetch.main()
        assert capsys.readouterr().out.splitlines()[-1].startswith("fetch: 4 drawings, not photographs")
    change_params({"fetch.sources": ["archive", "sample"]})
    with pytest.raises(UserError, match="drawings do not silently replace"):
        fetch.main()


def test_drawings_alone_leave_no_mark(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "PER_CLASS", 2)
    change_params({"fetch.sources": ["archive", "sample"]})
    fetch.main()
    fetch.main()
    assert PhotoTable.load(PHOTOS)["source"].unique().tolist() == ["sample"]


def test_no_source_is_an_error_with_the_remedies(workspace: Path) -> None:
    change_params({"fetch.sources": ["archive"], "fetch.archive": "mine/*.zip"})
    with pytest.raises(
        UserError, match=r"is available:\n  skipped archive: nothing matches mine/\*\.zip\nPut a zip.*add sample"
    ):
        fetch.main()
    assert snapshot() == {}


def test_every_source_has_its_sentence() -> None:
    assert describe_source("sample", "1").startswith("Drawn sample pictures, not photographs")
    assert describe_source("archive", "sha256:01") == "Photos from an archive on disk (sha256:01)."
    assert describe_source("archive", "") == "Photos from a folder on disk."
    assert describe_source("kaggle", "3") == "Photos from Kaggle, version 3 of the dataset."


# Bad photos


BAD = {
    "test/cats/empty.jpg": b"",
    "test/cats/page\n.jpg": b"<html>",
    "test/dogs/cut.jpg": make_jpeg(1)[:300],
    "test/dogs/photo.cr2": b"II*\0\x10\0\0\0CR\2\0",
}


def test_bad_photos_are_set_aside_with_a_reason(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = {"test/dogs/really_png.jpg": encode(Image.new("RGB", (9, 9)), "PNG"), "test/cats/notes.txt": b"", ".x": b""}
    manifest = run(CATS | DOGS | BAD | odd, max_bad_fraction=4 / 25)
    assert len(manifest) == 21
    assert "data/raw/dogs/really_png.jpg" in set(manifest["path"])
    rejected = pd.read_csv("metrics/quarantine.csv")
    assert rejected["path"].tolist() == ["test/cats/empty.jpg", "test/cats/page\\n.jpg", *sorted(BAD)[2:]]
    assert rejected["sha256"].tolist()[0] == hashlib.sha256(b"").hexdigest()
    assert rejected["reason"].tolist()[0] == "empty file"
    assert rejected["reason"].str.len().min() > 5
    unused = {"hidden": 1, "not pictures": 1}
    assert json.loads(FILES.read_text()) == {"files": 27, "used": 21, "set_aside": 4, "not_used": unused}
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  not used: 1 hidden: .x",
        "  not used: 1 not pictures: test/cats/notes.txt",
        "  27 files: 21 used, 4 set aside, 2 not used",
        "fetch: 21 photos (cats: 10, dogs: 11) from photos.zip, 4 set aside, see metrics/quarantine.csv",
    ]


def test_what_microscopes_and_phones_write_is_used(workspace: Path) -> None:
    image = Image.open(io.BytesIO(make_jpeg(500)))
    register_heif_opener()
    new = {f"test/cats/{kind}.{kind}": encode(image, kind) for kind in ("TIFF", "AVIF")}
    manifest = run(CATS | DOGS | new | {"test/dogs/1.heic": encode(image, "HEIF")})
    assert (len(manifest), set(manifest["width"])) == (23, {24})


@pytest.mark.parametrize("bad", [2, 3])
def test_the_limit_of_bad_photos_is_exact(workspace: Path, bad: int) -> None:
    photos = {**CATS, **DOGS, **{f"test/cats/bad_{i}.jpg": b"" for i in range(bad)}}
    if bad == 2:
        assert len(run(photos, max_bad_fraction=2 / 22)) == 20
    else:
        with pytest.raises(UserError, match=r"3 of 23 photos cannot be used(.|\n)*test/cats/bad_0\.jpg: empty file"):
            run(photos, max_bad_fraction=2 / 22)


def test_conversions_are_noted(workspace: Path) -> None:
    cmyk = encode(Image.new("CMYK", (9, 9)))
    assert run(CATS | DOGS | {"test/cats/ink.jpg": cmyk})["notes"].value_counts()["CMYK to RGB"] == 1


def test_odd_files_of_a_folder_are_set_aside_without_hanging(workspace: Path) -> None:
    folder = make_folder(Path("photos"), CATS | DOGS)
    os.mkfifo(folder / "test/cats/pipe.jpg")
    (folder / "test/cats/gone.jpg").symlink_to("nowhere")
    (folder / "test/dogs/folder.jpg").mkdir()
    change_params({"fetch.sources": ["archive"], "fetch.archive": "photos", "fetch.max_bad_fraction": 0.2})
    fetch.main()
    rejected = pd.read_csv("metrics/quarantine.csv", keep_default_na=False)
    assert rejected.to_numpy().tolist() == [
        ["test/cats/gone.jpg", "", "a dangling link"],
        ["test/cats/pipe.jpg", "", "not a regular file"],
        ["test/dogs/folder.jpg", "", "a folder, not a photo"],
    ]


# Labels


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        (
            {"test/cats/": b"", "test/dogs/notes.txt": b"", "train/cats/1.jpg": b""},
            "found no photo in what fetch.subset chooses; empty class folders: cats. Every class needs photos: add "
            "some, or set fetch.subset in params.yaml to another folder or all.",
        ),
        (CATS, "found photos of cats: 10; at least two classes are needed. Add photos of another class."),
        (
            CATS | DOGS | {"test/birds/": b""},
            "found photos of birds: 0, cats: 10, dogs: 10; every class needs photos, which is not so for birds. Add",
        ),
        (
            CATS | DOGS | {"test/birds/1.jpg": b""},
            "found photos of birds: 0, cats: 10, dogs: 10; every class needs photos",
        ),
    ],
)
def test_every_class_needs_photos_and_there_must_be_two(workspace: Path, entries: dict[str, bytes], found: str) -> None:
    with pytest.raises(UserError, match=re.escape(found)):
        run(entries)


def test_a_thousand_classes_take_one_short_line(capsys: pytest.CaptureFixture[str]) -> None:
    classes = [f"class {i:03d}" for i in range(1000) for _ in range(25 if i == 0 else 1 + i % 2)]
    rows = [{"class": name, "sha256": str(i), "path": name} for i, name in enumerate(classes)]
    check_photos(classes, rows, [], 0.1)
    expected = "warning: classes differ by more than 20:1 in size: 25 photos of class 000, 1 of class 998\n"
    assert capsys.readouterr().err == expected
    source = Source("archive", "photos.zip", "", {})
    expected = "fetch: 1,524 photos (1,000 classes of 1 to 25) from photos.zip, 0 set aside"
    assert fetch.summarize(source, rows, 0) == expected
    with pytest.raises(UserError) as caught:
        check_photos([*classes, *(f"none {i}" for i in range(11))], rows, [], 0.1)
    assert str(caught.value) == (
        "found photos of 1,011 classes of 0 to 25; every class needs photos, which is not so for none 0, none 1, "
        "none 10, ... (11 in all). Add photos or remove the class."
    )


def test_the_same_photo_under_two_labels_is_an_error_naming_both(workspace: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"the same photo under two labels \(1 time\):\n  data/raw/cats/cat_3\.jpg = data/raw/dogs/x\.jpg",
    ):
        run(CATS | DOGS | {"test/dogs/x.jpg": CATS["test/cats/cat_3.jpg"]})


def test_the_same_photo_twice_in_a_class_stays(workspace: Path) -> None:
    manifest = run(CATS | DOGS | {"test/cats/again.jpg": CATS["test/cats/cat_3.jpg"]})
    assert (len(manifest), manifest["sha256"].nunique()) == (21, 20)


@pytest.mark.parametrize(("dogs", "warned"), [(20, False), (21, True)])
def test_imbalance_is_warned_of(workspace: Path, capsys: pytest.CaptureFixture[str], dogs: int, warned: bool) -> None:
    run({"cats/1.jpg": make_jpeg(999)} | {f"dogs/{i}.jpg": make_jpeg(i) for i in range(dogs)})
    assert ("differ by more than 20:1" in capsys.readouterr().err) == warned


# Names


def test_no_photo_is_lost_to_its_name(workspace: Path) -> None:
    odd = ["A.jpg", "a.jpg", "\u00e9.jpg", "e\u0301.jpg", "-rf.jpg", "line\nbreak.jpg", "x" * 250 + ".jpg"]
    photos = {f"{place}/cats/{name}": make_jpeg(i) for i, name in enumerate([*odd, "1.jpg"]) for place in "bc"}
    make_folder(Path("photos"), photos | {f"b/dogs/{i}.jpg": make_jpeg(100 + i) for i in range(3)})
    change_params({"fetch.sources": ["archive"], "fetch.archive": "photos"})
    fetch.main()
    manifest = PhotoTable.load(PHOTOS)
    assert len(manifest) == 19
    stored = [path.read_bytes() for path in Path("data/raw/cats").iterdir()]
    assert sorted(stored) == sorted(photos.values())
    names = [Path(path).name for path in manifest["path"] if "cats" in path]
    assert len({name.casefold() for name in names}) == 16
    assert {"A.jpg", "1.jpg"} < set(names)


def test_names_that_are_no_text_reach_neither_terminal_nor_manifest(
    workspace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_folder(Path("photos"), CATS | DOGS)
    odd = [b"photos/test/cats/\xe9\n.jpg", b"photos/test/cats/bad\xff.jpg", b"photos/test/\xe9.txt"]
    for name, data in zip(odd, (make_jpeg(300), b"", b""), strict=True):
        Path(os.fsdecode(name)).write_bytes(data)
    change_params({"fetch.sources": ["archive"], "fetch.archive": "phot*"})
    Path("photos").rename(os.fsdecode(b"phot\xe9"))
    fetch.main()
    manifest = PhotoTable.load(PHOTOS)
    sha256 = hashlib.sha256(make_jpeg(300)).hexdigest()
    assert f"data/raw/cats/{sha256[:16]}.jpg" in set(manifest["path"])
    assert pd.read_csv("metrics/quarantine.csv")["path"].tolist() == [r"test/cats/bad\udcff.jpg"]
    out = capfd.readouterr().out
    assert r"not used: 1 not pictures: test/\udce9.txt" in out
    assert out.endswith("(cats: 11, dogs: 10) from phot\\udce9, 1 set aside, see metrics/quarantine.csv\n")


def test_both_subsets_keep_their_names_apart(workspace: Path) -> None:
    train = {name.replace("test/", "train/"): make_jpeg(200 + i) for i, name in enumerate(CATS | DOGS)}
    manifest = run(CATS | DOGS | train, subset="all")
    assert len(manifest) == 40
    assert Path("data/raw/cats/train-cat_1.jpg").read_bytes() == train["train/cats/cat_1.jpg"]
    assert Path("data/raw/cats/test-cat_1.jpg").read_bytes() == CATS["test/cats/cat_1.jpg"]
    before = snapshot()
    run(CATS | DOGS | train, subset=["Train", "test"])
    assert snapshot() == before
    assert len(run(CATS | DOGS | train, subset=["train"])) == 20
    assert Path("data/raw/cats/cat_1.jpg").read_bytes() == train["train/cats/cat_1.jpg"]


def test_a_source_without_subsets_is_used_whole(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = {name.removeprefix("test/"): data for name, data in (CATS | DOGS).items()}
    assert len(run(plain)) == 20
    assert "  no folder test/: all photos are used\n" in capsys.readouterr().out


# Whole or untouched


def test_a_failure_leaves_what_was_there(workspace: Path) -> None:
    run(CATS | DOGS)
    before = snapshot()
    for entries in (CATS, CATS | {"test/dogs/1.jpg": b""}, CATS | DOGS | {"test/dogs/x.jpg": make_jpeg(0)}):
        with pytest.raises(UserError):
            run(entries)
        assert snapshot() == before


def test_an_old_manifest_never_describes_new_photos(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(CATS | DOGS)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PhotoTable, "save", stop)  # as if killed between the photos and their manifest
    with pytest.raises(KeyboardInterrupt):
        run(DOGS | {"test/birds/1.jpg": make_jpeg(300)})
    assert Path("data/raw/birds/1.jpg").exists()
    assert not PHOTOS.exists()


def test_a_full_disk_is_told_and_leaves_what_was_there(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(CATS | DOGS)
    before = snapshot()
    written: list[Path] = []

    def write_until_full(path: Path, data: bytes) -> None:
        if len(written) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        written.append(path)
        with path.open("wb") as file:
            file.write(data)

    monkeypatch.setattr(Path, "write_bytes", write_until_full)
    with pytest.raises(UserError, match=r"cannot write data/raw: No space left.*MB free.*Free some space"):
        fetch.main()
    assert snapshot() == before


def run_on_disk(options: str) -> subprocess.CompletedProcess[str]:
    """Run the stage with data/ on a disk of its own; what it leaves there is listed on stdout."""
    program = (
        f"mount -t tmpfs -o {options} none data && {{ {sys.executable} -m stages.fetch; s=$?; find data; exit $s; }}"
    )
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), "DVC_STAGE": "fetch"},
        capture_output=True,
        text=True,
        check=False,
    )


def can_mount() -> bool:
    command = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="a user cannot mount disks here")
@pytest.mark.parametrize(
    ("options", "size", "count", "expected"),
    [
        # 40 photos of 70 kB: seen beforehand
        ("size=1m", (400, 300), 20, r"data/raw needs 2\.\d MB, and the disk has 1\.0 MB free\. Free some space"),
        # 400 photos of 1 kB, of which each takes 4 kB of the disk: seen when it is full
        ("size=1m", (24, 16), 200, r"cannot write data/raw: No space left on device \(.*MB free\)\. Free some space"),
        ("ro", (24, 16), 10, r"cannot write data/raw: Read-only file system .* make the folder writable"),
    ],
)
def test_a_disk_that_is_full_or_read_only(
    workspace: Path, options: str, size: tuple[int, int], count: int, expected: str
) -> None:
    names = [f"{name}/{i}.jpg" for name in ("cats", "dogs") for i in range(count)]
    make_zip(Path("photos.zip"), {name: make_jpeg(i, size) for i, name in enumerate(names)})
    change_params({"fetch.sources": ["archive"], "fetch.archive": "photos.zip"})
    Path("data").mkdir()
    done = run_on_disk(options)
    assert done.returncode == 1
    assert re.fullmatch(f"fetch: error: .*{expected}.*\n", done.stderr)
    assert done.stdout.splitlines()[-1] == "data", "nothing is left"


def test_a_killed_run_is_followed_by_a_clean_one(workspace: Path) -> None:
    big = {f"{c}/{i}.jpg": make_jpeg(i + 100 * (c == "cats"), (400, 400)) for c in ("cats", "dogs") for i in range(40)}
    run(big)
    clean = snapshot()
    for path in clean:
        Path(path).unlink()
    partial = Path("data/raw.partial/cats")
    with subprocess.Popen([sys.executable, "-m", "stages.fetch"], env={**os.environ, "PYTHONPATH": str(ROOT)}) as child:
        while child.poll() is None and not partial.exists():
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert partial.exists()
    assert not PHOTOS.exists()
    fetch.main()
    assert snapshot() == clean


def test_the_user_sees_one_message_and_no_traceback(workspace: Path) -> None:
    Path("data/downloads").mkdir(parents=True)
    Path("data/downloads/photos.zip").write_bytes(b"<html>Sign in</html>")
    done = subprocess.run(
        [sys.executable, "-m", "stages.fetch"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "DVC_STAGE": "fetch"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fetch: error: ")
    assert done.stderr.count("\n") == 1
    assert "photos.zip is not a zip file: it starts with b'<html>" in done.stderr
    assert snapshot() == {}


def test_what_is_slow_is_not_imported() -> None:
    code = "import sys, stages.fetch; print(sys.modules.keys() & {'torch', 'mlflow', 'kagglehub', 'matplotlib'})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
