"""Faces followed by their landmarks, against the detector in every frame, on real clips.

Every clip of `$NUNBIT_DATA/video` is read at 10 Hz in three ways in the same run:

- detector: the detector around every known face, landmarks from its box (the way before);
- detector, 176 px: the same with the square it searches 10% larger: what the detector's own
  trembling does to boxes and probabilities;
- followed: what `analyze` does.

Printed for each kind of clips: frames with a face, landmarks in them, agreement with the first way
(IoU of boxes; half the sum of absolute differences of class probabilities, of frames and of the
means of clips; the same top class), how much probabilities and head move from frame to frame, CPU
milliseconds a frame. MEAD is reported apart and nothing was chosen on it. Then the turning clips at
native rate: frames without a face, and the largest step of the head between frames.

    NUNBIT_DATA=... python benchmarks/face_following.py [--seconds 20] [--only talking/]
        [--no-turning]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import resource
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nunbit.core.schema import Box, box_iou
from nunbit.core.streams import FaceTrack, Floats, Frame
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.pictures.face_mesh import load_landmarker
from nunbit.pictures.faces import DetectorSettings, end_detector_process
from nunbit.pictures.landmarks import geodesic_deg
from nunbit.recording import face_search
from nunbit.recording.face_reader import FaceReader, FaceSettings
from nunbit.recording.face_search import FaceSearch
from nunbit.recording.media import read_media

WAYS = ("detector", "detector, 176 px", "followed")
TURNING = ("talking/t6_2.mp4", "talking/t11_1.mp4")
Face = dict[float, tuple[Box, Floats, Floats]]
SIZES = DetectorSettings(sizes_px=(160, 320, 640))
OUR_PX = face_search._SURROUNDINGS_PX


def frames_of(path: Path, seconds: float, rate_hz: float | None = 10.0) -> Iterator[Frame]:
    """The frames of the first seconds of a clip."""
    for item in read_media(path, rate_hz=rate_hz, want_audio=False):
        assert isinstance(item, Frame)
        if item.time_s >= seconds:
            return
        yield item


def cpu_s() -> float:
    """CPU seconds of this process and of the detectors that have ended."""
    end_detector_process()
    used = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def read(
    frames: list[Frame], way: str, bundle: Bundle | None
) -> tuple[int, float, tuple[FaceTrack, ...]]:
    """Frames with a face, CPU seconds and tracks of a clip read in one of the ways."""
    face_search._SURROUNDINGS_PX = 176 if way == WAYS[1] else OUR_PX
    follow = load_landmarker() if way == "followed" else None
    search = FaceSearch(SIZES, most_faces=6, landmarker=follow)
    reader = FaceReader(bundle, FaceSettings(detector=SIZES))
    began, seen = cpu_s(), 0
    for frame in frames:
        found = search.find(frame.time_s, frame.pixels)
        seen += bool(found.faces)
        reader.read(frame, found)
    tracks = reader.finish().tracks
    face_search._SURROUNDINGS_PX = OUR_PX
    return seen, cpu_s() - began, tracks


def main_face(tracks: tuple[FaceTrack, ...]) -> Face:
    """Box, probabilities and rotation by time of the face that is in most frames."""
    longest = max(tracks, key=lambda track: len(track.times_s), default=None)
    if longest is None or longest.probabilities is None:
        return {}
    rows = zip(
        longest.times_s.tolist(), longest.boxes_xyxy, longest.probabilities, longest.rotation,
        strict=True,
    )  # fmt: skip
    return {time_s: (box, chance, rotation) for time_s, box, chance, rotation in rows}


class Tally:
    """What one way gave over the clips of a kind."""

    def __init__(self) -> None:
        self.frames = self.seen = self.meshes = 0
        self.cpu = 0.0
        self.values: dict[str, list[float]] = defaultdict(list)

    def compare(self, own: Face, base: Face) -> None:
        """Take a clip's main face and that of the first way."""
        both = [t for t in own if t in base]
        for t in both:
            boxes = (np.array([each[t][0]], np.float64) for each in (own, base))
            self.values["iou"].append(float(box_iou(*boxes)[0, 0]))
            self.values["apart"].append(float(np.abs(own[t][1] - base[t][1]).sum() / 2))
            self.values["same"].append(float(own[t][1].argmax() == base[t][1].argmax()))
        if both:
            means = (np.mean([each[t][1] for t in both], axis=0) for each in (own, base))
            self.values["means"].append(float(np.abs(np.subtract(*means)).sum() / 2))
        times = list(own)
        for a, b in itertools.pairwise(times):
            if b - a < 0.15:
                self.values["moved"].append(float(np.abs(own[b][1] - own[a][1]).sum() / 2))
                self.values["turned"].append(float(geodesic_deg(own[a][2], own[b][2])))

    def line(self) -> str:
        """One row of the table."""
        mean = {name: np.nanmean(v) for name, v in self.values.items()}
        low = np.quantile(self.values["iou"], 0.05)
        return (
            f"faces {self.seen}/{self.frames}, landmarks {self.meshes}; IoU {mean['iou']:.3f} (5% "
            f"below {low:.3f}), apart {mean['apart']:.3f}, clips' means {mean['means']:.3f}, same "
            f"top {mean['same']:.3f}; frame to frame: probabilities {mean['moved']:.3f}, head "
            f"{mean['turned']:.2f} deg; CPU {1e3 * self.cpu / self.frames:.1f} ms"
        )


