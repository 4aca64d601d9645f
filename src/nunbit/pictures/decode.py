"""Open an encoded image of any size within a memory limit, or report why that is impossible.

Pillow's own guard against decompression bombs is a module-wide limit, too low for the largest
real photos (216 megapixels) and shared by everything in the process. Here the limits are a pixel
cap and the estimated bytes of one decode. Knows nothing of boxes, labels or files.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from typing import Any

import numpy as np

# Exactly these formats: Pillow knows others, one of which (EPS) would start a program.
from PIL import (
    BmpImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from nunbit.core.messages import MediaError, Text

PIXEL_CAP = 250_000_000
"""Images with more pixels are refused; the largest of AI Hub's set has 216 million."""

TRANSPARENT_RGB = (255, 255, 255)
"""Colour behind transparent pixels, as a browser shows them."""

DECODE_BUDGET_BYTES = 1_100_000_000
"""What one decode may take; a 250-megapixel RGB image takes 1.0e9 inside Pillow."""

BIG_DECODE_BYTES = 128_000_000
"""Decodes above this should take turns when several processes work."""

# Below twice the crop's size, libjpeg's reduced decode visibly differs from a full one: 2.75 grey
# levels at 1x, 0.37 at 2x on a noisy 3000 x 2300 photo.
OVERSAMPLING = 2

_REDUCTIONS = (1, 2, 4, 8)
_ORIENTATION_TAG = 0x0112

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image with an EXIF orientation tag upright; other tags leave it as it is."""

SIDEWAYS = (5, 6, 7, 8)
"""Orientation tags that exchange width and height."""

STRIP_PIXELS = 4_000_000
"""Large images are reduced in strips of this many pixels, to bound memory."""

# What Pillow's plugins raise on damaged headers and streams; RuntimeError is libheif's.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""The exceptions of a damaged file, which are errors of the file and not of the program."""


class CropError(MediaError):
    """No crop can be made of this image.

    The reason is ``empty_file``, ``not_an_image``, ``broken_header``, ``truncated``,
    ``broken_stream``, ``too_large``, ``unsupported_mode`` or ``bad_box``.
    """


def open_image(data: bytes) -> ImageFile.ImageFile:
    """Read the header of an encoded image; the pixels stay encoded.

    Raises:
        CropError: Empty, not an image, a broken header or more than ``PIXEL_CAP`` pixels.
    """
    # Not Image.open: it refuses 216 megapixels unless a module-wide limit is changed for everyone
    # in this process. PIXEL_CAP and DECODE_BUDGET_BYTES take the place of that limit.
    if not data:
        raise CropError(Text("the file is empty", "빈 파일입니다"), "empty_file")
    try:
        image = _plugin(data)(io.BytesIO(data))
    except BROKEN as exc:
        if "runcated" in str(exc):
            raise _truncated(exc) from exc
        raise CropError(
            Text(f"the image header is broken: {exc}", f"이미지 헤더가 손상되었습니다: {exc}"),
            "broken_header",
        ) from exc
    if image.width * image.height > PIXEL_CAP:
        raise CropError(
            Text(
                f"{image.width}x{image.height} pixels; the limit is {PIXEL_CAP:,} pixels",
                f"{image.width}x{image.height} 픽셀입니다. 한도는 {PIXEL_CAP:,} 픽셀입니다",
            ),
            "too_large",
        )
    return image


def _plugin(data: bytes) -> type[ImageFile.ImageFile]:
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImagePlugin.PngImageFile
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    if data.startswith(b"BM"):
        return BmpImagePlugin.BmpImageFile
    raise CropError(
        Text("not a JPEG, PNG, WebP or BMP file", "JPEG, PNG, WebP, BMP 파일이 아닙니다"),
        "not_an_image",
    )


def read_orientation(image: Image.Image) -> int | None:
    """The raw EXIF orientation tag, or None where there is none that can be read.

    Raises:
        CropError: A PNG's pixels are broken.
    """
    if isinstance(image, PngImagePlugin.PngImageFile):
        load_pixels(image)  # a PNG's EXIF may follow its pixels
    try:
        tag = image.getexif().get(_ORIENTATION_TAG)
    except BROKEN:
        return None  # unreadable metadata; the pixels may be fine, and load_pixels says so if not
    return tag if isinstance(tag, int) and 0 <= tag <= 0xFFFF else None


def choose_reduction(
    image: ImageFile.ImageFile, data: bytes, cut: tuple[int, int, int, int], size: int
) -> int:
    """Choose the denominator of the scale at which a JPEG is decoded: 1, 2, 4 or 8.

    The largest that leaves ``cut`` with twice the pixels of the crop. A larger one, down to the
    crop's own size, is used only if that exceeds the memory limit (a JPEG of many scans and more
    than 100 megapixels with a small face).

    Args:
        image: Header only.
        data: The whole file.
        cut: Rectangle to be cut out, pixels of the full raw frame.
        size: Side of the crop, pixels.

    Raises:
        CropError: ``too_large``: no reduction fits the memory budget.
    """
    side = min(cut[2] - cut[0], cut[3] - cut[1])
    best = max(r for r in _REDUCTIONS if r == 1 or side >= OVERSAMPLING * size * r)
    for reduction in _REDUCTIONS:
        if reduction < best or (reduction > best and side < size * reduction):
            continue
        if decode_bytes(image, data, reduction) <= DECODE_BUDGET_BYTES:
            return reduction
    raise _too_large(image, decode_bytes(image, data, best))


def checked_cost(image: ImageFile.ImageFile, data: bytes) -> int:
    """Bytes that decoding at full size takes.

    Raises:
        CropError: ``too_large``: more than ``DECODE_BUDGET_BYTES``.
    """
    nbytes = decode_bytes(image, data, 1)
    if nbytes > DECODE_BUDGET_BYTES:
        raise _too_large(image, nbytes)
    return nbytes


