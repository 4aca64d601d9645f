"""Speak a script: utterances, pauses, room noise, and their truth.

nunbit's own source knows everything exactly: words, pauses, pitch. The program espeak-ng, if it is
installed, speaks more naturally but says nothing about its pitch or its words; of it only the
stretches of sound are known, which are measured. Times are the script's. Knows nothing of pictures
or containers.
"""

from __future__ import annotations

import functools
import math
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nunbit.core.messages import InputError, MissingExtra, SettingsError, Text
from nunbit.core.streams import VOICE_HOP_S, Floats, Interval, Singles
from nunbit.synth.actors import DrawnPerson
from nunbit.synth.phones import (
    Phrase,
    SpokenWord,
    noise_phones,
    plain_text,
    plan_phrase,
    resampled_period,
    split_pauses,
    voice_phones,
    voiced_runs,
)
from nunbit.synth.script import Curve, Saying, VideoScript, key_curve

_PROGRAM = "espeak-ng"
_TIMEOUT_S = 60
_SILENT_DB = -45.0  # below the loudest 10 ms, at both ends


@functools.cache
def espeak_version() -> str | None:
    """What the program says about itself, or None if it is not installed."""
    program = shutil.which(_PROGRAM)
    if program is None:
        return None
    try:
        run = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.split("Data at")[0].strip()


def espeak(text: str, language: str, female: bool, semitones: float, speed: float) -> Floats:
    """Speak words without a pause at either end.

    Args:
        text: The words.
        language: BCP 47.
        female: Takes a woman's variant of the voice.
        semitones: Pitch above the voice's own; about a quarter per step of espeak's dial.
        speed: 1 is about 4.6 syllables a second in Korean.

    Returns:
        (n,) samples at 22,050 Hz, full scale = 1; empty if nothing is spoken.

    Raises:
        InputError: The program failed, for example for want of the language.
    """
    voice = f"{language}+f3" if female else language
    pitch = round(min(max(50.0 + 4.0 * semitones, 0.0), 99.0))
    words_per_minute = round(min(max(165.0 * speed, 80.0), 450.0))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        command = [_PROGRAM, "-v", voice, "-p", str(pitch), "-s", str(words_per_minute), "-z",
                   "-b", "1", "-w", str(file), "--stdin"]  # fmt: skip
        try:
            subprocess.run(
                command, input=text.encode(), capture_output=True, timeout=_TIMEOUT_S, check=True
            )
            with wave.open(str(file), "rb") as stream:
                data = stream.readframes(stream.getnframes())
        except (OSError, subprocess.SubprocessError, wave.Error, EOFError) as exc:
            said = getattr(exc, "stderr", b"") or b""
            detail = said.decode(errors="replace").strip() or str(exc)
            raise InputError(
                Text(
                    f"espeak-ng cannot speak language {language!r}: {detail}; "
                    'set voice = "formant"',
                    f"espeak-ng로 {language!r} 언어를 말할 수 없습니다: {detail}. "
                    'voice = "formant"로 두십시오',
                )
            ) from exc
    return _trimmed(np.frombuffer(data, dtype="<i2").astype(np.float64) / 32768.0)


