"""Synthetic recordings: what is drawn and sounded is what the truth file says."""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from make_pose import rotation_from_angles as rotation_from
from make_truth import read_truth
from nunbit.core.messages import InputError, MissingExtra, NunbitError, SettingsError
from nunbit.core.streams import Frame, Interval
from nunbit.pictures.face_mesh import load_landmarker
from nunbit.pictures.faces import DetectorSettings, detect_faces
from nunbit.pictures.landmarks import geodesic_deg, head_rotation, mouth_opening, pose_angles
from nunbit.recording.media import probe_media, read_media
from nunbit.runtime.progress import set_lang
from nunbit.synth import speech as speech_module
from nunbit.synth.actors import EMOTIONS, NEUTRAL, PARAMETERS, Expression, rows_of, sample_person
from nunbit.synth.drawing import Pose, Projector, point_rows, rotation_of
from nunbit.synth.drawn_face import render_face
from nunbit.synth.filming import LABELS, frame_ticks, plan_motion
from nunbit.synth.phones import plain_text, split_pauses, syllables_of
from nunbit.synth.script import (
    Dropout,
    EmotionKey,
    FaceKey,
    HeadKey,
    Saying,
    VideoScript,
    Visitor,
    VoiceKey,
    curve,
    load_script,
)
from nunbit.synth.speech import SpeechTrack, base_f0_hz, espeak_version, level_dbfs, speak_script
from nunbit.synth.truth import (
    Audio,
    PlantedSettings,
    VideoTruth,
    heard,
    planted_script,
    planted_state,
)
from nunbit.synth.video import (
    MARK,
    block_of,
    container_of,
    render_video,
    transcript_path,
    truth_path,
    write_media,
)

av = pytest.importorskip("av")

Pixels = NDArray[np.uint8]
TEXT = "안녕하세요 저는 [0.6] 오늘 친구를 만났어요"
TALK = VideoScript(
    duration_s=6.0,
    width=160,
    height=120,
    fps=25,
    person=94,
    voice="formant",
    noise_dbfs=-80.0,
    emotions=(EmotionKey(1.0), EmotionKey(2.0, joy=1.0), EmotionKey(3.0, joy=0.5)),
    head=(HeadKey(0.5, yaw_deg=-15.0), HeadKey(1.5, yaw_deg=15.0, ease="linear")),
    blinks_s=(0.6, 3.6),
    sayings=(Saying(0.7, TEXT), Saying(5.4, "네", f0_st=3.0)),
)


@dataclass(frozen=True)
class Clip:
    """A rendered script."""

    path: Path
    script: VideoScript
    document: dict[str, Any]

    @property
    def truth(self) -> VideoTruth:
        return read_truth(truth_path(self.path))


@dataclass(frozen=True)
class Decoded:
    """A file read back with PyAV alone."""

    times_s: NDArray[np.float64]
    pictures: list[Pixels]
    samples: NDArray[np.float64]
    present: NDArray[np.bool_]
    rate_hz: int


Maker = Callable[..., Clip]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    def render(script: VideoScript, name: str = "clip.mp4") -> Clip:
        path = tmp_path_factory.mktemp("video") / name
        return Clip(path, script, render_video(path, script))

    return render


@pytest.fixture(scope="module")
def talk(make: Maker) -> Clip:
    return make(TALK, "talk.mkv")


def decode(path: Path, *, seconds: float = 8.0) -> Decoded:
    """All pictures, and the samples laid on the clock of the earliest stream."""
    with av.open(str(path)) as file:
        starts = [Fraction(s.start_time or 0) * s.time_base for s in file.streams]
        origin, rate = min(starts), 16_000
        times, pictures = [], []
        sound: NDArray[np.float64] = np.zeros(0)
        present = np.zeros(0, dtype=np.bool_)
        for frame in file.decode():
            if isinstance(frame, av.VideoFrame):
                times.append(float(frame.pts * frame.time_base - origin))
                pictures.append(frame.to_ndarray(format="rgb24"))
                continue
            if not len(sound):
                rate = frame.sample_rate
                sound = np.zeros(round(seconds * rate))
                present = np.zeros(len(sound), dtype=np.bool_)
            block = frame.to_ndarray().astype(np.float64).ravel()
            block /= 32768.0 if frame.format.name == "s16" else 1.0
            at = round((frame.pts * frame.time_base - origin) * rate)
            sound[at : at + len(block)] = block
            present[at : at + len(block)] = True
    return Decoded(np.array(times), pictures, sound, present, rate)


def formant(script: VideoScript) -> SpeechTrack:
    return speak_script(script, sample_person(np.random.default_rng(script.person)))


# ---------------------------------------------------------------- scripts


