"""What a Korean text says is not so, or wishes were so.

Rules over morphemes, no model. A negation reaches over its predicate and what belongs to it, back
to the last boundary of clauses: in 좋은 게 하나도 없어요 everything, in 비가 안 와서 좋았어요 the
rain only. Tags such as 좋잖아요 are no negation. Irony, tone and what was said long before are not
recognised.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from nunbit.language.morphemes import (
    OPEN,
    OPEN_TO_WISH,
    Flow,
    Morpheme,
    Qualifier,
    Reach,
    before,
    clause_before,
    clause_end,
    clause_start,
    fits,
    has_form,
    is_form,
    next_predicate,
)

Found = Iterator[tuple[str, Reach]]
"""Kind and reach of the turns that one place shows."""
Rule = Callable[[Flow, int], Found]


def find_turns(flow: Sequence[Morpheme]) -> tuple[Qualifier, ...]:
    """Negations and wishes of a text, by place.

    Args:
        flow: Morphemes of one or more sentences.
    """
    given = tuple(flow)
    found = (
        Qualifier(kind, i, own)
        for rule in (*_NEGATIONS, *_RESERVATIONS, *_WISHES)
        for i in range(len(given))
        for kind, own in rule(given, i)
    )
    return tuple(sorted(found, key=lambda each: (each.at, each.kind)))


# --- patterns that need no rule of their own

_SAID_BEFORE = (
    ("not", "*커녕,은커녕,는커녕/JX"),
    ("hard", "*상관없,관계없,소용없,의미없,부질없"),  # what is 상관없다 to somebody is not theirs
    ("not", "/ETM *척,체/NNB"),  # 행복한 척하다, 괜찮은 체하다
    ("hard", "기/ETN ~ *힘들,어렵,싫,귀찮,버겁"),  # 웃기가 힘들다
    # What is strange to somebody, or theirs whom one envies, is not one's own.
    ("hard", ". *부럽,낯설,어색하,아득하,까마득하"),
    (
        "hard",
        ". *어도,아도,더라도,여도/EC !되,괜찮,좋",
    ),  # 웃어도 웃는 게 아니다; 웃어도 되다 is allowed
    ("hard", "을,ㄹ/ETM *줄/NNB 알/VV 었/EP"),  # 행복할 줄 알았다
    ("not", "/JX *개뿔,무슨 ?/SF,VCP,EF"),  # 행복은 개뿔
    ("hard", "/ETM *뻔/NNB"),  # 행복할 뻔했는데
    # What is due is or was not so: 기뻐하셨을 텐데, 고맙다고 할걸 그랬어요, 좋아해야 하는데.
    ("doubt", "을,ㄹ/ETM *터/NNB"),
    ("doubt", ". *을걸,ㄹ걸,지/E 그렇,그러/V"),
    ("doubt", ". *어야,아야,여야/EC 하,되/V 는데,ㄴ데,은데,지만/E"),
    ("doubt", ". *어야,아야,여야/EC 하,되/V 었/EP 는데,ㄴ데,은데,지만/E"),
    # Somebody asks: 행복하냐고 물으면, 좋냐고요.
    ("not", ". *냐고,으냐고,느냐고,냐,으냐,느냐,냐면,으냐면,느냐면/EC,EF"),
    ("not", "다기,라기,ㄴ다기,는다기 *보다/JKB"),  # 행복하다기보다는 그냥 살아요
    ("not", ". *다기보다,라기보다,다기보단,라기보단"),
    # Mockery: 행복하긴요, 행복이 어디 있어요, 행복 같은 소리, 남의 얘기다, 행복과 담을 쌓다.
    ("not", "기/ETN *는,은,ㄴ/JX ?/SF"),
    ("not", "기/ETN *는,은,ㄴ/JX 요"),
    ("hard", "/JKS,JX *어디/NP 있/V"),
    ("hard", "기억/NNG ~ *가물가물,희미,흐릿,까마득"),
    ("hard", "/JX *고사하"),  # 만족은 고사하고
    ("hard", "같 *소리"),
    ("hard", "같 /ETM *소리"),
    ("hard", ". *남 의/JKG 얘기,이야기,일,나라"),
    ("hard", "손,손가락/NNG ~ *꼽"),  # 손에 꼽는다: hardly ever
    ("hard", "개,물/NNG ~ *주,건너가,틀리"),  # 개나 주라지, 물 건너갔다
    ("hard", ". *글르,그르"),
    ("hard", "담/NNG ~ *쌓"),
    ("hard", ". *사치,환상,착각,거짓말,거짓,헛소리,옛말/NNG 이/VCP"),  # 행복은 사치예요
    ("hard", ". *따위,나부랭이/NNB,NNG"),
    # Asked for: 행복해지려면; 좋은 사람 만나게 해 달라고 빌었어요.
    ("doubt", "라고,달라고,고/EC *빌,기도,부탁/VV,NNG"),
    ("doubt", ". *려면,으려면/EC"),
)
"""About the clause before the place: kind and pattern."""

_SAID_BEFORE_THE_LAST = (
    ("hard", "어,아/EC *보이/VV,VX"),  # 행복해 보이는 사람들
    ("hard", "다,다가/EC,EF *말/V"),  # 좋다 말았어요
    ("not", "고/EC *뭐/NP 이/VCP 고/EC"),  # 희망이고 뭐고
)
"""About the clause that ends with the morpheme before the place."""


def _patterns(flow: Flow, i: int) -> Found:
    for back, patterns in enumerate((_SAID_BEFORE, _SAID_BEFORE_THE_LAST)):
        for kind, pattern in patterns:
            if fits(flow, i, pattern):
                yield kind, range(clause_start(flow, i - back), i)


# --- negations

_POINTING = frozenset(
    {"그런", "이런", "그거", "그것", "이거", "것", "거", "이제", "지금", "요즘", "더", "이상"}
    | {"그렇", "그러", "이러", "저", "나", "뭐"}
)
_LIGHT = ("JX", "JKS", "JKC", "JKB", "NP", "NNB", "ETM", "EC", "MAG")


def _adverbs(flow: Flow, i: int) -> Found:
    """안 and 못 before a predicate (안 좋다, 기쁨을 못 느끼다); 덜 takes a part of it away."""
    there = next_predicate(flow, i) if is_form(flow, i, "안 못 덜", "MAG") else None
    if there is None:
        return
    if flow[i].form == "덜":
        yield "lack", range(i, there + 1)
    # 지 못하-: the next rule; 없이 못 살다: negated twice, said as strongly
    elif not (fits(flow, i, "지/EC ~ *") or is_form(flow, i - 1, "없이") or _only(flow, i)):
        yield "not", range(_first(flow, i), there + 1)


def _first(flow: Flow, i: int, opened: frozenset[str] = OPEN) -> int:
    """First place that a negation at place i is about.

    A clause that only points back is about the one before: 만족? 그런 건 없어요; 다들 즐거워하는데
    저는 그러지 못해요; 행복했는데 이제는 아니에요.
    """
    first = clause_start(flow, i, opened)
    if first and all(m.form in _POINTING or m.tag in _LIGHT for m in flow[first:i]):
        after = next_predicate(flow, i)
        short = is_form(flow, i, "안 못", "MAG") and not is_form(flow, i - 1, "지")
        if not short or (after is not None and flow[after].form in _POINTING):
            return clause_start(flow, first - 1)
    return first


def _auxiliaries(flow: Flow, i: int) -> Found:
    """-지 않다, -지 못하다, -지 말다, with particles; 기쁘지도 즐겁지도 않다 is about both.

    Without 지: 걱정 마세요, 걱정을 말고.
    """
    long_form = is_form(flow, i, "않 못하 말 아니하 아니") or is_form(flow, i, "못", "MAG")
    # 좋잖아요: 지 and 않 in one syllable ask for agreement
    if long_form and fits(flow, i, "지/EC ~ *") and flow[i].start >= flow[before(flow, i)].end:
        yield "not", range(_first(flow, i), i)
    elif fits(flow, i, "/NNG,XR ~ *말/VV,VX"):
        yield "not", range(before(flow, i), i)


def _without(flow: Flow, i: int) -> Found:
    """없이 takes away the noun before it: 걱정 없이 행복하다 is about the worry only."""
    noun = first = before(flow, i)
    if not fits(flow, i, "/N ~ *없이/MAG"):
        return
    # 말할 수 없이, 더할 나위 없이, 비할 데 없이: more than can be said.
    if is_form(flow, noun, "나위 수 비") or fits(flow, noun, "비하,비,그지 . *데/NNB"):
        return
    while first > 0 and flow[first - 1].tag.startswith(("NN", "XR", "MM", "XP", "JKG", "JC")):
        first -= 1
    if flow[noun].tag == "NNB" or (first and flow[first - 1].tag.startswith("ETM")):
        first = clause_start(flow, i)  # 웃을 일 없이
    yield "not", range(first, i)


def _only(flow: Flow, i: int) -> bool:
    """Whether 밖에 precedes the negation: 너밖에 없다 and 웃을 수밖에 없다 negate nothing."""
    return has_form(flow, clause_before(flow, i), "밖에", "JX")


def _absence(flow: Flow, i: int) -> Found:
    """없다 and 아니다, which negate everything that their clause names."""
    there_is_not = is_form(flow, i, "없 읎", "VA VV VX") or is_form(flow, i, "아니", "VCN VA")
    if there_is_not and not _only(flow, i) and not _more_than_can_be(flow, i):
        # 웃고 떠들 수가 없다, 웃고 지낸 적이 없다: said of both verbs
        modal = is_form(flow, before(flow, i), "수 적 줄 리")
        yield "not", range(_first(flow, i, OPEN_TO_WISH if modal else OPEN), i)


_VERY = frozenset(
    {"틀림없", "변함없", "끝없", "한없", "그지없", "더없", "문제없", "끊임없", "빈틈없"}
    | {"거침없", "꾸밈없", "아낌없", "상관없", "관계없", "소용없", "의미없", "부질없"}
)
"""No absence of a feeling: intense, or somebody else's."""


