"""Measures of words: speech rates, word lists, fillers, variety of words.

Words belong to the target person by the speaker the transcript names, or else by the turn they
fall into. Counts are weighted by the part of a word that lies in the span. n words, S spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nunbit.core.spans import Mass, Spans, covered_s, lengths, rows_in, spans_of
from nunbit.core.streams import Floats, Interval, Ints, Transcript, Turn, Word
from nunbit.core.timebase import SAME_SUM_S, bounds, intersect_intervals, merge_intervals
from nunbit.language.spoken import eojeol
from nunbit.measures.estimate import Estimate, all_missing, estimate_of, missing
from nunbit.measures.turns import REACH_S, belongs_to_target
from nunbit.measures.voice_measures import VoiceSamples
from nunbit.measures.wording import LISTED, Wording, read_wording
from nunbit.statistics.scores import ratio

MIN_SYLLABLES = 10
MIN_EOJEOL = 50
MATTR_WINDOW = 50
TRANSCRIBED_SHARE = 0.5
"""A turn counts for rates where words cover this much of its speech."""


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
        edges_s: (n, 2) starts and ends, by start; clipped to the turn the word belongs to.
        turn: (n,) index of the turn, -1 for none.
        syllables: (n,) 0 for fillers.
        eojeol: (n,) 0 for fillers.
        scored: (n,) the same, but 0 in utterances that are not scored.
        fillers: (n,) 1 for fillers.
        confidence: (n,) NaN where the source gives none.
        hits: (n, lists) words on each list, in the order of ``LISTS``.
        function: (n, 2) function morphemes and all morphemes, 0 where there are none known.
        unread: (n,) words that cannot be looked up without an analyser.
        kinds: (t,) number of each spoken form in order, for MATTR, and its time.
        first_words_s: First timed word of each turn of the target.
        written: Stretches that anybody's words cover, half a second around each included.
    """

    edges_s: Floats
    turn: Ints
    syllables: Floats
    eojeol: Floats
    scored: Floats
    fillers: Floats
    confidence: Floats
    hits: Floats
    function: Floats
    unread: Floats
    kinds: tuple[Ints, Floats]
    first_words_s: dict[int, float]
    written: tuple[Interval, ...]


def target_words(
    transcript: Transcript, turns: Sequence[Turn], wordings: Sequence[Wording] | None = None
) -> WordTable:
    """Pick the target person's words and look them up; ``wordings`` None reads these, too."""
    wordings = read_wording(transcript) if wordings is None else wordings
    pairs = [
        (word, utterance, wording, place)
        for utterance, wording in zip(transcript.utterances, wordings, strict=True)
        for place, word in enumerate(utterance.words)
    ]  # fmt: skip
    pairs.sort(key=lambda pair: pair[0].interval.start_s)
    edges = bounds(word.interval for word, *_ in pairs)
    target, turn = belongs_to_target(turns, [u.speaker for _, u, *_ in pairs], edges.mean(axis=1))
    pairs = [pair for pair, own in zip(pairs, target, strict=True) if own]
    words, wordings = [pair[0] for pair in pairs], [pair[2] for pair in pairs]
    # A word between turns, or in a turn of somebody else by its time, is in no turn of the target.
    own = np.array([t.target for t in turns] + [False], bool)[turn[target]]
    turn = np.where(own, turn[target], -1)
    edges = _clipped(edges[target], turn, turns)
    tokens = [[] if w.filler else [token.casefold() for token in eojeol(w.text)] for w in words]
    flat = [token.strip(_EDGES) or token for each in tokens for token in each]
    n_tokens = np.array([len(each) for each in tokens], np.int64)
    _, kinds = np.unique(np.array(flat, str), return_inverse=True)
    counts = [w.counts[place] if w.counts else () for _, _, w, place in pairs]
    column = [LISTED.index(name) for name in LISTS.values()]
    hits = [[bool(row) and row[k] for k in column] for row in counts]
    # Passages that are not scored leave no morphemes.
    function = [w.function[place] if w.function else (0, 0) for _, _, w, place in pairs]
    looked_up = np.array([w.unscored != "not_scored" for w in wordings], bool)
    return WordTable(
        edges_s=edges,
        turn=turn,
        syllables=np.array([0.0 if w.filler else float(w.syllables) for w in words]),
        eojeol=n_tokens.astype(np.float64),
        scored=np.where(looked_up, n_tokens, 0.0),
        fillers=np.array([float(w.filler) for w in words]),
        confidence=np.array([np.nan if w.confidence is None else w.confidence for w in words]),
        hits=np.array(hits, np.float64).reshape(len(words), len(LISTS)),
        function=np.array(function, np.float64).reshape(len(words), 2),
        unread=np.array([float(w.unscored == "no_analyser") for w in wordings]),
        kinds=(kinds.astype(np.int64), np.repeat(edges.mean(axis=1), n_tokens)),
        first_words_s=_first_words(words, turn),
        written=merge_intervals(
            Interval(w.interval.start_s - REACH_S, w.interval.end_s + REACH_S)
            for u in transcript.utterances
            for w in u.words
        ),
    )


