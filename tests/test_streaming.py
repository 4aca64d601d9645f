"""What declares itself causal is final at its window's end; the rest is not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from make_measures import AIHUB, make_faces, make_input, make_track
from nunbit.core.streams import FaceStream, FaceTrack, Frame, Interval, MeasureBlock, VoiceStream
from nunbit.language.labels import load_label_set
from nunbit.measures import compute_measures, definitions
from nunbit.measures.fusion import CAUSAL_CONTEXT, WindowStream, causal_blocks, fuse_windows
from nunbit.recording.observer import CAUSAL_FACES, CAUSAL_VOICE

AIHUB_SET = load_label_set("aihub7")
CAUSAL = {d.id for d in definitions() if d.causal}
WINDOW_S, HOP_S = 4.0, 1.0
Row = tuple[float, int, int, float, str]


def rotations(angles_deg: np.ndarray) -> np.ndarray:
    """(N, 3, 3) turns about the upright axis."""
    a = np.deg2rad(angles_deg)
    zero, one = np.zeros_like(a), np.ones_like(a)
    rows = [[np.cos(a), zero, np.sin(a)], [zero, one, zero], [-np.sin(a), zero, np.cos(a)]]
    return np.moveaxis(np.array(rows), 2, 0)


def recording(seconds: float, seed: int = 0) -> FaceStream:
    """A face that comes and goes, turns, changes and is at times too small to be read."""
    rng = np.random.default_rng(seed)
    n = round(seconds * 10)
    every = np.arange(n) / 10 + rng.uniform(-0.02, 0.02, n)
    sampled = every[rng.uniform(size=n) > 0.05]
    seen = np.sort(sampled[rng.uniform(size=len(sampled)) > 0.25])
    m = len(seen)
    yaw = np.cumsum(rng.normal(0, 2, m))
    chances = rng.dirichlet(np.ones(len(AIHUB)), m)
    track = make_track(
        seen,
        reasons=np.where(rng.uniform(size=m) < 0.15, "low_quality", ""),
        det_score=rng.uniform(0.7, 1.0, m).astype(np.float32),
        rotation=rotations(yaw),
        pose_deg=np.stack([yaw, rng.normal(0, 5, m) + seen / 5, rng.normal(0, 3, m)], axis=1),
        motion=rng.uniform(0, 0.3, m),
        tremor=0.05,
        probabilities=chances.astype(np.float32),
    )
    return make_faces([track], duration_s=seconds, sample_times=sampled)


def until(faces: FaceStream, start_s: float, end_s: float) -> FaceStream:
    """The samples between two times."""

    def rows(track: FaceTrack) -> FaceTrack:
        inside = (track.times_s >= start_s) & (track.times_s < end_s)
        columns: dict[str, Any] = {
            each.name: value[inside]
            for each in fields(track)
            if isinstance(value := getattr(track, each.name), np.ndarray)
        }
        return replace(track, **columns)

    inside = (faces.sample_times_s >= start_s) & (faces.sample_times_s < end_s)
    tracks = [rows(track) for track in faces.tracks]
    return replace(
        faces,
        sample_times_s=faces.sample_times_s[inside],
        n_faces=faces.n_faces[inside],
        tracks=tuple(track for track in tracks if len(track.times_s)),
    )


def is_causal(block: MeasureBlock) -> bool:
    if block.measure in CAUSAL:
        return True
    context = block.measure.startswith("p_") or block.measure == "valence"
    return context and block.modality in CAUSAL_CONTEXT


def rows_of(blocks: tuple[MeasureBlock, ...]) -> Iterator[tuple[str, str, float, Row]]:
    """Measure, modality and start of every window's row, with what the row says."""
    for block in blocks:
        for k in range(len(block.value)):
            row = (
                float(block.value[k]), int(block.n_expected[k]), int(block.n_valid[k]),
                float(block.confidence[k]), str(block.mask_reason[k]),
            )  # fmt: skip
            yield block.measure, block.modality, float(block.t_start[k]), row


def whole(faces: FaceStream, seconds: float, **more: Any) -> dict[tuple[str, str, float], Row]:
    """The window rows of a whole recording."""
    given = make_input(seconds, faces=faces, label_set=AIHUB_SET, **more)
    blocks = [b for b in (*compute_measures(given), *fuse_windows(given)) if b.scope == "window"]
    return {(m, modality, start): row for m, modality, start, row in rows_of(tuple(blocks))}


def same(a: Row, b: Row) -> bool:
    return bool(np.allclose(a[:4], b[:4], rtol=1e-9, atol=1e-12, equal_nan=True)) and a[4] == b[4]


@pytest.mark.seconds
@pytest.mark.parametrize("seed", range(4))
def test_windows_of_a_running_source_are_those_of_the_whole_recording(seed: int) -> None:
    seconds = 90.0
    faces = recording(seconds, seed)
    expected = whole(faces, seconds)
    rng = np.random.default_rng(seed)
    measure = partial(causal_blocks, labels=AIHUB_SET)
    stream = WindowStream(measure, WINDOW_S, HOP_S)
    edges = [0.0, *np.sort(rng.uniform(0, seconds, 40)).tolist(), seconds + 1]
    found: dict[tuple[str, str, float], Row] = {}
    for start, end in itertools.pairwise(edges):
        for blocks in stream.add(until(faces, start, end)):
            found |= {(m, modality, at): row for m, modality, at, row in rows_of(blocks)}
    assert {at for _, _, at in found} >= {float(k) for k in range(85)}
    assert {m for m, _, _ in found} == CAUSAL | {"valence"} | {f"p_{label}" for label in AIHUB}
    for key, row in found.items():
        assert same(row, expected[key]), (key, row, expected[key])