def _absence_in_one_word(flow: Flow, i: int) -> Found:
    """재미없다, 안되다."""
    word = flow[i].form
    absent = flow[i].tag == "VA" and word.endswith("없") and len(word) > 1 and word not in _VERY
    if absent or is_form(flow, i, "안되 못되 못나", "VV VA"):
        yield "not", range(i, i)


def _more_than_can_be(flow: Flow, i: int) -> bool:
    """Idioms in which 없다 or 아니다 says 'very': 그렇게 좋을 수가 없다, 여간 기쁜 게 아니다."""
    clause = clause_before(flow, i)
    noun = before(flow, i)
    if is_form(flow, i, "아니"):
        return has_form(flow, clause, "여간 보통") or is_form(flow, noun, "장난")
    if is_form(flow, noun, "수", "NNB"):
        so = has_form(flow, clause, "그렇 이렇 이보다 그보다") or (
            has_form(flow, clause, "더") and has_form(flow, clause, "보다")
        )
        quality = (flow[k].tag == "VA" and flow[k].form not in ("그렇", "이렇") for k in clause)
        return so and any(quality)
    return is_form(flow, noun, "나위 비", "NNB NNG") or (
        is_form(flow, noun, "것 거", "NNB") and has_form(flow, clause, "바라", "VV")
    )


