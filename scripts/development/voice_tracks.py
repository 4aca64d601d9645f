"""Pitch, level and speech of a whole sound at once, where an analysis takes it in blocks.

For tests and benchmarks that compare the voice measures with other programs.
"""

from __future__ import annotations

import numpy as np

from nunbit.core.streams import AUDIO_RATE_HZ, AudioChunk, Floats, Singles
from nunbit.recording.voice.level import (
    HOP,
    Cells,
    frame_count,
    iter_blocks,
    level_of,
    measure_cells,
)
from nunbit.recording.voice.pitch import (
    WIDE_RANGE_HZ,
    PitchSettings,
    PitchTracker,
    Range,
    personal_range,
)
from nunbit.recording.voice.voice_reader import SpeechDetector


def f0_track(
    samples: Singles | Floats,
    f0_range_hz: Range | None = None,
    settings: PitchSettings | None = None,
) -> tuple[Singles, Range | None]:
    """Pitch of a whole recording that starts at time zero, speech or not.

    Args:
        samples: (n,) mono at 16 kHz.
        f0_range_hz: None finds the range by a first pass.
        settings: None takes the defaults.

    Returns:
        (M,) Hz on the 10 ms grid, NaN where unvoiced, and the range it was looked for in.
    """
    x = np.asarray(samples, np.float32)
    x = x - x.mean(dtype=np.float64).astype(np.float32) if len(x) else x
    total = frame_count(len(x) / AUDIO_RATE_HZ)
    peak = float(np.abs(x).max(initial=0.0))

    def run(f0_range: Range) -> Singles:
        f0 = np.full(total, np.nan, np.float32)
        tracker = PitchTracker(f0_range, settings)
        for block in iter_blocks([AudioChunk(0.0, x)]):
            views = block.samples[block.margin - HOP // 2 :][: block.n * HOP]
            loud = np.abs(views.reshape(block.n, HOP)).max(axis=1) / (peak or 1.0)
            wanted = np.full(block.n, peak > 0)
            for frames, values in tracker.add(block, wanted, loud.astype(np.float64)):
                f0[frames] = values
        for frames, values in tracker.flush():
            f0[frames] = values
        return f0

    wide = f0_range_hz or personal_range(run(WIDE_RANGE_HZ))
    return (run(wide), wide) if wide else (np.full(total, np.nan, np.float32), None)


def level_track(samples: Singles | Floats) -> Singles:
    """Level of a whole recording that starts at time zero.

    Args:
        samples: (n,) mono at 16 kHz, full scale 1.

    Returns:
        (M,) dBFS, see :func:`level_of`.
    """
    total = frame_count(len(samples) / (HOP * 100))
    cells, present = Cells.absent(total), np.zeros(total, bool)
    for block in iter_blocks([AudioChunk(0.0, np.asarray(samples, np.float32))]):
        cells.put(block.frames, measure_cells(block))
        present[block.frames] = True
    return level_of(cells, present)


def speech_probability(samples: Singles | Floats) -> Singles:
    """Silero's probability for each 32 ms of a recording.

    Args:
        samples: (n,) mono at 16 kHz.

    Returns:
        (ceil(n / 512),) 0 to 1.
    """
    detector = SpeechDetector()
    return np.concatenate([detector.add(np.asarray(samples, np.float32)), detector.end()])
