"""Offsets between sound and picture are found where there are any, and only there."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from make_measures import make_faces, make_track, make_voice
from nunbit.core.streams import AudioChunk, Frame, Interval, MediaInfo, VideoInfo
from nunbit.recording import synchrony
from nunbit.recording.synchrony import (
    MAX_STRETCHES,
    STRETCH_S,
    WARN_S,
    SyncResult,
    av_offset,
    choose_stretches,
)

Curves = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _syllables(rng: np.random.Generator, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """An opening curve: bumps at syllable rate with pauses, fine steps."""
    t = np.arange(-2, duration_s + 2, 0.002)
    x = np.zeros(len(t))
    at = -2.0
    while at < duration_s + 2:
        at += rng.uniform(0.12, 0.32) + (rng.random() < 0.12) * rng.uniform(0.3, 1.0)
        x += rng.uniform(0.4, 1) * np.exp(-0.5 * ((t - at) / rng.uniform(0.04, 0.07)) ** 2)
    return t, x


def talk(
    seed: int, offset_s: float, *, duration_s: float = 30, fps: float = 25, same: bool = True
) -> Curves:
    """Mouth openings and levels with noise; the sound is ``offset_s`` late.

    Odd seeds have a variable frame rate, and one frame in twenty has no landmarks.
    """
    rng = np.random.default_rng(seed)
    t, x = _syllables(rng, duration_s)
    frames = np.arange(0, duration_s, 1 / fps)
    if seed % 2:
        frames = np.sort(frames + rng.uniform(-0.4 / fps, 0.4 / fps, len(frames)))
    mouth = 0.05 + 0.3 * np.interp(frames, t, x)
    mouth += 0.5 * mouth.std() * rng.standard_normal(len(frames))
    mouth[rng.random(len(frames)) < 0.05] = np.nan
    times = np.arange(0, duration_s, 0.01) + 0.005
    said = x if same else _syllables(np.random.default_rng(seed + 999), duration_s)[1]
    level = 20 * np.log10(0.002 + np.interp(times - offset_s, t, said))
    return frames, mouth, times, level + 6 * rng.standard_normal(len(times))


def offset_of(frames: np.ndarray, mouth: np.ndarray, *heard: np.ndarray) -> SyncResult:
    """The offset over every stretch in which the mouth is seen, in pieces of about ten seconds."""
    times = frames[np.isfinite(frames) & np.isfinite(mouth)]
    pieces = []
    for run in np.split(times, np.flatnonzero(np.diff(times) > 0.5) + 1) if len(times) else []:
        n = max(1, round((run[-1] - run[0]) / STRETCH_S))
        marks = np.linspace(run[0], run[-1], n + 1).tolist()
        pieces += [Interval(a, b) for a, b in itertools.pairwise(marks) if a < b]
    return av_offset(frames, mouth, *heard, stretches=pieces)


@pytest.mark.parametrize("offset_s", [-0.5, -0.2, -0.05, 0.0, 0.12, 0.2, 0.5, 0.9])
@pytest.mark.parametrize(("seed", "fps"), [(0, 25), (1, 29.97), (2, 30), (3, 60), (4, 23.976)])
def test_offsets_are_found(offset_s: float, seed: int, fps: float) -> None:
    result = offset_of(*talk(seed, offset_s, fps=fps))
    assert result.reason == ""
    assert result.offset_s == pytest.approx(offset_s, abs=0.01)
    assert result.confidence >= 0.99
    assert result.warning == (abs(result.offset_s) > WARN_S)
    assert len(result.stretches) == 3
    for each in result.stretches:
        assert each.offset_s == pytest.approx(offset_s, abs=0.03)


def test_scale_and_sign_of_the_units_do_not_matter() -> None:
    frames, mouth, times, level = talk(0, 0.2)
    first = offset_of(frames, mouth, times, level)
    second = offset_of(frames + 100, mouth * 40 + 3, times + 100, level - 30)
    assert second.offset_s == pytest.approx(first.offset_s, abs=0.005)
    assert second.correlation == pytest.approx(first.correlation, abs=0.01)


def test_given_stretches_are_used() -> None:
    frames, mouth, times, level = talk(0, 0.3, duration_s=60)
    wrong = talk(0, -0.3, duration_s=60)[3]
    level = np.where(times < 30, level, wrong)
    early = av_offset(frames, mouth, times, level, stretches=[Interval(2, 12), Interval(15, 25)])
    late = av_offset(frames, mouth, times, level, stretches=[Interval(33, 43), Interval(45, 55)])
    assert early.offset_s == pytest.approx(0.3, abs=0.01)
    assert late.offset_s == pytest.approx(-0.3, abs=0.01)
    both = av_offset(
        frames, mouth, times, level,
        stretches=[Interval(2, 12), Interval(15, 25), Interval(33, 43), Interval(45, 55)],
    )  # fmt: skip
    assert both.reason == "low_conf"  # two answers are none
    assert math.isnan(both.offset_s)
    assert not both.warning
    found = [each.offset_s for each in both.stretches]
    assert found == pytest.approx([0.3, 0.3, -0.3, -0.3], abs=0.02)


@pytest.mark.seconds
def test_foreign_sound_gives_no_estimate() -> None:
    passed = [not offset_of(*talk(seed, 0.0, same=False)).reason for seed in range(20)]
    assert sum(passed) <= 1


def test_a_lower_rate_agrees_less_and_says_the_same() -> None:
    native, sampled = (offset_of(*talk(0, 0.2, fps=fps)) for fps in (30, 10))
    assert sampled.offset_s == pytest.approx(native.offset_s, abs=0.02)
    assert sampled.correlation < native.correlation


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("short", "too_few"),
        ("no mouth", "too_few"),
        ("no sound", "too_few"),
        ("still mouth", "too_few"),
        ("hum", "too_few"),
        ("hidden", "too_few"),
        ("noise", "low_conf"),
        ("beyond", "low_conf"),
        ("empty", "too_few"),
    ],
)
def test_no_estimate_says_why(change: str, reason: str) -> None:
    frames, mouth, times, level = talk(0, 1.6 if change == "beyond" else 0.1)
    rng = np.random.default_rng(5)
    if change == "short":
        few, some = frames < 3, times < 3
        frames, mouth, times, level = frames[few], mouth[few], times[some], level[some]
    elif change == "no mouth":
        mouth = np.full_like(mouth, np.nan)
    elif change == "no sound":
        level = np.full_like(level, np.nan)
    elif change == "still mouth":
        mouth = np.full_like(mouth, 0.1)
    elif change == "hum":
        level = np.full_like(level, -20.0)
    elif change == "hidden":
        mouth[rng.random(len(mouth)) < 0.9] = np.nan
    elif change == "noise":
        mouth = rng.standard_normal(len(mouth))
    elif change == "empty":
        frames, mouth, times, level = (np.zeros(0) for _ in range(4))
    result = offset_of(frames, mouth, times, level)
    assert result.reason == reason
    assert math.isnan(result.offset_s)
    assert not result.warning


def test_same_answer_twice() -> None:
    curves = talk(3, 0.2)
    assert offset_of(*curves) == offset_of(*curves)


def test_holes_in_the_sound() -> None:
    frames, mouth, times, level = talk(0, 0.2, duration_s=40)
    level[(times > 8) & (times < 11)] = np.nan
    result = offset_of(frames, mouth, times, level)
    assert result.offset_s == pytest.approx(0.2, abs=0.01)


# ---------------------------------------------------------------- stretches


def _speech(*edges: tuple[float, float]) -> list[Interval]:
    return [Interval(a, b) for a, b in edges]


def test_stretches_have_speech_and_a_face() -> None:
    speech = _speech((0, 30), (100, 130), (200, 203), (300, 330))
    face = np.concatenate([np.arange(0, 150, 0.1), np.arange(310, 400, 0.1)])
    chosen = choose_stretches(speech, face)
    assert chosen
    assert list(chosen) == sorted(chosen)
    for a, b in itertools.pairwise(chosen):
        assert a.end_s <= b.start_s
    for each in chosen:
        assert each.duration_s <= 10 + 1e-6
        assert sum(each.overlap_s(s) for s in speech) >= 3
        seen = ((face >= each.start_s) & (face < each.end_s)).sum()
        assert seen >= 0.75 * each.duration_s * 10
    assert any(each.start_s >= 300 for each in chosen)  # spread over the recording


def test_stretches_are_few_and_spread() -> None:
    speech = [Interval(t, t + 4.0) for t in range(0, 3600, 5)]
    chosen = choose_stretches(speech, np.arange(0, 3600, 0.1))
    assert len(chosen) == MAX_STRETCHES
    assert [int(each.start_s // 600) for each in chosen] == list(range(6))


def test_short_recordings_give_short_stretches() -> None:
    [only] = choose_stretches(_speech((0.4, 6.0)), np.arange(0, 6.5, 0.1))
    assert only.duration_s == pytest.approx(5.6, abs=0.2)


@pytest.mark.parametrize(
    ("speech", "face"),
    [
        ([], np.arange(0, 20, 0.1)),
        (_speech((0, 20)), np.zeros(0)),
        (_speech((0, 2)), np.arange(0, 20, 0.1)),
        (_speech((0, 20)), np.arange(0, 20, 1.0)),
        (_speech((0, 20)), np.arange(30, 50, 0.1)),
    ],
)
def test_nowhere_to_look(speech: list[Interval], face: np.ndarray) -> None:
    assert choose_stretches(speech, face) == ()


@pytest.mark.parametrize(
    ("same", "enough"), [(True, 2), (False, 3)], ids=["settled by two", "not settled"]
)
def test_the_third_stretch_is_read_where_two_do_not_settle_it(
    monkeypatch: pytest.MonkeyPatch, same: bool, enough: int
) -> None:
    frames, mouth, times, level = talk(4, 0.2, duration_s=60, same=same)
    read: list[Interval] = []

    def curve(stretch: Interval, *_: object) -> tuple[np.ndarray, np.ndarray]:
        read.append(stretch)
        inside = (frames >= stretch.start_s) & (frames < stretch.end_s)
        return frames[inside], mouth[inside]

    monkeypatch.setattr(synchrony, "iter_frames", lambda _, stretch: stretch)
    monkeypatch.setattr(synchrony, "load_landmarker", object)
    monkeypatch.setattr(synchrony, "landmarks_missing", lambda: None)
    monkeypatch.setattr(synchrony, "mouth_curve", curve)
    faces = make_faces([make_track(np.arange(0, 60, 0.1))], duration_s=60)
    voice = replace(make_voice(60, [(0, 60)]), times_s=times, level_dbfs=level)
    media = MediaInfo("a.mp4", 60.0, VideoInfo(64, 64, 0, "25", 0.0, 60.0), None)
    found = synchrony.check_synchrony(Path("a.mp4"), media, faces, voice, (Interval(0, 60),))
    assert len(read) == found["stretches"] == enough
    assert found.get("offset_s", 0.2) == pytest.approx(0.2, abs=0.03)
    assert ("reason" in found) is not same


def test_much_speech_needs_no_second_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lips of the sampled frames settle it; foreign ones do not, and the recording is read."""

    def read_again(*_: object) -> tuple[np.ndarray, np.ndarray]:
        raise LookupError

    monkeypatch.setattr(synchrony, "iter_frames", lambda _, stretch: stretch)
    monkeypatch.setattr(synchrony, "load_landmarker", object)
    monkeypatch.setattr(synchrony, "landmarks_missing", lambda: None)
    monkeypatch.setattr(synchrony, "mouth_curve", read_again)
    media = MediaInfo("a.mp4", 90.0, VideoInfo(64, 64, 0, "25", 0.0, 90.0), None)

    def checked(seed: int, *, same: bool, speech_s: float = 90) -> dict[str, float | str]:
        frames, mouth, times, level = talk(seed, 0.2, duration_s=90, fps=10, same=same)
        track = replace(make_track(frames), lips=mouth)
        faces = make_faces([track], duration_s=90)
        voice = replace(make_voice(90, [(0, 90)]), times_s=times, level_dbfs=level)
        speech = (Interval(0, speech_s),)
        return synchrony.check_synchrony(Path("a.mp4"), media, faces, voice, speech)

    found = checked(4, same=True)
    assert found["offset_s"] == pytest.approx(0.2, abs=0.02)
    assert found["stretches"] >= 6
    assert found["warning"]
    for seed in range(6):
        with pytest.raises(LookupError):
            checked(seed, same=False)
    with pytest.raises(LookupError):  # too little speech to be sure of
        checked(4, same=True, speech_s=30)


