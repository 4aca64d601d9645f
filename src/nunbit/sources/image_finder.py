"""Finds the image that a table's ``path`` cell means."""

from __future__ import annotations

import os
import unicodedata
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nunbit.schema import ImageRef, Reject
from nunbit.sources.archives import ZipListError, list_zip
from nunbit.sources.names import nfc, repair_name
from nunbit.sources.packed import NameIndex, StringColumn, name_hashes
from nunbit.sources.scan import shown_path

_TEXTS = {
    "file": ("no such file", "그런 파일이 없음"),
    "zip": ("the zip cannot be read", "zip을 읽을 수 없음"),
    "member": (
        "no readable file of this name in the zip",
        "zip 안에 그 이름의 읽을 수 있는 파일이 없음",
    ),
}


class ImageFinder:
    """Finds the image a path means, on disk or in a zip; lists each zip once."""

    def __init__(self) -> None:
        self._zips: dict[str, _ZipNames | None] = {}

    def find(self, written: str, folder: Path) -> ImageRef | Reject:
        """The reference, or the reject where there is no such image."""
        shown = nfc(written)
        path = _existing(written, folder)
        if path is not None:
            return ImageRef(path, None, _relative(path, folder))
        zip_name, mark, member = written.partition("!")
        while mark:
            archive = _existing(zip_name, folder)
            if archive is not None:
                return self._find_member(archive, member, folder)
            more, mark, member = member.partition("!")
            zip_name = f"{zip_name}!{more}"
        return Reject(shown, "missing_file", *_TEXTS["file"])

    def _find_member(self, archive: str, member: str, folder: Path) -> ImageRef | Reject:
        if archive not in self._zips:
            self._zips[archive] = _ZipNames.read(archive)
        names, shown = self._zips[archive], f"{_relative(archive, folder)}!"
        if names is None:
            return Reject(shown + nfc(member), "broken_zip", *_TEXTS["zip"])
        raw = names.find(member)
        if raw is None:
            return Reject(shown + nfc(member), "missing_file", *_TEXTS["member"])
        return ImageRef(archive, raw, shown + repair_name(raw))


class _ZipNames:
    """Raw member names of one zip, found by raw or repaired name."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._raws = StringColumn()
        raw_hashes, shown_hashes = array("q"), array("q")
        for raw, shown in pairs:
            self._raws.append(raw)
            raw_hashes.append(hash(raw))
            shown_hashes.append(hash(shown))
        self._indices = [
            NameIndex(np.frombuffer(hashes, dtype=np.int64)) if hashes else None
            for hashes in (shown_hashes, raw_hashes)
        ]

    @classmethod
    def read(cls, archive: str) -> _ZipNames | None:
        """Names of a zip; None if it cannot be read."""
        try:
            members = list_zip(archive)
        except ZipListError:
            return None
        return cls((m.raw, m.name) for m in members if not (m.unsafe or m.encrypted))

    def find(self, member: str) -> str | None:
        """The raw name for a raw or repaired one."""
        wanted = name_hashes([nfc(member)]), name_hashes([member])
        for index, hashes in zip(self._indices, wanted, strict=True):
            if index is not None and (row := int(index.find(hashes)[0])) >= 0:
                return self._raws[row]
        return None


def _existing(written: str, folder: Path) -> str | None:
    """The absolute path of a file, also if the name is composed differently on this disk."""
    spellings = [written]
    if not written.isascii():
        spellings += [unicodedata.normalize(form, written) for form in ("NFC", "NFD")]
    if "\\" in written and "/" not in written and os.sep == "/":
        spellings.append(written.replace("\\", "/"))
    for spelling in spellings:
        path = os.path.abspath(folder / spelling)  # noqa: PTH100
        if os.path.isfile(path):  # noqa: PTH113
            return path
    return None


def _relative(path: str, folder: Path) -> str:
    relative = os.path.relpath(path, os.path.abspath(folder))  # noqa: PTH100
    return shown_path(relative)
