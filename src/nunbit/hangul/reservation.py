"""What takes back a word of feeling without negating it: loss, pretence, doubt, concession."""

from __future__ import annotations

from collections.abc import Iterator

from nunbit.hangul.clauses import (
    OPEN_TO_WISH,
    Flow,
    Turn,
    before,
    clause_end,
    clause_start,
    is_form,
)

_LOSS = (
    "잃 사라지 떨어지 모자라 무너지 깨지 잊 빼앗기 뺏기 없애 식 줄 줄어들 멈추 그치 가시 멀 드물 "
    "시시 무덤덤 덤덤 시큰둥 식상 무감각 무뎌지 끊기 메마르 시들 꺾이 접 버리 걷히 풀리 덜하 덜 낫"
)
_LOSS_NOUNS = "부족 포기 상실 결핍 해소 극복 감소"


def _losses(flow: Flow) -> Iterator[Turn]:
    """웃음을 잃다, 불안이 사라지다, 자신감이 부족하다: about the nouns of the clause."""
    for i in range(1, len(flow)):
        lost = is_form(flow, i, _LOSS, "VV VA XR") or is_form(flow, i, _LOSS_NOUNS, "NNG XR")
        if not lost:
            continue
        nouns = [
            k
            for k in range(clause_start(flow, i), i)
            if flow[k].tag.startswith(("NNG", "XR", "NNP", "NNB"))
        ]
        for k in nouns:
            # Only what is lost: 면접에서 떨어지다 loses no interview.
            if not is_form(flow, k + 1, "에서 에 에게 한테 으로 로 께", "JKB"):
                # 미운 마음이 사라졌어요: with what is said of it.
                told = k > 0 and flow[k - 1].tag == "ETM"
                first = clause_start(flow, k) if told else k
                yield Turn("lack", i, range(first, k + 1))


def _pretence(flow: Flow) -> Iterator[Turn]:
    """행복한 척하다, 괜찮은 체하다."""
    for i in range(1, len(flow)):
        if is_form(flow, i, "척 체", "NNB") and flow[i - 1].tag == "ETM":
            yield Turn("not", i, range(clause_start(flow, i), i))


_HARD = frozenset({"힘들", "어렵", "싫", "귀찮", "버겁"})
_STRANGE = frozenset({"부럽", "낯설", "어색하", "아득하", "까마득하"})
"""What is strange to somebody, or theirs whom one envies, is not one's own."""

_UNKNOWN = frozenset({"모르", "까먹", "잊"})
_ONCE = frozenset({"예전", "옛날", "한때"})
_FORCED = frozenset({"억지로", "억지", "겉", "가식"})
_HOW_MUCH = frozenset({"얼마나", "어찌나", "왜", "어째서"})


def _hardly(flow: Flow) -> Iterator[Turn]:
    """웃기가 힘들다; 행복이 뭔지 모르겠다, but not 얼마나 좋은지 모르다 or 왜 우울한지 모르다."""
    for i in range(1, len(flow)):
        clause = range(clause_start(flow, i), i)
        if (flow[i].form in _HARD and is_form(flow, before(flow, i), "기", "ETN")) or flow[
            i
        ].form in _STRANGE:
            yield Turn("hard", i, clause)
        elif flow[i].form in _UNKNOWN and flow[i].tag == "VV":
            if not any(flow[k].form in _HOW_MUCH for k in clause):
                # 힘든 줄도 모르고, 아픈지 몰랐어요: it was not felt, be it good or bad.
                joined = before(flow, i)
                unfelt = is_form(flow, joined, "줄", "NNB") or (
                    is_form(flow, joined, "ㄴ지 은지 는지", "EC")
                    and is_form(flow, i + 1, "었", "EP")
                )
                yield Turn("lack" if unfelt else "hard", i, clause)
        elif is_form(flow, i, "지", "NNB") and any(
            is_form(flow, k, "오래 오래되 한참") for k in range(i, clause_end(flow, i))
        ):
            # 웃어 본 지가 오래됐다; 설레고 그런 거 졸업한 지 오래
            yield Turn("hard", i, range(clause_start(flow, i, OPEN_TO_WISH), i))
        elif is_form(flow, i, "보이", "VV VX") and is_form(flow, i - 1, "어 아", "EC"):
            yield Turn("hard", i, range(clause_start(flow, i - 1), i))  # 행복해 보이는 사람들
        elif flow[i].form in _FORCED and (flow[i].form != "겉" or is_form(flow, i + 1, "으로")):
            yield Turn("hard", i, range(i, clause_end(flow, i)))


