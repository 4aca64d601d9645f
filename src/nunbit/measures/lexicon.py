"""Word lists: which words count as negative, positive, absolutist or first person.

Lists are versioned TOML in the package; small seeds that nobody has validated, and they say so. A
Korean word is found by its morphemes, whatever its ending, particle or spacing; an English one by
its form. Whether a Korean word is negated or wished for is not decided here, but in
:mod:`nunbit.measures.wording`; English has a rule of its own below. Knows nothing of time or
speakers.
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

from nunbit.hangul.morphemes import Morpheme
from nunbit.streams import Flags

_EDGES = re.compile(r"^[\W_]+|[\W_]+$")


@dataclass(frozen=True, slots=True)
class Entries:
    """The words of one list in one language.

    Attributes:
        words: Korean: morphemes of any kind; English: whole words.
        nouns: Korean nouns and roots, with any particle or 하다, 스럽다 and their like behind.
        pronouns: Korean pronouns.
        predicates: Korean verbs and adjectives in their dictionary form.
        phrases: Korean words that follow one another, particles and adverbs between: ``화 나다``.
        stems: Beginnings of English words, any ending.
        not_stems: Beginnings that a stem would catch wrongly.
    """

    words: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()
    pronouns: tuple[str, ...] = ()
    predicates: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
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
        polar: Whether its words have a sign: then a word that is negated or wished for does not
            count (행복하지 않다, 행복했으면 좋겠다).
    """

    name: str
    version: str
    validated: bool
    source: str
    ko: Entries
    en: Entries
    polar: bool = False


@cache
def load_lexicon(name: str) -> Lexicon:
    """Read a word list of the package."""
    source = resources.files("nunbit") / "data" / "lexicons" / f"{name}.toml"
    document = tomllib.loads(source.read_text(encoding="utf-8"))
    return msgspec.convert({"name": name, **document}, Lexicon)


def lexicon_names() -> tuple[str, ...]:
    """Names of the word lists in the package, sorted."""
    folder = resources.files("nunbit") / "data" / "lexicons"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir()))


def tokens_of(text: str) -> tuple[str, ...]:
    """The eojeol (words between blanks) without punctuation at their edges, NFC, lower case."""
    bare = (_EDGES.sub("", part) for part in unicodedata.normalize("NFC", text).split())
    return tuple(part.casefold() for part in bare if part)


# -- Korean --------------------------------------------------------------------------------------

_SKIPPED = ("J", "MA")
_MOST_SKIPPED = 3
"""Particles and adverbs inside a phrase: 화가 정말 많이 났다."""


def find_in_korean(lexicon: Lexicon, flow: Sequence[Morpheme]) -> tuple[range, ...]:
    """Places of the list's words among morphemes, in order; a place may be in several.

    Args:
        lexicon: The list.
        flow: Morphemes of a text.
    """
    table = _korean(lexicon)
    found: set[tuple[int, int]] = set()
    for i, m in enumerate(flow):
        if _is_listed(table, flow, i):
            found.add((i, i + 1))
        for phrase in table.phrases.get(m.form, ()):
            last = _phrase_end(phrase, flow, i)
            if last is not None:
                found.add((i, last))
    return tuple(range(a, b) for a, b in sorted(found))


@dataclass(frozen=True)
class _Korean:
    words: frozenset[str]
    nouns: frozenset[str]
    pronouns: frozenset[str]
    predicates: frozenset[str]
    roots: frozenset[str]
    phrases: dict[str, tuple[tuple[str, ...], ...]]


@cache
def _korean(lexicon: Lexicon) -> _Korean:
    ko = lexicon.ko
    stems = frozenset(_stem(p) for p in ko.predicates)
    phrases: dict[str, tuple[tuple[str, ...], ...]] = {}
    for text in ko.phrases:
        parts = tuple(_stem(part) for part in text.split())
        phrases[parts[0]] = (*phrases.get(parts[0], ()), parts[1:])
    return _Korean(
        words=frozenset(ko.words),
        nouns=frozenset(ko.nouns),
        pronouns=frozenset(ko.pronouns),
        predicates=stems,
        # The analyser gives 뿌듯하 as one morpheme or as 뿌듯 and 하.
        roots=frozenset(stem[:-1] for stem in stems if len(stem) > 1 and stem.endswith("하")),
        phrases=phrases,
    )


def _stem(word: str) -> str:
    return word[:-1] if word.endswith("다") and len(word) > 1 else word


def _is_listed(table: _Korean, flow: Sequence[Morpheme], i: int) -> bool:
    form, tag = flow[i].form, flow[i].tag
    if form in table.words:
        return True
    if tag == "NP":
        return form in table.pronouns
    if tag.startswith(("NN", "XR")):
        if form in table.nouns:
            return True
        after = flow[i + 1] if i + 1 < len(flow) else None
        return form in table.roots and after is not None and after.tag.startswith("XS")
    return tag in ("VV", "VA") and form in table.predicates


def _phrase_end(rest: tuple[str, ...], flow: Sequence[Morpheme], i: int) -> int | None:
    """Place after a phrase whose first part is at i; None where the rest does not follow."""
    at = i + 1
    for part in rest:
        skipped = 0
        while at < len(flow) and flow[at].form != part:
            if skipped == _MOST_SKIPPED or not flow[at].tag.startswith(_SKIPPED):
                return None
            at, skipped = at + 1, skipped + 1
        if at == len(flow):
            return None
        at += 1
    return at


# -- English -------------------------------------------------------------------------------------

_REACH = 5
"""Words before a word in which a negation or wish is looked for, within the clause."""

_NOT = frozenset(
    {"not", "never", "no", "without", "hardly", "nothing", "nobody", "none", "neither", "nor",
     "rarely", "seldom", "lack", "lacked", "lost", "cannot", "stopped"}
)  # fmt: skip
_WISHED = frozenset({"wish", "wished", "want", "wanted", "wants", "wanna", "if", "could"})
_BREAKS = frozenset({"but", "and", "so", "because", "although", "though"})


def find_in_english(lexicon: Lexicon, text: str) -> Flags:
    """Which words between blanks of an English text are on the list; (n,).

    On a polar list a word does not count where a negation or a wish stands among the five words
    before it in the same clause. Irony and wider negation are not seen.
    """
    raw = [part for part in unicodedata.normalize("NFC", text).split() if _EDGES.sub("", part)]
    tokens = [_EDGES.sub("", part).casefold() for part in raw]
    hits = np.fromiter((_in_english(lexicon, t) for t in tokens), bool, len(tokens))
    if lexicon.polar:
        for i in np.flatnonzero(hits):
            hits[i] = not _turned(raw, tokens, int(i))
    return hits


def _in_english(lexicon: Lexicon, token: str) -> bool:
    en = lexicon.en
    if token in en.words:
        return True
    return token.startswith(en.stems) and not token.startswith(en.not_stems) if en.stems else False


def _turned(raw: Sequence[str], tokens: Sequence[str], i: int) -> bool:
    for k in range(i - 1, max(-1, i - 1 - _REACH), -1):
        if tokens[k] in _BREAKS or raw[k].endswith((",", ".", "!", "?", ";", ":")):
            return False
        if tokens[k] in _NOT or tokens[k] in _WISHED or tokens[k].endswith(("n't", "n’t")):
            return True
    return False
