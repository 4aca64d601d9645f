"""What a run says of itself, in two languages."""

from __future__ import annotations

from nunbit.errors import TrainingError
from nunbit.training.checkpoints import newest_path
from nunbit.training.data import Schedule, Selection
from nunbit.training.processes import World
from nunbit.training.runfolder import RunFolder
from nunbit.training.settings import TrainSettings


def announcement(
    settings: TrainSettings, selection: Selection, schedule: Schedule, step: int, world: World
) -> tuple[str, str]:
    """What is about to be trained on what, from which step; in English and in Korean."""
    holdout = selection.choosing_from == "train"
    train, choosing, skipped = (
        len(selection.rows),
        len(selection.choosing_rows),
        selection.skipped,
    )
    en = (
        f"{settings.init}: {train} images train, {choosing} choose "
        f"({'persons held out of train' if holdout else 'validation'}), "
        f"{skipped} without label skipped; {schedule.total_steps} steps of {schedule.batch_size}"
    )
    ko = (
        f"{settings.init}: 학습 {train}장, 선택 {choosing}장"
        f"({'학습에서 떼어 둔 인물' if holdout else '검증 분할'}), 레이블이 없어 제외 "
        f"{skipped}장, {schedule.batch_size}장씩 {schedule.total_steps}단계"
    )
    if world.size > 1:
        en, ko = f"{en} in {world.size} processes", f"{ko}, 프로세스 {world.size}개"
    if step:
        en, ko = f"{en}, going on from step {step}", f"{ko}, {step}단계부터 이어 감"
    return en, ko


def not_finite(loss: float, step: int, settings: TrainSettings, run: RunFolder) -> TrainingError:
    """The loss or its gradient overflowed at a step (from 1)."""
    last = newest_path(run.checkpoints)
    kept = f"{last}" if last else "-"
    lower = f"{float(settings.lr) / 3:.1g}"
    return TrainingError(
        en=f"{run.path}: the loss or its gradient is not finite at step {step} (loss {loss}); "
        f"train into a new --out with a lower rate, for example --set lr={lower}; last good "
        f"checkpoint: {kept}",
        ko=f"{run.path}: {step}단계에서 손실이나 기울기가 유한하지 않습니다 (손실 {loss}). "
        f"학습률을 낮춰 새 --out에 학습하십시오(예: --set lr={lower}). 마지막 정상 체크포인트: "
        f"{kept}",
    )
