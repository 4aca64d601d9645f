"""Text to phones and phones to a waveform: what a synthetic mouth does, with exact times.

A deliberate simplification of Korean: every syllable block is onset, vowel, coda, without the
sound changes between blocks. Other scripts are babbled, one syllable for each group of vowels.
Glottal pulses at exact times each start one damped sinusoid per formant (formant-wave functions:
Rodet 1984, Computer Music Journal 8(3)), evaluated at the pulse's own fraction of a sample. So the
pitch is exactly the contour that was asked for, without jitter or rounding to samples. Knows
nothing of scripts.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nunbit.core.streams import Floats, Interval, Singles
from nunbit.language.spoken import spoken_form

Formants = tuple[float, float, float]
Kind = Literal["vowel", "nasal", "liquid", "noise", "closure"]
_Sound = tuple[Kind, float, tuple[Formants, ...], float, float]  # a phone without its time

# First three formants in hertz of a grown man's vowels, rounded from published averages.
_A, _EO, _O, _U, _EU, _I, _E = (
    (770.0, 1330.0, 2550.0), (600.0, 990.0, 2550.0), (400.0, 780.0, 2500.0),
    (350.0, 820.0, 2450.0), (390.0, 1460.0, 2450.0), (290.0, 2200.0, 2950.0),
    (500.0, 1850.0, 2600.0),
)  # fmt: skip
_VOWELS: tuple[tuple[Formants, ...], ...] = (  # in the order of Unicode's medial vowels
    (_A,), (_E,), (_I, _A), (_I, _E), (_EO,), (_E,), (_I, _EO), (_I, _E), (_O,), (_O, _A),
    (_O, _E), (_O, _E), (_I, _O), (_U,), (_U, _EO), (_U, _E), (_U, _I), (_I, _U), (_EU,),
    (_EU, _I), (_I,),
)  # fmt: skip
_ROUNDED, _SPREAD = {_O: 1.0, _U: 1.0}, {_I: 0.6, _E: 0.35}
_NASAL: Formants = (250.0, 1150.0, 2300.0)
_LIQUID: Formants = (380.0, 1300.0, 2500.0)


@dataclass(frozen=True, slots=True)
class _Onset:
    """Seconds of closure, of noise and of voiced murmur, and the noise's centre frequency."""

    closure: float = 0.0
    noise: float = 0.0
    murmur: float = 0.0
    kind: Kind = "noise"
    hz: float = 0.0
    level: float = 0.3


_NONE = _Onset()
_ONSETS: tuple[_Onset, ...] = (  # in the order of Unicode's initial consonants
    _Onset(0.03, 0.018, hz=1800), _Onset(0.055, 0.010, hz=1800),  # ㄱ ㄲ
    _Onset(murmur=0.055, kind="nasal"),  # ㄴ
    _Onset(0.03, 0.016, hz=3400), _Onset(0.055, 0.010, hz=3400),  # ㄷ ㄸ
    _Onset(murmur=0.032, kind="liquid"),  # ㄹ
    _Onset(murmur=0.06, kind="nasal"),  # ㅁ
    _Onset(0.03, 0.014, hz=900), _Onset(0.055, 0.010, hz=900),  # ㅂ ㅃ
    _Onset(noise=0.07, hz=5200, level=0.22), _Onset(noise=0.085, hz=5400, level=0.28),  # ㅅ ㅆ
    _NONE,  # ㅇ
    _Onset(0.03, 0.045, hz=4200), _Onset(0.05, 0.03, hz=4200),  # ㅈ ㅉ
    _Onset(0.045, 0.065, hz=4200), _Onset(0.045, 0.045, hz=1800),  # ㅊ ㅋ
    _Onset(0.045, 0.045, hz=3400), _Onset(0.045, 0.042, hz=1000),  # ㅌ ㅍ
    _Onset(noise=0.045, hz=1500, level=0.16),  # ㅎ
)  # fmt: skip
_CODA_NASALS, _CODA_LIQUIDS = {4, 5, 6, 16, 21}, {8, 9, 11, 12, 13, 14, 15}
# Latin letters to the nearest onset and vowel; y and w are taken for vowels.
_LATIN_ONSETS = {
    "b": 7, "c": 15, "d": 3, "f": 9, "g": 0, "h": 18, "j": 12, "k": 15, "l": 5, "m": 6, "n": 2,
    "p": 17, "q": 15, "r": 5, "s": 9, "t": 16, "v": 7, "x": 9, "z": 9,
}  # fmt: skip
_LATIN_VOWELS = {"a": 0, "e": 5, "i": 20, "o": 8, "u": 13, "y": 20, "w": 13}

