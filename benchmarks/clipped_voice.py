"""What clipping does to shimmer, jitter and harmonicity, against the same sound unclipped.

Recordings of `$NUNBIT_DATA/speech` (EmoDB, TEDx talks) are made 1.1 to 5 times too loud and cut
off at full scale. Printed, by the share of voiced 10 ms frames of a stretch (two seconds at most)
that hold clipped samples: ninth decile of the absolute error over the unclipped value.

    NUNBIT_DATA=... python benchmarks/clipped_voice.py [--recordings 12]
"""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path

import numpy as np

from nunbit.core.streams import AUDIO_RATE_HZ as RATE
from nunbit.core.streams import AudioChunk, Singles, VoiceStream
from nunbit.recording.media import SoundMeter, iter_audio
from nunbit.recording.voice.quality import StretchQuality, quality_stretches, read_quality
from nunbit.recording.voice.voice_reader import VoiceReader

GAINS = (1.1, 1.3, 1.6, 2.0, 2.6, 3.5, 5.0)
SHARES = (0.0, 1e-9, 0.05, 0.1, 0.2, 0.4, 1.01)
LEAST_VOICED = 20


def hear(sound: Singles) -> tuple[VoiceStream, list[AudioChunk]]:
    """The voice of a sound of 16 bits, with the places where it is clipped."""
    rounded = (np.round(sound * 32767) / 32768).astype(np.float32)
    meter = SoundMeter(step=1 / 32768)
    places = meter.add(0.0, rounded[None], RATE) + meter.flush()
    chunks = [AudioChunk(0.0, rounded, places)]
    reader = VoiceReader()
    reader.add(chunks[0])
    return reader.finish(lambda: chunks, len(sound) / RATE), chunks


def row_of(voice: VoiceStream, clean: StretchQuality, loud: StretchQuality) -> list[float] | None:
    """Share of clipped frames, then relative errors of shimmer, jitter and harmonicity."""
    assert voice.clipped is not None
    inside = slice(*np.searchsorted(voice.times_s, (clean.interval.start_s, clean.interval.end_s)))
    voiced = np.isfinite(voice.f0_hz[inside])
    if voiced.sum() < LEAST_VOICED:
        return None
    pairs = (
        (clean.shimmer_local_db, loud.shimmer_local_db),
        (clean.jitter_local, loud.jitter_local),
        (clean.hnr_db, loud.hnr_db),
    )
    share = float(voice.clipped[inside][voiced].mean())
    return [share, *(abs(b - a) / max(abs(a), 1e-9) for a, b in pairs)]


def main() -> None:
    """Read, clip, read again, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recordings", type=int, default=12)
    count = parser.parse_args().recordings
    root = Path(os.environ["NUNBIT_DATA"], "speech")
    talks = sorted((root / "pansori_tedxkr").rglob("*.flac"))
    acted = sorted((root / "emodb").rglob("*.flac"))
    paths = [*talks[:: len(talks) // (count // 2)], *acted[:: len(acted) // (count // 2)]]
    rows = []
    for path in paths:
        x = np.concatenate([chunk.samples for chunk in iter_audio(path)])[: 20 * RATE]
        x = x / np.abs(x).max()
        voice, chunks = hear(0.9 * x)
        stretches = quality_stretches(voice)
        clean = read_quality(lambda chunks=chunks: chunks, voice, stretches)  # type: ignore[misc]
        for gain in GAINS:
            spoilt, loud = hear(np.clip(gain * x, -1, 1))
            found = read_quality(lambda loud=loud: loud, voice, stretches)  # type: ignore[misc]
            rows += [row_of(spoilt, a, b) for a, b in zip(clean, found, strict=True)]
    table = np.array([row for row in rows if row is not None])
    print(f"{len(paths)} recordings, {len(table)} stretches; shimmer, jitter, harmonicity")
    for low, high in itertools.pairwise(SHARES):
        own = table[(table[:, 0] >= low) & (table[:, 0] < high)]
        if len(own):
            errors = ", ".join(f"{v:.3f}" for v in np.nanpercentile(own[:, 1:], 90, axis=0))
            print(f"{low:.2f} to {high:.2f} of the frames: {len(own)} stretches, {errors}")


if __name__ == "__main__":
    main()
