"""Which face of one moment is which face of the next, and whose face is analysed.

Only place, size and time are compared: nothing that would recognise a person is kept. So two tracks
are one person only where nobody else could be meant; else they stay apart, and
:class:`TargetChoice` says so. Whether a track shows one face is judged elsewhere. Boxes in, numbers
out; nothing here knows pictures or models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from nunbit.errors import SettingsError
from nunbit.schema import Box
from nunbit.streams import FaceTrack, Floats

_EDGE_SAMPLES = 10  # at an end of a track that say where and how large the face was
_SAME_BOX_IOU = 0.1
_SAME_TIME_S = 0.5


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """When two boxes are one face. Sizes are the geometric mean of a box's sides.

    Attributes:
        max_gap_s: A face unseen for longer begins a new track.
        max_shift: How far from where it is expected, in sizes, a face may be found.
        max_growth: Largest ratio of sizes.
        clear_by: After a gap the best of several possible faces must be this many times closer
            than the next; else a new track begins.
    """

    max_gap_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1.0
    max_shift: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.8
    max_growth: Annotated[float, msgspec.Meta(ge=1, le=10)] = 1.6
    clear_by: Annotated[float, msgspec.Meta(ge=1, le=100)] = 2.0


@dataclass(frozen=True, slots=True)
class TargetBox:
    """A person pointed at.

    Attributes:
        box_xyxy: Where, pixels of the upright picture.
        time_s: When; None takes whoever is in this place most.
    """

    box_xyxy: Box
    time_s: float | None = None


Target = Literal["largest", "only"] | TargetBox
"""``largest`` face by median area times presence; ``only``: the recording shows one person, every
face that is seen alone is theirs; or the person in a box."""


@dataclass(frozen=True, slots=True)
class Person:
    """Tracks that are taken for one person.

    Attributes:
        tracks: Their ids, by time.
        samples: How many samples they have together.
        area_px: Median area of their boxes.
    """

    tracks: tuple[int, ...]
    samples: int
    area_px: float

    @property
    def weight(self) -> float:
        """Median area times presence."""
        return self.area_px * self.samples


@dataclass(frozen=True, slots=True)
class TargetChoice:
    """Who is who and who is analysed.

    Attributes:
        persons: Largest weight first.
        target: Index into ``persons``, or None where nobody was seen.
        notices: What could not be decided, as (en, ko) pairs.
    """

    persons: tuple[Person, ...]
    target: int | None
    notices: tuple[tuple[str, str], ...] = ()

    @property
    def target_tracks(self) -> tuple[int, ...]:
        """Ids of the target's tracks; empty where nobody was seen."""
        return () if self.target is None else self.persons[self.target].tracks


@dataclass(slots=True)
class _Live:
    """A track that may go on: its last box as centre and size, and how it moves."""

    track_id: int
    time_s: float
    place: Floats  # (3,) centre x, centre y, size
    speed: Floats = field(default_factory=lambda: np.zeros(2))  # pixels per second

    def expected(self, time_s: float) -> Floats:
        # A head that moved does not go on for long: half a second of its speed at most.
        ahead = min(time_s - self.time_s, 0.5)
        return np.asarray(self.place + np.array([*(self.speed * ahead), 0.0]))

    def move(self, time_s: float, place: Floats) -> None:
        step = max(time_s - self.time_s, 1e-6)
        self.speed = 0.5 * self.speed + 0.5 * (place[:2] - self.place[:2]) / step
        self.time_s, self.place = time_s, place


