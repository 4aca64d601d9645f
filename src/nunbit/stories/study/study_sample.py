"""The timelines of a study as numbers: sessions, their measures, and those of whoever asked.

Read before the labels are. The participant's measures are the rows of the person analysed; the
interviewer's come from a timeline of their own (``<session>_interviewer``, or the column
``interviewer`` of the labels), from other faces in the picture, and from words of other speakers.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from nunbit.core.messages import InputError, Text
from nunbit.core.spans import lists_by_key
from nunbit.core.streams import Floats
from nunbit.measures.definitions import definition_of
from nunbit.report.exports import TIMELINE_FILE, WORDS_FILE, read_timeline_table
from nunbit.report.summary_document import read_summary
from nunbit.report.timeline_data import target_tracks
from nunbit.runtime.files import read_parquet, sha256_file
from nunbit.runtime.progress import Progress, say
from nunbit.space.windows import WINDOWS_FILE

MODALITIES = ("face", "voice", "text", "fused")
"""In the order of tables; ``fused`` holds what is made of two of the others."""

INTERVIEWER = "_interviewer"
"""End of the name of a session whose person analysed is the interviewer."""

COVERAGE = frozenset({"face_coverage", "modalities_used"})
"""Measures of what could be read: no expression, so they belong to the controls."""

_COLUMNS = ("track", "scope", "modality", "measure", "t_start", "t_end", "value")
_WORDS = ("words_per_min", "utterances_per_min", "words_per_utterance", "word_share")
_UNREADABLE = Text("cannot read the words: {reason}", "말 표를 읽을 수 없습니다: {reason}")

Row = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class WindowRows:
    """The windows of a session.

    Attributes:
        start_s, end_s: (W,) seconds.
        names: F columns ``<modality>.<measure>``.
        values: (W, F) NaN where missing.
    """

    start_s: Floats
    end_s: Floats
    names: tuple[str, ...]
    values: Floats


@dataclass(frozen=True, eq=False)
class StudySession:
    """One timeline.

    Attributes:
        name: Of the session.
        subject: The person's code, '' where none was given.
        duration_s: Length, seconds.
        own: ``<modality>.<measure>`` -> session value of the person analysed.
        others: The same of other people in the recording.
        coverage: What could be read.
        windows: By window, where labels are of stretches of time; else None.
        other_windows: Of other people; None where there are none.
        aligned: Path of ``windows.npz``, where the recording was analysed with an aligned bundle.
        synthetic: Whether it was made up.
        media: sha256 of the recording, '' where it is not known.
    """

    name: str
    subject: str
    duration_s: float
    own: Row
    others: Row
    coverage: Row
    windows: WindowRows | None = None
    other_windows: WindowRows | None = None
    aligned: Path | None = None
    synthetic: bool = False
    media: str = ""


@dataclass(frozen=True, eq=False)
class Timelines:
    """All timelines of a study.

    Attributes:
        sessions: By name, sorted.
        digest: sha256 over names and contents of the tables.
        notices: What the result says of them.
    """

    sessions: Mapping[str, StudySession]
    digest: str
    notices: tuple[Text, ...] = ()

    @property
    def participants(self) -> dict[str, StudySession]:
        """Those that are not of an interviewer by their name."""
        return {n: s for n, s in self.sessions.items() if not n.endswith(INTERVIEWER)}

    def columns(self) -> dict[str, tuple[str, ...]]:
        """Modality -> measures that any participant's session has a row of."""
        names = sorted({c for s in self.participants.values() for c in s.own})
        return {
            m: found
            for m in MODALITIES
            if (found := tuple(n for n in names if n.startswith(f"{m}.")))
        }

    @property
    def synthetic(self) -> bool:
        """Whether any was made up."""
        return any(s.synthetic for s in self.sessions.values())


def read_study_timelines(
    folders: Sequence[Path], *, windows: bool, functionals: bool = False
) -> Timelines:
    """Read every timeline below the folders.

    Args:
        folders: The ``out`` of ``analyze``, or single sessions.
        windows: Whether windows are needed.
        functionals: Whether ``.sd``, ``.median`` and their like are measures, too.

    Raises:
        InputError: There is none that can be read, or two have the same name.
    """
    paths = list(_session_folders(folders))
    found: dict[str, StudySession] = {}
    damaged: list[InputError] = []
    digest = hashlib.sha256()
    with Progress(Text("reading timelines", "타임라인 읽기"), len(paths), "sessions") as bar:
        for path in paths:
            bar.advance()
            try:
                session = _read_session(path, windows, functionals)
            except (InputError, OSError, ValueError, KeyError, pa.ArrowException) as exc:
                damaged.append(_say_damaged(path, exc))
                continue
            if session.name in found:
                raise InputError(
                    Text(
                        f"{path}: a second timeline called '{session.name}'; names must differ",
                        f"{path}: '{session.name}'이라는 타임라인이 또 있습니다. 이름이 달라야 "
                        "합니다",
                    )
                )
            found[session.name] = session
            digest.update(f"{session.name}\n{sha256_file(path / TIMELINE_FILE)}\n".encode())
    if not found:
        raise damaged[0]
    notices = (*_left_out(len(damaged)), *_same_media(found))
    return Timelines(dict(sorted(found.items())), digest.hexdigest(), notices)


