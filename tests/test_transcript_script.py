"""Transcripts without times: reading them, and placing them on the sound."""

from __future__ import annotations

import wave
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nunbit.core.messages import InputError
from nunbit.core.streams import (
    AUDIO_RATE_HZ,
    AudioChunk,
    Interval,
    Transcript,
    Utterance,
    VoiceStream,
    Word,
)
from nunbit.recording.observer import ReadingSettings, RecordingJob
from nunbit.recording.transcript import (
    Diarisation,
    Recogniser,
    place_script,
    read_transcript,
    read_words,
    refine_cues,
)
from nunbit.recording.transcript.asr import chosen_engine
from nunbit.recording.transcript.cues import Cue, RawWord, cue_of_words
from nunbit.recording.transcript.speech_blocks import spoken
from nunbit.recording.transcript.untimed import Line, Script
from nunbit.recording.transcript.whisper import (
    Block,
    later_boundaries,
    whisper_cue,
    without_loops,
    without_repeats,
)
from nunbit.recording.words import Companions, needs_listening, words_of

docx = pytest.importorskip("docx")
pytest.importorskip("rapidfuzz")
pytestmark = pytest.mark.fast
TEXT = "오늘은 날씨가 정말 좋네요. 그래서 산책을 오래 했습니다."


def script_of(path: Path, text: str) -> Script:
    path.write_text(text, encoding="utf-8")
    found = read_words(path)
    assert isinstance(found, Script)
    return found


def test_sentences_and_speakers_of_a_text(tmp_path: Path) -> None:
    found = script_of(
        tmp_path / "a.txt",
        "상담자: 어떻게 지내셨어요?\n내담자: 잘 지냈어요. (웃음) 잠은 못 잤습니다.\n[음악]\n",
    )
    assert [(line.speaker, line.text, line.number) for line in found.lines] == [
        ("상담자", "어떻게 지내셨어요?", 1),
        ("내담자", "잘 지냈어요.", 2),
        ("내담자", "잠은 못 잤습니다.", 2),
    ]
    assert [(note.code, note.first) for note in found.reading] == [("speakers_inferred", "line 1")]


def test_a_text_may_begin_with_a_note_in_brackets(tmp_path: Path) -> None:
    """It was taken for JSON."""
    found = script_of(tmp_path / "a.txt", "[웃음] 네 그래요. (한숨)\n[음악]\n잘 지냈어요 [박수]\n")
    assert [line.text for line in found.lines] == ["네 그래요.", "잘 지냈어요"]
    (tmp_path / "b.json").write_text('[{"start": 0, "end": 1, "text": "네"}]', encoding="utf-8")
    assert not isinstance(read_words(tmp_path / "b.json"), Script)


def test_clock_times_of_a_dictation_service_are_no_words(tmp_path: Path) -> None:
    found = script_of(
        tmp_path / "a.txt",
        "참석자 1 00:03\n안녕하세요 반갑습니다.\n참석자 2 00:07\n네 반갑습니다 오늘 3:30에 봐요.\n",
    )
    assert [(line.speaker, line.text) for line in found.lines] == [
        ("참석자 1", "안녕하세요 반갑습니다."),
        ("참석자 2", "네 반갑습니다 오늘 3:30에 봐요."),
    ]
    assert ("clock_times_unused", 2) in [(note.code, note.count) for note in found.reading]


def test_a_table_without_times(tmp_path: Path) -> None:
    found = script_of(tmp_path / "a.csv", "화자,내용\nA,안녕하세요\nB,네 그래요\n")
    assert [(line.speaker, line.text) for line in found.lines] == [
        ("A", "안녕하세요"),
        ("B", "네 그래요"),
    ]
    assert found.source == "table"


