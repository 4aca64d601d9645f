"""Episodes, in which something lasted, and states, in which nothing could be read.

Joy comes from the frames, the paper's grouping and incongruence from the windows. States are times
without a face, with several, of low quality, of silence, and gaps: never silently filled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nunbit.measures.changes import LEVEL, scan
from nunbit.measures.compute import Prepared, prepare
from nunbit.measures.estimate import CODE
from nunbit.measures.face import joy_episodes
from nunbit.measures.inputs import MeasureInput
from nunbit.measures.spans import held, runs
from nunbit.measures.voice import VoiceSamples
from nunbit.streams import Episode, Interval, MeasureBlock, Modality
from nunbit.timebase import merge_intervals, subtract_intervals

PAIRS: tuple[tuple[Modality, Modality], ...] = (
    ("face", "voice"),
    ("face", "text"),
    ("voice", "text"),
)
"""Modalities that may contradict each other."""

DEPGROUP_ON_Z, DEPGROUP_OFF_Z = 2.0, 1.0
DEPGROUP_MIN_RISE = 0.1
"""Above the baseline's median, whatever the z: a face that never moves has a tiny MAD."""

DEPGROUP_MIN_S = 4.0
INCONGRUENCE_MIN_S, INCONGRUENCE_MIN = 3.0, 0.25
"""Mean disagreement of an episode, however sure: valences that differ by half a unit more than
usual, half the way from neutral to wholly pleasant. Less may be no chance, yet nobody sees it."""

AGREEMENT_ON_Z, AGREEMENT_OFF_Z, AGREEMENT_MIN_S = 2.0, 1.0, 4.0
AGREEMENT_MIN_DROP = 0.2
"""Of the cosine below the usual one, whatever the z: the spread may be tiny."""

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


def _depgroup_episodes(given: MeasureInput, windows: _Windows) -> list[Episode]:
    """The paper's grouping well above what is usual for this person.

    Usual is the marked baseline; without one, this very recording, and the note says so.
    """
    block = windows.get(("face", "depgroup_share"))
    if block is None:
        return []
    good = np.flatnonzero(np.isfinite(block.value))
    if len(good) < 2:
        return []
    value = block.value[good]
    inside = np.ones(len(good), bool)
    note = "no_baseline"
    if np.isfinite(block.baseline) and given.baseline is not None:
        starts, ends = block.t_start[good], block.t_end[good]
        marked = given.baseline
        inside = (starts >= marked.start_s - _SAME_S) & (ends <= marked.end_s + _SAME_S)
        note = "baseline"
    usual = float(np.median(value[inside]))
    spread = MAD_TO_SD * float(np.median(np.abs(value[inside] - usual)))
    on = usual + max(DEPGROUP_ON_Z * spread, DEPGROUP_MIN_RISE)
    off = usual + max(DEPGROUP_OFF_Z * spread, DEPGROUP_MIN_RISE / 2.0)
    centres = ((block.t_start + block.t_end) / 2.0)[good]
    hop = float(np.median(np.diff(block.t_start)))
    breaks = np.concatenate([[True], np.diff(centres) > 1.5 * hop])
    flags = held(value, on, off, breaks)
    return [
        Episode("depgroup", _interval(a, b, given.duration_s), float(block.value[i].max()), note)
        for a, b, i in _runs_of_windows(block, flags, good, DEPGROUP_MIN_S)
    ]


def _incongruence_episodes(given: MeasureInput, windows: _Windows) -> list[Episode]:
    """Stretches in which two modalities differ more than usual, and more than chance brings about.

    The note names them and the brighter one, and quotes what is said. The chance of any episode
    where nothing changes is that of ``changes.scan``, shared among the pairs that are there.
    """
    signed = {(a, b): windows.get(("fused", f"incongruence_{a}_{b}_signed")) for a, b in PAIRS}
    there = {pair: b for pair, b in signed.items() if b is not None and np.isfinite(b.value).any()}
    found = []
    for (a, b), block in there.items():
        hop = float(np.median(np.diff(block.t_start))) if len(block.t_start) > 1 else 0.0
        if not hop > 0:
            continue
        changes = scan(block.value, hop, level=LEVEL / len(there), seed=given.seed)
        for sign in (1.0, -1.0):
            # Stretches of several rounds of the search may touch: they are one episode.
            flags = np.zeros(len(block.value), bool)
            for each in changes:
                flags[each.start : each.end] |= each.up == (sign > 0)
            for start, end, i in _runs_of_windows(
                block, flags, np.arange(len(flags)), INCONGRUENCE_MIN_S
            ):
                values = sign * block.value[i]
                if not np.nanmean(values) >= INCONGRUENCE_MIN:
                    continue
                where = _interval(start, end, given.duration_s)
                up, down = (a, b) if sign > 0 else (b, a)
                said = _said(given, where)
                note = f"{up}+ {down}−: {said}" if said else f"{up}+ {down}−"
                found.append(Episode("incongruence", where, float(np.nanmax(values)), note))
    return found


def _agreement_episodes(given: MeasureInput, windows: _Windows) -> list[Episode]:
    """Runs in which two modalities agree far less than is usual for this person.

    Usual is the marked baseline where it has windows, else this very recording. The peak is the
    lowest cosine; the note names the pair and quotes what is said.
    """
    found = []
    for a, b in PAIRS:
        block = windows.get(("fused", f"agreement_{a}_{b}"))
        if block is None:
            continue
        good = np.flatnonzero(np.isfinite(block.value))
        if len(good) < 2:
            continue
        value = block.value[good]
        inside = np.ones(len(good), bool)
        if (marked := given.baseline) is not None:
            within = (block.t_start[good] >= marked.start_s - _SAME_S) & (
                block.t_end[good] <= marked.end_s + _SAME_S
            )
            inside = within if within.sum() >= 2 else inside
        usual = float(np.median(value[inside]))
        spread = MAD_TO_SD * float(np.median(np.abs(value[inside] - usual)))
        on = max(AGREEMENT_ON_Z * spread, AGREEMENT_MIN_DROP)
        off = max(AGREEMENT_OFF_Z * spread, AGREEMENT_MIN_DROP / 2.0)
        centres = ((block.t_start + block.t_end) / 2.0)[good]
        hop = float(np.median(np.diff(block.t_start)))
        breaks = np.concatenate([[True], np.diff(centres) > 1.5 * hop])
        flags = held(usual - value, on, off, breaks)
        for start, end, i in _runs_of_windows(block, flags, good, AGREEMENT_MIN_S):
            where = _interval(start, end, given.duration_s)
            note = f"{a}/{b}: {_said(given, where)}"
            found.append(Episode("low_agreement", where, float(block.value[i].min()), note))
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
