"""nunbit check: what would be read of files is said without analysing, and nothing is silent."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nunbit.core.messages import Text

pytest.importorskip("av")

import nunbit
from command import run_command
from make_media import Sound, clicks, film, write_media
from make_voice import talk
from nunbit.core.messages import InputError
from nunbit.core.schema import (
    PLAIN_CODES,
    ReadingNote,
    notes_of_document,
    problems,
    reading_document,
    unsaid,
)
from nunbit.core.streams import (
    AudioChunk,
    AudioInfo,
    Frame,
    Interval,
    MediaInfo,
    Transcript,
    Utterance,
    VideoInfo,
    Word,
)
from nunbit.recording.media import read_media
from nunbit.recording.media.decoder import sample_stretches
from nunbit.recording.media.frames import sample_frames
from nunbit.recording.read import protocol
from nunbit.recording.transcript import Diarisation
from nunbit.recording.transcript.cues import KINDS
from nunbit.runtime.progress import width
from nunbit.stories import check as check_story
from nunbit.stories.check import check, check_document
from nunbit.stories.check.listing import SHORT, check_text
from nunbit.stories.check.look import Checked, CheckSettings, Heard, Seen, fit_of, stretches_of
from nunbit.synth.actors import NEUTRAL, sample_person
from nunbit.synth.drawing import Pose
from nunbit.synth.drawn_face import render_face

ONE = CheckSettings(workers=1)


def one(path: Path, **settings: Any) -> Checked:
    (result,), _ = check([path], replace(ONE, **settings))
    return result


def codes(result: Checked) -> set[str]:
    return {note.code for note in problems(result.notes)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A talking clip with subtitles, a silent one, a text, a broken film, a film of numbers."""
    made = tmp_path_factory.mktemp("visits")
    rate = 16_000
    speech = np.concatenate([np.zeros(2 * rate, np.float32), talk(6.0)])
    write_media(made / "talk.wav", sounds=Sound(speech[None], rate, codec="pcm_s16le"))
    cues = [(2.2, 4.0, "안녕하세요 반갑습니다"), (4.2, 7.8, "오늘은 정말 기분이 좋아요")]
    srt = [
        f"{n}\n00:00:0{int(a)},{round(a % 1 * 1000):03d} --> "
        f"00:00:0{int(b)},{round(b % 1 * 1000):03d}\n{text}\n"
        for n, (a, b, text) in enumerate(cues, start=1)
    ]
    (made / "talk.srt").write_text("\n".join(srt), encoding="utf-8")
    write_media(
        made / "silent.wav",
        sounds=Sound(np.zeros((1, 4 * rate), np.float32), rate, codec="pcm_s16le"),
    )
    (made / "text.mp4").write_text("not a film", encoding="utf-8")
    write_media(made / "numbers.mp4", film("25", 50, size=(320, 240)))
    (made / "notes.pdf").write_bytes(b"PK")
    return made


def test_a_recording_with_its_transcript(folder: Path) -> None:
    result = one(folder / "talk.wav", transcript=str(folder / "talk.srt"))
    assert result.state == "ok"
    assert result.heard is not None
    assert result.heard.whole
    assert result.heard.speech_share == pytest.approx(0.7, abs=0.15)
    assert result.fit is not None
    assert result.fit.words == 6
    assert result.fit.in_speech >= 5
    read = {note.code: note for note in result.notes if note.treatment == "read"}
    assert read.keys() == {"sound", "transcript"}
    assert read["sound"].text.en == "sound: 16 kHz mono, 0:08"
    assert read["transcript"].count == 2
    for lang, says in (("en", "SRT, 2 utterances, 6 words"), ("ko", "발화 2개, 단어 6개")):
        text = check_text([result], (), lang)  # type: ignore[arg-type]
        assert says in text
    document = check_document([result], (), "en")
    (entry,) = document["files"]
    assert entry["state"] == "ok"
    assert entry["reading"].keys() == {"read", "repaired", "left_out"}
    assert {"code", "count", "first"} <= entry["reading"]["read"][0].keys()
    json.dumps(document, allow_nan=False)


