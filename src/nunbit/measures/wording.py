"""What is said: words of the lists that count, and what takes them back.

The lists are versioned TOML in the package. They are short, unvalidated seeds, and state that. A
Korean word is found by its morphemes, whatever its ending, particle or spacing; an English one by
its form. A negated or wished-for word does not count. If a positive word is taken back (or a
negative one negated), a class of that sign is not valid. Subtitles cut sentences into pieces, so
pieces of one sentence are read together. Wording about wanting to die or self-harm is not scored as
an emotion; it has the same reason as an utterance with nothing to score, and no result marks it.
Knows nothing of time beyond the order of utterances, nor of models.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, pairwise

import msgspec
import numpy as np

from nunbit.core.streams import Flags, Transcript, Utterance
from nunbit.language.morphemes import (
    Morpheme,
    Qualifier,
    analyser_missing,
    function_counts,
    morphemes,
)
from nunbit.language.passages import has_passage, may_hold_passage
from nunbit.language.polarity import find_turns
from nunbit.language.spoken import is_hangul_text
from nunbit.runtime.resources import packaged_table

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
        validated: Whether the list was shown to measure what its name says.
        source: Where the words come from.
        ko: Korean entries.
        en: English entries.
        polar: Whether its words are positive or negative: then a negated or wished-for word does
            not count (행복하지 않다, 행복했으면 좋겠다).
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
    return msgspec.convert(
        {"name": name, **packaged_table(f"measures/data/lexicons/{name}.toml")}, Lexicon
    )


_SKIPPED = ("J", "MA")
_MOST_SKIPPED = 3
"""Particles and adverbs inside a phrase: 화가 정말 많이 났다."""


def find_in_korean(lexicon: Lexicon, flow: Sequence[Morpheme]) -> tuple[range, ...]:
    """Places of the list's words among morphemes, in order; a place may be in several.

    Args:
        lexicon: The list.
        flow: Morphemes of a text.
    """
    table = _korean_table(lexicon)
    found = {(i, i + 1) for i in range(len(flow)) if _is_listed(table, flow, i)}
    for i, m in enumerate(flow):
        ends = (_phrase_end(phrase, flow, i) for phrase in table.phrases.get(m.form, ()))
        found |= {(i, end) for end in ends if end is not None}
    return tuple(range(a, b) for a, b in sorted(found))


@dataclass(frozen=True)
class _Korean:
    words: frozenset[str]
    nouns: frozenset[str]
    pronouns: frozenset[str]
    predicates: frozenset[str]
    roots: frozenset[str]
    phrases: dict[str, list[list[str]]]


@cache
def _korean_table(lexicon: Lexicon) -> _Korean:
    ko = lexicon.ko
    stems = frozenset(_stem(p) for p in ko.predicates)
    phrases = defaultdict(list)
    for text in ko.phrases:
        first, *rest = map(_stem, text.split())
        phrases[first].append(rest)
    return _Korean(
        words=frozenset(ko.words),
        nouns=frozenset(ko.nouns),
        pronouns=frozenset(ko.pronouns),
        predicates=stems,
        # The analyser gives 뿌듯하 as one morpheme or as 뿌듯 and 하.
        roots=frozenset(stem[:-1] for stem in stems if len(stem) > 1 and stem.endswith("하")),
        phrases=dict(phrases),
    )


def _stem(word: str) -> str:
    return word[:-1] if word.endswith("다") and len(word) > 1 else word


def _is_listed(table: _Korean, flow: Sequence[Morpheme], i: int) -> bool:
    form, tag = flow[i].form, flow[i].tag
    if form in table.words:
        return True
    if tag.startswith(("NN", "XR")):
        is_root = form in table.roots and any(m.tag.startswith("XS") for m in flow[i + 1 : i + 2])
        return form in table.nouns or is_root
    listed = {"NP": table.pronouns, "VV": table.predicates, "VA": table.predicates}
    return form in listed.get(tag, ())


def _phrase_end(rest: Sequence[str], flow: Sequence[Morpheme], i: int) -> int | None:
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


# -- English ---------------------------------------------------------------------------------------

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
    hits = [
        _in_english(lexicon.en, token) and not (lexicon.polar and _turned(raw, tokens, i))
        for i, token in enumerate(tokens)
    ]
    return np.array(hits, bool)


def _in_english(en: Entries, token: str) -> bool:
    is_stem = token.startswith(en.stems) and not token.startswith(en.not_stems)
    return is_stem or token in en.words


def _turned(raw: Sequence[str], tokens: Sequence[str], i: int) -> bool:
    for k in range(i - 1, max(-1, i - 1 - _REACH), -1):
        if tokens[k] in _BREAKS or raw[k].endswith((",", ".", "!", "?", ";", ":")):
            return False
        if tokens[k] in _NOT or tokens[k] in _WISHED or tokens[k].endswith(("n't", "n’t")):
            return True
    return False


LISTED = ("first_person", "first_person_plural", "negative", "positive", "absolutist")
"""Word lists that are counted, in the order of ``Wording.counts``."""

UNCOUNTED = "unpleasant"
"""A list of more negative words: they count in no rate, but what negates them counts."""

JOINED_GAP_S = 2.0
"""Pieces of a sentence by the same speaker follow one another within this time."""

JOINED_CHARACTERS = 300
"""Text that is read at once, at most: recognisers may write an hour without a full stop."""

_LAST = (".", "?", "!", "…", "。", "？", "！")
_CONTENT = ("NNG", "NNP", "VV", "VA", "XR", "XSV", "XSA", "SL", "MM")
_EMPTY = frozenset({"그렇", "이렇", "저렇", "그러", "이러", "그"})
"""So it is: an answer that says nothing of its own (네, 그렇죠)."""


@dataclass(frozen=True, slots=True)
class Wording:
    """One utterance.

    Attributes:
        korean: Whether most of it is Korean.
        unscored: ``not_scored`` if nothing in it may be scored, ``no_analyser`` without an
            analyser, else ''.
        positive: Why a positive class is not valid: ``negated``, ``wish`` or ''.
        negative: Why a negative class is not: ``negated`` or ''.
        named: Whether the words taken back are on the lists; else only something is negated or
            wished for and no positive word is said plainly.
        counts: Whether each word counts for each of ``LISTED``; () for fillers and if ``unscored``.
        function: ``function_counts`` of each word; () if not Korean or ``unscored``.
    """

    korean: bool
    unscored: str = ""
    positive: str = ""
    negative: str = ""
    named: bool = False
    counts: tuple[tuple[bool, ...], ...] = ()
    function: tuple[tuple[int, int], ...] = ()


def read_wording(transcript: Transcript) -> tuple[Wording, ...]:
    """The wording of every utterance, in order."""
    known = analyser_missing() is None
    found: dict[int, Wording] = {}
    for group in _sentences(transcript.utterances, known):
        pieces = [_words_of(transcript.utterances[i]) for i in group]
        found |= zip(group, _read(pieces, known), strict=True)
    return tuple(_counted(u, found[i]) for i, u in enumerate(transcript.utterances))


def _counted(utterance: Utterance, wording: Wording) -> Wording:
    if not wording.korean or wording.unscored:
        return wording
    said = ["" if w.filler else w.text for w in utterance.words]
    return replace(wording, function=function_counts(said))


def find_passage_groups(
    utterances: Sequence[Utterance], unscored: Container[int] | None = None
) -> tuple[tuple[int, ...], ...]:
    """Utterances, by place, with wording of wanting to die or of self-harm.

    Only for showing them to a person who has the recording; not to be written, counted or exported.
    Where ``unscored`` holds the places ``read_wording`` calls ``not_scored``, the rest is none.
    """
    if not _may_hold_passage(utterances, unscored):
        return ()
    return tuple(
        tuple(group)
        for group in _sentences(utterances, analyser_missing() is None)
        if has_passage(" ".join(w for i in group for w in _words_of(utterances[i]) if w))
    )


def _may_hold_passage(utterances: Sequence[Utterance], unscored: Container[int] | None) -> bool:
    """Whether any pieces that could be one sentence hold such wording: seldom any do.

    Where sentences end only the analyser knows, which takes a second to load.
    """
    open_runs: dict[str | None, list[tuple[str, int, float]]] = {}  # text, length, end
    for i, u in enumerate(utterances):
        if unscored is not None and i not in unscored:
            open_runs.pop(u.speaker, None)
            continue
        text = " ".join(w for w in _words_of(u) if w)
        runs = [
            (" ".join(part for part in (said, text) if part), length + len(text))
            for said, length, end_s in open_runs.get(u.speaker, ())
            if u.interval.start_s - end_s <= JOINED_GAP_S
            and length + len(text) <= JOINED_CHARACTERS
        ]
        runs.append((text, len(text)))
        if any(may_hold_passage(said) for said, _ in runs):
            return True
        closed = not text or text.endswith(_LAST)
        open_runs[u.speaker] = [(*run, u.interval.end_s) for run in runs if not closed]
    return False


def _words_of(utterance: Utterance) -> list[str]:
    """The words as they are written, '' for fillers, so that 안 어 좋아요 is read as 안 좋아요."""
    words = ["" if w.filler else w.text for w in utterance.words] or utterance.text.split()
    return [unicodedata.normalize("NFC", word) for word in words]


def _sentences(utterances: Sequence[Utterance], known: bool) -> list[list[int]]:
    """Utterances that make one sentence, by their places."""
    groups: list[list[int]] = []
    latest: dict[str | None, tuple[list[int], int]] = {}
    for i, u in enumerate(utterances):
        text = " ".join(w for w in _words_of(u) if w)
        group, length = latest.get(u.speaker, ([], 0))
        joins = (
            bool(group)
            and u.interval.start_s - utterances[group[-1]].interval.end_s <= JOINED_GAP_S
            and length + len(text) <= JOINED_CHARACTERS
        )
        if not joins:
            group, length = [], 0
            groups.append(group)
        group.append(i)
        if _is_closed(text, known):
            latest.pop(u.speaker, None)
        else:
            latest[u.speaker] = (group, length + len(text))
    return groups


def _is_closed(text: str, known: bool) -> bool:
    """Whether a sentence ends here, by its mark or by its last ending."""
    if not text or text.endswith(_LAST):
        return True
    if not known or not is_hangul_text(text):
        return False
    flow = [m for m in morphemes(text) if m.tag not in ("JX", "SW", "IC")]
    return bool(flow) and flow[-1].tag == "EF"


def _read(pieces: Sequence[Sequence[str]], known: bool) -> list[Wording]:
    """One sentence that was cut into pieces of words."""
    texts = [" ".join(w for w in words if w) for words in pieces]
    whole = " ".join(text for text in texts if text)
    if has_passage(whole):
        return [Wording(is_hangul_text(text), "not_scored") for text in texts]
    if not is_hangul_text(whole):
        return [_english(words, text) for words, text in zip(pieces, texts, strict=True)]
    if not known:
        return [Wording(is_hangul_text(text), "no_analyser") for text in texts]
    return [*_korean(pieces, whole)]


def _english(words: Sequence[str], text: str) -> Wording:
    rows = iter(np.stack([find_in_english(load_lexicon(name), text) for name in LISTED], axis=1))
    counts: list[tuple[bool, ...]] = []
    for word in words:
        parts = [next(rows) for part in word.split() if any(c.isalnum() for c in part)]
        counts.append(tuple(np.any(parts, axis=0).tolist()) if parts else ())
    return Wording(korean=False, counts=tuple(counts))


@dataclass(frozen=True, slots=True)
class _Hit:
    """A listed word, and whether it is negated or wished for."""

    place: range
    turned: int
    wished: bool

    @property
    def counts(self) -> bool:
        return not self.turned and not self.wished


def _korean(pieces: Sequence[Sequence[str]], whole: str) -> Iterator[Wording]:
    flow = morphemes(whole)
    turns = find_turns(flow)
    hits = {name: [*_hits(name, flow, turns)] for name in (*LISTED, UNCOUNTED)}
    at = 0
    for words in pieces:
        ends = list(accumulate((len(word) + 1 if word else 0 for word in words), initial=at))
        inside = [i for i, m in enumerate(flow) if at <= m.start < ends[-1]]
        place = range(inside[0], inside[-1] + 1) if inside else range(0)
        at = ends[-1]
        if not any(flow[i].tag in _CONTENT and flow[i].form not in _EMPTY for i in place):
            yield Wording(True, "not_scored")
            continue
        own = {n: [h for h in found if h.place.start in place] for n, found in hits.items()}
        near = [t for t in turns if t.at in place or _overlap(t.reach, place)]
        signs = _signs(own["positive"], [*own["negative"], *own[UNCOUNTED]], near)
        counted = [{flow[h.place.start].start for h in own[n] if h.counts} for n in LISTED]
        counts = tuple(
            tuple(any(first <= s < last for s in places) for places in counted if last > first)
            for first, last in pairwise(ends)
        )
        yield Wording(True, "", *signs, counts)


def _overlap(a: range, b: range) -> bool:
    return max(a.start, b.start) < min(a.stop, b.stop)


def _hits(name: str, flow: Sequence[Morpheme], turns: Sequence[Qualifier]) -> Iterator[_Hit]:
    lexicon = load_lexicon(name)
    for place in find_in_korean(lexicon, flow):
        over = [t for t in turns if lexicon.polar and _overlap(t.reach, place)]
        # What is hard to do or not known takes back good words only: 왜 사는지 모르겠다.
        kinds = ("not", "lack", "hard") if name == "positive" else ("not", "lack")
        turned = sum(t.kind in kinds for t in over)
        yield _Hit(place, turned, any(t.kind in ("wish", "doubt") for t in over))


def _signs(
    positive: Sequence[_Hit], negative: Sequence[_Hit], turns: Sequence[Qualifier]
) -> tuple[str, str, bool]:
    """Why a positive and why a negative class is not valid, and whether listed words show it.

    Where only something is negated or wished for (의욕이 없어요, 아무것도 하고 싶지 않아요), nobody
    can say that it was nothing pleasant: a positive class needs a positive word that stands.
    """
    twice = any(h.turned > 1 for h in (*positive, *negative))
    turned, wished = any(h.turned for h in positive), any(h.wished for h in positive)
    plain, kinds = any(h.counts for h in positive), {t.kind for t in turns}
    why = ""
    if turned or twice:
        why = "negated"
    elif wished or ("wish" in kinds and not plain):
        why = "wish"
    elif kinds & {"not", "lack", "hard", "doubt"} and not plain:
        why = "negated"
    taken_back = any(h.turned for h in negative) and not any(h.counts for h in negative)
    return why, "negated" if taken_back or twice else "", turned or wished or twice
