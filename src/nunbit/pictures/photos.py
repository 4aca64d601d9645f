"""Read a photo as people see it: upright, 8-bit RGB, in bounded memory.

JPEG, PNG, WebP, BMP, TIFF and GIF; AVIF from Pillow 11.3 on, HEIC where ``pi-heif`` or
``pillow-heif`` is installed. The content decides what a file is, not its name. Of animations and
multi-page files the first picture is read. Knows nothing of faces or models.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image, ImageFile, JpegImagePlugin, TiffImagePlugin, features

from nunbit.core.messages import MediaError, MissingExtra, Text, missing_file
from nunbit.core.schema import ReadingNote
from nunbit.pictures.decode import (
    BROKEN,
    DECODE_BUDGET_BYTES,
    PIXEL_CAP,
    SIDEWAYS,
    STRIP_PIXELS,
    TURNS,
    CropError,
    checked_cost,
    decode_bytes,
    load_pixels,
    open_image,
    read_orientation,
    to_rgb,
)
from nunbit.runtime.progress import listed

PhotoNote = Literal["first_frame", "reduced"]

MAX_PIXELS = 16_000_000
"""Larger photos are averaged down below this: 48 MB, and faces keep far more than a model needs."""

JPEG_PIXEL_CAP = 1_000_000_000
"""JPEGs are decoded at 1/8 if need be, so they may be larger than ``decode.PIXEL_CAP``."""

FILE_CAP_BYTES = 500_000_000

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic",
    ".heif", ".avif", ".jxl", ".jp2", ".psd", ".svg", ".cr2", ".cr3", ".nef", ".arw", ".dng",
)  # fmt: skip
"""A file with one of these suffixes in a folder counts as a photo, and is reported if it is none. A
file with another suffix counts if its first bytes are those of a picture."""

_AVIF_BYTES = 14  # a pixel: planes of the decoder, RGB, and Pillow's copy

NOTE_TEXTS: dict[PhotoNote, Text] = {
    "first_frame": Text("first picture of several", "여러 장 중 첫 장"),
    "reduced": Text("decoded smaller", "줄여서 읽음"),
}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_HEAD_BYTES = 64
_PICTURES = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+",
    b"8BPS", b"\xff\x0a", b"\0\0\0\x0cJXL ", b"\0\0\0\x0cjP  ",
)  # fmt: skip


class PhotoError(MediaError):
    """A file is not a photo that can be read.

    The reason is, for example, ``missing``, ``not_an_image``, ``truncated`` or ``too_large``.
    """


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A photo, upright.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, at most ``MAX_PIXELS``; transparency lies on white.
        size: Width and height of the full upright photo; larger than ``pixels`` where reduced.
        orientation: Raw EXIF tag, already applied; None where the file has none.
        notes: ``first_frame`` (an animation or a multi-page file), ``reduced``.
        sha256: Of the file.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    orientation: int | None
    notes: tuple[PhotoNote, ...]
    sha256: str

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the full photo per pixel of ``pixels``, across and down."""
        height, width = self.pixels.shape[:2]
        return self.size[0] / width, self.size[1] / height


def list_photos(path: Path, reading: list[ReadingNote] | None = None) -> tuple[Path, ...]:
    """The photos of one argument: the photo itself, or those directly in a folder, sorted by name.

    Folders inside the folder are not read: a photo library is read only where the user names it.

    Args:
        path: A photo or a folder.
        reading: Gets a note of what in the folder was left out.

    Raises:
        PhotoError: ``missing``, ``url``, or ``empty_folder``.
    """
    if path.is_dir():
        inside = sorted(path.iterdir())
        found = tuple(
            p for p in inside if p.is_file() and not p.name.startswith(".") and _is_photo(p)
        )
        others = [p.name for p in inside if p not in set(found)]
        if others and reading is not None:
            reading.append(_left_out(path, others))
        if not found:
            raise PhotoError(
                Text(
                    f"{path}: no photos directly in this folder (it holds {len(inside)} other "
                    "files and folders)",
                    f"{path}: 이 폴더 바로 아래에 사진이 없습니다(다른 파일과 폴더 "
                    f"{len(inside)}개)",
                ),
                "empty_folder",
            )
        return found
    _must_be_file(path)
    return (path,)


def _is_photo(path: Path) -> bool:
    """Whether suffix or first bytes are a picture's; for unreadable files the suffix decides."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return False
    return (
        head.startswith(_PICTURES)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == bytes(4))
        or bool(_brands(head) & {*_HEIF_BRANDS, *_AVIF_BRANDS})
    )


def _brands(data: bytes) -> set[bytes]:
    """The brands of an ISO media file; empty for any other file."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), _HEAD_BYTES)
    return {data[8:12], *(data[k : k + 4] for k in range(16, end - 3, 4))}


