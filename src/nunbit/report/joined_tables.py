"""Tables over all recordings of a folder: a row a recording, a row a window, a row an episode.

``sessions_wide.csv``, ``windows_wide.csv``, ``episodes.csv`` and ``sessions.parquet`` are made of
the folders that are there, so that they always tell of these and of no others. Names of columns are
English and the same in every language: ``<modality>.<measure>``, as in ``TimelineResult.windows``.
Only the person analysed is in them; ``timeline.parquet`` has everybody. ``docs/tables.md`` defines
every column.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nunbit.core.messages import InputError, Lang, Text
from nunbit.core.streams import MODALITIES, Floats
from nunbit.language.labels import label_set_names, load_label_set
from nunbit.measures.definitions import definitions
from nunbit.report.exports import TIMELINE_FILE, TIMELINE_SCHEMA, read_timeline_table
from nunbit.report.summary_document import read_summary
from nunbit.report.timeline_data import target_tracks
from nunbit.report.timeline_page import INDEX, no_recordings, render_sessions
from nunbit.runtime.files import atomic_path, from_spreadsheet_text
from nunbit.runtime.progress import say
from nunbit.runtime.results import decoded, spreadsheet_table

LONG_FILE, SESSIONS_FILE = "sessions.parquet", "sessions_wide.csv"
WINDOWS_FILE, EPISODES_FILE = "windows_wide.csv", "episodes.csv"
FILES = (LONG_FILE, SESSIONS_FILE, WINDOWS_FILE, EPISODES_FILE)

WHO = ("recording", "person", "session", "group")
"""First columns of every table; then come the user's own columns."""

OF_SESSION = ("file", "duration_s", "n_windows", "synthetic", "model", "nunbit")
OF_WINDOW = ("window", "t_start", "t_end")
OF_EPISODE = ("kind", "t_start", "t_end", "duration_s", "peak", "note")
LOW, HIGH, WHY = ".low", ".high", ".why"
"""Endings of the columns with a 95% interval, and with the reason why a value is missing."""

_BOM = "\ufeff"  # as all CSV files of nunbit: Excel takes UTF-8 for something else without it
_SOURCES = (*MODALITIES, "fused", "media")


@dataclass(frozen=True, eq=False)
class Joined:
    """The recordings of a folder.

    Attributes:
        folders: Of those that can be read, by name.
        summaries: Their ``summary.json``.
        own: The user's own columns, in order.
    """

    folders: tuple[Path, ...]
    summaries: tuple[Mapping[str, Any], ...]
    own: tuple[str, ...]

    def who(self, n: int) -> dict[str, str]:
        """Whose recording the n-th is; own columns that would hide another begin with ``x_``."""
        summary, folder = self.summaries[n], self.folders[n]
        about = dict(summary.get("about") or {})
        return {
            "recording": folder.name,
            "person": str(summary.get("subject") or ""),
            "session": about.get("session") or folder.name,
            "group": about.get("group") or "",
            **{own_column(name): about.get(name, "") for name in self.own},
        }


def own_column(name: str) -> str:
    """The name of a column of the user's in the tables."""
    taken = {*WHO, *OF_SESSION, *OF_WINDOW, *OF_EPISODE}
    return f"x_{name}" if name in taken or "." in name else name


def find_recordings(out: Path) -> Joined:
    """The recordings in the folders below ``out``; one that is damaged is named and left out."""
    folders, summaries = [], []
    own: dict[str, None] = {}
    for folder in sorted(path.parent for path in out.glob("*/summary.json")):
        try:
            summary = read_summary(folder)
            columns = pq.read_schema(folder / TIMELINE_FILE).names
            if absent := [name for name in TIMELINE_SCHEMA.names if name not in columns]:
                raise ValueError(f"{TIMELINE_FILE}: {absent}")
        except (InputError, OSError, ValueError, pa.ArrowException) as exc:
            say(
                Text(
                    f"{folder.name}: damaged, not in the tables of all recordings; analyse it again"
                    f" ({str(exc).splitlines()[0]})",
                    f"{folder.name}: 손상되어 전체 표에 넣지 않았습니다. 다시 분석하십시오"
                    f"({str(exc).splitlines()[0]})",
                )
            )
            continue
        folders.append(folder)
        summaries.append(summary)
        own |= dict.fromkeys(dict(summary.get("about") or {}))
    names = tuple(name for name in own if name not in ("session", "group"))
    return Joined(tuple(folders), tuple(summaries), names)