def test_a_prefix_gives_what_is_causal_and_nothing_else_is_called_so() -> None:
    faces = recording(150.0)
    early, late = whole(until(faces, 0.0, 50.0), 50.0), whole(faces, 150.0)
    kinds: dict[tuple[str, str], bool] = {}
    for key, row in early.items():
        if key[2] + WINDOW_S <= 49.0:
            kind = key[:2]
            kinds[kind] = kinds.get(kind, True) and same(row, late[key])
    for definition in definitions():
        if definition.causal:
            assert kinds[definition.id, definition.modality], definition.id
    # Of those that are not, the ones that this recording has values for do change.
    for measure in ("joy_time", "head_speed", "head_down_share"):
        assert not kinds[measure, "face"], measure


def test_causal_is_said_of_the_face_alone() -> None:
    assert {d.modality for d in definitions() if d.causal} == {"face"}
    assert {f.name for f in fields(FaceTrack)} - CAUSAL_FACES == {"lips", "motion", "tremor"}
    assert {f.name for f in fields(VoiceStream)} - CAUSAL_VOICE == {
        *("speech", "f0_hz", "level_dbfs", "segments", "f0_range_hz")
    }


def test_memory_is_that_of_a_window() -> None:
    faces = recording(300.0)
    held = []
    stream = WindowStream(lambda found, _: (held.append(len(found.sample_times_s)), ())[1])
    for start in range(300):
        stream.add(until(faces, start, start + 1))
    assert max(held) <= 41
    assert len(stream._held) <= 5


def test_a_window_without_anybody_says_so() -> None:
    empty = make_faces([], duration_s=5.0)
    [blocks, *_] = WindowStream(partial(causal_blocks, labels=AIHUB_SET)).add(empty)
    reasons = {b.measure: str(b.mask_reason[0]) for b in blocks}
    assert reasons["expressivity"] == "no_face"
    assert Interval(0.0, 4.0).duration_s == WINDOW_S


@pytest.mark.slow
def test_pushing_a_prefix_gives_the_windows_of_the_whole_file(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from nunbit.model.bundle import default_bundle_path
    from nunbit.model.encoders import load_bundle
    from nunbit.recording.media import iter_audio, probe_media, read_media
    from nunbit.recording.observer import Observer, ReadingSettings
    from nunbit.synth.script import load_script
    from nunbit.synth.video import render_video

    (tmp_path / "talk.toml").write_text(
        "duration_s = 8.0\nwidth = 320\nheight = 240\nfps = 25\nperson = 94\n"
        "emotions = [{ at_s = 0.0 }, { at_s = 6.0, joy = 1.0 }]\n"
        'sayings = [{ start_s = 1.0, text = "안녕하세요 반갑습니다" }]\n',
        encoding="utf-8",
    )
    clip = tmp_path / "talk.mp4"
    render_video(clip, load_script(tmp_path / "talk.toml"))
    media, bundle = probe_media(clip), load_bundle(default_bundle_path())
    settings = ReadingSettings().face_settings(media)

    def observer() -> Observer:
        return Observer(bundle, settings, media)

    file = observer()
    for item in read_media(clip):
        file.push(item)
    signals = file.finish(media.duration_s, partial(iter_audio, clip))
    assert signals.faces is not None
    faces, _ = signals.faces.choose()
    labels = bundle.label_set
    given = make_input(media.duration_s, faces=faces, labels=labels.ids, label_set=labels)
    blocks = [b for b in (*compute_measures(given), *fuse_windows(given)) if b.scope == "window"]
    expected = {(m, modality, at): row for m, modality, at, row in rows_of(tuple(blocks))}

    live = observer()
    stream = WindowStream(partial(causal_blocks, labels=labels), WINDOW_S, HOP_S)
    found: dict[tuple[str, str, float], Row] = {}
    parts = []
    for item in read_media(clip):
        now = item.time_s if isinstance(item, Frame) else item.start_s
        if now > 6.5:
            break
        live.push(item)
        part = live.take()
        if part is None:
            continue
        parts.append(part)
        for rows in stream.add(part.stream(settings.rate_hz, labels.ids)):
            found |= {(m, modality, at): row for m, modality, at, row in rows_of(rows)}
    assert {at for _, _, at in found} == {0.0, 1.0, 2.0}
    for key, row in found.items():
        # The model is asked in other batches, which is worth a last digit of single precision.
        assert np.allclose(row[:4], expected[key][:4], rtol=1e-5, atol=1e-7, equal_nan=True), key
        assert row[4] == expected[key][4]
    # A camera's sound is heard once: pitch of the first look, and no voice quality.
    once = live.finish(6.5, parts=parts)
    assert once.voice is not None
    assert signals.voice is not None
    assert once.quality is None
    assert np.isfinite(once.voice.f0_hz).any()
    assert np.isfinite(signals.voice.f0_hz).any()
