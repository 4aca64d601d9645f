"""Read the rows of a CSV or Parquet file one by one, checking values on access.

Text tables go through ``runtime.textfile``: commas, semicolons, tabs, ``sep=`` lines, UTF-8,
UTF-16 and CP949, decimal commas.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError, Text
from nunbit.runtime.textfile import Encoding, delimiter_of, encoding_of, iter_rows, sep_line

_BATCH = 4096
_ENOUGH = 4  # numbers of a box


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row; ``line`` is the line number in the file (the header of a CSV is line 1)."""

    path: Path
    line: int
    values: Mapping[str, Any]

    def text(self, column: str) -> str | None:
        """The value as trimmed text; None where the column or the value is missing.

        Whole floats lose their point: Parquet writers turn integer columns with gaps into floats.
        """
        value = self.values.get(column)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return str(value).strip() or None

    def items(self, column: str) -> tuple[str, ...]:
        """A list value, or text separated by ``;``; items are trimmed and may be empty."""
        value = self.values.get(column)
        if isinstance(value, (list, tuple)):
            return tuple("" if item is None else str(item).strip() for item in value)
        text = self.text(column)
        return () if text is None else tuple(item.strip() for item in text.split(";"))

    def number_of(self, column: str, value: Any) -> float:
        """``value`` as a finite number.

        Raises:
            InputError: It is none.
        """
        if isinstance(value, str) and value.count(",") == 1 and "." not in value:
            value = value.replace(",", ".")  # decimal comma
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.error(
                Text(
                    f"{column}: expected a number, got '{value}'", f"{column}: 수가 아님: '{value}'"
                )
            )
        return number

    def number(self, column: str) -> float | None:
        """The value as a finite number; None where it is missing.

        Raises:
            InputError: It is no finite number.
        """
        text = self.text(column)
        return None if text is None else self.number_of(column, text)

    def numbers(self, column: str) -> Sequence[float | None]:
        """A list of numbers, or text with numbers between commas, semicolons or blanks.

        Between blanks or semicolons a comma inside a number is a decimal comma.

        Raises:
            InputError: An item is no finite number.
        """
        value = self.values.get(column)
        if isinstance(value, (list, tuple)):
            return [None if item is None else self.number_of(column, item) for item in value]
        text = self.text(column)
        if text is None:
            return []
        items = text.strip("[]()").replace(";", " ").split()
        # '0,5 0,5 9,5 9,5': four items and more between blanks have decimal commas.
        if len(items) < _ENOUGH or any(item.strip(",") != item for item in items):
            items = " ".join(items).replace(",", " ").split()
        return [self.number_of(column, item) for item in items]

    def error(self, text: Text) -> InputError:
        """An error that names file and row."""
        return InputError(
            Text(
                f"{self.path}, row {self.line}: {text.en}", f"{self.path}, {self.line}행: {text.ko}"
            )
        )


@dataclass(frozen=True, slots=True)
class OpenTable:
    """An opened table.

    Attributes:
        path: The file.
        columns: Column names, trimmed and in lower case.
        encoding: Of a text table; None for Parquet.
        delimiter: Of a text table.
        before: Lines of a text table above its header (``sep=;``, empty ones).
    """

    path: Path
    columns: tuple[str, ...]
    encoding: Encoding | None
    delimiter: str = ","
    before: int = 0

    def rows(self) -> Iterator[TableRow]:
        """All rows in order, reading as it goes.

        Raises:
            InputError: The file is damaged further down.
        """
        for row in self.rows_or_errors():
            if isinstance(row, InputError):
                raise row
            yield row

    def rows_or_errors(self) -> Iterator[TableRow | InputError]:
        """All rows in order; a row with too few or too many cells is its error, and does not end.

        Raises:
            InputError: The file is damaged further down.
        """
        return _parquet_rows(self) if self.encoding is None else _text_rows(self)

    def error(self, text: Text) -> InputError:
        """An error that names the file."""
        return InputError(text.under(self.path))


def open_table(path: Path) -> OpenTable:
    """Read a table's column names and encoding.

    Raises:
        InputError: The file cannot be read, is empty or is no table.
    """
    return _open_parquet(path) if path.suffix.lower() == ".parquet" else _open_text(path)


def _open_text(path: Path) -> OpenTable:
    encoding = encoding_of(path)
    given, before, header = None, 0, ""
    try:
        with path.open(encoding=encoding, newline="") as stream:
            for line in stream:
                if sep_line(line) is not None:
                    given = sep_line(line)
                elif line.strip("\ufeff\r\n \t"):
                    header = line
                    break
                before += 1
        table = OpenTable(path, (), encoding, given or delimiter_of(header), before)
        names = next(_cells(table), (0, []))[1] if header else []
    except (OSError, csv.Error) as exc:
        raise _unreadable(path, exc) from exc
    if not any(name.strip() for name in names):
        raise InputError(Text(f"{path}: the table is empty", f"{path}: 표가 비어 있습니다"))
    return replace(table, columns=tuple(_column_name(name) for name in names))


def _cells(table: OpenTable) -> Iterator[tuple[int, list[str]]]:
    """All rows of a text table, the header first."""
    with table.path.open(encoding=table.encoding, newline="") as stream:
        for _ in range(table.before):
            next(stream, "")
        yield from iter_rows(stream, table.delimiter, line=table.before)


def _text_rows(table: OpenTable) -> Iterator[TableRow | InputError]:
    try:
        rows = _cells(table)
        next(rows, None)
        for line, cells in rows:
            if not any(cell.strip() for cell in cells):
                continue  # spreadsheets leave rows of empty cells behind the last one
            if len(cells) != len(table.columns):
                yield TableRow(table.path, line, {}).error(
                    Text(
                        f"{len(cells)} cells, the header has {len(table.columns)}",
                        f"칸이 {len(cells)}개, 머리글은 {len(table.columns)}개",
                    )
                )
                continue
            yield TableRow(table.path, line, dict(zip(table.columns, cells, strict=True)))
    except (OSError, csv.Error) as exc:
        raise _unreadable(table.path, exc) from exc


def _open_parquet(path: Path) -> OpenTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
    except (pa.ArrowException, OSError) as exc:
        raise _unreadable(path, exc) from exc
    return OpenTable(path, tuple(_column_name(name) for name in names), None)


def _parquet_rows(table: OpenTable) -> Iterator[TableRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(table.path) as file:
            rows = (
                cells
                for batch in file.iter_batches(batch_size=_BATCH)
                for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True)
            )
            for number, cells in enumerate(rows, start=1):
                yield TableRow(table.path, number, dict(zip(table.columns, cells, strict=True)))
    except (pa.ArrowException, OSError) as exc:
        raise _unreadable(table.path, exc) from exc


def _column_name(name: str) -> str:
    return name.strip("\ufeff").strip().casefold()


def _unreadable(path: Path, exc: Exception) -> InputError:
    return InputError(
        Text(f"{path}: cannot read this table: {exc}", f"{path}: 표를 읽을 수 없습니다: {exc}")
    )
