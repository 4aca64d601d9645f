"""Fit a map from what people say to the prompts of the classes.

The text tower learned sentences *about* faces. What people say has other words, so a linear map
after the tower is fitted to sentences in which raters saw emotions. The classes stay the prompts;
tower, prompts and images do not change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SentenceSettings:
    """How the map is fitted.

    Attributes:
        steps: Steps of Adam.
        lr: Peak rate, falling to zero.
        batch_size: Sentences a step.
        pull: Weight of the pull back to the identity.
        noise: Standard deviation of the noise on unit embeddings, relative to their length.
        balance: Exponent of inverse class frequency in the loss: 0 none, 1 full.
        seed: Of the order and the noise.
    """

    steps: int = 2000
    lr: float = 2e-3
    batch_size: int = 512
    pull: float = 1e-3
    noise: float = 0.3
    balance: float = 0.5
    seed: int = 0


@dataclass(frozen=True, eq=False)
class SentenceMap:
    """The fitted map.

    Attributes:
        weight: (D, D).
        bias: (D,).
        logit_scale: What the cosine of a mapped sentence and a class is multiplied by.
    """

    weight: Floats
    bias: Floats
    logit_scale: float


def fit_sentences(
    vectors: Floats, targets: Floats, classes: Floats, settings: SentenceSettings | None = None
) -> SentenceMap:
    """Fit the map.

    Args:
        vectors: (M, D) unit embeddings of sentences.
        targets: (M, K) shares of the classes, rows sum to one.
        classes: (K, D) unit embeddings of the classes' prompts.
        settings: None takes the defaults.
    """
    settings = settings or SentenceSettings()
    generator = torch.Generator().manual_seed(settings.seed)
    size = vectors.shape[1]
    layer = nn.Linear(size, size)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(size))
        layer.bias.zero_()
    log_scale = nn.Parameter(torch.tensor(float(np.log(15.0))))
    optimizer = torch.optim.Adam([*layer.parameters(), log_scale], lr=settings.lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    x, t, prompts = (torch.from_numpy(a) for a in (vectors, targets, classes))
    frequency = t.mean(dim=0).clamp_min(1e-6)
    weight = (1.0 / frequency) ** settings.balance
    spread = settings.noise / size**0.5
    for _ in range(settings.steps):
        rows = torch.randint(len(x), (settings.batch_size,), generator=generator)
        noise = spread * torch.randn(len(rows), size, generator=generator)
        mapped = functional.normalize(layer(x[rows] + noise), dim=1)
        logits = log_scale.exp().clamp(max=100.0) * mapped @ prompts.T
        each = -(t[rows] * weight * functional.log_softmax(logits, dim=1)).sum(dim=1)
        change = layer.weight - torch.eye(size)
        loss = each.mean() + settings.pull * (change**2).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
    return SentenceMap(
        weight=layer.weight.detach().numpy().copy(),
        bias=layer.bias.detach().numpy().copy(),
        logit_scale=float(log_scale.detach().exp().clamp(max=100.0)),
    )
