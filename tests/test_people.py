"""The table of recordings, and the tables over all recordings of a folder."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av")

import nunbit
from command import run_command
from make_media import Sound, clicks, write_media
from make_timeline import Recipe, make_timeline
from nunbit.core.messages import InputError, SettingsError
from nunbit.report import draw_timeline, render_any
from nunbit.report.joined_tables import find_recordings, keep_current, write_joined
from nunbit.stories.analyze import analyze
from nunbit.stories.analyze.job import AnalyzeSettings
from nunbit.stories.analyze.roster import folder_names, read_people

SETTINGS = AnalyzeSettings(workers=1)
SRT = "1\n00:00:00,500 --> 00:00:02,000\n비밀번호는 살구나무\n"


@pytest.fixture
def visits(tmp_path: Path) -> Path:
    """Three short sounds, one with a transcript."""
    for n, name in enumerate(("김민지 1", "김민지 2", "lee")):
        write_media(
            tmp_path / f"{name}.wav",
            sounds=[Sound(clicks([0.5 + n / 10, 1.5], 3.0), codec="pcm_s16le")],
        )
    (tmp_path / "words.srt").write_text(SRT, encoding="utf-8")
    return tmp_path


def rows_of(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_a_table_names_person_session_group_and_words_of_every_recording(visits: Path) -> None:
    table = visits / "people.csv"
    # Excel's 'Unicode text': UTF-16 with tabs; columns in another order, Korean heads, one more.
    lines = [
        "조건\t회기\t대상자\tage\t파일\t기준 구간\t전사\tspeakers",
        "before\t1\tP01\t31\t김민지 1.wav\t0 – 2\twords.srt\t",
        "after\t2\tP01\t31\t김민지 2.wav\t\t\t",
    ]
    table.write_bytes("\r\n".join(lines).encode("utf-16"))
    people = read_people(table, SETTINGS)
    first, second = people.rows
    assert first.settings.subject == "P01"
    assert first.settings.baseline == "0-2"
    assert first.transcript == visits / "words.srt"
    assert dict(first.about) == {"session": "1", "group": "before", "age": "31"}
    assert second.transcript is None
    assert [notice.en for notice in people.notices] == [
        "people.csv: other columns are kept for the tables: age",
        "people.csv, rows 3: no baseline; these recordings are compared with what is usual in them",
    ]
    done = run_command("analyze", "--people", table, "--out", visits / "out", "--json")
    assert done.returncode == 0, done.stderr
    wide = rows_of(visits / "out" / "sessions_wide.csv")
    assert [(r["recording"], r["person"], r["session"], r["group"], r["age"]) for r in wide] == [
        ("김민지 1", "P01", "1", "before", "31"),
        ("김민지 2", "P01", "2", "after", "31"),
    ]
    assert wide[0]["face.p_joy"] == ""
    assert wide[0]["face.p_joy.why"] == "no_video"
    assert json.loads(done.stdout)["sessions"][0]["summary"]["about"]["group"] == "before"


@pytest.mark.slow
def test_bad_rows_are_named_and_the_good_ones_done(visits: Path) -> None:
    table = visits / "people.csv"
    table.write_text(
        "file,person,baseline\nlee.wav,P02,\nmissing.wav,P03,\n./lee.wav,P04,\n"
        "김민지 1.wav,P01,soon\n김민지 2.wav,P01\nwords.srt,P05,\n",
        encoding="cp949",
    )
    done = run_command("analyze", "--people", table, "--out", visits / "out", "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    states = [entry["state"] for entry in document["sessions"]]
    assert states == ["done", *["failed"] * 5]
    errors = [entry["error"] for entry in document["sessions"][1:]]
    for line, words in ((3, "missing.wav is not there"), (4, "lee.wav is in row 2 already"),
                        (5, "expected seconds as START-END"), (6, "2 cells, the header has 3"),
                        (7, "words.srt is no video or sound file")):  # fmt: skip
        assert any(f"people.csv, row {line}: " in e and words in e for e in errors), (line, errors)
    assert [r["person"] for r in rows_of(visits / "out" / "sessions_wide.csv")] == ["P02"]


def test_a_table_without_file_or_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("name,person\na,b\n", encoding="utf-8")
    with pytest.raises(InputError, match="no column 'file'; there are: name, person"):
        read_people(table, SETTINGS)
    table.write_text("file,person,person\na,b,c\n", encoding="utf-8")
    with pytest.raises(InputError, match="the column person is there twice"):
        read_people(table, SETTINGS)
    table.write_text("file,person\n", encoding="utf-8")
    with pytest.raises(InputError, match="no rows below the header"):
        read_people(table, SETTINGS)


def test_names_that_no_file_can_have_are_rows_that_are_told(tmp_path: Path) -> None:
    (tmp_path / "lee.wav").touch()
    table = tmp_path / "people.csv"
    table.write_text(
        f"file,person\nlee.wav,P01\n~nobody-of-this-name/a.wav,P02\n{'x' * 300}.wav,P03\n",
        encoding="utf-8",
    )
    people = read_people(table, SETTINGS)
    assert [row.media.name for row in people.rows] == ["lee.wav"]
    told = [bad.error.en for bad in people.bad]
    assert [re.search(r"row (\d)", text)[1] for text in told] == ["3", "4"]  # type: ignore[index]
    assert all("is not there" in text for text in told)


def test_three_thousand_rows_are_read_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for n in range(3000):
        (tmp_path / "a" / f"{n}.wav").touch()
    rows = "".join(f"a\\{n}.wav;P{n % 100:03d};{n // 100}\n" for n in range(3000))
    (tmp_path / "people.csv").write_text("file;person;session\n" + rows, encoding="utf-8")
    people = read_people(tmp_path / "people.csv", AnalyzeSettings(codes=True))
    assert (len(people.rows), len(people.bad)) == (3000, 0)
    assert folder_names(people, AnalyzeSettings(codes=True))[2999] == "P099_29"


def test_a_table_of_missing_files_names_every_row_and_no_page_that_is_not_there(
    tmp_path: Path,
) -> None:
    rows = "".join(f"none{n}.wav,P{n}\n" for n in range(40))
    (tmp_path / "people.csv").write_text("file,person\n" + rows, encoding="utf-8")
    done = run_command("analyze", "--people", tmp_path / "people.csv", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert all(f"row {n + 2}: the recording none{n}.wav" in done.stdout for n in range(40))
    assert "index.html" not in done.stdout
    assert "40 of 40 recordings could not be analysed" in done.stderr


def test_codes_must_be_there_and_differ(visits: Path) -> None:
    table, settings = visits / "people.csv", AnalyzeSettings(codes=True)
    table.write_text("file,person\nlee.wav,P01\n김민지 1.wav,P01\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="rows 2, 3 have 'P01'"):
        folder_names(read_people(table, settings), settings)
    table.write_text("file,person\nlee.wav,\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="row 2 has neither person nor session"):
        folder_names(read_people(table, settings), settings)
    with pytest.raises(SettingsError, match="give them as `people`"):
        analyze([visits / "lee.wav"], visits / "out", settings)


@pytest.mark.slow
def test_without_words_and_with_codes_nothing_tells_file_or_words(visits: Path) -> None:
    table = visits / "people.csv"
    table.write_text(
        "file,person,session,transcript\n김민지 1.wav,P01,1,words.srt\n", encoding="utf-8"
    )
    out = visits / "out"
    settings = AnalyzeSettings(
        codes=True, without_words=True, export=("eaf", "textgrid", "vtt", "csv"), workers=1
    )
    (outcome,) = analyze([], out, settings, people=table)
    assert outcome.folder.name == "P01_1"
    assert outcome.summary is not None
    assert outcome.summary["transcript"]["words"] == 2  # counted, not kept
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) >= 12
    for path in written:
        assert "김민지" not in path.name
        for words in ("김민지", "살구나무"):
            assert words.encode() not in path.read_bytes(), (path, words)
    assert not (outcome.folder / "observed.npz").exists()
    assert len(nunbit.read_timeline(outcome.folder).words) == 0


def test_a_recording_is_not_embedded_where_no_words_may_stay(visits: Path) -> None:
    settings = AnalyzeSettings(without_words=True, embed=True, workers=1)
    with pytest.raises(InputError, match="--embed puts the recording with its sound"):
        analyze([visits / "lee.wav"], visits / "out", settings)
    assert not (visits / "out").exists()


@pytest.mark.slow
def test_what_the_table_says_changes_without_a_new_analysis(visits: Path) -> None:
    table, out = visits / "people.csv", visits / "out"
    table.write_text("file,person,group\nlee.wav,P01,before\n", encoding="utf-8")
    analyze([], out, SETTINGS, people=table)
    table.write_text("file,person,group\nlee.wav,P01,after\n", encoding="utf-8")
    (again,) = analyze([], out, SETTINGS, people=table)
    assert again.state == "kept"
    assert [r["group"] for r in rows_of(out / "sessions_wide.csv")] == ["after"]
    (plain,) = analyze([visits / "lee.wav"], out, AnalyzeSettings(workers=1, subject="P01"))
    assert plain.state == "kept"  # and what was known of it stays
    assert [r["group"] for r in rows_of(out / "sessions_wide.csv")] == ["after"]


@pytest.mark.slow
def test_tables_are_current_when_recordings_come_and_go(visits: Path) -> None:
    out = visits / "out"
    for name in ("lee", "김민지 1"):
        analyze([visits / f"{name}.wav"], out, SETTINGS)
    assert [r["recording"] for r in rows_of(out / "sessions_wide.csv")] == ["lee", "김민지 1"]
    assert "김민지 1" in (out / "index.html").read_text(encoding="utf-8")
    assert {r["recording"] for r in rows_of(out / "windows_wide.csv")} == {"lee", "김민지 1"}
    shutil.rmtree(out / "lee")
    done = run_command("tables", out)
    assert done.returncode == 0, done.stderr
    assert [r["recording"] for r in rows_of(out / "sessions_wide.csv")] == ["김민지 1"]
    assert "lee" not in (out / "index.html").read_text(encoding="utf-8")


def test_a_damaged_recording_is_named_and_left_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_timeline(tmp_path / "good", Recipe(duration_s=30))
    make_timeline(tmp_path / "bad", Recipe(duration_s=30))
    (tmp_path / "bad" / "timeline.parquet").write_bytes(b"PAR1")
    write_joined(tmp_path, lang="en")
    assert "bad: damaged, not in the tables" in capfd.readouterr().err
    assert [r["recording"] for r in rows_of(tmp_path / "sessions_wide.csv")] == ["good"]


def test_windows_and_episodes_hold_what_the_timeline_holds(tmp_path: Path) -> None:
    make_timeline(tmp_path / "a", Recipe(duration_s=60))
    make_timeline(
        tmp_path / "b", Recipe(duration_s=40, voice=False, words=False, voice_model=False)
    )
    write_joined(tmp_path, lang="ko")
    windows = rows_of(tmp_path / "windows_wide.csv")
    timeline = nunbit.read_timeline(tmp_path / "a")
    wide = timeline.windows(wide=True).to_pandas()
    mine = [r for r in windows if r["recording"] == "a"]
    assert len(mine) == len(wide)
    for name in ("face.p_joy", "voice.speech_share", "fused.valence"):
        if name not in wide:
            continue
        for row, value in zip(mine, wide[name], strict=True):
            assert (row[name] == "") == (value != value)
            assert row[name] == "" or abs(float(row[name]) - value) < 1e-8
    # What this recording lacks is empty, in the same columns.
    other = [r for r in windows if r["recording"] == "b"]
    assert all(r["text.p_joy"] == "" for r in other if "text.p_joy" in r)
    lost = [r for r in mine if r["face.p_joy"] == ""]
    assert lost
    assert all(r["face.why"] in ("no_face", "multiple_faces", "low_quality") for r in lost)
    episodes = rows_of(tmp_path / "episodes.csv")
    assert len(episodes) == sum(len(s["episodes"]) for s in find_recordings(tmp_path).summaries)
    assert all(float(e["duration_s"]) > 0 for e in episodes)


def test_excel_and_spss_read_back_with_labels_in_both_languages(tmp_path: Path) -> None:
    pyreadstat, openpyxl = pytest.importorskip("pyreadstat"), pytest.importorskip("openpyxl")
    make_timeline(tmp_path / "a", Recipe(duration_s=60))
    make_timeline(tmp_path / "b", Recipe(duration_s=40, face=False))
    for name, about in (("a", {"session": "1", "나이 (세)": "31"}), ("b", {"session": "2"})):
        path = tmp_path / name / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(summary | {"about": about}), encoding="utf-8")
    for lang, label in (("en", "probability of joy, Face [0–1]"), ("ko", "기쁨 확률, 얼굴 [0–1]")):
        done = run_command("tables", tmp_path, "--format", "xlsx,sav", "--lang", lang)
        assert done.returncode == 0, done.stderr
        frame, meta = pyreadstat.read_sav(str(tmp_path / "windows_wide.sav"))
        assert meta.column_names_to_labels["face.p_joy"] == label
    assert list(frame["session"].unique()) == ["1", "2"]
    assert "나이__세_" in frame
    plain = rows_of(tmp_path / "windows_wide.csv")
    assert len(frame) == len(plain)
    assert frame["face.p_joy"].isna().tolist() == [row["face.p_joy"] == "" for row in plain]
    assert meta.variable_value_labels["face.why"]["no_face"] == "화면에 얼굴 없음"
    sessions, about = pyreadstat.read_sav(str(tmp_path / "sessions_wide.sav"))
    assert sessions.columns[0] == "recording"
    assert all(about.column_names_to_labels.values())
    book = openpyxl.load_workbook(tmp_path / "tables.xlsx", read_only=True)
    assert book.sheetnames == ["sessions", "episodes", "windows", "columns", "reasons"]
    rows = list(book["windows"].values)
    assert len(rows) == len(plain) + 1
    assert rows[0][:4] == ("recording", "person", "session", "group")
    explained = {row[0] for row in book["columns"].values}
    assert set(rows[0]) <= explained


def test_an_unknown_format_is_one_line(tmp_path: Path) -> None:
    make_timeline(tmp_path / "a", Recipe(duration_s=30))
    done = run_command("tables", tmp_path, "--format", "sas")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "nunbit: error: --format sas: choose from csv, xlsx, sav\n"


def test_tables_follow_folders_that_were_deleted_or_added_by_hand(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for n, name in enumerate(("a", "b", "=c")):
        make_timeline(out / name, Recipe(duration_s=20.0, seed=n))
    write_joined(out, lang="en")
    before = (out / "sessions_wide.csv").stat().st_mtime_ns
    assert keep_current(out, lang="en") == ()
    assert (out / "sessions_wide.csv").stat().st_mtime_ns == before
    shutil.rmtree(out / "b")
    assert len(nunbit.read_sessions(out)) == 2
    assert "b" in capfd.readouterr().err
    for name in ("sessions_wide.csv", "windows_wide.csv", "episodes.csv"):
        assert "b" not in {row["recording"] for row in rows_of(out / name)}
    assert [row["recording"] for row in rows_of(out / "sessions_wide.csv")] == ["'=c", "a"]
    make_timeline(out / "d", Recipe(duration_s=20.0, seed=7))
    render_any(out, lang="en")
    assert [row["recording"] for row in rows_of(out / "sessions_wide.csv")] == ["'=c", "a", "d"]
    assert ">d<" in (out / "index.html").read_text(encoding="utf-8")
    for name in ("a", "=c", "d"):
        shutil.rmtree(out / name)
    with pytest.raises(InputError, match="no analysed recordings"):
        nunbit.read_sessions(out)
    assert "out of date" in capfd.readouterr().err  # they still tell of people who are gone


def test_no_tables_are_made_where_there_were_none(tmp_path: Path) -> None:
    make_timeline(tmp_path / "a", Recipe(duration_s=20.0))
    assert keep_current(tmp_path, lang="en") == ()
    assert len(nunbit.read_sessions(tmp_path)) == 1
    assert not (tmp_path / "sessions_wide.csv").exists()


def test_the_picture_of_a_timeline_follows_the_language(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folder = make_timeline(tmp_path / "a", Recipe(duration_s=20.0))
    _, svg = draw_timeline(folder, lang="ko")
    korean = svg.read_bytes()
    render_any(folder, lang="en")
    assert svg.read_bytes() != korean
    assert 'lang="en"' in (folder / "report.html").read_text(encoding="utf-8")
