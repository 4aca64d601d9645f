"""The tables over recordings for Excel and SPSS, beside the CSV files (extra ``tables``)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

from nunbit.core.messages import InputError, Lang, MissingExtra, SettingsError, Text
from nunbit.language.labels import label_set_from_dict
from nunbit.report.codebook import Codebook
from nunbit.report.joined_tables import (
    WHY,
    Joined,
    episodes_table,
    find_recordings,
    sessions_table,
    windows_tables,
    write_joined,
)
from nunbit.runtime.files import atomic_path, spreadsheet_text
from nunbit.runtime.progress import say
from nunbit.runtime.results import decoded

FORMATS = ("csv", "xlsx", "sav")
XLSX_FILE = "tables.xlsx"

_MOST_CELLS = (
    3_000_000  # openpyxl writes about 200,000 cells a second, Excel opens no more with ease
)
_SPSS_BYTES, _SPSS_LABEL_BYTES, _SPSS_VALUE_BYTES = 64, 256, 120  # limits of the .sav format
_NOT_A_NAME = re.compile(r"[^\w.@#$]|^[^A-Za-z가-힣]")


def write_table_files(out: Path, formats: Sequence[str], *, lang: Lang) -> tuple[Path, ...]:
    """Write the tables of all recordings below ``out``: the CSV files, and what else is asked for.

    Args:
        out: Of ``analyze``.
        formats: Of ``FORMATS``.
        lang: Language of labels; names of columns are English in every language.

    Returns:
        The files written.

    Raises:
        InputError: There is no recording, or a file cannot be written.
        SettingsError: There is no such format.
        MissingExtra: A package of the extra ``tables`` is not installed.
    """
    if unknown := [kind for kind in formats if kind not in FORMATS]:
        raise SettingsError(
            Text(
                f"--format {','.join(unknown)}: choose from {', '.join(FORMATS)}",
                f"--format {','.join(unknown)}: {', '.join(FORMATS)} 중에서 고르십시오",
            )
        )
    for kind, packages in (("xlsx", ("openpyxl",)), ("sav", ("pandas", "pyreadstat"))):
        for package in packages if kind in formats else ():
            if find_spec(package) is None:
                raise MissingExtra(package, "tables")
    written = list(write_joined(out, lang=lang))
    if set(formats) <= {"csv"}:
        return tuple(written)
    found = find_recordings(out)
    sets = [s["label_set"] for s in found.summaries if s.get("label_set")]
    book = Codebook(label_set_from_dict(each, "summary.json") for each in _different(sets))
    tables = {"sessions": sessions_table(found), "episodes": episodes_table(found)}
    if "xlsx" in formats:
        written.append(_write_xlsx(out / XLSX_FILE, tables, found, book, lang))
    if "sav" in formats:
        for name, table in {**tables, "windows": pa.concat_tables(windows_tables(found))}.items():
            file = "episodes.sav" if name == "episodes" else f"{name}_wide.sav"
            written.append(_write_sav(out / file, table, book, lang))
    return tuple(written)


def _different(documents: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for each in documents:
        if each not in found:
            found.append(each)
    return found


# --- Excel ---


def _write_xlsx(
    path: Path, tables: dict[str, pa.Table], found: Joined, book: Codebook, lang: Lang
) -> Path:
    """A sheet a table, and one that says what every column means."""
    from openpyxl import Workbook

    workbook = Workbook(write_only=True)
    names: dict[str, None] = {}
    for name, table in tables.items():
        names |= dict.fromkeys(table.column_names)
        _sheet(workbook, name, [table])
    windows = list(windows_tables(found))
    cells = sum(table.num_rows for table in windows) * len(windows[0].column_names)
    if cells <= _MOST_CELLS:
        names |= dict.fromkeys(windows[0].column_names)
        _sheet(workbook, "windows", windows)
    else:
        say(
            Text(
                f"{path.name}: the windows are too many for Excel; they are in windows_wide.csv",
                f"{path.name}: 창이 너무 많아 Excel에 넣지 않았습니다. windows_wide.csv에 있습니다",
            )
        )
    columns = [book.column(name) for name in names]
    meanings = [(c.name, c.label.pick(lang), c.unit, c.meaning.pick(lang)) for c in columns]
    reasons = [(code, text.pick(lang)) for code, text in book.reasons().items()]
    _texts_sheet(workbook, "columns", [("column", "label", "unit", "meaning"), *meanings])
    _texts_sheet(workbook, "reasons", [("code", "meaning"), *reasons])
    with atomic_path(path) as partial:
        workbook.save(partial)
    return path


# Characters that XML 1.0, and so Excel, cannot hold.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def _sheet(workbook: Any, name: str, tables: Sequence[pa.Table]) -> None:
    sheet = workbook.create_sheet(name)
    sheet.freeze_panes = "B2"
    sheet.append(tables[0].column_names)
    for table in tables:
        columns = [decoded(table)[column].to_pylist() for column in table.column_names]
        for row in zip(*columns, strict=True):
            sheet.append([_cell(value) for value in row])


def _texts_sheet(workbook: Any, name: str, rows: Sequence[tuple[str, ...]]) -> None:
    sheet = workbook.create_sheet(name)
    for row in rows:
        sheet.append([spreadsheet_text(cell) for cell in row])


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 9) if math.isfinite(value) else None
    return _FORBIDDEN.sub(" ", spreadsheet_text(value)) if isinstance(value, str) else value


# --- SPSS ---


def _write_sav(path: Path, table: pa.Table, book: Codebook, lang: Lang) -> Path:
    """One table with variable labels, and value labels of reasons and kinds."""
    import pyreadstat

    names = _spss_names(table.column_names)
    frame = decoded(table).to_pandas()
    frame.columns = names
    texts = [
        n
        for n, field in zip(names, table.schema, strict=True)
        if pa.types.is_string(field.type) or pa.types.is_dictionary(field.type)
    ]
    for name in texts:
        frame[name] = frame[name].fillna("").astype(object)
    labels: list[str | None] = [_label(book, column, lang) for column in table.column_names]
    reasons = {code: _cut(t.pick(lang), _SPSS_VALUE_BYTES) for code, t in book.reasons().items()}
    kinds = {code: _cut(t.pick(lang), _SPSS_VALUE_BYTES) for code, t in book.kinds().items()}
    values: dict[str, Any] = {
        name: reasons if column.endswith(WHY) else kinds
        for name, column in zip(names, table.column_names, strict=True)
        if column.endswith(WHY) or column == "kind"
    }
    try:
        with atomic_path(path) as partial:
            pyreadstat.write_sav(
                frame, str(partial), column_labels=labels, variable_value_labels=values
            )
    except pyreadstat.PyreadstatError as exc:
        raise InputError(
            Text(f"{path}: cannot write: {exc}", f"{path}: 쓸 수 없습니다: {exc}")
        ) from exc
    return path


def _label(book: Codebook, column: str, lang: Lang) -> str:
    about = book.column(column)
    unit = f" [{about.unit}]" if about.unit else ""
    return _cut(about.label.pick(lang) + unit, _SPSS_LABEL_BYTES)


def _cut(text: str, most: int) -> str:
    return text.encode("utf-8")[:most].decode("utf-8", "ignore")


def _spss_names(names: Sequence[str]) -> list[str]:
    """Names that SPSS takes: no blanks, at most 64 bytes, different whatever the case."""
    made: list[str] = []
    for name in names:
        short = _cut(_NOT_A_NAME.sub("_", name), _SPSS_BYTES).rstrip(".")
        short = f"v{short}" if short.startswith("_") else short
        number = 1
        while short.casefold() in {other.casefold() for other in made}:
            number += 1
            short = f"{_cut(short, _SPSS_BYTES - 4)}_{number}"
        made.append(short)
    return made