def write_joined(out: Path, *, lang: Lang) -> tuple[Path, ...]:
    """Write all tables of the recordings below ``out``, and ``index.html`` where there are several.

    Returns:
        The files written.

    Raises:
        InputError: There is no recording, or a file cannot be written.
    """
    found = find_recordings(out)
    if not found.folders:
        raise no_recordings(out)
    for notice in _twice(found):
        say(notice)
    long = [_session_rows(folder) for folder in found.folders]
    with atomic_path(out / LONG_FILE) as partial:
        joined = pa.concat_tables(long, promote_options="permissive")
        pq.write_table(joined, partial, compression="zstd")
    _write_csv(out / SESSIONS_FILE, sessions_table(found, long))
    _write_csv(out / EPISODES_FILE, episodes_table(found))
    _write_windows(out / WINDOWS_FILE, found)
    written = [out / name for name in FILES]
    if len(found.folders) > 1 or (out / INDEX).is_file():
        written.append(render_sessions(out, lang=lang))
    return tuple(written)


def _twice(found: Joined) -> Iterator[Text]:
    """What to say of folders with the same recording: both are counted."""
    seen: dict[str, str] = {}
    for folder, summary in zip(found.folders, found.summaries, strict=True):
        digest = summary.get("provenance", {}).get("inputs", {}).get("media")
        first = seen.setdefault(digest, folder.name) if digest else folder.name
        if first != folder.name:
            yield Text(
                f"{first}, {folder.name}: the same recording in two folders counts twice in the "
                "tables; unless two people of it are analysed, delete one of the folders and run "
                "the same line again",
                f"{first}, {folder.name}: 같은 녹화가 두 폴더에 있어 표에서 두 번 셉니다. 그 안의 "
                "두 사람을 따로 분석한 것이 아니라면 폴더 하나를 지우고 다시 실행하십시오",
            )


def keep_current(out: Path, *, lang: Lang) -> tuple[str, ...]:
    """Write the tables anew where folders were deleted, moved or added by hand since.

    A folder without tables gets none. Whatever hinders it is said and is no error: who reads one
    recording needs no tables.

    Returns:
        Names of the recordings that the tables told of, or lacked.
    """
    path = out / SESSIONS_FILE
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8-sig", newline="") as stream:
        told = {from_spreadsheet_text(row[0]) for row in csv.reader(stream) if row} - {WHO[0]}
    there = {each.parent.name for each in out.glob("*/summary.json")}
    changed = tuple(sorted(told ^ there))
    if not told - there and not any(_can_be_read(out / name) for name in there - told):
        return ()
    names = ", ".join(changed[:5]) + (" …" if len(changed) > 5 else "")
    try:
        write_joined(out, lang=lang)
    except InputError as exc:
        say(
            Text(
                f"{out}: the tables of all recordings are out of date ({names}): {exc.text.en}",
                f"{out}: 전체 표가 지금의 폴더와 다릅니다({names}): {exc.text.ko}",
            )
        )
    else:
        say(
            Text(
                f"{out}: folders had changed ({names}): the tables of all recordings were written "
                "anew",
                f"{out}: 폴더가 바뀌어({names}) 전체 표를 새로 썼습니다",
            )
        )
    return changed


def _can_be_read(folder: Path) -> bool:
    try:
        return bool(read_summary(folder)) and (folder / TIMELINE_FILE).is_file()
    except InputError:
        return False


def _session_rows(folder: Path) -> pa.Table:
    return read_timeline_table(folder, scope="session")


# --- a row a recording ---


def sessions_table(found: Joined, long: Sequence[pa.Table] | None = None) -> pa.Table:
    """A row a recording: who, values of every measure, then intervals, then reasons.

    A measure always brings its columns, empty or not, so that a script which names one goes on
    working: ``.low`` and ``.high`` (of functionals only where there are any), and ``.why``.

    Args:
        found: The recordings.
        long: Their rows of scope ``session``; None reads them.
    """
    tables = map(_session_rows, found.folders) if long is None else long
    rows = [
        _own_rows(table, target_tracks(summary))
        for table, summary in zip(tables, found.summaries, strict=True)
    ]
    names = in_order({name for row in rows for name in row})
    columns: dict[str, Any] = _text_columns(found)
    columns |= {name: [_fact(s, name) for s in found.summaries] for name in OF_SESSION}
    for place in range(3):  # the values together, where people look for them
        ending = ("", LOW, HIGH)[place]
        for name in names:
            values = [row[name][place] if name in row else math.nan for row in rows]
            # A functional (``.sd``, ``.median``) has an interval in no version so far.
            if not ending or name.count(".") == 1 or np.isfinite(values).any():
                columns[name + ending] = pa.array(values, pa.float64())
    columns |= {
        name + WHY: [row[name][3] if name in row else "not_measured" for row in rows]
        for name in names
    }
    return pa.table(columns)


