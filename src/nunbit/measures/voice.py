"""Measures of the voice: share of speech, pauses, pitch, level, latency.

Pauses come from acoustic voice activity inside the turns of the target person, not from the edges
of words, which drift. Silence is data for pauses and missing for pitch. Knows nothing of files.
M frames of 10 ms, S spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nunbit.measures.estimate import Estimate, Formula, first_reason, missing
from nunbit.measures.inputs import VoiceQuality
from nunbit.measures.spans import (
    Mass,
    Rows,
    Spans,
    Stretches,
    bounds,
    grid_counts,
    lengths,
    mad_rows,
    quantile_rows,
    rows_in,
    runs,
    sum_rows,
)
from nunbit.measures.turns import UNNAMED
from nunbit.streams import VOICE_HOP_S, Flags, Floats, Interval, Turn, VoiceStream
from nunbit.timebase import intersect_intervals, merge_intervals, subtract_intervals

PAUSE_S = 0.25
"""Shorter gaps are closures of consonants (signals.md section 4)."""

MIN_TURN_S = 2.0
MIN_PAUSES = 5
MIN_VOICED = 50
MIN_SPEECH_S = 1.0
MIN_SHARE = 0.5
MIN_TURNS = 3
ST_REFERENCE_HZ = 27.5
MAD_TO_SD = 1.4826

_FLOOR_DB = -119.5  # the stream writes -120 for digital silence: nothing was measured there
_SAME_S = 1e-6

FRAMES = ("f0_sd_st", "f0_mad_st", "f0_median", "level_mean", "level_sd")
PAUSES = ("pause_ratio", "pause_mean", "pause_sd")
QUALITY = ("jitter_local", "shimmer_local_db", "hnr_db")
LATENCY = ("response_latency", "response_overlap")


@dataclass(frozen=True, eq=False)
class VoiceSamples:
    """The target person's voice.

    Attributes:
        stream: As heard.
        target: (M,) frames in which the target speaks.
        speaking: Stretches of target speech.
        present: Seconds with sound in the file.
        turns: Seconds of the target's turns, without gaps of the recording.
        long_turns: The same for turns of 2 s and more.
        other_turns: Seconds of the others' turns.
        absent: Stretches of turns and speech without sound in the file.
        pauses: (P, 2) gaps of 0.25 s and more inside the target's turns.
        in_long: (P,) whether a pause is inside a turn of 2 s or more.
        named: Whether somebody named the speakers.
    """

    stream: VoiceStream
    target: Flags
    speaking: Stretches
    present: Mass
    turns: Mass
    long_turns: Mass
    other_turns: Mass
    absent: tuple[Interval, ...]
    pauses: Floats
    in_long: Flags
    named: bool


def target_voice(voice: VoiceStream, turns: Sequence[Turn]) -> VoiceSamples:
    """Pick the target person's speech and pauses out of all that is heard."""
    own = [t.interval for t in turns if t.target]
    others = [t.interval for t in turns if not t.target]
    here = _stretches(voice.times_s, voice.present)
    whole = merge_intervals([*own, *others, *voice.segments])
    absent = subtract_intervals(whole, here)
    long = [i for i in own if i.duration_s >= MIN_TURN_S]
    pauses = _pauses(own, voice.segments, absent)
    return VoiceSamples(
        stream=voice,
        target=voice.speech & _joined(own).at(voice.times_s),
        speaking=Stretches(bounds(intersect_intervals(voice.segments, own))),
        present=_mass(here),
        turns=_mass(subtract_intervals(own, absent)),
        long_turns=_mass(subtract_intervals(long, absent)),
        other_turns=_mass(merge_intervals(others)),
        absent=absent,
        pauses=pauses,
        in_long=_joined(long).at(pauses.mean(axis=1)),
        named=any(t.speaker != UNNAMED for t in turns),
    )


def _joined(intervals: Iterable[Interval]) -> Stretches:
    return Stretches(bounds(merge_intervals(intervals)))


def _mass(intervals: Iterable[Interval]) -> Mass:
    edges = bounds(intervals)
    return Mass(edges[:, 0], edges[:, 1])


def _stretches(times_s: Floats, flags: Flags) -> tuple[Interval, ...]:
    half = VOICE_HOP_S / 2.0
    return tuple(
        Interval(float(times_s[a] - half), float(times_s[b - 1] + half)) for a, b in runs(flags)
    )


def _pauses(
    own: Sequence[Interval], segments: Sequence[Interval], absent: Sequence[Interval]
) -> Floats:
    """Silences of 0.25 s and more between two sounds of one turn, none where sound is missing."""
    turns = bounds(merge_intervals(own))
    gaps = bounds(subtract_intervals(own, segments))
    if not len(gaps):
        return gaps
    place = np.searchsorted(turns[:, 0], gaps[:, 0], "right") - 1
    between = (gaps[:, 0] > turns[place, 0] + _SAME_S) & (gaps[:, 1] < turns[place, 1] - _SAME_S)
    long = gaps[:, 1] - gaps[:, 0] >= PAUSE_S - _SAME_S
    holes = _mass(absent)
    lost = holes.before(gaps[:, 1]) - holes.before(gaps[:, 0])
    return np.asarray(gaps[between & long & (lost < VOICE_HOP_S / 2.0)])


