"""How far probabilities can be believed: ECE, Brier score, temperature, risk and coverage.

Bins hold equal numbers of images (equal mass), since most images crowd into the top tenth of
confidence and equal-width bins would rest on a handful of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

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

    bin_of: Codes
    confidence: Floats
    accuracy: Floats
    count: Codes

    @property
    def ece(self) -> float:
        """Expected calibration error in [0, 1]."""
        return float((self.count / self.count.sum() * abs(self.accuracy - self.confidence)).sum())


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Accuracy when the model may abstain on its least confident images.

    Attributes:
        coverage: (M,) share of images answered, increasing to 1.
        accuracy: (M,) accuracy on those.
        aurc: Area under the risk-coverage curve: mean of 1 - accuracy over all coverages.
    """

    coverage: Floats
    accuracy: Floats
    aurc: float


def reliability(confidence: Floats, correct: NDArray[np.bool_], n_bins: int = 15) -> Reliability:
    """Sort images by confidence into bins of equal mass.

    Args:
        confidence: (N,) in [0, 1], N >= 1.
        correct: (N,) bool.
        n_bins: At most this many bins; fewer when there are fewer images.
    """
    n = len(confidence)
    n_bins = min(n_bins, n)
    bin_of = np.empty(n, dtype=np.int64)
    bin_of[np.argsort(confidence, kind="stable")] = np.arange(n) * n_bins // n
    count = np.bincount(bin_of, minlength=n_bins)
    return Reliability(
        bin_of=bin_of,
        confidence=np.bincount(bin_of, weights=confidence, minlength=n_bins) / count,
        accuracy=np.bincount(bin_of, weights=correct, minlength=n_bins) / count,
        count=count,
    )


def expected_calibration_error(probability: Floats, truth: Codes, n_bins: int = 15) -> float:
    """ECE of the top class with bins of equal mass; probability (N, K), truth (N,)."""
    predicted = probability.argmax(axis=1)
    return reliability(probability.max(axis=1), predicted == truth, n_bins).ece


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


def brier(probability: Floats, truth: Codes) -> Floats:
    """Squared distance of each image's probabilities from its one-hot truth; (N,) in [0, 2].

    Its mean is the multi-class Brier score in Brier's original form (not halved).
    """
    squares: Floats = (probability**2).sum(axis=1) - 2.0 * _of_truth(probability, truth) + 1.0
    return squares


def negative_log_likelihood(probability: Floats, truth: Codes) -> Floats:
    """Minus log probability of the true class, nats; (N,)."""
    return -np.log(np.maximum(_of_truth(probability, truth), _SMALLEST))


def soft_cross_entropy(probability: Floats, target: Floats) -> Floats:
    """Cross-entropy with annotators' vote shares as target, nats; both (N, K), result (N,)."""
    entropy: Floats = -(target * np.log(np.maximum(probability, _SMALLEST))).sum(axis=1)
    return entropy


def fit_temperature(logits: Floats, truth: Codes) -> float:
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

    low, high = np.log(_TEMPERATURE_RANGE[0]), np.log(_TEMPERATURE_RANGE[1])
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


def risk_coverage(
    confidence: Floats, correct: NDArray[np.bool_], n_points: int = 100
) -> RiskCoverage:
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
    order = np.argsort(group, kind="stable")
    accuracy = np.cumsum(shared[order]) / np.arange(1, n + 1)
    last = np.unique(np.ceil(np.linspace(0.0, n, min(n_points, n) + 1)[1:]).astype(np.int64)) - 1
    return RiskCoverage(
        coverage=(last + 1) / n, accuracy=accuracy[last], aurc=float((1.0 - accuracy).mean())
    )


def _of_truth(values: Floats, truth: Codes) -> Floats:
    return np.take_along_axis(values, truth[:, None], axis=1)[:, 0]
