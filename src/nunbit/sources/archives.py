"""Zip archives read in place: listed once, opened once per process, never unpacked.

The one place that knows ``zipfile``. Members are named by the raw string of the zip's directory;
how people read a name is ``names.repair_name``'s business.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nunbit.errors import InputError, MediaError
from nunbit.files import require_regular
from nunbit.schema import ImageRef
from nunbit.sources.names import is_unsafe_member, repair_name
from nunbit.sources.packed import NameIndex, name_hashes

MAX_IMAGE_BYTES = 1 << 29  # the largest photo of AI Hub (216 megapixels) has some 60 MB
_MAX_OPEN = 128  # AI Hub has 49 zips; a soft limit of 256 open files is the lowest in use
_ENCRYPTED = 0x1
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    EOFError,
    UnicodeDecodeError,
    ValueError,
    zlib.error,
)


class ReadError(MediaError):
    """The bytes of an image cannot be had; ``reason`` is the id for ``rejects.jsonl``."""

    def __init__(self, *, en: str, ko: str, reason: str = "unreadable") -> None:
        super().__init__(en=en, ko=ko)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.en, self.ko, self.reason))


def _rebuild(en: str, ko: str, reason: str) -> ReadError:
    return ReadError(en=en, ko=ko, reason=reason)


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
    """

    raw: str
    name: str
    encrypted: bool
    unsafe: bool


def list_zip(path: str) -> list[Member]:
    """The files in a zip, sorted by name; directories left out.

    Raises:
        ZipListError: Not a zip, or a broken or unreadable one.
    """
    try:
        require_regular(Path(path))
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (*_ZIP_ERRORS, OSError, InputError) as exc:
        raise ZipListError(str(exc)) from exc
    members = []
    for info in infos:
        raw = info.orig_filename
        # Also with the UTF-8 flag: somebody may have zipped a garbled tree again.
        name = repair_name(raw)
        if name.endswith(("/", "\\")):
            continue
        encrypted = bool(info.flag_bits & _ENCRYPTED)
        members.append(Member(raw, name, encrypted, is_unsafe_member(name)))
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
        raise ReadError(en=exc.en, ko=exc.ko, reason="not_a_file") from exc
    except FileNotFoundError as exc:
        raise ReadError(
            en=f"{ref.source_path}: the file is gone",
            ko=f"{ref.source_path}: 파일이 없습니다",
            reason="missing_file",
        ) from exc
    except OSError as exc:
        raise ReadError(
            en=f"{ref.source_path}: cannot read: {exc.strerror or exc}",
            ko=f"{ref.source_path}: 읽을 수 없습니다: {exc.strerror or exc}",
        ) from exc


class _OpenZip:
    """A zip kept open, its directory held as arrays instead of one object per member.

    ``zipfile`` keeps some 600 bytes a member, which for the whole download in every worker would
    be more than the workers' pixels.
    """

    def __init__(self, path: str) -> None:
        self._archive = zipfile.ZipFile(path)
        infos = self._archive.filelist
        self._names = NameIndex(name_hashes(info.orig_filename for info in infos))
        columns = [array("Q") for _ in range(6)]
        for info in infos:
            values = (
                info.header_offset,
                info.compress_size,
                info.file_size,
                info.CRC,
                info.compress_type,
                info.flag_bits,
            )
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        self._columns = [np.frombuffer(column, dtype=np.uint64) for column in columns]
        self._archive.filelist.clear()
        self._archive.NameToInfo.clear()

    def close(self) -> None:
        self._archive.close()

    def read(self, member: str, limit: int, ref: ImageRef) -> bytes:
        row = int(self._names.find(name_hashes([member]))[0]) if len(self._columns[0]) else -1
        if row < 0:
            raise ReadError(
                en=f"{ref.source_path}: no such file in this zip",
                ko=f"{ref.source_path}: 이 zip에 그런 파일이 없습니다",
                reason="missing_file",
            )
        info = zipfile.ZipInfo(member)
        info.orig_filename = member
        values = [int(column[row]) for column in self._columns]
        info.header_offset, info.compress_size, info.file_size, info.CRC = values[:4]
        info.compress_type, info.flag_bits = values[4:]
        if info.flag_bits & _ENCRYPTED:
            raise ReadError(
                en=f"{ref.source_path}: encrypted; unpack it with its password first",
                ko=f"{ref.source_path}: 암호가 걸려 있습니다. 먼저 암호로 푸십시오",
                reason="encrypted",
            )
        if info.file_size > limit:
            raise _too_large(ref, limit)
        try:
            with self._archive.open(info) as stream:
                data = stream.read(limit + 1)  # never more than the directory announced
        except _ZIP_ERRORS as exc:
            raise ReadError(
                en=f"{ref.source_path}: broken inside its zip: {exc}",
                ko=f"{ref.source_path}: zip 안에서 손상되었습니다: {exc}",
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
    if key in _OPEN:
        _OPEN.move_to_end(key)
        return _OPEN[key]
    try:
        opened = _OpenZip(path)
    except _ZIP_ERRORS as exc:
        raise ReadError(
            en=f"{path}: broken zip: {exc}; download it again",
            ko=f"{path}: 손상된 zip입니다: {exc}. 다시 내려받으십시오",
            reason="broken_zip",
        ) from exc
    for old in _oldest_own(key[0]):
        _OPEN.pop(old).close()
    _OPEN[key] = opened
    return opened


def _oldest_own(process: int) -> Iterator[tuple[int, str]]:
    own = [key for key in _OPEN if key[0] == process]
    yield from own[: max(0, len(own) + 1 - _MAX_OPEN)]


def _too_large(ref: ImageRef, limit: int) -> ReadError:
    return ReadError(
        en=f"{ref.source_path}: larger than {limit >> 20} MiB",
        ko=f"{ref.source_path}: {limit >> 20} MiB보다 큽니다",
        reason="too_large",
    )
