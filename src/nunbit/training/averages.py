"""Averages of weights: along the steps of a run, and between a run's start and its end.

Both are judged, kept and exported in place of the weights that the optimiser moves. Batch-norm
statistics belong to the weights they were measured with, so they are averaged along with them.
Knows nothing of data or of how a run is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def decay_at(step: int, decay: float) -> float:
    """The decay of an average after ``step`` updates (from 1).

    It rises to ``decay`` as (1 + step) / (10 + step), as TensorFlow's ``num_updates`` does: with
    the full decay from the first step on, the random start would stay in the average for
    1 / (1 - decay) steps.
    """
    return min(decay, (1 + step) / (10 + step))


class MovingAverage:
    """Exponential moving average of the weights and batch-norm statistics that change.

    Weights that are locked, and counters, are those of the model.

    Args:
        model: What is averaged; the average starts as a copy of it.
        decay: In (0, 1): 0.999 averages over the last thousand steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._live = {
            name: tensor
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
            if tensor.is_floating_point() and (tensor.requires_grad or name in _statistics(model))
        }
        self._mean = {name: tensor.detach().clone() for name, tensor in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step`` steps (from 1)."""
        share = 1.0 - decay_at(step, self._decay)
        means = list(self._mean.values())
        torch._foreach_lerp_(means, [t.detach() for t in self._live.values()], share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While active the model is the average; afterwards it is bit for bit what it was."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Tensor]:
        """The average, by the names of the model's state."""
        return dict(self._mean)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with a stored average of the same model."""
        for name, mean in self._mean.items():
            mean.copy_(state[name])

    def _swap(self) -> None:
        # Only pointers change hands: no third copy of the weights is needed.
        for name, live in self._live.items():
            live.data, self._mean[name] = self._mean[name], live.data


def _statistics(model: nn.Module) -> frozenset[str]:
    """Names of the running means and variances of batch norms."""
    return frozenset(
        f"{name}.{kind}" if name else kind
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for kind in ("running_mean", "running_var")
    )


def pretrained_part(state: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The weights and statistics that a starting point brought along, copied.

    Args:
        state: The model's at the start.
        kind: Of the architecture, or ``run`` for an earlier run, of which all is kept. ``lite``
            adds random projections to two pretrained towers: only these are worth averaging with.
            ``tiny`` is random, so it gives nothing.
    """
    if kind == "tiny":
        return {}
    pretrained = ("image.backbone.", "text.model.") if kind == "lite" else ("",)
    return {
        name: value.detach().cpu().clone()
        for name, value in state.items()
        if name.startswith(pretrained) and value.is_floating_point()
    }


def mixed_with_start(
    end: Mapping[str, Tensor], start: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """The weights on the line between a run's end (share 0) and its start (share 1).

    WiSE-FT (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv:2109.01903),
    whose alpha is 1 - share. What the start lacks stays as it is at the end.
    """
    return {
        name: torch.lerp(value, start[name].to(value), share) if name in start else value
        for name, value in end.items()
    }
