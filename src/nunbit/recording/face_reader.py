"""Read faces from frames: tracks, image quality, head pose and apparent expression.

Detection (``face_search``), landmarks, linking and the model are put together here. Pixels are kept
only as the small crops that wait for their batch. Knows nothing of files, sound or windows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated

import msgspec
import numpy as np

from nunbit.core.schema import Box, ReadingNote
from nunbit.core.streams import (
    FACE_RATE_HZ,
    REASONS,
    FaceStream,
    FaceTrack,
    Floats,
    Frame,
    Ints,
    MediaInfo,
    Pixels,
    Singles,
)
from nunbit.language.prompts import load_template_set
from nunbit.model.bundle import BUNDLE_FILE
from nunbit.model.encoders import Bundle
from nunbit.model.zeroshot import ensemble_cosines, normalise, probabilities
from nunbit.pictures.expression_channels import KEPT_AT, KEPT_CHANNELS
from nunbit.pictures.face_mesh import Landmarker, Mesh, load_landmarker
from nunbit.pictures.faces import DetectorSettings, FaceDetection, Framing, frame_face, framing_of
from nunbit.pictures.landmarks import (
    KEPT_POINTS,
    eye_aspect_ratio,
    head_rotation,
    mouth_opening,
    pose_angles,
)
from nunbit.pictures.mouth_cover import mouth_is_covered
from nunbit.recording.face_looks import (
    FaceChange,
    Looks,
    LooksWatch,
    change_notes,
    looks_of,
    sharpness,
    split_tracks,
)
from nunbit.recording.face_part import (
    Column,
    FacePart,
    FaceSample,
    PartRows,
    Rows,
    TrackRows,
    track_of,
)
from nunbit.recording.face_search import FaceSearch, Found
from nunbit.recording.tracking import Linker, LinkSettings, Target, TargetChoice, choose_targets
from nunbit.runtime.config import BatchSize

_EYES_STEP_S = 0.045  # blinks last 50 ms and more: only samples this close see them all

_Degrees = Annotated[float, msgspec.Meta(gt=0, le=180)]


@dataclass(frozen=True, slots=True)
class FaceSettings:
    """How faces are searched for, and when a face counts as readable.

    Attributes:
        rate_hz: Frames per second that :meth:`FaceReader.add` is given.
        detector: Sizes and confidence at which whole pictures are searched.
        min_size_px: A face whose longer side is smaller in the frame is ``low_quality``.
        min_sharpness: Likewise with a smaller variance of the Laplacian; 20 is a blur that leaves
            about 20 pixels across a face.
        max_yaw_deg: Likewise when turned further to a side.
        max_pitch_deg: Likewise when turned further up or down.
        min_confidence: Below this confidence of the detector a face is ``low_conf``.
        link: When two boxes belong to one face.
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
    link: LinkSettings = LinkSettings()  # noqa: RUF009
    most_faces: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 6
    keep_embeddings: bool = False
    batch_size: BatchSize = 64


@dataclass(frozen=True, eq=False)
class FaceReadings:
    """All faces of a recording, before anybody is chosen to be analysed.

    Attributes:
        rate_hz: Sampling rate asked for.
        sample_times_s: (M,) the sampled frames.
        n_faces: (M,) faces found in each.
        tracks: Each of one face.
        labels: K label ids of ``probabilities``; empty without a model.
        has_landmarks: Whether a landmark model was there.
        cuts_s: Times of the first samples after a cut.
        changes_s: Times at which another face was in the place of one.
        follows: Track id -> id of the track in which the same face is known to continue.
    """

    rate_hz: float
    sample_times_s: Floats
    n_faces: Ints
    tracks: tuple[FaceTrack, ...]
    labels: tuple[str, ...] = ()
    has_landmarks: bool = False
    cuts_s: tuple[float, ...] = ()
    changes_s: tuple[float, ...] = ()
    follows: Mapping[int, int] = field(default_factory=dict)

    def choose(self, target: Target = "largest") -> tuple[FaceStream, TargetChoice]:
        """The faces with the person to analyse.

        Raises:
            SettingsError: ``target`` is a box without a face.
        """
        choice = choose_targets(
            self.tracks,
            target,
            cuts_s=self.cuts_s,
            changes_s=self.changes_s,
            follows=self.follows,
        )
        stream = FaceStream(
            rate_hz=self.rate_hz,
            sample_times_s=self.sample_times_s,
            n_faces=self.n_faces,
            tracks=self.tracks,
            targets=choice.target_tracks,
            labels=self.labels,
            has_landmarks=self.has_landmarks,
        )
        return stream, choice


