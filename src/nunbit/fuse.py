"""Class probabilities of face, voice and words side by side, and fused from what is there.

Late fusion: each modality gives its class probabilities for a window; the fused ones are the plain
mean of those that are there (equal weights: nothing has been learned that would justify others).
What is missing, and what an experimental model says, takes no part and is named. Where two
modalities differ in apparent valence the window is incongruent. Pure. S spans, W windows, K labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nunbit.measures.compute import Prepared, prepare
from nunbit.measures.definitions import Definition, definitions
from nunbit.measures.episodes import PAIRS, find_episodes, find_states
from nunbit.measures.estimate import (
    CODE,
    NAMES,
    Codes,
    Counts,
    Estimate,
    first_reason,
    mean_confidence,
    missing,
)
from nunbit.measures.face_samples import MIN_SHARE, FaceSamples, choose, readable
from nunbit.measures.inputs import MeasureInput
from nunbit.measures.spans import (
    Mass,
    Spans,
    bounds,
    lengths,
    rows_in,
    sum_rows,
)
from nunbit.measures.words import belongs_to_target
from nunbit.streams import Floats, MeasureBlock, Modality, Scope

MIN_TEXT_S = 1.0
"""Speech that words must cover; half the span where that is shorter ("네" is a turn too)."""

MODALITIES: tuple[Modality, ...] = ("face", "voice", "text")
USED_BITS = {"face": 1, "voice": 2, "text": 4}
"""``modalities_used`` adds up what took part in the fused probabilities."""

_SAME_S = 1e-6

__all__ = ["MIN_TEXT_S", "MODALITIES", "USED_BITS", "find_episodes", "find_states", "fuse_windows"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one modality says about each span.

    Attributes:
        chances: (S, K) over the validated classes, rows sum to one; NaN where missing.
        raw: (S, K) over all classes as the model gave them, for the unvalidated ones.
        n_expected: (S,).
        n_valid: (S,).
        confidence: (S,) NaN where there is none.
        reason: (S,) codes of ``REASONS``.
    """

    chances: Floats
    raw: Floats
    n_expected: Counts
    n_valid: Counts
    confidence: Floats
    reason: Codes


def fuse_windows(given: MeasureInput) -> tuple[MeasureBlock, ...]:
    """Class probabilities per modality and fused, valence, and incongruence, on all scopes.

    ``p_<label>`` and ``valence`` for face, voice, text and fused; ``modalities_used`` says which
    took part (face 1, voice 2, text 4, added up). Unvalidated classes take no part: in windows,
    turns and questions of a single modality they are shown as the model gave them and marked;
    fused and for the session they are missing. Other people's faces are marked by ``track``.
    """
    prepared = prepare(given)
    evidence = evidence_of(prepared)
    fused, used = _fused(evidence, prepared)
    blocks: list[MeasureBlock] = []
    for modality, found in (*evidence.items(), ("fused", fused)):
        blocks += _probability_blocks(prepared, modality, found)
    blocks += _context_blocks(prepared, "modalities_used", "fused", "", used)
    for track, samples in prepared.others:
        apart = _probability_blocks(prepared, "face", _face_evidence(prepared, samples))
        blocks += [replace(block, track=str(track)) for block in apart]
    return (*blocks, *_incongruence_blocks(prepared, evidence))


def evidence_of(prepared: Prepared) -> dict[Modality, Evidence]:
    """What each modality says about each span, missing ones included."""
    return {
        "face": _face_evidence(prepared, prepared.face),
        "voice": _voice_evidence(prepared),
        "text": _text_evidence(prepared),
    }


def _nothing(prepared: Prepared, reason: str) -> Evidence:
    empty = missing(len(prepared.spans), reason)
    table = np.full((len(prepared.spans), len(prepared.roles.labels)), np.nan)
    return Evidence(table, table, empty.n_expected, empty.n_valid, empty.confidence, empty.reason)


