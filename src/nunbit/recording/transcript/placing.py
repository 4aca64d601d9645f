"""Place a text without times on a recording, through words that a recogniser heard in it.

The text's letters and those heard are aligned in order (edit distance over jamo and Latin letters:
a misheard ending then costs a letter, not a word). A word most of whose letters were heard has
their times; the words between take their share of the speech between, by their syllables, and are
marked as estimated. Where too little of the text was heard it belongs to another recording.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nunbit.core.messages import InputError, MissingExtra, Text
from nunbit.core.streams import Floats, Interval, Ints, Transcript, Utterance, Word
from nunbit.language.spoken import is_filler, spoken_form, syllables_per_word
from nunbit.recording.transcript.cues import spoken_tokens
from nunbit.recording.transcript.untimed import Script

LEAST_HEARD = 0.4
"""Share of the text's letters that must be heard. Korean talks with their own text reach 0.7 and
more, with that of another talk 0.2 at most (``benchmarks/placed_talks.py``)."""

_HEARD = 0.6  # of a word's letters: a noun is known with another particle, not by its ending
_FEWEST = 2  # letters in a row that agree; single ones agree by chance
_SLOWEST_S = 0.5  # a letter: a word longer than its letters at this pace is no match
_SHORTEST_S = 0.01
_BESIDE_CUE_S = 0.5  # subtitles begin and end some tenths of a second beside the speech


@dataclass(frozen=True, slots=True)
class PlacedText:
    """A text on the clock of a recording.

    Attributes:
        transcript: Words with times; ``estimated`` where a word was not heard.
        heard: Share of the text's letters that were heard, 0 to 1.
    """

    transcript: Transcript
    heard: float


def place_script(
    script: Script,
    heard: Sequence[Word],
    speech: Sequence[Interval],
    *,
    path: Path,
    language: str | None = None,
) -> PlacedText:
    """Give every word of a text its time.

    Args:
        script: Who says what, in order.
        heard: What a recogniser heard in the recording, in order.
        speech: Detected speech, in order.
        path: Of the text, for messages.
        language: Of the text.

    Raises:
        InputError: Too little of the text was heard: it is that of another recording, or the
            recogniser does not understand this one.
        MissingExtra: rapidfuzz is not installed.
    """
    words = [word for line in script.lines for word in spoken_tokens(line.text)]
    letters = [_letters(word, language) for word in words]
    spans, share = _matched(letters, _heard_letters(heard, language))
    if share < LEAST_HEARD:
        raise InputError(
            Text(
                f"only {share:.0%} of this text was heard in the recording (at least "
                f"{LEAST_HEARD:.0%} is needed): it belongs to another recording, or it was not "
                "understood",
                f"이 글의 {share:.0%}만 녹화에서 들렸습니다({LEAST_HEARD:.0%} 이상이어야 합니다). "
                "다른 녹화의 전사이거나 소리를 알아듣지 못했습니다",
            ).under(path)
        )
    counts = syllables_per_word(words, language)
    placed = _spread(spans, np.maximum(1, counts), speech)
    timed = [
        Word(Interval(a, max(b, a + _SHORTEST_S)), word, None, count, is_filler(word, language),
             span is None)
        for word, count, span, (a, b) in zip(words, counts, spans, placed, strict=True)
    ]  # fmt: skip
    utterances, at = [], 0
    for line in script.lines:
        own = tuple(timed[at : at + len(spoken_tokens(line.text))])
        at += len(own)
        interval = Interval(own[0].interval.start_s, max(w.interval.end_s for w in own))
        utterances.append(Utterance(interval, line.text, line.speaker, None, own))
    n_heard = sum(span is not None for span in spans)
    notice = Text(
        f"the text had no times: {n_heard:,} of {len(words):,} words were heard ({share:.0%} of "
        "the letters) and have their times, the others were estimated between them",
        f"시각이 없는 글이라 소리에 맞추었습니다. 단어 {len(words):,}개 중 {n_heard:,}개(글자의 "
        f"{share:.0%})는 들린 시각이고 나머지는 그 사이에서 추정했습니다",
    )
    found = Transcript(tuple(utterances), script.source, language, (notice,), script.reading)
    return PlacedText(found, share)


def refine_cues(
    transcript: Transcript, heard: Sequence[Word], language: str | None = None
) -> Transcript:
    """Give words whose times were spread over a cue the times at which they were heard.

    Args:
        transcript: Cues with times of their own, which stay as they are.
        heard: What a recogniser heard in the recording, in order.
        language: Of the transcript.

    Returns:
        The transcript with words inside their cues (half a second beside them); a word that was
        not heard there keeps its estimated time between its neighbours.

    Raises:
        MissingExtra: rapidfuzz is not installed.
    """
    words = [word for utterance in transcript.utterances for word in utterance.words]
    letters = [_letters(word.text, language) for word in words]
    spans, _ = _matched(letters, _heard_letters(heard, language))
    utterances, at, found = [], 0, 0
    for utterance in transcript.utterances:
        own = spans[at : at + len(utterance.words)]
        at += len(own)
        refined = _within_cue(utterance, own)
        found += sum(a.estimated and not b.estimated for a, b in
                     zip(utterance.words, refined.words, strict=True))  # fmt: skip
        utterances.append(refined)
    notice = Text(
        f"{found:,} of {len(words):,} words got the time at which they were heard in their cue",
        f"단어 {len(words):,}개 중 {found:,}개는 자막 안에서 실제로 들린 시각으로 맞추었습니다",
    )
    return replace(transcript, utterances=tuple(utterances), notices=(*transcript.notices, notice))


def _within_cue(utterance: Utterance, spans: Sequence[tuple[float, float] | None]) -> Utterance:
    """An utterance whose estimated words are moved to where they were heard inside it."""
    low = utterance.interval.start_s - _BESIDE_CUE_S
    high = utterance.interval.end_s + _BESIDE_CUE_S
    known = [
        (word.interval.start_s, word.interval.end_s)
        if not word.estimated
        else span if span is not None and low <= span[0] and span[1] <= high else None
        for word, span in zip(utterance.words, spans, strict=True)
    ]  # fmt: skip
    if not any(span is not None and word.estimated
               for span, word in zip(known, utterance.words, strict=True)):  # fmt: skip
        return utterance
    counts = np.maximum(1, [word.syllables for word in utterance.words])
    # What was not heard lies between its neighbours, at the ends within the cue.
    placed = _spread(known, counts, [utterance.interval])
    words = tuple(
        replace(word, interval=Interval(a, max(b, a + _SHORTEST_S)), estimated=span is None)
        for word, span, (a, b) in zip(utterance.words, known, placed, strict=True)
    )
    start = min(utterance.interval.start_s, words[0].interval.start_s)
    end = max(utterance.interval.end_s, *(word.interval.end_s for word in words))
    return replace(utterance, interval=Interval(start, end), words=words)


def _letters(word: str, language: str | None) -> str:
    """Jamo and Latin letters of a word as it is spoken."""
    spoken = unicodedata.normalize("NFD", spoken_form(word, language)).casefold()
    return "".join(c for c in spoken if c.isalnum())


@dataclass(frozen=True, eq=False, slots=True)
class _Heard:
    """Letters heard, in order.

    Attributes:
        letters: H of them.
        times: (H, 2) begin and end, seconds; a word's letters share its time evenly.
        word: (H,) which word each belongs to.
    """

    letters: str
    times: Floats
    word: Ints


def _heard_letters(heard: Sequence[Word], language: str | None) -> _Heard:
    parts = [_letters(word.text, language) for word in heard]
    rows = [np.zeros((0, 2))]
    for word, letters in zip(heard, parts, strict=True):
        edges = np.linspace(word.interval.start_s, word.interval.end_s, len(letters) + 1)
        rows.append(np.stack([edges[:-1], edges[1:]], axis=1))
    owner = np.repeat(np.arange(len(parts)), [len(letters) for letters in parts])
    return _Heard("".join(parts), np.concatenate(rows), owner)


def _matched(
    letters: Sequence[str], heard: _Heard
) -> tuple[list[tuple[float, float] | None], float]:
    """Begin and end of each word of the text that was heard, and the share of letters heard."""
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError as exc:
        raise MissingExtra("rapidfuzz", "asr") from exc
    text = "".join(letters)
    partner = np.full(len(text), -1)
    for step in Levenshtein.opcodes(text, heard.letters):
        if step.tag == "equal" and step.src_end - step.src_start >= _FEWEST:
            partner[step.src_start : step.src_end] = np.arange(step.dest_start, step.dest_end)
    spans: list[tuple[float, float] | None] = []
    found, at = 0, 0
    for word in letters:
        own = partner[at : at + len(word)]
        at += len(word)
        there = np.flatnonzero(own >= 0)
        span = None
        if len(there) and len(there) >= _HEARD * len(word):
            first, last = heard.times[own[there[0]]], heard.times[own[there[-1]]]
            # Letters that were not heard at either end are as long as the others.
            pace = (last[1] - first[0]) / (there[-1] - there[0] + 1)
            start = first[0] - pace * there[0]
            end = last[1] + pace * (len(word) - 1 - there[-1])
            if one := _one_word(heard, own[there]):
                start, end = one
            if end - start <= _SLOWEST_S * len(word):
                span = (float(start), float(end))
                found += len(word)
        spans.append(span)
    return _in_order(spans), found / max(1, len(text))


def _one_word(heard: _Heard, matched: Ints) -> tuple[float, float] | None:
    """Edges of the word heard in which all matched letters and most of its own lie, or None."""
    first, last = heard.word[matched[[0, -1]]]
    low, high = np.searchsorted(heard.word, [first, first + 1])
    if first != last or 2 * len(matched) <= high - low:
        return None
    return float(heard.times[low, 0]), float(heard.times[high - 1, 1])


def _in_order(spans: Sequence[tuple[float, float] | None]) -> list[tuple[float, float] | None]:
    """Spans that do not overlap: an end yields to the next beginning."""
    kept: list[tuple[float, float] | None] = []
    latest = 0.0
    for span in spans:
        if span is not None:
            start = max(span[0], latest)
            span = (start, max(span[1], start + _SHORTEST_S))
            latest = start + _SHORTEST_S
        kept.append(span)
    following = np.inf
    for k in range(len(kept) - 1, -1, -1):
        span = kept[k]
        if span is not None:
            kept[k] = (span[0], max(min(span[1], following), span[0] + _SHORTEST_S / 2))
            following = span[0]
    return kept


def _spread(
    spans: Sequence[tuple[float, float] | None], counts: Floats, speech: Sequence[Interval]
) -> list[tuple[float, float]]:
    """Times of all words: those without share the speech between, by their syllables."""
    clock, spoken = _speech_clock(speech, [span for span in spans if span is not None])
    placed: list[tuple[float, float]] = []
    position = 0
    while position < len(spans):
        span = spans[position]
        if span is not None:
            placed.append(span)
            position += 1
            continue
        stop = next((k for k in range(position, len(spans)) if spans[k] is not None), len(spans))
        after = spans[stop] if stop < len(spans) else None
        low = placed[-1][1] if placed else clock[0]
        high = max(after[0] if after is not None else clock[-1], low + _SHORTEST_S)
        shares = np.concatenate([[0], np.cumsum(counts[position:stop])])
        a, b = np.interp([low, high], clock, spoken)
        if b - a < _SHORTEST_S:  # no speech was detected between: the time itself is shared
            edges = low + (high - low) * shares / shares[-1]
            starts, ends = edges[:-1], edges[1:]
        else:
            at = a + (b - a) * shares / shares[-1]
            # A word that ends with a stretch of speech ends there, not where the next begins.
            starts = np.interp(at[:-1] + 1e-9, spoken, clock)
            ends = np.interp(at[1:] - 1e-9, spoken, clock)
        placed += [_beside_pauses(x, y, clock) for x, y in zip(starts, ends, strict=True)]
        position = stop
    return placed


def _beside_pauses(start: float, end: float, clock: Floats) -> tuple[float, float]:
    """The longest part of a word's time that lies in one stretch of speech."""
    parts = [
        (max(start, a), min(end, b))
        for a, b in clock.reshape(-1, 2).tolist()
        if a < end and b > start
    ]
    a, b = max(parts, key=lambda part: part[1] - part[0], default=(start, end))
    return float(a), float(b)


def _speech_clock(
    speech: Sequence[Interval], heard: Sequence[tuple[float, float]]
) -> tuple[Floats, Floats]:
    """Media times, and how much was spoken until each; both increase."""
    stretches = [(s.start_s, s.end_s) for s in speech]
    if heard:  # words may be heard where no speech was detected
        stretches = [(min(stretches[0][0], heard[0][0]), stretches[0][1]), *stretches[1:]] if (
            stretches
        ) else [(heard[0][0], heard[-1][1])]  # fmt: skip
        stretches[-1] = (stretches[-1][0], max(stretches[-1][1], heard[-1][1]))
    media, spoken, total = [], [], 0.0
    for start, end in stretches or [(0.0, _SHORTEST_S)]:
        media += [start, end]
        # A pause is a millionth of its length, so that both clocks can be read backwards.
        total += 1e-6 * (start - media[-3]) if len(media) > 2 else 0.0
        spoken += [total, total + end - start]
        total += end - start
    return np.array(media), np.array(spoken)
