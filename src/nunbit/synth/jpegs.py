"""JPEG files that break readers: truncated, damaged, and a valid one of 216 megapixels."""

from __future__ import annotations

import io

from PIL import Image

from nunbit.synth.photo import exif_of

GIANT_SIZE = (17084, 12648)
"""The largest picture among the real photos."""

_STRIP = 256  # rows; a multiple of 8 MCU rows, so that restart markers count on without a change
_MCU = 16
_SOF0, _DHT, _SOS = 0xC0, 0xC4, 0xDA


def truncate(data: bytes) -> bytes:
    """The first 60% of a file, as an interrupted copy leaves it."""
    return data[: int(len(data) * 0.6)]


def damage(data: bytes) -> bytes:
    """A file whose Huffman table is nonsense: decoders stop with 'broken data stream'."""
    start, _ = _segment(data, _DHT)
    # 16 counts follow the length and the table's class; 255 codes of one bit cannot exist.
    return data[: start + 5] + b"\xff" * 16 + data[start + 21 :]


def giant_offset(picture: tuple[int, int], zoom: int) -> tuple[int, int]:
    """Where the left upper corner of an enlarged picture lies in a giant one."""
    return (GIANT_SIZE[0] - picture[0] * zoom) // 2, (GIANT_SIZE[1] - picture[1] * zoom) // 2


def giant_jpeg(picture: Image.Image, zoom: int, quality: int) -> bytes:
    """A valid baseline JPEG of ``GIANT_SIZE`` with an enlarged picture in its middle.

    The picture is encoded in strips and spliced at restart markers, so memory stays that of one
    strip (a few tens of megabytes), however large the result is.

    Args:
        picture: RGB.
        zoom: Factor by which the picture is enlarged.
        quality: JPEG quality.
    """
    columns, rows = GIANT_SIZE
    wide, tall = picture.width * zoom, picture.height * zoom
    left, top = giant_offset(picture.size, zoom)
    flat: dict[int, bytes] = {}
    header, scans = b"", []
    for y in range(0, rows, _STRIP):
        height = min(_STRIP, rows - y)
        inside = max(0, min(y + height, top + tall) - max(y, top))
        if not inside and height in flat:
            scans.append(flat[height])
            continue
        strip = Image.new("RGB", (columns, height), (176, 186, 196))
        if inside:
            first = max(y, top)
            box = (0.0, (first - top) / zoom, float(picture.width), (first - top + inside) / zoom)
            part = picture.resize((wide, inside), Image.Resampling.BILINEAR, box=box)
            strip.paste(part, (left, first - y))
        data = _encode_strip(strip, quality)
        begin, length = _segment(data, _SOS)
        header = header or data[: begin + length]
        scan = data[begin + length : -2]  # without the end marker
        scans.append(scan)
        if not inside:
            flat[height] = scan
    start, _ = _segment(header, _SOF0)
    header = header[: start + 5] + rows.to_bytes(2, "big") + header[start + 7 :]
    separator = bytes((0xFF, 0xD0 + (_STRIP // _MCU - 1) % 8))
    return header + separator.join(scans) + b"\xff\xd9"


def _encode_strip(strip: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    strip.save(
        buffer, "JPEG", quality=quality, subsampling="4:2:0", restart_marker_rows=1, exif=exif_of(1)
    )
    return buffer.getvalue()


def _segment(data: bytes, marker: int) -> tuple[int, int]:
    """Start of a marker segment's two marker bytes, and its length including them."""
    at = 2
    while at < len(data):
        length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == marker:
            return at, length
        at += length
    raise ValueError(f"no marker {marker:#x} in {len(data)} bytes")
