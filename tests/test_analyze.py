"""The story of analyze: recordings to folders, resumed, batched, and refused in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from nunbit.runtime.progress import set_lang

pytest.importorskip("av")

from make_media import Sound, clicks, film, write_media
from nunbit.core.messages import InputError, MediaError, SettingsError
from nunbit.core.streams import Frame, Interval, MeasureBlock, Transcript, Utterance
from nunbit.measures.class_probabilities import text_chances
from nunbit.model.bundle import TextEmotion, default_bundle_path
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.pictures.face_mesh import landmark_network
from nunbit.recording.paths import companion, list_media, session_names
from nunbit.runtime.files import read_json
from nunbit.stories.analyze import Outcome, analyze
from nunbit.stories.analyze.findings import baseline_notices
from nunbit.stories.analyze.job import AnalyzeSettings
from nunbit.stories.analyze.outcome import outcomes_text
from nunbit.synth.script import load_script
from nunbit.synth.video import render_video

CONTRACT = (
    *("subject", "session", "track", "scope", "modality", "measure", "t_start", "t_end", "value"),
    *("ci_low", "ci_high", "baseline", "unit", "n_expected", "n_valid", "confidence"),
    *("mask_reason", "grade", "version"),
)
SETTINGS = AnalyzeSettings(single_speaker=True, workers=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of a talking drawn face, with its transcript beside it."""
    folder = tmp_path_factory.mktemp("clip")
    script_file = folder / "talk.toml"
    script_file.write_text(
        "duration_s = 8.0\nwidth = 320\nheight = 240\nfps = 25\nperson = 94\n"
        "emotions = [{ at_s = 0.0 }, { at_s = 4.0, joy = 1.0 }, { at_s = 8.0, joy = 1.0 }]\n"
        'sayings = [{ start_s = 1.0, text = "안녕하세요 반갑습니다" }, '
        '{ start_s = 5.0, text = "오늘은 정말 기분이 좋아요" }]\n',
        encoding="utf-8",
    )
    script = load_script(script_file)
    render_video(folder / "talk.mp4", script)
    return folder / "talk.mp4"


@pytest.fixture(scope="module")
def analysed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip's folder with every export."""
    out = tmp_path_factory.mktemp("out")
    settings = replace(
        SETTINGS,
        transcript=str(clip.with_suffix(".srt")),
        subject="P01",
        export=("eaf", "textgrid", "vtt", "csv", "openface"),
    )
    analyze([clip], out, settings)
    return out / "talk"


@pytest.mark.slow
def test_a_recording_becomes_a_folder_with_all_of_the_contract(analysed: Path) -> None:
    table = pq.read_table(analysed / "timeline.parquet")
    assert tuple(table.column_names) == CONTRACT
    rows = table.to_pylist()
    scopes = {row["scope"] for row in rows}
    assert {"window", "turn", "session"} <= scopes
    for row in rows:
        missing = row["value"] is None or np.isnan(row["value"])
        assert missing == bool(row["mask_reason"]) or row["mask_reason"] == "unvalidated"
    assert {row["subject"] for row in rows} == {"P01"}
    fused = [r for r in rows if r["modality"] == "fused" and r["measure"].startswith("p_")]
    assert {r["measure"] for r in fused} >= {"p_joy", "p_sadness", "p_neutral"}
    for name in ("frames", "words", "voice"):
        assert pq.read_table(analysed / f"{name}.parquet").num_rows > 5
    names = {path.name for path in analysed.iterdir()}
    assert {"talk.eaf", "talk.TextGrid", "talk.vtt", "talk.csv", "talk.openface.csv"} <= names
    assert not [name for name in names if name.startswith(".")]


