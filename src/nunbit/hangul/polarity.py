"""What a Korean text says is not so, or wishes were so: every morpheme under a negation or a wish.

Rules over morphemes, no model. A negation reaches over its predicate and what belongs to it, back to
the last boundary of clauses: in 좋은 게 하나도 없어요 everything, in 비가 안 와서 좋았어요 only the
rain. Idioms that negate nothing (말할 수 없이, 너밖에 없어요, 얼마나 좋은지 몰라요) are known; tags such as
좋잖아요 are no negation. What words cannot show (irony, tone, what was said before) stays unseen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nunbit.hangul.morphemes import Morpheme

Flow = tuple[Morpheme, ...]
Reach = range


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that turns or takes back what is said.

    Attributes:
        kind: ``not`` grammatical negation; ``lack`` a word of loss or less (사라지다, 덜); ``hard``
            what turns good words only (웃기가 힘들다, 행복이 뭔지 모르겠다); ``wish``; ``doubt`` a wish
            in the form of a question or condition (행복할 수 있을까요).
        at: Place of the morpheme that shows it.
        reach: Places of the morphemes it is about.
    """

    kind: str
    at: int
    reach: Reach


def find_turns(flow: Sequence[Morpheme]) -> tuple[Turn, ...]:
    """Negations and wishes of a text, by place.

    Args:
        flow: Morphemes of one or more sentences.
    """
    given = tuple(flow)
    found = [turn for rule in _RULES for turn in rule(given)]
    return tuple(sorted(found, key=lambda turn: (turn.at, turn.kind)))


# -- clauses -----------------------------------------------------------------------------------

_OPEN = frozenset({"게", "면서", "으면서", "도록", "다고", "라고", "으라고", "는다고", "ㄴ다고", "자고"})
"""Endings that lead into what follows: manner and quotation belong to the clause after them."""

_OPEN_TO_WISH = _OPEN | {"고", "며", "으며"}
_JOINED_BY = {
    "고": frozenset({"싶", "있", "계시", "말"}),
    "어": None,
    "아": None,
    "어야": frozenset({"하", "되", "겠"}),
    "으려고": frozenset({"하", "들", "그러"}),
    "려고": frozenset({"하", "들", "그러"}),
}
"""Endings that a following auxiliary joins to one predicate; None is any auxiliary."""


def _is_boundary(flow: Flow, i: int, opened: frozenset[str]) -> bool:
    """Whether a clause ends at place i."""
    m = flow[i]
    if m.tag in ("EF", "SF", "SP", "SE"):
        return True
    if m.tag == "EC":
        if m.form in ("지", "질", "진") or m.form.endswith(("ㄴ지", "은지", "는지", "ㄹ지", "을지")):
            return False
        after = flow[i + 1] if i + 1 < len(flow) else None
        if after is not None and after.tag == "VX" and _JOINED_BY.get(m.form, ()) is None:
            return False
        if after is not None and after.form in (_JOINED_BY.get(m.form) or ()):
            return False
        # 좋은 기억이라고는: a quotation, whatever comes before it.
        past = i > 0 and flow[i - 1].tag == "EP" and flow[i - 1].form in ("었", "겠")
        return not (m.form in opened and not (past and m.form in ("고", "며", "으며", "면서")))
    return False


def _start(flow: Flow, at: int, opened: frozenset[str] = _OPEN) -> int:
    """First place of the clause that ``at`` stands in."""
    for i in range(at - 1, -1, -1):
        if _is_boundary(flow, i, opened):
            # 요 and particles behind an ending belong to the clause before.
            while i + 1 < at and flow[i + 1].tag in ("JX", "SF", "SP", "SE"):
                i += 1
            return i + 1
    return 0


def _end(flow: Flow, at: int) -> int:
    """Place after the last of the clause that ``at`` stands in."""
    return next((i for i in range(at, len(flow)) if _is_boundary(flow, i, _OPEN)), len(flow))


def _is(flow: Flow, i: int, forms: str, tags: str = "") -> bool:
    """Whether there is a morpheme at place i with one of the forms, and a tag that begins so."""
    if not 0 <= i < len(flow) or flow[i].form not in forms.split():
        return False
    return flow[i].tag.startswith(tuple(tags.split()) if tags else "")


def _before(flow: Flow, i: int, skip: tuple[str, ...] = ("J",)) -> int:
    """Last place before i whose tag is none of those to skip; -1 if there is none."""
    i -= 1
    while i >= 0 and flow[i].tag.startswith(skip):
        i -= 1
    return i