def _face_evidence(prepared: Prepared, face: FaceSamples | None) -> Evidence:
    """Mean of the probabilities of the valid samples."""
    if face is None:
        return _nothing(prepared, "no_video")
    if face.chances is None or face.raw is None:
        return _nothing(prepared, "no_model")
    chosen = choose(face, prepared.spans, readable(face))
    n = np.maximum(chosen.n_valid, 1)[:, None]
    tables = [
        np.where(
            (chosen.reason == 0)[:, None],
            sum_rows(table[chosen.index], chosen.rows) / n,
            np.nan,
        )
        for table in (face.chances, face.raw)
    ]
    return Evidence(
        tables[0],
        tables[1],
        chosen.n_expected,
        chosen.n_valid,
        chosen.confidence,
        chosen.reason,
    )


def _voice_evidence(prepared: Prepared) -> Evidence:
    """The windows' own probabilities; on longer spans their mean by overlap."""
    given, spans = prepared.given, prepared.spans
    if given.voice is None:
        return _nothing(prepared, "no_audio")
    if given.voice_probabilities is None or not len(given.labels):
        return _nothing(prepared, "no_model")
    edges = bounds(given.windows)
    table = np.asarray(given.voice_probabilities, np.float64)
    known = np.asarray(np.isfinite(table).all(axis=1))
    raw, weight = _weighted(edges[known], table[known], spans)
    whole = Mass(edges[:, 0], edges[:, 1]).within(spans)
    part = spans.parts["window"]
    raw[part] = np.where(known[:, None], table, np.nan)
    few = weight < MIN_SHARE * whole - _SAME_S
    few |= weight <= _SAME_S
    few[part] = ~known
    rows = rows_in(edges[known].mean(axis=1), spans)
    n_valid = lengths(rows)
    n_valid[part] = known
    n_expected = lengths(rows_in(edges.mean(axis=1), spans))
    n_expected[part] = 1
    spoilt = given.voice.are_clipped(spans.start_s, spans.end_s)
    reason = first_reason((few & spoilt, "clipped"), (few, "silence"), n=len(spans))
    return _evidence(prepared, raw, (n_expected, n_valid), np.full(len(spans), np.nan), reason)


def _text_evidence(prepared: Prepared) -> Evidence:
    """Mean of the utterances' probabilities, weighted by the seconds they overlap the span."""
    given, spans = prepared.given, prepared.spans
    if given.transcript is None or not given.transcript.utterances:
        return _nothing(prepared, "no_transcript")
    if given.text_probabilities is None or not len(given.labels):
        return _nothing(prepared, "no_model")
    utterances = given.transcript.utterances
    edges = bounds(u.interval for u in utterances)
    own, _ = belongs_to_target(given.turns, [u.speaker for u in utterances], edges.mean(axis=1))
    table = np.asarray(given.text_probabilities, np.float64)
    known = np.asarray(np.isfinite(table).all(axis=1))
    good = own & known
    raw, weight = _weighted(edges[good], table[good], spans)
    said = Mass(edges[own, 0], edges[own, 1]).within(spans)
    others = Mass(edges[~own, 0], edges[~own, 1]).within(spans)
    needed = np.minimum(MIN_TEXT_S, spans.duration_s / 2.0)
    few = weight < np.maximum(needed - _SAME_S, _SAME_S)
    reason = first_reason(
        (few & (said >= needed), "no_model"),
        (few & (others > said), "other_speaker"),
        (few, "silence"),
        n=len(spans),
    )
    sure = np.array([np.nan if u.confidence is None else u.confidence for u in utterances])
    rated = good & np.isfinite(sure)
    confidence, held_s = _weighted(edges[rated], sure[rated, None], spans)
    confidence = np.where(held_s > _SAME_S, confidence[:, 0], np.nan)
    counts = [
        np.rint(Mass(edges[some, 0], edges[some, 1], np.ones(some.sum())).within(spans))
        for some in (own, good)
    ]
    n = (counts[0].astype(np.int64), np.maximum(counts[1], ~few).astype(np.int64))
    return _evidence(prepared, raw, n, confidence, reason)


def _weighted(edges: Floats, table: Floats, spans: Spans) -> tuple[Floats, Floats]:
    """(S, C) mean of rows weighted by overlap, NaN where there is none, and (S,) the seconds."""
    seconds = edges[:, 1] - edges[:, 0]
    weight = Mass(edges[:, 0], edges[:, 1]).within(spans)
    mean = np.full((len(spans), table.shape[1]), np.nan)
    for column in range(table.shape[1]):
        total = Mass(edges[:, 0], edges[:, 1], seconds * table[:, column]).within(spans)
        np.divide(total, weight, out=mean[:, column], where=weight > _SAME_S)
    return mean, weight


