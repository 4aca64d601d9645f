"""Contrastive losses between the images of a step and its distinct captions.

A batch of B images with templates and labels has few distinct captions, U <= classes x templates.
Each is encoded once; how often it occurs in the batch enters the softmax as a weight, which gives
exactly the loss (and gradient) of encoding one caption per image. C captions are the B (or B x T)
columns of the usual formulation. K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


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


def contrastive_loss(logits: Tensor, pairs: Pairs, kind: Literal["paper", "infonce"]) -> Tensor:
    """Two-way cross-entropy between images and the captions of the batch.

    ``paper`` is what the paper describes, same emotion together and others apart: an image's
    target is spread over all captions of its class and a caption's over all images of its class,
    in both directions. This is the label-aware objective of UniCL (Yang et al. 2022, "Unified
    Contrastive Learning in Image-Text-Label Space", arXiv:2204.03610), which follows SupCon
    (Khosla et al. 2020, arXiv:2004.11362). With soft targets a pair attracts by the share of the
    image's target that the caption's class has.

    ``infonce`` is CLIP's loss (Radford et al. 2021, arXiv:2103.00020): the target of image i is
    its own caption, every other column is a negative, even one with the same label or text.

    Args:
        logits: (B, U) logit scale x cosine of every image with every distinct text.
        pairs: Which caption belongs to which image and class.
        kind: Which targets.

    Returns:
        Scalar: mean of the image-to-text and the text-to-image term.
    """
    copies = pairs.own.sum(dim=0) if pairs.copies is None else pairs.copies  # (U,)
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
