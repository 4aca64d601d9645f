"""The text side after the images: one linear map that serves prompts, descriptions and sentences.

With a locked text encoder everything but the last projection is fixed, so the embeddings of all
images and the features of all texts are computed once and the projection is fitted to both: images
must still find the texts of their class, and sentences that people wrote must find the class that
raters saw in them. The image tower does not change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ImageSide:
    """What the images say: N embeddings and their K class shares.

    Attributes:
        vectors: (N, D) unit rows.
        targets: (N, K).
        logit_scale: Of the trained model.
        prior: (K,) weight of a class in the softmax (``captions = classes``).
    """

    vectors: Floats
    targets: Floats
    logit_scale: float
    prior: Floats


@dataclass(frozen=True, eq=False)
class TextSide:
    """Features of texts before the projection, F wide.

    Attributes:
        captions: (U, F) of prompts, then descriptions, equally many a class.
        caption_class: (U,).
        n_prompts: How many of them are prompts: what sentences are compared with.
        sentences: (M, F).
        sentence_targets: (M, K).
    """

    captions: Floats
    caption_class: NDArray[np.int64]
    n_prompts: int
    sentences: Floats
    sentence_targets: Floats


@dataclass(frozen=True, slots=True)
class StageSettings:
    """How the projection is fitted.

    Attributes:
        share: Weight of the sentences' loss beside the images'.
        steps: Steps of Adam.
        lr: Peak rate, falling to zero.
        batch_size: Images and sentences a step.
        weight_decay: Pull towards the projection that the images learned, not to zero.
        seed: Of the order.
    """

    share: float = 1.0
    steps: int = 3000
    lr: float = 1e-3
    batch_size: int = 512
    weight_decay: float = 1e-3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class FittedText:
    """The new projection.

    Attributes:
        weight: (D, F).
        bias: (D,).
        sentence_scale: What a sentence's cosine to a class is multiplied by to be a logit.
    """

    weight: Floats
    bias: Floats
    sentence_scale: float


def fit_text(
    start: nn.Linear, images: ImageSide, texts: TextSide, settings: StageSettings
) -> FittedText:
    """Fit the projection to images and sentences.

    Args:
        start: The projection that the images learned.
        images: N images.
        texts: U captions and M sentences.
        settings: How.
    """
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    layer = nn.Linear(start.in_features, start.out_features)
    layer.load_state_dict(start.state_dict())
    anchor = [p.detach().clone() for p in layer.parameters()]
    log_scale = nn.Parameter(torch.tensor(float(np.log(20.0))))
    optimizer = torch.optim.Adam([*layer.parameters(), log_scale], lr=settings.lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    z, y = torch.from_numpy(images.vectors), torch.from_numpy(images.targets)
    captions, own = torch.from_numpy(texts.captions), torch.from_numpy(texts.caption_class)
    x, t = torch.from_numpy(texts.sentences), torch.from_numpy(texts.sentence_targets)
    log_prior = torch.from_numpy(np.log(images.prior))[own]
    per_class = len(own) / y.shape[1]
    for _ in range(settings.steps):
        rows = torch.randint(len(z), (settings.batch_size,), generator=generator)
        lines = torch.randint(len(x), (settings.batch_size,), generator=generator)
        embedded = functional.normalize(layer(captions), dim=1)  # (U, D)
        logits = images.logit_scale * z[rows] @ embedded.T + log_prior
        image_loss = functional.cross_entropy(logits, y[rows][:, own] / per_class)
        prompts = slice(texts.n_prompts)
        classes = class_means(embedded[prompts], own[prompts], y.shape[1])
        sentences = functional.normalize(layer(x[lines]), dim=1)
        scale = log_scale.exp().clamp(max=100.0)
        sentence_loss = functional.cross_entropy(scale * sentences @ classes.T, t[lines])
        pull = torch.stack(
            [((p - a) ** 2).sum() for p, a in zip(layer.parameters(), anchor, strict=True)]
        ).sum()
        loss = image_loss + settings.share * sentence_loss + settings.weight_decay * pull
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
    return FittedText(
        weight=layer.weight.detach().numpy().copy(),
        bias=layer.bias.detach().numpy().copy(),
        sentence_scale=float(log_scale.detach().exp().clamp(max=100.0)),
    )


def class_means(embedded: Tensor, own: Tensor, n_classes: int) -> Tensor:
    """(K, D) normalised means of the captions of each class; ``embedded`` is (U, D)."""
    sums = torch.zeros(n_classes, embedded.shape[1]).index_add(0, own, embedded)
    return functional.normalize(sums, dim=1)
