"""How good the model is on the images kept apart: metrics and the temperature that fits them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nunbit.metrics import confusion_matrix, fit_temperature, macro_f1, top1, uar
from nunbit.training.network import Network
from nunbit.zeroshot import ensemble_cosines


@dataclass(frozen=True, slots=True)
class Validation:
    """Scores on the selection split.

    Attributes:
        top1: Accuracy.
        uar: Mean recall over classes.
        macro_f1: Mean F1 over classes.
        temperature: Minimises the negative log-likelihood; 1 leaves probabilities as they are.
    """

    top1: float
    uar: float
    macro_f1: float
    temperature: float


@torch.no_grad()
def embed_crops(network: Network, batches: Iterable[Tensor], device: torch.device) -> Tensor:
    """Embed crops in evaluation mode and full precision.

    Args:
        network: Left in evaluation mode.
        batches: Of (B, S, S, 3) uint8 crops, M in all; may be none.
        device: Where the model is.

    Returns:
        (M, D) unit rows on the device.
    """
    model = network.model.eval()
    rows = [torch.zeros((0, network.embedding_size), device=device)]
    rows += [model.embed_images(to_pixels(batch, network, device)).float() for batch in batches]
    return torch.cat(rows)


def validate(
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    prompts: NDArray[np.float32],
    scale: float,
) -> Validation:
    """Score by the cosine to the mean embedding of each class's prompts.

    Args:
        images: (M, D) unit rows.
        labels: (M,) class positions.
        prompts: (T, K, D) embeddings of the training prompts.
        scale: The model's logit scale.
    """
    cosines = ensemble_cosines(images, prompts, "mean_embedding")
    confusion = confusion_matrix(labels, cosines.argmax(axis=1).astype(np.int64), cosines.shape[1])
    return Validation(
        top1=float(top1(confusion)),
        uar=float(uar(confusion)),
        macro_f1=float(macro_f1(confusion)),
        temperature=fit_temperature(cosines.astype(np.float64) * scale, labels),
    )


def to_pixels(batch: Tensor, network: Network, device: torch.device) -> Tensor:
    """(B, S, S, 3) uint8 to standardised (B, 3, S, S) float32, as ``encoders.standardise`` does.

    The channels stay last in memory, which convolutions on CPU prefer.
    """
    mean = torch.tensor(network.preprocessing.mean, device=device)
    std = torch.tensor(network.preprocessing.std, device=device)
    scaled = (batch.to(device).to(torch.float32) / 255.0 - mean) / std
    return scaled.permute(0, 3, 1, 2)