def test_a_word_document_with_a_table(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_paragraph("진행: 시작하겠습니다.")
    table = document.add_table(rows=2, cols=2)
    for row, cells in zip(
        table.rows, (("진행", "요즘 어떠세요?"), ("손님", "괜찮습니다.")), strict=True
    ):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    path = tmp_path / "면담.docx"
    document.save(str(path))
    found = read_words(path)
    assert isinstance(found, Script)
    assert [(line.speaker, line.text) for line in found.lines] == [
        ("진행", "시작하겠습니다."),
        ("진행", "요즘 어떠세요?"),
        ("손님", "괜찮습니다."),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.txt", "(웃음)\n[음악]\n"),
        ("data.txt", "0.1 0.2 0.3\n1.5 2.5 3.5\n" * 10),
        ("code.txt", "{a: [1, 2, 3]}}\n"),
        ("old.docx", "PK"),
    ],
)
def test_what_nobody_says_is_refused(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=name):
        read_words(path)


@pytest.mark.parametrize("harm", ["version", "name"])
def test_a_document_whose_directory_is_damaged_is_refused(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "harmed.docx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/문서.xml" if harm == "name" else "word/document.xml", "<a/>")
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    if harm == "version":
        data[entry + 6] = 99  # the version needed to read it: zipfile knows up to 6.3
    else:
        data[entry + 46 + len("word/")] = 0xFF  # UTF-8 is promised
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"harmed\.docx.*no Word document"):
        read_words(path)


def test_without_its_recording_a_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TEXT, encoding="utf-8")
    assert needs_listening(path, "")
    with pytest.raises(InputError, match="no times"):
        read_transcript(path)


def words_at(text: str, starts: list[float], length: float = 0.4) -> list[Word]:
    return [Word(Interval(a, a + length), w) for a, w in zip(starts, text.split(), strict=True)]


STARTS = [1.0, 1.5, 2.0, 2.5, 5.0, 5.5, 6.0, 6.5]
SPEECH = [Interval(0.9, 3.0), Interval(4.9, 7.0)]


def placed(text: str, heard: list[Word]) -> tuple[list[Word], float]:
    script = Script(tuple(Line(line, None, k) for k, line in enumerate(text.split("\n"))), "txt")
    found = place_script(script, heard, SPEECH, path=Path("a.txt"), language="ko")
    return [w for u in found.transcript.utterances for w in u.words], found.heard


def test_words_heard_have_their_times() -> None:
    heard = words_at("오늘은 날씨가 정말 좋네요 그래서 산책을 오래 했습니다", STARTS)
    words, share = placed(TEXT, heard)
    assert share == 1.0
    assert not any(word.estimated for word in words)
    np.testing.assert_allclose([w.interval.start_s for w in words], STARTS, atol=1e-9)


def test_misheard_endings_keep_the_time_and_missing_words_lie_between() -> None:
    heard = words_at("오늘은 날씨는 종네요 그래서 산책은 했습니까", [1.0, 1.5, 2.5, 5.0, 5.5, 6.5])
    words, share = placed(TEXT, heard)
    by_text = {word.text: word for word in words}
    assert not by_text["날씨가"].estimated
    assert abs(by_text["날씨가"].interval.start_s - 1.5) < 0.05
    for missing, low, high in (("정말", 1.9, 2.5), ("오래", 5.9, 6.5)):
        word = by_text[missing]
        assert word.estimated
        assert low <= word.interval.start_s < word.interval.end_s <= high + 1e-6
    assert 0.6 < share < 1


def test_estimated_words_lie_on_speech_and_not_in_the_pause() -> None:
    heard = words_at("오늘은 날씨가 했습니다", [1.0, 1.5, 6.5])
    words, _ = placed(TEXT.replace("정말 ", ""), heard)
    for word in words:
        middle = (word.interval.start_s + word.interval.end_s) / 2
        assert not 3.05 < middle < 4.85, word


def test_times_never_run_backwards() -> None:
    heard = words_at("오늘은 날씨가 정말 좋네요 그래서 산책을 오래 했습니다", STARTS, length=0.9)
    words, _ = placed(TEXT, heard)
    starts = [word.interval.start_s for word in words]
    assert starts == sorted(starts)


def test_the_text_of_another_recording_is_refused() -> None:
    heard = words_at("전혀 다른 이야기를 하고 있는 녹화가 여기 있다", STARTS)
    with pytest.raises(InputError, match=r"a\.txt: only .* was heard"):
        placed(TEXT, heard)


