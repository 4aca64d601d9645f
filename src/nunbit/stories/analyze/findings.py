"""What was found in one recording besides its timeline, and ``summary.json`` made of both.

Only layout: numbers come from the timeline, sentences from the modules that know the facts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nunbit.core.messages import Text, joined
from nunbit.core.schema import ReadingNote, reading_document
from nunbit.core.streams import FaceStream, Interval, MeasureBlock, Timeline, Transcript, Turn
from nunbit.language.labels import LabelSet, label_set_to_dict
from nunbit.measures import MeasureInput, session_rows
from nunbit.measures.compute import speakers_unnamed
from nunbit.measures.definitions import roles_of
from nunbit.measures.episodes import EXPECTED_AT_MOST
from nunbit.measures.estimate import MIN_BASELINE_S
from nunbit.pictures.face_mesh import MODEL_INSTALL, RUNTIME_INSTALL, landmarks_missing
from nunbit.recording.observer import Observed
from nunbit.recording.tracking import Person
from nunbit.report.timeline_view import ASSUMED_SINGLE, BASELINE_UNUSED, STAND_IN, UNVALIDATED

VOICE_APART = Text(
    "what is read from the sound of the voice is not validated (learned from acted speech only): "
    "it is shown by itself, and is part neither of the joined value nor of disagreement. "
    "`fuse_voice=true` adds it to the joined value, never to disagreement",
    "목소리의 울림에서 읽은 값은 검증되지 않았습니다(연기한 음성으로만 학습). 따로 보여 주기만 "
    "하고, 합친 값과 불일치에는 쓰지 않습니다. `fuse_voice=true`를 주면 합친 값에는 쓰지만 "
    "불일치에는 쓰지 않습니다",
)
VOICE_FUSED = Text(
    "as requested, what is read from the sound of the voice is part of the joined value, though it "
    "is not validated (learned from acted speech only); it is not part of disagreement",
    "요청에 따라 목소리의 울림에서 읽은 값을 합친 값에 넣었습니다. 검증되지 않은 값이며(연기한 "
    "음성으로만 학습) 불일치에는 쓰지 않습니다",
)


@dataclass(frozen=True, eq=False)
class Findings:
    """What ``summary.json`` says beyond the timeline.

    Attributes:
        label_set: Of the class probabilities.
        bundle: Name and hash of the models.
        posterior: What acts on the class probabilities (``relative.Shown.facts``).
        unvalidated: Labels that the model knows by their prompt only.
        windows: Length and hop of the windows, seconds.
        persons: Who is to be seen.
        sync: Offset between sound and picture, or why there is none.
        speech: How many turns there are, whose words are taken for the person's.
        missing: What was not there and what installs it.
        notices: What a reader must know.
        told: Codes of what the notices say.
        reading: The reading protocol.
        provenance: From what, with which versions and settings.
        synthetic: Whether the recording was drawn.
    """

    label_set: LabelSet
    bundle: Mapping[str, Any]
    posterior: Mapping[str, Any]
    unvalidated: frozenset[str]
    windows: Mapping[str, float]
    persons: tuple[Person, ...]
    sync: Mapping[str, Any]
    speech: Mapping[str, Any]
    missing: tuple[Mapping[str, str], ...]
    notices: tuple[Text, ...]
    told: tuple[str, ...]
    reading: tuple[ReadingNote, ...]
    provenance: Mapping[str, Any]
    synthetic: bool


def summary_document(timeline: Timeline, found: Findings) -> dict[str, Any]:
    """``summary.json`` as plain data."""
    media = {k: v for k, v in asdict(timeline.media).items() if k != "reading"}
    return {
        "kind": "timeline",
        "media": media | {"path": timeline.path},
        "session": timeline.session,
        "subject": timeline.subject,
        "label_set": label_set_to_dict(found.label_set),
        "labels": list(timeline.labels),
        "bundle": dict(found.bundle),
        **found.posterior,
        "unvalidated": sorted(found.unvalidated),
        "windows": dict(found.windows) | {"n": len(timeline.windows)},
        "persons": persons(timeline.faces, found.persons),
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
        "sync": dict(found.sync),
        "speech": dict(found.speech),
        "transcript": transcript_facts(timeline.transcript),
        "missing": [dict(each) for each in found.missing],
        "notices": [notice.pair() for notice in found.notices],
        "told": list(found.told),
        "reading": reading_document(found.reading),
        "synthetic": found.synthetic,
        "provenance": dict(found.provenance),
    }


def speech_facts(turns: Sequence[Turn]) -> dict[str, Any]:
    """How many turns there are, whose, and whose words are taken for the person's."""
    everybody = {turn.speaker for turn in turns}
    target = next((t.speaker for t in turns if t.target), None)
    names, single = sorted(name for name in everybody if name), len(everybody) <= 1
    return {"turns": len(turns), "target": target, "speakers": names, "assumed_single": single}


