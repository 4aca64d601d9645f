"""Tiers of annotation files: which hold words and which utterances; Praat's TextGrid.

Praat and ELAN files name tiers freely. ``P1 - words`` (forced aligners), ``words@P1`` (ELAN
habit), ``단어`` and the tiers of our own exports are understood; in a file without such names
every tier is taken for one speaker's utterances, the habit of people who transcribe by hand.
Tiers of codings (nods, gaze, hands) are no speech; a note reports them in a file that also has
speech.

Of a TextGrid, Praat itself reads only free-standing numbers, quoted strings and ``<exists>`` and
skips the rest; so does this, which makes the two forms one. Where a line of the long form names its
value (``xmin =``, ``text =``), the name must be the one expected: lines in another order would make
a tier's name speech.

Why not praatio (6.2.2, MIT), tried on the same files: it refuses tiers of one name, intervals
that overlap or have no length (forced aligners write both), does not read CP949, and takes a
file that is cut off for a shorter one without a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nunbit.core.messages import NO_TEXT, InputError, Text
from nunbit.recording.transcript.cues import (
    Cue,
    Cues,
    Notes,
    RawWord,
    bad_file,
    cues_of_words,
    shown,
    with_words,
)

# --- tiers

Role = Literal["words", "utterances", "other", "plain"]

_LETTER = "A-Za-z가-힣"


def _names(pattern: str) -> re.Pattern[str]:
    # A number behind it is the layer of overlapping annotations in our own exports: words2.
    return re.compile(rf"(?<![{_LETTER}])(?:{pattern})(\d*)(?![{_LETTER}])", re.IGNORECASE)


_SPOKEN: dict[Role, re.Pattern[str]] = {
    "words": _names(r"words?|단어|어절|eojeols?|ORT-MAU|word[ _-]?(?:align\w*|tier)"),
    "utterances": _names(
        r"utterances?|utts?|speech|sentences?|phrases?|transcript(?:ion|s)?|text|발화|문장|전사|대사|"
        r"자막|ORT|IPU"
    ),
}
_OTHER = _names(
    r"phones?|phonemes?|phonetics?|segments?|syllables?|음소|음절|MAU|KAN|emotions?|감정|정서|"
    r"pauses?|휴지|쉼|quality|품질|gestures?|제스처|gaze|시선|notes?|comments?|메모|비고|"
    # codings of behaviour
    r"head|head[ _-]?(?:moves?|movements?|nods?|shakes?|pos(?:e|itions?)|turns?|tilts?|gestures?)|"
    r"nods?|nodding|shakes?|hands?|fingers?|arms?|body|postures?|lean(?:ing)?|torso|"
    r"eyes?|eye[ _-]?(?:gaze|contact|brows?)|eyebrows?|brows?|blinks?|look(?:ing)?|mouth|lips?|"
    r"smiles?|laugh(?:s|ter)?|face|facial(?:[ _-]?expressions?)?|expressions?|facs|AU\d{1,2}|"
    r"movements?|actions?|activit(?:y|ies)|behaviou?rs?|cod(?:e|es|ing)|affect|valence|"
    r"arousal|mood|prosody|pitch|topics?|translations?|gloss(?:es)?|POS|lemmas?|"
    r"고개(?:[ _-]?(?:짓|끄덕임|움직임))?|끄덕임|손(?:짓|동작)|몸짓|동작|자세|표정|"
    r"눈(?:짓|썹|맞춤|깜빡임)|"
    r"입모양|미소|웃음|행동|코딩|부호화?|주제|번역|억양"
)
_LONGEST_NAME = 200  # characters of a tier's name that are looked at
# Left out without a note: tiers of our own exports, of aligners, and parts of words.
_OWN = _names(
    r"phones?|phonemes?|phonetics?|segments?|syllables?|음소|음절|MAU|KAN|emotions?|감정|정서|pauses?|휴지|"
    r"쉼|quality|품질|speakers?|화자"
)
_ONLY_SPEAKER = re.compile(r"(?:화자\s*)?speakers?|화자", re.IGNORECASE)  # who has the floor
_GENERIC = re.compile(r"(?:tier|default|mary|untitled|annotations?|silences?)?[\s_-]*\d*", re.I)
_SEPARATORS = " \t-_@:()[]·/|"
_SILENCES = frozenset(
    ("", "sil", "sp", "spn", "<sil>", "<sp>", "<p:>", "<p>", "#", "_", "silent", "silence",
     "sounding", "<unk>", "묵음", "침묵")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier.

    Attributes:
        name: As in the file.
        cues: Its annotations with text; words of a subdivided annotation hang at the parent.
        speaker: Where the format names one beside the tier's name.
        coding: The format says that the tier holds codes from a list (ELAN's vocabularies).
    """

    name: str
    cues: tuple[Cue, ...]
    speaker: str | None = None
    coding: bool = False


