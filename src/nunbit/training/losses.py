"""Contrastive objectives: of a step of ``train``, and of the heads of ``align``.

A batch of B images with templates and labels has few distinct captions, U <= classes x templates.
Each is encoded once; how often it occurs in the batch enters the softmax as a weight, which gives
exactly the loss (and gradient) of encoding one caption per image. C captions are the B (or B x T)
columns of the usual formulation. K classes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nunbit.core.messages import Text, TrainingError
from nunbit.core.timebase import SAME_SUM_S
from nunbit.space.cca import Head, Heads
from nunbit.space.vectors import WindowTable
from nunbit.space.window_reading import AlignSettings

Kind = Literal["paper", "infonce", "siglip"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images and captions in one step.

    Attributes:
        own: (B, U) how many of an image's own captions are text u; rows sum to the captions per
            image.
        text_class: (U,) class of each distinct text.
        targets: (B, K) what each image shows: one-hot, or mixed with annotators' votes; rows sum
            to one.
        class_weight: (K,) weight of a class in the loss; ones for no balance.
        copies: (U,) how many columns each text stands for; None = as often as the batch owns it.
        image_weight: (B,) weight of an image in the loss; None = all count alike.
    """

    own: Tensor
    text_class: Tensor
    targets: Tensor
    class_weight: Tensor
    copies: Tensor | None = None
    image_weight: Tensor | None = None


class LogitBias(nn.Module):
    """The bias that ``siglip`` learns beside the logit scale; only training needs it.

    A softmax over classes never sees it. SigLIP begins with -10 at a scale of 10 because almost all
    of its pairs are negatives; here one pair in K is positive and starting points have other scales
    and cosines. So it begins where the mean logit of the first batch has the odds of a positive
    pair, which is what -10 was chosen for.
    """

    begun: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))
        self.register_buffer("begun", torch.tensor(False))

    def forward(self, logits: Tensor, pairs: Pairs) -> Tensor:
        """(B, U) logits with the bias added."""
        if not bool(self.begun):
            with torch.no_grad():
                self.value.copy_(_even_bias(logits.detach(), pairs))
                self.begun.fill_(True)
        return logits + self.value


def contrastive_loss(logits: Tensor, pairs: Pairs, kind: Kind) -> Tensor:
    """Contrastive loss between the images and the captions of a batch.

    ``paper`` is what the paper describes, same emotion together and others apart: an image's
    target is spread over all captions of its class and a caption's over all images of its class,
    in both directions. This is the label-aware objective of UniCL (Yang et al. 2022, "Unified
    Contrastive Learning in Image-Text-Label Space", arXiv:2204.03610), which follows SupCon
    (Khosla et al. 2020, arXiv:2004.11362). With soft targets a pair attracts by the share of the
    image's target that the caption's class has.

    ``infonce`` is CLIP's loss (Radford et al. 2021, arXiv:2103.00020): the target of image i is
    its own caption, every other column is a negative, even one with the same label or text.

    ``siglip`` asks of each pair by itself whether both show one class, by a sigmoid instead of a
    softmax (Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", arXiv:2303.15343),
    with the label-aware targets of ``paper``.

    Args:
        logits: (B, U) logit scale x cosine of every image with every distinct text, for ``siglip``
            with the bias added.
        pairs: Which caption belongs to which image and class.
        kind: Which targets.

    Returns:
        Scalar: mean of the image-to-text and the text-to-image cross-entropy; of ``siglip``, the
        mean over pairs times the columns, which is SigLIP's sum over pairs / B for B captions.
    """
    copies = pairs.own.sum(dim=0) if pairs.copies is None else pairs.copies  # (U,)
    if kind == "siglip":
        return _sigmoid_loss(logits, pairs, copies)
    if kind == "paper":
        column_target = pairs.targets[:, pairs.text_class]  # (B, U)
        # A text that stands for several columns takes that many shares; given copies are a prior
        # over classes and belong to the denominator only.
        row_target = column_target * copies if pairs.copies is None else column_target
    else:
        row_target = column_target = pairs.own
    # Duplicates of a text are that many equal terms of the softmax's denominator.
    row_log = logits - torch.logsumexp(logits + copies.log(), dim=1, keepdim=True)
    column_log = logits - torch.logsumexp(logits, dim=0, keepdim=True)
    row_weight = (pairs.targets * pairs.class_weight).sum(dim=1)  # (B,)
    if pairs.image_weight is not None:
        row_weight = row_weight * pairs.image_weight
        column_target = column_target * pairs.image_weight[:, None]
    column_weight = copies * pairs.class_weight[pairs.text_class]  # (U,)
    image_to_text = _cross_entropy(row_log, row_target, row_weight)
    return (image_to_text + _cross_entropy(column_log.T, column_target.T, column_weight)) / 2


def class_weights(counts: Tensor) -> Tensor:
    """Weights inverse to class frequency, scaled so that the mean over images is one.

    Args:
        counts: (K,) training images per class, all >= 1.
    """
    counts = counts.to(torch.float32)
    return counts.sum() / (len(counts) * counts)


