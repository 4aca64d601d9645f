"""Optimisation: precision, groups and rates, batch norm over all processes, averages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nunbit.training.processes import World
from nunbit.training.settings import TrainSettings
from nunbit.training.towers import DualEncoder

# --- precision ------------------------------------------------------------------------------------
# Weights, gradients, the loss and all validation stay float32: only the towers' forward and
# backward passes run under autocast.

Setting = Literal["fp32", "bf16", "auto"]

_WIDE = 256  # narrower layers lose more by converting than they gain


def in_bfloat16(tower: nn.Module, setting: Setting, device: torch.device) -> bool:
    """Whether a tower is to compute in bfloat16.

    ``auto`` chooses it where hardware is faster with it: on GPUs that support it, and for
    transformers on CPUs that support it. Convolutions on a CPU and small networks are slower with
    it.
    """
    return setting == "bf16" or (setting == "auto" and _pays(tower, device))


def autocast(low: bool, device: torch.device) -> AbstractContextManager[object]:
    """A context that computes in bfloat16, or in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=low)


def _pays(tower: nn.Module, device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # A vision transformer has one convolution: it cuts the patches.
    convolves = sum(isinstance(module, nn.Conv2d) for module in tower.modules()) > 1
    linear = [m.in_features for m in tower.modules() if isinstance(m, nn.Linear)]
    return not convolves and max(linear, default=0) >= _WIDE and _cpu_multiplies_bf16()


def _cpu_multiplies_bf16() -> bool:
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(bool(found.get(name)) for name in ("amx_bf16", "avx512_bf16", "bf16"))


# --- groups and rates -----------------------------------------------------------------------------

_BETAS, _EPS = (0.9, 0.98), 1e-6  # Radford et al. 2021, table 18

#: The number of a block in a weight's name: ``encoder.layers.3.`` (CLIP, SigLIP),
#: ``encoder.layer.3.`` (BERT), ``_blocks.3.`` (EfficientNet), ``blocks.3.`` (``tiny``).
_BLOCK = re.compile(r"(?:^|\.)_?(?:layers?|blocks)\.(\d+)\.")
#: What comes before the first block. Everything else without a number comes after the last.
_BEFORE = re.compile(
    r"(?:^|\.)(?:embeddings|\w+_embedding|pre_la?yrnorm|_conv_stem|_bn0|stem|pieces|positions)(?:\.|$)"
)


def learning_rate(step: int, total: int, settings: TrainSettings) -> float:
    """The rate of a step (from 0): linear warm-up, then constant or a half cosine to zero."""
    peak = float(settings.lr)
    warmup = round(settings.warmup * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    if settings.schedule == "constant":
        return peak
    return peak * 0.5 * (1.0 + math.cos(math.pi * ((step - warmup) / max(total - warmup, 1))))


def depth_shares(tower: nn.Module, decay: float) -> dict[str, float]:
    """Share of the learning rate for each weight of a tower, by its depth.

    Of L blocks, block i (from 0) has decay^(L - i), what comes before the first decay^(L + 1), and
    norms, heads and projections after the last have 1 (BEiT, Bao et al. 2022, arXiv:2106.08254;
    for CLIP's fine-tuning: Dong et al. 2022, arXiv:2212.06138).

    Args:
        tower: An image or a text tower.
        decay: In (0, 1]; 1 = the same rate for all.
    """
    names = [name for name, _ in tower.named_parameters()]
    blocks = {name: int(found[1]) for name in names if (found := _BLOCK.search(name))}
    count = max(blocks.values(), default=-1) + 1

    def below_the_top(name: str) -> int:
        if name in blocks:
            return count - blocks[name]
        return count + 1 if count and _BEFORE.search(name) else 0

    return {name: decay ** below_the_top(name) for name in names}


def make_optimizer(
    model: DualEncoder, settings: TrainSettings, extra: Iterable[nn.Parameter] = ()
) -> torch.optim.AdamW:
    """AdamW whose groups have a ``share`` of the step's rate; freezes the text encoder at rate 0.

    Args:
        model: What learns.
        settings: ``lr``, ``text_lr``, ``layer_decay``, ``weight_decay``.
        extra: Further parameters of the loss, at the full rate and without decay.
    """
    text_share = float(settings.text_lr)
    # Only pretrained text towers hold a `model`; what else they have is new, as all of `tiny` is.
    encoder: Any = getattr(model.text, "model", None)
    pretrained = {id(p) for p in encoder.parameters()} if encoder is not None else set()
    shares = {"log_scale": 1.0}
    for side, tower in (("image", model.image), ("text", model.text)):
        shares |= {
            f"{side}.{name}": share
            for name, share in depth_shares(tower, settings.layer_decay).items()
        }
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        in_encoder = id(parameter) in pretrained
        if in_encoder and text_share == 0:
            parameter.requires_grad_(False)
        if not parameter.requires_grad:
            continue
        # Gains, biases and the logit scale: decay would pull them to zero for no reason.
        key = (in_encoder, -shares[name] * (text_share if in_encoder else 1.0), parameter.ndim < 2)
        groups.setdefault(key, []).append(parameter)
    described = [
        {
            "params": groups[key],
            "weight_decay": 0.0 if key[2] else settings.weight_decay,
            "share": -key[1],
        }
        for key in sorted(groups)
    ]
    if learned := list(extra):
        described.append({"params": learned, "weight_decay": 0.0, "share": 1.0})
    # One pass over the weights instead of several: three times as fast on a CPU.
    fused = model.log_scale.device.type in {"cpu", "cuda"}
    return torch.optim.AdamW(described, lr=float(settings.lr), betas=_BETAS, eps=_EPS, fused=fused)


# --- batch norm -----------------------------------------------------------------------------------
# torch's SyncBatchNorm computes on GPUs only, so processes without one get the class here; the
# names of weights and statistics stay those of ``nn.BatchNorm2d``.


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
        rate = 1.0 / float(self.num_batches_tracked) if rate is None else rate  # a plain mean
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
        y = nn.functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
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
    """While active, batch norms normalise by the batch but do not update their statistics."""
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


# --- averages of weights --------------------------------------------------------------------------
# Over the steps of a run, and between its start and its end. Both are evaluated, kept and exported
# in place of the optimiser's weights. Batch-norm statistics belong to the weights they were
# measured with, so they are averaged along with them.


def decay_at(step: int, decay: float) -> float:
    """The decay of an average after ``step`` updates (from 1).

    It rises to ``decay`` as (1 + step) / (10 + step), as TensorFlow's ``num_updates`` does: with
    the full decay from the first step on, the random start would stay in the average for
    1 / (1 - decay) steps.
    """
    return min(decay, (1 + step) / (10 + step))


class MovingAverage:
    """Exponential moving average of the weights and batch-norm statistics that change.

    Frozen weights and counters are those of the model.

    Args:
        model: What is averaged; the average starts as a copy of it.
        decay: In (0, 1): 0.999 averages over the last thousand steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        statistics = {
            f"{name}.{kind}" if name else kind
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm)
            for kind in ("running_mean", "running_var")
        }
        self._live = {
            name: tensor
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
            if tensor.is_floating_point() and (tensor.requires_grad or name in statistics)
        }
        self._mean = {name: tensor.detach().clone() for name, tensor in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step`` steps (from 1)."""
        share = 1.0 - decay_at(step, self._decay)
        live = [tensor.detach() for tensor in self._live.values()]
        torch._foreach_lerp_(list(self._mean.values()), live, share)

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
