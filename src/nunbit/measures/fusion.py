"""Class probabilities of face, voice and words, and the fused index.

Late fusion: each modality gives its class probabilities for a window; the fused index is their
log-linear pool, each weighted by how complete its evidence is (:mod:`nunbit.statistics.pooling`).
It is no calibrated probability. Missing modalities and experimental models are left out and named.
Where two modalities differ in apparent valence by more than they usually do, the window is
incongruent (:mod:`nunbit.measures.modality_pairs`). While a source is still running, windows are
given as they become final. Pure. S spans, W windows, K labels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from nunbit.core.spans import Mass, Spans, Stretches, lengths, rows_in, sum_rows
from nunbit.core.streams import (
    FaceStream,
    FaceTrack,
    Flags,
    Floats,
    Interval,
    MeasureBlock,
    Modality,
)
from nunbit.core.timebase import MIN_SPEECH_S, SAME_S, SAME_SUM_S, bounds
from nunbit.language.labels import LabelSet
from nunbit.measures.channel_measures import estimates_of_face
from nunbit.measures.compute import MeasureInput, Prepared, plain_blocks, prepare_window
from nunbit.measures.definitions import definitions
from nunbit.measures.estimate import CODE, Codes, Counts, Estimate, first_reason, missing
from nunbit.measures.face_measures import MIN_SHARE, FaceSamples, choose, readable
from nunbit.measures.modality_pairs import disagreement_estimates
from nunbit.measures.summary import Named
from nunbit.measures.turns import belongs_to_target
from nunbit.statistics.pooling import evidence_share, pool_spans
from nunbit.statistics.scores import ratio

MIN_TEXT_S = 1.0
"""Seconds of speech that words must cover, or half of a shorter span ("네" is a turn too)."""

FULL_SPEECH_S = 2.0
"""Speech from which words and voice have all their weight: a short sentence (eight syllables, three
eojeol). Less weighs in proportion, down to nothing where the value is masked: a window that catches
the end of a word does not pull the index over."""

FUSED_VERSION = "2"
"""Of the fused rows. 1 was the equal mean of the modalities that are there."""

INDEX_UNIT = "0–1 (index)"

USED_BITS = {"face": 1, "voice": 2, "text": 4}
"""``modalities_used`` adds up what took part in the fused probabilities."""

CAUSAL_CONTEXT: tuple[Modality, ...] = ("face",)
"""Modalities whose ``p_<label>`` and ``valence`` of a window are final at the window's end. How a
window is spoken is held against the person's mean over the recording, words belong to sentences
that go on, and the fused index takes both."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence of one modality on each span.

    Attributes:
        chances: (S, K) over the validated classes, rows sum to one; NaN where missing.
        raw: (S, K) over all classes as the model gave them, for the unvalidated ones.
        n_expected: (S,).
        n_valid: (S,).
        confidence: (S,) NaN where there is none.
        reason: (S,) codes of ``REASONS``.
        share: (S,) how complete the evidence is, 0 (about to be masked) to 1.
    """

    chances: Floats
    raw: Floats
    n_expected: Counts
    n_valid: Counts
    confidence: Floats
    reason: Codes
    share: Floats

    def estimate(self, value: Floats) -> Estimate:
        """A value (S,) that rests on this evidence."""
        return Estimate(
            "given", (value,), self.n_expected, self.n_valid, self.confidence, self.reason
        )


def fuse_windows(given: MeasureInput) -> tuple[MeasureBlock, ...]:
    """Class probabilities per modality, the fused index, valence, and incongruence, on all scopes.

    ``p_<label>`` and ``valence`` for face, voice, text and fused; ``modalities_used`` says which
    took part (face 1, voice 2, text 4, added up). Unvalidated classes take no part: in windows,
    turns and questions of a single modality they are shown as the model gave them and marked;
    fused and for the session they are missing. Other people's faces are marked by ``track``.
    """
    prepared = given.prepared
    evidence: dict[Modality, Evidence] = {
        "face": _face_evidence(prepared, prepared.face),
        "voice": _voice_evidence(prepared),
        "text": _text_evidence(prepared),
    }
    fused, used = _fused(evidence, prepared)
    blocks = [
        block
        for modality, found in (*evidence.items(), ("fused", fused))
        for block in _probability_blocks(prepared, modality, found)
    ]
    blocks += prepared.summariser.context(
        Named("modalities_used", "fused", "", version=FUSED_VERSION), used
    )
    for track, samples in prepared.others:
        apart = _probability_blocks(prepared, "face", _face_evidence(prepared, samples))
        blocks += [replace(block, track=str(track)) for block in apart]
    estimates = disagreement_estimates(
        prepared.spans,
        prepared.summariser.comparison.in_baseline,
        {name: _valence(prepared, found) for name, found in evidence.items()},
        given.experimental | given.apart,
    )
    estimates["no_emotion"] = _none_named(prepared, evidence["text"])
    blocks += [
        block
        for definition in definitions()
        if definition.id in estimates
        for block in prepared.summariser.blocks(definition, estimates[definition.id])
    ]
    return tuple(blocks)


def causal_blocks(
    faces: FaceStream,
    window: Interval,
    *,
    labels: LabelSet | None = None,
    unvalidated: frozenset[str] = frozenset(),
) -> tuple[MeasureBlock, ...]:
    """The rows of one window that are final at its end, from the samples in it alone.

    Args:
        faces: Samples of the window, with the person's tracks.
        window: The window.
        labels: Classes of the probabilities; None without a model.
        unvalidated: Labels the model knows by their prompt only.
    """
    prepared = prepare_window(faces, window, labels, unvalidated)
    found = estimates_of_face(prepared.face, prepared.spans, prepared.roles, None)
    causal = {d.id: found[d.id] for d in definitions() if d.causal}
    chances = _probability_blocks(prepared, "face", _face_evidence(prepared, prepared.face))
    return (*plain_blocks(prepared, causal), *chances)


def _nothing(prepared: Prepared, reason: str) -> Evidence:
    n = len(prepared.spans)
    table = np.full((n, len(prepared.roles.labels)), np.nan)
    no = missing(n, reason)
    return Evidence(table, table, no.n_expected, no.n_valid, no.confidence, no.reason, np.zeros(n))


def _face_evidence(prepared: Prepared, face: FaceSamples | None) -> Evidence:
    """Mean of the probabilities of the valid samples."""
    if face is None or face.chances is None or face.raw is None:
        return _nothing(prepared, "no_video" if face is None else "no_model")
    chosen = choose(face, prepared.spans, readable(face))
    n, valid = np.maximum(chosen.n_valid, 1)[:, None], (chosen.reason == 0)[:, None]
    sums = (sum_rows(table[chosen.index], chosen.rows) for table in (face.chances, face.raw))
    chances, raw = (np.where(valid, total / n, np.nan) for total in sums)
    return Evidence(
        chances,
        raw,
        chosen.n_expected,
        chosen.n_valid,
        chosen.confidence,
        chosen.reason,
        evidence_share(chosen.n_valid / np.maximum(chosen.n_expected, 1), MIN_SHARE, 1.0),
    )


def _voice_evidence(prepared: Prepared) -> Evidence:
    """The windows' own probabilities; on longer spans their mean by overlap."""
    given, spans = prepared.given, prepared.spans
    if given.voice is None or given.voice_probabilities is None or not given.labels:
        return _nothing(prepared, "no_audio" if given.voice is None else "no_model")
    edges = bounds(given.windows)
    table = np.asarray(given.voice_probabilities, np.float64)
    known = np.asarray(np.isfinite(table).all(axis=1))
    raw, weight = _weighted(edges[known], table[known], spans)
    whole = Mass(edges).within(spans)
    part = spans.parts["window"]
    raw[part] = np.where(known[:, None], table, np.nan)
    few = (weight < MIN_SHARE * whole - SAME_SUM_S) | (weight <= SAME_SUM_S)
    n_valid, n_expected = (
        lengths(rows_in(some.mean(axis=1), spans)) for some in (edges[known], edges)
    )
    few[part], n_valid[part], n_expected[part] = ~known, known, 1
    spoilt = given.voice.are_clipped(spans.start_s, spans.end_s)
    reason = first_reason((few & spoilt, "clipped"), (few, "silence"), n=len(spans))
    said = prepared.voice.speaking if prepared.voice else Stretches(np.empty((0, 2)))
    share = evidence_share(said.within(spans), MIN_SPEECH_S, FULL_SPEECH_S)
    return _evidence(
        prepared, raw, (n_expected, n_valid), np.full(len(spans), np.nan), reason, share
    )


