"""English numbers as words, and syllables of words in Latin letters.

An estimate for words without a dictionary: groups of vowels, with the commonest silent e. It is
right for about nine in ten everyday words; the sum over an utterance errs by a few per cent.
"""

from __future__ import annotations

import re
import unicodedata

LATIN_WORD = r"[A-Za-zÀ-ɏ]+(?:['’][A-Za-z]+)?"

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_BIG = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (10**3, "thousand"))
_MONEY = {"$": "dollars", "€": "euros", "£": "pounds"}
_ORDINALS = {"one": "first", "two": "second", "three": "third"}
_LONGEST_NUMBER = 15  # digits; longer ones are read digit by digit
_LONGEST_ACRONYM = 4  # letters; longer words in capitals are shouted or styled, not spelled

_TOKEN = re.compile(
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


def speak_english(text: str) -> str:
    """English text with numbers as words and short acronyms as single letters."""
    shouted = not any(c.islower() for c in text)
    return _TOKEN.sub(lambda match: _speak(match, shouted), text)


def latin_syllables(word: str) -> int:
    """Syllables of one word in Latin letters, at least one; a single letter by its name."""
    plain = unicodedata.normalize("NFD", word.lower())
    plain = "".join(c for c in plain if "a" <= c <= "z")
    if len(plain) <= 1:
        return 3 if plain == "w" else 1
    plain = _SEAM.sub(r"\1", plain).replace("every", "evry-")
    count = len(re.findall(r"[aeiouy]+", plain))
    count += len(_HIATUS.findall(plain))
    silent = r"[^aeiouyl]e$|[aeiouy]le$|[^aeiouytdr]ed$|[aeiour]red$|[^aeiouysxzcgh]es$"
    if count > 1 and re.search(silent, plain):
        count -= 1
    return max(1, count)


def english_number(number: int) -> str:
    """A whole number below 10^15 in words."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f" {_ONES[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{_ONES[hundreds]} hundred" + (f" {english_number(rest)}" if rest else "")
    size, name = next((size, name) for size, name in _BIG if number >= size)
    many, rest = divmod(number, size)
    return f"{english_number(many)} {name}" + (f" {english_number(rest)}" if rest else "")


def _speak(match: re.Match[str], shouted: bool) -> str:
    latin = match["latin"]
    if latin is not None:
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
        spoken += f" {_MONEY[match['money']]}"
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
