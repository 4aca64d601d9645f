"""Spoken form of text: numbers and letters written out, syllables, fillers, eojeol."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Callable, Sequence

# --- english
# English numbers as words, and syllables of words in Latin letters.
#
# An estimate for words without a dictionary: groups of vowels, with the commonest silent e. It is
# right for about nine in ten everyday words; the sum over an utterance errs by a few per cent.

LATIN_WORD = r"[A-Za-zÀ-ɏ]+(?:['’][A-Za-z]+)?"

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_BIG_ENGLISH = (
    (10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"),
    (100, "hundred"),
)  # fmt: skip
_MONEY_ENGLISH = {"$": "dollars", "€": "euros", "£": "pounds"}
_ORDINALS = {"one": "first", "two": "second", "three": "third"}
_LONGEST_NUMBER = 15  # digits; longer ones are read digit by digit
_LONGEST_ACRONYM = 4  # letters; longer words in capitals are shouted or styled, not spelled

_ENGLISH_TOKEN = re.compile(
    r"(?P<money>[$€£])?(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?P<decimals>\.\d+)?"
    rf"(?P<percent>\s?%)?(?P<ordinal>(?:st|nd|rd|th)\b)?|(?P<latin>{LATIN_WORD})"
)
# The e at the seam of a compound is silent: nine-teen, some-thing, every.
_SEAM = re.compile(
    r"(nin|som|tim|hom|lik|car|hop|lif|fac|us|mov|stat|plac|safe|becaus)e(?=[bcdfghjklmnpqrtvwxz])"
)
# Two neighbouring vowels that are both heard: me-di-a, vi-de-o, ac-tu-al, i-de-a, twen-ti-eth.
_HIATUS = re.compile(
    r"ia|eo(?!p)|io(?!n|us)|[^qg]ua(?=l|t)|[aeiou]ing$|(?<=[aeiou][^aeiou])ea$|ieth$"
)


def latin_syllables(word: str) -> int:
    """Syllables of one word in Latin letters, at least one; a single letter by its name."""
    plain = unicodedata.normalize("NFD", word.lower())
    plain = "".join(c for c in plain if "a" <= c <= "z")
    if len(plain) <= 1:
        return 3 if plain == "w" else 1
    plain = _SEAM.sub(r"\1", plain).replace("every", "evry-")
    count = len(re.findall(r"[aeiouy]+", plain)) + len(_HIATUS.findall(plain))
    silent = r"[^aeiouyl]e$|[aeiouy]le$|[^aeiouytdr]ed$|[aeiour]red$|[^aeiouysxzcgh]es$"
    return max(1, count - bool(re.search(silent, plain)))


def english_number(number: int) -> str:
    """A whole number below 10^15 in words."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f" {_ONES[ones]}" if ones else "")
    size, name = next((size, name) for size, name in _BIG_ENGLISH if number >= size)
    many, rest = divmod(number, size)
    return f"{english_number(many)} {name}" + (f" {english_number(rest)}" if rest else "")


def _speak_english(match: re.Match[str], shouted: bool) -> str:
    if (latin := match["latin"]) is not None:
        spelled = latin.isupper() and 1 < len(latin) <= _LONGEST_ACRONYM and not shouted
        return " ".join(latin) if spelled else latin
    digits = match["whole"].replace(",", "")
    if _is_year(match):
        spoken = f"{english_number(int(digits[:2]))} {_last_two(digits[2:])}"
    elif len(digits) > _LONGEST_NUMBER or (digits[0] == "0" and len(digits) > 1):
        spoken = " ".join(_ONES[int(d)] for d in digits)
    else:
        spoken = english_number(int(digits))
    if match["decimals"]:
        spoken += " point " + " ".join(_ONES[int(d)] for d in match["decimals"][1:])
    if match["ordinal"]:
        *rest, last = spoken.split()
        spoken = " ".join([*rest, _ORDINALS.get(last, f"{last}th".replace("tyth", "tieth"))])
    if match["percent"]:
        spoken += " percent"
    if match["money"]:
        spoken += f" {_MONEY_ENGLISH[match['money']]}"
    return spoken


def _is_year(match: re.Match[str]) -> bool:
    """Four digits read in pairs: 1999, 2024, but not 2005 (two thousand five) or 1,999."""
    whole = match["whole"]
    plain = not (match["decimals"] or match["money"] or match["ordinal"] or match["percent"])
    return plain and len(whole) == 4 and whole[0] in "12" and whole[1:3] not in ("00", "0,")


def _last_two(digits: str) -> str:
    if digits == "00":
        return "hundred"
    return f"oh {_ONES[int(digits)]}" if digits[0] == "0" else english_number(int(digits))


