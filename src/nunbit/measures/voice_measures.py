"""Measures of the voice: share of speech, pauses, pitch, level, latency.

Pauses come from acoustic voice activity inside the turns of the target person, not from the edges
of words, which drift. Silence is data for pauses and missing for pitch. Knows nothing of files.
M frames of 10 ms, S spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nunbit.core.spans import (
    Mass,
    Spans,
    Stretches,
    grid_counts,
    lengths,
    mad_rows,
    quantile_rows,
    rows_in,
    runs,
    sum_rows,
)
from nunbit.core.streams import VOICE_HOP_S, Flags, Floats, Interval, Turn, VoiceStream
from nunbit.core.timebase import (
    MIN_SPEECH_S,
    PAUSE_S,
    SAME_SUM_S,
    bounds,
    intersect_intervals,
    merge_intervals,
    subtract_intervals,
)
from nunbit.measures.estimate import Estimate, all_missing, estimate_of, moments
from nunbit.measures.turns import UNNAMED
from nunbit.recording.voice.quality import VoiceQuality

MIN_TURN_S = 2.0
MIN_PAUSES = 5
MIN_VOICED = 50
MIN_SHARE = 0.5
ST_REFERENCE_HZ = 27.5
MAD_TO_SD = 1.4826

_FLOOR_DB = -119.5  # the stream writes -120 for digital silence: nothing was measured there

FRAMES = ("f0_sd_st", "f0_mad_st", "f0_median", "level_mean", "level_sd")
PAUSES = ("pause_ratio", "pause_mean", "pause_sd")
QUALITY = {"jitter_local": "n_periods", "shimmer_local_db": "n_periods", "hnr_db": "n_frames"}
"""Measures of voice quality -> what a stretch's value rests on, which is its weight."""


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
    """Select the target person's speech and pauses."""
    own, others, absent = _own_and_absent(voice, turns)
    here = heard_stretches(voice)
    long = [i for i in own if i.duration_s >= MIN_TURN_S]
    pauses = _pauses(own, voice.segments, absent)
    return VoiceSamples(
        stream=voice,
        target=voice.speech & Stretches.of(own).at(voice.times_s),
        speaking=Stretches(bounds(intersect_intervals(voice.segments, own))),
        present=Mass(bounds(here)),
        turns=Mass(bounds(subtract_intervals(own, absent))),
        long_turns=Mass(bounds(subtract_intervals(long, absent))),
        other_turns=Mass(bounds(merge_intervals(others))),
        absent=absent,
        pauses=pauses,
        in_long=Stretches.of(long).at(pauses.mean(axis=1)),
        named=any(t.speaker != UNNAMED for t in turns),
    )


def pauses_in(voice: VoiceStream, turns: Sequence[Turn]) -> tuple[Interval, ...]:
    """The pauses of the person analysed: those that ``pause_ratio`` counts, of turns of any length.

    Silences of 0.25 s and more between two sounds of one turn; none where sound is missing.
    """
    own, _, absent = _own_and_absent(voice, turns)
    found = _pauses(own, voice.segments, absent)
    return tuple(Interval(start, end) for start, end in found.tolist())


def _own_and_absent(
    voice: VoiceStream, turns: Sequence[Turn]
) -> tuple[list[Interval], list[Interval], tuple[Interval, ...]]:
    """The person's turns, those of others, and stretches of both and of speech without sound."""
    own = [t.interval for t in turns if t.target]
    others = [t.interval for t in turns if not t.target]
    everything = [*own, *others, *voice.segments]
    return own, others, subtract_intervals(everything, heard_stretches(voice))


