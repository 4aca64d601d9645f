"""How far two modalities differ in apparent valence, each held against the person's usual.

A model that reads every face as a little sad, or every sentence as a little angry, differs from the
other one all the time: that is its bias, not disagreement. So what usually stands between the two,
the median over the person's windows, is taken away first; a constant bias of either is gone with
it. What lasts longer than half of the recording counts as usual. Modalities with an experimental
model take no part. Pure. S spans, W windows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from nunbit.measures.compute import Prepared
from nunbit.measures.episodes import PAIRS
from nunbit.measures.estimate import CODE, Codes, Estimate, first_reason, mean_confidence
from nunbit.measures.spans import Spans, covered_s, lengths, rows_in, sum_rows
from nunbit.streams import Flags, Floats, Modality

MIN_USUAL_S = 30.0
"""Windows in which both modalities are read must cover this much before one can say what is usual:
half of what a marked baseline needs, because only a middle is taken from it, no spread. Thirty
seconds hold seven windows of 4 s that share no sample."""

_SAME_S = 1e-6


def disagreement_estimates(
    prepared: Prepared, valences: Mapping[Modality, Estimate], out: Collection[Modality]
) -> dict[str, Estimate]:
    """Half the difference of valence less its usual one, for each pair and over the pairs.

    Windows and turns compare what the modalities say about that very span; questions and the
    session are the mean over the windows inside, because modalities that take turns in being sad
    would cancel out in one long average.

    Args:
        prepared: Spans, and the baseline the user marked, if any.
        valences: Apparent valence of face, voice and words on all spans.
        out: Modalities that may not be compared.
    """
    spans = prepared.spans
    found: dict[str, Estimate] = {}
    sizes = []
    for a, b in PAIRS:
        first, second = valences[a], valences[b]
        apart = np.full(len(spans), a in out or b in out)
        reason = first_reason(
            (first.reason != 0, first.reason),
            (second.reason != 0, second.reason),
            (apart, "unvalidated"),
            n=len(spans),
        )
        differ = (first.parts[0] - second.parts[0]) / 2.0
        usual = _usual(prepared, differ, reason == 0)
        if np.isnan(usual):
            reason[reason == 0] = CODE["too_few"]
        signed = differ - usual
        confidence = np.fmin(first.confidence, second.confidence)
        name = f"incongruence_{a}_{b}"
        found[name] = _averaged(spans, np.abs(signed), confidence, reason)
        found[f"{name}_signed"] = _averaged(spans, signed, confidence, reason)
        sizes.append(np.where(reason == 0, np.abs(signed), np.nan))
    stack = np.stack(sizes)
    n_pairs = np.isfinite(stack).sum(axis=0)
    mean = mean_confidence(np.nansum(stack, axis=0), n_pairs)
    # Words are rarer than sound, and sound than pictures: the pair of face and words says most.
    why = found["incongruence_face_text"].reason
    single = np.stack([v.reason == 0 for v in valences.values()]).sum(axis=0) < 2
    why = np.where(single & (why == 0), CODE["too_few"], why)
    reason = np.where(n_pairs > 0, 0, why).astype(np.int8)
    found["incongruence"] = _averaged(spans, mean, np.full(len(mean), np.nan), reason)
    return found


def _usual(prepared: Prepared, differ: Floats, both: Flags) -> float:
    """Median difference over the windows that have both; NaN where these cover too little.

    The windows of the marked baseline are taken where they hold enough, else all: only windows
    with both, so that a mouth that speaks is not held against one that listens.
    """
    part = prepared.spans.parts["window"]
    starts, ends = prepared.spans.start_s[part], prepared.spans.end_s[part]
    for inside in (both[part] & prepared.summariser.in_baseline, both[part]):
        if covered_s(starts[inside], ends[inside]) >= MIN_USUAL_S - _SAME_S:
            return float(np.median(differ[part][inside]))
    return float("nan")


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