def _evidence(
    prepared: Prepared, raw: Floats, counts: tuple[Counts, Counts], confidence: Floats,
    reason: Codes,
) -> Evidence:  # fmt: skip
    raw = np.where((reason == 0)[:, None], raw, np.nan)
    return Evidence(prepared.roles.usable(raw), raw, counts[0], counts[1], confidence, reason)


def _fused(evidence: dict[Modality, Evidence], prepared: Prepared) -> tuple[Evidence, Estimate]:
    """Mean of the modalities that are there, and which these are."""
    n = len(prepared.spans)
    apart = np.array([name in prepared.given.apart for name in evidence])[:, None]
    there = np.stack([e.reason == 0 for e in evidence.values()]) & ~apart  # (3, S)
    count = there.sum(axis=0)
    tables = np.stack([e.chances for e in evidence.values()])  # (3, S, K)
    total = np.where(there[:, :, None], np.nan_to_num(tables), 0.0).sum(axis=0)
    mean = np.full(total.shape, np.nan)
    np.divide(total, count[:, None], out=mean, where=(count > 0)[:, None])
    sure = np.stack([e.confidence for e in evidence.values()])
    rated = there & np.isfinite(sure)
    confidence = mean_confidence(np.where(rated, sure, 0.0).sum(axis=0), rated.sum(axis=0))
    reasons = np.stack([e.reason for e in evidence.values()])
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
    used = Estimate("given", (bits @ there,), expected, count, confidence, np.zeros(n, np.int8))
    return Evidence(mean, mean, expected, count, confidence, reason), used


def _probability_blocks(
    prepared: Prepared, modality: Modality, found: Evidence
) -> list[MeasureBlock]:
    roles = prepared.roles
    blocks: list[MeasureBlock] = []
    for column, label in enumerate(roles.labels):
        name = f"p_{label}"
        if roles.validated[column]:
            estimate = _estimate(found, found.chances[:, column])
            blocks += _context_blocks(prepared, name, modality, "0–1", estimate)
            continue
        hidden = np.full(len(found.reason), CODE["unvalidated"], np.int8)
        codes = np.where(found.reason == 0, hidden, found.reason).astype(np.int8)
        shown = np.full(len(codes), np.nan) if modality == "fused" else found.raw[:, column].copy()
        shown[prepared.spans.parts["session"]] = np.nan
        blocks += _context_blocks(
            prepared, name, modality, "0–1",
            Estimate("given", (shown,), found.n_expected, found.n_valid, found.confidence, codes),
            marked=True,
        )  # fmt: skip
    valence = valence_of(prepared, found)
    return blocks + _context_blocks(prepared, "valence", modality, "−1–1", valence)


def _estimate(found: Evidence, value: Floats) -> Estimate:
    return Estimate(
        "given", (value,), found.n_expected, found.n_valid, found.confidence, found.reason
    )


def valence_of(prepared: Prepared, found: Evidence) -> Estimate:
    """V = p_joy - sum of p_negative on each span."""
    if why := prepared.roles.reason("joy", "negative"):
        why = "no_model" if not prepared.roles.labels else why
        return missing(len(prepared.spans), why)
    return _estimate(found, found.chances @ prepared.roles.valence_weights())


def _context_blocks(
    prepared: Prepared, name: str, modality: Modality, unit: str, estimate: Estimate,
    *, marked: bool = False,
) -> list[MeasureBlock]:  # fmt: skip
    """Rows of every scope for what is context and no measure of its own: no grade."""
    blocks = []
    summariser = prepared.summariser
    # A marked value is shown although it has a reason.
    value = estimate.parts[0] if marked else estimate.value
    scopes: dict[Scope, str] = summariser.scopes
    for scope, empty in scopes.items():
        part = prepared.spans.parts[scope]
        shown, codes = value[part].copy(), estimate.reason[part].copy()
        if empty:
            shown[:] = np.nan
            codes = np.where(codes == 0, CODE[empty], codes).astype(np.int8)
        codes = np.where(np.isnan(shown) & (codes == 0), CODE["too_few"], codes)
        n_valid = estimate.n_valid[part]
        blocks.append(
            MeasureBlock(
                scope=scope,
                modality=modality,
                measure=name,
                unit=unit,
                grade=None,
                t_start=prepared.spans.start_s[part],
                t_end=prepared.spans.end_s[part],
                value=shown,
                n_expected=estimate.n_expected[part],
                n_valid=np.zeros_like(n_valid) if empty else n_valid,
                confidence=estimate.confidence[part],
                mask_reason=NAMES[codes],
                experimental=marked,
            )
        )
    return blocks


