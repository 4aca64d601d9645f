"""Transcripts that fit, are late, drift, or belong to another recording, on joined sentences.

Sentences of EmoDB (`$NUNBIT_DATA/speech/emodb`, German, none of which was looked at when the limits
of `transcript.fit` were chosen) are joined with pauses; speech is what the voice reader hears, cues
are the sentences with loose ends (-0.3 to +0.1 s, -0.1 to +0.5 s). Printed: how often each answer
is given, of the recordings of one length. Baseline: no check, which tells none of them.

    NUNBIT_DATA=... python benchmarks/word_fit.py [--recordings 40]
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nunbit.core.streams import AUDIO_RATE_HZ, AudioChunk, Interval, Singles
from nunbit.recording.media import iter_audio
from nunbit.recording.transcript import fit_words
from nunbit.recording.voice.voice_reader import VoiceReader

Spans = list[tuple[float, float]]
LENGTHS_S = (30.0, 120.0, 600.0)
CHANGES: dict[str, Callable[[float], float]] = {
    "as it is": lambda t: t,
    "0.3 s late": lambda t: t + 0.3,
    "2.4 s late": lambda t: t + 2.4,
    "1 s early": lambda t: t - 1.0,
    "25 for 24 pictures": lambda t: t * 24 / 25,
}


def speech_of(sound: Singles) -> Spans:
    """Where the voice reader hears speech."""
    reader = VoiceReader()
    chunks = [AudioChunk(0.0, sound)]
    reader.add(chunks[0])
    found = reader.finish(lambda: chunks, len(sound) / AUDIO_RATE_HZ)
    return [(each.start_s, each.end_s) for each in found.segments]


def joined(
    parts: list[tuple[float, Spans]], length_s: float, rng: np.random.Generator
) -> tuple[Spans, Spans]:
    """Speech and cues of sentences one after the other."""
    speech: Spans = []
    cues: Spans = []
    at = 1.0
    while True:
        duration_s, own = parts[int(rng.integers(len(parts)))]
        if at + duration_s > length_s - 1:
            return speech, cues
        speech += [(a + at, b + at) for a, b in own]
        cues.append((at + rng.uniform(-0.3, 0.1), at + duration_s + rng.uniform(-0.1, 0.5)))
        at += duration_s + rng.lognormal(-0.2, 0.8)


def answer(speech: Spans, cues: Spans, length_s: float) -> str:
    """What the check says."""
    inside = [(max(a, 0.0), min(b, length_s)) for a, b in cues if a < length_s and b > 0]
    heard, said = ([Interval(a, b) for a, b in each if b > a] for each in (speech, inside))
    return fit_words(heard, said, length_s).kind


def main() -> None:
    """Join sentences and print the answers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recordings", type=int, default=40)
    count = parser.parse_args().recordings
    parts = []
    for path in sorted(Path(os.environ["NUNBIT_DATA"], "speech", "emodb").rglob("*.flac"))[::3]:
        sound = np.concatenate([chunk.samples for chunk in iter_audio(path)])
        parts.append((len(sound) / AUDIO_RATE_HZ, speech_of(sound)))
    rng = np.random.default_rng(0)
    for length_s in LENGTHS_S:
        made = [joined(parts, length_s, rng) for _ in range(count)]
        print(f"{length_s:.0f} s, {np.mean([len(c) for _, c in made]):.0f} cues")
        for name, change in CHANGES.items():
            found = Counter(
                answer(speech, [(change(a), change(b)) for a, b in cues], length_s)
                for speech, cues in made
            )
            print(f"  {name}: {dict(found)}")
        third = Counter(
            answer(s, [cue for cue in c if rng.random() < 0.35], length_s) for s, c in made
        )
        print(f"  a third of the cues: {dict(third)}")
        others = Counter(answer(made[k][0], made[k - 1][1], length_s) for k in range(count))
        print(f"  of another recording: {dict(others)}")


if __name__ == "__main__":
    main()