def test_words_where_nobody_speaks_are_told() -> None:
    words = tuple(Word(Interval(10 + i, 10.5 + i), f"w{i}") for i in range(10))
    said = Transcript((Utterance(Interval(10, 20), "…", words=words),), "srt")
    heard = [Interval(0.0, 30.0)]
    late, notes = fit_of(said, heard, [Interval(0.0, 9.0)])
    assert (late.words, late.in_speech) == (10, 0)
    assert [n.code for n in notes] == ["words_outside_speech"]
    assert notes[0].count == 10
    right, notes = fit_of(said, heard, [Interval(9.8, 20.2)])
    assert (right.in_speech, notes) == (10, [])
    elsewhere, notes = fit_of(said, [Interval(0.0, 5.0)], [])  # no word was listened to
    assert (elsewhere.words, notes) == (0, [])


@pytest.mark.slow
def test_what_is_odd_is_noted_and_what_is_broken_fails(folder: Path) -> None:
    assert "silent" in codes(one(folder / "silent.wav"))
    numbers = one(folder / "numbers.mp4")
    assert numbers.seen is not None
    assert (numbers.seen.frames, numbers.seen.with_face) == (10, 0)
    assert "no_face_seen" in codes(numbers)
    broken = one(folder / "text.mp4")
    assert broken.state == "failed"
    assert broken.error is not None
    assert "text.mp4" in broken.error.en


@pytest.mark.slow
def test_faces_in_ten_frames(tmp_path: Path) -> None:
    person = sample_person(np.random.default_rng(94))
    figure = render_face(person, NEUTRAL, Pose(160, 110, 66), (320, 240))
    canvas = Image.new("RGB", (320, 240), (205, 210, 214))
    canvas.paste(figure.image, (0, 0), figure.mask)
    picture = np.asarray(canvas)
    write_media(tmp_path / "face.mp4", film("25", 60, size=(320, 240), draw=lambda n: picture))
    seen = one(tmp_path / "face.mp4").seen
    assert seen is not None
    assert (seen.frames, seen.with_face, seen.several) == (10, 10, 0)
    assert seen.size_px is not None
    assert seen.size_px > 60


@pytest.mark.slow
def test_a_folder_is_judged_in_one_call(folder: Path) -> None:
    results, unread = check([folder], replace(ONE, transcript=str(folder)))
    states = {Path(r.file).name: r.state for r in results}
    assert states == {
        "numbers.mp4": "noted",
        "silent.wav": "noted",
        "talk.srt": "ok",
        "talk.wav": "ok",
        "text.mp4": "failed",
    }
    assert any("1 .pdf" in said.en for said in unread)
    by_name = {Path(r.file).name: r for r in results}
    assert "no_matching_transcript" in codes(by_name["silent.wav"])
    for lang, header, end in (
        ("en", "speech", "1 cannot be used"),
        ("ko", "말소리", "사용할 수 없음 1"),
    ):
        text = check_text(results, unread, lang)  # type: ignore[arg-type]
        lines = text.splitlines()
        assert header in lines[0]
        assert sum(line.startswith("x ") for line in lines) >= 1
        assert end in text
        assert all(len(line) < 400 for line in lines)
        table = lines[: len(results) + 1]
        assert len(table) == len(results) + 1


def test_a_hundred_recordings_are_a_table_of_a_hundred_lines() -> None:
    media = MediaInfo("a.mp4", 65.0, VideoInfo(1280, 720, 0, "25", 0.0, 65.0), None)
    long = "아주 긴 이름을 가진 면담 녹화 파일 2026년 11월 29일 참가자 P001"
    results = [Checked(f"in/{long}-{k}.mp4", "recording", media=media) for k in range(100)]
    for lang in ("en", "ko"):
        lines = check_text(results, (), lang).splitlines()  # type: ignore[arg-type]
        rows = lines[1:101]
        assert all("1280×720 25" in row and "1:05" in row for row in rows)
        assert len({row.index("1280") for row in rows}) == 1
        assert rows[0] != rows[7]  # the end of a name, where names differ, is kept


