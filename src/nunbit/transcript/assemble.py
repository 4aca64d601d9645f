"""From cues to a transcript: speakers, order, word times, syllables, fillers, notices."""

from __future__ import annotations

import functools
import itertools
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nunbit.hangul import is_filler, is_hangul_text, syllables_per_word
from nunbit.streams import Interval, Transcript, Utterance, Word
from nunbit.transcript.cues import Cue, Cues, Notice, RawWord, bad_file, media_time
from nunbit.transcript.notes import CUES, Notes
from nunbit.transcript.speakers import with_speakers, without_sounds

_OVERRUN_S = 0.1  # a cue may end this much after the medium without a notice
_OVERLAP_S = 0.05
_MOST_S = 1e9  # 31 years: what is beyond is no time on a recording
_SHORTEST_S = 0.01  # recognisers give short words no length at all
_SURROGATE = re.compile("[\ud800-\udfff]")
_PIECES = (
    "Vosk writes Korean particles and endings as words of their own: counts of words are too high",
    "Vosk는 조사와 어미를 따로 적으므로 어절 수가 실제보다 많습니다",
)


# People say 네 and 'yeah' a thousand times in an interview.
_syllables = functools.lru_cache(maxsize=1 << 14)(syllables_per_word)


def assemble(path: Path, raw: Cues, duration_s: float | None = None) -> Transcript:
    """Make a transcript of what a reader found.

    Cues without speech ((웃음), [Music]) are left out. Cues beyond the medium's end are left out
    or clipped, overlapping ones kept, both with a notice. Words without a time share the time
    around them in proportion to their syllables and are marked ``estimated``.

    Args:
        path: For messages.
        raw: From one of the readers.
        duration_s: Length of the medium; None leaves the end unchecked.

    Raises:
        InputError: Most cues lie beyond the end: the transcript of another recording.
    """
    notes = Notes(CUES)
    notices = [*raw.notices, *((note.en, note.ko) for note in raw.reading)]
    sound = [_sound(cue, notes) for cue in raw.cues]
    cues = [_clean(cue) for cue in with_speakers([c for c in sound if c is not None], notes)]
    cues = _with_length([cue for cue in cues if cue.text], notes)
    if duration_s is not None:
        cues = _within(path, cues, duration_s, notes)
    notices += [(note.en, note.ko) for note in notes.listed()]
    cues.sort(key=lambda cue: (cue.start_s, cue.end_s))
    _note_overlaps(cues, notices)
    language = raw.language
    if language is None and is_hangul_text(" ".join(cue.text for cue in cues)):
        language = "ko"
    utterances = tuple(u for cue in cues if (u := _utterance(cue, language, duration_s)))
    _note_words(utterances, notices)
    if raw.source == "vosk" and language == "ko" and utterances:
        notices.append(_PIECES)
    reading = (*raw.reading, *notes.listed())
    return Transcript(utterances, raw.source, language, tuple(notices), reading)


def _sound(cue: Cue, notes: Notes) -> Cue | None:
    """A cue with finite times and characters that can be written; None without a time.

    Readers see to their own values; this holds for all of them and for recognisers.
    """
    place = media_time(cue.start_s)
    # NaN fails the comparison, too.
    if not (abs(cue.start_s) < _MOST_S and abs(cue.end_s) < _MOST_S):
        notes.add("time_not_a_number", place)
        return None
    if cue.start_s < 0 < cue.end_s:
        notes.add("before_the_start", place)
    words = []
    for word in cue.words:
        span = word.span
        if span is not None and not (0 <= span[0] <= span[1] < _MOST_S):
            notes.add("word_time_unusable", place)
            span = None
        text = _writable(word.text)
        same = text == word.text and span == word.span
        words.append(word if same else replace(word, text=text, span=span))
    text, speaker = _writable(cue.text), cue.speaker and _writable(cue.speaker)
    if (text, speaker) != (cue.text, cue.speaker):
        notes.add("unreadable_characters", place)
        return replace(cue, text=text, speaker=speaker, words=tuple(words))
    return replace(cue, words=tuple(words)) if words else cue