def _lone_adverbs(flow: Flow, i: int) -> Found:
    """별로 alone: 기분이 별로예요."""
    end = clause_end(flow, i)
    negated = "안 못 않 없 아니 못하 말 모르"
    if is_form(flow, i, "별로", "MAG NN") and not has_form(flow, range(i + 1, end), negated):
        yield "not", range(clause_start(flow, i), end)


_NEGATIONS: tuple[Rule, ...] = (
    _adverbs, _auxiliaries, _without, _absence, _absence_in_one_word, _lone_adverbs,
)  # fmt: skip


# --- reservations: loss, doubt, concession; feelings that are only named, due or over

_LOSS = (
    "잃 사라지 떨어지 모자라 무너지 깨지 잊 빼앗기 뺏기 없애 식 줄 줄어들 멈추 그치 가시 멀 드물 "
    "시시 무덤덤 덤덤 시큰둥 식상 무감각 무뎌지 끊기 메마르 시들 꺾이 접 버리 걷히 풀리 덜하 덜 낫"
)


def _losses(flow: Flow, i: int) -> Found:
    """웃음을 잃다, 불안이 사라지다, 자신감이 부족하다: about the nouns of the clause."""
    nouns = "부족 포기 상실 결핍 해소 극복 감소"
    if not is_form(flow, i, _LOSS, "VV VA XR") and not is_form(flow, i, nouns, "NNG XR"):
        return
    for k in clause_before(flow, i):
        # Only what is lost: 면접에서 떨어지다 loses no interview.
        if fits(flow, k, "*/NNG,XR,NNP,NNB !에서,에,에게,한테,으로,로,께/JKB"):
            # 미운 마음이 사라졌어요: with what is said of it.
            yield "lack", range(clause_start(flow, k) if fits(flow, k, "/ETM *") else k, k + 1)


