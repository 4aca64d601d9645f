"""Spoken form, syllables, fillers and eojeol of a text in Korean or another language."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Sequence

from nunbit.hangul.english import LATIN_WORD, latin_syllables, speak_english
from nunbit.hangul.korean import is_acronym, speak_korean, without_units

_HANGUL = re.compile(r"[가-힣]")
_LATIN = re.compile(LATIN_WORD)
_LONGEST_ACRONYM = 4  # a longer word in capitals is taken for English where no Hangul is near

_PUNCTUATION = ".,!?…~·\"'“”‘’()[]<>:;-–—、。，"
_FILLERS = {
    "ko": re.compile(r"어+|음+|으+음+|흐*흠+|엄+|에+|아+"),
    "en": re.compile(r"u+h+|u+h*m+|e+r+m*|m{2,}|h+m+"),
    "de": re.compile(r"ä+h*m*|h+m+"),
}
# Words of their own as well (그 사람, 저는): fillers only where the writer marked the hesitation.
_HESITATION = re.compile(r"(?:그+|저+|뭐+|막)(?:,|~|…|\.\.+|-|–|—)+")


def spoken_form(text: str, language: str | None = None) -> str:
    """Write out what is said: ``2024년 3명`` becomes ``이천이십사년 세 명``.

    Words in Latin letters that are not spelled out stay as they are.

    Args:
        text: Any text; it is brought to NFC.
        language: BCP 47; None takes Korean unless there are Latin words and no Hangul.

    Returns:
        Text in which numbers, units and spelled letters are Hangul (English words in English
        text); punctuation and other words are kept.
    """
    text = _normalised(text)
    return speak_korean(text) if _is_korean(text, language) else speak_english(text)


@functools.lru_cache(maxsize=1 << 15)  # a few thousand words make up what people say
def spoken_syllables(text: str, language: str | None = None) -> int:
    """Number of syllables said.

    Hangul blocks of the spoken form, plus groups of vowels of words in Latin letters; the latter
    is right for English and somewhat low for loan words in Korean speech (test: 테스트).
    """
    spoken = spoken_form(text, language)
    return len(_HANGUL.findall(spoken)) + sum(map(latin_syllables, _LATIN.findall(spoken)))


def syllables_per_word(words: Sequence[str], language: str | None = None) -> tuple[int, ...]:
    """Spoken syllables of each word of an utterance, so that ``5`` before ``시`` is 다섯.

    Args:
        words: In order.
        language: As in :func:`spoken_form`; decided from all words together where None.
    """
    if language is None:
        language = "ko" if _is_korean(_normalised(" ".join(words)), None) else "en"
    counts = []
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        if word[-1:].isdigit() and _HANGUL.match(following):
            both = spoken_syllables(f"{word} {following}", language)
            counts.append(both - spoken_syllables(following, language))
        else:
            counts.append(spoken_syllables(word, language))
    return tuple(counts)


@functools.lru_cache(maxsize=1 << 15)
def is_filler(word: str, language: str | None = None) -> bool:
    """Whether a word on its own is a filled pause: 어, 음, uh.

    Korean 그, 저, 뭐 and 막 are words as well and count only with a mark of hesitation (그…, 저,).
    With a question or exclamation mark (어?, 아!) it is an interjection. An 어 or 아 that means yes
    or oh cannot be told apart in writing and counts as a filler.

    Args:
        word: One token, punctuation allowed.
        language: BCP 47; None looks in all lists.
    """
    token = _normalised(word).strip()
    if token.endswith(("?", "!")):
        return False
    primary = None if language is None else language.split("-")[0].lower()
    if primary in (None, "ko") and _HESITATION.fullmatch(token):
        return True
    bare = token.strip(_PUNCTUATION).lower()
    lists = _FILLERS.values() if primary is None else [_FILLERS.get(primary, _FILLERS["en"])]
    return any(pattern.fullmatch(bare) for pattern in lists)


def eojeol(text: str) -> tuple[str, ...]:
    """Words between blanks, NFC, without tokens that are only punctuation."""
    tokens = unicodedata.normalize("NFC", text).split()
    return tuple(token for token in tokens if any(c.isalnum() for c in token))


def is_hangul_text(text: str) -> bool:
    """Whether at least three in ten letters are Hangul."""
    letters = [c for c in unicodedata.normalize("NFC", text) if c.isalpha()]
    return bool(letters) and 10 * len(_HANGUL.findall("".join(letters))) >= 3 * len(letters)


def _normalised(text: str) -> str:
    """NFC; full-width letters and squared units (㎏) as ordinary ones."""
    text = unicodedata.normalize("NFC", text)
    wide = re.compile("[\uff01-\uff5e\u3300-\u33ff]")
    return wide.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)


def _is_korean(text: str, language: str | None) -> bool:
    if _HANGUL.search(text):
        return True
    if language is not None:
        return language.lower().startswith("ko")
    words = _LATIN.findall(without_units(text))
    return all(
        word.isupper() and (len(word) <= _LONGEST_ACRONYM or is_acronym(word)) for word in words
    )