def test_the_script_of_the_demo_shows_everything() -> None:
    script = load_script(None)
    assert 40 <= script.duration_s <= 50
    for label in ("joy", "sadness", "anger"):
        assert max(getattr(key, label) for key in script.emotions) >= 0.9
    assert all(getattr(k, e) == 0 for k in script.emotions if k.at_s <= 9 for e in LABELS[:-1])
    assert {d.kind for d in script.dropouts} == {"face"}
    assert any(pause >= 1.0 for s in script.sayings for _, pause in split_pauses(s.text))
    assert load_script(None, overrides=["fps=30", "voice=formant"]).fps == 30


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour = 3", "unknown setting colour"),
        ("[[emotions]]\nat_s = 1\nhappiness = 1", r"\[\[emotions\]\] number 1: unknown key happ"),
        ("[[sayings]]\nstart_s = 1\ntext = 'a'\npitch = 2", "unknown key pitch"),
        ("face = [{at_s = 1, values = {smirk = 1.0}}]", "unknown parameter smirk"),
        ("variants = {joy = 7}", "joy = 7 does not exist"),
        ("variants = {bliss = 0}", "bliss = 0 does not exist"),
        ("fps = '25/0'", "fps = '25/0'"),
        ("fps = 'fast'", "30000/1001"),
        ("fps = 500", "from 1 to 120"),
        ("width = 161", "setting does not fit"),
        ("duration_s = 0", "setting does not fit"),
        ("scene = 'moon'", "scene = 'moon' does not exist"),
        ("sayings = [{start_s = 30, text = 'a'}]", "after the end"),
        ("dropouts = [{start_s = 3, end_s = 2, kind = 'face'}]", "end after it starts"),
        ("dropouts = [{start_s = 1, end_s = 2, kind = 'smell'}]", "setting does not fit"),
        ("video_start_s = 10", "before the end"),
        ("voice = 'alto'", "setting does not fit"),
        ("not toml", "cannot read"),
    ],
)
def test_a_wrong_script_is_refused_in_two_languages(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=says) as caught:
        load_script(path)
    assert re.search("[가-힣]", caught.value.text.ko)


def test_a_script_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text(
        "duration_s = 3\nfps = '30000/1001'\n[[head]]\nat_s = 1\nyaw_deg = 20\nease = 'linear'\n"
        "[[face]]\nat_s = 0.5\nvalues = {smile = 0.4}\n",
        encoding="utf-8",
    )
    script = load_script(path, options={"seed": 4})
    assert script.head == (HeadKey(1.0, yaw_deg=20.0, ease="linear"),)
    assert script.face == (FaceKey(0.5, {"smile": 0.4}),)
    assert (script.seed, script.frame_rate) == (4, Fraction(30000, 1001))
    with pytest.raises(SettingsError, match=r"missing\.toml"):
        load_script(tmp_path / "missing.toml")


def test_curves_hold_their_ends_and_keep_their_speed() -> None:
    line = curve([(1.0, 0.0, "linear"), (3.0, 60.0, "linear")])
    values = line.at(np.array([0.0, 1.0, 1.5, 2.0, 3.0, 9.0]))
    assert values == pytest.approx([0, 0, 15, 30, 60, 60])
    soft = curve([(1.0, 0.0, "smooth"), (3.0, 1.0, "smooth")]).at(np.linspace(0, 4, 401))
    assert (np.diff(soft) >= -1e-12).all()
    assert soft[200] == pytest.approx(0.5)
    assert np.diff(soft)[[100, 299]] == pytest.approx([0, 0], abs=1e-4)  # at rest at both ends
    assert curve([], 7.0).at(np.zeros(3)) == pytest.approx([7, 7, 7])


# ---------------------------------------------------------------- speech


@pytest.mark.parametrize(
    ("word", "count"),
    [("안녕하세요", 5), ("괜찮아요.", 4), ("2024년", 6), ("banana", 3), ("Über", 2), ("...", 0)],
)
def test_syllables_are_counted(word: str, count: int) -> None:
    assert len(syllables_of(word)) == count


def test_marks_of_pauses_are_not_words() -> None:
    assert split_pauses("가 나 [0.5] 다") == [("가 나", 0.5), ("다", 0.0)]
    assert split_pauses("[1] 가") == [("", 1.0), ("가", 0.0)]
    assert plain_text("가 나 [0.5] 다") == "가 나 다"


def autocorrelation_f0(samples: NDArray[Any], rate: int, at_s: float, low: float) -> float:
    """Pitch by the largest peak of a plain normalised autocorrelation over 60 ms."""
    half = round(0.03 * rate)
    middle = round(at_s * rate)
    piece = samples[middle - half : middle + half].astype(np.float64)
    piece = (piece - piece.mean()) * np.hanning(len(piece))
    spectrum = np.abs(np.fft.rfft(piece, 4 * len(piece))) ** 2
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(2 * half), 8 * half)) ** 2)
    r = np.fft.irfft(spectrum)[: len(piece)] / np.maximum(window[: len(piece)], 1e-9)
    first, last = round(rate / (1.6 * low)), round(rate / (0.6 * low))
    k = first + int(np.argmax(r[first:last]))
    bend = r[k - 1] - 2 * r[k] + r[k + 1]
    return rate / (k + 0.5 * (r[k - 1] - r[k + 1]) / bend)


