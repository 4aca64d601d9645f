"""``summary.json``: what was found in one recording, as plain data.

Only layout: every number comes from the timeline, every sentence from the module that knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from nunbit.labels import label_set_to_dict
from nunbit.streams import FaceStream, MeasureBlock, Timeline, Transcript


def summary_document(timeline: Timeline, found: Mapping[str, Any]) -> dict[str, Any]:
    """``summary.json`` of a timeline.

    Args:
        timeline: With everything but the document.
        found: What is not in the timeline: label_set, bundle, unvalidated, windows, sync, speech,
            missing, notices, provenance, synthetic, path.
    """
    return {
        "kind": "timeline",
        "media": asdict(timeline.media) | {"path": found["path"]},
        "session": timeline.session,
        "subject": timeline.subject,
        "label_set": label_set_to_dict(found["label_set"]),
        "labels": list(timeline.labels),
        "bundle": found["bundle"],
        "unvalidated": sorted(found["unvalidated"]),
        "windows": found["windows"] | {"n": len(timeline.windows)},
        "persons": [] if timeline.faces is None else persons(timeline.faces),
        "states": [
            {"kind": e.kind, "start": e.interval.start_s, "end": e.interval.end_s}
            for e in timeline.episodes
            if math.isnan(e.peak)
        ],
        "episodes": [
            {
                "kind": e.kind,
                "start": e.interval.start_s,
                "end": e.interval.end_s,
                "peak": e.peak,
                "note": e.note,
            }
            for e in timeline.episodes
            if not math.isnan(e.peak)
        ],
        "measures": [_session_row(b) for b in timeline.blocks if b.scope == "session"],
        "sync": found["sync"],
        "speech": found["speech"],
        "transcript": transcript_facts(timeline.transcript),
        "missing": found["missing"],
        "notices": [list(pair) for pair in found["notices"]],
        "synthetic": found["synthetic"],
        "provenance": found["provenance"],
    }


def persons(faces: FaceStream) -> list[dict[str, Any]]:
    """The tracks of a recording with their share of the sampled frames, targets first."""
    n = max(len(faces.sample_times_s), 1)
    rows = [
        {
            "track": track.track_id,
            "target": track.track_id in faces.targets,
            "share": round(len(track.times_s) / n, 4),
            "start": float(track.times_s[0]),
            "end": float(track.times_s[-1]),
            "size_px": float(np.median((track.boxes_xyxy[:, 2:] - track.boxes_xyxy[:, :2]).max(1))),
        }
        for track in faces.tracks
        if len(track.times_s)
    ]
    return sorted(rows, key=lambda row: (not row["target"], -float(row["share"])))


def transcript_facts(transcript: Transcript | None) -> dict[str, Any] | None:
    """Source, language and how good the word times are, or None without words."""
    if transcript is None:
        return None
    words = [word for utterance in transcript.utterances for word in utterance.words]
    known = [w.confidence for w in words if w.confidence is not None]
    timed = sum(not w.estimated for w in words)
    return {
        "source": transcript.source,
        "language": transcript.language,
        "utterances": len(transcript.utterances),
        "words": len(words),
        "mean_confidence": float(np.mean(known)) if known else None,
        "timed_words_share": timed / len(words) if words else None,
    }


def _session_row(block: MeasureBlock) -> dict[str, Any]:
    low = math.nan if block.ci_low is None else float(block.ci_low[0])
    high = math.nan if block.ci_high is None else float(block.ci_high[0])
    return {
        "measure": block.measure,
        "modality": block.modality,
        "track": block.track,
        "value": _finite(float(block.value[0])),
        "unit": block.unit,
        "grade": block.grade,
        "ci": None if math.isnan(low) or math.isnan(high) else [low, high],
        "baseline": _finite(block.baseline),
        "n_expected": int(block.n_expected[0]),
        "n_valid": int(block.n_valid[0]),
        "confidence": _finite(float(block.confidence[0])),
        "mask_reason": str(block.mask_reason[0]),
        "experimental": block.experimental,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
