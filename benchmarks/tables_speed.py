"""How long the tables and the list over many recordings take, and a figure.

``python benchmarks/tables_speed.py [N] [SECONDS] [FOLDER]``: N copies (500) of a made-up recording
of so many seconds (600), made in FOLDER and kept there for the next time (default: made anew, and
only whole things are timed where they are kept). Baseline: reading the same Parquet files, no more.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from make_timeline import Recipe, make_timeline
from nunbit.report.joined_tables import (
    episodes_table,
    find_recordings,
    sessions_table,
    windows_tables,
    write_joined,
)
from nunbit.report.paper_figures import Wanted, save_paper_figure, tracks_figure
from nunbit.report.timeline_page import render_sessions


def timed(name: str, work: Callable[[], object]) -> None:
    """Print wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    print(f"{name:32} {time.perf_counter() - wall:7.1f} s, processor "
          f"{time.process_time() - processor:7.1f} s")  # fmt: skip


def whole(out: Path) -> None:
    """What a user waits for: tables with the list, and a figure from the command line."""
    files = sorted(out.glob("*/timeline.parquet"))
    line = ["figure", str(files[0].parent), "--out", str(out / "f.pdf")]
    timed(f"all of {len(files)}, written", lambda: write_joined(out, lang="en"))
    timed("nunbit figure, whole command", lambda: subprocess.run(
        [sys.executable, "-m", "nunbit", *line], check=True, capture_output=True))  # fmt: skip
    timed("baseline: reading the files", lambda: [pq.read_table(f) for f in files])


def main(n: int, length_s: float, kept: Path | None) -> None:
    """Make, measure, remove."""
    with tempfile.TemporaryDirectory() as name:
        out = kept or Path(name)
        there = (out / "r0000").is_dir()
        first = out / "r0000" if there else make_timeline(
            out / "r0000", Recipe(duration_s=length_s))  # fmt: skip
        for k in range(1, 0 if there else n):
            shutil.copytree(first, out / f"r{k:04d}")
        if there:
            whole(out)
            return
        files = sorted(out.glob("*/timeline.parquet"))
        timed("baseline: reading the files", lambda: [pq.read_table(f) for f in files])
        found = find_recordings(out)
        timed("sessions", lambda: sessions_table(found))
        timed("windows (without writing)", lambda: sum(t.num_rows for t in windows_tables(found)))
        timed("episodes", lambda: episodes_table(found))
        timed("index.html", lambda: render_sessions(out, lang="en"))
        timed("all, written", lambda: write_joined(out, lang="en"))
        figure = out / "f.pdf"
        timed("a figure of two columns", lambda: save_paper_figure(
            figure, tracks_figure([first], Wanted())))  # fmt: skip


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        int(given[0]) if given else 500,
        float(given[1]) if len(given) > 1 else 600.0,
        Path(given[2]) if len(given) > 2 else None,
    )
