"""Damaged and malicious input, by the hundred: one message or a whole result, never a traceback or half of one."""

import hashlib
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stages import fetch
from stages.common.errors import UserError
from stages.common.images import MAX_PIXELS, BadImage, decode_photo
from stages.common.manifest import PHOTO_COLUMNS, PHOTOS, load_manifest
from stages.common.params import load_params
from tests.conftest import ROOT, change_params
from tests.pictures import encode, make_jpeg, make_zip
from tests.test_fetch import CATS, DOGS, snapshot

PARAMS = (ROOT / "params.yaml").read_bytes()
NOISE = Image.open(BytesIO(make_jpeg(0)))
PICTURES = [encode(NOISE, kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF")]
FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


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
def archive(workspace: Path) -> Path:
    """A good zip, the params that lead to it, and a result that a failure must leave alone."""
    path = make_zip(Path("data/downloads/photos.zip"), CATS | DOGS)
    change_params({"fetch.sources": ["archive"]})
    fetch.main()
    return path


def check_result(before: dict[str, bytes]) -> None:
    """Run fetch: it either says what is wrong and leaves all as it was, or leaves what its manifest says."""
    try:
        fetch.main()
    except UserError as error:
        assert str(error)
        assert snapshot() == before
        return
    manifest = load_manifest(PHOTOS, PHOTO_COLUMNS)
    found = {path.as_posix(): path.read_bytes() for path in Path("data/raw").rglob("*") if path.is_file()}
    assert {path: hashlib.sha256(data).hexdigest() for path, data in found.items()} == dict(
        zip(manifest["path"], manifest["sha256"], strict=True)
    )
    pd.read_csv("data/quarantine.csv")


@FUZZ
@given(data=st.data())
def test_mutated_archives(archive: Path, data: st.DataObject) -> None:
    good = archive.read_bytes()
    outside = {path.name for path in Path.cwd().parent.iterdir()}
    before = snapshot()
    try:
        archive.write_bytes(data.draw(mutations(good)))
        check_result(before)
    finally:
        archive.write_bytes(good)
    assert {path.name for path in Path.cwd().parent.iterdir()} == outside
    assert not list(Path().rglob("*.partial"))


@FUZZ
@given(data=st.data())
def test_mutated_photos_in_a_good_archive(archive: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(CATS)))
    good, before = archive.read_bytes(), snapshot()
    try:
        make_zip(archive, CATS | DOGS | {name: data.draw(mutations(CATS[name]))})
        check_result(before)
    finally:
        archive.write_bytes(good)


@settings(FUZZ, max_examples=400)
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
