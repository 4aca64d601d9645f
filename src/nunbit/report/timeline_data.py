"""Read the files of ``OUT/<stem>/``, with pyarrow only, into arrays for the report.

Knows the columns of the tables, but not how they were measured. W windows, N samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nunbit.core.messages import Text
from nunbit.core.streams import REASONS, VOICE_HOP_S, Flags, Floats
from nunbit.language.labels import LabelSet, label_set_from_dict, load_label_set
from nunbit.report.exports import FRAMES_FILE, TIMELINE_FILE, VOICE_FILE, WORDS_FILE
from nunbit.report.shapes import Document
from nunbit.report.summary_document import again, read_summary
from nunbit.runtime.files import read_parquet
from nunbit.statistics.scores import ratio

Key = tuple[str, str, str]
"""Modality, measure, track."""

_PIECE_ROWS = 65_536
_KEY = ("modality", "measure", "track")
_TEXT_COLUMNS = (*_KEY, "scope", "unit", "mask_reason", "grade", "version")
_SHOWN = ("t_start", "t_end", "value")
_NUMBER_COLUMNS = ("t_start", "t_end", "value", "ci_low", "ci_high", "baseline", "n_expected",
                   "n_valid")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Series:
    """One measure over the windows.

    Attributes:
        value: (W,) NaN where missing.
        low: (W,) lower end of its interval, NaN where there is none.
        high: (W,) upper end.
        used: (W,) share of the expected samples that were used, 0 to 1, NaN if none were expected.
        reasons: (W,) of str: why a value is missing; '' where it is there.
        unit: Of ``value``.
        grade: A to C, or ''.
        baseline: The person's own, NaN where there is none.
        version: Of the definition.
    """

    value: Floats
    low: Floats
    high: Floats
    used: Floats
    reasons: NDArray[np.object_]
    unit: str
    grade: str
    baseline: float
    version: str = "1"

    @property
    def there(self) -> Flags:
        """(W,) where there is a value."""
        return np.isfinite(self.value)


@dataclass(frozen=True, eq=False)
class Faces:
    """Sampled frames of the person analysed: (N,) each, NaN without landmarks."""

    times_s: Floats
    yaw_deg: Floats
    pitch_deg: Floats
    roll_deg: Floats
    mouth_open: Floats


@dataclass(frozen=True, eq=False)
class Voice:
    """The 10 ms grid of ``voice.parquet``, made regular; sample i is at ``start_s + i * hop``.

    Attributes:
        start_s: Time of the first sample.
        present: (M,) whether the file has sound there.
        speech: (M,) whether somebody speaks.
        f0_hz: (M,) NaN where unvoiced.
        level_dbfs: (M,) NaN where absent.
    """

    start_s: float
    present: Flags
    speech: Flags
    f0_hz: Floats
    level_dbfs: Floats
    hop_s: float = VOICE_HOP_S


@dataclass(frozen=True, eq=False)
class Words:
    """The rows of ``words.parquet``, sorted by start."""

    start_s: Floats
    end_s: Floats
    text: tuple[str, ...]
    speaker: tuple[str, ...]
    confidence: Floats
    filler: Flags
    estimated: Flags
    utterance: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Recording:
    """Everything the report reads.

    Attributes:
        folder: Where it was read from.
        summary: ``summary.json``.
        label_set: The classes.
        starts: (W,) window starts, seconds.
        ends: (W,) window ends.
        series: Window measures by modality, measure and track ('' for the person analysed).
        turns: (T, 2) starts and ends of the turns that have rows.
        faces: None without ``frames.parquet``.
        voice: None without ``voice.parquet``.
        words: None without ``words.parquet``.
    """

    folder: Path
    summary: Document
    label_set: LabelSet
    starts: Floats
    ends: Floats
    series: dict[Key, Series]
    turns: Floats
    faces: Faces | None
    voice: Voice | None
    words: Words | None
    reasons: tuple[str, ...] = field(default=REASONS)

    @property
    def duration_s(self) -> float:
        """Length of the recording, seconds."""
        return float(self.summary["media"]["duration_s"])

    @property
    def hop_s(self) -> float:
        """Step between windows."""
        return float(self.summary["windows"]["hop_s"])

    @property
    def unvalidated(self) -> tuple[str, ...]:
        """Classes that the bundle knows by prompt only."""
        return tuple(self.summary.get("unvalidated") or ())

    def find(self, modality: str, measure: str, track: str = "") -> Series | None:
        """A window measure, or None where there is none with any value."""
        series = self.series.get((modality, measure, track))
        return series if series is not None and series.there.any() else None

    def tracks(self, modality: str) -> tuple[str, ...]:
        """Tracks with rows of a modality, the person analysed ('') first."""
        return tuple(sorted({track for m, _, track in self.series if m == modality}))


def read_recording(folder: Path) -> Recording:
    """Read a folder that ``nunbit analyze`` wrote.

    Raises:
        InputError: There is no timeline here, or a file is damaged or of another format.
    """
    summary = read_summary(folder)
    starts, ends, series, turns = _timeline(folder / TIMELINE_FILE, target_tracks(summary))
    extra = {r for s in series.values() for r in set(s.reasons.tolist())}.difference(REASONS)
    return Recording(
        folder=folder,
        summary=summary,
        label_set=_label_set(summary),
        starts=starts,
        ends=ends,
        series=series,
        turns=turns,
        faces=_faces(folder / FRAMES_FILE),
        voice=_voice(folder / VOICE_FILE),
        words=_words(folder / WORDS_FILE),
        reasons=(*REASONS, *sorted(extra)),
    )


def read_glance(folder: Path, *, more: tuple[str, ...] = (), reasons: bool = False) -> Recording:
    """Summary and class probabilities, no more: two hours are read in a tenth of the time.

    Args:
        folder: What ``nunbit analyze`` wrote.
        more: Further window measures.
        reasons: Read also why a value is missing; otherwise every gap is called one.

    Raises:
        InputError: As :func:`read_recording`.
    """
    labels = _label_set(summary := read_summary(folder))
    wanted, path = [f"p_{label}" for label in labels.ids], folder / TIMELINE_FILE
    only = {"scope": ["window"], "measure": [*wanted, "modalities_used", *more]}
    names = [*_KEY, *_SHOWN, *(["mask_reason"] if reasons else [])]
    table = read_parquet(path, _UNREADABLE, columns=names, where=only)
    if absent := ", ".join(set(names).difference(table.column_names)):
        raise again(path, f"columns missing: {absent}", f"열이 없습니다: {absent}")
    both = np.stack([_numbers(table, "t_start"), _numbers(table, "t_end")], axis=1)
    starts, first = np.unique(both[:, 0], return_index=True)
    series = _values_alone(table, starts, target_tracks(summary))
    return Recording(folder, summary, labels, starts, both[first, 1], series, np.empty((0, 2)),
                     faces=None, voice=None, words=None, reasons=REASONS)  # fmt: skip


_UNREADABLE = Text(
    "cannot read this timeline: {reason}; remove its folder and analyse again",
    "타임라인을 읽을 수 없습니다: {reason}. 폴더를 지우고 다시 분석하십시오",
)


def _label_set(summary: Document) -> LabelSet:
    if summary.get("label_set"):
        return label_set_from_dict(summary["label_set"], "summary.json")
    return load_label_set("aihub7")  # without a model no class is shown; the names are harmless


def person_tracks(person: Document) -> tuple[str, ...]:
    """Track ids of an entry of the summary's ``persons``, as text."""
    ids = person.get("tracks", person.get("track", ()))
    return tuple(str(i) for i in (ids if isinstance(ids, list | tuple) else (ids,)))


