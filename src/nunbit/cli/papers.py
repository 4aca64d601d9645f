"""Commands from analysed recordings to a paper: figures, tables, comparisons, a paragraph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nunbit.cli.shared import PATHS, command, show
from nunbit.core.messages import Lang, Text
from nunbit.runtime.progress import listed, pad, spoken_lang
from nunbit.runtime.results import as_written

if TYPE_CHECKING:
    from nunbit.stories.within_person import Compared


@command("figure")
@click.argument("sessions", nargs=-1, required=True, type=PATHS, metavar="SESSION...")
@click.option("--out", required=True, type=PATHS, metavar="FILE", help="F.pdf, F.svg or F.png.")
@click.option(
    "--tracks",
    metavar="A,B",
    help="together, face, voice, words, valence, disagreement, episodes, speech, pitch, level.",
)
@click.option("--from", "start", metavar="TIME", help="Left end, seconds or 1:30.")
@click.option("--to", "end", metavar="TIME", help="Right end.")
@click.option("--measure", metavar="NAME", help="Compare recordings: one measure, as face.p_joy.")
@click.option(
    "--by",
    type=click.Choice(["person", "group", "session", "time"]),
    help="What a measure is drawn by (default: person).",
)
@click.option("--width", type=click.Choice(["one", "two"]), help="Columns of a journal.")
def figure(
    sessions: tuple[Path, ...],
    out: Path,
    tracks: str | None,
    start: str | None,
    end: str | None,
    measure: str | None,
    by: str | None,
    width: str | None,
) -> None:
    """Draw a figure for a paper: tracks of a recording, or one measure over many.

    SESSION is a recording's folder, or the folder of all of them. Fonts are embedded, Korean too;
    nothing rests on colour alone.

    \b
    Examples:
      nunbit figure timelines/visit1 --tracks face,words --from 0:30 --to 1:30 --out f.pdf
      nunbit figure timelines --measure face.p_joy --by group --out groups.svg
    """
    from nunbit.report.group_figures import FigureOrder, draw_figure

    names = tuple(name.strip() for name in (tracks or "").split(",") if name.strip())
    order = FigureOrder(names, start, end, measure, by, width)
    with as_written(*sessions):
        written = draw_figure(sessions, out, order, lang=spoken_lang())
    show({"figure": str(written)}, str(written))


@command("tables")
@click.argument("out", type=PATHS, metavar="TIMELINES")
@click.option(
    "--format",
    "formats",
    metavar="A,B",
    default="csv",
    show_default=True,
    help="csv (always written), xlsx, sav.",
)
def tables(out: Path, formats: str) -> None:
    """Write the tables over all recordings of a folder: CSV, Excel, SPSS.

    TIMELINES is the folder that analyze wrote. sessions_wide has a row a recording, windows_wide a
    row a window, episodes a row an episode; docs/tables.md defines every column. analyze keeps the
    CSV files current; give this after you removed a folder, or for the other formats.

    \b
    Examples:
      nunbit tables timelines
      nunbit tables timelines --format xlsx,sav --lang ko
    """
    from nunbit.report.table_files import write_table_files

    kinds = tuple(kind.strip() for kind in formats.split(",") if kind.strip())
    with as_written(out):
        written = write_table_files(out, kinds, lang=spoken_lang())
    show({"files": [str(path) for path in written]}, "\n".join(map(str, written)))


@command("compare")
@click.argument("timelines", nargs=-1, required=True, type=PATHS, metavar="TIMELINES...")
@click.option("--out", required=True, type=PATHS, help="Folder; gets three files.")
@click.option("--measure", metavar="A,B", help="Measures, as face.p_joy (default: nine).")
@click.option(
    "--by",
    type=click.Choice(["group", "speaking"]),
    default="group",
    show_default=True,
    help="Groups of the recordings, or while the person speaks and not.",
)
@click.option(
    "--conditions",
    type=PATHS,
    metavar="TABLE",
    help="CSV of stretches: recording, start, end, condition.",
)
def compare(
    timelines: tuple[Path, ...],
    out: Path,
    measure: str | None,
    by: str,
    conditions: Path | None,
) -> None:
    """Compare conditions within persons, with intervals that respect time and person.

    Windows repeat one another and recordings of a person are alike: neither is counted as if it
    were independent. OUT/cells.csv is ready for lme4; OUT/differences.csv has every person's
    differences, and the mean over persons.

    \b
    Examples:
      nunbit compare timelines --out comparison
      nunbit compare timelines --conditions questions.csv --measure face.p_joy --out comparison
    """
    from nunbit.stories.within_person import CompareOrder
    from nunbit.stories.within_person import compare as run_comparison

    names = tuple(name.strip() for name in (measure or "").split(",") if name.strip())
    with as_written(*timelines):
        result = run_comparison(timelines, out, CompareOrder(names, by, conditions))
    show(result.document, _comparison_text(result, out, spoken_lang()))


def _comparison_text(result: Compared, out: Path, lang: Lang) -> str:
    """A line a difference over persons, or a person's where there is only one."""
    from nunbit.report.codebook import Codebook
    from nunbit.stories.within_person import CELLS_FILE

    rows = list(result.document["differences"])
    shown = [row for row in rows if row["person"] == "*"] or rows
    book = Codebook()
    lines = []
    for row in shown:
        label = pad(book.column(row["measure"]).label.pick(lang), 36, left=True)
        ci = "" if row["low"] is None else f"  [{row['low']:+.3g}, {row['high']:+.3g}]"
        who = "" if row["person"] == "*" else f"{row['person']}  "
        lines.append(f"{who}{label} {row['from']} → {row['to']}  {row['difference']:+.3g}{ci}")
    with_interval = sum(row["low"] is not None for row in shown)
    notes = [_chance(with_interval)] if with_interval else []
    notes += [_FEW] * any(row["person"] == "*" and row["low"] is None for row in shown)
    notes += [_ONE_SIDED] * any(row["n_left_out"] for row in shown)
    if unnamed := result.document["unnamed"]:
        notes.append(_unnamed(unnamed))
    return "\n".join([*lines, *(note.pick(lang) for note in notes), str(out / CELLS_FILE)])


