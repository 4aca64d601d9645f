"""Rows of a text table: commas, semicolons, tabs or bars, quotes, ``sep=`` lines.

The one reader of such tables: transcripts, labels, people and tables of images go through it. It
knows cells, not what they mean. ``csv`` of the standard library splits the rows; what is added is
which delimiter and which habit of quoting a file has.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Literal

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

    A tab file may hold quotation marks that are part of what was said (they are kept) or quoted
    cells as spreadsheets write them (they are taken off): what gives every row as many cells as
    the first is right.

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
    body = next((line for line in lines[start:] if line.strip()), "")
    delimiter = given or delimiter_of(body)
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
        for cells in reader:
            if cells:
                yield line + reader.line_num, cells
    except csv.Error as exc:
        raise csv.Error(f"row {line + reader.line_num}: {exc}") from exc


def _ragged(rows: list[Row]) -> int:
    """How many rows have another number of cells than the first."""
    width = len(rows[0][1]) if rows else 0
    return sum(len(cells) != width for _, cells in rows)
