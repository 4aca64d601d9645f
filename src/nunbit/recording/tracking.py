"""Link faces over time to tracks, and choose the person to analyse.

Only place, size and time are compared: nothing is kept by which a person could be recognised. Two
tracks are joined to one person only if no other person is possible; otherwise they stay separate,
and :class:`TargetChoice` has a notice. Whether a track shows one face is judged elsewhere. Boxes
in, numbers out; nothing here knows pictures or models.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import NO_TEXT, SettingsError, Text
from nunbit.core.schema import Box, box_iou
from nunbit.core.streams import FaceTrack, Floats
from nunbit.core.timebase import SAME_S

_EDGE_SAMPLES = 10  # at an end of a track that say where and how large the face was
_SAME_BOX_IOU = 0.1
_SAME_TIME_S = 0.5


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """When two boxes belong to one face. A size is the geometric mean of a box's sides.

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
    """The person in a box given by the user.

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
    """Tracks that are joined to one person.

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
    """The persons of a recording and the one to analyse.

    Attributes:
        persons: Largest weight first.
        target: Index into ``persons``, or None where nobody was seen.
        notices: What could not be decided.
    """

    persons: tuple[Person, ...]
    target: int | None
    notices: tuple[Text, ...] = ()

    @property
    def target_tracks(self) -> tuple[int, ...]:
        """Ids of the target's tracks; empty where nobody was seen."""
        return () if self.target is None else self.persons[self.target].tracks


@dataclass(slots=True)
class _Live:
    """A track that may continue: centre and size of its last box, and its motion."""

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
    """Assigns a track id, from 0, to every box, moment after moment."""

    def __init__(self, settings: LinkSettings | None = None) -> None:
        self._settings = settings or LinkSettings()
        self._live: list[_Live] = []
        self._before_s = -math.inf
        self._next_id = 0

    def cut(self) -> None:
        """A cut: the whole picture changed, so no track continues."""
        self._live = []

    def add(self, time_s: float, boxes: Sequence[Box]) -> tuple[int, ...]:
        """Link the faces of one moment.

        Args:
            time_s: Later than the time before.
            boxes: Faces found then.

        Returns:
            A track id for each box.
        """
        limit = self._settings.max_gap_s + SAME_S
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
        """Match the closest pairs first, which is best for few faces that rarely overlap."""
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
        shift = min(math.dist(was[:2], place[:2]) for was in (expected, live.place)) / size
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
        follows: Track id -> id of the track in which the same face is known to continue.
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
    chains = list(_chains(ordered, next_of))
    if target == "only":
        chains = _alone(chains)
    persons = sorted((_person(chain) for chain in chains), key=lambda p: (-p.weight, p.tracks))
    index = 0
    if isinstance(target, TargetBox):
        wanted = _track_at(ordered, target).track_id
        index = next(i for i, person in enumerate(persons) if wanted in person.tracks)
    notices = () if target == "only" else _notices(len(persons), unclear, len(cuts_s))
    return TargetChoice(tuple(persons), index, notices)


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
    """Successor of each track, and how many successors were undecided."""
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


def _chains(tracks: Sequence[FaceTrack], next_of: dict[int, int]) -> Iterator[list[FaceTrack]]:
    for first in sorted(set(range(len(tracks))) - set(next_of.values())):
        chain, position = [tracks[first]], first
        while position in next_of:
            position = next_of[position]
            chain.append(tracks[position])
        yield chain


def _alone(chains: list[list[FaceTrack]]) -> list[list[FaceTrack]]:
    """Join the heaviest chain with every other chain that never occurs together with it."""
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

    def fit(track: FaceTrack) -> float:
        overlaps = box_iou(track.boxes_xyxy.astype(np.float64), wanted)[:, 0]
        found = overlaps >= _SAME_BOX_IOU
        if target.time_s is None:
            return float(overlaps[found].sum())
        found &= np.abs(track.times_s - target.time_s) <= _SAME_TIME_S
        return float(overlaps[found].max(initial=0.0))

    best = max(tracks, key=fit)
    if fit(best) <= 0:
        raise _no_face_there(target)
    return best


def _no_face_there(target: TargetBox) -> SettingsError:
    where, time_s = ", ".join(f"{v:.0f}" for v in target.box_xyxy), target.time_s
    when = NO_TEXT if time_s is None else Text(f" at {time_s:.1f} s", f"{time_s:.1f}초에 ")
    return SettingsError(
        Text(
            f"no face in the box {where}{when.en}; give a box (x0, y0, x1, y1 in pixels of the "
            "upright picture) around the face of the person to analyse",
            f"{when.ko}상자 {where} 안에 얼굴이 없습니다. 분석할 사람의 얼굴을 둘러싼 상자(x0, "
            "y0, x1, y1, 바로 세운 화면의 픽셀)를 주십시오",
        )
    )


_JOINED_BY = Text(
    'target = "only" joins them if the recording shows one person',
    '한 사람만 나오는 영상이면 target = "only"로 합칠 수 있습니다',
)


def _notices(persons: int, unclear: int, cuts: int) -> tuple[Text, ...]:
    left = Text(
        f"{unclear} times a face left and it is unclear who came back: these tracks stay "
        f"separate persons ({_JOINED_BY.en})",
        f"얼굴이 사라진 뒤 다시 나타난 사람이 누구인지 분명하지 않은 경우가 {unclear}번 있어 "
        f"서로 다른 사람으로 처리했습니다({_JOINED_BY.ko})",
    )
    parted = Text(
        f"the picture is cut {cuts} times: faces before and after a cut stay separate persons "
        f"({_JOINED_BY.en})",
        f"화면이 {cuts}번 바뀝니다. 전환 전후의 얼굴은 서로 다른 사람으로 처리했습니다"
        f"({_JOINED_BY.ko})",
    )
    return ((left,) if unclear else ()) + ((parted,) if cuts and persons > 1 else ())
