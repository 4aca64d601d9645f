"""The Parquet tables of a timeline, written in bounded memory and read quickly.

``timeline.parquet`` is long: one row per measure, scope and stretch of time. Strings are
dictionary-encoded; a row group has at most 65,536 rows, so that two hours (about a million rows)
are never copied at once. Missing numbers are NaN with a reason beside them, never null or zero;
text that does not exist (no speaker, no grade) is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nunbit.errors import InputError
from nunbit.files import atomic_path, whole_text
from nunbit.streams import FaceStream, FaceTrack, MeasureBlock, Timeline, Transcript, VoiceStream

TIMELINE_FILE = "timeline.parquet"
FRAMES_FILE = "frames.parquet"
WORDS_FILE = "words.parquet"
VOICE_FILE = "voice.parquet"

_GROUP_ROWS = 65_536
_TEXT = pa.dictionary(pa.int32(), pa.string())

TIMELINE_SCHEMA = pa.schema(
    [
        ("subject", _TEXT),
        ("session", _TEXT),
        ("track", _TEXT),
        ("scope", _TEXT),
        ("modality", _TEXT),
        ("measure", _TEXT),
        ("t_start", pa.float64()),
        ("t_end", pa.float64()),
        ("value", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("baseline", pa.float64()),
        ("unit", _TEXT),
        ("n_expected", pa.int64()),
        ("n_valid", pa.int64()),
        ("confidence", pa.float64()),
        ("mask_reason", _TEXT),
        ("grade", _TEXT),
        ("version", _TEXT),
    ]
)
"""Columns of ``timeline.parquet``, in order."""

_FRAME_FLOATS = ("x0", "y0", "x1", "y1", "det_score", "sharpness")
_POSE = ("yaw", "pitch", "roll")
_WORDS_SCHEMA = pa.schema(
    [
        ("t_start", pa.float64()),
        ("t_end", pa.float64()),
        ("text", pa.string()),
        ("speaker", _TEXT),
        ("confidence", pa.float32()),
        ("syllables", pa.int32()),
        ("filler", pa.bool_()),
        ("estimated", pa.bool_()),
        ("utterance", pa.int32()),
    ]
)
_VOICE_SCHEMA = pa.schema(
    [
        ("time", pa.float64()),
        ("present", pa.bool_()),
        ("speech", pa.bool_()),
        ("f0_hz", pa.float32()),
        ("level_dbfs", pa.float32()),
    ]
)


def write_timeline(folder: Path, timeline: Timeline) -> None:
    """Write ``timeline``, ``frames``, ``words`` and ``voice.parquet``, each atomically.

    All four are always written; without video, sound or words the table has its columns and no
    rows.

    Args:
        folder: ``OUT/<stem>``; made if missing.
        timeline: What was found.

    Raises:
        InputError: The folder cannot be written.
    """
    _write(folder / TIMELINE_FILE, TIMELINE_SCHEMA, measure_tables(timeline))
    labels = timeline.faces.labels if timeline.faces is not None else timeline.labels
    frames = _frames_schema(labels)
    _write(folder / FRAMES_FILE, frames, _frame_tables(timeline.faces, frames))
    _write(folder / WORDS_FILE, _WORDS_SCHEMA, _word_tables(timeline.transcript))
    _write(folder / VOICE_FILE, _VOICE_SCHEMA, _voice_tables(timeline.voice))


def read_timeline_table(
    folder: Path, *, columns: Sequence[str] | None = None, scope: str | None = None
) -> pa.Table:
    """Read ``timeline.parquet`` of a timeline's folder.

    Args:
        folder: ``OUT/<stem>``.
        columns: Only these; all by default.
        scope: Only rows of this scope; others are not decoded where a row group has none.

    Returns:
        A table whose text columns are dictionary-encoded.

    Raises:
        InputError: There is no such table or it is damaged.
    """
    path = folder / TIMELINE_FILE
    texts = [field.name for field in TIMELINE_SCHEMA if field.type == _TEXT]
    filters = None if scope is None else [("scope", "=", scope)]
    try:
        return pq.read_table(
            path,
            columns=None if columns is None else list(columns),
            filters=filters,
            read_dictionary=texts,
            memory_map=True,
        )
    except (OSError, pa.ArrowException) as exc:
        reason = str(exc).split("\n")[0]
        raise InputError(
            en=f"{path}: cannot read the timeline table ({reason}); run nunbit analyze again",
            ko=f"{path}: 타임라인 표를 읽을 수 없습니다 ({reason}). nunbit analyze를 다시 "
            "실행하십시오",
        ) from exc


def measure_tables(timeline: Timeline) -> Iterator[pa.Table]:
    """The rows of ``timeline.parquet``, one table for each measure and scope."""
    for block in timeline.blocks:
        yield _measure_table(block, timeline.subject, timeline.session)


def _measure_table(block: MeasureBlock, subject: str, session: str) -> pa.Table:
    n = len(block.t_start)
    nothing = np.full(n, np.nan)
    columns: dict[str, Any] = {
        "subject": _constant(subject, n),
        "session": _constant(session, n),
        "track": _constant(block.track, n),
        "scope": _constant(block.scope, n),
        "modality": _constant(block.modality, n),
        "measure": _constant(block.measure, n),
        "t_start": block.t_start,
        "t_end": block.t_end,
        "value": block.value,
        "ci_low": nothing if block.ci_low is None else block.ci_low,
        "ci_high": nothing if block.ci_high is None else block.ci_high,
        "baseline": np.full(n, block.baseline),
        "unit": _constant(block.unit, n),
        "n_expected": block.n_expected,
        "n_valid": block.n_valid,
        "confidence": block.confidence,
        "mask_reason": _encoded(block.mask_reason),
        "grade": _constant(block.grade, n),
        "version": _constant(block.version, n),
    }
    return _table(TIMELINE_SCHEMA, columns)


def _frames_schema(labels: Sequence[str]) -> pa.Schema:
    singles = pa.float32()
    return pa.schema(
        [
            ("time", pa.float64()),
            ("track", pa.int32()),
            ("target", pa.bool_()),
            *((name, singles) for name in _FRAME_FLOATS),
            ("reason", _TEXT),
            *((name, singles) for name in (*_POSE, "mouth_open", "eye_aspect")),
            *((f"p_{label}", singles) for label in labels),
        ]
    )


def _frame_tables(faces: FaceStream | None, schema: pa.Schema) -> Iterator[pa.Table]:
    """All faces by time: tracks overlap, so they are gathered and sorted."""
    if faces is None or not faces.tracks:
        return
    tables = [_track_table(track, faces, schema) for track in faces.tracks]
    whole = pa.concat_tables(tables).unify_dictionaries()
    yield whole.sort_by([("time", "ascending"), ("track", "ascending")])


def _track_table(track: FaceTrack, faces: FaceStream, schema: pa.Schema) -> pa.Table:
    n = len(track.times_s)
    columns: dict[str, Any] = {
        "time": track.times_s,
        "track": np.full(n, track.track_id, np.int32),
        "target": np.full(n, track.track_id in faces.targets),
        "det_score": track.det_score,
        "sharpness": track.sharpness,
        "reason": _encoded(track.reasons),
        "mouth_open": track.mouth_open,
        "eye_aspect": track.eye_aspect,
    }
    columns |= {name: track.boxes_xyxy[:, i] for i, name in enumerate(_FRAME_FLOATS[:4])}
    columns |= {name: track.pose_deg[:, i].astype(np.float32) for i, name in enumerate(_POSE)}
    nothing = np.full(n, np.nan, np.float32)
    for i, label in enumerate(faces.labels):
        found = track.probabilities
        columns[f"p_{label}"] = nothing if found is None else found[:, i]
    return _table(schema, columns)


def _word_tables(transcript: Transcript | None) -> Iterator[pa.Table]:
    if transcript is None:
        return
    rows = [
        (index, utterance.speaker, word)
        for index, utterance in enumerate(transcript.utterances)
        for word in utterance.words
    ]
    words = [word for _, _, word in rows]
    confidences = [np.nan if w.confidence is None else w.confidence for w in words]
    columns = {
        "t_start": [w.interval.start_s for w in words],
        "t_end": [w.interval.end_s for w in words],
        "text": [whole_text(w.text) for w in words],
        "speaker": pa.array(
            [speaker and whole_text(speaker) for _, speaker, _ in rows], pa.string()
        ).dictionary_encode(),
        "confidence": np.array(confidences, np.float32),
        "syllables": [w.syllables for w in words],
        "filler": [w.filler for w in words],
        "estimated": [w.estimated for w in words],
        "utterance": [index for index, _, _ in rows],
    }
    yield _table(_WORDS_SCHEMA, columns)


def _voice_tables(voice: VoiceStream | None) -> Iterator[pa.Table]:
    if voice is None:
        return
    for start in range(0, len(voice.times_s), _GROUP_ROWS):
        rows = slice(start, start + _GROUP_ROWS)
        columns = {
            "time": voice.times_s[rows],
            "present": voice.present[rows],
            "speech": voice.speech[rows],
            "f0_hz": voice.f0_hz[rows],
            "level_dbfs": voice.level_dbfs[rows],
        }
        yield _table(_VOICE_SCHEMA, columns)


def _table(schema: pa.Schema, columns: dict[str, Any]) -> pa.Table:
    arrays = [
        columns[field.name]
        if isinstance(columns[field.name], pa.Array)
        # NaN stays NaN: from_pandas would turn it into null.
        else pa.array(columns[field.name], field.type, from_pandas=False)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _constant(value: str | None, n: int) -> pa.DictionaryArray:
    if value is None:
        return pa.DictionaryArray.from_arrays(pa.nulls(n, pa.int32()), pa.array([], pa.string()))
    codes = pa.array(np.zeros(n, np.int32))
    return pa.DictionaryArray.from_arrays(codes, pa.array([whole_text(value)], pa.string()))


def _encoded(texts: NDArray[np.str_]) -> pa.DictionaryArray:
    values, codes = np.unique(texts, return_inverse=True)
    dictionary = pa.array([str(value) for value in values], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), dictionary)


def _write(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write tables one after another, small ones joined to row groups."""
    with atomic_path(path) as partial, pq.ParquetWriter(
        partial, schema, compression="zstd"
    ) as writer:  # fmt: skip
        waiting: list[pa.Table] = []
        rows = 0
        for table in tables:
            waiting.append(table)
            rows += table.num_rows
            if rows >= _GROUP_ROWS:
                _flush(writer, waiting)
                waiting, rows = [], 0
        if waiting:
            _flush(writer, waiting)


def _flush(writer: pq.ParquetWriter, tables: list[pa.Table]) -> None:
    joined = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    writer.write_table(joined, row_group_size=_GROUP_ROWS)
