"""Frames in, tracks out: drawn recordings of a pasted photo, with truth by construction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from nunbit.core.messages import InputError, SettingsError
from nunbit.core.schema import Box
from nunbit.core.streams import REASONS, FaceStream, FaceTrack, Frame, MediaInfo, VideoInfo
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.zeroshot import normalise
from nunbit.pictures import faces as faces_module
from nunbit.pictures.expression_channels import KEPT_CHANNELS
from nunbit.pictures.face_mesh import landmark_network, load_landmarker
from nunbit.pictures.faces import DetectorSettings, FaceDetection, frame_face, framing_of
from nunbit.pictures.landmarks import KEPT_POINTS
from nunbit.recording import face_search
from nunbit.recording.face_looks import sharpness
from nunbit.recording.face_part import Column, FaceSample, TrackRows, Unfinished, track_of
from nunbit.recording.face_reader import FaceReader, FaceSettings
from nunbit.recording.face_search import FaceSearch
from nunbit.recording.synchrony import mouth_curve
from nunbit.recording.tracking import Target, TargetBox, TargetChoice
from nunbit.runtime.files import remove_folder

SIZE = (320, 240)
FACE_PX = 84  # height of the face where the photo is pasted at scale 0.4
STEP = 0.1

needs_landmarks = pytest.mark.skipif(
    load_landmarker() is None, reason="the landmark networks are not installed"
)


@pytest.fixture(scope="module")
def hopper(hopper: Image.Image) -> Image.Image:
    return hopper.crop((140, 60, 400, 380))  # head without the flag


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(default_bundle_path(), threads=1)


def scene(hopper: Image.Image, *places: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Heads at (x, y) of the middle of the face with a scale, before a wall."""
    canvas = Image.new("RGB", SIZE, (150, 165, 150))
    for x, y, scale in places:
        head = hopper.resize((round(hopper.width * scale), round(hopper.height * scale)))
        canvas.paste(head, (round(x - 125 * scale), round(y - 170 * scale)))
    return np.asarray(canvas)


def read(
    pictures: Sequence[NDArray[np.uint8]],
    settings: FaceSettings | None = None,
    *,
    bundle: Bundle | None = None,
    media: MediaInfo | None = None,
    step: float = STEP,
    target: Target = "largest",
) -> tuple[FaceStream, TargetChoice]:
    reader = FaceReader(bundle, settings, media)
    for number, pixels in enumerate(pictures):
        reader.add(Frame(number * step, pixels))
    return reader.finish().choose(target)


def upright(width: int, height: int) -> MediaInfo:
    return MediaInfo("a.mp4", 1.0, VideoInfo(width, height, 0, "25", 0.0, 1.0), None)


def test_one_face_gives_one_track(hopper: Image.Image) -> None:
    still = scene(hopper, (150, 120, 0.4))
    stream, choice = read([still] * 12)
    assert [t.track_id for t in stream.tracks] == [0]
    track = stream.tracks[0]
    np.testing.assert_allclose(track.times_s, np.arange(12) * STEP)
    np.testing.assert_allclose(stream.sample_times_s, track.times_s)
    assert (stream.n_faces == 1).all()
    assert stream.targets == (0,)
    assert set(track.reasons) == {""}
    middle = (track.boxes_xyxy[:, :2] + track.boxes_xyxy[:, 2:]) / 2
    np.testing.assert_allclose(middle, np.tile((150, 120), (12, 1)), atol=8)
    assert (track.det_score > 0.8).all()
    assert stream.labels == ()
    assert track.probabilities is None
    assert choice.persons[0].samples == 12


@needs_landmarks
def test_landmarks_and_pose_come_with_it(hopper: Image.Image) -> None:
    stream, _ = read([scene(hopper, (150, 120, 0.4))] * 3)
    track = stream.tracks[0]
    assert stream.has_landmarks
    assert track.landmarks is not None
    assert track.landmarks.shape == (3, len(KEPT_POINTS), 3)
    x0, _, x1, _ = track.boxes_xyxy[0]
    assert (track.landmarks[0, :, 0] > x0 - 10).all()
    assert (track.landmarks[0, :, 0] < x1 + 10).all()
    assert (np.abs(track.pose_deg) < 20).all()
    np.testing.assert_allclose(np.linalg.det(track.rotation), 1.0, atol=1e-5)
    assert (track.mouth_open < 0.1).all()
    if landmark_network() == "face-mesh":  # ten frames a second see blinks by chance
        assert np.isnan(track.eye_aspect).all()
        assert track.channels is None
    else:
        assert (track.eye_aspect > 0.1).all()
        assert track.channels is not None
        assert track.channels.shape == (3, len(KEPT_CHANNELS))