_ASKED = {
    "depgroup": "depgroup_share",
    "incongruence": "incongruence_",
    "low_agreement": "agreement_",
}
"""Prefix of the window measures in which each kind of episode is searched for."""


def episodes_expected(blocks: Sequence[MeasureBlock]) -> dict[str, float]:
    """Expected number of episodes, at most, in a recording without change, by kind."""
    known = {b.measure for b in blocks if b.scope == "window" and np.isfinite(b.value).any()}
    return {
        kind: EXPECTED_AT_MOST[kind]
        for kind, beginning in _ASKED.items()
        if any(measure.startswith(beginning) for measure in known)
    }


def persons(faces: FaceStream | None, found: Sequence[Person]) -> list[dict[str, Any]]:
    """The persons in the picture with their share of the sampled frames, the target first."""
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
    """Source, language, quality of word times and notices of a transcript; None without one."""
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
        "notices": [notice.pair() for notice in transcript.notices],
    }


_NAMES = {
    "face": Text("the face", "얼굴"),
    "voice": Text("the voice", "목소리"),
    "text": Text("words", "말"),
}


def baseline_notices(
    marked: Interval | None, blocks: Iterable[MeasureBlock], duration_s: float
) -> tuple[Text, ...]:
    """Why a marked stretch is nobody's baseline; empty where it is used everywhere.

    Args:
        marked: The stretch the user marked, or None.
        blocks: All measures.
        duration_s: Length of the recording.
    """
    if marked is None:
        return ()
    windows = [b for b in blocks if b.scope == "window" and not b.track and b.modality in _NAMES]
    used = {b.modality for b in windows if np.isfinite(b.baseline)}
    measured = {b.modality for b in windows if np.isfinite(b.value).any()}
    where, need = f"{marked.start_s:g}–{marked.end_s:g}", f"{MIN_BASELINE_S:.0f}"
    if used:
        lacking = [m for m in _NAMES if m in measured - used]
        if not lacking:
            return ()
        names = joined(", ", [_NAMES[m] for m in lacking])
        return (
            Text(
                f"the baseline {where} s holds less than {need} s of valid data of "
                f"{names.en}: it is not used there",
                f"기준 구간 {where}초에 {names.ko}의 유효 자료가 {need}초보다 "
                "적습니다. 그 측정값에는 사용하지 않았습니다",
            ),
        )
    if marked.start_s >= duration_s:
        why = Text("begins after the end of the recording", "녹화가 끝난 뒤에 시작합니다")
    elif min(marked.end_s, duration_s) - marked.start_s < MIN_BASELINE_S:
        why = Text(
            f"is too short ({need} s or more of valid data are needed)",
            f"너무 짧습니다(유효 자료 {need}초 이상 필요)",
        )
    else:
        why = Text(f"holds less than {need} s of valid data", f"유효 자료가 {need}초보다 적습니다")
    return (
        Text(
            f"the baseline {where} s {why.en}: it was not used",
            f"기준 구간 {where}초는 {why.ko}. 사용하지 않았습니다"
            if "유효 자료가" not in why.ko
            else f"기준 구간 {where}초에는 {why.ko}. 사용하지 않았습니다",
        ),
    )


def told_of(given: MeasureInput, *, baseline_unused: bool) -> tuple[str, ...]:
    """Codes of what the notices of a recording cover, so that the report does not repeat it."""
    roles = roles_of(given.labels, given.unvalidated, given.label_set)
    codes = {
        STAND_IN: bool(roles.stand_in_for),
        UNVALIDATED: bool(given.unvalidated & frozenset(given.labels)),
        BASELINE_UNUSED: baseline_unused,
        ASSUMED_SINGLE: speakers_unnamed(given),
    }
    return tuple(code for code, said in codes.items() if said)


def missing_models(seen: Observed) -> tuple[dict[str, str], ...]:
    """The missing landmark model, with the line that installs it, if faces were read without it."""
    absent = landmarks_missing()
    if absent is None or seen.faces is None or seen.faces.has_landmarks:
        return ()
    return (
        {
            "what": "landmarks",
            "reason_en": absent.text.en,
            "reason_ko": absent.text.ko,
            "install": f"{RUNTIME_INSTALL}; {MODEL_INSTALL}",
        },
    )
