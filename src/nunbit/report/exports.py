"""A timeline as tables: Parquet for every later step, CSV for spreadsheets and OpenFace's tools.

``timeline.parquet`` is long: one row per measure, scope and stretch of time. Strings are
dictionary-encoded; a row group has at most 65,536 rows, so that two hours (about a million rows)
are never copied at once. Missing numbers are NaN with a reason beside them, never null or zero;
text that does not exist (no speaker, no grade) is null.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nunbit.core.messages import InputError, Text
from nunbit.core.streams import (
    FaceStream,
    FaceTrack,
    Floats,
    MeasureBlock,
    Timeline,
    Transcript,
    VoiceStream,
)
from nunbit.core.timebase import SAME_SUM_S
from nunbit.pictures.expression_channels import KEPT_CHANNELS
from nunbit.report.annotations import write_eaf, write_textgrid, write_vtt
from nunbit.runtime.files import atomic_path, read_parquet, spreadsheet_text, whole_text, write_text
from nunbit.runtime.results import spreadsheet_table

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
_ANGLES = ("yaw", "pitch", "roll")
_WORDS_SCHEMA = pa.schema(
    [("t_start", pa.float64()), ("t_end", pa.float64()), ("text", pa.string()), ("speaker", _TEXT),
     ("confidence", pa.float32()), ("syllables", pa.int32()), ("filler", pa.bool_()),
     ("estimated", pa.bool_()), ("utterance", pa.int32())]
)  # fmt: skip
_VOICE_SCHEMA = pa.schema(
    [("time", pa.float64()), ("present", pa.bool_()), ("speech", pa.bool_()),
     ("f0_hz", pa.float32()), ("level_dbfs", pa.float32())]
)  # fmt: skip


def write_timeline(folder: Path, timeline: Timeline) -> None:
    """Write ``timeline``, ``frames``, ``words`` and ``voice.parquet``, each atomically.

    All four are always written; without video, sound or words the table has its columns and no
    rows.

    Args:
        folder: ``OUT/<stem>``; made if missing.
        timeline: The timeline.

    Raises:
        InputError: The folder cannot be written.
    """
    _write(folder / TIMELINE_FILE, TIMELINE_SCHEMA, row_tables(timeline))
    faces = timeline.faces
    moved = faces is not None and any(track.channels is not None for track in faces.tracks)
    frames = _frames_schema((faces or timeline).labels, KEPT_CHANNELS if moved else ())
    _write(folder / FRAMES_FILE, frames, _frame_tables(faces, frames))
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
    return read_parquet(
        folder / TIMELINE_FILE,
        _UNREADABLE,
        columns=columns,
        where=None if scope is None else {"scope": (scope,)},
        coded=[field.name for field in TIMELINE_SCHEMA if field.type == _TEXT],
    )


_UNREADABLE = Text(
    "cannot read the timeline table ({reason}); run `analyze` again",
    "타임라인 표를 읽을 수 없습니다({reason}). `analyze`를 다시 실행하십시오",
)


def row_tables(timeline: Timeline) -> Iterator[pa.Table]:
    """The rows of ``timeline.parquet``, one table for each measure and scope."""
    for block in timeline.blocks:
        yield _measure_table(block, timeline.subject, timeline.session)


def _measure_table(block: MeasureBlock, subject: str, session: str) -> pa.Table:
    n = len(block.t_start)
    texts = {
        "subject": subject, "session": session, "track": block.track, "scope": block.scope,
        "modality": block.modality, "measure": block.measure, "unit": block.unit,
        "grade": block.grade, "version": block.version,
    }  # fmt: skip
    nothing = np.full(n, np.nan)
    columns = {
        **{name: _constant(text, n) for name, text in texts.items()},
        "t_start": block.t_start,
        "t_end": block.t_end,
        "value": block.value,
        "ci_low": nothing if block.ci_low is None else block.ci_low,
        "ci_high": nothing if block.ci_high is None else block.ci_high,
        "baseline": np.full(n, block.baseline),
        "n_expected": block.n_expected,
        "n_valid": block.n_valid,
        "confidence": block.confidence,
        "mask_reason": _encoded(block.mask_reason),
    }
    return _table(TIMELINE_SCHEMA, columns)


def _frames_schema(labels: Sequence[str], channels: Sequence[str]) -> pa.Schema:
    singles = pa.float32()
    return pa.schema(
        [
            ("time", pa.float64()),
            ("track", pa.int32()),
            ("target", pa.bool_()),
            *((name, singles) for name in _FRAME_FLOATS),
            ("reason", _TEXT),
            *((name, singles) for name in (*_ANGLES, "mouth_open", "eye_aspect")),
            *((f"p_{label}", singles) for label in labels),
            *((name, singles) for name in channels),
        ]
    )


def _frame_tables(faces: FaceStream | None, schema: pa.Schema) -> Iterator[pa.Table]:
    """All faces by time: tracks overlap, so they are gathered and sorted."""
    if faces is not None and faces.tracks:
        tables = [_track_table(track, faces, schema) for track in faces.tracks]
        whole = pa.concat_tables(tables).unify_dictionaries()
        yield whole.sort_by([("time", "ascending"), ("track", "ascending")])


def _track_table(track: FaceTrack, faces: FaceStream, schema: pa.Schema) -> pa.Table:
    n, found = len(track.times_s), track.probabilities
    moved = track.channels
    channels = np.full((n, len(KEPT_CHANNELS)), np.nan, np.float32) if moved is None else moved
    shares = np.full((n, len(faces.labels)), np.nan, np.float32) if found is None else found
    columns = {
        "time": track.times_s,
        "track": np.full(n, track.track_id, np.int32),
        "target": np.full(n, track.track_id in faces.targets),
        "det_score": track.det_score,
        "sharpness": track.sharpness,
        "reason": _encoded(track.reasons),
        "mouth_open": track.mouth_open,
        "eye_aspect": track.eye_aspect,
        **dict(zip(_FRAME_FLOATS[:4], track.boxes_xyxy.T, strict=True)),
        **dict(zip(_ANGLES, track.pose_deg.astype(np.float32).T, strict=True)),
        **{f"p_{label}": column for label, column in zip(faces.labels, shares.T, strict=True)},
        **dict(zip(KEPT_CHANNELS, channels.T, strict=True)),
    }
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
    speakers = [speaker and whole_text(speaker) for _, speaker, _ in rows]
    columns = {
        "t_start": [w.interval.start_s for w in words],
        "t_end": [w.interval.end_s for w in words],
        "text": [whole_text(w.text) for w in words],
        "speaker": pa.array(speakers, pa.string()).dictionary_encode(),
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
    columns = {
        "time": voice.times_s,
        "present": voice.present,
        "speech": voice.speech,
        "f0_hz": voice.f0_hz,
        "level_dbfs": voice.level_dbfs,
    }
    for start in range(0, len(voice.times_s), _GROUP_ROWS):
        rows = slice(start, start + _GROUP_ROWS)
        yield _table(_VOICE_SCHEMA, {name: column[rows] for name, column in columns.items()})


def _table(schema: pa.Schema, columns: Mapping[str, Any]) -> pa.Table:
    arrays = [
        columns[field.name]
        if isinstance(columns[field.name], pa.Array)
        # NaN stays NaN: from_pandas would turn it into null.
        else pa.array(columns[field.name], field.type, from_pandas=False)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


@lru_cache(maxsize=512)
def _constant(value: str | None, n: int) -> pa.DictionaryArray:
    if value is None:
        return pa.DictionaryArray.from_arrays(pa.nulls(n, pa.int32()), pa.array([], pa.string()))
    codes = pa.array(np.zeros(n, np.int32))
    return pa.DictionaryArray.from_arrays(codes, pa.array([whole_text(value)], pa.string()))


def _encoded(texts: NDArray[np.str_]) -> pa.DictionaryArray:
    listed = texts.tolist()  # few different ones: sorting them all takes three times as long
    values = sorted(set(listed))
    place = {value: code for code, value in enumerate(values)}
    codes = pa.array([place[text] for text in listed], pa.int32())
    return pa.DictionaryArray.from_arrays(codes, pa.array(values, pa.string()))


def _write(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write tables one after another, small ones joined to row groups."""
    with atomic_path(path) as partial, pq.ParquetWriter(
        partial, schema, compression="zstd"
    ) as writer:  # fmt: skip
        for waiting in _groups(tables):
            joined = pa.concat_tables(waiting).unify_dictionaries().combine_chunks()
            writer.write_table(joined, row_group_size=_GROUP_ROWS)


