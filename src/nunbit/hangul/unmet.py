"""Feeling that a Korean text names but that was due, near, asked about, mocked or is over."""

from __future__ import annotations

from collections.abc import Iterator

from nunbit.hangul.clauses import Flow, Turn, before, clause_end, clause_start, is_form


def _due(flow: Flow) -> Iterator[Turn]:
    """기뻐하셨을 텐데, 고맙다고 할걸 그랬어요, 좋아해야 하는데: it is or was not so."""
    for i in range(1, len(flow)):
        if is_form(flow, i, "터", "NNB") and is_form(flow, i - 1, "을 ㄹ", "ETM"):
            yield Turn("doubt", i, range(clause_start(flow, i), i))
        elif is_form(flow, i, "거 것", "NNB") and is_form(flow, i - 1, "을 ㄹ", "ETM"):
            if any(
                is_form(flow, k, "그렇 그러 후회 아쉽 싶")
                for k in range(i + 1, min(i + 4, len(flow)))
            ):
                yield Turn("doubt", i, range(clause_start(flow, i), i))
        elif is_form(flow, i, "을걸 ㄹ걸 지", "E") and is_form(flow, i + 1, "그렇 그러", "V"):
            yield Turn("doubt", i, range(clause_start(flow, i), i))
        elif is_form(flow, i, "어야 아야 여야", "EC") and is_form(flow, i + 1, "하 되", "V"):
            after = i + 3 if is_form(flow, i + 2, "었", "EP") else i + 2
            if is_form(flow, after, "는데 ㄴ데 은데 지만", "E"):
                yield Turn("doubt", i, range(clause_start(flow, i), i))


def _almost(flow: Flow) -> Iterator[Turn]:
    """행복할 뻔했는데, 좋다 말았어요."""
    for i in range(1, len(flow)):
        broken_off = is_form(flow, i, "말", "V") and is_form(flow, i - 1, "다 다가", "EC EF")
        if (is_form(flow, i, "뻔", "NNB") and flow[i - 1].tag == "ETM") or broken_off:
            yield Turn("hard", i, range(clause_start(flow, i - 1), i))


_NOW = "지금 이제 이젠 요즘 요새 인자 오늘 현재"
_TIMES = "시절 때 날 나날 추억 세월 순간"
_OVER = "지나가 지나 끝나 가 흘러가 사라지 옛날"
_EXPECTED = "기대 희망 예상"


def _over(flow: Flow) -> Iterator[Turn]:
    """좋았었는데; 우울했는데 지금은 괜찮아요; 좋은 시절 다 갔지; 기대했는데 실망만 했어요."""
    for i in range(1, len(flow)):
        clause = range(clause_start(flow, i), i)
        but = is_form(flow, i, "는데 은데 지만 더니 으나 다가", "EC")
        if but and is_form(flow, i - 1, "었었", "EP"):
            yield Turn("hard", i, clause)
        elif (
            but
            and any(is_form(flow, k, "다들 남 친구 사람 애") for k in clause)
            and any(is_form(flow, k, "나 저 내", "NP") for k in range(i + 1, min(i + 3, len(flow))))
        ):
            yield Turn("hard", i, clause)  # 남들은 행복한데 나만
        elif but and any(
            is_form(flow, k, "기", "ETN") and flow[k + 1].tag == "JX" for k in clause[:-1]
        ):
            yield Turn("hard", i, clause)  # 웃긴 웃었는데
        elif but and is_form(flow, i - 1, "었", "EP"):
            if any(is_form(flow, k, _NOW) for k in range(i + 1, min(i + 3, len(flow)))):
                yield Turn("lack", i, clause)
            elif any(is_form(flow, k, _EXPECTED, "NNG") for k in clause):
                yield Turn("hard", i, clause)
        elif is_form(flow, i, _OVER, "VV NNG"):
            times = [
                k
                for k in clause
                if is_form(flow, k, _TIMES, "NNG NNB") and flow[k - 1].tag == "ETM"
            ]
            if times and (flow[i].tag == "NNG" or "다" in {flow[k].form for k in clause}
                          or is_form(flow, i, "지나가 끝나 흘러가 사라지")):  # fmt: skip
                yield Turn("hard", i, range(clause.start, times[-1]))


_WHETHER = frozenset({"냐고", "으냐고", "느냐고", "냐", "으냐", "느냐", "냐면", "으냐면", "느냐면"})


def _whether(flow: Flow) -> Iterator[Turn]:
    """행복하냐고 물으면, 좋냐고요: somebody asks. 다더니, 다길래: somebody says so."""
    for i in range(1, len(flow)):
        if flow[i].form in _WHETHER and flow[i].tag in ("EC", "EF"):
            yield Turn("not", i, range(clause_start(flow, i), i))
        elif flow[i].tag in ("EC", "EF") and flow[i].form.endswith(("다더니", "다길래", "라더니")):
            yield Turn("hard", i, range(clause_start(flow, i), i))


