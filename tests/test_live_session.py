"""A live session and its file agree; what was given never changes; what goes wrong is told."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("av")

from make_sender import Clip, drawn_clip, jpeg_of, send
from nunbit.core.messages import InputError, SettingsError, Text
from nunbit.core.streams import AudioChunk
from nunbit.core.timebase import clock
from nunbit.live import LiveSession, LiveSettings, recorder
from nunbit.live import live_session as session_module
from nunbit.live.events import Event, WindowEvent, WordsEvent
from nunbit.live.hearing import HeardSeconds, LiveVoice
from nunbit.live.live_windows import LiveWords, Windows, no_camera
from nunbit.model.bundle import default_bundle_path
from nunbit.model.bundle_check import sealed_document
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.recording.media import probe_media, read_media
from nunbit.recording.transcript.asr import Recogniser
from nunbit.recording.transcript.cues import Cue
from nunbit.stories.analyze import analyze
from nunbit.stories.analyze.job import AnalyzeSettings
from nunbit.stories.analyze.live_end import finish_live
from nunbit.stories.timelines import read_timeline

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return drawn_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(default_bundle_path(), threads=1)


class Ran:
    """A session that has ended, with what it said."""

    def __init__(
        self, bundle: Bundle, clip: Clip, folder: Path | None = None, *, keep: bool = False,
        settings: LiveSettings | None = None, **sent: Any,
    ) -> None:  # fmt: skip
        self.events: list[Event] = []
        self.folder = folder
        session = LiveSession(
            bundle, settings, folder, keep, self.events.append, finish_live if folder else None
        )
        send(session, clip, **sent)
        self.summary = session.stop()

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.type == kind]

    def timeline(self) -> dict[tuple[Any, ...], tuple[float, str]]:
        assert self.folder is not None
        return rows_of(self.folder)


def rows_of(folder: Path) -> dict[tuple[Any, ...], tuple[float, str]]:
    """What stands in a timeline's rows: value and reason by scope, measure and time."""
    table = pq.read_table(folder / "timeline.parquet").to_pylist()
    return {
        (r["scope"], r["modality"], r["measure"], r["track"] or "", round(r["t_start"], 2)): (
            float("nan") if r["value"] is None else float(r["value"]),
            r["mask_reason"] or "",
        )
        for r in table
    }