@dataclass(eq=False, slots=True)
class _Model:
    """The bundle, its prompts, and the crops that wait for their batch."""

    bundle: Bundle
    framing: Framing
    prompts: Singles  # (T, K, D)
    keep_embeddings: bool
    waiting: list[Pixels] = field(default_factory=list)

    def run(self, rows: TrackRows) -> None:
        """Add the probabilities of the waiting crops to the rows of their faces."""
        if not self.waiting:
            return
        vectors = normalise(self.bundle.embed_images(np.stack(self.waiting)))
        cosines = ensemble_cosines(vectors, self.prompts, "mean_embedding")
        chances = probabilities(cosines, self.bundle.logit_scale, self.bundle.temperature)
        for vector, chance in zip(vectors, chances, strict=True):
            rows.add_answer(chance, vector if self.keep_embeddings else None)
        self.waiting.clear()


class FaceReader:
    """Read the faces of a recording, frame by frame.

    Without the network ``face-landmarker`` eye opening is measured only at 22 frames a second or
    more, otherwise it is NaN: at a lower rate blinks are seen by chance only, and the network of
    the eyelids takes 3 ms a face.

    Args:
        bundle: Gives class probabilities; None leaves them out.
        settings: None takes the defaults.
        media: Boxes come in pixels of its upright picture; None means the frames have that size.

    Attributes:
        cuts_s: Times of the first frames after a cut.

    Raises:
        BundleError: The bundle does not say how faces are framed or lacks its prompts.
    """

    def __init__(
        self,
        bundle: Bundle | None,
        settings: FaceSettings | None = None,
        media: MediaInfo | None = None,
    ) -> None:
        own = self._settings = settings or FaceSettings()
        self._picture = (media.video.width, media.video.height) if media and media.video else None
        self._landmarker = load_landmarker()
        self._search = FaceSearch(
            own.detector, most_faces=own.most_faces, landmarker=self._landmarker
        )
        self._linker = Linker(own.link)
        keep = own.keep_embeddings
        self._model = None if bundle is None else _load_model(bundle, keep_embeddings=keep)
        self._part = PartRows(without=_columns_without(self._landmarker))
        self._times, self._counts = Column((), np.float64), Column((), np.int64)
        self._frames, self._step_s = 0, math.inf
        self._last_s = self._searched_s = -math.inf
        self._watch, self._changes = LooksWatch(), list[FaceChange]()
        self.cuts_s: list[float] = []

    def set_picture(self, width: int, height: int) -> None:
        """State the size that boxes come in, where it is known only with the first frame."""
        self._picture = (width, height)

    def add(self, frame: Frame) -> None:
        """Read the next sampled frame.

        Raises:
            ValueError: It is not later than the frame before.
            MissingExtra: The detector is not installed.
        """
        self.read(frame, self.search(frame))

    def search(self, frame: Frame) -> Found:
        """First half of :meth:`add`: find the faces of the next frame.

        May run in another thread, ahead of :meth:`read`: the halves use different networks.

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
        self._part.add_frame(frame.time_s, found.count, found.cut, found.state)
        tracks = self._link(frame.time_s, found.count, found.cut, boxes)
        looks = []
        for n, (track_id, face, box) in enumerate(zip(tracks, read, boxes, strict=True)):
            mesh = self._mesh(frame, face) if found.meshes is None else found.meshes[n]
            sample, seen = self._sample(frame, face, box, mesh)
            looks.append((track_id, seen))
            self._part.add(sample, track_id)
            if self._model is not None:
                crop = frame_face(frame.pixels, face.box_xyxy, self._model.framing)
                self._model.waiting.append(crop)
        changes = self._watch.add(frame.time_s, looks, longest_gap_s=self._settings.link.max_gap_s)
        self._changes += changes
        self._part.changes += changes
        if self._model and len(self._model.waiting) >= self._settings.batch_size:
            self._model.run(self._part.faces)

    def take_part(self) -> FacePart | None:
        """Everything read since the last call, None if nothing was; it is removed here.

        Embeds the waiting faces. Call it at the same media times in every run, so that the batches
        are the same too. Memory does not grow where this is called now and then.
        """
        if not self._part:
            return None
        if self._model:
            self._model.run(self._part.faces)
        return self._part.take()

    def restore(self, part: FacePart) -> None:
        """Restore a part of an earlier run; before any frame, in order."""
        for frame in part.frames():
            self._link(*frame)
        self._changes += part.changes
        self._searched_s = part.end_s
        self._search.resume(part.state, None)

    def resume(self, part: FacePart, frame: Frame) -> None:
        """Continue with one of the last frames of the restored parts.

        Changed faces are looked for again in each of them, new ones from the last one on.
        """
        boxes, tracks, kept = part.faces_at(frame.time_s)
        rows = zip(tracks.tolist(), boxes.tolist(), kept, strict=True)
        looks = [(track, self._looks_of(frame, box, points)) for track, box, points in rows]
        # What changed is in the part.
        self._watch.add(frame.time_s, looks, longest_gap_s=self._settings.link.max_gap_s)
        if frame.time_s == part.end_s:
            self._search.resume(part.state, frame.pixels)

    def finish(self, parts: Iterable[FacePart] = ()) -> FaceReadings:
        """Close the tracks.

        Args:
            parts: All that were taken or restored, in order.

        Raises:
            ValueError: Parts are missing.
        """
        last = self.take_part()
        frames, pieces = 0, defaultdict[int, list[Rows]](list)
        for part in chain(parts, () if last is None else (last,)):
            frames += len(part.times_s)
            for track_id in np.unique(part.tracks).tolist():
                pieces[track_id].append(part.rows_of(track_id))
        if frames != self._frames:
            raise ValueError(f"parts of {frames} frames, expected {self._frames}")
        tracks = tuple(track_of(k, pieces.pop(k)) for k in sorted(pieces))
        tracks, follows = split_tracks(tracks, self._changes)
        return FaceReadings(
            rate_hz=self._settings.rate_hz,
            sample_times_s=self._times.take(),
            n_faces=self._counts.take(),
            tracks=tracks,
            labels=() if self._model is None else self._model.bundle.label_set.ids,
            has_landmarks=self._landmarker is not None,
            cuts_s=tuple(self.cuts_s),
            changes_s=tuple(change.time_s for change in self._changes),
            follows=follows,
        )

    def _link(self, time_s: float, count: int, cut: bool, boxes: Sequence[Box]) -> tuple[int, ...]:
        """Record a frame and find the tracks of its faces."""
        if cut:
            self._linker.cut()
            self.cuts_s.append(time_s)
        self._times.add(time_s)
        self._counts.add(count)
        self._frames, self._last_s = self._frames + 1, time_s
        return self._linker.add(time_s, boxes)

    def _mesh(self, frame: Frame, face: FaceDetection) -> Mesh | None:
        landmarker = self._landmarker
        return None if landmarker is None else landmarker.find(frame.pixels, face.box_xyxy)

    def _looks_of(self, frame: Frame, box: Sequence[float], kept: Floats | Singles) -> Looks:
        """Small pictures of a face, from its box and landmarks as a track keeps them."""
        across, down = self._scale(frame)
        x0, y0, x1, y1 = box
        own = x0 / across, y0 / down, x1 / across, y1 / down
        # Rounded as they are kept: a run that is resumed has them from there.
        points = np.asarray(kept, np.float32).astype(np.float64) / (across, down, across)
        return looks_of(frame.pixels, own, points if np.isfinite(points).all() else None)

    def _sample(
        self, frame: Frame, face: FaceDetection, box: Box, mesh: Mesh | None
    ) -> tuple[FaceSample, Looks]:
        points, eyes = None, np.nan
        rotation, kept = np.full((3, 3), np.nan), np.full((len(KEPT_POINTS), 3), np.nan)
        channels = np.full(len(KEPT_CHANNELS), np.nan, np.float32)
        if self._landmarker is not None and mesh is not None:
            points = mesh.points.astype(np.float64)
            across, down = self._scale(frame)
            rotation, kept = (
                head_rotation(points),
                points[list(KEPT_POINTS)] * (across, down, across),
            )
            if self._landmarker.sees_lids or self._step_s <= _EYES_STEP_S:
                finer = self._landmarker.with_lids(frame.pixels, mesh)
                eyes = float(eye_aspect_ratio(finer.points))
            every = self._landmarker.channels(mesh)
            # Thousandths: finer steps are the network's trembling.
            channels = channels if every is None else np.round(every[list(KEPT_AT)], 3)
        sharp = sharpness(frame.pixels, face.box_xyxy)
        sample = FaceSample(
            time_s=frame.time_s,
            box_xyxy=box,
            det_score=face.score,
            sharpness=sharp,
            reason=REASONS.index(self._reason(frame, face, sharp, rotation, points)),
            rotation=rotation,
            landmarks=kept,
            mouth_open=np.nan if points is None else float(mouth_opening(points)),
            eye_aspect=eyes,
            channels=channels,
        )
        return sample, self._looks_of(frame, box, kept)

    def _reason(
        self,
        frame: Frame,
        face: FaceDetection,
        sharp: float,
        rotation: Floats,
        points: Floats | None,
    ) -> str:
        """Why a face is unreadable, '' if it is readable."""
        settings = self._settings
        if face.score < settings.min_confidence:
            return "low_conf"
        yaw, pitch, _ = np.abs(pose_angles(rotation))
        turned = yaw > settings.max_yaw_deg or pitch > settings.max_pitch_deg  # NaN is neither
        if face.size_px < settings.min_size_px or sharp < settings.min_sharpness or turned:
            return "low_quality"
        covered = points is not None and mouth_is_covered(frame.pixels, points)
        return "mouth_covered" if covered else ""

    def reading(self) -> tuple[ReadingNote, ...]:
        """Notes about the persons in the picture."""
        return change_notes(self._changes)

    def _scale(self, frame: Frame) -> tuple[float, float]:
        height, width = frame.pixels.shape[:2]
        return (1.0, 1.0) if self._picture is None else (
            self._picture[0] / width, self._picture[1] / height
        )  # fmt: skip


def _columns_without(landmarker: Landmarker | None) -> tuple[str, ...]:
    """Columns of a track that the networks here cannot fill."""
    if landmarker is None:
        return ("landmarks", "channels")
    return () if landmarker.gives_channels else ("channels",)


def _load_model(bundle: Bundle, *, keep_embeddings: bool) -> _Model:
    framing = framing_of(bundle.document.preprocessing, str(bundle.path / BUNDLE_FILE))
    templates = load_template_set(bundle.default_template_set)
    prompts = bundle.prompt_embeddings(templates, bundle.label_set)
    return _Model(bundle, framing, prompts, keep_embeddings)
