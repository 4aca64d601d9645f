"""Contrastive learning of the heads, for those who have hours of recordings.

L = -1/2 mean_i [log(e^{s_ii/t} / sum_{j in N(i)} e^{s_ij/t}) + the same transposed] for every pair
of modalities that a window has. N(i) holds i itself, windows of the same person at least 8 s away
and windows of other people; the latter are weighted down so that at least half of the negatives'
weight is the same person's, else the objective learns who is speaking. Begins with ridge CCA.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nunbit.alignment import Head, Heads, WindowTable
from nunbit.errors import TrainingError

_PEOPLE_A_STEP = 4
_START_TEMPERATURE = 0.1
_SAME_S = 1e-6


class StageSettings(Protocol):
    """What is read of the settings of ``nunbit align``."""

    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def lr(self) -> float: ...  # noqa: D102
    @property
    def apart_s(self) -> float: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class _Batch:
    """B windows: scaled vectors (zero where missing), which are there, and the negatives' weights.

    Attributes:
        vectors: Modality -> (B, D).
        present: Modality -> (B,).
        log_weight: (B, B) log weight of column j in row i's sum; 0 on the diagonal, -inf for what
            is no negative.
    """

    vectors: dict[str, Tensor]
    present: dict[str, Tensor]
    log_weight: Tensor


def fit_infonce(table: WindowTable, start: Heads, settings: StageSettings) -> Heads:
    """Train the heads.

    Args:
        table: Mean-removed windows of the training people.
        start: Ridge CCA on the same windows; its centres and scales are kept.
        settings: Steps, batch, rate.

    Returns:
        New heads; deterministic for a seed on one machine.

    Raises:
        TrainingError: The loss is not finite.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng([settings.seed, 7])
    names = start.modalities
    layers = nn.ModuleDict({m: _layer(start.heads[m]) for m in names})
    log_scale = nn.Parameter(torch.tensor(float(np.log(1.0 / _START_TEMPERATURE))))
    optimizer = torch.optim.AdamW(
        [{"params": layers.parameters(), "weight_decay": 1e-2},
         {"params": [log_scale], "weight_decay": 0.0}],
        lr=settings.lr,
    )  # fmt: skip
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    usable = np.flatnonzero(np.sum([table.present(m) for m in names], axis=0) >= 2)
    last = float("nan")
    for _ in range(settings.steps):
        rows = choose_batch(table, usable, settings.batch_size, rng)
        loss = _loss(_batch(table, rows, start, settings.apart_s), layers, log_scale)
        if loss is None:
            continue
        last = float(loss.detach())
        if not np.isfinite(last):
            raise TrainingError(
                en="the contrastive loss is not finite: lower lr with --set, or take method=cca",
                ko="대조 손실이 유한하지 않습니다. --set으로 lr을 낮추거나 method=cca를 쓰십시오",
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
    heads = {}
    for m in names:
        weight = next(layers[m].parameters()).detach().numpy().T.astype(np.float32)
        heads[m] = Head(start.heads[m].centre, start.heads[m].scale, weight)
    details = dict(start.details) | {"steps": settings.steps, "loss": last}
    return Heads(heads, "infonce", start.correlations, details)


def choose_batch(
    table: WindowTable, usable: NDArray[np.int64], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of a step: a few people with many windows each, so that most negatives are their own."""
    people = np.unique(table.person[usable])
    chosen = rng.permutation(people)[:_PEOPLE_A_STEP]
    each = max(2, size // len(chosen))
    parts = []
    for person in chosen:
        own = usable[table.person[usable] == person]
        parts.append(rng.permutation(own)[:each])
    return np.sort(np.concatenate(parts))


def negative_weights(
    person: NDArray[np.int64],
    recording: NDArray[np.int64],
    start_s: NDArray[np.float64],
    apart_s: float,
) -> NDArray[np.float64]:
    """(B, B) weight of window j among the negatives of window i; 1 on the diagonal.

    Zero within ``apart_s`` of the same recording; other people's are weighted so that together
    they count no more than the person's own (not at all where the person has none).
    """
    same = person[:, None] == person[None, :]
    near = (recording[:, None] == recording[None, :]) & (
        np.abs(start_s[:, None] - start_s[None, :]) < apart_s - _SAME_S
    )
    own = same & ~near
    others = ~same
    n_own, n_others = own.sum(axis=1), others.sum(axis=1)
    share = np.minimum(1.0, n_own / np.maximum(n_others, 1))
    weights = own.astype(np.float64) + others * share[:, None]
    np.fill_diagonal(weights, 1.0)
    return np.asarray(weights)


def _layer(head: Head) -> nn.Linear:
    """The head as a layer; directions that CCA left at zero begin small and random."""
    width, size = head.weight.shape
    layer = nn.Linear(width, size, bias=False)
    weight = torch.from_numpy(np.ascontiguousarray(head.weight.T))
    with torch.no_grad():
        unused = weight.abs().sum(dim=1) == 0
        noise = torch.randn(size, width) * 0.01 * weight[~unused].std().clamp(min=1e-6)
        layer.weight.copy_(torch.where(unused[:, None], noise, weight))
    return layer


def _batch(table: WindowTable, rows: NDArray[np.int64], start: Heads, apart_s: float) -> _Batch:
    vectors, present = {}, {}
    for m, head in start.heads.items():
        there = table.present(m)[rows]
        scaled = np.where(there[:, None], table.vectors[m][rows] / head.scale, 0.0)
        vectors[m] = torch.from_numpy(scaled.astype(np.float32))
        present[m] = torch.from_numpy(there)
    weights = negative_weights(
        table.person[rows], table.recording[rows], table.start_s[rows], apart_s
    )
    with np.errstate(divide="ignore"):
        return _Batch(vectors, present, torch.from_numpy(np.log(weights).astype(np.float32)))


def _loss(batch: _Batch, layers: nn.ModuleDict, log_scale: Tensor) -> Tensor | None:
    """Mean over pairs of modalities and both directions; None where no pair has two windows."""
    placed = {m: functional.normalize(layers[m](x), dim=1) for m, x in batch.vectors.items()}
    scale = log_scale.exp().clamp(max=100.0)
    terms = []
    for a, b in itertools.combinations(placed, 2):
        both = torch.nonzero(batch.present[a] & batch.present[b]).flatten()
        if len(both) < 2:
            continue
        logits = scale * placed[a][both] @ placed[b][both].T
        weight = batch.log_weight[both][:, both]
        right = torch.arange(len(both))
        terms.append(functional.cross_entropy(logits + weight, right))
        terms.append(functional.cross_entropy(logits.T + weight, right))
    return torch.stack(terms).mean() if terms else None
