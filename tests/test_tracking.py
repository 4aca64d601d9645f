"""Linking boxes over time and choosing whose they are."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from nunbit.core.messages import SettingsError
from nunbit.core.schema import Box, box_iou
from nunbit.core.streams import FaceTrack
from nunbit.recording.tracking import Linker, Target, TargetBox, TargetChoice, choose_targets

STEP = 0.1


def box(x: float, y: float = 100.0, size: float = 60.0) -> Box:
    return x - size / 2, y - size / 2, x + size / 2, y + size / 2


def track(
    track_id: int, start: float, end: float, where: Box, samples: int | None = None
) -> FaceTrack:
    n = samples or round((end - start) / STEP) + 1
    times = np.linspace(start, end, n)
    nan = np.full(n, np.nan, np.float32)
    return FaceTrack(
        track_id=track_id,
        times_s=times,
        boxes_xyxy=np.tile(np.array(where, np.float32), (n, 1)),
        det_score=np.full(n, 0.9, np.float32),
        sharpness=np.full(n, 100.0, np.float32),
        reasons=np.full(n, ""),
        rotation=np.full((n, 3, 3), np.nan),
        pose_deg=np.full((n, 3), np.nan),
        landmarks=None,
        mouth_open=nan,
        eye_aspect=nan,
    )


def linked(frames: Sequence[Sequence[Box]], *, start: float = 0.0) -> list[tuple[int, ...]]:
    linker = Linker()
    return [linker.add(start + STEP * i, boxes) for i, boxes in enumerate(frames)]


def test_faces_keep_their_track_while_they_move() -> None:
    frames = [[box(100 + 8 * i), box(400 - 6 * i, 150)] for i in range(20)]
    assert linked(frames) == [(0, 1)] * 20
    swapped = [frame if i % 2 else frame[::-1] for i, frame in enumerate(frames)]
    assert linked(swapped) == [(0, 1) if i % 2 == 0 else (1, 0) for i in range(20)]


def test_faces_that_pass_each_other_keep_their_direction() -> None:
    frames = [[box(100 + 20 * i), box(500 - 20 * i, 112)] for i in range(20)]
    assert linked(frames) == [(0, 1)] * 20


@pytest.mark.parametrize(("gap_s", "same"), [(0.5, True), (1.0, True), (1.2, False)])
def test_a_gap_of_up_to_a_second_is_bridged(gap_s: float, same: bool) -> None:
    linker = Linker()
    assert linker.add(0.0, [box(100)]) == (0,)
    assert linker.add(gap_s / 2, []) == ()
    assert linker.add(gap_s, [box(110)]) == ((0,) if same else (1,))


@pytest.mark.parametrize("after", [box(260), box(100, size=110), box(100, size=30)])
def test_another_place_or_size_is_another_track(after: Box) -> None:
    assert linked([[box(100)], [after]]) == [(0,), (1,)]


def test_after_a_gap_nobody_is_guessed() -> None:
    linker = Linker()
    assert linker.add(0.0, [box(100), box(160)]) == (0, 1)
    linker.add(0.3, [])
    assert linker.add(0.5, [box(130)]) == (2,)  # as near to one as to the other
    linker = Linker()
    assert linker.add(0.0, [box(100), box(160)]) == (0, 1)
    linker.add(0.3, [])
    assert linker.add(0.5, [box(102)]) == (0,)


def test_no_track_goes_on_after_a_cut() -> None:
    linker = Linker()
    assert linker.add(0.0, [box(100)]) == (0,)
    linker.cut()
    assert linker.add(0.1, [box(100)]) == (1,)


def choice(
    tracks: Sequence[FaceTrack], target: Target = "largest", **more: list[float]
) -> TargetChoice:
    return choose_targets(tracks, target, **more)


def persons(
    tracks: Sequence[FaceTrack], target: Target = "largest", **more: list[float]
) -> list[tuple[int, ...]]:
    return [person.tracks for person in choice(tracks, target, **more).persons]


def test_the_target_is_large_and_there_for_long() -> None:
    near, far = track(0, 0, 2, box(100, size=200)), track(1, 0, 30, box(400, size=60))
    assert choice([near, far]).target_tracks == (1,)  # 20 x 40000 px < 300 x 3600 px
    longer = track(2, 0, 10, box(100, size=200))
    assert choice([longer, far]).target_tracks == (2,)
    assert choice([]).target_tracks == ()
    assert choice([]).target is None


def test_somebody_who_returns_to_the_same_place_is_the_same_person() -> None:
    parts = [track(0, 0, 5, box(100)), track(1, 20, 30, box(120)), track(2, 40, 50, box(100))]
    found = choice(parts)
    assert [p.tracks for p in found.persons] == [(0, 1, 2)]
    assert found.persons[0].samples == sum(len(t.times_s) for t in parts)
    assert found.notices == ()


def test_it_stays_open_who_returned_where_two_could_have() -> None:
    left = [track(0, 0, 5, box(100)), track(1, 0, 5, box(130))]
    found = choice([*left, track(2, 10, 15, box(115))])
    assert sorted(p.tracks for p in found.persons) == [(0,), (1,), (2,)]
    assert "unclear who came back" in found.notices[0].en
    assert "분명하지 않" in found.notices[0].ko
    # One leaves, two come.
    assert (
        len(
            persons(
                [track(0, 0, 5, box(100)), track(1, 10, 15, box(95)), track(2, 10, 15, box(105))]
            )
        )
        == 3
    )


def test_another_place_or_a_cut_keeps_persons_apart() -> None:
    first = track(0, 0, 5, box(100))
    assert persons([first, track(1, 10, 15, box(300))]) == [(0,), (1,)]
    assert persons([first, track(1, 5, 10, box(100, size=150))]) == [(1,), (0,)]
    after = track(1, 5.1, 10, box(100))
    assert persons([first, after]) == [(0, 1)]
    found = choice([first, after], cuts_s=[5.1])
    assert sorted(p.tracks for p in found.persons) == [(0,), (1,)]
    assert "cut 1 times" in found.notices[0].en


def test_a_recording_of_one_person_joins_all_that_are_seen_alone() -> None:
    tracks = [
        track(0, 0, 5, box(100)),
        track(1, 6, 9, box(400)),
        track(2, 20, 25, box(250, size=120)),
        track(3, 20, 22, box(500)),
    ]
    found = choice(tracks, "only", cuts_s=[20.0])
    assert found.target_tracks == (0, 1, 2)
    assert [p.tracks for p in found.persons] == [(0, 1, 2), (3,)]
    assert found.notices == ()


def test_a_person_is_pointed_at_by_a_box() -> None:
    tracks = [
        track(0, 0, 5, box(100)),
        track(1, 0, 20, box(400, size=150)),
        track(2, 10, 15, box(100)),
    ]
    assert choice(tracks).target_tracks == (1,)
    assert choice(tracks, TargetBox(box(110), 2.0)).target_tracks == (0, 2)
    assert choice(tracks, TargetBox(box(110))).target_tracks == (0, 2)
    for wrong in (TargetBox(box(110), 7.0), TargetBox(box(700))):
        with pytest.raises(SettingsError, match="no face in the box") as caught:
            choice(tracks, wrong)
        assert "얼굴이 없습니다" in caught.value.text.ko
    with pytest.raises(SettingsError):
        choice([], TargetBox(box(110)))


def test_hundreds_of_tracks_take_no_time() -> None:
    rng = np.random.default_rng(0)
    tracks = [
        track(i, 3.0 * i, 3.0 * i + 2.0, box(float(rng.uniform(0, 1000))), 5) for i in range(600)
    ]
    began = time.process_time()
    found = choice(tracks, cuts_s=[30.0 * i for i in range(50)])
    assert time.process_time() - began < 5.0
    assert sorted(i for p in found.persons for i in p.tracks) == list(range(600))


def test_overlap_of_boxes() -> None:
    boxes = np.array([box(100), box(130), box(500)])
    expected = [[1.0, 1 / 3, 0.0], [1 / 3, 1.0, 0.0], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(box_iou(boxes, boxes), expected)
    assert box_iou(boxes, np.empty((0, 4))).shape == (3, 0)
