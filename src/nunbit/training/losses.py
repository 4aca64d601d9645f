"""Contrastive losses between the images of a step and its distinct captions.

A batch of B images with templates and labels has few distinct captions, U <= classes x templates.
Each is encoded once; how often it occurs in the batch enters the softmax as a weight, which gives
exactly the loss (and gradient) of encoding one caption per image. C captions are the B (or B x T)
columns of the usual formulation. K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Kind = Literal["paper", "infonce", "siglip"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """What belongs to what in one step.

    Attributes:
        own: (B, U) how many of an image's own captions are text u; rows sum to the captions per
            image.
        text_class: (U,) class of each distinct text.
        targets: (B, K) what each image shows: one-hot, or mixed with annotators' votes; rows sum
            to one.
        class_weight: (K,) weight of a class in the loss; ones for no balance.
        copies: (U,) how many columns each text stands for; None = as often as the batch owns it.
    """

    own: Tensor
    text_class: Tensor
    targets: Tensor
    class_weight: Tensor
    copies: Tensor | None = None


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
    """How well images and the captions of the batch are told apart.

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
    column_weight = copies * pairs.class_weight[pairs.text_class]  # (U,)
    image_to_text = _cross_entropy(row_log, row_target, row_weight)
    text_to_image = _cross_entropy(column_log.T, column_target.T, column_weight)
    return (image_to_text + text_to_image) / 2


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
    shares = target / mass.clamp_min(1e-12)[:, None]
    rows = -(shares * log_probability).sum(dim=1)
    return (weight * rows).sum() / weight.sum().clamp_min(1e-12)


def _sigmoid_loss(logits: Tensor, pairs: Pairs, copies: Tensor) -> Tensor:
    target = pairs.targets[:, pairs.text_class]  # (B, U)
    columns = copies
    if pairs.copies is not None:
        # Given copies are a prior over classes: with its log added, logits answer without it.
        logits, columns = logits + copies.log(), torch.ones_like(copies)
    rows = (pairs.targets * pairs.class_weight).sum(dim=1)  # (B,)
    weight = rows[:, None] * (columns * pairs.class_weight[pairs.text_class])  # (B, U)
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weight * each).sum() / weight.sum() * columns.sum()


def _even_bias(logits: Tensor, pairs: Pairs) -> Tensor:
    """The bias at which the mean logit is the log odds of a positive pair."""
    copies = pairs.own.sum(dim=0)
    copies = copies if pairs.copies is None else torch.ones_like(copies)
    columns = copies / (copies.sum() * len(logits))  # the pairs' shares, summing to one
    positive = float((pairs.targets[:, pairs.text_class] * columns).sum())
    positive = min(max(positive, 1e-3), 1 - 1e-3)  # a batch of one class has no negatives
    return math.log(positive / (1 - positive)) - (logits * columns).sum()
