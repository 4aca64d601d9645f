"""Who is who at a cut: drawn people who change places before the same wall."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nunbit.core.streams import FaceTrack, Frame
from nunbit.pictures.face_mesh import load_landmarker
from nunbit.recording.face_looks import FaceChange, Looks, LooksWatch, apart, change_notes, looks_of
from nunbit.recording.face_looks import split_tracks as split
from nunbit.recording.face_part import Unfinished
from nunbit.recording.face_reader import FaceReader, FaceReadings, FaceSettings
from nunbit.synth.actors import DrawnPerson, Expression, sample_person
from nunbit.synth.drawing import Pose
from nunbit.synth.drawn_face import render_face

SIZE = (480, 240)
STEP = 0.1
PLACES = ((130.0, 110.0), (350.0, 110.0))

needs_landmarks = pytest.mark.skipif(
    load_landmarker() is None, reason="the landmark networks are not installed"
)


def person(seed: int) -> DrawnPerson:
    return replace(sample_person(np.random.default_rng(seed)), glasses=None)


# A woman with long dark hair, a man with short grey hair.
ANNA = replace(person(1), gender="f", style="long", skin=(232, 196, 170), hair=(40, 30, 28))
BEN = replace(person(2), gender="m", style="up", skin=(170, 122, 92), hair=(150, 146, 140),
              stubble=0.7, jaw=0.84, chin=1.34, cheek=0.98)  # fmt: skip


def picture(
    *shown: tuple[DrawnPerson, Expression, float, tuple[float, float]],
) -> NDArray[np.uint8]:
    """People with an expression and a turn at their places, before a wall."""
    canvas = Image.new("RGB", SIZE, (150, 165, 150))
    for who, expression, yaw, (x, y) in shown:
        figure = render_face(
            who, expression, Pose(x, y, 48.0, yaw_deg=yaw), SIZE, zoom=1, turning=True
        )
        canvas.paste(figure.image, (0, 0), figure.mask)
    return np.asarray(canvas)


def talking(number: int) -> Expression:
    return Expression(mouth_open=0.3 * (number % 3), smile=0.2 * np.sin(number))


def conversation(n: int, cut: int) -> list[NDArray[np.uint8]]:
    frames = []
    for number in range(n):
        left, right = (ANNA, BEN) if number < cut else (BEN, ANNA)
        yaw = 8.0 * np.sin(number / 4)
        frames.append(
            picture(
                (left, talking(number), yaw, PLACES[0]),
                (right, talking(number + 1), -yaw, PLACES[1]),
            )
        )
    return frames


def read(frames: list[NDArray[np.uint8]]) -> tuple[FaceReader, FaceReadings]:
    reader = FaceReader(None, FaceSettings())
    for number, pixels in enumerate(frames):
        reader.add(Frame(number * STEP, pixels))
    return reader, reader.finish()


@needs_landmarks
@pytest.mark.seconds
def test_people_who_change_places_at_a_cut_stay_themselves() -> None:
    reader, found = read(conversation(24, 12))
    tracks = found.tracks
    ends = sorted((round(t.times_s[0], 1), round(t.times_s[-1], 1)) for t in tracks)
    assert ends == [(0.0, 1.1), (0.0, 1.1), (1.2, 2.3), (1.2, 2.3)]
    by_id = {t.track_id: t for t in tracks}
    for someone in found.choose()[1].persons:  # each goes on where the other was
        before, after = (by_id[k].boxes_xyxy[:, 0].mean() for k in someone.tracks)
        assert abs(before - after) > 100
    [note] = reader.reading()
    assert (note.code, note.count, note.first) == ("people_changed_at_cut", 1, "0:01.2")


@pytest.mark.seconds
@needs_landmarks
def test_expressions_and_turns_break_nothing() -> None:
    frames = []
    for number in range(30):
        # At once another expression every fifth frame, and the head turned to and fro.
        faces = (
            Expression(),
            Expression(smile=1.0, mouth_open=0.6, teeth=1.0, squint=0.6),
            Expression(brow_inner=1.0, eye_open=1.5, mouth_open=0.8),
            Expression(furrow=1.0, brow_inner=-1.0, lip_press=1.0, smile=-0.6),
            Expression(eye_open=0.0, smile=-1.0),
        )
        yaw = 25.0 * np.sin(number / 3)
        frames.append(picture((ANNA, faces[number // 5 % 5], yaw, PLACES[0])))
    reader, found = read(frames)
    assert len(found.tracks) == 1
    assert reader.reading() == ()


@needs_landmarks
@pytest.mark.seconds
def test_another_light_is_no_other_face() -> None:
    frames = conversation(20, 99)
    dark = [*frames[:10], *((f * 0.88).astype(np.uint8) for f in frames[10:])]
    assert len(read(dark)[1].tracks) == 2


@needs_landmarks
@pytest.mark.parametrize("killed_at", [11, 12, 13, 14])
def test_a_killed_run_finds_the_same_change(tmp_path: Path, killed_at: int) -> None:
    frames = conversation(20, 12)
    parts = Unfinished(tmp_path, {})
    first = FaceReader(None)
    for number in range(killed_at):
        first.add(Frame(number * STEP, frames[number]))
    part = first.take_part()
    assert part is not None
    parts.add(part)
    again = FaceReader(None)
    [last] = Unfinished(tmp_path, {}).recover()
    again.restore(last)
    for number in range(killed_at - 4, killed_at):
        again.resume(last, Frame(number * STEP, frames[number]))
    for number in range(killed_at, 20):
        again.add(Frame(number * STEP, frames[number]))
    stream = again.finish(parts.parts())
    assert sorted(round(t.times_s[0], 1) for t in stream.tracks) == [0.0, 0.0, 1.2, 1.2]
    assert [len(p.tracks) for p in stream.choose()[1].persons] == [2, 2]


def looks(seed: int, aligned: bool = True) -> Looks:
    rng = np.random.default_rng(seed)
    both = rng.normal(size=(2, 256)).astype(np.float32)
    both -= both.mean(axis=1, keepdims=True)
    face, around = both / np.linalg.norm(both, axis=1, keepdims=True)
    return Looks(face, around, aligned)


def test_one_odd_sample_is_no_change() -> None:
    """A hand before the face, a wrong box."""
    watch = LooksWatch()
    found = []
    for number, seed in enumerate([1, 1, 1, 2, 1, 1, 1]):
        found += watch.add(number * STEP, [(0, looks(seed))], longest_gap_s=1.0)
    assert found == []
    for number, seed in enumerate([1, 1, 3, 3, 3], start=10):
        found += watch.add(number * STEP, [(0, looks(seed))], longest_gap_s=1.0)
    assert found == [FaceChange(0, pytest.approx(1.2), None)]


def test_pictures_made_in_two_ways_are_not_compared() -> None:
    assert apart([looks(1), looks(1), looks(2, False), looks(2, False)]) == (0.0, 0.0)
    assert apart([looks(1), looks(1), looks(2)]) == (0.0, 0.0)
    assert min(apart([looks(1), looks(1), looks(2), looks(2)])) > 0.5


def test_faces_at_the_edge_and_flat_ones() -> None:
    pixels = np.full((60, 80, 3), 90, np.uint8)
    for box in ((-20.0, -20.0, 10.0, 10.0), (70.0, 50.0, 200.0, 180.0), (900.0, 9.0, 950.0, 59.0)):
        seen = looks_of(pixels, box, None)
        assert np.isfinite(seen.face).all()
        assert not seen.aligned


def test_tracks_are_split_at_their_changes() -> None:
    n = 10
    track = FaceTrack(
        4, np.arange(n) * STEP, np.zeros((n, 4), np.float32), np.ones(n, np.float32),
        np.ones(n, np.float32), np.full(n, ""), np.zeros((n, 3, 3)), np.zeros((n, 3)), None,
        np.zeros(n, np.float32), np.zeros(n, np.float32),
    )  # fmt: skip
    changes = [FaceChange(4, 0.3), FaceChange(4, 0.7)]
    pieces, follows = split((track,), changes)
    assert [(t.track_id, len(t.times_s)) for t in pieces] == [(4, 3), (5, 4), (6, 3)]
    assert follows == {}
    assert change_notes(changes)[0].count == 2
    assert change_notes(()) == ()
