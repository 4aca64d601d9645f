"""Separate speaker names and sound descriptions from the text of a cue.

Subtitles, meeting programs (Zoom, Teams, Otter) and people who type write who speaks in front of
what is said, each in a way of their own. A colon is no proof: '그래서: …' is speech. Every inferred
name is noted (``speakers_inferred``).
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from nunbit.core.timebase import place_text
from nunbit.language.spoken import syllables_per_word
from nunbit.recording.transcript.cues import Cue, Notes, RawWord, shown

_SOUND = (
    "음악|박수|웃음|웃으며|웃는|한숨|침묵|울음|울먹|흐느|기침|잡음|소음|환호|효과음|노래|탄식|숨소리|정적|"
    "소리|불명|안 ?들림|청취 "
    "?불가|music|applause|laugh|silence|noise|inaudible|sigh|cough|crying|"
    "sob|cheer|crosstalk|unintelligible|blank.?audio|pause|sniff|breath"
)
_INSIDE = r"[^\[\]()（）【】<>]{0,12}"
_SOUNDS = re.compile(rf"[\[(（【<]{_INSIDE}(?:{_SOUND}){_INSIDE}[\])）】>]", re.IGNORECASE)
_NOTES = re.compile(r"[♪♫♬]+")
_DASH = re.compile(r"\s*(?:[-–—](?=\s)|>>+)\s*")  # another person speaks
_TIGHT_DASH = re.compile(r"\s*[-–—](?=[^\s\d>—–-])")  # the same without a blank: '-Yes.'

_BRACKETED = re.compile(r"(?:\[([^\[\]\n]{1,24})\]|【([^【】\n]{1,24})】)\s?[:：]?")
_LONGEST = 64  # characters before a colon that can be a name: 'Kim, Minji - SNU Hospital'
_MOST_WORDS = 8
_ROLES = re.compile(
    r"(?:화자|발화자|참가자|참여자|피험자|피면담자|면접관|면접자|면담자|인터뷰어|인터뷰이|상담사|상담자|상담원|"
    r"내담자|환자|의사|치료사|검사자|진행자|사회자|기자|질문|답변|연구자|연구원|남자?|여자?|speaker|"
    r"interviewer|interviewee|participant|patient|doctor|therapist|counsel(?:l)?or|client|"
    r"subject|host|guest|moderator|ellie|q|a|p|s|m|f)[\s_#-]*[\dA-D]{0,3}",
    re.IGNORECASE,
)
# Words that stand before a colon in speech and are nobody's name.
_NO_NAMES = (
    "그래서 그런데 그러니까 그리고 그러나 하지만 그러면 그럼 그래도 근데 또 또한 즉 다만 단 "
    "결국 예 예시 예컨대 참고 참고로 주의 첫째 둘째 셋째 먼저 우선 다음 마지막 결론 요약 "
    "왜냐하면 이유 문제 목적 방법 시간 장소 날짜 제목 결과 정답 다시말해 한마디로 and but so "
    "then note notes warning example first second third finally however therefore because "
    "remember also well ok okay yes no now listen look http https ps re time title date "
    "place result answer step kind language"
)
_SPEECH = frozenset(_NO_NAMES.split())
_PARTICLE = re.compile(
    r".*(?:는|에서|에는|으로|까지|부터|때문에|니까|지만|는데|라고|다고|하면|으면|라면|들면|께서|에게|"
    r"습니다|어요|아요|해요)"
)
_SENTENCE = re.compile(r"[!?…\"“”;=<>]|[.,]\s+[a-z]|,$")
_TITLE = re.compile(r"(?:Dr|Prof|Mr|Mrs|Ms|Mx|Sir|Rev)\.?\s+\S")
_PRONOUNS = re.compile(r"\((?:she|he|they|ze|xe)(?:/\w{2,6}){1,2}\)", re.IGNORECASE)
_CAPITALS = re.compile(r"[A-Z][A-Z'’-]{2,}(?:[ .]+[A-Z'’-]+)*(?:\s*#?\d{1,3})?")  # MAN 1
_ENOUGH = 2  # cues that must begin with an unknown name before it counts as one
# A file in which this share of the cues begins with a name, and at least so many, writes names.
_HABIT_SHARE = 0.6
_HABIT = 3


def without_sounds(text: str) -> str:
    """Text without (웃음), [Music], <laughter>, ♪ and leading dashes."""
    text = _NOTES.sub(" ", _SOUNDS.sub(" ", text))
    match = _DASH.match(text)
    return " ".join(text[match.end() if match else 0 :].split())


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a cue: perhaps a dash, perhaps what may be a name, and the rest.

    ``known`` names count wherever they stand; the others only if the file says more.
    """

    dash: bool
    name: str | None
    known: bool
    rest: str
    whole: str


@dataclass(slots=True)
class _Part:
    """The words of one person in a cue; ``skipped`` tokens before them are a name."""

    speaker: str | None
    lines: list[str]
    skipped: int


def with_speakers(cues: Sequence[Cue], notes: Notes) -> list[Cue]:
    """Take ``화자1: …``, ``[이름] …``, ``Dr. Kim: …`` off the text if the format has no speakers.

    A name in brackets counts. A name before a colon counts if it is a role (화자, 상담자,
    interviewer, Q), if two cues or more begin with it, if it is written like a full name, or if
    most cues of the file begin with a name; connectives and phrases (그래서, 문제는) never do. Each
    dash or name that begins a line of a cue begins a part of its own: parts share the time by their
    syllables.
    """
    lines = [() if cue.speaker else tuple(_lines(cue.text)) for cue in cues]
    names = _names(lines)
    found: Counter[str] = Counter()
    first = ""
    result: list[Cue] = []
    for cue, own in zip(cues, lines, strict=True):
        parts = _parts(own, names)
        told = [part.speaker for part in parts if part.speaker]
        if told and not found:
            first = place_text(cue.start_s)
        found.update(told)
        result += [cue] if cue.speaker or not parts else _split(cue, parts, notes)
    if found:
        listed = [name for name, _ in found.most_common()]
        notes.add("speakers_inferred", first, len(listed), names=shown(listed))
    return result


