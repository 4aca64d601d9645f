"""Word lists: which words count as negative, positive, absolutist or first person.

Lists are versioned TOML in the package; small seeds that nobody has validated, and they say so. A
Korean predicate is found by its stem (슬프, 슬퍼), a noun or pronoun by the word with one of the
particles. Knows nothing of time or speakers.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec
import numpy as np

from nunbit.streams import Flags

_EDGES = re.compile(r"^[\W_]+|[\W_]+$")


@dataclass(frozen=True, slots=True)
class Entries:
    """The words of one list in one language.

    Attributes:
        words: Whole words.
        nouns: Words that may carry one of the particles.
        stems: Beginnings of words, any ending.
        not_stems: Beginnings that a stem would catch wrongly.
    """

    words: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()
    stems: tuple[str, ...] = ()
    not_stems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One word list.

    Attributes:
        name: File name without suffix, for example ``negative``.
        version: Goes up with every change of the words.
        validated: Whether anybody has shown that the list measures what it says.
        source: Where the words come from.
        ko: Korean entries.
        en: English entries.
        particles: What may follow a Korean noun of the list.
        negatable: Whether a negated hit does not count (안 슬프다, 슬프지 않다).
    """

    name: str
    version: str
    validated: bool
    source: str
    ko: Entries
    en: Entries
    particles: tuple[str, ...] = ()
    negatable: bool = False


@cache
def load_lexicon(name: str) -> Lexicon:
    """Read a word list of the package."""
    source = resources.files("nunbit") / "data" / "lexicons" / f"{name}.toml"
    document = tomllib.loads(source.read_text(encoding="utf-8"))
    return msgspec.convert({"name": name, **document}, Lexicon)


def tokens_of(text: str) -> tuple[str, ...]:
    """The eojeol (words between blanks) without punctuation at their edges, NFC, lower case."""
    bare = (_EDGES.sub("", part) for part in unicodedata.normalize("NFC", text).split())
    return tuple(part.casefold() for part in bare if part)


def find_hits(lexicon: Lexicon, tokens: Sequence[str]) -> Flags:
    """Which words of a text are on the list; (n,).

    Negation is handled where the list says so, in its plain forms only: 안 or 못 right before,
    an ending in -지 with 않-, 못하- or 말- right after, or the -지 않- within the word; in English
    not, never, no or n't among the two words before. Irony and wider negation are not.
    """
    known = {token: _listed(lexicon, token) for token in set(tokens)}
    hits = np.fromiter((known[token] for token in tokens), bool, len(tokens))
    if lexicon.negatable:
        for i in np.flatnonzero(hits):
            hits[i] = not _negated(tokens, int(i))
    return hits


def _listed(lexicon: Lexicon, token: str) -> bool:
    if token in _whole_words(lexicon):
        return True
    return any(
        token.startswith(entries.stems) and not token.startswith(entries.not_stems)
        for entries in (lexicon.ko, lexicon.en)
        if entries.stems
    )


@cache
def _whole_words(lexicon: Lexicon) -> frozenset[str]:
    forms = set(lexicon.ko.words) | set(lexicon.en.words) | set(lexicon.en.nouns)
    for noun in lexicon.ko.nouns:
        forms |= {noun} | {noun + particle for particle in lexicon.particles}
    return frozenset(forms)


_BEFORE_KO = frozenset({"안", "못"})
_AFTER_KO = ("않", "못하", "못했", "못해", "말")
_INSIDE_KO = ("지않", "지못하", "진않")
_BEFORE_EN = frozenset({"not", "never", "no", "without", "hardly"})


def _negated(tokens: Sequence[str], i: int) -> bool:
    token = tokens[i]
    before = tokens[max(0, i - 2) : i]
    if before and before[-1] in _BEFORE_KO:
        return True
    if any(part in token for part in _INSIDE_KO):
        return True
    after = tokens[i + 1] if i + 1 < len(tokens) else ""
    if token.endswith(("지", "지는", "진", "지도", "지가")) and after.startswith(_AFTER_KO):
        return True
    return any(word in _BEFORE_EN or word.endswith(("n't", "n’t")) for word in before)
