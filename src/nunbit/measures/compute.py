"""All measures of one recording on all scopes.

Each modality gives its estimates on all spans at once; the summariser cuts them into rows. Every
measure has rows in every scope: where it cannot be computed the value is NaN and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nunbit.measures.coupling import coupling_estimate
from nunbit.measures.definitions import FUNCTIONALS, SCOPES, SUFFIXES, definition_of, definitions
from nunbit.measures.estimate import Estimate
from nunbit.measures.face import blink_estimate, face_estimates
from nunbit.measures.face_samples import FaceSamples, target_samples
from nunbit.measures.inputs import MeasureInput
from nunbit.measures.lexicon import load_lexicon
from nunbit.measures.roles import Roles, roles_of
from nunbit.measures.spans import Kind, Spans, lay_out
from nunbit.measures.summary import BLOCK_S, Summariser
from nunbit.measures.voice import (
    VoiceSamples,
    latencies,
    latency_estimates,
    quality_estimates,
    target_voice,
    voice_estimates,
)
from nunbit.measures.words import (
    LISTS,
    WordTable,
    lexical_estimates,
    rate_estimates,
    target_words,
    transcribed_turns,
)
from nunbit.streams import FaceStream, MeasureBlock, Scope, Turn

FUSED_HERE = ("incongruence",)
"""Beginning of the measures that :mod:`nunbit.fuse` computes, because they need all modalities."""

OTHERS_SHARE, MOST_OTHERS = 0.1, 3
"""Other people are reported who are seen in this share of the frames, and at most so many."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The samples of the target and of other people, and the spans that all share."""

    given: MeasureInput
    roles: Roles
    spans: Spans
    summariser: Summariser
    face: FaceSamples | None
    voice: VoiceSamples | None
    words: WordTable | None
    others: tuple[tuple[int, FaceSamples], ...]


def prepare(given: MeasureInput) -> Prepared:
    """Pick the target person out of the streams and lay out the spans; once per recording."""
    if "prepared" not in given.memo:
        given.memo["prepared"] = _prepare(given)
    prepared: Prepared = given.memo["prepared"]
    return prepared


def _prepare(given: MeasureInput) -> Prepared:
    roles = roles_of(given.labels, given.unvalidated, given.label_set)
    spans, scopes = _spans(given)
    face: FaceSamples | None = None
    others: tuple[tuple[int, FaceSamples], ...] = ()
    if given.faces is not None:
        face = target_samples(given.faces, roles, given.eye_points)
        others = _others(given.faces, roles, given)
    voice = None if given.voice is None else target_voice(given.voice, given.turns)
    words = None
    if given.transcript is not None and any(u.words for u in given.transcript.utterances):
        words = target_words(given.transcript, given.turns)
    return Prepared(
        given=given,
        roles=roles,
        spans=spans,
        summariser=Summariser(spans, scopes, given.baseline_form),
        face=face,
        voice=voice,
        words=words,
        others=others,
    )


def _others(
    faces: FaceStream, roles: Roles, given: MeasureInput
) -> tuple[tuple[int, FaceSamples], ...]:
    """The other people who are in the picture for a good part of the time, most seen first."""
    least = OTHERS_SHARE * max(len(faces.sample_times_s), 1)
    tracks = [
        t for t in faces.tracks if t.track_id not in faces.targets and len(t.times_s) >= least
    ]
    tracks.sort(key=lambda t: (-len(t.times_s), t.track_id))
    return tuple(
        (t.track_id, target_samples(replace(faces, targets=(t.track_id,)), roles, given.eye_points))
        for t in tracks[:MOST_OTHERS]
    )


