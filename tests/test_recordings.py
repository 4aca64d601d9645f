"""Which files are recordings, and names that stay inside the output folder whatever they are."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nunbit.core.messages import InputError
from nunbit.recording.paths import (
    MAX_NAME_BYTES,
    TRANSCRIPT_SUFFIXES,
    companion,
    list_media,
    safe_name,
    session_names,
    unread_folders,
    without_companion,
)


@pytest.mark.parametrize(
    ("file_name", "session"),
    [
        ("interview.mp4", "interview"),
        ("면담 1회기.mp4", "면담 1회기"),
        ("...wav", "_"),
        ("..wav", "_"),
        (".mp4", "_mp4"),
        (".hidden.wav", "_hidden"),
        ("talk. .wav", "talk"),
        ("a\\b.wav", "a_b"),
        ("con.wav", "con_"),
        ("NUL.txt.wav", "NUL.txt_"),
        ("index.html.wav", "index.html_"),
        ("sessions.parquet.mp4", "sessions.parquet_"),
        ("line\nbreak.wav", "line_break"),
        (os.fsdecode("면담".encode("cp949")) + ".wav", "면담"),
        (os.fsdecode(b"\xff\xfe") + ".wav", "\ufffd\ufffd"),
        ("\u1112\u1161\u11ab.wav", "한"),  # NFD
    ],
)
def test_a_session_is_named_like_its_file_as_far_as_that_is_safe(
    file_name: str, session: str
) -> None:
    assert session_names([Path("in") / file_name]) == (session,)


@given(st.text(st.characters(), min_size=1, max_size=300))
def test_no_name_leaves_the_output_folder(name: str) -> None:
    safe = safe_name(name)
    assert safe not in {"", ".", ".."}
    assert not safe.startswith(".")
    assert not set(safe) & set('/\\<>:"|?*\0\n')
    assert len(safe.encode("utf-8")) <= MAX_NAME_BYTES  # and it is UTF-8
    assert Path("out", safe).parent == Path("out")
    assert safe == safe_name(safe)


def test_long_names_stay_apart() -> None:
    one, two = (Path("x" * 200 + end + ".wav") for end in "ab")
    names = session_names([one, two])
    assert len(set(names)) == 2
    assert all(len(name) <= MAX_NAME_BYTES for name in names)


def test_names_that_one_system_takes_for_the_same_are_told_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "a" / "Talk.wav", tmp_path / "b" / "talk.mp4"
    assert session_names([one, two]) == ("a-Talk.wav", "b-talk.mp4")


def test_what_lies_in_inner_folders_is_said(tmp_path: Path) -> None:
    for name in ("top.wav", "P01/a.wav", "P02/b.mp4", "notes/x.txt", ".cache/y.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_media([tmp_path]) == (tmp_path / "top.wav",)
    [(en, ko)] = [text.pair() for text in unread_folders([tmp_path])]
    assert "P01, P02" in en
    assert "notes" not in en
    assert "하위 폴더" in ko
    (tmp_path / "top.wav").unlink()
    with pytest.raises(InputError, match=r"P01, P02.*\*/"):
        list_media([tmp_path])


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("https://example.org/a.mp4", "https://example.org/a.mp4: an address"),
        ("~/a.mp4", "without quotes"),
        ("visits/*.mp4", "pattern"),
        ("nofile.mp4", "no such file"),
    ],
)
def test_a_path_with_nothing_behind_it_says_why(path: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        list_media([Path(path)])
    assert says in str(caught.value)
    with pytest.raises(InputError):
        companion(path, Path("a.mp4"), 1, (".srt",))


def test_a_recording_without_its_transcript_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.srt").touch()
    folder, a, b = str(tmp_path), Path("a.mp4"), Path("b.mp4")
    found = {m: companion(folder, m, 2, (".srt",)) for m in (a, b)}
    assert without_companion(a, transcript=(folder, found[a]), speakers=("", None)) == ()
    (note,) = without_companion(b, transcript=(folder, found[b]), speakers=("", None))
    assert (note.treatment, note.code, note.first) == (
        "left_out",
        "no_matching_transcript",
        "b.mp4",
    )
    assert folder in note.text.en
    assert "b" in note.text.ko


def test_names_that_are_one_even_with_their_folder_are_told_apart(tmp_path: Path) -> None:
    nfd = unicodedata.normalize("NFD", "가나")
    for paths in (
        [tmp_path / "v" / "talk.wav", tmp_path / "v" / "Talk.WAV"],
        [tmp_path / "v" / "가나.wav", tmp_path / "v" / f"{nfd}.wav"],
        [tmp_path / "a" / "v" / "x.mp4", tmp_path / "b" / "v" / "x.mp4"],
    ):
        names = session_names([*paths, tmp_path / "other.wav"])
        assert len({name.casefold() for name in names}) == 3
        assert names[2] == "other"
        assert names == session_names([*paths, tmp_path / "other.wav"])
        assert set(session_names(paths[::-1])) == set(names[:2])  # a name is its file's


def test_a_recording_given_twice_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "v" / "a.wav"
    path.parent.mkdir()
    path.write_bytes(b"RIFF")
    (tmp_path / "v" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "v" / "loop").symlink_to(tmp_path / "v")
    round_about = tmp_path / "v" / ".." / "v" / "a.wav"
    assert list_media([path, round_about, path.parent]) == (path,)
    (said,) = [said.en for said in unread_folders([path.parent]) if "gone" in said.en]
    assert "gone.wav" in said


@pytest.mark.parametrize("name", ["a.sbv", "a.json3", "a.jsonl", "a.SRT", "a.txt"])
def test_every_transcript_that_is_read_is_found_in_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    assert companion(str(tmp_path), Path("v/a.mp4"), 9, TRANSCRIPT_SUFFIXES) == tmp_path / name


def test_recordings_of_every_container_that_is_read_are_found(tmp_path: Path) -> None:
    for suffix in (".caf", ".amr", ".mxf", ".M2TS", ".aif", ".w64", ".au", ".vob"):
        (tmp_path / f"a{suffix}").write_bytes(b"x")
    assert len(list_media([tmp_path])) == 8
