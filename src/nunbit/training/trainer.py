"""The training loop, which can be interrupted at any step, and its messages.

Each step pairs a batch of crops with its distinct captions, each encoded once. The next step
follows from the checkpoint and (seed, step) alone, so a resumed run equals the uninterrupted one
bit for bit on the same machine. With many processes each takes its share of every batch and updates
the same weights; the first one writes and prints.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch

from nunbit.core.messages import Text, TrainingError
from nunbit.datasets.shards import DataSet
from nunbit.runtime.progress import Progress, say
from nunbit.training.checkpoints import (
    AVERAGED,
    BEST,
    START,
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
from nunbit.training.networks import Network
from nunbit.training.optimisers import (
    MovingAverage,
    learning_rate,
    make_optimizer,
    measure_statistics,
    mixed_with_start,
    share_batch_norms,
)
from nunbit.training.processes import (
    Standing,
    StopRequest,
    World,
    begin_random,
    random_states,
    restore_random,
)
from nunbit.training.settings import MetricsLog, RunFolder, TrainSettings
from nunbit.training.steps import Captions, StepLoss, embed_crops, to_pixels, validate

# --- messages -------------------------------------------------------------------------------------


def announcement(
    settings: TrainSettings, selection: Selection, schedule: Schedule, step: int, world: World
) -> Text:
    """What is about to be trained on what, from which step."""
    holdout, skipped = selection.choosing_from == "train", selection.skipped
    train, choosing = len(selection.rows), len(selection.choosing_rows)
    said = Text(
        f"{settings.init}: {train} images for training, {choosing} for model selection "
        f"({'persons held out of train' if holdout else 'validation'}), {skipped} without label "
        f"skipped; {schedule.total_steps} steps of {schedule.batch_size}",
        f"{settings.init}: 학습 {train}장, 선택 {choosing}장"
        f"({'학습에서 떼어 둔 인물' if holdout else '검증 분할'}), 레이블이 없어 제외 "
        f"{skipped}장, {schedule.batch_size}장씩 {schedule.total_steps}단계",
    )
    n = world.size
    if n > 1:
        said = Text(f"{said.en} in {n} processes", f"{said.ko}, 프로세스 {n}개")
    if step:
        said = Text(f"{said.en}, resuming at step {step}", f"{said.ko}, {step}단계부터 이어 감")
    return said


def evaluated(step: int, scores: dict[str, float]) -> Text:
    """What a validation found at a step."""
    names = {"top1": "top1", "uar": "uar", "macro_f1": "macro F1"}
    figures = ", ".join(f"{shown} {scores[key]:.3f}" for key, shown in names.items())
    return Text(f"step {step}: validation {figures}", f"{step}단계: 검증 {figures}")


def not_finite(loss: float, step: int, settings: TrainSettings, run: RunFolder) -> TrainingError:
    """The loss or its gradient overflowed at a step (from 1)."""
    kept = newest_path(run.checkpoints) or "-"
    lower = f"{float(settings.lr) / 3:.1g}"
    return TrainingError(
        Text(
            f"{run.path}: the loss or its gradient is not finite at step {step} (loss {loss}); "
            f"train into a new `out` with a lower rate, for example `lr={lower}`; last good "
            f"checkpoint: {kept}",
            f"{run.path}: {step}단계에서 손실이나 기울기가 유한하지 않습니다 (손실 {loss}). "
            f"학습률을 낮춰 새 `out`에 학습하십시오(예: `lr={lower}`). 마지막 정상 체크포인트: "
            f"{kept}",
        )
    )


# --- steps ----------------------------------------------------------------------------------------

_STATISTICS_STEPS = 100
"""Batches that batch-norm statistics of averaged weights are measured on, at most."""


@dataclass(frozen=True, eq=False)
class Job:
    """The constant parts of a run."""

    settings: TrainSettings
    network: Network
    selection: Selection
    captions: Captions
    world: World


@dataclass
class _Progress(Standing):
    """The state that changes with the steps, besides weights and optimiser.

    Attributes:
        loss_sum: Of the steps since the last line of the log.
        loss_steps: How many those are.
        start_share: Share of the starting weights in the final ones, -1 before it is chosen.
    """

    loss_sum: float = 0.0
    loss_steps: int = 0
    start_share: float = -1.0


class Trainer:
    """The steps of one run; :meth:`run` does what is left of them."""

    def __init__(
        self, job: Job, dataset: DataSet, run: RunFolder, state: dict[str, Any] | None
    ) -> None:
        self._job, self._settings, self._run = job, job.settings, run
        self._description = run.description()
        self._world = world = job.world
        self._model = job.network.model.to(world.device)
        share_batch_norms(self._model, world)
        for parameter in self._model.image.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._loss = StepLoss(job.network, self._settings, world)
        self._bias = self._loss.bias
        self._learned = [] if self._bias is None else list(self._bias.parameters())
        self._optimizer = make_optimizer(self._model, self._settings, self._learned)
        self._schedule = Schedule(job.selection.labels, job.captions.n_templates, self._settings)
        self._class_weight = balance(job.selection, self._settings)
        crops = (job.network.preprocessing, self._settings)
        self._crops = Crops(dataset, job.selection.rows, *crops)
        self._choosing = Crops(dataset, job.selection.choosing_rows, *crops)
        self._progress = _Progress()
        self._validation: dict[str, float] = {}
        if state is None:
            world.copy_first_(self._model.state_dict().values())
            begin_random(self._settings.seed, world)
        else:
            with fitting(newest_path(run.checkpoints)):
                self._model.load_state_dict(state["model"])
        ema = self._settings.ema
        self._average = MovingAverage(self._model, ema) if ema else None
        if state is not None:
            with fitting(newest_path(run.checkpoints)):
                self._restore(state)

    def run(self) -> None:
        """Train to the end, to patience, or to an interruption.

        Raises:
            KeyboardInterrupt: After a checkpoint.
            TrainingError: The loss or the gradient is not finite.
        """
        p, selection = self._progress, self._job.selection
        self._say(announcement(self._settings, selection, self._schedule, p.step, self._world))
        total, size = self._schedule.total_steps, self._schedule.batch_size
        with ExitStack() as stack:
            log = bar = None
            stop = stack.enter_context(StopRequest())
            if self._world.first:
                log = MetricsLog(self._run.path, p.step, p.lines)
                stack.callback(log.close)
                bar = stack.enter_context(
                    Progress(Text("training", "학습"), total * size, "img", done=p.step * size)
                )
            self._steps(log, bar, stop)
            self._average_with_start(log)

    def summary(self) -> dict[str, Any]:
        """What ``train`` returns about the run itself."""
        selection, p = self._job.selection, self._progress
        return {
            "init": self._settings.init,
            "steps": p.step,
            "epochs": round(p.step / self._schedule.steps_per_epoch, 3),
            "best_step": p.best_step,
            "validation": self._validation,
            **selection.counts(),
        }

    def _steps(self, log: MetricsLog | None, bar: Progress | None, stop: StopRequest) -> None:
        p, settings, schedule = self._progress, self._settings, self._schedule
        every = settings.eval_every or schedule.steps_per_epoch
        pending = iter(self._batches(range(p.step, schedule.total_steps)))
        saved = since = time.monotonic()
        self._model.train()
        while True:
            if p.is_due(every, schedule.total_steps):
                # The average is what is judged and kept as best, and so what is exported.
                with nullcontext() if self._average is None else self._average.in_place():
                    self._evaluate(log)
                self._save()
                saved = since = time.monotonic()
            if p.is_over(settings.patience, schedule.total_steps):
                return
            loss = self._step(next(pending))
            if bar is not None:
                bar.advance(schedule.batch_size, f"loss {loss:.3f}")
            if p.step % settings.log_every == 0 or p.step == schedule.total_steps:
                self._log_step(log, time.monotonic() - since)
                since = time.monotonic()
            late = time.monotonic() - saved > 60 * settings.checkpoint_minutes
            # A signal reaches processes between different steps: they stop after the same one.
            stopping, late = self._world.any(stop.requested, late)
            if stopping or late:
                self._save()
                saved = time.monotonic()
            if stopping:
                self._say(
                    Text(
                        f"interrupted at step {p.step}; `resume=True` continues here",
                        f"{p.step}단계에서 중단했습니다. `resume=True`로 이어집니다",
                    )
                )
                raise KeyboardInterrupt

    def _batches(self, steps: range) -> Any:
        """This process's share of the crops of some steps."""
        world, parts = self._world, self._settings.accumulate
        return training_batches(
            self._crops,
            self._schedule,
            steps,
            self._settings.num_workers,
            lambda positions: world.own(positions, parts),
        )

    def _step(self, batch: torch.Tensor) -> float:
        """One update; returns the loss of the whole batch."""
        p, settings = self._progress, self._settings
        rate = learning_rate(p.step, self._schedule.total_steps, settings)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["share"]
        selection, positions = self._job.selection, self._schedule.positions(p.step)
        step = self._job.captions.of(
            selection.labels[positions], self._schedule.templates(p.step), p.step
        )
        pairs = step.pairs(
            selection.targets[positions],
            self._class_weight,
            self._world.device,
            selection.weights[positions],
        )
        self._optimizer.zero_grad(set_to_none=True)
        value = self._loss.backward(batch, step, pairs)
        norm = torch.nn.utils.clip_grad_norm_(
            [*self._model.parameters(), *self._learned], settings.grad_clip or math.inf
        )
        if not math.isfinite(value) or not math.isfinite(float(norm)):
            raise not_finite(value, p.step + 1, settings, self._run)
        self._optimizer.step()
        self._model.cap_logit_scale(settings.logit_scale_max)
        p.step += 1
        if self._average is not None:
            self._average.update(p.step)
        p.loss_sum, p.loss_steps = p.loss_sum + value, p.loss_steps + 1
        return value

    def _judge(self) -> dict[str, float]:
        """Validate the model; every process embeds its share of the images."""
        job, world = self._job, self._world
        labels = job.selection.choosing_labels
        prompts = job.captions.embeddings(self._model, world.device)
        size, workers = self._schedule.batch_size, self._settings.num_workers
        batches = plain_batches(self._choosing, size, workers, world.span(len(labels)))
        embedded = embed_crops(job.network, batches, world.device)
        images = world.join_spans(embedded, len(labels)).cpu().numpy()
        self._model.train()
        scores: dict[str, float] = {}
        if world.first:
            scale = float(self._model.logit_scale.detach())
            scores = asdict(validate(images, labels, prompts, scale))
        return world.of_first(scores)  # processes that differed in a rounding would part ways

    def _evaluate(self, log: MetricsLog | None) -> None:
        p, scores = self._progress, self._judge()
        self._log(log, {f"validation_{k}": v for k, v in scores.items()})
        if p.is_best(scores[self._settings.select_by]):
            self._validation = scores
            if self._world.first:
                save_weights(
                    self._run.checkpoints,
                    BEST,
                    {"model": self._model.state_dict(), "step": p.step, "validation": scores},
                )
        self._say(evaluated(p.step, scores))

    def _average_with_start(self, log: MetricsLog | None) -> None:
        """Put the run's start into its best weights, by the share that the settings ask for."""
        p, folder, shares = self._progress, self._run.checkpoints, self._settings.start_shares
        if not shares or p.start_share >= 0:
            return
        start = end = {}
        if self._world.first:
            start, end = (load_state(folder / name)["model"] for name in (START, BEST))
        live = {name: value.clone() for name, value in self._model.state_dict().items()}
        best = -1.0
        for share in shares:
            self._load_mixed(end, start, share)
            scores = self._judge()
            values = {f"validation_{k}": v for k, v in scores.items()}
            self._log(log, {"start_share": share, **values})
            if (value := scores[self._settings.select_by]) > best:
                best, p.start_share, self._validation = value, share, scores
        self._load_mixed(end, start, p.start_share)
        if self._world.first:
            final = {
                "model": self._model.state_dict(),
                "step": p.best_step,
                "validation": self._validation,
                "start_share": p.start_share,
            }
            save_weights(folder, AVERAGED, final)
        self._model.load_state_dict(live)
        self._save()
        self._say(
            Text(
                f"averaged with the start, share {p.start_share:g}: validation "
                f"{self._settings.select_by} {best:.3f}",
                f"시작 가중치와 평균함(비율 {p.start_share:g}): 검증 {self._settings.select_by} "
                f"{best:.3f}",
            )
        )

    def _load_mixed(self, end: Any, start: Any, share: float) -> None:
        if self._world.first:
            self._model.load_state_dict(mixed_with_start(end, start, share))
        self._world.copy_first_(self._model.state_dict().values())
        if share:
            pixels = (
                to_pixels(batch, self._job.network, self._world.device)
                for batch in self._batches(
                    range(min(_STATISTICS_STEPS, self._schedule.steps_per_epoch))
                )
            )
            measure_statistics(self._model.image, pixels)

    def _log(self, log: MetricsLog | None, values: dict[str, float]) -> None:
        self._progress.lines += 1
        if log is not None:
            step = self._progress.step
            log.write(step, self._schedule.epoch(max(step - 1, 0)) + 1, values)

    def _log_step(self, log: MetricsLog | None, seconds: float) -> None:
        p = self._progress
        values = {
            "loss": p.loss_sum / p.loss_steps,
            "lr": float(self._optimizer.param_groups[0]["lr"]),
            "logit_scale": float(self._model.logit_scale.detach()),
            "images_per_s": round(p.loss_steps * self._schedule.batch_size / seconds, 1),
        }
        p.loss_sum, p.loss_steps = 0.0, 0
        self._log(log, values)

    def _save(self) -> None:
        randomness = random_states(self._world)
        if not self._world.first:
            return
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "bias": None if self._bias is None else self._bias.state_dict(),
            **randomness,
            "progress": asdict(self._progress),
            "validation": self._validation,
            "description": self._description,
        }
        save_checkpoint(
            self._run.checkpoints, self._progress.step, state, self._settings.keep_checkpoints
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        if self._bias is not None:
            self._bias.load_state_dict(state["bias"])
        restore_random(state, self._settings.seed, self._world)
        if set(state["progress"]) != set(asdict(self._progress)):
            raise ValueError("its progress is that of another version")
        self._progress = _Progress(**state["progress"])
        self._validation = state["validation"]

    def _say(self, text: Text) -> None:
        if self._world.first:
            say(text)
