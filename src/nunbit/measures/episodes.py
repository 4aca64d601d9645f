"""Episodes, in which something lasted, and states, in which nothing could be read.

Joy comes from the frames. The paper's grouping and low agreement come from the windows, where they
lie farther from the usual than chance brings about (:mod:`nunbit.measures.changes`). States are
times without a face, with several, of low quality, of silence, and gaps: never silently filled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nunbit.measures.changes import LEVEL, Side, scan
from nunbit.measures.compute import Prepared, prepare
from nunbit.measures.estimate import CODE
from nunbit.measures.face import joy_episodes
from nunbit.measures.inputs import MeasureInput
from nunbit.measures.spans import runs
from nunbit.measures.voice import VoiceSamples
from nunbit.streams import Episode, Floats, Interval, MeasureBlock, Modality
from nunbit.timebase import merge_intervals, subtract_intervals

PAIRS: tuple[tuple[Modality, Modality], ...] = (
    ("face", "voice"),
    ("face", "text"),
    ("voice", "text"),
)
"""Modalities that may contradict each other."""

DEPGROUP_MIN_RISE = 0.1
"""Of the mean above the usual one, however sure: a face that never moves varies very little."""

INCONGRUENCE_MIN = 0.25
"""Of the mean beside the usual one, however sure: valences that differ by half a unit more than
they usually do, half the way from neutral to wholly pleasant. Less, nobody would see."""

AGREEMENT_MIN_DROP = 0.2
"""Of the mean cosine below the usual one, however sure: it may vary very little."""

EXPECTED_AT_MOST = {"depgroup": 0.05, "incongruence": 0.05, "low_agreement": 0.05}
"""Episodes of a kind in a recording in which nothing changes, on average and at most.

