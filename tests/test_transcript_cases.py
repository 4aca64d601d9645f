"""Situations from the world in which a transcript was read wrong, each with the right reading.

Every input is made here. ``docs/reading.md`` names the test of each line, ``test_reading_docs``
compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nunbit.core.messages import InputError
from nunbit.core.schema import ReadingNote
from nunbit.core.streams import Transcript
from nunbit.recording.transcript import read_rttm, read_transcript

Put = Callable[[str, "str | bytes"], Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return path

    return write


def said(found: Transcript) -> list[tuple[float, float, str | None, str]]:
    return [
        (round(u.interval.start_s, 2), round(u.interval.end_s, 2), u.speaker, u.text)
        for u in found.utterances
    ]


def timed(found: Transcript) -> list[tuple[float, float, str]]:
    return [
        (round(w.interval.start_s, 2), round(w.interval.end_s, 2), w.text)
        for u in found.utterances
        for w in u.words
        if not w.estimated
    ]


def noted(notes: tuple[ReadingNote, ...]) -> dict[str, tuple[str, int, str]]:
    for note in notes:
        assert note.text.en
        assert any("가" <= c <= "힣" for c in note.text.ko), note.text.ko
        assert "{" not in note.text.en + note.text.ko
    return {note.code: (note.treatment, note.count, note.first) for note in notes}


def document(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- diarisation


def test_blanks_in_the_names_of_an_rttm_file(put: Put) -> None:
    text = (
        "SPEAKER visit 2 of may 1 1.5 2.0 <NA> <NA> Lee Sora <NA> <NA>\n"
        "SPEAKER visit 2 of may 1 4.0 1.0 <NA> <NA> 박 준 0.93 <NA>\n"
        "SPEAKER visit 2 of may 1 6.0 1.0 <NA> <NA> guest 2\n"
    )
    found = read_rttm(put("a.rttm", text))
    assert [(i.start_s, i.end_s, who) for i, who in found.stretches] == [
        (1.5, 3.5, "Lee Sora"),
        (4.0, 5.0, "박 준"),
        (6.0, 7.0, "guest 2"),
    ]
    assert noted(found.reading)["speaker_names_with_spaces"] == ("read", 3, "line 1")
    assert "Lee Sora, 박 준, guest 2" in found.reading[0].text.en


def test_tabs_part_the_fields_of_an_rttm_file(put: Put) -> None:
    text = "SPEAKER\tmy visit\t1\t1.0\t2.0\t<NA>\t<NA>\tLee Sora\t<NA>\t<NA>\n"
    ((interval, who),) = read_rttm(put("a.rttm", text)).stretches
    assert (interval.start_s, interval.end_s, who) == (1.0, 3.0, "Lee Sora")


def test_unusable_rttm_lines_are_left_out_and_told(put: Put) -> None:
    text = (
        "SPEAKER v 1 -0.2 3.0 <NA> <NA> a <NA> <NA>\n"
        "SPEAKER v 1 4.0 -0.1 <NA> <NA> b <NA> <NA>\n"
        "SPEAKER v 1 5.0 0 <NA> <NA> b <NA> <NA>\n"
        "SPEAKER v 1 nan 1 <NA> <NA> b <NA> <NA>\n"
        "SPEAKER v 1\n"
        "SPEAKER v 1 8.0 1.0 <NA> <NA> b <NA> <NA>\n"
        "SPEAKER v 1 99.0 1.0 <NA> <NA> b <NA> <NA>\n"
    )
    found = read_rttm(put("a.rttm", text), duration_s=20.0)
    assert [(i.start_s, round(i.end_s, 3), who) for i, who in found.stretches] == [
        (0.0, 2.8, "a"),
        (8.0, 9.0, "b"),
    ]
    assert noted(found.reading) == {
        "no_duration": ("left_out", 2, "line 2"),
        "time_not_a_number": ("left_out", 1, "line 4"),
        "not_understood": ("left_out", 1, "line 5"),
        "before_the_start": ("repaired", 1, "line 1"),
        "after_the_end": ("left_out", 1, ""),
    }


def test_an_rttm_file_of_several_recordings(put: Put) -> None:
    text = "".join(
        f"SPEAKER {name} 1 {k}.0 1.0 <NA> <NA> s{k} <NA> <NA>\n"
        for k, name in enumerate(["one", "two", "one"])
    )
    path = put("a.rttm", text)
    found = read_rttm(path, media="ONE.wav")
    assert [who for _, who in found.stretches] == ["s0", "s2"]
    assert noted(found.reading)["other_recordings"] == ("left_out", 1, "line 2")
    with pytest.raises(InputError, match="lines of 2 recordings .one, two., none named like"):
        read_rttm(path, media="three.wav")


# ---------------------------------------------------------------- subtitles


def test_lines_that_were_meant_as_times(put: Put) -> None:
    arrows = ["->", "—>", "–", "=>", "→", " --> "]
    cues = [
        f"{k}\n00:00:0{k},000 {arrow} 00:00:0{k},500\nword{k} here\n"
        for k, arrow in enumerate(arrows, start=1)
    ]
    cues.append("7\n00:00:07:000 --> 00:00:07:500\nword7 here\n")
    found = read_transcript(put("a.srt", "\n".join(cues)))
    assert said(found) == [(k, k + 0.5, None, f"word{k} here") for k in range(1, 8)]
    assert noted(found.reading)["timing_line_repaired"] == ("repaired", 6, "line 2")


@pytest.mark.parametrize(
    "line",
    [
        "00:00:03,000",  # half of it is lost
        "00:00:03,000 --> ",
        "00:00:03:12 --> 00:00:04:02",  # frames
        "00:oo:03,000 -> 00:00:04,000",
        "00:00:03,000 00:00:04,000",
    ],
)
def test_times_that_cannot_be_read_never_become_speech(put: Put, line: str) -> None:
    text = f"1\n00:00:01,000 --> 00:00:02,000\nfirst\n\n2\n{line}\nsecond\n"
    found = read_transcript(put("a.srt", text))
    assert said(found) == [(1.0, 2.0, None, "first")]
    assert noted(found.reading)["not_a_timing_line"] == ("left_out", 1, "line 6")


def test_times_that_people_say_stay_speech(put: Put) -> None:
    text = "1\n00:00:01,000 --> 00:00:03,000\nfrom 10:30 to 11:30\n10:30 - 11:30\nA --> B\n"
    assert said(read_transcript(put("a.srt", text)))[0][3] == (
        "from 10:30 to 11:30 10:30 - 11:30 A --> B"
    )


def test_youtube_sbv(put: Put) -> None:
    text = "0:00:01.000,0:00:02.500\nhello there\n\n0:00:03.000,0:00:04.000\nbye\n"
    found = read_transcript(put("a.sbv", text))
    assert said(found) == [(1.0, 2.5, None, "hello there"), (3.0, 4.0, None, "bye")]
    assert found.reading == ()


def test_text_above_the_first_time_is_told(put: Put) -> None:
    text = "Interview with A\n\n1\n00:00:01,000 --> 00:00:02,000\nhello\n"
    found = read_transcript(put("a.srt", text))
    assert noted(found.reading) == {"text_without_time": ("left_out", 1, "line 1")}


MEETING = """WEBVTT