def turning(folder: Path) -> None:
    """The turning clips at their own rate, both ways."""
    for name in TURNING:
        frames = list(frames_of(folder / name, 60.0, None))
        for way in ("detector", "followed"):
            seen, _, tracks = read(frames, way, None)
            longest = max(tracks, key=lambda track: len(track.times_s))
            steps = geodesic_deg(longest.rotation[:-1], longest.rotation[1:])
            yaw = longest.pose_deg[:, 0]
            print(
                f"{name}, {way}: faces in {seen} of {len(frames)} frames, {len(tracks)} tracks, "
                f"head known in {np.isfinite(yaw).mean():.3f}, yaw {np.nanmin(yaw):.0f} to "
                f"{np.nanmax(yaw):.0f}, largest step {np.nanmax(steps):.1f} deg, 99% below "
                f"{np.nanquantile(steps, 0.99):.1f}"
            )


def main() -> None:
    """Read the clips and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--no-turning", action="store_true")
    a = parser.parse_args()
    folder = Path(os.environ["NUNBIT_DATA"], "video")
    bundle = load_bundle(default_bundle_path(), threads=1)
    with (folder / "clips.csv").open(encoding="utf-8") as stream:
        emotion = {row["file"]: row["emotion"] for row in csv.DictReader(stream)}
    tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
    right: dict[str, list[bool]] = defaultdict(list)
    for path in sorted(folder.glob("*/*.m[pko]*")):
        if a.only not in str(path):
            continue
        frames = list(frames_of(path, a.seconds))
        base: Face = {}
        for way in WAYS:
            seen, cpu, tracks = read(frames, way, bundle)
            own = main_face(tracks)
            base = own if way == WAYS[0] else base
            kind = "MEAD (report only)" if path.parent.name == "mead" else "other clips"
            tally = tallies[kind, way]
            tally.frames, tally.seen, tally.cpu = (
                tally.frames + len(frames), tally.seen + seen, tally.cpu + cpu
            )  # fmt: skip
            tally.meshes += sum(int(np.isfinite(t.rotation[:, 0, 0]).sum()) for t in tracks)
            tally.compare(own, base)
            label = emotion.get(f"video/{path.parent.name}/{path.name}", "")
            if label in bundle.label_set.ids and own:
                best = np.mean([chance for _, chance, _ in own.values()], axis=0).argmax()
                right[way].append(bundle.label_set.ids[int(best)] == label)
    for (kind, way), tally in sorted(tallies.items()):
        print(f"{kind}, {way}: {tally.line()}")
    for way, hits in right.items():
        print(f"MEAD, {way}: {sum(hits)} of {len(hits)} clips named as acted")
    if not a.no_turning:
        turning(folder)


if __name__ == "__main__":
    main()