_FEW = Text(
    "no interval over persons: fewer than 3 of them, or all alike",
    "사람이 3명보다 적거나 값이 모두 같으면 사람에 걸친 구간이 없습니다",
)

_ONE_SIDED = Text(
    "recordings with one of two conditions are left out where others have both (n_left_out in "
    "differences.csv)",
    "두 조건이 다 있는 녹화가 있으면 한 조건만 있는 녹화는 뺍니다(differences.csv의 n_left_out)",
)


def _unnamed(recordings: Sequence[str]) -> Text:
    told = listed(recordings, 5)
    return Text(
        f"nobody is named for {told}: each of these recordings counts as a person of its own; "
        "name people with --people or --subject of analyze",
        f"{told}: 사람이 적혀 있지 않아 녹화마다 다른 사람으로 셉니다. analyze의 --people이나 "
        "--subject로 사람을 적으십시오",
    )


def _chance(n: int) -> Text:
    return Text(
        f"{n} intervals: where nothing differs, about {n / 20:.1g} of them leave out 0 by chance",
        f"구간 {n}개: 아무 차이가 없어도 우연히 {n / 20:.1g}개쯤은 0을 벗어납니다",
    )


@command("methods")
@click.argument("timelines", nargs=-1, required=True, type=PATHS, metavar="TIMELINES...")
@click.option("--out", type=PATHS, metavar="FILE", help="Write the text to a file, too.")
def methods(timelines: tuple[Path, ...], out: Path | None) -> None:
    """Write the Methods paragraph of recordings from the settings actually used.

    It says what was analysed with which versions, what was missing, whether all recordings were
    analysed alike, the limits that apply, and how to cite.

    \b
    Example:
      nunbit methods timelines --lang ko --out methods.txt
    """
    from nunbit.runtime.config import settings_to_dict
    from nunbit.runtime.files import write_text
    from nunbit.stories.analyze.job import AnalyzeSettings
    from nunbit.stories.methods import methods_text

    with as_written(*timelines):
        text = methods_text(timelines, spoken_lang(), settings_to_dict(AnalyzeSettings()))
    if out is not None:
        write_text(out, text + "\n")
    show({"methods": text}, text)
