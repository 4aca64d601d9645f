"""Signals of a recording packed for the page: bins, codes, times."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.core.spans import runs
from nunbit.core.streams import Flags, Floats
from nunbit.core.timebase import PAUSE_S, SAME_S
from nunbit.report.shapes import Document
from nunbit.report.timeline_data import Voice
from nunbit.report.timeline_view import TimelineView

# --- packing: scaled integers in base64, and min/median/max bins ---
#
# A packed array is ``{"k": "u1"|"u2"|"i4", "d": base64, "s": scale, "o": offset}``, little endian;
# value = offset + scale x raw, and the largest raw of an unsigned kind means 'missing'. The script
# of the page unpacks them.

Packed = dict[str, str | float]
Kind = Literal["u1", "u2"]

_LARGEST = {"u1": 255, "u2": 65535}


def pack(values: Floats, low: float, high: float, kind: Kind = "u2") -> Packed:
    """Pack numbers of a known range; NaN and infinities become 'missing'.

    Args:
        values: (N,) any range; clipped to ``low`` .. ``high``.
        low: Smallest value in the range.
        high: Largest, above ``low``.
        kind: One byte (a step of range/254) or two (a step of range/65534).
    """
    largest = _LARGEST[kind]
    scale = (high - low) / (largest - 1)
    there = np.isfinite(values)
    raw = np.full(len(values), largest, dtype=np.int64)
    raw[there] = np.rint((np.clip(values[there], low, high) - low) / scale).astype(np.int64)
    return {"k": kind, "d": _base64(raw.astype("<" + kind)), "s": scale, "o": low}


def pack_fit(values: Floats, kind: Kind = "u2") -> Packed:
    """Pack numbers over the range they have."""
    there = values[np.isfinite(values)]
    low, high = (float(there.min()), float(there.max())) if len(there) else (0.0, 1.0)
    return pack(values, low, high if high > low else low + 1.0, kind)


def pack_times(times_s: Floats) -> Packed:
    """Pack times to the millisecond."""
    return {"k": "i4", "d": _base64(np.rint(times_s * 1000.0).astype("<i4")), "s": 0.001, "o": 0}


def pack_codes(codes: NDArray[Any]) -> Packed:
    """Pack small whole numbers, 0 to 254."""
    return {"k": "u1", "d": _base64(codes.astype("<u1")), "s": 1, "o": 0}


def bins(values: Floats, size: int) -> tuple[Floats, Floats, Floats]:
    """Smallest, median and largest value of every ``size`` consecutive samples.

    Missing samples are left out; a bin without any is NaN. The last bin may be shorter.
    """
    count = -(-len(values) // size)
    padded = np.full(count * size, np.nan)
    padded[: len(values)] = values
    rows = np.sort(padded.reshape(count, size), axis=1)  # NaN last
    at, last = np.arange(count), np.maximum(np.isfinite(rows).sum(axis=1) - 1, 0)
    median = 0.5 * (rows[at, last // 2] + rows[at, (last + 1) // 2])
    return rows[:, 0].copy(), median, rows[at, last]


def _base64(raw: NDArray[Any]) -> str:
    return base64.b64encode(raw.tobytes()).decode("ascii")


# --- tracks as plain data for the page's script, None where nothing is there ---
#
# M samples of the 10 ms grid, N sampled frames.

_RAW_SAMPLES = 540_000
"""Up to an hour and a half the 10 ms grid is kept whole; beyond, it is binned."""

_PACKED: dict[str, tuple[float, float, Kind]] = {
    "pitch": (0.0, 1310.68, "u2"),
    "level": (-127.0, 0.0, "u1"),
}
"""Steps of 0.02 Hz and of 0.5 dB."""

_BIN_SIZES = (5, 10, 20, 50, 100)
_LARGEST_BINNED = 360_000
_FRAMES = 40_000


def speech_spans(view: TimelineView) -> tuple[Floats, Floats]:
    """Stretches of speech, and pauses of at least 0.25 s inside turns; (n, 2) seconds each."""
    voice = view.r.voice
    if voice is None:
        return np.empty((0, 2)), np.empty((0, 2))
    speech = _stretches(voice, voice.speech)
    between = np.stack([speech[:-1, 1], speech[1:, 0]], axis=1)
    long = between[:, 1] - between[:, 0] >= PAUSE_S - SAME_S
    return speech, between[long & _inside_turns(between, view.r.turns) & _whole(voice, between)]


def _stretches(voice: Voice, flags: Flags) -> Floats:
    """(R, 2) seconds of the samples that are true; a sample stands for the hop around it."""
    return np.asarray(voice.start_s + (runs(flags) - 0.5) * voice.hop_s, dtype=np.float64)


def _inside_turns(gaps: Floats, turns: Floats) -> Flags:
    if not len(turns):
        return np.ones(len(gaps), dtype=bool)
    at = np.searchsorted(turns[:, 0], gaps[:, 0], side="right") - 1
    return np.asarray((at >= 0) & (gaps[:, 1] <= turns[np.maximum(at, 0), 1] + 0.05))


def _whole(voice: Voice, gaps: Floats) -> Flags:
    """Whether the file has sound throughout each gap: a hole in the file is no pause."""
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
    """Turns as start, end and speaker; the speaker with most words in a turn."""
    words, speakers, turns = view.r.words, [""], []
    for start, end in view.r.turns:
        said = []
        if words is not None:
            inside = (words.start_s < end) & (words.end_s > start)
            said = [words.speaker[i] for i in np.flatnonzero(inside)]
        name = max(set(said), key=said.count, default="")
        if name not in speakers:
            speakers.append(name)
        turns.append([round(float(start), 3), round(float(end), 3), speakers.index(name)])
    return turns, speakers


def curve_track(view: TimelineView, which: Literal["pitch", "level"]) -> Document | None:
    """Pitch or level: the 10 ms samples, or bins of them for very long recordings."""
    voice = view.r.voice
    if voice is None:
        return None
    values = voice.f0_hz if which == "pitch" else voice.level_dbfs
    if not np.isfinite(values).any():
        return None
    low, high, ticks = _pitch_scale(values) if which == "pitch" else _level_scale(values)
    size = _bin_size(len(values))
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
    names = ("least", "median", "most")
    parts = {"median": values} if size == 1 else dict(zip(names, bins(values, size), strict=True))
    return track | {name: pack(part, *_PACKED[which]) for name, part in parts.items()}


def _bin_size(n: int) -> int:
    if n <= _RAW_SAMPLES:
        return 1
    return next((size for size in _BIN_SIZES if n / size <= _LARGEST_BINNED), _BIN_SIZES[-1])


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
        "speaker": pack_codes(np.array([min(speakers.index(s), 254) for s in words.speaker])),
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
    angles = {"yaw": faces.yaw_deg, "pitch_angle": faces.pitch_deg, "roll": faces.roll_deg}
    every = np.abs(np.concatenate(list(angles.values())))
    reach = float(max(10.0, 10.0 * np.ceil(np.nanpercentile(every, 99.5) / 10.0)))
    names = [view.t(f"track.{name}") for name in angles]
    lines = [
        {"name": name, "colour": colour, "value": pack(angle[keep], -180.0, 180.0)}
        for name, colour, angle in zip(
            names, ("face", "voice", "text"), angles.values(), strict=True
        )
    ]
    return {
        "kind": "samples", "id": "head", "title": view.t("track.head"), "note": ", ".join(names),
        "unit": "°", "lines": lines, "low": -reach, "high": reach, "ticks": [-reach, 0, reach],
    }  # fmt: skip


def mouth_track(view: TimelineView) -> Document | None:
    """Opening of the mouth over eye distance."""
    faces = view.r.faces
    if faces is None or not np.isfinite(faces.mouth_open).any():
        return None
    opening, name = faces.mouth_open[_kept(faces.times_s)], view.t("track.mouth")
    line = {"name": name, "colour": "face", "value": pack_fit(opening, "u1")}
    high = max(0.1, float(np.nanpercentile(opening, 99.8)))
    return {
        "kind": "samples", "id": "mouth", "title": name, "note": view.t("track.mouth_note"),
        "unit": "", "lines": [line], "low": 0.0, "high": high, "ticks": [],
    }  # fmt: skip
