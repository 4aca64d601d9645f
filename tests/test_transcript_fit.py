"""Words against speech: late, early, drifting, of another recording; and never a false alarm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nunbit.core.streams import Interval, Transcript, Utterance, VoiceStream, Word
from nunbit.recording.observer import ReadingSettings, RecordingJob
from nunbit.recording.transcript import Diarisation, WordFit, fit_notes, fit_words, said_intervals
from nunbit.recording.words import Companions, words_of

Spans = list[tuple[float, float]]


def conversation(duration_s: float, seed: int = 0) -> tuple[Spans, Spans]:
    """Speech with pauses, as a detector hears it, and cues that people would write for it."""
    rng = np.random.default_rng(seed)
    speech: Spans = []
    cues: Spans = []
    at = rng.uniform(0.5, 2.0)
    while at < duration_s - 8:
        start = at
        for _ in range(rng.integers(1, 4)):  # phrases of a sentence
            length = rng.uniform(0.5, 2.5)
            speech.append((at, at + length))
            at += length + rng.uniform(0.15, 0.4)
        cues.append((start, at))
        at += rng.lognormal(-0.2, 0.8)
    return speech, cues


def loose(cues: Spans, seed: int = 1) -> Spans:
    """Cues begin up to 0.3 s early and stay up to half a second longer."""
    rng = np.random.default_rng(seed)
    return [(a + rng.uniform(-0.3, 0.1), b + rng.uniform(-0.1, 0.5)) for a, b in cues]


def fit(speech: Spans, cues: Spans, duration_s: float) -> WordFit:
    inside = [(max(a, 0.0), min(b, duration_s)) for a, b in cues if a < duration_s and b > 0]
    heard, said = ([Interval(a, b) for a, b in each if b > a] for each in (speech, inside))
    return fit_words(heard, said, duration_s)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("duration_s", [30.0, 300.0, 1800.0])
def test_well_timed_transcripts_raise_no_alarm(duration_s: float, seed: int) -> None:
    speech, cues = conversation(duration_s, seed)
    rng = np.random.default_rng(seed)
    one_of_two = [cue for cue in loose(cues) if rng.random() < 0.3]
    written: dict[str, Spans] = {
        "exact": speech,
        "cues": cues,
        "loose": loose(cues),
        "0.3 s late": [(a + 0.3, b + 0.3) for a, b in loose(cues)],
        "one speaker": one_of_two,
        "a beginning": loose(cues)[: len(cues) // 3],
        "one long cue": [(0.0, duration_s)],
        "nothing": [],
    }
    for name, each in written.items():
        assert fit_notes(fit(speech, each, duration_s)) == (), name


def test_music_and_silence_are_no_alarm() -> None:
    _, cues = conversation(300.0)
    assert fit([], cues, 300.0).kind == "unknown"
    assert fit([(0.0, 300.0)], cues, 300.0).kind == "unknown"
    assert fit([(40.0, 42.0)], cues, 300.0).kind == "unknown"


@pytest.mark.parametrize("shift_s", [-20.0, -2.4, -1.0, 1.0, 2.4, 20.0])
def test_a_shift_is_told_with_its_size(shift_s: float) -> None:
    speech, cues = conversation(300.0, 5)
    found = fit(speech, [(a + shift_s, b + shift_s) for a, b in loose(cues)], 300.0)
    assert found.kind == ("late" if shift_s > 0 else "early")
    assert found.shift_s == pytest.approx(shift_s, abs=0.25)
    [note] = fit_notes(found)
    assert note.code == "words_outside_speech"
    assert f"{abs(found.shift_s):.1f} s {'after' if shift_s > 0 else 'before'}" in note.text.en
    assert ("늦습니다" if shift_s > 0 else "이릅니다") in note.text.ko


def test_four_cues_in_seventeen_seconds() -> None:
    speech = [(0.5, 1.4), (1.85, 4.95), (5.1, 5.9), (6.4, 7.65), (7.85, 9.75), (10.2, 14.65)]
    cues = [(0.5, 1.4), (1.85, 5.9), (6.4, 9.75), (10.23, 14.65)]
    assert fit(speech, cues, 17.1).kind == "fits"
    late = fit(speech, [(a + 2.4, b + 2.4) for a, b in cues], 17.1)
    assert late.kind == "late"
    assert late.shift_s == pytest.approx(2.4, abs=0.1)


@pytest.mark.parametrize(
    ("pace", "duration_s"), [(25 / 24, 600.0), (24 / 25, 600.0), (1.001, 3600.0), (0.998, 3600.0)]
)
def test_a_drift_is_told_with_its_pace(pace: float, duration_s: float) -> None:
    speech, cues = conversation(duration_s, 7)
    found = fit(speech, [(a / pace, b / pace) for a, b in loose(cues)], duration_s)
    assert found.kind == "drifts"
    assert found.pace == pytest.approx(pace, abs=0.0012)
    assert "drift" in fit_notes(found)[0].text.en


@pytest.mark.parametrize("seed", range(6))
def test_words_of_another_recording_are_told(seed: int) -> None:
    speech, _ = conversation(900.0, seed)
    _, other = conversation(900.0, seed + 100)
    found = fit(speech, loose(other), 900.0)
    assert found.kind in ("elsewhere", "unclear")
    assert len(fit_notes(found)) == 1


def test_timed_words_count_and_not_their_cue() -> None:
    words = (
        Word(Interval(1.0, 1.4), "가"),
        Word(Interval(2.0, 2.4), "나"),
    )
    guessed = (Word(Interval(5.0, 5.5), "다", estimated=True),)
    given = Transcript(
        (
            Utterance(Interval(0.5, 3.0), "가 나", words=words),
            Utterance(Interval(4.0, 6.0), "다", words=guessed),
        ),
        "srt",
    )
    assert said_intervals(given) == (Interval(1.0, 1.4), Interval(2.0, 2.4), Interval(4.0, 6.0))


def test_overlapping_cues_count_once() -> None:
    speech, cues = conversation(300.0, 3)
    doubled: Callable[[Spans], Spans] = lambda spans: sorted([*spans, *spans])  # noqa: E731
    assert fit(speech, doubled(cues), 300.0).correlation == pytest.approx(
        fit(speech, cues, 300.0).correlation, abs=0.02
    )


def test_analyze_compares_the_words_with_the_speech_it_heard() -> None:
    speech, cues = conversation(120.0, 4)
    voice = VoiceStream(
        times_s=np.zeros(0), present=np.zeros(0, bool), speech=np.zeros(0, bool),
        f0_hz=np.zeros(0, np.float32), level_dbfs=np.zeros(0, np.float32),
        segments=tuple(Interval(a, b) for a, b in speech),
    )  # fmt: skip
    path = Path("a.wav")
    job = RecordingJob(path, "a", path, None, None, path, "", ReadingSettings())
    for shift_s, codes in ((0.0, []), (3.0, ["words_outside_speech"])):
        said = [Utterance(Interval(a + shift_s, b + shift_s), "말") for a, b in cues]
        given = Companions(Transcript(tuple(said), "srt"), Diarisation(()))
        words, notes = words_of(job, given, voice, 120.0)
        assert words is given.transcript
        assert [note.code for note in notes] == codes
    assert words_of(job, Companions(None, Diarisation(())), voice, 120.0) == (None, ())
