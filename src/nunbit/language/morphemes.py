"""What a text is made of: Korean morphemes, clauses, patterns.

This is the one place that knows the analyser. It was chosen among those that are kept up (looked at
on 2026-11-29):

- kiwipiepy 0.24.1 (October 2026, Apache-2.0): wheels for Python 3.9 to 3.14 on Linux, macOS and
  Windows, 12 to 15 MB on Linux, and a model package of 88 MB (107 MB installed); no Java, no
  compiler. It splits what subtitles and recognisers write together (안좋아요, 행복했던적이없어요).
- python-mecab-ko 1.3.7 (July 2024, BSD) with python-mecab-ko-dic (December 2022, Apache-2.0,
  35 MB): smaller, but no wheel for Python 3.13, and it leans on the blanks being right.

It is an option (extra ``asr``), loaded on first use, once a process, with one thread and without
its dictionary of titles and names, which would double its memory and serves nothing here. A lock
guards the calls. The same text always gives the same morphemes.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from itertools import accumulate, pairwise
from typing import Any

from nunbit.core.messages import MissingExtra, Text

_INSTALL = "pip install 'nunbit[asr]'"

_LOCK = threading.Lock()
_KEPT = 8192
"""Texts whose morphemes are cached, enough for several hours of speech; measures and class
probabilities share them."""


@dataclass(frozen=True, slots=True)
class Morpheme:
    """One morpheme of a text.

    Attributes:
        form: As in a dictionary, without the ending of predicates: 안 좋았어요 is 안 좋 었 어요.
            Endings of one consonant are written with it alone: ㄴ, ㄹ.
        tag: Part of speech in the Sejong set, without the mark of irregular verbs: NNG noun, NP
            pronoun, VV verb, VA adjective, VX auxiliary, VCN 아니다, MAG adverb, JKS and others
            particles, EP and EC and EF and ETM and ETN endings, SF and SP punctuation.
        start: Place of its first character in the text.
        end: Place after its last character; morphemes may share one (했 is 하 and 었).
    """

    form: str
    tag: str
    start: int
    end: int


def analyser_missing() -> MissingExtra | None:
    """Why Korean words cannot be analysed here and what to install, or None if they can."""
    if all(_is_installed(name) for name in ("kiwipiepy", "kiwipiepy_model")):
        return None
    return MissingExtra(
        Text(
            "no Korean analyser: negated and wished-for feelings cannot be recognised, so word "
            f"lists and class probabilities of Korean words are left out: {_INSTALL}",
            "한국어 형태소 분석기가 없어 부정이나 바람을 구별할 수 없으므로 한국어 단어 비율과 "
            f"말의 클래스 확률을 내지 않습니다: {_INSTALL}",
        )
    )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # somebody keeps it from being imported
        return False


@lru_cache(maxsize=_KEPT)
def morphemes(text: str) -> tuple[Morpheme, ...]:
    """The morphemes of a text, in order; of nothing but blanks there are none.

    Raises:
        MissingExtra: The analyser is not installed.
    """
    if not text.strip():
        return ()
    for wrong, right in _MISSPELLED:
        text = wrong.sub(right, text)
    with _LOCK:
        tokens = _analyser().tokenize(text, compatible_jamo=True)
    return tuple(
        Morpheme(t.form, t.tag.partition("-")[0], t.start, t.start + t.len) for t in tokens
    )


# Common misspellings of negations and wishes put right: as they sound in chats and in what
# recognisers write. The length stays, and so do all places.
_MISSPELLED = (
    (re.compile("[업읍]써"), "없어"), (re.compile("[업읍]썼"), "없었"),
    (re.compile("(?<=[가-힣])지안(?=[아았고은는네니습을])"), "지않"),
    (re.compile("지 안(?=[았은는네습을])"), "지 않"), (re.compile("지안아"), "지않아"),
    (re.compile("지 안아(?=[요서도])"), "지 않아"),
    (re.compile(r"(?<!\S)않 (?=[가-힣])(?![아았은는네습고])"), "안 "),
    (re.compile("(?<!지)(?<!지 )않(?=[좋돼되해했와])"), "안"),
    (re.compile("시퍼"), "싶어"), (re.compile("고십(?=[다어은네지])"), "고싶"),
    (re.compile("고 십(?=[다어은네지])"), "고 싶"),
)  # fmt: skip


@cache
def _analyser() -> Any:
    if (missing := analyser_missing()) is not None:
        raise missing
    from kiwipiepy import Kiwi

    return Kiwi(num_workers=1, load_multi_dict=False)


# --- clauses

Flow = tuple[Morpheme, ...]
Reach = range


@dataclass(frozen=True, slots=True)
class Qualifier:
    """A negation, wish or reservation, and the morphemes it is about.

    Attributes:
        kind: ``not`` grammatical negation; ``lack`` a word of loss or less (사라지다, 덜); ``hard``
            what turns good words only (웃기가 힘들다, 행복이 뭔지 모르겠다); ``wish``; ``doubt`` a
            wish in the form of a question or condition (행복할 수 있을까요).
        at: Place of the morpheme that shows it.
        reach: Places of the morphemes it is about.
    """

    kind: str
    at: int
    reach: Reach


OPEN = frozenset(
    {"게", "면서", "으면서", "도록", "다고", "라고", "으라고", "는다고", "ㄴ다고", "자고"}
    | {"냐고", "으냐고", "느냐고", "냐", "느냐"}
)
"""Endings that lead into what follows: manner and quotation belong to the clause after them."""

OPEN_TO_WISH = OPEN | {"고", "며", "으며"}
_JOINED_BY = {
    "고": frozenset({"싶", "있", "계시", "말"}),
    "어": None,
    "아": None,
    "어야": frozenset({"하", "되", "겠"}),
    "으려고": frozenset({"하", "들", "그러"}),
    "려고": frozenset({"하", "들", "그러"}),
}
"""Endings that a following auxiliary joins to one predicate; None is any auxiliary."""


_TAKES_PAST = frozenset({"고", "며", "으며", "면서"})
"""Of these endings, those that end a clause after a past or a guess."""


def is_boundary(flow: Flow, i: int, opened: frozenset[str]) -> bool:
    """Whether a clause ends at place i."""
    form, tag = flow[i].form, flow[i].tag
    if tag != "EC":
        return tag in ("EF", "SF", "SP", "SE")
    if form in ("지", "질", "진") or form.endswith(("ㄴ지", "은지", "는지", "ㄹ지", "을지")):
        return False
    if i + 1 < len(flow) and form in _JOINED_BY:
        joins, after = _JOINED_BY[form], flow[i + 1]
        if after.tag == "VX" if joins is None else after.form in joins:
            return False
    # 좋은 기억이라고는: a quotation, whatever comes before it.
    return form not in opened or (form in _TAKES_PAST and is_form(flow, i - 1, "었 겠", "EP"))


def clause_start(flow: Flow, at: int, opened: frozenset[str] = OPEN) -> int:
    """First place of the clause that ``at`` stands in."""
    for i in range(at - 1, -1, -1):
        if is_boundary(flow, i, opened):
            # 요 and particles behind an ending belong to the clause before.
            while i + 1 < at and flow[i + 1].tag in ("JX", "SF", "SP", "SE"):
                i += 1
            return i + 1
    return 0


def clause_end(flow: Flow, at: int) -> int:
    """Place after the last of the clause that ``at`` stands in."""
    return next((i for i in range(at, len(flow)) if is_boundary(flow, i, OPEN)), len(flow))


def clause_before(flow: Flow, i: int, opened: frozenset[str] = OPEN) -> Reach:
    """The part of its clause before place i."""
    return range(clause_start(flow, i, opened), i)


def is_form(flow: Flow, i: int, forms: str, tags: str = "") -> bool:
    """Whether there is a morpheme at place i with one of the forms, and a tag that begins so."""
    there = 0 <= i < len(flow) and flow[i].form in forms.split()
    return there and flow[i].tag.startswith(tuple(tags.split()) if tags else "")


def has_form(flow: Flow, places: Iterable[int], forms: str, tags: str = "") -> bool:
    """Whether one of the places has such a form."""
    return any(is_form(flow, k, forms, tags) for k in places)


def before(flow: Flow, i: int, skip: tuple[str, ...] = ("J",)) -> int:
    """Last place before i whose tag is none of those to skip; -1 if there is none."""
    i -= 1
    while i >= 0 and flow[i].tag.startswith(skip):
        i -= 1
    return i


def next_predicate(flow: Flow, at: int) -> int | None:
    """Place of the first predicate after place ``at`` in its clause; None without one."""
    predicates = ("VV", "VA", "XSV", "XSA", "VCP")
    return next((i for i in range(at + 1, clause_end(flow, at)) if flow[i].tag in predicates), None)


SENTENCE = re.compile(r"[^.?!…\n]*(?:[.?!…\n]+|$)")
"""Up to a mark that ends a sentence."""


def said_sentences(text: str) -> tuple[str, ...]:
    """The sentences of an utterance: by their marks and, since recognisers write none, by endings.

    Raises:
        MissingExtra: The analyser is not installed.
    """
    found = []
    for match in SENTENCE.finditer(text):
        part, begin = match[0], 0
        for m, after in pairwise(morphemes(part)):
            # 요 and marks behind an ending belong to it; without a blank it is no new sentence.
            if m.tag == "EF" and after.start > m.end and after.tag not in ("JX", "SF", "SP", "SE"):
                found.append(part[begin : after.start].strip())
                begin = after.start
        found.append(part[begin:].strip())
    return tuple(sentence for sentence in found if any(c.isalnum() for c in sentence))


_FUNCTION = ("J", "E", "VX", "VCP", "VCN", "NP", "NNB", "MM", "MAJ")
"""Tags of what ties a sentence together and names nothing: particles, endings, auxiliaries,
pronouns, bound nouns, determiners, conjunctions (in the Sejong set)."""


def function_counts(words: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """(function morphemes, all morphemes) of each word of an utterance; marks count for nothing.

    Args:
        words: As they follow one another, '' where one is left out.

    Raises:
        MissingExtra: The analyser is not installed.
    """
    ends = list(accumulate((len(word) + 1 if word else 0 for word in words), initial=0))
    counts = [[0, 0] for _ in words]
    for m in morphemes(" ".join(word for word in words if word)):
        if m.tag.startswith("S") and m.tag not in ("SL", "SN", "SH"):
            continue
        k = min(bisect_right(ends, m.start) - 1, len(words) - 1)
        counts[k][0] += m.tag.startswith(_FUNCTION)
        counts[k][1] += 1
    return tuple((own, every) for own, every in counts)


# --- patterns


def fits(flow: Flow, i: int, pattern: str) -> bool:
    """Whether a pattern of neighbouring morphemes fits around place i.

    Each part of a pattern is ``forms/tags``, both with commas between alternatives and both
    optional; a tag is its beginning, ``.`` any morpheme. ``*`` marks the part at place i. Particles
    may stand before it where ``~`` does. A part after ``!`` must not be there; one after ``?``
    may be the end of the text. ``기/ETN ~ *힘들`` fits 힘들 in 웃기가 힘들다.
    """
    for offset, mark, forms, tags in _parts(pattern):
        k = before(flow, i) if offset is None else i + offset
        there = 0 <= k < len(flow)
        own = there and (not forms or flow[k].form in forms) and flow[k].tag.startswith(tags)
        if (own or (mark == "?" and not there)) == (mark == "!"):
            return False
    return True


@cache
def _parts(
    pattern: str,
) -> tuple[tuple[int | None, str, frozenset[str], tuple[str, ...]], ...]:
    """Offset (None: before the particles), mark, forms and tags; the part at the place first."""
    texts = pattern.replace(" ~ ", " ").split()
    here = next(k for k, text in enumerate(texts) if text[0] == "*")
    parts = []
    for k, text in enumerate(texts):
        forms, _, tags = text.lstrip("*?!.").partition("/")
        offset = None if "~" in pattern and k == here - 1 else k - here
        parts.append((offset, text[0], frozenset(forms.split(",")) - {""}, tuple(tags.split(","))))
    return tuple(sorted(parts, key=lambda part: part[0] != 0))
