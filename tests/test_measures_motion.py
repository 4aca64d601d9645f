"""Motion of head and face, blinks, and the coupling of face and voice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from make_measures import (
    AIHUB,
    chances,
    faces_of,
    make_faces,
    make_input,
    make_track,
    make_voice,
    pick,
    reason,
    rotation,
    value,
)
from nunbit.measures import compute_measures, turns_from
from nunbit.measures.channel_measures import blink_times
from nunbit.measures.modality_pairs import couple
from nunbit.recording.face_motion import head_turns, measured_motions, steps_between

# -- motion ---------------------------------------------------------------------------------------


def test_head_speed_of_a_steady_turn() -> None:
    times = np.arange(600) / 10
    yaw = 30.0 * times  # all the way round, several times
    track = make_track(times, rotation=rotation(yaw), pose_deg=np.stack([yaw] * 3, axis=1))
    blocks = compute_measures(make_input(60.0, faces=make_faces([track], duration_s=60.0)))
    assert value(blocks, "head_speed") == pytest.approx(30.0, abs=0.1)
    np.testing.assert_allclose(pick(blocks, "head_speed", "window").value, 30.0, atol=0.1)


def test_a_turn_through_the_middle_is_not_nothing() -> None:
    steps = steps_between(np.array([0.0, 0.1]), np.ones(2, bool))
    speeds = head_turns(rotation(np.array([10.0, -10.0])), steps).measured
    assert speeds[1] == pytest.approx(200.0, abs=1e-6)


def test_head_range_is_the_spread_of_the_angles() -> None:
    times = np.arange(400) / 10
    pose = np.stack([10 * np.sin(times), 5 * np.cos(times), np.full(400, 3.0)], axis=1)
    track = make_track(times, rotation=rotation(pose[:, 0]), pose_deg=pose)
    blocks = compute_measures(make_input(40.0, faces=make_faces([track], duration_s=40.0)))
    assert value(blocks, "head_range_yaw") == pytest.approx(pose[:, 0].std(), abs=1e-6)
    assert value(blocks, "head_range_pitch") == pytest.approx(pose[:, 1].std(), abs=1e-6)
    assert value(blocks, "head_range_roll") == pytest.approx(0.0, abs=1e-6)


def mesh(times: np.ndarray, *, scale: float = 1.0, roll_deg: float = 0.0,
         shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:  # fmt: skip
    """40 points of which the lower half moves up and down; eyes are the first four."""
    rng = np.random.default_rng(0)
    shape = np.concatenate([[[-60, 0], [-20, 0], [20, 0], [60, 0]], rng.uniform(-60, 100, (36, 2))])
    points = np.tile(shape, (len(times), 1, 1))
    points[:, 20:, 1] += 5.0 * np.sin(2 * np.pi * 0.5 * times)[:, None]
    angle = np.radians(roll_deg * times)
    turned = np.stack(
        [
            points[..., 0] * np.cos(angle)[:, None] - points[..., 1] * np.sin(angle)[:, None],
            points[..., 0] * np.sin(angle)[:, None] + points[..., 1] * np.cos(angle)[:, None],
        ],
        axis=-1,
    )
    moved = turned * (scale**times)[:, None, None] + np.multiply.outer(times, shift)[:, None, :]
    return np.concatenate([moved, np.zeros((*moved.shape[:2], 1))], axis=2).astype(np.float32)


EYES = ((0, 1), (2, 3))


def mean_motion(times: np.ndarray, **change: Any) -> float:
    steps = steps_between(times, np.ones(len(times), bool))
    return float(np.nanmean(measured_motions(mesh(times, **change), steps, EYES)[0]))


@pytest.mark.parametrize(
    "change",
    [{"shift": (40.0, -25.0)}, {"scale": 1.1}, {"roll_deg": 15.0},
     {"shift": (30.0, 9.0), "scale": 0.93, "roll_deg": -12.0}],
)  # fmt: skip
def test_face_motion_ignores_shift_scale_and_roll(change: dict[str, Any]) -> None:
    times = np.arange(100) / 10
    assert mean_motion(times, **change) == pytest.approx(mean_motion(times), rel=1e-3)


@pytest.mark.parametrize("fps", [25.0, 29.97, 30.0, 60.0])
def test_face_motion_does_not_depend_on_the_frame_rate(fps: float) -> None:
    times = np.arange(round(10 * fps)) / fps
    assert mean_motion(times) == pytest.approx(mean_motion(np.arange(100) / 10), rel=0.03)


def test_face_motion_of_a_known_shift() -> None:
    times = np.array([0.0, 0.1])
    points = np.zeros((2, 5, 3), np.float32)
    points[:, :4, 0] = (-60, -20, 20, 60)
    points[1, 4, 1] = 10.0
    steps = steps_between(times, np.ones(2, bool))
    found = measured_motions(points, steps, EYES)[0][1]
    # Least squares can take out the shift, and a little by rotation and scale: do it by hand.
    a, b = points[0, :, 0] + 1j * points[0, :, 1], points[1, :, 0] + 1j * points[1, :, 1]
    a, b = a - a.mean(), b - b.mean()
    factor = np.vdot(a, b) / np.vdot(a, a)
    assert found == pytest.approx(np.abs(b - factor * a).mean() / (80 * 0.1), rel=1e-5)


def test_face_motion_leaves_fast_turns_out() -> None:
    times = np.arange(200) / 10
    yaw = np.where(times < 10, 0.0, 25.0 * (times - 10))
    track = make_track(times, rotation=rotation(yaw), pose_deg=np.zeros((200, 3)),
                       landmarks=mesh(times))  # fmt: skip
    blocks = compute_measures(make_input(20.0, faces=make_faces([track], duration_s=20.0)))
    motion = pick(blocks, "face_motion", "window")
    assert np.isfinite(motion.value[:7]).all()
    assert np.isnan(motion.value[12:]).all()
    assert set(motion.mask_reason[12:]) == {"low_quality"}


def trembling(sd_deg: float, speed: float = 0.0, rate: float = 10.0) -> Any:
    """Measures of a minute of a head that trembles and swings to the sides at 0.3 Hz."""
    rng = np.random.default_rng(1)
    times = np.arange(round(60 * rate)) / rate
    swing = speed / (2 * np.pi * 0.3) * np.sin(2 * np.pi * 0.3 * times)
    pose = rng.normal(0, sd_deg, (len(times), 3))
    x, y, z = np.radians(pose).T
    small = np.stack([np.ones_like(x), -z, y, z, np.ones_like(x), -x, -y, x, np.ones_like(x)], 1)
    u, _, v = np.linalg.svd(small.reshape(-1, 3, 3))
    pose[:, 0] += swing
    turned = rotation(swing) @ (u @ v)
    track = make_track(times, rotation=turned, pose_deg=pose)
    faces = make_faces([track], duration_s=60.0, rate_hz=rate)
    return compute_measures(make_input(60.0, faces=faces))


@pytest.mark.parametrize("rate", [10.0, 30.0])
@pytest.mark.parametrize("sd_deg", [0.1, 0.5])
def test_a_still_head_that_trembles_has_no_speed(sd_deg: float, rate: float) -> None:
    blocks = trembling(sd_deg, rate=rate)
    assert reason(blocks, "head_speed") == "below_noise"
    assert np.isnan(pick(blocks, "head_speed", "window").value).mean() > 0.9


@pytest.mark.parametrize("sd_deg", [0.02, 0.3])
def test_a_head_that_turns_keeps_its_speed_under_tremor(sd_deg: float) -> None:
    # Median |cos| of a swing is 0.71; three steps average a little of 0.3 Hz away.
    assert value(trembling(sd_deg, 20.0), "head_speed") == pytest.approx(20 * 0.707, rel=0.08)


@pytest.mark.parametrize("sd_px", [0.3, 1.0])
def test_a_still_face_whose_landmarks_tremble_has_no_motion(sd_px: float) -> None:
    rng = np.random.default_rng(2)
    times = np.arange(600) / 10
    points = np.tile(mesh(np.zeros(1)), (600, 1, 1))
    points += rng.normal(0, sd_px, points.shape).astype(np.float32)
    track = make_track(times, rotation=rotation(np.zeros(600)), pose_deg=np.zeros((600, 3)),
                       landmarks=points)  # fmt: skip
    blocks = compute_measures(make_input(60.0, faces=make_faces([track], duration_s=60.0)))
    assert reason(blocks, "face_motion") == "below_noise"


def test_steps_bridge_one_missing_frame_and_no_more() -> None:
    times = np.array([0.0, 0.1, 0.3, 0.7, 0.8])
    steps = steps_between(times, np.ones(5, bool))
    np.testing.assert_array_equal(steps.partner, [-1, 0, 1, -1, 3])
    usable = np.array([True, False, True, True, True])
    np.testing.assert_array_equal(steps_between(times, usable).partner, [-1, -1, -1, -1, 3])


def test_blinks_are_counted_at_full_rate_only() -> None:
    times = np.arange(1800) / 30
    eye = np.full(1800, 0.3, np.float32) + 0.02 * np.sin(times).astype(np.float32)
    for at in (5.0, 12.0, 12.6, 40.0, 55.0):
        eye[(times >= at - 1e-6) & (times < at + 0.15)] = 0.08
    eye[(times >= 25) & (times < 27)] = 0.08  # eyes shut for two seconds: no blink
    eye[900] = 0.08  # one frame of 33 ms: noise
    np.testing.assert_allclose(
        blink_times(times, eye, 30.0), [5.07, 12.07, 12.67, 40.07, 55.07], atol=0.05
    )
    track = make_track(times, rotation=rotation(np.zeros(1800)), pose_deg=np.zeros((1800, 3)),
                       eye_aspect=eye)  # fmt: skip
    faces = make_faces([track], duration_s=60.0, rate_hz=30.0)
    full = compute_measures(make_input(60.0, faces=faces, full_rate=True))
    assert value(full, "blink_rate") == pytest.approx(5.0)
    assert pick(full, "blink_rate").experimental
    slow = compute_measures(make_input(60.0, faces=faces))
    assert reason(slow, "blink_rate") == "not_full_rate"


def test_head_lowered_against_the_session_median() -> None:
    times = np.arange(300) / 10
    pose = np.zeros((300, 3))
    pose[:, 1] = np.where(times >= 24, 15.0, 4.0)
    track = make_track(times, rotation=rotation(np.zeros(300)), pose_deg=pose)
    blocks = compute_measures(make_input(30.0, faces=make_faces([track], duration_s=30.0)))
    assert value(blocks, "head_down_share") == pytest.approx(0.2)


# -- coupling -------------------------------------------------------------------------------------


def autoregressive(rng: np.random.Generator, n: int = 3000) -> np.ndarray:
    noise, series = rng.normal(size=n), np.empty(n)
    series[0] = noise[0]
    for i in range(1, n):
        series[i] = 0.9 * series[i - 1] + noise[i]
    return series


@pytest.mark.parametrize(
    ("gain", "low", "high"), [(0.0, -0.9, 0.9), (0.6, 2.2, 4.7), (1.0, 6.5, 9.0)]
)
@pytest.mark.seconds
def test_coupling_finds_shared_change_and_nothing_else(
    gain: float, low: float, high: float
) -> None:
    scores = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        shared = autoregressive(rng)
        x, y = (autoregressive(rng) + gain * shared for _ in range(2))
        scores.append(couple(x, y, seed=seed).z)
    assert low < np.mean(scores) < high
    assert np.std(scores) < 2.0


def test_coupling_survives_holes_and_is_found_from_the_streams() -> None:
    rng = np.random.default_rng(2)
    shared = autoregressive(rng)
    lively = 1 / (1 + np.exp(-shared / 2))
    faces = faces_of(chances(AIHUB, joy=lively))
    edges = [(a, a + 16.0) for a in np.arange(0.0, 300, 20)]
    voice = make_voice(
        300.0, edges, level=lambda t: -30 + 3 * np.interp(t, np.arange(3000) / 10, shared)
    )
    turns = turns_from(voice, None, (), 300.0)
    blocks = compute_measures(make_input(300.0, faces=faces, voice=voice, turns=turns))
    assert value(blocks, "coupling") > 3.0
    short = compute_measures(
        make_input(170.0, faces=faces_of(chances(AIHUB, joy=lively[:1700])), voice=voice,
                   turns=turns)
    )  # fmt: skip
    assert reason(short, "coupling") == "too_short"