def _groups(tables: Iterable[pa.Table]) -> Iterator[list[pa.Table]]:
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        if rows >= _GROUP_ROWS:
            yield waiting
            waiting, rows = [], 0
    if waiting:
        yield waiting


# --- OpenFace: CSV with its column names, for tools that expect them ---
#
# No action units, gaze, landmarks or distances: nunbit does not measure them the way OpenFace does,
# and guesses in a column would look like measurements. A frame without a face has ``success`` 0 and
# empty angles, where OpenFace writes zeros.
#
# Angles are radians with OpenFace's axes (x right, y down, z away from the camera) and its order
# R = Rx Ry Rz (``RotationHelpers.h``): pose_Rx + looks down, pose_Ry + turns to the image's left,
# pose_Rz + tilts clockwise in the image.

_COLUMNS = ("frame", "face_id", "timestamp", "confidence", "success")
_POSE = ("pose_Rx", "pose_Ry", "pose_Rz")


def write_openface(path: Path, timeline: Timeline) -> None:
    """Write one row for each face in each sampled frame, by time.

    ``frame`` counts the sampled frames from 1 (not the video's own frames), ``face_id`` is the
    track, ``confidence`` the detector's. The pose columns exist only if landmarks were measured.

    Raises:
        InputError: There is no video, or the file cannot be written.
    """
    faces = timeline.faces
    if faces is None:
        raise InputError(
            Text(
                f"{timeline.media.name}: no video, so there is nothing to write for OpenFace",
                f"{timeline.media.name}: 영상이 없어 OpenFace 형식으로 쓸 내용이 없습니다",
            )
        )
    columns = (*_COLUMNS, *_POSE) if faces.has_landmarks else _COLUMNS
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(row[: len(columns)] for row in _rows(faces))


