"""Episodes, in which something lasted, and states, in which nothing was readable.

Joy comes from the frames. The paper's group and low agreement come from the windows, where they lie
farther from the usual than chance brings about (:mod:`nunbit.statistics.changes`). States are times
without a face, with several faces, of low quality, of silence, and gaps.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from nunbit.core.spans import after_gaps, runs
from nunbit.core.streams import Episode, Floats, Interval, MeasureBlock, Modality, Transcript
from nunbit.core.timebase import SAME_SUM_S, bounds, merge_intervals, subtract_intervals
from nunbit.measures.compute import MeasureInput
from nunbit.measures.estimate import CODE
from nunbit.measures.face_measures import joy_episodes
from nunbit.measures.modality_pairs import PAIRS
from nunbit.measures.voice_measures import heard_stretches
from nunbit.statistics.changes import LEVEL, Side, scan_series

DEPGROUP_MIN_RISE = 0.1
"""Least difference above the usual mean, even if significant: a still face varies very little."""

INCONGRUENCE_MIN = 0.25
"""Least difference from the usual mean, even if significant: half a unit of valence, half the way
from neutral to fully positive. A smaller difference would not be visible."""

AGREEMENT_MIN_DROP = 0.2
"""Least difference below the usual mean cosine, even if significant: it may vary very little."""

EXPECTED_AT_MOST = {"depgroup": 0.05, "incongruence": 0.05, "low_agreement": 0.05}
"""Upper bound of the expected number of episodes of a kind in a recording without change.

