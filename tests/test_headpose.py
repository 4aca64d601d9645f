"""Rotations, openings and aspect ratios against numbers known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from make_pose import rotation_from_angles
from nunbit.core.streams import Floats
from nunbit.pictures.landmarks import (
    EYES,
    KEPT_EYES,
    KEPT_POINTS,
    REFERENCE,
    RIGID_POINTS,
    eye_aspect_ratio,
    geodesic_deg,
    head_rotation,
    lip_height,
    mouth_opening,
    pose_angles,
)


def head(
    rotation: Floats, *, scale: float = 150.0, shift: tuple[float, ...] = (320.0, 240.0, 0.0)
) -> Floats:
    """A mesh whose rigid points are the reference head, turned; the rest is noise."""
    points = np.random.default_rng(0).normal(size=(468, 3)) * 1000.0
    points[list(RIGID_POINTS)] = scale * REFERENCE @ rotation.T + np.array(shift)
    return points


def turns(n: int, seed: int = 0) -> Floats:
    angles = np.random.default_rng(seed).uniform(-1, 1, size=(n, 3)) * (80, 60, 170)
    return rotation_from_angles(angles)


@pytest.mark.parametrize(
    ("pose", "looks"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, -1.0)),  # into the camera
        ((90.0, 0.0, 0.0), (1.0, 0.0, 0.0)),  # to the image's right
        ((0.0, 90.0 - 1e-9, 0.0), (0.0, 1.0, 0.0)),  # down
        ((-30.0, 0.0, 50.0), (-0.5, 0.0, -np.sqrt(0.75))),  # roll does not change where
    ],
)
def test_the_sign_of_yaw_and_pitch(pose: tuple[float, ...], looks: tuple[float, ...]) -> None:
    forward = np.array([0.0, 0.0, -1.0])
    np.testing.assert_allclose(rotation_from_angles(np.array(pose)) @ forward, looks, atol=1e-8)


def test_roll_is_clockwise_as_seen_in_the_picture() -> None:
    up = np.array([0.0, -1.0, 0.0])
    turned = rotation_from_angles(np.array([0.0, 0.0, 90.0])) @ up
    np.testing.assert_allclose(turned, [1.0, 0.0, 0.0], atol=1e-12)  # the crown points right


def test_angles_round_trip_and_keep_leading_dimensions() -> None:
    angles = np.random.default_rng(1).uniform(-1, 1, size=(4, 5, 3)) * (170, 85, 170)
    np.testing.assert_allclose(pose_angles(rotation_from_angles(angles)), angles, atol=1e-9)


def test_the_rotation_is_found_whatever_scale_and_place() -> None:
    rotations = turns(50)
    meshes = np.stack(
        [head(r, scale=10.0 + 7 * i, shift=(i, -i, 3.0 * i)) for i, r in enumerate(rotations)]
    )
    found = head_rotation(meshes)
    np.testing.assert_allclose(found, rotations, atol=1e-9)
    np.testing.assert_allclose(head_rotation(meshes[7]), found[7], atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(found), 1.0)


def test_the_fit_is_the_least_squares_one() -> None:
    # Fast path against a naive search around it: no small turn fits noisy points better.
    rotation = turns(1, seed=4)[0]
    mesh = head(rotation)
    mesh += np.random.default_rng(5).normal(size=mesh.shape) * 5.0
    seen = mesh[list(RIGID_POINTS)] - mesh[list(RIGID_POINTS)].mean(axis=0)
    still = REFERENCE - REFERENCE.mean(axis=0)

    def misfit(r: Floats) -> float:
        turned = still @ r.T
        scale = (turned * seen).sum() / (turned**2).sum()
        return float(((seen - scale * turned) ** 2).sum())

    found = head_rotation(mesh)
    assert geodesic_deg(found, rotation) < 3.0
    for axis in np.eye(3):
        for angle in (-0.2, 0.2):
            assert misfit(rotation_from_angles(axis * angle) @ found) > misfit(found)


def test_a_mirrored_head_is_no_rotation_of_a_head() -> None:
    mesh = head(np.eye(3)) * (-1.0, 1.0, 1.0)
    assert np.linalg.det(head_rotation(mesh)) == pytest.approx(1.0)


def test_missing_points_give_nan_for_that_sample_only() -> None:
    meshes = np.stack([head(np.eye(3))] * 3)
    meshes[1, RIGID_POINTS[5], 2] = np.nan
    found = head_rotation(meshes)
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all()
    assert np.isnan(pose_angles(found)[1]).all()
    assert np.isnan(geodesic_deg(found[0], found[1]))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thirty_degrees_a_second_from_points(axis: int) -> None:
    times = np.arange(0.0, 2.0, 0.1)
    angles = np.zeros((len(times), 3))
    angles[:, axis] = -30.0 + 30.0 * times
    rng = np.random.default_rng(2)
    meshes = np.stack([head(r) for r in rotation_from_angles(angles)])
    meshes += rng.normal(size=meshes.shape) * 0.002  # rounding of single-precision pixels
    found = head_rotation(meshes)
    speeds = geodesic_deg(found[:-1], found[1:]) / np.diff(times)
    np.testing.assert_allclose(speeds, 30.0, atol=0.1)


def test_from_ten_degrees_left_to_ten_right_are_twenty() -> None:
    # |angle to the camera| is the same at both ends: a difference of unsigned angles scores 0.
    left, right = rotation_from_angles(np.array([[10.0, 0.0, 0.0], [-10.0, 0.0, 0.0]]))
    assert geodesic_deg(left, right) == pytest.approx(20.0, abs=1e-9)
    found = head_rotation(np.stack([head(left), head(right)]))
    assert geodesic_deg(found[0], found[1]) == pytest.approx(20.0, abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-7, 1e-3, 90.0, 179.9999999, 180.0])
def test_geodesic_angles_are_exact_where_arccos_is_not(angle: float) -> None:
    start = turns(1, seed=9)[0]
    end = start @ rotation_from_angles(np.array([0.0, 0.0, angle]))
    assert geodesic_deg(start, end) == pytest.approx(angle, abs=1e-9, rel=1e-6)


def face_points(gap: float, lids: float) -> Floats:
    """Eyes 60 apart and 30 wide, the lips ``gap`` and the lids ``lids`` apart."""
    points = np.zeros((468, 3))
    for (outer, inner), x, side in ((EYES[0], -30.0, 1.0), (EYES[1][::-1], 30.0, -1.0)):
        points[outer, 0], points[inner, 0] = x - 15.0 * side, x + 15.0 * side
    for uppers, lowers in (((160, 158), (144, 153)), ((387, 385), (373, 380))):
        points[list(uppers), 1], points[list(lowers), 1] = -lids / 2, lids / 2
    for high, low in ((82, 87), (13, 14), (312, 317)):
        points[high, 1], points[low, 1] = 60.0, 60.0 + gap
    return points


def test_openings_in_the_units_they_are_defined_in() -> None:
    points = face_points(gap=15.0, lids=9.0)
    assert mouth_opening(points) == pytest.approx(15.0 / 60.0)
    assert eye_aspect_ratio(points) == pytest.approx(9.0 / 30.0)
    shut = face_points(gap=0.0, lids=0.0)
    assert mouth_opening(shut) == 0.0
    assert eye_aspect_ratio(shut) == 0.0


def test_the_height_of_the_lips_in_eye_distances() -> None:
    points = face_points(gap=15.0, lids=9.0)
    points[0, 1], points[17, 1] = 50.0, 80.0
    assert lip_height(points) == pytest.approx(30.0 / 60.0)
    turned = 2.0 * points @ rotation_from_angles(np.array([35.0, -20.0, 15.0])).T
    assert lip_height(turned) == pytest.approx(0.5)
    points[17] = np.nan
    assert np.isnan(lip_height(points))


def test_openings_do_not_depend_on_scale_place_or_turn() -> None:
    points = face_points(gap=15.0, lids=9.0)
    turned = 3.0 * points @ rotation_from_angles(np.array([35.0, -20.0, 15.0])).T + (5, 6, 7)
    assert mouth_opening(turned) == pytest.approx(0.25)
    rolled = 3.0 * points @ rotation_from_angles(np.array([0.0, 0.0, 40.0])).T + (5, 6, 7)
    assert eye_aspect_ratio(rolled) == pytest.approx(0.3)
    both = np.stack([points, turned])
    np.testing.assert_allclose(mouth_opening(both), 0.25)
    missing = points.copy()
    missing[13] = np.nan
    assert np.isnan(mouth_opening(missing))
    assert np.isnan(mouth_opening(np.zeros((468, 3))))  # eyes at one point: no unit


def test_the_kept_points_say_where_the_eyes_are() -> None:
    assert len(set(KEPT_POINTS)) == len(KEPT_POINTS) == 40
    for kept, mesh in zip(KEPT_EYES, EYES, strict=True):
        assert tuple(KEPT_POINTS[i] for i in kept) == mesh


def test_the_reference_head_is_symmetric_and_upright() -> None:
    place = dict(zip(RIGID_POINTS, REFERENCE, strict=True))
    np.testing.assert_allclose(place[33] * (-1, 1, 1), place[263])
    assert place[10][1] < place[33][1] < place[4][1]  # hairline above eyes above tip of the nose
    assert place[4][2] < place[234][2]  # the nose is nearer to the camera than the ears