_Owner = tuple[str | None, str]  # speaker and layer


def is_silence(label: str) -> bool:
    """Whether an annotation only marks silence."""
    return label.strip().lower() in _SILENCES


@dataclass(frozen=True, slots=True)
class Meaning:
    """Meaning of a tier's name; words and utterances of one speaker and layer belong together."""

    role: Role
    speaker: str | None
    layer: str = ""


def meaning_of(name: str) -> Meaning:
    """Content and speaker of a tier by its name: ``P1 - words`` holds the words of P1."""
    bare = " ".join(name[:_LONGEST_NAME].split())
    if _ONLY_SPEAKER.fullmatch(bare):
        return Meaning("other", None)
    for role, pattern in _SPOKEN.items():
        if match := pattern.search(bare):
            speaker = " ".join(pattern.sub(" ", bare).strip(_SEPARATORS).split())
            return Meaning(role, speaker or None, match[1])
    return Meaning("other" if _OTHER.search(bare) else "plain", bare or None)


def cues_of(path: Path, tiers: Sequence[Tier], notes: Notes) -> tuple[Cue, ...]:
    """The cues of all tiers that hold speech.

    Raises:
        InputError: No tier does.
    """
    found: dict[Role, list[tuple[_Owner, Tier]]] = {"words": [], "utterances": [], "plain": []}
    left_out: list[str] = []
    names = {" ".join(tier.name.split()) for tier in tiers}
    for tier in tiers:
        meaning = meaning_of(tier.name)
        if meaning.role == "plain" and (tier.coding or _belongs_to_another(tier.name, names)):
            meaning = Meaning("other", None)
        if meaning.role != "other":
            found[meaning.role].append(((tier.speaker or meaning.speaker, meaning.layer), tier))
        elif not _OWN.search(tier.name):
            left_out.append(tier.name)
    utterances = found["utterances"] or _plain_utterances(found["plain"], found["words"])
    spoken = {id(tier) for _, tier in (*utterances, *found["words"])}
    left_out += [tier.name for _, tier in found["plain"] if id(tier) not in spoken]
    if not utterances and not found["words"]:
        listed = shown([tier.name for tier in tiers]) or "-"
        raise bad_file(
            path,
            Text(
                f"no tier with words or utterances (tiers: {listed}); name one 'words' or "
                "'utterances'",
                f"단어나 발화가 든 층이 없습니다 (층: {listed}). 층 이름을 '단어'나 '발화'로 "
                "하십시오",
            ),
        )
    if left_out:
        notes.add("tiers_not_speech", left_out[0], len(left_out), names=shown(left_out))
    return tuple(_paired(utterances, found["words"]))


def _belongs_to_another(name: str, names: set[str]) -> bool:
    """Whether a plain tier is named after another one: ``Ann-headmove`` beside ``Ann``."""
    parts = re.split(r"[-_@:/|]", " ".join(name[:_LONGEST_NAME].split()), maxsplit=1)
    if len(parts) < 2 or not all(part.strip() for part in parts):
        return False
    first, second = map(str.strip, parts)
    added = second if first in names else first if second in names else ""
    # 'P-1' beside 'P' counts speakers, 'Ann-Marie' beside 'Ann' is another person.
    return len(added) > 2 and not added.isdigit() and not (added.isascii() and added.istitle())


def _plain_utterances(
    plain: list[tuple[_Owner, Tier]], words: list[tuple[_Owner, Tier]]
) -> list[tuple[_Owner, Tier]]:
    """Tiers without a telling name: one per speaker, unless word tiers say who speaks."""
    if words:
        speakers = {owner for owner, _ in words}
        return [(owner, tier) for owner, tier in plain if owner in speakers]
    if len(plain) == 1 and _GENERIC.fullmatch(plain[0][1].name):
        return [((plain[0][1].speaker, ""), plain[0][1])]
    return plain


def _paired(
    utterances: list[tuple[_Owner, Tier]], words: list[tuple[_Owner, Tier]]
) -> Iterator[Cue]:
    """Utterances with the words of the same speaker in them."""
    left = list(words)
    for owner, tier in utterances:
        own = [entry for entry in left if entry[0] == owner]
        if not own and len(utterances) == len(words) == 1:
            own = left
        taken = {id(entry) for entry in own}
        left = [entry for entry in left if id(entry) not in taken]
        cues = [
            replace(cue, speaker=owner[0] or cue.speaker)
            for cue in tier.cues
            if not is_silence(cue.text)
        ]
        timed = [word for _, word_tier in own for word in _as_words(word_tier)]
        yield from with_words(cues, timed) if timed else cues
    for owner, tier in left:
        yield from cues_of_words(_as_words(tier), owner[0])