@pytest.mark.parametrize(("person", "rate"), [(94, 16_000), (40, 16_000), (40, 44_100)])
def test_the_pitch_is_the_contour(person: int, rate: int) -> None:
    keys = (VoiceKey(0.0, f0_st=-2.0, range_st=1.0), VoiceKey(3.0, f0_st=4.0, range_st=4.0))
    script = replace(TALK, person=person, voice_keys=keys, audio_rate_hz=rate)
    track = formant(script)
    assert track.f0_hz is not None
    centres = (np.arange(len(track.f0_hz)) + 0.5) * 0.01
    voiced = np.flatnonzero(np.isfinite(track.f0_hz))
    # 30 ms of voicing on both sides: the window must not reach into a consonant.
    inside = [k for k in voiced if np.isfinite(track.f0_hz[max(k - 3, 0) : k + 4]).all()]
    found = np.array([
        autocorrelation_f0(track.samples, rate, centres[k], float(track.f0_hz[k]))
        for k in inside
    ])  # fmt: skip
    off = np.abs(12 * np.log2(found / track.f0_hz[inside]))
    assert len(inside) > 100
    assert np.median(off) < 0.06  # semitones; 0.17 would be 1%
    assert np.mean(off > 3) < 0.02  # gross errors


def test_level_pauses_and_words_are_where_the_track_says() -> None:
    track = formant(TALK)
    centres = (np.arange(600) + 0.5) * 0.01
    level = level_dbfs(track.samples, track.rate_hz, centres)
    talking = np.zeros(600, dtype=np.bool_)
    for spoken in track.spoken:
        for segment in spoken.segments:
            talking |= (centres >= segment.start_s) & (centres < segment.end_s)
    energy = np.mean(10 ** (level[talking] / 10))
    assert 10 * math.log10(energy) == pytest.approx(TALK.level_dbfs, abs=0.3)
    apart = np.convolve(talking, np.ones(5), mode="same") == 0  # a level looks 10 ms around
    assert level[apart].max() < -75
    loud = level > TALK.level_dbfs - 25
    for spoken in track.spoken:
        for segment in spoken.segments:  # energy begins and ends within 30 ms of the truth
            near = np.flatnonzero(loud & (centres > segment.start_s - 0.1)
                                  & (centres < segment.end_s + 0.1))  # fmt: skip
            assert centres[near[0]] == pytest.approx(segment.start_s, abs=0.03)
            assert centres[near[-1]] == pytest.approx(segment.end_s, abs=0.03)
    first = track.spoken[0]
    assert first.segments[0].start_s == pytest.approx(0.7)
    assert first.segments[1].start_s - first.segments[0].end_s == pytest.approx(0.6)
    assert [w.text for w in first.words] == ["안녕하세요", "저는", "오늘", "친구를", "만났어요"]
    assert [w.syllables for w in first.words] == [5, 2, 2, 3, 4]
    ends = [t for w in first.words for t in (w.start_s, w.end_s)]
    assert ends == sorted(ends)
    assert first.interval == Interval(first.words[0].start_s, first.words[-1].end_s)


def test_keys_change_the_voice() -> None:
    loud = formant(replace(TALK, voice_keys=(VoiceKey(0.0, level_db=6.0),)))
    high = formant(replace(TALK, voice_keys=(VoiceKey(0.0, f0_st=5.0),)))
    plain = formant(TALK)
    quick = formant(replace(TALK, voice_keys=(VoiceKey(0.0, rate=1.5),)))
    centres = (np.arange(600) + 0.5) * 0.01
    gain = level_dbfs(loud.samples, 16_000, centres) - level_dbfs(plain.samples, 16_000, centres)
    assert high.f0_hz is not None
    assert plain.f0_hz is not None
    ratio = np.nanmedian(high.f0_hz / plain.f0_hz)
    assert 12 * math.log2(ratio) == pytest.approx(5.0, abs=1e-6)
    assert np.median(gain[np.isfinite(plain.f0_hz)]) == pytest.approx(6.0, abs=0.05)
    length = [t.spoken[0].segments[0].duration_s for t in (plain, quick)]
    assert length[0] / length[1] == pytest.approx(1.5, rel=0.08)


def test_one_mouth_says_one_thing_at_a_time() -> None:
    with pytest.raises(SettingsError, match=r"one starts at 1 s while '.*' lasts until 4\.\d\d s"):
        formant(replace(TALK, sayings=(Saying(0.7, TEXT), Saying(1.0, "네"))))


