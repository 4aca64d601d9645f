"""All measures of one recording on all scopes, from its streams, its people and its spans.

The story hands over a :class:`MeasureInput`; ``given.prepared`` holds the target person's samples
and all stretches of time, once for measures, fusion and episodes. Each modality gives its estimates
on all spans at once; the summariser cuts them into rows. Every measure has rows in every scope:
where it cannot be computed the value is NaN and says why. Nothing here reads files. W windows,
U utterances, K labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

import numpy as np

from nunbit.core.messages import Text, joined
from nunbit.core.spans import Kind, Spans, lay_out
from nunbit.core.streams import (
    FaceStream,
    Interval,
    MeasureBlock,
    Modality,
    Scope,
    Singles,
    Transcript,
    Turn,
    VoiceStream,
)
from nunbit.core.timebase import clip_intervals
from nunbit.language.labels import LabelSet
from nunbit.measures.channel_measures import blink_estimate, estimates_of_face
from nunbit.measures.definitions import (
    SCOPES,
    SUFFIXES,
    Roles,
    definition_of,
    definitions,
    roles_of,
)
from nunbit.measures.estimate import BaselineForm, Estimate
from nunbit.measures.face_measures import FaceSamples, target_samples
from nunbit.measures.modality_pairs import coupling_estimate
from nunbit.measures.summary import BLOCK_S, Summariser
from nunbit.measures.turns import latency_estimates, question_segments
from nunbit.measures.voice_measures import (
    VoiceSamples,
    quality_estimates,
    target_voice,
    voice_estimates,
)
from nunbit.measures.word_measures import (
    LISTS,
    WordTable,
    lexical_estimates,
    rate_estimates,
    target_words,
)
from nunbit.measures.wording import Wording, load_lexicon
from nunbit.pictures.landmarks import KEPT_EYES
from nunbit.recording.face_motion import EyePoints
from nunbit.recording.voice.quality import VoiceQuality
from nunbit.statistics.series import FUNCTIONALS


@dataclass(frozen=True, eq=False)
class MeasureInput:
    """One recording.

    Attributes:
        duration_s: Of the medium.
        labels: K label ids of all probabilities.
        unvalidated: Labels the model knows by their prompt only.
        faces: None without video.
        voice: None without audio.
        transcript: None without words.
        turns: As :func:`nunbit.measures.turns_from` makes them.
        windows: The window grid.
        baseline: Stretch the user marked as neutral, or None.
        full_rate: Whether every frame was read.
        text_probabilities: (U, K), NaN rows where there are none; or None without a model.
        text_none: (U,) probability that readers name no emotion in an utterance, NaN where it is
            left out; None where the model cannot tell.
        text_reasons: (U,) why a row is NaN, of ``REASONS``, '' if it is valid; () if unknown.
        wordings: (U,) what each utterance says of its sign; None reads it from the transcript.
        voice_probabilities: (W, K), NaN rows where there are none; or None without a model.
        apart: Modalities that are shown but neither fused nor compared.
        experimental: Modalities whose model is experimental: never compared, even if the user wants
            them fused.
        label_set: Groups and valence of the labels; None takes those of the packaged label sets.
        voice_quality: None where it was not measured.
        single_speaker: The user states that nobody else speaks: unnamed turns are the person's, and
            the share of speech is valid.
        baseline_form: ``z`` = (x - median) / (1.4826 MAD + eps); ``openwillis`` =
            (x + 1) / (mean + 1) - 1.
        eye_points: Where the corners of each eye are among the landmarks of a track.
        seed: Of the bootstrap and of the circular shifts.
    """

    duration_s: float
    labels: tuple[str, ...]
    unvalidated: frozenset[str]
    faces: FaceStream | None
    voice: VoiceStream | None
    transcript: Transcript | None
    turns: tuple[Turn, ...]
    windows: tuple[Interval, ...]
    baseline: Interval | None = None
    full_rate: bool = False
    text_probabilities: Singles | None = None
    text_none: Singles | None = None
    text_reasons: tuple[str, ...] = ()
    wordings: tuple[Wording, ...] | None = None
    voice_probabilities: Singles | None = None
    apart: frozenset[Modality] = frozenset()
    experimental: frozenset[Modality] = frozenset()
    label_set: LabelSet | None = None
    voice_quality: VoiceQuality | None = None
    single_speaker: bool = False
    baseline_form: BaselineForm = "z"
    eye_points: EyePoints = KEPT_EYES
    seed: int = 0

    def __post_init__(self) -> None:
        k = len(self.labels)
        n_said = len(self.transcript.utterances) if self.transcript else 0
        tables = {
            "text_probabilities": (self.text_probabilities, (n_said, k)),
            "voice_probabilities": (self.voice_probabilities, (len(self.windows), k)),
        }
        for track in self.faces.tracks if self.faces else ():
            expected = (len(track.times_s), k)
            tables[f"probabilities of track {track.track_id}"] = (track.probabilities, expected)
        for name, (table, expected) in tables.items():
            if table is not None and table.shape != expected:
                raise ValueError(f"{name}: expected {expected}, got {table.shape}")
        found = len(self.text_reasons)
        if self.text_probabilities is not None and found not in (0, n_said):
            raise ValueError(f"text_reasons: expected {n_said}, got {found}")

    @cached_property
    def prepared(self) -> Prepared:
        """The target's samples and the spans, which measures, fusion and episodes share."""
        roles = roles_of(self.labels, self.unvalidated, self.label_set)
        spans, scopes = _spans(self)
        said = self.transcript
        written = said is not None and any(u.words for u in said.utterances)
        return Prepared(
            given=self,
            roles=roles,
            spans=spans,
            summariser=Summariser(spans, scopes, self.baseline_form),
            face=target_samples(self.faces, roles, self.eye_points) if self.faces else None,
            voice=target_voice(self.voice, self.turns) if self.voice else None,
            words=target_words(said, self.turns, self.wordings) if said and written else None,
            others=_others(self.faces, roles, self.eye_points) if self.faces else (),
        )


