"""Korean text with numbers, units, counters and letters spoken out.

Where speakers differ, the commoner reading in conversation is taken: native numbers up to 39
before native counters (35명 서른다섯 명, 40명 사십 명), 스무 명 and not 이십 명, 14시 십사 시.
"""

from __future__ import annotations

import re

from nunbit.hangul.english import LATIN_WORD

_DIGITS = "영일이삼사오육칠팔구"
_BIG = ("", "만", "억", "조", "경", "해")
_SMALL = ("", "십", "백", "천")
_NATIVE_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
_NATIVE_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
_ENGLISH_DIGITS = ("제로", "원", "투", "쓰리", "포", "파이브", "식스", "세븐", "에이트", "나인")
_LETTERS = {
    "A": "에이", "B": "비", "C": "씨", "D": "디", "E": "이", "F": "에프", "G": "지",
    "H": "에이치", "I": "아이", "J": "제이", "K": "케이", "L": "엘", "M": "엠", "N": "엔",
    "O": "오", "P": "피", "Q": "큐", "R": "알", "S": "에스", "T": "티", "U": "유", "V": "브이",
    "W": "더블유", "X": "엑스", "Y": "와이", "Z": "지",
}  # fmt: skip
# Acronyms said as a word; all others are spelled out.
_ACRONYMS = {
    "AIDS": "에이즈", "APEC": "에이펙", "ASEAN": "아세안", "COVID": "코비드", "FIFA": "피파",
    "KAIST": "카이스트", "KOSDAQ": "코스닥", "KOSPI": "코스피", "LAN": "랜", "LASIK": "라식",
    "MERS": "메르스", "NASA": "나사", "NATO": "나토", "OPEC": "오펙", "POP": "팝",
    "POSCO": "포스코", "RAM": "램", "SARS": "사스", "TED": "테드", "TOEFL": "토플",
    "TOEIC": "토익", "UNESCO": "유네스코", "UNICEF": "유니세프",
}  # fmt: skip
_MEASURES = {
    "%p": "퍼센트포인트", "%": "퍼센트", "℃": "도", "°C": "도", "°": "도", "kg": "킬로그램",
    "mg": "밀리그램", "g": "그램", "km": "킬로미터", "cm": "센티미터", "mm": "밀리미터",
    "m": "미터", "ml": "밀리리터", "mL": "밀리리터", "L": "리터", "ℓ": "리터", "Hz": "헤르츠",
    "kHz": "킬로헤르츠", "MHz": "메가헤르츠", "GHz": "기가헤르츠", "dB": "데시벨",
    "KB": "킬로바이트", "MB": "메가바이트", "GB": "기가바이트", "TB": "테라바이트", "W": "와트",
    "kW": "킬로와트", "V": "볼트", "kcal": "킬로칼로리", "m2": "제곱미터", "m²": "제곱미터",
    "ms": "밀리초",
}  # fmt: skip
_MONEY = {"$": "달러", "₩": "원", "￦": "원", "€": "유로", "£": "파운드", "¥": "엔"}
_SIGNS = {"%": "퍼센트", "&": "앤드", "+": "플러스"}

# Counters with native numbers, and the largest number so read; above it Sino-Korean.
_MOST_NATIVE = 39
_MOST = {"시": 12, "시간": 23, "배": 10, "살": 99, "번째": 99}
_LONG_COUNTERS = (
    "번째|시간|사람|식구|마리|송이|그루|켤레|자루|가지|군데|차례|바퀴|조각|그릇|접시|봉지|상자|"
    "박스|마디|걸음|방울|모금|다발|묶음|숟가락|가족"
)
_SHORT_COUNTERS = "[명시살개권잔병대번장벌채척통판곳달쌍배건끼줄칸곡편골표팀캔]"
# What may follow a counter of one syllable: particles and the like. Without this 3개월, 2장관 and
# 5시즌 would be taken for counters.
_AFTER = "[이가은는을를의에도만로으과와씩쯤정나랑까부마밖당중짜뿐보입였예요든께째반전후간내동들]"
_COUNTER = re.compile(rf"\s?({_LONG_COUNTERS}|{_SHORT_COUNTERS}(?=[^가-힣]|{_AFTER}|$))")
_STREET = re.compile(r"\s?번가(?=[^가-힣]|[에의와를는]|$)")  # 5번가 is a street
_MONTH = re.compile(r"\s?월(?=[^가-힣]|[에이은을의부까말초중달호]|$)")
_TAGGED = re.compile(r"[A-Z]{1,2}(?![A-Za-z])")