def _text_evidence(prepared: Prepared) -> Evidence:
    """Mean of the utterances' probabilities, weighted by the seconds they overlap the span."""
    given, spans = prepared.given, prepared.spans
    utterances = given.transcript.utterances if given.transcript else ()
    if not utterances or given.text_probabilities is None or not given.labels:
        return _nothing(prepared, "no_model" if utterances else "no_transcript")
    edges = bounds(u.interval for u in utterances)
    own, _ = belongs_to_target(given.turns, [u.speaker for u in utterances], edges.mean(axis=1))
    table = np.asarray(given.text_probabilities, np.float64)
    known = np.asarray(np.isfinite(table).all(axis=1))
    good = own & known
    raw, weight = _weighted(edges[good], table[good], spans)
    said, others = (Mass(edges[some]).within(spans) for some in (own, ~own))
    needed = np.minimum(MIN_TEXT_S, spans.duration_s / 2.0)
    # The utterances left out are no random sample: half of the words have to be there.
    least = np.maximum(needed, MIN_SHARE * said)
    few = weight < np.maximum(least - SAME_SUM_S, SAME_SUM_S)
    reason = first_reason(
        (few & (said >= needed), _why_no_text(given, edges, own & ~known, spans)),
        (few & (others > said), "other_speaker"),
        (few, "silence"),
        n=len(spans),
    )
    sure = np.array([np.nan if u.confidence is None else u.confidence for u in utterances])
    rated = good & np.isfinite(sure)
    confidence, held_s = _weighted(edges[rated], sure[rated, None], spans)
    confidence = np.where(held_s > SAME_SUM_S, confidence[:, 0], np.nan)
    n_own, n_good = (
        np.rint(Mass(edges[some], np.ones(some.sum())).within(spans)) for some in (own, good)
    )
    n = (n_own.astype(np.int64), np.maximum(n_good, ~few).astype(np.int64))
    share = evidence_share(weight, least, np.maximum(FULL_SPEECH_S, said))
    return _evidence(prepared, raw, n, confidence, reason, share)


