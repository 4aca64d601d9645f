"""Faces followed by their landmarks: the detector only where a face is lost or due."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nunbit.core.schema import Box, box_iou
from nunbit.core.streams import Frame
from nunbit.pictures.face_mesh import Landmarker, Mesh, landmark_network, load_landmarker
from nunbit.pictures.faces import DetectorSettings, FaceDetection, detect_faces
from nunbit.pictures.landmarks import geodesic_deg
from nunbit.recording import face_search
from nunbit.recording.face_follow import Follower, SeenFace, confirmed
from nunbit.recording.face_reader import FaceReader, FaceSettings
from nunbit.recording.face_search import FaceSearch, Found
from nunbit.recording.media import read_media

SIZE = (320, 240)
STEP = 0.1
Pixels = NDArray[np.uint8]

follows = pytest.mark.skipif(
    landmark_network() != "face-landmarker", reason="face-landmarker is not fetched"
)


@pytest.fixture(scope="module")
def landmarker() -> Landmarker:
    found = load_landmarker("face-landmarker")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def head(hopper: Image.Image) -> Image.Image:
    return hopper.crop((140, 60, 400, 380))


def scene(head: Image.Image, *places: tuple[float, float, float]) -> Pixels:
    """Heads at (x, y) of the middle of the face with a scale, before a wall."""
    canvas = Image.new("RGB", SIZE, (150, 165, 150))
    for x, y, scale in places:
        own = head.resize((round(head.width * scale), round(head.height * scale)))
        canvas.paste(own, (round(x - 125 * scale), round(y - 170 * scale)))
    return np.asarray(canvas)


class Watched:
    """A search whose calls of the detector are counted, frame by frame."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, landmarker: Landmarker | None) -> None:
        self.calls: list[int] = []

        def detect(pixels: Pixels, settings: DetectorSettings) -> tuple[FaceDetection, ...]:
            self.calls[-1] += 1
            return detect_faces(pixels, settings)

        monkeypatch.setattr(face_search, "detect_faces", detect)
        self._search = FaceSearch(DetectorSettings(), landmarker=landmarker)

    def find(self, pixels: Pixels) -> Found:
        self.calls.append(0)
        return self._search.find((len(self.calls) - 1) * STEP, pixels)


def iou(first: Box, second: Box) -> float:
    return float(box_iou(np.array([first]), np.array([second]))[0, 0])


