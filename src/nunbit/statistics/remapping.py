"""Fit a small correction of class probabilities to labelled images: bias, scale, re-mapping.

A softmax regression on centred log-probabilities, pulled towards changing nothing: with no data
it is the identity. N images, K classes, P parameters.

With x the centred log-probabilities of an image and x0 those of the same person's neutral face::

    logits = scale x - neutral x0 + weight (x - x0) + bias

where x0 is 0 without a neutral face. Gaussian priors on all parameters (their widths are below)
make it the maximum of a posterior, found by Newton's method: the problem is convex.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

FLOOR = 1e-4
"""Smaller probabilities count as this: a network's 1e-9 is no better known than its 1e-4."""

# Widths of the priors. A bias of 1.5 nats moves a class's share from .1 to .33; a scale of 1 ± .5
# covers temperatures of .7 to 2; the neutral face is taken off by none to all of it.
_BIAS_SD, _SCALE_SD, _NEUTRAL_SD = 1.5, 0.5, 0.5
_STEPS, _TOLERANCE = 40, 1e-5


@dataclass(frozen=True, slots=True)
class Form:
    """Which parameters a correction has.

    Attributes:
        scale: One factor of all log-probabilities (an inverse temperature).
        bias: A number for each class.
        bias_sd: Width of its prior.
        weight_sd: Width of the prior of the K x K re-mapping; 0 leaves it out.
        neutral: The person's neutral face takes part.
    """

    scale: bool = False
    bias: bool = False
    bias_sd: float = _BIAS_SD
    weight_sd: float = 0.0
    neutral: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Correction:
    """A fitted correction.

    Attributes:
        scale: Factor of the log-probabilities.
        bias: (K,).
        weight: (K, K) added re-mapping; row k is for the logit of class k.
        neutral: Share of the neutral face's log-probabilities that is taken off.
    """

    scale: float
    bias: Floats
    weight: Floats
    neutral: float = 0.0

    def logits(self, x: Floats, x0: Floats | None = None) -> Floats:
        """Logits of centred log-probabilities; (N, K).

        Args:
            x: (N, K) of the images.
            x0: (N, K) or (K,) of each person's neutral face; None = there is none.
        """
        off = x if x0 is None else x - x0
        logits = self.scale * x + off @ self.weight.T + self.bias
        return np.asarray(logits if x0 is None else logits - self.neutral * x0)


def centred_logs(probability: NDArray[Any]) -> Floats:
    """Log-probabilities minus their mean over the classes; (N, K) or (K,)."""
    logs = np.log(np.maximum(np.asarray(probability, np.float64), FLOOR))
    return np.asarray(logs - logs.mean(axis=-1, keepdims=True))


def softmax(logits: Floats) -> Floats:
    """Probabilities of logits, along the last axis."""
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def fit_correction(
    x: Floats,
    truth: Codes,
    form: Form,
    *,
    x0: Floats | None = None,
    weights: Floats | None = None,
    fewest: int = 3,
) -> Correction:
    """Fit a correction to labelled images.

    A class with fewer than ``fewest`` images is not touched: the likelihood is that of the class
    among those that have enough, so that a class nobody labelled keeps its log-probability.

    Args:
        x: (N, K) centred log-probabilities.
        truth: (N,) classes.
        form: Which parameters are fitted.
        x0: (N, K) of the persons' neutral faces; None = there are none.
        weights: (N,) of the images; None = 1 each.
        fewest: Images that a class needs.

    Returns:
        The correction; the identity where fewer than two classes have enough images.
    """
    n_classes = x.shape[1]
    known = np.flatnonzero(np.bincount(truth, minlength=n_classes) >= fewest)
    rows = np.isin(truth, known)
    nothing = Correction(1.0, np.zeros(n_classes), np.zeros((n_classes, n_classes)))
    if len(known) < 2 or not rows.any():
        return nothing
    own = x[rows]
    design, width = _design(own, np.zeros_like(own) if x0 is None else x0[rows], known, form)
    if not len(width):
        return nothing
    at = np.searchsorted(known, truth[rows])
    weighing = np.ones(len(own)) if weights is None else weights[rows]
    return _unpacked(_newton(design, own[:, known], at, width, weighing), known, n_classes, form)