def _none_named(prepared: Prepared, words: Evidence) -> Estimate:
    """How likely readers are to name no emotion in what is said, where words are valid."""
    given, none = prepared.given, prepared.given.text_none
    utterances = given.transcript.utterances if given.transcript else ()
    if none is None or not utterances or not np.isfinite(none).any():
        return missing(len(prepared.spans), "no_model" if utterances else "no_transcript")
    edges = bounds(u.interval for u in utterances)
    own, _ = belongs_to_target(given.turns, [u.speaker for u in utterances], edges.mean(axis=1))
    good = own & np.isfinite(none)
    mean, _ = _weighted(edges[good], np.asarray(none, np.float64)[good, None], prepared.spans)
    return words.estimate(np.where(words.reason == 0, mean[:, 0], np.nan))


def _why_no_text(given: MeasureInput, edges: Floats, left_out: Flags, spans: Spans) -> Codes:
    """(S,) the reason why most words were left out."""
    names = given.text_reasons or ("no_model",) * len(edges)
    reasons = np.array([CODE[name or "no_model"] for name in names], np.int8)
    codes = np.unique(reasons[left_out])
    if not len(codes):
        return np.full(len(spans), CODE["no_model"], np.int8)
    some = [edges[left_out & (reasons == code)] for code in codes]
    seconds = np.stack([Mass(e).within(spans) for e in some])
    return np.asarray(codes[seconds.argmax(axis=0)], np.int8)


