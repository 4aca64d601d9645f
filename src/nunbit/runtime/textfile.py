"""Text files: find their encoding, and read the rows of delimited tables.

Transcripts and tables are read through this one module, in UTF-8, UTF-16, UTF-32 or CP949 (which
Korean programs write). Knows no format and nothing of what cells mean.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nunbit.core.messages import InputError, Text
from nunbit.runtime.files import require_regular

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
        if (size := _size(path)) > most_bytes:
            raise bad_file(
                path,
                Text(
                    f"{size >> 20} MB, too large for a text file; is it the recording?",
                    f"{size >> 20}MB로 텍스트 파일로는 너무 큽니다. 녹화 파일이 아닌지 "
                    "확인하십시오",
                ),
            )
        data = path.read_bytes()
    except OSError as exc:
        raise cannot_read(path, exc) from exc
    nulls = data.count(b"\0")
    marked = any(data.startswith(mark) for mark, name in _MARKS if name != "utf-8-sig")
    if nulls and _rare(nulls, len(data)) and not marked:
        data = data.replace(b"\0", b"\xff")  # no character of UTF-8 or CP949
    if (encoding := _by_head(path, data[:_HEAD])) is not None:
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
    """The text with U+FFFD in place of invalid bytes; None where there are many of them."""
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
    """Number of characters that take several bytes in UTF-8, replacement characters not counted."""
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
        raise bad_file(path, Text("a folder, not a file", "파일이 아니라 폴더입니다"))
    return status.st_size


def cannot_read(path: Path, exc: OSError) -> InputError:
    """The message for a file that the operating system cannot read."""
    reason = exc.strerror or str(exc)
    return bad_file(
        path, Text(f"cannot read this file: {reason}", f"파일을 읽을 수 없습니다: {reason}")
    )


def _by_head(path: Path, head: bytes) -> Encoding | None:
    """The encoding that a byte order mark or zero bytes show; None where it has to be tried."""
    marked = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)
    if marked or b"\0" not in head:
        return marked
    # UTF-16 without a mark has zeros in nearly every second byte of its ASCII parts.
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 4 * even and odd * 10 > len(head):
        return "utf-16-le"
    if even > 4 * odd and even * 10 > len(head):
        return "utf-16-be"
    raise bad_file(
        path,
        Text(
            "this is not a text file; give a transcript (SRT, WebVTT, TextGrid, ELAN, JSON, "
            "CSV) or a table",
            "텍스트 파일이 아닙니다. 전사 파일(SRT, WebVTT, TextGrid, ELAN, JSON, CSV)이나 표를 "
            "주십시오",
        ),
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
    return bad_file(
        path,
        Text(
            "neither UTF-8, UTF-16 nor CP949 text; save it as UTF-8",
            "UTF-8, UTF-16, CP949 중 어느 것도 아닙니다. UTF-8로 저장하십시오",
        ),
    )


def bad_file(path: Path, text: Text) -> InputError:
    """An error that names the file."""
    return InputError(text.under(path))


# -- delimited tables -----------------------------------------------------------------------------
# ``csv`` of the standard library splits the rows; what is found out here is which delimiter and
# which style of quoting a file uses.

Row = tuple[int, list[str]]
"""The line of the file a row ends at, counted from 1, and its cells."""

DELIMITERS = "\t,;|"
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")
_SEP = re.compile(r"\s*\"?sep=([,;|\t])\"?\s*", re.IGNORECASE)  # Excel's own first line
# A cell may be a long utterance, but one of a megabyte is a quotation mark that never closes.
_LONGEST_CELL = 1 << 20


def delimiter_of(line: str) -> str:
    """The delimiter of a row: the commonest, commas inside numbers (1,5) counted last."""
    bare = _DECIMAL_COMMA.sub("", line)
    return max(DELIMITERS, key=lambda mark: (bare.count(mark), line.count(mark)))


def sep_line(line: str) -> str | None:
    """The delimiter that a line ``sep=;`` names; None for any other line."""
    match = _SEP.fullmatch(line)
    return match[1] if match else None


def first_cells(text: str) -> list[str]:
    """The cells of the first row that is not empty and no ``sep=`` line; empty without one.

    Raises:
        csv.Error: The row cannot be split.
    """
    lines = [line for line in text[:_LONGEST_CELL].split("\n", 100) if line.strip()]
    given = sep_line(lines[0]) if lines else None
    row = lines[given is not None :][:1]
    return next(csv.reader(row, delimiter=given or delimiter_of(row[0])), []) if row else []


def read_rows(text: str) -> list[Row]:
    """All rows of a table in memory; empty rows are left out.

    In a tab-separated file quotation marks may belong to the speech (then they are kept) or quote
    cells, as spreadsheets write them (then they are removed). The reading that gives every row as
    many cells as the first is right.

    Args:
        text: With ``\\n`` line ends.

    Raises:
        csv.Error: A quoted cell is not closed, or goes on after its closing mark. Its text begins
            with the line's number.
    """
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    given = sep_line(lines[first])
    start = first + (given is not None)
    delimiter = given or delimiter_of(next((line for line in lines[start:] if line.strip()), ""))
    rest = "\n".join(lines[start:])
    if delimiter != "\t":
        return list(iter_rows(io.StringIO(rest), delimiter, line=start))
    literal = list(iter_rows(io.StringIO(rest), delimiter, line=start, quotes=False))
    if '"' not in rest:
        return literal
    try:
        quoted = list(iter_rows(io.StringIO(rest), delimiter, line=start))
    except csv.Error:
        return literal
    return literal if _ragged(quoted) > _ragged(literal) else quoted


def iter_rows(
    stream: Iterable[str], delimiter: str, *, line: int = 0, quotes: bool = True
) -> Iterator[Row]:
    """Rows one after another, for tables of any length.

    Args:
        stream: Lines, opened with ``newline=""``.
        delimiter: One character.
        line: Lines of the file before the stream.
        quotes: Whether quotation marks around a cell are taken off.

    Raises:
        csv.Error: As in :func:`read_rows`.
    """
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(stream, delimiter=delimiter, quoting=quoting, strict=True)
    try:
        yield from ((line + reader.line_num, cells) for cells in reader if cells)
    except csv.Error as exc:
        raise csv.Error(f"row {line + reader.line_num}: {exc}") from exc


def _ragged(rows: list[Row]) -> int:
    """How many rows have another number of cells than the first."""
    width = len(rows[0][1]) if rows else 0
    return sum(len(cells) != width for _, cells in rows)
