"""A training step: captions, loss and gradient; and validation between steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nunbit.core.messages import SettingsError, Text
from nunbit.language.labels import LabelSet
from nunbit.language.prompts import TemplateSet, load_descriptions, prompts_for
from nunbit.language.tokenizer import tokenise
from nunbit.model.zeroshot import ensemble_cosines
from nunbit.statistics import confusion_matrix, fit_temperature, macro_f1, top1, uar
from nunbit.training.losses import LogitBias, Pairs, contrastive_loss
from nunbit.training.networks import Network
from nunbit.training.optimisers import autocast, in_bfloat16, statistics_at_rest
from nunbit.training.processes import World, from_random_state, random_state
from nunbit.training.settings import TrainSettings
from nunbit.training.towers import DualEncoder

# --- validation -----------------------------------------------------------------------------------


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

    def logged(self) -> dict[str, float]:
        """The scores under the names of ``metrics.jsonl``."""
        return {f"validation_{name}": value for name, value in asdict(self).items()}


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
    nothing = torch.zeros((0, network.embedding_size), device=device)
    rows = (model.embed_images(to_pixels(batch, network, device)).float() for batch in batches)
    return torch.cat([nothing, *rows])


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
    return score_logits(ensemble_cosines(images, prompts, "mean_embedding"), labels, scale)


def score_logits(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.int64], scale: float = 1.0
) -> Validation:
    """Scores of (M, K) logits, and the temperature that fits them times ``scale``."""
    confusion = confusion_matrix(labels, logits.argmax(axis=1).astype(np.int64), logits.shape[1])
    return Validation(
        top1=float(top1(confusion)),
        uar=float(uar(confusion)),
        macro_f1=float(macro_f1(confusion)),
        temperature=fit_temperature(logits.astype(np.float64) * scale, labels),
    )


def to_pixels(batch: Tensor, network: Network, device: torch.device) -> Tensor:
    """(B, S, S, 3) uint8 to standardised (B, 3, S, S) float32, as ``encoders.standardise`` does.

    The channels stay last in memory, which convolutions on CPU prefer.
    """
    mean = torch.tensor(network.preprocessing.mean, device=device)
    std = torch.tensor(network.preprocessing.std, device=device)
    return ((batch.to(device).to(torch.float32) / 255.0 - mean) / std).permute(0, 3, 1, 2)


# --- captions -------------------------------------------------------------------------------------
# A prompt is a template filled with a label. All are tokenised once; a step takes the distinct ones
# among its images' captions. T templates, K classes, B images, U distinct texts of L tokens.

_CAPTIONS = 4
"""First word of the random stream, different from those in data.py."""


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
        self,
        targets: NDArray[np.float32],
        class_weight: Tensor,
        device: torch.device,
        image_weight: NDArray[np.float32] | None = None,
    ) -> Pairs:
        """What the loss needs, on the device."""
        return Pairs(
            own=self.own.to(device),
            text_class=self.text_class.to(device),
            targets=torch.from_numpy(targets).to(device),
            class_weight=class_weight.to(device),
            copies=None if self.copies is None else self.copies.to(device),
            image_weight=None
            if image_weight is None
            else torch.from_numpy(image_weight).to(device),
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
                Text(
                    "loss = infonce pairs each image with one caption; use `captions=one` or "
                    "`loss=paper`",
                    "loss = infonce는 이미지 하나에 문장 하나를 짝짓습니다. `captions=one` "
                    "또는 `loss=paper`로 하십시오",
                )
            )
        rows = prompts_for(template_set, label_set)
        self.n_templates, self._n_classes = len(rows), len(label_set.labels)
        self._kind, self._seed = settings.captions, settings.seed
        texts = [text for row in rows for text in row]
        if settings.descriptions:
            if settings.captions != "classes":
                raise SettingsError(
                    Text(
                        "descriptions caption whole classes: use `captions=classes`",
                        "묘사 문장은 클래스 전체의 캡션입니다. `captions=classes`로 하십시오",
                    )
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
        text_class, mask = distinct % self._n_classes, self._mask[distinct]
        prior = torch.from_numpy(self._prior[text_class].astype(np.float32))
        longest = int(mask.sum(dim=1).max())
        return StepCaptions(
            ids=self._ids[distinct, :longest],
            mask=mask[:, :longest],
            own=torch.from_numpy(own),
            text_class=torch.from_numpy(text_class),
            copies=prior if self._kind == "classes" else None,
        )

    def _draw(self, step: int) -> NDArray[np.int64]:
        """(captions_per_class, K) texts, for every class other ones."""
        draw = np.random.default_rng([_CAPTIONS, self._seed, step])
        return draw.permuted(self._rows, axis=0)[: self._drawn]

    def embeddings(self, model: DualEncoder, device: torch.device) -> NDArray[np.float32]:
        """(T, K, D) embeddings of all prompts, without gradient and without descriptions."""
        prompts = slice(self.n_templates * self._n_classes)
        ids, mask = self._ids[prompts].to(device), self._mask[prompts].to(device)
        with torch.no_grad():
            rows = model.eval().embed_texts(ids, mask).float().cpu().numpy()
        return rows.reshape(self.n_templates, self._n_classes, -1)


# --- gradient -------------------------------------------------------------------------------------
# A contrastive loss needs all embeddings of a batch at once, but not their graphs. So the
# embeddings are found first, micro-batch by micro-batch in every process; the loss is that of all
# of them, on each process alike; its gradient by each embedding then goes back through the towers,
# one micro-batch at a time (GradCache: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch
# Size under Memory Limited Setup", arXiv:2101.06983). Loss and gradient are those of one process
# with the whole batch, except that each micro-batch has its own batch-norm statistics. R processes,
# A micro-batches.


class StepLoss:
    """Computes the loss of a step and adds its gradient to the weights.

    Args:
        network: What is trained, on the world's device.
        settings: ``loss``, ``accumulate`` and ``precision``.
        world: The processes of the run.
    """

    def __init__(self, network: Network, settings: TrainSettings, world: World) -> None:
        self._network, self._model = network, network.model
        self._loss, self._accumulate = settings.loss, settings.accumulate
        self._world = world
        precision = settings.precision
        self._low_image = in_bfloat16(network.model.image, precision, world.device)
        self._low_text = in_bfloat16(network.model.text, precision, world.device)
        #: What ``siglip`` learns beside the model.
        self.bias = LogitBias().to(world.device) if settings.loss == "siglip" else None

    def backward(self, crops: Tensor, captions: StepCaptions, pairs: Pairs) -> float:
        """Add the gradient of the whole batch to the weights' gradients.

        Args:
            crops: (B / R, S, S, 3) uint8, this process's share of the batch.
            captions: Of the whole batch.
            pairs: Of the whole batch, on the device.

        Returns:
            The loss of the whole batch.
        """
        model, world = self._model, self._world
        parts = list(crops.chunk(self._accumulate))
        images, states = self._embed_parts(parts)
        texts, span = self._embed_texts(captions)
        all_images = world.whole(torch.cat([i.detach() for i in images]), len(parts))
        all_texts = world.join_spans(texts.detach(), len(captions.ids))
        all_images.requires_grad_()
        all_texts.requires_grad_()
        logits = model.logit_scale * (all_images @ all_texts.T)
        if self.bias is not None:
            logits = self.bias(logits, pairs)
        loss = contrastive_loss(logits, pairs, self._loss)
        loss.backward()  # type: ignore[no-untyped-call]
        self._back_through_images(parts, images, states, all_images.grad)
        if texts.requires_grad and all_texts.grad is not None:
            texts.backward(all_texts.grad[span.start : span.stop])  # type: ignore[no-untyped-call]
        self._settle_gradients()
        return float(loss.detach())

    def _embed_parts(self, parts: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """(B / R / A, D) embeddings of each micro-batch, and the random states before each.

        One micro-batch keeps its graph; of several none does.
        """
        if len(parts) == 1:
            return [self._embed_images(parts[0])], []
        images, states = [], []
        with torch.no_grad(), statistics_at_rest(self._model):
            for part in parts:
                states.append(random_state(self._world.device))
                images.append(self._embed_images(part))
        return images, states

    def _back_through_images(
        self,
        parts: list[Tensor],
        images: list[Tensor],
        states: list[Tensor],
        gradient: Tensor | None,
    ) -> None:
        assert gradient is not None
        rows = gradient.view(len(parts), self._world.size, -1, gradient.shape[1])
        own = rows[:, self._world.rank]  # (A, B / R / A, D)
        if len(parts) == 1:
            images[0].backward(own[0])  # type: ignore[no-untyped-call]
            return
        for part, state, by_image in zip(parts, states, own, strict=True):
            # Dropout must fall as it did when the embeddings were found.
            with from_random_state(state, self._world.device):
                embedded = self._embed_images(part)
            embedded.backward(by_image)  # type: ignore[no-untyped-call]

    def _embed_images(self, crops: Tensor) -> Tensor:
        pixels = to_pixels(crops, self._network, self._world.device)
        with autocast(self._low_image, self._world.device):
            features = self._model.image(pixels)
        return self._model.unit(features)

    def _embed_texts(self, captions: StepCaptions) -> tuple[Tensor, range]:
        """(u, D) embeddings of this process's span of the distinct texts, with their graph.

        They are few whatever the batch size, so they are not divided into micro-batches.
        """
        device = self._world.device
        span = self._world.span(len(captions.ids))
        # A process without a text embeds one for nothing, so that its weights have a gradient.
        rows = slice(span.start, span.stop) if span else slice(1)
        ids, mask = captions.ids[rows].to(device), captions.mask[rows].to(device)
        with autocast(self._low_text, device):
            features = self._model.text(ids, mask)
        return self._model.unit(features)[: len(span)], span

    def _settle_gradients(self) -> None:
        """Sum the towers' gradients over processes; every process found all of the loss's own."""
        model = self._model
        self._world.sum_gradients([*model.image.parameters(), *model.text.parameters()])
        learned = [model.log_scale, *(self.bias.parameters() if self.bias is not None else ())]
        self._world.sum_gradients(learned, each_has_all=True)
