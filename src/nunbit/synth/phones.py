"""Text to phones: what a synthetic mouth does for each syllable, with exact times.

A deliberate simplification of Korean: every syllable block is onset, vowel, coda, without the
sound changes between blocks. Other scripts are babbled, one syllable for each group of vowels.
Knows nothing of waveforms.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nunbit.hangul import spoken_form

Formants = tuple[float, float, float]
Kind = Literal["vowel", "nasal", "liquid", "noise", "closure"]

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
    pieces = _PAUSE.split(text)
    lengths = [float(value) for value in pieces[1::2]] + [0.0]
    return [(words.strip(), gap) for words, gap in zip(pieces[::2], lengths, strict=True)]


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
    written = [(word, syllables_of(word)) for word in text.split()]
    written = [(word, syllables) for word, syllables in written if syllables]
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
    onset = _ONSETS[syllable.onset]
    path = _VOWELS[syllable.vowel]
    squeeze = min(1.0, length_s / 0.2)
    rounding = _ROUNDED.get(path[0], 0.0) - _SPREAD.get(path[-1], 0.0)
    parts: list[tuple[Kind, float, tuple[Formants, ...], float, float]] = []
    if onset.closure and not first:
        parts.append(("closure", onset.closure * squeeze, (), 0.0, 0.0))
    if onset.noise:
        parts.append(("noise", onset.noise * squeeze, (), onset.level, onset.hz))
    if onset.murmur:
        target = _NASAL if onset.kind == "nasal" else _LIQUID
        parts.append((onset.kind, onset.murmur * squeeze, (target,), 0.4, 0.0))
    coda: list[tuple[Kind, float, tuple[Formants, ...], float, float]] = []
    if syllable.coda in _CODA_NASALS:
        coda.append(("nasal", 0.06 * squeeze, (_NASAL,), 0.4, 0.0))
    elif syllable.coda in _CODA_LIQUIDS:
        coda.append(("liquid", 0.05 * squeeze, (_LIQUID,), 0.45, 0.0))
    elif syllable.coda and not last:
        coda.append(("closure", 0.04 * squeeze, (), 0.0, 0.0))
    used = sum(part[1] for part in parts + coda)
    parts.append(("vowel", max(length_s - used, 0.045), path, 1.0, 0.0))
    made, now = [], start_s
    for kind, duration, formants, level, hz in parts + coda:
        made.append(Phone(kind, now, now + duration, formants, level, hz, rounding))
        now += duration
    return made