_PREDICATE = ("VV", "VA", "XSV", "XSA", "VCP")


def _next_predicate(flow: Flow, at: int) -> int | None:
    end = _end(flow, at)
    return next((i for i in range(at + 1, end) if flow[i].tag in _PREDICATE), None)


# -- negation ----------------------------------------------------------------------------------


def _adverbs(flow: Flow) -> Iterator[Turn]:
    """안 and 못 before a predicate (안 좋다, 기쁨을 못 느끼다); 덜 takes a part of it away."""
    for i in range(len(flow)):
        if _is(flow, i, "안 못", "MAG"):
            if _is(flow, _before(flow, i), "지", "EC") or _is(flow, i - 1, "없이"):
                continue  # 지 못하-: the next rule; 없이 못 살다: negated twice, said as strongly
            there = _next_predicate(flow, i)
            if there is not None and not _only(flow, i):
                yield Turn("not", i, range(_start(flow, i), _stem_end(flow, there)))
        elif _is(flow, i, "덜", "MAG"):
            there = _next_predicate(flow, i)
            if there is not None:
                yield Turn("lack", i, range(i, _stem_end(flow, there)))


def _stem_end(flow: Flow, there: int) -> int:
    """Place after a predicate: 행복 하 is one."""
    return there + 1


def _auxiliaries(flow: Flow) -> Iterator[Turn]:
    """-지 않다, -지 못하다, -지 말다, with particles between; 기쁘지도 즐겁지도 않다 is about both."""
    for i in range(1, len(flow)):
        long_form = _is(flow, i, "않 못하 말") or _is(flow, i, "못", "MAG")
        if not long_form or not _is(flow, _before(flow, i), "지", "EC"):
            continue
        yield Turn("not", i, range(_start(flow, i), i))


def _spoken_dont(flow: Flow) -> Iterator[Turn]:
    """걱정 마세요, 걱정을 말고."""
    for i in range(1, len(flow)):
        if _is(flow, i, "말", "VV") and flow[_before(flow, i)].tag in ("NNG", "XR"):
            yield Turn("not", i, range(_before(flow, i), i))


_INTENSE_BEFORE = frozenset({"나위", "수", "비", "데"})
"""말할 수 없이, 더할 나위 없이, 비할 데 없이: more than can be said."""


def _without(flow: Flow) -> Iterator[Turn]:
    """없이 takes away the noun before it: 걱정 없이 행복하다 is about the worry only."""
    for i in range(1, len(flow)):
        if not _is(flow, i, "없이", "MAG"):
            continue
        noun = _before(flow, i)
        if noun < 0 or flow[noun].form in _INTENSE_BEFORE or not flow[noun].tag.startswith("N"):
            continue
        first = noun
        while first > 0 and flow[first - 1].tag.startswith(("NN", "XR", "MM", "XP", "JKG", "JC")):
            first -= 1
        if flow[noun].tag == "NNB" or _is(flow, first - 1, flow[first - 1].form, "ETM"):
            first = _start(flow, i)  # 웃을 일 없이
        yield Turn("not", i, range(first, i))


def _only(flow: Flow, i: int) -> bool:
    """Whether 밖에 stands before a negation: 너밖에 없다, 웃을 수밖에 없다 negate nothing."""
    return any(_is(flow, k, "밖에", "JX") for k in range(_start(flow, i), i))


def _absence(flow: Flow) -> Iterator[Turn]:
    """없다 and 아니다 with all that their clause says is not there."""
    for i in range(len(flow)):
        there_is_not = _is(flow, i, "없", "VA VV VX") or _is(flow, i, "아니", "VCN VA")
        if not there_is_not or _only(flow, i) or _more_than_can_be(flow, i):
            continue
        if _is(flow, i, "없") and i == 0:
            yield Turn("not", i, range(0, 0))
            continue
        yield Turn("not", i, range(_start(flow, i), i))
    for i in range(len(flow)):
        if _is(flow, i, "커녕 은커녕 는커녕", "JX"):
            noun = _before(flow, i)
            yield Turn("not", i, range(max(noun, 0), i))


