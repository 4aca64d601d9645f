"""The voice tower: standardised functionals of a stretch of speech to the space of the prompts.

A voice becomes the prompts' common direction plus a step along the directions in which the prompts
of the classes differ; only the steps are learned, by a linear map with a narrow nonlinear branch
beside it. A thousand acted utterances carry no more, and no voice can leave the neighbourhood of
the prompts. Knows nothing of corpora, bundles or labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class VoiceTower(nn.Module):
    """(N, F) standardised functionals to (N, D) vectors of any length.

    Args:
        features: F.
        prompts: (K, D) unit mean prompts of the classes.
        hidden: Width of the nonlinear branch, 0 for none.
        dropout: Of inputs and hidden units, while training.
    """

    centre: Tensor
    directions: Tensor

    def __init__(self, features: int, prompts: Tensor, hidden: int, dropout: float) -> None:
        super().__init__()
        centre = prompts.mean(dim=0)
        _, lengths, axes = torch.linalg.svd(prompts - centre, full_matrices=False)
        kept = lengths > 1e-4 * lengths[0]  # K - 1 of them: the centre is their own mean
        self.register_buffer("centre", functional.normalize(centre, dim=0))
        self.register_buffer("directions", axes[kept].contiguous())
        rank = int(kept.sum())
        self.drop = nn.Dropout(dropout)
        self.direct = nn.Linear(features, rank)
        nn.init.zeros_(self.direct.weight)
        nn.init.zeros_(self.direct.bias)
        self.inner = nn.Linear(features, hidden) if hidden else None
        self.outer = nn.Linear(hidden, rank, bias=False) if hidden else None

    def forward(self, functionals: Tensor) -> Tensor:
        """The vectors; whoever compares them normalises them."""
        rows = self.drop(functionals)
        steps = self.direct(rows)
        if self.inner is not None and self.outer is not None:
            steps = steps + self.outer(self.drop(torch.tanh(self.inner(rows))))
        vectors: Tensor = self.centre + steps @ self.directions
        return vectors


class Ensemble(nn.Module):
    """The mean of several towers' unit vectors, as one network."""

    def __init__(self, towers: list[nn.Module]) -> None:
        super().__init__()
        self.towers = nn.ModuleList(towers)

    def forward(self, functionals: Tensor) -> Tensor:
        """(N, D)."""
        rows = [functional.normalize(tower(functionals), dim=1) for tower in self.towers]
        return torch.stack(rows).mean(dim=0)
