"""How Korean text sounds: numbers and letters spoken out, syllables, fillers, eojeol.

A speech rate needs the syllables that were said, not the characters that were written: 2024년 has
one written syllable and six spoken ones. ``spoken`` puts it together, ``korean`` reads numbers,
letters and counters, ``english`` does the same for English text. Pure functions on strings that
know nothing of time or files.
"""

from nunbit.hangul.korean import native_korean, sino_korean
from nunbit.hangul.spoken import (
    eojeol,
    is_filler,
    is_hangul_text,
    spoken_form,
    spoken_syllables,
    syllables_per_word,
)

__all__ = [
    "eojeol",
    "is_filler",
    "is_hangul_text",
    "native_korean",
    "sino_korean",
    "spoken_form",
    "spoken_syllables",
    "syllables_per_word",
]