@needs_landmarks
def test_eyes_are_measured_at_full_rate(hopper: Image.Image) -> None:
    stream, _ = read([scene(hopper, (150, 120, 0.4))] * 4, step=0.04)
    if landmark_network() == "face-mesh":
        assert np.isnan(stream.tracks[0].eye_aspect[0])  # the step is not known yet
    assert (stream.tracks[0].eye_aspect[1:] > 0.1).all()


def test_without_landmarks_all_but_these_is_there(
    hopper: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nunbit.recording.face_reader.load_landmarker", lambda: None)
    stream, _ = read([scene(hopper, (150, 120, 0.4))] * 3)
    track = stream.tracks[0]
    assert not stream.has_landmarks
    assert track.landmarks is None
    for missing in (track.rotation, track.pose_deg, track.mouth_open, track.eye_aspect):
        assert np.isnan(missing).all()
    assert set(track.reasons) == {""}


def test_boxes_and_points_are_pixels_of_the_full_picture(hopper: Image.Image) -> None:
    pictures = [scene(hopper, (150, 120, 0.4))] * 2
    small, _ = read(pictures)
    full, _ = read(pictures, media=upright(1280, 960))
    a, b = small.tracks[0], full.tracks[0]
    np.testing.assert_allclose(b.boxes_xyxy, 4 * a.boxes_xyxy, rtol=1e-5)
    if a.landmarks is not None and b.landmarks is not None:
        np.testing.assert_allclose(b.landmarks, 4 * a.landmarks, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(b.sharpness, a.sharpness)
    target = TargetBox((400.0, 300.0, 800.0, 660.0))
    assert read(pictures, target=target, media=upright(1280, 960))[0].targets == (0,)
    with pytest.raises(SettingsError, match="no face in the box"):
        read(pictures, target=target)


def test_probabilities_are_those_of_the_crops(hopper: Image.Image, bundle: Bundle) -> None:
    pictures = [scene(hopper, (120 + 3 * i, 120, 0.4)) for i in range(7)]
    settings = FaceSettings(batch_size=3, keep_embeddings=True)
    stream, _ = read(pictures, settings, bundle=bundle)
    track = stream.tracks[0]
    assert stream.labels == bundle.label_set.ids
    assert track.probabilities is not None
    assert track.embeddings is not None
    np.testing.assert_allclose(track.probabilities.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(track.embeddings, axis=1), 1.0, atol=1e-5)
    framing = framing_of(bundle.document.preprocessing, "bundle")
    boxes = [tuple(float(v) for v in row) for row in track.boxes_xyxy]
    crops = np.stack(
        [
            frame_face(p, (b[0], b[1], b[2], b[3]), framing)
            for p, b in zip(pictures, boxes, strict=True)
        ]
    )
    expected = normalise(bundle.embed_images(crops))
    np.testing.assert_allclose((track.embeddings * expected).sum(axis=1), 1.0, atol=1e-3)
    plain, _ = read(pictures, FaceSettings(), bundle=bundle)
    assert plain.tracks[0].embeddings is None
    np.testing.assert_allclose(plain.tracks[0].probabilities, track.probabilities, atol=1e-5)


def test_a_stretch_without_a_face_is_not_filled(hopper: Image.Image) -> None:
    face, empty = scene(hopper, (150, 120, 0.4)), scene(hopper)
    stream, choice = read([face] * 8 + [empty] * 20 + [face] * 8)
    np.testing.assert_array_equal(stream.n_faces, [1] * 8 + [0] * 20 + [1] * 8)
    assert [len(t.times_s) for t in stream.tracks] == [8, 8]
    assert stream.targets == (0, 1)  # nobody else could have come back
    assert choice.notices == ()  # no cut


def test_a_new_face_is_noticed_within_a_second(hopper: Image.Image) -> None:
    one = scene(hopper, (90, 120, 0.4))
    two = scene(hopper, (90, 120, 0.4), (240, 120, 0.4))
    stream, _ = read([one] * 13 + [two] * 15)
    first = int(np.flatnonzero(stream.n_faces == 2)[0])
    assert 13 <= first <= 23
    assert (stream.n_faces[first:] == 2).all()
    assert [len(t.times_s) for t in stream.tracks] == [28, 28 - first]
    assert stream.targets == (0,)


def test_the_larger_face_is_the_target_and_counts_are_of_all(hopper: Image.Image) -> None:
    both = scene(hopper, (80, 120, 0.3), (220, 120, 0.5))
    stream, _ = read([both] * 5, FaceSettings(most_faces=1))
    assert (stream.n_faces == 2).all()
    assert len(stream.tracks) == 1  # only the larger one is read
    stream, choice = read([both] * 5)
    assert len(stream.tracks) == 2
    large = stream.tracks[stream.targets[0]]
    assert large.boxes_xyxy[0, 0] > 150
    assert len(choice.persons) == 2


@pytest.mark.parametrize(
    ("change", "settings", "reason"),
    [
        ("blur", FaceSettings(), "low_quality"),
        ("none", FaceSettings(min_size_px=150), "low_quality"),
        ("none", FaceSettings(max_pitch_deg=0.001, max_yaw_deg=0.001), "low_quality"),
        ("none", FaceSettings(min_confidence=0.99), "low_conf"),
        ("none", FaceSettings(), ""),
    ],
)
def test_bad_faces_say_why(
    hopper: Image.Image, change: str, settings: FaceSettings, reason: str
) -> None:
    if settings.max_yaw_deg < 1 and load_landmarker() is None:
        pytest.skip("the landmark networks are not installed")
    pixels = scene(hopper, (150, 120, 0.4))
    if change == "blur":
        pixels = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(3)))
    stream, _ = read([pixels] * 2, settings)
    assert set(stream.tracks[0].reasons) == {reason}