def voice_estimates(
    samples: VoiceSamples | None, spans: Spans, single_speaker: bool
) -> dict[str, Estimate]:
    """Share of speech, pauses, pitch and level.

    Args:
        samples: None without sound.
        spans: S spans.
        single_speaker: Whether the user says that nobody else is heard.
    """
    if samples is None:
        names = ("speech_share", *PAUSES, *FRAMES)
        return {name: missing(len(spans), "no_audio") for name in names}
    gone = samples.present.within(spans) < MIN_SHARE * spans.duration_s
    found = {"speech_share": _speech_share(samples, spans, gone, single_speaker)}
    found |= _of_pauses(samples, spans, gone)
    return found | _of_frames(samples, spans, gone)


def _plain(
    formula: Formula,
    parts: tuple[Floats, ...],
    counts: tuple[Floats, Floats],
    *rules: tuple[Flags, str],
) -> Estimate:
    n = len(counts[0])
    expected, valid = (np.rint(c).astype(np.int64) for c in counts)
    return Estimate(formula, parts, expected, valid, np.full(n, np.nan),
                    first_reason(*rules, n=n))  # fmt: skip


def _speech_share(
    samples: VoiceSamples, spans: Spans, gone: Flags, single_speaker: bool
) -> Estimate:
    present = samples.present.within(spans)
    unknown = np.full(len(spans), not (samples.named or single_speaker))
    return _plain(
        "ratio",
        (samples.speaking.within(spans), present),
        (grid_counts(spans, 1 / VOICE_HOP_S).astype(np.float64), present / VOICE_HOP_S),
        (gone, "gap"),
        (unknown, "uncertain_speaker"),
    )


def _of_pauses(samples: VoiceSamples, spans: Spans, gone: Flags) -> dict[str, Estimate]:
    edges = samples.pauses[samples.in_long]
    floor = samples.long_turns.within(spans)
    paused = Mass(edges[:, 0], edges[:, 1]).within(spans)
    frames = grid_counts(spans, 1 / VOICE_HOP_S).astype(np.float64)
    others = samples.other_turns.within(spans) > 0
    no_turn = floor <= _SAME_S
    ratio = _plain(
        "ratio",
        (paused, floor),
        (frames, floor / VOICE_HOP_S),
        (gone, "gap"),
        (no_turn & others, "other_speaker"),
        (no_turn & (samples.turns.within(spans) <= _SAME_S), "silence"),
        (floor < MIN_TURN_S - _SAME_S, "too_short"),
    )
    rows = rows_in(edges.mean(axis=1), spans)
    count = lengths(rows).astype(np.float64)
    lasted = edges[:, 1] - edges[:, 0]
    sums = sum_rows(np.stack([lasted, lasted**2], axis=1), rows)
    few = ((gone, "gap"), (count < MIN_PAUSES, "too_few"))
    return {
        "pause_ratio": ratio,
        "pause_mean": _plain("ratio", (sums[:, 0], count), (count, count), *few),
        "pause_sd": _plain("sd", (count, sums[:, 0], sums[:, 1]), (count, count), *few),
    }


def _of_frames(samples: VoiceSamples, spans: Spans, gone: Flags) -> dict[str, Estimate]:
    stream = samples.stream
    frames = grid_counts(spans, 1 / VOICE_HOP_S).astype(np.float64)
    heard = lengths(rows_in(stream.times_s[stream.speech], spans)) * VOICE_HOP_S
    own = lengths(rows_in(stream.times_s[samples.target], spans)) * VOICE_HOP_S

    def rules(few: Flags) -> tuple[tuple[Flags, str], ...]:
        return (
            (gone, "gap"),
            (few & (heard < MIN_SPEECH_S), "silence"),
            (few & (own < MIN_SPEECH_S), "other_speaker"),
            (few, "too_few"),
        )

    voiced = np.flatnonzero(samples.target & np.isfinite(stream.f0_hz))
    times, hertz = stream.times_s[voiced], stream.f0_hz[voiced].astype(np.float64)
    pitch = 12.0 * np.log2(hertz / ST_REFERENCE_HZ)
    rows = rows_in(times, spans)
    n = lengths(rows).astype(np.float64)
    few = rules(n < MIN_VOICED)
    away = np.abs(pitch - np.median(pitch)) if len(pitch) else pitch
    found = {
        "f0_sd_st": _plain("sd", _moments(pitch, rows), (frames, n), *few),
        "f0_mad_st": _with_sample(
            _plain("given", (MAD_TO_SD * mad_rows(pitch, rows),), (frames, n), *few),
            times,
            MAD_TO_SD * away,
        ),
        "f0_median": _with_sample(
            _plain("given", (quantile_rows(hertz, rows, 0.5),), (frames, n), *few), times, hertz
        ),
    }
    loud = samples.target & stream.present & (stream.level_dbfs > _FLOOR_DB)
    index = np.flatnonzero(loud)
    level = stream.level_dbfs[index].astype(np.float64)
    rows = rows_in(stream.times_s[index], spans)
    n = lengths(rows).astype(np.float64)
    few = rules(n * VOICE_HOP_S < MIN_SPEECH_S - _SAME_S)
    energy = sum_rows(10.0 ** (level / 10.0), rows)
    return found | {
        "level_mean": _plain("decibel", (energy, n), (frames, n), *few),
        "level_sd": _plain("sd", _moments(level, rows), (frames, n), *few),
    }


