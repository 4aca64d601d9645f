"""The networks: image towers, text towers and the dual encoder that joins them.

An ``architecture`` (plain data in ``RUN/model.json``) says which network and with which sizes;
:func:`build` makes it with random weights. Knows nothing of where weights come from or of
training. N images, M texts of L tokens, S input side, D embedding size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nunbit.training.hub_models import quiet_transformers, transformers_module

LOGIT_SCALE_START = 1 / 0.07
"""CLIP's starting point."""


class DualEncoder(nn.Module):
    """An image tower, a text tower and the learned logit scale.

    Args:
        image: (N, 3, S, S) float32 to (N, D).
        text: ids and mask, both (M, L) int64, to (M, D).
        logit_scale: Starting value.
    """

    def __init__(
        self, image: nn.Module, text: nn.Module, logit_scale: float = LOGIT_SCALE_START
    ) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.log_scale = nn.Parameter(torch.tensor(math.log(logit_scale)))

    def embed_images(self, pixels: Tensor) -> Tensor:
        """(N, D) unit rows."""
        return self.unit(self.image(pixels))

    def embed_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(M, D) unit rows."""
        return self.unit(self.text(ids, mask))

    @staticmethod
    def unit(features: Tensor) -> Tensor:
        """Rows of length one, in float32 whatever the tower computed in."""
        return nn.functional.normalize(features.float(), dim=-1)

    @property
    def logit_scale(self) -> Tensor:
        """What a cosine is multiplied by; a scalar tensor."""
        return self.log_scale.exp()

    @torch.no_grad()
    def cap_logit_scale(self, largest: float) -> None:
        """Keep the scale in [1, largest]; without a cap it grows once the batch is memorised."""
        self.log_scale.clamp_(0.0, math.log(largest))


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.convolutions(x) + self.shortcut(x))


class TinyImageTower(nn.Module):
    """A residual network of a few hundred thousand weights: for tests and the demo."""

    def __init__(self, widths: tuple[int, ...], embedding_size: int) -> None:
        super().__init__()
        first = widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU()
        )
        self.blocks = nn.Sequential(*(_Residual(a, b, 2) for a, b in itertools.pairwise(widths)))
        self.projection = nn.Linear(widths[-1], embedding_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, S, S) standardised pixels to (N, D)."""
        return self.projection(self.blocks(self.stem(pixels)).mean(dim=(2, 3)))  # type: ignore[no-any-return]


class LiteImageTower(nn.Module):
    """EfficientNet-lite0 (Tan & Le 2019) without its classifier, and a linear projection."""

    def __init__(self, image_size: int, embedding_size: int) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        self.backbone = EfficientNet.from_name("efficientnet-lite0", image_size=image_size)
        # The classifier would be saved, decayed and never used.
        del self.backbone._fc
        self.projection = nn.Linear(1280, embedding_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, S, S) standardised pixels to (N, D)."""
        features = self.backbone.extract_features(pixels)  # (N, 1280, S/32, S/32)
        return self.projection(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Pre-norm transformer block that attends in both directions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        m, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(m, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (M, heads, L, width / heads)
        attended = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(attended.transpose(1, 2).reshape(m, length, width))
        return x + self.feed(self.norm2(x))  # type: ignore[no-any-return]


class TextTower(nn.Module):
    """A small transformer over byte-level pieces, mean-pooled."""

    def __init__(self, sizes: Mapping[str, int], embedding_size: int) -> None:
        super().__init__()
        width = sizes["width"]
        self.pieces = nn.Embedding(sizes["vocabulary"], width)
        self.positions = nn.Parameter(torch.randn(sizes["max_tokens"], width) * 0.02)
        self.blocks = nn.ModuleList(_Block(width, sizes["heads"]) for _ in range(sizes["layers"]))
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, embedding_size)
        nn.init.normal_(self.pieces.weight, std=0.02)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(M, L) ids and mask to (M, D)."""
        x = self.pieces(ids) + self.positions[: ids.shape[1]]
        visible = mask.bool()[:, None, None, :]
        for block in self.blocks:
            x = block(x, visible)
        weight = mask[:, :, None].to(x.dtype)
        return self.projection((self.norm(x) * weight).sum(dim=1) / weight.sum(dim=1))  # type: ignore[no-any-return]