1
00:00:00.500 --> 00:00:02.000
Prof. Lee: How was the week

2
00:00:02.500 --> 00:00:04.000
Sam Park (they/them): It was long

3
00:00:04.500 --> 00:00:06.000
Choi, Jiwoo - Ward 3: I see
"""


def test_names_of_meeting_programs(put: Put) -> None:
    found = read_transcript(put("a.vtt", MEETING))
    assert said(found) == [
        (0.5, 2.0, "Prof. Lee", "How was the week"),
        (2.5, 4.0, "Sam Park (they/them)", "It was long"),
        (4.5, 6.0, "Choi, Jiwoo - Ward 3", "I see"),
    ]
    assert noted(found.reading)["speakers_inferred"] == ("read", 3, "0:00.5")
    assert "Choi, Jiwoo - Ward 3" in found.reading[0].text.ko


def test_the_habit_of_a_file_tells_names(put: Put) -> None:
    """Three of four cues begin with a name: the one that occurs once is a name, too."""
    lines = ["지우: 네 그래요", "지우: 아니요", "엄마: 왔니", "그냥 그랬어요"]
    cues = [f"{k}\n00:00:0{k},000 --> 00:00:0{k},900\n{x}\n" for k, x in enumerate(lines)]
    found = read_transcript(put("a.srt", "\n".join(cues)))
    assert [u.speaker for u in found.utterances] == ["지우", "지우", "엄마", None]
    assert noted(found.reading)["speakers_inferred"][0] == "read"


def test_a_colon_makes_no_speaker_of_a_phrase(put: Put) -> None:
    lines = ["그래서: 갔어요", "그래서: 왔어요", "문제는: 돈이죠", "4시: 만나요", "and so: yes",
             "what he told me: no", "what he told me: yes"]  # fmt: skip
    cues = [f"{k}\n00:00:0{k},000 --> 00:00:0{k},900\n{x}\n" for k, x in enumerate(lines)]
    found = read_transcript(put("a.srt", "\n".join(cues)))
    assert [u.speaker for u in found.utterances] == [None] * 7
    assert found.reading == ()


def test_two_people_in_one_cue(put: Put) -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:04,000\n- One two?\n- Three.\n\n"
        "2\n00:00:05,000 --> 00:00:07,000\nWOMAN 1: Go on.\nWOMAN 2: Yes.\n\n"
        "3\n00:00:08,000 --> 00:00:09,000\n-네.\n-그래요.\n"
    )
    found = read_transcript(put("a.srt", text))
    assert said(found) == [
        (1.0, 3.0, None, "One two?"),
        (3.0, 4.0, None, "Three."),
        (5.0, 6.33, "WOMAN 1", "Go on."),
        (6.33, 7.0, "WOMAN 2", "Yes."),
        (8.0, 8.25, None, "네."),
        (8.25, 9.0, None, "그래요."),
    ]
    assert noted(found.reading)["cue_split"] == ("repaired", 3, "0:01.0")
    assert [w.text for u in found.utterances for w in u.words if "-" in w.text] == []


def test_noises_in_brackets_are_nobody(put: Put) -> None:
    text = "1\n00:00:01,000 --> 00:00:03,000\n[문 닫는 소리] 네\n"
    assert said(read_transcript(put("a.srt", text))) == [(1.0, 3.0, None, "네")]


def test_a_name_on_a_line_of_its_own(put: Put) -> None:
    text = "1\n00:00:01,000 --> 00:00:03,000\n상담자:\n오늘 어때요\n"
    assert said(read_transcript(put("a.srt", text))) == [(1.0, 3.0, "상담자", "오늘 어때요")]


def test_clock_maps_of_live_streams(put: Put) -> None:
    one = (
        "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000\n\n00:01.000 --> 00:02.000\na b\n"
    )
    found = read_transcript(put("one.vtt", one))
    assert said(found) == [(1.0, 2.0, None, "a b")]
    assert noted(found.reading) == {"timestamp_map": ("read", 1, "line 2")}
    two = one + "\n" + one.replace("MPEGTS:900000", "MPEGTS:1440000").replace("a b", "c d")
    found = read_transcript(put("two.vtt", two))
    assert said(found) == [(1.0, 2.0, None, "a b"), (7.0, 8.0, None, "c d")]
    assert noted(found.reading)["timestamp_map_applied"] == ("repaired", 1, "line 8")


# ---------------------------------------------------------------- recognisers


NAN, NULL = float("nan"), None


def test_a_bad_segment_costs_only_itself(put: Put) -> None:
    segments: list[object] = [
        {"start": 1.0, "end": 2.0, "text": " good words"},
        {"start": NAN, "end": 3.0, "text": " lost one"},
        {"start": "soon", "end": 3.0, "text": " lost two"},
        {"start": NULL, "end": NULL, "text": " lost three"},
        {"text": " lost four"},
        {"start": 10**400, "end": 3, "text": " lost five"},
        {"start": 3, "end": 4, "text": {"a": 1}},
        [1, 2],
        {"start": 6.0, "end": 7.0, "text": " last words", "words": [
            {"word": " last", "start": NAN, "end": 6.4},
            {"word": " words", "start": 6.4, "end": 7}]},
    ]  # fmt: skip
    found = read_transcript(put("a.json", document({"segments": segments, "language": "en"})))
    assert said(found) == [(1.0, 2.0, None, "good words"), (6.0, 7.0, None, "last words")]
    assert timed(found) == [(6.4, 7.0, "words")]
    assert noted(found.reading) == {
        "time_not_a_number": ("left_out", 3, "segment 2"),
        "no_times": ("left_out", 2, "segment 4"),
        "not_understood": ("left_out", 2, "segment 8"),
        "word_time_unusable": ("repaired", 1, "segment 9 word 1"),
    }


def test_nothing_but_bad_segments_is_refused(put: Put) -> None:
    text = document({"segments": [{"start": NULL, "end": NULL, "text": "x"}] * 3})
    with pytest.raises(InputError, match=r"JSON, but not a transcript that can be used: 3 item"):
        read_transcript(put("a.json", text))


def test_reversed_word_times_are_estimated_and_told(put: Put) -> None:
    words = [
        {"word": " a", "start": 1.0, "end": 1.5},
        {"word": " b", "start": 2.0, "end": 1.8},
        {"word": " c", "start": 2.0, "end": 2.5},
    ]
    segment = {"start": 1.0, "end": 3.0, "text": " a b c", "words": words}
    found = read_transcript(put("a.json", document({"segments": [segment]})))
    assert timed(found) == [(1.0, 1.5, "a"), (2.0, 2.5, "c")]
    middle = found.utterances[0].words[1]
    assert (middle.interval.start_s, middle.interval.end_s, middle.estimated) == (1.5, 2.0, True)
    assert noted(found.reading)["word_time_unusable"] == ("repaired", 1, "segment 1 word 2")


def test_words_one_an_entry(put: Put) -> None:
    texts = [(" so", 1.0, 1.2), (" I", 1.2, 1.3), (" left", 1.3, 1.7), (" early", 4.0, None)]
    chunks = [{"text": t, "timestamp": [a, b]} for t, a, b in texts]
    found = read_transcript(put("a.json", document({"text": "x", "chunks": chunks})))
    assert said(found) == [(1.0, 1.7, None, "so I left"), (4.0, 4.4, None, "early")]
    assert len(timed(found)) == 4
    assert noted(found.reading) == {
        "words_joined": ("read", 4, "0:01.0"),
        "no_end": ("repaired", 1, "0:04.0"),
    }


def test_one_word_answers_stay_utterances(put: Put) -> None:
    segments = [{"start": 2 * k, "end": 2 * k + 0.5, "text": x} for k, x in enumerate("네응음")]
    found = read_transcript(put("a.json", document({"segments": segments})))
    assert [u.text for u in found.utterances] == ["네", "응", "음"]


def cpp(text: str, start: int, end: int, **more: object) -> dict[str, object]:
    return {"text": text, "offsets": {"from": start, "to": end}, **more}


def test_whisper_cpp_pieces_one_an_entry(put: Put) -> None:
    pieces = [(" It", 1000, 1200), ("'s", 1200, 1300), (" fine", 1300, 1700), (".", 1700, 1750)]
    text = document({"transcription": [cpp(*piece) for piece in pieces]})
    found = read_transcript(put("a.json", text))
    assert said(found) == [(1.0, 1.75, None, "It's fine.")]
    assert timed(found) == [(1.0, 1.3, "It's"), (1.3, 1.75, "fine.")]
    assert noted(found.reading)["words_joined"][0] == "read"


def test_whisper_cpp_tokens_date_the_words(put: Put) -> None:
    tokens = [
        cpp("[_BEG_]", 1000, 1000), cpp(" 안", 1000, 1100), cpp("\ufffd", 1100, 1200),
        cpp("\ufffd", 1200, 1300), cpp(" 그래", 2500, 2600), cpp("요", 2600, 2900),
    ]  # fmt: skip
    entry = cpp(" 안녕 그래요", 1000, 3000, tokens=tokens)
    found = read_transcript(put("a.json", document({"transcription": [entry]})))
    assert said(found) == [(1.0, 3.0, None, "안녕 그래요")]
    assert timed(found) == [(1.0, 1.3, "안녕"), (2.5, 2.9, "그래요")]


def test_milliseconds_under_the_names_of_seconds(put: Put) -> None:
    segments = [{"start": 1000 * k, "end": 1000 * k + 900, "text": "가나 다"} for k in range(1, 4)]
    found = read_transcript(put("a.json", document({"segments": segments})))
    assert said(found)[0] == (1.0, 1.9, None, "가나 다")
    assert noted(found.reading)["times_in_ms"] == ("read", 3, "segment 1")


@pytest.mark.parametrize(
    ("given", "language", "codes"),
    [
        ("korean", "ko", set()),
        ("ko_KR", "ko-KR", set()),
        (5, None, {"language_unknown"}),
        (["ko"], None, {"language_unknown"}),
        ("no such language!", None, {"language_unknown"}),
    ],
)
def test_languages(put: Put, given: object, language: str | None, codes: set[str]) -> None:
    segments = [{"start": 0, "end": 1, "text": "hello you"}]
    found = read_transcript(put("a.json", document({"segments": segments, "language": given})))
    assert found.language == language
    assert set(noted(found.reading)) == codes


def test_speakers_of_any_type(put: Put) -> None:
    speakers: list[object] = [1, "  민수\n씨 ", {"label": "1", "name": "영희"}, ["x"], True]
    segments = [
        {"start": 2 * k, "end": 2 * k + 1, "text": "가 나", "speaker": who}
        for k, who in enumerate(speakers)
    ]
    found = read_transcript(put("a.json", document({"segments": segments})))
    assert [u.speaker for u in found.utterances] == ["1", "민수 씨", "영희", None, None]
    assert noted(found.reading)["speaker_not_a_name"] == ("left_out", 2, "segment 4")


def test_half_characters_can_be_written_afterwards(put: Put) -> None:
    text = r'{"segments": [{"start": 0, "end": 1, "text": "가\ud800 나", "speaker": "\udfff"}]}'
    found = read_transcript(put("a.json", text))
    ((_, _, speaker, words),) = said(found)
    assert (speaker, words) == ("\ufffd", "가\ufffd 나")
    assert noted(found.reading)["unreadable_characters"] == ("repaired", 1, "0:00.0")


# ---------------------------------------------------------------- ELAN and Praat


def eaf(media: str, tiers: str, types: str = "") -> str:
    slots = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="t{k}" TIME_VALUE="{1000 * k}"/>' for k in range(1, 9)
    )
    return (
        f'<?xml version="1.0"?><ANNOTATION_DOCUMENT><HEADER>{media}</HEADER>'
        f"<TIME_ORDER>{slots}</TIME_ORDER>{tiers}{types}</ANNOTATION_DOCUMENT>"
    )


def tier(name: str, first: int, text: str, kind: str = "d") -> str:
    return (
        f'<TIER TIER_ID="{name}" LINGUISTIC_TYPE_REF="{kind}"><ANNOTATION><ALIGNABLE_ANNOTATION '
        f'ANNOTATION_ID="{name}1" TIME_SLOT_REF1="t{first}" TIME_SLOT_REF2="t{first + 1}">'
        f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>"
    )


def medium(name: str, origin: str) -> str:
    return f'<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/x/{name}" TIME_ORIGIN="{origin}"/>'


def test_the_medium_analysed_sets_the_time_origin(put: Put) -> None:
    media = medium("room.mp4", "0") + medium("%EC%9D%8C%EC%84%B1.wav", "2000")
    path = put("a.eaf", eaf(media, tier("A", 1, "hello")))
    assert said(read_transcript(path, media="음성.wav"))[0][:2] == (3.0, 4.0)
    assert said(read_transcript(path, media="음성.flac"))[0][:2] == (3.0, 4.0)
    assert said(read_transcript(path, media="room.mp4"))[0][:2] == (1.0, 2.0)
    other = read_transcript(path, media="other.mp4")
    assert said(other)[0][:2] == (1.0, 2.0)
    assert noted(other.reading) == {"medium_not_named": ("read", 2, "room.mp4")}
    shifted = read_transcript(path, media="음성.wav")
    assert noted(shifted.reading)["time_shifted"][0] == "repaired"


@pytest.mark.parametrize("origin", ["abc", "", "1.5", "9" * 30])
def test_a_time_origin_that_is_no_number(put: Put, origin: str) -> None:
    found = read_transcript(put("a.eaf", eaf(medium("a.wav", origin), tier("A", 1, "hello"))))
    assert said(found) == [(1.0, 2.0, "A", "hello")]
    assert noted(found.reading) == {"time_origin_unreadable": ("repaired", 1, "a.wav")}


def test_a_time_slot_that_is_no_number(put: Put) -> None:
    text = eaf("", tier("A", 1, "lost") + tier("B", 3, "kept")).replace('"2000"', '"two"')
    found = read_transcript(put("a.eaf", text))
    assert said(found) == [(3.0, 4.0, "B", "kept")]
    assert noted(found.reading) == {"time_not_a_number": ("left_out", 1, "t2")}


def test_coding_tiers_are_no_speech(put: Put) -> None:
    tiers = (
        tier("Sora", 1, "one two") + tier("Sora-nodding", 2, "nod") + tier("Sora_hm", 3, "nod")
        + tier("Ben-Lee", 5, "yes") + tier("고개짓", 4, "끄덕")
        + tier("react", 6, "x", kind="coded")
    )  # fmt: skip
    types = '<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="coded" CONTROLLED_VOCABULARY_REF="v"/>'
    found = read_transcript(put("a.eaf", eaf("", tiers, types)))
    assert [(u.speaker, u.text) for u in found.utterances] == [
        ("Sora", "one two"),
        ("Sora_hm", "nod"),  # two letters may be a second speaker's
        ("Ben-Lee", "yes"),
    ]
    assert noted(found.reading) == {"tiers_not_speech": ("left_out", 3, "Sora-nodding")}
    assert "Sora-nodding, 고개짓, react" in found.reading[0].text.en


def test_lines_of_a_textgrid_in_another_order(put: Put) -> None:
    lines = [
        'File type = "ooTextFile"', 'Object class = "TextGrid"', "xmin = 0", "xmax = 2",
        "tiers? <exists>", "size = 1", "item []:", "item [1]:", 'class = "IntervalTier"',
        'name = "Sora"', "xmin = 0", "xmax = 2", "intervals: size = 1", "intervals [1]:",
        "xmin = 0", "xmax = 2", 'text = "hello"',
    ]  # fmt: skip
    assert said(read_transcript(put("a.TextGrid", "\n".join(lines)))) == [
        (0.0, 2.0, "Sora", "hello")
    ]
    lines[9], lines[16] = lines[16], lines[9]
    with pytest.raises(InputError, match=r"not a well-formed TextGrid \(line 10\)"):
        read_transcript(put("b.TextGrid", "\n".join(lines)))


@pytest.mark.parametrize("size", ["inf", "1e400", "-1", "2.5", "1e300"])
def test_a_textgrid_with_impossible_sizes(put: Put, size: str) -> None:
    text = f'File type = "ooTextFile"\nObject class = "TextGrid"\n0\n1\n<exists>\n{size}\n'
    with pytest.raises(InputError, match="TextGrid"):
        read_transcript(put("a.TextGrid", text))


# ---------------------------------------------------------------- tables


EXCEL = '시작\t끝\t화자\t내용\r\n1,25\t2,5\t가\t"그냥, ""네"""\r\n3,0\t4,0\t나\t네 "음\r\n'


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "excel.txt",
            EXCEL.encode("utf-16"),
            [(1.25, 2.5, "가", '그냥, "네"'), (3.0, 4.0, "나", '네 "음')],
        ),
        (
            "a.tsv",
            'start\tend\ttext\n1\t2\t"a b\nc d"\n3\t4\te f\n',
            [(1.0, 2.0, None, "a b c d"), (3.0, 4.0, None, "e f")],
        ),
        ("a.tsv", 'start\tend\ttext\n1\t2\t"so" he said\n', [(1.0, 2.0, None, '"so" he said')]),
        ("a.csv", "sep=;\r\nstart;end;text\r\n1,5;2,5;a, b\r\n", [(1.5, 2.5, None, "a, b")]),
        ("a.csv", '"sep=|"\nstart|end|text\n1.5|2.5|a; b, c\n', [(1.5, 2.5, None, "a; b, c")]),
        ("a.csv", "1,5;2,5;hello there, you\n", [(1.5, 2.5, None, "hello there, you")]),
        ("a.csv", "1,2,가나\n", [(1.0, 2.0, None, "가나")]),
        (
            "a.csv",
            "Start;Ende;Text;Sprecher\n1,5;2,75;hallo;A\n".encode("utf-8-sig"),
            [(1.5, 2.75, "A", "hallo")],
        ),
    ],
)  # fmt: skip
def test_how_tables_are_written(
    put: Put, name: str, content: str | bytes, expected: list[tuple[float, float, str | None, str]]
) -> None:
    found = read_transcript(put(name, content))
    assert said(found) == expected
    assert found.reading == ()


