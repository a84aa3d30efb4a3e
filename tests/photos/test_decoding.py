"""Photos are decoded whole and upright, or refused with a reason."""

import io
import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from stages.photos import decoding as images
from stages.photos.decoding import BadImage, compute_dhash, decode_photo, load_photo
from stages.runtime.errors import UserError
from tests.support.pictures import encode, make_jpeg, make_tiff

JPEG = make_jpeg(0, (64, 48))
PNG = encode(Image.linear_gradient("L").convert("RGB"), "PNG")
RED = (255, 0, 0)
NOISE = Image.open(io.BytesIO(JPEG)).convert("RGB")
TIFF, PACKED_TIFF = encode(NOISE, "TIFF"), encode(NOISE, "TIFF", compression="tiff_lzw")
pillow_heif.register_heif_opener()  # to write them; that the code needs no help to read them has a test of its own
AVIF, HEIC = encode(NOISE, "AVIF"), encode(NOISE, "HEIF")


def reason(data: bytes) -> str:
    with pytest.raises(BadImage) as raised:
        decode_photo(data)
    return str(raised.value)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF"])
def test_accepts_formats_by_content(format_name: str) -> None:
    image, _ = decode_photo(encode(Image.new("RGB", (40, 30), RED), format_name))
    assert (image.mode, image.size, image.info) == ("RGB", (40, 30), {})
    assert np.abs(np.asarray(image, int) - RED).max() <= 2


@pytest.mark.parametrize("format_name", ["PPM", "EPS", "PDF", "ICO", "TGA"])
def test_refuses_other_formats(format_name: str) -> None:
    expected = "not a readable JPEG, PNG, WEBP, BMP, GIF, TIFF, AVIF or HEIC file: it starts with"
    assert reason(encode(Image.new("RGB", (40, 30)), format_name)).startswith(expected)