def _more_than_can_be(flow: Flow, i: int) -> bool:
    """Idioms in which 없다 or 아니다 says 'very': 그렇게 좋을 수가 없다, 여간 기쁜 게 아니다."""
    clause = range(_start(flow, i), i)
    forms = {flow[k].form for k in clause}
    noun = _before(flow, i)
    if _is(flow, i, "아니"):
        return bool(forms & {"여간", "보통"}) or _is(flow, noun, "장난")
    if _is(flow, noun, "수", "NNB"):
        so = any(_is(flow, k, "그렇 이렇 이보다 그보다") for k in clause) or (
            "더" in forms and any(flow[k].form == "보다" for k in clause)
        )
        return so and any(flow[k].tag == "VA" and flow[k].form not in ("그렇", "이렇") for k in clause)
    if _is(flow, noun, "나위 비", "NNB NNG"):
        return True
    return _is(flow, noun, "것 거", "NNB") and any(_is(flow, k, "바라", "VV") for k in clause)


_NOT_EVEN = frozenset({"별로"})


def _lone_adverbs(flow: Flow) -> Iterator[Turn]:
    """별로 alone: 기분이 별로예요."""
    for i in range(len(flow)):
        if flow[i].form not in _NOT_EVEN or not flow[i].tag.startswith(("MAG", "NN")):
            continue
        rest = range(i + 1, _end(flow, i))
        if not any(_is(flow, k, "안 못 않 없 아니 못하 말 모르") for k in rest):
            yield Turn("not", i, range(_start(flow, i), _end(flow, i)))


# -- what takes back without negating ----------------------------------------------------------

_LOSS = (
    "잃 사라지 떨어지 모자라 무너지 깨지 잊 빼앗기 뺏기 없애 식 줄 줄어들 멈추 그치 가시 멀 드물 "
    "끊기 메마르 시들 꺾이 접 버리 걷히 풀리 덜하 덜 낫"
)
_LOSS_NOUNS = "부족 포기 상실 결핍 해소 극복 감소"


def _losses(flow: Flow) -> Iterator[Turn]:
    """웃음을 잃다, 불안이 사라지다, 자신감이 부족하다: about the nouns of the clause."""
    for i in range(1, len(flow)):
        lost = _is(flow, i, _LOSS, "VV VA") or _is(flow, i, _LOSS_NOUNS, "NNG XR")
        if not lost:
            continue
        nouns = [
            k for k in range(_start(flow, i), i) if flow[k].tag.startswith(("NNG", "XR", "NNP"))
        ]
        for k in nouns:
            # Only what is lost: 면접에서 떨어지다 loses no interview.
            particle = flow[k + 1] if k + 1 < len(flow) else None
            if particle is not None and not particle.tag.startswith("JKB"):
                yield Turn("lack", i, range(k, k + 1))


def _pretence(flow: Flow) -> Iterator[Turn]:
    """행복한 척하다, 괜찮은 체하다."""
    for i in range(1, len(flow)):
        if _is(flow, i, "척 체", "NNB") and flow[i - 1].tag == "ETM":
            yield Turn("not", i, range(_start(flow, i), i))


_HARD = frozenset({"힘들", "어렵", "싫", "귀찮", "버겁"})
_HOW_MUCH = frozenset({"얼마나", "어찌나", "왜", "어째서"})


def _hardly(flow: Flow) -> Iterator[Turn]:
    """웃기가 힘들다; 행복이 뭔지 모르겠다, but not 얼마나 좋은지 모르다 or 왜 우울한지 모르다."""
    for i in range(1, len(flow)):
        clause = range(_start(flow, i), i)
        if flow[i].form in _HARD and _is(flow, _before(flow, i), "기", "ETN"):
            yield Turn("hard", i, clause)
        elif _is(flow, i, "모르", "VV") and not any(flow[k].form in _HOW_MUCH for k in clause):
            yield Turn("hard", i, clause)


_ASKED = frozenset({"뭐", "무엇", "무슨", "누구", "어떻", "어떻게", "언제", "어디", "어찌", "왜"})


def _rhetoric(flow: Flow) -> Iterator[Turn]:
    """좋을 리가 있겠어요, 누가 좋아하겠어요, 기쁘긴 뭐가 기뻐요."""
    for i in range(len(flow)):
        if _is(flow, i, "리", "NNB") and i and flow[i - 1].tag == "ETM":
            rest = range(i + 1, _end(flow, i))
            if any(_is(flow, k, "있 만무") for k in rest):
                yield Turn("not", i, range(_start(flow, i), i))
        if flow[i].form not in _ASKED:
            continue
        end = _end(flow, i)
        if any(_is(flow, k, "겠", "EP") for k in range(i, end)):
            if not any(_is(flow, k, "모르 알", "VV") for k in range(i, end)):
                yield Turn("not", i, range(_start(flow, i), end))
        elif _is(flow, _before(flow, i), "기", "ETN"):
            yield Turn("not", i, range(_start(flow, i), end))