def test_whispers_table_in_milliseconds(put: Put) -> None:
    found = read_transcript(
        put("a.tsv", 'start\tend\ttext\n1200\t2400\tso "well\n3000\t3900\tyes\n')
    )
    assert said(found) == [(1.2, 2.4, None, 'so "well'), (3.0, 3.9, None, "yes")]
    assert noted(found.reading) == {"times_in_ms": ("read", 2, "row 2")}


@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_long_utterances_in_whole_seconds_stay_seconds(put: Put, name: str) -> None:
    text = "이야기가 길어집니다 " * 40
    rows = [(0, 180, text), (180, 420, text), (420, 600, text)]
    table = "start,end,text\n" + "".join(f"{a},{b},{t}\n" for a, b, t in rows)
    segments = [{"start": a, "end": b, "text": t} for a, b, t in rows]
    content = table if name == "a.csv" else document({"segments": segments})
    found = read_transcript(put(name, content))
    assert [u.interval.end_s for u in found.utterances] == [180, 420, 600]
    assert found.reading == ()


def test_bad_rows_of_a_table(put: Put) -> None:
    text = "start,end,text\n1,2,a b\nsoon,3,x\n,,y\n4,5,c d\n6,7,e f\n"
    found = read_transcript(put("a.csv", text))
    assert [u.text for u in found.utterances] == ["a b", "c d", "e f"]
    assert noted(found.reading) == {
        "time_not_a_number": ("left_out", 1, "row 3"),
        "no_times": ("left_out", 1, "row 4"),
    }


