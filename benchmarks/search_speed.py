"""Search over a hundred hours of windows: time of a search and memory of the process.

python benchmarks/search_speed.py [--hours 100]

100 recordings of an hour, a window a second, random unit embeddings of 128 numbers for face, voice
and words (words in half of the windows), written and read as ``windows.npz``. Bars: a search after
loading under 1 s, peak memory of the process 1 GB at most.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from nunbit.core.streams import Interval, Singles
from nunbit.space.windows import AlignedWindows, write_windows
from nunbit.stories.search import Query, SearchSettings, load_index, nearest_windows

WINDOWS_AN_HOUR = 3600
SEARCH_BAR_S, MEMORY_BAR_MB = 1.0, 1000.0


def rows(rng: np.random.Generator, n: int) -> Singles:
    """Random unit rows."""
    found = rng.standard_normal((n, 128), np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def write(folder: Path, hours: int) -> None:
    """The simulated timelines."""
    rng = np.random.default_rng(0)
    windows = tuple(Interval(float(k), k + 4.0) for k in range(WINDOWS_AN_HOUR))
    excerpts = tuple(f"그때는 정말 힘들었다고 말했다 {k}" for k in range(WINDOWS_AN_HOUR))
    for hour in range(hours):
        placed = {m: rows(rng, WINDOWS_AN_HOUR) for m in ("face", "voice", "text")}
        placed["text"][::2] = np.nan
        session = folder / f"session{hour:03d}"
        session.mkdir()
        write_windows(session, AlignedWindows(windows, placed, {}, {}, excerpts),
                      session=session.name, bundle_hash="simulated")  # fmt: skip


def measure(folder: Path) -> int:
    """Load and search in this process."""
    start_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    index = load_index([folder])
    loaded = time.perf_counter() - began
    rng = np.random.default_rng(1)
    seconds = []
    for query in rows(rng, 5):
        began = time.perf_counter()
        hits = nearest_windows(index, Query(query), SearchSettings())
        seconds.append(time.perf_counter() - began)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(index):,} windows: loaded in {loaded:.1f} s; search {np.median(seconds):.3f} s "
          f"(largest of 5: {max(seconds):.3f} s), {len(hits)} hits; memory {peak_mb:.0f} MB "
          f"(before loading {start_mb:.0f} MB)")  # fmt: skip
    good = np.median(seconds) < SEARCH_BAR_S and peak_mb <= MEMORY_BAR_MB
    print("bars kept" if good else "BARS MISSED")
    return 0 if good else 1


def main() -> int:
    """Write the timelines, then measure in a fresh process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=int, default=100)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        return measure(given.measure)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), given.hours)
        return subprocess.run([sys.executable, __file__, "--measure", folder]).returncode


if __name__ == "__main__":
    sys.exit(main())