def test_sharpness_tells_blur_and_not_size(hopper: Image.Image) -> None:
    box: Box = (37.0, 63.0, 214.0, 273.0)
    plain = sharpness(np.asarray(hopper), box)
    larger = sharpness(
        np.asarray(hopper.resize((520, 640))), (box[0] * 2, box[1] * 2, box[2] * 2, box[3] * 2)
    )
    blurred = sharpness(np.asarray(hopper.filter(ImageFilter.GaussianBlur(6))), box)
    assert larger == pytest.approx(plain, rel=0.3)
    assert blurred < 0.1 * plain
    assert sharpness(np.full((50, 50, 3), 90, np.uint8), (5, 5, 45, 45)) == 0.0
    assert sharpness(np.asarray(hopper), (900.0, 900.0, 950.0, 950.0)) == 0.0


def test_a_cut_ends_tracks_and_movement_does_not(hopper: Image.Image) -> None:
    moving = [scene(hopper, (100 + 6 * i, 120, 0.45)) for i in range(10)]
    other = [255 - scene(hopper, (150, 120, 0.4))] * 3
    stream, choice = read([*moving, *other, *moving])
    assert "cut 2 times" in choice.notices[0].en
    long = [t for t in stream.tracks if len(t.times_s) == 10]
    assert [t.times_s[0] for t in long] == pytest.approx([0.0, 1.3])
    assert len(stream.targets) == 1
    joined, _ = read([*moving, *other, *moving], target="only")
    assert {t.track_id for t in long} <= set(joined.targets)