def test_a_table_without_header_whose_third_column_is_the_speaker(put: Put) -> None:
    text = "1.0,2.0,가,오늘은 어떠세요\n3.0,4.0,나,그냥 그래요\n"
    found = read_transcript(put("a.csv", text))
    assert said(found)[0] == (1.0, 2.0, "가", "오늘은 어떠세요")
    assert noted(found.reading) == {"columns_guessed": ("read", 2, "row 1")}


def test_a_header_that_is_not_the_first_row(put: Put) -> None:
    text = "1.0,2.0,가,오늘은 어떠세요\nstart,end,speaker,text\n3.0,4.0,나,네\n"
    found = read_transcript(put("a.csv", text))
    assert [(u.speaker, u.text) for u in found.utterances] == [
        ("가", "오늘은 어떠세요"),
        ("나", "네"),
    ]


def test_a_table_of_several_recordings(put: Put) -> None:
    text = "file,start,end,text\nx/a.mp4,1,2,hi you\nb.mp4,1,2,no\na.mp4,3,4,bye\n"
    found = read_transcript(put("t.csv", text), media="a.mp4")
    assert [u.text for u in found.utterances] == ["hi you", "bye"]
    assert noted(found.reading) == {"other_recordings": ("left_out", 1, "row 3")}


def test_words_without_length_in_a_table(put: Put) -> None:
    text = "start,end,word\n1,1.2,a\n1.5,1.4,b\n1.6,1.8,c\n"
    found = read_transcript(put("a.csv", text))
    assert [w.text for u in found.utterances for w in u.words] == ["a", "c"]
    assert noted(found.reading) == {"no_duration": ("left_out", 1, "0:01.5")}