def _weighted(edges: Floats, table: Floats, spans: Spans) -> tuple[Floats, Floats]:
    """(S, C) mean of rows weighted by overlap, NaN where there is none, and (S,) the seconds."""
    seconds = edges[:, 1] - edges[:, 0]
    weight = Mass(edges).within(spans)
    mean = np.full((len(spans), table.shape[1]), np.nan)
    for values, out in zip(table.T, mean.T, strict=True):
        total = Mass(edges, seconds * values).within(spans)
        np.divide(total, weight, out=out, where=weight > SAME_SUM_S)
    return mean, weight


def _evidence(
    prepared: Prepared, raw: Floats, counts: tuple[Counts, Counts], confidence: Floats,
    reason: Codes, share: Floats,
) -> Evidence:  # fmt: skip
    raw = np.where((reason == 0)[:, None], raw, np.nan)
    return Evidence(prepared.roles.usable(raw), raw, *counts, confidence, reason, share)


def _fused(evidence: dict[Modality, Evidence], prepared: Prepared) -> tuple[Evidence, Estimate]:
    """The log-linear pool of the modalities that are there, and which these are."""
    n = len(prepared.spans)
    tables, shares, sure, reasons = (
        np.stack([getattr(each, name) for each in evidence.values()])  # (3, S) or (3, S, K)
        for name in ("chances", "share", "confidence", "reason")
    )
    apart = np.array([name in prepared.given.apart for name in evidence])[:, None]
    there = (reasons == 0) & ~apart & np.isfinite(tables).all(axis=2)
    validated = np.array(prepared.roles.validated, np.float64)
    index, took_part = pool_spans(prepared.spans, tables, shares, there, validated)
    count = took_part.sum(axis=0)
    rated = took_part & np.isfinite(sure)
    confidence = ratio(np.where(rated, sure, 0.0).sum(axis=0), rated.sum(axis=0))
    reasons = np.where(apart & (reasons == 0), CODE["unvalidated"], reasons)
    # Nothing is there: the face says why where there is video, else the voice, else the words.
    first = np.select(
        [reasons[0] != CODE["no_video"], reasons[1] != CODE["no_audio"]],
        [reasons[0], reasons[1]],
        reasons[2],
    )
    reason = np.where(count > 0, 0, first).astype(np.int8)
    expected = np.full(n, int((~apart).sum()), np.int64)
    bits = np.array([USED_BITS[name] for name in evidence], np.float64)
    used = Estimate("given", (bits @ took_part,), expected, count, confidence, np.zeros(n, np.int8))
    return Evidence(index, index, expected, count, confidence, reason, np.ones(n)), used


def _probability_blocks(
    prepared: Prepared, modality: Modality, found: Evidence
) -> Iterator[MeasureBlock]:
    roles, context = prepared.roles, prepared.summariser.context
    fused = modality == "fused"
    named = Named("valence", modality, "−1–1", version=FUSED_VERSION if fused else "1")
    for column, label in enumerate(roles.labels):
        own = replace(named, measure=f"p_{label}", unit=INDEX_UNIT if fused else "0–1")
        if roles.validated[column]:
            yield from context(own, found.estimate(found.chances[:, column]))
            continue
        # Shown as the model gave them, and marked, but not fused and not for the session.
        shown = np.full(len(found.reason), np.nan) if fused else found.raw[:, column].copy()
        shown[prepared.spans.parts["session"]] = np.nan
        codes = np.where(found.reason == 0, CODE["unvalidated"], found.reason)
        hidden = replace(found.estimate(shown), reason=codes)
        yield from context(replace(own, experimental=True), hidden, marked=True)
    yield from context(named, _valence(prepared, found))