# --- korean
# Korean text with numbers, units, counters and letters spoken out.
#
# Where speakers differ, the commoner reading in conversation is taken: native numbers up to 39
# before native counters (35명 서른다섯 명, 40명 사십 명), 스무 명 and not 이십 명, 14시 십사 시.

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
_RANGE = re.compile(r"(?<=\d)\s?[~∼〜～]\s?(?=\d)")
# A number with its unit says nothing about the language: 50kg.
_UNIT_AFTER_NUMBER = re.compile(rf"(?<=\d)\s?(?:{_MEASURE})(?![A-Za-z0-9])")


def sino_korean(number: int) -> str:
    """A number from 0 to 10^24 - 1 in Sino-Korean: 16000 is 만육천, 2024 이천이십사."""
    if number == 0:
        return _DIGITS[0]
    groups = [(number // 10_000**k % 10_000, big) for k, big in enumerate(_BIG)][::-1]
    spoken = "".join(_below_ten_thousand(group) + big for group, big in groups if group)
    # 10,000 is 만, but 100,000,000 is 일억 and 1,0001,0000 is 일억일만.
    return spoken.removeprefix("일") if spoken.startswith("일만") else spoken


def native_korean(number: int) -> str:
    """A number from 1 to 99 as it stands before a counter: 한, 스무, 스물한, 아흔아홉."""
    return "스무" if number == 20 else _NATIVE_TENS[number // 10] + _NATIVE_ONES[number % 10]


def _below_ten_thousand(number: int) -> str:
    digits = str(number)
    return "".join(
        unit if digit == "1" and unit else _DIGITS[int(digit)] + unit
        for digit, unit in zip(digits, reversed(_SMALL[: len(digits)]), strict=True)
        if digit != "0"
    )


def _speak(match: re.Match[str]) -> str:
    return next(say(match) for kind, say in _KINDS.items() if match[kind] is not None)


def _date(match: re.Match[str]) -> str:
    return "{}년 {}월 {}일".format(
        _read(match["year"]), _month(match["month"]), sino_korean(int(match["day"]))
    )


def _latin(match: re.Match[str]) -> str:
    text = match[0]
    return _spell(text) if text.isascii() and (len(text) == 1 or text.isupper()) else text


def _spell(letters: str) -> str:
    upper = letters.upper()
    return _ACRONYMS.get(upper) or "".join(_LETTERS.get(c, "") for c in upper)


def _one_by_one(digits: str, zero: str = "영") -> str:
    return "".join(zero if d == "0" else _DIGITS[int(d)] for d in digits if d.isdigit())


def _read(digits: str) -> str:
    """As one number, or digit by digit where it is a code: 007, or longer than 해."""
    is_code = (digits[0] == "0" and len(digits) > 1) or len(digits) > 4 * len(_BIG)
    return _one_by_one(digits, zero="공") if is_code else sino_korean(int(digits))


def _month(digits: str) -> str:
    number = int(digits)
    return {6: "유", 10: "시"}.get(number, sino_korean(number))


def _clock(match: re.Match[str]) -> str:
    hour = int(match["hour"])
    parts = [f"{native_korean(hour) if 1 <= hour <= _MOST['시'] else sino_korean(hour)} 시"]
    if int(match["minute"]):
        parts.append(f"{sino_korean(int(match['minute']))} 분")
    if match["second"]:
        parts.append(f"{sino_korean(int(match['second']))} 초")
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


_KINDS: dict[str, Callable[[re.Match[str]], str]] = {
    "phone": lambda match: _one_by_one(match[0], zero="공"),
    "date": _date,
    "clock": _clock,
    "fraction": lambda match: f"{_read(match['under'])}분의 {_read(match['over'])}",
    # MP3, A4
    "code": lambda match: _spell(match[0][:-1].rstrip("-")) + _ENGLISH_DIGITS[int(match[0][-1])],
    "number": _number,
    "dotted": lambda match: _spell(match[0].replace(".", "")),
    "latin": _latin,
    "sign": lambda match: _SIGNS[match[0]],
}


# --- spoken
# Spoken form, syllables, fillers and eojeol of a text in Korean or another language.

_HANGUL = re.compile(r"[가-힣]")
_LATIN = re.compile(LATIN_WORD)

_PUNCTUATION = ".,!?…~·\"'“”‘’()[]<>:;-–—、。，"
_FILLERS = {
    "ko": re.compile(r"어+|음+|으+음+|흐*흠+|엄+|에+|아+"),
    "en": re.compile(r"u+h+|u+h*m+|e+r+m*|m{2,}|h+m+"),
    "de": re.compile(r"ä+h*m*|h+m+"),
}
# Words of their own as well (그 사람, 저는): fillers only where the writer marked the hesitation.
_HESITATION = re.compile(r"(?:그+|저+|뭐+|막)(?:,|~|…|\.\.+|-|–|—)+")


def spoken_form(text: str, language: str | None = None) -> str:
    """Write out what is said: ``2024년 3명`` becomes ``이천이십사년 세 명``.

    Words in Latin letters that are not spelled out stay as they are.

    Args:
        text: Any text; it is brought to NFC.
        language: BCP 47; None takes Korean unless there are Latin words and no Hangul.

    Returns:
        Text in which numbers, units and spelled letters are Hangul (English words in English
        text); punctuation and other words are kept.
    """
    text = _normalised(text)
    if _is_korean(text, language):
        return _TOKEN.sub(_speak, _RANGE.sub("에서 ", text))
    shouted = not any(c.islower() for c in text)
    return _ENGLISH_TOKEN.sub(lambda match: _speak_english(match, shouted), text)


@functools.lru_cache(maxsize=1 << 15)  # a few thousand words make up what people say
def spoken_syllables(text: str, language: str | None = None) -> int:
    """Number of syllables said.

    Hangul blocks of the spoken form, plus groups of vowels of words in Latin letters; the latter
    is right for English and somewhat low for loan words in Korean speech (test: 테스트).
    """
    spoken = spoken_form(text, language)
    return len(_HANGUL.findall(spoken)) + sum(map(latin_syllables, _LATIN.findall(spoken)))


def syllables_per_word(words: Sequence[str], language: str | None = None) -> tuple[int, ...]:
    """Spoken syllables of each word of an utterance, so that ``5`` before ``시`` is 다섯.

    Args:
        words: In order.
        language: As in :func:`spoken_form`; decided from all words together where None.
    """
    if language is None:
        language = "ko" if _is_korean(_normalised(" ".join(words)), None) else "en"

    def own(word: str, following: str) -> int:
        if not (word[-1:].isdigit() and _HANGUL.match(following)):
            return spoken_syllables(word, language)
        both = spoken_syllables(f"{word} {following}", language)
        return both - spoken_syllables(following, language)

    return tuple(itertools.starmap(own, itertools.zip_longest(words, words[1:], fillvalue="")))


@functools.lru_cache(maxsize=1 << 15)
def is_filler(word: str, language: str | None = None) -> bool:
    """Whether a word on its own is a filled pause: 어, 음, uh.

    Korean 그, 저, 뭐 and 막 are words as well and count only with a mark of hesitation (그…, 저,).
    With a question or exclamation mark (어?, 아!) it is an interjection. An 어 or 아 that means yes
    or oh cannot be told apart in writing and counts as a filler.

    Args:
        word: One token, punctuation allowed.
        language: BCP 47; None looks in all lists.
    """
    token = _normalised(word).strip()
    if token.endswith(("?", "!")):
        return False
    primary = None if language is None else language.split("-")[0].lower()
    if primary in (None, "ko") and _HESITATION.fullmatch(token):
        return True
    bare = token.strip(_PUNCTUATION).lower()
    lists = _FILLERS.values() if primary is None else [_FILLERS.get(primary, _FILLERS["en"])]
    return any(pattern.fullmatch(bare) for pattern in lists)


def eojeol(text: str) -> tuple[str, ...]:
    """Words between blanks, NFC, without tokens that are only punctuation."""
    return tuple(
        token
        for token in unicodedata.normalize("NFC", text).split()
        if any(c.isalnum() for c in token)
    )


def is_hangul_text(text: str) -> bool:
    """Whether at least three in ten letters are Hangul."""
    letters = [c for c in unicodedata.normalize("NFC", text) if c.isalpha()]
    return bool(letters) and 10 * len(_HANGUL.findall("".join(letters))) >= 3 * len(letters)


def _normalised(text: str) -> str:
    """NFC; full-width letters and squared units (㎏) as ordinary ones."""
    return re.sub(
        "[\uff01-\uff5e\u3300-\u33ff]",
        lambda wide: unicodedata.normalize("NFKC", wide[0]),
        unicodedata.normalize("NFC", text),
    )


def _is_korean(text: str, language: str | None) -> bool:
    if _HANGUL.search(text):
        return True
    if language is not None:
        return language.lower().startswith("ko")
    words = _LATIN.findall(_UNIT_AFTER_NUMBER.sub("", text))
    return all(
        word.isupper() and (len(word) <= _LONGEST_ACRONYM or word in _ACRONYMS) for word in words
    )