class Linker:
    """Gives every box of one moment after another the id of its track, from 0."""

    def __init__(self, settings: LinkSettings | None = None) -> None:
        self._settings = settings or LinkSettings()
        self._live: list[_Live] = []
        self._before_s = -math.inf
        self._next_id = 0

    def cut(self) -> None:
        """The picture changed altogether: no track goes on."""
        self._live = []

    def add(self, time_s: float, boxes: Sequence[Box]) -> tuple[int, ...]:
        """Link the faces of one moment.

        Args:
            time_s: Later than the time before.
            boxes: Faces found then.

        Returns:
            A track id for each box.
        """
        limit = self._settings.max_gap_s + 1e-9
        self._live = [track for track in self._live if time_s - track.time_s <= limit]
        places = [_place(box) for box in boxes]
        ids = [-1] * len(boxes)
        for number, live in self._pairs(time_s, places):
            live.move(time_s, places[number])
            ids[number] = live.track_id
        for number, place in enumerate(places):
            if ids[number] < 0:
                ids[number] = self._next_id
                self._live.append(_Live(self._next_id, time_s, place))
                self._next_id += 1
        self._before_s = time_s
        return tuple(ids)

    def _pairs(self, time_s: float, places: list[Floats]) -> list[tuple[int, _Live]]:
        """Closest pairs first: faces are few and seldom overlap, so this is the best matching."""
        costs = np.array(
            [[self._cost(live, time_s, place) for live in self._live] for place in places]
        ).reshape(len(places), len(self._live))
        pairs = []
        while costs.size and np.isfinite(costs).any():
            number, column = (int(i) for i in np.unravel_index(costs.argmin(), costs.shape))
            live = self._live[column]
            if live.time_s >= self._before_s or self._is_clear(costs, number, column):
                pairs.append((number, live))
                costs[:, column] = np.inf
            costs[number] = np.inf
        return pairs

    def _is_clear(self, costs: Floats, number: int, column: int) -> bool:
        """Whether no other face competes for a track that was out of sight."""
        rivals = np.concatenate(
            [np.delete(costs[number], column), np.delete(costs[:, column], number)]
        )
        bound = self._settings.clear_by * max(float(costs[number, column]), 0.05)
        return bool((rivals >= bound).all())

    def _cost(self, live: _Live, time_s: float, place: Floats) -> float:
        expected = live.expected(time_s)
        size = math.sqrt(expected[2] * place[2])
        growth = abs(math.log(place[2] / expected[2]))
        # Either where it is heading or where it was: a nod ends as suddenly as it begins.
        shift = min(
            math.dist(expected[:2], place[:2]),
            math.dist(live.place[:2], place[:2]),
        ) / size  # fmt: skip
        if shift > self._settings.max_shift or growth > math.log(self._settings.max_growth):
            return math.inf
        return float(shift + growth)


def choose_targets(
    tracks: Sequence[FaceTrack],
    target: Target = "largest",
    *,
    cuts_s: Sequence[float] = (),
    changes_s: Sequence[float] = (),
    follows: Mapping[int, int] | None = None,
    settings: LinkSettings | None = None,
) -> TargetChoice:
    """Join tracks to persons and choose the person to analyse.

    A track goes on as a later one (somebody turned away or left and returned) where place and
    size agree, the picture was not cut between them, and no third track could be meant instead.

    Args:
        tracks: All of a recording.
        target: Whom to choose.
        cuts_s: Times of the first samples after a cut.
        changes_s: Times at which another face was in the place of one.
        follows: Ids of tracks with the id of the one in which the same face is known to go on.
        settings: When two places agree.

    Raises:
        SettingsError: ``target`` is a box without a face.
    """
    settings = settings or LinkSettings()
    if not tracks:
        if isinstance(target, TargetBox):
            raise _no_face_there(target)
        return TargetChoice((), None)
    ordered = sorted(tracks, key=lambda t: (t.times_s[0], t.track_id))
    next_of, unclear = _successors(ordered, (*cuts_s, *changes_s), settings)
    place = {track.track_id: k for k, track in enumerate(ordered)}
    next_of |= {place[a]: place[b] for a, b in (follows or {}).items()}
    chains = _chains(ordered, next_of)
    if target == "only":
        chains = _alone(chains)
    persons = sorted((_person(chain) for chain in chains), key=lambda p: (-p.weight, p.tracks))
    index = 0
    if isinstance(target, TargetBox):
        wanted = _track_at(ordered, target).track_id
        index = next(i for i, person in enumerate(persons) if wanted in person.tracks)
    notices = [] if target == "only" else _notices(len(persons), unclear, len(cuts_s))
    return TargetChoice(tuple(persons), index, tuple(notices))


def box_iou(first: Floats, second: Floats) -> Floats:
    """Intersection over union of every pair of (n, 4) and (m, 4) boxes: (n, m)."""
    corners = np.maximum(first[:, None, :2], second[None, :, :2])
    ends = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.clip(ends - corners, 0.0, math.inf)
    common = sides[..., 0] * sides[..., 1]
    areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - common
    result: Floats = common / np.maximum(union, 1e-9)
    return result


def _place(box: Sequence[float] | NDArray[np.floating]) -> Floats:
    x0, y0, x1, y1 = (float(v) for v in box)
    size = math.sqrt(max(x1 - x0, 1e-3) * max(y1 - y0, 1e-3))
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, size])


def _edge(track: FaceTrack, *, end: bool) -> Floats:
    rows = track.boxes_xyxy[-_EDGE_SAMPLES:] if end else track.boxes_xyxy[:_EDGE_SAMPLES]
    return np.asarray(np.median([_place(row) for row in rows], axis=0))