def _moments(values: Floats, rows: Rows) -> tuple[Floats, Floats, Floats]:
    centred = values - (values.mean() if len(values) else 0.0)
    sums = sum_rows(np.stack([centred, centred**2], axis=1), rows)
    return lengths(rows).astype(np.float64), sums[:, 0], sums[:, 1]


def _with_sample(estimate: Estimate, times_s: Floats, values: Floats) -> Estimate:
    return Estimate(
        estimate.formula,
        estimate.parts,
        estimate.n_expected,
        estimate.n_valid,
        estimate.confidence,
        estimate.reason,
        (times_s, values),
    )


@dataclass(frozen=True, eq=False)
class Latencies:
    """How long the target took to answer.

    Attributes:
        onset_s: (L,) where the answers begin.
        latency_s: (L,) seconds after the other speaker's end; <= 0 where they overlap.
    """

    onset_s: Floats
    latency_s: Floats


def latencies(turns: Sequence[Turn], first_words_s: dict[int, float]) -> Latencies:
    """Answers of the target to somebody else's turn.

    Args:
        turns: All turns.
        first_words_s: Start of the first timed word, by index of the turn; where there is none,
            the turn's first sound counts.
    """
    onsets, waited = [], []
    for i, turn in enumerate(turns):
        if turn.target and turn.question is not None:
            onset = first_words_s.get(i, turn.interval.start_s)
            onsets.append(onset)
            waited.append(onset - turns[turn.question].interval.end_s)
    order = np.argsort(onsets, kind="stable")
    return Latencies(np.array(onsets)[order], np.array(waited)[order])


def latency_estimates(found: Latencies, spans: Spans, has_turns: bool) -> dict[str, Estimate]:
    """Median latency of at least three answers; of the one answer of a turn or question.

    Args:
        found: All answers.
        spans: S spans.
        has_turns: Whether there is more than one speaker.
    """
    if not has_turns:
        return {name: missing(len(spans), "no_turns") for name in LATENCY}
    late = found.latency_s > 0
    onsets, values = found.onset_s[late], found.latency_s[late]
    rows, all_rows = rows_in(onsets, spans), rows_in(found.onset_s, spans)
    n, n_all = lengths(rows).astype(np.float64), lengths(all_rows).astype(np.float64)
    needed = np.where(spans.is_a("turn", "question"), 1, MIN_TURNS)
    median = _plain(
        "given", (quantile_rows(values, rows, 0.5),), (n_all, n), (n < needed, "too_few")
    )
    overlaps = sum_rows((~late).astype(np.float64), all_rows)
    share = _plain("ratio", (overlaps, n_all), (n_all, n_all), (n_all < needed, "too_few"))
    return {"response_latency": _with_sample(median, onsets, values), "response_overlap": share}


def quality_estimates(
    quality: VoiceQuality | None, samples: VoiceSamples | None, spans: Spans
) -> dict[str, Estimate]:
    """Mean jitter, shimmer and harmonics-to-noise ratio, weighted by what each stretch rests on."""
    if samples is None or quality is None:
        why = "no_audio" if samples is None else "no_model"
        return {name: missing(len(spans), why) for name in QUALITY}
    columns = (
        (quality.jitter_local, quality.n_periods),
        (quality.shimmer_local_db, quality.n_periods),
        (quality.hnr_db, quality.n_frames),
    )
    own = samples.speaking.at(quality.times_s)
    heard = lengths(rows_in(quality.times_s[own], spans))
    spoilt = np.zeros_like(heard)
    if quality.clipped is not None:
        spoilt = lengths(rows_in(quality.times_s[own & quality.clipped], spans))
    found = {}
    for name, (column, weight) in zip(QUALITY, columns, strict=True):
        index = np.flatnonzero(own & np.isfinite(column) & (weight > 0))
        rows = rows_in(quality.times_s[index], spans)
        n = lengths(rows).astype(np.float64)
        sums = sum_rows(np.stack([column * weight, weight], axis=1)[index], rows)
        found[name] = _plain(
            "ratio",
            (sums[:, 0], sums[:, 1]),
            (heard.astype(np.float64), n),
            (heard == 0, "silence"),
            (2 * spoilt > heard, "clipped"),
            (n == 0, "too_few"),
        )
    return found
