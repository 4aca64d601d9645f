"""What to say of a marked baseline that was not used, or not for everything.

The measures take a baseline only from a minute of valid data; a shorter one would be left out
without a word.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nunbit.measures import MeasureInput
from nunbit.measures.compute import speakers_unnamed
from nunbit.measures.roles import roles_of
from nunbit.measures.summary import MIN_BASELINE_S
from nunbit.report.timeline_view import ASSUMED_SINGLE, BASELINE_UNUSED, STAND_IN, UNVALIDATED
from nunbit.streams import Interval, MeasureBlock

_NAMES = {"face": ("the face", "얼굴"), "voice": ("the voice", "목소리"), "text": ("words", "말")}


def baseline_notices(
    marked: Interval | None, blocks: Iterable[MeasureBlock], duration_s: float
) -> tuple[tuple[str, str], ...]:
    """Why a marked stretch is nobody's baseline, as (en, ko); empty where it is used everywhere.

    Args:
        marked: The stretch the user marked, or None.
        blocks: All measures.
        duration_s: Length of the recording.
    """
    if marked is None:
        return ()
    windows = [b for b in blocks if b.scope == "window" and not b.track and b.modality in _NAMES]
    used = {b.modality for b in windows if np.isfinite(b.baseline)}
    measured = {b.modality for b in windows if np.isfinite(b.value).any()}
    where = f"{marked.start_s:g}–{marked.end_s:g}"
    if used:
        lacking = [m for m in _NAMES if m in measured - used]
        if not lacking:
            return ()
        en, ko = (", ".join(_NAMES[m][k] for m in lacking) for k in (0, 1))
        return (
            (
                f"the baseline {where} s holds less than {MIN_BASELINE_S:.0f} s of valid data of "
                f"{en}: it is not used there",
                f"기준 구간 {where}초에 {ko}의 유효 자료가 {MIN_BASELINE_S:.0f}초보다 적습니다. 그 "
                "측정값에는 사용하지 않았습니다",
            ),
        )
    if marked.start_s >= duration_s:
        why = "begins after the end of the recording", "녹화가 끝난 뒤에 시작합니다"
    elif min(marked.end_s, duration_s) - marked.start_s < MIN_BASELINE_S:
        need = f"{MIN_BASELINE_S:.0f}"
        why = (
            f"is too short ({need} s or more of valid data are needed)",
            f"너무 짧습니다(유효 자료 {need}초 이상 필요)",
        )
    else:
        need = f"{MIN_BASELINE_S:.0f}"
        why = (
            f"holds less than {need} s of valid data",
            f"유효 자료가 {need}초보다 적습니다",
        )
    return (
        (
            f"the baseline {where} s {why[0]}: it was not used",
            f"기준 구간 {where}초는 {why[1]}. 사용하지 않았습니다"
            if "유효 자료가" not in why[1]
            else f"기준 구간 {where}초에는 {why[1]}. 사용하지 않았습니다",
        ),
    )


def told_of(given: MeasureInput, *, baseline_unused: bool) -> tuple[str, ...]:
    """Codes of what the notices of a recording say, so that its report need not say it again."""
    roles = roles_of(given.labels, given.unvalidated, given.label_set)
    codes = {
        STAND_IN: bool(roles.stand_in_for),
        UNVALIDATED: bool(given.unvalidated & frozenset(given.labels)),
        BASELINE_UNUSED: baseline_unused,
        ASSUMED_SINGLE: speakers_unnamed(given),
    }
    return tuple(code for code, said in codes.items() if said)
