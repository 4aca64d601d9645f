"""Who speaks by the lips, on talkers whose speech is known, alone and joined.

`$NUNBIT_DATA/video`: GRID and natural talkers (`talking`), whose clips hold one person's face and
voice, and clips of faces that do not speak. Every clip is read as `analyze` reads it (faces at 10
Hz, detected speech). Then, on what was read:

* alone: every piece of speech of every talker: how often the face on the screen is named;
* asked and answered: two talkers in turn beside each other, the one who is silent a face that does
  not speak; and the same with only one of them on the screen. Seconds given to the right person;
  baseline: all speech is the person's, as without names. Every ordered pair of talkers.

    NUNBIT_DATA=... python benchmarks/who_speaks.py --cache FILE
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import pickle
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.core.streams import FaceStream, FaceTrack, Interval
from nunbit.measures.lips import PERSON, STILL, UNSEEN, guess_speakers, lip_speed
from nunbit.recording.media import iter_audio, probe_media, read_media
from nunbit.recording.observer import Observer, ReadingSettings

SOURCES = ("grid", "talking", "opendbm", "openwillis", "liveportrait")
GAP_S, LONGEST_S = 1.0, 20.0
Clip = dict[str, Any]


def read(root: Path, cache: Path) -> dict[str, Clip]:
    """Mouths and speech of every clip; kept in a file, so that a rerun goes on."""
    found: dict[str, Clip] = pickle.loads(cache.read_bytes()) if cache.is_file() else {}
    settings = ReadingSettings()
    with (root / "video" / "clips.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["source"] in SOURCES]
    for row in rows:
        if row["file"] in found:
            continue
        path = root / row["file"]
        media = probe_media(path)
        observer = Observer(None, settings.face_settings(media), media)
        for item in read_media(path, rate_hz=settings.rate_hz):
            observer.push(item)
        seen = observer.finish(media.duration_s, partial(iter_audio, path) if media.audio else None)
        faces = seen.faces.choose(settings.person)[0] if seen.faces else None
        found[row["file"]] = {
            "person": row["person"], "voice": row["has_voice"], "dur": media.duration_s,
            "tracks": [(t.times_s, t.mouth_open, t.reasons, t.boxes_xyxy)
                       for t in (faces.tracks if faces else ())],
            "segs": [(s.start_s, s.end_s) for s in (seen.voice.segments if seen.voice else ())],
        }  # fmt: skip
        cache.write_bytes(pickle.dumps(found))
    return found


def track_of(number: int, parts: list[tuple[float, np.ndarray, np.ndarray]]) -> FaceTrack:
    """One face from stretches of (offset, times, mouth)."""
    times = np.concatenate([t + offset for offset, t, _ in parts])
    mouth = np.concatenate([m for *_, m in parts]).astype(np.float32)
    times, first = np.unique(times, return_index=True)
    n, nan = len(times), np.full(len(times), np.nan)
    return FaceTrack(
        number, times, np.zeros((n, 4), np.float32), np.ones(n, np.float32),
        np.ones(n, np.float32), np.full(n, ""), np.full((n, 3, 3), np.nan),
        np.full((n, 3), np.nan), None, mouth[first], nan.astype(np.float32),
    )  # fmt: skip


def stream_of(*tracks: FaceTrack) -> FaceStream:
    """Faces, the first the person analysed."""
    times = np.unique(np.concatenate([t.times_s for t in tracks]))
    return FaceStream(10.0, times, np.ones(len(times), np.int64), tracks, (tracks[0].track_id,))


def largest(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Times and mouth of the face seen longest."""
    track = max(clip["tracks"], key=lambda t: len(t[0]))
    return track[0], track[1]


def listening(still: Clip, length_s: float) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """A face that does not speak, repeated for so long."""
    times, mouth = largest(still)
    starts = np.arange(0.0, length_s, still["dur"] + 0.5)
    return [(float(s), times[times + s < length_s], mouth[times + s < length_s]) for s in starts]


