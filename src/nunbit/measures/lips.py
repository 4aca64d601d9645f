"""Who speaks, guessed from whose lips move while speech is heard: for recordings without names.

Speech is cut into pieces of at most two seconds. In each the speed of the lips of every face on the
screen is held against that of lips that do not speak; the fastest is taken for the speaker, or
somebody who is not seen. It is a guess with a measure of its own: the probability of each piece,
and over the recording the mean of these by seconds. It uses that a mouth moves, not what it says:
two people who chew and talk at once are beyond it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nunbit.core.messages import Text
from nunbit.core.streams import FaceStream, FaceTrack, Interval, Transcript
from nunbit.core.timebase import equal_parts, merge_intervals
from nunbit.measures.turns import seconds_by_speaker

PERSON, UNSEEN = "person", "unseen"
"""Names of the person analysed and of somebody who is not on the screen; others are ``face N``."""

STILL = 0.22
"""Mean speed of lips (eye distances a second) at which speaking is as likely as not. On clips of
GRID and of natural talkers lips that speak have .4 to 1.0, those of faces at rest .004 to .05."""

SLOPE = 0.35
"""Of the logistic curve over the logarithm of the speed."""

LEAST_TRUST = 0.75
"""Mean probability of the pieces below which names are not used unless asked for."""

_BRIDGED_S, _LONGEST_S, _LEAST_S = 0.3, 2.0, 0.4
_STEP_S = 0.35  # samples further apart say nothing of speed
_SAMPLES = 3
_LEAST_SPEECH_S = 5.0
_LEAST_OTHER_S = 3.0  # of two speakers each says at least so much


@dataclass(frozen=True, slots=True)
class LipGuess:
    """Who speaks by the lips.

    Attributes:
        stretches: With their speaker, by start.
        trust: Mean probability of the pieces, weighted by seconds, NaN without any.
        reason: Why the names are not used by themselves, '' if they can be: ``no_face``,
            ``too_few`` speech, ``one_speaker``, ``low_conf``.
    """

    stretches: tuple[tuple[Interval, str], ...]
    trust: float
    reason: str


def guess_speakers(faces: FaceStream | None, segments: Sequence[Interval]) -> LipGuess:
    """Guess who speaks in each piece of detected speech.

    Args:
        faces: With the tracks of the person analysed.
        segments: Detected speech.
    """
    pieces = [
        piece
        for whole in merge_intervals(segments, _BRIDGED_S)
        if whole.duration_s >= _LEAST_S
        for piece in equal_parts(whole, math.ceil(whole.duration_s / _LONGEST_S))
    ]
    if faces is None or not any(np.isfinite(t.mouth_open).any() for t in faces.tracks):
        return LipGuess((), math.nan, "no_face")
    total = sum(piece.duration_s for piece in pieces)
    lips: dict[str, list[FaceTrack]] = defaultdict(list)
    for track in faces.tracks:
        own = track.track_id in faces.targets
        lips[PERSON if own else f"face {track.track_id}"].append(track)
    answers = [_speaker(lips, piece) for piece in pieces]
    found = [(piece, name) for piece, (name, _) in zip(pieces, answers, strict=True)]
    sure = [chance for _, chance in answers]
    seconds = seconds_by_speaker(found)
    trust = float(np.average(sure, weights=[p.duration_s for p in pieces])) if pieces else math.nan
    reason = ""
    if total < _LEAST_SPEECH_S:
        reason = "too_few"
    elif sum(s >= _LEAST_OTHER_S for s in seconds.values()) < 2:
        reason = "one_speaker"
    elif trust < LEAST_TRUST or PERSON not in seconds:
        reason = "low_conf"
    return LipGuess(tuple(_joined(found)), trust, reason)


def _speaker(lips: dict[str, list[FaceTrack]], piece: Interval) -> tuple[str, float]:
    """The likeliest speaker of a piece, and how likely."""
    speeds = {name: speed for name, tracks in lips.items()
              if (speed := lip_speed(tracks, piece)) is not None}  # fmt: skip
    weights = {name: (max(speed, 1e-3) / STILL) ** (1 / SLOPE) for name, speed in speeds.items()}
    weights[UNSEEN] = 1.0
    name = max(weights, key=weights.__getitem__)
    return name, weights[name] / sum(weights.values())


def lip_speed(tracks: Sequence[FaceTrack], piece: Interval) -> float | None:
    """Mean speed of a mouth's opening and closing in a piece; None where it is hardly seen."""
    steps = []
    for track in tracks:
        inside = (
            (track.times_s >= piece.start_s)
            & (track.times_s <= piece.end_s)
            & np.isfinite(track.mouth_open)
        )
        times, mouth = track.times_s[inside], track.mouth_open[inside]
        apart = np.diff(times)
        near = apart <= _STEP_S
        steps += (np.abs(np.diff(mouth))[near] / apart[near]).tolist()
    return float(np.mean(steps)) if len(steps) >= _SAMPLES else None


def _joined(found: Sequence[tuple[Interval, str]]) -> list[tuple[Interval, str]]:
    """Neighbouring pieces of one speaker as one stretch."""
    joined: list[tuple[Interval, str]] = []
    for piece, name in found:
        last = joined[-1] if joined else None
        if last and last[1] == name and piece.start_s - last[0].end_s <= _BRIDGED_S:
            joined[-1] = (Interval(last[0].start_s, piece.end_s), name)
        else:
            joined.append((piece, name))
    return joined


def lips_notice(guess: LipGuess) -> Text:
    """What a reader must know about a guess that is used."""
    seconds = sorted(seconds_by_speaker(guess.stretches).items())
    shares = ", ".join(f"{name} {length:.0f} s" for name, length in seconds)
    lengths = ", ".join(f"{name} {length:.0f}초" for name, length in seconds)
    return Text(
        f"nothing names speakers: who speaks was guessed from whose lips move while speech is "
        f"heard ({shares}; mean probability {guess.trust:.2f}); a file that says who speaks when "
        "(`speakers`) is better, `lips=never` takes all speech as one person's",
        f"화자를 알려 주는 자료가 없어 말소리가 날 때 움직인 입술로 화자를 추정했습니다({lengths}, "
        f"평균 확률 {guess.trust:.2f}). 화자 파일(`speakers`)이 더 정확합니다. 모든 말을 한 사람의 "
        "것으로 보려면 `lips=never`를 쓰십시오",
    )


def names_missing(diarisation: Sequence[object], transcript: Transcript | None) -> bool:
    """Whether nothing that was given names speakers."""
    said = transcript.utterances if transcript else ()
    return not diarisation and not any(u.speaker for u in said)