# ---------------------------------------------------------------- files


def test_every_note_is_a_notice_too(put: Put) -> None:
    text = "1\n00:00:01,000 -> 00:00:02,000\n상담자: 가 나\n"
    found = read_transcript(put("a.vtt", text.encode("cp949")), duration_s=1.5)
    assert set(noted(found.reading)) == {
        "read_as_cp949", "other_suffix", "timing_line_repaired", "speakers_inferred",
        "after_the_end",
    }  # fmt: skip
    pairs = {note.text for note in found.reading}
    assert pairs <= set(found.notices)


def test_a_file_cut_off_is_noted(put: Put) -> None:
    data = "1\n00:00:01,000 --> 00:00:02,000\n안녕".encode()
    found = read_transcript(put("a.srt", data[:-1]))
    assert noted(found.reading)["cut_off"] == ("left_out", 1, "line 3")


@pytest.mark.parametrize(
    ("data", "text", "odd"),
    [
        ("안녕하세요 \xff 반갑습니다".encode() + b"\xfe", "안녕하세요 ÿ 반갑습니다\ufffd", 1),
        (b"caf\xe9 noir", "caf\ufffd noir", 1),  # one byte of Latin-1
        ("안녕".encode() + b"\0 " + "하세요".encode(), "안녕\ufffd 하세요", 1),
        ("안녕하세요 오늘은 ".encode("cp949") + b"\xff hi", "안녕하세요 오늘은 \ufffd hi", 1),
        ("가나다 라마바사 ".encode() + b"\xc7\xd1", "가나다 라마바사 \ufffd\ufffd", 2),
    ],
    ids=["utf8", "latin1", "null", "cp949", "cp949 in utf8"],
)
def test_odd_bytes_cost_only_themselves(put: Put, data: bytes, text: str, odd: int) -> None:
    lines = b"1\n00:00:01,000 --> 00:00:02,000\n" + data + b"\n"
    rest = "".join(
        f"\n{k}\n00:00:{k:02d},000 --> 00:00:{k:02d},900\nthis is as it was\n" for k in range(3, 23)
    )
    found = read_transcript(put("a.srt", lines + rest.encode("ascii")))
    assert len(found.utterances) == 21
    assert found.utterances[0].text == text
    assert noted(found.reading)["odd_bytes"] == ("repaired", odd, "line 3")