_PAUSE = re.compile(r"\[\s*([0-9]*\.?[0-9]+)\s*\]")


@dataclass(frozen=True, slots=True)
class Syllable:
    """Indices of onset, vowel and coda in Unicode's order; coda 0 is none."""

    onset: int
    vowel: int
    coda: int


@dataclass(frozen=True, slots=True)
class Phone:
    """A stretch of one kind of sound.

    Attributes:
        kind: ``closure`` is silent, ``noise`` unvoiced, the others voiced.
        start_s: Seconds.
        end_s: Seconds.
        formants: Targets passed through, for voiced kinds.
        level: Relative amplitude.
        hz: Centre frequency of noise.
        rounding: Lips: 1 pursed, negative spread.
    """

    kind: Kind
    start_s: float
    end_s: float
    formants: tuple[Formants, ...] = ()
    level: float = 1.0
    hz: float = 0.0
    rounding: float = 0.0

    @property
    def voiced(self) -> bool:
        """Whether the vocal folds swing."""
        return self.kind in ("vowel", "nasal", "liquid")


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word with the time of its sounds.

    Attributes:
        text: As written.
        start_s: First sound.
        end_s: Last sound.
        syllables: How many were spoken.
    """

    text: str
    start_s: float
    end_s: float
    syllables: int


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words without a pause between them.

    Attributes:
        words: In order.
        phones: In order, without holes.
    """

    words: tuple[SpokenWord, ...]
    phones: tuple[Phone, ...]

    @property
    def start_s(self) -> float:
        """First sound."""
        return self.phones[0].start_s

    @property
    def end_s(self) -> float:
        """Last sound."""
        return self.phones[-1].end_s


def split_pauses(text: str) -> list[tuple[str, float]]:
    """Cut ``text`` at ``[seconds]``: (words, pause that follows them) of each piece.

    Leading pauses count as a piece without words.
    """
    words, lengths = _PAUSE.split(text)[::2], [*map(float, _PAUSE.findall(text)), 0.0]
    return [(piece.strip(), gap) for piece, gap in zip(words, lengths, strict=True)]


def plain_text(text: str) -> str:
    """What a transcript says: the words without the marks of pauses."""
    return " ".join(_PAUSE.sub(" ", text).split())


