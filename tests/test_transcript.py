"""Every transcript format, its oddities, and what a bad file says."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from nunbit.core.messages import InputError
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


def spoken(transcript: Transcript) -> list[tuple[float, float, str | None, str]]:
    return [
        (round(u.interval.start_s, 3), round(u.interval.end_s, 3), u.speaker, u.text)
        for u in transcript.utterances
    ]


def timed(transcript: Transcript) -> list[tuple[float, float, str]]:
    return [
        (round(w.interval.start_s, 3), round(w.interval.end_s, 3), w.text)
        for u in transcript.utterances
        for w in u.words
    ]


def noted(transcript: Transcript) -> str:
    assert all(said.en and said.ko for said in transcript.notices)
    return " / ".join(said.en for said in transcript.notices)


SRT = """1
00:00:01,000 --> 00:00:03,000
<i>화자1: 오늘 5 시에</i>
{\\an8}만나요

2
00:00:03,200 --> 00:00:04,000
화자2: 어… 네
3
00:00:05,000 --> 00:00:05,500
(웃음)

4
0:00:06.5 --> 0:00:08.0
[민수] 3 &amp; 4
"""


# ---------------------------------------------------------------- subtitles


def test_srt_with_speakers_markup_and_lost_blank_lines(put: Put) -> None:
    found = read_transcript(put("a.srt", SRT))
    assert found.source == "srt"
    assert found.language == "ko"
    assert spoken(found) == [
        (1.0, 3.0, "화자1", "오늘 5 시에 만나요"),
        (3.2, 4.0, "화자2", "어… 네"),
        (6.5, 8.0, "민수", "3 & 4"),
    ]
    first, second, _ = found.utterances
    assert [w.syllables for w in first.words] == [2, 2, 2, 3]
    assert [w.filler for w in second.words] == [True, False]


def test_words_without_times_share_the_cue_by_syllables(put: Put) -> None:
    found = read_transcript(put("a.srt", "1\n00:00:01,000 --> 00:00:03,000\n가나 다 라마바사아\n"))
    assert timed(found) == [(1.0, 1.5, "가나"), (1.5, 1.75, "다"), (1.75, 3.0, "라마바사아")]
    assert all(word.estimated for word in found.utterances[0].words)
    assert "3 of 3 words have no time" in noted(found)


@pytest.mark.parametrize(
    ("encoding", "mark", "notice"),
    [
        ("utf-8", b"", ""),
        ("utf-8", b"\xef\xbb\xbf", ""),
        ("utf-16-le", b"\xff\xfe", ""),
        ("utf-16-be", b"\xfe\xff", ""),
        ("utf-16-le", b"", ""),
        ("cp949", b"", "it was read as CP949"),
    ],
)
def test_encodings(put: Put, encoding: str, mark: bytes, notice: str) -> None:
    text = SRT.replace("…", "...").replace("\n", "\r\n")
    found = read_transcript(put("a.srt", mark + text.encode(encoding)))
    assert found.utterances[0].text == "오늘 5 시에 만나요"
    assert notice in noted(found)
    assert ("CP949" in noted(found)) == bool(notice)


def test_decomposed_hangul_becomes_nfc(put: Put) -> None:
    text = unicodedata.normalize("NFD", SRT)
    assert spoken(read_transcript(put("a.srt", text)))[0][2:] == ("화자1", "오늘 5 시에 만나요")


def test_a_colon_is_not_always_a_speaker(put: Put) -> None:
    lines = ["그래서: 이렇게 했어요", "지금 10:30 이에요", "철수: 응", "철수: 그래", "[음악] 자"]
    cues = [f"{i}\n00:00:0{i},000 --> 00:00:0{i},900\n{line}\n" for i, line in enumerate(lines)]
    found = read_transcript(put("a.srt", "\n".join(cues)))
    assert [(u.speaker, u.text) for u in found.utterances] == [
        (None, "그래서: 이렇게 했어요"),
        (None, "지금 10:30 이에요"),
        ("철수", "응"),
        ("철수", "그래"),
        (None, "자"),
    ]


VTT = """WEBVTT - title
Language: ko

NOTE 00:00:00.000 --> 00:00:09.000
not a cue

STYLE
::cue(v) { color: red }

00:01.000 --> 00:03.000 align:start position:0%
<v 민수>안녕<00:00:01.500><c> 하세요</c><00:00:02.250><c> 여러분</c>
<c.emotion>[기쁨 0.80]</c>