def _say_damaged(folder: Path, exc: Exception) -> InputError:
    """Name a timeline that cannot be read on the terminal; the result counts them."""
    why = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
    said = Text(
        f"{folder}: damaged and left out; analyse it again ({why})",
        f"{folder}: 손상되어 제외했습니다. 다시 분석하십시오({why})",
    )
    say(said)
    return exc if isinstance(exc, InputError) else InputError(said)


def _left_out(n: int) -> Iterator[Text]:
    if n:
        yield Text(
            f"{n} timelines are damaged and left out",
            f"타임라인 {n}개는 손상되어 제외했습니다",
        )


def _same_media(found: Mapping[str, StudySession]) -> Iterator[Text]:
    """Participants' timelines of one recording: named on the terminal, counted in the result."""
    first: dict[str, str] = {}
    n = 0
    for name, session in found.items():
        if not session.media or name.endswith(INTERVIEWER):
            continue
        other = first.setdefault(session.media, name)
        if other != name:
            n += 1
            say(Text("the same recording", "같은 녹화입니다").under(f"{other}, {name}"))
    if n:
        yield Text(
            f"{n} timelines are of a recording that another timeline is of; unless two people of "
            "it were analysed, it counts twice and can be trained and tested on at once",
            f"타임라인 {n}개는 다른 타임라인과 같은 녹화의 것입니다. 그 안의 두 사람을 따로 "
            "분석한 것이 아니라면 두 번 세고, 학습과 평가에 함께 쓰일 수 있습니다",
        )


def _session_folders(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if (folder / "summary.json").is_file():
            yield folder
            continue
        inside = sorted(p.parent for p in folder.glob("*/summary.json"))
        if not inside:
            raise InputError(
                Text(
                    f"{folder}: no timelines here (no */summary.json); give the `out` of `analyze`",
                    f"{folder}: 타임라인이 없습니다(*/summary.json 없음). `analyze`의 `out` "
                    "폴더를 주십시오",
                )
            )
        yield from inside


def _read_session(folder: Path, windows: bool, functionals: bool) -> StudySession:
    summary = read_summary(folder)
    table = read_timeline_table(folder, columns=_COLUMNS)
    targets = target_tracks(summary)
    columns = {name: _plain(table[name]) for name in _COLUMNS}
    named = _named(columns, functionals)
    mine = np.isin(columns["track"].astype(str), sorted(targets))
    of_session, of_window = columns["scope"] == "session", columns["scope"] == "window"
    others = _mean_by_name(columns, named, of_session & ~mine)
    words = _other_words(folder, (summary.get("speech") or {}).get("target"))
    duration = float(summary["media"]["duration_s"])
    if words is not None:
        others |= _word_row(words, 0.0, duration)
    own = _mean_by_name(columns, named, of_session & mine)
    coverage = {n: v for n, v in own.items() if n.split(".", 1)[1] in COVERAGE}
    theirs = _windows(columns, named, of_window & ~mine) if windows else None
    mine_rows = _windows(columns, named, of_window & mine) if windows else None
    if theirs is None and words is not None and mine_rows is not None:
        theirs = WindowRows(mine_rows.start_s, mine_rows.end_s, (),
                            np.zeros((len(mine_rows.start_s), 0)))  # fmt: skip
    if theirs is not None and words is not None:
        theirs = _with_words(theirs, words)
    aligned = folder / WINDOWS_FILE
    return StudySession(
        name=unicodedata.normalize("NFC", folder.name),
        subject=str(summary.get("subject") or ""),
        duration_s=duration,
        own={n: v for n, v in own.items() if n not in coverage},
        others=others,
        coverage=coverage,
        windows=mine_rows,
        other_windows=theirs,
        aligned=aligned if windows and aligned.is_file() else None,
        synthetic=bool(summary.get("synthetic")),
        media=str((summary.get("provenance") or {}).get("inputs", {}).get("media") or ""),
    )


def _plain(column: pa.ChunkedArray) -> np.ndarray:
    """A column; texts as an object array, null as ''."""
    if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type):
        return np.array([t or "" for t in column.cast(pa.string()).to_pylist()], dtype=object)
    return np.asarray(column.to_numpy(), np.float64)


def _named(columns: Mapping[str, np.ndarray], functionals: bool) -> np.ndarray:
    """(rows,) ``<modality>.<measure>``, '' for what takes no part in a study."""
    known: dict[tuple[str, str], str] = {}
    names = []
    for key in zip(columns["modality"], columns["measure"], strict=True):
        if key not in known:
            known[key] = f"{key[0]}.{key[1]}" if _takes_part(*key, functionals) else ""
        names.append(known[key])
    return np.array(names, dtype=object)


