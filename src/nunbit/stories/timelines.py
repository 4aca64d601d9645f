"""Read what ``analyze`` wrote: a recording's timeline, or many, as tables and pictures.

Everything is read from the files when it is asked for, so a result costs nothing to hold.
"""

from __future__ import annotations

import html
import io
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa

from nunbit.core.messages import InputError, Text
from nunbit.report.exports import FRAMES_FILE, TIMELINE_FILE, WORDS_FILE, read_timeline_table
from nunbit.report.group_figures import By, group_figure
from nunbit.report.joined_tables import keep_current
from nunbit.report.paper_figures import Wanted, Width, tracks_figure
from nunbit.report.summary_document import read_summary
from nunbit.report.timeline_data import target_tracks
from nunbit.runtime.files import read_parquet, writing
from nunbit.runtime.progress import spoken_lang
from nunbit.runtime.results import PathLike, Result, Table, TemporaryFolder, as_path, table_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCOPES = ("window", "turn", "question", "session")
_SUMMARY = "summary.json"
_UNREADABLE = Text(
    "cannot read this table: {reason}; analyse the recording again",
    "표를 읽을 수 없습니다: {reason}. 녹화를 다시 분석하십시오",
)
_NOTE = "Apparent expression, voice and words; not a diagnosis."


@dataclass(frozen=True, eq=False, repr=False)
class TimelineResult(Result):
    """One analysed recording.

    Attributes:
        folder: Its files: tables, ``summary.json``, ``report.html``, exports.
        summary: ``summary.json``.
        kept: ``done`` now, or ``kept`` from an earlier analysis; ``read`` where it was only read.
        owner: Keeps a temporary folder as long as this result lives; None for the user's own.
    """

    folder: Path
    summary: Mapping[str, Any]
    kept: str = "read"
    owner: TemporaryFolder | None = None

    @property
    def session(self) -> str:
        """The recording's name."""
        return str(self.summary["session"])

    @property
    def duration_s(self) -> float:
        """Length of the recording, seconds."""
        return float(self.summary["media"]["duration_s"])

    @property
    def labels(self) -> tuple[str, ...]:
        """Ids of the classes."""
        return tuple(self.summary.get("labels") or ())

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.folder / "report.html"

    def to_arrow(self) -> pa.Table:
        """``timeline.parquet``: long, a row a measure, scope and stretch of time."""
        return read_timeline_table(self.folder)

    def measures(self, scope: str = "session") -> Table:
        """The rows of one scope, long.

        Args:
            scope: ``window``, ``turn``, ``question`` or ``session``.

        Raises:
            InputError: There is no such scope.
        """
        if scope not in SCOPES:
            raise InputError(
                Text(
                    f"`scope` is '{scope}'; choose from {', '.join(SCOPES)}",
                    f"`scope`가 '{scope}'입니다. {', '.join(SCOPES)} 중에서 고르십시오",
                )
            )
        return Table(f"rows of scope {scope}", read_timeline_table(self.folder, scope=scope))

    def windows(self, wide: bool = False) -> Table:
        """The windows: long with intervals and reasons, or a row a window.

        Args:
            wide: A column a measure, called ``<modality>.<measure>``; those of other people than
                the person analysed end in ``@<track>``. Missing values are NaN; the long rows say
                why.
        """
        long = self.measures("window")
        if not wide:
            return long
        return Table("windows", _wide(long.data, ("t_start", "t_end"), target_tracks(self.summary)))

    @property
    def frames(self) -> Table:
        """A row a face and sampled frame; no row without video."""
        return self._file("faces in sampled frames", FRAMES_FILE)

    @property
    def words(self) -> Table:
        """A row a word, with its time; no row without a transcript."""
        return self._file("words", WORDS_FILE)

    @property
    def episodes(self) -> Table:
        """Stretches worth watching: kind, start and end in seconds, peak, note."""
        schema = pa.schema(
            [("kind", pa.string()), ("start", pa.float64()), ("end", pa.float64()),
             ("peak", pa.float64()), ("note", pa.string())]
        )  # fmt: skip
        return Table("episodes", pa.Table.from_pylist(self.summary["episodes"], schema))

    def plot(
        self,
        tracks: Sequence[str] = (),
        start_s: float | None = None,
        end_s: float | None = None,
        width: Width = "two",
    ) -> Figure:
        """The tracks as a matplotlib figure for a paper (``figure.savefig("a.pdf")`` writes it).

        Args:
            tracks: Of ``together``, ``face``, ``voice``, ``words``, ``valence``,
                ``disagreement``, ``episodes``, ``speech``, ``pitch``, ``level``; empty = the usual.
            start_s: Left end, seconds; None = the recording's start.
            end_s: Right end; None = its end.
            width: ``one`` column of a journal or ``two``.

        Raises:
            InputError: Nothing of what is asked for is there.
            SettingsError: There is no such track, or the stretch is none.
            MissingExtra: matplotlib is not installed.
        """
        wanted = Wanted(tuple(tracks), start_s, end_s, width, spoken_lang())
        figure: Figure = tracks_figure([self.folder], wanted)
        return figure

    def save(self, path: PathLike) -> Path:
        """Copy the whole folder, or write the long rows.

        Args:
            path: A name without ending for the folder (which must not hold anything yet), or a
                file ending in ``.csv``, ``.parquet`` (the long rows) or ``.json`` (the summary).

        Raises:
            InputError: The folder is not empty, or something cannot be written.
        """
        if (target := as_path(path, "path")).suffix:
            return super().save(target)
        with writing(_empty_folder(target)):
            shutil.copytree(self.folder, target, dirs_exist_ok=True)
        return target

    def _file(self, name: str, file: str) -> Table:
        path = self.folder / file
        return Table(name, read_parquet(path, _UNREADABLE) if path.is_file() else pa.table({}))

    def _plain_document(self) -> Any:
        return self.summary

    def __repr__(self) -> str:
        n = self.summary["windows"].get("n", 0)
        return f"<TimelineResult '{self.session}': {self.duration_s:.1f} s, {n} windows>"

    def _repr_html_(self) -> str:
        if find_spec("matplotlib") is None:
            shown = table_html(
                self.measures().data.select(["modality", "measure", "value", "unit"])
            )
        else:
            stream = io.StringIO()
            self.plot().savefig(stream, format="svg", metadata={"Date": None})
            shown = stream.getvalue()[stream.getvalue().index("<svg") :]
        return f"<div><p>{html.escape(repr(self))}</p>{shown}<p><small>{_NOTE}</small></p></div>"