def _hardly(flow: Flow, i: int) -> Found:
    """행복이 뭔지 모르겠다, but not 얼마나 좋은지 모르다 or 왜 우울한지 모르다."""
    clause = clause_before(flow, i)
    if i and is_form(flow, i, "모르 까먹 잊", "VV"):
        if not has_form(flow, clause, "얼마나 어찌나 왜 어째서"):
            # 힘든 줄도 모르고, 아픈지 몰랐어요: it was not felt, be it good or bad.
            unfelt = fits(flow, i, "줄/NNB ~ *") or fits(flow, i, "ㄴ지,은지,는지/EC ~ * 었/EP")
            yield "lack" if unfelt else "hard", clause
    elif i and is_form(flow, i, "지", "NNB"):
        # 웃어 본 지가 오래됐다; 설레고 그런 거 졸업한 지 오래
        if has_form(flow, range(i, clause_end(flow, i)), "오래 오래되 한참"):
            yield "hard", clause_before(flow, i, OPEN_TO_WISH)
    elif fits(flow, i, ". *억지로,억지,가식") or fits(flow, i, ". *겉 으로"):
        yield "hard", range(i, clause_end(flow, i))


def _rhetoric(flow: Flow, i: int) -> Found:
    """좋을 리가 있겠어요, 누가 좋아하겠어요, 기쁘긴 뭐가 기뻐요."""
    clause, end = clause_before(flow, i), clause_end(flow, i)
    rest = range(i, end)
    if fits(flow, i, "/ETM *리,턱,까닭/NNB,NNG") and has_form(flow, rest, "있 만무"):
        yield "not", clause
    if not is_form(flow, i, "뭐 무엇 무슨 누구 어떻 어떻게 언제 어디 어찌 왜"):
        return
    if has_form(flow, rest, "겠", "EP"):
        if not has_form(flow, rest, "모르 알", "VV"):
            yield "not", range(clause.start, end)
    elif fits(flow, i, "기/ETN ~ *"):
        yield "not", range(clause.start, end)
    elif is_form(flow, i, "뭐 무슨 언제") and _asks_in_vain(flow, i, end):
        yield "hard", clause


def _asks_in_vain(flow: Flow, i: int, end: int) -> bool:
    """좋을 게 뭐가 있어요; 기분 좋은 날이 언제였나 싶다."""
    if fits(flow, before(flow, i), "을,ㄹ/ETM */NN") and has_form(flow, range(i, end), "있"):
        return True
    return is_form(flow, i, "언제") and has_form(flow, range(i, end + 3), "싶 모르 기억 가물가물")


def _regretted(flow: Flow, i: int) -> Found:
    """고마워할 거 그랬어요; 다더니, 다길래: somebody says so."""
    if fits(flow, i, "을,ㄹ/ETM *거,것/NNB"):
        if has_form(flow, range(i + 1, i + 4), "그렇 그러 후회 아쉽 싶"):
            yield "doubt", clause_before(flow, i)
    elif fits(flow, i, ". */EC,EF") and flow[i].form.endswith(("다더니", "다길래", "라더니")):
        yield "hard", clause_before(flow, i)


_NOW = "지금 이제 이젠 요즘 요새 인자 오늘 현재"
_OVER = "지나가 지나 끝나 가 흘러가 사라지 옛날"


def _over(flow: Flow, i: int) -> Found:
    """좋았었는데; 우울했는데 지금은 괜찮아요; 좋은 시절 다 갔지; 예전에는 행복했는데."""
    clause, following = clause_before(flow, i), range(i + 1, i + 3)
    if fits(flow, i, "었 *는데,지만/EC") and has_form(flow, clause, "예전 옛날 한때"):
        yield "hard", clause
    if i and is_form(flow, i, "는데 은데 지만 더니 으나 다가", "EC"):
        # 남들은 행복한데 나만
        others = has_form(flow, clause, "다들 남 친구 사람 애") and has_form(
            flow, following, "나 저 내", "NP"
        )
        granted = any(fits(flow, k, "*기/ETN /JX") for k in clause[:-1])  # 웃긴 웃었는데
        past = is_form(flow, i - 1, "었", "EP")
        if is_form(flow, i - 1, "었었", "EP") or others or granted:
            yield "hard", clause
        elif past and has_form(flow, following, _NOW):
            yield "lack", clause
        elif past and has_form(flow, clause, "기대 희망 예상", "NNG"):
            yield "hard", clause  # 기대했는데 실망만 했어요
    elif i and is_form(flow, i, _OVER, "VV NNG"):
        times = [k for k in clause if fits(flow, k, "/ETM *시절,때,날,나날,추억,세월,순간/NNG,NNB")]
        gone = flow[i].tag == "NNG" or is_form(flow, i, "지나가 끝나 흘러가 사라지")
        if times and (gone or has_form(flow, clause, "다")):
            yield "hard", range(clause.start, times[-1])