def _incongruence_blocks(
    prepared: Prepared, evidence: dict[Modality, Evidence]
) -> list[MeasureBlock]:
    estimates = incongruence_estimates(prepared, evidence)
    blocks: list[MeasureBlock] = []
    for definition in _incongruences():
        blocks += prepared.summariser.blocks(definition, estimates[definition.id])
    return blocks


def _incongruences() -> tuple[Definition, ...]:
    return tuple(d for d in definitions() if d.id.startswith("incongruence"))


def incongruence_estimates(
    prepared: Prepared, evidence: dict[Modality, Evidence]
) -> dict[str, Estimate]:
    """Half the difference of apparent valence, for each pair and over the pairs that are there.

    Windows and turns compare what the modalities say about that very span; questions and the
    session are the mean over the windows inside, because modalities that take turns in being sad
    would cancel out in one long average.
    """
    valences = {name: valence_of(prepared, found) for name, found in evidence.items()}
    found: dict[str, Estimate] = {}
    sizes = []
    for a, b in PAIRS:
        first, second = valences[a], valences[b]
        reason = np.where(first.reason != 0, first.reason, second.reason).astype(np.int8)
        signed = (first.parts[0] - second.parts[0]) / 2.0
        confidence = np.nanmin(
            np.stack([first.confidence, second.confidence, np.full(len(reason), np.inf)]), axis=0
        )
        confidence = np.where(np.isfinite(confidence), confidence, np.nan)
        name = f"incongruence_{a}_{b}"
        found[name] = _averaged(prepared.spans, np.abs(signed), confidence, reason)
        found[f"{name}_signed"] = _averaged(prepared.spans, signed, confidence, reason)
        sizes.append(np.where(reason == 0, np.abs(signed), np.nan))
    stack = np.stack(sizes)
    n_pairs = np.isfinite(stack).sum(axis=0)
    mean = mean_confidence(np.nansum(stack, axis=0), n_pairs)
    # Words are rarer than sound, and sound than pictures: the pair of face and words says most.
    reason = np.where(n_pairs > 0, 0, found["incongruence_face_text"].reason).astype(np.int8)
    single = np.stack([v.reason == 0 for v in valences.values()]).sum(axis=0)
    reason = np.where((reason == 0) & (n_pairs == 0) & (single < 2), CODE["too_few"], reason)
    found["incongruence"] = _averaged(
        prepared.spans, mean, np.full(len(mean), np.nan), reason.astype(np.int8)
    )
    return found


def _averaged(spans: Spans, value: Floats, confidence: Floats, reason: Codes) -> Estimate:
    """Windows and turns as they are; longer spans as the mean of the windows inside."""
    part = spans.parts["window"]
    centres = (spans.start_s[part] + spans.end_s[part]) / 2.0
    good = np.flatnonzero(reason[part] == 0)
    rows = rows_in(centres[good], spans)
    count = lengths(rows)
    total = sum_rows(value[part][good], rows)
    direct = spans.is_a("window", "turn")
    n_expected = np.where(direct, 1, lengths(rows_in(centres, spans)))
    valid = (reason == 0).astype(np.int64)
    n_valid = np.where(direct, valid, count)
    kinds, counts = np.unique(reason[part][reason[part] != 0], return_counts=True)
    usual = kinds[np.argmax(counts)] if len(kinds) else CODE["too_few"]
    codes = np.where(direct, reason, np.where(count > 0, 0, usual)).astype(np.int8)
    parts = (
        np.where(direct, np.where(valid > 0, value, 0.0), total),
        n_valid.astype(np.float64),
    )
    return Estimate("ratio", parts, n_expected, n_valid, confidence, codes)