def _rather_than(flow: Flow) -> Iterator[Turn]:
    """행복하다기보다는 그냥 살아요."""
    for i in range(1, len(flow)):
        more = is_form(flow, i, "보다", "JKB") and is_form(flow, i - 1, "다기 라기 ㄴ다기 는다기")
        if more or is_form(flow, i, "다기보다 라기보다 다기보단 라기보단"):
            yield Turn("not", i, range(clause_start(flow, i), i))


_ALIEN_NOUNS = "사치 환상 착각 거짓말 거짓 헛소리 옛말"


def _mockery(flow: Flow) -> Iterator[Turn]:
    """행복하긴요, 행복은 무슨, 행복이 어디 있어요, 희망이고 뭐고, 사랑 따위, 행복은 사치예요."""
    for i in range(1, len(flow)):
        clause = range(clause_start(flow, i), i)
        if flow[i].tag == "JX" and is_form(flow, i - 1, "기", "ETN"):
            ends = i + 1 == len(flow) or is_form(flow, i + 1, "요") or flow[i + 1].tag == "SF"
            if ends and is_form(flow, i, "는 은 ㄴ"):
                yield Turn("not", i, clause)
        elif is_form(flow, i, "무슨", "MM") and flow[i - 1].tag == "JX" and i > 1:
            yield Turn("hard", i, range(i - 2, i))
        elif is_form(flow, i, "무슨", "MM") and is_form(flow, i + 2, "으로 로", "JKB"):
            yield Turn("hard", i, range(i, clause_end(flow, i)))  # 무슨 재미로 살아요
        elif is_form(flow, i, "어디", "NP") and flow[i - 1].tag in ("JKS", "JX"):
            if is_form(flow, i + 1, "있", "V"):
                yield Turn("hard", i, clause)
        elif is_form(flow, i, "뭐", "NP") and is_form(flow, i - 1, "고", "EC"):
            if is_form(flow, i + 1, "이", "VCP") and is_form(flow, i + 2, "고", "EC"):
                yield Turn("not", i, range(clause_start(flow, i - 1), i))
        elif _scorned(flow, i):
            yield Turn("hard", i, clause)


def _scorned(flow: Flow, i: int) -> bool:
    """사랑 따위, 행복 같은 소리, 행복은 사치다, 남의 얘기다, 행복과 담을 쌓다."""
    if flow[i].form in ("얘기", "이야기") and is_form(flow, i + 1, "이", "VCP"):
        told = range(max(0, i - 3), i)
        return any(is_form(flow, k, "사람 남 드라마 동화 영화 책") for k in told)
    if flow[i].form in ("가물가물", "희미", "흐릿", "까마득"):
        return is_form(flow, before(flow, i), "기억", "NNG")
    if flow[i].form == "고사하":  # 만족은 고사하고
        return flow[i - 1].tag == "JX"
    if flow[i].form == "소리":
        return is_form(flow, before(flow, i, ("ETM",)), "같")
    if flow[i].form == "남":
        return is_form(flow, i + 1, "의", "JKG") and is_form(flow, i + 2, "얘기 이야기 일 나라")
    if flow[i].form == "꼽":  # 손에 꼽는다: hardly ever
        return is_form(flow, before(flow, i), "손 손가락", "NNG")
    if flow[i].form in ("주", "건너가", "글르", "그르", "틀리"):  # 개나 주라지, 물 건너갔다
        noun = before(flow, i)
        return flow[i].form in ("글르", "그르") or is_form(flow, noun, "개 물", "NNG")
    if flow[i].form == "쌓":
        return is_form(flow, before(flow, i), "담", "NNG")
    if is_form(flow, i, _ALIEN_NOUNS, "NNG"):
        return is_form(flow, i + 1, "이", "VCP")
    return is_form(flow, i, "따위 나부랭이", "NNB NNG")


def _asked_for(flow: Flow) -> Iterator[Turn]:
    """행복해지려면; 좋은 사람 만나게 해 달라고 빌었어요."""
    for i in range(1, len(flow)):
        prayed = is_form(flow, i, "빌 기도 부탁", "VV NNG") and is_form(
            flow, i - 1, "라고 달라고 고", "EC"
        )
        if prayed or is_form(flow, i, "려면 으려면", "EC"):
            yield Turn("doubt", i, range(clause_start(flow, i), i))


UNMET = (_due, _almost, _over, _whether, _rather_than, _mockery, _asked_for)
"""The rules, each from morphemes to turns."""