def _clipped(edges: Floats, turn: Ints, turns: Sequence[Turn]) -> Floats:
    """Clip words to their turn, because word times drift; so a turn counts all its words."""
    edges = edges.copy()
    inside = turn >= 0
    if inside.any():
        floor = bounds(t.interval for t in turns)[turn[inside]]
        starts = np.clip(edges[inside, 0], floor[:, 0], floor[:, 1] - 2e-3)
        ends = np.clip(edges[inside, 1], starts + 1e-3, floor[:, 1])
        edges[inside] = np.stack([starts, ends], axis=1)
    return edges


def _first_words(words: Sequence[Word], turn: Ints) -> dict[int, float]:
    first: dict[int, Word] = {}
    for word, i in zip(words, turn.tolist(), strict=True):
        first.setdefault(i, word)
    # Times spread over a cue are no times: then the first sound of the turn counts.
    return {i: w.interval.start_s for i, w in first.items() if i >= 0 and not w.estimated}


def _transcribed_turns(
    table: WordTable, turns: Sequence[Turn], voice: VoiceSamples | None
) -> list[int]:
    """Turns of the target whose speech is covered by words at least by half."""
    own = [i for i, turn in enumerate(turns) if turn.target]
    layout = spans_of(turns[i].interval for i in own)
    said, spoken = table.written, layout.duration_s
    if voice is not None:
        said = intersect_intervals(said, [Interval(a, b) for a, b in voice.speaking.edges_s])
        spoken = voice.speaking.within(layout)
    covered = Mass(bounds(said)).within(layout)
    enough = (covered > 0) & (covered >= TRANSCRIBED_SHARE * spoken)
    return [i for i, ok in zip(own, enough.tolist(), strict=True) if ok]


def rate_estimates(
    table: WordTable | None, spans: Spans, turns: Sequence[Turn], voice: VoiceSamples | None
) -> dict[str, Estimate]:
    """Syllables per second of turn, with and without its pauses.

    Args:
        table: None without a transcript.
        spans: S spans.
        turns: All turns.
        voice: None without sound: then there are no pauses to take off.
    """
    if table is None:
        return all_missing(("speech_rate", "articulation_rate"), spans, "no_transcript")
    transcribed = _transcribed_turns(table, turns, voice)
    own = [turns[i].interval for i in transcribed]
    inside = np.isin(table.turn, np.array(transcribed, np.int64))
    syllables = Mass(table.edges_s[inside], table.syllables[inside]).within(spans)
    counted = Mass(table.edges_s, table.syllables).within(spans)
    edges = bounds(own)
    seconds = Mass(edges).within(spans)
    if voice is not None and voice.absent:
        seconds = seconds - Mass(bounds(intersect_intervals(own, voice.absent))).within(spans)
    confidence = _confidence(table, spans)
    none = seconds <= SAME_SUM_S
    unwritten, others = (
        none & (covered_s((t.interval for t in turns if t.target == own), spans) > SAME_SUM_S)
        for own in (True, False)
    )
    few = syllables < MIN_SYLLABLES - SAME_SUM_S

    def rate(time: Floats) -> Estimate:
        return estimate_of(
            "ratio",
            (syllables, time),
            (counted, syllables),
            (unwritten, "no_transcript"),
            (others, "other_speaker"),
            (none, "silence"),
            (few | (time <= SAME_SUM_S), "too_few"),
            confidence=confidence,
        )

    articulation = missing(len(spans), "no_audio")
    if voice is not None:
        paused = Mass(_in_turns(voice.pauses, edges)).within(spans)
        articulation = rate(np.maximum(seconds - paused, 0.0))
    return {"speech_rate": rate(seconds), "articulation_rate": articulation}