def heard_stretches(voice: VoiceStream) -> tuple[Interval, ...]:
    """Stretches with sound in the file."""
    times, half = voice.times_s, VOICE_HOP_S / 2.0
    return tuple(
        Interval(float(times[a] - half), float(times[b - 1] + half)) for a, b in runs(voice.present)
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
    between = (gaps[:, 0] > turns[place, 0] + SAME_SUM_S) & (
        gaps[:, 1] < turns[place, 1] - SAME_SUM_S
    )
    long = gaps[:, 1] - gaps[:, 0] >= PAUSE_S - SAME_SUM_S
    holes = Mass(bounds(absent))
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
        return all_missing(("speech_share", *PAUSES, *FRAMES), spans, "no_audio")
    present = samples.present.within(spans)
    gone = present < MIN_SHARE * spans.duration_s
    share = estimate_of(
        "ratio",
        (samples.speaking.within(spans), present),
        (grid_counts(spans, 1 / VOICE_HOP_S), present / VOICE_HOP_S),
        (gone, "gap"),
        (np.full(len(spans), not (samples.named or single_speaker)), "uncertain_speaker"),
    )
    return {
        "speech_share": share,
        **_of_pauses(samples, spans, gone),
        **_of_frames(samples, spans, gone),
    }


def _of_pauses(samples: VoiceSamples, spans: Spans, gone: Flags) -> dict[str, Estimate]:
    edges = samples.pauses[samples.in_long]
    floor = samples.long_turns.within(spans)
    paused = Mass(edges).within(spans)
    frames = grid_counts(spans, 1 / VOICE_HOP_S)
    others = samples.other_turns.within(spans) > 0
    no_turn = floor <= SAME_SUM_S
    ratio = estimate_of(
        "ratio",
        (paused, floor),
        (frames, floor / VOICE_HOP_S),
        (gone, "gap"),
        (no_turn & others, "other_speaker"),
        (no_turn & (samples.turns.within(spans) <= SAME_SUM_S), "silence"),
        (floor < MIN_TURN_S - SAME_SUM_S, "too_short"),
    )
    rows = rows_in(edges.mean(axis=1), spans)
    count = lengths(rows).astype(np.float64)
    lasted = edges[:, 1] - edges[:, 0]
    sums = sum_rows(np.stack([lasted, lasted**2], axis=1), rows)
    few = ((gone, "gap"), (count < MIN_PAUSES, "too_few"))
    return {
        "pause_ratio": ratio,
        "pause_mean": estimate_of("ratio", (sums[:, 0], count), (count, count), *few),
        "pause_sd": estimate_of("sd", (count, sums[:, 0], sums[:, 1]), (count, count), *few),
    }


def _of_frames(samples: VoiceSamples, spans: Spans, gone: Flags) -> dict[str, Estimate]:
    stream = samples.stream
    frames = grid_counts(spans, 1 / VOICE_HOP_S)
    silent, others = (
        lengths(rows_in(stream.times_s[some], spans)) * VOICE_HOP_S < MIN_SPEECH_S
        for some in (stream.speech, samples.target)
    )

    def rules(few: Flags) -> tuple[tuple[Flags, str], ...]:
        reasons = ((few & silent, "silence"), (few & others, "other_speaker"), (few, "too_few"))
        return ((gone, "gap"), *reasons)

    voiced = np.flatnonzero(samples.target & np.isfinite(stream.f0_hz))
    times, hertz = stream.times_s[voiced], stream.f0_hz[voiced].astype(np.float64)
    pitch = 12.0 * np.log2(hertz / ST_REFERENCE_HZ)
    rows = rows_in(times, spans)
    n = lengths(rows).astype(np.float64)
    few = rules(n < MIN_VOICED)
    away = np.abs(pitch - np.median(pitch)) if len(pitch) else pitch
    found = {
        "f0_sd_st": estimate_of("sd", moments(pitch, rows), (frames, n), *few),
        "f0_mad_st": replace(
            estimate_of("given", (MAD_TO_SD * mad_rows(pitch, rows),), (frames, n), *few),
            sample=(times, MAD_TO_SD * away),
        ),
        "f0_median": replace(
            estimate_of("given", (quantile_rows(hertz, rows, 0.5),), (frames, n), *few),
            sample=(times, hertz),
        ),
    }
    index = np.flatnonzero(samples.target & stream.present & (stream.level_dbfs > _FLOOR_DB))
    level = stream.level_dbfs[index].astype(np.float64)
    rows = rows_in(stream.times_s[index], spans)
    n = lengths(rows).astype(np.float64)
    few = rules(n * VOICE_HOP_S < MIN_SPEECH_S - SAME_SUM_S)
    return found | {
        "level_mean": estimate_of(
            "decibel", (sum_rows(10.0 ** (level / 10.0), rows), n), (frames, n), *few
        ),
        "level_sd": estimate_of("sd", moments(level, rows), (frames, n), *few),
    }


def quality_estimates(
    quality: VoiceQuality | None, samples: VoiceSamples | None, spans: Spans
) -> dict[str, Estimate]:
    """Mean jitter, shimmer and harmonics-to-noise ratio, weighted by what each stretch rests on."""
    if samples is None or quality is None:
        return all_missing(QUALITY, spans, "no_audio" if samples is None else "no_model")
    own = samples.speaking.at(quality.times_s)
    clipped = np.zeros_like(own) if quality.clipped is None else own & quality.clipped
    n_own, n_clipped = (
        lengths(rows_in(quality.times_s[some], spans)).astype(np.float64) for some in (own, clipped)
    )
    found = {}
    for name, counted in QUALITY.items():
        column, weight = getattr(quality, name), getattr(quality, counted)
        index = np.flatnonzero(own & np.isfinite(column) & (weight > 0))
        rows = rows_in(quality.times_s[index], spans)
        n = lengths(rows).astype(np.float64)
        sums = sum_rows(np.stack([column * weight, weight], axis=1)[index], rows)
        found[name] = estimate_of(
            "ratio",
            (sums[:, 0], sums[:, 1]),
            (n_own, n),
            (n_own == 0, "silence"),
            (2 * n_clipped > n_own, "clipped"),
            (n == 0, "too_few"),
        )
    return found
