"""Spoken forms and syllables against hand counts, and against a corpus that wrote them out."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path

import pytest

from nunbit.language.spoken import (
    eojeol,
    is_filler,
    is_hangul_text,
    native_korean,
    sino_korean,
    spoken_form,
    spoken_syllables,
    syllables_per_word,
)

# text, spoken form without blanks, syllables counted by hand
SPOKEN = [
    ("안녕하세요", "안녕하세요", 5),
    ("2024", "이천이십사", 5),
    ("2024년 3월 5일", "이천이십사년삼월오일", 10),
    ("3명", "세명", 2),
    ("5시", "다섯시", 3),
    ("20살", "스무살", 3),
    ("21살", "스물한살", 4),
    ("5 시에", "다섯시에", 4),
    ("14시", "십사시", 3),
    ("8시 30분", "여덟시삼십분", 6),
    ("10:30에", "열시삼십분에", 6),
    ("14:05", "십사시오분", 5),
    ("3개월", "삼개월", 3),
    ("3개", "세개", 2),
    ("20대 여성", "이십대여성", 5),
    ("차 2대가", "차두대가", 4),
    ("1번째 4번째", "첫번째네번째", 6),
    ("제3장", "제삼장", 3),
    ("5번가", "오번가", 3),
    ("5시즌", "오시즌", 3),
    ("2장관", "이장관", 3),
    ("3일 3층 3년", "삼일삼층삼년", 6),
    ("40명", "사십명", 3),
    ("39명", "서른아홉명", 5),
    ("120명", "백이십명", 4),
    ("6월 10월 12월", "유월시월십이월", 7),
    ("AI", "에이아이", 4),
    ("KBS에서", "케이비에스에서", 7),
    ("KAIST", "카이스트", 4),
    ("U.S.A.", "유에스에이", 5),
    ("MP3와 A4", "엠피쓰리와에이포", 8),
    ("3D 4K 5G", "쓰리디포케이파이브지", 10),
    ("WWW", "더블유더블유더블유", 9),
    ("3.14", "삼점일사", 4),
    ("0.05", "영점영오", 4),
    ("25%", "이십오퍼센트", 6),
    ("2.5%p", "이점오퍼센트포인트", 9),
    ("몇 %", "몇퍼센트", 4),
    ("16,000명", "만육천명", 4),
    ("1,234,567원", "백이십삼만사천오백육십칠원", 13),
    ("3천만원", "삼천만원", 4),
    ("1만 명", "만명", 2),
    ("1억 2천만", "일억이천만", 5),
    ("1천만 원", "천만원", 3),
    ("$100", "백달러", 3),
    ("-5도", "마이너스오도", 6),
    ("36.5℃", "삼십육점오도", 6),
    ("50kg", "오십킬로그램", 6),
    ("3㎏", "삼킬로그램", 5),
    ("100Hz", "백헤르츠", 4),
    ("1/2", "이분의일", 4),
    ("100분의 25", "백분의이십오", 6),
    ("3~5명", "삼에서다섯명", 6),
    ("010-1234-5678", "공일공일이삼사오육칠팔", 11),
    ("1588-0000", "일오팔팔공공공공", 8),
    ("2024-03-05", "이천이십사년삼월오일", 10),
    ("007", "공공칠", 3),
    ("０１２", "공일이", 3),
    ("Q&A", "큐앤드에이", 5),
    ("B형", "비형", 2),
    ("", "", 0),
    ("...", "...", 0),
]


@pytest.mark.parametrize(("text", "spoken", "count"), SPOKEN, ids=[row[0] for row in SPOKEN])
def test_spoken_form_and_hand_counts(text: str, spoken: str, count: int) -> None:
    assert spoken_form(text).replace(" ", "") == spoken
    assert spoken_syllables(text) == count


ENGLISH = [
    ("uh I have 3 dogs", 5),  # uh-I-have-three-dogs
    ("in 1999", 6),  # in nine-teen nine-ty nine
    ("2005", 4),  # two thou-sand five
    ("the NASA and FBI", 9),  # spelled: the N A S A and F B I
    ("HELLO EVERYONE", 5),  # shouted, not spelled
    ("something nice", 3),
    ("the video idea", 7),
    ("walked wanted makes", 4),
    ("table people little", 6),
    ("W", 3),
    ("1st 2nd 3rd 20th", 7),  # first se-cond third twen-ti-eth
    ("25% of $10", 9),  # twen-ty five per-cent of ten dol-lars
    ("1,000,000", 3),
    ("don't", 1),
]


@pytest.mark.parametrize(("text", "count"), ENGLISH, ids=[row[0] for row in ENGLISH])
def test_english_hand_counts(text: str, count: int) -> None:
    assert spoken_syllables(text, "en") == count


def test_numbers_at_every_size() -> None:
    table = {
        0: "영", 10: "십", 11: "십일", 100: "백", 110: "백십", 1000: "천", 1111: "천백십일",
        10_000: "만", 15_000: "만오천", 20_000: "이만", 110_000: "십일만", 10**8: "일억",
        110_000_000: "일억천만", 100_010_000: "일억일만", 10**12: "일조", 10**23 + 1: "천해일",
    }  # fmt: skip
    assert {number: sino_korean(number) for number in table} == table
    assert [native_korean(n) for n in (1, 2, 3, 4, 10, 11, 19, 20, 21, 30, 99)] == [
        "한", "두", "세", "네", "열", "열한", "열아홉", "스무", "스물한", "서른", "아흔아홉",
    ]  # fmt: skip
    # Read back digit by digit: no two numbers sound the same.
    assert len({sino_korean(n) for n in range(20_000)}) == 20_000


def test_language_decides_how_digits_sound() -> None:
    assert spoken_syllables("2024") == 5  # nothing speaks against Korean
    assert spoken_form("2024", "en") == "twenty twenty four"
    assert spoken_form("OK 10", "ko") == "오케이 십"
    assert spoken_syllables("test를 보고", None) == 4


def test_decomposed_hangul_counts_the_same() -> None:
    text = "3명이 눈빛을 봤다"
    assert spoken_syllables(unicodedata.normalize("NFD", text)) == spoken_syllables(text) == 8
    assert eojeol(unicodedata.normalize("NFD", text)) == ("3명이", "눈빛을", "봤다")


def test_words_of_an_utterance_add_up() -> None:
    words = ["저는", "5", "시에", "3", "명과", "2024", "년에", "KBS", "앞에서"]
    counts = syllables_per_word(words)
    assert counts == (2, 2, 2, 1, 2, 5, 2, 5, 3)
    assert sum(counts) == spoken_syllables(" ".join(words))
    assert syllables_per_word([]) == ()
    # The language is the utterance's, not the word's.
    assert syllables_per_word(["call", "911", "now"]) == (1, 6, 1)
    assert syllables_per_word(["지금", "911", "불러"]) == (2, 4, 2)


@pytest.mark.parametrize(
    ("word", "language", "expected"),
    [
        ("어", "ko", True),
        ("어...", "ko", True),
        ("음~", "ko", True),
        ("으음", "ko", True),
        ("아아,", "ko", True),
        ("에", "ko", True),
        ("그…", "ko", True),
        ("저,", "ko", True),
        ("그", "ko", False),  # 그 사람
        ("저", "ko", False),
        ("어?", "ko", False),
        ("아!", "ko", False),
        ("어제", "ko", False),
        ("음악", "ko", False),
        ("아니", "ko", False),
        ("네", "ko", False),
        ("uh", "en", True),
        ("Umm,", "en", True),
        ("er", "en", True),
        ("mm", "en", True),
        ("her", "en", False),
        ("mm-hmm", "en", False),
        ("um", None, True),
        ("어", None, True),
        ("um", "de", False),
        ("ähm", "de", True),
        ("uh", "fr", True),  # unknown languages borrow the English list
        ("", "ko", False),
    ],
)
def test_fillers(word: str, language: str | None, expected: bool) -> None:
    assert is_filler(word, language) is expected


def test_eojeol_drops_what_is_not_a_word() -> None:
    assert eojeol(" 나는 … 오늘 - 3시에\n갔다. ") == ("나는", "오늘", "3시에", "갔다.")
    assert eojeol("") == ()


def test_share_of_hangul() -> None:
    assert is_hangul_text("오늘은 test 중")
    assert not is_hangul_text("the word 눈 in a long English sentence")
    assert not is_hangul_text("123")


@pytest.mark.data
def test_corpus_that_writes_numbers_out(real_data: Path) -> None:
    """korean_emotional has each sentence as written and as spoken: 20명 and 스무명."""
    table = real_data / "speech" / "korean_emotional" / "labels.csv"
    with table.open(encoding="utf-8", newline="") as stream:
        rows = {(row["script"], row["transcript"]) for row in csv.DictReader(stream)}
    numbers = [(a, b) for a, b in rows if any(c.isdigit() for c in a)]
    assert len(numbers) >= 3
    for written, spoken in rows:
        # One speaker read 20명 as 이십명, which has as many syllables.
        assert spoken_syllables(written) == spoken_syllables(spoken), written
