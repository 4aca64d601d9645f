"""Wording about wanting to die or self-harm, which is not scored as an emotion.

Two lists, both data (``language/data/passages.toml``). Patterns over the text as written need no
analyser. Frames over Korean morphemes state a kind of wording once for all its endings, particles
and words between: 살 이유를 못 찾겠다, 살아야 할 까닭이 하나도 남지 않았다. It is neither a
screening nor an assessment. It also finds denials, questions and quotations, because words do not
show who is meant, and it misses every wording that is not listed. Findings stay inside the run: no
table, summary or export may hold or count them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache

from nunbit.language.morphemes import SENTENCE, Flow, Morpheme, analyser_missing, morphemes
from nunbit.runtime.resources import packaged_table

_NEAR = 12
"""Characters within which a phrase of ``unless`` is about a place: speech without full stops holds
several sentences, and a figure of speech in one must not hide another."""

_CHATTED = "(?:싶|십|시퍼|시픈|시프|시포|파|픈|퍼)"
"""싶 as it is spelled in chats."""

_WITHIN = 4
"""Morphemes from one part of a frame to the next, where the frame states no other number."""

_AROUND = 4
"""Morphemes before and behind a frame among which a word of ``unless`` takes it back."""


def has_passage(text: str) -> bool:
    """Whether a text (NFC) holds such wording."""
    return bool(find_passages(text))


def may_hold_passage(text: str) -> bool:
    """Whether a text, or a longer one that it is a part of, may hold such wording.

    By its letters alone, so that the analyser is loaded only where it may show one.
    """
    return bool(_hints().search(text)) or any(_written(s[0]) for s in SENTENCE.finditer(text))


def find_passages(text: str) -> tuple[tuple[int, int], ...]:
    """Places of such wording in a text (NFC): first character and after the last, in order.

    Without the analyser frames are not looked for (Korean words are then not scored at all).
    """
    spans = []
    for sentence in SENTENCE.finditer(text):
        said, first = sentence[0], sentence.start()
        own = _written(said)
        if not own and _hints().search(said) and analyser_missing() is None:
            own = _framed(morphemes(said))
        spans += [(first + a, first + b) for a, b in own]
    return tuple(sorted(set(spans)))


# --- frames over morphemes


@dataclass(frozen=True, slots=True)
class _Slot:
    """Alternatives of one part of a frame: forms, and the beginnings of their tags."""

    forms: dict[str, tuple[str, ...]]

    def takes(self, m: Morpheme) -> bool:
        return m.form in self.forms and m.tag.startswith(self.forms[m.form])


@dataclass(frozen=True, slots=True)
class _Frame:
    """Parts that follow one another in a sentence.

    Attributes:
        parts: In order.
        within: Morphemes from one to the next at most.
        unless: What takes the frame back where it stands in it or beside it.
        own: Whether nobody else may be the subject: 걱정이 사라졌으면 좋겠다 is another.
    """

    parts: tuple[_Slot, ...]
    within: int
    unless: _Slot
    own: bool


def _framed(flow: Flow) -> list[tuple[int, int]]:
    """Characters that fit a frame, one place a frame and beginning."""
    frames = _frames()
    return [
        (flow[start].start, flow[end].end)
        for start, m in enumerate(flow)
        for frame in frames.get(m.form, ())
        if (end := _end_of(frame, flow, start)) is not None
    ]


def _end_of(frame: _Frame, flow: Flow, start: int) -> int | None:
    """Last place of a frame that begins at ``start``; None where it does not fit."""
    if not frame.parts[0].takes(flow[start]):
        return None
    reached = {start}
    for part in frame.parts[1:]:
        reached = {
            k
            for at in reached
            for k in range(at + 1, min(len(flow), at + 1 + frame.within))
            if part.takes(flow[k])
        }
    if not reached or (frame.own and _of_another(flow, start)):
        return None
    end = min(reached)
    around = flow[max(0, start - _AROUND) : end + 1 + _AROUND]
    return None if any(frame.unless.takes(m) for m in around) else end


_SELF = frozenset(
    [
        "나",
        "저",
        "내",
        "제",
        "존재",
        "자신",
        "몸",
        "때",
        "이제",
        "지금",
        "오늘",
        "요즘",
        "차라리",
        "그냥",
        "세상",
    ]
)


def _of_another(flow: Flow, start: int) -> bool:
    """Whether the clause before the place has a subject that is not who speaks."""
    for k in range(start - 1, 0, -1):
        if flow[k].tag in ("EC", "EF", "SF", "SP", "SE"):
            return False
        named = flow[k].tag in ("JKS", "JX") and flow[k - 1].tag.startswith(("N", "XSN", "XR"))
        if named and flow[k - 1].form not in _SELF:
            return True
    return False


@cache
def _frames() -> dict[str, list[_Frame]]:
    """Frames by the forms that they begin with."""
    table = packaged_table("language/data/passages.toml")
    words: dict[str, str] = table["words"]
    found: dict[str, list[_Frame]] = defaultdict(list)
    for each in table["frames"]:
        parts = tuple(_slot(part, words) for part in each["parts"])
        unless = _slot(each.get("unless", ""), words)
        frame = _Frame(parts, each.get("within", _WITHIN), unless, each.get("own", False))
        for form in parts[0].forms:
            found[form].append(frame)
    return dict(found)


def _slot(text: str, words: dict[str, str]) -> _Slot:
    """``싶 면/EC PAIN``: morphemes, and lists of ``words`` by their names."""
    forms: dict[str, tuple[str, ...]] = {}
    parts = (own for part in text.split() for own in words.get(part, part).split())
    for part in parts:
        form, _, tag = part.partition("/")
        forms[form] = (*forms.get(form, ()), tag)
    return _Slot(forms)


@cache
def _hints() -> re.Pattern[str]:
    """Letters of which every frame has some, whatever the ending."""
    return re.compile("|".join(packaged_table("language/data/passages.toml")["hints"]))


# --- patterns over the text as written


def _written(said: str) -> list[tuple[int, int]]:
    """Places in a sentence that fit a pattern of the text as written."""
    spans: list[tuple[int, int]] = []
    for wanted, unless in _groups():
        found = [m.span() for m in wanted.finditer(said)]
        other = [m.span() for m in unless.finditer(said)] if found and unless else []
        spans += [
            (a, b) for a, b in found if not any(c - _NEAR < b and a < d + _NEAR for c, d in other)
        ]
    return spans


@cache
def _groups() -> tuple[tuple[re.Pattern[str], re.Pattern[str] | None], ...]:
    """What is looked for, and what must not stand near it."""
    return tuple(
        (
            _one_of(group["patterns"], blanks=language == "ko"),
            _one_of(group["unless"], blanks=language == "ko") if group.get("unless") else None,
        )
        for language in ("ko", "en")
        for group in packaged_table("language/data/passages.toml")[language]
    )


def _one_of(patterns: list[str], *, blanks: bool) -> re.Pattern[str]:
    joined = re.sub(r"\{([가-힣])\}", _endings, "|".join(f"(?:{p})" for p in patterns))
    if blanks:
        # Korean blanks are often left out or put in: a blank in a pattern is any or none. Inside a
        # look-behind it has to keep its length.
        parts = re.split(r"(\(\?<![^)]*\))", joined)
        joined = "".join(
            part if part.startswith("(?<!") else re.sub(r" \??", r"\\s*", part) for part in parts
        )
    return re.compile(joined, re.IGNORECASE)


def _endings(syllable: re.Match[str]) -> str:
    """``{하}``: the syllable itself and with ㄴ ㄹ ㅁ ㅂ ㅆ under it, as endings put them there."""
    if syllable[1] == "싶":
        return _CHATTED
    first = ord(syllable[1])
    if (first - 0xAC00) % 28:  # it has a consonant already: {끝} is 끝
        return syllable[1]
    return "[" + "".join(chr(first + final) for final in (0, 4, 8, 16, 17, 20)) + "]"