def _conceded(flow: Flow) -> Iterator[Turn]:
    """웃어도 웃는 게 아니다; 예전에는 행복했는데; 행복할 줄 알았다; 행복은 개뿔."""
    for i in range(1, len(flow)):
        clause = range(clause_start(flow, i), i)
        past = flow[i - 1].form == "었"
        if flow[i].tag == "EC":
            allowed = is_form(flow, i + 1, "되 괜찮 좋")  # 웃어도 되다: allowed, not conceded
            if (flow[i].form in ("어도", "아도", "더라도", "여도") and not allowed) or (
                flow[i].form in ("는데", "지만") and past
                and any(flow[k].form in _ONCE for k in clause)
            ):  # fmt: skip
                yield Turn("hard", i, clause)
        elif is_form(flow, i, "줄", "NNB") and is_form(flow, i - 1, "을 ㄹ", "ETM"):
            if is_form(flow, i + 1, "알", "VV") and is_form(flow, i + 2, "었", "EP"):
                yield Turn("hard", i, clause)
        elif flow[i].form in ("개뿔", "무슨") and flow[i - 1].tag == "JX":
            ends = i + 1 == len(flow) or flow[i + 1].tag in ("SF", "VCP", "EF")
            if ends:
                yield Turn("not", i, clause)


_ASKED = frozenset({"뭐", "무엇", "무슨", "누구", "어떻", "어떻게", "언제", "어디", "어찌", "왜"})


def _rhetoric(flow: Flow) -> Iterator[Turn]:
    """좋을 리가 있겠어요, 누가 좋아하겠어요, 기쁘긴 뭐가 기뻐요."""
    for i in range(len(flow)):
        if is_form(flow, i, "리 턱 까닭", "NNB NNG") and i and flow[i - 1].tag == "ETM":
            rest = range(i + 1, clause_end(flow, i))
            if any(is_form(flow, k, "있 만무") for k in rest):
                yield Turn("not", i, range(clause_start(flow, i), i))
        if flow[i].form not in _ASKED:
            continue
        end = clause_end(flow, i)
        if any(is_form(flow, k, "겠", "EP") for k in range(i, end)):
            if not any(is_form(flow, k, "모르 알", "VV") for k in range(i, end)):
                yield Turn("not", i, range(clause_start(flow, i), end))
        elif is_form(flow, before(flow, i), "기", "ETN"):
            yield Turn("not", i, range(clause_start(flow, i), end))
        elif is_form(flow, i, "뭐 무슨 언제") and _asks_in_vain(flow, i, end):
            yield Turn("hard", i, range(clause_start(flow, i), i))


def _asks_in_vain(flow: Flow, i: int, end: int) -> bool:
    """좋을 게 뭐가 있어요; 기분 좋은 날이 언제였나 싶다."""
    noun = before(flow, i)
    to_come = (
        noun > 0 and flow[noun].tag.startswith("NN") and is_form(flow, noun - 1, "을 ㄹ", "ETM")
    )
    if to_come and any(is_form(flow, k, "있") for k in range(i, end)):
        return True
    later = range(i, min(len(flow), end + 3))
    return is_form(flow, i, "언제") and any(
        is_form(flow, k, "싶 모르 기억 가물가물") for k in later
    )


RESERVATIONS = (_losses, _pretence, _hardly, _conceded, _rhetoric)
"""The rules, each from morphemes to turns."""