def test_a_voice_belongs_to_its_person() -> None:
    people = [sample_person(np.random.default_rng(s)) for s in range(40)]
    bases = [base_f0_hz(p, s) for s, p in enumerate(people)]
    women = [b for b, p in zip(bases, people, strict=True) if p.gender == "f" and p.age >= 20]
    men = [b for b, p in zip(bases, people, strict=True) if p.gender == "m" and p.age >= 20]
    assert min(women) > max(men)
    assert len(set(bases)) == len(bases)
    assert np.nanmedian(formant(replace(TALK, f0_hz=150.0)).f0_hz) == pytest.approx(150, rel=0.15)


def test_auto_takes_nunbits_own_source_where_espeak_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speech_module, "espeak_version", lambda: None)
    assert formant(replace(TALK, voice="auto")).source == "formant"
    with pytest.raises(MissingExtra, match="apt install espeak-ng") as caught:
        formant(replace(TALK, voice="espeak"))
    assert "설치" in caught.value.text.ko or "필요" in caught.value.text.ko


@pytest.mark.skipif(espeak_version() is None, reason="espeak-ng is not installed")
def test_of_espeak_only_what_is_known_is_told(make: Maker) -> None:
    clip = make(replace(TALK, voice="espeak", duration_s=7.0), "espeak.wav")
    truth = clip.truth
    assert truth.voice is not None
    assert truth.voice.f0_hz is None
    assert all(u.words == () for u in truth.utterances)
    assert truth.head["speaker"] == "espeak"
    assert "espeak" in truth.head["versions"]
    gap = truth.voice.pauses[0]
    assert gap.duration_s == pytest.approx(0.6, abs=3e-6)
    quiet = (truth.voice.times_s > gap.start_s + 0.01) & (truth.voice.times_s < gap.end_s - 0.01)
    assert truth.voice.level_dbfs[quiet].max() < -75
    with pytest.raises(InputError, match="cannot speak language 'xx'"):
        formant(replace(TALK, voice="espeak", language="xx"))


# ---------------------------------------------------------------- the face


def test_emotions_blinks_and_speech_reach_the_face() -> None:
    motion = plan_motion(TALK, sample_person(np.random.default_rng(94)), formant(TALK))
    column = {name: k for k, name in enumerate(PARAMETERS)}
    joy = motion.weights[:, LABELS.index("joy")]
    assert joy[motion.times_s <= 1.0].max() == 0
    assert joy[50] == pytest.approx(1.0)
    assert motion.weights.sum(axis=1) == pytest.approx(1.0)
    smile = motion.rows[:, column["smile"]]
    assert smile[50] == pytest.approx(EMOTIONS["joy"][0].smile)
    eye = motion.rows[:, column["eye_open"]]
    assert eye[[15, 90]] == pytest.approx([0, 0], abs=0.02)
    assert eye[[5, 30]].min() > 0.9
    mouth = motion.rows[:, column["mouth_open"]]
    quiet = (motion.times_s < 0.65) | (motion.times_s > 5.9)
    assert mouth[motion.times_s < 0.65].max() < 0.02
    assert motion.speaking[quiet].max() < 0.05
    assert mouth[(motion.times_s > 0.8) & (motion.times_s < 1.6)].max() > 0.4


def test_keys_of_single_parameters_win_over_emotions() -> None:
    keys = (FaceKey(0.0, {"smile": -0.5}), FaceKey(2.0, {"smile": 0.5}, ease="linear"))
    motion = plan_motion(replace(TALK, face=keys), sample_person(np.random.default_rng(0)), None)
    smile = motion.rows[:, PARAMETERS.index("smile")]
    assert smile[:51] == pytest.approx(np.linspace(-0.5, 0.5, 51))
    assert motion.expression(0) == Expression(**dict(zip(PARAMETERS, motion.rows[0], strict=True)))
    assert rows_of([NEUTRAL]).shape == (1, len(PARAMETERS))


def test_a_held_face_moves_in_steps() -> None:
    motion = plan_motion(replace(TALK, hold_s=0.2), sample_person(np.random.default_rng(1)), None)
    assert (motion.rows[25:30] == motion.rows[25]).all()
    assert (motion.rows[30] != motion.rows[25]).any()
    assert motion.times_s == pytest.approx(np.arange(150) / 25)


def test_the_head_turns_at_the_scripted_speed(talk: Clip) -> None:
    frames = talk.truth.frames
    assert frames is not None
    turning = (frames.times_s >= 0.5) & (frames.times_s <= 1.5)
    rotation = rotation_from(frames.pose_deg[turning])
    speed = geodesic_deg(rotation[:-1], rotation[1:]) / np.diff(frames.times_s[turning])
    assert speed == pytest.approx(30.0, abs=0.05)
    yaw = -15 + 30 * (frames.times_s[turning] - 0.5)
    assert frames.pose_deg[turning][:, 0] == pytest.approx(yaw)


@pytest.mark.parametrize("angles", [(20.0, 0.0, 0.0), (0.0, 12.0, 0.0), (0.0, 0.0, 15.0),
                                    (-18.0, 8.0, -10.0)])  # fmt: skip