def _valence(prepared: Prepared, found: Evidence) -> Estimate:
    """V = p_joy - sum of p_negative on each span."""
    if why := prepared.roles.reason("joy", "negative"):
        return missing(len(prepared.spans), why if prepared.roles.labels else "no_model")
    return found.estimate(found.chances @ prepared.roles.valence_weights())


# -- while a source is running ---------------------------------------------------------------------
#
# Only what *is* final at a window's end is given: measures and class probabilities of the face that
# declare themselves causal (``Definition.causal``, ``CAUSAL_CONTEXT``). Memory and time are those
# of one window, whatever the length of the source.

Measure = Callable[[FaceStream, Interval], tuple[MeasureBlock, ...]]
"""What is measured in a window, from the samples in it; :func:`causal_blocks` is such."""


class WindowStream:
    """Takes face samples as they become final and gives windows.

    Args:
        measure: What is measured.
        window_s: Length of a window, seconds.
        hop_s: Step between windows, seconds.
    """

    def __init__(self, measure: Measure, window_s: float = 4.0, hop_s: float = 1.0) -> None:
        self._measure, self._window_s, self._hop_s = measure, window_s, hop_s
        self._held: list[FaceStream] = []
        self._next = 0

    def add(
        self, faces: FaceStream, until_s: float = -np.inf
    ) -> tuple[tuple[MeasureBlock, ...], ...]:
        """Take the next samples; all windows that end by the last of them are final.

        Args:
            faces: Samples later than those before. Without ``targets`` the face that is largest and
                longest in the window stands for the person: who that is, the whole recording says.
            until_s: No sample before this time will come any more: windows up to it are final
                even without one.

        Returns:
            The rows of each window that became final, in order.
        """
        self._held.append(faces)
        times = faces.sample_times_s
        reached = max(until_s, float(times[-1]) if len(times) else -np.inf)
        found = []
        while (end_s := self._next * self._hop_s + self._window_s) <= reached + 1e-9:
            window = Interval(self._next * self._hop_s, end_s)
            found.append(self._measure(_joined(self._held, window), window))
            self._next += 1
        self._held = [
            part for part in self._held if (part.sample_times_s >= self._next * self._hop_s).any()
        ]
        return tuple(found)


def _joined(parts: Sequence[FaceStream], window: Interval) -> FaceStream:
    """The samples of a window as one stream."""
    pieces = defaultdict(list)
    for track in (track for part in parts for track in part.tracks):
        pieces[track.track_id].append(track)
    joined = [_joined_track(pieces[k], window) for k in sorted(pieces)]
    tracks = tuple(track for track in joined if len(track.times_s))
    times = np.concatenate([part.sample_times_s for part in parts])
    inside = _inside(times, window)
    return replace(
        parts[-1],
        sample_times_s=times[inside],
        n_faces=np.concatenate([part.n_faces for part in parts])[inside],
        tracks=tracks,
        targets=tuple(sorted({k for part in parts for k in part.targets})) or _largest(tracks),
    )


def _inside(times_s: Floats, window: Interval) -> Flags:
    return (times_s >= window.start_s - SAME_S) & (times_s < window.end_s - SAME_S)


def _joined_track(pieces: Sequence[FaceTrack], window: Interval) -> FaceTrack:
    """The samples of one track in a window."""
    inside = _inside(np.concatenate([piece.times_s for piece in pieces]), window)
    columns: dict[str, Any] = {
        each.name: np.concatenate([getattr(piece, each.name) for piece in pieces])[inside]
        for each in fields(FaceTrack)
        if isinstance(getattr(pieces[0], each.name), np.ndarray)
    }
    return replace(pieces[0], **columns)


def _largest(tracks: Sequence[FaceTrack]) -> tuple[int, ...]:
    """The track of most area times presence."""

    def weight(track: FaceTrack) -> float:
        sides = track.boxes_xyxy[:, 2:] - track.boxes_xyxy[:, :2]
        return float(np.median(sides[:, 0] * sides[:, 1]) * len(sides))

    return (max(tracks, key=weight).track_id,) if tracks else ()
