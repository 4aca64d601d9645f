"""Check the times of words against speech: late, early, drifting, or of another recording.

Detected speech and written words are two series of on and off; their correlation at every shift
shows where the words belong. Nothing is shifted here. Knows nothing of sound or files.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import Text
from nunbit.core.schema import ReadingNote
from nunbit.core.streams import Floats, Interval, Transcript

FitKind = Literal["unknown", "fits", "late", "early", "drifts", "unclear", "elsewhere"]

_HOP_S = 0.05
_FURTHEST_S = 60.0  # a longer shift is reported as words of another recording
_NEAR_S = 2.0  # around the best shift, where neighbours are as good
_LEAST_SPEECH_S, _LEAST_SAID_S, _LEAST_PAUSE_S = 5.0, 3.0, 2.0
_LEAST_CUES = 3
# Cues begin before the speech and end after it by some tenths of a second.
_SHIFT_TOLD_S = 0.6
# All correlations over the largest that so much writing beside so much speech can have. Well-timed
# transcripts have 0.3 to 1 (34 joined talks with loose cues, all or a third of them; GRID), words
# of another recording less than 0.2, but chance gives a few cues anything.
_GOOD, _CLEARLY_BETTER, _CHANCE = 0.3, 0.2, 0.15
_KEEPS = 0.6  # at this share of the best the words are where they belong, as far as one can tell
_RIVAL = 0.75  # another shift this nearly as good leaves it open which is right
_SIGMAS = 4.0  # the best shift stands out of the others by so many of their deviations
_EXPECTED, _MISSING_SIGMAS = 0.45, 4.0  # of a transcript that fits, and how surely it is missed
# Films run at 24 pictures and are shown at 25, and the like; clocks of recorders differ by less
# than 0.3%.
_PACES = (24 / 25, 24000 / 25025, 25 / 24, 25025 / 24000, 1.25)
_CLOCKS = tuple(1 + k / 2000 for k in range(-6, 7) if k)
_DRIFT_TOLD_S, _DRIFT_BETTER, _DRIFT_OFF_S = 1.0, 0.05, 0.6
_DRIFT_CUES = 12


@dataclass(frozen=True, slots=True)
class WordFit:
    """How well words fit the speech.

    Attributes:
        kind: ``unknown`` where there is too little to tell, ``fits``, ``late`` or ``early`` (the
            words lie after or before the speech), ``drifts``, ``unclear`` (they do not fit, and
            several shifts would), or ``elsewhere`` (they follow no speech of this recording).
        correlation: Of speech and words as they are, over the largest that is possible: at most 1,
            below 0 where the words avoid the speech (also below -1: the smallest possible one is
            another); NaN where unknown.
        shift_s: How much later than the speech the words lie; 0 where they fit, NaN where unknown.
            Where they drift, at the beginning of the recording.
        pace: Seconds of the recording in a second of the transcript; 1 where they do not drift.
        best: Correlation at that shift and pace.
        sigmas: How far the best correlation is above those of other shifts, in their standard
            deviations.
    """

    kind: FitKind
    correlation: float = math.nan
    shift_s: float = math.nan
    pace: float = 1.0
    best: float = math.nan
    sigmas: float = math.nan


def said_intervals(transcript: Transcript) -> tuple[Interval, ...]:
    """Intervals of the words if they have times, else of their cues."""
    timed = (
        [word.interval for word in utterance.words if not word.estimated] or [utterance.interval]
        for utterance in transcript.utterances
    )
    return tuple(itertools.chain.from_iterable(timed))


def fit_words(speech: Sequence[Interval], said: Sequence[Interval], duration_s: float) -> WordFit:
    """Compare detected speech with the times of words.

    Args:
        speech: Stretches of speech, whoever speaks.
        said: Words or cues; a transcript of one of several speakers may leave most speech out.
        duration_s: Of the recording.
    """
    n = math.ceil(duration_s / _HOP_S)
    heard, written = _row(speech, n), _row(said, n)
    heard_s, written_s = heard.sum() * _HOP_S, written.sum() * _HOP_S
    if (
        len(said) < _LEAST_CUES
        or heard_s < _LEAST_SPEECH_S
        or written_s < _LEAST_SAID_S
        or duration_s - heard_s < _LEAST_PAUSE_S
        or written.std() < 0.05
    ):
        return WordFit("unknown")
    reach = min(n // 2, round(_FURTHEST_S / _HOP_S))
    curve = _correlations(heard, written, reach)
    here = float(curve[reach - 4 : reach + 5].max())  # within 0.2 s
    best = int(curve.argmax())
    shift_s, top = (reach - best) * _HOP_S, float(curve[best])
    far = np.abs(np.arange(len(curve)) - best) * _HOP_S > _NEAR_S
    if not far.any():
        return WordFit("unknown")
    second, spread = float(curve[far].max()), float(curve[far].std())
    sigmas = _sigmas(curve, best)
    drift = _drift(heard, said, max(top, 0.0)) if len(said) >= _DRIFT_CUES else None
    if drift is not None:
        pace, start_s, better = drift
        return WordFit("drifts", here, start_s, pace, better, sigmas)
    if here >= _KEEPS * top and here >= _CHANCE:
        return WordFit("fits", here, 0.0, 1.0, top, sigmas)
    good = top >= _GOOD and top - here >= _CLEARLY_BETTER and sigmas >= _SIGMAS
    if good and second <= _RIVAL * top and abs(shift_s) >= _SHIFT_TOLD_S:
        return WordFit("late" if shift_s > 0 else "early", here, shift_s, 1.0, top, sigmas)
    if here < _CHANCE and _EXPECTED - here >= _MISSING_SIGMAS * spread:
        kind: FitKind = "unclear" if good else "elsewhere"
        return WordFit(kind, here, math.nan, 1.0, top, sigmas)
    return WordFit("unknown", here, math.nan, 1.0, top, sigmas)


def fit_notes(fit: WordFit) -> tuple[ReadingNote, ...]:
    """Notes about words that lie outside the speech; empty if they fit."""
    nothing = Text("nothing was shifted", "시각은 옮기지 않았습니다")
    here, there = _match(fit.correlation), _match(fit.best)
    if fit.kind in ("late", "early"):
        by = f"{abs(fit.shift_s):.1f}"
        side = Text("after", "늦습니다") if fit.kind == "late" else Text("before", "이릅니다")
        said = Text(
            f"the words lie {by} s {side.en} the speech (match {here.en}, {there.en} if shifted); "
            f"{nothing.en}: correct the times of the transcript",
            f"단어가 말소리보다 {by}초 {side.ko}(일치 {here.ko}, 옮기면 {there.ko}). "
            f"{nothing.ko}. 전사의 시각을 고치십시오",
        )
    elif fit.kind == "drifts":
        percent = f"{100 * abs(fit.pace - 1):.2g}%"
        side = Text("fast", "빠릅니다") if fit.pace > 1 else Text("slow", "느립니다")
        said = Text(
            f"the words drift against the speech: the transcript's clock runs {percent} too "
            f"{side.en} (match {here.en}, {there.en} at that pace); {nothing.en}: it may belong "
            "to a copy with another frame rate",
            f"단어와 말소리가 점점 어긋납니다. 전사의 시간이 {percent} {side.ko}(일치 "
            f"{here.ko}, 속도를 맞추면 {there.ko}). {nothing.ko}. 프레임 속도가 다른 사본의 "
            "전사일 수 있습니다",
        )
    elif fit.kind == "unclear":
        said = Text(
            f"the words do not fit the speech (match {here.en}); shifted they would ({there.en}), "
            "but the shift is unclear: check the times of the transcript",
            f"단어가 말소리와 맞지 않습니다(일치 {here.ko}). 옮기면 맞지만({there.ko}) 얼마나 "
            "옮겨야 할지 분명하지 않습니다. 전사의 시각을 확인하십시오",
        )
    elif fit.kind == "elsewhere":
        said = Text(
            f"the words do not fit the speech (match {here.en}, no shift up to "
            f"{_FURTHEST_S:.0f} s fits): is this the transcript of another recording?",
            f"단어가 말소리와 맞지 않습니다(일치 {here.ko}, {_FURTHEST_S:.0f}초까지 옮겨도 맞는 "
            "곳이 없음). 다른 녹화의 전사가 아닌지 확인하십시오",
        )
    else:
        return ()
    return (ReadingNote("read", "words_outside_speech", 1, "0:00.0", said),)


def _match(correlation: float) -> Text:
    """A correlation over the largest possible one, in words: below 0 the words avoid the speech."""
    if correlation <= 0:
        return Text("no better than chance", "우연보다 낫지 않음")
    share = f"{min(correlation, 1.0):.0%}"
    return Text(f"{share} of what is possible", f"가능한 최대의 {share}")


def _row(stretches: Sequence[Interval], n: int, pace: float = 1.0) -> Floats:
    """(n,) share of each step that lies in a stretch."""
    edges = np.array([(each.start_s, each.end_s) for each in stretches], np.float64).reshape(-1, 2)
    steps = np.clip(edges * pace / _HOP_S, 0.0, n)
    # The integral of the row, read at whole steps, from where each stretch rises and stays.
    at = np.arange(n + 1)
    total = np.zeros(n + 1)
    for column, sign in ((0, 1.0), (1, -1.0)):
        places = np.sort(steps[:, column])
        before = np.searchsorted(places, at, side="right")
        sums = np.concatenate([[0.0], np.cumsum(places)])
        total += sign * (before * at - sums[before])
    return np.asarray(np.minimum(np.diff(total), 1.0))


def _correlations(heard: Floats, written: Floats, reach: int) -> Floats:
    """(2 reach + 1,) correlation with the words moved by -reach .. reach steps.

    Over the largest that two rows with these means can have: a transcript of one of two speakers
    leaves half of the speech out, and cannot have 1.
    """
    size = 1 << (len(heard) + reach).bit_length()
    return _moved(np.fft.rfft(heard - heard.mean(), size), heard, written, reach, size)


def _moved(
    spectrum: NDArray[np.complexfloating], heard: Floats, written: Floats, reach: int, size: int
) -> Floats:
    product = np.fft.irfft(spectrum * np.conj(np.fft.rfft(written - written.mean(), size)), size)
    p, q = sorted((float(written.mean()), float(heard.mean())))
    most = len(heard) * p * (1.0 - q)  # all of the rarer lies in the commoner
    return np.asarray(product[np.arange(-reach, reach + 1)] / max(most, 1e-9))


def _sigmas(curve: Floats, best: int) -> float:
    """How far one shift is above those not near it, in standard deviations."""
    far = curve[np.abs(np.arange(len(curve)) - best) * _HOP_S > _NEAR_S]
    return (float(curve[best]) - float(far.mean())) / max(float(far.std()), 1e-6)


def _drift(
    heard: Floats, said: Sequence[Interval], top: float
) -> tuple[float, float, float] | None:
    """Pace, lateness at the beginning, and correlation, where another pace fits clearly better."""
    n = len(heard)
    reach = min(n // 2, round(_FURTHEST_S / _HOP_S))
    span_s = max(each.end_s for each in said) - min(each.start_s for each in said)
    size = 1 << (n + reach).bit_length()
    spectrum = np.fft.rfft(heard - heard.mean(), size)
    best = (0.0, 1.0, 0)
    for pace in (*_PACES, *_CLOCKS):
        if abs(pace - 1) * span_s < _DRIFT_TOLD_S:
            continue
        curve = _moved(spectrum, heard, _row(said, n, pace), reach, size)
        at = int(curve.argmax())
        if _sigmas(curve, at) >= _SIGMAS:
            best = max(best, (float(curve[at]), pace, reach - at))
    better, pace, steps = best
    if better < _GOOD or better - top < _DRIFT_BETTER:
        return None
    # What the pace says must be seen: words moved by different amounts at both ends.
    third = n // 3
    ends = []
    for part in (slice(0, third), slice(n - third, n)):
        middle_s = (part.start + third / 2) * _HOP_S
        row = np.zeros(n)
        row[part] = heard[part]
        curve = _correlations(row, _row(said, n), reach)
        expected = steps + round(middle_s * (1 / pace - 1) / _HOP_S)
        around = round(_NEAR_S / _HOP_S)
        low = max(0, reach - expected - around)
        ends.append(
            (reach - low - int(curve[low : reach - expected + around + 1].argmax())) * _HOP_S
        )
    expected_s = (n - third) * _HOP_S * (1 / pace - 1)
    if abs((ends[1] - ends[0]) - expected_s) > _DRIFT_OFF_S + 0.25 * abs(expected_s):
        return None
    return pace, steps * _HOP_S, better