@pytest.mark.slow
def test_stages_that_overlap_give_what_one_after_the_other_gives(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nunbit.recording import read

    monkeypatch.setattr(read, "available_cores", lambda: 2)
    settings = replace(SETTINGS, transcript=str(clip.with_suffix(".srt")), subject="P01")
    for overlap in (True, False):
        given = replace(settings, overlap=overlap)
        analyze([clip], tmp_path / str(overlap), given)
    for name in ("timeline.parquet", "frames.parquet", "words.parquet"):
        ahead, plain = (pq.read_table(tmp_path / str(o) / "talk" / name) for o in (True, False))
        assert ahead.equals(plain) or _same_with_nan(ahead, plain), name
        assert ahead.num_rows


@pytest.mark.slow
@pytest.mark.parametrize("overlap", [True, False])
def test_a_killed_recording_goes_on_where_it_was(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, overlap: bool
) -> None:
    from nunbit.recording import read as reading
    from nunbit.recording.face_reader import FaceReader

    monkeypatch.setattr(reading, "available_cores", lambda: 2)
    monkeypatch.setattr(reading, "PART_S", 2.0)
    settings = replace(SETTINGS, overlap=overlap)
    analyze([clip], tmp_path / "whole", settings)
    read = FaceReader.read
    times: list[float] = []

    def die(self: FaceReader, frame: Frame, found: Any) -> None:
        if frame.time_s > 5.0:
            raise KeyboardInterrupt
        read(self, frame, found)

    def note(self: FaceReader, frame: Frame, found: Any) -> None:
        times.append(frame.time_s)
        read(self, frame, found)

    monkeypatch.setattr(FaceReader, "read", die)
    with pytest.raises(KeyboardInterrupt):
        analyze([clip], tmp_path / "killed", settings)
    parts = tmp_path / "killed" / "talk" / "talk.unfinished"
    assert len(list(parts.rglob("*.part"))) == 2
    monkeypatch.setattr(FaceReader, "read", note)
    analyze([clip], tmp_path / "killed", settings)
    assert 3.9 < times[0] < 4.2  # what the parts hold is not read again
    assert not parts.exists()
    for name in ("timeline.parquet", "frames.parquet"):
        one, other = (pq.read_table(tmp_path / o / "talk" / name) for o in ("whole", "killed"))
        assert one.equals(other) or _same_with_nan(one, other), name


def _same_with_nan(first: Any, second: Any) -> bool:
    """Whether two tables hold the same; NaN equals NaN here, as it does not in Arrow."""
    if first.column_names != second.column_names or first.num_rows != second.num_rows:
        return False
    return all(
        repr(first[name].to_pylist()) == repr(second[name].to_pylist())
        for name in first.column_names
    )


@pytest.mark.slow
def test_the_summary_says_what_was_found_and_how(analysed: Path) -> None:
    summary = read_json(analysed / "summary.json")
    measures = {(m["measure"], m["modality"]): m for m in summary["measures"]}
    assert measures["face_coverage", "face"]["value"] > 0.8
    assert measures["f0_median", "voice"]["value"] > 60
    assert measures["joy_time", "face"]["mask_reason"] == "too_short"  # a minute is asked for
    assert summary["persons"][0]["target"]
    assert summary["transcript"]["words"] > 0
    landmarks = {"landmarks"} if landmark_network() else set()
    assert summary["provenance"]["inputs"].keys() == {"media", "transcript", "bundle"} | landmarks
    assert str(analysed) not in json.dumps(summary)  # no folder of the user's
    report = (analysed / "report.html").read_text(encoding="utf-8")
    assert "not a diagnosis" in report
    assert "109" in report


@pytest.mark.slow
def test_what_is_done_is_kept_and_what_changed_is_done_again(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = analyze([clip], tmp_path, SETTINGS)[0]
    assert first.state == "done"
    monkeypatch.setattr("nunbit.stories.analyze.session.observed", _never)
    assert analyze([clip], tmp_path, SETTINGS)[0].state == "kept"
    assert "kept" in outcomes_text([replace(first, state="kept")] * 2, tmp_path, "en")
    with pytest.raises(_Called):
        analyze([clip], tmp_path, replace(SETTINGS, window_s=3.0))


@pytest.mark.slow
def test_an_interrupted_recording_is_done_again_and_nothing_half_done_looks_finished(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("nunbit.stories.analyze.session.write_json", _never)  # the last file of all
        with pytest.raises(_Called):
            analyze([clip], tmp_path, SETTINGS)
    assert not (tmp_path / "talk" / "summary.json").exists()
    assert analyze([clip], tmp_path, SETTINGS)[0].state == "done"


@pytest.mark.slow
def test_one_bad_recording_does_not_stop_the_others(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(clip, folder / "good.mp4")
    (folder / "bad.mp4").write_bytes(b"not a film at all" * 50)
    write_media(folder / "sound.wav", sounds=[Sound(clicks([0.5, 1.5], 3.0))])
    out = tmp_path / "out"
    found = {o.session: o for o in analyze([folder], out, SETTINGS)}
    assert {name: o.state for name, o in found.items()} == {
        "good": "done",
        "bad": "failed",
        "sound": "done",
    }
    assert found["bad"].error is not None
    assert "bad.mp4" in found["bad"].error.en
    table = pq.read_table(out / "sessions.parquet").to_pylist()
    assert {row["session"] for row in table} == {"good", "sound"}
    assert {row["scope"] for row in table} == {"session"}
    assert (out / "index.html").is_file()
    masked = {
        row["mask_reason"]
        for row in table
        if row["session"] == "sound" and row["measure"] == "expressivity"
    }
    assert masked == {"no_video"}


@pytest.mark.slow
def test_a_silent_film_without_a_face_is_a_timeline_of_reasons(tmp_path: Path) -> None:
    path = tmp_path / "numbers.mp4"
    write_media(path, [film("25", 50)])
    set_lang("ko")
    analyze([path], tmp_path / "out", SETTINGS)
    summary = read_json(tmp_path / "out" / "numbers" / "summary.json")
    reasons = {m["mask_reason"] for m in summary["measures"] if m["value"] is None}
    assert {"no_face", "no_audio", "no_transcript"} <= reasons
    assert [s["kind"] for s in summary["states"]] == ["no_face"]
    assert summary["sync"] == {"reason": "no_audio"}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of clicks, analysed in a second."""
    path = tmp_path_factory.mktemp("quick") / "clicks.wav"
    return write_media(path, sounds=[Sound(clicks([0.5, 1.5], 2.0), codec="pcm_s16le")])


@pytest.mark.slow
def test_sound_alone_has_no_export_of_faces_and_the_protocol_says_so(
    quick: Path, tmp_path: Path
) -> None:
    (outcome,) = analyze([quick], tmp_path, replace(SETTINGS, export=("csv", "openface")))
    assert outcome.state == "done"
    written = {path.name for path in outcome.folder.iterdir()}
    assert "clicks.csv" in written
    assert "clicks.openface.csv" not in written
    assert outcome.summary is not None
    notes = outcome.summary["reading"]["left_out"]
    assert [(n["code"], n["first"]) for n in notes] == [("export_without_pictures", "openface")]


@pytest.fixture(scope="module")
def quick_done(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What its analysis wrote, with a baseline that is too short and no transcript of its name."""
    out = tmp_path_factory.mktemp("quick-out")
    (out / "words").mkdir()
    analyze([quick], out, _quick_settings(out))
    return out


def _quick_settings(out: Path) -> AnalyzeSettings:
    return replace(SETTINGS, export=("csv",), baseline="0-1", transcript=str(out / "words"))


@pytest.mark.parametrize("harm", ["", "empty", "cut", "changed", "gone"])
@pytest.mark.parametrize("name", ["timeline.parquet", "clicks.csv"])
def test_what_is_kept_is_there_and_whole(
    quick: Path, quick_done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str,
    name: str,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    shutil.copytree(quick_done, out)
    monkeypatch.setattr("nunbit.stories.analyze.session.observed", _never)
    path = out / "clicks" / name
    whole = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm:
        changed = {"empty": b"", "cut": whole[:-8], "changed": whole[:-1] + b"#"}
        path.write_bytes(changed[harm])
    if harm:
        with pytest.raises(_Called):
            analyze([quick], out, _quick_settings(out))
    else:
        assert analyze([quick], out, _quick_settings(out))[0].state == "kept"


def test_a_fault_of_nunbit_is_one_line_and_the_others_are_written(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nunbit.stories import analyze as story

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(story, "analyse_session", broken)
    with pytest.raises(
        InputError, match=r"clicks.wav: an error in nunbit.*ZeroDivisionError"
    ) as one:
        analyze([quick], tmp_path, SETTINGS)
    assert "\n" not in one.value.text.line("en")
    assert "test_analyze" not in one.value.text.line("en")


@pytest.mark.slow
def test_a_recording_whose_worker_dies_leaves_the_others_done(quick: Path, tmp_path: Path) -> None:
    """As the kernel does for lack of memory: the process is gone, without an exception."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from nunbit.stories.analyze import analyze\n"
        "from nunbit.stories.analyze.job import AnalyzeSettings\n"
        "from nunbit.recording import read\n"
        "real = read.probe_media\n"
        "def probe(path, **more):\n"
        "    if path.name.startswith('big'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(path, **more)\n"
        "read.probe_media = probe\n"
        "if __name__ == '__main__':\n"
        "    found = analyze([Path(p) for p in sys.argv[2:]], Path(sys.argv[1]),\n"
        "                    AnalyzeSettings(workers=1))\n"
        "    print([(o.session, o.state) for o in found])\n"
        "    print(found[0].error.en)\n"
    )
    script, big = tmp_path / "run.py", tmp_path / "big.wav"
    script.write_text(code)
    shutil.copy(quick, big)
    line = [sys.executable, str(script), str(tmp_path / "out"), str(big), str(quick)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=220)
    states, error = done.stdout.splitlines()[:2]
    assert states == "[('big', 'failed'), ('clicks', 'done')]"
    assert "SIGKILL" in error
    assert "big.wav" in error


@pytest.mark.slow
def test_nothing_is_written_outside_the_output_folder(quick: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    media = tmp_path / "in" / "...wav"
    shutil.copy(quick, media)
    out = tmp_path / "deep" / "out"
    outcome = analyze([media], out, SETTINGS)[0]
    assert outcome.state == "done"
    assert {p.name for p in tmp_path.iterdir()} == {"in", "deep"}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]
    assert [p.name for p in out.iterdir() if p.is_dir()] == [outcome.session]
    assert (out / outcome.session / "report.html").is_file()


def test_a_baseline_that_is_not_used_is_said(quick_done: Path) -> None:
    summary = read_json(quick_done / "clicks" / "summary.json")
    assert [
        "the baseline 0–1 s is too short (60 s or more of valid data are needed): it was not used",
        "기준 구간 0–1초는 너무 짧습니다(유효 자료 60초 이상 필요). 사용하지 않았습니다",
    ] in summary["notices"]
    assert "baseline_unused" in summary["told"]
    report = (quick_done / "clicks" / "report.html").read_text(encoding="utf-8")
    assert "it was not used" in report
    assert "No stretch is marked" not in report


@pytest.mark.parametrize(
    ("marked", "baselines", "says"),
    [
        (None, [np.nan], ""),
        (Interval(0, 20), [np.nan], "너무 짧습니다"),
        (Interval(0, 90), [np.nan], "유효 자료가 60초보다 적습니다"),
        (Interval(200, 300), [np.nan], "녹화가 끝난 뒤에 시작합니다"),
        (Interval(0, 90), [0.4], ""),
        (Interval(0, 90), [0.4, np.nan], "목소리"),
    ],
)
def test_why_a_baseline_is_nobodys(
    marked: Interval | None, baselines: list[float], says: str
) -> None:
    blocks = [_block(m, b) for m, b in zip(("face", "voice"), baselines, strict=False)]
    said = [said.ko for said in baseline_notices(marked, blocks, 120.0)]
    assert says in "".join(said)
    assert bool(said) == bool(says)


def _block(modality: Any, baseline: float) -> MeasureBlock:
    none, one = np.zeros(1), np.ones(1, np.int64)
    return MeasureBlock(
        "window", modality, "x", "", None, none, none + 4, none, one, one, none,
        np.array([""]), baseline=baseline,
    )  # fmt: skip


def test_the_reading_protocol_is_in_summary_json_and_report(quick_done: Path) -> None:
    summary = read_json(quick_done / "clicks" / "summary.json")
    outcome = Outcome("clicks", quick_done / "clicks", "done", summary)
    reading = outcome.to_dict("ko")["reading"]
    assert reading.keys() == {"read", "repaired", "left_out"}
    assert reading["read"][0]["code"] == "sound"
    assert [n["code"] for n in reading["left_out"]] == ["no_matching_transcript"]
    said = {(n["en"], n["ko"]) for notes in reading.values() for n in notes}
    assert not said & {tuple(pair) for pair in summary["notices"]}
    report = (quick_done / "clicks" / "report.html").read_text(encoding="utf-8")
    assert '<details class="reading box" id="reading">' in report
    assert "left out" in report
    assert "has no transcript named clicks" in report


class _Called(BaseException):
    pass


def _never(*_: Any, **__: Any) -> Any:
    raise _Called


def _wrong_transcript(folder: Path) -> None:
    write_media(folder / "a.wav", sounds=[Sound(clicks([0.5, 1.5], 3.0))])
    cues = "\n\n".join(f"{n}\n01:00:0{n},000 --> 01:00:0{n},900\n말" for n in range(1, 6))
    (folder / "a.srt").write_text(cues, encoding="utf-8")
    settings = replace(SETTINGS, transcript=str(folder / "a.srt"))
    analyze([folder / "a.wav"], folder / "out", settings)


@pytest.mark.parametrize(
    ("act", "kind", "says"),
    [
        (_wrong_transcript, InputError, "a.srt"),
        (lambda f: analyze([f / "none.mp4"], f / "o", SETTINGS), InputError, "no such"),
        (lambda f: analyze([f], f / "o", SETTINGS), InputError, "no video or sound"),
        (
            lambda f: analyze([f], f / "o", replace(SETTINGS, baseline="7")),
            SettingsError,
            "START-END",
        ),
        (
            lambda f: companion(str(f / "x.srt"), f / "a.mp4", 1, (".srt",)),
            InputError,
            "no such file",
        ),
        (
            lambda f: companion(str(_touch(f / "x.srt")), f / "a.mp4", 2, (".srt",)),
            InputError,
            "one file for 2",
        ),
        (
            lambda f: analyze([_touch(f / "empty.mp4")], f / "o", SETTINGS),
            InputError,
            "empty.mp4",
        ),
    ],
)
def test_bad_input_is_one_line(act: Any, kind: type[Exception], says: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=says):
        act(tmp_path)
    assert not list(tmp_path.rglob("summary.json"))


def _touch(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def test_sessions_are_named_by_stem_and_by_folder_where_stems_repeat(tmp_path: Path) -> None:
    one, two = tmp_path / "P01" / "talk.mp4", tmp_path / "P02" / "talk.mp4"
    assert session_names([one, tmp_path / "other.mp4"]) == ("talk", "other")
    assert session_names([one, two]) == ("P01-talk.mp4", "P02-talk.mp4")
    (tmp_path / "words").mkdir()
    srt = _touch(tmp_path / "words" / "talk.srt")
    assert companion(str(tmp_path / "words"), one, 2, (".srt",)) == srt
    assert companion(str(tmp_path / "words"), tmp_path / "other.mp4", 2, (".srt",)) is None
    assert companion("", one, 2, (".srt",)) is None
    film_path = _touch(tmp_path / "words" / "b.MP4")
    assert list_media([tmp_path / "words", film_path]) == (film_path,)


@pytest.fixture
def fitted() -> Bundle:
    bundle = load_bundle(default_bundle_path(), threads=1)
    bundle.document = replace(bundle.document, text_emotion=TextEmotion(("ko",), 10.0, 1.0))
    return bundle


def _said(*texts: str) -> Transcript:
    lines = tuple(Utterance(Interval(i, i + 1.0), text) for i, text in enumerate(texts))
    return Transcript(lines, "srt")


@pytest.mark.slow
def test_words_get_classes_only_in_a_language_the_bundle_was_tested_on(fitted: Any) -> None:
    found = text_chances(fitted, _said("너무 슬퍼서 눈물이 나요", "정말 행복해요"))
    assert found.chances is not None
    np.testing.assert_allclose(found.chances.sum(axis=1), 1.0, atol=1e-5)
    english = text_chances(fitted, _said("I am so sad", "and he is happy"))
    assert english.chances is None
    assert english.missing[0]["what"] == "text_emotion"
    fitted.document = replace(fitted.document, text_emotion=None)
    assert text_chances(fitted, _said("너무 슬퍼요")).chances is None
    assert text_chances(fitted, None).chances is None


def test_media_errors_are_input_errors() -> None:
    assert issubclass(MediaError, InputError)