_MEASURE = "|".join(sorted(map(re.escape, _MEASURES), key=len, reverse=True))
_TOKEN = re.compile(
    rf"""
      (?P<phone>(?<![\d.-])
        (?:0\d{{1,2}}-\d{{3,4}}-\d{{4}} | 1[5-9]\d\d-\d{{4}} | \d+(?:-\d+){{3,}}) (?!\d))
    | (?P<date>(?<!\d) (?P<year>\d{{4}}) (?:-|/|\.\s?) (?P<month>0?[1-9]|1[0-2])
        (?:-|/|\.\s?) (?P<day>[0-3]?\d) (?!\d))
    | (?P<clock>(?<![\d:]) (?P<hour>[01]?\d|2[0-4]) : (?P<minute>[0-5]\d)
        (?: : (?P<second>[0-5]\d))? (?![\d:]))
    | (?P<fraction>(?<![\d/]) (?P<over>\d+) / (?P<under>\d+) (?![\d/]))
    | (?P<code>(?<![A-Za-z]) [A-Z]{{1,5}} -? \d (?![\d.,]))
    | (?P<number>(?P<minus>(?:(?<=\s)|^)[-−](?=[\d$]))? (?:(?P<money>[$₩￦€£¥])\s?)?
        (?P<whole>\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+) (?P<decimals>\.\d+)?
        (?:\s?(?P<measure>{_MEASURE})(?![A-Za-z0-9]))?)
    | (?P<dotted>(?:[A-Z]\.){{2,}})
    | (?P<latin>{LATIN_WORD})
    | (?P<sign>[%&+])
    """,
    re.VERBOSE,
)
_KINDS = ("phone", "date", "clock", "fraction", "code", "number", "dotted", "latin", "sign")
_RANGE = re.compile(r"(?<=\d)\s?[~∼〜～]\s?(?=\d)")
# A number with its unit says nothing about the language: 50kg.
_UNIT_AFTER_NUMBER = re.compile(rf"(?<=\d)\s?(?:{_MEASURE})(?![A-Za-z0-9])")


def speak_korean(text: str) -> str:
    """Korean text (NFC) as it is read aloud; words in Latin letters stay if not spelled out."""
    return _TOKEN.sub(_speak, _RANGE.sub("에서 ", text))


def without_units(text: str) -> str:
    """The text without units behind numbers."""
    return _UNIT_AFTER_NUMBER.sub("", text)


def is_acronym(word: str) -> bool:
    """Whether a word in capitals is an acronym that is said as a word in Korean."""
    return word in _ACRONYMS


def sino_korean(number: int) -> str:
    """A number from 0 to 10^24 - 1 in Sino-Korean: 16000 is 만육천, 2024 이천이십사."""
    if number == 0:
        return _DIGITS[0]
    groups = []
    for big in _BIG:
        number, group = divmod(number, 10_000)
        if group:
            groups.append((group, big))
    parts = []
    for position, (group, big) in enumerate(reversed(groups)):
        # 10,000 is 만, but 100,000,000 is 일억 and 1,0001,0000 is 일억일만.
        bare = position == 0 and group == 1 and big == "만"
        parts.append(big if bare else _below_ten_thousand(group) + big)
    return "".join(parts)


