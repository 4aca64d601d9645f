"""Which encoding a text file has: UTF-8, UTF-16, UTF-32 or CP949 (what Korean programs write).

Transcripts and tables are read through this one module. Knows no format.
"""

from __future__ import annotations

import codecs
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nunbit.errors import InputError
from nunbit.files import require_regular

Encoding = Literal["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp949"]

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS: tuple[tuple[bytes, Encoding], ...] = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD = 4096  # bytes in which the zeros of UTF-16 without a mark are counted
_PIECE = 1 << 20
# One odd byte in so many characters, and one more, is damage; more is another encoding: Latin-1
# has one in 30 to 100 in the languages that are written in it.
_ODD_ONE_IN = 500
_CERTAIN = 10  # UTF-8 with so many whole characters of several bytes for an odd one is UTF-8


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text file in memory.

    Attributes:
        text: Its text, line ends as in the file.
        encoding: How it was read.
        cut_off: The last character is incomplete: the file ends too early.
        odd: Places whose bytes are no character of the encoding; they became U+FFFD.
        odd_at: The first of them in ``text``, None without any.
    """

    text: str
    encoding: Encoding
    cut_off: bool
    odd: int = 0
    odd_at: int | None = None


def read_decoded(path: Path, *, most_bytes: int) -> Decoded:
    """Read a whole text file.

    Args:
        path: An ordinary file; pipes and devices, which may never end, are refused.
        most_bytes: Larger files are refused unread.

    Raises:
        InputError: The file is missing, too large, not text, or in another encoding.
    """
    try:
        size = _size(path)
        if size > most_bytes:
            raise _error(
                path,
                f"{size >> 20} MB, too large for a text file; is it the recording?",
                f"{size >> 20}MB로 텍스트 파일로는 너무 큽니다. 녹화 파일이 아닌지 확인하십시오",
            )
        data = path.read_bytes()
    except OSError as exc:
        raise cannot_read(path, exc) from exc
    nulls = data.count(b"\0")
    marked = any(data.startswith(mark) for mark, name in _MARKS if name != "utf-8-sig")
    if nulls and _rare(nulls, len(data)) and not marked:
        data = data.replace(b"\0", b"\xff")  # no character of UTF-8 or CP949
    encoding = _by_head(path, data[:_HEAD])
    if encoding is not None:
        return _decoded(path, data, encoding)
    try:
        return Decoded(data.decode("utf-8"), "utf-8", False)
    except UnicodeDecodeError as exc:
        # A file cut off inside its last character is UTF-8 all the same; CP949 would garble it.
        if exc.start >= len(data) - 3 and exc.reason == "unexpected end of data":
            return Decoded(data[: exc.start].decode("utf-8"), "utf-8", True)
    mended = _mended(data, "utf-8")
    if mended is not None and _several_bytes(mended.text) >= _CERTAIN * mended.odd:
        return mended
    try:
        return Decoded(data.decode("cp949"), "cp949", False)
    except UnicodeDecodeError as exc:
        found = [each for each in (mended, _mended(data, "cp949")) if each is not None]
        if not found:
            raise _other_encoding(path) from exc
        return min(found, key=lambda each: each.odd)


def _mended(data: bytes, encoding: Encoding) -> Decoded | None:
    """The text with U+FFFD for what is no character; None where that is not rare."""
    places: list[int] = []
    done = []
    left = data
    while True:
        try:
            done.append(left.decode(encoding))
            break
        except UnicodeDecodeError as exc:
            done.append(left[: exc.start].decode(encoding))
            places.append(sum(map(len, done)))
            done.append("\ufffd")
            left = left[exc.end :]
            if not _rare(len(places), len(data)):
                return None
    return Decoded("".join(done), encoding, False, len(places), next(iter(places), None))


def _rare(odd: int, size: int) -> bool:
    return odd <= 1 + size // _ODD_ONE_IN


def _several_bytes(text: str) -> int:
    """Characters that UTF-8 writes in several bytes, those put in for odd ones aside."""
    return sum(c > "\x7f" for c in text) - text.count("\ufffd")


def encoding_of(path: Path) -> Encoding:
    """The encoding of a text file of any length, read in pieces.

    Raises:
        InputError: The file is missing, no ordinary file, not text, or in another encoding.
    """
    try:
        _size(path)
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
        marked = _by_head(path, head)
        candidates: tuple[Encoding, ...] = ("utf-8", "cp949") if marked is None else (marked,)
        for encoding in candidates:
            try:
                with path.open(encoding=encoding, newline="") as stream:
                    while stream.read(_PIECE):
                        pass
            except UnicodeDecodeError:
                continue
            return encoding
    except OSError as exc:
        raise cannot_read(path, exc) from exc
    raise _other_encoding(path)


def _size(path: Path) -> int:
    """Size of an ordinary file in bytes.

    Raises:
        InputError: It is a folder, a pipe or a device: reading it might never end.
        OSError: It is not there.
    """
    require_regular(path)
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise _error(path, "a folder, not a file", "파일이 아니라 폴더입니다")
    return status.st_size


def cannot_read(path: Path, exc: OSError) -> InputError:
    """The message for a file that the operating system does not give."""
    reason = exc.strerror or str(exc)
    return _error(path, f"cannot read this file: {reason}", f"파일을 읽을 수 없습니다: {reason}")


def _by_head(path: Path, head: bytes) -> Encoding | None:
    """The encoding a mark or zeros give away; None for one to try."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if b"\0" not in head:
        return None
    # UTF-16 without a mark has zeros in nearly every second byte of its ASCII parts.
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 4 * even and odd * 10 > len(head):
        return "utf-16-le"
    if even > 4 * odd and even * 10 > len(head):
        return "utf-16-be"
    raise _error(
        path,
        "this is not a text file; give a transcript (SRT, WebVTT, TextGrid, ELAN, JSON, CSV) or "
        "a table",
        "텍스트 파일이 아닙니다. 전사 파일(SRT, WebVTT, TextGrid, ELAN, JSON, CSV)이나 표를 "
        "주십시오",
    )


def _decoded(path: Path, data: bytes, encoding: Encoding) -> Decoded:
    unit = 4 if encoding == "utf-32" else 2 if encoding.startswith("utf-16") else 1
    extra = len(data) % unit
    try:
        return Decoded(data[: len(data) - extra].decode(encoding), encoding, extra > 0)
    except UnicodeDecodeError as exc:
        if exc.reason in ("unexpected end of data", "truncated data"):
            return Decoded(data[: exc.start].decode(encoding), encoding, True)
        mended = _mended(data[: len(data) - extra], encoding)
        if mended is None:
            raise _other_encoding(path) from exc
        return replace(mended, cut_off=extra > 0)


def _other_encoding(path: Path) -> InputError:
    return _error(
        path,
        "neither UTF-8, UTF-16 nor CP949 text; save it as UTF-8",
        "UTF-8, UTF-16, CP949 중 어느 것도 아닙니다. UTF-8로 저장하십시오",
    )


def _error(path: Path, en: str, ko: str) -> InputError:
    return InputError(en=f"{path}: {en}", ko=f"{path}: {ko}")