Simulated (benchmarks/honesty_series.py): of ten stationary minutes with memories of 2 to 30 s at
most this share has one. Joy is not listed: its threshold is fixed and does not depend on chance.
"""

EXCERPT_CHARACTERS = 80
STATE_MIN_S = 0.5
SILENCE_MIN_S = 1.0
GAP_MIN_S = 0.25


def find_episodes(given: MeasureInput, blocks: Sequence[MeasureBlock]) -> tuple[Episode, ...]:
    """Apparent joy, the paper's group above usual, incongruence and unusually low agreement.

    Args:
        given: The recording.
        blocks: Of ``compute_measures``, ``fuse_windows`` and, if aligned, ``agreement_blocks``.

    Returns:
        By start.
    """
    windows = {(b.modality, b.measure): b for b in blocks if b.scope == "window" and not b.track}
    return _by_start(
        [
            *_joy_episodes(given),
            *_depgroup_episodes(given, windows),
            *_incongruence_episodes(given, windows),
            *_agreement_episodes(given, windows),
        ]
    )


def _by_start(found: Sequence[Episode]) -> tuple[Episode, ...]:
    return tuple(sorted(found, key=lambda e: (e.interval, e.kind)))


def _interval(start_s: float, end_s: float, duration_s: float) -> Interval:
    return Interval(float(start_s), float(max(min(end_s, duration_s), start_s + 1e-3)))


def _joy_episodes(given: MeasureInput) -> list[Episode]:
    if (face := given.prepared.face) is None:
        return []
    return [
        Episode("joy", _interval(a, b, given.duration_s), float(peak))
        for (a, b), peak in zip(*joy_episodes(face, given.prepared.roles), strict=True)
    ]


_Windows = dict[tuple[Modality, str], MeasureBlock]


def _changed(
    given: MeasureInput, block: MeasureBlock, side: Side, level: float, least: float
) -> tuple[list[tuple[Interval, Floats]], str]:
    """Stretches of windows that differ from the usual, their values, and what the usual refers to.

    Usual is the marked baseline where it has windows; without one, this very recording.

    Args:
        given: The recording.
        block: The windows.
        side: Above or below the usual.
        level: Probability of any stretch if nothing changes.
        least: Least difference of the means that is reported.
    """
    there = np.isfinite(block.value)
    if there.sum() < 2:
        return [], "no_baseline"
    base = None
    if (marked := given.baseline) is not None:
        starts_in = block.t_start >= marked.start_s - SAME_SUM_S
        base = there & starts_in & (block.t_end <= marked.end_s + SAME_SUM_S)
        base = base if base.sum() >= 2 else None
    hop = float(np.median(np.diff(block.t_start)))
    usual = float(block.value[there if base is None else base].mean())
    centres = (block.t_start + block.t_end) / 2.0
    found = []
    for each in scan_series(block.value, hop, usual=base, side=side, level=level, seed=given.seed):
        values = block.value[each.start : each.end]
        if abs(float(np.nanmean(values)) - usual) >= least:
            start, end = centres[each.start] - hop / 2.0, centres[each.end - 1] + hop / 2.0
            found.append((_interval(max(start, 0.0), end, given.duration_s), values))
    return found, "no_baseline" if base is None else "baseline"


def _depgroup_episodes(given: MeasureInput, windows: _Windows) -> list[Episode]:
    """Episodes of the paper's group above what is usual, by more than chance explains.

    The note says whether usual is the marked baseline or this very recording.
    """
    block = windows.get(("face", "depgroup_share"))
    if block is None:
        return []
    found, note = _changed(given, block, "up", LEVEL, DEPGROUP_MIN_RISE)
    return [Episode("depgroup", where, float(np.nanmax(values)), note) for where, values in found]


def _incongruence_episodes(given: MeasureInput, windows: _Windows) -> Iterator[Episode]:
    """Stretches in which two modalities differ more than usual, by more than chance explains.

    The note names both, the more positive one, and the words. The pairs and the two directions
    share the probability of a false episode.
    """
    blocks = _of_pairs(windows, "incongruence_{}_{}_signed")
    there = {pair: block for pair, block in blocks.items() if np.isfinite(block.value).any()}
    sides: tuple[tuple[Side, float], ...] = (("up", 1.0), ("down", -1.0))
    level = LEVEL / (len(sides) * max(len(there), 1))
    for (pair, block), (side, sign) in itertools.product(there.items(), sides):
        changes = _changed(given, block, side, level, INCONGRUENCE_MIN)[0]
        up, down = pair if side == "up" else pair[::-1]
        # What is found after the strongest may reach into it: that is one episode.
        for where in merge_intervals([each for each, _ in changes]):
            inside = [v for each, v in changes if where.start_s <= each.start_s < where.end_s]
            peak = max(float(np.nanmax(sign * values)) for values in inside)
            said = excerpts_of(given.transcript, [where])[0]
            note = f"{up}+ {down}−: {said}" if said else f"{up}+ {down}−"
            yield Episode("incongruence", where, peak, note)


def _of_pairs(windows: _Windows, measure: str) -> dict[tuple[Modality, Modality], MeasureBlock]:
    """The windows of a measure for each pair of modalities that has it."""
    blocks = {pair: windows.get(("fused", measure.format(*pair))) for pair in PAIRS}
    return {pair: block for pair, block in blocks.items() if block is not None}


def _agreement_episodes(given: MeasureInput, windows: _Windows) -> Iterator[Episode]:
    """Stretches in which two modalities agree less than usual, by more than chance explains.

    The peak is the lowest cosine; the note has the pair and the words. The pairs share the
    probability of a false episode.
    """
    there = _of_pairs(windows, "agreement_{}_{}")
    for (a, b), block in there.items():
        level = LEVEL / len(there)
        for where, values in _changed(given, block, "down", level, AGREEMENT_MIN_DROP)[0]:
            note = f"{a}/{b}: {excerpts_of(given.transcript, [where])[0]}"
            yield Episode("low_agreement", where, float(np.nanmin(values)), note)


def excerpts_of(transcript: Transcript | None, stretches: Sequence[Interval]) -> tuple[str, ...]:
    """The words whose middle lies in each stretch, shortened; '' if there are none."""
    if transcript is None:
        return ("",) * len(stretches)
    spoken = [(word.interval, word.text) for u in transcript.utterances for word in u.words]
    spoken = spoken or [(u.interval, u.text) for u in transcript.utterances]
    middles = bounds(interval for interval, _ in spoken).mean(axis=1)
    order = np.argsort(middles, kind="stable")
    rows = np.searchsorted(middles[order], bounds(stretches))
    texts = (" ".join(spoken[k][1] for k in order[low:high]) for low, high in rows)
    return tuple(t if len(t) <= EXCERPT_CHARACTERS else f"{t[: EXCERPT_CHARACTERS - 1]}…"
                 for t in texts)  # fmt: skip


def find_states(given: MeasureInput) -> tuple[Episode, ...]:
    """Stretches in which face or voice could not be read: never silently filled.

    ``no_face``, ``multiple_faces`` (several faces in the picture, whether or not the person was
    told apart), ``low_quality`` (too small, blurred or unsure), ``mouth_covered``, ``silence``,
    ``gap`` (the note says of which stream).

    Returns:
        By start.
    """
    return _by_start([*_face_states(given), *_voice_states(given)])


def _face_states(given: MeasureInput) -> list[Episode]:
    face = given.prepared.face
    if face is None or given.faces is None:
        return []
    times, step = face.times_s, 1.0 / face.rate_hz
    breaks = after_gaps(times, 1.5 * step)
    found = [
        Episode(kind, _interval(times[a], times[b - 1] + step, given.duration_s))
        for kind, flags in {
            "no_face": face.code == CODE["no_face"],
            "multiple_faces": np.asarray(given.faces.n_faces) > 1,
            "low_quality": np.isin(face.code, [CODE["low_quality"], CODE["low_conf"]]),
            "mouth_covered": face.code == CODE["mouth_covered"],
        }.items()
        for a, b in runs(flags, breaks)
        if (b - a) * step >= STATE_MIN_S - SAME_SUM_S
    ]
    edges = np.concatenate([[0.0], times + step])
    nexts = np.concatenate([times, [given.duration_s]])
    holes = np.flatnonzero(nexts - edges >= max(GAP_MIN_S, 1.5 * step) - SAME_SUM_S)
    return found + [
        Episode("gap", _interval(edges[i], nexts[i], given.duration_s), note="video") for i in holes
    ]


def _voice_states(given: MeasureInput) -> list[Episode]:
    if given.voice is None or given.duration_s <= 0:
        return []
    here = heard_stretches(given.voice)
    gaps = [
        Episode("gap", hole, note="audio")
        for hole in subtract_intervals([Interval(0.0, given.duration_s)], here)
        if hole.duration_s >= GAP_MIN_S - SAME_SUM_S
    ]
    return gaps + [
        Episode("silence", each)
        for each in subtract_intervals(here, given.voice.segments)
        if each.duration_s >= SILENCE_MIN_S - SAME_SUM_S and each.start_s < given.duration_s
    ]
