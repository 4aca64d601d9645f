"""Zero-shot classification by prompts: ensembles, cosine, softmax, group posteriors.

Zero-shot in the paper's sense: there is no classifier head; an image is compared with the text
embeddings of prompts. Arrays in, arrays out. N images, T templates, K classes, D dimensions.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from nunbit.core.streams import Singles

Ensemble = Literal["mean_embedding", "mean_similarity", "max", "vote"]
ENSEMBLES: tuple[Ensemble, ...] = ("mean_embedding", "mean_similarity", "max", "vote")


def normalise(vectors: Singles) -> Singles:
    """Unit rows along the last axis; a zero vector stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)


def prompt_cosines(images: Singles, prompts: Singles) -> Singles:
    """Cosine of every image with every prompt.

    Args:
        images: (N, D), any length.
        prompts: (T, K, D), any length.

    Returns:
        (N, T, K) float32 in [-1, 1].
    """
    n_templates, n_classes, size = prompts.shape
    flat = normalise(prompts).reshape(n_templates * n_classes, size)
    cosines: Singles = np.clip(normalise(images) @ flat.T, -1.0, 1.0)
    return cosines.reshape(len(images), n_templates, n_classes)


def ensemble_cosines(images: Singles, prompts: Singles, rule: Ensemble) -> Singles:
    """One cosine per class from T templates; see :func:`combine_cosines`.

    Args:
        images: (N, D), any length.
        prompts: (T, K, D), any length.
        rule: How the templates are combined.

    Returns:
        (N, K) float32.
    """
    return combine_cosines(prompt_cosines(images, prompts), prompts, rule)


def combine_cosines(cosines: Singles, prompts: Singles, rule: Ensemble) -> Singles:
    """Combine each image's cosines with T templates into one per class.

    ``mean_embedding`` compares with the normalised mean of the normalised prompt embeddings (the
    usual prompt ensemble of CLIP, Radford et al. 2021); ``mean_similarity`` averages the T cosines;
    ``max`` takes the largest; ``vote`` gives each template one vote for its best class and breaks
    ties by mean similarity. ``vote`` gives shares in [0, 1] plus a tie-break below 1/(4T): they
    sort like cosines but are none.

    Args:
        cosines: (N, T, K) of :func:`prompt_cosines`.
        prompts: (T, K, D), any length: the same templates.
        rule: How the templates are combined.

    Returns:
        (N, K) float32.
    """
    n_templates, n_classes = cosines.shape[1:]
    mean: Singles = cosines.mean(axis=1)
    combined = mean
    if rule == "mean_embedding":
        # The image times the normalised mean of unit vectors is the mean cosine over its length.
        lengths = np.linalg.norm(normalise(prompts).mean(axis=0), axis=-1)  # (K,)
        combined = np.clip(mean / np.maximum(lengths, 1e-12), -1.0, 1.0)
    elif rule == "max":
        combined = cosines.max(axis=1)
    elif rule == "vote":
        winners = cosines.argmax(axis=2)  # (N, T)
        shares = (winners[:, :, None] == np.arange(n_classes)).mean(axis=1)
        combined = shares + (mean + 1.0) / (8.0 * n_templates)  # tie-break in [0, 1/(4T)]
    return combined.astype(np.float32)


def probabilities(cosines: Singles, logit_scale: float, temperature: float = 1.0) -> Singles:
    """Softmax over classes of ``logit_scale * cosine / temperature``; (N, K), rows sum to one."""
    logits = cosines.astype(np.float64) * (logit_scale / temperature)
    logits -= logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(logits)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), dtype=np.float32)


def place_of(chances: Singles, prompts: Singles) -> Singles:
    """Where class probabilities lie in the prompt space: sum of p_k times (t_k - mean t).

    Two modalities that are each compared with the same prompts have places in one space, whatever
    their own vectors are like. Probabilities that are all alike lie at zero.

    Args:
        chances: (K,) that sum to one.
        prompts: (T, K, D) of the classes, any length.

    Returns:
        (D,).
    """
    classes = normalise(normalise(prompts).mean(axis=0))
    return np.asarray(np.asarray(chances, np.float32) @ (classes - classes.mean(axis=0)))


def place_cosine(first: Singles, second: Singles) -> float | None:
    """Cosine of two places, -1 to 1; None where one of them is at zero."""
    lengths = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    return None if lengths < 1e-12 else float(np.clip(first @ second / lengths, -1.0, 1.0))