def test_drawn_points_turn_as_the_rotation_says(angles: tuple[float, float, float]) -> None:
    marks = point_rows((-0.4, 0.0), (0.4, 0.0), (0.0, 0.5), (0.0, 0.8), (0.3, 0.6))
    depth = Projector(Pose(0, 0, 1), relief=True)._depth(marks[:, 0], marks[:, 1])
    head = np.column_stack([marks[:, 0], marks[:, 1] - 0.25, -depth])  # z away from the viewer
    yaw, pitch, roll = angles
    pose = Pose(0, 0, 1, roll_deg=roll, yaw_deg=yaw, pitch_deg=pitch)
    turned = head @ rotation_of(yaw, pitch, roll).T
    near = 1.0 / (1.0 + 0.07 * (turned[:, 2] + 0.8))
    drawn = Projector(pose, relief=True).surface(marks)
    assert drawn - (0.0, 0.25) == pytest.approx(turned[:, :2] * near[:, None], abs=1e-9)
    if pitch == roll == 0:
        assert pose_angles(rotation_of(yaw, 0, 0)) == pytest.approx(angles)


def picture(expression: Expression, **turn: float) -> Pixels:
    figure = render_face(sample_person(np.random.default_rng(40)), expression,
                         Pose(160, 110, 66, **turn), (320, 240), turning=True)  # fmt: skip
    canvas = Image.new("RGB", (320, 240), (205, 210, 214))
    canvas.paste(figure.image, (0, 0), figure.mask)
    return np.asarray(canvas)


@pytest.mark.filterwarnings("ignore")
def test_a_landmark_model_sees_the_turn_and_the_open_mouth() -> None:
    landmarker = load_landmarker()
    if landmarker is None:
        pytest.skip("the landmark model is not installed")

    def mesh(pixels: Pixels) -> Any:
        found = landmarker.find(pixels, detect_faces(pixels)[0].box_xyxy)
        assert found is not None
        return found.points

    for turn, axis in (("yaw_deg", 0), ("roll_deg", 2)):
        for angle in (-20.0, 20.0):
            pose = pose_angles(head_rotation(mesh(picture(NEUTRAL, **{turn: angle}))))
            assert pose[axis] == pytest.approx(angle, abs=4.0)
    gaps = [float(mouth_opening(mesh(picture(Expression(mouth_open=m))))) for m in (0, 0.3, 0.6)]
    assert gaps[0] < gaps[1] < gaps[2]
    assert gaps[2] > 0.08


def test_still_pictures_are_drawn_without_relief() -> None:
    person, pose = sample_person(np.random.default_rng(1)), Pose(80, 70, 45, yaw_deg=12)
    still = render_face(person, NEUTRAL, pose, (160, 160))
    video = render_face(person, NEUTRAL, pose, (160, 160), turning=True)
    assert still.box_xyxy == video.box_xyxy
    assert still.image.tobytes() != video.image.tobytes()


# ---------------------------------------------------------------- files


def test_a_recording_is_what_its_truth_says(talk: Clip) -> None:
    truth, read = talk.truth, decode(talk.path)
    frames, voice = truth.frames, truth.voice
    assert frames is not None
    assert voice is not None
    assert voice.f0_hz is not None
    assert read.times_s == pytest.approx(frames.times_s, abs=1e-9)
    assert read.pictures[0].shape == (120, 160, 3)
    assert (frames.visible == 1).all()
    assert (frames.n_faces == 1).all()
    assert truth.blinks_s == (0.6, 3.6)
    assert frames.eye_open[[15, 90]] == pytest.approx([0, 0], abs=0.02)
    level = level_dbfs(read.samples.astype(np.float32), read.rate_hz, voice.times_s)
    assert np.abs(level - voice.level_dbfs)[:-1].max() < 0.2  # FLAC keeps 16 bits
    assert len(voice.times_s) == 600
    voiced = np.isfinite(voice.f0_hz)
    assert voice.speech[voiced].mean() > 0.99  # a run may end between two centres
    assert [p.duration_s for p in voice.pauses] == pytest.approx(
        [0.6, 5.4 - voice.segments[1].end_s], abs=2e-6
    )
    assert [u.text for u in truth.utterances] == [plain_text(TEXT), "네"]
    srt = transcript_path(talk.path).read_text(encoding="utf-8")
    assert srt.startswith("1\n00:00:00,700 --> 00:00:0")
    assert plain_text(TEXT) in srt
    assert truth.head["synthetic"] is True
    assert truth.head["script"]["person"] == 94
    assert talk.document["frames"] == 150
    with av.open(str(talk.path)) as file:
        assert MARK in file.metadata.values()


