"""``summary.json``: what was found in one recording, as plain data.

Only layout: every number comes from the timeline, every sentence from the module that knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nunbit.labels import label_set_to_dict
from nunbit.measures import session_rows
from nunbit.measures.episodes import EXPECTED_AT_MOST
from nunbit.reading import reading_document
from nunbit.streams import FaceStream, MeasureBlock, Timeline, Transcript
from nunbit.tracking import Person


def summary_document(timeline: Timeline, found: Mapping[str, Any]) -> dict[str, Any]:
    """``summary.json`` of a timeline.

    Args:
        timeline: With everything but the document.
        found: What is not in the timeline: label_set, bundle, unvalidated, windows, sync, speech,
            missing, notices, told, reading, provenance, synthetic, path.
    """
    media = {k: v for k, v in asdict(timeline.media).items() if k != "reading"}
    return {
        "kind": "timeline",
        "media": media | {"path": found["path"]},
        "session": timeline.session,
        "subject": timeline.subject,
        "label_set": label_set_to_dict(found["label_set"]),
        "labels": list(timeline.labels),
        "bundle": found["bundle"],
        "unvalidated": sorted(found["unvalidated"]),
        "windows": found["windows"] | {"n": len(timeline.windows)},
        "persons": persons(timeline.faces, found["persons"]),
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
        "episodes_expected": episodes_expected(timeline.blocks),
        "measures": session_rows(timeline.blocks, functionals=True),
        "sync": found["sync"],
        "speech": found["speech"],
        "transcript": transcript_facts(timeline.transcript),
        "missing": found["missing"],
        "notices": [list(pair) for pair in found["notices"]],
        "told": list(found["told"]),
        "reading": reading_document(found["reading"]),
        "synthetic": found["synthetic"],
        "provenance": found["provenance"],
    }


_ASKED = {
    "depgroup": "depgroup_share",
    "incongruence": "incongruence_",
    "low_agreement": "agreement_",
}
"""Beginning of the window measures that each kind of episode is looked for in."""


def episodes_expected(blocks: Sequence[MeasureBlock]) -> dict[str, float]:
    """How many episodes there are at most, on average, where nothing changes, by kind asked for."""
    known = {b.measure for b in blocks if b.scope == "window" and np.isfinite(b.value).any()}
    return {
        kind: EXPECTED_AT_MOST[kind]
        for kind, beginning in _ASKED.items()
        if any(measure.startswith(beginning) for measure in known)
    }


def persons(faces: FaceStream | None, found: Sequence[Person]) -> list[dict[str, Any]]:
    """Who is to be seen, with their share of the sampled frames, the person analysed first."""
    if faces is None:
        return []
    tracks = {track.track_id: track for track in faces.tracks}
    n = max(len(faces.sample_times_s), 1)
    rows = []
    for person in found:
        own = [tracks[i] for i in person.tracks if len(tracks[i].times_s)]
        if not own:
            continue
        sides = np.concatenate([t.boxes_xyxy[:, 2:] - t.boxes_xyxy[:, :2] for t in own])
        rows.append(
            {
                "tracks": list(person.tracks),
                "target": set(person.tracks) <= set(faces.targets),
                "share": round(sum(len(t.times_s) for t in own) / n, 4),
                "start": float(own[0].times_s[0]),
                "end": float(own[-1].times_s[-1]),
                "size_px": round(float(np.median(sides.max(axis=1))), 1),
            }
        )
    return sorted(rows, key=lambda row: (not row["target"], -row["share"]))


def transcript_facts(transcript: Transcript | None) -> dict[str, Any] | None:
    """Source, language, how good the word times are and what was odd, or None without words."""
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
        "notices": [list(pair) for pair in transcript.notices],
    }
