"""Classifiers beside zero-shot: a linear probe, nearest neighbours, convolutional networks."""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nunbit.core.messages import Text
from nunbit.datasets.shards import DataSet
from nunbit.model.bundle import Preprocessing
from nunbit.model.encoders import standardise
from nunbit.runtime.progress import Progress, say
from nunbit.training.checkpoints import (
    BEST,
    fitting,
    load_state,
    newest_path,
    save_checkpoint,
    save_weights,
)
from nunbit.training.data import (
    Crops,
    Schedule,
    Selection,
    balance,
    plain_batches,
    training_batches,
)
from nunbit.training.networks import load_imagenet
from nunbit.training.optimisers import learning_rate
from nunbit.training.processes import Standing, StopRequest
from nunbit.training.settings import MetricsLog, RunFolder, TrainSettings
from nunbit.training.steps import score_logits
from nunbit.training.towers import LiteImageTower
from nunbit.training.trainer import evaluated, not_finite

# --- probes ---------------------------------------------------------------------------------------
# Arrays in, arrays out. N training rows, M queries, D embedding size, K classes.

Floats = NDArray[np.float32]

Head = tuple[Floats, Floats]
"""(D, K) weights and (K,) biases."""

_TEMPERATURE = 0.07  # of the neighbours' weights: Wu et al. 2018, arXiv:1805.01978


def zero_head(width: int, n_classes: int) -> Head:
    """Where a fit begins."""
    return np.zeros((width, n_classes), np.float32), np.zeros(n_classes, np.float32)


