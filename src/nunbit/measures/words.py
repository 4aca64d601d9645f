"""Measures of what is said: rates of speech, of word lists, of fillers; variety of words.

Words belong to the target person by the speaker the transcript names, or else by the turn they
fall into. Counts are weighted by the part of a word that lies in the span. n words, S spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nunbit.hangul import eojeol
from nunbit.measures.estimate import Estimate, first_reason, mean_confidence, missing
from nunbit.measures.spans import Mass, Spans, bounds, lengths, rows_in
from nunbit.measures.turns import UNNAMED
from nunbit.measures.voice import VoiceSamples
from nunbit.measures.wording import LISTS as COLUMNS
from nunbit.measures.wording import Wording, read_wording
from nunbit.streams import Flags, Floats, Interval, Transcript, Turn, Word
from nunbit.timebase import intersect_intervals, merge_intervals

MIN_SYLLABLES = 10
MIN_EOJEOL = 50
MATTR_WINDOW = 50
TRANSCRIBED_SHARE = 0.5
"""A turn counts for rates where words cover this much of its speech."""

_REACH_S = 0.5  # words are off by up to this
_SAME_S = 1e-6

RATES = ("speech_rate", "articulation_rate")
LISTS = {
    "fps_rate": "first_person",
    "fps_plural_rate": "first_person_plural",
    "neg_rate": "negative",
    "pos_rate": "positive",
    "absolutist_rate": "absolutist",
}
"""Measure -> word list."""

_EDGES = ".,!?…~·\"'“”‘’()[]<>:;-–—、。，"


@dataclass(frozen=True, eq=False)
class WordTable:
    """The target person's words.

    Attributes:
        starts_s: (n,) sorted; clipped to the turn the word belongs to.
        ends_s: (n,).
        turn: (n,) index of the turn, -1 for none.
        syllables: (n,) 0 for fillers.
        eojeol: (n,) 0 for fillers.
        scored: (n,) the same, but 0 in utterances that are not scored.
        fillers: (n,) 1 for fillers.
        confidence: (n,) NaN where the source gives none.
        hits: (n, lists) words on each list, in the order of ``LISTS``.
        unread: (n,) words that nobody can look up, for want of an analyser.
        kinds: (t,) number of each spoken form in order, for MATTR, and its time.
        first_words_s: First timed word of each turn of the target.
    """

    starts_s: Floats
    ends_s: Floats
    turn: NDArray[np.int64]
    syllables: Floats
    eojeol: Floats
    scored: Floats
    fillers: Floats
    confidence: Floats
    hits: Floats
    unread: Floats
    kinds: tuple[NDArray[np.int64], Floats]
    first_words_s: dict[int, float]


def who_speaks(turns: Sequence[Turn], times_s: Floats) -> NDArray[np.int64]:
    """Turn at each time, or the nearest within half a second; -1 where there is none."""
    if not turns:
        return np.full(len(times_s), -1, np.int64)
    edges = bounds(t.interval for t in turns)
    best = np.full(len(times_s), -1, np.int64)
    nearest = np.full(len(times_s), _REACH_S)
    after = np.searchsorted(edges[:, 0], times_s, "right")
    for step in (-1, -2, 0):  # turns overlap their neighbours at most
        place = np.clip(after + step, 0, len(turns) - 1)
        away = np.maximum(np.maximum(edges[place, 0] - times_s, times_s - edges[place, 1]), 0.0)
        nearer = away < nearest
        best[nearer], nearest[nearer] = place[nearer], away[nearer]
    return best


def belongs_to_target(
    turns: Sequence[Turn], speakers: Sequence[str | None], centres_s: Floats
) -> tuple[Flags, NDArray[np.int64]]:
    """Whether each word or utterance is the target's, and its turn.

    A speaker the turns know decides; else the turn it falls into; in a recording without names
    everything is the target's.
    """
    turn = who_speaks(turns, centres_s)
    own = np.array([t.target for t in turns], bool)
    by_time = np.where(turn >= 0, own[turn], False) if len(turns) else np.zeros(len(turn), bool)
    if not any(t.speaker != UNNAMED for t in turns):
        return np.ones(len(turn), bool), turn
    target_of = {t.speaker: t.target for t in turns}
    named = np.array([s is not None and s in target_of for s in speakers], bool)
    by_name = np.array([bool(s is not None and target_of.get(s)) for s in speakers], bool)
    return np.where(named, by_name, by_time), turn


def target_words(transcript: Transcript, turns: Sequence[Turn]) -> WordTable:
    """Pick the target person's words and look them up."""
    pairs = [
        (word, utterance.speaker, wording, place)
        for utterance, wording in zip(
            transcript.utterances, read_wording(transcript), strict=True
        )
        for place, word in enumerate(utterance.words)
    ]  # fmt: skip
    pairs.sort(key=lambda pair: pair[0].interval.start_s)
    edges = bounds(word.interval for word, *_ in pairs)
    target, turn = belongs_to_target(turns, [pair[1] for pair in pairs], edges.mean(axis=1))
    own_pairs = [pair for pair, own in zip(pairs, target, strict=True) if own]
    words = [pair[0] for pair in own_pairs]
    edges, turn = edges[target], turn[target]
    # A word between turns, or in a turn of somebody else by its time, is in no turn of the target.
    own = np.array([t.target for t in turns] + [False], bool)[turn]
    turn = np.where(own, turn, -1)
    starts, ends = _clipped(edges, turn, turns)
    tokens = [
        () if word.filler else tuple(token.casefold() for token in eojeol(word.text))
        for word in words
    ]
    flat = [token.strip(_EDGES) or token for each in tokens for token in each]
    owner = np.repeat(np.arange(len(words)), [len(each) for each in tokens])
    _, kinds = np.unique(np.array(flat, str), return_inverse=True)
    counts = [_counts(wording, place) for _, _, wording, place in own_pairs]
    n_eojeol = np.array([float(len(each)) for each in tokens])
    looked_up = np.array([pair[2].unscored != "not_scored" for pair in own_pairs], bool)
    return WordTable(
        starts_s=starts,
        ends_s=ends,
        turn=turn,
        syllables=np.array([0.0 if w.filler else float(w.syllables) for w in words]),
        eojeol=n_eojeol,
        scored=np.where(looked_up, n_eojeol, 0.0),
        fillers=np.array([float(w.filler) for w in words]),
        confidence=np.array([np.nan if w.confidence is None else w.confidence for w in words]),
        hits=np.array(counts, np.float64).reshape(len(words), len(LISTS)),
        unread=np.array([float(pair[2].unscored == "no_analyser") for pair in own_pairs]),
        kinds=(kinds.astype(np.int64), ((starts + ends) / 2.0)[owner]),
        first_words_s=_first_words(words, turn),
    )