@pytest.mark.parametrize("name", ["seen.mp4", "seen.mkv"])
def test_the_shipped_reader_finds_the_truth(name: str, make: Maker) -> None:
    script = replace(TALK, width=64, height=64, hold_s=9.0, fps="30000/1001", video_start_s=0.3,
                     audio_rate_hz=48000, dropouts=(Dropout(2.0, 2.5, "sound"),))  # fmt: skip
    clip = make(script, name)
    truth, seen, sound = clip.truth, [], np.zeros(7 * 16_000, dtype=np.float32)
    for item in read_media(clip.path, rate_hz=None):
        if isinstance(item, Frame):
            seen.append(item.time_s)
        else:
            at = round(item.start_s * 16_000)
            sound[at : at + len(item.samples)] = item.samples
    assert truth.frames is not None
    assert truth.voice is not None
    assert seen == pytest.approx(truth.frames.times_s, abs=1e-6)
    speech = truth.voice.speech & (truth.voice.level_dbfs > -45)
    level = level_dbfs(sound, 16_000, truth.voice.times_s)
    assert np.median(np.abs(level - truth.voice.level_dbfs)[speech]) < 0.1
    assert probe_media(clip.path).duration_s == pytest.approx(truth.head["duration_s"], abs=0.04)


def test_the_same_seed_gives_the_same_recording(make: Maker) -> None:
    script = replace(TALK, duration_s=0.8, sway_deg=2.0, blinks_per_min=30, scene="room",
                     sayings=(Saying(0.2, "네 그래요"),))  # fmt: skip
    first, again, other = (make(s) for s in (script, script, replace(script, seed=1)))
    one, two = (truth_path(c.path).read_text(encoding="utf-8") for c in (first, again))
    assert one == two
    a, b, c = (decode(clip.path) for clip in (first, again, other))
    assert all((x == y).all() for x, y in zip(a.pictures, b.pictures, strict=True))
    assert (a.samples == b.samples).all()
    assert any((x != y).any() for x, y in zip(a.pictures, c.pictures, strict=True))


@pytest.mark.parametrize("fps", ["24000/1001", "30000/1001", 60, "variable"])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_frame_times_are_exact(fps: int | str, name: str, make: Maker) -> None:
    script = VideoScript(duration_s=0.8, width=64, height=64, fps=fps, sound=False, hold_s=1.0)
    clip = make(script, name)
    truth, read = clip.truth, decode(clip.path)
    assert truth.frames is not None
    assert truth.voice is None
    assert read.times_s == pytest.approx(truth.frames.times_s, abs=1e-9)
    ticks, unit = frame_ticks(script)
    assert read.times_s == pytest.approx(ticks * float(unit), abs=5e-4 + 1e-9)
    if name == "clip.mp4":
        assert read.times_s == pytest.approx(ticks * float(unit), abs=1e-9)
    assert (len(set(np.diff(ticks).tolist())) > 1) == (fps == "variable")


def flash_and_click(path: Path, first_tick: int, first: int, codec: str) -> Decoded:
    """White pictures and clicks at 1.0 and 2.0 s, written straight to a container."""
    rate, container = 16_000, container_of(path, codec)
    samples = np.zeros(3 * rate, dtype=np.float32)
    for second in (1, 2):
        samples[second * rate : second * rate + 24] = 0.8

    def pictures() -> Iterator[tuple[int, Pixels]]:
        for k in range(first_tick, 75):
            yield k, np.full((64, 64, 3), 230 if k in (25, 50) else 40, dtype=np.uint8)

    audio = Audio(samples[first:], rate, first, block_of(container.audio_codec, rate), ())
    script = VideoScript(width=64, height=64)
    write_media(path, container, script, Fraction(1, 25), audio, pictures())
    return decode(path)


@pytest.mark.parametrize(("first_tick", "first"), [(0, 0), (10, 0), (0, 6000), (7, 8000)])
@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "flac"), ("a.mkv", "pcm")])
def test_flash_and_click_fall_together(
    name: str, codec: str, first_tick: int, first: int, tmp_path: Path
) -> None:
    read = flash_and_click(tmp_path / name, first_tick, first, codec)
    flashes = [t for t, p in zip(read.times_s, read.pictures, strict=True) if p.mean() > 150]
    on = np.flatnonzero(np.abs(read.samples) > 0.3)
    clicks = [on[0], *(b for a, b in itertools.pairwise(on) if b - a > 200)]
    assert len(flashes) == len(clicks) == 2
    heard_at = np.array(clicks) / read.rate_hz
    assert heard_at - flashes == pytest.approx([0, 0], abs=6e-4)  # Matroska rounds to 1 ms


