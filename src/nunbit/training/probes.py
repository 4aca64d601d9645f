"""Two ways to read labels off frozen embeddings: a linear probe and nearest neighbours.

Arrays in, arrays out. N training rows, M queries, D embedding size, K classes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Floats = NDArray[np.float32]

Head = tuple[Floats, Floats]
"""(D, K) weights and (K,) biases."""

_TEMPERATURE = 0.07  # of the neighbours' weights: Wu et al. 2018, arXiv:1805.01978


def zero_head(width: int, n_classes: int) -> Head:
    """Where a fit begins."""
    return np.zeros((width, n_classes), np.float32), np.zeros(n_classes, np.float32)


def fit_linear(embeddings: Floats, targets: Floats, penalty: float, start: Head) -> Head:
    """Minimise mean cross-entropy + penalty / 2 x |W|² by L-BFGS.

    Args:
        embeddings: (N, D) unit rows.
        targets: (N, K), rows sum to one.
        penalty: Of the weights that belong to rows of variance one; not of the biases.
        start: Where to begin.
    """
    x, wanted = torch.from_numpy(_scaled(embeddings)), torch.from_numpy(targets)
    weight, bias = (torch.from_numpy(value.copy()).requires_grad_() for value in start)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=200, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        log_probability = functional.log_softmax(x @ weight + bias, dim=1)
        loss = -(wanted * log_probability).sum(dim=1).mean() + penalty / 2 * (weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach().numpy(), bias.detach().numpy()


def linear_logits(head: Head, embeddings: Floats) -> Floats:
    """(M, K) logits of (M, D) unit rows."""
    return np.asarray(_scaled(embeddings) @ head[0] + head[1], np.float32)


def neighbour_logits(
    embeddings: Floats, targets: Floats, queries: Floats, sizes: list[int]
) -> list[Floats]:
    """Log shares of the classes among the nearest neighbours by cosine, (M, K) for each size.

    One average neighbour's worth of the class shares of all N rows is added, so that no class has
    probability zero.

    Args:
        embeddings: (N, D) unit rows.
        targets: (N, K), rows sum to one.
        queries: (M, D) unit rows.
        sizes: Numbers of neighbours, each at most N.
    """
    memory, labels = torch.from_numpy(embeddings), torch.from_numpy(targets)
    prior = labels.mean(dim=0)
    found: list[list[torch.Tensor]] = [[] for _ in sizes]
    for start in range(0, len(queries), 512):
        cosine = torch.from_numpy(queries[start : start + 512]) @ memory.T
        nearest, index = cosine.topk(max(sizes), dim=1)
        # Relative to the nearest, so that no weight overflows.
        weight = ((nearest - nearest[:, :1]) / _TEMPERATURE).exp()
        votes = weight[:, :, None] * labels[index]  # (M, k, K)
        for kept, k in zip(found, sizes, strict=True):
            average = weight[:, :k].mean(dim=1, keepdim=True)
            shares = votes[:, :k].sum(dim=1) + average * prior
            kept.append((shares / shares.sum(dim=1, keepdim=True)).log())
    return [torch.cat(kept).numpy() for kept in found]


def _scaled(embeddings: Floats) -> Floats:
    # Unit rows have numbers around 1 / sqrt(D): a penalty would mean another thing for each D.
    return np.asarray(embeddings * np.float32(embeddings.shape[1] ** 0.5), np.float32)
