"""Offset between sound and picture of a recording, from its own mouth and voice.

The level of speech follows the opening of the mouth, so the lag at which the two agree best is the
offset. It takes mouth openings at native frame rate (on GRID, 10 Hz loses a tenth of the
correlation and moves the estimate by up to 6 ms) over some tens of seconds of speech, so these
stretches are read again. The offset is reported, never corrected: mouths naturally lead voices by
some tens of milliseconds, and a wrong correction would be worse than a warning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from nunbit.core.schema import Box
from nunbit.core.spans import covered_s, spans_of
from nunbit.core.streams import (
    FaceStream,
    Flags,
    Floats,
    Interval,
    MediaInfo,
    Singles,
    VoiceStream,
)
from nunbit.core.timebase import clip_intervals, intersect_intervals, merge_intervals
from nunbit.pictures.face_mesh import landmarks_missing, load_landmarker
from nunbit.recording.face_motion import mouth_curve
from nunbit.recording.media import iter_frames
from nunbit.runtime.workers import available_cores

WARN_S = 0.12
"""Offsets beyond this are warned of; viewers notice +45 and -125 ms."""

MAX_OFFSET_S = 1.0
STRETCH_S = 10.0  # longest stretch; shorter where face or speech is shorter
MAX_STRETCHES = 6

_HOP_S = 0.01
_SMOOTH_S = 0.035  # Gaussian sigma: what is faster than syllables (5 Hz) is noise here
_TREND_S = 0.4  # Gaussian sigma: what is slower than syllables says nothing about the lag
_FILL_S = 0.15  # frames further apart than this are a hole, not a line
_LEVEL_RANGE_DB = 40.0  # below the loud parts by more is room noise, however deep
_APART_S = 0.3  # lags this far from the peak are another peak
_LEAST_S = 3.2  # shorter stretches leave no room for a surrogate
_SURROGATES = 199

# Tried on sentences of eight GRID talkers set end to end: with its own sound an offset is given
# for 26 of 60 sets of 12 s, 53 of 60 of 21 s and 60 of 60 of 30 s (all within 50 ms); with the
# sound of other sentences of nearly the same rhythm for 7 of 60 of 21 s, with random curves for 2
# of 60.
_MIN_CONFIDENCE = 0.99
_MIN_CORRELATION = 0.25
_ENOUGH_S = 20.0  # what agrees by chance shrinks with the root of the length: below, more is asked
_MAX_SECOND = 0.75

_LEAST_SPEECH_S = 3.0
_LEAST_FACE = 0.8


@dataclass(frozen=True, slots=True)
class StretchOffset:
    """One stretch by itself: weaker than all together, but it can show a drift.

    Attributes:
        interval: The stretch.
        offset_s: Lag of its own best agreement, + = sound late.
        correlation: At that lag.
    """

    interval: Interval
    offset_s: float
    correlation: float


@dataclass(frozen=True, slots=True)
class SyncResult:
    """Offset between sound and picture.

    Attributes:
        offset_s: + = sound late, or NaN where there is no estimate.
        correlation: Of mouth opening and level at the best lag, NaN without data.
        confidence: Share of surrogates (the same curves shifted by seconds) that agree less, 0 to
            1; NaN without data.
        reason: '' with an estimate; ``too_few``: not enough speech with a mouth to be seen;
            ``low_conf``: the agreement is weak, ambiguous or at the end of the range.
        stretches: Each by itself.
    """

    offset_s: float
    correlation: float
    confidence: float
    reason: str = ""
    stretches: tuple[StretchOffset, ...] = ()

    @property
    def warning(self) -> bool:
        """Whether there is an estimate large enough for a warning."""
        return not math.isnan(self.offset_s) and abs(self.offset_s) > WARN_S


@dataclass(frozen=True, eq=False)
class _Curves:
    """One stretch on a 10 ms grid, band-limited; 0 where masked.

    Attributes:
        interval: Where.
        mouth: (n,).
        seen: (n,) whether ``mouth`` is known.
        level: (n + 2 L,) with L lags before and after.
        heard: Likewise.
    """

    interval: Interval
    mouth: Floats
    seen: Flags
    level: Floats
    heard: Flags


def av_offset(
    mouth_times: ArrayLike,
    mouth_open: ArrayLike,
    level_times: ArrayLike,
    level: ArrayLike,
    *,
    stretches: Sequence[Interval],
    most_second: float = _MAX_SECOND,
) -> SyncResult:
    """Find the lag at which mouth opening and voice level agree best, within one second.

    Args:
        mouth_times: (N,) increasing, need not be regular.
        mouth_open: (N,) any unit, NaN where unknown.
        level_times: (M,) increasing; 10 ms apart or so.
        level: (M,) decibels, NaN where there is no sound.
        stretches: Where to look.
        most_second: Of the best agreement: the most that another lag may have.

    Returns:
        The offset, + = sound late, or why there is none.
    """
    times, mouth = _finite(mouth_times, mouth_open)
    heard_times, heard = _finite(level_times, level)
    nothing = SyncResult(math.nan, math.nan, math.nan, "too_few")
    if len(times) < 2 or len(heard) < 2:
        return nothing
    heard = np.maximum(heard, np.percentile(heard, 95) - _LEVEL_RANGE_DB)
    found = (_curves(each, times, mouth, heard_times, heard) for each in stretches)
    curves = [each for each in found if each is not None]
    if not curves:
        return nothing
    weights = [float(np.count_nonzero(each.seen)) for each in curves]
    shares = np.array(weights) / sum(weights)
    agreement = [_correlate(each, each.mouth[None], each.seen[None])[0] for each in curves]
    combined = np.tensordot(shares, np.array(agreement), axes=1)  # (L,)
    peak, offset_s = _peak(combined)
    own = tuple(
        StretchOffset(each.interval, lag_s, height)
        for each, (height, lag_s) in zip(curves, map(_peak, agreement), strict=True)
    )
    confidence = _confidence(curves, shares, peak)
    least = _MIN_CORRELATION * max(1.0, math.sqrt(_ENOUGH_S / (sum(weights) * _HOP_S)))
    sure = peak >= least and confidence >= _MIN_CONFIDENCE
    if sure and _is_clear(combined, peak, offset_s, most_second):
        return SyncResult(offset_s, peak, confidence, "", own)
    return SyncResult(math.nan, peak, confidence, "low_conf", own)


def choose_stretches(
    speech: Sequence[Interval],
    face_times_s: Floats,
    *,
    face_rate_hz: float = 10.0,
    count: int = MAX_STRETCHES,
) -> tuple[Interval, ...]:
    """Choose stretches with much speech and a readable face nearly all the time.

    Args:
        speech: Of the person analysed.
        face_times_s: (N,) sample times at which the face can be read.
        face_rate_hz: Rate of these samples.
        count: At most so many, spread over the recording, so that a drift would show.

    Returns:
        Sorted, not overlapping; empty where there is too little of either.
    """
    half_s = 0.5 / face_rate_hz + 1e-3
    seen = merge_intervals(
        (Interval(t - half_s, t + half_s) for t in np.asarray(face_times_s).tolist()),
        join_s=2 * half_s,  # single frames may be lost
    )
    if not seen or not speech:
        return ()
    first, last = min(each.start_s for each in speech), max(each.end_s for each in speech)
    steps = max(1, math.ceil((last - first - STRETCH_S) / (STRETCH_S / 5)) + 1)
    starts = (first + k * STRETCH_S / 5 for k in range(steps))
    windows = [Interval(s, min(s + STRETCH_S, last)) for s in starts if s < last]
    spans = spans_of(windows)
    both = covered_s(intersect_intervals(speech, seen), spans)
    shown = covered_s(seen, spans) / spans.duration_s
    usable = np.flatnonzero((both >= _LEAST_SPEECH_S) & (shown >= _LEAST_FACE))
    # First the best of each part of the recording, then the best of the rest.
    part = np.minimum((usable * count) // steps, count - 1)
    off_centre = np.abs(usable - (part + 0.5) * steps / count)
    ranked = usable[np.lexsort((off_centre, -both[usable].round(1)))]
    best_of_part = [ranked[np.isin(ranked, usable[part == k])][:1] for k in np.unique(part)]
    taken: list[Interval] = []
    for row in [*np.concatenate([*best_of_part, np.zeros(0, int)]), *ranked]:
        if len(taken) < count and not any(windows[row].overlap_s(each) for each in taken):
            taken.append(windows[row])
    return tuple(sorted(clip_intervals(taken, max(0.0, seen[0].start_s), seen[-1].end_s)))


def _finite(times: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    t, v = np.asarray(times, np.float64), np.asarray(values, np.float64)
    known = np.isfinite(t) & np.isfinite(v)
    return t[known], v[known]


def _curves(
    interval: Interval, times: Floats, mouth: Floats, heard_times: Floats, heard: Floats
) -> _Curves | None:
    """One stretch ready for comparison; None if there is too little in it."""
    if interval.duration_s < _LEAST_S:
        return None
    lags, n = round(MAX_OFFSET_S / _HOP_S), math.floor(interval.duration_s / _HOP_S)
    grid = interval.start_s + np.arange(-lags, n + lags, dtype=np.float64) * _HOP_S
    opening, seen = _band(grid, times, mouth)
    level, known = _band(grid, heard_times, heard)
    seen = seen[lags : lags + n]
    opening, level = np.where(seen, opening[lags : lags + n], 0.0), np.where(known, level, 0.0)
    unknown = seen.mean() < 0.5 or known.mean() < 0.5
    if unknown or _is_flat(opening, mouth) or _is_flat(level, heard):
        return None
    return _Curves(interval, opening, seen, level, known)


def _is_flat(curve: Floats, values: Floats) -> bool:
    """Whether nothing but rounding errors is left of a curve."""
    return float(np.abs(curve).max()) <= 1e-6 * float(np.abs(values).max())


def _band(grid: Floats, times: Floats, values: Floats) -> tuple[Floats, Flags]:
    """Values on the grid between 1 and 5 Hz, and where they are known."""
    right = np.clip(np.searchsorted(times, grid), 1, len(times) - 1)
    known = times[right] - times[right - 1] <= _FILL_S
    known &= (grid >= times[0] - _HOP_S) & (grid <= times[-1] + _HOP_S)
    raw = np.where(known, np.interp(grid, times, values), 0.0)
    weight = known.astype(np.float64)

    def smooth(sigma_s: float) -> Floats:
        # Normalised by what is known, so that a hole does not pull towards zero.
        reach = math.ceil(3 * sigma_s / _HOP_S)
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * _HOP_S / sigma_s) ** 2)
        blurred, total = (
            np.convolve(x, kernel, "full")[reach : reach + len(grid)] for x in (raw, weight)
        )
        return np.asarray(blurred / np.maximum(total, 1e-12))

    return smooth(_SMOOTH_S) - smooth(_TREND_S), known


def _correlate(curves: _Curves, mouths: Floats, seen: Flags) -> Floats:
    """Correlation at every lag of S mouth curves with the level; (S, n) in, (S, L) out."""
    n = mouths.shape[1]
    levels = np.lib.stride_tricks.sliding_window_view(curves.level, n)  # (L, n)
    heard = np.lib.stride_tricks.sliding_window_view(curves.heard.astype(np.float64), n)
    both = mouths @ levels.T
    mouth_power = np.square(mouths) @ heard.T
    level_power = seen.astype(np.float64) @ np.square(levels).T
    scale = np.sqrt(mouth_power * level_power)
    return np.asarray(np.where(scale > 1e-12, both / np.maximum(scale, 1e-12), 0.0))


def _confidence(curves: Sequence[_Curves], shares: Floats, peak: float) -> float:
    """Share of surrogates whose best lag agrees less than ``peak``.

    A surrogate is the same curves with every mouth turned round within its stretch by more than
    the lags searched: rhythm and loudness stay, the common time goes.
    """
    rng = np.random.default_rng(0)
    total = np.zeros((_SURROGATES, 2 * round(MAX_OFFSET_S / _HOP_S) + 1))
    for each, share in zip(curves, shares, strict=True):
        n = len(each.mouth)
        least = round((MAX_OFFSET_S + _APART_S) / _HOP_S)
        shifts = rng.integers(least, n - least, _SURROGATES)
        rows = (np.arange(n)[None] - shifts[:, None]) % n
        total += share * _correlate(each, each.mouth[rows], each.seen[rows])
    return 1 - (1 + int((total.max(axis=1) >= peak).sum())) / (1 + _SURROGATES)


def _peak(agreement: Floats) -> tuple[float, float]:
    """Height and lag (seconds) of the largest correlation, between lags by a parabola."""
    at = int(np.argmax(agreement))
    height, shift = float(agreement[at]), 0.0
    if 0 < at < len(agreement) - 1:
        before, after = float(agreement[at - 1]), float(agreement[at + 1])
        bend = before - 2 * height + after
        if bend < 0:
            shift = 0.5 * (before - after) / bend
            height -= 0.25 * (before - after) * shift
    return height, (at + shift) * _HOP_S - MAX_OFFSET_S


def _is_clear(agreement: Floats, peak: float, offset_s: float, most_second: float) -> bool:
    """Whether the best lag lies inside the range and no other comes near it."""
    lags = np.arange(len(agreement)) * _HOP_S - MAX_OFFSET_S
    others = agreement[np.abs(lags - offset_s) > _APART_S]
    inside = abs(offset_s) < MAX_OFFSET_S - 2 * _HOP_S
    return bool(inside and others.max() <= most_second * peak)


# Thirty seconds of speech settle the offset of a short recording, and twenty mostly do: the third
# stretch is read where they do not. In a long one more stretches show whether it holds, and cost
# little beside the rest.
_SHORT_S, _STRETCHES, _FIRST = 300.0, 3, 2
_AT_ONCE, _LONG_S = 2, 1800.0  # stretches
# The lips of the frames that were sampled for the faces settle it where enough is said, and nothing
# is read again: they have to be clearer than those of all frames. Of GRID sentences end to end at
# 10 Hz, 16 of 16 sets of 60 s and 9 of 16 of 42 s get their offset, all within 50 ms; with the
# sound of other sentences none does (one of 32 does without these limits).
_SAMPLED_STRETCHES, _SAMPLED_LEAST_S = 12, 40.0
_SAMPLED_SECOND, _SAMPLED_CORRELATION = 0.65, 0.28


def check_synchrony(
    path: Path,
    media: MediaInfo,
    faces: FaceStream | None,
    voice: VoiceStream | None,
    speech: tuple[Interval, ...],
) -> dict[str, float | str]:
    """Estimate the offset between sound and picture; + = sound late. Nothing is shifted.

    Args:
        path: The recording.
        media: What it holds.
        faces: Where the person's face is.
        voice: Level of the sound.
        speech: Stretches in which the person analysed speaks.

    Returns:
        ``offset_s``, ``correlation``, ``confidence``, ``stretches``, ``warning``; or ``reason``
        why there is no estimate.
    """
    if faces is None or voice is None:
        return {"reason": "no_video" if faces is None else "no_audio"}
    if landmarks_missing() is not None:
        return {"reason": "no_landmarks"}
    times, boxes, lips = _readable(faces)
    if not len(times):
        return {"reason": "no_face"}
    if (sampled := _of_samples(times, lips, faces.rate_hz, voice, speech)) is not None:
        return _told(sampled)
    count = _STRETCHES if media.duration_s < _SHORT_S else MAX_STRETCHES
    stretches = choose_stretches(speech, times, face_rate_hz=faces.rate_hz, count=count)
    if not stretches:
        return {"reason": "too_few"}
    nearest = [int(np.abs(times - stretch.start_s).argmin()) for stretch in stretches]
    starts: list[Box] = [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes[nearest].tolist()]

    def curve(stretch: Interval, box: Box) -> tuple[Floats, Floats]:
        # Networks of their own: they are not for several threads at once.
        landmarker = load_landmarker()
        assert landmarker is not None
        return mouth_curve(iter_frames(path, stretch), landmarker, box, media)

    # Decoding and networks release the interpreter's lock. A long file's index takes tens of
    # megabytes each time it is open, and these stretches are a small part of its time.
    at_once = _AT_ONCE if media.duration_s < _LONG_S else 1
    first = _FIRST if count == _STRETCHES else count
    curves: list[tuple[Floats, Floats]] = []
    with ThreadPoolExecutor(min(at_once, available_cores())) as pool:
        for some in (slice(first), slice(first, None)):
            curves += pool.map(curve, stretches[some], starts[some])
            seen_at, openings = (np.concatenate(each) for each in zip(*curves, strict=True))
            read = stretches[: len(curves)]
            result = av_offset(seen_at, openings, voice.times_s, voice.level_dbfs, stretches=read)
            if not math.isnan(result.offset_s) or len(curves) == len(stretches):
                break
    if math.isnan(result.offset_s):
        return {"reason": result.reason, "stretches": len(curves)}
    return _told(result)


def _told(result: SyncResult) -> dict[str, float | str]:
    return {
        "offset_s": round(result.offset_s, 4),
        "correlation": round(result.correlation, 4),
        "confidence": round(result.confidence, 4),
        "stretches": len(result.stretches),
        "warning": result.warning,
    }


def _of_samples(
    times: Floats, lips: Floats, rate_hz: float, voice: VoiceStream, speech: tuple[Interval, ...]
) -> SyncResult | None:
    """The offset by the lips of the sampled frames; None where they do not surely tell."""
    seen, said_s = np.isfinite(lips), sum(each.duration_s for each in speech)
    count = min(_SAMPLED_STRETCHES, math.ceil(said_s / STRETCH_S))
    if count * STRETCH_S < _SAMPLED_LEAST_S:
        return None
    many = choose_stretches(speech, times[seen], face_rate_hz=rate_hz, count=count)
    if sum(each.duration_s for each in many) < _SAMPLED_LEAST_S:
        return None
    found = av_offset(
        times, lips, voice.times_s, voice.level_dbfs, stretches=many, most_second=_SAMPLED_SECOND
    )
    unsure = math.isnan(found.offset_s) or found.correlation < _SAMPLED_CORRELATION
    return None if unsure else found


def _readable(faces: FaceStream) -> tuple[Floats, Singles, Floats]:
    """Times (M,) at which the person's face may be read, boxes (M, 4), lips (M,; NaN unknown)."""
    own = [track for track in faces.tracks if track.track_id in faces.targets]
    times: list[Floats] = [np.zeros(0)]
    boxes: list[Singles] = [np.zeros((0, 4), np.float32)]
    lips: list[Floats] = [np.zeros(0)]
    for track in own:
        rows = track.reasons == ""
        times.append(track.times_s[rows])
        boxes.append(track.boxes_xyxy[rows])
        lips.append(np.full(rows.sum(), np.nan) if track.lips is None else track.lips[rows])
    order = np.argsort(np.concatenate(times), kind="stable")
    return (
        np.concatenate(times)[order],
        np.concatenate(boxes)[order],
        np.concatenate(lips)[order],
    )