def _in_turns(pauses: Floats, edges: Floats) -> Floats:
    if not len(pauses) or not len(edges):
        return np.empty((0, 2))
    order = edges[np.argsort(edges[:, 0])]
    place = np.searchsorted(order[:, 0], pauses[:, 0], "right") - 1
    return np.asarray(pauses[(place >= 0) & (pauses[:, 1] <= order[np.maximum(place, 0), 1])])


def _confidence(table: WordTable, spans: Spans) -> Floats:
    known = np.isfinite(table.confidence)
    edges, sure = table.edges_s[known], table.confidence[known]
    n = Mass(edges, np.ones(len(sure))).within(spans)
    return ratio(Mass(edges, sure).within(spans), np.where(n > SAME_SUM_S, n, 0.0))


def lexical_estimates(table: WordTable | None, spans: Spans) -> dict[str, Estimate]:
    """Hits of each word list and fillers per hundred eojeol; MATTR-50."""
    if table is None:
        return all_missing(
            (*LISTS, "function_rate", "filler_rate", "mattr_50"), spans, "no_transcript"
        )
    said, scored, fillers, unread = (
        Mass(table.edges_s, column).within(spans)
        for column in (table.eojeol, table.scored, table.fillers, table.unread)
    )
    confidence = _confidence(table, spans)

    def share(hits: Floats, of: Floats, *, listed: bool) -> Estimate:
        return estimate_of(
            "ratio",
            (100.0 * hits, of),
            (said + fillers, of),
            (listed & (unread > SAME_SUM_S), "no_analyser"),
            (said + fillers <= SAME_SUM_S, "silence"),
            (of <= SAME_SUM_S, "not_scored"),
            (of < MIN_EOJEOL - SAME_SUM_S, "too_few"),
            confidence=confidence,
        )

    found = {
        name: share(Mass(table.edges_s, hits).within(spans), scored, listed=True)
        for name, hits in zip(LISTS, table.hits.T, strict=True)
    }
    function, every = (Mass(table.edges_s, own).within(spans) for own in table.function.T)
    return found | {
        "function_rate": estimate_of(
            "ratio",
            (100.0 * function, every),
            (said + fillers, every),
            (unread > SAME_SUM_S, "no_analyser"),
            (said + fillers <= SAME_SUM_S, "silence"),
            (every <= SAME_SUM_S, "not_scored"),
            (every < MIN_EOJEOL - SAME_SUM_S, "too_few"),
            confidence=confidence,
        ),
        "filler_rate": share(fillers, said + fillers, listed=False),
        "mattr_50": _mattr_estimate(table, spans, confidence),
    }


def _mattr_estimate(table: WordTable, spans: Spans, confidence: Floats) -> Estimate:
    kinds, times = table.kinds
    rows = rows_in(times, spans)
    n = lengths(rows)
    value = np.full(len(spans), np.nan)
    for i in np.flatnonzero(n >= MATTR_WINDOW):
        value[i] = mattr(kinds[rows[i, 0] : rows[i, 1]], MATTR_WINDOW)
    rules = (n == 0, "silence"), (n < MATTR_WINDOW, "too_few")
    return estimate_of("given", (value,), (n, n), *rules, confidence=confidence)


def mattr(kinds: Ints, window: int) -> float:
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
