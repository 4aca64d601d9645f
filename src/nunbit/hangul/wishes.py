"""What a Korean text wishes were so: wanting, hoping, praying, asking whether it could be."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nunbit.hangul.clauses import (
    OPEN_TO_WISH,
    Flow,
    Reach,
    Turn,
    before,
    clause_start,
    is_form,
)


def _wish_reach(flow: Flow, at: int) -> Reach:
    return range(clause_start(flow, at, OPEN_TO_WISH), at)


def _wanting(flow: Flow) -> Iterator[Turn]:
    """-고 싶다, -(으)면 싶다; 아닌가 싶다 is a guess and no wish."""
    for i in range(1, len(flow)):
        joined = before(flow, i)
        if not is_form(flow, i, "싶 고프", "VX VA"):
            continue
        if is_form(flow, joined, "음 ㅁ", "ETN") and is_form(flow, joined - 1, "었", "EP"):
            yield Turn("wish", i, _wish_reach(flow, joined))  # 편안해졌음 싶어요
        if is_form(flow, joined, "고 면 으면 었으면", "EC"):
            at = joined if flow[joined].form != "고" else i
            yield Turn("wish", i, _wish_reach(flow, at))


_WISHFUL = re.compile(r"(겠|[을ㄹ](까|텐데|지|걸|꺼|거)?.*|으?련만)")


def _if_only(flow: Flow) -> Iterator[Turn]:
    """-(으)면 좋겠다, -았으면 하다, -았으면 at the end; 좋겠다, which says nobody is glad."""
    for i in range(len(flow)):
        if is_form(flow, i, "좋", "VA"):
            if_clause = before(flow, i, ("J", "MA", "IC"))
            after = flow[i + 1].form if i + 1 < len(flow) else ""
            past = is_form(flow, if_clause - 1, "었", "EP")
            conditional = if_clause >= 0 and (
                is_form(flow, if_clause, "면 으면 었으면", "EC")
                or (past and is_form(flow, if_clause, "음 ㅁ", "ETN EC"))  # 행복했음 좋겠다
            )
            if conditional and (past or _WISHFUL.fullmatch(after)):
                first = _wish_reach(flow, if_clause).start
                yield Turn("wish", i, range(first, i + 1))
            elif after == "겠":
                yield Turn("wish", i, range(i, i + 1))
        elif is_form(flow, i, "면 으면 었으면", "EC") and is_form(flow, i - 1, "었", "EP"):
            following = flow[i + 1] if i + 1 < len(flow) else None
            ends = following is None or following.tag in ("SF", "SE", "SP", "JX")
            # 편했으면 소원이 없겠다
            if ends or is_form(flow, i + 1, "하 싶", "V") or is_form(flow, i + 1, "소원 여한"):
                yield Turn("wish", i, _wish_reach(flow, i))


def _hoping(flow: Flow) -> Iterator[Turn]:
    """-기를 바라다, 원하다, 빌다; …는 게 소원이다."""
    for i in range(1, len(flow)):
        noun = is_form(flow, i, "원 희망 소망 기원 갈망", "NNG XR")
        asked = (
            is_form(flow, i, "바라 원하", "VV")
            or (noun and is_form(flow, i + 1, "하", "XS VV"))
            or (is_form(flow, i, "빌", "VV") and is_form(flow, before(flow, i), "기", "ETN"))
        )
        to_do = is_form(flow, i + 1, "을 ㄹ", "ETM")
        nothing_more = to_do and is_form(flow, i + 2, "것 거 나위", "NNB")
        prayed = is_form(flow, i, "기도", "NNG") and is_form(flow, before(flow, i), "기", "ETN")
        dream = is_form(flow, i, "소원", "NNG") and is_form(flow, i + 1, "이", "VCP")
        if dream or prayed or (asked and not nothing_more):
            yield Turn("wish", i, _wish_reach(flow, i))


_PRAYER = frozenset({"세요", "소서", "으세요", "시", "게"})


def _praying(flow: Flow) -> Iterator[Turn]:
    """행복하게 해 주세요."""
    for i in range(3, len(flow)):
        made = is_form(flow, i - 3, "게", "EC") and is_form(flow, i - 2, "하", "VX VV")
        given = is_form(flow, i, "주", "VX VV") and i + 1 < len(flow)
        if made and given and flow[i + 1].form in _PRAYER:
            yield Turn("doubt", i, _wish_reach(flow, i - 2))


_QUESTION = re.compile(r"[을ㄹ]까나?요?|[을ㄹ]지(도)?|[을ㄹ]는지|[을ㄹ]런지|으?려나요?")
_COUNTER = ("다면", "라면", "더라면", "었더라면")


def _doubting(flow: Flow) -> Iterator[Turn]:
    """행복해질까요, 웃을 수 있다면, 행복했더라면."""
    for i in range(1, len(flow)):
        m = flow[i]
        if not m.tag.startswith(("EF", "EC")):
            continue
        if is_form(flow, i - 1, "겠", "EP") and is_form(flow, i, "죠 지 지요"):
            yield Turn("doubt", i, _wish_reach(flow, i))  # 좋은 날이 오겠죠
        asked = m.tag == "EF" or m.form.endswith("려나")
        if (asked and _QUESTION.fullmatch(m.form)) or (m.tag == "EC" and m.form.endswith(_COUNTER)):
            yield Turn("doubt", i, _wish_reach(flow, i))


WISHES = (_wanting, _if_only, _hoping, _praying, _doubting)
"""The rules, each from morphemes to turns."""
