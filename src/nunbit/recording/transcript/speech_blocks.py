"""The sound given to a recogniser: where somebody speaks, in blocks that it hears at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from nunbit.core.streams import AUDIO_RATE_HZ, AudioChunk, Interval, Singles
from nunbit.recording.transcript.whisper import Block

LONGEST_S = 300.0
"""A block of a recogniser that hears as much as it is given; memory is the limit."""
MARGIN_S = 0.3
"""Distance from detected speech within which sound is heard and words are kept."""

_SEARCH_S = 30.0  # a block is cut at the quietest place of its last 30 s
_QUIET_S = 0.2
_BRIDGED_S = 0.2  # shorter gaps are filled with silence, longer ones begin a new block
_SKIPPED_S = 2.0  # a longer pause is not given to the recogniser


def spoken(chunks: Iterable[AudioChunk], speech: Sequence[Interval]) -> Iterator[AudioChunk]:
    """The sound in which somebody speaks, with 0.3 s around it and pauses of up to two seconds.

    Args:
        chunks: In order of time.
        speech: Detected speech, in order.
    """
    wide: list[list[float]] = []
    for interval in speech:
        start, end = interval.start_s - MARGIN_S, interval.end_s + MARGIN_S
        if wide and start - wide[-1][1] < _SKIPPED_S - 2 * MARGIN_S:
            wide[-1][1] = max(wide[-1][1], end)
        else:
            wide.append([start, end])
    position = 0
    for chunk in chunks:
        end_s = chunk.start_s + len(chunk.samples) / AUDIO_RATE_HZ
        while position < len(wide) and wide[position][1] <= chunk.start_s:
            position += 1
        for start, end in wide[position:]:
            if start >= end_s:
                break
            a, b = (
                min(len(chunk.samples), max(0, round((at - chunk.start_s) * AUDIO_RATE_HZ)))
                for at in (start, end)
            )
            if a < b:
                yield AudioChunk(chunk.start_s + a / AUDIO_RATE_HZ, chunk.samples[a:b])


def blocks(chunks: Iterable[AudioChunk], longest_s: float = LONGEST_S) -> Iterator[Block]:
    """Join chunks into blocks without gaps, none longer than ``longest_s`` seconds."""
    start = 0.0
    parts: list[Singles] = []
    length = 0
    limit = round(longest_s * AUDIO_RATE_HZ)
    for chunk in chunks:
        gap = round((chunk.start_s - start) * AUDIO_RATE_HZ) - length if parts else 0
        if parts and gap > _BRIDGED_S * AUDIO_RATE_HZ:
            yield start, np.concatenate(parts)
            parts, length, gap = [], 0, 0
        if not parts:
            start = chunk.start_s
        if gap > 0:
            parts.append(np.zeros(gap, np.float32))
        parts.append(chunk.samples)
        length += max(0, gap) + len(chunk.samples)
        while length > limit:
            samples = np.concatenate(parts)
            cut = _quietest(samples[:limit])
            yield start, samples[:cut]
            parts, length, start = [samples[cut:]], len(samples) - cut, start + cut / AUDIO_RATE_HZ
    if length:
        yield start, np.concatenate(parts)


def _quietest(samples: Singles) -> int:
    """Sample at the middle of the quietest 0.2 s among the last 30 s (or half, if shorter)."""
    width = round(_QUIET_S * AUDIO_RATE_HZ)
    begin = len(samples) - min(round(_SEARCH_S * AUDIO_RATE_HZ), len(samples) // 2)
    frames = samples[begin : begin + (len(samples) - begin) // width * width].reshape(-1, width)
    if not len(frames):
        return len(samples)
    return int(begin + np.square(frames).mean(axis=1).argmin() * width + width // 2)
