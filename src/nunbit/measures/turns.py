"""Turns (who has the floor when) from diarisation, words and voice activity.

A turn runs from the first to the last sound of one speaker, pauses inside included, until somebody
else has spoken. Without speaker names all speech counts as one person's, and a silence of five
seconds ends a turn, because somebody unheard may be talking. Knows nothing of files.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from nunbit.core.messages import InputError, Text
from nunbit.core.spans import Spans, lengths, quantile_rows, rows_in, sum_rows
from nunbit.core.streams import Flags, Floats, Interval, Ints, Transcript, Turn, VoiceStream
from nunbit.core.timebase import bounds, clip_intervals, merge_intervals
from nunbit.measures.estimate import Estimate, all_missing, estimate_of

UNNAMED = ""
"""Speaker of a recording in which nobody names speakers."""

TURN_BREAK_S = 5.0
"""Silence that ends a turn where speakers are not named."""

REACH_S = 0.5
"""Edges of cues and words are off by up to this; speech may carry a turn further."""

MIN_TURNS = 3
"""Fewer answers have no median to speak of."""


_Span = tuple[Interval, str]


def turns_from(
    voice: VoiceStream | None,
    transcript: Transcript | None,
    diarisation: Sequence[_Span | Turn],
    duration_s: float,
    *,
    target: str = "",
) -> tuple[Turn, ...]:
    """Cut a recording into turns.

    Speakers come from the diarisation if there is one, else from the transcript if it names them.

    Args:
        voice: Its stretches of speech sharpen the edges of turns.
        transcript: Words; utterances without a speaker count only where none has one.
        diarisation: Stretches with a speaker, in any order, overlapping or not; may be empty.
        duration_s: Turns are clipped to the medium.
        target: Speaker analysed; '' takes the one who speaks longest.

    Returns:
        By start, empty where nobody speaks. ``question`` of a target turn is the turn of somebody
        else right before it.

    Raises:
        InputError: ``target`` names nobody.
    """
    spans = [
        (clipped, speaker)
        for interval, speaker in _named(diarisation, transcript) or _unnamed(voice, transcript)
        for clipped in clip_intervals((interval,), 0.0, duration_s)
    ]
    if not spans:
        return ()
    seconds = seconds_by_speaker(spans)
    names = sorted(seconds)
    wanted = target or max(seconds, key=seconds.__getitem__)
    if wanted not in names:
        listed = ", ".join(names) if any(names) else "-"
        raise InputError(
            Text(
                f"target speaker '{target}': there is no such speaker; speakers are {listed}",
                f"대상 화자 '{target}': 그런 화자가 없습니다. 화자: {listed}",
            )
        )
    floors = _sharpened(_floors(spans), voice.segments if voice else ())
    turns = [Turn(interval, speaker, speaker == wanted) for interval, speaker in floors]
    return tuple(
        replace(turn, question=i - 1) if turn.target and i and not turns[i - 1].target else turn
        for i, turn in enumerate(turns)
    )


def _named(diarisation: Sequence[_Span | Turn], transcript: Transcript | None) -> list[_Span]:
    spans = [
        (item.interval, item.speaker) if isinstance(item, Turn) else (item[0], item[1])
        for item in diarisation
    ]
    if spans or transcript is None:
        return spans
    return [(u.interval, u.speaker) for u in transcript.utterances if u.speaker]


def _unnamed(voice: VoiceStream | None, transcript: Transcript | None) -> list[_Span]:
    heard = list(voice.segments) if voice is not None else []
    if transcript is not None:
        heard += [word.interval for u in transcript.utterances for word in u.words]
        heard += [u.interval for u in transcript.utterances if not u.words]
    return [(each, UNNAMED) for each in merge_intervals(heard, TURN_BREAK_S)]


def seconds_by_speaker(spans: Iterable[tuple[Interval, str]]) -> dict[str, float]:
    """Seconds of each speaker, in the order of their first stretch."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for interval, speaker in spans:
        seconds[speaker] += interval.duration_s
    return seconds


def _floors(spans: Iterable[_Span]) -> list[_Span]:
    """Neighbouring stretches of one named speaker become one turn.

    Without names a long silence has ended the turn already: see ``TURN_BREAK_S``.
    """
    floors: list[_Span] = []
    for interval, speaker in sorted(spans):
        if floors and interval.end_s <= floors[-1][0].end_s and speaker != floors[-1][1]:
            continue  # "네" while the other goes on talking does not take the floor
        if floors and speaker == floors[-1][1] != UNNAMED:
            last = floors[-1][0]
            floors[-1] = (Interval(last.start_s, max(last.end_s, interval.end_s)), speaker)
        else:
            floors.append((interval, speaker))
    return floors