@dataclass(frozen=True, eq=False, repr=False)
class SessionsResult(Result):
    """Several analysed recordings, in order; ``result[0]`` is the first.

    Attributes:
        timelines: Those that could be analysed.
        failed: Name of a recording that could not -> why.
    """

    timelines: tuple[TimelineResult, ...]
    failed: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.timelines)

    def __iter__(self) -> Iterator[TimelineResult]:
        return iter(self.timelines)

    @overload
    def __getitem__(self, key: int | str) -> TimelineResult: ...
    @overload
    def __getitem__(self, key: slice) -> SessionsResult: ...
    def __getitem__(self, key: int | str | slice) -> TimelineResult | SessionsResult:
        """A recording by its place or name, or some of them."""
        if isinstance(key, slice):
            return SessionsResult(self.timelines[key], {})
        if isinstance(key, str):
            found = {t.session: t for t in self.timelines}
            if key not in found:
                raise KeyError(f"no recording '{key}'; there are: {', '.join(found) or '-'}")
            return found[key]
        return self.timelines[key]

    def to_arrow(self) -> pa.Table:
        """The rows of scope ``session`` of all recordings, long."""
        return _joined([t.measures().data for t in self.timelines])

    def wide(self) -> Table:
        """A row a recording, a column a measure (``<modality>.<measure>``)."""
        parts = [
            _wide(t.measures().data, ("subject", "session"), target_tracks(t.summary))
            for t in self.timelines
        ]
        return Table("recordings", _joined(parts))

    def windows(self, wide: bool = False) -> Table:
        """The windows of all recordings; see :meth:`TimelineResult.windows`."""
        tables = [t.windows(wide) for t in self.timelines]
        if wide:
            return self._all("windows", tables)
        return Table("windows", _joined([table.data for table in tables]))

    @property
    def frames(self) -> Table:
        """See :attr:`TimelineResult.frames`; with the recording's name."""
        return self._all("faces in sampled frames", [t.frames for t in self.timelines])

    @property
    def words(self) -> Table:
        """See :attr:`TimelineResult.words`; with the recording's name."""
        return self._all("words", [t.words for t in self.timelines])

    @property
    def episodes(self) -> Table:
        """See :attr:`TimelineResult.episodes`; with the recording's name."""
        return self._all("episodes", [t.episodes for t in self.timelines])

    def plot(self, measure: str, by: By = "person", width: Width = "one") -> Figure:
        """One measure over the recordings as a matplotlib figure, every recording shown.

        Args:
            measure: ``<modality>.<measure>``, a column of :meth:`wide`.
            by: ``person``, ``group``, ``session`` or ``time``.
            width: ``one`` column of a journal or ``two``.

        Raises:
            InputError: No recording has the measure.
            MissingExtra: matplotlib is not installed.
        """
        folders = [timeline.folder for timeline in self.timelines]
        figure: Figure = group_figure(folders, measure, by=by, width=width, lang=spoken_lang())
        return figure

    def save(self, path: PathLike) -> Path:
        """Copy all folders below a new one, or write the long session rows to a file."""
        if (target := as_path(path, "path")).suffix:
            return super().save(target)
        _empty_folder(target)
        for timeline in self.timelines:
            timeline.save(target / timeline.folder.name)
        return target

    def _all(self, name: str, tables: Sequence[Table]) -> Table:
        named = [
            table.data.add_column(0, "session", pa.repeat(timeline.session, table.data.num_rows))
            for table, timeline in zip(tables, self.timelines, strict=True)
        ]
        return Table(name, _joined(named))

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"<SessionsResult: {len(self)} recordings{failed}>"