@pytest.mark.parametrize("offset", [-0.5, -0.2, 0.2, 0.5])
def test_the_offset_moves_the_sound_by_whole_samples(offset: float, make: Maker) -> None:
    script = replace(TALK, audio_offset_s=offset, noise_dbfs=-120.0)
    speech = formant(script)
    moved = heard(script, speech, 1024)
    plain = heard(replace(script, audio_offset_s=0.0), speech, 1024)
    late = round(offset * 16_000)
    a = moved.samples[max(late, 0) : 96_000 + min(late, 0)]
    b = plain.samples[max(-late, 0) : 96_000 + min(-late, 0)]
    assert np.abs(a - b).max() < 1e-5
    clip = make(replace(script, width=64, height=64, hold_s=10.0), "sound.mka")
    truth = clip.truth
    assert truth.av_offset_s == offset
    assert truth.utterances[0].interval.start_s == pytest.approx(max(0.7 + offset, 0.0), abs=1e-6)
    assert truth.voice is not None
    assert truth.voice.segments[1].start_s == pytest.approx(
        speech.spoken[0].segments[1].start_s + offset, abs=1e-6
    )


def test_mouth_and_sound_are_apart_by_the_offset(talk: Clip, make: Maker) -> None:
    late = make(replace(TALK, audio_offset_s=0.2, fps="25/2"), "late.mkv")
    for clip, expected in ((talk, 0.0), (late, 0.2)):
        truth, read = clip.truth, decode(clip.path)
        assert truth.frames is not None
        grid = np.arange(0.0, 5.9, 0.01)
        mouth = np.interp(grid, truth.frames.times_s, truth.frames.mouth_open)
        level = np.clip(level_dbfs(read.samples.astype(np.float32), read.rate_hz, grid), -60, 0)
        a, b = mouth - mouth.mean(), level - level.mean()
        lags = np.arange(-50, 51)
        score = [np.dot(a[50:-50], b[50 + k : len(b) - 50 + k]) for k in lags]
        assert lags[int(np.argmax(score))] * 0.01 == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_streams_may_start_late_and_have_holes(name: str, make: Maker) -> None:
    script = replace(
        TALK, width=64, height=64, hold_s=5.0, video_start_s=0.8, audio_start_s=0.5,
        dropouts=(Dropout(2.0, 2.8, "sound"), Dropout(3.0, 3.4, "frames"),
                  Dropout(4.2, 4.6, "silence")),
    )  # fmt: skip
    clip = make(script, name)
    truth, read = clip.truth, decode(clip.path)
    assert truth.frames is not None
    assert truth.voice is not None
    assert read.times_s == pytest.approx(truth.frames.times_s, abs=1e-9)
    origin = truth.head["origin_s"]
    assert 0.4 <= origin <= 0.5  # AAC may keep the samples its filter needs to settle
    steps = np.diff(read.times_s)
    assert steps.max() == pytest.approx(0.44, abs=1e-3)
    assert read.times_s[0] == pytest.approx(0.8 - origin, abs=1e-3)
    holes = [where for kind, where in truth.dropouts if kind == "sound"]
    assert len(holes) == 1
    assert holes[0].start_s <= 2.0 - origin <= holes[0].end_s
    middles = np.round(truth.voice.times_s * read.rate_hz).astype(int)
    inside = truth.voice.times_s > 0.5 - origin + 0.01
    agree = read.present[middles] == truth.voice.present
    assert agree[inside].mean() > 0.99
    assert np.isnan(truth.voice.level_dbfs[~truth.voice.present]).all()
    assert not truth.voice.speech[~truth.voice.present].any()
    zero = (truth.voice.times_s > 4.25 - origin) & (truth.voice.times_s < 4.55 - origin)
    assert (truth.voice.level_dbfs[zero] == -120).all()


