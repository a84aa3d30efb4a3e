"""Damaged and malicious input, by the hundred: one message or a whole result, never a traceback or half of one."""

import hashlib
import os
import re
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pillow_heif import register_heif_opener

from stages import fetch
from stages.cli.params import load_params
from stages.photos.decoding import MAX_PIXELS, BadImage, decode_photo
from stages.photos.manifest import PHOTOS, PhotoTable
from stages.runtime.errors import UserError
from tests.conftest import ROOT, change_params
from tests.sources.test_fetch import CATS, DOGS, snapshot
from tests.support.pictures import encode, make_jpeg, make_zip

PARAMS = (ROOT / "params.yaml").read_bytes()
NOISE = Image.open(BytesIO(make_jpeg(0)))
register_heif_opener()
PICTURES = [encode(NOISE, kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF")]
PICTURES += [encode(NOISE, "TIFF", compression=f"tiff_{packing}") for packing in ("lzw", "adobe_deflate")]
FEW = {name: data for name, data in (CATS | DOGS).items() if name.endswith(("0.jpg", "1.jpg", "2.jpg"))}
FUZZ = settings(
    max_examples=150,
    deadline=timedelta(seconds=20),  # for one example of some milliseconds: none may hang
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

pytestmark = pytest.mark.slow


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """``data`` after a few edits: bytes changed, cut out, doubled, or put in."""
    result = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(result) - 1, 0)))
        stop = min(start + draw(st.integers(1, 64)), len(result))
        edit = draw(st.sampled_from(["change", "cut", "double", "insert", "end"]))
        if edit == "change":
            result[start : start + 1] = draw(st.binary(min_size=1, max_size=1))
        elif edit == "cut":
            del result[start:stop]
        elif edit == "double":
            result[start:start] = result[start:stop]
        elif edit == "insert":
            result[start:start] = draw(st.binary(max_size=32))
        else:
            del result[start:]
    return bytes(result)


@pytest.fixture
def archive(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good zip, the params that lead to it, and a result that a failure must leave alone."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a third of the time, for hundreds of runs that lose no power
    path = make_zip(Path("data/downloads/photos.zip"), FEW)
    change_params({"fetch.sources": ["archive"], "fetch.max_bad_fraction": 0.4})
    fetch.main()
    return path


def list_outside() -> set[Path]:
    """Everything that fetch must never touch: beside the workspace, in it, and in data/."""
    return {path for folder in (Path(".."), Path(), Path("data")) for path in folder.resolve().iterdir()}


def check_result(before: dict[str, bytes]) -> None:
    """Run fetch: it either says what is wrong and leaves all as it was, or leaves what its manifest says."""
    outside = list_outside()
    try:
        fetch.main()
    except UserError as error:
        assert str(error)
        assert snapshot() == before
        return
    finally:
        assert list_outside() == outside
    manifest = PhotoTable.load(PHOTOS)
    found = {path.as_posix(): path.read_bytes() for path in Path("data/raw").rglob("*") if path.is_file()}
    assert {path: hashlib.sha256(data).hexdigest() for path, data in found.items()} == dict(
        zip(manifest["path"], manifest["sha256"], strict=True)
    )
    pd.read_csv("metrics/quarantine.csv")


@FUZZ
@given(data=st.data())
def test_mutated_archives(archive: Path, data: st.DataObject) -> None:
    good = archive.read_bytes()
    before = snapshot()
    try:
        archive.write_bytes(data.draw(mutations(good)))
        check_result(before)
    finally:
        archive.write_bytes(good)


FIELDS = {  # https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3.7, 4.3.12, 4.3.16
    b"PK\x03\x04": [(4, 2), (6, 2), (8, 2), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4)],
    b"PK\x01\x02": [
        (6, 2),
        (8, 2),
        (10, 2),
        (16, 4),
        (20, 4),
        (24, 4),
        (28, 2),
        (30, 2),
        (32, 2),
        (38, 4),
        (42, 4),
        (46, 4),
    ],
    b"PK\x05\x06": [(4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
}
"""Offset and length of what the headers of a zip say: flags, methods, checksums, sizes, lengths, places, names."""


@st.composite
def field_mutations(draw: st.DrawFn, archive: bytes) -> bytes:
    """A zip in which some of its headers lie."""
    result = bytearray(archive)
    for _ in range(draw(st.integers(1, 3))):
        signature = draw(st.sampled_from(sorted(FIELDS)))
        starts = [match.start() for match in re.finditer(re.escape(signature), archive)]
        offset, length = draw(st.sampled_from(FIELDS[signature]))
        at = draw(st.sampled_from(starts)) + offset
        extremes = [bytes(length), b"\xff" * length, b"\x01".ljust(length, b"\0"), b"/../"[-length:]]
        result[at : at + length] = draw(st.sampled_from(extremes) | st.binary(min_size=length, max_size=length))
    return bytes(result)


@settings(FUZZ, max_examples=200)
@given(data=st.data())
def test_archives_whose_headers_lie(archive: Path, data: st.DataObject) -> None:
    good, before = archive.read_bytes(), snapshot()
    try:
        archive.write_bytes(data.draw(field_mutations(good)))
        check_result(before)
    finally:
        archive.write_bytes(good)


PARTS = [
    "..",
    ".",
    "",
    "/",
    "test",
    "Test",
    "cats",
    "CATS",
    "dogs",
    "é",
    "e\u0301",
    "C:",
    "\\",
    "a\\b",
    "\n",
    "-rf",
    "~",
    "x" * 250,
]
HOSTILE = st.builds(
    lambda folders, name, suffix: "/".join([*folders, name + suffix]),
    st.lists(st.sampled_from(PARTS), max_size=3),
    st.sampled_from(PARTS) | st.text(max_size=4),
    st.sampled_from([".jpg", ".JPG", "", "/", ".png"]),
).filter(lambda name: name.split("\0")[0])  # where zipfile cuts names; it writes none without one


@settings(FUZZ, max_examples=200)
@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(names=st.lists(HOSTILE, min_size=1, max_size=4))
def test_archives_with_hostile_names(archive: Path, names: list[str]) -> None:
    good, before = archive.read_bytes(), snapshot()
    try:
        make_zip(archive, FEW | {name: make_jpeg(500 + i) for i, name in enumerate(names)})
        check_result(before)
    finally:
        archive.write_bytes(good)


@FUZZ
@given(data=st.data())
def test_mutated_photos_in_a_good_archive(archive: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FEW)))
    good, before = archive.read_bytes(), snapshot()
    try:
        make_zip(archive, FEW | {name: data.draw(mutations(FEW[name]))})
        check_result(before)
    finally:
        archive.write_bytes(good)


