"""Frames of sound on the 10 ms grid, and how loud they are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from development.voice_tracks import level_track
from make_voice import RATE, chunked, noise
from nunbit.core.streams import AudioChunk
from nunbit.recording.voice.level import (
    CENTRE,
    FLOOR_DBFS,
    HOP,
    MARGIN,
    Cells,
    frame_count,
    iter_blocks,
    level_of,
    measure_cells,
    peak_of,
    swift_level_of,
    voice_times,
)


@pytest.mark.parametrize(
    ("duration_s", "n"),
    [(0.0, 0), (0.005, 0), (0.0051, 1), (0.015, 1), (0.02, 2), (3.0, 300), (7200.0, 720_000)],
)
def test_frames_have_their_centre_before_the_end(duration_s: float, n: int) -> None:
    assert frame_count(duration_s) == n
    assert (voice_times(n) < duration_s).all()


@pytest.mark.parametrize("sizes", [[100_000_000], [1], [160], [7, 1600, 333], [82_000]])
def test_blocks_do_not_depend_on_the_chunks(sizes: list[int]) -> None:
    x = noise(0.5 if sizes == [1] else 7.3, 0.1)
    whole = list(iter_blocks([AudioChunk(1.2345, x)]))
    parts = list(iter_blocks(chunked(x, sizes, 1.2345)))
    assert [(b.first, b.n, b.start, b.margin) for b in parts] == [
        (b.first, b.n, b.start, b.margin) for b in whole
    ]
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(parts, whole, strict=True))
    start = round(1.2345 * RATE)
    assert whole[0].first * HOP + CENTRE >= start > (whole[0].first - 1) * HOP + CENTRE
    assert whole[-1].stop == start + len(x)


def test_a_block_holds_the_samples_around_its_centres() -> None:
    x = np.arange(1, 30_001, dtype=np.float32)
    for block in iter_blocks([AudioChunk(0.0, x)], margin=HOP):
        for j in range(block.n):
            centre = (block.first + j) * HOP + CENTRE
            got = block.samples[j * HOP : j * HOP + 2 * HOP]
            want = np.arange(centre - HOP, centre + HOP) + 1.0
            want[(want < 1) | (want > len(x))] = 0
            assert np.array_equal(got, want)


def test_gaps_overlaps_jitter_and_missing_samples() -> None:
    x = noise(1.0, 0.1)
    bad = x.copy()
    bad[4000:5000] = np.nan
    cases = {
        "gap": ([AudioChunk(0.0, x), AudioChunk(1.5, x)], 200, 2),
        "rounded time stamps": ([AudioChunk(0.0, x), AudioChunk(1.0009, x)], 200, 1),
        "overlap": ([AudioChunk(0.0, x), AudioChunk(0.5, x)], 150, 1),
        "said twice": ([AudioChunk(0.0, x), AudioChunk(0.0, x)], 100, 1),
        "before zero": ([AudioChunk(-0.5, x)], 50, 1),
        "not a number": ([AudioChunk(0.0, bad)], 94, 2),
        "nothing": ([AudioChunk(0.0, x[:0])], 0, 0),
        "no chunk": ([], 0, 0),
    }
    for name, (chunks, frames, stretches) in cases.items():
        blocks = list(iter_blocks(chunks))
        taken = [k for b in blocks for k in range(b.first, b.first + b.n)]
        assert len(taken) == frames, name
        assert taken == sorted(set(taken)), name
        assert len({b.start for b in blocks}) == stretches, name


def test_level_against_the_plain_sum() -> None:
    x = noise(1.0, 0.05)[:15_900] + np.float32(0.2)
    level = level_track(x)
    about = x - np.median(x[: len(x) // 80 * 80].astype(np.float64).reshape(-1, 80).mean(axis=1))
    for k in (0, 1, 50, len(level) - 1):
        centre = k * HOP + CENTRE
        window = about[max(0, centre - HOP) : min(centre + HOP, len(level) * HOP)]
        assert level[k] == pytest.approx(10 * math.log10(np.mean(window**2)), abs=1e-4)


def test_known_levels() -> None:
    t = np.arange(RATE) / RATE
    sine = (0.5 * np.sin(2 * math.pi * 400 * t)).astype(np.float32)
    level = level_track(sine)
    assert level[5:-5] == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=1e-3)
    assert level_track(2 * sine)[5:-5] - level[5:-5] == pytest.approx(6.0206, abs=1e-3)
    assert (level_track(np.zeros(1600, np.float32)) == FLOOR_DBFS).all()
    assert (level_track(np.full(1600, 0.3, np.float32)) == FLOOR_DBFS).all()
    assert len(level_track(np.zeros(1, np.float32))) == 0


def test_a_soft_sound_after_a_loud_one_keeps_its_level() -> None:
    x = np.concatenate([noise(1.0, 0.3), noise(1.0, 1e-5)])
    assert np.median(level_track(x)[110:190]) == pytest.approx(-100, abs=0.3)


def test_swift_level_is_deaf_to_rumble() -> None:
    t = np.arange(2 * RATE) / RATE
    rumble = (0.3 * np.sin(2 * math.pi * 10 * t)).astype(np.float32)
    cells, present = _cells(rumble)
    assert np.median(swift_level_of(cells, present)) < np.median(level_of(cells, present)) - 8
    cells, present = _cells(noise(2.0, 0.1))
    assert np.median(swift_level_of(cells, present)) == pytest.approx(-20, abs=0.3)


def test_peaks_ignore_a_constant_offset_even_at_the_edges() -> None:
    x = noise(0.4, 0.01)[:6_325]
    plain, _ = _cells(x, 0.003)
    offset, _ = _cells(x + np.float32(0.5), 0.003)
    assert peak_of(offset) == pytest.approx(peak_of(plain), abs=1e-3)


def _cells(x: np.ndarray, start_s: float = 0.0) -> tuple[Cells, np.ndarray]:
    n = frame_count(start_s + len(x) / RATE)
    cells, present = Cells.absent(n), np.zeros(n, bool)
    for block in iter_blocks([AudioChunk(start_s, x)], MARGIN):
        cells.put(block.frames, measure_cells(block))
        present[block.frames] = True
    return cells, present
