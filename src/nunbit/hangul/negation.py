"""What a Korean text says is not so: negations, and the idioms that look like one.

A negation reaches over its predicate and what belongs to it, back to the last boundary of clauses:
in 좋은 게 하나도 없어요 everything, in 비가 안 와서 좋았어요 the rain only.
"""

from __future__ import annotations

from collections.abc import Iterator

from nunbit.hangul.clauses import (
    OPEN,
    Flow,
    Turn,
    before,
    clause_end,
    clause_start,
    is_form,
    next_predicate,
)


def _adverbs(flow: Flow) -> Iterator[Turn]:
    """안 and 못 before a predicate (안 좋다, 기쁨을 못 느끼다); 덜 takes a part of it away."""
    for i in range(len(flow)):
        if is_form(flow, i, "안 못", "MAG"):
            if is_form(flow, before(flow, i), "지", "EC") or is_form(flow, i - 1, "없이"):
                continue  # 지 못하-: the next rule; 없이 못 살다: negated twice, said as strongly
            there = next_predicate(flow, i)
            if there is not None and not _only(flow, i):
                yield Turn("not", i, range(_first(flow, i), there + 1))
        elif is_form(flow, i, "덜", "MAG"):
            there = next_predicate(flow, i)
            if there is not None:
                yield Turn("lack", i, range(i, there + 1))


_POINTING = frozenset(
    {"그런", "이런", "그거", "그것", "이거", "것", "거", "이제", "지금", "요즘", "더", "이상"}
    | {"그렇", "그러", "이러", "저", "나", "뭐"}
)
_LIGHT = ("JX", "JKS", "JKC", "JKB", "NP", "NNB", "ETM", "EC", "MAG")


def _first(flow: Flow, i: int, opened: frozenset[str] = OPEN) -> int:
    """First place that a negation at place i is about.

    A clause that only points back is about the one before: 만족? 그런 건 없어요; 다들 즐거워하는데
    저는 그러지 못해요; 행복했는데 이제는 아니에요.
    """
    first = clause_start(flow, i, opened)
    said = range(first, i)
    if first and all(flow[k].form in _POINTING or flow[k].tag in _LIGHT for k in said):
        after = next_predicate(flow, i)
        short = is_form(flow, i, "안 못", "MAG") and not is_form(flow, i - 1, "지")
        if not short or (after is not None and flow[after].form in _POINTING):
            return clause_start(flow, first - 1)
    return first


def _auxiliaries(flow: Flow) -> Iterator[Turn]:
    """-지 않다, -지 못하다, -지 말다, with particles; 기쁘지도 즐겁지도 않다 is about both."""
    for i in range(1, len(flow)):
        long_form = is_form(flow, i, "않 못하 말 아니하 아니") or is_form(flow, i, "못", "MAG")
        if not long_form or not is_form(flow, before(flow, i), "지", "EC"):
            continue
        if flow[i].start < flow[before(flow, i)].end:
            continue  # 좋잖아요: 지 and 않 in one syllable ask for agreement
        yield Turn("not", i, range(_first(flow, i), i))


def _spoken_dont(flow: Flow) -> Iterator[Turn]:
    """걱정 마세요, 걱정을 말고."""
    for i in range(1, len(flow)):
        if is_form(flow, i, "말", "VV VX") and flow[before(flow, i)].tag in ("NNG", "XR"):
            yield Turn("not", i, range(before(flow, i), i))


_INTENSE_BEFORE = frozenset({"나위", "수", "비"})
"""말할 수 없이, 더할 나위 없이, 비할 데 없이: more than can be said."""


def _without(flow: Flow) -> Iterator[Turn]:
    """없이 takes away the noun before it: 걱정 없이 행복하다 is about the worry only."""
    for i in range(1, len(flow)):
        if not is_form(flow, i, "없이", "MAG"):
            continue
        noun = before(flow, i)
        if noun < 0 or flow[noun].form in _INTENSE_BEFORE or not flow[noun].tag.startswith("N"):
            continue
        if is_form(flow, noun, "데", "NNB") and is_form(flow, noun - 2, "비하 비 그지"):
            continue
        first = noun
        while first > 0 and flow[first - 1].tag.startswith(("NN", "XR", "MM", "XP", "JKG", "JC")):
            first -= 1
        if flow[noun].tag == "NNB" or is_form(flow, first - 1, flow[first - 1].form, "ETM"):
            first = clause_start(flow, i)  # 웃을 일 없이
        yield Turn("not", i, range(first, i))