def test_many_odd_bytes_are_another_encoding(put: Put) -> None:
    german = "1\n00:00:01,000 --> 00:00:02,000\n" + "Müde Bären hören schöne Chöre\n" * 9
    with pytest.raises(InputError, match="neither UTF-8"):
        read_transcript(put("a.srt", german.encode("latin-1")))


def test_files_joined_one_behind_the_other(put: Put) -> None:
    parts = [f"\ufeff1\r\n00:00:0{k},000 --> 00:00:0{k},900\r\nA: hello\r\n\r\n" for k in (1, 2)]
    found = read_transcript(put("a.srt", "".join(parts)))
    assert said(found) == [(1.0, 1.9, "A", "hello"), (2.0, 2.9, "A", "hello")]
    assert "\ufeff" not in json.dumps([n.text.en for n in found.reading], ensure_ascii=False)


def test_our_own_words_table_comes_back(put: Put) -> None:
    head = "start,end,speaker,word,confidence,syllables,filler,estimated,utterance_index\n"
    rows = "1,1.2,'@anna,'=SUM(A1),,1,0,0,0\n1.3,1.5,'@anna,'-네,,1,0,0,0\n2,2.5,B,'tis,,1,0,0,1\n"
    found = read_transcript(put("a.csv", head + rows))
    words = [(u.speaker, [w.text for w in u.words]) for u in found.utterances]
    assert words == [("@anna", ["=SUM(A1)", "-네"]), ("B", ["'tis"])]
    other = read_transcript(put("b.csv", "start,end,text\n1,2,'=x\n"))
    assert other.utterances[0].text == "'=x"  # somebody else's table stays as it is