def decode_bytes(image: ImageFile.ImageFile, data: bytes, reduction: int) -> int:
    """Upper estimate of the memory that decoding at 1/``reduction`` takes, file included."""
    pixels = image.width * image.height
    # Pillow keeps three channels in four bytes.
    per_pixel = {"1": 1, "L": 1, "P": 1, "LA": 4}.get(image.mode, 2 if ";16" in image.mode else 4)
    nbytes = len(data) + per_pixel * math.ceil(pixels / reduction**2)
    if isinstance(image, WebPImagePlugin.WebPImageFile):
        nbytes += 12 * pixels  # two frame buffers of the animation decoder and a copy
    if isinstance(image, JpegImagePlugin.JpegImageFile) and pixels > 8_000_000:
        nbytes += _coefficient_bytes(image, data)
    return nbytes


def _coefficient_bytes(image: JpegImagePlugin.JpegImageFile, data: bytes) -> int:
    # A JPEG of several scans (every progressive one) is held as 16-bit coefficients, at full
    # size whatever the reduction.
    if not _has_several_scans(data, len(image.layer)):
        return 0
    across = max(layer[1] for layer in image.layer)
    down = max(layer[2] for layer in image.layer)
    samples = sum(layer[1] * layer[2] for layer in image.layer) / (across * down)
    return math.ceil(2 * samples * image.width * image.height)


def _has_several_scans(data: bytes, channels: int) -> bool:
    position = 2
    while position + 4 < len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in (0xC2, 0xC6, 0xCA, 0xCE):  # progressive frames
            return True
        if marker == 0xDA:  # first scan: does it hold all channels?
            return data[position + 4] < channels
        size = 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        position += 1 if marker == 0xFF else size  # 0xFF is a fill byte
    return True  # cannot be told: count on the dearer case


def load_pixels(image: ImageFile.ImageFile) -> None:
    """Decode; does nothing the second time.

    Raises:
        CropError: ``truncated`` or ``broken_stream``.
    """
    try:
        image.load()
    except BROKEN as exc:
        if "runcated" in str(exc):
            raise _truncated(exc) from exc
        raise CropError(
            Text(f"the image data is broken: {exc}", f"이미지 데이터가 손상되었습니다: {exc}"),
            "broken_stream",
        ) from exc


class _Enough(Exception):  # noqa: N818  (a signal, not an error)
    """Raised to stop the decoder once all wanted rows are there."""


_STOP_AT_LEAST = 1 << 18
"""Smaller files are decoded whole: there is nothing to gain, and their end may be a thumbnail's."""

_UNWRITTEN = (255, 0, 255, 1)


def load_rows(image: ImageFile.ImageFile, data: bytes, rows: int) -> None:
    """Decode a JPEG down to a row, as :func:`load_pixels` does; what is below stays undefined.

    Most of a photo's decoding is reading its bits in order, so what lies below the face need not be
    read. Rows are the same to the last bit. A file without an end is decoded whole, so that a
    truncated one is found wherever its face is.

    Args:
        image: Header only, reduced (``draft``) where it is to be.
        data: The whole file.
        rows: How many, in pixels of the reduced frame; beyond the frame = all.

    Raises:
        CropError: ``truncated`` or ``broken_stream``.
    """
    ended = len(data) >= _STOP_AT_LEAST and data.find(b"\xff\xd9", -ImageFile.MAXBLOCK) >= 0
    # libjpeg smooths colours over the next row; two more are certainly final then.
    last, bands = rows + 2, len(image.getbands())
    if not ended or last >= image.height or image.mode not in ("L", "RGB", "CMYK"):
        load_pixels(image)
        return
    unwritten = _UNWRITTEN[:bands] if bands > 1 else _UNWRITTEN[0]
    reader: Any = image
    reader.im = Image.new(image.mode, image.size, unwritten).im
    more = reader.load_read

    def load_read(count: int) -> bytes:
        if reader.im.getpixel((0, last)) != unwritten:
            raise _Enough
        return bytes(more(count))

    reader.load_read = load_read
    try:
        load_pixels(image)
    except _Enough:
        image.tile = []


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of any pixel format: 16 bits lose the low byte, transparency lies on white.

    Raises:
        CropError: ``unsupported_mode``: integers or floats without a fixed range.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if ";16" in image.mode:
        high_bytes = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(high_bytes).convert("RGB")
    if image.mode in ("I", "F"):
        raise CropError(
            Text(
                f"pixels of mode {image.mode} have no fixed range; convert the image to 8 or 16 "
                "bit",
                f"픽셀 형식 {image.mode}은(는) 값의 범위가 없습니다. 8비트나 16비트로 바꾸십시오",
            ),
            "unsupported_mode",
        )
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*TRANSPARENT_RGB, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _truncated(exc: Exception) -> CropError:
    return CropError(
        Text(f"the file ends too early: {exc}", f"파일이 중간에 끊겼습니다: {exc}"), "truncated"
    )


def _too_large(image: ImageFile.ImageFile, nbytes: int) -> CropError:
    return CropError(
        Text(
            f"{image.width}x{image.height} {image.format} needs {nbytes / 1e9:.1f} GB to decode, "
            f"the limit is {DECODE_BUDGET_BYTES / 1e9:.1f} GB; save it smaller or as baseline JPEG",
            f"{image.width}x{image.height} {image.format} 디코딩에 {nbytes / 1e9:.1f} GB가 "
            f"필요합니다(한도 {DECODE_BUDGET_BYTES / 1e9:.1f} GB). 더 작게 또는 baseline JPEG로 "
            "저장하십시오",
        ),
        "too_large",
    )
