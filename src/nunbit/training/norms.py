"""Batch norm over the whole batch of a run with many processes, and its statistics.

torch's SyncBatchNorm computes on GPUs only, so processes without one get the class here; the names
of weights and statistics stay those of ``nn.BatchNorm2d``. Knows nothing of the rest of training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from nunbit.training.processes import World


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose mean and variance are those of the batches of all processes together."""

    world: World

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), N alike in all processes."""
        if not self.training:
            return super().forward(x)
        y, mean, variance = _Shared.apply(x, self.weight, self.bias, self.eps, self.world)  # type: ignore[no-untyped-call]
        if self.track_running_stats and self.running_mean is not None:
            self._remember(mean, variance, x.numel() // x.shape[1] * self.world.size)
        return y  # type: ignore[no-any-return]

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        rate = self.momentum
        if rate is None:  # a plain mean over batches
            rate = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance * (count / (count - 1)), rate)


class _Shared(torch.autograd.Function):
    """Normalise by the mean and variance over processes; two messages a pass, one each way."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, world: World
    ) -> tuple[Tensor, Tensor, Tensor]:
        variances, means = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
        means, variances = world.gather(torch.stack([means, variances])).unbind(1)  # (R, C)
        mean = means.mean(dim=0)
        # The variance of the whole is the mean variance plus the variance of the means.
        variance = variances.mean(dim=0) + (means - mean).square().mean(dim=0)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.world = world
        y = functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        dy = gradients[0].float()  # bfloat16 is too coarse for sums over a batch
        x, weight, mean, inverse = ctx.saved_tensors
        centred = (x - mean[:, None, None]) * inverse[:, None, None]  # what gain and bias act on
        own = torch.stack([dy.sum(dim=(0, 2, 3)), (dy * centred).sum(dim=(0, 2, 3))])
        bias_gradient, weight_gradient = own.unbind(0)
        count = x.numel() // x.shape[1] * ctx.world.size
        pull, turn = (ctx.world.sum_(own.clone()) / count)[..., None, None].unbind(0)
        dx = (weight * inverse)[:, None, None] * (dy - pull - centred * turn)
        return dx.to(x.dtype), weight_gradient, bias_gradient, None, None


def share_batch_norms(model: nn.Module, world: World) -> nn.Module:
    """Let batch norms take their statistics over all processes; weights stay the same objects."""
    if world.size == 1:
        return model
    if world.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d
            setattr(module, "world", world)  # noqa: B010  (mypy still sees the class it was)
    return model


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """All batch norms of a model."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@contextmanager
def statistics_at_rest(model: nn.Module) -> Iterator[None]:
    """While active, batch norms normalise by the batch as ever, but do not remember it."""
    norms = batch_norms(model)
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@torch.no_grad()
def measure_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Take batch-norm statistics anew, as the plain mean over batches.

    Averaged weights have activations that neither of their parents had (Izmailov et al. 2018,
    arXiv:1803.05407, section 3.2).

    Args:
        model: (N, 3, S, S) pixels to anything; left in evaluation mode.
        batches: Of pixels.
    """
    norms = batch_norms(model)
    if not norms:
        return
    rates = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    for pixels in batches:
        model(pixels)
    model.eval()
    for norm, rate in zip(norms, rates, strict=True):
        norm.momentum = rate