def test_words_of_cues_move_to_where_they_were_heard() -> None:
    def loose(text: str, start: float, end: float) -> Utterance:
        edges = np.linspace(start, end, len(text.split()) + 1)
        words = tuple(
            Word(Interval(float(a), float(b)), w, None, 2, False, True)
            for a, b, w in zip(edges[:-1], edges[1:], text.split(), strict=True)
        )
        return Utterance(Interval(start, end), text, None, None, words)

    given = Transcript(
        (loose("오늘은 날씨가 정말 좋네요", 0.5, 4.0), loose("그래서 산책을", 20.0, 21.0)), "srt"
    )
    heard = words_at("오늘은 날씨가 좋네요 그래서 산책을", [1.0, 1.5, 2.5, 5.0, 5.5])
    found = refine_cues(given, heard, "ko")
    first, second = found.utterances
    assert [word.estimated for word in first.words] == [False, False, True, False]
    assert [word.interval.start_s for word in first.words][:2] == [1.0, 1.5]
    assert 1.9 <= first.words[2].interval.start_s < 2.5
    assert second == given.utterances[1]  # heard elsewhere: its cue stays
    assert "3 of 6" in found.notices[-1].en


def test_only_speech_is_given_to_a_recogniser() -> None:
    second = np.ones(AUDIO_RATE_HZ, np.float32)
    chunks = [AudioChunk(float(k), second) for k in range(20)]
    speech = [Interval(2.0, 3.0), Interval(4.0, 5.5), Interval(12.0, 12.5)]
    covered = np.zeros(2000, bool)
    for chunk in spoken(chunks, speech):
        first = round(chunk.start_s * 100)
        covered[first : first + round(len(chunk.samples) / AUDIO_RATE_HZ * 100)] = True
    expected = np.zeros(2000, bool)
    expected[170:580] = expected[1170:1280] = True
    assert (covered == expected).all()


def cue(text: str, start: float = 0.0) -> Cue:
    words = tuple(RawWord(w, (start, start + 1)) for w in text.split())
    return Cue(start, start + 1, text, words=words)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("나는 갔다 " * 6 + "끝", "나는 갔다 끝"),
        ("네 네 네 좋아요", "네 네 네 좋아요"),
        ("아 " * 30, "아"),
        ("가 나 다 라", "가 나 다 라"),
    ],
)
def test_loops_are_kept_once(said: str, kept: str) -> None:
    words = without_loops(cue(said.strip()).words)
    assert " ".join(word.text for word in words) == kept


def test_a_sentence_that_fills_four_cues_is_kept_once_and_marked() -> None:
    cues = [cue("시청해 주셔서 감사합니다", float(k)) for k in range(5)] + [cue("네", 9.0)] * 4
    found = [*without_repeats(cues)]
    assert [c.doubt for c in found] == ["repeated_text", "", "", "", ""]


def test_auto_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUNBIT_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("nunbit.recording.transcript.asr.vosk_model_folder", lambda: None)
    with pytest.raises(InputError, match="models get whisper-base"):
        chosen_engine(None)
    (tmp_path / "am").mkdir()
    assert chosen_engine(str(tmp_path)) == "vosk"
    assert chosen_engine("small") == "faster-whisper"


def test_doubtful_text_is_left_out_and_told() -> None:
    def run(block: Block, language: str | None) -> tuple[list[Cue], str | None]:
        sure, doubted = cue("안녕하세요 반갑습니다", block[0]), cue("감사합니다", block[0] + 1)
        return [sure, replace(doubted, doubt="invented_text")], "ko"

    chunk = AudioChunk(0.0, np.zeros(5 * AUDIO_RATE_HZ, np.float32))
    found = Recogniser("faster-whisper", None, run).transcribe([chunk])
    assert [u.text for u in found.utterances] == ["안녕하세요 반갑습니다"]
    assert [(n.code, n.treatment) for n in found.reading] == [("invented_text", "left_out")]
    assert any("'ko'" in notice.en for notice in found.notices)  # the language was detected


