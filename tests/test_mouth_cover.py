"""A mask is seen, a bare face is not taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from nunbit.pictures.face_mesh import Landmarker, landmarks_missing, load_landmarker
from nunbit.pictures.faces import detect_faces
from nunbit.pictures.mouth_cover import mouth_is_covered
from nunbit.synth.actors import Expression, sample_person
from nunbit.synth.drawing import Pose
from nunbit.synth.drawn_face import render_face

CASES = Path(__file__).parent.parent.parent / "shared" / "cases"
LOWER_FACE = (234, 117, 119, 114, 6, 343, 348, 346, 454, 435, 397, 400, 152, 176, 172, 215, 93)


@pytest.fixture(scope="module")
def landmarker() -> Landmarker:
    loaded = load_landmarker()
    if loaded is None:
        pytest.skip(str(landmarks_missing()))
    return loaded


def masked(image: Image.Image, points: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    """The picture with a mask drawn over nose, mouth and chin."""
    covered = image.copy()
    edge = [(float(points[i, 0]), float(points[i, 1])) for i in LOWER_FACE]
    ImageDraw.Draw(covered).polygon(edge, fill=colour)
    return covered


@pytest.mark.parametrize(
    "colour", [(150, 190, 220), (235, 236, 240), (25, 25, 28)], ids=["blue", "white", "black"]
)
def test_a_mask_is_seen(
    landmarker: Landmarker, hopper: Image.Image, colour: tuple[int, int, int]
) -> None:
    box = detect_faces(np.asarray(hopper))[0].box_xyxy
    mesh = landmarker.find(np.asarray(hopper), box)
    assert mesh is not None
    assert not mouth_is_covered(np.asarray(hopper), mesh.points)
    picture = np.asarray(masked(hopper, mesh.points, colour))
    assert mouth_is_covered(picture, mesh.points)


def test_drawn_faces_are_bare(landmarker: Landmarker) -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        expression = Expression(
            mouth_open=float(rng.uniform(0, 1)), smile=float(rng.uniform(-1, 1))
        )
        figure = render_face(sample_person(rng), expression, Pose(160, 120, 70), (320, 300))
        canvas = Image.new("RGB", figure.image.size, (120, 140, 130))
        canvas.paste(figure.image, (0, 0), figure.mask)
        mesh = landmarker.find(np.asarray(canvas), figure.box_xyxy)
        if mesh is not None:
            assert not mouth_is_covered(np.asarray(canvas), mesh.points)


def test_a_face_that_is_mostly_outside_the_picture_is_not_judged() -> None:
    points = np.full((468, 3), -50.0)
    assert not mouth_is_covered(np.zeros((40, 40, 3), np.uint8), points)


@pytest.mark.slow
@pytest.mark.data
def test_real_faces_are_bare(landmarker: Landmarker, real_data: Path) -> None:
    from nunbit.recording.media import read_media

    seen = covered = 0
    for clip in sorted((real_data / "video" / "grid").glob("*.mpg"))[:6]:
        for frame in read_media(clip, rate_hz=2.0, want_audio=False):
            faces = detect_faces(frame.pixels)
            mesh = landmarker.find(frame.pixels, faces[0].box_xyxy) if faces else None
            if mesh is not None:
                seen += 1
                covered += mouth_is_covered(frame.pixels, mesh.points)
    assert seen > 20
    assert covered == 0


@pytest.mark.data
def test_the_masked_face_of_the_cases_is_covered_throughout(landmarker: Landmarker) -> None:
    from nunbit.recording.media import read_media

    clip = CASES / "video" / "mask.mp4"
    if not clip.is_file():
        pytest.skip("the handed cases are not here")
    flags = []
    for frame in read_media(clip, rate_hz=2.0, want_audio=False):
        faces = detect_faces(frame.pixels)
        mesh = landmarker.find(frame.pixels, faces[0].box_xyxy) if faces else None
        if mesh is not None:
            flags.append(mouth_is_covered(frame.pixels, mesh.points))
    assert len(flags) > 5
    assert all(flags)