def _takes_part(modality: str, measure: str, functionals: bool) -> bool:
    if modality not in MODALITIES or ("." in measure and not functionals):
        return measure in COVERAGE
    known = definition_of(measure)
    return known is None or not known.experimental


def _mean_by_name(
    columns: Mapping[str, np.ndarray], named: np.ndarray, chosen: np.ndarray
) -> dict[str, float]:
    """Name -> mean of the rows chosen; NaN where none has a value."""
    rows = np.flatnonzero(chosen & (named != ""))
    found = lists_by_key(zip(named[rows], columns["value"][rows].tolist(), strict=True))
    return {n: _mean(values) for n, values in found.items()}


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")


def _windows(
    columns: Mapping[str, np.ndarray], named: np.ndarray, chosen: np.ndarray
) -> WindowRows | None:
    """A row a window; two tracks of the same people are averaged. None without rows."""
    rows = np.flatnonzero(chosen & (named != ""))
    if not len(rows):
        return None
    starts, at = np.unique(columns["t_start"][rows].astype(np.float64), return_inverse=True)
    ends = np.zeros(len(starts))
    np.maximum.at(ends, at, columns["t_end"][rows].astype(np.float64))
    names, which = np.unique(named[rows].astype(str), return_inverse=True)
    value = columns["value"][rows].astype(np.float64)
    there = np.isfinite(value)
    total, count = np.zeros((len(starts), len(names))), np.zeros((len(starts), len(names)))
    np.add.at(total, (at[there], which[there]), value[there])
    np.add.at(count, (at[there], which[there]), 1.0)
    with np.errstate(invalid="ignore"):
        values = total / np.where(count > 0, count, np.nan)
    kept = [i for i, n in enumerate(names) if n.split(".", 1)[1] not in COVERAGE]
    return WindowRows(starts, ends, tuple(str(names[i]) for i in kept), values[:, kept])


@dataclass(frozen=True, eq=False)
class _Words:
    """Words of a recording: times, and whether somebody else than the target said them."""

    start_s: Floats
    other: np.ndarray
    utterance: np.ndarray = field(default_factory=lambda: np.zeros(0))


def _other_words(folder: Path, target: str | None) -> _Words | None:
    """Words where speakers are told apart; None where nobody else is named."""
    path = folder / WORDS_FILE
    if target is None or not path.is_file():
        return None
    table = read_parquet(path, _UNREADABLE)
    speakers = [s or "" for s in table["speaker"].cast(pa.string()).to_pylist()]
    if not set(speakers) - {"", target}:
        return None
    other = np.array([s not in ("", target) for s in speakers])
    return _Words(table["t_start"].to_numpy(), other, table["utterance"].to_numpy())


def _word_row(words: _Words, start: float, end: float) -> dict[str, float]:
    """How much the others said in a stretch of time."""
    inside = (words.start_s >= start) & (words.start_s < end)
    said = inside & words.other
    n, minutes = int(said.sum()), max(end - start, 1e-9) / 60.0
    utterances = len(np.unique(words.utterance[said]))
    values = (n / minutes, utterances / minutes, n / max(utterances, 1),
              n / max(int(inside.sum()), 1))  # fmt: skip
    return dict(zip((f"text.{name}" for name in _WORDS), values, strict=True))


def _with_words(rows: WindowRows, words: _Words) -> WindowRows:
    found = [_word_row(words, a, b) for a, b in zip(rows.start_s, rows.end_s, strict=True)]
    added = np.array([list(each.values()) for each in found]).reshape(len(found), len(_WORDS))
    names = (*rows.names, *(f"text.{name}" for name in _WORDS))
    return WindowRows(rows.start_s, rows.end_s, names, np.hstack([rows.values, added]))


def over_stretch(rows: WindowRows, names: Sequence[str], start: float, end: float) -> Floats:
    """(F,) mean of the windows that overlap a stretch, by how much they do; NaN without any."""
    shared = np.minimum(rows.end_s, end) - np.maximum(rows.start_s, start)
    inside = np.flatnonzero(shared > 0)
    found = np.full(len(names), np.nan)
    place = {name: i for i, name in enumerate(rows.names)}
    here = [(i, place[name]) for i, name in enumerate(names) if name in place]
    if not len(inside) or not here:
        return found
    values = rows.values[np.ix_(inside, np.array([j for _, j in here]))]
    weight = np.where(np.isfinite(values), shared[inside][:, None], 0.0)
    with np.errstate(invalid="ignore"):
        mean = (weight * np.nan_to_num(values)).sum(axis=0) / weight.sum(axis=0)
    found[np.array([i for i, _ in here])] = mean
    return found