def _counts(wording: Wording, place: int) -> tuple[bool, ...]:
    """Whether the word at this place of its utterance counts for each of ``LISTS``."""
    row = wording.counts[place] if wording.counts else ()
    return tuple(bool(row) and row[COLUMNS.index(name)] for name in LISTS.values())


def _clipped(
    edges: Floats, turn: NDArray[np.int64], turns: Sequence[Turn]
) -> tuple[Floats, Floats]:
    """Word edges drift: words are held inside their turn, so that a turn counts all its words."""
    starts, ends = edges[:, 0].copy(), edges[:, 1].copy()
    inside = turn >= 0
    if inside.any():
        floor = bounds(t.interval for t in turns)[turn[inside]]
        starts[inside] = np.clip(starts[inside], floor[:, 0], floor[:, 1] - 2e-3)
        ends[inside] = np.clip(ends[inside], starts[inside] + 1e-3, floor[:, 1])
    return starts, ends


def _first_words(words: Sequence[Word], turn: NDArray[np.int64]) -> dict[int, float]:
    first: dict[int, float] = {}
    spread: set[int] = set()
    for word, i in zip(words, turn.tolist(), strict=True):
        if i >= 0 and i not in first and i not in spread:
            # Times spread over a cue are no times: then the first sound of the turn counts.
            if word.estimated:
                spread.add(i)
            else:
                first[i] = word.interval.start_s
    return first