def _cross_entropy(log_probability: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over rows; a row whose target is empty (all votes elsewhere) counts nothing."""
    mass = target.sum(dim=1)
    weight = weight * (mass > 0)
    rows = -((target / mass.clamp_min(1e-12)[:, None]) * log_probability).sum(dim=1)
    return (weight * rows).sum() / weight.sum().clamp_min(1e-12)


def _sigmoid_loss(logits: Tensor, pairs: Pairs, copies: Tensor) -> Tensor:
    target = pairs.targets[:, pairs.text_class]  # (B, U)
    columns = copies
    if pairs.copies is not None:
        # Given copies are a prior over classes: with its log added, logits answer without it.
        logits, columns = logits + copies.log(), torch.ones_like(copies)
    rows = (pairs.targets * pairs.class_weight).sum(dim=1)  # (B,)
    if pairs.image_weight is not None:
        rows = rows * pairs.image_weight
    weight = rows[:, None] * (columns * pairs.class_weight[pairs.text_class])  # (B, U)
    each = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weight * each).sum() / weight.sum() * columns.sum()


def _even_bias(logits: Tensor, pairs: Pairs) -> Tensor:
    """The bias at which the mean logit is the log odds of a positive pair."""
    copies = pairs.own.sum(dim=0) if pairs.copies is None else torch.ones_like(pairs.copies)
    columns = copies / (copies.sum() * len(logits))  # the pairs' shares, summing to one
    positive = float((pairs.targets[:, pairs.text_class] * columns).sum())
    positive = min(max(positive, 1e-3), 1 - 1e-3)  # a batch of one class has no negatives
    return math.log(positive / (1 - positive)) - (logits * columns).sum()


# --- heads ----------------------------------------------------------------------------------------
# Trained for many hours of recordings: L = -1/2 mean_i [log(e^{s_ii/t} / sum_{j in N(i)}
# e^{s_ij/t}) + the same transposed] for every pair of modalities that a window has. N(i) holds i
# itself, windows of the same person at least 8 s away and windows of other people; the latter have
# less weight, so that at least half of the negatives' weight is the same person's; otherwise the
# objective would learn the speaker. Begins with ridge CCA.

_PEOPLE_A_STEP = 4
_START_TEMPERATURE = 0.1


def fit_infonce(table: WindowTable, start: Heads, settings: AlignSettings) -> Heads:
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
        loss = _loss(*_batch(table, rows, start, settings.apart_s), layers, log_scale)
        if loss is None:
            continue
        last = float(loss.detach())
        if not np.isfinite(last):
            raise TrainingError(
                Text(
                    "the contrastive loss is not finite: lower `lr`, or take `method=cca`",
                    "대조 손실이 유한하지 않습니다. `lr`을 낮추거나 `method=cca`를 쓰십시오",
                )
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
    weights = {m: next(layers[m].parameters()).detach().numpy().T for m in names}
    heads = {m: replace(start.heads[m], weight=w.astype(np.float32)) for m, w in weights.items()}
    return Heads(
        heads,
        "infonce",
        start.correlations,
        dict(start.details) | {"steps": settings.steps, "loss": last},
    )


def choose_batch(
    table: WindowTable, usable: NDArray[np.int64], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of a step: a few people with many windows each, so that most negatives are their own."""
    chosen = rng.permutation(np.unique(table.person[usable]))[:_PEOPLE_A_STEP]
    each = max(2, size // len(chosen))
    own = (usable[table.person[usable] == person] for person in chosen)
    return np.sort(np.concatenate([rng.permutation(rows)[:each] for rows in own]))


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
        np.abs(start_s[:, None] - start_s[None, :]) < apart_s - SAME_SUM_S
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


def _batch(
    table: WindowTable, rows: NDArray[np.int64], start: Heads, apart_s: float
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """B windows by modality, and the weights of the negatives.

    Returns:
        (B, D) scaled vectors, zero where missing; (B,) which are there; (B, B) log weight of
        column j in row i's sum, 0 on the diagonal and -inf for what is no negative.
    """
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
        return vectors, present, torch.from_numpy(np.log(weights).astype(np.float32))


def _loss(
    vectors: dict[str, Tensor],
    present: dict[str, Tensor],
    log_weight: Tensor,
    layers: nn.ModuleDict,
    log_scale: Tensor,
) -> Tensor | None:
    """Mean over pairs of modalities and both directions; None where no pair has two windows."""
    placed = {m: nn.functional.normalize(layers[m](x), dim=1) for m, x in vectors.items()}
    scale = log_scale.exp().clamp(max=100.0)
    terms = []
    for a, b in itertools.combinations(placed, 2):
        both = torch.nonzero(present[a] & present[b]).flatten()
        if len(both) < 2:
            continue
        logits = scale * placed[a][both] @ placed[b][both].T
        weight, right = log_weight[both][:, both], torch.arange(len(both))
        terms += [nn.functional.cross_entropy(x + weight, right) for x in (logits, logits.T)]
    return torch.stack(terms).mean() if terms else None
