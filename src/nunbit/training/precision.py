"""Which towers compute in bfloat16.

Weights, gradients, the loss and all validation stay float32: only the towers' forward and backward
passes run under autocast. Knows nothing of the rest of training.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import nn

Setting = Literal["fp32", "bf16", "auto"]

_WIDE = 256  # narrower layers lose more by converting than they gain


def in_bfloat16(tower: nn.Module, setting: Setting, device: torch.device) -> bool:
    """Whether a tower is to compute in bfloat16.

    ``auto`` says yes where hardware multiplies it faster: on GPUs that have it, and on CPUs that
    have it for transformers; convolutions on a CPU are slower in it, and so is what is small.
    """
    return setting == "bf16" or (setting == "auto" and _pays(tower, device))


def autocast(low: bool, device: torch.device) -> AbstractContextManager[object]:
    """A context that computes in bfloat16, or as ever."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=low)


def _pays(tower: nn.Module, device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return not _convolves(tower) and _width(tower) >= _WIDE and _cpu_multiplies_bf16()


def _convolves(tower: nn.Module) -> bool:
    # A vision transformer has one: it cuts the patches.
    return sum(isinstance(module, nn.Conv2d) for module in tower.modules()) > 1


def _width(tower: nn.Module) -> int:
    linear = [m.in_features for m in tower.modules() if isinstance(m, nn.Linear)]
    return max(linear, default=0)


def _cpu_multiplies_bf16() -> bool:
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(bool(found.get(name)) for name in ("amx_bf16", "avx512_bf16", "bf16"))
