"""Names in sources, repaired and compared; zip archives read in place.

AI Hub's zips hold CP949 names without the UTF-8 flag, macOS unpacks to NFD, other tools to
mojibake. Everything behind this module sees NFC. The one place that knows ``zipfile``: an archive
is listed once, opened once per process and never unpacked; members are named by the raw string of
its directory.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
import zipfile
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import InputError, MediaError, Text
from nunbit.core.schema import ImageRef, Split
from nunbit.runtime.files import ZIP_ERRORS, require_regular

MAX_IMAGE_BYTES = 1 << 29  # the largest photo of AI Hub (216 megapixels) has some 60 MB
_MAX_OPEN = 128  # AI Hub has 49 zips; a soft limit of 256 open files is the lowest in use
_ENCRYPTED = 0x1


class ReadError(MediaError):
    """The bytes of an image cannot be read."""


class ZipListError(Exception):
    """A zip's directory cannot be read; the message is the library's."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a zip.

    Attributes:
        raw: The name exactly as the directory spells it.
        name: The repaired name, NFC, with ``/``.
        encrypted: Needs a password.
        unsafe: Points outside the folder it would be unpacked to.
        replaced: A later file in the zip has the same name: that one counts.
    """

    raw: str
    name: str
    encrypted: bool
    unsafe: bool
    replaced: bool


def list_zip(path: str) -> list[Member]:
    """The files in a zip, sorted by name; directories left out.

    Raises:
        ZipListError: Not a zip, or a broken or unreadable one.
    """
    try:
        require_regular(Path(path))
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (*ZIP_ERRORS, OSError, InputError) as exc:
        raise ZipListError(str(exc)) from exc
    # Also with the UTF-8 flag: somebody may have zipped a garbled tree again.
    named = ((info, repair_name(info.orig_filename)) for info in infos)
    last = {info.orig_filename: info for info in infos}
    members = (
        Member(
            raw=info.orig_filename,
            name=name,
            encrypted=bool(info.flag_bits & _ENCRYPTED),
            unsafe=is_unsafe_member(name),
            replaced=last[info.orig_filename] is not info,
        )
        for info, name in named
        if not name.endswith(("/", "\\"))
    )
    return sorted(members, key=lambda member: member.name)


def read_image_bytes(ref: ImageRef) -> bytes:
    """The bytes of one image, from a file or from inside a zip.

    Zips stay open for the process (at most ``_MAX_OPEN``), with 64 bytes of directory per member.
    Safe after fork; not for several threads of one process.

    Raises:
        ReadError: Missing, damaged, encrypted, too large or unreadable; see its ``reason``.
    """
    return read_bytes(ref, MAX_IMAGE_BYTES)


def read_bytes(ref: ImageRef, limit: int) -> bytes:
    """As ``read_image_bytes``, for any kind of file and with a limit of its own, in bytes.

    Raises:
        ReadError: As ``read_image_bytes``.
    """
    try:
        require_regular(Path(ref.path))
        if ref.member is None:
            if Path(ref.path).stat().st_size > limit:
                raise _too_large(ref, limit)
            return Path(ref.path).read_bytes()
        return _open(ref.path).read(ref.member, limit, ref)
    except ReadError:
        raise
    except InputError as exc:
        raise ReadError(exc.text, reason="not_a_file") from exc
    except FileNotFoundError as exc:
        raise ReadError(
            Text(f"{ref.source_path}: the file is missing", f"{ref.source_path}: 파일이 없습니다"),
            reason="missing_file",
        ) from exc
    except OSError as exc:
        raise ReadError(
            Text(
                f"{ref.source_path}: cannot read: {exc.strerror or exc}",
                f"{ref.source_path}: 읽을 수 없습니다: {exc.strerror or exc}",
            )
        ) from exc


_DIRECTORY = ("header_offset", "compress_size", "file_size", "CRC", "compress_type", "flag_bits")
"""What of a zip's directory is needed to read a member."""