def test_the_search_is_bounded(hopper: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    real = faces_module._search

    def counting(image: Image.Image) -> object:
        searched.append(image.width * image.height)
        return real(image)

    monkeypatch.setattr(faces_module, "_search", counting)
    still = np.asarray(Image.fromarray(scene(hopper, (150, 120, 0.4))).resize((960, 720)))
    search = FaceSearch(DetectorSettings())
    assert len(search.find(0.0, still).faces) == 1
    first = sum(searched)
    searched.clear()
    for number in range(1, 31):
        assert len(search.find(number * STEP, still).faces) == 1
    per_frame = sum(searched) / 30
    assert per_frame < 60_000  # a 160 px square, and 640 px of the whole once a second
    assert first > 400_000


def test_times_must_increase_and_nothing_is_something(bundle: Bundle) -> None:
    reader = FaceReader(bundle)
    empty, _ = reader.finish().choose()
    assert empty.tracks == ()
    assert empty.targets == ()
    assert len(empty.sample_times_s) == 0
    reader = FaceReader(None)
    reader.add(Frame(1.0, np.zeros((40, 40, 3), np.uint8)))
    with pytest.raises(ValueError, match="after one at"):
        reader.add(Frame(1.0, np.zeros((40, 40, 3), np.uint8)))


def test_frames_may_change_size(hopper: Image.Image) -> None:
    small = scene(hopper, (150, 120, 0.4))
    large = np.asarray(Image.fromarray(small).resize((640, 480)))
    stream, _ = read([small] * 3 + [large] * 3, media=upright(*SIZE))
    assert [len(t.times_s) for t in stream.tracks] == [6]
    assert np.ptp(stream.tracks[0].boxes_xyxy, axis=0).max() < 15


def test_two_hours_of_rows_stay_small() -> None:
    n = 3000
    rows = TrackRows(())
    for i in range(n):
        sample = FaceSample(
            time_s=i * STEP,
            box_xyxy=(0.0, 0.0, 10.0, 10.0),
            det_score=0.9,
            sharpness=100.0,
            reason=REASONS.index("low_conf" if i == 7 else ""),
            rotation=np.eye(3),
            landmarks=np.full((40, 3), np.nan if i == 5 else float(i)),
            mouth_open=0.1,
            eye_aspect=np.nan,
            channels=np.full(len(KEPT_CHANNELS), 0.25, np.float32),
        )
        rows.add(sample)
        rows.add_answer(np.full(7, 1 / 7, np.float32), None)
    track = track_of(3, [rows.take()])
    assert track.landmarks is not None
    assert np.isnan(track.landmarks[5]).all()
    np.testing.assert_allclose(track.landmarks[2000], 2000.0)
    assert list(np.flatnonzero(track.reasons)) == [7]
    arrays = (track.times_s, track.boxes_xyxy, track.det_score, track.sharpness, track.reasons,
              track.rotation, track.pose_deg, track.landmarks, track.mouth_open, track.eye_aspect,
              track.probabilities, track.channels)  # fmt: skip
    per_sample = sum(a.nbytes for a in arrays if a is not None) / n
    assert per_sample * 72_000 < 60e6


@pytest.mark.slow
def test_a_reading_goes_on_from_its_parts_as_if_it_had_not_ended(
    hopper: Image.Image, bundle: Bundle, tmp_path: Path
) -> None:
    # Two heads that move, one that leaves, a cut, a blank stretch: every state there is.
    walks = [scene(hopper, (70 + 2 * i, 120, 0.4), (250 - i, 110, 0.3)) for i in range(25)]
    alone = [scene(hopper, (120 - i, 120, 0.4)) for i in range(12)]
    blank = [np.full((*SIZE[::-1], 3), 20, np.uint8)] * 4
    frames = [Frame(n * STEP, p) for n, p in enumerate([*walks, *alone, *blank, *walks[:9]])]
    settings = FaceSettings(keep_embeddings=True, batch_size=8)
    key = {"media": "a"}

    def read_on(reader: FaceReader, start: int, stop: int, parts: Unfinished) -> None:
        for number in range(start, stop):
            if number % 10 == 0:
                part = reader.take_part()
                if part is not None:
                    parts.add(part)
            reader.add(frames[number])

    whole = FaceReader(bundle, settings)
    whole_parts = Unfinished(tmp_path / "whole", key)
    read_on(whole, 0, len(frames), whole_parts)
    killed = FaceReader(bundle, settings)
    read_on(killed, 0, 36, Unfinished(tmp_path / "parts", key))  # the last part ends at frame 29

    parts = Unfinished(tmp_path / "parts", key)
    again = FaceReader(bundle, settings)
    last = None
    for part in parts.recover():
        again.restore(part)
        last = part
    assert last is not None
    assert last.end_s == frames[29].time_s
    again.resume(last, frames[29])
    read_on(again, 30, len(frames), parts)

    expected, found = whole.finish(whole_parts.parts()), again.finish(parts.parts())
    plain, _ = read([frame.pixels for frame in frames], settings, bundle=bundle)
    assert [len(t.times_s) for t in plain.tracks] == [len(t.times_s) for t in expected.tracks]
    assert again.cuts_s == whole.cuts_s != []
    np.testing.assert_array_equal(found.sample_times_s, expected.sample_times_s)
    np.testing.assert_array_equal(found.n_faces, expected.n_faces)
    assert found.choose()[0].targets == expected.choose()[0].targets
    assert len(found.tracks) == len(expected.tracks) > 2
    for one, other in zip(found.tracks, expected.tracks, strict=True):
        for name in FaceTrack.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_parts_of_other_settings_or_damaged_ones_are_not_used(
    hopper: Image.Image, tmp_path: Path
) -> None:
    parts = Unfinished(tmp_path / "parts", {"media": "a"})
    reader = FaceReader(None)
    for n in range(3):
        reader.add(Frame(n * STEP, scene(hopper, (150, 120, 0.4))))
        part = reader.take_part()
        assert part is not None
        parts.add(part)
    assert reader.take_part() is None
    assert len(list(Unfinished(tmp_path / "parts", {"media": "a"}).recover())) == 3
    files = sorted((tmp_path / "parts").glob("faces/*.part"))
    files[1].write_bytes(files[1].read_bytes()[:-100])  # a disk that failed
    with pytest.raises(InputError, match="faces-00001"):
        list(parts.parts())
    with pytest.raises(ValueError, match="parts of 1 frames, expected 3"):
        reader.finish([part])
    again = Unfinished(tmp_path / "parts", {"media": "a"})
    assert [p.end_s for p in again.recover()] == [0.0]
    again.add(part)
    assert len(list(Unfinished(tmp_path / "parts", {"media": "a"}).recover())) == 3
    assert list(Unfinished(tmp_path / "parts", {"media": "b"}).recover()) == []
    assert not list((tmp_path / "parts" / "faces").iterdir())
    remove_folder(tmp_path / "parts")
    remove_folder(tmp_path / "parts")  # nothing there: nothing to do


def test_columns_keep_order_over_packing() -> None:
    column = Column((2,), np.float32)
    for i in range(1000):
        column.add((i, -i))
    taken = column.take()
    np.testing.assert_array_equal(taken[:, 0], np.arange(1000))
    assert len(column.take()) == 0


@needs_landmarks
def test_mouth_curve_follows_one_face(hopper: Image.Image) -> None:
    landmarker = load_landmarker()
    assert landmarker is not None
    pictures = [scene(hopper, (90 + 4 * i, 120, 0.4), (280, 60, 0.2)) for i in range(12)]
    pictures[6] = scene(hopper)
    frames = [Frame(0.04 * i, p) for i, p in enumerate(pictures)]
    start: Box = (56.0, 78.0, 124.0, 162.0)
    times, openings = mouth_curve(frames, landmarker, start, upright(*SIZE))
    np.testing.assert_allclose(times, 0.04 * np.arange(12))
    assert list(np.flatnonzero(np.isnan(openings))) == [6]
    assert np.nanmax(openings) - np.nanmin(openings) < 0.1  # the same shut mouth
    scaled: Box = (start[0] * 2, start[1] * 2, start[2] * 2, start[3] * 2)
    _, same = mouth_curve(frames, landmarker, scaled, upright(640, 480))
    np.testing.assert_allclose(same, openings)
    assert [len(x) for x in mouth_curve([], landmarker, start, upright(*SIZE))] == [0, 0]


def _clip(path: Path, rate_hz: float | None) -> Iterator[Frame]:
    from nunbit.recording.media import read_media

    for item in read_media(path, rate_hz=rate_hz, want_audio=False):
        if isinstance(item, Frame):
            yield item


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("grid/lwbsza.mpg", 1.0),
        ("pyfeat/face_noface.mov", 24 / 64),
    ],
)
def test_real_clips_have_one_face_where_a_person_is(
    real_data: Path, bundle: Bundle, name: str, share: float
) -> None:
    reader = FaceReader(bundle)
    for frame in _clip(real_data / "video" / name, 10.0):
        reader.add(frame)
    stream = reader.finish()
    assert (stream.n_faces > 0).mean() == pytest.approx(share, abs=0.02)
    assert stream.n_faces.max() == 1
    assert len(stream.tracks) == 1
    assert set(stream.tracks[0].reasons) == {""}
    if stream.has_landmarks:
        assert (np.abs(stream.tracks[0].pose_deg) < 20).all()  # all of them look into the camera


