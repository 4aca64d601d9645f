"""The tracks that follow the signals themselves: speech, pitch, level, words, head and mouth.

Each function gives one track as plain data for the page's script, or None where nothing is there.
M samples of the 10 ms grid, N sampled frames.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from nunbit.report.timeline_data import Voice
from nunbit.report.timeline_pack import (
    Packed,
    bins,
    pack,
    pack_codes,
    pack_fit,
    pack_times,
    runs,
)
from nunbit.report.timeline_view import TimelineView
from nunbit.streams import Flags, Floats

Document = dict[str, Any]

PAUSE_S = 0.25
"""Shortest gap inside a turn that counts as a pause (signals.md, measure 9)."""

_RAW_SAMPLES = 540_000
"""Up to an hour and a half the 10 ms grid is kept whole; beyond, it is binned."""

_BIN_SIZES = (5, 10, 20, 50, 100)
_LARGEST_BINNED = 360_000
_FRAMES = 40_000


def speech_spans(view: TimelineView) -> tuple[Floats, Floats]:
    """Stretches of speech, and pauses of at least 0.25 s inside turns; (n, 2) seconds each."""
    voice = view.r.voice
    if voice is None:
        return np.empty((0, 2)), np.empty((0, 2))
    speech = _stretches(voice, voice.speech)
    if len(speech) < 2:
        return speech, np.empty((0, 2))
    between = np.stack([speech[:-1, 1], speech[1:, 0]], axis=1)
    long = between[:, 1] - between[:, 0] >= PAUSE_S - 1e-9
    inside = _inside_turns(between, view.r.turns)
    whole = _whole(voice, between)
    return speech, between[long & inside & whole]


def _stretches(voice: Voice, flags: Flags) -> Floats:
    """(R, 2) seconds of the samples that are true; a sample stands for the hop around it."""
    return np.asarray(voice.start_s + (runs(flags) - 0.5) * voice.hop_s, dtype=np.float64)


def _inside_turns(gaps: Floats, turns: Floats) -> Flags:
    if not len(turns):
        return np.ones(len(gaps), dtype=bool)
    at = np.searchsorted(turns[:, 0], gaps[:, 0], side="right") - 1
    return np.asarray((at >= 0) & (gaps[:, 1] <= turns[np.maximum(at, 0), 1] + 0.05))


def _whole(voice: Voice, gaps: Floats) -> Flags:
    """Whether the file has sound all through each gap: a hole in the file is no pause."""
    lost = np.concatenate([[0], np.cumsum(~voice.present)])
    at = np.clip(np.rint((gaps - voice.start_s) / voice.hop_s).astype(int), 0, len(lost) - 1)
    return np.asarray(lost[at[:, 1]] == lost[at[:, 0]])


def speech_track(view: TimelineView) -> Document | None:
    """Speech, pauses, turns with their speakers, and holes in the sound."""
    voice = view.r.voice
    if voice is None:
        return None
    speech, pauses = speech_spans(view)
    turns, speakers = _turns(view)
    return {
        "kind": "speech",
        "id": "speech",
        "title": view.t("track.speech"),
        "speech": pack_times(speech.ravel()),
        "pauses": pack_times(pauses.ravel()),
        "lost": _lost(voice),
        "turns": turns,
        "speakers": speakers,
        "target": view.target_speaker,
    }


def _lost(voice: Voice) -> Packed:
    return pack_times(_stretches(voice, ~voice.present).ravel())


def _turns(view: TimelineView) -> tuple[list[list[float | int]], list[str]]:
    """Turns as start, end and speaker; whoever says most words inside a turn has it."""
    words, speakers, turns = view.r.words, [""], []
    for start, end in view.r.turns:
        name = ""
        if words is not None:
            inside = (words.start_s < end) & (words.end_s > start)
            said = [words.speaker[i] for i in np.flatnonzero(inside)]
            name = max(set(said), key=said.count) if said else ""
        if name not in speakers:
            speakers.append(name)
        turns.append([round(float(start), 3), round(float(end), 3), speakers.index(name)])
    return turns, speakers


def curve_track(view: TimelineView, which: Literal["pitch", "level"]) -> Document | None:
    """Pitch or level: the 10 ms samples, or bins of them for very long recordings."""
    voice = view.r.voice
    values = None if voice is None else voice.f0_hz if which == "pitch" else voice.level_dbfs
    if voice is None or values is None or not np.isfinite(values).any():
        return None
    low, high, ticks = _pitch_scale(values) if which == "pitch" else _level_scale(values)
    # Steps of 0.02 Hz and of 0.5 dB.
    limits = (0.0, 1310.68) if which == "pitch" else (-127.0, 0.0)
    kind: Literal["u1", "u2"] = "u2" if which == "pitch" else "u1"
    size = 1
    if len(values) > _RAW_SAMPLES:
        size = next((s for s in _BIN_SIZES if len(values) / s <= _LARGEST_BINNED), _BIN_SIZES[-1])
    track: Document = {
        "kind": "curve",
        "id": which,
        "title": view.t(f"track.{which}"),
        "note": view.t("track.pitch_note") if which == "pitch" else "dBFS",
        "unit": "Hz" if which == "pitch" else "dBFS",
        "log": which == "pitch",
        "start": voice.start_s,
        "hop": voice.hop_s * size,
        "low": low,
        "high": high,
        "ticks": ticks,
        "lost": _lost(voice),
    }
    if size == 1:
        return track | {"median": pack(values, *limits, kind)}
    parts = zip(("least", "median", "most"), bins(values, size), strict=True)
    return track | {name: pack(part, *limits, kind) for name, part in parts}


def _pitch_scale(values: Floats) -> tuple[float, float, list[int]]:
    low, high = (float(x) for x in np.nanpercentile(values, (0.5, 99.5)))
    low, high = max(20.0, low / 1.12), high * 1.12
    return low, high, [f for f in (50, 75, 100, 150, 200, 300, 400, 600, 800) if low < f < high]


def _level_scale(values: Floats) -> tuple[float, float, list[int]]:
    low = max(-90.0, 10.0 * float(np.floor(np.nanpercentile(values, 1) / 10.0)))
    return low, 0.0, [db for db in (-80, -60, -40, -20) if low < db < 0]


def words_track(view: TimelineView) -> Document | None:
    """Every word with its time, speaker, confidence and marks (1 filler, 2 estimated time)."""
    words = view.r.words
    if words is None or not words.text:
        return None
    speakers = list(dict.fromkeys(words.speaker))
    return {
        "kind": "words",
        "id": "words",
        "title": view.t("track.words"),
        "start": pack_times(words.start_s),
        "end": pack_times(words.end_s),
        "text": list(words.text),
        "confidence": pack(words.confidence, 0.0, 1.0, "u1"),
        "flags": pack_codes(words.filler * 1 + words.estimated * 2),
        "speaker": pack_codes(
            np.array([min(speakers.index(s), 254) for s in words.speaker], dtype=np.int64)
        ),
        "speakers": speakers,
        "target": view.target_speaker,
        "utterance": words.utterance.tolist(),
    }


def frame_times(view: TimelineView) -> Packed | None:
    """Times of the sampled frames that the head and mouth tracks share."""
    faces = view.r.faces
    return None if faces is None else pack_times(faces.times_s[_kept(faces.times_s)])


def _kept(times: Floats) -> slice:
    return slice(None, None, max(1, -(-len(times) // _FRAMES)))


def head_track(view: TimelineView) -> Document | None:
    """Yaw, pitch and roll of the head."""
    faces = view.r.faces
    if faces is None or not np.isfinite(faces.yaw_deg).any():
        return None
    keep = _kept(faces.times_s)
    angles = (("yaw", faces.yaw_deg), ("pitch_angle", faces.pitch_deg), ("roll", faces.roll_deg))
    every = np.abs(np.concatenate([angle for _, angle in angles]))
    reach = float(max(10.0, 10.0 * np.ceil(np.nanpercentile(every, 99.5) / 10.0)))
    lines = [
        {
            "name": view.t(f"track.{name}"),
            "colour": colour,
            "value": pack(angle[keep], -180.0, 180.0),
        }
        for (name, angle), colour in zip(angles, ("face", "voice", "text"), strict=True)
    ]
    return {
        "kind": "samples",
        "id": "head",
        "title": view.t("track.head"),
        "note": ", ".join(view.t(f"track.{name}") for name, _ in angles),
        "unit": "°",
        "lines": lines,
        "low": -reach,
        "high": reach,
        "ticks": [-reach, 0, reach],
    }


def mouth_track(view: TimelineView) -> Document | None:
    """Opening of the mouth over eye distance."""
    faces = view.r.faces
    if faces is None or not np.isfinite(faces.mouth_open).any():
        return None
    opening = faces.mouth_open[_kept(faces.times_s)]
    line = {"name": view.t("track.mouth"), "colour": "face", "value": pack_fit(opening, "u1")}
    return {
        "kind": "samples",
        "id": "mouth",
        "title": view.t("track.mouth"),
        "note": view.t("track.mouth_note"),
        "unit": "",
        "lines": [line],
        "low": 0.0,
        "high": max(0.1, float(np.nanpercentile(opening, 99.8))),
        "ticks": [],
    }