# ---------------------------------------------------------------- real talkers


@pytest.mark.data
@pytest.mark.slow
def test_real_talkers_with_injected_offsets(real_data: Path) -> None:
    """Eight sentences of one GRID talker end to end: in step, and moved by known offsets."""
    from development.voice_tracks import level_track
    from nunbit.pictures.face_mesh import load_landmarker
    from nunbit.pictures.faces import detect_faces
    from nunbit.pictures.landmarks import lip_height
    from nunbit.recording.media import read_media

    landmarker = load_landmarker()
    if landmarker is None:
        pytest.skip("no landmark model is installed")
    columns: list[list[np.ndarray]] = [[], [], [], []]
    for k, path in enumerate(sorted((real_data / "video" / "grid").glob("s1_*.mpg"))[:8]):
        times, mouth, sound, box = [], [], [], None
        for item in read_media(path, rate_hz=None):
            if isinstance(item, AudioChunk):
                sound.append(item.samples)
                continue
            assert isinstance(item, Frame)
            if box is None:
                box = detect_faces(item.pixels)[0].box_xyxy
            mesh = landmarker.find(item.pixels, box)
            times.append(item.time_s)
            mouth.append(np.nan if mesh is None else float(lip_height(mesh.points)))
        level = level_track(np.concatenate(sound))
        columns[0].append(np.array(times) + 3.0 * k)
        columns[1].append(np.array(mouth))
        columns[2].append(np.arange(len(level)) * 0.01 + 0.005 + 3.0 * k)
        columns[3].append(np.asarray(level))
    frames, opening, heard, level = (np.concatenate(each) for each in columns)
    own = offset_of(frames, opening, heard, level)
    assert own.reason == ""
    assert abs(own.offset_s) < 0.04
    for injected in (-0.5, -0.2, 0.2, 0.5):
        result = offset_of(frames, opening, heard + injected, level)
        assert result.offset_s == pytest.approx(injected, abs=0.04)
        assert result.warning