# -- wishes ------------------------------------------------------------------------------------


def _wish_reach(flow: Flow, at: int) -> Reach:
    return range(_start(flow, at, _OPEN_TO_WISH), at)


def _wanting(flow: Flow) -> Iterator[Turn]:
    """-고 싶다, -(으)면 싶다; 아닌가 싶다 is a guess and no wish."""
    for i in range(1, len(flow)):
        joined = _before(flow, i)
        if not _is(flow, i, "싶 고프", "VX VA"):
            continue
        if _is(flow, joined, "고 면 으면 었으면", "EC"):
            at = joined if flow[joined].form != "고" else i
            yield Turn("wish", i, _wish_reach(flow, at))


_WISHFUL = re.compile(r"(겠|[을ㄹ](까|텐데|지|걸|꺼|거)?.*|으?련만)")


def _if_only(flow: Flow) -> Iterator[Turn]:
    """-(으)면 좋겠다, -았으면 하다, -았으면 at the end; and 좋겠다 itself, which says nobody is glad."""
    for i in range(len(flow)):
        if _is(flow, i, "좋", "VA"):
            if_clause = _before(flow, i, ("J", "MA", "IC"))
            after = flow[i + 1].form if i + 1 < len(flow) else ""
            past = _is(flow, if_clause - 1, "었", "EP")
            conditional = if_clause >= 0 and _is(flow, if_clause, "면 으면 었으면", "EC")
            if conditional and (past or _WISHFUL.fullmatch(after)):
                first = _wish_reach(flow, if_clause).start
                yield Turn("wish", i, range(first, i + 1))
            elif after == "겠":
                yield Turn("wish", i, range(i, i + 1))
        elif _is(flow, i, "면 으면 었으면", "EC") and _is(flow, i - 1, "었", "EP"):
            following = flow[i + 1] if i + 1 < len(flow) else None
            ends = following is None or following.tag in ("SF", "SE", "SP", "JX")
            if ends or _is(flow, i + 1, "하 싶", "V"):
                yield Turn("wish", i, _wish_reach(flow, i))


def _hoping(flow: Flow) -> Iterator[Turn]:
    """-기를 바라다, 원하다, 빌다; …는 게 소원이다."""
    for i in range(1, len(flow)):
        asked = _is(flow, i, "바라", "VV") or _is(flow, i, "원하", "VV") or (
            _is(flow, i, "원 희망 소망 기원 갈망", "NNG XR") and _is(flow, i + 1, "하", "XS VV")
        ) or (_is(flow, i, "빌", "VV") and _is(flow, _before(flow, i), "기", "ETN"))  # fmt: skip
        nothing_more = _is(flow, i + 1, "을 ㄹ", "ETM") and _is(flow, i + 2, "것 거 나위", "NNB")
        if asked and not nothing_more:
            yield Turn("wish", i, _wish_reach(flow, i))
        elif _is(flow, i, "소원", "NNG") and _is(flow, i + 1, "이", "VCP"):
            yield Turn("wish", i, _wish_reach(flow, i))


_QUESTION = re.compile(r"[을ㄹ]까요?|[을ㄹ]지(도)?|[을ㄹ]는지")
_COUNTER = ("다면", "라면", "더라면", "었더라면")


def _doubting(flow: Flow) -> Iterator[Turn]:
    """행복해질까요, 웃을 수 있다면, 행복했더라면."""
    for i in range(1, len(flow)):
        m = flow[i]
        if not m.tag.startswith(("EF", "EC")):
            continue
        if (m.tag == "EF" and _QUESTION.fullmatch(m.form)) or (
            m.tag == "EC" and m.form.endswith(_COUNTER)
        ):
            yield Turn("doubt", i, _wish_reach(flow, i))


_RULES: tuple[Callable[[Flow], Iterator[Turn]], ...] = (
    _adverbs, _auxiliaries, _spoken_dont, _without, _absence, _lone_adverbs, _losses, _pretence,
    _hardly, _rhetoric, _wanting, _if_only, _hoping, _doubting,
)  # fmt: skip
