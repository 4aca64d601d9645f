"""Class probabilities of the faces as they are shown: adapted, relative, under other shares.

What was observed stays as it is; this is derived from it again with other settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nunbit.core.messages import InputError, Text
from nunbit.core.streams import FaceTrack, Floats, Interval, Singles
from nunbit.core.timebase import clock
from nunbit.model.encoders import Bundle
from nunbit.model.posterior import Posterior, check_neutral, neutral_face
from nunbit.stories.analyze.answers import Scene
from nunbit.stories.analyze.job import AUTO, AnalyzeSettings

FEWEST_FRAMES = 5
"""Readable frames that a neutral stretch needs: one second at the usual rate."""

# A resting face lasts: two seconds are found by chance less often than single frames.
_SEARCHED_S = 2.0
_FEWEST_NEUTRAL = 0.3


@dataclass(frozen=True, eq=False)
class Shown:
    """The scene with the probabilities that are shown.

    Attributes:
        scene: With them.
        facts: ``adapted``, ``prior``, ``relative`` and ``neutral`` (``start``, ``end``, ``found``;
            None without one) of the summary.
        notices: What a reader must know.
        changed: Whether they differ from what was observed.
    """

    scene: Scene
    facts: Mapping[str, Any]
    notices: tuple[Text, ...]
    changed: bool


def shown_in(scene: Scene, bundle: Bundle, settings: AnalyzeSettings) -> Shown:
    """Derive the probabilities that are shown from those observed.

    Raises:
        InputError: The neutral stretch has too few readable frames of the person, or is joyful; or
            ``prior`` cannot be used.
        BundleError: The adaptation is damaged, or the class shares are unknown.
    """
    posterior = Posterior.of(bundle, prior=settings.prior)
    notices = list(posterior.notes)
    stretch, own = None, None
    if settings.neutral and scene.faces is not None:
        posterior.require_neutral()
        stretch, own, told = _neutral(scene, bundle, settings, posterior)
        notices += told
    facts = {
        **posterior.to_dict(relative=own is not None),
        "neutral": None
        if stretch is None
        else {
            "start": round(stretch.start_s, 3),
            "end": round(stretch.end_s, 3),
            "found": settings.neutral == AUTO,
        },
    }
    idle = posterior.adaptation is None and posterior.ratio is None and own is None
    if scene.faces is None or idle:
        return Shown(scene, facts, tuple(notices), changed=False)
    faces = posterior.faces(scene.faces, own, scene.faces.targets)
    return Shown(dataclasses.replace(scene, faces=faces), facts, tuple(notices), changed=True)


def _neutral(
    scene: Scene, bundle: Bundle, settings: AnalyzeSettings, posterior: Posterior
) -> tuple[Interval | None, Floats | None, tuple[Text, ...]]:
    """The stretch, its neutral face, and what is to be said; None and None where none is found."""
    times, raw = _readable(scene)
    given = settings.neutral_interval()
    if given is None:
        given = _found(times, raw, posterior.require_neutral())
        if given is None:
            return None, None, (_NOT_FOUND,)
    inside = (times >= given.start_s) & (times < given.end_s)
    if inside.sum() < FEWEST_FRAMES:
        raise InputError(
            Text(
                f"`neutral={settings.neutral}`: {int(inside.sum())} readable frames of the person "
                f"there, {FEWEST_FRAMES} are needed; choose another stretch, or `neutral=auto`",
                f"`neutral={settings.neutral}`: 그 구간에서 대상자를 읽을 수 있는 프레임이 "
                f"{int(inside.sum())}개입니다. {FEWEST_FRAMES}개가 필요하니 다른 구간이나 "
                "`neutral=auto`를 주십시오",
            )
        )
    where = f"{clock(given.start_s)}-{clock(given.end_s)}"
    doubts = check_neutral(raw[inside], bundle.label_set, f"`neutral` {where}")
    told = _FOUND if settings.neutral == AUTO else _GIVEN
    return given, neutral_face(raw[inside]), (told.fill(where=where), *doubts)


def _readable(scene: Scene) -> tuple[Floats, Singles]:
    """(N,) times and (N, K) observed probabilities of the person's readable frames, in order."""
    faces = scene.faces
    assert faces is not None  # asked for only with pictures
    own: list[FaceTrack] = [t for t in faces.tracks if t.track_id in faces.targets]
    parts = [(t.times_s, t.probabilities, t.reasons == "") for t in own]
    known = [(times[ok], p[ok]) for times, p, ok in parts if p is not None]
    if not known:
        return np.zeros(0), np.zeros((0, len(faces.labels)), np.float32)
    times = np.concatenate([part[0] for part in known])
    order = np.argsort(times, kind="stable")
    return times[order], np.concatenate([part[1] for part in known])[order]


def _found(times: Floats, raw: Singles, at: int) -> Interval | None:
    """The two seconds in which the model finds the person most neutral; None if hardly so."""
    if not len(times):
        return None
    ends = np.searchsorted(times, times + _SEARCHED_S)
    counts = ends - np.arange(len(times))
    usual = np.median(np.diff(times)) if len(times) > 1 else np.inf
    enough = counts >= max(FEWEST_FRAMES, 0.8 * _SEARCHED_S / max(float(usual), 1e-6))
    total = np.concatenate([[0.0], np.cumsum(raw[:, at], dtype=np.float64)])
    means = np.where(enough, (total[ends] - total[:-1]) / np.maximum(counts, 1), -1.0)
    best = int(means.argmax())
    if means[best] < _FEWEST_NEUTRAL:
        return None
    return Interval(float(times[best]), float(times[best] + _SEARCHED_S))


_GIVEN = Text(
    "class probabilities of the face are relative to the person's own neutral face at {where}",
    "얼굴의 클래스 확률은 {where}의 자기 중립 얼굴에 견준 값입니다",
)
_FOUND = Text(
    "class probabilities of the face are relative to the person's own neutral face, which was "
    "found in the recording at {where}: where the model reads most neutral; look whether the face "
    "is at rest there",
    "얼굴의 클래스 확률은 녹화에서 찾은 자기 중립 얼굴({where})에 견준 값입니다. 모델이 가장 "
    "중립으로 읽은 곳이니 실제로 무표정한지 확인하십시오",
)
_NOT_FOUND = Text(
    "no neutral face was found in the recording: class probabilities are not relative; give its "
    "place with `neutral`",
    "녹화에서 중립 얼굴을 찾지 못해 클래스 확률을 견주지 않았습니다. `neutral`로 구간을 주십시오",
)