def _own_rows(
    table: pa.Table, targets: frozenset[str]
) -> dict[str, tuple[float, float, float, str]]:
    """Column -> value, interval and reason of the person analysed."""
    found: dict[str, tuple[float, float, float, str]] = {}
    sure = set()
    names = ("track", "modality", "measure", "value", "ci_low", "ci_high", "mask_reason")
    for track, modality, measure, value, low, high, reason in zip(
        *(table[name].to_pylist() for name in names), strict=True
    ):
        name = f"{modality}.{measure}"
        # The person's rows without a track win over the same rows under the track's name.
        if name in sure or (track and track not in targets):
            continue
        if not track:
            sure.add(name)
        found[name] = (value, low, high, reason or "")
    return found


def _fact(summary: Mapping[str, Any], name: str) -> str | float | int:
    media = summary["media"]
    facts: dict[str, str | float | int] = {
        "file": str(media["name"]),
        "duration_s": float(media["duration_s"]),
        "n_windows": int(summary["windows"].get("n", 0)),
        "synthetic": int(bool(summary.get("synthetic"))),
        "model": str((summary.get("bundle") or {}).get("name") or ""),
        "nunbit": str((summary.get("provenance") or {}).get("nunbit") or ""),
    }
    return facts[name]


def _text_columns(found: Joined) -> dict[str, Any]:
    who = [found.who(n) for n in range(len(found.folders))]
    names = who[0] if who else dict.fromkeys(WHO)
    return {name: pa.array([each[name] or None for each in who], pa.string()) for name in names}


def in_order(names: Iterable[str]) -> list[str]:
    """Columns of measures: by source, class probabilities first, then as `nunbit measures` lists.

    The order does not depend on which recordings there are.
    """
    labels = dict.fromkeys(x for name in label_set_names() for x in load_label_set(name).ids)
    place = {f"p_{label}": n for n, label in enumerate(labels)} | {
        d.id: 1000 + n for n, d in enumerate(definitions())
    }

    def key(name: str) -> tuple[int, int, str]:
        modality, _, measure = name.partition(".")
        base = measure.split(".")[0]
        while base not in place and "_" in base:
            base = base.rpartition("_")[0]
        source = _SOURCES.index(modality) if modality in _SOURCES else len(_SOURCES)
        return source, place.get(base, 10_000), measure

    return sorted(names, key=key)


# --- a row an episode ---


def episodes_table(found: Joined) -> pa.Table:
    """A row an episode, by recording and start; ``note`` is what ``summary.json`` has."""
    rows = [
        found.who(n)
        | {
            "kind": e["kind"],
            "t_start": e["start"],
            "t_end": e["end"],
            "duration_s": e["end"] - e["start"],
            "peak": e.get("peak"),
            "note": e.get("note") or "",
        }
        for n, summary in enumerate(found.summaries)
        for e in sorted(summary.get("episodes") or (), key=lambda e: (e["start"], e["end"]))
    ]
    numbers = ("t_start", "t_end", "duration_s", "peak")
    names = [*(found.who(0) if found.folders else WHO), *OF_EPISODE]
    schema = pa.schema([(x, pa.float64() if x in numbers else pa.string()) for x in names])
    rows = [{name: row[name] if row[name] != "" else None for name in names} for row in rows]
    return pa.Table.from_pylist(rows, schema)


# --- a row a window ---


@dataclass(frozen=True, eq=False)
class _Windows:
    """The window rows of the person analysed, as numbers.

    Attributes:
        names: ``<modality>.<measure>``.
        starts: (W,) seconds.
        ends: (W,) seconds.
        values: (W, C) NaN where missing.
        reasons: (W, C) codes into ``words``; 0 = valid.
        words: Reasons; the first is ''.
    """

    names: tuple[str, ...]
    starts: Floats
    ends: Floats
    values: Floats
    reasons: NDArray[np.int64]
    words: tuple[str, ...]