def _writable(text: str) -> str:
    """Half characters (lone surrogates, possible in JSON) fit no file and become U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _clean(cue: Cue) -> Cue:
    text = without_sounds(unicodedata.normalize("NFC", cue.text))
    words = tuple(
        replace(word, text=clean)
        for word in cue.words
        if (clean := without_sounds(unicodedata.normalize("NFC", word.text)))
    )
    speaker = unicodedata.normalize("NFC", cue.speaker).strip() if cue.speaker else None
    return replace(cue, text=text, words=words, speaker=speaker or None)


def _with_length(cues: Sequence[Cue], notes: Notes) -> list[Cue]:
    """Cues that cover their words and last; the others are left out."""
    kept = []
    for cue in cues:
        spans = [w.span for w in cue.words if w.span is not None]
        start = max(0.0, min([cue.start_s, *(a for a, _ in spans)]))
        end = max([cue.end_s, *(b for _, b in spans)])
        if start < end:
            same = start == cue.start_s and end == cue.end_s
            kept.append(cue if same else replace(cue, start_s=start, end_s=end))
        else:
            notes.add("no_duration", media_time(cue.start_s))
    return kept


def _within(path: Path, cues: Sequence[Cue], duration_s: float, notes: Notes) -> list[Cue]:
    inside = [cue for cue in cues if cue.start_s < duration_s]
    beyond = len(cues) - len(inside)
    if beyond > len(inside):
        last = max(cue.end_s for cue in cues)
        raise bad_file(
            path,
            f"{beyond} of {len(cues)} cues start after the medium's end (its end "
            f"{duration_s:.1f} s, theirs {last:.1f} s): this is the transcript of another "
            "recording, or its times are not seconds",
            f"자막 {len(cues)}개 중 {beyond}개가 매체의 끝 뒤에 시작합니다(매체 "
            f"{duration_s:.1f}초, 자막 {last:.1f}초). 다른 녹화의 전사이거나 시간 단위가 초가 "
            "아닙니다",
        )
    over = [cue for cue in inside if cue.end_s > duration_s + _OVERRUN_S]
    if beyond or over:
        first = min(cue.start_s for cue in cues if cue.end_s > duration_s + _OVERRUN_S)
        notes.add(
            "after_the_end", media_time(first), beyond + len(over),
            beyond=beyond, clipped=len(over), end_s=duration_s,
        )  # fmt: skip
    return [replace(cue, end_s=duration_s) if cue.end_s > duration_s else cue for cue in inside]


def _note_overlaps(cues: Sequence[Cue], notices: list[Notice]) -> None:
    overlaps = 0
    latest = -math.inf
    for cue in cues:
        overlaps += cue.start_s < latest - _OVERLAP_S
        latest = max(latest, cue.end_s)
    if overlaps:
        notices.append(
            (
                f"{overlaps} cue(s) begin before the one before has ended; they are kept",
                f"앞 자막이 끝나기 전에 시작하는 자막 {overlaps}개를 그대로 두었습니다",
            )
        )


def _utterance(cue: Cue, language: str | None, duration_s: float | None) -> Utterance | None:
    raw = cue.words or tuple(RawWord(token) for token in _tokens(cue.text))
    if duration_s is not None:
        raw = tuple(w for w in raw if w.span is None or w.span[0] < duration_s)
    if not raw:
        return None
    counts = _syllables(tuple(word.text for word in raw), language)
    words = tuple(
        Word(interval, word.text, word.confidence, count, is_filler(word.text, language), estimated)
        for word, count, (interval, estimated) in zip(
            raw, counts, _times(raw, counts, cue, duration_s), strict=True
        )
    )
    known = [word.confidence for word in words if word.confidence is not None]
    confidence = cue.confidence
    if confidence is None and known:
        confidence = sum(known) / len(known)
    return Utterance(Interval(cue.start_s, cue.end_s), cue.text, cue.speaker, confidence, words)


def _tokens(text: str) -> list[str]:
    """Words between blanks; punctuation on its own goes with the word before it."""
    tokens: list[str] = []
    for token in text.split():
        if tokens and not any(c.isalnum() for c in token):
            tokens[-1] += token
        else:
            tokens.append(token)
    return tokens


def _times(
    words: Sequence[RawWord], counts: Sequence[int], cue: Cue, duration_s: float | None
) -> list[tuple[Interval, bool]]:
    """Interval of each word and whether it was estimated."""
    times: list[tuple[Interval, bool]] = []
    position = 0
    while position < len(words):
        span = words[position].span
        if span is not None:
            times.append((_lasting(*span, duration_s), False))
            position += 1
            continue
        stop = next((i for i in range(position, len(words)) if words[i].span), len(words))
        low = times[-1][0].end_s if times else cue.start_s
        after = words[stop].span if stop < len(words) else None
        high = after[0] if after else cue.end_s
        spread = _spread(low, max(high, low + _SHORTEST_S), counts[position:stop])
        times += [(_lasting(start, end, None), True) for start, end in spread]
        position = stop
    return times


def _lasting(start_s: float, end_s: float, duration_s: float | None) -> Interval:
    start = max(0.0, start_s)
    end = max(end_s, start + _SHORTEST_S)
    if duration_s is not None and start < duration_s:
        end = min(end, duration_s)
    return Interval(start, end)


def _spread(start_s: float, end_s: float, counts: Sequence[int]) -> list[tuple[float, float]]:
    """Cut a stretch in proportion to the syllables, at least one each."""
    shares = list(itertools.accumulate((max(1, count) for count in counts), initial=0))
    edges = [start_s + (end_s - start_s) * (share / shares[-1]) for share in shares]
    return list(itertools.pairwise(edges))


def _note_words(utterances: Sequence[Utterance], notices: list[Notice]) -> None:
    words = [word for utterance in utterances for word in utterance.words]
    estimated = sum(word.estimated for word in words)
    if not words:
        notices.append(("the transcript has no words", "전사에 단어가 없습니다"))
    elif estimated:
        notices.append(
            (
                f"{estimated} of {len(words)} words have no time of their own; it was estimated "
                "from the syllables of the cue",
                f"단어 {len(words)}개 중 {estimated}개는 시간이 없어 자막 안의 음절 수로 "
                "추정했습니다",
            )
        )
