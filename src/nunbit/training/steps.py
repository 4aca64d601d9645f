"""The loss of a batch and its gradient, whatever the batch is divided into.

A contrastive loss needs all embeddings of a batch at once, their graphs it does not. So the
embeddings are found first, micro-batch by micro-batch in every process; the loss is that of all of
them, on each process alike; its gradient by each embedding then goes back through the towers, one
micro-batch at a time (GradCache: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size
under Memory Limited Setup", arXiv:2101.06983). Loss and gradient are those of one process with the
whole batch, except that each micro-batch has its own batch-norm statistics.

B images, U distinct texts, R processes, A micro-batches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nunbit.training.captions import StepCaptions
from nunbit.training.losses import LogitBias, Pairs, contrastive_loss
from nunbit.training.network import Network
from nunbit.training.norms import statistics_at_rest
from nunbit.training.precision import autocast, in_bfloat16
from nunbit.training.processes import World
from nunbit.training.randomness import from_random_state, random_state
from nunbit.training.settings import TrainSettings
from nunbit.training.validation import to_pixels


class StepLoss:
    """Finds the loss of a step and leaves its gradient in the weights.

    Args:
        network: What is trained, on the world's device.
        settings: ``loss``, ``accumulate`` and ``precision``.
        world: Among which processes.
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
        towers = [*model.image.parameters(), *model.text.parameters()]
        self._world.sum_gradients(towers)
        learned = [model.log_scale, *(self.bias.parameters() if self.bias is not None else ())]
        self._world.sum_gradients(learned, each_has_all=True)