def windows_tables(found: Joined) -> Iterator[pa.Table]:
    """A row a window, one table a recording, all with the same columns.

    ``<modality>.why`` is the reason that most of the missing values of the modality have, among
    measures that have a value somewhere in the recording.
    """
    names = in_order({name for folder in found.folders for name in _window_names(folder)})
    sources = list(dict.fromkeys(name.partition(".")[0] for name in names))
    for n, (folder, summary) in enumerate(zip(found.folders, found.summaries, strict=True)):
        own = _windows(folder, target_tracks(summary))
        count, at = len(own.starts), {name: k for k, name in enumerate(own.names)}
        nothing = np.full(count, np.nan)
        columns: dict[str, Any] = {
            name: pa.array([text or None] * count, pa.string())
            for name, text in found.who(n).items()
        }
        columns |= {"window": np.arange(count), "t_start": own.starts, "t_end": own.ends}
        columns |= {name: own.values[:, at[name]] if name in at else nothing for name in names}
        columns |= {x + WHY: pa.array(_main_reasons(own, x), pa.string()) for x in sources}
        yield pa.table(columns)


def _window_names(folder: Path) -> set[str]:
    table = read_timeline_table(folder, columns=["scope", "modality", "measure"], scope="window")
    pairs = _codes(table["modality"])[0] * 100_000 + _codes(table["measure"])[0]
    modalities, measures = _codes(table["modality"])[1], _codes(table["measure"])[1]
    return {f"{modalities[p // 100_000]}.{measures[p % 100_000]}" for p in np.unique(pairs)}


def _windows(folder: Path, targets: frozenset[str]) -> _Windows:
    names = ["track", "scope", "modality", "measure", "t_start", "t_end", "value", "mask_reason"]
    table = read_timeline_table(folder, columns=names, scope="window")
    tracks, track_names = _codes(table["track"])
    modality, modalities = _codes(table["modality"])
    measure, measures = _codes(table["measure"])
    reason, reasons = _codes(table["mask_reason"])
    t_start, t_end, value = (table[n].to_numpy() for n in ("t_start", "t_end", "value"))
    starts, first = np.unique(t_start, return_index=True)
    pairs, column = np.unique(modality * len(measures) + measure, return_inverse=True)
    row = np.searchsorted(starts, t_start)
    values = np.full((len(starts), len(pairs)), np.nan)
    codes = np.zeros((len(starts), len(pairs)), np.int64)
    own = np.array([not name for name in track_names], bool)
    theirs = np.array([name in targets for name in track_names], bool)
    words = ["", *(word or "unknown" for word in reasons)]
    for wanted in (theirs & ~own, own):  # rows without a track win
        rows = wanted[tracks]
        values[row[rows], column[rows]] = value[rows]
        codes[row[rows], column[rows]] = np.where(~np.isfinite(value[rows]), reason[rows] + 1, 0)
    called = tuple(f"{modalities[p // len(measures)]}.{measures[p % len(measures)]}" for p in pairs)
    return _Windows(called, starts, t_end[first], values, codes, tuple(words))


def _main_reasons(own: _Windows, source: str) -> list[str | None]:
    mine = [k for k, name in enumerate(own.names) if name.startswith(source + ".")]
    there = [k for k in mine if np.isfinite(own.values[:, k]).any()]
    codes = own.reasons[:, there or mine]
    counts = np.stack([(codes == k).sum(axis=1) for k in range(1, len(own.words))], axis=1) if (
        len(own.words) > 1
    ) else np.zeros((len(codes), 1), np.int64)  # fmt: skip
    most = zip(counts.argmax(axis=1), counts.max(axis=1, initial=0), strict=True)
    return [own.words[k + 1] if n else None for k, n in most]


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Whole numbers and the texts they stand for; null is ''."""
    coded = column.unify_dictionaries().combine_chunks()
    if isinstance(coded, pa.ChunkedArray):  # without rows
        return np.zeros(0, np.int64), []
    words = [word or "" for word in coded.dictionary.to_pylist()]
    indices = coded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
    return indices.astype(np.int64), [*words, ""]


def _write_windows(path: Path, found: Joined) -> None:
    with atomic_path(path) as partial, partial.open("wb") as stream:
        stream.write(_BOM.encode("utf-8"))
        writer = None
        try:
            for table in windows_tables(found):
                safe = spreadsheet_table(decoded(table))
                writer = writer or pyarrow.csv.CSVWriter(stream, safe.schema)
                writer.write_table(safe)
        finally:
            if writer is not None:
                writer.close()


def _write_csv(path: Path, table: pa.Table) -> None:
    with atomic_path(path) as partial, partial.open("wb") as stream:
        stream.write(_BOM.encode("utf-8"))
        pyarrow.csv.write_csv(spreadsheet_table(table), stream)