def test_other_kinds_of_files(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "who.rttm").write_text("SPEAKER a 1 0.5 2.0 <NA> <NA> Kim <NA> <NA>\n")
    spoken = one(tmp_path / "who.rttm")
    assert (spoken.kind, spoken.state) == ("speakers", "ok")
    assert "Kim" in spoken.notes[0].text.en
    words = one(folder / "talk.srt")
    assert (words.kind, words.state) == ("transcript", "ok")
    (tmp_path / "bad.json").write_text("[" * 5000)
    assert one(tmp_path / "bad.json").state == "failed"
    Image.new("RGB", (300, 200), (90, 140, 60)).save(tmp_path / "p.png")
    photo = one(tmp_path / "p.png")
    assert photo.kind == "photo"
    assert codes(photo) == {"no_face_seen"}
    with pytest.raises(InputError, match="no such file"):
        check([tmp_path / "none.wav"], ONE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no recording, transcript or photo"):
        check([tmp_path / "empty"], ONE)


def test_a_fault_is_said_and_the_others_are_judged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("counts")

    monkeypatch.setattr(check_story, "listen", broken)
    result = one(folder / "talk.wav")
    assert result.state == "failed"
    assert result.error is not None
    assert "an error in nunbit" in result.error.en
    assert "KeyError" in result.error.en
    assert "nunbit의 오류" in result.error.ko
    assert one(folder / "talk.srt").state == "ok"


def test_where_is_listened_to_is_spread_and_the_same_every_time() -> None:
    assert stretches_of(Interval(0.0, 100.0), 120.0) == (Interval(0.0, 100.0),)
    hour = stretches_of(Interval(5.0, 3605.0), 120.0)
    assert hour == stretches_of(Interval(5.0, 3605.0), 120.0)
    assert len(hour) == 20
    assert sum(s.duration_s for s in hour) == pytest.approx(120.0)
    assert all(s.start_s >= 5.0 and s.end_s <= 3605.0 for s in hour)
    assert all(a.end_s <= b.start_s for a, b in pairwise(hour))
    phases = sorted((s.start_s % 180.0) for s in hour)  # a recording that repeats every 3 minutes
    assert max(np.diff(phases)) < 30.0


def test_sampled_frames_and_sound_are_those_of_reading(tmp_path: Path) -> None:
    """Frames at rising times and samples of the same place, as reading the whole file gives."""
    path = tmp_path / "a.mp4"
    tone = np.sin(np.arange(48_000 * 20) / 40.0).astype(np.float32) * np.linspace(
        0, 0.5, 48_000 * 20
    )
    films = film("25", 500, options={"g": "50"})
    write_media(path, films, Sound(tone[None]))
    whole = list(read_media(path, rate_hz=None))
    times = {round(f.time_s, 4): f.pixels for f in whole if isinstance(f, Frame)}
    wanted = [1.0 + 2.0 * k for k in range(10)]
    frames = list(sample_frames(path, wanted))
    assert len(frames) == 10
    assert all(a.time_s < b.time_s for a, b in pairwise(frames))
    for frame, at in zip(frames, wanted, strict=True):
        assert abs(frame.time_s - at) <= 2.5
        np.testing.assert_array_equal(frame.pixels, times[round(frame.time_s, 4)])
    chunks = [c for c in whole if isinstance(c, AudioChunk)]
    samples = np.concatenate([c.samples for c in chunks])
    spots = [Interval(2.0, 3.0), Interval(15.0, 16.0)]
    for stretch, found in sample_stretches(path, spots):
        got = np.concatenate([c.samples for c in found])[:16_000]
        at = round(found[0].start_s * 16_000)
        assert abs(found[0].start_s - stretch.start_s) < 0.1
        np.testing.assert_allclose(got, samples[at : at + 16_000], atol=0.02)


def test_files_whose_length_is_guessed_are_read_in_one_pass(tmp_path: Path) -> None:
    tone = (0.3 * np.sin(np.arange(16_000 * 20) / 20.0)).astype(np.float32)
    path = write_media(tmp_path / "a.mp3", sounds=Sound(tone[None], 16_000, codec="mp3"))
    spots = [Interval(2.0, 3.0), Interval(15.0, 16.0)]
    found = dict(sample_stretches(path, spots))
    assert list(found) == spots
    assert all(abs(c[0].start_s - s.start_s) < 0.6 for s, c in found.items())


def test_the_protocol_says_each_thing_once_and_in_order() -> None:
    hdr = ReadingNote("read", "hdr", 1, "0:00.0", Text("HDR", "HDR"))
    lost = ReadingNote(
        "left_out", "no_times", 3, "line 4", Text("3 without times", "시각 없는 3개")
    )
    mended = ReadingNote("repaired", "no_duration", 1, "line 9", Text("mended", "고침"))
    media = MediaInfo(
        "a.mp4",
        65.0,
        VideoInfo(720, 1280, 90, "30000/1001", 0.0, 65.0),
        AudioInfo(48_000, 2, 0.0, 65.0, stream=1, n_streams=2),
        reading=(hdr,),
    )
    said = Transcript((), "srt", reading=(lost, mended))
    notes = protocol(media, said, Diarisation(()), (hdr, lost))
    assert [n.code for n in notes] == [
        "video",
        "sound",
        "hdr",
        "transcript",
        "no_duration",
        "no_times",
    ]
    assert notes[0].text.en == "video: 720×1280, 29.97 fps, 1:05, turned by 90°"
    assert "stereo" in notes[1].text.en
    assert "stream 1 of 2" in notes[1].text.en
    assert [n.code for n in problems(notes)] == ["hdr", "no_duration", "no_times"]
    assert notes_of_document(reading_document(notes)) == notes
    assert unsaid(
        [Text("3 without times", "x"), Text("new", "새로"), Text("new", "새로")], notes
    ) == (Text("new", "새로"),)


def test_the_command_prints_one_object_and_fails_where_a_file_does(folder: Path) -> None:
    files = (folder / "text.mp4", folder / "talk.srt")
    bad = run_command("check", *files, "--json", "--lang", "ko")
    assert bad.returncode == 1
    document = json.loads(bad.stdout)
    assert [f["state"] for f in document["files"]] == ["failed", "ok"]
    assert bad.stderr.strip().splitlines()[-1].startswith("nunbit: error: 파일 2개 중 1개")


def test_silence_is_no_division_by_zero(folder: Path) -> None:
    heard = one(folder / "silent.wav").heard
    assert isinstance(heard, Heard)
    assert heard.speech_share == 0.0
    write_media(folder / "clicks.wav", sounds=Sound(clicks([0.5], 1.0), codec="pcm_s16le"))
    assert one(folder / "clicks.wav").heard is not None


MAKERS = {"ReadingNote": 1, "media_note": 1, "_look_note": 0}
"""What makes a note -> place of the code among its arguments."""


def _codes_in_source() -> set[str]:
    """Every code that stands in a call that makes a note, or in the list of the transcripts."""
    found = set(KINDS)
    for path in sorted(Path(nunbit.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = MAKERS.get(getattr(node.func, "id", "") if isinstance(node, ast.Call) else "")
            if place is None or not isinstance(node, ast.Call):
                continue
            named = [k.value for k in node.keywords if k.arg == "code"]
            code = named[0] if named else node.args[place] if len(node.args) > place else None
            if isinstance(code, ast.Constant):
                found.add(str(code.value))
    return found


@pytest.mark.slow
def test_every_code_has_a_few_words_in_both_languages() -> None:
    contract = {
        "speaker_names_with_spaces", "time_not_a_number", "no_times", "not_a_timing_line",
        "no_duration", "speakers_inferred", "words_outside_speech", "channels_cancel", "silent",
        "clipped", "header_shorter_than_data", "cut_off", "interlaced", "hdr",
        "people_changed_at_cut",
    }  # fmt: skip
    made = _codes_in_source() - PLAIN_CODES
    assert contract <= made
    photos = {"first_frame", "reduced"}
    missing_media = {"no_matching_transcript", "no_matching_speakers"}
    assert set(SHORT) == made | photos | missing_media
    for said in SHORT.values():
        assert width(said.en) <= 26
        assert width(said.ko) <= 26
        assert said.ko in ("HDR", "CP949") or any("가" <= c <= "힣" for c in said.ko)


def _table(columns: int | None, lang: str) -> list[str]:
    video = VideoInfo(1280, 720, 0, "30000/1001", 0.0, 3600.0)
    audio = AudioInfo(44_100, 2, 0.0, 3600.0)
    note = [
        ReadingNote("read", code, 1, "0:00.0", Text(code, code))
        for code in ("clipped", "channels_cancel", "interlaced", "words_outside_speech")
    ]
    media = MediaInfo("a.mp4", 3600.0, video, audio)
    heard = Heard(-23.4, 0.5, 0.0, 0.61, 120.0, whole=False)
    name = "참가자 17번 두 번째 방문 녹화 2026-11-29 오후.mp4"
    results = [
        Checked(name, "recording", tuple(note), None, media, heard, Seen(10, 10, 0, 80.0)),
        Checked("한글\udcff\n이름.srt", "transcript"),
        Checked("b.mp4", "recording", (), Text("b.mp4: no", "b.mp4: 아니요")),
    ]
    return check_text(results, (), lang, columns).split("\n\n")[0].split("\n")  # type: ignore[arg-type]


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_the_terminal(lang: str, columns: int) -> None:
    lines = _table(columns, lang)
    assert max(map(width, lines)) <= columns
    text = " ".join(" ".join(lines).split())
    for code in ("clipped", "channels_cancel", "interlaced", "words_outside_speech"):
        assert SHORT[code].pick(lang) in text
    assert "61%" in text
    assert "10/10" in text
    "".join(lines).encode("utf-8")  # names of broken bytes can be printed
    assert len(_table(None, lang)) == 4  # in a file: a line each


def test_a_film_of_one_picture_is_looked_at(tmp_path: Path) -> None:
    path = write_media(tmp_path / "one.mp4", film("25", 1, size=(320, 240)))
    result = one(path)
    assert result.seen is not None
    assert result.seen.frames == 1
    assert "no_frame" not in codes(result)


@pytest.mark.slow
def test_interlaced_pictures_show_in_ten_frames(tmp_path: Path) -> None:
    def two_moments(number: int) -> Any:
        picture = np.full((240, 320, 3), 60, np.uint8)
        for field in (0, 1):
            x = (32 * (2 * number + field)) % 192
            picture[field::2, x : x + 100] = 220
        return picture

    def one_moment(number: int) -> Any:
        picture = np.full((240, 320, 3), 60, np.uint8)
        picture[:, (64 * number) % 192 : (64 * number) % 192 + 100] = 220
        return picture

    size = (320, 240)
    mixed = write_media(tmp_path / "i.mp4", film("25", 50, size=size, draw=two_moments))
    plain = write_media(tmp_path / "p.mp4", film("25", 50, size=size, draw=one_moment))
    found = {note.code: note for note in one(mixed).notes}
    assert found["interlaced"].treatment == "repaired"
    assert found["interlaced"].count == 10
    assert "interlaced" not in codes(one(plain))


def test_places_without_a_frame_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_media(tmp_path / "a.mp4", film("25", 50, size=(320, 240)))
    assert "no_frame" not in codes(one(path))
    # A film whose only key frame is its first one, and that says nothing of the later times.
    monkeypatch.setattr(
        "nunbit.stories.check.look.sample_frames",
        lambda path, times_s, **more: sample_frames(path, times_s[:2], **more),
    )
    found = {note.code: note for note in one(path).notes}
    assert found["no_frame"].count == 8
    assert "8 of the 10" in found["no_frame"].text.en