def transcribed_turns(
    transcript: Transcript, turns: Sequence[Turn], voice: VoiceSamples | None
) -> tuple[int, ...]:
    """Turns of the target whose speech is covered by words at least by half."""
    said = merge_intervals(
        Interval(w.interval.start_s - _REACH_S, w.interval.end_s + _REACH_S)
        for u in transcript.utterances
        for w in u.words
    )
    own = [(i, t.interval) for i, t in enumerate(turns) if t.target]
    layout = _as_spans([interval for _, interval in own])
    edges = bounds(said)
    if voice is None:
        covered = Mass(edges[:, 0], edges[:, 1]).within(layout)
        spoken = layout.duration_s
    else:
        shared = bounds(
            intersect_intervals(said, [Interval(a, b) for a, b in voice.speaking.edges_s])
        )
        covered = Mass(shared[:, 0], shared[:, 1]).within(layout)
        spoken = voice.speaking.within(layout)
    enough = (covered > 0) & (covered >= TRANSCRIBED_SHARE * spoken)
    return tuple(i for (i, _), ok in zip(own, enough.tolist(), strict=True) if ok)


def _as_spans(intervals: Sequence[Interval]) -> Spans:
    edges = bounds(intervals)
    return Spans(edges[:, 0], edges[:, 1], {})


def rate_estimates(
    table: WordTable | None,
    spans: Spans,
    turns: Sequence[Turn],
    transcribed: Sequence[int],
    voice: VoiceSamples | None,
) -> dict[str, Estimate]:
    """Syllables per second of turn, with and without its pauses.

    Args:
        table: None without a transcript.
        spans: S spans.
        turns: All turns.
        transcribed: Of :func:`transcribed_turns`.
        voice: None without sound: then there are no pauses to take off.
    """
    if table is None:
        return {name: missing(len(spans), "no_transcript") for name in RATES}
    own = [turns[i].interval for i in transcribed]
    inside = np.isin(table.turn, np.array(transcribed, np.int64))
    said = Mass(table.starts_s[inside], table.ends_s[inside], table.syllables[inside])
    syllables = said.within(spans)
    counted = Mass(table.starts_s, table.ends_s, table.syllables).within(spans)
    edges = bounds(own)
    seconds = Mass(edges[:, 0], edges[:, 1]).within(spans)
    if voice is not None and voice.absent:
        lost = bounds(intersect_intervals(own, voice.absent))
        seconds = seconds - Mass(lost[:, 0], lost[:, 1]).within(spans)
    confidence = _confidence(table, spans)
    none = seconds <= _SAME_S
    unwritten = none & (_seconds_of(turns, True).within(spans) > _SAME_S)
    others = none & (_seconds_of(turns, False).within(spans) > _SAME_S)
    few = syllables < MIN_SYLLABLES - _SAME_S

    def rate(time: Floats) -> Estimate:
        reason = first_reason(
            (unwritten, "no_transcript"),
            (others, "other_speaker"),
            (none, "silence"),
            (few | (time <= _SAME_S), "too_few"),
            n=len(spans),
        )
        n = [np.rint(x).astype(np.int64) for x in (counted, syllables)]
        return Estimate("ratio", (syllables, time), n[0], n[1], confidence, reason)

    found = {"speech_rate": rate(seconds)}
    if voice is None:
        return found | {"articulation_rate": missing(len(spans), "no_audio")}
    kept = _in_turns(voice.pauses, edges)
    paused = Mass(kept[:, 0], kept[:, 1]).within(spans)
    talking = np.maximum(seconds - paused, 0.0)
    return found | {"articulation_rate": rate(talking)}


