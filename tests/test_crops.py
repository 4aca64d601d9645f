from __future__ import annotations

import contextlib
import io
import math
import pickle
import struct
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nunbit.core.messages import Text
from nunbit.pictures import decode
from nunbit.pictures.crops import PAD_RGB, CropSettings, decode_crop, raw_rect, usable_box
from nunbit.pictures.decode import CropError, load_rows, open_image
from nunbit.synth.aihub_records import GIANT_SIZE, giant_jpeg, giant_offset

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
NAN = math.nan


def scene(width: int, height: int, *, seed: int = 0, noise: float = 8.0) -> Pixels:
    """An asymmetrical picture: colour ramps in both directions, a dark wedge, camera noise."""
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(255, 0, height)[:, None].repeat(width, 1)
    picture = np.stack([x, y, (x * y) % 256], axis=-1)
    rows, columns = np.mgrid[:height, :width]
    picture[rows * width > 2 * columns * height] *= 0.4
    grain = np.random.default_rng(seed).normal(0, noise, picture.shape)
    return (picture + grain).clip(0, 255).astype(np.uint8)


def encode(pixels: Pixels | Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    if kind == "JPEG":
        options.setdefault("quality", 90)
    image.save(stream, kind, **options)
    return stream.getvalue()


def with_tag(tag: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = tag
    return exif


def naive(data: bytes, rect: tuple[int, int, int, int], size: int, resample: int) -> Pixels:
    """The plain way: decode everything, turn it upright, pad, cut, resize."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    canvas = Image.new("RGB", (rect[2] - rect[0], rect[3] - rect[1]), PAD_RGB)
    canvas.paste(image, (-rect[0], -rect[1]))
    return np.asarray(canvas.resize((size, size), resample))


def difference(a: Pixels, b: Pixels) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize("tag", [None, *range(9), 77])
@pytest.mark.parametrize("size", [32, 64, 200])  # decoded at 1/8 (clamped), 1/4 and in full
def test_fast_crop_equals_the_plain_way_at_every_orientation(tag: int | None, size: int) -> None:
    pixels = scene(900, 640)
    data = encode(pixels) if tag is None else encode(pixels, exif=with_tag(tag))
    crop = decode_crop(data, (120.4, 80.2, 420.4, 490.2), (), CropSettings("square", size, 0.1))
    # centre 270.4, 285.2; side 1.2 * 410 = 492
    plain = naive(data, (24, 39, 516, 531), size, Image.Resampling.BICUBIC)
    assert difference(crop.pixels, plain) <= 1.5
    lanczos = naive(data, (24, 39, 516, 531), size, Image.Resampling.LANCZOS)
    assert difference(crop.pixels, lanczos) <= 1.5
    assert crop.orientation == tag
    assert crop.upright_size == ((640, 900) if tag in (5, 6, 7, 8) else (900, 640))
    assert crop.box_xyxy == pytest.approx((120.4, 80.2, 420.4, 490.2))
    assert crop.box_index == 0


def test_a_wrong_orientation_would_be_noticed() -> None:
    data = encode(scene(900, 640), exif=with_tag(3))
    plain = naive(data, (24, 39, 516, 531), 64, Image.Resampling.BICUBIC)
    upright = decode_crop(
        encode(scene(900, 640)), (120.4, 80.2, 420.4, 490.2), (), CropSettings(size=64)
    )
    assert difference(upright.pixels, plain) > 20


@pytest.mark.parametrize("tag", range(1, 9))
def test_raw_rect_finds_the_pixels(tag: int) -> None:
    pixels = scene(40, 30)
    exif = with_tag(tag)
    image = Image.open(io.BytesIO(encode(pixels, "PNG", exif=exif)))
    upright = ImageOps.exif_transpose(image)
    rect = (3, 5, 14, 11)
    x0, y0, x1, y1 = raw_rect(rect, tag, upright.size)
    cut = np.sort(np.asarray(image.crop((x0, y0, x1, y1))).reshape(-1, 3), axis=0)
    expected = np.sort(np.asarray(upright.crop(rect)).reshape(-1, 3), axis=0)
    assert np.array_equal(cut, expected)


@pytest.mark.parametrize("tag", [1, 6])
def test_a_square_at_the_edge_is_padded_and_not_shifted(tag: int) -> None:
    data = encode(scene(800, 600), exif=with_tag(tag))
    width, _ = (600, 800) if tag == 6 else (800, 600)
    # Centre x = width - 50; side 300: 100 px beyond the right edge, 50 above the top.
    crop = decode_crop(
        data, (width - 200.0, -50.0, width + 100.0, 250.0), (), CropSettings(size=60, margin=0)
    )
    assert crop.box_xyxy == (width - 200.0, 0.0, float(width), 250.0)
    # The clamped box is 200 x 250: side 250, centre (width - 100, 125), 25 px beyond the edge.
    plain = naive(data, (width - 225, 0, width + 25, 250), 60, Image.Resampling.BICUBIC)
    assert difference(crop.pixels, plain) <= 1.5
    assert np.abs(crop.pixels[:, -4:].astype(int) - PAD_RGB).max() <= 1
    assert np.abs(crop.pixels[:, -9:-7].astype(int) - PAD_RGB).mean() > 5


def test_box_kind_squeezes_the_box_as_it_is() -> None:
    data = encode(scene(800, 600))
    crop = decode_crop(data, (100.0, 50.0, 300.0, 450.0), (), CropSettings("box", 64, 0.5))
    plain = naive(data, (100, 50, 300, 450), 64, Image.Resampling.BICUBIC)
    assert difference(crop.pixels, plain) <= 1.5


def test_margin_widens_the_square_on_every_side() -> None:
    data = encode(scene(800, 600))
    wide = decode_crop(data, (300.0, 200.0, 400.0, 300.0), (), CropSettings(size=64, margin=0.5))
    plain = naive(data, (250, 150, 450, 350), 64, Image.Resampling.BICUBIC)
    assert difference(wide.pixels, plain) <= 1.5


def test_without_a_box_the_whole_image_keeps_its_shape() -> None:
    data = encode(scene(800, 600))
    crop = decode_crop(data, None, (), CropSettings(size=80, margin=0.5))
    plain = naive(data, (0, -100, 800, 700), 80, Image.Resampling.BICUBIC)
    assert difference(crop.pixels, plain) <= 1.5
    assert (crop.box_xyxy, crop.box_index) == (None, None)
    squeezed = decode_crop(data, None, (), CropSettings("box", size=80))
    assert (
        difference(squeezed.pixels, naive(data, (0, 0, 800, 600), 80, Image.Resampling.BICUBIC))
        <= 1.5
    )


def test_a_small_image_is_enlarged() -> None:
    data = encode(scene(48, 48))
    crop = decode_crop(data, None, (), CropSettings(size=96))
    assert difference(crop.pixels, naive(data, (0, 0, 48, 48), 96, Image.Resampling.BICUBIC)) <= 0.5


GOOD: Box = (10.0, 20.0, 60.0, 90.0)
BAD: list[Box] = [
    (10.0, 20.0, 10.0, 90.0),  # zero area
    (60.0, 20.0, 10.0, 90.0),  # reversed
    (NAN, 20.0, 60.0, 90.0),
    (10.0, 20.0, math.inf, 90.0),
    (200.0, 20.0, 260.0, 90.0),  # outside the frame
    (10.0, 20.0, 14.0, 24.0),  # a few pixels
    (95.0, 20.0, 180.0, 90.0),  # a few pixels inside the frame
]


@pytest.mark.parametrize("bad", BAD)
def test_an_unusable_box_gives_way_to_the_next(bad: Box) -> None:
    data = encode(scene(100, 100))
    assert usable_box(bad, (100, 100)) is None
    crop = decode_crop(data, bad, (bad, GOOD), CropSettings(size=32))
    assert (crop.box_index, crop.box_xyxy) == (2, GOOD)
    assert decode_crop(data, GOOD, (bad,), CropSettings(size=32)).box_index == 0
    with pytest.raises(CropError) as caught:
        decode_crop(data, bad, (bad,), CropSettings(size=32))
    assert caught.value.reason == "bad_box"


def test_boxes_are_judged_in_the_upright_frame() -> None:
    data = encode(scene(200, 100), exif=with_tag(6))  # upright: 100 x 200
    assert decode_crop(data, (10.0, 120.0, 90.0, 190.0), (), CropSettings(size=32)).box_index == 0
    with pytest.raises(CropError):
        decode_crop(data, (120.0, 10.0, 190.0, 90.0), (), CropSettings(size=32))


def sixteen_bit() -> bytes:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    return encode(Image.fromarray(ramp), "PNG")


def palette(transparent: bool) -> bytes:
    image = Image.new("P", (64, 64), 1)
    image.putpalette([0, 0, 0, 200, 10, 30])
    return encode(image, "PNG", **({"transparency": 1} if transparent else {}))


def rgba() -> bytes:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, :32] = (10, 20, 30, 255)
    return encode(pixels, "PNG")


MODES = {
    "grey jpeg": (lambda: encode(Image.new("L", (64, 64), 90)), (90, 90, 90), (90, 90, 90)),
    "cmyk jpeg": (
        lambda: encode(Image.new("CMYK", (64, 64), (0, 255, 255, 0))),
        (255, 0, 0),
        (255, 0, 0),
    ),
    "progressive": (
        lambda: encode(Image.new("RGB", (64, 64), (9, 80, 200)), progressive=True),
        (9, 80, 200),
        (9, 80, 200),
    ),
    "palette": (lambda: palette(False), (200, 10, 30), (200, 10, 30)),
    "transparent palette": (lambda: palette(True), (255, 255, 255), (255, 255, 255)),
    "rgba on white": (rgba, (10, 20, 30), (255, 255, 255)),
    "one bit": (lambda: encode(Image.new("1", (64, 64), 1), "PNG"), (255,) * 3, (255,) * 3),
    "16 bit": (sixteen_bit, (20, 20, 20), (235, 235, 235)),
    "bmp": (lambda: encode(Image.new("RGB", (64, 64), (1, 2, 3)), "BMP"), (1, 2, 3), (1, 2, 3)),
    "webp": (
        lambda: encode(Image.new("RGB", (64, 64), (200, 100, 50)), "WEBP", lossless=True),
        (200, 100, 50),
        (200, 100, 50),
    ),
}


@pytest.mark.parametrize("name", MODES)
def test_every_pixel_format_becomes_rgb(name: str) -> None:
    make, left, right = MODES[name]
    crop = decode_crop(make(), None, (), CropSettings(size=32))
    assert crop.pixels.shape == (32, 32, 3)
    assert crop.pixels.dtype == np.uint8
    # The 16-bit ramp runs from top to bottom, the others (if at all) from left to right.
    first, last = (
        (crop.pixels[2], crop.pixels[-3])
        if name == "16 bit"
        else (
            crop.pixels[:, 2],
            crop.pixels[:, -3],
        )
    )
    assert np.abs(first.mean(0) - left).max() <= 3
    assert np.abs(last.mean(0) - right).max() <= 3


def broken_middle(data: bytes) -> bytes:
    """A progressive JPEG whose later scan headers are destroyed."""
    position = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    return data[: position + 2] + b"\x00\x02\xff\xd9" + data[position + 6 :]


PHOTO = encode(scene(320, 240))
PNG = encode(scene(64, 64), "PNG")
BROKEN = {
    "empty": (b"", "empty_file"),
    "text": (b"not an image at all", "not_an_image"),
    "html error page": (b"<html>403</html>" * 20, "not_an_image"),
    "gif": (encode(Image.new("P", (8, 8)), "GIF"), "not_an_image"),
    "cut in the pixels": (PHOTO[: len(PHOTO) // 2], "truncated"),
    "cut near the end": (PHOTO[:-200], "truncated"),
    "cut in the header": (PHOTO[:100], ("truncated", "broken_header")),
    "only the magic": (b"\xff\xd8\xff", ("truncated", "broken_header")),
    "broken scans": (broken_middle(encode(scene(320, 240), progressive=True)), "broken_stream"),
    "cut png": (PNG[: len(PNG) // 2], "truncated"),
    "png of nonsense": (PNG[:60] + bytes(len(PNG) - 60), ("truncated", "broken_stream")),
    "float tiff": (encode(Image.new("F", (8, 8)), "TIFF"), "not_an_image"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_images_are_rejected_with_a_reason(name: str) -> None:
    data, reasons = BROKEN[name]
    for size in (16, 224):
        with pytest.raises(CropError) as caught:
            decode_crop(data, (10.0, 10.0, 50.0, 50.0), (), CropSettings(size=size))
        assert caught.value.reason in reasons
        assert caught.value.text.line("ko") != caught.value.text.line("en")


def test_a_broken_exif_block_does_not_cost_the_image() -> None:
    exif = b"Exif\x00\x00MM\x00*" + struct.pack(">I", 8) + struct.pack(">H", 40000) + b"\x01" * 20
    data = encode(scene(100, 80), exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        crop = decode_crop(data, None, (), CropSettings(size=32))
    assert crop.orientation is None
    assert crop.upright_size == (100, 80)


def test_crop_error_survives_pickling() -> None:
    error = CropError(Text("e", "k"), "truncated")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.reason, copy.text.en, copy.text.ko) == (
        CropError,
        "truncated",
        "e",
        "k",
    )


def test_importing_leaves_pillows_limit_alone() -> None:
    before = Image.MAX_IMAGE_PIXELS
    decode_crop(PHOTO, None, (), CropSettings(size=32))
    assert before == Image.MAX_IMAGE_PIXELS == 89478485


def header_only_jpeg(width: int, height: int) -> bytes:
    """A small JPEG whose header claims another size."""
    data = encode(Image.new("RGB", (16, 16)))
    position = data.index(b"\xff\xc0")
    size = struct.pack(">HH", height, width)
    return data[: position + 5] + size + data[position + 9 :]


def test_pixel_cap_and_memory_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CropError) as caught:
        decode_crop(header_only_jpeg(17000, 14800), None, (), CropSettings())
    assert caught.value.reason == "too_large"
    # AI Hub's largest photo may be decoded at full size.
    data = header_only_jpeg(17084, 12648)
    assert decode.choose_reduction(decode.open_image(data), data, (0, 0, 300, 300), 224) == 1
    monkeypatch.setattr(decode, "DECODE_BUDGET_BYTES", 1_000_000)
    with pytest.raises(CropError) as caught:
        decode_crop(encode(scene(700, 600), "PNG"), None, (), CropSettings(size=32))
    assert caught.value.reason == "too_large"
    assert "PNG" in caught.value.text.en


def test_the_budget_is_met_by_a_stronger_reduction(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(scene(800, 600))
    image = decode.open_image(data)
    cut = (0, 0, 120, 120)
    assert decode.choose_reduction(image, data, cut, 40) == 1
    monkeypatch.setattr(decode, "DECODE_BUDGET_BYTES", decode.decode_bytes(image, data, 2))
    assert decode.choose_reduction(image, data, cut, 40) == 2
    monkeypatch.setattr(decode, "DECODE_BUDGET_BYTES", decode.decode_bytes(image, data, 4))
    with pytest.raises(CropError):  # at 1/4 the face would have fewer pixels than the crop
        decode.choose_reduction(image, data, cut, 40)


def test_coefficients_of_progressive_images_are_counted() -> None:
    pixels = np.zeros((3000, 3000, 3), np.uint8)
    cost = {}
    for kind in (False, True):
        data = encode(pixels, progressive=kind, subsampling=0)
        cost[kind] = decode.decode_bytes(decode.open_image(data), data, 8) - len(data)
    assert cost[False] == math.ceil(4 * 9_000_000 / 64)
    assert cost[True] == cost[False] + 2 * 3 * 9_000_000


def test_big_decodes_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = []

    @contextlib.contextmanager
    def turn() -> Iterator[None]:
        entered.append(1)
        yield

    data = encode(scene(640, 480))
    decode_crop(data, None, (), CropSettings(size=32), turn())
    assert entered == []
    monkeypatch.setattr("nunbit.pictures.crops.BIG_DECODE_BYTES", 10_000)
    decode_crop(data, None, (), CropSettings(size=32), turn())
    decode_crop(encode(scene(640, 480), "PNG"), None, (), CropSettings(size=32), turn())
    assert entered == [1, 1]


def test_an_extremely_long_image_takes_no_square_of_its_length() -> None:
    # A 60000 x 40 picture padded to a square would be 3.6 gigapixels.
    pixels = np.full((40, 60000, 3), 200, np.uint8)
    for kind in ("PNG", "JPEG"):
        crop = decode_crop(encode(pixels, kind), None, (), CropSettings(size=32))
        assert np.abs(crop.pixels[0].astype(int) - PAD_RGB).max() <= 2
        assert crop.pixels[15:17].max() > PAD_RGB[0]


def test_a_large_png_is_averaged_in_strips_like_the_plain_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nunbit.pictures.crops.STRIP_PIXELS", 50_000)
    data = encode(scene(1300, 950), "PNG", exif=with_tag(8), compress_level=1)
    crop = decode_crop(data, (-40.0, 150.0, 850.0, 1150.0), (), CropSettings(size=24, margin=0.0))
    # The clamped box is 850 x 1000 in the 950 x 1300 frame.
    plain = naive(data, (-75, 150, 925, 1150), 24, Image.Resampling.BICUBIC)
    assert difference(crop.pixels, plain) <= 1.5


MEASURED = r"""
import re, sys
from pathlib import Path
from typing import Any
from nunbit.pictures.crops import CropSettings, decode_crop
data = Path(sys.argv[1]).read_bytes()
box = tuple(float(v) for v in sys.argv[3:])
crop = decode_crop(data, box, (), CropSettings(size=64, margin=0.0))
Path(sys.argv[2]).write_bytes(crop.pixels.tobytes())
# Not ru_maxrss: that one is inherited from the process of the tests, however large it has grown.
peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]
print(peak, crop.upright_size)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_216_megapixel_photo_stays_within_its_memory(tmp_path: Path) -> None:
    picture = Image.fromarray(scene(100, 100, noise=0)).reduce(10).resize((100, 100))
    (tmp_path / "giant.jpg").write_bytes(giant_jpeg(picture, 1, 95))
    left, top = giant_offset(picture.size, 1)
    box = [str(v) for v in (left, top, left + 100, top + 100)]  # 100 px: decoded in full
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "giant.jpg"), str(tmp_path / "crop")]
    run = subprocess.run([*command, *box], capture_output=True, text=True, check=True)
    kilobytes, size = run.stdout.split(maxsplit=1)
    assert int(kilobytes) < 1_100_000
    assert size.strip() == str(GIANT_SIZE)
    crop = np.frombuffer((tmp_path / "crop").read_bytes(), np.uint8).reshape(64, 64, 3)
    expected = np.asarray(picture.resize((64, 64), Image.Resampling.BICUBIC))
    assert difference(crop, expected) < 4