def native_korean(number: int) -> str:
    """A number from 1 to 99 as it stands before a counter: 한, 스무, 스물한, 아흔아홉."""
    if number == 20:
        return "스무"
    return _NATIVE_TENS[number // 10] + _NATIVE_ONES[number % 10]


def _below_ten_thousand(number: int) -> str:
    digits = str(number)
    parts = []
    for digit, unit in zip(digits, reversed(_SMALL[: len(digits)]), strict=True):
        if digit != "0":
            parts.append(unit if digit == "1" and unit else _DIGITS[int(digit)] + unit)
    return "".join(parts)


def _speak(match: re.Match[str]) -> str:
    kind = next(name for name in _KINDS if match[name] is not None)
    text = match[0]
    if kind == "phone":
        return _one_by_one(text, zero="공")
    if kind == "date":
        month = _month(match["month"])
        return f"{_read(match['year'])}년 {month}월 {sino_korean(int(match['day']))}일"
    if kind == "clock":
        return _clock(int(match["hour"]), int(match["minute"]), match["second"])
    if kind == "fraction":
        return f"{_read(match['under'])}분의 {_read(match['over'])}"
    if kind == "code":  # MP3, A4
        return _spell(text[:-1].rstrip("-")) + _ENGLISH_DIGITS[int(text[-1])]
    if kind == "number":
        return _number(match)
    if kind == "dotted":
        return _spell(text.replace(".", ""))
    if kind == "latin":
        return _spell(text) if text.isascii() and (len(text) == 1 or text.isupper()) else text
    return _SIGNS[text]


def _spell(letters: str) -> str:
    upper = letters.upper()
    return _ACRONYMS.get(upper) or "".join(_LETTERS.get(c, "") for c in upper)


def _one_by_one(digits: str, zero: str = "영") -> str:
    return "".join(zero if d == "0" else _DIGITS[int(d)] for d in digits if d.isdigit())


def _read(digits: str) -> str:
    """As one number, or digit by digit where it is a code: 007, or longer than 해."""
    if (digits[0] == "0" and len(digits) > 1) or len(digits) > 4 * len(_BIG):
        return _one_by_one(digits, zero="공")
    return sino_korean(int(digits))


def _month(digits: str) -> str:
    number = int(digits)
    return {6: "유", 10: "시"}.get(number, sino_korean(number))


def _clock(hour: int, minute: int, second: str | None) -> str:
    parts = [f"{native_korean(hour) if 1 <= hour <= _MOST['시'] else sino_korean(hour)} 시"]
    if minute:
        parts.append(f"{sino_korean(minute)} 분")
    if second:
        parts.append(f"{sino_korean(int(second))} 초")
    return " ".join(parts)


def _number(match: re.Match[str]) -> str:
    digits = match["whole"].replace(",", "")
    tail = match["measure"] or match["money"]
    if match["decimals"]:
        spoken = f"{_read(digits)}점{_one_by_one(match['decimals'])}"
    elif tail or match["minus"]:
        spoken = _read(digits)
    else:
        spoken = _counted(
            digits, match.string[: match.start()].rstrip(), match.string[match.end() :]
        )
    if tail:
        spoken += f" {_MEASURES.get(tail) or _MONEY[tail]}"
    return f"마이너스 {spoken}" if match["minus"] else spoken


def _counted(digits: str, before: str, after: str) -> str:
    """A whole number before what it counts, with a blank where a native number needs one."""
    if len(digits) == 1 and _TAGGED.match(after):
        return _ENGLISH_DIGITS[int(digits)]  # 3D, 5G, 4K
    if digits == "1" and re.match("[천백만]", after):
        return ""
    if digits in ("6", "10") and _MONTH.match(after):
        return _month(digits)
    counter = _COUNTER.match(after)
    # 제3장 and 5번가 are names, not counts.
    if counter is None or before.endswith("제") or _STREET.match(after) or len(digits) > 2:
        return _read(digits)
    number, name = int(digits), counter[1]
    age_group = name == "대" and number % 10 == 0  # 20대
    if age_group or not 1 <= number <= _MOST.get(name, _MOST_NATIVE):
        return _read(digits)
    native = "첫" if name == "번째" and number == 1 else native_korean(number)
    return native + ("" if counter[0][0].isspace() else " ")
