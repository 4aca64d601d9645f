"""Photos as people have them: every format, every rotation, broken, huge, and not photos at all."""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from nunbit.core.messages import MissingExtra
from nunbit.core.schema import ReadingNote
from nunbit.pictures.photos import (
    JPEG_PIXEL_CAP,
    MAX_PIXELS,
    NOTE_TEXTS,
    PhotoError,
    decode_photo,
    list_photos,
    read_photo,
)

# Four corners that differ, so that every rotation and reflection is told from every other.
RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 30), (30, 30, 220), (90, 90, 90)
SIZE = (48, 32)


def corners(size: tuple[int, int] = SIZE) -> Image.Image:
    image = Image.new("RGB", size, GREY)
    half = (size[0] // 2, size[1] // 2)
    image.paste(RED, (0, 0, *half))
    image.paste(GREEN, (half[0], 0, size[0], half[1]))
    image.paste(BLUE, (0, half[1], half[0], size[1]))
    return image


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def colours_at_corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    height, width = pixels.shape[:2]
    places = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return [tuple(int(v) for v in pixels[place]) for place in places]


def assert_upright(pixels: np.ndarray, tolerance: int = 40) -> None:
    for found, wanted in zip(colours_at_corners(pixels), (RED, GREEN, BLUE, GREY), strict=True):
        assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= tolerance


UNTURN = {
    1: (),
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_90,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_270,),
}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_once_in_every_format(form: str, orientation: int) -> None:
    image = corners()
    for turn in UNTURN[orientation]:
        image = image.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = decode_photo(encoded(image, form, exif=exif))
    assert photo.size == SIZE
    assert photo.pixels.shape == (SIZE[1], SIZE[0], 3)
    assert photo.pixels.dtype == np.uint8
    assert photo.orientation == orientation
    assert photo.notes == ()
    assert photo.scale == (1.0, 1.0)
    assert_upright(photo.pixels)


@pytest.mark.parametrize(
    ("image", "form"),
    [
        (corners().convert("CMYK"), "JPEG"),
        (corners().convert("CMYK"), "TIFF"),
        (corners().quantize(4), "PNG"),
        (corners().quantize(4), "GIF"),
        (corners().convert("RGBA"), "PNG"),
        (corners().convert("RGBA"), "WEBP"),
        (corners().convert("LAB"), "TIFF"),
        (corners(), "BMP"),
        (corners(), "PNG"),
    ],
    ids=lambda v: v if isinstance(v, str) else v.mode,
)
def test_every_colour_format_becomes_rgb(image: Image.Image, form: str) -> None:
    photo = decode_photo(encoded(image, form))
    assert photo.pixels.shape == (SIZE[1], SIZE[0], 3)
    assert_upright(photo.pixels)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_lose_the_low_byte(form: str) -> None:
    values = np.array([[0, 255, 256], [0x7FFF, 0x8000, 0xFFFF]], np.uint16)
    photo = decode_photo(encoded(Image.fromarray(values), form))
    assert photo.pixels[..., 0].tolist() == [[0, 0, 1], [127, 128, 255]]


def png(width: int, height: int, bits: int, pixels: bytes) -> bytes:
    data = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body
        data += struct.pack(">I", zlib.crc32(kind + body))
    return data


def test_sixteen_bit_colour_png() -> None:
    row = struct.pack(">6H", 0xFF00, 0, 0x8000, 0, 0xFFFF, 0)
    photo = decode_photo(png(2, 1, 16, b"\0" + row))
    assert photo.pixels.tolist() == [[[255, 0, 128], [0, 255, 0]]]


def test_transparency_lies_on_white() -> None:
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    assert (decode_photo(encoded(image, "PNG")).pixels == 255).all()


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_pictures_the_first_is_taken_and_said(form: str) -> None:
    others = [Image.new("RGB", SIZE, (0, 0, 0)), Image.new("RGB", SIZE, (255, 255, 255))]
    data = encoded(corners(), form, save_all=True, append_images=others)
    photo = decode_photo(data)
    assert photo.notes == ("first_frame",)
    assert_upright(photo.pixels)
    assert NOTE_TEXTS["first_frame"].en == "first picture of several"
    assert "첫 장" in NOTE_TEXTS["first_frame"].ko