_MODAL = frozenset({"수", "적", "줄", "리"})
"""웃고 떠들 수가 없다, 웃고 지낸 적이 없다: said of both verbs."""

_OPEN_TO_MODAL = OPEN | {"고", "며", "으며"}


def _only(flow: Flow, i: int) -> bool:
    """Whether 밖에 stands before a negation: 너밖에 없다, 웃을 수밖에 없다 negate nothing."""
    return any(is_form(flow, k, "밖에", "JX") for k in range(clause_start(flow, i), i))


def _absence(flow: Flow) -> Iterator[Turn]:
    """없다 and 아니다 with all that their clause says is not there."""
    for i in range(len(flow)):
        there_is_not = is_form(flow, i, "없 읎", "VA VV VX") or is_form(flow, i, "아니", "VCN VA")
        if not there_is_not or _only(flow, i) or _more_than_can_be(flow, i):
            continue
        noun = before(flow, i)
        modal = noun >= 0 and flow[noun].form in _MODAL
        yield Turn("not", i, range(_first(flow, i, _OPEN_TO_MODAL if modal else OPEN), i))


def _absence_in_one_word(flow: Flow) -> Iterator[Turn]:
    """재미없다, 커녕, 안되다; what is 상관없다 to somebody is not theirs."""
    for i in range(len(flow)):
        word = flow[i].form
        if is_form(flow, i, "커녕 은커녕 는커녕", "JX"):
            yield Turn("not", i, range(clause_start(flow, i), i))
        elif word in _ALIEN:
            yield Turn("hard", i, range(clause_start(flow, i), i))
        elif flow[i].tag == "VA" and word.endswith("없") and len(word) > 1:
            if word not in _VERY:
                yield Turn("not", i, range(i, i))
        elif is_form(flow, i, "안되 못되 못나", "VV VA"):
            yield Turn("not", i, range(i, i))


_ALIEN = frozenset(["상관없", "관계없", "소용없", "의미없", "부질없"])
_VERY = frozenset(
    {"틀림없", "변함없", "끝없", "한없", "그지없", "더없", "문제없", "끊임없", "빈틈없"}
    | {"거침없", "꾸밈없", "아낌없"}
)


def _more_than_can_be(flow: Flow, i: int) -> bool:
    """Idioms in which 없다 or 아니다 says 'very': 그렇게 좋을 수가 없다, 여간 기쁜 게 아니다."""
    clause = range(clause_start(flow, i), i)
    forms = {flow[k].form for k in clause}
    noun = before(flow, i)
    if is_form(flow, i, "아니"):
        return bool(forms & {"여간", "보통"}) or is_form(flow, noun, "장난")
    if is_form(flow, noun, "수", "NNB"):
        so = any(is_form(flow, k, "그렇 이렇 이보다 그보다") for k in clause) or (
            "더" in forms and any(flow[k].form == "보다" for k in clause)
        )
        return so and any(
            flow[k].tag == "VA" and flow[k].form not in ("그렇", "이렇") for k in clause
        )
    if is_form(flow, noun, "나위 비", "NNB NNG"):
        return True
    return is_form(flow, noun, "것 거", "NNB") and any(
        is_form(flow, k, "바라", "VV") for k in clause
    )


_NOT_EVEN = frozenset({"별로"})


def _lone_adverbs(flow: Flow) -> Iterator[Turn]:
    """별로 alone: 기분이 별로예요."""
    for i in range(len(flow)):
        if flow[i].form not in _NOT_EVEN or not flow[i].tag.startswith(("MAG", "NN")):
            continue
        rest = range(i + 1, clause_end(flow, i))
        if not any(is_form(flow, k, "안 못 않 없 아니 못하 말 모르") for k in rest):
            yield Turn("not", i, range(clause_start(flow, i), clause_end(flow, i)))


NEGATIONS = (
    _adverbs, _auxiliaries, _spoken_dont, _without, _absence, _absence_in_one_word, _lone_adverbs,
)  # fmt: skip
"""The rules, each from morphemes to turns."""
