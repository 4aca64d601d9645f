"""Whether sound and picture of a recording run together, from its own mouth and voice.

Reads some stretches of speech again at native frame rate: ten samples a second carry the rhythm of
syllables only roughly.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.analyze.face_reader import mouth_curve
from nunbit.landmarks import landmarks_missing, load_landmarker
from nunbit.media import iter_frames
from nunbit.schema import Box
from nunbit.streams import FaceStream, Floats, Interval, MediaInfo, Singles, VoiceStream
from nunbit.sync import MAX_STRETCHES, av_offset, choose_stretches
from nunbit.workers import available_cores

# Thirty seconds of speech settle the offset of a short recording; in a long one more stretches show
# whether it holds, and cost little beside the rest.
_SHORT_S, _STRETCHES = 300.0, 3
_AT_ONCE, _LONG_S = 2, 1800.0  # stretches


def check_synchrony(
    path: Path,
    media: MediaInfo,
    faces: FaceStream | None,
    voice: VoiceStream | None,
    speech: tuple[Interval, ...],
) -> dict[str, Any]:
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
    times, boxes = _readable(faces)
    if not len(times):
        return {"reason": "no_face"}
    count = _STRETCHES if media.duration_s < _SHORT_S else MAX_STRETCHES
    stretches = choose_stretches(speech, times, face_rate_hz=faces.rate_hz, count=count)
    starts = [_box(boxes[int(np.abs(times - stretch.start_s).argmin())]) for stretch in stretches]

    def curve(stretch: Interval, box: Box) -> tuple[Floats, Floats]:
        # Networks of their own: they are not for several threads at once.
        landmarker = load_landmarker()
        assert landmarker is not None
        return mouth_curve(iter_frames(path, stretch), landmarker, box, media=media)

    # Decoding and networks release the interpreter's lock. A long file's index takes tens of
    # megabytes each time it is open, and these stretches are a small part of its time.
    at_once = _AT_ONCE if media.duration_s < _LONG_S else 1
    with ThreadPoolExecutor(min(at_once, available_cores())) as pool:
        curves = list(pool.map(curve, stretches, starts))
    if not stretches:
        return {"reason": "too_few"}
    result = av_offset(
        np.concatenate([times for times, _ in curves]),
        np.concatenate([openings for _, openings in curves]),
        voice.times_s,
        voice.level_dbfs,
        stretches=stretches,
    )
    if math.isnan(result.offset_s):
        return {"reason": result.reason, "stretches": len(stretches)}
    return {
        "offset_s": round(result.offset_s, 4),
        "correlation": round(result.correlation, 4),
        "confidence": round(result.confidence, 4),
        "stretches": len(result.stretches),
        "warning": result.warning,
    }


def _readable(faces: FaceStream) -> tuple[Floats, Singles]:
    """Times (M,) and boxes (M, 4) at which the person's face may be read, by time."""
    own = [track for track in faces.tracks if track.track_id in faces.targets]
    good = [track.reasons == "" for track in own]
    times = [track.times_s[rows] for track, rows in zip(own, good, strict=True)]
    boxes = [track.boxes_xyxy[rows] for track, rows in zip(own, good, strict=True)]
    together = np.concatenate([np.zeros(0), *times])
    order = np.argsort(together, kind="stable")
    return together[order], np.concatenate([np.zeros((0, 4), np.float32), *boxes])[order]


def _box(row: Singles) -> Box:
    x0, y0, x1, y1 = row.tolist()
    return x0, y0, x1, y1