def _spans(given: MeasureInput) -> tuple[Spans, dict[Scope, str]]:
    whole = (0.0, max(given.duration_s, 0.0))
    turns = [(t.interval.start_s, t.interval.end_s) for t in given.turns if t.target]
    questions = question_segments(given.turns)
    n_blocks = int(np.ceil(round(whole[1] / BLOCK_S, 6)))
    kinds: dict[Kind, Sequence[tuple[float, float]]] = {
        "window": [(w.start_s, w.end_s) for w in given.windows],
        "turn": turns or [whole],
        "question": questions or [whole],
        "session": [whole],
        "block": [(k * BLOCK_S, min((k + 1) * BLOCK_S, whole[1])) for k in range(n_blocks)],
        "baseline": _marked(given, whole[1]),
    }
    scopes: dict[Scope, str] = dict.fromkeys(SCOPES, "")
    scopes["turn"] = "" if turns else "no_turns"
    scopes["question"] = "" if questions else "no_turns"
    return lay_out(kinds), scopes


def _marked(given: MeasureInput, end_s: float) -> list[tuple[float, float]]:
    marked = given.baseline
    if marked is None or marked.start_s >= end_s:
        return []
    return [(marked.start_s, min(marked.end_s, end_s))]


def question_segments(turns: Sequence[Turn]) -> list[tuple[float, float]]:
    """From the start of each answered turn of somebody else to the end of its last answer."""
    ends: dict[int, float] = {}
    for turn in turns:
        if turn.target and turn.question is not None:
            ends[turn.question] = max(ends.get(turn.question, 0.0), turn.interval.end_s)
    return [(turns[q].interval.start_s, end) for q, end in sorted(ends.items())]


def compute_measures(given: MeasureInput) -> tuple[MeasureBlock, ...]:
    """All measures but incongruence (which :func:`nunbit.fuse.fuse_windows` gives), all scopes.

    Besides the measures themselves there are, named by suffix: ``_speaking`` and
    ``_not_speaking``; ``.mean``, ``.sd``, ``.median``, ``.p20``, ``.p80``, ``.slope`` of the
    window values over the session; ``.z`` (or ``.relative``) against the person's baseline, only
    where there is one. People besides the target who are seen in a tenth of the frames have face
    measures of their own, marked by ``track``.
    """
    prepared = prepare(given)
    found = _estimates(prepared)
    blocks: list[MeasureBlock] = []
    for definition in definitions():
        if definition.id.startswith(FUSED_HERE):
            continue
        parts = [found[definition.id + suffix] for suffix in SUFFIXES if definition.split]
        split = (parts[0], parts[1]) if parts else None
        blocks += prepared.summariser.blocks(definition, found[definition.id], split=split)
        if definition.split:
            for suffix in SUFFIXES:
                name = definition.id + suffix
                blocks += prepared.summariser.blocks(definition, found[name], name)
    for track, samples in prepared.others:
        blocks += _of_another(prepared, track, samples)
    return tuple(blocks)


def _of_another(prepared: Prepared, track: int, samples: FaceSamples) -> list[MeasureBlock]:
    """Face measures of somebody else in the picture: as they are, without a baseline."""
    found = face_estimates(samples, prepared.spans, prepared.roles, None)
    blocks: list[MeasureBlock] = []
    for definition in definitions():
        if definition.id in found:
            plain = replace(definition, functionals=False)
            blocks += prepared.summariser.blocks(plain, found[definition.id], compared=False)
    return [replace(block, track=str(track)) for block in blocks]


def _estimates(p: Prepared) -> dict[str, Estimate]:
    given, spans = p.given, p.spans
    speaking = None if p.voice is None else p.voice.speaking
    found = face_estimates(p.face, spans, p.roles, speaking)
    found["blink_rate"] = blink_estimate(p.face, spans, given.full_rate)
    found |= voice_estimates(p.voice, spans, given.single_speaker)
    found |= quality_estimates(given.voice_quality, p.voice, spans)
    first_words = {} if p.words is None else p.words.first_words_s
    dialogue = any(t.target and t.question is not None for t in given.turns)
    answers = latencies(given.turns, first_words)
    found |= latency_estimates(answers, spans, dialogue)
    transcribed: tuple[int, ...] = ()
    if p.words is not None and given.transcript is not None:
        transcribed = transcribed_turns(given.transcript, given.turns, p.voice)
    found |= rate_estimates(p.words, spans, given.turns, transcribed, p.voice)
    found |= lexical_estimates(p.words, spans)
    found["coupling"] = coupling_estimate(p.face, p.voice, spans, p.roles, given.seed)
    return found


