"""Fit the voice tower to frozen prompts, with the objective of the faces.

No classifier head and no encoder of speakers: a voice is right when it is nearest to the prompts of
its class. Person means are gone before anything is learned
(:mod:`nunbit.recording.voice.functionals`). N stretches of speech, F functionals, T templates, K
classes, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from development.voice_tower import Ensemble, VoiceTower
from nunbit.core.streams import Singles
from nunbit.model.zeroshot import normalise

_MAX_SCALE = 100.0
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """How the tower is fitted.

    Attributes:
        hidden: Width of the nonlinear branch.
        weight_decay: Decoupled, of the weights.
        dropout: Share of inputs and hidden units left out in a step.
        steps: Steps of AdamW over all stretches.
        lr: Peak rate, falling to zero.
        logit_adjustment: 1 makes rare classes count as much as frequent ones, 0 lets them not
            (Menon et al. 2021, "Long-tail learning via logit adjustment", arXiv:2007.07314).
        members: Towers with other random starts whose vectors are averaged.
        seed: Of the starts and of dropout.
    """

    hidden: int = 32
    weight_decay: float = 10.0
    dropout: float = 0.5
    steps: int = 200
    lr: float = 3e-3
    logit_adjustment: float = 1.0
    members: int = 1
    seed: int = 0


CHOSEN = VoiceSettings()
"""What the written tower is fitted with: best of a few on speaker folds of RAVDESS."""


@dataclass(frozen=True, eq=False)
class FittedVoice:
    """A trained tower.

    Attributes:
        tower: In evaluation mode.
        logit_scale: The factor that turns a cosine into a logit.
    """

    tower: nn.Module
    logit_scale: float

    def embed(self, rows: Singles) -> Singles:
        """(N, D) unit rows of (N, F) standardised functionals."""
        with torch.no_grad():
            vectors: Singles = self.tower(torch.from_numpy(rows)).numpy()
        return normalise(vectors)


def fit_voice(
    rows: Singles, truth: NDArray[np.int64], prompts: Singles, settings: VoiceSettings
) -> FittedVoice:
    """Train on stretches of speech whose class is known.

    Args:
        rows: (N, F) standardised functionals, finite.
        truth: (N,) classes, 0 to K - 1; classes without a stretch stay out of the softmax.
        prompts: (T, K, D) unit embeddings, frozen.
        settings: How.
    """
    fitted = [_fit_one(rows, truth, prompts, settings, i) for i in range(settings.members)]
    if len(fitted) == 1:
        return fitted[0]
    scale = float(np.mean([f.logit_scale for f in fitted]))
    return FittedVoice(Ensemble([f.tower for f in fitted]).eval(), scale)


def _fit_one(
    rows: Singles, truth: NDArray[np.int64], prompts: Singles, settings: VoiceSettings, member: int
) -> FittedVoice:
    shown = np.unique(truth)
    n_templates, size = len(prompts), prompts.shape[2]
    position = np.full(prompts.shape[1], -1)
    position[shown] = np.arange(len(shown))
    own = torch.from_numpy(np.tile(np.arange(len(shown)), n_templates))
    captions = torch.from_numpy(np.ascontiguousarray(prompts[:, shown])).reshape(-1, size)
    means = torch.from_numpy(normalise(prompts[:, shown].mean(axis=0)))
    x, y = torch.from_numpy(rows), torch.from_numpy(position[truth])
    prior = torch.bincount(y).float().log() * settings.logit_adjustment
    target = functional.one_hot(y, len(shown)).float()[:, own] / n_templates
    # A forked generator: fitting leaves the caller's random numbers alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed * 1000 + member)
        tower = VoiceTower(rows.shape[1], means, settings.hidden, settings.dropout)
        log_scale = nn.Parameter(torch.tensor(float(np.log(30.0))))
        optimizer = torch.optim.AdamW(
            [
                {"params": tower.parameters(), "weight_decay": settings.weight_decay},
                {"params": [log_scale], "weight_decay": 0.0},
            ],
            lr=settings.lr,
        )
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
        for _ in range(settings.steps):
            unit = functional.normalize(tower(x), dim=1)
            scale = log_scale.exp().clamp(max=_MAX_SCALE)
            logits = scale * unit @ captions.T + prior[own]
            loss = functional.cross_entropy(logits, target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            decay.step()
    return FittedVoice(tower.eval(), float(log_scale.detach().exp().clamp(max=_MAX_SCALE)))


def held_out(
    rows: Singles,
    truth: NDArray[np.int64],
    prompts: Singles,
    speakers: NDArray[np.str_],
    settings: VoiceSettings,
) -> tuple[Singles, float]:
    """Embeddings of all stretches by towers trained without their speaker.

    Args:
        rows: (N, F) standardised functionals.
        truth: (N,) classes.
        prompts: (T, K, D).
        speakers: (N,) who speaks.
        settings: How the five towers are fitted.

    Returns:
        (N, D) unit rows, and the mean logit scale of the towers.
    """
    vectors = np.zeros((len(rows), prompts.shape[2]), np.float32)
    names = np.random.default_rng(0).permutation(np.unique(speakers))
    scales = []
    for part in np.array_split(names, min(_FOLDS, len(names))):
        test = np.isin(speakers, part)
        fitted = fit_voice(rows[~test], truth[~test], prompts, settings)
        vectors[test] = fitted.embed(rows[test])
        scales.append(fitted.logit_scale)
    return vectors, float(np.mean(scales))