def syllables_of(word: str) -> tuple[Syllable, ...]:
    """Syllables of a written word; numbers are read out, punctuation is silent."""
    found: list[Syllable] = []
    onset: int | None = None
    vowel_open = False
    for sign in spoken_form(unicodedata.normalize("NFC", word)):
        code = ord(sign) - 0xAC00
        if 0 <= code < 11172:
            found.append(Syllable(code // 588, code % 588 // 28, code % 28))
            onset, vowel_open = None, False
            continue
        letter = unicodedata.normalize("NFD", sign.lower())[0]
        if letter in _LATIN_VOWELS:
            if not vowel_open:
                found.append(Syllable(11 if onset is None else onset, _LATIN_VOWELS[letter], 0))
            onset, vowel_open = None, True
        elif letter in _LATIN_ONSETS:
            onset, vowel_open = _LATIN_ONSETS[letter], False
    return tuple(found)


def plan_phrase(text: str, start_s: float, syllable_s: Callable[[float], float]) -> Phrase | None:
    """Lay the words of a phrase on the clock.

    Args:
        text: Words between spaces.
        start_s: First sound.
        syllable_s: Length of a syllable that begins at a time, seconds.

    Returns:
        None if nothing can be spoken.
    """
    written = [(word, found) for word in text.split() if (found := syllables_of(word))]
    words, phones, now = [], list[Phone](), start_s
    for k, (word, syllables) in enumerate(written):
        began = now
        for j, syllable in enumerate(syllables):
            last = k == len(written) - 1 and j == len(syllables) - 1
            length = syllable_s(now) * (1.35 if last else 1.0)  # a phrase slows down at its end
            phones += _phones(syllable, now, length, first=not phones, last=last)
            now = phones[-1].end_s
        sounds = [p for p in phones if p.start_s >= began and p.kind != "closure"]
        words.append(SpokenWord(word, sounds[0].start_s, sounds[-1].end_s, len(syllables)))
    return Phrase(tuple(words), tuple(phones)) if words else None


def _phones(
    syllable: Syllable, start_s: float, length_s: float, *, first: bool, last: bool
) -> list[Phone]:
    """One syllable; a closure at the edge of a phrase would be silence and is left out."""
    onset, path = _ONSETS[syllable.onset], _VOWELS[syllable.vowel]
    squeeze = min(1.0, length_s / 0.2)
    rounding = _ROUNDED.get(path[0], 0.0) - _SPREAD.get(path[-1], 0.0)
    parts: list[_Sound] = []
    if onset.closure and not first:
        parts.append(("closure", onset.closure * squeeze, (), 0.0, 0.0))
    if onset.noise:
        parts.append(("noise", onset.noise * squeeze, (), onset.level, onset.hz))
    if onset.murmur:
        target = _NASAL if onset.kind == "nasal" else _LIQUID
        parts.append((onset.kind, onset.murmur * squeeze, (target,), 0.4, 0.0))
    coda: list[_Sound] = []
    if syllable.coda in _CODA_NASALS:
        coda = [("nasal", 0.06 * squeeze, (_NASAL,), 0.4, 0.0)]
    elif syllable.coda in _CODA_LIQUIDS:
        coda = [("liquid", 0.05 * squeeze, (_LIQUID,), 0.45, 0.0)]
    elif syllable.coda and not last:
        coda = [("closure", 0.04 * squeeze, (), 0.0, 0.0)]
    used = sum(part[1] for part in parts + coda)
    parts.append(("vowel", max(length_s - used, 0.045), path, 1.0, 0.0))
    made, now = [], start_s
    for kind, duration, formants, level, hz in parts + coda:
        made.append(Phone(kind, now, now + duration, formants, level, hz, rounding))
        now += duration
    return made


_BANDWIDTHS_HZ = (120.0, 75.0, 95.0, 140.0, 260.0)  # of the voice's base and four formants
_ATTACK_S = (0.003, 0.0012, 0.0008, 0.0006, 0.0005)
_FOURTH_HZ = 3500.0
_DECAYED = 5.5  # time constants after which a formant has rung out: 0.4%
_RAMP_S = 0.012  # of voicing at its edges


def voiced_runs(phones: Sequence[Phone]) -> list[tuple[Interval, list[Phone]]]:
    """Consecutive voiced phones, and the stretch from their first pulse to their end."""
    groups = itertools.groupby(phones, key=lambda phone: phone.voiced)
    runs = [list(members) for voiced, members in groups if voiced]
    return [(Interval(run[0].start_s, run[-1].end_s), run) for run in runs]


def pulse_times(run: Interval, f0_hz: Callable[[Floats], Floats]) -> Floats:
    """Times of the pulses whose rate is the contour: where its integral is a whole number."""
    count = max(2, math.ceil((run.end_s - run.start_s) * 2000.0) + 1)
    grid = np.linspace(run.start_s, run.end_s, count)
    rate = f0_hz(grid)
    step = (run.end_s - run.start_s) / (count - 1)
    phase = np.concatenate([[0.0], np.cumsum(0.5 * (rate[1:] + rate[:-1]) * step)])
    return np.asarray(np.interp(np.arange(0.0, math.floor(phase[-1]) + 1.0), phase, grid))


def voice_phones(
    phones: Sequence[Phone],
    f0_hz: Callable[[Floats], Floats],
    tract: float,
    out: Singles,
    rate_hz: int,
) -> None:
    """Add the voiced sounds to ``out``.

    Args:
        phones: Of one phrase.
        f0_hz: Contour.
        tract: Factor of all formants: 1 for a long vocal tract, 1.17 for a short one.
        out: (n,) samples from time 0; changed.
        rate_hz: Of ``out``.
    """
    for run, members in voiced_runs(phones):
        times = pulse_times(run, f0_hz)
        targets, levels = _targets(members, times)
        ramp = np.minimum(times - run.start_s, run.end_s - times) / _RAMP_S
        levels = levels * np.sin(0.5 * math.pi * np.clip(ramp, 0.15, 1.0)) ** 2
        fourth = np.full(len(times), _FOURTH_HZ * tract)
        hertz = np.column_stack([f0_hz(times), targets * tract, fourth])  # (P, 5)
        _ring(times, hertz, levels, run.end_s, out, rate_hz)


def noise_phones(
    phones: Sequence[Phone], rng: np.random.Generator, out: Singles, rate_hz: int
) -> None:
    """Add bursts, friction and breath to ``out``; all energy lies below 7.5 kHz."""
    for phone in (p for p in phones if p.kind == "noise"):
        first, last = round(phone.start_s * rate_hz), round(phone.end_s * rate_hz)
        n = min(last, len(out)) - first
        if n < 8:
            continue
        # Drawn at one rate whatever the file's: the same words sound alike in every container.
        white = rng.standard_normal(max(16, round((last - first) / rate_hz * 16_000)))
        hertz = np.fft.rfftfreq(len(white), 1 / 16_000)
        shape = np.exp(-0.5 * ((hertz - phone.hz) / (0.3 * phone.hz + 250.0)) ** 2) * (hertz < 7500)
        noise = resampled_period(np.fft.irfft(np.fft.rfft(white) * shape, len(white)), n)
        noise *= phone.level * 0.6 / max(float(np.sqrt(np.mean(noise**2))), 1e-9)
        edge = np.minimum(np.arange(n), np.arange(n)[::-1]) / max(1.0, 0.2 * n)
        out[first : first + n] += noise * np.minimum(edge, 1.0)


def resampled_period(samples: Floats, count: int) -> Floats:
    """The same band-limited periodic signal with another number of samples."""
    return np.asarray(np.fft.irfft(np.fft.rfft(samples), count) * (count / len(samples)))


def _targets(members: Sequence[Phone], times: Floats) -> tuple[Floats, Floats]:
    """Formants (P, 3) and amplitudes (P,) at the pulses, gliding between the phones."""
    at, formants, level_at, level = [], [], [], []
    for phone in members:
        length = phone.end_s - phone.start_s
        for k, target in enumerate(phone.formants):
            place = (k + 0.5) / len(phone.formants)
            at.append(phone.start_s + length * (0.5 if len(phone.formants) == 1 else place))
            formants.append(target)
        # A syllable swells and fades; that is what opens and closes the mouth.
        low = phone.level * (0.45 if phone.kind == "vowel" else 1.0)
        level_at += [phone.start_s + 0.08 * length, phone.start_s + 0.4 * length,
                     phone.end_s - 0.08 * length]  # fmt: skip
        level += [low, phone.level, low]
    table = np.array(formants)
    glide = np.column_stack([np.interp(times, at, table[:, k]) for k in range(3)])
    return glide, np.interp(times, level_at, level)


def _ring(
    times: Floats, hertz: Floats, levels: Floats, end_s: float, out: Singles, rate_hz: int
) -> None:
    """Add what each pulse starts: (P,) times, (P, 5) frequencies, (P,) amplitudes."""
    first = np.ceil(times * rate_hz).astype(np.int64)
    early = (first / rate_hz - times).astype(np.float32)  # how long after the pulse
    # Nothing sounds past the end of the voicing by more than a few milliseconds.
    stop = min(len(out), math.ceil((end_s + 0.004) * rate_hz))
    weight = levels[:, None] * np.column_stack(
        [np.full(len(times), 0.55), (500.0 / hertz[:, 1:]) ** 0.85]
    )
    for k, (bandwidth, attack) in enumerate(zip(_BANDWIDTHS_HZ, _ATTACK_S, strict=True)):
        n = math.ceil(_DECAYED / (math.pi * bandwidth) * rate_hz)
        t = early[:, None] + np.arange(n, dtype=np.float32) / np.float32(rate_hz)  # (P, n)
        grain = np.exp(t * np.float32(-math.pi * bandwidth))
        grain *= np.sin(t * (2.0 * math.pi * hertz[:, k, None]).astype(np.float32))
        rise = t < attack
        grain[rise] *= 0.5 - 0.5 * np.cos(t[rise] * np.float32(math.pi / attack))
        grain *= weight[:, k, None].astype(np.float32)
        for row, start in zip(grain, first.tolist(), strict=True):
            room = max(0, min(n, stop - start))
            out[start : start + room] += row[:room]
