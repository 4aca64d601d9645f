"""How fast which weight learns: the optimiser's groups and the rate of a step.

Knows nothing of losses or data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from nunbit.training.settings import TrainSettings
from nunbit.training.towers import DualEncoder

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
    share = (step - warmup) / max(total - warmup, 1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * share))


def depth_shares(tower: nn.Module, decay: float) -> dict[str, float]:
    """Which share of the rate each weight of a tower learns at, by its depth.

    Of L blocks, block i (from 0) has decay^(L - i), what comes before the first decay^(L + 1), and
    norms, heads and projections after the last have 1 (BEiT, Bao et al. 2022, arXiv:2106.08254;
    for CLIP's fine-tuning: Dong et al. 2022, arXiv:2212.06138).

    Args:
        tower: An image or a text tower.
        decay: In (0, 1]; 1 lets all learn alike.
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
    """AdamW whose groups have a ``share`` of the step's rate; locks the text encoder at rate 0.

    Args:
        model: What learns.
        settings: ``lr``, ``text_lr``, ``layer_decay``, ``weight_decay``.
        extra: What the loss learns besides, at the full rate and without decay.
    """
    text_share = float(settings.text_lr)
    # Only pretrained text towers hold a `model`; what else they have is new, as all of `tiny` is.
    encoder: Any = getattr(model.text, "model", None)
    pretrained = {id(p) for p in encoder.parameters()} if encoder is not None else set()
    shares = {"log_scale": 1.0}
    for side, tower in (("image", model.image), ("text", model.text)):
        by_depth = depth_shares(tower, settings.layer_decay)
        shares |= {f"{side}.{name}": share for name, share in by_depth.items()}
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