class _OpenZip:
    """A zip kept open, its directory held as arrays instead of one object per member.

    ``zipfile`` keeps some 600 bytes a member, which for the whole download in every worker would
    be more than the workers' pixels.
    """

    def __init__(self, path: str, stamp: tuple[int, int, int]) -> None:
        self.stamp = stamp
        self._archive = zipfile.ZipFile(path)
        infos = self._archive.filelist[::-1]  # of files with one name the last one counts
        self._names = NameIndex(name_hashes(info.orig_filename for info in infos))
        self._columns = {
            field: np.fromiter((getattr(info, field) for info in infos), dtype=np.uint64)
            for field in _DIRECTORY
        }
        self._archive.filelist.clear()
        self._archive.NameToInfo.clear()

    def close(self) -> None:
        self._archive.close()

    def read(self, member: str, limit: int, ref: ImageRef) -> bytes:
        row = int(self._names.find(name_hashes([member]))[0])
        if row < 0:
            raise ReadError(
                Text(
                    f"{ref.source_path}: no such file in this zip",
                    f"{ref.source_path}: 이 zip에 그런 파일이 없습니다",
                ),
                reason="missing_file",
            )
        info = zipfile.ZipInfo(member)
        info.orig_filename = member
        for field, column in self._columns.items():
            setattr(info, field, int(column[row]))
        if info.flag_bits & _ENCRYPTED:
            raise ReadError(
                Text(
                    f"{ref.source_path}: encrypted; unpack it with its password first",
                    f"{ref.source_path}: 암호가 걸려 있습니다. 먼저 암호로 푸십시오",
                ),
                reason="encrypted",
            )
        if info.file_size > limit:
            raise _too_large(ref, limit)
        try:
            with self._archive.open(info) as stream:
                data = stream.read(limit + 1)  # never more than the directory announced
        except ZIP_ERRORS as exc:
            raise ReadError(
                Text(
                    f"{ref.source_path}: broken inside its zip: {exc}",
                    f"{ref.source_path}: zip 안에서 손상되었습니다: {exc}",
                ),
                reason="broken_zip_member",
            ) from exc
        if len(data) > limit:
            raise _too_large(ref, limit)
        return data


_OPEN: OrderedDict[tuple[int, str], _OpenZip] = OrderedDict()


def _open(path: str) -> _OpenZip:
    # The process id is part of the key: a forked child that used its parent's file handle would
    # move the read position under its parent and its sisters.
    key = (os.getpid(), path)
    about = os.stat(path)  # noqa: PTH116  (for every photo)
    stamp = (about.st_ino, about.st_size, about.st_mtime_ns)
    if key in _OPEN:
        if _OPEN[key].stamp == stamp:
            _OPEN.move_to_end(key)
            return _OPEN[key]
        _OPEN.pop(key).close()  # another file has its name now
    try:
        opened = _OpenZip(path, stamp)
    except ZIP_ERRORS as exc:
        raise ReadError(
            Text(
                f"{path}: broken zip: {exc}; download it again",
                f"{path}: 손상된 zip입니다: {exc}. 다시 내려받으십시오",
            ),
            reason="broken_zip",
        ) from exc
    own = [other for other in _OPEN if other[0] == key[0]]
    for oldest in own[: max(0, len(own) + 1 - _MAX_OPEN)]:
        _OPEN.pop(oldest).close()
    _OPEN[key] = opened
    return opened


def _too_large(ref: ImageRef, limit: int) -> ReadError:
    return ReadError(
        Text(
            f"{ref.source_path}: larger than {limit >> 20} MiB",
            f"{ref.source_path}: {limit >> 20} MiB보다 큽니다",
        ),
        reason="too_large",
    )


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

MAX_ID_BYTES = 200

# A syllable of KS X 1001 in CP949; read as CP437 its first byte is a box-drawing character, which
# no honest name holds, while "éA" would pass for one of CP949's rarer syllables.
_COMMON_SYLLABLE = re.compile(rb"[\xb0-\xc8][\xa1-\xfe]")

_UNDECODABLE = re.compile("[\udc80-\udcff]")  # as os.fsdecode represents bytes

_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")

# Not allowed in a record id: '.' ends the key in WebDataset, the rest cannot be in a file name
# on one system or another.
_UNSAFE_IN_ID = re.compile(r'[./\\<>:"|?*\x00-\x1f\x7f\ud800-\udfff]')

_SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "publictest"), "validation"),
    **dict.fromkeys(("test", "testing", "privatetest"), "test"),
}

_VALIDATION_SHARE = 10