@settings(FUZZ, max_examples=800)
@given(st.sampled_from(PICTURES).flatmap(mutations))
def test_mutated_photos_decode_to_rgb_or_are_refused(data: bytes) -> None:
    try:
        image, _ = decode_photo(data)
    except BadImage as reason:
        assert str(reason)
        return
    assert image.mode == "RGB"
    assert image.width * image.height <= MAX_PIXELS


@settings(FUZZ, max_examples=300)
@given(text=mutations(PARAMS))
def test_mutated_params(workspace: Path, text: bytes) -> None:
    Path("params.yaml").write_bytes(text)
    try:
        params = load_params()
    except UserError as error:
        assert "params.yaml" in str(error)
        return
    assert params.trials


SNIPPETS = [
    "&a [1]",
    "*a",
    "<<: *a",
    "? [a]",
    "- ",
    "{",
    "[" * 300,
    "}",
    "|",
    ">",
    "%YAML 9.9",
    "---",
    "...",
    "!!python/name:os",
]
SNIPPETS += [
    "!!binary x",
    "!!timestamp x",
    "!!set {a}",
    "0x_",
    "1_0",
    "1:30",
    "010",
    ".inf",
    "1e999",
    "2024-13-01",
    "~",
]
SNIPPETS += ["yes", "\t", "\u2028", "\ufeff", '"\\ud800"', "'", "#", "seed: 1", "a: " * 9, "9" * 5000]


@settings(FUZZ, max_examples=300)
@given(data=st.data())
def test_params_with_odd_pieces_of_yaml(workspace: Path, data: st.DataObject) -> None:
    """A piece takes the place of a value, or stands on a line of its own."""
    lines = PARAMS.decode().splitlines()
    for _ in range(data.draw(st.integers(1, 2))):
        at, piece = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.sampled_from(SNIPPETS))
        key, colon, _ = lines[at].partition(": ")
        if data.draw(st.booleans()) and colon:
            lines[at] = f"{key}: {piece}"
        else:
            indent = len(lines[at]) - len(lines[at].lstrip())
            lines.insert(at, " " * indent + piece)
    Path("params.yaml").write_text("\n".join(lines))
    try:
        load_params()
    except UserError as error:
        assert "params.yaml" in str(error)
        assert len(str(error)) < 3000


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(FUZZ, max_examples=300)
@given(data=st.data())
def test_any_value_at_any_key_of_params(workspace: Path, data: st.DataObject) -> None:
    section = found = yaml.safe_load(PARAMS)
    while isinstance(section, dict) and section:
        key = data.draw(st.sampled_from(sorted(section)))
        if not isinstance(section[key], dict) or data.draw(st.booleans()):
            section[key] = data.draw(VALUES)
            break
        section = section[key]
    Path("params.yaml").write_text(yaml.safe_dump(found))
    try:
        load_params()
    except UserError as error:
        assert "params.yaml" in str(error)