def _lines(text: str) -> Iterator[_Line]:
    given = [line.strip() for line in text.split("\n") if line.strip()]
    tight = sum(bool(_TIGHT_DASH.match(line)) for line in given) > 1
    for position, line in enumerate(given):
        dash = _DASH.match(line) or (_TIGHT_DASH.match(line) if tight else None)
        bare = line[dash.end() :] if dash else line
        name, known, rest = _prefix(bare, first=position == 0)
        if name and not rest.strip() and position + 1 == len(given):
            name, known, rest = None, False, bare  # nothing is said: no name
        yield _Line(dash is not None, name, known, rest.strip(), bare.strip())


def _prefix(text: str, *, first: bool) -> tuple[str | None, bool, str]:
    """A possible name at the beginning, whether it certainly is one, and the rest."""
    if (match := _BRACKETED.match(text)) and not _SOUNDS.match(text):
        name = (match[1] or match[2]).strip()
        # [1] and [00:12] are no names.
        named = any(map(str.isalpha, name))
        return (name, first, text[match.end() :]) if named else (None, False, text)
    head = text[: _LONGEST + 2].replace("：", ":")
    end = head.find(":")
    after = text[end + 1 : end + 3]
    if end < 1 or after[:1].isdigit() or after == "//":
        return None, False, text
    name = head[:end].strip()
    is_role = _ROLES.fullmatch(name) is not None
    if not is_role and not _may_be_a_name(name):
        return None, False, text
    return name, is_role or _is_full_name(name), text[end + 1 :]


def _may_be_a_name(name: str) -> bool:
    words = name.split()
    return not (
        not any(map(str.isalpha, name))
        or len(words) > _MOST_WORDS
        or name[0].isdigit()
        or "".join(words).casefold() in _SPEECH
        or words[-1].casefold() in _SPEECH
        or _SENTENCE.search(name)
        or _PARTICLE.fullmatch(name)
        # A phrase: 'what he told me'.
        or (len(words) > 2 and name.isascii() and name == name.lower())
    )


def _is_full_name(name: str) -> bool:
    """Whether a name needs no second cue to be one: ``Jane Doe (she/her)``, ``Dr. Kim``, ``MAN 1``.

    Only Latin letters tell: names are capitalised there.
    """
    marked = _TITLE.match(name) or _PRONOUNS.search(name) or _CAPITALS.fullmatch(name)
    words = re.findall(r"[^\W\d_]+", name) if name.isascii() else []
    return bool(marked) or (len(words) > 1 and all(word[0].isupper() for word in words))


def _names(cues: Sequence[Sequence[_Line]]) -> frozenset[str]:
    """The names that count in this file."""
    counts = Counter(line.name for lines in cues for line in lines if line.name)
    known = {line.name for lines in cues for line in lines if line.name and line.known}
    filled = [lines for lines in cues if lines]
    begun = sum(any(line.name for line in lines) for lines in filled)
    if begun >= _HABIT and begun >= _HABIT_SHARE * len(filled):
        return frozenset(counts)
    return frozenset(known | {name for name, n in counts.items() if n >= _ENOUGH})


def _parts(lines: Iterable[_Line], names: frozenset[str]) -> list[_Part]:
    parts: list[_Part] = []
    for line in lines:
        named = line.name is not None and line.name in names
        text = line.rest if named else line.whole
        if not parts or named or line.dash:
            parts.append(_Part(line.name if named else None, [], 0))
        part = parts[-1]
        part.skipped += len(line.whole.split()) - len(text.split())
        part.lines.append(text)
    return parts


def _split(cue: Cue, parts: Sequence[_Part], notes: Notes) -> list[Cue]:
    texts = [" ".join(part.lines) for part in parts]
    if len(parts) == 1:
        skipped = len(cue.text.split()) - len(texts[0].split()) if parts[0].speaker else 0
        return [replace(cue, speaker=parts[0].speaker, text=texts[0], words=cue.words[skipped:])]
    shared = _shared_words(cue, parts, texts)
    if shared is None:  # its words are not those of the text: they cannot be told apart
        return [replace(cue, text=" ".join(texts))]
    notes.add("cue_split", place_text(cue.start_s))
    weights = [max(1, sum(syllables_per_word(text.split()))) for text in texts]
    edges = list(itertools.accumulate(weights))
    length = cue.end_s - cue.start_s
    result, start = [], cue.start_s
    for part, text, own, edge in zip(parts, texts, shared, edges, strict=True):
        end = cue.start_s + length * (edge / edges[-1])
        spans = [word.span for word in own if word.span is not None]
        begins = min((a for a, _ in spans), default=start)
        ends = max((b for _, b in spans), default=end)
        result.append(
            replace(cue, start_s=begins, end_s=ends, text=text, speaker=part.speaker, words=own)
        )
        start = end
    return result


def _shared_words(
    cue: Cue, parts: Sequence[_Part], texts: Sequence[str]
) -> list[tuple[RawWord, ...]] | None:
    """The words of each part; None where they do not fit the text token by token."""
    if not cue.words:
        return [()] * len(parts)
    counts = [part.skipped + len(text.split()) for part, text in zip(parts, texts, strict=True)]
    if sum(counts) != len(cue.words):
        return None
    return [
        cue.words[end - count + part.skipped : end]
        for part, count, end in zip(parts, counts, itertools.accumulate(counts), strict=True)
    ]
