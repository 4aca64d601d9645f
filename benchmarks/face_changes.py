"""Faces that change at cuts, and the yaw of mirrored pictures, on real clips.

Every clip of `$NUNBIT_DATA/video` with one person is sampled at 10 Hz. Printed:

- alarms: consecutive samples of one person in which `face_looks` sees another face (wanted: none),
  against the share of pairs of different persons, put one after the other, in which it does; pairs
  of one source (GRID, MEAD: the same wall and light) apart. Baseline: place and size alone, which
  see none of them;
- mirror: mean over clips of (yaw + yaw of the mirrored picture) / 2, which is 0 for an estimate
  without a side.

    NUNBIT_DATA=... python benchmarks/face_changes.py [--pairs 4000]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from nunbit.core.schema import Box
from nunbit.core.streams import Floats, Frame
from nunbit.pictures.face_mesh import Landmarker, load_landmarker
from nunbit.pictures.faces import DetectorSettings
from nunbit.pictures.landmarks import KEPT_POINTS, head_rotation, pose_angles
from nunbit.recording.face_looks import Looks, apart, is_other, looks_of
from nunbit.recording.face_search import FaceSearch
from nunbit.recording.media import read_media

STUDIOS = ("grid", "mead")


def person_of(path: Path) -> str:
    """Who is shown, as far as the file's name tells."""
    source, name = path.parent.name, path.stem
    if source == "mead":
        return name[:4]
    if source == "grid":
        return name.split("_")[0] if name[:3] in ("s1_", "s2_") else name
    return f"{source}/{name}"


def read_clip(path: Path, landmarker: Landmarker) -> tuple[list[Looks], list[float]]:
    """Pictures of the face in each sample, and the side that its yaw leans to; empty for groups."""
    search = FaceSearch(DetectorSettings(sizes_px=(160, 320, 640)))
    looks, lean = [], []
    for number, frame in enumerate(read_media(path, want_audio=False)):
        assert isinstance(frame, Frame)
        found = search.find(frame.time_s, frame.pixels).faces
        if len(found) > 1:
            return [], []
        if not found:
            continue
        box = found[0].box_xyxy
        mesh = landmarker.find(frame.pixels, box)
        points = None if mesh is None else mesh.points.astype(np.float64)
        kept = None if points is None else points[list(KEPT_POINTS)]
        looks.append(looks_of(frame.pixels, box, kept))
        if number % 10 == 0 and points is not None and len(lean) < 5:
            lean.append(lean_of(frame, box, points, landmarker))
    return looks, lean


def lean_of(frame: Frame, box: Box, points: Floats, lm: Landmarker) -> float:
    """Mean of the yaw and that of the mirrored picture, degrees; NaN where it shows no face."""
    width = frame.pixels.shape[1]
    mirrored = np.ascontiguousarray(frame.pixels[:, ::-1])
    other = lm.find(mirrored, (width - box[2], box[1], width - box[0], box[3]))
    if other is None:
        return float("nan")
    yaws = [pose_angles(head_rotation(p))[0] for p in (points, other.points.astype(np.float64))]
    return float(np.mean(yaws))


def main() -> None:
    """Read the clips and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=4000)
    pairs = parser.parse_args().pairs
    landmarker = load_landmarker()
    if landmarker is None:
        raise SystemExit("the landmark networks are not installed")
    clips, leans = {}, []
    for path in sorted(Path(os.environ["NUNBIT_DATA"], "video").glob("*/*.m[pko]*")):
        looks, lean = read_clip(path, landmarker)
        if len(looks) > 4:
            clips[path] = looks
            leans.append(np.nanmean(lean))
    own = [is_other(*apart(c[k - 2 : k + 2])) for c in clips.values() for k in range(2, len(c) - 1)]
    rng, names = np.random.default_rng(3), list(clips)
    hits: dict[bool, list[bool]] = {False: [], True: []}
    for _ in range(pairs):
        a, b = (names[k] for k in rng.choice(len(names), 2, replace=False))
        if person_of(a) == person_of(b):
            continue
        i, j = rng.integers(2, len(clips[a])), rng.integers(0, len(clips[b]) - 2)
        same = a.parent.name == b.parent.name and a.parent.name in STUDIOS
        hits[same].append(is_other(*apart(clips[a][i - 2 : i] + clips[b][j : j + 2])))
    print(f"{len(clips)} clips; one person: {sum(own)} alarms in {len(own)} samples")
    for same, found in hits.items():
        where = "same studio" if same else "other place"
        print(f"two persons, {where}: {np.mean(found):.3f} of {len(found)} seen; by place alone: 0")
    print(f"yaw leans by {np.mean(leans):+.2f} degrees, SD over clips {np.std(leans):.2f}")


if __name__ == "__main__":
    main()