def test_the_decoder_of_heic_is_loaded_when_one_comes(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(HEIC)
    code = """if True:
        import pathlib, sys
        from stages.photos.decoding import load_photo
        assert "pillow_heif" not in sys.modules
        print(load_photo(pathlib.Path(sys.argv[1])).size)
    """
    command = [sys.executable, "-c", code, str(tmp_path / "a.heic")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(64, 48)\n", "")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html>please log in</html>", "a web page?"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "<svg"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", "a damaged HEIC or AVIF file"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "or a video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw file (convert it to JPEG)"),
        (b"FUJIFILMCCD-RAW 0201", "a camera's raw file"),
        (b"IIU\0\x18\0\0\0", "a camera's raw file"),
        (b"MM\0*\0\0\0\x08\0\x10", "damaged"),
        (make_tiff({262: 32803}, bytes(256)), "a damaged TIFF file, or one of an unusual kind (convert it to JPEG)"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (PNG[: len(PNG) // 2], "damaged"),
        (TIFF[: len(TIFF) // 2], "damaged"),
        (AVIF[: len(AVIF) // 2], "damaged"),
        (HEIC[: len(HEIC) // 2], "damaged"),
    ],
)
def test_refuses_what_is_no_whole_picture(data: bytes, expected: str) -> None:
    assert expected in reason(data)


@pytest.mark.parametrize(("data", "spare"), [(JPEG, 2), (TIFF, 4), (PACKED_TIFF, 4), (AVIF, 1), (HEIC, 1)])
@given(cut=st.data())
def test_refuses_a_photo_cut_anywhere(data: bytes, spare: int, cut: st.DataObject) -> None:
    assert reason(data[: cut.draw(st.integers(0, len(data) - spare))])


@given(st.sampled_from([JPEG, PNG, TIFF, PACKED_TIFF, AVIF, HEIC]), st.integers(0, 10_000), st.integers(1, 255))
def test_damage_is_refused_or_decoded_but_never_raises(data: bytes, position: int, flip: int) -> None:
    position %= len(data)
    damaged = data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :]
    try:
        assert decode_photo(damaged)[0].mode == "RGB"
    except BadImage as error:
        assert "\n" not in str(error)


@given(st.integers(8, len(PNG) - 1), st.integers(1, 255))
def test_refuses_every_flipped_byte_of_a_png(position: int, flip: int) -> None:
    end = PNG.index(b"IEND") - 4  # the checksum of the last, empty chunk guards nothing
    position = min(position, end - 1)
    assert reason(PNG[:position] + bytes([PNG[position] ^ flip]) + PNG[position + 1 :])


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ((8, 8), ""),
        ((7, 8), "shorter"),
        ((160, 8), ""),
        ((161, 8), "20:1"),
        ((8, 161), "20:1"),
        ((1, 1), "shorter"),
        ((30_000, 1), "shorter"),
    ],
)
def test_limits_of_sides_and_shape(size: tuple[int, int], problem: str) -> None:
    data = encode(Image.new("RGB", size), "PNG")
    if problem:
        assert problem in reason(data)
    else:
        assert decode_photo(data)[0].size == size


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF", "AVIF", "HEIF"])
def test_limit_of_pixels(monkeypatch: pytest.MonkeyPatch, format_name: str) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 10 * 20)
    assert decode_photo(encode(Image.new("RGB", (20, 10)), format_name))[0].size == (20, 10)
    assert "megapixels" in reason(encode(Image.new("RGB", (20, 11)), format_name))


@pytest.mark.parametrize("side", [7_072, 10_000, 30_000])  # from 90 and 180 million pixels on, Pillow objects as well
def test_bombs_are_refused_before_they_are_unpacked(side: int) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    assert "more than 50 megapixels" in reason(PNG[:8] + chunk + PNG[33:])


def test_a_heic_that_announces_another_size_is_refused() -> None:
    size = HEIC.index(b"ispe") + 8
    assert HEIC[size : size + 8] == struct.pack(">II", 64, 64)  # of the coded picture
    for announced in ((16, 16), (20_000, 20_000)):
        assert "damaged" in reason(HEIC[:size] + struct.pack(">II", *announced) + HEIC[size + 8 :])


def test_a_tile_takes_no_more_memory_than_a_photo_may() -> None:
    packed = zlib.compress(bytes(100_000_000))
    tags: dict[int, int | bytes] = {259: 8, 322: 20_000, 323: 20_000}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reason(make_tiff(tags, packed)) == "tiles of more than 50 megapixels"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB; a whole tile is 400,000


def test_a_tiff_of_many_pages_does_not_hang() -> None:
    """Counting its pages is quadratic in Pillow: these 200,000 would take minutes."""
    _, notes = decode_photo(make_tiff({}, bytes(256), pages=200_000))
    assert notes == ["first page of several", "gray to RGB"]


@pytest.mark.parametrize(
    ("mode", "colour", "expected", "note"),
    [
        ("RGB", RED, RED, ""),
        ("RGBA", (*RED, 255), RED, "RGB with alpha over white"),
        ("RGBA", (*RED, 0), (255, 255, 255), "RGB with alpha over white"),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204), "RGB with alpha over white"),
        ("LA", (100, 255), (100, 100, 100), "gray with alpha over white"),
        ("LA", (100, 0), (255, 255, 255), "gray with alpha over white"),
        ("L", 100, (100, 100, 100), "gray to RGB"),
        ("1", 1, (255, 255, 255), "black and white to RGB"),
        ("I;16", 0, (0, 0, 0), "16-bit gray to RGB"),
        ("I;16", 257, (1, 1, 1), "16-bit gray to RGB"),
        ("I;16", 32_768, (128, 128, 128), "16-bit gray to RGB"),
        ("I;16", 65_400, (254, 254, 254), "16-bit gray to RGB"),
        ("I;16", 65_535, (255, 255, 255), "16-bit gray to RGB"),
    ],
)
def test_png_modes_become_rgb(mode: str, colour: object, expected: tuple[int, ...], note: str) -> None:
    image, notes = decode_photo(encode(Image.new(mode, (9, 9), colour), "PNG"))  # type: ignore[arg-type]
    assert (image.mode, image.getpixel((4, 4)), notes) == ("RGB", expected, [note] if note else [])


def test_palettes_become_rgb() -> None:
    image = Image.new("P", (10, 10), 0)
    image.putpalette([*RED, 0, 0, 255])
    image.paste(1, (5, 0, 10, 10))
    opaque, notes = decode_photo(encode(image, "PNG"))
    assert (opaque.getpixel((0, 0)), opaque.getpixel((9, 9)), notes) == (RED, (0, 0, 255), ["palette to RGB"])
    clear, notes = decode_photo(encode(image, "PNG", transparency=0))
    assert (clear.getpixel((0, 0)), clear.getpixel((9, 9))) == ((255, 255, 255), (0, 0, 255))
    assert notes == ["palette with alpha over white"]


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(format_name: str) -> None:
    image, notes = decode_photo(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), format_name))
    assert np.abs(np.asarray(image, int) - RED).max() <= 3
    assert notes == ["CMYK to RGB"]


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
@pytest.mark.parametrize(("level", "expected"), [(0, 0), (257, 1), (32_768, 128), (65_400, 254), (65_535, 255)])
def test_16_bit_tiffs_are_scaled(mode: str, level: int, expected: int, compression: str | None) -> None:
    image, notes = decode_photo(encode(Image.new(mode, (9, 9), level), "TIFF", compression=compression))
    assert (image.getpixel((4, 4)), notes) == ((expected,) * 3, ["16-bit gray to RGB"])


def test_unusual_tiffs_are_scaled_or_refused() -> None:
    colours = struct.pack("<3H", 65_535, 32_768, 0) * 256
    deep = make_tiff({258: struct.pack("<3H", 16, 16, 16), 262: 2, 277: 3}, colours)
    assert decode_photo(deep)[0].getpixel((4, 4)) == (255, 128, 0)
    twelve = make_tiff({258: 12}, b"\x80\x08\x00" * 128)  # two pixels of 0x800 in three bytes
    assert decode_photo(twelve)[0].getpixel((4, 4)) == (128, 128, 128)
    inverted = make_tiff({258: 16, 262: 0}, struct.pack("<H", 65_535) * 256)
    assert decode_photo(inverted)[0].getpixel((4, 4)) == (0, 0, 0)
    for mode in ("I", "F"):
        assert "whose range is unknown" in reason(encode(Image.new(mode, (9, 9)), "TIFF"))


@pytest.mark.parametrize("tags", [{254: 1}, {50706: b"\1\4\0\0"}], ids=["NEF", "DNG"])
def test_raw_files_that_look_like_tiff_are_refused(tags: dict[int, int | bytes]) -> None:
    """Pillow would take the preview on their first page for the photo."""
    assert "raw file" in reason(make_tiff(tags, bytes(256)))


def test_a_cr2_is_refused() -> None:
    plain = make_tiff({}, bytes(256), header=8)
    assert decode_photo(plain)[0].size == (16, 16)
    assert "raw file" in reason(plain[:8] + b"CR\2\0" + plain[12:])


def test_libtiff_is_heard_and_kept_off_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    damaged = bytearray(PACKED_TIFF)
    start = Image.open(io.BytesIO(PACKED_TIFF)).tag_v2[273][0]  # type: ignore[attr-defined]
    damaged[start + 100 : start + 200] = bytes(100)
    assert reason(bytes(damaged)).startswith("damaged: LZW")
    assert "damaged: " in reason(encode(NOISE, "TIFF", compression="tiff_deflate").replace(b"\x78\x9c", b"\0\0"))
    os.write(2, b"after")
    assert capfd.readouterr() == ("", "after")


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animations_give_their_first_frame(format_name: str) -> None:
    frames = [Image.new("RGB", (20, 20), (value, 0, 0)) for value in (255, 128, 0)]
    options = {"lossless": True} if format_name == "WEBP" else {}
    data = encode(frames[0], format_name, save_all=True, append_images=frames[1:], **options)
    image, notes = decode_photo(data)
    assert np.abs(np.asarray(image, int)[5, 5] - RED).max() <= 1
    assert notes[0] == "first frame of 3"


def test_a_heic_of_several_gives_its_primary_image() -> None:
    several = pillow_heif.from_pillow(Image.new("RGB", (20, 20)))
    several.add_from_pillow(Image.new("RGB", (40, 30), RED))
    file = io.BytesIO()
    several.save(file, primary_index=1)
    image, notes = decode_photo(file.getvalue())
    assert (image.size, notes) == ((40, 30), ["primary image of 2"])


def test_a_tiff_of_several_pages_gives_its_first() -> None:
    pages = [Image.new("RGB", (20, 20), colour) for colour in (RED, (0, 0, 255))]
    image, notes = decode_photo(encode(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert (image.getpixel((5, 5)), notes) == (RED, ["first page of several"])


STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = Image.frombytes("RGB", (12, 8), bytes(range(12 * 8)) * 3)
    stored = upright.transpose(STORED_AS[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, notes = decode_photo(encode(stored, "PNG", exif=exif))
    assert np.array_equal(np.asarray(image), np.asarray(upright))
    assert notes == (["EXIF orientation applied"] if orientation > 1 else [])


@pytest.mark.parametrize("format_name", ["TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_other_formats_are_upright_too(format_name: str, orientation: int) -> None:
    upright = Image.new("RGB", (24, 16))
    upright.paste(RED, (0, 0, 12, 8))  # a red corner tells every turn
    stored = upright.transpose(STORED_AS[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.info["exif"] = exif.tobytes()  # of which pillow_heif makes HEIC's own rotation, as phones do
    image, _ = decode_photo(encode(stored, format_name, **({"exif": exif} if format_name != "HEIF" else {})))
    assert image.size == (24, 16)
    assert np.abs(np.asarray(image, int) - np.asarray(upright, int)).mean() < 4


def make_sideways_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0128] = 6, "maker", 2
    return encode(Image.new("RGB", (20, 10), RED), exif=exif)


@pytest.mark.filterwarnings("ignore::UserWarning")  # as images.py does outside tests
def test_a_photo_is_turned_even_if_pillow_cannot_write_its_exif_back() -> None:
    data = make_sideways_jpeg()
    given_up_by_pillow = 0
    for position in range(data.index(b"Exif") + 14, data.index(b"maker") + 5):
        for value in (0, 2, 5, 12, 255):
            broken = data[:position] + bytes([value]) + data[position + 1 :]
            image, notes = decode_photo(broken)
            try:
                expected = ImageOps.exif_transpose(Image.open(io.BytesIO(broken))).size
            except Exception:
                given_up_by_pillow += 1
                assert notes == ["EXIF orientation applied"]
                expected = (10, 20)
            assert image.size == expected
    assert given_up_by_pillow


@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_unreadable_exif_does_not_spoil_a_photo(format_name: str) -> None:
    image, notes = decode_photo(encode(Image.new("RGB", (20, 10), RED), format_name, exif=b"garbage!"))
    assert (image.size, notes) == ((20, 10), ["EXIF unreadable, orientation unknown"])


def test_pillows_warnings_do_not_reach_the_terminal(tmp_path: Path) -> None:
    data = make_sideways_jpeg()
    count = data.index(b"Exif") + 14
    (tmp_path / "x.jpg").write_bytes(data[:count] + b"\0\x20" + data[count + 2 :])  # announces 32 tags
    code = "import sys, pathlib; from stages.photos.decoding import load_photo; load_photo(pathlib.Path(sys.argv[1]))"
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.jpg")], capture_output=True, text=True, check=True
    )
    assert (run.stdout, run.stderr) == ("", "")


def test_dhash_compares_neighbours() -> None:
    rising = Image.linear_gradient("L").rotate(90).convert("RGB")
    assert compute_dhash(rising) == "f" * 16
    assert compute_dhash(rising.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) == "0" * 16


def test_load_photo_names_the_file_that_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    with pytest.raises(UserError, match=r"cat\.jpg is missing.*dvc repro"):
        load_photo(path)
    path.write_bytes(JPEG)
    assert load_photo(path).size == (64, 48)
    with pytest.raises(UserError, match=r"cat\.jpg was changed.*manifest"):
        load_photo(path, "0" * 64)
    path.write_bytes(JPEG[:100])
    with pytest.raises(UserError, match=r"cat\.jpg was changed or damaged"):
        load_photo(path)