def _mockery(flow: Flow, i: int) -> Found:
    """행복은 무슨, 무슨 재미로 살아요, 남의 얘기다."""
    if fits(flow, i, ". /JX *무슨/MM"):
        yield "hard", range(i - 2, i)
    elif fits(flow, i, ". *무슨/MM . 으로,로/JKB"):
        yield "hard", range(i, clause_end(flow, i))
    elif fits(flow, i, ". *얘기,이야기 이/VCP") and has_form(
        flow, range(i - 3, i), "사람 남 드라마 동화 영화 책"
    ):
        yield "hard", clause_before(flow, i)


_RESERVATIONS: tuple[Rule, ...] = (
    _patterns, _losses, _hardly, _rhetoric, _regretted, _over, _mockery,
)  # fmt: skip


# --- wishes: wanting, hoping, praying, asking whether something could be


def _wanting(flow: Flow, i: int) -> Found:
    """-고 싶다, -(으)면 싶다; 아닌가 싶다 is a guess and no wish."""
    joined = before(flow, i)
    if i and is_form(flow, i, "싶 고프", "VX VA"):
        # 편안해졌음 싶어요
        if fits(flow, joined, "었/EP *음,ㅁ/ETN") or is_form(flow, joined, "면 으면 었으면", "EC"):
            yield "wish", clause_before(flow, joined, OPEN_TO_WISH)
        elif is_form(flow, joined, "고", "EC"):
            yield "wish", clause_before(flow, i, OPEN_TO_WISH)


_WISHFUL = re.compile(r"(겠|[을ㄹ](까|텐데|지|걸|꺼|거)?.*|으?련만)")


def _if_only(flow: Flow, i: int) -> Found:
    """-(으)면 좋겠다, -았으면 하다, -았으면 at the end; 좋겠다, which says nobody is glad."""
    if is_form(flow, i, "좋", "VA"):
        joined = before(flow, i, ("J", "MA", "IC"))
        after = flow[i + 1].form if i + 1 < len(flow) else ""
        past = is_form(flow, joined - 1, "었", "EP")
        conditional = is_form(flow, joined, "면 으면 었으면", "EC") or (
            past and is_form(flow, joined, "음 ㅁ", "ETN EC")  # 행복했음 좋겠다
        )
        if conditional and (past or _WISHFUL.fullmatch(after)):
            yield "wish", range(clause_start(flow, joined, OPEN_TO_WISH), i + 1)
        elif after == "겠":
            yield "wish", range(i, i + 1)
    elif fits(flow, i, "었/EP *면,으면,었으면/EC"):
        # 편했으면 소원이 없겠다
        ends = ("*면,으면,었으면 ?/SF,SE,SP,JX", "* 하,싶/V", "* 소원,여한")
        if any(fits(flow, i, end) for end in ends):
            yield "wish", clause_before(flow, i, OPEN_TO_WISH)


def _hoping(flow: Flow, i: int) -> Found:
    """-기를 바라다, 원하다, 빌다, …는 게 소원이다."""
    asked = ("*바라,원하/VV", "*원,희망,소망,기원,갈망/NNG,XR 하/XS,VV", "기/ETN ~ *빌/VV")
    hoped = any(fits(flow, i, own) for own in asked) and not fits(
        flow, i, "* 을,ㄹ/ETM 것,거,나위/NNB"
    )
    if i and (hoped or fits(flow, i, "*소원/NNG 이/VCP") or fits(flow, i, "기/ETN ~ *기도/NNG")):
        yield "wish", clause_before(flow, i, OPEN_TO_WISH)


_QUESTION = re.compile(r"[을ㄹ]까나?요?|[을ㄹ]지(도)?|[을ㄹ]는지|[을ㄹ]런지|으?려나요?")


def _doubting(flow: Flow, i: int) -> Found:
    """행복해질까요, 웃을 수 있다면, 행복했더라면, 좋은 날이 오겠죠, 행복하게 해 주세요."""
    form = flow[i].form
    if fits(flow, i, "게/EC 하/VX,VV . *주/VX,VV 세요,소서,으세요,시,게"):
        yield "doubt", clause_before(flow, i - 2, OPEN_TO_WISH)
    if not fits(flow, i, ". */EF,EC"):
        return
    if fits(flow, i, "겠/EP *죠,지,지요"):
        yield "doubt", clause_before(flow, i, OPEN_TO_WISH)
    asked = (flow[i].tag == "EF" or form.endswith("려나")) and _QUESTION.fullmatch(form)
    if asked or (flow[i].tag == "EC" and form.endswith(("다면", "라면", "더라면", "었더라면"))):
        yield "doubt", clause_before(flow, i, OPEN_TO_WISH)


_WISHES: tuple[Rule, ...] = (_wanting, _if_only, _hoping, _doubting)
