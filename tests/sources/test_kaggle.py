"""The real kagglehub client against a loopback server: what is kept, retried, passed on, or reported to the user."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.forks import Forks, start_forks
from tests.support.kaggle_server import Kaggle, serve
from tests.support.pictures import make_jpeg, make_zip

ROOT = Path(__file__).parents[2]
GET, DOWNLOAD, BLOB = "GetDataset", "DownloadDataset", "archive.zip"
NAMES = [f"{subset}/{name}s/{name}_{i}.jpg" for subset in ("train", "test") for name in ("cat", "dog") for i in (1, 2)]

# download_dataset in a process of its own, whose environment names no other server; pauses are cut short
DRIVER = """
import sys
from stages.cli.stage import run_stage
from stages.sources import kaggle
kaggle.PAUSES_S = (0.01, 0.01)
version, deadline = int(sys.argv[1]) or None, float(sys.argv[2])
try:
    run_stage(lambda: print(*kaggle.download_dataset("owner/pets", version, deadline)))
except kaggle.Unreachable as reason:
    print("unreachable:", reason)
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = make_zip(tmp_path_factory.mktemp("kaggle") / "a.zip", {name: make_jpeg(i) for i, name in enumerate(NAMES)})
    return path.read_bytes()


@pytest.fixture(scope="module", autouse=True)
def forks() -> Iterator[None]:
    """Most of a start goes into libraries; kagglehub itself is not among them, as it reads the environment."""
    global FORKS
    with start_forks("kagglesdk.kaggle_client", "tqdm.contrib.concurrent", "stages.fetch") as FORKS:
        yield


FORKS: Forks


