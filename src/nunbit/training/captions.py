"""The captions of a run: which prompts a step needs, and what pairs with what.

A prompt is a template filled with a label. All are tokenised once; a step takes the distinct ones
among its images' captions. T templates, K classes, B images, U distinct texts of L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nunbit.descriptions import load_descriptions
from nunbit.encoders import tokenise
from nunbit.errors import SettingsError
from nunbit.labels import LabelSet
from nunbit.prompts import TemplateSet, prompts_for
from nunbit.training.losses import Pairs
from nunbit.training.network import Network
from nunbit.training.settings import TrainSettings
from nunbit.training.towers import DualEncoder

_CAPTIONS = 4
"""First word of the random stream, beside those of data.py."""


@dataclass(frozen=True, eq=False)
class StepCaptions:
    """The distinct captions of one step.

    Attributes:
        ids: (U, L) token ids, padded to the longest of the step.
        mask: (U, L).
        own: (B, U) float32, how many of an image's captions are text u.
        text_class: (U,) class positions.
        copies: (U,) weight of a text in the softmax, or None for how often the batch owns it.
    """

    ids: Tensor
    mask: Tensor
    own: Tensor
    text_class: Tensor
    copies: Tensor | None = None

    def pairs(
        self, targets: NDArray[np.float32], class_weight: Tensor, device: torch.device
    ) -> Pairs:
        """What the loss needs, on the device."""
        return Pairs(
            own=self.own.to(device),
            text_class=self.text_class.to(device),
            targets=torch.from_numpy(targets).to(device),
            class_weight=class_weight.to(device),
            copies=None if self.copies is None else self.copies.to(device),
        )


class Captions:
    """All prompts of a template set and a label set, tokenised.

    Args:
        network: Gives the tokenizer.
        template_set: T templates.
        label_set: K labels.
        settings: ``captions``, ``descriptions``, ``captions_per_class``, ``loss``,
            ``logit_adjustment`` and ``seed``.
        labels: (N,) class positions of all training images: what ``captions = classes`` takes
            the classes' frequencies from.

    Raises:
        SettingsError: ``infonce`` with more than one caption per image, or descriptions without
            ``captions = classes``.
        InputError: A prompt is longer than the text tower reads, or cannot be filled.
    """

    def __init__(
        self,
        network: Network,
        template_set: TemplateSet,
        label_set: LabelSet,
        settings: TrainSettings,
        labels: NDArray[np.int64],
    ) -> None:
        if settings.loss == "infonce" and settings.captions != "one":
            raise SettingsError(
                en="loss = infonce pairs each image with one caption; use --set captions=one or "
                "--set loss=paper",
                ko="loss = infonce는 이미지 하나에 문장 하나를 짝짓습니다. --set captions=one "
                "또는 --set loss=paper로 하십시오",
            )
        rows = prompts_for(template_set, label_set)
        self.n_templates, self._n_classes = len(rows), len(label_set.labels)
        self._kind, self._seed = settings.captions, settings.seed
        texts = [text for row in rows for text in row]
        if settings.descriptions:
            if settings.captions != "classes":
                raise SettingsError(
                    en="descriptions caption whole classes: use --set captions=classes",
                    ko="설명 문장은 클래스 전체에 붙습니다. --set captions=classes로 하십시오",
                )
            described = load_descriptions(settings.descriptions, label_set)
            texts += [text for row in zip(*described, strict=True) for text in row]
        ids, mask = tokenise(network.tokenizer, texts, network.max_tokens)
        self._ids, self._mask = torch.from_numpy(ids), torch.from_numpy(mask)
        # Two templates of the user's may give one class the same text: that is one caption.
        first: dict[tuple[int, str], int] = {}
        keys = [(code % self._n_classes, text) for code, text in enumerate(texts)]
        self._canonical = np.array([first.setdefault(k, i) for i, k in enumerate(keys)], np.int64)
        # Templates, then descriptions: (R, K) positions of texts.
        self._rows = self._canonical.reshape(-1, self._n_classes)
        wanted = settings.captions_per_class if self._kind == "classes" else 0
        self._drawn = min(wanted, len(self._rows)) or len(self._rows)
        counts = np.bincount(labels, minlength=self._n_classes)
        self._prior = (counts / max(counts.mean(), 1e-12)) ** settings.logit_adjustment  # (K,)

    def of(
        self, labels: NDArray[np.int64], templates: NDArray[np.int64], step: int = 0
    ) -> StepCaptions:
        """The captions of a step.

        Args:
            labels: (B,) class positions.
            templates: (B,) drawn templates; not used where all templates count.
            step: From 0; what ``captions_per_class`` draws follows from it and the seed.
        """
        if self._kind == "one":
            codes = self._rows[templates, labels][:, None]  # (B, 1)
            distinct = np.unique(codes)
        else:
            rows = self._rows if self._drawn == len(self._rows) else self._draw(step)
            codes = rows[:, labels].T  # (B, R)
            distinct = np.unique(rows if self._kind == "classes" else codes)
        column = np.searchsorted(distinct, codes)
        own = np.zeros((len(labels), len(distinct)), np.float32)
        np.add.at(own, (np.arange(len(labels))[:, None], column), 1.0)
        text_class = distinct % self._n_classes
        copies = self._prior[text_class] if self._kind == "classes" else None
        mask = self._mask[distinct]
        longest = int(mask.sum(dim=1).max())
        return StepCaptions(
            ids=self._ids[distinct, :longest],
            mask=mask[:, :longest],
            own=torch.from_numpy(own),
            text_class=torch.from_numpy(text_class),
            copies=None if copies is None else torch.from_numpy(copies.astype(np.float32)),
        )

    def _draw(self, step: int) -> NDArray[np.int64]:
        """(captions_per_class, K) texts, for every class other ones."""
        draw = np.random.default_rng([_CAPTIONS, self._seed, step])
        return draw.permuted(self._rows, axis=0)[: self._drawn]

    def embeddings(self, model: DualEncoder, device: torch.device) -> NDArray[np.float32]:
        """(T, K, D) embeddings of all prompts, without gradient and without descriptions."""
        prompts = slice(self.n_templates * self._n_classes)
        with torch.no_grad():
            rows = model.eval().embed_texts(
                self._ids[prompts].to(device), self._mask[prompts].to(device)
            )
        shape = (self.n_templates, self._n_classes, -1)
        return rows.float().cpu().numpy().reshape(shape)