class E5TextTower(nn.Module):
    """A BERT encoder, mean-pooled, and a linear projection: multilingual-e5-small in ``lite``."""

    def __init__(self, config: Mapping[str, Any], embedding_size: int) -> None:
        super().__init__()
        transformers = transformers_module()
        self.model = transformers.BertModel(
            transformers.BertConfig(**config), add_pooling_layer=False
        )
        self.projection = nn.Linear(config["hidden_size"], embedding_size)
        self._remembered: dict[bytes, Tensor] = {}

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(M, L) ids and mask to (M, D)."""
        locked = not any(p.requires_grad for p in self.model.parameters())
        pooled = self._recall(ids, mask) if locked else self._pool(ids, mask)
        return self.projection(pooled)  # type: ignore[no-any-return]

    def _pool(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask[:, :, None].to(hidden.dtype)
        return (hidden * weight).sum(dim=1) / weight.sum(dim=1)  # type: ignore[no-any-return]

    def _recall(self, ids: Tensor, mask: Tensor) -> Tensor:
        # A locked encoder says the same of a prompt at every step, and costs more than the image
        # tower: each prompt is read once a run.
        keys = [
            row[: int(n)].cpu().numpy().tobytes()
            for row, n in zip(ids, mask.sum(dim=1), strict=True)
        ]
        new = [i for i, key in enumerate(keys) if key not in self._remembered]
        if new:
            # Remembered for validation too, which is in full precision.
            with torch.no_grad(), torch.autocast(ids.device.type, enabled=False):
                rows = self._pool(ids[new], mask[new])
            self._remembered |= {keys[i]: row for i, row in zip(new, rows, strict=True)}
        return torch.stack([self._remembered[key] for key in keys])


class HubImageTower(nn.Module):
    """The image half of a ``transformers`` dual encoder."""

    def __init__(self, dual: Any) -> None:
        super().__init__()
        self.model = dual.vision_model
        # SigLIP has no projections: its towers end in the shared space.
        self.projection = getattr(dual, "visual_projection", None) or nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, S, S) standardised pixels to (N, D)."""
        return self.projection(self.model(pixel_values=pixels).pooler_output)  # type: ignore[no-any-return]


class HubTextTower(nn.Module):
    """The text half of a ``transformers`` dual encoder."""

    def __init__(self, dual: Any) -> None:
        super().__init__()
        kind = dual.config.model_type
        self.model = dual.text_model
        self.projection = getattr(dual, "text_projection", None) or nn.Identity()
        self.pools_first = kind in ("chinese_clip", "altclip")
        # SigLIP was trained without a mask, on texts filled up to one length.
        self.masked = kind != "siglip"

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(M, L) ids and mask to (M, D)."""
        found = self.model(input_ids=ids, attention_mask=mask if self.masked else None)
        hidden = found.last_hidden_state[:, 0] if self.pools_first else found.pooler_output
        return self.projection(hidden)  # type: ignore[no-any-return]


def build(architecture: Mapping[str, Any]) -> DualEncoder:
    """The network an architecture describes, with random weights.

    Args:
        architecture: ``kind`` (``tiny``, ``lite`` or ``hub``) and its sizes.
    """
    if architecture["kind"] == "hub":
        transformers = transformers_module()
        with quiet_transformers():
            config = transformers.AutoConfig.for_model(**architecture["config"])
            return from_hub(transformers.AutoModel.from_config(config))
    size, text = architecture["embedding_size"], architecture["text"]
    if architecture["kind"] == "lite":
        return DualEncoder(
            LiteImageTower(architecture["image_size"], size), E5TextTower(text["config"], size)
        )
    return DualEncoder(TinyImageTower(tuple(architecture["widths"]), size), TextTower(text, size))


def from_hub(dual: Any) -> DualEncoder:
    """Wrap a ``transformers`` dual encoder; weights are shared, not copied.

    SigLIP's bias is left out: it moves all logits alike, so a softmax over classes never sees it.
    """
    return DualEncoder(
        HubImageTower(dual), HubTextTower(dual), float(dual.logit_scale.detach().exp())
    )
