"""Read a photo as its owner sees it: upright, 8-bit RGB, in bounded memory.

JPEG, PNG, WebP, BMP, TIFF and GIF; AVIF from Pillow 11.3 on, HEIC where ``pi-heif`` or
``pillow-heif`` is installed. What a file is, its content says and not its name. Of animations and
multi-page files the first picture. Knows nothing of faces or models.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image, ImageFile, JpegImagePlugin, TiffImagePlugin, features

from nunbit.decode import (
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
from nunbit.errors import Lang, MediaError, MissingExtra
from nunbit.files import missing_file
from nunbit.reading import ReadingNote

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
"""A file of a folder that is called so is taken for a photo, and if it is none, that is said; so is
a file called otherwise whose first bytes are those of a picture."""

_AVIF_BYTES = 14  # a pixel: planes of the decoder, RGB, and Pillow's copy

_NOTES = {
    "first_frame": ("first picture of several", "여러 장 중 첫 장"),
    "reduced": ("decoded smaller", "줄여서 읽음"),
}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_HEAD_BYTES = 64
_PICTURES = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+",
    b"8BPS", b"\xff\x0a", b"\0\0\0\x0cJXL ", b"\0\0\0\x0cjP  ",
)  # fmt: skip

# libheif raises one more kind than Pillow's plugins.
_BROKEN = (*BROKEN, RuntimeError)


class PhotoError(MediaError):
    """A file is not a photo that can be read.

    Args:
        reason: Stable id, such as ``missing``, ``not_an_image``, ``truncated`` or ``too_large``.
        en: What is wrong with which file, and the remedy.
        ko: The same in Korean.
    """

    def __init__(self, reason: str = "not_an_image", *, en: str, ko: str) -> None:
        super().__init__(en=en, ko=ko)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (partial(PhotoError, self.reason, en=self.en, ko=self.ko), ())


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


def note_text(note: PhotoNote, lang: Lang) -> str:
    """A note for people."""
    return _NOTES[note][lang == "ko"]


def list_photos(path: Path, reading: list[ReadingNote] | None = None) -> tuple[Path, ...]:
    """The photos that one argument names: itself, or those directly in a folder, by name.

    Folders inside the folder are left alone: a photo library is read only where it is named.

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
                "empty_folder",
                en=f"{path}: no photos directly in this folder (it holds {len(inside)} other "
                "files and folders)",
                ko=f"{path}: 이 폴더 바로 아래에 사진이 없습니다(다른 파일과 폴더 {len(inside)}개)",
            )
        return found
    _must_be_file(path)
    return (path,)