def test_places_are_said_in_the_readers_language(put: Put) -> None:
    segments = [{"start": 1, "end": 2, "text": "a b"}, {"start": None, "end": None, "text": "c"}]
    found = read_transcript(put("a.json", document({"segments": segments})))
    (note,) = found.reading
    assert note.first == "segment 2"
    assert "2번째 항목" in note.text.ko
    assert "segment" not in note.text.ko


def test_a_time_with_a_minus_is_before_the_medium(put: Put) -> None:
    text = "1\n-00:00:01,000 --> 00:00:02,000\nhi\n\n2\n00:00:03,000 --> 00:00:04,000\nho\n"
    found = read_transcript(put("a.srt", text))
    assert said(found) == [(0.0, 2.0, None, "hi"), (3.0, 4.0, None, "ho")]
    assert noted(found.reading)["before_the_start"][:2] == ("repaired", 1)
    bullet = read_transcript(put("b.srt", text.replace("-00:00:01", "- 00:00:01")))
    assert said(bullet)[0] == (1.0, 2.0, None, "hi")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.ass", "[Script Info]\nTitle: x\n\n[Events]\nDialogue: 0,0:00:01.00,x\n", "ASS/SSA"),
        ("a.smi", "<SAMI>\n<BODY><SYNC Start=1000><P>안녕\n", "SAMI"),
        ("a.lrc", "[ar:x]\n[00:01.00]hello\n", "LRC"),
        ("a.sub", "{25}{50}hello|there\n", "MicroDVD"),
        ("a.ttml", '<?xml version="1.0"?>\n<tt xmlns="x"><body/></tt>', "TTML"),
        ("a.srt", "1\n00:00:01:12 --> 00:00:02:05\nhi\n", "first: '00:00:01:12 --> 00:00:02:05'"),
    ],
)
def test_other_subtitle_formats_are_refused_by_name(
    put: Put, name: str, text: str, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_transcript(put(name, text))
    assert says in caught.value.text.en
    assert "SRT" in caught.value.text.en or "thousandths" in caught.value.text.en


def test_json_lines_and_what_follows_a_document(put: Put) -> None:
    lines = [{"start": 1, "end": 2, "text": "a b"}, {"start": 3, "end": 4, "text": "c d"}]
    found = read_transcript(put("a.jsonl", "\n".join(map(document, lines))))
    assert said(found) == [(1.0, 2.0, None, "a b"), (3.0, 4.0, None, "c d")]
    whole = [document({"segments": [line]}) for line in lines]
    joined = read_transcript(put("a.json", "".join(whole)))
    assert said(joined) == [(1.0, 2.0, None, "a b")]
    assert noted(joined.reading) == {"other_documents": ("left_out", 1, "value 2")}