def test_one_pixel() -> None:
    photo = decode_photo(encoded(Image.new("RGB", (1, 1), RED), "PNG"))
    assert photo.size == (1, 1)
    assert photo.pixels.tolist() == [[list(RED)]]


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_large_photos_are_reduced_and_know_their_size(form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = corners((5000, 3400)).transpose(Image.Transpose.ROTATE_90)
    options = {"quality": 50} if form == "JPEG" else {"compress_level": 1}
    photo = decode_photo(encoded(image, form, exif=exif, **options))
    height, width = photo.pixels.shape[:2]
    assert height * width <= MAX_PIXELS
    assert photo.size == (5000, 3400)
    assert photo.notes == ("reduced",)
    assert photo.scale == pytest.approx((2.0, 2.0), rel=1e-3)
    assert_upright(photo.pixels)


def test_an_extremely_long_picture_is_reduced() -> None:
    photo = decode_photo(encoded(Image.new("L", (8_500_000, 2), 77), "BMP"))
    assert photo.size == (8_500_000, 2)
    assert photo.pixels.shape[0] * photo.pixels.shape[1] <= MAX_PIXELS
    assert (photo.pixels == 77).all()


def jpeg_header(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


GOOD = {form: encoded(corners((256, 192)), form) for form in ("JPEG", "PNG", "WEBP", "TIFF", "GIF")}
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"hello", "not_an_image"),
        (b"%PDF-1.7 \n", "not_an_image"),
        (b"\0\0\0\x1cftypisom\0\0\0\0", "not_an_image"),
        (GOOD["JPEG"][:2] + b"\xff", "broken_header"),
        (GOOD["JPEG"][: len(GOOD["JPEG"]) * 2 // 3], "truncated"),
        (encoded(NOISE, "PNG")[:9000], "truncated"),
        (GOOD["PNG"][:20], "truncated"),
        (encoded(NOISE, "WEBP")[:900], "broken_header"),
        (GOOD["TIFF"][:6], "broken_header"),
        (encoded(NOISE, "TIFF")[:4] + b"\xff\xff\xff\x7f", "broken_header"),
        (GOOD["GIF"][:8], "broken_header"),
        (encoded(NOISE, "GIF")[:4000], "truncated"),
        (encoded(Image.new("F", (8, 8)), "TIFF"), "unsupported_mode"),
        (png(20_000, 20_000, 8, b""), "too_large"),
        (jpeg_header(40_000, 40_000), "too_large"),
        (encoded(Image.new("1", (9500, 9500)), "TIFF", compression="group4"), "too_large"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(PhotoError) as caught:
        read_photo(path)
    assert caught.value.reason == reason
    for text in (caught.value.text.en, caught.value.text.ko):
        assert text.startswith(f"{path}: ")
        assert len(text) > len(str(path)) + 8
    assert pickle.loads(pickle.dumps(caught.value)).reason == reason


def test_a_progressive_jpeg_beyond_the_memory_budget_is_refused_before_decoding() -> None:
    data = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    frame = data.index(b"\xff\xc2")
    huge = data[: frame + 5] + struct.pack(">HH", 30_000, 30_000) + data[frame + 9 :]
    with pytest.raises(PhotoError, match="too large to decode within 1.1 GB") as caught:
        decode_photo(huge)
    assert caught.value.reason == "too_large"
    assert JPEG_PIXEL_CAP > 30_000**2  # so it is the memory that decides


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read on Linux")
def test_a_jpeg_of_20_000_pixels_squared_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    Image.new("L", (20_000, 20_000), 128).save(path, quality=30)
    code = (
        "import json, pathlib, sys\n"
        "from nunbit.pictures.photos import read_photo\n"
        "photo = read_photo(pathlib.Path(sys.argv[1]))\n"
        # Not getrusage: its peak counts the process that started this one.
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "peak = int(status.split('VmHWM:')[1].split()[0])\n"
        "print(json.dumps([photo.size, photo.pixels.shape, peak]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    size, shape, peak = json.loads(run.stdout)
    assert size == [20_000, 20_000]
    assert shape == [2500, 2500, 3]
    assert peak < 200_000  # KiB; the whole picture as RGB would take 1.2 GB


HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(64)


def test_avif_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    for name, kind in (("a.avif", "AVIF"), ("b.jfif", "JPEG"), ("c.picture", "PNG")):
        (tmp_path / name).write_bytes(encoded(corners(), kind))
    photos = [read_photo(p) for p in list_photos(tmp_path)]
    assert len(photos) == 3
    assert {photo.size for photo in photos} == {corners().size}
    for photo in photos:
        assert_upright(photo.pixels)


def test_avif_without_a_decoder_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "check", lambda feature: False)
    path = tmp_path / "a.avif"
    path.write_bytes(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(64))
    assert list_photos(tmp_path) == (path,)
    with pytest.raises(MissingExtra, match="pillow"):
        read_photo(path)


@pytest.mark.parametrize(
    "head", [b"\0\0\0\x0cJXL \r\n\x87\n", b"8BPS\0\1", b"\0\0\0\x0cjP  \r\n\x87\n"]
)
def test_pictures_that_cannot_be_read_are_reported_not_skipped(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "photo"
    path.write_bytes(head + bytes(100))
    assert list_photos(tmp_path) == (path,)
    with pytest.raises(PhotoError) as caught:
        read_photo(path)
    assert caught.value.reason == "not_an_image"


def test_heic_without_a_decoder_names_the_line_that_installs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nunbit.pictures.photos.find_spec", lambda name: None)
    path = tmp_path / "phone.heic"
    path.write_bytes(HEIC)
    with pytest.raises(MissingExtra, match="pip install pi-heif") as caught:
        read_photo(path)
    assert str(path) in caught.value.text.ko


@pytest.mark.parametrize("package", ["pi_heif", "pillow_heif"])
def test_heic_with_a_decoder(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package, reason="no HEIC decoder is installed")
    writer = pytest.importorskip("pillow_heif", reason="only pillow-heif can write HEIC")
    from importlib.util import find_spec

    monkeypatch.setattr(
        "nunbit.pictures.photos.find_spec",
        lambda name: find_spec(name) if name == package else None,
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = corners((192, 128)).transpose(Image.Transpose.ROTATE_90)
    stream = io.BytesIO()
    writer.from_pillow(turned).save(stream, exif=exif.tobytes(), quality=95)
    photo = decode_photo(stream.getvalue())
    assert photo.size == (192, 128)
    assert_upright(photo.pixels)
    with pytest.raises(PhotoError):
        decode_photo(stream.getvalue()[:-200])


def test_odd_metadata_is_no_matter_of_the_reader() -> None:
    data = encoded(corners(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01")
    photo = decode_photo(data)  # warnings are errors here
    assert photo.orientation is None
    assert_upright(photo.pixels)


def test_a_folder_gives_the_photos_directly_in_it(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "camera.dat").write_bytes(b"\xff\xd8\xff\xe0 content, not name")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "c.jpg").write_bytes(b"x")
    (tmp_path / "d.jpg").mkdir()
    told: list[ReadingNote] = []
    assert [p.name for p in list_photos(tmp_path, told)] == ["a.png", "b.JPG", "camera.dat"]
    assert [(n.code, n.count, n.first) for n in told] == [("not_a_picture", 4, ".hidden.jpg")]
    assert "d.jpg" in told[0].text.en
    assert list_photos(tmp_path / "notes.txt") == (tmp_path / "notes.txt",)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [("nothing.jpg", "missing"), ("https://example.org/a.jpg", "url"), ("empty", "empty_folder")],
)
def test_arguments_that_name_no_photo(argument: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    path = Path(argument) if ":" in argument else tmp_path / argument
    with pytest.raises(PhotoError) as caught:
        list_photos(path)
    assert caught.value.reason == reason


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(PhotoError) as caught:
        read_photo(Path("/dev/null"))
    assert caught.value.reason == "not_a_file"
    with pytest.raises(PhotoError) as caught:
        read_photo(tmp_path)
    assert caught.value.reason == "not_a_file"