OTHERS_SHARE, MOST_OTHERS = 0.1, 3
"""Other people are reported if they are in this share of the frames, and at most so many."""


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


def prepare_window(
    faces: FaceStream, window: Interval, labels: LabelSet | None, unvalidated: frozenset[str]
) -> Prepared:
    """One window alone, as if it were all there is: what a running source knows at its end."""
    ids = () if labels is None else labels.ids
    given = MeasureInput(
        duration_s=window.end_s,
        labels=ids,
        unvalidated=unvalidated,
        faces=faces,
        voice=None,
        transcript=None,
        turns=(),
        windows=(window,),
        label_set=labels,
    )
    roles = roles_of(ids, unvalidated, labels)
    kinds: dict[Kind, Sequence[tuple[float, float]]] = dict.fromkeys(get_args(Kind), ())
    kinds["window"] = kinds["session"] = [(window.start_s, window.end_s)]
    spans = lay_out(kinds)
    return Prepared(
        given=given,
        roles=roles,
        spans=spans,
        summariser=Summariser(spans, {"window": ""}, given.baseline_form),
        face=target_samples(faces, roles, given.eye_points),
        voice=None,
        words=None,
        others=(),
    )


def _others(
    faces: FaceStream, roles: Roles, eye_points: EyePoints
) -> tuple[tuple[int, FaceSamples], ...]:
    """Other people who are in the picture for a good part of the time, most visible first."""
    least = OTHERS_SHARE * max(len(faces.sample_times_s), 1)
    tracks = sorted(
        (t for t in faces.tracks if t.track_id not in faces.targets and len(t.times_s) >= least),
        key=lambda t: (-len(t.times_s), t.track_id),
    )
    return tuple(
        (t.track_id, target_samples(replace(faces, targets=(t.track_id,)), roles, eye_points))
        for t in tracks[:MOST_OTHERS]
    )


def _spans(given: MeasureInput) -> tuple[Spans, dict[Scope, str]]:
    whole = (0.0, max(given.duration_s, 0.0))
    turns = [(t.interval.start_s, t.interval.end_s) for t in given.turns if t.target]
    questions = question_segments(given.turns)
    n_blocks = int(np.ceil(round(whole[1] / BLOCK_S, 6)))
    marked = () if given.baseline is None else (given.baseline,)
    kinds: dict[Kind, Sequence[tuple[float, float]]] = {
        "window": [(w.start_s, w.end_s) for w in given.windows],
        "turn": turns or [whole],
        "question": questions or [whole],
        "session": [whole],
        "block": [(k * BLOCK_S, min((k + 1) * BLOCK_S, whole[1])) for k in range(n_blocks)],
        "baseline": [(i.start_s, i.end_s) for i in clip_intervals(marked, 0.0, whole[1])],
    }
    empty = {"turn": not turns, "question": not questions}
    return lay_out(kinds), {s: "no_turns" if empty.get(s) else "" for s in SCOPES}


# -- measures --------------------------------------------------------------------------------------

FUSED_HERE = ("incongruence", "no_emotion")
"""Beginning of the measures of :mod:`nunbit.measures.fusion`: they need class probabilities."""