@pytest.mark.data
@needs_landmarks
def test_blinks_are_seen_at_full_rate(real_data: Path) -> None:
    reader = FaceReader(None)
    for frame in _clip(real_data / "video" / "grid" / "s1_sgapzn.mpg", None):
        reader.add(frame)
    eyes = reader.finish().tracks[0].eye_aspect
    shut = np.flatnonzero(eyes < 0.7 * np.nanmedian(eyes))
    assert list(shut) == [44, 45, 65, 66, 67]  # two blinks, checked by eye


def test_while_somebody_is_known_the_picture_is_searched_finely_every_four_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[float, int]] = []
    now = 0.0

    def detect(pixels: NDArray[np.uint8], settings: DetectorSettings) -> tuple[FaceDetection, ...]:
        if pixels.shape[1] == 1280:
            asked.append((now, max(settings.sizes_px)))
            return (FaceDetection((500.0, 200.0, 700.0, 400.0), 0.99),)
        x, y = pixels.shape[1] / 2, pixels.shape[0] / 2  # the face is in the middle of its square
        return (FaceDetection((x - 100, y - 100, x + 100, y + 100), 0.9),)

    monkeypatch.setattr(face_search, "detect_faces", detect)
    search = face_search.FaceSearch(DetectorSettings((160, 320, 640)))
    for step in range(100):
        now = step / 10
        assert search.find(now, np.zeros((720, 1280, 3), np.uint8)).count == 1
    assert asked == [(float(t), 640 if t % 4 == 0 else 320) for t in range(10)]