@pytest.fixture(scope="module")
def kept(bundle: Bundle, clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """With media, late stamps, and half a second of sound that is lost."""
    folder = tmp_path_factory.mktemp("sessions") / "kept"
    return Ran(bundle, clip, folder, keep=True, late_ms=40.0, lost=(3.3, 3.8))


@pytest.fixture(scope="module")
def unkept(bundle: Bundle, clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("sessions") / "unkept"
    return Ran(bundle, clip, folder, late_ms=40.0, lost=(3.3, 3.8))


@pytest.fixture(scope="module")
def from_file(kept: Ran, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``nunbit analyze`` makes of the session's file."""
    assert kept.folder is not None
    out = tmp_path_factory.mktemp("analyzed")
    analyze([kept.folder / "session.mkv"], out, AnalyzeSettings(workers=1))
    return out / "session"


def same_rows(
    first: dict[tuple[Any, ...], tuple[float, str]],
    second: dict[tuple[Any, ...], tuple[float, str]],
    tolerance: float,
) -> None:
    assert first.keys() == second.keys()
    for key, (value, reason) in first.items():
        other, why = second[key]
        assert reason == why, key
        assert np.allclose(value, other, rtol=tolerance, atol=tolerance, equal_nan=True), key


def test_the_session_and_its_file_give_the_same_tables(kept: Ran, from_file: Path) -> None:
    same_rows(kept.timeline(), rows_of(from_file), 1e-4)
    own, file = (pq.read_table(f / "frames.parquet") for f in (kept.folder, from_file))
    assert own.num_rows == file.num_rows > 80
    assert np.abs(own["time"].to_numpy() - file["time"].to_numpy()).max() < 1e-9


@pytest.mark.slow
def test_without_media_the_tables_are_those_of_the_file(unkept: Ran, from_file: Path) -> None:
    same_rows(unkept.timeline(), rows_of(from_file), 1e-4)
    assert unkept.summary["sync"] == {"reason": "not_kept"}


def test_windows_given_live_are_those_of_the_file(kept: Ran, from_file: Path) -> None:
    rows = rows_of(from_file)
    windows: list[WindowEvent] = kept.of("window")
    assert [w.t_start for w in windows] == [float(k) for k in range(7)]
    for window in windows:
        assert window.t_end - window.t_start == pytest.approx(4.0)
        for label, p in (window.face.p or {}).items():
            value, reason = rows["window", "face", f"p_{label}", "", window.t_start]
            assert reason == window.face.reason == ""
            assert p == pytest.approx(value, abs=1e-3)
        for name, measured in window.face.measures.items():
            value, _ = rows["window", "face", name, "", window.t_start]
            expected = np.nan if measured is None else measured
            assert np.allclose(value, expected, rtol=1e-4, atol=1e-4, equal_nan=True), name


def test_a_smile_is_there_within_a_second_and_goes(kept: Ran) -> None:
    joy = {e.t: e.p["joy"] for e in kept.of("face") if e.p}
    assert max(p for t, p in joy.items() if t < 1.5) < 0.5
    assert min(t for t, p in joy.items() if p > 0.5) < 2.2 + 1.0
    assert np.median([p for t, p in joy.items() if 2.5 < t < 4.0]) > 0.5


def test_states_of_the_face(kept: Ran) -> None:
    def between(start_s: float, end_s: float) -> set[str]:
        return {e.state for e in kept.of("face") if start_s <= e.t < end_s}

    assert between(2.5, 5.0) == {"ok"}
    assert "two_people" in between(5.8, 6.6)
    assert "turned_away" in between(7.3, 7.9)
    assert between(9.05, 9.6) == {"no_face"}


def test_boxes_are_shares_of_the_picture(kept: Ran) -> None:
    two = [e for e in kept.of("face") if e.state == "two_people"]
    assert two
    for event in two:
        assert [box.target for box in event.faces] == [True, False]
        x0, y0, x1, y1 = event.faces[0].box
        assert 0.2 < x0 < 0.5 < x1 < 0.8
        assert -0.1 < y0 < y1 < 1.1


def test_voice_steps_cover_the_sound_and_the_gap_stays(kept: Ran) -> None:
    steps = {
        round(e.t + 0.05 * k, 2): (e.level_dbfs[k], e.speech[k])
        for e in kept.of("voice")
        for k in range(len(e.level_dbfs))
    }
    assert min(steps) < 0.1
    assert max(steps) > 9.7
    assert not [t for t in steps if 3.36 < t < 3.74 and steps[t][0] > -100]
    loud = [level for t, (level, speech) in steps.items() if speech > 0.9]
    assert np.median(loud) > -45


def test_the_pause_is_where_it_is(kept: Ran) -> None:
    pauses = kept.of("pause")
    assert len(pauses) >= 1
    assert any(p.t_start < 4.2 and abs(p.t_end - 4.2) < 0.25 for p in pauses)


def test_a_prefix_gives_what_the_whole_gives(bundle: Bundle, clip: Clip, kept: Ran) -> None:
    first = Clip(tuple(f for f in clip.frames if f[0] < 6.2), clip.sound[: round(6.2 * 16_000)])
    prefix = Ran(bundle, first, late_ms=40.0, lost=(3.3, 3.8))
    whole = {w.t_start: w.face for w in kept.of("window")}
    found = prefix.of("window")
    assert len(found) == 3
    for window in found:
        assert window.face.reason == whole[window.t_start].reason
        for label, p in (window.face.p or {}).items():
            assert p == pytest.approx(whole[window.t_start].p[label], abs=1e-6)


def test_nothing_is_kept_of_a_try_out(bundle: Bundle, clip: Clip, tmp_path: Path) -> None:
    short = Clip(clip.frames[:20], clip.sound[:20_000])
    ran = Ran(bundle, short)
    assert ran.summary["duration_s"] == pytest.approx(1.25, abs=0.1)
    assert not list(tmp_path.iterdir())


def test_without_keep_media_no_picture_and_no_sound_are_written(unkept: Ran) -> None:
    assert unkept.folder is not None
    names = {path.name for path in unkept.folder.iterdir()}
    assert "session.mkv" not in names
    assert "live.parts" not in names
    for path in unkept.folder.iterdir():
        data = path.read_bytes()
        assert b"\xff\xd8\xff\xe0\x00\x10JFIF" not in data, path.name
        assert b"fLaC" not in data


def test_the_file_is_an_ordinary_recording(kept: Ran, clip: Clip) -> None:
    assert kept.folder is not None
    info = probe_media(kept.folder / "session.mkv")
    assert info.video is not None
    assert info.audio is not None
    assert (info.video.width, info.video.height) == (480, 360)
    assert info.duration_s == pytest.approx(10.0, abs=0.15)
    sound = list(read_media(kept.folder / "session.mkv", want_video=False))
    held = {round(x.start_s * 16_000) + k: v for x in sound for k, v in enumerate(x.samples)}
    expected = clip.sound.astype(np.float32) / 32768
    for at in (1_000, 40_000, 70_000, 150_000):
        assert held[at] == pytest.approx(expected[at], abs=1e-6)
    assert round(3.5 * 16_000) not in held


def test_a_session_is_read_as_any_other_timeline(kept: Ran) -> None:
    assert kept.folder is not None
    timeline = read_timeline(kept.folder)
    assert timeline.summary["session"] == "kept"
    assert len(timeline.frames) > 80


def test_notes_stand_on_the_axis(bundle: Bundle, clip: Clip) -> None:
    events: list[Event] = []
    session = LiveSession(bundle, emit=events.append)
    send(session, Clip(clip.frames[:30], clip.sound[:32_000]))
    now = session.note("marker", "여기")
    then = session.note("question", "어떻게 지내셨어요?", captured_ms=5_000 + 1_250)
    session.stop()
    assert now.t == pytest.approx(2.0, abs=0.1)
    assert then.t == pytest.approx(1.25, abs=0.01)
    assert (now.id, then.id) == (1, 2)
    assert [e for e in events if e.type == "note"] == [now, then]


def test_the_latest_frame_wins_and_drops_are_counted(bundle: Bundle, clip: Clip) -> None:
    events: list[Any] = []
    session = LiveSession(bundle, LiveSettings(sound=False), emit=events.append)
    for k in range(30):
        session.push_frame(clip.frames[k][1], 1000 + 100.0 * k, k)
        if not k:
            session.wait()
    session.wait()
    session.stop()
    faces = [e for e in events if e.type == "face"]
    assert faces[-1].seq == 29
    assert faces[-1].dropped == 30 - len(faces) > 15
    assert faces[-1].t == pytest.approx(2.9)


@pytest.mark.slow
def test_camera_alone_and_sound_alone(bundle: Bundle, clip: Clip, tmp_path: Path) -> None:
    mute = Ran(
        bundle, Clip(clip.frames, np.zeros(0, np.int16)), tmp_path / "mute",
        settings=LiveSettings(sound=False),
    )  # fmt: skip
    windows = mute.of("window")
    assert len(windows) >= 6
    assert windows[0].voice.reason == "no_audio"
    assert windows[0].face.p
    assert mute.summary["media"]["audio"] is None
    blind = Ran(bundle, Clip((), clip.sound), tmp_path / "blind", keep=True,
                settings=LiveSettings(camera=False))  # fmt: skip
    windows = blind.of("window")
    assert len(windows) >= 6
    assert windows[0].face.reason == "no_video"
    assert windows[0].voice.speech_share > 0.2
    assert windows[0].words.reason == "no_transcript"
    assert blind.summary["media"]["video"] is None


def test_neither_camera_nor_sound_is_refused(bundle: Bundle) -> None:
    with pytest.raises(SettingsError, match="camera or a microphone"):
        LiveSession(bundle, LiveSettings(camera=False, sound=False))


def test_what_is_no_jpeg_is_told_and_the_session_goes_on(bundle: Bundle, clip: Clip) -> None:
    events: list[Any] = []
    session = LiveSession(bundle, LiveSettings(sound=False), emit=events.append)
    for k, data in enumerate([clip.frames[0][1], b"no picture", b"", clip.frames[9][1]]):
        session.push_frame(data, 1000 + 200.0 * k, k)
        session.wait()
    session.stop()
    assert [e.seq for e in events if e.type == "face"] == [0, 3]
    problems = [e for e in events if e.type == "problem"]
    assert [p.code for p in problems] == ["bad_frame", "bad_frame"]
    assert "JPEG" in problems[0].en
    assert "JPEG" in problems[0].ko


def test_dark_and_bright_rooms_without_a_face(bundle: Bundle) -> None:
    events: list[Any] = []
    session = LiveSession(bundle, LiveSettings(sound=False), emit=events.append)
    rng = np.random.default_rng(0)
    for k, level in enumerate((8, 150)):
        noise = rng.normal(level, 4, (240, 320, 3)).clip(0, 255).astype(np.uint8)
        session.push_frame(jpeg_of(noise), 1000 + 500.0 * k, k)
        session.wait()
    session.stop()
    assert [e.state for e in events if e.type == "face"] == ["too_dark", "no_face"]


def test_states_of_the_sound(bundle: Bundle) -> None:
    rng = np.random.default_rng(3)
    quiet = np.zeros(3 * 16_000)
    hum = rng.normal(0, 200, 2 * 16_000)
    loud = 60_000 * np.sin(2 * np.pi * 300 * np.arange(2 * 16_000) / 16_000)
    sound = np.concatenate([quiet, hum, loud]).clip(-32768, 32767).astype("<i2")
    ran = Ran(bundle, Clip((), sound), settings=LiveSettings(camera=False))
    states = {round(e.t, 1): e.state for e in ran.of("voice")}
    assert states[2.5] == "silence"
    assert states[4.5] == "ok"
    assert states[6.5] == "clipped"


def test_lost_sound_is_told(bundle: Bundle, clip: Clip) -> None:
    """The tab slept: its samples go on where they were, its clock is two seconds further."""
    events: list[Any] = []
    session = LiveSession(bundle, LiveSettings(camera=False), emit=events.append)
    for k in range(40):
        away_ms = 2_000 if k >= 20 else 0
        piece = clip.sound[k * 1600 : (k + 1) * 1600].tobytes()
        session.push_sound(piece, k * 1600, 9_000 + 100 * k + away_ms, 16_000)
        session.wait()
    session.stop()
    problems = [e for e in events if e.type == "problem"]
    assert [p.code for p in problems] == ["sound_lost"]
    assert clock(2.0, tenths=True) in problems[0].en
    assert max(e.t for e in events if e.type == "voice") > 5.5


def test_a_full_disk_keeps_what_was_written_and_the_session_goes_on(
    bundle: Bundle, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = recorder.open_file

    class Full:
        """A file on a disk with room for 150 kB."""

        def __init__(self, path: Path, mode: str) -> None:
            self._file = real(path, mode)

        def write(self, data: bytes) -> int:
            if self._file.tell() + len(data) > 150_000:
                raise OSError(28, "No space left on device")
            return self._file.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    monkeypatch.setattr(
        recorder, "open_file",
        lambda path, mode: Full(path, mode) if path.suffix == ".mkv" else real(path, mode),
    )  # fmt: skip
    ran = Ran(bundle, clip, tmp_path / "full", keep=True)
    problems = ran.of("problem")
    assert [p.code for p in problems] == ["disk_full"]
    assert "No space left" in problems[0].en
    assert len(ran.of("window")) == 7  # until the end
    info = probe_media(tmp_path / "full" / "session.mkv")
    assert info.duration_s > 0.5
    assert not [e for e in ran.of("health") if e.t > 9 and e.recording]


SAID = "오늘은 정말 기쁜 하루였어요"


def fake_recogniser(*_: Any, **__: Any) -> Recogniser:
    def run(block: tuple[float, Any], language: str | None) -> tuple[list[Cue], str | None]:
        start_s, samples = block
        return [Cue(start_s, start_s + len(samples) / 16_000, SAID, confidence=0.9)], "ko"

    return Recogniser("vosk", "ko", run, frozenset({"ko"}))


def test_words_come_and_change_their_windows_but_no_face(
    bundle: Bundle, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kiwipiepy")
    monkeypatch.setattr(session_module, "load_recogniser", fake_recogniser)
    ran = Ran(bundle, clip, settings=LiveSettings(asr="vosk"))
    words = [e for e in ran.of("words") if not e.open]
    assert words[0].text == SAID
    assert words[0].provisional
    assert 0.4 < words[0].t_start < 0.9
    assert words[0].confidence == pytest.approx(0.9)
    assert max(words[0].p, key=words[0].p.get) == "joy"
    by_start: dict[float, list[WindowEvent]] = {}
    for window in ran.of("window"):
        by_start.setdefault(window.t_start, []).append(window)
    for given in by_start.values():
        assert len({str(w.face) for w in given}) == 1
    last = by_start[0.0][-1]
    assert last.words.p
    assert last.words.p["joy"] > 0.3
    assert by_start[1.0][-1].agreement.face_words.value is not None
    assert by_start[1.0][-1].agreement.experimental
    assert by_start[1.0][-1].disagreement.reason == "too_few"  # less than 30 s


class Hearing:
    """What a session does with words, in one thread: each piece of sound, then what can be said."""

    def __init__(self, bundle: Bundle, run: Any) -> None:
        self.words = LiveWords(Recogniser("vosk", "ko", run, frozenset({"ko"})), bundle, "ko")
        self.voice, self.events = LiveVoice(), list[tuple[float, Any]]()

    def hear(self, sound: np.ndarray) -> list[tuple[float, Any]]:
        for start in range(0, len(sound), 1600):
            piece = sound[start : start + 1600]
            self.words.add(start, piece)
            chunk = AudioChunk(start / 16_000, piece.astype(np.float32) / np.float32(32768))
            self.voice.add(chunk)
            said = self.words.closed(self.voice) or self.words.going_on(self.voice)
            if said is not None:
                self.events += [(self.voice.end_s, e) for e in self.words.recognise(said)]
        return self.events


def test_words_come_while_an_utterance_goes_on(bundle: Bundle, clip: Clip) -> None:
    def run(block: tuple[float, Any], language: str | None) -> tuple[list[Cue], str | None]:
        start_s, samples = block
        return [Cue(start_s, start_s + len(samples) / 16_000, f"{len(samples)} 개")], "ko"

    events = Hearing(bundle, run).hear(clip.sound)
    whole = [(at, e) for at, e in events if not e.open]
    going = [(at, e) for at, e in events if e.open]
    assert len(whole) == 2  # the clip's two sayings
    for at, event in whole:
        assert at - event.t_end < 1.2
        before = [e for t, e in going if event.t_start - 0.1 < e.t_end <= at]
        assert before, "nothing was shown while it was said"
        assert all(e.p is None and e.text for e in before)
        assert min(t for t, e in going if e in before) - event.t_start < 2.5
    for at, event in going:
        assert -0.2 < at - event.t_end < 1.0  # as far as it was heard
    ends = [at for at, _ in going]
    assert all(b - a >= 0.9 for a, b in itertools.pairwise(ends))


def test_words_that_are_doubted_are_taken_away_again(bundle: Bundle, clip: Clip) -> None:
    """What was shown while somebody spoke does not stay where the whole is not believed."""
    calls = 0

    def run(block: tuple[float, Any], language: str | None) -> tuple[list[Cue], str | None]:
        nonlocal calls
        calls += 1
        doubt = "" if calls == 1 else "invented_text"
        return [Cue(block[0], block[0] + 1, "감사합니다", doubt=doubt)], "ko"

    events = [e for _, e in Hearing(bundle, run).hear(clip.sound)]
    assert [(e.text, e.open) for e in events] == [("감사합니다", True), ("", True)]


def test_words_of_an_open_utterance_are_not_kept(
    bundle: Bundle, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "load_recogniser", fake_recogniser)
    session = LiveSession(bundle, LiveSettings(asr="vosk", camera=False), tmp_path / "s")
    span = {"t_start": 0.5, "t_end": 1.5, "confidence": None, "p": None}
    session._say(WordsEvent(text="아직", open=True, **span), WordsEvent(text="다 했다", **span))
    session.abort("done")
    kept = (tmp_path / "s" / "live.jsonl").read_text(encoding="utf-8")
    assert "다 했다" in kept
    assert "아직" not in kept


def test_agreement_rises_where_face_and_words_agree(
    bundle: Bundle, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same words on the smile and on a still face."""
    pytest.importorskip("kiwipiepy")
    monkeypatch.setattr(session_module, "load_recogniser", fake_recogniser)
    ran = Ran(bundle, clip, settings=LiveSettings(asr="vosk", window_s=1.0, hop_s=0.5))
    value = {w.t_start: w.agreement.face_words.value for w in ran.of("window")}
    smile = [v for t, v in value.items() if t == 2.0 and v is not None]
    still = [v for t, v in value.items() if 4.5 <= t <= 5.0 and v is not None]
    assert smile
    assert still
    assert min(smile) > max(still) + 0.3


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a found state of all pairs but one."""
    from make_aligned import aligned_bundle

    path = aligned_bundle(tmp_path_factory.mktemp("aligned") / "b", ("face", "voice", "text"))
    document = json.loads((path / "bundle.json").read_text(encoding="utf-8"))
    codes = {"face-voice": "found", "face-text": "found", "voice-text": "too_little"}
    document["alignment"]["verdict"] = {k: {"code": v} for k, v in codes.items()}
    (path / "bundle.json").write_text(json.dumps(sealed_document(document)), encoding="utf-8")
    return path


@pytest.mark.slow
def test_agreement_of_an_aligned_bundle_is_that_of_its_space(
    aligned: Path, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last window has all windows before it, as the file has: then both agree."""

    def run(block: tuple[float, Any], language: str | None) -> tuple[list[Cue], str | None]:
        start_s, samples = block
        text = SAID if start_s < 3 else "그래서 조금 걸었어요"
        return [Cue(start_s, start_s + len(samples) / 16_000, text)], "ko"

    recogniser = Recogniser("vosk", "ko", run, frozenset({"ko"}))
    monkeypatch.setattr(session_module, "load_recogniser", lambda *_, **__: recogniser)
    made = load_bundle(aligned, threads=1)
    settings = LiveSettings(asr="vosk", window_s=2.0, hop_s=0.25)
    ran = Ran(made, clip, tmp_path / "s", keep=True, settings=settings)
    assert ran.of("ready")[0].aligned
    last = {w.t_start: w for w in ran.of("window")}
    end = max(last)
    early, late = ran.of("window")[0].agreement, last[end].agreement
    assert (early.anchor, early.face_voice.value) == ("aligned", None)
    assert early.face_voice.reason == "too_few"
    assert late.voice_words.reason in {"unvalidated", "silence"}
    assert any(w.agreement.voice_words.reason == "unvalidated" for w in last.values())
    assert any(w.agreement.face_words.value is not None for w in last.values())
    analyze(
        [tmp_path / "s" / "session.mkv"], tmp_path / "file",
        AnalyzeSettings(window_s=2.0, hop_s=0.25, workers=1), bundle=aligned,
    )  # fmt: skip
    rows = rows_of(tmp_path / "file" / "session")
    seen = {start: rows["window", "fused", "agreement_face_voice", "", start][0] for start in last}
    both = [k for k, w in last.items() if w.agreement.face_voice.value is not None]
    assert both
    known = [k for k in both if np.isfinite(seen[k])]
    assert known
    # The last of them knows all that the file knows, but for the pitch's second pass.
    gaps = {k: round(last[k].agreement.face_voice.value - seen[k], 3) for k in known}
    assert abs(gaps[known[-1]]) < 0.25, gaps


def test_a_recogniser_that_is_missing_is_told(bundle: Bundle) -> None:
    def missing(*_: Any) -> Recogniser:
        raise InputError(Text("no model here", "모델이 없습니다"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_module, "load_recogniser", missing)
        with pytest.raises(InputError, match="no model"):
            LiveSession(bundle, LiveSettings(asr="vosk"))


def test_level_and_share_of_speech_are_those_of_the_measures(bundle: Bundle) -> None:
    n = 400
    present = np.arange(n) < 200  # no sound in the second half
    speech = (np.arange(n) < 150) & present
    level = np.where(present, -20.0 + 6.0 * (-1.0) ** np.arange(n), np.nan).astype(np.float32)
    nothing = np.full(n, np.nan, np.float32)
    heard = HeardSeconds(
        first=0, level_dbfs=level, probability=nothing, f0_hz=nothing, present=present,
        speech=speech, mel=np.zeros((n, 40), np.float32), clipped=np.zeros(n, bool),
    )  # fmt: skip
    windows = Windows(bundle, camera=False, sound=True, words=False)
    windows.add_faces(no_camera(4.0, 1.0, 0, 4.0)[:1])
    (event,) = windows.ready(heard, 10.0, wait=False)
    assert event.voice.speech_share == pytest.approx(0.75)  # of the time with sound
    energy = (10.0 ** (-14 / 10) + 10.0 ** (-26 / 10)) / 2
    assert event.voice.level_dbfs == pytest.approx(10 * np.log10(energy), abs=0.06)