def test_the_detector_sees_the_face_and_only_the_face(make: Maker) -> None:
    script = VideoScript(
        duration_s=6.0, width=320, height=240, fps=5, person=94, scene="room", sound=False,
        emotions=(EmotionKey(0.0), EmotionKey(1.0, joy=1.0), EmotionKey(2.0, anger=1.0)),
        head=(HeadKey(0.0, yaw_deg=-25.0), HeadKey(2.0, yaw_deg=25.0), HeadKey(2.5, yaw_deg=0.0)),
        dropouts=(Dropout(2.8, 3.6, "face", slide_s=0.2), Dropout(4.0, 5.0, "cartoon")),
        visitors=(Visitor(5.0, 6.0, person=40, x=0.85, y=0.4, scale=0.17),),
    )  # fmt: skip
    clip = make(script, "faces.mp4")
    frames, read = clip.truth.frames, decode(clip.path)
    assert frames is not None
    settings = DetectorSettings(sizes_px=(160, 320))
    counts, overlaps = [], []
    for k, pixels in enumerate(read.pictures):
        found = detect_faces(pixels, settings)
        counts.append(len(found))
        if found and frames.visible[k] == 1:
            x0, y0, x1, y1 = found[0].box_xyxy
            u0, v0, u1, v1 = frames.boxes_xyxy[k]
            both = max(0, min(x1, u1) - max(x0, u0)) * max(0, min(y1, v1) - max(y0, v0))
            overlaps.append(both / ((x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - both))
    whole = (frames.visible == 1) | (frames.visible == 0)  # not while it slides out
    assert (np.array(counts)[whole] == frames.n_faces[whole]).mean() >= 0.96
    gone = frames.n_faces == 0
    assert gone.sum() >= 9
    assert frames.cartoon.sum() == 5
    assert (np.array(counts)[gone] == 0).all()
    assert min(overlaps) > 0.5
    assert frames.n_faces[-1] == 2
    assert (frames.visible[gone] == 0).all()
    assert ("face", Interval(2.8, 3.6)) in clip.truth.dropouts


def test_a_face_slides_out_of_the_picture() -> None:
    script = replace(TALK, dropouts=(Dropout(2.0, 3.0, "face", slide_s=0.4),))
    motion = plan_motion(script, sample_person(np.random.default_rng(94)), None)
    x = motion.place[:, 0]
    assert x[:40] == pytest.approx(x[0])
    assert (np.diff(x[40:50]) > 0).all()
    assert (np.diff(x[75:85]) < 0).all()
    assert not motion.shown[50:75].any()
    assert motion.shown[[49, 75]].all()


def test_sound_alone_and_pictures_alone(make: Maker) -> None:
    script = replace(TALK, duration_s=1.5, sayings=(Saying(0.3, "네"),))
    for name in ("a.wav", "a.m4a", "a.mka"):
        clip = make(script, name)
        assert clip.truth.frames is None
        assert clip.document["frames"] == 0
        read = decode(clip.path)
        assert read.present.sum() >= 1.5 * 16_000
        assert not read.pictures
    silent = make(replace(script, sound=False, hold_s=1.0), "a.mov")
    assert silent.truth.voice is None
    assert silent.document["transcript"] is None
    assert not transcript_path(silent.path).exists()


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = replace(TALK, duration_s=0.5, sayings=(), sound=False)
    table: tuple[tuple[str, VideoScript, str], ...] = (
        ("a.txt", script, "the suffix says"),
        ("a.mp4", replace(script, audio_codec="flac"), "holds aac"),
        ("a.wav", script, "nothing to write"),
        ("a.mp4", replace(script, dropouts=(Dropout(0, 1, "frames"),)), "no frame is left"),
    )
    for name, wrong, says in table:
        with pytest.raises(NunbitError, match=says) as caught:
            set_lang("ko")
            render_video(tmp_path / name, wrong)
        assert re.search("[가-힣]", caught.value.text.ko)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="in the place of a folder"):
        render_video(tmp_path / "file" / "a.mp4", script)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"nunbit\[media\]"):
        render_video(tmp_path / "a.mp4", script)


def test_only_truth_files_are_read_as_truth(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"format": "other"}), encoding="utf-8")
    with pytest.raises(InputError, match="not a truth file"):
        read_truth(path)
    with pytest.raises(InputError, match="cannot read"):
        read_truth(tmp_path / "none.json")


# ---------------------------------------------------------------- planted state


def test_a_planted_state_wanders_within_bounds() -> None:
    state = planted_state(600.0, 4.0, (1, 2))
    assert np.abs(state).max() <= 1
    assert state.std() == pytest.approx(0.63, abs=0.08)
    for column in state.T:
        assert np.corrcoef(column[:-1], column[1:])[0, 1] == pytest.approx(0.78, abs=0.1)
    assert (planted_state(600.0, 4.0, (1, 2)) == state).all()


@pytest.mark.parametrize("shared", [True, False])
def test_planted_recordings_carry_what_was_planted(shared: bool, make: Maker) -> None:
    settings = PlantedSettings(shared=shared, duration_s=40.0)
    script, face, voice = planted_script(3, 0, settings)
    assert (face is voice) == shared
    again, _, _ = planted_script(3, 0, settings)
    assert again == script
    person = sample_person(np.random.default_rng(script.person))
    track = speak_script(script, person)
    motion = plan_motion(script, person, track)
    assert track.f0_hz is not None
    centres = (np.arange(len(track.f0_hz)) + 0.5) * 0.01
    voiced = np.isfinite(track.f0_hz)
    semitones = 12 * np.log2(track.f0_hz[voiced] / base_f0_hz(person, script.person))
    valence = np.interp(centres[voiced], np.arange(len(voice)), voice[:, 0])
    assert np.corrcoef(semitones, valence)[0, 1] > 0.8
    joy = motion.weights[:, LABELS.index("joy")] - motion.weights[:, LABELS.index("sadness")]
    wanted = np.interp(motion.times_s, np.arange(len(face)), face[:, 0])
    assert np.corrcoef(joy, wanted)[0, 1] > 0.98
    assert motion.speaking.max() == 0  # the lips must not betray the sound


def test_identity_is_looks_and_voice() -> None:
    def who(person: int, identity: bool) -> tuple[int, float]:
        script, _, _ = planted_script(person, 0, PlantedSettings(identity=identity))
        return script.person, base_f0_hz(sample_person(np.random.default_rng(script.person)),
                                         script.person)  # fmt: skip

    assert who(3, True) != who(4, True)
    assert who(3, False) == who(4, False)