def _left_out(folder: Path, names: Sequence[str]) -> ReadingNote:
    shown = listed(names, 3)
    return ReadingNote(
        "left_out",
        "not_a_picture",
        len(names),
        names[0],
        Text(
            f"{folder}: {len(names)} files or folders are no pictures and were left out ({shown})",
            f"{folder}: 사진이 아닌 파일이나 폴더 {len(names)}개를 제외했습니다({shown})",
        ),
    )


def read_photo(path: Path) -> Photo:
    """Read one photo.

    Raises:
        PhotoError: The file is missing, not an image, broken, or too large to decode.
        MissingExtra: A HEIC file without a package that decodes it.
    """
    _must_be_file(path)
    try:
        if path.stat().st_size > FILE_CAP_BYTES:
            raise PhotoError(
                Text(
                    f"{path}: larger than {FILE_CAP_BYTES // 10**6} MB; save it smaller",
                    f"{path}: {FILE_CAP_BYTES // 10**6} MB보다 큽니다. 더 작게 저장하십시오",
                ),
                "too_large",
            )
        data = path.read_bytes()
    except OSError as exc:
        raise PhotoError(
            Text(
                f"{path}: cannot be read: {exc.strerror or exc}",
                f"{path}: 읽을 수 없습니다: {exc.strerror or exc}",
            ),
            "unreadable",
        ) from exc
    try:
        return decode_photo(data)
    except (CropError, PhotoError) as exc:
        raise PhotoError(exc.text.under(path), exc.reason) from exc
    except MissingExtra as exc:
        raise MissingExtra(exc.text.under(path)) from exc


def decode_photo(data: bytes) -> Photo:
    """Decode the bytes of one photo.

    JPEGs are decoded at 1/2, 1/4 or 1/8 (libjpeg does that in the frequency domain) where they
    have more than ``MAX_PIXELS``; other formats have no such way and are refused where decoding
    them whole takes more than ``decode.DECODE_BUDGET_BYTES``.

    Raises:
        PhotoError: Not an image, or broken; the caller knows and adds the file's name.
        CropError: The same, from the decoder shared with ``prepare``.
        MissingExtra: HEIC without a package that decodes it.
    """
    # Pillow warns about odd metadata; the pixels either decode, or an error says why not.
    with warnings.catch_warnings(action="ignore"):
        return _decoded(data)