def target_tracks(summary: Mapping[str, Any]) -> frozenset[str]:
    """Track names that rows of the person analysed can have."""
    people = summary.get("persons") or ()
    return frozenset({"", *(t for p in people if p.get("target") for t in person_tracks(p))})


def _pieces(path: Path, columns: tuple[str, ...]) -> Iterator[pa.Table]:
    """The named columns, some rows at a time.

    Raises:
        InputError: The file is missing, damaged or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            if absent := ", ".join(c for c in columns if c not in file.schema_arrow.names):
                raise again(path, f"columns missing: {absent}", f"열이 없습니다: {absent}")
            for batch in file.iter_batches(_PIECE_ROWS, columns=list(columns)):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowInvalid) as exc:
        raise again(
            path,
            f"cannot read this Parquet file: {exc}",
            f"Parquet 파일을 읽을 수 없습니다: {exc}",
        ) from exc


def _table(path: Path, columns: tuple[str, ...]) -> pa.Table | None:
    """The named columns of a Parquet file; None without a file or without rows."""
    pieces = list(_pieces(path, columns)) if path.is_file() else []
    return pa.concat_tables(pieces).unify_dictionaries() if pieces else None


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """A text column as codes and their meanings; null becomes ''."""
    if not len(column):
        return np.zeros(0, np.int64), []
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    # Codes are renumbered as they come: spelling every text out would take ten times as long.
    whole = column.unify_dictionaries().combine_chunks()
    texts = [text or "" for text in whole.dictionary.to_pylist()]
    texts = texts if "" in texts else [*texts, ""]
    found = pc.fill_null(whole.indices, texts.index("")).dictionary_encode()
    meanings = [texts[code] for code in found.dictionary.to_pylist()]
    return found.indices.to_numpy(zero_copy_only=False).astype(np.int64), meanings


def _numbers(table: pa.Table, name: str) -> Floats:
    """A numeric column; null becomes NaN."""
    column = pc.fill_null(table[name].cast(pa.float64()), float("nan"))
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _flags(table: pa.Table, name: str) -> Flags:
    """A column of truth values; null becomes False."""
    return np.asarray(pc.fill_null(table[name].cast(pa.bool_()), False).to_numpy(), dtype=bool)


def _no_rows(windows: int, unit: str, grade: str, version: str) -> Series:
    """A series before the first piece of the file was read: a window without a row is a gap."""
    value, low, high, used = np.full((4, windows), np.nan)
    reasons = np.full(windows, "gap", dtype=object)
    return Series(value, low, high, used, reasons, unit, grade, float("nan"), version)


def _with_rows(
    series: Series, at: NDArray[np.int64], numbers: dict[str, Floats], reasons: Any
) -> Series:
    """A series with the rows of windows ``at`` written into its arrays."""
    series.value[at], series.reasons[at] = numbers["value"], reasons
    series.low[at], series.high[at] = numbers["ci_low"], numbers["ci_high"]
    series.used[at] = ratio(numbers["n_valid"], numbers["n_expected"])
    known = numbers["baseline"][np.isfinite(numbers["baseline"])]
    if np.isfinite(series.baseline) or not len(known):
        return series
    return replace(series, baseline=float(known[0]))


def _timeline(
    path: Path, targets: frozenset[str]
) -> tuple[Floats, Floats, dict[Key, Series], Floats]:
    """Windows and turns; the file is read in pieces: whole, two hours would take 300 MB."""
    spans: dict[str, list[Floats]] = {"window": [], "turn": []}
    for table in _pieces(path, ("scope", "t_start", "t_end")):
        scope, scopes = _codes(table["scope"])
        both = np.stack([_numbers(table, "t_start"), _numbers(table, "t_end")], axis=1)
        for name, found in spans.items():
            if name in scopes:
                found.append(_distinct(both[scope == scopes.index(name)]))
    windows, turns = (_distinct(np.concatenate([np.zeros((0, 2)), *s])) for s in spans.values())
    starts, first = np.unique(windows[:, 0], return_index=True)
    growing: dict[Key, Series] = {}
    for table in _pieces(path, (*_TEXT_COLUMNS, *_NUMBER_COLUMNS)):
        _grow(growing, table, starts)
    series: dict[Key, Series] = {}
    # The person's own rows without a track win over the same rows under the track's name.
    for modality, measure, track in sorted(growing, key=lambda key: key[2] != ""):
        own = (modality, measure, "" if track in targets else track)
        series.setdefault(own, growing[modality, measure, track])
    return starts, windows[first, 1], series, turns


def _distinct(edges: Floats) -> Floats:
    """The different rows of (n, 2) edges, sorted."""
    # As complex numbers: numpy sorts whole rows ten times as slowly.
    pairs = np.unique(np.ascontiguousarray(edges).view(np.complex128))
    return pairs.view(np.float64).reshape(-1, 2)


def _grow(growing: dict[Key, Series], table: pa.Table, starts: Floats) -> None:
    """Take the window rows of a piece of the file."""
    scope, scopes = _codes(table["scope"])
    rows = np.flatnonzero(scope == (scopes.index("window") if "window" in scopes else -1))
    numbers = {name: _numbers(table, name)[rows] for name in _NUMBER_COLUMNS}
    texts = {name: _codes(table[name]) for name in _TEXT_COLUMNS if name != "scope"}
    codes, names = texts["mask_reason"]
    reasons = np.array(names, dtype=object)[codes[rows]]
    at = np.searchsorted(starts, numbers["t_start"])
    for members in _groups(rows, texts):
        first = rows[members[0]]
        said = {name: known[codes[first]] for name, (codes, known) in texts.items()}
        key = (said["modality"], said["measure"], said["track"])
        if key not in growing:
            growing[key] = _no_rows(len(starts), said["unit"], said["grade"], said["version"])
        own = {name: column[members] for name, column in numbers.items()}
        growing[key] = _with_rows(growing[key], at[members], own, reasons[members])


def _values_alone(table: pa.Table, starts: Floats, targets: frozenset[str]) -> dict[Key, Series]:
    """Window rows of the person analysed, their values and nothing else; rows without track win."""
    texts = {name: _codes(table[name]) for name in _KEY}
    at, value = np.searchsorted(starts, _numbers(table, "t_start")), _numbers(table, "value")
    why = None
    if "mask_reason" in table.column_names:
        codes, known = _codes(table["mask_reason"])
        why = np.array(known, dtype=object)[codes]
    found: dict[Key, Series] = {}
    for members in _groups(np.arange(table.num_rows), texts):
        modality, measure, track = (texts[n][1][texts[n][0][members[0]]] for n in _KEY)
        if track in targets and not (track and (modality, measure, "") in found):
            found[modality, measure, ""] = _no_rows(len(starts), "", "", "")
            found[modality, measure, ""].value[at[members]] = value[members]
            if why is not None:
                found[modality, measure, ""].reasons[at[members]] = why[members]
    return found


def _groups(
    rows: NDArray[np.int64], texts: dict[str, tuple[NDArray[np.int64], list[str]]]
) -> list[NDArray[np.int64]]:
    """Places in ``rows`` of each modality, measure and track."""
    combined = np.zeros(len(rows), dtype=np.int64)
    for codes, known in (texts[name] for name in _KEY):
        combined = combined * max(1, len(known)) + codes[rows]
    order = np.argsort(combined, kind="stable")
    breaks = np.flatnonzero(np.diff(combined[order])) + 1
    return np.split(order, breaks) if len(order) else []


def _faces(path: Path) -> Faces | None:
    table = _table(path, ("time", "target", "yaw", "pitch", "roll", "mouth_open"))
    if table is None:
        return None
    times = _numbers(table, "time")
    order = np.flatnonzero(_flags(table, "target"))
    order = order[np.argsort(times[order], kind="stable")]
    angles = [_numbers(table, name)[order] for name in ("yaw", "pitch", "roll", "mouth_open")]
    return Faces(times[order], *angles)


def _voice(path: Path) -> Voice | None:
    table = _table(path, ("time", "present", "speech", "f0_hz", "level_dbfs"))
    if table is None:
        return None
    times = _numbers(table, "time")
    index = np.rint((times - times[0]) / VOICE_HOP_S).astype(np.int64)
    present, speech = np.zeros((2, int(index.max()) + 1), dtype=bool)
    f0_hz, level_dbfs = np.full((2, len(present)), np.nan)
    present[index], speech[index] = _flags(table, "present"), _flags(table, "speech")
    f0_hz[index], level_dbfs[index] = _numbers(table, "f0_hz"), _numbers(table, "level_dbfs")
    return Voice(float(times[0]), present, speech, f0_hz, level_dbfs)


def _words(path: Path) -> Words | None:
    columns = ("t_start", "t_end", "text", "speaker", "confidence", "filler", "estimated",
               "utterance")  # fmt: skip
    table = _table(path, columns)
    if table is None:
        return None
    table = table.take(np.argsort(_numbers(table, "t_start"), kind="stable"))

    def texts(name: str) -> tuple[str, ...]:
        return tuple("" if text is None else str(text) for text in table[name].to_pylist())

    utterance = pc.fill_null(table["utterance"].cast(pa.int64()), -1).to_numpy()
    return Words(
        _numbers(table, "t_start"),
        _numbers(table, "t_end"),
        texts("text"),
        texts("speaker"),
        _numbers(table, "confidence"),
        _flags(table, "filler"),
        _flags(table, "estimated"),
        np.asarray(utterance, dtype=np.int64),
    )
