"""What all readers of transcripts share: notes, cues, the text or the JSON values of a file."""

from __future__ import annotations

import bisect
import itertools
import json
import math
import re
import statistics
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError, Text
from nunbit.core.schema import ReadingNote, Treatment, first_place
from nunbit.core.timebase import place_text
from nunbit.language.spoken import syllables_per_word
from nunbit.runtime.resources import packaged
from nunbit.runtime.textfile import bad_file as bad_file
from nunbit.runtime.textfile import read_decoded

# --- notes: what was read, repaired and left out

CUES = Text("cue(s)", "자막")
LINES = Text("line(s)", "행")
ROWS = Text("row(s)", "행")
ENTRIES = Text("item(s)", "항목")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of trouble; the text has gaps for ``count``, ``first``, ``what`` and details."""

    treatment: Treatment
    text: Text


KINDS: dict[str, Kind] = packaged("recording/transcript/notes.toml", dict[str, Kind])
"""By code; ``docs/reading.md`` explains every one."""


@dataclass(slots=True)
class _Count:
    count: int
    first: str
    what: Text
    details: dict[str, object]


@dataclass(slots=True)
class Notes:
    """Collects notes while a file is read.

    Attributes:
        what: Name of the entries of this format.
    """

    what: Text = CUES
    _found: dict[str, _Count] = field(default_factory=dict)

    def add(
        self,
        code: str,
        first: str = "",
        count: int = 1,
        what: Text | None = None,
        **details: object,
    ) -> None:
        """Count one more case; the first place and its name are kept.

        Args:
            code: One of ``KINDS``.
            first: The place.
            count: How many.
            what: What they are called, where not as the entries of the format.
            details: For the gaps of the texts; the last ones are shown.
        """
        if code not in self._found:
            self._found[code] = _Count(0, first, what or self.what, {})
        found = self._found[code]
        found.count += count
        found.details |= details

    def __contains__(self, code: str) -> bool:
        return code in self._found

    def listed(self) -> tuple[ReadingNote, ...]:
        """The notes, in order of their first cases."""
        return tuple(_note(code, found) for code, found in self._found.items())


def _note(code: str, found: _Count) -> ReadingNote:
    kind = KINDS[code]
    gaps = {"what": found.what, "count": found.count, "first": first_place(found.first)}
    text = kind.text.fill(**gaps | found.details).flat()
    return ReadingNote(kind.treatment, code, found.count, found.first, text)


def shown(names: Iterable[object], most: int = 12) -> str:
    """Names for a message: the first ones, each cut at 40 characters."""
    listed = [str(name)[:40] for name in names]
    return ", ".join(listed[:most]) + (f" … ({len(listed)})" if len(listed) > most else "")


# --- cues

_TYPICAL_MS = 100.0  # no cue lasts a tenth of a second as a rule, few last a hundred
_FEWEST_PER_S = 0.05  # characters
_TOUCHING_S = 0.05  # words of one utterance follow one another at once
_SYLLABLE_S = 0.2  # conversation has about five syllables a second
_SHORTEST_S = 0.3  # a syllable alone
_UTTERANCE_GAP_S = 0.7  # words further apart than this are taken for two utterances


@dataclass(frozen=True, slots=True)
class RawWord:
    """A word as the file has it.

    Attributes:
        text: As written; a recogniser's leading blank is kept until the pieces are joined.
        span: Start and end, seconds; None where the file has no time.
        confidence: 0 to 1, or None.
    """

    text: str
    span: tuple[float, float] | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Cue:
    """One entry of a transcript file.

    Attributes:
        start_s: Seconds; possibly wrong, ``assemble`` checks.
        end_s: Likewise.
        text: Without markup, blanks as in the file; line breaks may separate speakers.
        speaker: Where the format names one.
        confidence: 0 to 1, or None.
        words: Empty where the format has no word times.
        doubt: Code of a note where a recogniser doubts its own words: ``repeated_text`` (a loop was
            cut), ``invented_text`` (nobody seems to have said it); '' otherwise.
    """

    start_s: float
    end_s: float
    text: str
    speaker: str | None = None
    confidence: float | None = None
    words: tuple[RawWord, ...] = ()
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Cues:
    """The result of a reader.

    Attributes:
        cues: In the order of the file.
        source: As in ``Transcript.source``.
        language: Where the file says so.
        notices: About the file itself.
        reading: What was read, repaired and left out of the file.
    """

    cues: tuple[Cue, ...]
    source: str
    language: str | None = None
    notices: tuple[Text, ...] = ()
    reading: tuple[ReadingNote, ...] = ()


def medium_names(path: str | None) -> set[str]:
    """File name and stem to compare by, in lower case; empty without a name."""
    name = unicodedata.normalize("NFC", (path or "").replace("\\", "/").rpartition("/")[2])
    bare = name.strip().casefold()
    return {bare, bare.rpartition(".")[0] or bare} - {""}


def clock_s(text: str) -> float | None:
    """Seconds of ``12.5``, ``1:02.5``, ``01:02:03,250``; None for anything else."""
    parts = text.strip().replace(",", ".").split(":")
    if len(parts) > 3 or not all(c.isdigit() or c in ".eE-+" for part in parts for c in part):
        return None
    seconds = 0.0
    try:
        for part in parts:
            seconds = 60.0 * seconds + float(part)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def unit_of(
    lengths: Sequence[float], characters: int, notes: Notes, first: str, what: Text
) -> float:
    """Seconds per unit of entries with whole numbers: 0.001 (and a note) for milliseconds, else 1.

    They are no seconds if the usual entry lasts a hundred and has fewer than one character in
    twenty seconds, because people speak five to fifteen characters a second. Long entries with as
    much text as fits their time stay seconds.

    Args:
        lengths: End minus start of the entries, at least one, in the unit to be told.
        characters: Of all their texts.
        notes: Receive the note.
        first: Place of the first entry.
        what: What the entries are called.
    """
    typical = statistics.median(lengths)
    total = sum(length for length in lengths if length > 0)
    if typical < _TYPICAL_MS or characters >= _FEWEST_PER_S * total:
        return 1.0
    notes.add("times_in_ms", first, len(lengths), what=what, typical=min(typical, 1e9))
    return 0.001


def spoken_tokens(text: str) -> list[str]:
    """Words between blanks; punctuation on its own goes with the word before it."""
    tokens: list[str] = []
    for token in text.split():
        if tokens and not any(c.isalnum() for c in token):
            tokens[-1] += token
        else:
            tokens.append(token)
    return tokens


def cues_of_words(words: Sequence[RawWord], speaker: str | None = None) -> list[Cue]:
    """Join timed words into cues; a gap of 0.7 s or more begins a new one.

    Args:
        words: In order; those without a time are left out.
        speaker: Of all of them.
    """
    groups: list[list[RawWord]] = []
    end = -math.inf
    for word in words:
        if word.span is not None:
            if not groups or word.span[0] - end >= _UTTERANCE_GAP_S:
                groups.append([])
            groups[-1].append(word)
            end = word.span[1]
    return [cue for group in groups if (cue := cue_of_words(group, speaker=speaker))]


def with_words(cues: Sequence[Cue], words: Sequence[RawWord]) -> list[Cue]:
    """Give each cue the timed words whose middle it holds; words outside become cues of their own.

    Args:
        cues: Of one speaker, not overlapping.
        words: Of the same speaker; those without a time are left out.
    """
    cues = sorted(cues, key=lambda cue: cue.start_s)
    starts = [cue.start_s for cue in cues]
    taken: list[list[RawWord]] = [[] for _ in cues]
    left: list[RawWord] = []
    for word in words:
        if word.span is not None:
            middle = sum(word.span) / 2
            last = bisect.bisect_right(starts, middle) - 1
            (taken[last] if (last >= 0 and middle < cues[last].end_s) else left).append(word)
    full = [replace(cue, words=tuple(own)) for cue, own in zip(cues, taken, strict=True)]
    return full + cues_of_words(left, cues[0].speaker if cues else None)


def cue_of_words(
    words: Sequence[RawWord], text: str | None = None, speaker: str | None = None
) -> Cue | None:
    """A cue from the first to the last timed word; None where no word has a time."""
    spans = [word.span for word in words if word.span is not None]
    if not spans:
        return None
    end = max(end for _, end in spans)
    text = text or " ".join(word.text for word in words)
    return Cue(min(start for start, _ in spans), end, text, speaker, words=tuple(words))


def joined_pieces(words: Iterable[RawWord]) -> tuple[RawWord, ...]:
    """Whole words from Whisper's pieces.

    Whisper puts a blank before a new word; a piece without one, such as punctuation, belongs to
    the word before. Where no piece has a blank (WhisperX), every piece is a word.
    """
    words = list(words)
    marked = any(word.text.startswith(" ") for word in words)
    whole: list[RawWord] = []
    for word in words:
        if whole and marked and not word.text.startswith(" "):
            whole[-1] = _with_piece(whole[-1], word)
        else:
            whole.append(replace(word, text=word.text.strip()))
    return tuple(whole)


def _with_piece(word: RawWord, piece: RawWord) -> RawWord:
    span = (word.span[0], piece.span[1]) if word.span and piece.span else word.span or piece.span
    known = [c for c in (word.confidence, piece.confidence) if c is not None]
    return RawWord(word.text + piece.text.strip(), span, min(known) if known else None)


def words_joined(cues: Iterable[Cue], notes: Notes) -> list[Cue]:
    """Utterances of entries that hold one word (or Whisper's piece of one) each.

    Entries are words where all hold one and most follow at once upon the one before.
    """
    cues = [cue for cue in cues if cue.text.strip()]
    if len(cues) < 2 or not all(len(cue.text.split()) == 1 and not cue.words for cue in cues):
        return cues
    gaps = [abs(b.start_s - a.end_s) for a, b in itertools.pairwise(cues)]
    if 2 * sum(gap <= _TOUCHING_S for gap in gaps) <= len(gaps):
        return cues
    notes.add("words_joined", place_text(cues[0].start_s), len(cues))
    return [
        cue
        for speaker, own in itertools.groupby(with_ends(cues, notes), key=lambda cue: cue.speaker)
        for cue in cues_of_words(joined_pieces(map(_as_word, own)), speaker)
    ]


def _as_word(cue: Cue) -> RawWord:
    has_time = cue.start_s <= cue.end_s
    return RawWord(cue.text, (cue.start_s, cue.end_s) if has_time else None, cue.confidence)


def with_ends(cues: Iterable[Cue], notes: Notes) -> list[Cue]:
    """Estimate missing ends of cues from their syllables, at most up to the next cue."""
    cues = list(cues)
    following = dict(itertools.pairwise(sorted(cue.start_s for cue in cues)))
    result = []
    for cue in cues:
        if math.isnan(cue.end_s):
            notes.add("no_end", place_text(cue.start_s))
            spoken_s = _SYLLABLE_S * sum(syllables_per_word(cue.text.split()))
            end = cue.start_s + max(_SHORTEST_S, spoken_s)
            limit = following.get(cue.start_s, math.inf)
            cue = replace(cue, end_s=min(end, limit) if limit > cue.start_s else end)
        result.append(cue)
    return result


# --- files

_ISO = re.compile(r"PT(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?")
_LONGEST_INT = 300  # digits; longer ones are beyond every float, and slow to read
_MOST_BYTES = 256 << 20  # a transcript of a day is below 10 MB; this is a recording by mistake


def read_text(path: Path, notes: Notes) -> str:
    """Read a text file in UTF-8, UTF-16 or CP949.

    Args:
        path: The file.
        notes: Receives notes: the encoding had to be guessed, the file is cut off.

    Returns:
        The text with ``\\n`` line ends, never blank.

    Raises:
        InputError: The file is missing, empty, not an ordinary file, not text, or in another
            encoding.
    """
    found = read_decoded(path, most_bytes=_MOST_BYTES)
    # A mark of byte order inside (files joined one behind the other) is no character of the text.
    text = found.text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "")
    if not text.strip():
        raise bad_file(path, Text("the file is empty", "파일이 비어 있습니다"))
    if found.cut_off:
        notes.add("cut_off", f"line {text.count(chr(10)) + 1}")
    if found.odd_at is not None:
        before = found.text[: found.odd_at].replace("\r\n", "\n").replace("\r", "\n")
        notes.add("odd_bytes", f"line {before.count(chr(10)) + 1}", found.odd)
    if found.encoding == "cp949":
        notes.add("read_as_cp949", path.name)
    return text


def json_values(path: Path, text: str) -> list[Any]:
    """The JSON values of a file, one after another."""
    decoder = json.JSONDecoder(
        parse_int=lambda digits: int(digits) if len(digits) <= _LONGEST_INT else math.inf
    )
    values, position = [], 0
    text = text.strip()
    while position < len(text):
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as exc:
            raise _broken_json(path, text, exc) from exc
        values.append(value)
        while position < len(text) and text[position] in " \t\n,":
            position += 1
    return values


def _broken_json(path: Path, text: str, exc: json.JSONDecodeError) -> InputError:
    # The decoder stops at the opening quote of a string that never ends.
    said = (
        Text(
            f"the JSON is cut off (line {exc.lineno}); copy the file again",
            f"JSON이 도중에 잘렸습니다({exc.lineno}행). 파일을 다시 복사하십시오",
        )
        if "Unterminated" in exc.msg or not text[exc.pos :].strip()
        else Text(
            f"not valid JSON at line {exc.lineno}, column {exc.colno}",
            f"{exc.lineno}행 {exc.colno}열에서 JSON 형식이 잘못되었습니다",
        )
    )
    return bad_file(path, said)


def number_of(value: Any) -> float | None:
    """A finite number: also ``"1.5"``, ``"1.5s"``, ``PT1.5S`` and {seconds, nanos}."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    if isinstance(value, str):
        text = value[:80].strip()
        if (match := _ISO.fullmatch(text)) and any(match.groups()):
            hours, minutes, seconds = (float(part or 0) for part in match.groups())
            return 3600 * hours + 60 * minutes + seconds
        return clock_s(text.removesuffix("s"))
    if isinstance(value, dict) and {"seconds", "nanos"} & set(value):
        whole, nanos = (number_of(value.get(name, 0)) for name in ("seconds", "nanos"))
        return None if whole is None or nanos is None else whole + nanos * 1e-9
    return None


def text_value(value: Any) -> str | None:
    """A text, or a number as text; None for anything else."""
    if isinstance(value, str):
        return value
    number = number_of(value) if isinstance(value, (int, float)) else None
    return None if number is None else f"{number:.15g}"