def _is_photo(path: Path) -> bool:
    """Whether its name or its first bytes are those of a picture; unreadable ones count by name."""
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
    """What an ISO media file says it is; empty for anything else."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), _HEAD_BYTES)
    return {data[8:12], *(data[k : k + 4] for k in range(16, end - 3, 4))}


def _left_out(folder: Path, names: Sequence[str]) -> ReadingNote:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return ReadingNote(
        "left_out", "not_a_picture", len(names), names[0],
        f"{folder}: {len(names)} files or folders are no pictures and were left out ({shown})",
        f"{folder}: 사진이 아닌 파일이나 폴더 {len(names)}개를 제외했습니다({shown})",
    )  # fmt: skip


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
                "too_large",
                en=f"{path}: larger than {FILE_CAP_BYTES // 10**6} MB; save it smaller",
                ko=f"{path}: {FILE_CAP_BYTES // 10**6} MB보다 큽니다. 더 작게 저장하십시오",
            )
        data = path.read_bytes()
    except OSError as exc:
        raise PhotoError(
            "unreadable",
            en=f"{path}: cannot be read: {exc.strerror or exc}",
            ko=f"{path}: 읽을 수 없습니다: {exc.strerror or exc}",
        ) from exc
    try:
        return decode_photo(data)
    except (CropError, PhotoError) as exc:
        raise PhotoError(exc.reason, en=f"{path}: {exc.en}", ko=f"{path}: {exc.ko}") from exc
    except MissingExtra as exc:
        raise MissingExtra(en=f"{path}: {exc.en}", ko=f"{path}: {exc.ko}") from exc


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
    with warnings.catch_warnings():
        # Pillow warns about odd metadata; the pixels either decode, or an error says why not.
        warnings.simplefilter("ignore")
        return _decoded(data)


def _decoded(data: bytes) -> Photo:
    image = _open(data)
    notes: list[PhotoNote] = ["first_frame"] if _has_several(image) else []
    size = image.size
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        reduction = _jpeg_reduction(image, data)
        image.draft(None, (image.width // reduction, image.height // reduction))
    else:
        checked_cost(image, data)
    orientation = read_orientation(image)
    _load(image)
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        size = image.size
    # Read again: Pillow turns TIFFs upright by itself while decoding and then drops the tag.
    turn = read_orientation(image) or 1
    upright = _averaged_rgb(image)
    if turn in TURNS:
        upright = upright.transpose(TURNS[turn])
    if turn in SIDEWAYS:
        size = size[::-1]
    if upright.size != size:
        notes.append("reduced")
    return Photo(
        pixels=np.asarray(upright),
        size=size,
        orientation=orientation,
        notes=tuple(notes),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _must_be_file(path: Path) -> None:
    if not path.exists():
        absent = missing_file(path)
        reason = "url" if "://" in absent.en else "missing"
        raise PhotoError(reason, en=absent.en, ko=absent.ko)
    if not path.is_file():
        raise PhotoError(
            "not_a_file",
            en=f"{path}: not a regular file; give a photo or a folder of photos",
            ko=f"{path}: 일반 파일이 아닙니다. 사진이나 사진 폴더를 주십시오",
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
    except _BROKEN as exc:
        raise PhotoError(
            "broken_header",
            en=f"the image header is broken: {exc}",
            ko=f"이미지 헤더가 손상되었습니다: {exc}",
        ) from exc
    if image.width * image.height > limit:
        raise _too_large(image, f"{limit:,} pixels", f"{limit:,} 픽셀")
    return image


def _open_shared(data: bytes) -> ImageFile.ImageFile:
    try:
        return open_image(data)
    except CropError as exc:
        if exc.reason != "not_an_image":
            raise
        raise PhotoError(
            "not_an_image",
            en="not a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC file; save it as one of these",
            ko="JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, HEIC 파일이 아닙니다. 그중 하나로 "
            "저장하십시오",
        ) from exc


def _avif_plugin() -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    if not features.check("avif"):
        raise MissingExtra(
            en="an AVIF photo, which needs Pillow 11.3 or newer: pip install -U pillow",
            ko="AVIF 사진을 읽으려면 Pillow 11.3 이상이 필요합니다: pip install -U pillow",
        )
    plugin: Any = importlib.import_module("PIL.AvifImagePlugin").AvifImageFile
    return plugin  # type: ignore[no-any-return]


def _heif_plugin() -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    for package in ("pi_heif", "pillow_heif"):
        if find_spec(package) is not None:
            plugin: Any = importlib.import_module(package).HeifImageFile
            return plugin  # type: ignore[no-any-return]
    raise MissingExtra(
        en="a HEIC photo, which needs one more package: pip install pi-heif",
        ko="HEIC 사진을 읽으려면 패키지가 하나 더 필요합니다: pip install pi-heif",
    )


def _has_several(image: ImageFile.ImageFile) -> bool:
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        return False  # further pictures in a phone's JPEG are previews and depth maps
    try:
        return bool(getattr(image, "is_animated", False))
    except _BROKEN:
        return False  # a later frame is broken; the first may be fine


def _jpeg_reduction(image: JpegImagePlugin.JpegImageFile, data: bytes) -> int:
    pixels = image.width * image.height
    for reduction in (1, 2, 4, 8):
        fits = decode_bytes(image, data, reduction) <= DECODE_BUDGET_BYTES
        if fits and (reduction == 8 or pixels <= MAX_PIXELS * reduction**2):
            return reduction
    budget = f"{DECODE_BUDGET_BYTES / 1e9:.1f} GB"
    raise _too_large(image, f"{budget} of memory", f"메모리 {budget}")


def _too_large(image: ImageFile.ImageFile, limit_en: str, limit_ko: str) -> PhotoError:
    shown = f"{image.width}x{image.height} {image.format}"
    return PhotoError(
        "too_large",
        en=f"{shown} is too large to decode within {limit_en}; save it smaller",
        ko=f"{shown}: {limit_ko} 안에서 읽을 수 없습니다. 더 작게 저장하십시오",
    )


def _load(image: ImageFile.ImageFile) -> None:
    try:
        load_pixels(image)
    except RuntimeError as exc:  # libheif's
        raise PhotoError(
            "broken_stream",
            en=f"the image data is broken: {exc}",
            ko=f"이미지 데이터가 손상되었습니다: {exc}",
        ) from exc


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
        strip = to_rgb(image.crop((0, top, image.width, bottom)))
        small.paste(strip.reduce(block_xy), (0, row))
    return small