def _successors(
    tracks: Sequence[FaceTrack], cuts_s: Sequence[float], settings: LinkSettings
) -> tuple[dict[int, int], int]:
    """Position of the track that goes on as another, and how many could not be told."""
    starts = np.stack([_edge(t, end=False) for t in tracks])  # (n, 3)
    ends = np.stack([_edge(t, end=True) for t in tracks])
    left = np.array([t.times_s[-1] for t in tracks])
    back = np.array([t.times_s[0] for t in tracks])
    shot_left, shot_back = (np.searchsorted(np.sort(cuts_s), x, side="right") for x in (left, back))
    shift = np.hypot(*(ends[:, None, i] - starts[None, :, i] for i in (0, 1)))
    shift /= np.sqrt(ends[:, None, 2] * starts[None, :, 2])
    growth = np.abs(np.log(starts[None, :, 2] / ends[:, None, 2]))
    possible = (left[:, None] < back) & (shot_left[:, None] == shot_back)
    possible &= (shift <= settings.max_shift) & (growth <= math.log(settings.max_growth))
    # Of a chain a, b, c also a and c agree: only the next of tracks that follow each other counts.
    steps = possible.astype(np.float32)
    direct = possible & ~(steps @ steps > 0)
    next_of, unclear = {}, 0
    for a in range(len(tracks)):
        after = np.flatnonzero(direct[a])
        if len(after) == 1 and direct[:, after[0]].sum() == 1:
            next_of[a] = int(after[0])
        elif len(after):
            unclear += 1
    return next_of, unclear


def _chains(tracks: Sequence[FaceTrack], next_of: dict[int, int]) -> list[list[FaceTrack]]:
    chains = []
    for first in sorted(set(range(len(tracks))) - set(next_of.values())):
        chain, position = [tracks[first]], first
        while position in next_of:
            position = next_of[position]
            chain.append(tracks[position])
        chains.append(chain)
    return chains


def _alone(chains: list[list[FaceTrack]]) -> list[list[FaceTrack]]:
    """Join to the heaviest chain every other that is never seen together with it."""
    first, *others = sorted(chains, key=lambda chain: -_person(chain).weight)
    kept = []
    for chain in others:
        taken = np.concatenate([track.times_s for track in first])
        if np.isin(np.concatenate([track.times_s for track in chain]), taken).any():
            kept.append(chain)
        else:
            first = sorted([*first, *chain], key=lambda track: track.times_s[0])
    return [first, *kept]


def _person(chain: Sequence[FaceTrack]) -> Person:
    boxes = np.concatenate([track.boxes_xyxy for track in chain]).astype(np.float64)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return Person(tuple(t.track_id for t in chain), len(boxes), float(np.median(areas)))


def _track_at(tracks: Sequence[FaceTrack], target: TargetBox) -> FaceTrack:
    """The track that fits a box best: within half a second of a time, or in most samples."""
    wanted = np.array([target.box_xyxy], np.float64)
    best, most = None, 0.0
    for track in tracks:
        rows = np.ones(len(track.times_s), bool)
        if target.time_s is not None:
            rows = np.abs(track.times_s - target.time_s) <= _SAME_TIME_S
        overlaps = box_iou(track.boxes_xyxy[rows].astype(np.float64), wanted)[:, 0]
        found = overlaps[overlaps >= _SAME_BOX_IOU]
        fit = float(found.sum() if target.time_s is None else found.max(initial=0.0))
        if fit > most:
            best, most = track, fit
    if best is None:
        raise _no_face_there(target)
    return best


def _no_face_there(target: TargetBox) -> SettingsError:
    where = ", ".join(f"{v:.0f}" for v in target.box_xyxy)
    when = ("", "") if target.time_s is None else (
        f" at {target.time_s:.1f} s", f"{target.time_s:.1f}초에 "
    )  # fmt: skip
    return SettingsError(
        en=f"no face in the box {where}{when[0]}; give a box (x0, y0, x1, y1 in pixels of the "
        "upright picture) around the face of the person meant",
        ko=f"{when[1]}상자 {where} 안에 얼굴이 없습니다. 분석할 사람의 얼굴을 둘러싼 상자"
        "(x0, y0, x1, y1, 바로 선 화면의 픽셀)를 주십시오",
    )


def _notices(persons: int, unclear: int, cuts: int) -> list[tuple[str, str]]:
    found = []
    if unclear:
        found.append((
            f"{unclear} times a face went out of sight and it is not clear who came back: these "
            "tracks are kept as separate persons (target = \"only\" joins them if the recording "
            "shows one person)",
            f"얼굴이 사라졌다가 누가 다시 나타났는지 분명하지 않은 경우가 {unclear}번 있어 서로 "
            "다른 사람으로 두었습니다(한 사람만 나오는 영상이면 target = \"only\"로 합칠 수 "
            "있습니다)",
        ))  # fmt: skip
    if cuts and persons > 1:
        found.append((
            f"the picture is cut {cuts} times: faces before and after a cut are kept as separate "
            "persons (target = \"only\" joins them if the recording shows one person)",
            f"화면이 {cuts}번 바뀝니다. 바뀌기 전과 후의 얼굴은 서로 다른 사람으로 두었습니다"
            "(한 사람만 나오는 영상이면 target = \"only\"로 합칠 수 있습니다)",
        ))  # fmt: skip
    return found
