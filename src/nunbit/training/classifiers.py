"""Convolutional classifiers, the family the paper cites, trained on what ``train`` trains on.

The same crops, augmentation, order, hold-out and selection as a run of ``train``, with a linear
classifier and cross-entropy instead of captions. N images, K classes, S input side.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nunbit.encoders import Preprocessing, standardise
from nunbit.errors import Lang, TrainingError
from nunbit.metrics import confusion_matrix, fit_temperature, macro_f1, top1, uar
from nunbit.progress import Progress, say
from nunbit.shards import DataSet
from nunbit.training.checkpoints import BEST, load_state, save_checkpoint, save_weights
from nunbit.training.data import Crops, Schedule, Selection, plain_batches, training_batches
from nunbit.training.interrupt import StopRequest
from nunbit.training.losses import class_weights
from nunbit.training.optimisers import learning_rate
from nunbit.training.runfolder import MetricsLog, RunFolder
from nunbit.training.settings import TrainSettings
from nunbit.training.starts import load_imagenet
from nunbit.training.towers import LiteImageTower
from nunbit.training.validation import Validation


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
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


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
            blocks.append(_BasicBlock(widths[stage], width, 1 if stage == 0 else 2))
            blocks.append(_BasicBlock(width, width, 1))
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
    """What does not change while a classifier is trained."""

    model: nn.Module
    preprocessing: Preprocessing
    settings: TrainSettings
    selection: Selection
    data: DataSet
    run: RunFolder
    lang: Lang


@dataclass
class _State:
    step: int = 0
    evaluated: int = 0
    best: float = -1.0
    best_step: int = 0
    stale: int = 0
    lines: int = 0


class ClassifierTrainer:
    """The steps of one classifier; resumes exactly, as ``train`` does."""

    def __init__(self, job: ClassifierJob, state: dict[str, Any] | None) -> None:
        self._job, s = job, job.settings
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = job.model.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        few = [p for p in self._model.parameters() if p.ndim < 2]
        many = [p for p in self._model.parameters() if p.ndim >= 2]
        groups = [
            {"params": many, "weight_decay": s.weight_decay},
            {"params": few, "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=float(s.lr))
        self._schedule = Schedule(job.selection.labels, 1, s)
        counts = torch.from_numpy(np.bincount(job.selection.labels))
        weights = class_weights(counts) if s.class_balance == "loss" else torch.ones(len(counts))
        self._class_weight = weights.to(self._device)
        self._state = _State()
        if state is not None:
            self._model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
            self._state = _State(**state["progress"])

    def run(self) -> dict[str, Any]:
        """Train to the end, to patience or to an interruption; the best weights are loaded then.

        Returns:
            Plain data: steps, best_step, validation scores and temperature.

        Raises:
            KeyboardInterrupt: After a checkpoint.
            TrainingError: The loss is not finite.
        """
        state, job, title = self._state, self._job, "학습" if self._job.lang == "ko" else "training"
        log = MetricsLog(job.run.path, state.step, state.lines)
        size, total = self._schedule.batch_size, self._schedule.total_steps
        try:
            with (
                StopRequest() as stop,
                Progress(title, total * size, "img", done=state.step * size, lang=job.lang) as bar,
            ):
                self._steps(log, bar, stop)
        finally:
            log.close()
        best = load_state(job.run.checkpoints / BEST)
        self._model.load_state_dict(best["model"])
        return {"steps": state.step, "best_step": best["step"], "validation": best["validation"]}

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
            due = state.step > 0 and (state.step % every == 0 or state.step == schedule.total_steps)
            if due and state.evaluated != state.step:
                self._evaluate(log)
                self._save()
                saved = time.monotonic()
            if state.step >= schedule.total_steps or 0 < s.patience <= state.stale:
                return
            loss = self._step(next(pending))
            bar.advance(schedule.batch_size, f"loss {loss:.3f}")
            if state.step % s.log_every == 0:
                rate = float(self._optimizer.param_groups[0]["lr"])
                self._write(log, {"loss": loss, "lr": rate})
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
        logits = self._model(self._pixels(batch))
        losses = -(targets * functional.log_softmax(logits, dim=1)).sum(dim=1)
        weight = (targets * self._class_weight).sum(dim=1)
        loss = (weight * losses).sum() / weight.sum()
        value = float(loss.detach())
        if not math.isfinite(value):
            lower = f"{float(job.settings.lr) / 3:.1g}"
            raise TrainingError(
                en=f"{job.run.path}: the loss is not finite at step {state.step + 1}; train into a "
                f"new --out with a lower rate, for example --set lr={lower}",
                ko=f"{job.run.path}: {state.step + 1}단계에서 손실이 유한하지 않습니다. 학습률을 "
                f"낮춰 새 --out에 학습하십시오(예: --set lr={lower})",
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), job.settings.grad_clip or math.inf)
        self._optimizer.step()
        state.step += 1
        return value

    def _evaluate(self, log: MetricsLog) -> None:
        state, job = self._state, self._job
        labels = job.selection.choosing_labels
        scores = dataclasses.asdict(score_logits(self.logits(job.selection.choosing_rows), labels))
        self._write(log, {f"validation_{key}": value for key, value in scores.items()})
        state.evaluated = state.step
        state.stale += 1
        if scores[job.settings.select_by] > state.best:
            state.best, state.best_step = scores[job.settings.select_by], state.step
            state.stale = 0
            best = {"model": self._model.state_dict(), "step": state.step, "validation": scores}
            save_weights(job.run.checkpoints, BEST, best)
        word = f"{state.step}단계: 검증" if job.lang == "ko" else f"step {state.step}: validation"
        say(f"{word} top1 {scores['top1']:.3f}, uar {scores['uar']:.3f}")

    def _write(self, log: MetricsLog, values: dict[str, float]) -> None:
        epoch = self._schedule.epoch(max(self._state.step - 1, 0)) + 1
        log.write(self._state.step, epoch, values)
        self._state.lines += 1

    def _save(self) -> None:
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "progress": dataclasses.asdict(self._state),
        }
        keep = self._job.settings.keep_checkpoints
        save_checkpoint(self._job.run.checkpoints, self._state.step, state, keep)

    def _pixels(self, batch: Tensor) -> Tensor:
        pixels = torch.from_numpy(standardise(batch.numpy(), self._job.preprocessing))
        return pixels.to(self._device, memory_format=torch.channels_last)


def score_logits(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> Validation:
    """Scores of (M, K) logits on the selection split, and the temperature that fits them."""
    predicted = logits.argmax(axis=1).astype(np.int64)
    confusion = confusion_matrix(labels, predicted, logits.shape[1])
    return Validation(
        top1=float(top1(confusion)),
        uar=float(uar(confusion)),
        macro_f1=float(macro_f1(confusion)),
        temperature=fit_temperature(logits.astype(np.float64), labels),
    )
