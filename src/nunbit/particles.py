"""Korean particles that depend on the last sound of the word before them.

Written here because the maintained packages on offer read Latin words wrongly (email는 for
email은). Pure functions on strings.
"""

from __future__ import annotations

from nunbit.errors import SettingsError

# particle as people write it -> (after a consonant, after a vowel)
_PAIRS: dict[str, tuple[str, str]] = {}
for _consonant, _vowel in (
    ("은", "는"),
    ("이", "가"),
    ("을", "를"),
    ("과", "와"),
    ("으로", "로"),
    ("이나", "나"),
    ("이라", "라"),
    ("이랑", "랑"),
    ("이다", "다"),
    ("아", "야"),
):
    _PAIRS[_consonant] = _PAIRS[_vowel] = (_consonant, _vowel)

_HANGUL_FIRST, _HANGUL_LAST = 0xAC00, 0xD7A3
_RIEUL = 8  # index of ㄹ among the 28 final sounds; 0 is none

# Final sound of 영 일 이 삼 사 오 육 칠 팔 구.
_DIGITS = dict(zip("0123456789", (21, 8, 0, 16, 0, 0, 1, 8, 8, 0), strict=True))
# A number that ends in zeros is read 십, 백, 천, 만, 억 …: final ㅂ, ㄱ, ㄴ, ㄴ, then ㄱ, ㄴ.
_ZEROS = {1: 17, 2: 1, 3: 4, 4: 4, 5: 4, 6: 4, 7: 4, 8: 1, 9: 1, 10: 1, 11: 1}
# Spelled-out letters: only L, M, N, R end in a consonant (엘, 엠, 엔, 알).
_LETTERS = {"L": 8, "M": 16, "N": 4, "R": 8}
# Words read as words: which written endings leave a final sound in Korean. The longest match wins.
_WORD_ENDINGS = {
    "ng": 21, "l": 8, "le": 8, "m": 16, "n": 4, "me": 16, "ne": 4,
    "b": 17, "p": 17, "k": 1, "c": 1, "ck": 1, "t": 19, "ook": 1,
    "e": 0, "te": 0, "ke": 0,
}  # fmt: skip


def final_sound(word: str) -> int:
    """Index (0 to 27) of the last syllable's final consonant; 0 means it ends in a vowel.

    Hangul is exact. Numbers are read as Sino-Korean. Latin words in capitals are read letter by
    letter, others by their ending, which is a rule of thumb. Trailing punctuation is skipped.
    """
    stripped = word.rstrip(" \t\"'”’)]}>.,!?…")
    if not stripped:
        return 0
    last = stripped[-1]
    if _HANGUL_FIRST <= ord(last) <= _HANGUL_LAST:
        return (ord(last) - _HANGUL_FIRST) % 28
    if last in _DIGITS:
        return _number_final(stripped)
    if last.isascii() and last.isalpha():
        return _latin_final(stripped)
    return 0


def with_particle(word: str, particle: str) -> str:
    """The word with the right form of a particle: ``with_particle('슬픔', '로')`` is 슬픔으로.

    Args:
        word: Any text; its last sound decides.
        particle: Either form of the pair: 은/는, 이/가, 을/를, 과/와, 으로/로, 이나/나, 이라/라,
            이랑/랑, 이다/다, 아/야.

    Raises:
        SettingsError: The particle is not one of these.
    """
    if particle not in _PAIRS:
        known = ", ".join(sorted({f"{a}/{b}" for a, b in _PAIRS.values()}))
        raise SettingsError(
            en=f"unknown particle '{particle}': use one of {known}",
            ko=f"알 수 없는 조사 '{particle}': {known} 중에서 고르십시오",
        )
    after_consonant, after_vowel = _PAIRS[particle]
    final = final_sound(word)
    # 로 after ㄹ: 서울로, 불로, although ㄹ is a consonant.
    takes_vowel_form = final == 0 or (after_vowel == "로" and final == _RIEUL)
    return word + (after_vowel if takes_vowel_form else after_consonant)


def _number_final(text: str) -> int:
    digits = text[len(text.rstrip("0123456789,")) :].replace(",", "")
    fraction = text[: len(text) - len(digits)].endswith(".")
    zeros = len(digits) - len(digits.rstrip("0"))
    if zeros and zeros < len(digits) and not fraction:
        return _ZEROS.get(zeros, 0)
    return _DIGITS[digits[-1]]


def _latin_final(text: str) -> int:
    start = len(text)
    while start and text[start - 1].isascii() and text[start - 1].isalpha():
        start -= 1
    word = text[start:]
    if len(word) == 1 or word.isupper():
        return _LETTERS.get(word[-1].upper(), 0)
    lower = word.lower()
    for length in (3, 2, 1):
        if lower[-length:] in _WORD_ENDINGS:
            return _WORD_ENDINGS[lower[-length:]]
    return 0
