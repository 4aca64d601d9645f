"""Reads the files of ``OUT/<stem>/``, with pyarrow only, into arrays the report can show.

Knows the columns of the contract and nothing of how they were measured. W windows, N samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nunbit.errors import InputError
from nunbit.files import read_json
from nunbit.labels import LabelSet, label_set_from_dict, load_label_set
from nunbit.streams import REASONS, VOICE_HOP_S, Flags, Floats

Document = dict[str, Any]
Key = tuple[str, str, str]
"""Modality, measure, track."""

_PIECE_ROWS = 65_536
_TEXT_COLUMNS = ("track", "scope", "modality", "measure", "unit", "mask_reason", "grade", "version")
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
    starts, ends, series, turns = _timeline(folder / "timeline.parquet", _target_tracks(summary))
    known = set(REASONS)
    extra = {str(r) for s in series.values() for r in np.unique(s.reasons)} - known
    return Recording(
        folder=folder,
        summary=summary,
        label_set=_label_set(summary),
        starts=starts,
        ends=ends,
        series=series,
        turns=turns,
        faces=_optional(folder / "frames.parquet", _faces),
        voice=_optional(folder / "voice.parquet", _voice),
        words=_optional(folder / "words.parquet", _words),
        reasons=(*REASONS, *sorted(extra)),
    )


def read_summary(folder: Path) -> Document:
    """``summary.json`` of a timeline.

    Raises:
        InputError: There is none, or it is not of a timeline.
    """
    path = folder / "summary.json"
    if not path.is_file():
        raise InputError(
            en=f"{folder}: no timeline here (no summary.json); give a folder that nunbit analyze "
            "wrote",
            ko=f"{folder}: 타임라인이 아닙니다(summary.json 없음). nunbit analyze가 만든 폴더를 "
            "주십시오",
        )
    document = read_json(path)
    if not isinstance(document, dict) or document.get("kind") != "timeline":
        raise InputError(
            en=f"{path}: not a timeline of this nunbit; analyse the recording again",
            ko=f"{path}: 이 nunbit의 타임라인이 아닙니다. 녹화를 다시 분석하십시오",
        )
    absent = [key for key in ("media", "session", "windows", "measures") if key not in document]
    if absent:
        raise InputError(
            en=f"{path}: incomplete ({', '.join(absent)} missing); analyse the recording again",
            ko=f"{path}: 불완전합니다({', '.join(absent)} 없음). 녹화를 다시 분석하십시오",
        )
    return document


def _label_set(summary: Document) -> LabelSet:
    if summary.get("label_set"):
        return label_set_from_dict(summary["label_set"], "summary.json")
    return load_label_set("aihub7")  # without a model no class is shown; the names are harmless


def person_tracks(person: Document) -> tuple[str, ...]:
    """Track ids of an entry of the summary's ``persons``, as text."""
    ids = person.get("tracks", person.get("track", ()))
    return tuple(str(i) for i in (ids if isinstance(ids, list | tuple) else (ids,)))


def _target_tracks(summary: Document) -> frozenset[str]:
    """Names under which rows of the person analysed may stand."""
    ids = {""}
    for person in summary.get("persons") or ():
        if person.get("target"):
            ids.update(person_tracks(person))
    return frozenset(ids)


