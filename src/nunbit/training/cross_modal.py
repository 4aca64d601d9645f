"""A one-layer cross-modal transformer with modality dropout, after [7]; for ``nunbit study``.

Kept of [7] (IMDD-Net): face, voice and words attend to one another and are trained together on
labels. Left out: its video and sound networks (measures stand in), its Kronecker product, its data.
A modality is one token; a missing one is masked. In training a modality that is there is hidden
with probability .3, so that the model works with what is left (modality dropout: Neverova et al.
2016, ModDrop). A fifth of the training persons decide when to stop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nunbit.core.messages import Text, TrainingError
from nunbit.statistics.nested import Floats
from nunbit.stories.study.fusions import CrossModalTask
from nunbit.training.processes import torch_threads

WIDTH, HEADS, HIDDEN = 32, 4, 64
DROPOUT, HIDDEN_MODALITY = 0.2, 0.3
STEPS, PATIENCE, EVERY = 400, 8, 10
RATE, DECAY = 2e-3, 1e-2
BATCH = 256
_STOP_SHARE = 0.2


class CrossModalNetwork(nn.Module):
    """Tokens of modalities and one of the answer, through one encoder layer.

    Args:
        sizes: Modality -> number of measures.
        n_classes: K.
    """

    def __init__(self, sizes: dict[str, int], n_classes: int) -> None:
        super().__init__()
        self.names = tuple(sizes)
        self.project = nn.ModuleDict({m: nn.Linear(max(n, 1), WIDTH) for m, n in sizes.items()})
        self.kind = nn.Parameter(torch.randn(len(sizes) + 1, WIDTH) * 0.1)
        self.layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, HIDDEN, DROPOUT, batch_first=True, norm_first=True
        )
        self.answer = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, n_classes))

    def forward(self, rows: dict[str, Tensor], there: Tensor) -> Tensor:
        """(B, K) logits of (B, F) measures a modality, (B, M) whether each is there."""
        tokens = [self.project[m](rows[m]) for m in self.names]
        n = len(tokens[0])
        stacked = torch.stack([tokens[0] * 0.0, *tokens], dim=1) + self.kind
        hidden = torch.cat([torch.zeros(n, 1, dtype=torch.bool), ~there], dim=1)
        logits: Tensor = self.answer(self.layer(stacked, src_key_padding_mask=hidden)[:, 0])
        return logits


def cross_modal_chances(task: CrossModalTask) -> NDArray[np.float64]:
    """Train on one fold, and judge its tested rows with every set of modalities.

    Args:
        task: The fold.

    Returns:
        (patterns, m, K) probabilities; deterministic for a seed on one machine.

    Raises:
        TrainingError: The loss is not finite.
    """
    with torch_threads(1):  # rows are short: more threads cost more than they give
        return _fit(task)


def _fit(task: CrossModalTask) -> NDArray[np.float64]:
    torch.manual_seed(task.seed)
    rng = np.random.default_rng([task.seed, 13])
    rows, there = _tensors(task.train)
    truth = torch.from_numpy(task.truth.astype(np.int64))
    kept = _kept_persons(task, rng)
    learn = np.flatnonzero(~np.isin(task.person, kept))
    stop = torch.from_numpy(np.flatnonzero(np.isin(task.person, kept)))
    network = CrossModalNetwork({m: x.shape[1] for m, x in rows.items()}, task.n_classes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    best, best_state, waited = math.inf, None, 0
    for step in range(STEPS):
        batch = torch.from_numpy(rng.permutation(learn)[:BATCH])
        network.train()
        logits = network({m: x[batch] for m, x in rows.items()}, _hidden(there[batch], rng))
        loss = nn.functional.cross_entropy(logits, truth[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % EVERY == 0:
            held = _loss(network, rows, there, truth, stop)
            if held < best - 1e-4:
                best, waited = held, 0
                best_state = {k: v.clone() for k, v in network.state_dict().items()}
            elif (waited := waited + 1) >= PATIENCE:
                break
    if best_state is None:
        raise TrainingError(
            Text(
                "the loss of the cross-modal transformer is not finite; leave it out with "
                "`transformer=false`",
                "교차 모달 트랜스포머의 손실이 유한하지 않습니다. `transformer=false`로 빼십시오",
            )
        )
    network.load_state_dict(best_state)
    return _judged(network, task)


def _tensors(modalities: Mapping[str, Floats]) -> tuple[dict[str, Tensor], Tensor]:
    """Rows with 0 where missing, and (n, M) which modalities are there."""
    rows = {
        m: torch.from_numpy(np.nan_to_num(x).reshape(len(x), -1).astype(np.float32))
        if x.shape[1]
        else torch.zeros(len(x), 1)
        for m, x in modalities.items()
    }
    there = np.stack([np.isfinite(x).any(axis=1) for x in modalities.values()], axis=1)
    return rows, torch.from_numpy(there)


def _kept_persons(task: CrossModalTask, rng: np.random.Generator) -> NDArray[np.int64]:
    known = np.unique(task.person)
    count = max(1, round(_STOP_SHARE * len(known))) if len(known) > 1 else 0
    return np.asarray(rng.permutation(known)[:count], np.int64)


def _hidden(there: Tensor, rng: np.random.Generator) -> Tensor:
    """What the network is shown: some modalities hidden, never all that are there."""
    kept = there & torch.from_numpy(rng.random(tuple(there.shape)) >= HIDDEN_MODALITY)
    none = ~kept.any(dim=1)
    kept[none] = there[none]
    return kept


def _loss(
    network: CrossModalNetwork, rows: dict[str, Tensor], there: Tensor, truth: Tensor, at: Tensor
) -> float:
    network.eval()
    with torch.no_grad():
        logits = network({m: x[at] for m, x in rows.items()}, there[at])
        found = float(nn.functional.cross_entropy(logits, truth[at]))
    return found if math.isfinite(found) else math.inf


def _judged(network: CrossModalNetwork, task: CrossModalTask) -> NDArray[np.float64]:
    rows, there = _tensors(task.test)
    network.eval()
    shown = (torch.tensor([m in pattern for m in network.names]) for pattern in task.patterns)
    with torch.no_grad():
        found = [torch.softmax(network(rows, there & each), dim=1).numpy() for each in shown]
    return np.stack(found).astype(np.float64)
