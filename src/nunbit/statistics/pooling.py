"""Fuse the class probabilities of several modalities into one index: a log-linear pool.

Class by class the pool adds up what each modality speaks for, ``log p(c | x) - log prior(c)``, to
the log prior (Genest and Zidek 1986, Statistical Science 1: the logarithmic opinion pool; with
weight one it is Bayes' rule for modalities that are independent given the class). A modality that
equals the prior, or has no evidence, changes nothing. The result is an index and no calibrated
probability: the weights were never fitted to recordings in which face, voice and words belong
together. Pure. M modalities, S spans, K classes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from nunbit.core.spans import Rows, Spans, lengths, sum_rows
from nunbit.core.streams import Flags, Floats
from nunbit.core.timebase import SAME_SUM_S

FLOOR = 1e-6
"""Share of the prior mixed into every distribution, so that a rounded zero is no proof: a class
loses at most log 1e6 from one modality."""

FADE = 0.2
"""Of a modality's evidence on a longer span: with more its windows count in full, with less it
fades out, so that the span's index does not jump where the modality comes to be masked."""

_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


def evidence_share(amount: Floats, least: Floats | float, full: Floats | float) -> Floats:
    """(S,) how far the evidence is complete: 0 up to ``least``, 1 from ``full``, linear between.

    ``least`` is where a value is masked, so that nothing jumps when it comes or goes.
    """
    step = np.maximum(np.asarray(full, np.float64) - least, 1e-12)
    share = np.clip((np.asarray(amount, np.float64) - least) / step, 0.0, 1.0)
    return np.asarray(np.nan_to_num(share))


def relative_weights(shares: Floats, there: Flags) -> Floats:
    """(M, S) weights: one for the modality with most evidence on the span, less for the others.

    A single modality is therefore shown unchanged, however little evidence it has.

    Args:
        shares: (M, S) 0 to 1.
        there: (M, S) whether a modality has a value that may take part.
    """
    shares = np.where(there, shares, 0.0)
    most = shares.max(axis=0, initial=0.0)
    # Where all are at the very edge of being masked none is better than another.
    return np.where(most > 0, shares / np.where(most > 0, most, 1.0), there.astype(np.float64))


def pool(tables: Floats, weights: Floats, prior: Floats | None = None) -> Floats:
    """Log-linear pool of the modalities' class probabilities.

    Args:
        tables: (M, S, K) rows sum to one; NaN rows where the weight is zero.
        weights: (M, S) 0 to 1; zero leaves a modality out.
        prior: (K,) class probabilities before any evidence, up to a factor; zero leaves a class
            out. None means equal for all classes, because bundles state no other prior.

    Returns:
        (S, K) rows sum to one; NaN where no modality has any weight.
    """
    prior = np.ones(tables.shape[-1]) if prior is None else np.asarray(prior, np.float64)
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
    return np.where(used.any(axis=0, keepdims=True).T, pooled, np.nan)


def pool_spans(
    spans: Spans, tables: Floats, shares: Floats, there: Flags, prior: Floats | None = None
) -> tuple[Floats, Flags]:
    """The index of every span: of windows and what is shorter the pool, of longer spans a mean.

    Spans that hold whole windows are not pooled anew. The windows of one recording are alike, and
    what face and words say on average over an hour is not an hour's worth of independent evidence:
    the mean of the windows' indices is never surer than they are, however many. What is masked on
    the span as a whole takes no part in its windows, and fades out before. Where one modality alone
    took part, its own value on the span is the index.

    Args:
        spans: S spans.
        tables: (M, S, K) what each modality says.
        shares: (M, S) how complete its evidence is, 0 to 1.
        there: (M, S) whether it may take part.
        prior: As :func:`pool` takes it.

    Returns:
        (S, K) indices, NaN where nothing is there, and (M, S) whether a modality took part.
    """
    weights = relative_weights(shares, there)
    index, took = pool(tables, weights, prior), weights > 0
    span, window = _windows_inside(spans)
    held = np.clip(shares[:, span] / FADE, 0.0, 1.0) * shares[:, window]
    inside = relative_weights(held, there[:, span] & there[:, window])
    heard = np.flatnonzero((inside > 0).any(axis=0))
    span, window, inside = span[heard], window[heard], inside[:, heard]
    found = pool(tables[:, window], inside, prior)
    rows = np.stack([np.searchsorted(span, np.arange(len(spans)), side) for side in _SIDES], axis=1)
    count = lengths(rows)
    long = count > 0
    mean = sum_rows(found, rows) / np.maximum(count, 1)[:, None]
    index = np.where(long[:, None], mean, index)
    took = np.where(long, np.stack([sum_rows(flags > 0, rows) > 0 for flags in inside]), took)
    for table, flags in zip(tables, took, strict=True):
        alone = long & flags & (took.sum(axis=0) == 1)
        index = np.where(alone[:, None], table, index)
    return index, took


def _windows_inside(spans: Spans) -> tuple[Rows, Rows]:
    """Pairs of a span that is no window, in order, and a window that lies wholly in it."""
    part = spans.parts["window"]
    starts, ends = spans.start_s[part], spans.end_s[part]
    first = np.searchsorted(starts, spans.start_s - SAME_SUM_S, "left")
    last = np.searchsorted(ends, spans.end_s + SAME_SUM_S, "right")
    count = np.where(spans.is_a("window"), 0, np.maximum(last - first, 0))
    span = np.repeat(np.arange(len(spans)), count)
    window = part.start + (first - np.cumsum(count) + count)[span] + np.arange(len(span))
    return span.astype(np.int64), window.astype(np.int64)
