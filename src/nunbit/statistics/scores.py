"""Scores of predicted classes and of their probabilities; agreement of human annotators.

Every function of a confusion matrix takes (..., K, K) with rows = truth and works on all leading
axes at once, so that 2,000 bootstrap matrices cost one call. What is undefined is NaN, never 0.
Votes are (N, A) class positions, ``NULL`` for a null vote ("cannot tell", not one of the classes),
``ABSENT`` where an image has fewer votes than others.

Calibration is read from bins of equal numbers of images (equal mass), since most images crowd into
the top tenth of confidence and equal-width bins would rest on a handful of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nunbit.core.streams import Flags, Floats, Ints, Singles

Counts = Floats | Singles | Ints


def confusion_matrix(truth: Ints, prediction: Ints, n_classes: int) -> Ints:
    """Count images by true and predicted class.

    Args:
        truth: (N,) class positions in [0, K).
        prediction: (N,) class positions in [0, K).
        n_classes: K.

    Returns:
        (K, K) int64, rows = truth.
    """
    flat = np.bincount(truth * n_classes + prediction, minlength=n_classes**2)
    return flat.reshape(n_classes, n_classes)


def top1(confusion: Counts) -> Floats:
    """Share of images whose predicted class is the true one (accuracy, WAR); (...)."""
    return ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))


def recall(confusion: Counts) -> Floats:
    """Share of each true class that was found; (..., K), NaN for a class without images."""
    return ratio(_diagonal(confusion), confusion.sum(axis=-1))


def precision(confusion: Counts) -> Floats:
    """Share of each predicted class that is right; (..., K), NaN for a class never predicted."""
    return ratio(_diagonal(confusion), confusion.sum(axis=-2))


def f1(confusion: Counts) -> Floats:
    """Harmonic mean of precision and recall; (..., K).

    Zero where a class is never right, NaN only where it is neither true nor predicted anywhere.
    """
    return ratio(2.0 * _diagonal(confusion), confusion.sum(axis=-1) + confusion.sum(axis=-2))


def macro_f1(confusion: Counts) -> Floats:
    """Mean F1 over classes true or predicted somewhere (as scikit-learn does); (...)."""
    return _mean_of_defined(f1(confusion))


def uar(confusion: Counts) -> Floats:
    """Unweighted average recall over the classes that have images (balanced accuracy); (...)."""
    return _mean_of_defined(recall(confusion))


def binary_confusion(confusion: Counts, members: list[int]) -> Floats:
    """Collapse K classes to (outside, inside) a group; (..., 2, 2), rows = truth."""
    is_member = np.isin(np.arange(confusion.shape[-1]), members)
    inside = np.stack([~is_member, is_member], axis=1).astype(np.float64)
    return np.asarray(inside.T @ confusion.astype(np.float64) @ inside)


def auroc(score: Floats, positive: Flags) -> float:
    """Probability that a positive scores above a negative, ties counting half.

    Args:
        score: (N,) any ordered numbers.
        positive: (N,) bool.

    Returns:
        In [0, 1]; NaN when one side is empty.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return math.nan
    _, group, sizes = np.unique(score, return_inverse=True, return_counts=True)
    # Mid-ranks: a group of ties shares the mean of the ranks it spans.
    mid_rank = np.cumsum(sizes) - (sizes - 1) / 2.0
    rank_sum = float(mid_rank[group][positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2.0) / (n_positive * n_negative)


def mcnemar(first_correct: Flags, second_correct: Flags) -> dict[str, float]:
    """Exact McNemar test of two classifiers on the same images.

    The two-sided binomial test of the images that only one of them gets right. It takes images as
    independent; where one person gives many, the paired bootstrap by person is the one to quote.

    Returns:
        ``only_first``, ``only_second`` (counts) and ``p_value`` in [0, 1].
    """
    only_first = int((first_correct & ~second_correct).sum())
    only_second = int((second_correct & ~first_correct).sum())
    n, k = only_first + only_second, np.arange(min(only_first, only_second) + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    log_terms = log_factorial[n] - log_factorial[k] - log_factorial[n - k] - n * math.log(2.0)
    p_value = min(1.0, 2.0 * float(np.exp(log_terms).sum()))
    return {"only_first": only_first, "only_second": only_second, "p_value": p_value}


def best_relabelling(confusion: Counts) -> tuple[tuple[int, ...], float]:
    """The permutation of predicted classes that would make accuracy largest.

    It reveals mixed-up labels of a data set or bundle: a permutation that gains much is no
    coincidence (Kuhn's Hungarian method, exact for any K).

    Returns:
        ``order`` with ``order[k]`` = the predicted class that true class k should be read as, and
        the accuracy it would give.
    """
    order = _assign(-np.asarray(confusion, dtype=np.float64))
    hits = sum(float(confusion[row, column]) for row, column in enumerate(order))
    total = float(confusion.sum())
    return order, hits / total if total else math.nan


def _assign(cost: Floats) -> tuple[int, ...]:
    """Columns of the cheapest one-to-one assignment of rows; shortest augmenting paths."""
    size = len(cost)
    row_price, column_price = np.zeros(size + 1), np.zeros(size + 1)
    row_of = np.zeros(size + 1, dtype=np.int64)  # 1-based; 0 = free
    for row in range(1, size + 1):
        row_of[0], column = row, 0
        shortest = np.full(size + 1, np.inf)
        came_from = np.zeros(size + 1, dtype=np.int64)
        done = np.zeros(size + 1, dtype=bool)
        while row_of[column]:
            done[column] = True
            current = row_of[column]
            reduced = cost[current - 1] - row_price[current] - column_price[1:]
            better = ~done[1:] & (reduced < shortest[1:])
            shortest[1:][better] = reduced[better]
            came_from[1:][better] = column
            nearest = int(np.where(done, np.inf, shortest)[1:].argmin()) + 1
            step = shortest[nearest]
            row_price[row_of[done]] += step
            column_price[done] -= step
            shortest[~done] -= step
            column = nearest
        while column:
            previous = int(came_from[column])
            row_of[column], column = row_of[previous], previous
    return tuple(int(i) for i in np.argsort(row_of[1:]))


def _diagonal(confusion: Counts) -> Floats:
    return np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)


def ratio(part: Counts, whole: Counts) -> Floats:
    """Part / whole, NaN where the whole is zero; both of shapes that fit together."""
    whole = np.asarray(whole, dtype=np.float64)
    result = np.full(np.broadcast_shapes(np.shape(part), whole.shape), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _mean_of_defined(values: Floats) -> Floats:
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


NULL, ABSENT = -1, -2
UNANIMOUS, MAJORITY, SPLIT, UNJUDGED = 0, 1, 2, -1


@dataclass(frozen=True, eq=False)
class Pairwise:
    """Agreement of every two annotators of an image who both named a class.

    Attributes:
        agreed: (N,) pairs of annotators with the same class.
        pairs: (N,) pairs who both named a class.
        n_null: Pairs left out because a vote is null.
    """

    agreed: Ints
    pairs: Ints
    n_null: int


@dataclass(frozen=True, eq=False)
class OneAgainstOthers:
    """One annotator compared with the majority of the others, where these have one.

    No label policy has this truth, because images that the others dispute are left out. A model can
    therefore score higher; it is no ceiling.

    Attributes:
        truth: (M,) majority of the others, over all annotators and images where there is one.
        answer: (M,) the annotator's vote.
        image: (M,) which image.
        annotator: (M,) which annotator.
        n_null: Cases left out because the annotator's vote is null.
    """

    truth: Ints
    answer: Ints
    image: Ints
    annotator: Ints
    n_null: int


def pairwise(votes: Ints, n_classes: int) -> Pairwise:
    """Count on each image how many pairs of annotators agree."""
    counts = vote_counts(votes, n_classes)
    named, cast = counts.sum(axis=1), (votes != ABSENT).sum(axis=1)
    pairs = named * (named - 1) // 2
    return Pairwise(
        agreed=(counts * (counts - 1) // 2).sum(axis=1),
        pairs=pairs,
        n_null=int((cast * (cast - 1) // 2 - pairs).sum()),
    )


def one_against_others(votes: Ints, n_classes: int) -> OneAgainstOthers:
    """Compare each annotator with the majority of the others.

    A majority is strictly more than half of all the others' votes, null ones counted, as in the
    label policy of that name. Two annotators or more are needed; with two, the other one's vote
    is the majority.
    """
    counts, n_votes = vote_counts(votes, n_classes), (votes != ABSENT).sum(axis=1)
    empty = np.zeros(0, dtype=np.int64)
    parts, n_null = [(empty, empty, empty, empty)], 0
    for annotator, own in enumerate(votes.T if votes.shape[1] > 1 else ()):
        others, cast = counts.copy(), own >= 0
        others[np.flatnonzero(cast), own[cast]] -= 1
        judged = (own != ABSENT) & (2 * others.max(axis=1) > n_votes - 1)
        n_null += int((judged & ~cast).sum())
        use = np.flatnonzero(judged & cast)
        parts.append((others.argmax(axis=1)[use], own[use], use, np.full(len(use), annotator)))
    truth, answer, image, who = (np.concatenate(column) for column in zip(*parts, strict=True))
    return OneAgainstOthers(truth, answer, image, who, n_null)


def agreement_level(votes: Ints, n_classes: int) -> Ints:
    """How far annotators agree on each image; (N,).

    ``UNANIMOUS``: all votes equal and none null; ``MAJORITY``: more than half, not all;
    ``SPLIT``: no majority; ``UNJUDGED``: fewer than two annotators.
    """
    n_votes = (votes != ABSENT).sum(axis=1)
    top = vote_counts(votes, n_classes).max(axis=1)
    level = np.where(top == n_votes, UNANIMOUS, np.where(2 * top > n_votes, MAJORITY, SPLIT))
    return np.where(n_votes < 2, UNJUDGED, level)


def vote_counts(votes: Ints, n_classes: int) -> Ints:
    """Votes per class; (N, K)."""
    # Null and absent votes fall into two columns of their own, which are cut off.
    width = n_classes + 2
    cells = np.arange(len(votes))[:, None] * width + votes + 2
    flat = np.bincount(cells.ravel(), minlength=len(votes) * width)
    return flat.reshape(len(votes), width)[:, 2:].copy()


# -- how far probabilities can be believed ---------------------------------------------------------

_SMALLEST = 1e-12
_TEMPERATURE_RANGE = (0.05, 20.0)


@dataclass(frozen=True, eq=False)
class Reliability:
    """B bins of equal mass, least confident first.

    Attributes:
        bin_of: (N,) bin of each image.
        confidence: (B,) mean confidence.
        accuracy: (B,) share right.
        count: (B,) images.
    """

    bin_of: Ints
    confidence: Floats
    accuracy: Floats
    count: Ints

    @property
    def ece(self) -> float:
        """Expected calibration error in [0, 1]."""
        return float((self.count / self.count.sum() * abs(self.accuracy - self.confidence)).sum())


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Accuracy if the model abstains on its least confident images.

    Attributes:
        coverage: (M,) share of images answered, increasing to 1.
        accuracy: (M,) accuracy on those.
        aurc: Area under the risk-coverage curve: mean of 1 - accuracy over all coverages.
    """

    coverage: Floats
    accuracy: Floats
    aurc: float


def reliability(confidence: Floats, correct: Flags, n_bins: int = 15) -> Reliability:
    """Sort images by confidence into bins of equal mass.

    Images of equal confidence share the bin of their middle rank, so the order of the file cannot
    matter; bins that stay empty because of that are left out.

    Args:
        confidence: (N,) in [0, 1], N >= 1.
        correct: (N,) bool.
        n_bins: At most this many bins; fewer when there are fewer images or many ties.
    """
    n = len(confidence)
    _, group, sizes = np.unique(confidence, return_inverse=True, return_counts=True)
    # Twice the middle rank is whole: an image without ties falls where its own rank falls.
    twice = 2 * np.cumsum(sizes) - sizes - 1
    filled, bins = np.unique(twice * min(n_bins, n) // (2 * n), return_inverse=True)
    bin_of = np.asarray(bins[group], dtype=np.int64)
    count = np.bincount(bin_of, minlength=len(filled))
    return Reliability(
        bin_of=bin_of,
        confidence=np.bincount(bin_of, weights=confidence) / count,
        accuracy=np.bincount(bin_of, weights=correct) / count,
        count=count,
    )


def expected_calibration_error(probability: Floats, truth: Ints, n_bins: int = 15) -> float:
    """ECE of the top class with bins of equal mass; probability (N, K), truth (N,)."""
    return reliability(probability.max(axis=1), probability.argmax(axis=1) == truth, n_bins).ece


def ece_noise_floor(confidence: Floats, bins: Reliability) -> float:
    """The ECE that a perfectly calibrated model shows on average on these images.

    An ECE adds absolute values, so chance alone makes it positive: at n = 2,630 by about 0.023. If
    each image is right with just the probability that was given, the deviation of a bin is normal
    with the variance of its binomials, and its mean absolute value is sqrt(2 / pi) of the spread.

    Args:
        confidence: (N,) probability of the answer.
        bins: Of these images.
    """
    variance = np.bincount(bins.bin_of, weights=confidence * (1.0 - confidence))
    return float(np.sqrt(2.0 / np.pi * np.maximum(variance, 0.0)).sum() / len(confidence))


def brier(probability: Floats, truth: Ints) -> Floats:
    """Squared distance of each image's probabilities from its one-hot truth; (N,) in [0, 2].

    Its mean is the multi-class Brier score in Brier's original form (not halved).
    """
    return np.asarray((probability**2).sum(axis=1) - 2.0 * _of_truth(probability, truth) + 1.0)


def negative_log_likelihood(probability: Floats, truth: Ints) -> Floats:
    """Minus log probability of the true class, nats; (N,)."""
    return -np.log(np.maximum(_of_truth(probability, truth), _SMALLEST))


def soft_cross_entropy(probability: Floats, target: Floats) -> Floats:
    """Cross-entropy with annotators' vote shares as target, nats; both (N, K), result (N,)."""
    return np.asarray(-(target * np.log(np.maximum(probability, _SMALLEST))).sum(axis=1))


def fit_temperature(logits: Floats, truth: Ints) -> float:
    """The temperature that minimises the negative log-likelihood of ``softmax(logits / T)``.

    Fit it on a selection split, never on the images it is then judged on. The likelihood is convex
    in 1/T, so a golden-section search over log T finds the minimum.

    Args:
        logits: (N, K), N >= 1.
        truth: (N,).

    Returns:
        T in [0.05, 20]; an end of the range means that no inner minimum exists (for example
        every image is right, so that sharper is always better).
    """
    logits = np.asarray(logits, dtype=np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    own = _of_truth(logits, truth)

    def loss(log_temperature: float) -> float:
        sharpness = np.exp(-log_temperature)
        return float((np.log(np.exp(logits * sharpness).sum(axis=1)) - own * sharpness).mean())

    low, high = np.log(_TEMPERATURE_RANGE)
    golden = (np.sqrt(5.0) - 1.0) / 2.0
    left, right = high - golden * (high - low), low + golden * (high - low)
    loss_left, loss_right = loss(left), loss(right)
    while high - low > 1e-6:
        if loss_left <= loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - golden * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + golden * (high - low)
            loss_right = loss(right)
    return float(np.exp((low + high) / 2.0))


def risk_coverage(confidence: Floats, correct: Flags, n_points: int = 100) -> RiskCoverage:
    """Accuracy on the most confident share of images, for every share.

    Images of equal confidence share their mean accuracy, so the order of the file cannot matter.

    Args:
        confidence: (N,), N >= 1.
        correct: (N,) bool.
        n_points: Points of the returned curve, at most N.
    """
    n = len(confidence)
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    shared = (np.bincount(group, weights=correct) / sizes)[group]
    accuracy = np.cumsum(shared[np.argsort(group, kind="stable")]) / np.arange(1, n + 1)
    last = np.unique(np.ceil(np.linspace(0.0, n, min(n_points, n) + 1)[1:]).astype(np.int64)) - 1
    return RiskCoverage(
        coverage=(last + 1) / n, accuracy=accuracy[last], aurc=float((1.0 - accuracy).mean())
    )


def _of_truth(values: Floats, truth: Ints) -> Floats:
    return np.take_along_axis(values, truth[:, None], axis=1)[:, 0]