def _design(x: Floats, x0: Floats, known: Codes, form: Form) -> tuple[NDArray[np.float64], Floats]:
    """What each parameter adds to each logit, (N, C, P), and the prior widths, (P,)."""
    n, c, k = len(x), len(known), x.shape[1]
    parts, widths = [], list[float]()
    if form.scale:
        parts.append(x[:, known][:, :, None])
        widths.append(_SCALE_SD)
    if form.neutral:
        parts.append(-x0[:, known][:, :, None])
        widths.append(_NEUTRAL_SD)
    if form.bias:
        parts.append(np.broadcast_to(np.eye(c), (n, c, c)))
        widths += [form.bias_sd] * c
    if form.weight_sd > 0:
        off = x - x0
        each = np.zeros((n, c, c, k))
        each[:, np.arange(c), np.arange(c)] = off[:, None, :]
        parts.append(each.reshape(n, c, c * k))
        widths += [form.weight_sd] * (c * k)
    if not parts:
        return np.zeros((n, c, 0)), np.zeros(0)
    return np.concatenate(parts, axis=2), np.array(widths)


def _newton(design: Floats, base: Floats, truth: Codes, width: Floats, weights: Floats) -> Floats:
    """The parameters that maximise the posterior; (P,)."""
    n, c, p = design.shape
    flat, precision, rows = design.reshape(n * c, p), width**-2.0, np.arange(n)
    hit = weights[:, None] * np.eye(c)[truth]
    root = np.sqrt(np.maximum(weights, 1e-12))[:, None]
    theta = np.zeros(p)

    def at(theta: Floats) -> tuple[float, Floats]:
        """The loss, and the probabilities."""
        shares = softmax(base + (flat @ theta).reshape(n, c))
        losses = weights * np.log(np.maximum(shares[rows, truth], 1e-300))
        return float((precision * theta**2).sum() / 2 - losses.sum()), shares

    now, chance = at(theta)
    for _ in range(_STEPS):
        weighed = weights[:, None] * chance
        slope = flat.T @ (weighed - hit).ravel() + precision * theta
        spread = flat * np.sqrt(weighed).reshape(-1, 1)
        mean = root * (chance[:, :, None] * design).sum(axis=1)
        step = np.linalg.solve(spread.T @ spread - mean.T @ mean + np.diag(precision), slope)
        size = 1.0
        then, shares = at(theta - step)
        while then > now and size > 1e-4:
            size /= 2.0
            then, shares = at(theta - size * step)
        theta = theta - size * step
        gained, now, chance = now - then, then, shares
        if gained < _TOLERANCE * max(1.0, abs(now)):
            break
    return np.asarray(theta)


def _unpacked(theta: Floats, known: Codes, n_classes: int, form: Form) -> Correction:
    values = list(theta)
    scale = 1.0 + (values.pop(0) if form.scale else 0.0)
    neutral = values.pop(0) if form.neutral else 0.0
    bias, weight = np.zeros(n_classes), np.zeros((n_classes, n_classes))
    if form.bias:
        bias[known] = values[: len(known)]
        values = values[len(known) :]
    if form.weight_sd > 0:
        weight[known] = np.reshape(values, (len(known), n_classes))
    return Correction(float(scale), bias, weight, float(neutral))


def prior_by_em(
    probability: NDArray[Any], shares: Floats, *, strength: float = 0.0, steps: int = 500
) -> Floats:
    """Class shares of unlabelled images, if nothing but the shares differs from training.

    Expectation maximisation of Saerens, Latinne and Decaestecker (2002), with a Dirichlet prior
    around the shares of training.

    Args:
        probability: (N, K) the model's answers.
        shares: (K,) that these answers carry, positive, sum to one.
        strength: Images that the shares of training weigh.
        steps: At most.

    Returns:
        (K,) shares, sum to one.
    """
    chance = np.maximum(np.asarray(probability, np.float64), FLOOR)
    now = np.asarray(shares, np.float64)
    for _ in range(steps):
        weighted = chance * (now / shares)
        weighted /= weighted.sum(axis=1, keepdims=True)
        then = (weighted.sum(axis=0) + strength * shares) / (len(chance) + strength)
        if np.abs(then - now).max() < 1e-7:
            return np.asarray(then)
        now = then
    return now