def _big_jpeg(**options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(scene(1200, 900, noise=20)).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_rows_that_are_wanted_are_the_same_as_of_the_whole(
    mode: str, reduction: int, progressive: bool, subsampling: int
) -> None:
    stream = io.BytesIO()
    whole = Image.open(io.BytesIO(_big_jpeg())).convert(mode)
    whole.save(stream, "JPEG", quality=92, progressive=progressive, subsampling=subsampling)
    data = stream.getvalue()
    assert len(data) > 1 << 18
    wanted = 300 // reduction
    found = []
    for rows in (wanted, 10_000):
        image = open_image(data)
        image.draft(None, (image.width // reduction, image.height // reduction))
        load_rows(image, data, rows)
        found.append(np.asarray(image.crop((0, 0, image.width, wanted))))
    assert (found[0] == found[1]).all()


def test_what_lies_below_is_not_decoded_unless_the_file_is_cut() -> None:
    data = _big_jpeg()
    read = []
    image = open_image(data)
    real = image.load_read  # type: ignore[attr-defined]
    image.load_read = lambda n: read.append(n) or real(n)  # type: ignore[attr-defined]
    load_rows(image, data, 200)
    assert sum(read) < 0.5 * len(data)
    cut = data[: len(data) * 3 // 4]  # the rows are there, but the file has no end
    with pytest.raises(CropError, match="ends too early"):
        load_rows(open_image(cut), cut, 200)