def _decoded(data: bytes) -> Photo:
    image = _open(data)
    several, size = _has_several(image), image.size
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        reduction = _jpeg_reduction(image, data)
        image.draft(None, (image.width // reduction, image.height // reduction))
    else:
        checked_cost(image, data)
    orientation = read_orientation(image)
    load_pixels(image)
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        size = image.size
    # Read again: Pillow turns TIFFs upright by itself while decoding and then drops the tag.
    pixels, size = _upright(image, read_orientation(image) or 1, size)
    notes = _notes(several, pixels.shape[1::-1] != size)
    return Photo(pixels, size, orientation, notes, hashlib.sha256(data).hexdigest())


def _notes(several: bool, reduced: bool) -> tuple[PhotoNote, ...]:
    flags: dict[PhotoNote, bool] = {"first_frame": several, "reduced": reduced}
    return tuple(note for note, applies in flags.items() if applies)


def photo_of_image(image: Image.Image) -> Photo:
    """A picture that is open or in memory, as :func:`read_photo` gives a file.

    The ``sha256`` is that of its upright pixels.

    Raises:
        PhotoError: Its pixels cannot be decoded.
        CropError: Likewise, or they have no fixed range (mode I or F).
    """
    with warnings.catch_warnings(action="ignore"):  # as for files
        several = isinstance(image, ImageFile.ImageFile) and _has_several(image)
        try:
            image.load()
        except BROKEN as exc:
            raise PhotoError(
                Text(
                    f"the image data cannot be read: {exc}",
                    f"이미지 데이터를 읽을 수 없습니다: {exc}",
                ),
                "broken_stream",
            ) from exc
        turn = read_orientation(image)
        pixels, size = _upright(image, turn or 1, image.size)
    digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
    return Photo(pixels, size, turn, _notes(several, pixels.shape[1::-1] != size), digest)


def _upright(
    image: Image.Image, turn: int, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """RGB pixels turned as the EXIF tag says, and the full picture's size after the turn."""
    upright = _averaged_rgb(image)
    if turn in TURNS:
        upright = upright.transpose(TURNS[turn])
    return np.asarray(upright), (size[1], size[0]) if turn in SIDEWAYS else size


def _must_be_file(path: Path) -> None:
    if not path.exists():
        text = missing_file(path).text
        raise PhotoError(text, "url" if "://" in text.en else "missing")
    if not path.is_file():
        raise PhotoError(
            Text(
                f"{path}: not a regular file; give a photo or a folder of photos",
                f"{path}: 일반 파일이 아닙니다. 사진이나 사진 폴더를 주십시오",
            ),
            "not_a_file",
        )


def _open(data: bytes) -> ImageFile.ImageFile:
    plugin: Callable[[io.BytesIO], ImageFile.ImageFile]
    limit = Image.MAX_IMAGE_PIXELS or PIXEL_CAP  # above it these two plugins warn or refuse
    if data.startswith(b"\xff\xd8\xff"):
        plugin, limit = JpegImagePlugin.JpegImageFile, JPEG_PIXEL_CAP
    elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        plugin = TiffImagePlugin.TiffImageFile
    elif data.startswith(b"GIF8"):
        plugin = GifImagePlugin.GifImageFile
    elif _brands(data) & set(_AVIF_BRANDS) and data[8:12] not in _HEIF_BRANDS[:6]:
        plugin, limit = _avif_plugin(), DECODE_BUDGET_BYTES // _AVIF_BYTES
    elif data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        plugin, limit = _heif_plugin(), PIXEL_CAP
    else:
        return _open_shared(data)
    try:
        image = plugin(io.BytesIO(data))
    except BROKEN as exc:
        raise PhotoError(
            Text(f"the image header is broken: {exc}", f"이미지 헤더가 손상되었습니다: {exc}"),
            "broken_header",
        ) from exc
    if image.width * image.height > limit:
        raise _too_large(image, Text(f"{limit:,} pixels", f"{limit:,} 픽셀"))
    return image


def _open_shared(data: bytes) -> ImageFile.ImageFile:
    try:
        return open_image(data)
    except CropError as exc:
        if exc.reason != "not_an_image":
            raise
        raise PhotoError(
            Text(
                "not a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC file; save it as one of these",
                "JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, HEIC 파일이 아닙니다. 그중 하나로 "
                "저장하십시오",
            ),
            "not_an_image",
        ) from exc


def _avif_plugin() -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    if not features.check("avif"):
        raise MissingExtra(
            Text(
                "an AVIF photo, which needs Pillow 11.3 or newer: pip install -U pillow",
                "AVIF 사진을 읽으려면 Pillow 11.3 이상이 필요합니다: pip install -U pillow",
            )
        )
    return importlib.import_module("PIL.AvifImagePlugin").AvifImageFile  # type: ignore[no-any-return]


def _heif_plugin() -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    for package in ("pi_heif", "pillow_heif"):
        if find_spec(package) is not None:
            return importlib.import_module(package).HeifImageFile  # type: ignore[no-any-return]
    raise MissingExtra(
        Text(
            "a HEIC photo, which needs one more package: pip install pi-heif",
            "HEIC 사진을 읽으려면 패키지가 하나 더 필요합니다: pip install pi-heif",
        )
    )


def _has_several(image: ImageFile.ImageFile) -> bool:
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        return False  # further pictures in a phone's JPEG are previews and depth maps
    try:
        return bool(getattr(image, "is_animated", False))
    except BROKEN:
        return False  # a later frame is broken; the first may be fine


def _jpeg_reduction(image: JpegImagePlugin.JpegImageFile, data: bytes) -> int:
    pixels = image.width * image.height
    for reduction in (1, 2, 4, 8):
        fits = decode_bytes(image, data, reduction) <= DECODE_BUDGET_BYTES
        if fits and (reduction == 8 or pixels <= MAX_PIXELS * reduction**2):
            return reduction
    budget = f"{DECODE_BUDGET_BYTES / 1e9:.1f} GB"
    raise _too_large(image, Text(f"{budget} of memory", f"메모리 {budget}"))


def _too_large(image: ImageFile.ImageFile, limit: Text) -> PhotoError:
    shown = f"{image.width}x{image.height} {image.format}"
    return PhotoError(
        Text(
            f"{shown} is too large to decode within {limit.en}; save it smaller",
            f"{shown}: {limit.ko} 안에서 읽을 수 없습니다. 더 작게 저장하십시오",
        ),
        "too_large",
    )


def _averaged_rgb(image: Image.Image) -> Image.Image:
    """RGB of at most ``MAX_PIXELS``, converted strip by strip so that no full RGB copy exists."""
    block = math.ceil(math.sqrt(image.width * image.height / MAX_PIXELS))
    if block <= 1:
        return to_rgb(image)
    # A long thin picture may be fewer pixels high than a block.
    block_xy = (min(block, image.width), min(block, image.height))
    columns, rows = (-(-n // b) for n, b in zip(image.size, block_xy, strict=True))
    small = Image.new("RGB", (columns, rows))
    rows_per_strip = max(1, STRIP_PIXELS // (image.width * block_xy[1]))
    for row in range(0, rows, rows_per_strip):
        top = row * block_xy[1]
        bottom = min(top + rows_per_strip * block_xy[1], image.height)
        small.paste(to_rgb(image.crop((0, top, image.width, bottom))).reduce(block_xy), (0, row))
    return small