def _table(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """The named columns of a Parquet file.

    Raises:
        InputError: The file is missing, damaged or lacks a column.
    """
    with _readable(path):
        names = set(pq.read_schema(path).names)
        _require(path, names, columns)
        return pq.read_table(path, columns=list(columns))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as exc:
        raise InputError(
            en=f"{path}: cannot read this Parquet file: {exc}; analyse the recording again",
            ko=f"{path}: Parquet 파일을 읽을 수 없습니다: {exc}. 녹화를 다시 분석하십시오",
        ) from exc


def _require(path: Path, names: set[str], columns: tuple[str, ...]) -> None:
    absent = [c for c in columns if c not in names]
    if absent:
        raise InputError(
            en=f"{path}: columns missing: {', '.join(absent)}; analyse the recording again",
            ko=f"{path}: 열이 없습니다: {', '.join(absent)}. 녹화를 다시 분석하십시오",
        )


def _pieces(path: Path, columns: tuple[str, ...]) -> Iterator[pa.Table]:
    """The named columns, some rows at a time.

    Raises:
        InputError: The file is missing, damaged or lacks a column.
    """
    with _readable(path), pq.ParquetFile(path) as file:
        _require(path, set(file.schema_arrow.names), columns)
        for batch in file.iter_batches(_PIECE_ROWS, columns=list(columns)):
            yield pa.Table.from_batches([batch])


def _optional(path: Path, read: Any) -> Any:
    return read(path) if path.is_file() else None


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """A text column as codes and their meanings; null becomes ''."""
    plain = column
    if pa.types.is_dictionary(column.type):
        plain = column.cast(column.type.value_type)
    filled = pc.fill_null(plain.cast(pa.string()), "")
    encoded = filled.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, encoded.dictionary.to_pylist()


def _numbers(table: pa.Table, name: str) -> Floats:
    """A numeric column; null becomes NaN."""
    column = pc.fill_null(table[name].cast(pa.float64()), float("nan"))
    return np.asarray(column.to_numpy(), dtype=np.float64)


class _Growing:
    """A :class:`Series` while the file is read piece by piece."""

    def __init__(self, windows: int, unit: str, grade: str, version: str) -> None:
        self._columns = {
            name: np.full(windows, np.nan) for name in ("value", "ci_low", "ci_high", "used")
        }
        self._reasons = np.full(windows, "gap", dtype=object)  # a window without a row
        self._baseline = float("nan")
        self._unit, self._grade, self._version = unit, grade, version

    def add(self, at: NDArray[np.int64], numbers: dict[str, Floats], reasons: Any) -> None:
        """Take rows of windows ``at``."""
        for name in ("value", "ci_low", "ci_high"):
            self._columns[name][at] = numbers[name]
        expected, used = numbers["n_expected"], np.full(len(at), np.nan)
        np.divide(numbers["n_valid"], expected, out=used, where=expected > 0)
        self._columns["used"][at] = used
        self._reasons[at] = reasons
        known = numbers["baseline"][np.isfinite(numbers["baseline"])]
        if len(known) and np.isnan(self._baseline):
            self._baseline = float(known[0])

    def series(self) -> Series:
        columns = self._columns
        return Series(
            value=columns["value"],
            low=columns["ci_low"],
            high=columns["ci_high"],
            used=columns["used"],
            reasons=self._reasons,
            unit=self._unit,
            grade=self._grade,
            baseline=self._baseline,
            version=self._version,
        )


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
                found.append(np.unique(both[scope == scopes.index(name)], axis=0))
    none = np.zeros((0, 2))
    windows = np.unique(np.concatenate([none, *spans["window"]]), axis=0)
    turns = np.unique(np.concatenate([none, *spans["turn"]]), axis=0)
    starts, first = np.unique(windows[:, 0], return_index=True)
    growing: dict[Key, _Growing] = {}
    for table in _pieces(path, (*_TEXT_COLUMNS, *_NUMBER_COLUMNS)):
        _grow(growing, table, starts)
    series: dict[Key, Series] = {}
    # The person's own rows without a track win over the same rows under the track's name.
    for key in sorted(growing, key=lambda k: k[2] != ""):
        modality, measure, track = key
        own = (modality, measure, "" if track in targets else track)
        if own not in series:
            series[own] = growing[key].series()
    return starts, windows[first, 1], series, turns


def _grow(growing: dict[Key, _Growing], table: pa.Table, starts: Floats) -> None:
    """Take the window rows of a piece of the file."""
    scope, scopes = _codes(table["scope"])
    rows = np.flatnonzero(scope == (scopes.index("window") if "window" in scopes else -1))
    if not len(rows):
        return
    numbers = {name: _numbers(table, name)[rows] for name in _NUMBER_COLUMNS}
    texts = {name: _codes(table[name]) for name in _TEXT_COLUMNS if name != "scope"}
    codes, names = texts["mask_reason"]
    reasons = np.array(names, dtype=object)[codes[rows]]
    at = np.searchsorted(starts, numbers["t_start"])
    for key, members in _groups(rows, texts):
        if key not in growing:
            one = rows[members[0]]
            kept = [texts[name][1][texts[name][0][one]] for name in ("unit", "grade", "version")]
            growing[key] = _Growing(len(starts), *kept)
        growing[key].add(
            at[members], {name: column[members] for name, column in numbers.items()},
            reasons[members],
        )  # fmt: skip


def _groups(
    rows: NDArray[np.int64], texts: dict[str, tuple[NDArray[np.int64], list[str]]]
) -> Iterator[tuple[Key, NDArray[np.int64]]]:
    """Places in ``rows`` of each modality, measure and track."""
    names = ("modality", "measure", "track")
    columns = [texts[name][0][rows] for name in names]
    combined = np.zeros(len(rows), dtype=np.int64)
    for name, column in zip(names, columns, strict=True):
        combined = combined * max(1, len(texts[name][1])) + column
    order = np.argsort(combined, kind="stable")
    breaks = np.flatnonzero(np.diff(combined[order])) + 1
    for members in np.split(order, breaks) if len(order) else []:
        first = members[0]
        key = [texts[name][1][column[first]] for name, column in zip(names, columns, strict=True)]
        yield (key[0], key[1], key[2]), members


def _faces(path: Path) -> Faces | None:
    table = _table(path, ("time", "target", "yaw", "pitch", "roll", "mouth_open"))
    if not table.num_rows:
        return None
    target = np.asarray(pc.fill_null(table["target"].cast(pa.bool_()), False).to_numpy())
    times = _numbers(table, "time")
    order = np.flatnonzero(target)
    order = order[np.argsort(times[order], kind="stable")]
    angles = [_numbers(table, name)[order] for name in ("yaw", "pitch", "roll", "mouth_open")]
    return Faces(times[order], *angles)


def _voice(path: Path) -> Voice | None:
    table = _table(path, ("time", "present", "speech", "f0_hz", "level_dbfs"))
    times = _numbers(table, "time")
    if not len(times):
        return None
    index = np.rint((times - times[0]) / VOICE_HOP_S).astype(np.int64)
    count = int(index.max()) + 1

    def flags(name: str) -> Flags:
        column = np.zeros(count, dtype=bool)
        column[index] = np.asarray(pc.fill_null(table[name].cast(pa.bool_()), False).to_numpy())
        return column

    def track(name: str) -> Floats:
        column = np.full(count, np.nan)
        column[index] = _numbers(table, name)
        return column

    return Voice(
        float(times[0]), flags("present"), flags("speech"), track("f0_hz"), track("level_dbfs")
    )


def _words(path: Path) -> Words | None:
    table = _table(
        path, ("t_start", "t_end", "text", "speaker", "confidence", "filler", "estimated",
               "utterance")
    )  # fmt: skip
    if not table.num_rows:
        return None
    start = _numbers(table, "t_start")
    order = np.argsort(start, kind="stable")

    def texts(name: str) -> tuple[str, ...]:
        column = table[name].to_pylist()
        return tuple("" if column[i] is None else str(column[i]) for i in order)

    def flags(name: str) -> Flags:
        column = pc.fill_null(table[name].cast(pa.bool_()), False).to_numpy()
        return np.asarray(column, dtype=bool)[order]

    utterance = pc.fill_null(table["utterance"].cast(pa.int64()), -1).to_numpy()
    return Words(
        start[order],
        _numbers(table, "t_end")[order],
        texts("text"),
        texts("speaker"),
        _numbers(table, "confidence")[order],
        flags("filler"),
        flags("estimated"),
        np.asarray(utterance, dtype=np.int64)[order],
    )
