"""What recognisers invent where nobody speaks: ten minutes each of silence, noise and music.

Made here: digital silence, a quiet room (low noise with a hum), white and pink noise, a fan that
comes and goes, clicks, and music of plucked and sustained tones in chords with a beat, alone and
under noise. Printed: minutes, seconds that speech detection takes for speech, words that come back
unmarked, and words left out or marked (`invented_text`, `repeated_text`). Two ways: as `analyze`
reads (only detected speech is recognised), and the recogniser given all of the sound, as a baseline
(`--all-sound`, the first minute of each kind).

    NUNBIT_WEIGHTS=... python benchmarks/no_words.py [--minutes 10] [--engine faster-whisper]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from nunbit.core.messages import NunbitError
from nunbit.core.streams import AUDIO_RATE_HZ as RATE
from nunbit.core.streams import AudioChunk, Interval, Singles
from nunbit.recording.transcript import load_recogniser
from nunbit.recording.voice.voice_reader import VoiceReader

BLOCK_S = 60.0
DOUBTS = ("invented_text", "repeated_text")


def pink(rng: np.random.Generator, n: int) -> Singles:
    """Noise whose power falls with frequency."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1.0))
    sound = np.fft.irfft(spectrum, n)
    return np.asarray(sound / np.abs(sound).max(), np.float32)


def room(rng: np.random.Generator, n: int) -> Singles:
    """A quiet room."""
    t = np.arange(n) / RATE
    return np.asarray(0.003 * pink(rng, n) + 0.001 * np.sin(2 * np.pi * 60 * t), np.float32)


def fan(rng: np.random.Generator, n: int) -> Singles:
    """Noise that swells and fades, with clicks now and then."""
    t = np.arange(n) / RATE
    sound = 0.15 * pink(rng, n) * (0.55 + 0.45 * np.sin(2 * np.pi * t / 7.0))
    for at in rng.integers(0, n - 400, n // RATE):
        sound[at : at + 400] += 0.3 * np.exp(-np.arange(400) / 60) * rng.standard_normal(400)
    return np.asarray(sound, np.float32)


def music(rng: np.random.Generator, n: int) -> Singles:
    """Chords, a melody and a beat at 96 a minute."""
    sound, beat = np.zeros(n + 4 * RATE), int(RATE * 60 / 96)
    for k, start in enumerate(range(0, n, beat)):
        root = 110.0 * 2 ** ((0, 5, 7, 3)[(k // 8) % 4] / 12)
        notes = [root * 2 ** (x / 12) for x in (0, 4, 7)] if k % 4 == 0 else []
        notes.append(2 * root * 2 ** (rng.choice((0, 2, 4, 7, 9, 12)) / 12))
        for j, hertz in enumerate(notes):
            length = 4 * beat if j < len(notes) - 1 else beat
            t = np.arange(length) / RATE
            partials = sum(np.sin(2 * np.pi * hertz * h * t) / h**1.5 for h in range(1, 7))
            sound[start : start + length] += 0.08 * partials * np.exp(-2 * t)
        kick = np.arange(RATE // 8) / RATE
        beaten = np.sin(2 * np.pi * 60 * kick) * np.exp(-30 * kick)
        sound[start : start + len(kick)] += 0.3 * beaten
    return np.asarray(sound[:n] / np.abs(sound).max() * 0.5, np.float32)


KINDS: dict[str, Callable[[np.random.Generator, int], Singles]] = {
    "silence": lambda rng, n: np.zeros(n, np.float32),
    "quiet room": room,
    "white noise": lambda rng, n: (0.1 * rng.standard_normal(n)).astype(np.float32),
    "pink noise": lambda rng, n: 0.3 * pink(rng, n),
    "fan and clicks": fan,
    "music": music,
    "music under noise": lambda rng, n: music(rng, n) + np.float32(0.1) * pink(rng, n),
}


def detected(sound: Singles) -> list[Interval]:
    """Where the voice reader hears speech."""
    reader, chunks = VoiceReader(), [AudioChunk(0.0, sound)]
    reader.add(chunks[0])
    found = reader.finish(lambda: chunks, len(sound) / RATE)
    return [Interval(each.start_s, each.end_s) for each in found.segments]


def main() -> int:
    """Make sounds, listen, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of each kind")
    parser.add_argument("--engine", default="faster-whisper")
    parser.add_argument("--all-sound", action="store_true")
    given = parser.parse_args()
    try:
        recogniser = load_recogniser(given.engine, None)
    except NunbitError as exc:
        print(exc)
        return 1
    print("| sound | minutes | taken for speech, s | words, unmarked | doubted | CPU s a minute |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, make in KINDS.items():
        rng, speech_s, words, doubted, spent = np.random.default_rng(20), 0.0, 0, 0, 0.0
        minutes = 1.0 if given.all_sound else given.minutes
        for _ in range(int(np.ceil(minutes * 60 / BLOCK_S))):
            sound = make(rng, int(BLOCK_S * RATE))
            began = time.process_time()
            speech = detected(sound)
            speech_s += sum(s.duration_s for s in speech)
            spoken = None if given.all_sound else speech
            heard = recogniser.transcribe([AudioChunk(0.0, sound)], language="ko", speech=spoken)
            words += sum(len(u.words) for u in heard.utterances)
            doubted += sum(note.count for note in heard.reading if note.code in DOUBTS)
            spent += time.process_time() - began
        print(f"| {name} | {minutes:.0f} | {speech_s:.1f} | {words} | {doubted} "
              f"| {spent / minutes:.1f} |", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