def test_whisper_judges_itself() -> None:
    def segment(**facts: float) -> SimpleNamespace:
        words = [SimpleNamespace(word=f" {w}", start=0.0, end=1.0, probability=0.5)
                 for w in ["나는", "갔다"] * 4]  # fmt: skip
        plain = {"no_speech_prob": 0.1, "avg_logprob": -0.3, "compression_ratio": 1.5}
        return SimpleNamespace(start=0.0, end=1.0, text="나는 갔다", words=words, **plain | facts)

    assert whisper_cue(segment(), 0.0).doubt == ""
    doubt = whisper_cue(segment(no_speech_prob=0.9, avg_logprob=-1.5), 0.0)
    assert doubt.doubt == "invented_text"
    loop = whisper_cue(segment(compression_ratio=3.0), 2.0)
    assert (loop.doubt, loop.text) == ("repeated_text", "나는 갔다")


def test_the_analysis_places_a_text_and_refines_cues(tmp_path: Path) -> None:
    """``words_of`` with a recogniser that hears known words."""
    heard = words_at("오늘은 날씨가 정말 좋네요 그래서 산책을 오래 했습니다", STARTS)

    def run(block: Block, language: str | None) -> tuple[list[Cue], str | None]:
        raw = tuple(RawWord(w.text, (w.interval.start_s, w.interval.end_s)) for w in heard)
        return [cue_of_words(raw)], "ko"

    sound = tmp_path / "a.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, AUDIO_RATE_HZ, 0, "NONE", ""))
        file.writeframes(np.zeros(8 * AUDIO_RATE_HZ, "<i2").tobytes())
    text = tmp_path / "a.txt"
    text.write_text(TEXT, encoding="utf-8")
    job = RecordingJob(sound, "a", tmp_path / "parts", text, None, tmp_path, "", ReadingSettings())
    hop = np.arange(800) * 0.01 + 0.005
    speech = np.any([(hop >= s.start_s) & (hop < s.end_s) for s in SPEECH], axis=0)
    nothing = np.full(800, np.nan, np.float32)
    voice = VoiceStream(hop, np.ones(800, bool), speech, nothing, nothing, tuple(SPEECH))
    script = read_words(text)
    assert isinstance(script, Script)
    given = Companions(None, Diarisation(()), Recogniser("faster-whisper", None, run), script)
    found, _ = words_of(job, given, voice, 8.0)
    assert found is not None
    starts = [w.interval.start_s for u in found.utterances for w in u.words]
    np.testing.assert_allclose(starts, STARTS, atol=1e-9)
    assert found.source == "txt"


def test_boundaries_between_words_are_set_later_and_pauses_stay() -> None:
    words = (
        RawWord("하나", (1.0, 1.4)),
        RawWord("둘", (1.4, 1.44)),
        RawWord("셋", (1.44, 2.0)),
        RawWord("넷", (2.5, 3.0)),
        RawWord("다섯", None),
    )
    spans = [word.span for word in later_boundaries(words)]
    assert spans == [
        (1.0, pytest.approx(1.42)),
        (pytest.approx(1.42), pytest.approx(1.48)),
        (pytest.approx(1.48), 2.0),
        (2.5, 3.0),
        None,
    ]


@pytest.mark.parametrize(
    ("confidence", "words", "told"), [(0.4, 9, True), (0.75, 9, False), (0.4, 3, False)]
)
def test_a_recording_whose_words_are_unsure_is_told(
    confidence: float, words: int, told: bool
) -> None:
    raw = tuple(RawWord(f"말{k}", (k / 2, k / 2 + 0.4), confidence) for k in range(words))

    def run(block: Block, language: str | None) -> tuple[list[Cue], str | None]:
        return [cue_of_words(raw)], language

    chunk = AudioChunk(0.0, np.zeros(8 * AUDIO_RATE_HZ, np.float32))
    found = Recogniser("faster-whisper", None, run).transcribe([chunk], language="en")
    assert len(found.utterances[0].words) == words  # all are kept
    assert any("unsure" in notice.en and "0.40" in notice.en for notice in found.notices) == told