def openface_angles(rotation: NDArray[np.floating]) -> Floats:
    """Rx, Ry, Rz of rotations with R = Rx Ry Rz.

    Args:
        rotation: (..., 3, 3) camera from head, axes x right, y down, z away from the camera.

    Returns:
        (..., 3) radians; NaN where the rotation is.
    """
    r = np.asarray(rotation, np.float64)
    about_x = np.arctan2(-r[..., 1, 2], r[..., 2, 2])
    about_y = np.arcsin(np.clip(r[..., 0, 2], -1.0, 1.0))
    about_z = np.arctan2(-r[..., 0, 1], r[..., 0, 0])
    return np.stack([about_x, about_y, about_z], axis=-1)


def _rows(faces: FaceStream) -> Iterator[tuple[object, ...]]:
    seen: dict[int, list[tuple[object, ...]]] = {}
    for track in faces.tracks:
        # A track's times are among the sampled times; nearest guards against rounding.
        frames = np.searchsorted(faces.sample_times_s, track.times_s - SAME_SUM_S).tolist()
        angles = openface_angles(track.rotation)
        for row, frame in enumerate(frames):
            pose = ["" if np.isnan(a) else f"{a:.4f}" for a in angles[row]]
            score = f"{min(1.0, max(0.0, float(track.det_score[row]))):.3f}"
            line = (frame + 1, track.track_id, f"{track.times_s[row]:.4f}", score,
                    int(track.reasons[row] == ""), *pose)  # fmt: skip
            seen.setdefault(frame, []).append(line)
    for frame, time_s in enumerate(faces.sample_times_s):
        nobody = (frame + 1, 0, f"{time_s:.4f}", "0.000", 0, "", "", "")
        yield from sorted(seen.get(frame, [nobody]), key=lambda line: str(line[1]).zfill(6))


# --- spreadsheets: all measures, and the words beside them ---

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

    Raises:
        InputError: A file cannot be written.
    """
    schema = pa.schema([(f.name, pa.string() if f.type == _TEXT else f.type)
                        for f in TIMELINE_SCHEMA])  # fmt: skip
    with atomic_path(path) as partial, partial.open("wb") as stream:
        stream.write(_BOM.encode("utf-8"))
        with pyarrow.csv.CSVWriter(stream, schema) as writer:
            for table in row_tables(timeline):
                writer.write_table(spreadsheet_table(table.cast(schema)))
    if timeline.transcript is not None:
        write_text(path.with_name(f"{path.stem}.words.csv"), _BOM + _words(timeline.transcript))


def _words(transcript: Transcript) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_WORD_COLUMNS)
    writer.writerows(
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
        for index, utterance in enumerate(transcript.utterances)
        for word in utterance.words
    )
    return stream.getvalue()


# --- all formats besides Parquet ---

EXPORTS: dict[str, Callable[[Path, Timeline], None]] = {
    "csv": write_csv,
    "eaf": write_eaf,
    "openface": write_openface,
    "textgrid": write_textgrid,
    "vtt": write_vtt,
}
"""Name on the command line -> writer of ``(path, timeline)``."""

OF_FACES = frozenset({"openface"})
"""Exports that hold faces alone: a recording without pictures has none."""

SUFFIXES = {
    "csv": ".csv",
    "eaf": ".eaf",
    "openface": ".openface.csv",
    "textgrid": ".TextGrid",
    "vtt": ".vtt",
}
"""Name on the command line -> what its file name ends in."""