def seconds(guess: list[tuple[Interval, str]], truth: list[tuple[Interval, str]]) -> float:
    """Seconds in which a guess names the true speaker."""
    total = 0.0
    for (a, name), (b, real) in itertools.product(guess, truth):
        if name == real:
            total += max(0.0, min(a.end_s, b.end_s) - max(a.start_s, b.start_s))
    return total


def joined(first: Clip, second: Clip, still: Clip, *, both: bool) -> tuple[float, float, str]:
    """Share of speech given to the right person, that of the baseline, and the reason."""
    parts: dict[int, list[tuple[float, np.ndarray, np.ndarray]]] = defaultdict(list)
    truth: list[tuple[Interval, str]] = []
    at = 0.0
    names = {0: PERSON, 1: "face 1" if both else UNSEEN}
    for turn in (1, 0, 1, 0):  # the other asks, the person answers
        clip = (first, second)[turn]
        length = min(clip["dur"], LONGEST_S)
        times, mouth = largest(clip)
        parts[turn].append((at, times[times < length], mouth[times < length]))
        parts[1 - turn] += [(at + s, t, m) for s, t, m in listening(still, length)]
        truth += [(Interval(at + a, at + min(b, length)), names[turn])
                  for a, b in clip["segs"] if a < length]  # fmt: skip
        at += length + GAP_S
    tracks = [track_of(0, parts[0])] + ([track_of(1, parts[1])] if both else [])
    guess = guess_speakers(stream_of(*tracks), [s for s, _ in truth])
    total = sum(s.duration_s for s, _ in truth)
    own = sum(s.duration_s for s, name in truth if name == PERSON)
    return seconds(list(guess.stretches), truth) / total, own / total, guess.reason


def main() -> int:
    """Read, join, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    clips = read(Path(os.environ["NUNBIT_DATA"]), parser.parse_args().cache)
    spoken = {n: c for n, c in clips.items() if c["segs"] and c["voice"] == "1" and c["tracks"]}
    silent = [c for c in clips.values() if c["voice"] == "0" and c["tracks"]]
    right = total = 0.0
    for clip in spoken.values():
        times, mouth = largest(clip)
        own = [Interval(a, b) for a, b in clip["segs"]]
        guess = guess_speakers(stream_of(track_of(0, [(0.0, times, mouth)])), own)
        right += sum(s.duration_s for s, name in guess.stretches if name == PERSON)
        total += sum(s.duration_s for s, _ in guess.stretches)
    print(f"alone: {len(spoken)} clips, {total:.0f} s of speech, the face named in "
          f"{100 * right / total:.1f}%\n")  # fmt: skip
    longest: dict[str, Clip] = {}
    for clip in spoken.values():
        best = longest.get(clip["person"])
        if best is None or clip["dur"] > best["dur"]:
            longest[clip["person"]] = clip
    # A listener whose mouth moves (an expressive face) is beyond the guess: told apart here.
    lips = [lip_speed([track_of(0, [(0.0, *largest(c))])], Interval(0.0, c["dur"])) for c in silent]
    moving = [i for i, speed in enumerate(lips) if (speed or 0.0) > STILL / 2]
    print("| joined, listener | pairs | right seconds | names used | right where used | worst |"
          " baseline |\n|---|---:|---:|---:|---:|---:|---:|")  # fmt: skip
    for both, still in itertools.product((True, False), (True, False)):
        pairs = list(enumerate(itertools.permutations(sorted(longest), 2)))
        some = [(i, p) for i, p in pairs if (i % len(silent) in moving) != still]
        rows = [joined(longest[a], longest[b], silent[i % len(silent)], both=both)
                for i, (a, b) in some]  # fmt: skip
        hits, base = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
        used = np.array([not r[2] for r in rows])
        where = "both on the screen" if both else "one on the screen"
        kind = "face at rest" if still else "face that moves its mouth"
        good = "– | –"
        if used.any():
            good = f"{100 * hits[used].mean():.1f}% | {100 * hits[used].min():.1f}%"
        print(f"| {where}, {kind} | {len(rows)} | {100 * hits.mean():.1f}% | {used.sum()} "
              f"| {good} | {100 * base.mean():.1f}% |")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
