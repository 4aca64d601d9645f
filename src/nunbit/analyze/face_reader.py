"""Frames in, faces out: who is seen when, how well, how turned, and with what apparent expression.

Detection (``face_search``), landmarks, linking and the model are put together here. Pixels are kept
only as the small crops that wait for their batch. Knows nothing of files, sound or windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nunbit.analyze.face_looks import (
    FaceChange,
    Looks,
    LooksWatch,
    change_notes,
    looks_of,
    split_tracks,
)
from nunbit.analyze.face_part import FacePart, PartRows
from nunbit.analyze.face_rows import Column, FaceSample, TrackRows
from nunbit.analyze.face_search import FaceSearch, Found
from nunbit.config import BatchSize
from nunbit.encoders import BUNDLE_FILE, Bundle
from nunbit.faces import (
    DetectorSettings,
    FaceDetection,
    Framing,
    detect_faces,
    frame_face,
    framing_of,
)
from nunbit.headpose import (
    KEPT_POINTS,
    eye_aspect_ratio,
    head_rotation,
    mouth_opening,
    pose_angles,
)
from nunbit.landmarks import Landmarker, load_landmarker
from nunbit.predict.settings import PredictSettings
from nunbit.predict.texts import embed_all_texts
from nunbit.reading import ReadingNote
from nunbit.schema import Box
from nunbit.streams import (
    FACE_RATE_HZ,
    FaceStream,
    Floats,
    Frame,
    MediaInfo,
    Singles,
)
from nunbit.tracking import Linker, LinkSettings, Target, TargetChoice, box_iou, choose_targets
from nunbit.zeroshot import ensemble_cosines, normalise, probabilities

_SHARPNESS_PX = 64
_SEARCH_AGAIN_PX = 320
_SAME_FACE_IOU = 0.3
_EYES_STEP_S = 0.045  # blinks last 50 ms and more: only samples this close see them all

_Degrees = Annotated[float, msgspec.Meta(gt=0, le=180)]


@dataclass(frozen=True, slots=True)
class FaceSettings:
    """How faces are sought and when one may be read.

    Attributes:
        rate_hz: Frames per second that :meth:`FaceReader.add` is given.
        detector: Sizes and confidence at which whole pictures are searched.
        min_size_px: A face whose longer side is smaller in the frame is ``low_quality``.
        min_sharpness: Likewise with a smaller variance of the Laplacian; 20 is a blur that leaves
            about 20 pixels across a face.
        max_yaw_deg: Likewise when turned further to a side.
        max_pitch_deg: Likewise when turned further up or down.
        min_confidence: Below this confidence of the detector a face is ``low_conf``.
        target: Who is analysed.
        link: When two boxes are one face.
        most_faces: So many of the largest faces of a frame are read; all are counted.
        keep_embeddings: Keep the model's vectors: 1 kB a face and frame for D = 256.
        batch_size: Faces given to the model at once.
    """

    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=1000)] = FACE_RATE_HZ
    detector: DetectorSettings = DetectorSettings()  # noqa: RUF009
    min_size_px: Annotated[float, msgspec.Meta(ge=8, le=4000)] = 40.0
    min_sharpness: Annotated[float, msgspec.Meta(ge=0, le=65_025)] = 20.0
    max_yaw_deg: _Degrees = 45.0
    max_pitch_deg: _Degrees = 35.0
    min_confidence: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.8
    target: Target = "largest"
    link: LinkSettings = LinkSettings()  # noqa: RUF009
    most_faces: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 6
    keep_embeddings: bool = False
    batch_size: BatchSize = 64


@dataclass(eq=False, slots=True)
class _Model:
    """The bundle with its prompts, and the crops that wait for it."""

    bundle: Bundle
    framing: Framing
    prompts: Singles  # (T, K, D)
    waiting: list[tuple[TrackRows, NDArray[np.uint8]]] = field(default_factory=list)

    def run(self, *, keep_embeddings: bool) -> None:
        if not self.waiting:
            return
        vectors = normalise(self.bundle.embed_images(np.stack([crop for _, crop in self.waiting])))
        cosines = ensemble_cosines(vectors, self.prompts, "mean_embedding")
        chances = probabilities(cosines, self.bundle.logit_scale, self.bundle.temperature)
        for (rows, _), vector, chance in zip(self.waiting, vectors, chances, strict=True):
            rows.add_answer(chance, vector if keep_embeddings else None)
        self.waiting.clear()


class FaceReader:
    """Reads the faces of a recording, frame by frame.

    How far the eyes are open is measured only at 22 frames a second and more, and NaN else: a
    slower sampling sees blinks by chance, and the network for it takes 3 ms a face.

    Args:
        bundle: Gives class probabilities; None leaves them out.
        settings: None takes the defaults.
        media: Boxes come in pixels of its upright picture; None means the frames have that size.
        in_parts: Whether :meth:`take_part` will be called, so that memory does not grow.

    Attributes:
        choice: Who was taken for whom, after :meth:`finish`.
        cuts_s: Times of the first frames after a cut.

    Raises:
        BundleError: The bundle does not say how faces are framed or lacks its prompts.
    """

    def __init__(
        self,
        bundle: Bundle | None,
        settings: FaceSettings | None = None,
        media: MediaInfo | None = None,
        *,
        in_parts: bool = False,
    ) -> None:
        self._settings = settings or FaceSettings()
        self._picture = (media.video.width, media.video.height) if media and media.video else None
        self._search = FaceSearch(self._settings.detector, most_faces=self._settings.most_faces)
        self._linker = Linker(self._settings.link)
        self._landmarker = load_landmarker()
        self._model = None if bundle is None else _load_model(bundle)
        self._rows: dict[int, TrackRows] = {}
        has_points = self._landmarker is not None
        self._part = PartRows(with_landmarks=has_points) if in_parts else None
        self._times, self._counts = Column((), np.float64), Column((), np.int64)
        self._frames, self._last_s = 0, -math.inf
        self._step_s = math.inf
        self._searched_s = -math.inf
        self._looks, self._changes = LooksWatch(), list[FaceChange]()
        self.cuts_s: list[float] = []
        self.choice: TargetChoice | None = None

    def add(self, frame: Frame) -> None:
        """Read the next sampled frame.

        Raises:
            ValueError: It is not later than the frame before.
            MissingExtra: The detector is not installed.
        """
        self.read(frame, self.search(frame))

    def search(self, frame: Frame) -> Found:
        """First half of :meth:`add`: where the faces of the next frame are.

        May run in another thread, ahead of :meth:`read`: the halves share nothing.

        Raises:
            ValueError: The frame is not later than the one before.
            MissingExtra: The detector is not installed.
        """
        if frame.time_s <= self._searched_s:
            raise ValueError(f"frame at {frame.time_s} s after one at {self._searched_s} s")
        self._searched_s = frame.time_s
        return self._search.find(frame.time_s, frame.pixels)

    def read(self, frame: Frame, found: Found) -> None:
        """Second half of :meth:`add`: link, measure and classify the faces found in a frame."""
        self._step_s = frame.time_s - self._last_s
        read = found.faces[: self._settings.most_faces]
        across, down = self._scale(frame)
        boxes = [
            (x0 * across, y0 * down, x1 * across, y1 * down)
            for x0, y0, x1, y1 in (face.box_xyxy for face in read)
        ]
        if self._part is not None:
            self._part.add_frame(frame.time_s, found.count, found.cut, found.state)
        tracks = self._link(frame.time_s, found.count, found.cut, boxes)
        looks = []
        for track_id, face, box in zip(tracks, read, boxes, strict=True):
            sample, seen = self._sample(frame, face, box)
            looks.append((track_id, seen))
            if self._part is None:
                rows = self._rows_of(track_id)
                rows.add(sample)
            else:
                rows = self._part.faces
                self._part.add(sample, track_id)
            if self._model is not None:
                crop = frame_face(frame.pixels, face.box_xyxy, self._model.framing)
                self._model.waiting.append((rows, crop))
        changes = self._looks.add(frame.time_s, looks, longest_gap_s=self._settings.link.max_gap_s)
        self._changes += changes
        if self._part is not None:
            self._part.add_changes(changes)
        if self._model and len(self._model.waiting) >= self._settings.batch_size:
            self._model.run(keep_embeddings=self._settings.keep_embeddings)

    def take_part(self) -> FacePart | None:
        """Everything read since the last call, None where nothing was; given up here.

        Asks the model about the faces that wait: call it at times that are the same in every run,
        so that its batches are, too.
        """
        if not self._part:
            return None
        if self._model:
            self._model.run(keep_embeddings=self._settings.keep_embeddings)
        return self._part.take()

    def restore(self, part: FacePart) -> None:
        """Take a part of an earlier run for read; before any frame, in order."""
        for frame in part.frames():
            self._link(*frame)
        self._changes += part.changes()
        self._searched_s = part.end_s
        self._search.resume(part.state, None)

    def resume_looks(self, part: FacePart, frame: Frame) -> None:
        """Show the faces of one of the last frames of the last part that was restored."""
        boxes, tracks = part.faces_at(frame.time_s)
        across, down = self._scale(frame)
        looks = []
        for (x0, y0, x1, y1), track in zip(boxes.tolist(), tracks.tolist(), strict=True):
            box = x0 / across, y0 / down, x1 / across, y1 / down
            mesh = None if self._landmarker is None else self._landmarker.find(frame.pixels, box)
            points = None if mesh is None else mesh.points.astype(np.float64)
            looks.append((track, looks_of(frame.pixels, box, points)))
        gap_s = self._settings.link.max_gap_s
        self._looks.add(frame.time_s, looks, longest_gap_s=gap_s)  # changes are in the part

    def resume_search(self, part: FacePart, frame: Frame) -> None:
        """Show the search the last frame of the last part that was restored."""
        self._search.resume(part.state, frame.pixels)

    def finish(self, parts: Iterable[FacePart] = ()) -> FaceStream:
        """Close the tracks and choose whose face is analysed.

        Args:
            parts: All that were taken or restored, in order.

        Raises:
            SettingsError: ``target`` is a box without a face.
            ValueError: Parts are missing.
        """
        last = self.take_part()
        if self._model:
            self._model.run(keep_embeddings=self._settings.keep_embeddings)
        frames = 0
        for part in chain(parts, () if last is None else (last,)):
            frames += len(part.times_s)
            for track_id in np.unique(part.tracks).tolist():
                self._rows_of(track_id).extend(part.rows_of(track_id))
        if self._part is not None and frames != self._frames:
            raise ValueError(f"parts of {frames} frames, expected {self._frames}")
        tracks = tuple(self._rows.pop(track_id).track(track_id) for track_id in sorted(self._rows))
        tracks, follows = split_tracks(tracks, self._changes)
        self.choice = choose_targets(
            tracks,
            self._settings.target,
            cuts_s=self.cuts_s,
            changes_s=[change.time_s for change in self._changes],
            follows=follows,
            settings=self._settings.link,
        )
        return FaceStream(
            rate_hz=self._settings.rate_hz,
            sample_times_s=self._times.take(),
            n_faces=self._counts.take(),
            tracks=tracks,
            targets=self.choice.target_tracks,
            labels=() if self._model is None else self._model.bundle.label_set.ids,
            has_landmarks=self._landmarker is not None,
        )

    def _link(self, time_s: float, count: int, cut: bool, boxes: Sequence[Box]) -> tuple[int, ...]:
        """Note a frame and find the tracks that its faces belong to."""
        if cut:
            self._linker.cut()
            self.cuts_s.append(time_s)
        self._times.add(time_s)
        self._counts.add(count)
        self._frames, self._last_s = self._frames + 1, time_s
        return self._linker.add(time_s, boxes)

    def _rows_of(self, track_id: int) -> TrackRows:
        if track_id not in self._rows:
            self._rows[track_id] = TrackRows(with_landmarks=self._landmarker is not None)
        return self._rows[track_id]

    def _sample(self, frame: Frame, face: FaceDetection, box: Box) -> tuple[FaceSample, Looks]:
        points, eyes = None, np.nan
        if self._landmarker is not None:
            mesh = self._landmarker.find(frame.pixels, face.box_xyxy)
            points = None if mesh is None else mesh.points.astype(np.float64)
            if mesh is not None and self._step_s <= _EYES_STEP_S:
                lids = self._landmarker.with_lids(frame.pixels, mesh)
                eyes = float(eye_aspect_ratio(lids.points))
        rotation = np.full((3, 3), np.nan) if points is None else head_rotation(points)
        sharp = sharpness(frame.pixels, face.box_xyxy)
        scale = self._scale(frame)
        sample = FaceSample(
            time_s=frame.time_s,
            box_xyxy=box,
            det_score=face.score,
            sharpness=sharp,
            reason=self._reason(face, sharp, rotation),
            rotation=rotation,
            landmarks=None if points is None else points[list(KEPT_POINTS)] * (*scale, scale[0]),
            mouth_open=np.nan if points is None else float(mouth_opening(points)),
            eye_aspect=eyes,
        )
        return sample, looks_of(frame.pixels, face.box_xyxy, points)

    def _reason(self, face: FaceDetection, sharp: float, rotation: Floats) -> str:
        """Why a face may not be read, '' if it may."""
        settings = self._settings
        if face.score < settings.min_confidence:
            return "low_conf"
        yaw, pitch, _ = np.abs(pose_angles(rotation))
        turned = yaw > settings.max_yaw_deg or pitch > settings.max_pitch_deg  # NaN is neither
        if face.size_px < settings.min_size_px or sharp < settings.min_sharpness or turned:
            return "low_quality"
        return ""

    def reading(self) -> tuple[ReadingNote, ...]:
        """What to know about who is to be seen."""
        return change_notes(self._changes)

    def _scale(self, frame: Frame) -> tuple[float, float]:
        height, width = frame.pixels.shape[:2]
        return (1.0, 1.0) if self._picture is None else (
            self._picture[0] / width, self._picture[1] / height
        )  # fmt: skip


def sharpness(pixels: NDArray[np.uint8], box: Box) -> float:
    """Variance of the Laplacian of a face, seen as 64 x 64 grey pixels; grey levels squared.

    At one size for all, so that it tells blur and not distance; a small face that is enlarged for
    it counts as the blurred face it is.
    """
    height, width = pixels.shape[:2]
    x0, y0 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    part = pixels[y0 : min(height, math.ceil(box[3])), x0 : min(width, math.ceil(box[2]))]
    if part.size == 0:
        return 0.0
    image = Image.fromarray(np.ascontiguousarray(part)).convert("L")
    size = (_SHARPNESS_PX, _SHARPNESS_PX)
    grey = np.asarray(image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0), np.float32)
    neighbours = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((neighbours - 4.0 * grey[1:-1, 1:-1]).var())


def mouth_curve(
    frames: Iterable[Frame],
    landmarker: Landmarker,
    start_box: Box,
    *,
    media: MediaInfo | None = None,
) -> tuple[Floats, Floats]:
    """How far the mouth is open in every frame: what the check of synchrony compares with sound.

    Args:
        frames: Consecutive, at native rate.
        landmarker: From ``load_landmarker``.
        start_box: The face in or shortly before the first frame.
        media: Its upright picture's pixels are those of ``start_box``; None means the frames'.

    Returns:
        Times in seconds and mouth openings in eye distances, (M,) each; NaN where the face is not
        seen.
    """
    times, openings = [], []
    box: Box | None = None
    for frame in frames:
        if box is None:
            box = _in_frame(start_box, frame, media)
        mesh = landmarker.find(frame.pixels, box)
        if mesh is None:
            again = _nearest_face(frame, box)
            mesh = None if again is None else landmarker.find(frame.pixels, again)
        times.append(frame.time_s)
        openings.append(np.nan if mesh is None else float(mouth_opening(mesh.points)))
        box = box if mesh is None else mesh.box_xyxy
    return np.array(times, np.float64), np.array(openings, np.float64)


def _in_frame(box: Box, frame: Frame, media: MediaInfo | None) -> Box:
    if media is None or media.video is None:
        return box
    height, width = frame.pixels.shape[:2]
    across, down = width / media.video.width, height / media.video.height
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def _nearest_face(frame: Frame, box: Box) -> Box | None:
    """The face that overlaps a box most; another person's face elsewhere is none."""
    faces = detect_faces(frame.pixels, DetectorSettings((_SEARCH_AGAIN_PX,)))
    if not faces:
        return None
    overlaps = box_iou(np.array([f.box_xyxy for f in faces]), np.array([box]))[:, 0]
    best = int(overlaps.argmax())
    return faces[best].box_xyxy if overlaps[best] >= _SAME_FACE_IOU else None


def _load_model(bundle: Bundle) -> _Model:
    where = str(bundle.path / BUNDLE_FILE)
    framing = framing_of(bundle.document.get("preprocessing") or {}, where)
    return _Model(bundle, framing, embed_all_texts(bundle, PredictSettings()).prompt_vectors)