def speakers_unnamed(given: MeasureInput) -> bool:
    """Whether speech is taken for the person's because nobody says whose it is."""
    named = any(turn.speaker for turn in given.turns)
    return bool(given.turns) and not named and not given.single_speaker


def measure_notices(given: MeasureInput) -> tuple[tuple[str, str], ...]:
    """What a reader of the measures must know about this recording, as (en, ko) pairs."""
    notices = list(roles_of(given.labels, given.unvalidated, given.label_set).notices())
    if speakers_unnamed(given):
        notices.append(
            (
                "nobody named the speakers: everything heard is taken for the person analysed; "
                "--set single_speaker=true says that it is so and gives the share of speech, "
                "--speakers FILE says who speaks when",
                "화자가 구분되어 있지 않아 들리는 말을 모두 분석 대상자의 말로 보았습니다. 실제로 "
                "그러하면 --set single_speaker=true로 발화 비율까지 구할 수 있고, 아니면 "
                "--speakers로 화자 구간 파일을 주십시오",
            )
        )
    if given.transcript is not None:
        unproven = [definition_of(m) for m, n in LISTS.items() if not load_lexicon(n).validated]
        named = [d for d in unproven if d is not None]
        if named:
            notices.append(
                (
                    "word lists are short, unvalidated seeds: "
                    + ", ".join(d.name_en for d in named),
                    "낱말 목록은 검증되지 않은 짧은 초기 목록입니다: "
                    + ", ".join(d.name_ko for d in named),
                )
            )
        notices.append(_LEFT_OUT)
    return tuple(notices)


_LEFT_OUT = (
    "words that are negated or wished for count for nothing, and an utterance is left out where "
    "the model took them at their word (negated, wish) or where there is nothing to rate "
    "(not_scored: short answers, other languages, wording that must not be read as an emotion)",
    "부정하거나 바라는 말은 세지 않습니다. 모델이 그런 말을 그대로 받아들인 발화(negated, wish)와 "
    "값을 매길 수 없는 발화(not_scored: 짧은 대답, 다른 언어, 감정으로 읽어서는 안 되는 말)는 "
    "뺍니다",
)


def session_rows(
    blocks: Sequence[MeasureBlock], *, functionals: bool = False
) -> list[dict[str, Any]]:
    """Session values as plain rows for ``summary.json``: value, interval, baseline, z.

    Args:
        blocks: Of measures and fusion.
        functionals: Whether rows such as ``expressivity.sd`` are wanted too.
    """
    session = [b for b in blocks if b.scope == "session"]
    compared = {
        (b.modality, b.measure.rpartition(".")[0], b.track): float(b.value[0])
        for b in session
        if b.measure.endswith((".z", ".relative"))
    }
    rows = []
    for b in session:
        suffix = b.measure.partition(".")[2]
        if suffix in ("z", "relative") or (suffix in FUNCTIONALS and not functionals):
            continue
        ci = None
        if b.ci_low is not None and b.ci_high is not None and np.isfinite(b.ci_low[0]):
            ci = [float(b.ci_low[0]), float(b.ci_high[0])]
        definition = definition_of(b.measure)
        rows.append(
            {
                "measure": b.measure,
                "modality": b.modality,
                "track": b.track,
                "value": _known(float(b.value[0])),
                "unit": b.unit,
                "grade": b.grade,
                "number": None if definition is None else definition.number,
                "ci": ci,
                "ci_reason": b.ci_reason or None,
                "version": b.version,
                "baseline": _known(b.baseline),
                "z": _known(compared.get((b.modality, b.measure, b.track), np.nan)),
                "n_expected": int(b.n_expected[0]),
                "n_valid": int(b.n_valid[0]),
                "confidence": _known(float(b.confidence[0])),
                "mask_reason": str(b.mask_reason[0]),
                "experimental": b.experimental,
            }
        )
    return rows


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