def _as_words(tier: Tier) -> list[RawWord]:
    return [
        RawWord(cue.text, (cue.start_s, cue.end_s))
        for cue in tier.cues
        if not is_silence(cue.text) and cue.start_s < cue.end_s
    ]


# --- textgrid

_Kind = Literal["string", "number", "flag", "end"]
_Token = tuple[_Kind, str, str, int]  # kind, value, the name before '=', place in the text
# A doubled mark in a string stands for itself.
_TOKEN = re.compile(
    r'"(?P<string>[^"]*+(?:""[^"]*+)*+)"|(?P<open>")|(?P<bare>[^\s"]+)|(?P<line>\n)'
)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_LONGEST_NUMBER = 40  # characters


def _malformed(path: Path, why: Text) -> InputError:
    """What is wrong, and where."""
    return bad_file(
        path,
        Text(
            f"not a well-formed TextGrid{why.en}; open it in Praat and save it as a text file",
            f"형식이 잘못된 TextGrid입니다{why.ko}. Praat에서 열어 텍스트 파일로 다시 저장하십시오",
        ),
    )


class _Tokens:
    """The meaningful tokens of a file, taken one after another."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text = path, text
        self._found = _tokens(text)

    def string(self, *names: str) -> str:
        return self._next("string", names)

    def number(self, *names: str) -> float:
        return float(self._next("number", names))

    def count(self) -> int:
        number = self.number("size")
        # A file cannot hold more entries than characters.
        if not (number.is_integer() and 0 <= number <= len(self._text)):
            raise self._broken(0)
        return int(number)

    def flag(self) -> str:
        return self._next("flag", ())

    def _next(self, kind: _Kind, names: tuple[str, ...]) -> str:
        found, value, name, place = next(self._found)
        if found == "end":
            raise bad_file(
                self._path,
                Text(
                    "the TextGrid ends too early: the file is cut off",
                    "TextGrid가 도중에 끝납니다. 파일이 잘렸습니다",
                ),
            )
        if found != kind or (names and name and name not in names):
            raise self._broken(place)
        return value

    def _broken(self, place: int) -> InputError:
        line = self._text.count("\n", 0, place) + 1
        return _malformed(self._path, Text(f" (line {line})", f"({line}행)") if place else NO_TEXT)


def _tokens(text: str) -> Iterator[_Token]:
    """All tokens in one pass, then ``end`` for ever."""
    name, equals = "", False
    for match in _TOKEN.finditer(text):
        kind, bare, begin = match.lastgroup, match[0], match.start()
        if kind == "open":  # a string that does not end
            break
        if kind == "string":
            yield "string", match["string"].replace('""', '"'), name if equals else "", begin
            name, equals = "", False
        elif bare == "=":
            equals = True
        elif bare in ("<exists>", "<absent>"):
            yield "flag", bare, "", begin
        elif len(bare) <= _LONGEST_NUMBER and _NUMBER.fullmatch(bare):
            if math.isfinite(float(bare)):
                yield "number", bare, name if equals else "", begin
            name, equals = "", False
        else:  # a name; a new line forgets the one before
            name, equals = bare.strip(), False
    while True:
        yield "end", "", "", len(text)


def read_textgrid(path: Path, text: str, notes: Notes) -> Cues:
    """Read the tiers of a TextGrid that hold words or utterances.

    Raises:
        InputError: The file is cut off, not a TextGrid, or has no such tier.
    """
    tokens = _Tokens(path, text)
    tokens.string()  # ooTextFile
    if tokens.string() != "TextGrid":
        raise bad_file(
            path, Text("a Praat file, but not a TextGrid", "Praat 파일이지만 TextGrid가 아닙니다")
        )
    tokens.number("xmin")
    tokens.number("xmax")
    tiers: list[Tier] = []
    if tokens.flag() == "<exists>":
        for _ in range(tokens.count()):
            kind, name = tokens.string("class"), tokens.string("name")
            if kind not in ("IntervalTier", "TextTier"):
                kind = kind[:40]
                raise _malformed(
                    path,
                    Text(f": a tier of the class '{kind}'", f". '{kind}' 종류의 층이 있습니다"),
                )
            tiers.append(Tier(name, tuple(_entries(tokens, kind))))
    return Cues(cues_of(path, tiers, notes), "textgrid")


def _entries(tokens: _Tokens, kind: str) -> Iterator[Cue]:
    tokens.number("xmin")
    tokens.number("xmax")
    for _ in range(tokens.count()):
        if kind == "IntervalTier":
            start, end = tokens.number("xmin"), tokens.number("xmax")
            text = tokens.string("text")
            if text.strip():
                yield Cue(start, end, " ".join(text.split()))
        else:  # a point has no length and cannot be a word
            tokens.number("number", "time")
            tokens.string("mark", "text")