def compute_measures(given: MeasureInput) -> tuple[MeasureBlock, ...]:
    """All measures on all scopes, but incongruence, which comes with the fusion.

    Besides the measures themselves there are, named by suffix: ``_speaking`` and
    ``_not_speaking``; ``.mean``, ``.sd``, ``.median``, ``.p20``, ``.p80``, ``.slope`` of the
    window values over the session; ``.z`` (or ``.relative``) against the person's baseline, only
    where there is one. People besides the target who are seen in a tenth of the frames have face
    measures of their own, marked by ``track``.
    """
    prepared = given.prepared
    found = _estimates(prepared)
    summarise = prepared.summariser.blocks
    blocks: list[MeasureBlock] = []
    for definition in definitions():
        name = definition.id
        if name.startswith(FUSED_HERE):
            continue
        names = [name + suffix for suffix in SUFFIXES if definition.split]
        split = (found[names[0]], found[names[1]]) if names else None
        blocks += summarise(definition, found[name], split=split)
        for part in names:
            blocks += summarise(definition, found[part], part)
    for track, samples in prepared.others:
        own = estimates_of_face(samples, prepared.spans, prepared.roles, None)
        blocks += [replace(block, track=str(track)) for block in plain_blocks(prepared, own)]
    return tuple(blocks)


def plain_blocks(prepared: Prepared, found: Mapping[str, Estimate]) -> Iterator[MeasureBlock]:
    """Rows of some measures as they are: without functionals and without a baseline."""
    for definition in definitions():
        if definition.id in found:
            plain = replace(definition, functionals=False)
            yield from prepared.summariser.blocks(plain, found[definition.id], compared=False)


def _estimates(p: Prepared) -> dict[str, Estimate]:
    given, spans = p.given, p.spans
    speaking = None if p.voice is None else p.voice.speaking
    first_words_s = {} if p.words is None else p.words.first_words_s
    return {
        **estimates_of_face(p.face, spans, p.roles, speaking),
        "blink_rate": blink_estimate(p.face, spans, given.full_rate),
        **voice_estimates(p.voice, spans, given.single_speaker),
        **quality_estimates(given.voice_quality, p.voice, spans),
        **latency_estimates(given.turns, first_words_s, spans),
        **rate_estimates(p.words, spans, given.turns, p.voice),
        **lexical_estimates(p.words, spans),
        "coupling": coupling_estimate(p.face, p.voice, spans, p.roles, given.seed),
    }


def speakers_unnamed(given: MeasureInput) -> bool:
    """Whether all speech counts as the person's because no speakers are named."""
    named = any(turn.speaker for turn in given.turns)
    return bool(given.turns) and not named and not given.single_speaker


def measure_notices(given: MeasureInput) -> tuple[Text, ...]:
    """What a reader of the measures must know about this recording."""
    notices = list(roles_of(given.labels, given.unvalidated, given.label_set).notices())
    if speakers_unnamed(given):
        notices.append(
            Text(
                "speakers are not named: all speech counts as that of the person analysed; if "
                "that is right, `single_speaker=true` also gives the share of speech; otherwise "
                "give a file that says who speaks when as `speakers`",
                "화자가 구분되어 있지 않아 모든 말을 분석 대상자의 말로 처리했습니다. 실제로 한 "
                "사람만 말한다면 `single_speaker=true`로 발화 비율까지 구할 수 있고, 아니면 "
                "`speakers`로 화자 구분 파일을 주십시오",
            )
        )
    if given.transcript is None:
        return tuple(notices)
    if unproven := {m for m, name in LISTS.items() if not load_lexicon(name).validated}:
        named = joined(", ", [d.name for d in definitions() if d.id in unproven])
        notices.append(
            Text(
                f"word lists are short, unvalidated seeds: {named.en}",
                f"단어 목록은 짧은 초안이며 검증되지 않았습니다: {named.ko}",
            )
        )
    return (*notices, _LEFT_OUT)


_LEFT_OUT = Text(
    "negated and wished-for words are not counted; an utterance is left out if the model took "
    "them literally (negated, wish) or if it has nothing to score (not_scored: short answers, "
    "other languages, wording that must not be read as an emotion)",
    "부정하거나 바라는 말은 세지 않습니다. 모델이 그런 말을 글자 그대로 읽은 발화(negated, "
    "wish)와 감정을 판단할 수 없는 발화(not_scored: 짧은 대답, 다른 언어, 감정으로 읽어서는 안 "
    "되는 말)는 제외합니다",
)


def session_rows(
    blocks: Sequence[MeasureBlock], *, functionals: bool = False
) -> list[dict[str, object]]:
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
    rows: list[dict[str, object]] = []
    for b in session:
        suffix = b.measure.partition(".")[2]
        if suffix in ("z", "relative") or (suffix in FUNCTIONALS and not functionals):
            continue
        ends = [float(end[0]) for end in (b.ci_low, b.ci_high) if end is not None]
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
                "ci": ends if np.isfinite(ends).all() and ends else None,
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