def nfc(text: str) -> str:
    """Unicode NFC, so that names from macOS equal names from elsewhere."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def repair_name(raw: str) -> str:
    """The name as its author wrote it, NFC.

    Three kinds of damage are undone: UTF-8 or CP949 bytes that a zip directory without the UTF-8
    flag makes Python read as CP437 (also when such names were unpacked to disk), CP949 bytes on
    a UTF-8 file system, and NFD. A name that is fine stays as it is: the repair is taken only
    if it brings Hangul into a name that has none.
    """
    if raw.isascii():
        return raw
    data = _as_cp437(raw)
    if data is None:  # holds more than CP437 has: Hangul, combining marks, undecodable bytes
        if _UNDECODABLE.search(raw):
            data = os.fsencode(raw)
            return nfc(_decoded(data) or data.decode("utf-8", "replace"))
        raw = unicodedata.normalize("NFC", raw)
        data = _as_cp437(raw)
        if data is None:
            return raw
    repaired = _decoded(data)
    if repaired is None or not _HANGUL.search(repaired):
        return nfc(raw)
    sure = _COMMON_SYLLABLE.search(data) or data == repaired.encode("utf-8")
    return nfc(repaired if sure else raw)


def _as_cp437(text: str) -> bytes | None:
    try:
        return text.encode("cp437")
    except UnicodeEncodeError:
        return None


def _decoded(data: bytes) -> str | None:
    # Strict UTF-8 first: CP949 text is practically never valid UTF-8, the reverse happens.
    for encoding in ("utf-8", "cp949"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def split_name(file_name: str) -> tuple[str, str]:
    """Base name without its suffix, and the suffix in lower case with its dot."""
    stem, dot, suffix = file_name.rpartition(".")
    return (stem, f".{suffix.lower()}") if dot and stem else (file_name, "")


def is_image_name(file_name: str) -> bool:
    """Whether the suffix, in any case, is one of ``IMAGE_SUFFIXES``."""
    return file_name.lower().endswith(IMAGE_SUFFIXES)


def is_unsafe_member(name: str) -> bool:
    """Whether a zip member's name points outside the folder it would be unpacked to."""
    parts = name.replace("\\", "/").split("/")
    return not parts[0] or ".." in parts or (len(parts[0]) >= 2 and parts[0][1] == ":")


def parse_split(word: str) -> Split | None:
    """The split that a folder or a table cell names, in any case; None if it names none."""
    return _SPLIT_WORDS.get(word.strip().casefold())


def implicit_split(key: str) -> Split:
    """Train, or validation for one key in ten, for sources that have no split of their own.

    It depends on ``key`` alone: other files can come and go without moving this one.
    """
    digest = hashlib.sha256(nfc(key).encode("utf-8", "replace")).digest()
    held_out = int.from_bytes(digest[:8], "big") % _VALIDATION_SHARE == 0
    return "validation" if held_out else "train"


def record_id_from(file_name: str) -> str:
    """A record id from a file name: its stem, safe in any file system and inside a tar.

    At most ``MAX_ID_BYTES`` bytes of UTF-8; of a longer one the end becomes a digest. Two file
    names can give the same id (``a.jpg``, ``a.jpeg``); ``RecordPacker`` tells them apart.
    """
    return _shortened(_UNSAFE_IN_ID.sub("_", nfc(split_name(file_name)[0])).strip() or "_", "")


def distinct_record_id(record_id: str, key: str) -> str:
    """``record_id`` with a digest of ``key`` behind it, still within ``MAX_ID_BYTES``."""
    return _shortened(record_id, f"-{_digest(key, 12)}")


def check_record_id(record_id: str) -> bool:
    """Whether a given id may be used as it is: safe, not empty, not too long."""
    return (
        bool(record_id.strip())
        and record_id == record_id.strip()
        and not _UNSAFE_IN_ID.search(record_id)
        and len(record_id.encode("utf-8", "replace")) <= MAX_ID_BYTES
    )


def _shortened(stem: str, tail: str) -> str:
    data = stem.encode("utf-8")
    if len(data) > MAX_ID_BYTES - len(tail):
        tail = f"-{_digest(stem, 16)}{tail}"
        stem = data[: MAX_ID_BYTES - len(tail)].decode("utf-8", "ignore")
    return stem + tail


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:length]


def name_hashes(names: Iterable[str]) -> NDArray[np.int64]:
    """64-bit hash of each name, the same within this process only."""
    return np.fromiter((hash(name) for name in names), dtype=np.int64)


class NameIndex:
    """Finds a name among N names; 16 bytes each instead of a dictionary's 300.

    Args:
        hashes: (N,) ``name_hashes`` of the names. Where one occurs twice, the first is found.
    """

    def __init__(self, hashes: NDArray[np.int64]) -> None:
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def find(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of each name by its hash, -1 where there is none.

        The chance that two of a million different names share a hash is 3e-8.
        """
        if not len(self._hashes):
            return np.full(len(wanted), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._hashes, wanted), len(self._hashes) - 1)
        return np.where(self._hashes[at] == wanted, self._order[at], -1)

    def repeated(self) -> NDArray[np.int64]:
        """Indices of names that already occurred before, increasing."""
        return np.sort(self._order[np.flatnonzero(self._hashes[1:] == self._hashes[:-1]) + 1])
