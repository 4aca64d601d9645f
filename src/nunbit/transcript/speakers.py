"""Speaker names and sound descriptions inside the text of a cue, taken out of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nunbit.transcript.cues import Cue

_SOUND = (
    "음악|박수|웃음|웃으며|웃는|한숨|침묵|울음|울먹|흐느|기침|잡음|소음|환호|효과음|노래|탄식|숨소리|정적|"
    "불명|안 ?들림|청취 ?불가|music|applause|laugh|silence|noise|inaudible|sigh|cough|crying|"
    "sob|cheer|crosstalk|unintelligible|blank.?audio|pause|sniff|breath"
)
_INSIDE = r"[^\[\]()（）【】<>]{0,12}"
_SOUNDS = re.compile(rf"[\[(（【<]{_INSIDE}(?:{_SOUND}){_INSIDE}[\])）】>]", re.IGNORECASE)
_NOTES = re.compile(r"[♪♫♬]+")
_DASH = re.compile(r"^\s*(?:[-–—]\s+|>>+\s*)")

_BRACKETED = re.compile(r"^\s*(?:\[([^\[\]]{1,24})\]|【([^【】]{1,24})】)\s*[:：]?\s*(?=\S)")
_PREFIXED = re.compile(r"^\s*([^\s:：.,!?…\"'“”][^:：.,!?…\"“”]{0,23}?)\s*[:：](?!\d|//)\s*(?=\S)")
_MOST_WORDS = 3  # in a name
_ROLES = re.compile(
    r"(?:화자|발화자|참가자|참여자|피험자|피면담자|면접관|면접자|면담자|인터뷰어|인터뷰이|상담사|상담자|상담원|"
    r"내담자|환자|의사|치료사|검사자|진행자|사회자|기자|질문|답변|연구자|연구원|남자?|여자?|speaker|"
    r"interviewer|interviewee|participant|patient|doctor|therapist|counsel(?:l)?or|client|"
    r"subject|host|guest|moderator|ellie|q|a|p|s|m|f)[\s_#-]*[\dA-D]{0,3}",
    re.IGNORECASE,
)
_ENOUGH = 2  # cues that must begin with an unknown name before it counts as one


def without_sounds(text: str) -> str:
    """Text without (웃음), [Music], <laughter>, ♪ and leading dashes."""
    text = _NOTES.sub(" ", _SOUNDS.sub(" ", text))
    return " ".join(_DASH.sub("", text).split())


@dataclass(frozen=True, slots=True)
class _Prefix:
    name: str
    rest: str
    bracketed: bool


def with_speakers(cues: Sequence[Cue]) -> list[Cue]:
    """Take ``화자1: …``, ``[이름] …`` off the text where the format names no speaker.

    A name in brackets counts; one before a colon if it is a role (화자, 상담자, interviewer, Q) or
    begins two cues or more: a single ``그래서: …`` stays text.
    """
    prefixes = [None if cue.speaker else _prefix(cue.text) for cue in cues]
    names = Counter(found.name for found in prefixes if found)
    result = []
    for cue, found in zip(cues, prefixes, strict=True):
        if found and (
            found.bracketed or names[found.name] >= _ENOUGH or _ROLES.fullmatch(found.name)
        ):
            skipped = len(cue.text.split()) - len(found.rest.split())
            words = cue.words[skipped:]
            result.append(replace(cue, speaker=found.name, text=found.rest, words=words))
        else:
            result.append(cue)
    return result


def _prefix(text: str) -> _Prefix | None:
    """Name and rest of a text that begins with a name."""
    match = _BRACKETED.match(text)
    if match and not _SOUNDS.match(text.lstrip()):
        name = (match[1] or match[2]).strip()
        # [1] and [00:12] are no names.
        return _Prefix(name, text[match.end() :], True) if any(map(str.isalpha, name)) else None
    match = _PREFIXED.match(text)
    if match is None or len(match[1].split()) > _MOST_WORDS:
        return None
    return _Prefix(match[1].strip(), text[match.end() :], False)