def fit_linear(embeddings: Floats, targets: Floats, penalty: float, start: Head) -> Head:
    """Minimise mean cross-entropy + penalty / 2 x |W|² by L-BFGS.

    Args:
        embeddings: (N, D) unit rows.
        targets: (N, K), rows sum to one.
        penalty: Of the weights that belong to rows of variance one; not of the biases.
        start: Where to begin.
    """
    x, wanted = torch.from_numpy(_scaled(embeddings)), torch.from_numpy(targets)
    weight, bias = (torch.from_numpy(value.copy()).requires_grad_() for value in start)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=200, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        log_probability = torch.log_softmax(x @ weight + bias, dim=1)
        loss = -(wanted * log_probability).sum(dim=1).mean() + penalty / 2 * (weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach().numpy(), bias.detach().numpy()


def linear_logits(head: Head, embeddings: Floats) -> Floats:
    """(M, K) logits of (M, D) unit rows."""
    return np.asarray(_scaled(embeddings) @ head[0] + head[1], np.float32)


def neighbour_logits(
    embeddings: Floats, targets: Floats, queries: Floats, sizes: list[int]
) -> list[Floats]:
    """Log shares of the classes among the nearest neighbours by cosine, (M, K) for each size.

    One average neighbour's worth of the class shares of all N rows is added, so that no class has
    probability zero.

    Args:
        embeddings: (N, D) unit rows.
        targets: (N, K), rows sum to one.
        queries: (M, D) unit rows.
        sizes: Numbers of neighbours, each at most N.
    """
    memory, labels = torch.from_numpy(embeddings), torch.from_numpy(targets)
    prior = labels.mean(dim=0)
    found: list[list[torch.Tensor]] = [[] for _ in sizes]
    for start in range(0, len(queries), 512):
        cosine = torch.from_numpy(queries[start : start + 512]) @ memory.T
        nearest, index = cosine.topk(max(sizes), dim=1)
        # Relative to the nearest, so that no weight overflows.
        weight = ((nearest - nearest[:, :1]) / _TEMPERATURE).exp()
        votes = weight[:, :, None] * labels[index]  # (M, k, K)
        for kept, k in zip(found, sizes, strict=True):
            shares = votes[:, :k].sum(dim=1) + weight[:, :k].mean(dim=1, keepdim=True) * prior
            kept.append((shares / shares.sum(dim=1, keepdim=True)).log())
    return [torch.cat(kept).numpy() for kept in found]


def _scaled(embeddings: Floats) -> Floats:
    # Unit rows have numbers around 1 / sqrt(D): a penalty would mean another thing for each D.
    return np.asarray(embeddings * np.float32(embeddings.shape[1] ** 0.5), np.float32)


# --- convolutional networks -----------------------------------------------------------------------
# As the paper cites them: crops, augmentation, order, hold-out and selection as in a run of
# ``train``, with a linear classifier and cross-entropy instead of captions. N images, K classes.


class _BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 (He et al. 2016) with random weights and K outputs."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        widths = (64, 64, 128, 256, 512)
        blocks: list[nn.Module] = []
        for stage, width in enumerate(widths[1:]):
            first = _BasicBlock(widths[stage], width, 1 if stage == 0 else 2)
            blocks += [first, _BasicBlock(width, width, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1], n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, S, S) standardised pixels to (N, K) logits."""
        return self.head(self.blocks(self.stem(pixels)).mean(dim=(2, 3)))  # type: ignore[no-any-return]


def build_classifier(kind: str, image_size: int, n_classes: int) -> nn.Module:
    """``resnet`` with random weights, ``efficientnet`` with ImageNet's and a new last layer.

    Raises:
        MissingExtra: The package with ImageNet's weights is missing.
    """
    if kind == "resnet":
        return ResNet18(n_classes)
    # The tower's projection is the classifier.
    tower = LiteImageTower(image_size, n_classes)
    load_imagenet(tower.backbone)
    return tower


@dataclass(frozen=True, eq=False)
class ClassifierJob:
    """The constant parts of a classifier's training."""

    model: nn.Module
    preprocessing: Preprocessing
    settings: TrainSettings
    selection: Selection
    data: DataSet
    run: RunFolder


class ClassifierTrainer:
    """The steps of one classifier; resumes exactly, as ``train`` does."""

    def __init__(self, job: ClassifierJob, state: dict[str, Any] | None) -> None:
        self._job, s = job, job.settings
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = job.model.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights = list(self._model.parameters())
        groups = [
            {"params": [p for p in weights if p.ndim >= 2], "weight_decay": s.weight_decay},
            {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=float(s.lr))
        self._schedule = Schedule(job.selection.labels, 1, s)
        self._class_weight = balance(job.selection, s).to(self._device)
        self._state = Standing()
        if state is not None:
            with fitting(newest_path(job.run.checkpoints)):
                self._model.load_state_dict(state["model"])
                self._optimizer.load_state_dict(state["optimizer"])
                torch.set_rng_state(state["random"])
                self._state = Standing(**state["progress"])

    def run(self) -> dict[str, Any]:
        """Train to the end, to patience or to an interruption; the best weights are loaded then.

        Returns:
            Plain data: steps, best_step, validation scores and temperature.

        Raises:
            KeyboardInterrupt: After a checkpoint.
            TrainingError: The loss is not finite.
        """
        state, job, title = self._state, self._job, Text("training", "학습")
        size, total = self._schedule.batch_size, self._schedule.total_steps
        with (
            closing(MetricsLog(job.run.path, state.step, state.lines)) as log,
            StopRequest() as stop,
            Progress(title, total * size, "img", done=state.step * size) as bar,
        ):
            self._steps(log, bar, stop)
        kept = job.run.checkpoints / BEST
        with fitting(kept):
            best = load_state(kept)
            self._model.load_state_dict(best["model"])
            told = {"best_step": int(best["step"]), "validation": dict(best["validation"])}
        return {"steps": state.step, **told}

    def logits(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(N, K) logits of some rows of the data set, without augmentation."""
        s = self._job.settings
        crops = Crops(self._job.data, rows, self._job.preprocessing, s)
        batches = plain_batches(crops, self._schedule.batch_size, s.num_workers)
        self._model.eval()
        with torch.no_grad():
            found = [self._model(self._pixels(b)).float().cpu().numpy() for b in batches]
        self._model.train()
        return np.concatenate(found)

    def _steps(self, log: MetricsLog, bar: Progress, stop: StopRequest) -> None:
        state, job, schedule = self._state, self._job, self._schedule
        s = job.settings
        every = s.eval_every or schedule.steps_per_epoch
        crops = Crops(job.data, job.selection.rows, job.preprocessing, s)
        steps = range(state.step, schedule.total_steps)
        pending = iter(training_batches(crops, schedule, steps, s.num_workers))
        self._model.train()
        saved = time.monotonic()
        while True:
            if state.is_due(every, schedule.total_steps):
                self._evaluate(log)
                self._save()
                saved = time.monotonic()
            if state.is_over(s.patience, schedule.total_steps):
                return
            loss = self._step(next(pending))
            bar.advance(schedule.batch_size, f"loss {loss:.3f}")
            if state.step % s.log_every == 0:
                self._write(log, {"loss": loss, "lr": float(self._optimizer.param_groups[0]["lr"])})
            if stop.requested or time.monotonic() - saved > 60 * s.checkpoint_minutes:
                self._save()
                saved = time.monotonic()
            if stop.requested:
                raise KeyboardInterrupt

    def _step(self, batch: Tensor) -> float:
        state, job = self._state, self._job
        rate = learning_rate(state.step, self._schedule.total_steps, job.settings)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        positions = self._schedule.positions(state.step)
        targets = torch.from_numpy(job.selection.targets[positions]).to(self._device)
        log_probability = torch.log_softmax(self._model(self._pixels(batch)), dim=1)
        losses = -(targets * log_probability).sum(dim=1)
        weight = (targets * self._class_weight).sum(dim=1)
        loss = (weight * losses).sum() / weight.sum()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise not_finite(value, state.step + 1, job.settings, job.run)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), job.settings.grad_clip or math.inf)
        self._optimizer.step()
        state.step += 1
        return value

    def _evaluate(self, log: MetricsLog) -> None:
        state, job = self._state, self._job
        labels = job.selection.choosing_labels
        scores = asdict(score_logits(self.logits(job.selection.choosing_rows), labels))
        self._write(log, {f"validation_{key}": value for key, value in scores.items()})
        if state.is_best(scores[job.settings.select_by]):
            save_weights(
                job.run.checkpoints,
                BEST,
                {"model": self._model.state_dict(), "step": state.step, "validation": scores},
            )
        say(evaluated(state.step, scores))

    def _write(self, log: MetricsLog, values: dict[str, float]) -> None:
        log.write(self._state.step, self._schedule.epoch(max(self._state.step - 1, 0)) + 1, values)
        self._state.lines += 1

    def _save(self) -> None:
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "progress": asdict(self._state),
        }
        save_checkpoint(
            self._job.run.checkpoints, self._state.step, state, self._job.settings.keep_checkpoints
        )

    def _pixels(self, batch: Tensor) -> Tensor:
        pixels = torch.from_numpy(standardise(batch.numpy(), self._job.preprocessing))
        return pixels.to(self._device, memory_format=torch.channels_last)