def _trimmed(samples: Floats) -> Floats:
    """Without the silence at both ends."""
    hop = 221
    rows = samples[: len(samples) // hop * hop].reshape(-1, hop)
    power = np.mean(rows**2, axis=1) if len(rows) else np.zeros(0)
    if not power.any():
        return np.zeros(0)
    loud = np.flatnonzero(power > power.max() * 10.0 ** (_SILENT_DB / 10.0))
    return samples[loud[0] * hop : (loud[-1] + 1) * hop]


Source = Literal["formant", "espeak"]

_RANGE_ST = 2.5  # rise on each word unless a key says otherwise
_DECLINATION_ST = 1.2  # fall through a phrase, each side of the middle
_NOISE_TILE_S = 8.0


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance as it sounds.

    Attributes:
        interval: First to last sound.
        text: Without the marks of pauses.
        segments: Its stretches of sound, between the scripted pauses.
        words: With times; empty where the source does not tell them.
    """

    interval: Interval
    text: str
    segments: tuple[Interval, ...]
    words: tuple[SpokenWord, ...]


@dataclass(frozen=True, eq=False)
class SpeechTrack:
    """The sound of a script.

    Attributes:
        samples: (n,) float32 from time 0, mono, room noise included.
        rate_hz: Of ``samples``.
        source: What spoke.
        spoken: The utterances.
        f0_hz: (M,) at k x 10 ms + 5 ms, NaN where unvoiced; None where the source does not tell.
        openness: (M,) 0 to 1, how far the sound opens the mouth, at the same times.
        rounding: (M,) 1 pursed to -1 spread, at the same times.
    """

    samples: Singles
    rate_hz: int
    source: Source
    spoken: tuple[Spoken, ...]
    f0_hz: Floats | None
    openness: Floats
    rounding: Floats


@dataclass(frozen=True, eq=False, slots=True)
class _Speaker:
    """The voice: who, how, and how it changes."""

    base_hz: float
    tract: float
    female: bool
    f0_st: Curve
    range_st: Curve
    level_db: Curve
    rate: Curve


def base_f0_hz(person: DrawnPerson, seed: int) -> float:
    """The pitch a drawn person speaks at: by gender, children higher; part of their identity."""
    share = float(np.random.default_rng([seed, 7]).random())
    if person.age < 20:
        return 235.0 + 35.0 * share
    return 182.0 + 45.0 * share if person.gender == "f" else 98.0 + 34.0 * share


def speak_script(script: VideoScript, person: DrawnPerson) -> SpeechTrack:
    """Make the sound of a script.

    Args:
        script: What is said and how.
        person: Who says it.

    Raises:
        MissingExtra: ``voice = "espeak"`` and espeak-ng is not installed.
        SettingsError: An utterance starts before the one before it ends.
        InputError: espeak-ng failed.
    """
    source = _source(script)
    speaker = _speaker(script, person)
    rate, hops = script.audio_rate_hz, math.ceil(script.duration_s / VOICE_HOP_S - 1e-9)
    samples = np.zeros(math.ceil(script.duration_s * rate), dtype=np.float32)
    voice = np.zeros_like(samples)  # one utterance at a time
    centres = (np.arange(hops, dtype=np.float64) + 0.5) * VOICE_HOP_S
    f0, openness, rounding = (np.full(hops, fill) for fill in (math.nan, 0.0, 0.0))
    spoken: list[Spoken] = []
    for number, saying in enumerate(script.sayings):
        phrases: list[Phrase] = []
        if source == "formant":
            phrases = _formant_phrases(script, saying, speaker)
            rng = np.random.default_rng([script.seed, 2, number])
            for phrase in phrases:
                contour = _contour(phrase, saying, speaker)
                voice_phones(phrase.phones, contour, speaker.tract, voice, rate)
                noise_phones(phrase.phones, rng, voice, rate)
            segments = [Interval(p.start_s, p.end_s) for p in phrases]
        else:
            segments = _espeak_segments(script, saying, speaker, voice)
        _refuse_overlap(segments, spoken)
        segments = [s for s in segments if s.start_s < script.duration_s]
        if not segments:
            continue
        whole = Interval(segments[0].start_s, min(segments[-1].end_s, script.duration_s))
        # Only the utterance and a little around it: long recordings have many.
        rows = slice(max(0, math.floor(whole.start_s / VOICE_HOP_S) - 20),
                     min(hops, math.ceil(whole.end_s / VOICE_HOP_S) + 20))  # fmt: skip
        part = slice(round(rows.start * VOICE_HOP_S * rate), round(rows.stop * VOICE_HOP_S * rate))
        near, piece = centres[rows], voice[part]
        _note_voicing(phrases, saying, speaker, near, f0[rows], rounding[rows])
        piece *= _gain(voice, segments, rate, script.level_dbfs)
        local = near - part.start / rate
        opened = script.mouth_gain * _openness(piece, rate, local)
        openness[rows] = np.maximum(openness[rows], opened)
        gain_db = speaker.level_db.at(near) + saying.level_db
        gain_db = np.interp(np.arange(len(piece)) / rate, local, gain_db)
        samples[part] += piece * (10.0 ** (gain_db / 20.0)).astype(np.float32)
        voice[part.start :] = 0.0
        words = tuple(word for phrase in phrases for word in phrase.words)
        spoken.append(Spoken(whole, plain_text(saying.text), tuple(segments), words))
    samples += room_noise(len(samples), rate, script.noise_dbfs, script.seed)
    pitch = f0 if source == "formant" else None
    return SpeechTrack(samples, rate, source, tuple(spoken), pitch, openness, rounding)


def room_noise(count: int, rate_hz: int, level_dbfs: float, seed: int) -> Singles:
    """Noise of a given RMS, flat up to 7 kHz; a tile that repeats without a seam."""
    n = round(_NOISE_TILE_S * 16_000)
    spectrum = np.fft.rfft(np.random.default_rng([seed, 3]).standard_normal(n))
    spectrum[np.fft.rfftfreq(n, 1 / 16_000) > 7000] = 0.0
    tile = resampled_period(np.fft.irfft(spectrum, n), round(_NOISE_TILE_S * rate_hz))
    tile *= 10.0 ** (level_dbfs / 20.0) / np.sqrt(np.mean(tile**2))
    return np.resize(tile.astype(np.float32), count)


def level_dbfs(samples: Singles, rate_hz: int, centres_s: Floats) -> Floats:
    """20 log10 of the RMS of 20 ms around each centre, full scale = 0 dB, at least -120."""
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    half = round(0.01 * rate_hz)
    middle = np.round(centres_s * rate_hz).astype(np.int64)
    low, high = (np.clip(middle + k, 0, len(samples)) for k in (-half, half))
    power = (energy[high] - energy[low]) / np.maximum(high - low, 1)
    return np.asarray(10.0 * np.log10(np.maximum(power, 1e-12)))


def _refuse_overlap(segments: list[Interval], spoken: list[Spoken]) -> None:
    """Raise for overlapping utterances; only now are their lengths known."""
    if segments and spoken and segments[0].start_s < spoken[-1].interval.end_s:
        before, start = spoken[-1], segments[0].start_s
        raise SettingsError(
            Text(
                f"sayings: one starts at {start:g} s while {before.text!r} lasts until "
                f"{before.interval.end_s:.2f} s; move it or raise rate",
                f"sayings: {before.text!r}이(가) {before.interval.end_s:.2f}초까지 이어지는데 "
                f"다음 발화가 {start:g}초에 시작합니다. 시각을 옮기거나 rate를 높이십시오",
            )
        )


def _source(script: VideoScript) -> Source:
    if script.voice != "formant" and espeak_version() is not None:
        return "espeak"
    if script.voice != "espeak":
        return "formant"
    raise MissingExtra(
        Text(
            'voice = "espeak" needs the program espeak-ng (apt install espeak-ng, brew install '
            'espeak-ng); or set voice = "formant"',
            'voice = "espeak"에는 espeak-ng 프로그램이 필요합니다(apt install espeak-ng, brew '
            'install espeak-ng). 또는 voice = "formant"로 두십시오',
        )
    )


def _speaker(script: VideoScript, person: DrawnPerson) -> _Speaker:
    tract = 1.17 if person.gender == "f" else 1.0
    return _Speaker(
        base_hz=script.f0_hz or base_f0_hz(person, script.person),
        tract=1.25 if person.age < 20 else tract,
        female=person.gender == "f",
        f0_st=key_curve(script.voice_keys, "f0_st"),
        range_st=key_curve(script.voice_keys, "range_st", _RANGE_ST),
        level_db=key_curve(script.voice_keys, "level_db"),
        rate=key_curve(script.voice_keys, "rate", 1.0),
    )


# --- nunbit's own source --------------------------------------------------------------------------


def _formant_phrases(script: VideoScript, saying: Saying, speaker: _Speaker) -> list[Phrase]:
    def syllable_s(time_s: float) -> float:
        factor = saying.rate * float(speaker.rate.at(np.array([time_s]))[0])
        return 1.0 / (script.syllables_per_s * factor)

    phrases, now = [], saying.start_s
    for words, pause in split_pauses(saying.text):
        phrase = plan_phrase(words, now, syllable_s)
        if phrase is not None:
            phrases.append(phrase)
            now = phrase.end_s
        now += pause
    return phrases


def _contour(phrase: Phrase, saying: Saying, speaker: _Speaker) -> Callable[[Floats], Floats]:
    """Pitch over time: the voice's curve, a fall through the phrase, a rise on each word."""

    def f0_hz(times_s: Floats) -> Floats:
        share = (times_s - phrase.start_s) / (phrase.end_s - phrase.start_s)
        fall = _DECLINATION_ST * (1.0 - 2.0 * np.clip(share, 0.0, 1.0))
        semitones = speaker.f0_st.at(times_s) + saying.f0_st + fall
        height = speaker.range_st.at(times_s)
        for word in phrase.words:
            place = np.clip((times_s - word.start_s) / (word.end_s - word.start_s), 0.0, 1.0)
            semitones = semitones + height * (
                np.sin(math.pi * place) ** 2 - 0.5 / len(phrase.words)
            )
        return np.asarray(speaker.base_hz * 2.0 ** (semitones / 12.0))

    return f0_hz


def _note_voicing(
    phrases: list[Phrase],
    saying: Saying,
    speaker: _Speaker,
    centres: Floats,
    f0: Floats,
    rounding: Floats,
) -> None:
    """Write the truth of one utterance into the tracks."""
    for phrase in phrases:
        contour = _contour(phrase, saying, speaker)
        for run, _ in voiced_runs(phrase.phones):
            inside = (centres >= run.start_s) & (centres < run.end_s)
            f0[inside] = contour(centres[inside])
        vowels = [p for p in phrase.phones if p.kind == "vowel"]
        near = (centres >= phrase.start_s) & (centres < phrase.end_s)
        middles = [0.5 * (p.start_s + p.end_s) for p in vowels]
        rounding[near] = np.interp(centres[near], middles, [p.rounding for p in vowels])


# --- espeak-ng ------------------------------------------------------------------------------------


def _espeak_segments(
    script: VideoScript, saying: Saying, speaker: _Speaker, out: Singles
) -> list[Interval]:
    """Speak an utterance into ``out``; where its pieces came to lie."""
    rate, now, segments = script.audio_rate_hz, saying.start_s, []
    for words, pause in split_pauses(saying.text):
        if words:
            here = np.array([now])
            semitones = float(speaker.f0_st.at(here)[0]) + saying.f0_st
            semitones += 12.0 * math.log2(speaker.base_hz / (190.0 if speaker.female else 110.0))
            speed = script.syllables_per_s / 4.6 * saying.rate * float(speaker.rate.at(here)[0])
            piece = espeak(words, script.language, speaker.female, semitones, speed)
            if len(piece):
                sound = resampled_period(piece, round(len(piece) * rate / 22_050)).astype(
                    np.float32
                )
                first = round(now * rate)
                room = max(0, min(len(sound), len(out) - first))
                out[first : first + room] += sound[:room]
                segments.append(Interval(now, now + len(sound) / rate))
                now = segments[-1].end_s
        now += pause
    return segments


# --- levels ---------------------------------------------------------------------------------------


def _gain(voice: Singles, segments: list[Interval], rate_hz: int, level: float) -> np.float32:
    """The factor that brings the RMS over the stretches of sound to ``level``."""
    pieces = [voice[round(s.start_s * rate_hz) : round(s.end_s * rate_hz)] for s in segments]
    power = float(np.mean(np.concatenate(pieces).astype(np.float64) ** 2))
    return np.float32(10.0 ** (level / 20.0) / math.sqrt(power) if power > 0 else 1.0)


def _openness(voice: Singles, rate_hz: int, centres: Floats) -> Floats:
    """How far the mouth opens: amplitude of 20 ms, smoothed over 50 ms, loudest syllable = 1."""
    amplitude = 10.0 ** (level_dbfs(voice, rate_hz, centres) / 20.0)
    kernel = np.hanning(7)[1:-1]
    smoothed = np.convolve(amplitude, kernel / kernel.sum(), mode="same")
    loud = float(np.percentile(smoothed[smoothed > 1e-4], 95)) if (smoothed > 1e-4).any() else 1.0
    return np.asarray(np.clip(smoothed / loud, 0.0, 1.0) ** 0.8)