def _seconds_of(turns: Sequence[Turn], target: bool) -> Mass:
    edges = bounds(merge_intervals(t.interval for t in turns if t.target == target))
    return Mass(edges[:, 0], edges[:, 1])


def _in_turns(pauses: Floats, edges: Floats) -> Floats:
    if not len(pauses) or not len(edges):
        return np.empty((0, 2))
    order = edges[np.argsort(edges[:, 0])]
    place = np.searchsorted(order[:, 0], pauses[:, 0], "right") - 1
    return np.asarray(pauses[(place >= 0) & (pauses[:, 1] <= order[np.maximum(place, 0), 1])])


def _confidence(table: WordTable, spans: Spans) -> Floats:
    known = np.isfinite(table.confidence)
    starts, ends, sure = table.starts_s[known], table.ends_s[known], table.confidence[known]
    n = Mass(starts, ends, np.ones(len(sure))).within(spans)
    total = Mass(starts, ends, sure).within(spans)
    return mean_confidence(np.where(n > _SAME_S, total, 0.0), np.where(n > _SAME_S, n, 0.0))


def lexical_estimates(table: WordTable | None, spans: Spans) -> dict[str, Estimate]:
    """Hits of each word list and fillers per hundred eojeol; MATTR-50."""
    if table is None:
        names = (*LISTS, "filler_rate", "mattr_50")
        return {name: missing(len(spans), "no_transcript") for name in names}
    starts, ends = table.starts_s, table.ends_s
    said, scored, fillers, unread = (
        Mass(starts, ends, column).within(spans)
        for column in (table.eojeol, table.scored, table.fillers, table.unread)
    )
    confidence = _confidence(table, spans)
    n_all = np.rint(said + fillers).astype(np.int64)

    def share(hits: Floats, of: Floats, *, listed: bool) -> Estimate:
        reason = first_reason(
            (listed & (unread > _SAME_S), "no_analyser"),
            (said + fillers <= _SAME_S, "silence"),
            (of <= _SAME_S, "not_scored"),
            (of < MIN_EOJEOL - _SAME_S, "too_few"),
            n=len(spans),
        )
        return Estimate("ratio", (100.0 * hits, of), n_all, np.rint(of).astype(np.int64),
                        confidence, reason)  # fmt: skip

    found = {
        name: share(Mass(starts, ends, table.hits[:, column]).within(spans), scored, listed=True)
        for column, name in enumerate(LISTS)
    }
    found["filler_rate"] = share(fillers, said + fillers, listed=False)
    return found | {"mattr_50": _mattr_estimate(table, spans, confidence)}


def _mattr_estimate(table: WordTable, spans: Spans, confidence: Floats) -> Estimate:
    kinds, times = table.kinds
    rows = rows_in(times, spans)
    n = lengths(rows)
    value = np.full(len(spans), np.nan)
    for i in np.flatnonzero(n >= MATTR_WINDOW):
        value[i] = mattr(kinds[rows[i, 0] : rows[i, 1]], MATTR_WINDOW)
    reason = first_reason((n == 0, "silence"), (n < MATTR_WINDOW, "too_few"), n=len(spans))
    return Estimate("given", (value,), n, n, confidence, reason)


def mattr(kinds: NDArray[np.int64], window: int) -> float:
    """Moving-average type-token ratio: mean share of different words in every window.

    A word is new to a window unless it occurred in it before; so each word counts for as many
    windows as begin after its last occurrence: one pass, not one per window.

    Args:
        kinds: (n,) number of each word's form, n >= window.
        window: Words in a window.
    """
    n = len(kinds)
    order = np.argsort(kinds, kind="stable")
    before = np.full(n, -1)
    same = kinds[order[1:]] == kinds[order[:-1]]
    before[order[1:][same]] = order[:-1][same]
    place = np.arange(n)
    first = np.maximum(np.maximum(before + 1, place - window + 1), 0)
    last = np.minimum(place, n - window)
    return float(np.maximum(last - first + 1, 0).sum() / (window * (n - window + 1)))