def read_timeline(path: PathLike) -> TimelineResult:
    """Read the folder of one analysed recording.

    Args:
        path: The folder that ``analyze`` wrote for it, or a file in it.

    Raises:
        InputError: There is no timeline here, or several, or it is damaged.
    """
    given = as_path(path, "path")
    folder = given.parent if given.is_file() else given
    keep_current(folder, lang=spoken_lang())
    inside = _folders_below(folder)
    if not (folder / _SUMMARY).is_file() and inside:
        names = ", ".join(f.name for f in inside[:3]) + (", …" if len(inside) > 3 else "")
        raise InputError(
            Text(
                f"{folder}: holds {len(inside)} timelines ({names}); give one of them, or use "
                "read_sessions",
                f"{folder}: 타임라인이 {len(inside)}개 있습니다({names}). 하나를 주거나 "
                "read_sessions를 쓰십시오",
            )
        )
    return _opened(folder)


def read_sessions(path: PathLike) -> SessionsResult:
    """Read all analysed recordings in a folder.

    Tables of a folder whose recordings were deleted or added by hand are written anew first.

    Args:
        path: The ``out`` of ``analyze``, or the folder of one recording.

    Raises:
        InputError: There is none, or one is damaged.
    """
    folder = as_path(path, "path")
    if (folder / _SUMMARY).is_file():
        return SessionsResult((_opened(folder),), {})
    keep_current(folder, lang=spoken_lang())
    inside = _folders_below(folder)
    if not inside:
        raise InputError(
            Text(
                f"{folder}: no analysed recordings here (no */{_SUMMARY}); give the `out` of "
                "`analyze`",
                f"{folder}: 분석한 녹화가 없습니다(*/{_SUMMARY} 없음). `analyze`의 `out` 폴더를 "
                "주십시오",
            )
        )
    return SessionsResult(tuple(_opened(f) for f in inside), {})


def _opened(folder: Path) -> TimelineResult:
    result = TimelineResult(folder, read_summary(folder))
    if not (folder / TIMELINE_FILE).is_file():
        result.to_arrow()  # raises, and says what to do
    return result


def _folders_below(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{_SUMMARY}"))


def _empty_folder(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            Text(
                f"{folder}: exists and is not an empty folder; choose another `path`",
                f"{folder}: 이미 있고 빈 폴더가 아닙니다. 다른 `path`를 고르십시오",
            )
        )
    return folder


def _wide(long: pa.Table, keys: tuple[str, ...], targets: frozenset[str]) -> pa.Table:
    """A row for each different value of the keys, a column for each measure, by first sight."""
    rows: dict[tuple[Any, ...], dict[str, float]] = {}
    columns: dict[str, None] = {}
    own = set()
    names = (*keys, "modality", "measure", "track", "value")
    for *key, modality, measure, track, value in zip(
        *(long[name].to_pylist() for name in names), strict=True
    ):
        theirs = "" if (track or "") in targets else f"@{track}"
        column = f"{modality}.{measure}{theirs}"
        # The person's own rows without a track win over the same rows under the track's name.
        place = (*key, column)
        if place in own:
            continue
        if not track:
            own.add(place)
        columns[column] = None
        rows.setdefault(tuple(key), {})[column] = math.nan if value is None else value
    ordered = sorted(rows, key=lambda key: tuple("" if k is None else k for k in key))
    kinds = [long.schema.field(name).type for name in keys]
    plain = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in kinds]
    values = {c: [rows[key].get(c, math.nan) for key in ordered] for c in columns}
    return pa.table(
        {
            **{name: pa.array([k[n] for k in ordered], plain[n]) for n, name in enumerate(keys)},
            **{column: pa.array(own, pa.float64()) for column, own in values.items()},
        }
    )


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """One below the other; a column that a table lacks is NaN or null there."""
    if not tables:
        return pa.table({})
    joined = pa.concat_tables(tables, promote_options="permissive")
    for index, field in enumerate(joined.schema):
        if pa.types.is_floating(field.type) and joined.column(index).null_count:
            joined = joined.set_column(index, field, joined.column(index).fill_null(math.nan))
    return joined
