"""One index from what several modalities say: a log-linear pool, weighted by evidence.

Class by class the pool adds up what each modality speaks for, ``log p(c | x) - log prior(c)``, to
the log prior (Genest and Zidek 1986, Statistical Science 1: the logarithmic opinion pool; with
weight one it is Bayes' rule for modalities that are independent given the class). A modality that
says what the prior says, or has no evidence, changes nothing. The result is an index and no
calibrated probability: the weights were never fitted to recordings in which face, voice and words
belong together. Pure. M modalities, S spans, K classes.
"""

from __future__ import annotations

import numpy as np

from nunbit.measures.spans import Spans, lengths, sum_rows
from nunbit.streams import Flags, Floats

FLOOR = 1e-6
"""Share of the prior mixed into every distribution, so that a rounded zero is no proof: a class
loses at most log 1e6 from one modality."""

_SAME_S = 1e-6


def evidence_share(amount: Floats, least: Floats | float, full: Floats | float) -> Floats:
    """(S,) how far the evidence is complete: 0 up to ``least``, 1 from ``full``, linear between.

    ``least`` is where a value is masked, so that nothing jumps when it comes or goes.
    """
    step = np.maximum(np.asarray(full, np.float64) - least, 1e-12)
    share = np.clip((np.asarray(amount, np.float64) - least) / step, 0.0, 1.0)
    return np.asarray(np.nan_to_num(share))


def relative_weights(shares: Floats, there: Flags) -> Floats:
    """(M, S) weights: the best-evidenced modality of a span weighs one, others their part of it.

    So a modality alone is shown as it is, however little there is of it.

    Args:
        shares: (M, S) 0 to 1.
        there: (M, S) whether a modality has a value that may take part.
    """
    shares = np.where(there, shares, 0.0)
    most = shares.max(axis=0, initial=0.0)
    weights = np.zeros(shares.shape)
    np.divide(shares, most, out=weights, where=most > 0)
    # All are at the very edge of being masked: none is better than another.
    return np.where(there & (most <= 0), 1.0, weights)


def pool(tables: Floats, weights: Floats, prior: Floats | None = None) -> Floats:
    """Log-linear pool of the modalities' class probabilities.

    Args:
        tables: (M, S, K) rows sum to one; NaN rows where the weight is zero.
        weights: (M, S) 0 to 1; zero leaves a modality out.
        prior: (K,) class probabilities before anything is read, up to a factor; a zero leaves a
            class out. None for the same for every class: bundles do not state another.

    Returns:
        (S, K) rows sum to one; NaN where no modality has any weight.
    """
    n_classes = tables.shape[-1]
    prior = np.ones(n_classes) if prior is None else np.asarray(prior, np.float64)
    found = np.full(tables.shape[1:], np.nan)
    known: Flags = np.greater(prior, 0.0)
    if not tables.size or not known.any():
        return found
    base = prior[known] / prior[known].sum()
    used: Flags = np.greater(weights, 0.0)
    said = np.where(used[:, :, None], tables[:, :, known], base)
    evidence = np.log((1.0 - FLOOR) * said + FLOOR * base) - np.log(base)  # (M, S, K)
    # In the order of size the sum does not depend on the order of the modalities.
    total = np.sort(evidence * weights[:, :, None], axis=0).sum(axis=0) + np.log(base)
    total -= total.max(axis=1, keepdims=True)
    grown = np.exp(total)
    pooled = np.zeros(found.shape)
    pooled[:, known] = grown / grown.sum(axis=1, keepdims=True)
    heard: Flags = np.asarray(used.any(axis=0))
    return np.where(heard[:, None], pooled, np.nan)


def over_windows(spans: Spans, tables: Floats, index: Floats, used: Flags) -> tuple[Floats, Flags]:
    """Spans that hold whole windows get the mean of these windows' indices.

    Long spans are not pooled anew: the windows of one recording are alike, and what face and words
    say on average over an hour is not an hour's worth of independent evidence. The mean is never
    surer than its windows, however many they are. Where one modality alone took part in them, its
    own value on the span is the index.

    Args:
        spans: S spans.
        tables: (M, S, K) what each modality says.
        index: (S, K) the pool of each span by itself.
        used: (M, S) whether a modality took part in it.

    Returns:
        (S, K) and (M, S) of what is shown.
    """
    part = spans.parts["window"]
    good = np.flatnonzero(np.isfinite(index[part]).all(axis=1)) if index.size else np.empty(0, int)
    starts, ends = spans.start_s[part][good], spans.end_s[part][good]
    first = np.searchsorted(starts, spans.start_s - _SAME_S, "left")
    last = np.searchsorted(ends, spans.end_s + _SAME_S, "right")
    rows = np.stack([first, np.maximum(first, last)], axis=1).astype(np.int64)
    count = lengths(rows)
    took = np.stack([sum_rows(flags[part][good], rows) > 0 for flags in used])
    long = (count > 0) & ~spans.is_a("window")
    mean = sum_rows(index[part][good], rows) / np.maximum(count, 1)[:, None]
    shown = np.where(long[:, None], mean, index)
    took = np.where(long, took, used)
    for table, flags in zip(tables, took, strict=True):
        alone = long & flags & (took.sum(axis=0) == 1) & np.isfinite(table).all(axis=1)
        shown = np.where(alone[:, None], table, shown)
    return shown, took
