"""CSV for spreadsheets and statistics: all measures, and the words beside them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from nunbit.exports.parquet import TIMELINE_SCHEMA, measure_tables
from nunbit.files import atomic_path, spreadsheet_text, write_text
from nunbit.streams import Timeline, Transcript

# Spreadsheets take UTF-8 for the system's own encoding unless the file begins with this.
_BOM = "\ufeff"
_WORD_COLUMNS = (
    "start", "end", "speaker", "word", "confidence", "syllables", "filler", "estimated",
    "utterance_index",
)  # fmt: skip


def write_csv(path: Path, timeline: Timeline) -> None:
    """Write every row of ``timeline.parquet``, and ``<stem>.words.csv`` if there is a transcript.

    Missing numbers are empty cells; ``mask_reason`` says why. A text that a spreadsheet would take
    for a formula (``=HYPERLINK(…)``, a word such as ``-네``) gets ``'`` in front
    (``files.spreadsheet_text``); numbers are untouched.

    Args:
        path: ``….csv``.
        timeline: What was found.

    Raises:
        InputError: A file cannot be written.
    """
    schema = pa.schema(
        [
            (field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type)
            for field in TIMELINE_SCHEMA
        ]
    )
    with atomic_path(path) as partial, partial.open("wb") as stream:
        stream.write(_BOM.encode("utf-8"))
        with pyarrow.csv.CSVWriter(stream, schema) as writer:
            for table in measure_tables(timeline):
                writer.write_table(_plain(_without_nan(table).cast(schema)))
    if timeline.transcript is not None:
        write_text(path.with_name(f"{path.stem}.words.csv"), _BOM + _words(timeline.transcript))


def _without_nan(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            column = table.column(index)
            # Nine significant digits are kept; 0.30000000000000004 helps nobody.
            empty = pc.if_else(pc.is_nan(column), None, pc.round(column, 9))
            table = table.set_column(index, field, empty)
    return table


def _plain(table: pa.Table) -> pa.Table:
    """With every text cell as plain text; a column has few different texts."""
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            coded = table.column(index).combine_chunks().dictionary_encode()
            texts = [None if t is None else spreadsheet_text(t) for t in _texts(coded)]
            column = pa.DictionaryArray.from_arrays(coded.indices, pa.array(texts, pa.string()))
            table = table.set_column(index, field, column.cast(pa.string()))
    return table


def _texts(coded: pa.DictionaryArray) -> list[str | None]:
    found: list[str | None] = coded.dictionary.to_pylist()
    return found


def _words(transcript: Transcript) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_WORD_COLUMNS)
    for index, utterance in enumerate(transcript.utterances):
        for word in utterance.words:
            writer.writerow(
                (
                    f"{word.interval.start_s:.3f}",
                    f"{word.interval.end_s:.3f}",
                    spreadsheet_text(utterance.speaker or ""),
                    spreadsheet_text(word.text),
                    "" if word.confidence is None else f"{word.confidence:.4f}",
                    word.syllables,
                    int(word.filler),
                    int(word.estimated),
                    index,
                )
            )
    return stream.getvalue()
