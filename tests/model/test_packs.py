"""Packs of decoded images: what decoding gives, decoded once, whatever is killed, damaged, deleted or full."""

import itertools
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.base.files import compute_sha256
from stages.model import pixels as pixels_module
from stages.model.dataset import Batch, PackedImages, load_pixels, read_ahead
from stages.model.packs import HEADER, INDEX, RGBImage
from stages.model.pixels import Load, Pixels
from stages.photos import decoding
from stages.photos.loading import load_reduced, load_square
from stages.runtime.errors import UserError
from tests.conftest import ROOT, change_params
from tests.support import trainer
from tests.support.trainer import DEFAULTS, TRAIN, fork, wait_for, wait_until

SIDE = 24  # pixels
LOADS = [load_square, load_reduced]
SIZES = [(40, 30), (30, 40), (16, 16), (200, 10), (8, 9), (33, 64)]


@pytest.fixture
def manifest(workspace: Path) -> pd.DataFrame:
    """Six photos of as many sizes, and one of them once more under another name, in two folders."""
    rng = np.random.default_rng(0)
    paths = [workspace / f"data/{('raw', 'augmented/0')[n % 2]}/cats/{n}.png" for n in range(7)]
    for path, (width, height) in zip(paths, [*SIZES, SIZES[0]], strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    paths[6].write_bytes(paths[0].read_bytes())
    return pd.DataFrame({"path": map(str, paths), "sha256": map(compute_sha256, paths), "class": "cats"})


def decode(manifest: pd.DataFrame, load: Load, side: int = SIDE) -> list[RGBImage]:
    rows = zip(manifest["path"], manifest["sha256"], strict=True)
    return [np.asarray(load(Path(path), sha256, side)) for path, sha256 in rows]


def list_packs() -> list[Path]:
    return sorted(Path(".dvc/tmp/pixels").glob("*.pack"))


def check(pixels: Pixels, expected: list[RGBImage]) -> None:
    assert len(pixels) == len(expected)
    assert all(np.array_equal(pixels.read(number), image) for number, image in enumerate(expected))


@pytest.mark.parametrize("load", LOADS)
def test_what_is_read_is_what_decoding_gives(
    load: Load, manifest: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, made = decode(manifest, load), Pixels(manifest, load, SIDE)
    assert "decoded 6 images" in capsys.readouterr().out, "one of the seven is the same as another"
    assert len(list_packs()) == 2, "photos and copies"
    kept = Pixels(manifest[::-1], load, SIDE)
    assert capsys.readouterr().out == ""
    check(kept, expected[::-1])

    @given(st.lists(st.integers(0, 6), min_size=1))
    def check_order(numbers: list[int]) -> None:
        assert all(np.array_equal(made.read(number), expected[number]) for number in numbers)

    check_order()


def test_batches_are_those_of_the_images_in_memory(manifest: pd.DataFrame) -> None:
    images, expected = PackedImages(Pixels(manifest, load_square, SIDE)), load_pixels(manifest, SIDE)
    orders = [np.array(order) for order in ([3, 3, 0], [6], [5, 4, 3, 2, 1, 0])]
    batches: list[Batch] = [*orders, slice(2, 4), slice(4, 99)]
    for found, wanted in zip(read_ahead(images, batches), read_ahead(expected, batches), strict=True):
        assert found.dtype == torch.uint8
        assert torch.equal(found, wanted)
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_images_of_several_manifests_are_decoded_once(
    manifest: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = decode(manifest, load_square)
    Pixels(manifest[:2], load_square, SIDE)
    capsys.readouterr()
    check(Pixels(manifest, load_square, SIDE), expected)
    assert "decoded 4 images" in capsys.readouterr().out
    check(Pixels(manifest[1:], load_square, SIDE), expected[1:])
    assert capsys.readouterr().out == ""
    check(Pixels(manifest, load_square, SIDE + 1), decode(manifest, load_square, SIDE + 1))
    check(Pixels(manifest, load_reduced, SIDE), decode(manifest, load_reduced))


def test_another_decoder_decodes_again(manifest: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Pixels(manifest, load_square, SIDE).key
    monkeypatch.setattr(pixels_module, "version", lambda _: "14.0.0")
    changed = Pixels(manifest, load_square, SIDE).key
    monkeypatch.setattr(pixels_module, "compute_sha256", lambda _: "0" * 64)
    assert len({before, changed, Pixels(manifest, load_square, SIDE).key}) == 3
    assert len(list_packs()) == 6


@pytest.mark.parametrize("number", [0, 3, 6])
def test_a_changed_photo_is_refused_though_its_pixels_are_kept(number: int, manifest: pd.DataFrame) -> None:
    Pixels(manifest, load_square, SIDE)
    path = Path(manifest["path"][number])
    path.write_bytes(Path(manifest["path"][1]).read_bytes())
    with pytest.raises(UserError, match=rf"{number}\.png was changed or damaged: its bytes are not those in the mani"):
        Pixels(manifest, load_square, SIDE)
    path.unlink()
    with pytest.raises(UserError, match=rf"{number}\.png is missing\. Run `dvc repro`"):
        Pixels(manifest, load_square, SIDE)


# Damage


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 4
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 1),
    "nearly empty": lambda path: os.truncate(path, 5),
    "empty": lambda path: os.truncate(path, 0),
    "an image": lambda path: flip(path, HEADER.size),
    "the index": lambda path: flip(path, -1),
    "a name in the index": lambda path: flip(path, -INDEX.itemsize),
    "the header": lambda path: flip(path, 2),
    "the key": lambda path: flip(path, 9),
    "the number of images": lambda path: flip(path, 48),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_pack_is_made_again(how: str, manifest: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    expected = decode(manifest, load_square)
    Pixels(manifest, load_square, SIDE)
    good = {path: path.read_bytes() for path in list_packs()}
    for path in good:
        DAMAGES[how](path)
    capsys.readouterr()
    check(Pixels(manifest, load_square, SIDE), expected)
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2, "one for each pack"
    assert all("is damaged" in line and "its images are decoded again" in line for line in warnings)
    assert {path: path.read_bytes() for path in list_packs()} == good


def test_a_bit_that_flips_during_a_training_reaches_no_model(
    manifest: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two readers of one pack: what the first has made again, the second does not delete."""
    expected, first, second = decode(manifest, load_reduced), *(Pixels(manifest, load_reduced, SIDE) for _ in range(2))
    for path in list_packs():
        with path.open("r+b") as file:  # the same file, as the disk would change it
            file.seek(HEADER.size)
            file.write(b"\1\2\3\4")
    check(first, expected)
    kept = [path.stat().st_ino for path in list_packs()]
    check(second, expected)
    assert [path.stat().st_ino for path in list_packs()] == kept
    assert capsys.readouterr().err.count("warning") == 4


def test_a_disk_that_changes_bytes_is_named(manifest: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = Pixels(manifest, load_square, SIDE)
    checksums = itertools.count()
    monkeypatch.setattr("stages.model.packs.zlib", SimpleNamespace(crc32=lambda _: next(checksums)))
    with pytest.raises(UserError, match=r"\.pack is damaged \(.*\), and so was the one before: the disk"):
        pixels.read(0)


# Room


def test_packs_that_nobody_uses_give_way(manifest: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for two packs of a photo: the one used least recently goes, unless a process has it open."""
    size = HEADER.size + 3 * SIDE**2 + 84
    monkeypatch.setattr(pixels_module, "KEPT", 2 * size + size // 2)
    parts = [manifest[number : number + 1] for number in range(5)]
    for time, part in enumerate(parts[:2]):
        Pixels(part, load_square, SIDE)
        os.utime(max(list_packs(), key=lambda path: path.stat().st_mtime), (time, time))
    first, second = sorted(list_packs(), key=lambda path: path.stat().st_mtime)
    Pixels(parts[0], load_square, SIDE)  # so that the second is the one to go
    Pixels(parts[2], load_square, SIDE)
    assert first.exists()
    assert not second.exists()

    reader = Pixels(parts[0], load_square, SIDE)
    for part in parts[3:]:
        Pixels(part, load_square, SIDE)
        assert sum(path.stat().st_size for path in list_packs()) <= pixels_module.KEPT
    assert first.exists(), "in use"
    first.unlink()
    check(reader, decode(parts[0], load_square))


def test_a_pack_leaves_as_much_room_as_it_takes(manifest: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that has room for two packs and a half."""
    size = 3 * SIDE**2

    def measure(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=2.5 * size - sum(path.stat().st_size for path in list_packs()))

    monkeypatch.setattr("shutil.disk_usage", measure)
    for number in range(2):
        Pixels(manifest[number : number + 1], load_square, SIDE)
        assert len(list_packs()) == 1, "the one before gave way"
    reader = Pixels(manifest[1:2], load_square, SIDE)
    with pytest.raises(UserError, match=r"pixels has no room for decoded images: they take .* lower model\.image_size"):
        Pixels(manifest[2:3], load_square, SIDE)
    check(reader, decode(manifest[1:2], load_square))
    assert len(list(Path(".dvc/tmp/pixels").iterdir())) == 2, "the pack in use, and the lock"


def run(program: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """A process that needs no torch."""
    start = "import sys, pandas as pd; from stages.model.pixels import Pixels; from stages.photos import loading\n"
    return subprocess.Popen(
        [sys.executable, "-c", start + program, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


LOAD = f"Pixels(pd.read_csv('photos.csv', dtype=str), loading.load_square, {SIDE})"


def test_a_process_killed_while_it_decodes_leaves_nothing_in_the_way(manifest: pd.DataFrame) -> None:
    manifest.to_csv("photos.csv", index=False)
    process = run(LOAD, FAILPOINT="packed 2")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [path.suffix for path in Path(".dvc/tmp/pixels").iterdir() if path.name != "lock"] == [".partial"]
    check(Pixels(manifest, load_square, SIDE), decode(manifest, load_square))
    assert not list(Path(".dvc/tmp/pixels").glob("*.partial"))


COUNT = """
from stages.photos import decoding
real = decoding.decode_photo
def count(data):
    with open('decoded.txt', 'a') as file:
        file.write('1')
    return real(data)
decoding.decode_photo = count
"""


def test_two_processes_at_once_decode_once(manifest: pd.DataFrame) -> None:
    """The second one waits, while the first one stands still in the middle, and then uses what that has decoded."""
    manifest = manifest[::2]  # of one folder, and so one pack
    manifest.to_csv("photos.csv", index=False)
    first = run(f"{COUNT}\n{LOAD}", FAILPOINT="SIGSTOP:packed 2")
    wait_until(lambda: psutil.Process(first.pid).status() == psutil.STATUS_STOPPED, "the first one stops")
    second = run(f"{COUNT}\n{LOAD}")
    assert second.stdout
    assert second.stdout.readline() == f"  waiting for process {first.pid}, which decodes images\n"
    first.send_signal(signal.SIGCONT)
    for process in (first, second):
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    assert Path("decoded.txt").read_text() == "1" * 3
    check(Pixels(manifest, load_square, SIDE), decode(manifest, load_square))


def test_a_full_disk_is_one_message(manifest: pd.DataFrame) -> None:
    manifest.to_csv("photos.csv", index=False)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    program = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, {hard}))\n{LOAD}"
    _, errors = run(program).communicate()
    assert "UserError: cannot write" in errors.splitlines()[-1]
    assert "Free some space" in errors.splitlines()[-1]
    assert not [path for path in Path(".dvc/tmp/pixels").iterdir() if path.name != "lock"]


MEASURE = """
from pathlib import Path
import numpy as np
from PIL import Image
from stages.base.files import compute_sha256
rows = []
for number in range(int(sys.argv[1])):
    path = Path(f'data/raw/cats/{number}.png')
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    rows.append({'path': str(path), 'sha256': compute_sha256(path)})
for start in range(2):
    pixels = Pixels(pd.DataFrame(rows), loading.load_square, 128)
    for number in range(len(pixels)):
        pixels.read(number)
print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('RssAnon')))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_images(workspace: Path) -> None:
    """1,500 images of 48 KB are 74 MB; few images first, as libraries take their memory once."""
    kib = []
    for images in ("100", "1500"):
        out, errors = run(MEASURE, images).communicate()
        assert not errors
        kib.append(int(out.splitlines()[-1]))
    assert kib[1] - kib[0] < 15_000


def train_and_count(folder: str) -> None:
    """In a process of its own: train, and write a letter per decoded photo."""
    exec(COUNT, {})
    trainer._run(folder, [TRAIN], DEFAULTS)


def test_a_further_training_decodes_nothing(photos_to_train: Path) -> None:
    for rate in (0.001, 0.01):
        change_params({"train.epochs": 1, "train.learning_rate": rate})
        assert wait_for(fork(train_and_count, str(Path.cwd()))) == 0, Path("err.txt").read_text()
        assert Path("decoded.txt").read_text() == "1" * 20
    assert decoding.decode_photo.__name__ == "decode_photo"