def run(kaggle: Kaggle, home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python with ``arguments`` in ``home`` as a user whose only network is ``kaggle``."""
    return FORKS.run(list(arguments), home, kaggle.build_env(home) | env)


def run_afresh(kaggle: Kaggle, home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The same in an interpreter of its own, for what starts others in turn."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=home,
        env=kaggle.build_env(home) | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        text=True,
        check=False,
    )


def download(
    kaggle: Kaggle, home: Path, version: int = 0, deadline: float = 60, **env: str
) -> subprocess.CompletedProcess[str]:
    with serve(kaggle):
        return run(kaggle, home, "-c", DRIVER, str(version), str(deadline), **env)


def find_leftovers(home: Path) -> list[Path]:
    return sorted(home.rglob("*.archive"))


def asked(kaggle: Kaggle) -> list[str]:
    return [path.rsplit("/", 1)[-1] for path in kaggle.requests]


def test_newest_version_without_account_and_then_from_the_cache(tmp_path: Path, archive: bytes) -> None:
    kaggle = Kaggle(archive, version=3)
    done = download(kaggle, tmp_path)
    folder = tmp_path / "cache/datasets/owner/pets/versions/3"
    assert (done.returncode, done.stdout) == (0, f"{folder} 3\n")
    assert "100%" in done.stderr  # kagglehub's own progress bar
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")) == sorted(NAMES)
    assert (asked(kaggle), set(kaggle.authorizations)) == ([GET, DOWNLOAD, BLOB], {""})
    assert find_leftovers(tmp_path) == []
    pinned = Kaggle()
    assert download(pinned, tmp_path, version=3).stdout == done.stdout
    assert asked(pinned) == []


def test_pinned_version(tmp_path: Path, archive: bytes) -> None:
    kaggle = Kaggle(archive, version=3)
    assert download(kaggle, tmp_path, version=2).stdout.endswith("/versions/2 2\n")
    assert asked(kaggle) == [DOWNLOAD, BLOB]


@pytest.mark.parametrize(
    ("status", "expected", "attempts"),
    [
        (401, r"refuses owner/pets (HTTP 401). Open https://www.kaggle.com/datasets/owner/pets, sign in", 1),
        (403, r"refuses owner/pets (HTTP 403). Open https://www.kaggle.com/datasets/owner/pets, sign in", 1),
        (404, "no dataset owner/pets (HTTP 404)", 1),
        (503, "cannot serve owner/pets now (HTTP 503), 3 times in a row", 3),
    ],
)
def test_refusals_stop_with_the_remedy(
    tmp_path: Path, archive: bytes, status: int, expected: str, attempts: int
) -> None:
    kaggle = Kaggle(archive, statuses=[status] * 9)
    done = download(kaggle, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert expected in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert asked(kaggle) == [GET] * attempts


def test_an_error_of_the_server_is_tried_again(tmp_path: Path, archive: bytes) -> None:
    kaggle = Kaggle(archive, statuses=[500, 429])
    done = download(kaggle, tmp_path)
    assert done.returncode == 0
    assert asked(kaggle) == [GET, GET, GET, DOWNLOAD, BLOB]


def test_a_download_cut_short_goes_on_where_it_stopped(tmp_path: Path) -> None:
    photos = {name: make_jpeg(i, (1400, 1400)) for i, name in enumerate(NAMES[:2])}
    data = make_zip(tmp_path / "big.zip", photos).read_bytes()
    kaggle = Kaggle(data, cut_after=1_500_000)
    assert len(data) > 2_000_000
    done = download(kaggle, tmp_path)
    assert "cut short; trying again" in done.stderr
    folder = tmp_path / "cache/datasets/owner/pets/versions/3"
    assert {name: (folder / name).read_bytes() for name in photos} == photos
    assert kaggle.ranges == ["", "", "bytes=1048576-"]


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ({"cut_after": 100, "cuts": 99}, "was cut short, 3 times"),
        ({"md5_of": b"another"}, "arrived damaged (DataCorruptionError), 3 times"),
        ({"archive": b"<!doctype html>sorry"}, "it starts with b'<!doctype html>sorry' (a web page?), 3 times"),
    ],
)
def test_an_archive_that_never_comes_whole_leaves_nothing(
    tmp_path: Path, archive: bytes, behaviour: dict[str, object], expected: str
) -> None:
    kaggle = Kaggle(**({"archive": archive} | behaviour))  # type: ignore[arg-type]
    done = download(kaggle, tmp_path)
    assert done.returncode == 1
    assert expected in done.stderr.splitlines()[-1]
    assert find_leftovers(tmp_path) == []
    assert asked(kaggle).count(DOWNLOAD) == 3


def forbid_packing(archive: bytes) -> bytes:
    """The zip with a way of packing that does not exist, in the header of every entry and in the list at the end."""
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        parts = archive.split(signature)
        at = offset - len(signature)
        archive = signature.join([parts[0], *(part[:at] + b"\x63\0" + part[at + 2 :] for part in parts[1:])])
    return archive


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"cats/1.jpg": bytes(110_000_000)}, "declares 110,000,000 bytes unpacked from"),
        ({"cats/1.jpg": b"1", "../../../../../out.jpg": b"2"}, "the entry '../../../../../out.jpg' leads out"),
        ({"cats/1.jpg": b"1", "Cats/1.jpg": b"2"}, "is there twice, or twice but for upper and lower case"),
    ],
)
def test_an_unsafe_archive_is_never_unpacked(tmp_path: Path, entries: dict[str, bytes], expected: str) -> None:
    data = make_zip(tmp_path / "served/a.zip", entries).read_bytes()
    done = download(Kaggle(data), tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert expected in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.jpg"))


def test_an_archive_packed_in_an_unknown_way_is_damaged(tmp_path: Path, archive: bytes) -> None:
    done = download(Kaggle(forbid_packing(archive)), tmp_path)
    assert done.returncode == 1
    assert "arrived damaged (NotImplementedError), 3 times in a row" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("damage", [0, 60])  # of everything, so that it is no zip; of a byte of a photo
def test_a_broken_leftover_of_an_earlier_run_is_replaced(tmp_path: Path, archive: bytes, damage: int) -> None:
    leftover = tmp_path / "cache/datasets/owner/pets/3.archive"
    leftover.parent.mkdir(parents=True)
    broken = (
        archive[:damage] + bytes([archive[damage] ^ 255]) + archive[damage + 1 :] if damage else b"?" * len(archive)
    )
    leftover.write_bytes(broken)  # kagglehub takes one of full length for good
    assert download(Kaggle(archive), tmp_path).returncode == 0
    assert len(list(tmp_path.rglob("*.jpg"))) == len(NAMES)
    assert find_leftovers(tmp_path) == []


@pytest.mark.parametrize("path", ["/api", "/blob"])
def test_a_server_that_hangs_meets_the_deadline(tmp_path: Path, archive: bytes, path: str) -> None:
    done = download(Kaggle(archive, hang=path), tmp_path, deadline=1)
    assert done.stdout == "unreachable: Kaggle took longer than fetch.kaggle_deadline_s, 1 s\n"


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, archive: bytes) -> None:
    done = download(Kaggle(archive), tmp_path, KAGGLEHUB_CACHE="/dev/null/cache")
    assert done.returncode == 1
    assert "Kaggle's files cannot be stored in /dev/null/cache (Not a directory). Make room there" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_network_log_in_page_is_not_kaggle(tmp_path: Path) -> None:
    done = download(Kaggle(login_page=True), tmp_path)
    assert done.returncode == 1
    assert "Something else answers in Kaggle's place" in done.stderr


def run_fetch(kaggle: Kaggle, home: Path, sources: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    """The whole stage, as DVC runs it."""
    write_params(home, sources)
    return run(kaggle, home, "-m", "stages.fetch", **env)


def write_params(home: Path, sources: list[str]) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["fetch"] |= {"sources": sources, "kaggle_dataset": "owner/pets", "archive": "mine.zip"}
    (home / "params.yaml").write_text(yaml.safe_dump(params))


def test_the_stage_records_the_version(tmp_path: Path, archive: bytes) -> None:
    with serve(Kaggle(archive, version=7)) as kaggle:
        done = run_fetch(kaggle, tmp_path, ["kaggle"])
    lines = done.stdout.splitlines()
    assert lines[0] == "Photos from Kaggle, version 7 of the dataset."
    assert lines[-1] == "fetch: 4 photos (cats: 2, dogs: 2) from Kaggle's owner/pets, 0 set aside"
    assert (tmp_path / "data/manifest.csv").read_text().count(",kaggle,7\n") == 4


def test_without_a_network_the_next_source_is_used_and_it_is_said(tmp_path: Path) -> None:
    make_zip(tmp_path / "mine.zip", {f"{c}/{i}.jpg": make_jpeg(i + len(c)) for c in ("cat", "bears") for i in (0, 10)})
    with serve(Kaggle()) as kaggle:
        pass  # nobody listens there any more
    done = run_fetch(kaggle, tmp_path, ["kaggle", "archive"])
    assert "warning: Kaggle cannot be reached: " in done.stderr
    assert "Connection refused" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("Trying the next source: archive.")
    assert done.stdout.splitlines()[-1].startswith("fetch: 4 photos (bears: 2, cat: 2) from mine.zip")
    alone = run_fetch(kaggle, tmp_path, ["kaggle"])
    assert alone.returncode == 1
    assert "none of fetch.sources is available:\n  skipped kaggle: Kaggle cannot be reached" in alone.stderr
    assert "Put a zip of photos in data/downloads" in alone.stderr


def test_without_a_network_the_newest_cached_version_is_used_and_it_is_said(tmp_path: Path, archive: bytes) -> None:
    for version in (9, 10):
        download(Kaggle(archive, version=version), tmp_path)
    unfinished = tmp_path / "cache/datasets/owner/pets/versions/11"
    unfinished.mkdir()
    with serve(Kaggle()) as kaggle:
        pass  # nobody listens there any more
    done = run_fetch(kaggle, tmp_path, ["kaggle", "sample"])
    assert done.returncode == 0
    assert "warning: Kaggle cannot be reached: " in done.stderr
    assert ". Using version 10, which kagglehub has downloaded before.\n" in done.stderr
    assert done.stdout.startswith("Photos from Kaggle, version 10 of the dataset.\n")
    assert (tmp_path / "data/manifest.csv").read_text().count(",kaggle,10\n") == 4
    done = download(Kaggle(hang="/api"), tmp_path, deadline=1)
    assert done.stdout == f"{unfinished.with_name('10')} 10\n"
    assert "warning: Kaggle took longer than fetch.kaggle_deadline_s, 1 s. Using version 10, which" in done.stderr
    done = run(kaggle, tmp_path, "-c", DRIVER, "8", "60")
    assert done.stdout.startswith("unreachable: Kaggle cannot be reached"), (
        "another version than the one that is pinned"
    )


CANARY = "KGAT_canary7d1f"


ENCODED = base64.b64encode(f"me:{CANARY}".encode()).decode()  # as it goes over the wire with a user's name
TOKEN_FILES = {
    ".kaggle/access_token": (CANARY, f"Bearer {CANARY}"),
    ".kaggle/kaggle.json": (json.dumps({"username": "me", "key": CANARY}), f"Basic {ENCODED}"),
}
BEHAVIOURS: dict[str, dict[str, object]] = {
    "none": {},
    **{f"HTTP {status}": {"statuses": [status] * 9} for status in (400, 401, 403, 404, 429, 500, 503)},
    "no answer": {"hang": "/api"},
    "no archive": {"hang": "/blob"},
    "cut short": {"cut_after": 100, "cuts": 99},
    "damaged": {"md5_of": b"another"},
    "a web page": {"login_page": True},
}
# the library's own exceptions, uncaught, and a fault of ours while one is handled
CARELESS = """
import sys, kagglehub
from stages.sources import kaggle
if sys.argv[1] == "library":
    kagglehub.dataset_download("owner/pets")
kaggle._explain_status = kaggle._find_cause = None
kaggle.download_dataset("owner/pets", None, 60)
"""


def find_canary(home: Path, done: subprocess.CompletedProcess[str]) -> list[str]:
    """Where the token is, other than in the user's own file."""
    files = {
        path.as_posix(): path.read_bytes() for path in home.rglob("*") if path.is_file() and ".kaggle" not in path.parts
    }
    places = files | {"stdout": done.stdout.encode(), "stderr": done.stderr.encode()}
    return [name for name, content in places.items() if CANARY.encode() in content or ENCODED.encode() in content]


def give_token(home: Path, place: str) -> dict[str, str]:
    """Put the token into a file, or return the environment that holds it."""
    if place == "environment":
        return {"KAGGLE_API_TOKEN": CANARY}
    (home / place).parent.mkdir()
    (home / place).write_text(TOKEN_FILES[place][0])
    return {}


def download_with_token(
    kaggle: Kaggle, home: Path, place: str, deadline: float = 60
) -> subprocess.CompletedProcess[str]:
    with serve(kaggle):
        return run(kaggle, home, "-c", DRIVER, "0", str(deadline), **give_token(home, place))


@pytest.mark.parametrize("failure", BEHAVIOURS)
@pytest.mark.parametrize("place", ["environment", ".kaggle/kaggle.json"])
def test_the_token_reaches_kaggle_and_nobody_else(tmp_path: Path, archive: bytes, place: str, failure: str) -> None:
    kaggle = Kaggle(**({"archive": archive} | BEHAVIOURS[failure]))  # type: ignore[arg-type]
    done = download_with_token(kaggle, tmp_path, place, deadline=1 if "no a" in failure else 60)
    assert kaggle.authorizations[0] in (f"Bearer {CANARY}", f"Basic {ENCODED}")
    assert done.returncode == (0 if failure in ("none", "no answer", "no archive") else 1)
    assert (done.stdout.startswith("unreachable: ")) == (failure in ("no answer", "no archive"))
    assert find_canary(tmp_path, done) == []


@pytest.mark.parametrize("place", TOKEN_FILES)
def test_the_token_is_found_in_each_file(tmp_path: Path, archive: bytes, place: str) -> None:
    kaggle = Kaggle(archive)
    done = download_with_token(kaggle, tmp_path, place)
    assert (done.returncode, kaggle.authorizations[0]) == (0, TOKEN_FILES[place][1])
    assert find_canary(tmp_path, done) == []


@pytest.mark.parametrize("place", ["environment", ".kaggle/kaggle.json"])
@pytest.mark.parametrize("whose", ["library", "ours"])
@pytest.mark.parametrize("status", [401, 0])  # 0: the connection is refused
def test_no_traceback_holds_the_token(tmp_path: Path, archive: bytes, status: int, whose: str, place: str) -> None:
    env = give_token(tmp_path, place)
    with serve(Kaggle(archive, statuses=[status])) as kaggle:
        if status:
            done = run(kaggle, tmp_path, "-c", CARELESS, whose, **env)
    if not status:  # nobody listens there any more
        done = run(kaggle, tmp_path, "-c", CARELESS, whose, **env)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert find_canary(tmp_path, done) == []


@pytest.mark.parametrize(("place", "failure"), [("environment", "none"), (".kaggle/kaggle.json", "HTTP 401")])
def test_neither_dvc_nor_mlflow_keeps_the_token(tmp_path: Path, archive: bytes, place: str, failure: str) -> None:
    """The stage as DVC runs it, and a run of MLflow beside it."""
    for name in ("stages", "dvc.yaml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    write_params(tmp_path, ["kaggle"])
    env = give_token(tmp_path, place) | {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    with serve(Kaggle(**({"archive": archive} | BEHAVIOURS[failure]))) as kaggle:  # type: ignore[arg-type]
        assert run_afresh(kaggle, tmp_path, "-m", "dvc", "init", "--no-scm", "--quiet", **env).returncode == 0
        done = run_afresh(kaggle, tmp_path, "-m", "dvc", "repro", "--verbose", "fetch", **env)
        assert (kaggle.authorizations[0] != "", done.returncode == 0) == (True, failure == "none")
        assert find_canary(tmp_path, done) == []
        if place != "environment":  # which is all that MLflow could read
            return
        tracked = run_afresh(kaggle, tmp_path, "-c", TRACKED, **env)
    assert (tracked.returncode, (tmp_path / "mlflow.db").exists()) == (0, True), tracked.stderr
    assert find_canary(tmp_path, tracked) == []


TRACKED = """
import mlflow
from stages.tracking.store import open_store
from stages.tracking.workspace import describe_workspace
open_store()
with mlflow.start_run(run_name="original-0", tags=describe_workspace()):
    mlflow.log_params({"seed": 0})
"""


@pytest.mark.parametrize("token", [f"{CANARY}\nx", f"{CANARY}\u2026", CANARY * 100])
def test_a_token_that_cannot_be_sent_is_not_quoted(tmp_path: Path, token: str) -> None:
    done = download(Kaggle(), tmp_path, KAGGLE_API_TOKEN=token)
    assert (done.returncode, done.stdout) == (1, "")
    assert "canary" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_token_file_is_named_and_not_quoted(tmp_path: Path, archive: bytes) -> None:
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle/kaggle.json").write_text(json.dumps({"username": "me", "kee": CANARY}))
    done = download(Kaggle(archive), tmp_path)
    assert done.returncode == 1
    assert "~/.kaggle/kaggle.json" in done.stderr
    assert "canary" not in done.stderr