def _sharpened(floors: list[_Span], segments: Sequence[Interval]) -> list[_Span]:
    """Move the edges of turns to where speech begins and ends.

    Inwards as far as it takes; outwards by half a second at most and never into another turn.
    """
    if not segments:
        return floors
    edges = bounds(segments)
    before = [-math.inf, *(interval.end_s for interval, _ in floors[:-1])]
    after = [*(interval.start_s for interval, _ in floors[1:]), math.inf]
    sharp = []
    for (interval, speaker), ended, begins in zip(floors, before, after, strict=True):
        first = int(np.searchsorted(edges[:, 1], interval.start_s, "right"))
        last = int(np.searchsorted(edges[:, 0], interval.end_s, "left")) - 1
        earliest = max(interval.start_s - REACH_S, min(interval.start_s, ended))
        latest = min(interval.end_s + REACH_S, max(interval.end_s, begins))
        # Where no speech was heard the file that names speakers knows better.
        if first <= last:
            start, end = max(edges[first, 0], earliest), min(edges[last, 1], latest)
            interval = Interval(float(start), float(end)) if start < end else interval
        sharp.append((interval, speaker))
    return sharp


# -- whose turn it is ------------------------------------------------------------------------------


def who_speaks(turns: Sequence[Turn], times_s: Floats) -> Ints:
    """Turn at each time, or the nearest within half a second; -1 where there is none."""
    best = np.full(len(times_s), -1, np.int64)
    if not turns:
        return best
    edges = bounds(t.interval for t in turns)
    nearest = np.full(len(times_s), REACH_S)
    after = np.searchsorted(edges[:, 0], times_s, "right")
    for step in (-1, -2, 0):  # turns overlap their neighbours at most
        place = np.clip(after + step, 0, len(turns) - 1)
        away = np.maximum(np.maximum(edges[place, 0] - times_s, times_s - edges[place, 1]), 0.0)
        nearer = away < nearest
        best[nearer], nearest[nearer] = place[nearer], away[nearer]
    return best


def belongs_to_target(
    turns: Sequence[Turn], speakers: Sequence[str | None], centres_s: Floats
) -> tuple[Flags, Ints]:
    """Whether each word or utterance is the target's, and its turn.

    A speaker the turns know decides; else the turn it falls into; in a recording without names
    everything is the target's.
    """
    turn = who_speaks(turns, centres_s)
    if all(t.speaker == UNNAMED for t in turns):
        return np.ones(len(turn), bool), turn
    by_time = np.array([t.target for t in turns] + [False], bool)[turn]  # the last for no turn
    target_of: dict[str | None, bool] = {t.speaker: t.target for t in turns}
    own = [target_of.get(s, bool(b)) for s, b in zip(speakers, by_time, strict=True)]
    return np.array(own, bool), turn


# -- answers ---------------------------------------------------------------------------------------


def question_segments(turns: Sequence[Turn]) -> list[tuple[float, float]]:
    """From the start of each answered turn of somebody else to the end of its last answer."""
    ends: dict[int, float] = {}
    for turn in turns:
        if turn.target and turn.question is not None:
            ends[turn.question] = max(ends.get(turn.question, 0.0), turn.interval.end_s)
    return [(turns[q].interval.start_s, end) for q, end in sorted(ends.items())]


def latency_estimates(
    turns: Sequence[Turn], first_words_s: dict[int, float], spans: Spans
) -> dict[str, Estimate]:
    """Median latency of at least three answers; of the one answer of a turn or question.

    An answer is a turn of the target right after one of somebody else. It comes so many seconds
    after the other's end; where they overlap it has no latency.

    Args:
        turns: All turns.
        first_words_s: Start of the first timed word, by index of the turn; where there is none,
            the turn's first sound counts.
        spans: S spans.
    """
    answers = sorted(
        (
            (first_words_s.get(i, turn.interval.start_s), turns[turn.question].interval.end_s)
            for i, turn in enumerate(turns)
            if turn.target and turn.question is not None
        ),
        key=lambda answer: answer[0],
    )
    if not answers:
        return all_missing(("response_latency", "response_overlap"), spans, "no_turns")
    onset, ended = np.array(answers).T
    late = onset > ended
    onsets, values = onset[late], (onset - ended)[late]
    rows, all_rows = rows_in(onsets, spans), rows_in(onset, spans)
    n, n_all = lengths(rows).astype(np.float64), lengths(all_rows).astype(np.float64)
    needed = np.where(spans.is_a("turn", "question"), 1, MIN_TURNS)
    median = estimate_of(
        "given", (quantile_rows(values, rows, 0.5),), (n_all, n), (n < needed, "too_few")
    )
    overlaps = sum_rows((~late).astype(np.float64), all_rows)
    share = estimate_of("ratio", (overlaps, n_all), (n_all, n_all), (n_all < needed, "too_few"))
    return {"response_latency": replace(median, sample=(onsets, values)), "response_overlap": share}
