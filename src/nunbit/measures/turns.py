"""Who has the floor when: turns from diarisation, words and voice activity.

A turn runs from the first to the last sound of one speaker, pauses inside included, until somebody
else has spoken. Where nobody names speakers the recording is taken for one person's and a silence
of five seconds ends a turn: the other side may be talking unheard. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from nunbit.errors import InputError
from nunbit.streams import Interval, Transcript, Turn, VoiceStream
from nunbit.timebase import clip_intervals, merge_intervals

UNNAMED = ""
"""Speaker of a recording in which nobody names speakers."""

TURN_BREAK_S = 5.0
"""Silence that ends a turn where speakers are not named."""

_REACH_S = 0.5  # edges of cues and words are off by up to this; speech may carry a turn further
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
    spans = _named(diarisation, transcript)
    if not spans:
        spans = [(i, UNNAMED) for i in _unnamed(voice, transcript)]
    spans = [
        (clipped, speaker)
        for interval, speaker in spans
        for clipped in clip_intervals((interval,), 0.0, duration_s)
    ]
    if not spans:
        return ()
    wanted = target or _longest(spans)
    names = sorted({speaker for _, speaker in spans})
    if wanted not in names:
        listed = ", ".join(names) if any(names) else "-"
        raise InputError(
            en=f"target speaker '{target}': nobody is called so; speakers are {listed}",
            ko=f"대상 화자 '{target}': 그런 화자가 없습니다. 화자: {listed}",
        )
    floors = _floors(spans)
    if voice is not None:
        floors = _sharpened(floors, voice.segments)
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


def _unnamed(voice: VoiceStream | None, transcript: Transcript | None) -> tuple[Interval, ...]:
    heard = list(voice.segments) if voice is not None else []
    if transcript is not None:
        heard += [word.interval for u in transcript.utterances for word in u.words]
        heard += [u.interval for u in transcript.utterances if not u.words]
    return merge_intervals(heard, TURN_BREAK_S)


def _longest(spans: Iterable[_Span]) -> str:
    seconds: dict[str, float] = {}
    for interval, speaker in spans:
        seconds[speaker] = seconds.get(speaker, 0.0) + interval.duration_s
    return max(seconds, key=lambda speaker: seconds[speaker])


def _floors(spans: list[_Span]) -> list[_Span]:
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
    edges = np.array([(s.start_s, s.end_s) for s in segments])
    sharp = []
    for i, (interval, speaker) in enumerate(floors):
        first = int(np.searchsorted(edges[:, 1], interval.start_s, "right"))
        last = int(np.searchsorted(edges[:, 0], interval.end_s, "left")) - 1
        if first > last:  # no speech was heard there: the file that names speakers knows better
            sharp.append((interval, speaker))
            continue
        earliest = interval.start_s - _REACH_S
        latest = interval.end_s + _REACH_S
        if i:
            earliest = max(earliest, min(interval.start_s, floors[i - 1][0].end_s))
        if i + 1 < len(floors):
            latest = min(latest, max(interval.end_s, floors[i + 1][0].start_s))
        start, end = max(edges[first, 0], earliest), min(edges[last, 1], latest)
        sharp.append((Interval(float(start), float(end)), speaker) if start < end
                     else (interval, speaker))  # fmt: skip
    return sharp