Simulated (benchmarks/honesty_series.py): of ten stationary minutes with memories of 2 to 30 s at
most this share has one. Joy is not listed: its threshold is fixed and asks nothing of chance.
"""

EXCERPT_CHARACTERS = 80
STATE_MIN_S = 0.5
SILENCE_MIN_S = 1.0
GAP_MIN_S = 0.25
MAD_TO_SD = 1.4826
_SAME_S = 1e-6


def find_episodes(given: MeasureInput, blocks: Sequence[MeasureBlock]) -> tuple[Episode, ...]:
    """Apparent joy, the paper's grouping above usual, incongruence and unusually low agreement.

    Args:
        given: The recording.
        blocks: Of ``compute_measures``, ``fuse_windows`` and, if aligned, ``agreement_blocks``.

    Returns:
        By start.
    """
    prepared = prepare(given)
    found = []
    if prepared.face is not None:
        edges, peaks = joy_episodes(prepared.face, prepared.roles)
        found += [
            Episode("joy", _interval(a, b, given.duration_s), float(peak))
            for (a, b), peak in zip(edges, peaks, strict=True)
        ]
    windows = {(b.modality, b.measure): b for b in blocks if b.scope == "window" and not b.track}
    found += _depgroup_episodes(given, windows)
    found += _incongruence_episodes(given, windows)
    found += _agreement_episodes(given, windows)
    return tuple(sorted(found, key=lambda e: (e.interval, e.kind)))


def _interval(start_s: float, end_s: float, duration_s: float) -> Interval:
    return Interval(float(start_s), float(max(min(end_s, duration_s), start_s + 1e-3)))


_Windows = dict[tuple[Modality, str], MeasureBlock]


def _runs_of_windows(
    block: MeasureBlock, flags: NDArray[np.bool_], good: NDArray[np.int64], min_s: float
) -> list[tuple[float, float, NDArray[np.int64]]]:
    """Runs of valid windows as stretches between window centres, half a hop added at the ends."""
    centres = ((block.t_start + block.t_end) / 2.0)[good]
    hop = float(np.median(np.diff(block.t_start))) if len(block.t_start) > 1 else 0.0
    breaks = np.concatenate([[True], np.diff(centres) > 1.5 * hop]) if len(good) else flags
    found = []
    for a, b in runs(flags, breaks):
        start, end = centres[a] - hop / 2.0, centres[b - 1] + hop / 2.0
        if end - start >= min_s - _SAME_S:
            found.append((max(float(start), 0.0), float(end), good[a:b]))
    return found


def _changed(
    given: MeasureInput, block: MeasureBlock, side: Side, level: float, least: float
) -> tuple[list[tuple[Interval, Floats]], str]:
    """Stretches of windows that lie away from what is usual, with their values, and usual of what.

    Usual is the marked baseline where it has windows; without one, this very recording.

    Args:
        given: The recording.
        block: The windows.
        side: Above or below.
        level: Chance of any stretch where nothing changes.
        least: Difference of the means that is worth a word.
    """
    there = np.isfinite(block.value)
    if there.sum() < 2:
        return [], "no_baseline"
    inside, note = there, "no_baseline"
    if (marked := given.baseline) is not None:
        within = (block.t_start >= marked.start_s - _SAME_S) & (
            block.t_end <= marked.end_s + _SAME_S
        )
        if (within & there).sum() >= 2:
            inside, note = within & there, "baseline"
    hop = float(np.median(np.diff(block.t_start)))
    usual = float(block.value[inside].mean())
    centres = (block.t_start + block.t_end) / 2.0
    found = []
    base = None if note == "no_baseline" else inside
    for each in scan(block.value, hop, usual=base, side=side, level=level, seed=given.seed):
        values = block.value[each.start : each.end]
        if abs(float(np.nanmean(values)) - usual) >= least:
            start, end = centres[each.start] - hop / 2.0, centres[each.end - 1] + hop / 2.0
            found.append((_interval(max(start, 0.0), end, given.duration_s), values))
    return found, note


def _depgroup_episodes(given: MeasureInput, windows: _Windows) -> list[Episode]:
    """The paper's grouping above what is usual for this person, by more than chance brings about.

    The note says whether usual is the marked baseline or this very recording.
    """
    block = windows.get(("face", "depgroup_share"))
    if block is None:
        return []
    found, note = _changed(given, block, "up", LEVEL, DEPGROUP_MIN_RISE)
    return [Episode("depgroup", where, float(np.nanmax(values)), note) for where, values in found]


def _incongruence_episodes(given: MeasureInput, windows: _Windows) -> list[Episode]:
    """Stretches in which two modalities differ more than usual, and more than chance brings about.

    The note names them and the brighter one, and quotes what is said. The pairs and the two
    directions share the chance of an episode where nothing changes.
    """
    blocks = {(a, b): windows.get(("fused", f"incongruence_{a}_{b}_signed")) for a, b in PAIRS}
    there = {pair: block for pair, block in blocks.items()
             if block is not None and np.isfinite(block.value).any()}  # fmt: skip
    sides: tuple[tuple[Side, float], ...] = (("up", 1.0), ("down", -1.0))
    found = []
    for (a, b), block in there.items():
        for side, sign in sides:
            level = LEVEL / (len(sides) * len(there))
            changes = _changed(given, block, side, level, INCONGRUENCE_MIN)[0]
            # What is found after the strongest may reach into it: that is one episode.
            for where in merge_intervals([each for each, _ in changes]):
                inside = [v for each, v in changes if where.start_s <= each.start_s < where.end_s]
                peak = max(float(np.nanmax(sign * values)) for values in inside)
                up, down = (a, b) if side == "up" else (b, a)
                said = _said(given, where)
                note = f"{up}+ {down}−: {said}" if said else f"{up}+ {down}−"
                found.append(Episode("incongruence", where, peak, note))
    return found


def _agreement_episodes(given: MeasureInput, windows: _Windows) -> list[Episode]:
    """Stretches in which two modalities agree less than usual, by more than chance brings about.

    The peak is the lowest cosine; the note names the pair and quotes what is said. The pairs share
    the chance of an episode where nothing changes.
    """
    blocks = {pair: windows.get(("fused", "agreement_{}_{}".format(*pair))) for pair in PAIRS}
    there = {pair: block for pair, block in blocks.items() if block is not None}
    found = []
    for (a, b), block in there.items():
        level = LEVEL / len(there)
        for where, values in _changed(given, block, "down", level, AGREEMENT_MIN_DROP)[0]:
            note = f"{a}/{b}: {_said(given, where)}"
            found.append(Episode("low_agreement", where, float(np.nanmin(values)), note))
    return found


def _said(given: MeasureInput, where: Interval) -> str:
    """The words whose middle lies in the stretch, shortened; '' without any."""
    if given.transcript is None:
        return ""
    spoken = [(w.interval, w.text) for u in given.transcript.utterances for w in u.words]
    spoken = spoken or [(u.interval, u.text) for u in given.transcript.utterances]
    text = " ".join(
        word for i, word in spoken if where.start_s <= (i.start_s + i.end_s) / 2.0 < where.end_s
    )
    return text if len(text) <= EXCERPT_CHARACTERS else text[: EXCERPT_CHARACTERS - 1] + "…"


def find_states(given: MeasureInput) -> tuple[Episode, ...]:
    """Stretches in which face or voice could not be read: never silently filled.

    ``no_face``, ``multiple_faces`` (several faces in the picture, whether or not the person was
    told apart), ``low_quality`` (too small, blurred or unsure), ``silence``, ``gap`` (the note
    says of which stream).

    Returns:
        By start.
    """
    prepared = prepare(given)
    found = _face_states(prepared) + _voice_states(prepared)
    return tuple(sorted(found, key=lambda e: (e.interval, e.kind)))


def _face_states(prepared: Prepared) -> list[Episode]:
    given, face = prepared.given, prepared.face
    if face is None or given.faces is None:
        return []
    found = []
    times, step = face.times_s, 1.0 / face.rate_hz
    breaks = np.concatenate([[True], np.diff(times) > 1.5 * step]) if len(times) else times > 0
    poor = np.isin(face.code, [CODE["low_quality"], CODE["low_conf"]])
    for kind, flags in (
        ("no_face", face.code == CODE["no_face"]),
        ("multiple_faces", np.asarray(given.faces.n_faces) > 1),
        ("low_quality", poor),
    ):
        found += [
            Episode(kind, _interval(times[a], times[b - 1] + step, given.duration_s))
            for a, b in runs(flags, breaks)
            if (b - a) * step >= STATE_MIN_S - _SAME_S
        ]
    edges = np.concatenate([[0.0], times + step])
    nexts = np.concatenate([times, [given.duration_s]])
    holes = np.flatnonzero(nexts - edges >= max(GAP_MIN_S, 1.5 * step) - _SAME_S)
    return found + [
        Episode("gap", _interval(edges[i], nexts[i], given.duration_s), note="video") for i in holes
    ]


def _voice_states(prepared: Prepared) -> list[Episode]:
    given, voice = prepared.given, prepared.voice
    if voice is None or given.duration_s <= 0:
        return []
    here = _heard(voice)
    whole = (Interval(0.0, given.duration_s),)
    gaps = [
        Episode("gap", hole, note="audio")
        for hole in subtract_intervals(whole, here)
        if hole.duration_s >= GAP_MIN_S - _SAME_S
    ]
    quiet = subtract_intervals(here, voice.stream.segments)
    return gaps + [
        Episode("silence", each)
        for each in quiet
        if each.duration_s >= SILENCE_MIN_S - _SAME_S and each.start_s < given.duration_s
    ]


def _heard(voice: VoiceSamples) -> tuple[Interval, ...]:
    times = voice.stream.times_s
    return merge_intervals(
        Interval(float(times[a]) - 0.005, float(times[b - 1]) + 0.005)
        for a, b in runs(voice.stream.present)
    )