@follows
def test_the_detector_is_asked_once_a_second(
    head: Image.Image, landmarker: Landmarker, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Watched(monkeypatch, landmarker)
    for n in range(21):
        picture = scene(head, (110 + 4 * n, 125 + (n % 3), 0.4))
        found = search.find(picture)
        assert len(found.faces) == 1
        assert found.meshes is not None
        assert found.meshes[0] is not None
        (seen,) = detect_faces(picture)
        assert iou(found.faces[0].box_xyxy, seen.box_xyxy) > 0.8
        assert found.faces[0].score > 0.85
    assert [n for n, calls in enumerate(search.calls) if calls] == [0, 10, 20]


@follows
def test_a_face_that_jumps_goes_back_to_the_detector(
    head: Image.Image, landmarker: Landmarker, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Watched(monkeypatch, landmarker)
    for n in range(8):
        x = 90 if n < 5 else 230
        found = search.find(scene(head, (x, 125, 0.4)))
        assert len(found.faces) == 1
        x0, _, x1, _ = found.faces[0].box_xyxy
        assert (x0 + x1) / 2 == pytest.approx(x, abs=10)
    assert [n for n, calls in enumerate(search.calls) if calls] == [0, 5]


@follows
def test_a_face_that_has_gone_is_not_imagined(
    head: Image.Image, landmarker: Landmarker, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Watched(monkeypatch, landmarker)
    search.find(scene(head, (150, 125, 0.4)))
    rng = np.random.default_rng(1)
    for _ in range(3):  # not a cut: most of the picture stays as it was
        empty = scene(head).astype(np.int16) + rng.integers(-3, 4, (*SIZE[::-1], 3))
        found = search.find(np.clip(empty, 0, 255).astype(np.uint8))
        assert (found.faces, found.meshes, found.cut) == ((), (), False)


@follows
def test_a_hidden_face_does_not_become_the_one_in_front(
    head: Image.Image, landmarker: Landmarker
) -> None:
    search = FaceSearch(DetectorSettings(), landmarker=landmarker)
    for n in range(9):
        # The second head is pasted over the first, which it reaches at n = 6.
        found = search.find(n * STEP, scene(head, (110, 125, 0.4), (230 - 20 * n, 125, 0.4)))
        boxes = [face.box_xyxy for face in found.faces]
        assert all(iou(a, b) < 0.3 for i, a in enumerate(boxes) for b in boxes[:i])
        assert len(boxes) == 2 or n >= 3
    assert len(boxes) >= 1


@follows
def test_a_tilted_head_needs_one_pass(
    head: Image.Image, landmarker: Landmarker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tilted = Image.fromarray(scene(head, (160, 125, 0.5))).rotate(-20, fillcolor=(150, 165, 150))
    passes: list[float] = []
    real = landmarker._run

    def counting(pixels: Pixels, square: object) -> Mesh:
        passes.append(square.roll_deg)  # type: ignore[attr-defined]
        return real(pixels, square)  # type: ignore[arg-type]

    monkeypatch.setattr(landmarker, "_run", counting)
    search = FaceSearch(DetectorSettings(), landmarker=landmarker)
    for n in range(3):
        found = search.find(n * STEP, np.asarray(tilted))
        assert found.meshes is not None
        assert found.meshes[0] is not None
        assert found.meshes[0].roll_deg == pytest.approx(20, abs=5)
        if n == 0:
            assert len(passes) > 1
            passes.clear()
    assert len(passes) == 2


@follows
def test_boxes_keep_their_relation_to_the_landmarks(
    head: Image.Image, landmarker: Landmarker
) -> None:
    follower, picture = Follower(landmarker), scene(head, (150, 125, 0.4))
    detection = detect_faces(picture)[0]
    first = follower.located(picture, SeenFace(detection))
    assert first.place is not None
    assert first.face == detection
    assert first.place.face_xyxy == pytest.approx(detection.box_xyxy)
    moved = follower.follow(scene(head, (156, 128, 0.4)), first.place, detection.score)
    assert moved is not None
    shift = np.subtract(moved.face.box_xyxy, detection.box_xyxy)
    np.testing.assert_allclose(shift, [6, 3, 6, 3], atol=1.5)
    assert moved.face.score == detection.score
    # What the detector says next counts for half: its boxes tremble.
    x0, y0, x1, y1 = moved.face.box_xyxy
    again = confirmed(moved, FaceDetection((x0 + 4, y0, x1 + 4, y1), 0.7))
    assert np.subtract(again.face.box_xyxy, moved.face.box_xyxy) == pytest.approx([2, 0, 2, 0])
    assert again.face.score == 0.7


def test_nobody_is_followed_without_the_network(
    head: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in {load_landmarker("face-mesh"), None}:
        search = Watched(monkeypatch, other)
        for _ in range(3):
            found = search.find(scene(head, (150, 125, 0.4)))
            assert len(found.faces) == 1
            assert found.meshes is None
        assert min(search.calls) > 0


@follows
def test_landmarks_are_found_once(head: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Box] = []
    real = Landmarker.find

    def counting(self: Landmarker, pixels: Pixels, box_xyxy: Box, **how: float) -> Mesh | None:
        calls.append(box_xyxy)
        return real(self, pixels, box_xyxy, **how)

    monkeypatch.setattr(Landmarker, "find", counting)
    reader = FaceReader(None)
    for n in range(5):
        reader.add(Frame(n * STEP, scene(head, (150, 125, 0.4))))
    assert len(calls) == 5
    assert reader.finish().tracks[0].channels is not None


@pytest.mark.data
@pytest.mark.seconds
@follows
@pytest.mark.parametrize("name", ["t6_2", pytest.param("t11_1", marks=pytest.mark.slow)])
def test_turning_heads_are_not_lost(real_data: Path, name: str) -> None:
    """Ten seconds at native rate: yaw goes from -10 to 11 and from -16 to 9 degrees."""
    reader = FaceReader(None, FaceSettings(detector=DetectorSettings((160, 320, 640))))
    frames = 0
    for item in read_media(real_data / "video" / "talking" / f"{name}.mp4", rate_hz=None):
        if isinstance(item, Frame):
            if item.time_s >= 10.0:
                break
            reader.add(item)
            frames += 1
    faces = reader.finish()
    (track,) = faces.tracks
    assert len(track.times_s) == frames
    assert np.isfinite(track.pose_deg).all()
    steps = geodesic_deg(track.rotation[:-1], track.rotation[1:])
    assert steps.max() < 8.0  # 200 degrees a second
    assert np.quantile(steps, 0.99) < 5.0


@follows
def test_a_wall_is_no_face(landmarker: Landmarker, head: Image.Image) -> None:
    """The network is sure of faces in plain walls; one that leaves must not be followed there."""

    class Sure:
        network = landmarker.network

        def find(self, *arguments: object, **options: object) -> Mesh | None:
            return mesh

    face = scene(head, (160, 120, 0.5))
    (found,) = detect_faces(face, DetectorSettings())
    follower = Follower(landmarker)
    seen = follower.located(face, SeenFace(found))
    mesh, place = seen.mesh, seen.place
    sure = Follower(Sure())  # type: ignore[arg-type]
    assert sure.follow(face, place, 0.9) is not None
    shade = np.linspace(-4, 4, SIZE[0])[None, :, None] + np.zeros((SIZE[1], 1, 3))
    assert sure.follow((150 + shade).astype(np.uint8), place, 0.9) is None