id-2
01:00:03.000 --> 01:00:04.000
<v.loud 영희>네 &lt;3
<v 민수>둘이서
"""


def test_webvtt_voices_word_times_and_comments(put: Put) -> None:
    found = read_transcript(put("a.vtt", VTT))
    assert (found.source, found.language) == ("vtt", "ko")
    assert spoken(found) == [
        (1.0, 3.0, "민수", "안녕 하세요 여러분"),
        (3603.0, 3604.0, "영희", "네 <3"),
        (3603.0, 3604.0, "민수", "둘이서"),
    ]
    assert timed(found)[:3] == [(1.0, 1.5, "안녕"), (1.5, 2.25, "하세요"), (2.25, 3.0, "여러분")]
    assert not any(word.estimated for word in found.utterances[0].words)


def test_rolling_captions_are_not_counted_twice(put: Put) -> None:
    text = """WEBVTT

00:00:00.000 --> 00:00:02.000

오늘<00:00:00.500><c> 날씨가</c><00:00:01.000><c> 좋다</c>

00:00:02.000 --> 00:00:02.010
오늘 날씨가 좋다


00:00:02.010 --> 00:00:04.000
오늘 날씨가 좋다
그래서<00:00:03.000><c> 나갔다</c>
"""
    found = read_transcript(put("auto.vtt", text))
    assert [u.text for u in found.utterances] == ["오늘 날씨가 좋다", "그래서 나갔다"]
    assert timed(found)[-1] == (3.0, 4.0, "나갔다")


def test_an_arrow_behind_its_times_is_no_traceback(put: Put) -> None:
    found = read_transcript(
        put("a.vtt", "WEBVTT\n\n00:00:04.000 -- 00:00:05.500 align:start -->\n안녕하세요\n")
    )
    assert [(u.interval.start_s, u.interval.end_s) for u in found.utterances] == [(4.0, 5.5)]


def test_an_unreadable_time_costs_one_cue(put: Put) -> None:
    text = SRT.replace("00:00:03,200", "00:oo:03,200")
    found = read_transcript(put("a.srt", text))
    assert len(found.utterances) == 2
    assert "1 cue(s) without a readable time were left out (first at line 7)" in noted(found)


# ---------------------------------------------------------------- tiers


def grid(tiers: list[tuple[str, list[tuple[float, float, str]]]], *, short: bool) -> str:
    """A TextGrid in Praat's long or short form."""
    end = max(row[1] for _, rows in tiers for row in rows)
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'

    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    if short:
        lines = ["0", str(end), "<exists>", str(len(tiers))]
        for name, rows in tiers:
            lines += ['"IntervalTier"', quoted(name), "0", str(end), str(len(rows))]
            lines += [f"{a}\n{b}\n{quoted(text)}" for a, b, text in rows]
        return head + "\n".join(lines) + "\n"
    lines = ["xmin = 0", f"xmax = {end}", "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for i, (name, rows) in enumerate(tiers, start=1):
        lines += [f"item [{i}]:", 'class = "IntervalTier"', f"name = {quoted(name)}", "xmin = 0"]
        lines += [f"xmax = {end}", f"intervals: size = {len(rows)}"]
        for j, (a, b, text) in enumerate(rows, start=1):
            lines += [f"intervals [{j}]:", f"xmin = {a}", f"xmax = {b}", f"text = {quoted(text)}"]
    return head + "\n".join(lines) + "\n"


ALIGNED = [
    (
        "P1 - words",
        [(0, 1, "sil"), (1, 1.4, "그는"), (1.4, 2, '"응"'), (2, 3, ""), (3, 3.5, "갔다")],
    ),
    ("P1 - phones", [(0, 1, "sil"), (1, 1.4, "k"), (1.4, 3.5, "x")]),
    ("P2 - words", [(0, 2, ""), (2, 2.5, "2명"), (2.5, 3.5, "sp")]),
]


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_textgrid_of_an_aligner(put: Put, short: bool, encoding: str) -> None:
    found = read_transcript(put("a.TextGrid", grid(ALIGNED, short=short).encode(encoding)))
    assert found.source == "textgrid"
    # The gap of a second splits what P1 says.
    assert spoken(found) == [
        (1.0, 2.0, "P1", '그는 "응"'),
        (2.0, 2.5, "P2", "2명"),
        (3.0, 3.5, "P1", "갔다"),
    ]
    assert not any(word.estimated for u in found.utterances for word in u.words)


def test_textgrid_transcribed_by_hand(put: Put) -> None:
    tiers = [
        ("민수", [(0, 1, ""), (1, 2, "안녕 하세요")]),
        ("영희", [(0, 1.5, "네"), (1.5, 2, "")]),
        ("메모", [(0, 2, "잡음이 많음")]),
    ]
    found = read_transcript(put("a.TextGrid", grid(tiers, short=True)))
    assert spoken(found) == [(0.0, 1.5, "영희", "네"), (1.0, 2.0, "민수", "안녕 하세요")]
    assert "begin before the previous one ends" in noted(found)
    alone = read_transcript(put("b.TextGrid", grid([("tier 1", [(0, 1, "네")])], short=False)))
    assert alone.utterances[0].speaker is None


def test_utterances_take_their_words(put: Put) -> None:
    tiers = [
        ("발화", [(0, 1, ""), (1, 3, "나는 갔다")]),
        ("단어", [(1.2, 1.6, "나는"), (1.6, 2.9, "갔다")]),
    ]
    found = read_transcript(put("a.TextGrid", grid(tiers, short=False)))
    assert spoken(found) == [(1.0, 3.0, None, "나는 갔다")]
    assert timed(found) == [(1.2, 1.6, "나는"), (1.6, 2.9, "갔다")]


EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01T00:00:00+09:00" FORMAT="3.0" VERSION="3.0">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///x.mp4" MIME_TYPE="video/mp4"{origin}/>
  </HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/>
    <TIME_SLOT TIME_SLOT_ID="ts2"/>
    <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="3000"/>
  </TIME_ORDER>
  <TIER TIER_ID="utterance@A" PARTICIPANT="내담자" LINGUISTIC_TYPE_REF="t">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>나는 &lt;갔다&gt;</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
      <ANNOTATION_VALUE>왔다</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER TIER_ID="words@A" PARENT_REF="utterance@A" LINGUISTIC_TYPE_REF="w">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
      <ANNOTATION_VALUE>나는</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1">
      <ANNOTATION_VALUE>갔다</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER TIER_ID="gesture" LINGUISTIC_TYPE_REF="t"/>
</ANNOTATION_DOCUMENT>
"""


def test_elan_with_unaligned_slots_and_subdivided_words(put: Put) -> None:
    found = read_transcript(put("a.eaf", EAF.format(origin="")))
    assert found.source == "eaf"
    assert [row[:3] for row in spoken(found)] == [(1.0, 2.0, "내담자"), (2.0, 3.0, "내담자")]
    assert timed(found) == [(1.0, 1.5, "나는"), (1.5, 2.0, "갔다"), (2.0, 3.0, "왔다")]
    assert all(word.estimated for u in found.utterances for word in u.words)


def test_elan_time_origin_shifts(put: Put) -> None:
    found = read_transcript(put("a.eaf", EAF.format(origin=' TIME_ORIGIN="2500"')))
    assert spoken(found)[0][:2] == (3.5, 4.5)
    assert "2.500 s" in noted(found)


# ---------------------------------------------------------------- recognisers


def test_whisper_json_joins_pieces(put: Put) -> None:
    words = [
        {"word": " 2024", "start": 0.5, "end": 0.9, "probability": 0.9},
        {"word": "년", "start": 0.9, "end": 1.1, "probability": 0.7},
        {"word": ",", "start": 1.1, "end": 1.1, "probability": 0.8},
        {"word": " 갔다", "start": 1.2, "end": 1.2, "probability": 1.0},
    ]
    segment = {"id": 0, "start": 0.4, "end": 1.5, "text": " 2024년, 갔다", "words": words}
    found = read_transcript(put("a.json", json.dumps({"segments": [segment], "language": "ko"})))
    assert (found.source, found.language) == ("whisper", "ko")
    assert timed(found) == [(0.5, 1.1, "2024년,"), (1.2, 1.21, "갔다")]
    assert [w.syllables for w in found.utterances[0].words] == [6, 2]
    assert [w.confidence for w in found.utterances[0].words] == [0.7, 1.0]
    assert found.utterances[0].confidence == pytest.approx(0.85)


def test_whisper_json_without_words(put: Put) -> None:
    segment = {"start": 0, "end": 2, "text": " 안녕", "avg_logprob": -0.5}
    found = read_transcript(put("a.json", json.dumps({"segments": [segment]})))
    assert found.utterances[0].confidence == pytest.approx(0.6065, abs=1e-4)
    assert found.utterances[0].words[0].estimated


def test_whisperx_json_with_words_that_have_no_time(put: Put) -> None:
    words = [
        {"word": "번호", "start": 0.1, "end": 0.5, "score": 0.9, "speaker": "SPEAKER_01"},
        {"word": "58."},
        {"word": "번", "start": 1.0, "end": 1.2, "score": 0.7},
    ]
    segment = {"start": 0.1, "end": 1.3, "text": "번호 58. 번", "words": words}
    document = {"segments": [segment | {"speaker": "SPEAKER_01"}], "word_segments": words}
    found = read_transcript(put("a.json", json.dumps(document)))
    assert found.utterances[0].speaker == "SPEAKER_01"
    assert timed(found) == [(0.1, 0.5, "번호"), (0.5, 1.0, "58."), (1.0, 1.2, "번")]
    assert [w.estimated for w in found.utterances[0].words] == [False, True, False]


@pytest.mark.parametrize(
    ("document", "source", "expected"),
    [
        ([{"start": 0, "end": 1, "text": "네"}], "whisper", (0.0, 1.0, None, "네")),
        (
            {"result": {"language": "ko"}, "transcription": [
                {"offsets": {"from": 0, "to": 1500}, "text": " 네"}]},
            "whisper",
            (0.0, 1.5, None, "네"),
        ),
        (
            {"text": "네", "chunks": [{"timestamp": [0.5, 1.5], "text": " 네"}]},
            "whisper",
            (0.5, 1.5, None, "네"),
        ),
        (
            {"segments": [{"start": 0, "end": 1, "text": "네"}],
             "words": [{"word": "네", "start": 0.25, "end": 0.5}]},
            "whisper",
            (0.0, 1.0, None, "네"),
        ),
        (
            {"result": [{"conf": 0.5, "start": 0.1, "end": 0.4, "word": "네"}], "text": "네"},
            "vosk",
            (0.1, 0.4, None, "네"),
        ),
        (
            [{"alternatives": [{"confidence": 1, "text": "네", "result": [
                {"start": 0.1, "end": 0.4, "word": "네"}]}]}, {"text": ""}],
            "vosk",
            (0.1, 0.4, None, "네"),
        ),
    ],
    ids=["list", "whisper.cpp", "chunks", "loose words", "vosk", "vosk alternatives"],
)  # fmt: skip
def test_other_json(
    put: Put, document: object, source: str, expected: tuple[float, float, None, str]
) -> None:
    found = read_transcript(put("a.json", json.dumps(document)))
    assert found.source == source
    assert spoken(found) == [expected]


def test_vosk_json_lines_and_its_word_pieces(put: Put) -> None:
    lines = [
        {"result": [{"conf": 1.0, "start": 0.1, "end": 0.4, "word": "저"},
                    {"conf": 0.5, "start": 0.4, "end": 0.5, "word": "는"}], "text": "저 는"},
        {"text": ""},
        {"result": [{"conf": 1.0, "start": 2.0, "end": 2.5, "word": "네"}], "text": "네"},
    ]  # fmt: skip
    found = read_transcript(put("a.json", "\n".join(json.dumps(line) for line in lines)))
    assert spoken(found) == [(0.1, 0.5, None, "저 는"), (2.0, 2.5, None, "네")]
    assert "particles" in noted(found)


def test_nobody_speaks_is_no_error(put: Put) -> None:
    found = read_transcript(put("a.json", '{"segments": [], "language": "ko"}'))
    assert found.utterances == ()
    assert "no words" in noted(found)


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "start,end,text\n1,2,안녕\n", (1.0, 2.0, None, "안녕")),
        ("a.csv", "시작,종료,화자,내용\n0:00:01.5,0:02,민수,네\n", (1.5, 2.0, "민수", "네")),
        ("a.tsv", "Onset\tDuration\tUtterance\n1\t2.5\t네\n", (1.0, 3.5, None, "네")),
        ("a.csv", "start_ms;end_ms;text\n1000;2500;네\n", (1.0, 2.5, None, "네")),
        ("labels.txt", "1.0\t2.0\t네\n", (1.0, 2.0, None, "네")),
        ("a.csv", 'start,end,text\n1,2,"네, ""응""\n그래"\n', (1.0, 2.0, None, '네, "응" 그래')),
        ("a.csv", "file,start,end,text,speaker\nx.mp4,1,2,네,\n", (1.0, 2.0, None, "네")),
        ("a.csv", "start,end,text,extra\n1,2,네\n,,\n", (1.0, 2.0, None, "네")),
    ],
)
def test_table_headers(
    put: Put, name: str, text: str, expected: tuple[float, float, str | None, str]
) -> None:
    found = read_transcript(put(name, text))
    assert found.source == "csv"
    assert spoken(found) == [expected]


def test_table_in_cp949_with_confidence(put: Put) -> None:
    text = "시작,끝,발화,신뢰도\n1,2,안녕하세요,0.8\n"
    found = read_transcript(put("a.csv", text.encode("cp949")))
    assert found.utterances[0].confidence == 0.8
    assert "CP949" in noted(found)


def test_table_of_words(put: Put) -> None:
    text = "start,end,word,speaker\n0,0.5,나는,A\n0.5,0.9,갔다,A\n1.0,1.2,sil,A\n2.5,3,왔다,A\n"
    found = read_transcript(put("a.csv", text))
    assert spoken(found) == [(0.0, 0.9, "A", "나는 갔다"), (2.5, 3.0, "A", "왔다")]
    assert not any(word.estimated for u in found.utterances for word in u.words)


def test_daic_woz_tab_file(put: Put) -> None:
    text = (
        "start_time\tstop_time\tspeaker\tvalue\n"
        "36.588\t39.668\tEllie\thi i'm ellie thanks for coming in today\n"
        '40.0\t41.5\tEllie\tintro (how are you "really" doing)\n'
        "42.1\t43.0\tParticipant\tum <laughter> good\n"
    )
    found = read_transcript(put("300_TRANSCRIPT.csv", text))
    assert [u.speaker for u in found.utterances] == ["Ellie", "Ellie", "Participant"]
    assert found.utterances[1].text == 'how are you "really" doing'
    assert found.utterances[2].text == "um good"
    assert [w.filler for w in found.utterances[2].words] == [True, False]


# ---------------------------------------------------------------- the medium's end


LATE = "start,end,text\n1,2,하나\n3,4,둘\n8,12,셋\n20,21,넷\n"


def test_cues_beyond_the_end_are_clipped_or_left_out(put: Put) -> None:
    found = read_transcript(put("a.csv", LATE), duration_s=10.0)
    assert spoken(found) == [(1, 2, None, "하나"), (3, 4, None, "둘"), (8, 10, None, "셋")]
    assert found.utterances[-1].words[-1].interval.end_s <= 10.0
    assert "1 cue(s) after the medium's end (10.00 s) were left out, 1 clipped" in noted(found)
    assert "after" not in noted(read_transcript(put("a.csv", LATE), duration_s=21.05))


def test_the_transcript_of_another_recording(put: Put) -> None:
    with pytest.raises(InputError) as caught:
        read_transcript(put("a.csv", LATE), duration_s=2.5)
    assert "3 of 4 cues start after the medium's end" in caught.value.text.en
    assert "다른 녹화" in caught.value.text.ko
    assert "\n" not in caught.value.text.en


def test_backward_and_negative_times(put: Put) -> None:
    text = "start,end,text\n-1,0.5,하나\n5,4,둘\n2,2,셋\n1,2,넷\n"
    found = read_transcript(put("a.csv", text))
    assert spoken(found) == [(0.0, 0.5, None, "하나"), (1.0, 2.0, None, "넷")]
    assert "2 cue(s) that end before they start" in noted(found)


def test_overlapping_cues_are_kept(put: Put) -> None:
    text = "start,end,text\n1,4,하나\n2,3,둘\n3.98,5,셋\n"
    found = read_transcript(put("a.csv", text))
    assert len(found.utterances) == 3
    assert "1 cue(s) begin before" in noted(found)


# ---------------------------------------------------------------- bad files


BAD: list[tuple[str, str | bytes, str]] = [
    ("a.srt", b"", "the file is empty"),
    ("a.srt", " \n\n", "the file is empty"),
    ("a.srt", b"\xff\xfe", "the file is empty"),
    ("a.srt", "1\n00:00:0x,000 --> y\nhi\n", "no cue with a readable time (first: '00:00:0x"),
    ("a.srt", "just text\n", "is not SRT"),
    ("a.vtt", "WEBVTT\n\nnothing here\n", "no cue with a readable time"),
    ("a.json", '{"segments": [{"start": 0, "end": 1, "text": "안', "the JSON is cut off (line 1)"),
    ("a.json", '{"segments": [{"start": 0, "end"', "the JSON is cut off"),
    ("a.json", '{"segments": [}', "not valid JSON at line 1, column 15"),
    ("a.json", '{"some": "thing"}', "JSON, but not a transcript"),
    ("a.json", '{"segments": [{"text": "no times"}]}', "JSON, but not a transcript"),
    ("a.json", "[1, 2, 3]", "JSON, but not a transcript"),
    ("a.json", "[" * 100_000, "JSON"),
    ("a.TextGrid", grid(ALIGNED, short=True)[:200], "the TextGrid ends too early"),
    ("a.TextGrid", 'File type = "ooTextFile"\nObject class = "Pitch 1"\n', "not a TextGrid"),
    ("a.TextGrid", grid([("phones", [(0, 1, "a")])], short=False), "no tier with words"),
    ("a.eaf", EAF[:600], "not a complete XML file"),
    ("a.eaf", '<?xml version="1.0"?><tt/>', "an XML file, but not ELAN (<tt>)"),
    ("a.csv", "a,b,c\n1,2,3\n", "no columns start, end and text in the first row (a, b, c)"),
    ("a.csv", "start,end\n1,2\n", "no column text"),
    ("a.csv", "start,text\n1,hi\n", "no column end"),
    ("a.csv", "start,end,text\n1,2,hi\n3,soon,ho\n", "row 3: end is no time: 'soon'"),
    ("a.csv", "file,start,end,text\na,1,2,hi\nb,1,2,ho\n", "rows of 2 recordings"),
    ("a.csv", 'start,end,text\n1,2,"hi', "row"),
    ("a.txt", "그냥 글입니다.\n", "this transcript has no times"),
    ("a.mp4", bytes(range(256)) * 40, "this is not a text file"),
    ("a.srt", b"\x81\x20\xff\xff\xfe hello", "neither UTF-8, UTF-16 nor CP949"),
    ("a.rttm", "SPEAKER x 1 0.5 1.0 <NA> <NA> A <NA> <NA>\n", "give it as `speakers`"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD, ids=lambda v: str(v)[:30])
def test_bad_files_say_what_and_where(
    put: Put, name: str, content: str | bytes, message: str
) -> None:
    path = put(name, content)
    with pytest.raises(InputError) as caught:
        read_transcript(path)
    assert message in caught.value.text.en
    for lang in ("en", "ko"):
        line = caught.value.text.line(lang)  # type: ignore[arg-type]
        assert line.startswith(str(path))
        assert "\n" not in line
    assert any("가" <= c <= "힣" for c in caught.value.text.ko)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read this file"):
        read_transcript(tmp_path / "none.srt")
    with pytest.raises(InputError, match="a folder, not a file"):
        read_transcript(tmp_path)


def test_a_wrong_suffix_is_read_with_a_notice(put: Put) -> None:
    found = read_transcript(put("a.srt", VTT))
    assert found.source == "vtt"
    assert "named .srt but holds WebVTT" in noted(found)


def test_a_file_cut_inside_a_character(put: Put) -> None:
    data = "1\n00:00:01,000 --> 00:00:02,000\n안녕하세요".encode()
    found = read_transcript(put("a.srt", data[:-1]))
    assert found.utterances[0].text == "안녕하세"
    assert "cut off" in noted(found)


# ---------------------------------------------------------------- diarisation


RTTM = """;; made by hand
SPEAKER rec 1 2.500 1.500 <NA> <NA> B <NA> <NA>
SPEAKER rec 1 0.000 2.000 <NA> <NA> A <NA> <NA>
"""


def test_rttm(put: Put) -> None:
    found = read_rttm(put("a.rttm", RTTM)).stretches
    assert [(i.start_s, i.end_s, who) for i, who in found] == [(0.0, 2.0, "A"), (2.5, 4.0, "B")]
    clipped = read_rttm(put("a.rttm", RTTM), duration_s=3.0).stretches
    assert clipped[-1][0].end_s == 3.0


@pytest.mark.parametrize(
    ("text", "duration_s", "message"),
    [
        ("hello\n", None, "no SPEAKER line"),
        ("SPEAKER rec 1 x 1 <NA> <NA> A\n", None, "line 1"),
        ("SPEAKER rec 1 1.0 0 <NA> <NA> A\n", None, "line 1"),
        ("SPEAKER rec 1\n", None, "line 1"),
        (RTTM.replace("rec 1 2", "other 1 2"), None, "lines of 2 recordings"),
        (RTTM.replace("0.000", "9.000"), 1.0, "belongs to another recording"),
    ],
)
def test_bad_rttm(put: Put, text: str, duration_s: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_rttm(put("a.rttm", text), duration_s=duration_s)
