"""The steps of a run, interruptible at any of them.

Each step pairs a batch of crops with its distinct captions, each encoded once. All that decides
the next step is in the checkpoint or follows from (seed, step), so a resumed run is bit for bit
the uninterrupted one on the same machine.
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

from nunbit.errors import Lang, TrainingError
from nunbit.progress import Progress, say
from nunbit.shards import DataSet
from nunbit.training.captions import Captions
from nunbit.training.checkpoints import newest_path, save_best, save_checkpoint
from nunbit.training.data import Crops, Schedule, Selection, plain_batches, training_batches
from nunbit.training.interrupt import StopRequest
from nunbit.training.losses import class_weights, contrastive_loss
from nunbit.training.network import Network
from nunbit.training.runfolder import MetricsLog, RunFolder
from nunbit.training.settings import TrainSettings
from nunbit.training.towers import DualEncoder
from nunbit.training.validation import to_pixels, validate

_BETAS, _EPS = (0.9, 0.98), 1e-6  # Radford et al. 2021, table 18


@dataclass(frozen=True, eq=False)
class Job:
    """What does not change during a run."""

    settings: TrainSettings
    network: Network
    selection: Selection
    captions: Captions


@dataclass
class _Progress:
    """What changes with the steps, apart from weights and optimiser; saved as it is.

    Attributes:
        step: Steps done.
        evaluated: The last step that was evaluated.
        best: Best value of the selecting metric, -1 before the first evaluation.
        best_step: Its step.
        stale: Evaluations since then.
        lines: Lines written to the metrics log.
        loss_sum: Of the steps since the last line of the log.
        loss_steps: How many those are.
    """

    step: int = 0
    evaluated: int = 0
    best: float = -1.0
    best_step: int = 0
    stale: int = 0
    lines: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0


class Trainer:
    """The steps of one run; :meth:`run` does what is left of them."""

    def __init__(
        self,
        job: Job,
        dataset: DataSet,
        run: RunFolder,
        state: dict[str, Any] | None,
        lang: Lang,
    ) -> None:
        self._job, self._settings, self._run, self._lang = job, job.settings, run, lang
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = job.network.model.to(self._device)
        for parameter in self._model.image.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._optimizer = _optimizer(self._model, self._settings)
        labels = job.selection.labels
        self._schedule = Schedule(labels, job.captions.n_templates, self._settings)
        self._class_weight = self._weights(labels)
        crops = (job.network.preprocessing, self._settings)
        self._crops = Crops(dataset, job.selection.rows, *crops)
        self._choosing = Crops(dataset, job.selection.choosing_rows, *crops)
        self._progress = _Progress()
        self._validation: dict[str, float] = {}
        if state is not None:
            self._restore(state)

    def run(self) -> None:
        """Train to the end, to patience, or to an interruption.

        Raises:
            KeyboardInterrupt: After a checkpoint.
            TrainingError: The loss or the gradient is not finite.
        """
        self._announce()
        log = MetricsLog(self._run.path, self._progress.step, self._progress.lines)
        total, size = self._schedule.total_steps, self._schedule.batch_size
        done = self._progress.step * size
        title = "학습" if self._lang == "ko" else "training"
        try:
            with (
                StopRequest() as stop,
                Progress(title, total * size, "img", done=done, lang=self._lang) as bar,
            ):
                self._steps(log, bar, stop)
        finally:
            log.close()

    def summary(self) -> dict[str, Any]:
        """What ``train`` returns about the run itself."""
        selection, p = self._job.selection, self._progress
        return {
            "init": self._settings.init,
            "steps": p.step,
            "epochs": round(p.step / self._schedule.steps_per_epoch, 3),
            "best_step": p.best_step,
            "validation": self._validation,
            "train_images": len(selection.rows),
            "choosing_images": len(selection.choosing_rows),
            "choosing_from": selection.choosing_from,
            "skipped_without_label": selection.skipped,
        }

    def _steps(self, log: MetricsLog, bar: Progress, stop: StopRequest) -> None:
        p, settings, schedule = self._progress, self._settings, self._schedule
        every = settings.eval_every or schedule.steps_per_epoch
        batches = training_batches(self._crops, schedule, p.step, settings.num_workers)
        saved = since = time.monotonic()
        pending = iter(batches)
        self._model.train()
        while True:
            due = p.step > 0 and (p.step % every == 0 or p.step == schedule.total_steps)
            if due and p.evaluated != p.step:
                self._evaluate(log)
                self._save()
                saved = since = time.monotonic()
            if self._finished():
                return
            loss = self._step(next(pending))
            bar.advance(schedule.batch_size, f"loss {loss:.3f}")
            if p.step % settings.log_every == 0 or p.step == schedule.total_steps:
                self._log_step(log, time.monotonic() - since)
                since = time.monotonic()
            late = time.monotonic() - saved > 60 * settings.checkpoint_minutes
            if stop.requested or late:
                self._save()
                saved = time.monotonic()
            if stop.requested:
                self._say(
                    f"interrupted at step {p.step}; the same line with --resume goes on from here",
                    f"{p.step}단계에서 중단했습니다. 같은 명령에 --resume을 더하면 이어집니다",
                )
                raise KeyboardInterrupt

    def _finished(self) -> bool:
        patience = self._settings.patience
        stale = patience > 0 and self._progress.stale >= patience
        return stale or self._progress.step >= self._schedule.total_steps

    def _step(self, batch: torch.Tensor) -> float:
        """One update; returns the loss."""
        p, settings = self._progress, self._settings
        rate = learning_rate(p.step, self._schedule.total_steps, settings)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["share"]
        positions = self._schedule.positions(p.step)
        templates = self._schedule.templates(p.step)
        labels = self._job.selection.labels[positions]
        targets = self._job.selection.targets[positions]
        step = self._job.captions.of(labels, templates)
        pairs = step.pairs(targets, self._class_weight, self._device)
        pixels = to_pixels(batch, self._job.network, self._device)
        images = self._model.embed_images(pixels)
        texts = self._model.embed_texts(step.ids.to(self._device), step.mask.to(self._device))
        logits = self._model.logit_scale * (images @ texts.T)
        loss = contrastive_loss(logits.float(), pairs, settings.loss)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(
            self._model.parameters(), settings.grad_clip or math.inf
        )
        value = float(loss.detach())
        if not math.isfinite(value) or not math.isfinite(float(norm)):
            raise self._not_finite(value)
        self._optimizer.step()
        self._model.cap_logit_scale(settings.logit_scale_max)
        p.step += 1
        p.loss_sum += value
        p.loss_steps += 1
        return value

    def _evaluate(self, log: MetricsLog) -> None:
        p, job = self._progress, self._job
        prompts = job.captions.embeddings(self._model, self._device)
        batches = plain_batches(
            self._choosing, self._schedule.batch_size, self._settings.num_workers
        )
        labels = job.selection.choosing_labels
        scores = dataclasses.asdict(validate(job.network, batches, labels, prompts, self._device))
        value = scores[self._settings.select_by]
        log.write(p.step, self._epoch(), {f"validation_{k}": v for k, v in scores.items()})
        p.lines += 1
        p.evaluated = p.step
        p.stale += 1
        if value > p.best:
            p.best, p.best_step, p.stale = value, p.step, 0
            self._validation = scores
            best = {"model": self._model.state_dict(), "step": p.step, "validation": scores}
            save_best(self._run.checkpoints, best)
        self._say(
            f"step {p.step}: validation top1 {scores['top1']:.3f}, uar {scores['uar']:.3f}, "
            f"macro F1 {scores['macro_f1']:.3f}",
            f"{p.step}단계: 검증 top1 {scores['top1']:.3f}, uar {scores['uar']:.3f}, "
            f"macro F1 {scores['macro_f1']:.3f}",
        )

    def _log_step(self, log: MetricsLog, seconds: float) -> None:
        p = self._progress
        values = {
            "loss": p.loss_sum / p.loss_steps,
            "lr": float(self._optimizer.param_groups[0]["lr"]),
            "logit_scale": float(self._model.logit_scale.detach()),
            "images_per_s": round(p.loss_steps * self._schedule.batch_size / seconds, 1),
        }
        p.lines += 1
        p.loss_sum, p.loss_steps = 0.0, 0
        log.write(p.step, self._epoch(), values)

    def _epoch(self) -> int:
        """Epochs begun, from 1."""
        return self._schedule.epoch(max(self._progress.step - 1, 0)) + 1

    def _save(self) -> None:
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all(),
            "progress": dataclasses.asdict(self._progress),
            "validation": self._validation,
        }
        keep = self._settings.keep_checkpoints
        save_checkpoint(self._run.checkpoints, self._progress.step, state, keep)

    def _restore(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["random_cuda"])
        self._progress = _Progress(**state["progress"])
        self._validation = state["validation"]

    def _weights(self, labels: NDArray[np.int64]) -> torch.Tensor:
        counts = torch.from_numpy(np.bincount(labels))
        if self._settings.class_balance == "loss":
            return class_weights(counts)
        return torch.ones(len(counts))

    def _announce(self) -> None:
        s, selection, p = self._settings, self._job.selection, self._progress
        holdout = selection.choosing_from == "train"
        self._say(
            f"{s.init}: {len(selection.rows)} images train, {len(selection.choosing_rows)} choose "
            f"({'persons held out of train' if holdout else 'validation'}), "
            f"{selection.skipped} without label skipped; "
            f"{self._schedule.total_steps} steps of {self._schedule.batch_size}"
            + (f", going on from step {p.step}" if p.step else ""),
            f"{s.init}: 학습 {len(selection.rows)}장, 선택 {len(selection.choosing_rows)}장"
            f"({'학습에서 떼어 둔 인물' if holdout else '검증 분할'}), 레이블이 없어 제외 "
            f"{selection.skipped}장, {self._schedule.batch_size}장씩 "
            f"{self._schedule.total_steps}단계" + (f", {p.step}단계부터 이어 감" if p.step else ""),
        )

    def _say(self, en: str, ko: str) -> None:
        say(ko if self._lang == "ko" else en)

    def _not_finite(self, loss: float) -> TrainingError:
        p = self._progress
        last = newest_path(self._run.checkpoints)
        kept = f"{last}" if last else "-"
        lower = f"{float(self._settings.lr) / 3:.1g}"
        return TrainingError(
            en=f"{self._run.path}: the loss or its gradient is not finite at step {p.step + 1} "
            f"(loss {loss}); train into a new --out with a lower rate, for example --set lr={lower}"
            f"; last good checkpoint: {kept}",
            ko=f"{self._run.path}: {p.step + 1}단계에서 손실이나 기울기가 유한하지 않습니다 "
            f"(손실 {loss}). 학습률을 낮춰 새 --out에 학습하십시오(예: --set lr={lower}). "
            f"마지막 정상 체크포인트: {kept}",
        )


def learning_rate(step: int, total: int, settings: TrainSettings) -> float:
    """The rate of a step (from 0): linear warm-up, then constant or a half cosine to zero."""
    peak = float(settings.lr)
    warmup = round(settings.warmup * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    if settings.schedule == "constant":
        return peak
    share = (step - warmup) / max(total - warmup, 1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * share))


def _optimizer(model: DualEncoder, settings: TrainSettings) -> torch.optim.AdamW:
    text_share = float(settings.text_lr)
    # Only pretrained text towers hold a `model`; what else they have is new, as all of `tiny` is.
    encoder: Any = getattr(model.text, "model", None)
    encoder_parameters = [] if encoder is None else list(encoder.parameters())
    if text_share == 0:
        for parameter in encoder_parameters:
            parameter.requires_grad_(False)
    pretrained_text = {id(p) for p in encoder_parameters}
    groups = []
    for in_encoder, share in ((False, 1.0), (True, text_share)):
        part = [
            p
            for p in model.parameters()
            if p.requires_grad and (id(p) in pretrained_text) == in_encoder
        ]
        # Gains, biases and the logit scale: decay would pull them to zero for no reason.
        for few, decay in ((False, settings.weight_decay), (True, 0.0)):
            chosen = [p for p in part if (p.ndim < 2) == few]
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "share": share})
    return torch.optim.AdamW(groups, lr=float(settings.lr), betas=_BETAS, eps=_EPS)
