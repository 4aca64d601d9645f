"""Was a shared state found? One code a pair of modalities, with the evidence and one sentence.

``found`` takes three things at once, all paired over people: the headline run (drift taken out,
candidates matched on talking) is above its own null; it is above what time, talking and mouth find
by themselves in the plain run; and something is left above the null when whatever carries talking
and mouth is erased from the vectors. The second alone is not enough, because a noisy measure of
talking finds less than talking itself; the third alone is not, because little may be left of much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nunbit.alignment.persons import Estimate, estimate
from nunbit.streams import Floats

FEWEST_PEOPLE = 5
"""With fewer the means of people say nothing about people."""

DETECTABLE = 0.10
"""'Not found' is said only where the interval excludes so much above the null; else it is open."""

LEAST_LEFT = 0.02
"""What must be left above the null without talking and mouth: less is nothing to build on, however
narrow its interval."""

LEVEL = 0.05
"""Chance that anything is said to be found where nothing is; shared among the pairs."""

CODES = (
    "found",
    "not_more_than_nuisance",
    "talking_unmeasured",
    "not_found",
    "cannot_tell",
    "too_little",
)
"""From the most to the least that can be said."""

NO_VERDICT = "no_verdict"
"""Of bundles made before there were verdicts."""


def decide(
    steps: Mapping[str, tuple[Floats, Floats | None]], measured: bool, pairs: int
) -> dict[str, Any]:
    """The verdict on one pair.

    Args:
        steps: ``plain``, ``headline`` and ``without_talking`` -> (P,) R@1 of each person and of
            their null, NaN where a person has none; ``nuisance`` -> R@1 of each person and None.
        measured: Whether talking (and the mouth, where a face takes part) could be measured.
        pairs: Pairs of modalities judged at once.

    Returns:
        Plain data: ``code`` and the figures that it follows from.
    """
    level = 1.0 - LEVEL / max(1, pairs)
    r1, null = steps["headline"]
    above = _paired(r1, null)
    people = above.n
    found: dict[str, Any] = {
        "code": "too_little",
        "n_people": people,
        "level": level,
        "r1": _number(estimate(r1).value),
        "ci95": estimate(r1).ci(),
        "null": None if null is None else _number(estimate(null).value),
        "null_ci95": None if null is None else estimate(null).ci(),
        "above_null": _number(above.value),
        "above_null_ci": above.ci(level),
        "fewest_people": FEWEST_PEOPLE,
        "detectable": DETECTABLE,
    }
    if people < FEWEST_PEOPLE or above.ci(level) is None:
        return found | {"reason": "people" if estimate(r1).n >= 1 else "windows"}
    beyond = _paired(r1, steps["nuisance"][0])
    left = _paired(*steps["without_talking"])
    plain = _paired(*steps["plain"])
    found |= {
        "nuisance": _number(estimate(steps["nuisance"][0]).value),
        "above_nuisance": _number(beyond.value),
        "above_nuisance_ci": beyond.ci(level),
        "left": _number(estimate(steps["without_talking"][0]).value),
        "left_null": None
        if steps["without_talking"][1] is None
        else _number(estimate(steps["without_talking"][1]).value),
        "left_above": _number(left.value),
        "left_above_ci": left.ci(level),
        "plain": _number(estimate(steps["plain"][0]).value),
        "plain_above_ci": plain.ci(level),
    }
    return found | {"code": _code(found, measured)}


def _code(found: Mapping[str, Any], measured: bool) -> str:
    if _positive(found["above_null_ci"]):
        left = _positive(found["left_above_ci"]) and found["left_above"] >= LEAST_LEFT
        if not (left and _positive(found["above_nuisance_ci"])):
            return "not_more_than_nuisance"
        return "found" if measured else "talking_unmeasured"
    if _positive(found["plain_above_ci"]):  # there until drift and talking were controlled
        return "not_more_than_nuisance"
    return "not_found" if found["above_null_ci"][1] < DETECTABLE else "cannot_tell"


def overall(verdicts: Mapping[str, Mapping[str, Any]]) -> str:
    """The code of all pairs together: that of the pair about which most can be said."""
    codes = [verdict["code"] for verdict in verdicts.values()]
    return min(codes, key=CODES.index) if codes else "too_little"


def _paired(a: Floats, b: Floats | None) -> Estimate:
    return estimate(np.full(len(a), np.nan) if b is None else a - b)


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _positive(interval: list[float] | None) -> bool:
    return interval is not None and interval[0] > 0.0


# ------------------------------------------------------------------ what people read

_PAIRS = {
    "face-voice": ("face and voice", "얼굴과 목소리"),
    "face-text": ("face and words", "얼굴과 말"),
    "voice-text": ("voice and words", "목소리와 말"),
}

_SENTENCES = {
    "found": (
        "{pair}: found. The right moment comes first in {r1} of cases, {null} by chance and "
        "{nuisance} by drift, talking and mouth alone; with talking and mouth erased {left} are "
        "left ({left_null} by chance). {n} people.",
        "{pair}: 찾았습니다. 맞는 순간이 1위인 비율은 {r1}입니다. 우연은 {null}, 시간·말하는 양·입 "
        "움직임만으로는 {nuisance}이며, 말하기와 입 움직임을 지워도 {left}(우연 {left_null})가 "
        "남습니다. {n}명 기준입니다.",
    ),
    "not_more_than_nuisance": (
        "{pair}: NOT shown to be more than drift, talking and mouth. The right moment comes first "
        "in {r1} of cases ({null} by chance; {plain} before drift and talking were controlled); "
        "these alone find it in {nuisance}, and with talking and mouth erased {left} are left "
        "({left_null} by chance).",
        "{pair}: 시간에 따른 변화, 말하는 양, 입 움직임을 넘는 대응은 확인되지 않았습니다. 맞는 "
        "순간이 1위인 비율은 {r1}(우연 {null}, 통제 전 {plain})이고, 그것들만으로는 {nuisance}, "
        "말하기와 입 움직임을 지우면 {left}(우연 {left_null})입니다.",
    ),
    "talking_unmeasured": (
        "{pair}: NOT shown. The right moment comes first in {r1} of cases (chance {null}), but "
        "talking or the mouth could not be measured, so articulation may be all of it; nunbit "
        "doctor prints the line that installs the landmarks.",
        "{pair}: 확인되지 않았습니다. 맞는 순간이 1위인 비율은 {r1}(우연 {null})이지만 말하는 "
        "양이나 입 움직임을 재지 못해 발음 동작 때문일 수 있습니다. 얼굴 특징점 설치 명령은 nunbit "
        "doctor가 알려 줍니다.",
    ),
    "not_found": (
        "{pair}: NOT found. The right moment comes first in {r1} of cases, chance gives {null}; "
        "with {n} people more than {upper} above chance is ruled out.",
        "{pair}: 찾지 못했습니다. 맞는 순간이 1위인 비율은 {r1}, 우연은 {null}입니다. {n}명의 "
        "자료로 우연보다 {upper} 넘게 높을 가능성은 배제됩니다.",
    ),
    "cannot_tell": (
        "{pair}: cannot tell. {r1} against {null} by chance; with {n} people anything up to "
        "{upper} above chance is possible.",
        "{pair}: 판단할 수 없습니다. {r1}, 우연 {null}입니다. {n}명의 자료로는 우연보다 "
        "{upper}까지 높을 수 있습니다.",
    ),
    "too_little": (
        "{pair}: too little. {n} people could be judged, at least {fewest} are needed, each with "
        "recordings long enough for windows far apart.",
        "{pair}: 자료가 너무 적습니다. 판정할 수 있는 사람이 {n}명입니다. 서로 떨어진 구간이 "
        "충분한 녹화를 가진 사람이 {fewest}명 이상 필요합니다.",
    ),
    NO_VERDICT: (
        "{pair}: this bundle was made before alignments were judged against drift and talking; it "
        "has no verdict of this kind. Run nunbit align again.",
        "{pair}: 시간에 따른 변화와 말하는 양을 통제해 판정하기 전에 만든 번들이라 그런 판정이 "
        "없습니다. nunbit align을 다시 실행하십시오.",
    ),
}


def sentence(pair: str, verdict: Mapping[str, Any]) -> tuple[str, str]:
    """What a verdict says, in English and Korean."""
    names = _PAIRS.get(pair, (pair, pair))
    interval = verdict.get("above_null_ci")
    values = {
        "r1": _percent(verdict.get("r1")),
        "null": _percent(verdict.get("null")),
        "nuisance": _percent(verdict.get("nuisance")),
        "plain": _percent(verdict.get("plain")),
        "left": _percent(verdict.get("left")),
        "left_null": _percent(verdict.get("left_null")),
        "n": verdict.get("n_people", 0),
        "fewest": verdict.get("fewest_people", FEWEST_PEOPLE),
    }
    upper = None if interval is None else interval[1]
    en, ko = _SENTENCES[verdict["code"]]
    return (
        en.format(pair=names[0], upper=_points(upper, "points"), **values),
        ko.format(pair=names[1], upper=_points(upper, "%p"), **values),
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100.0 * value:.1f}%"


def _points(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{100.0 * value:.1f}%p" if unit == "%p" else f"{100.0 * value:.1f} {unit}"
