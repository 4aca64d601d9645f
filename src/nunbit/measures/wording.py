"""What each utterance says of its sign: words of the lists that count, and what takes them back.

A word that is negated or wished for does not count, and where a positive word is taken back (or a
negative one is negated) a class of that sign is not to be believed. Subtitles cut sentences into
pieces, so pieces of one sentence are read together. Wording of wanting to die or of self-harm is
scored as no emotion; it has the same reason as an utterance with nothing in it to score, and is
kept apart nowhere. Knows nothing of time beyond the order of utterances, nor of models.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from nunbit.hangul import is_hangul_text
from nunbit.hangul.morphemes import Morpheme, analyser_missing, morphemes
from nunbit.hangul.passages import has_passage
from nunbit.hangul.polarity import Turn, find_turns
from nunbit.measures.lexicon import find_in_english, find_in_korean, load_lexicon
from nunbit.streams import Transcript, Utterance

LISTS = ("first_person", "first_person_plural", "negative", "positive", "absolutist")
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
        unscored: ``not_scored`` where nothing in it may be scored, ``no_analyser`` where nobody can
            tell, else ''.
        positive: Why a positive class is not to be believed: ``negated``, ``wish`` or ''.
        negative: Why a negative class is not: ``negated`` or ''.
        named: Whether the words taken back are on the lists; else only something is negated or
            wished for and no positive word is said plainly.
        counts: For each word and each of ``LISTS`` whether it counts; () for words that are fillers
            and everywhere if ``unscored``.
    """

    korean: bool
    unscored: str = ""
    positive: str = ""
    negative: str = ""
    named: bool = False
    counts: tuple[tuple[bool, ...], ...] = ()


def read_wording(transcript: Transcript) -> tuple[Wording, ...]:
    """The wording of every utterance, in order."""
    known = analyser_missing() is None
    found: list[Wording | None] = [None] * len(transcript.utterances)
    for group in _sentences(transcript.utterances, known):
        pieces = [_words_of(transcript.utterances[i]) for i in group]
        for i, wording in zip(group, _read(pieces, known), strict=True):
            found[i] = wording
    return tuple(w for w in found if w is not None)


def find_passage_groups(utterances: Sequence[Utterance]) -> tuple[tuple[int, ...], ...]:
    """Utterances, by place, with wording of wanting to die or of self-harm.

    Only for showing them to the person who has the recording before them; what this returns must
    not be written, counted or exported.
    """
    known = analyser_missing() is None
    groups = []
    for group in _sentences(utterances, known):
        said = " ".join(w for i in group for w in _words_of(utterances[i]) if w)
        if has_passage(said):
            groups.append(tuple(group))
    return tuple(groups)


def _words_of(utterance: Utterance) -> list[str]:
    """The words as they are written, '' for fillers, so that 안 어 좋아요 is read as 안 좋아요."""
    if utterance.words:
        words = ["" if w.filler else w.text for w in utterance.words]
    else:
        words = utterance.text.split()
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
    return _korean(pieces, whole)


def _english(words: Sequence[str], text: str) -> Wording:
    columns = [find_in_english(load_lexicon(name), text) for name in LISTS]
    rows = iter(zip(*columns, strict=True)) if columns else iter(())
    counts = []
    for word in words:
        parts = [next(rows) for part in word.split() if any(c.isalnum() for c in part)]
        counts.append(tuple(bool(any(c)) for c in zip(*parts, strict=True)) if parts else ())
    return Wording(korean=False, counts=tuple(counts))


# -- Korean --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Hit:
    """A listed word and what is said of it."""

    place: range
    turned: int
    wished: bool

    @property
    def counts(self) -> bool:
        return not self.turned and not self.wished


def _korean(pieces: Sequence[Sequence[str]], whole: str) -> list[Wording]:
    flow = morphemes(whole)
    turns = find_turns(flow)
    hits = {name: _hits(name, flow, turns) for name in (*LISTS, UNCOUNTED)}
    wordings = []
    at = 0
    for words in pieces:
        spoken = [word for word in words if word]
        ends = list(accumulate((len(word) + 1 for word in spoken), initial=at))
        inside = [i for i, m in enumerate(flow) if at <= m.start < ends[-1]]
        place = range(inside[0], inside[-1] + 1) if inside else range(0)
        at = ends[-1]
        if not any(_has_content(flow[i]) for i in place):
            wordings.append(Wording(True, "not_scored"))
            continue
        own = {n: [h for h in found if h.place.start in place] for n, found in hits.items()}
        near = [t for t in turns if t.at in place or _overlap(t.reach, place)]
        positive, negative, named = _signs(
            own["positive"], [*own["negative"], *own[UNCOUNTED]], near
        )
        counted = {
            name: {flow[h.place.start].start for h in own[name] if h.counts} for name in LISTS
        }
        counts: list[tuple[bool, ...]] = []
        number = 0
        for word in words:
            if not word:
                counts.append(())
                continue
            first, last = ends[number], ends[number + 1]
            number += 1
            counts.append(
                tuple(any(first <= s < last for s in counted[name]) for name in LISTS)
            )  # fmt: skip
        wordings.append(Wording(True, "", positive, negative, named, tuple(counts)))
    return wordings


def _has_content(m: Morpheme) -> bool:
    return m.tag in _CONTENT and m.form not in _EMPTY


def _overlap(a: range, b: range) -> bool:
    return max(a.start, b.start) < min(a.stop, b.stop)


def _hits(name: str, flow: Sequence[Morpheme], turns: Sequence[Turn]) -> list[_Hit]:
    lexicon = load_lexicon(name)
    found = []
    for place in find_in_korean(lexicon, flow):
        over = [t for t in turns if lexicon.polar and _overlap(t.reach, place)]
        # What is hard to do or not known takes back good words only: 왜 사는지 모르겠다.
        kinds = ("not", "lack", "hard") if name == "positive" else ("not", "lack")
        found.append(
            _Hit(
                place,
                sum(t.kind in kinds for t in over),
                any(t.kind in ("wish", "doubt") for t in over),
            )
        )
    return found


def _signs(
    positive: Sequence[_Hit], negative: Sequence[_Hit], turns: Sequence[Turn]
) -> tuple[str, str, bool]:
    """Why a positive and why a negative class is not to be believed, and whether words say so.

    Where only something is negated or wished for (의욕이 없어요, 아무것도 하고 싶지 않아요), nobody
    can say that it was nothing pleasant: a positive class needs a positive word that stands.
    """
    twice = any(h.turned > 1 for h in (*positive, *negative))
    turned = any(h.turned for h in positive)
    wished = any(h.wished for h in positive)
    plain = any(h.counts for h in positive)
    kinds = {t.kind for t in turns}
    why = ""
    if turned or twice:
        why = "negated"
    elif wished or ("wish" in kinds and not plain):
        why = "wish"
    elif kinds & {"not", "lack", "hard", "doubt"} and not plain:
        why = "negated"
    taken_back = any(h.turned for h in negative) and not any(h.counts for h in negative)
    return why, "negated" if taken_back or twice else "", turned or wished or twice
