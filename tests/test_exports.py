"""Exports read back: by our readers, by Praat, and row by row."""

from __future__ import annotations

import csv
import itertools
import re
import tracemalloc
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from make_pose import rotation_from_angles
from nunbit.core.messages import InputError
from nunbit.core.streams import (
    Episode,
    FaceStream,
    FaceTrack,
    Interval,
    MeasureBlock,
    MediaInfo,
    Timeline,
    Transcript,
    Turn,
    Utterance,
    VideoInfo,
    VoiceStream,
    Word,
)
from nunbit.core.timebase import window_grid
from nunbit.recording.transcript import read_transcript
from nunbit.report.annotations import annotation_tiers, emotion_runs, pauses
from nunbit.report.exports import (
    EXPORTS,
    SUFFIXES,
    openface_angles,
    read_timeline_table,
    write_csv,
    write_eaf,
    write_openface,
    write_textgrid,
    write_timeline,
    write_vtt,
)
from nunbit.runtime.files import from_spreadsheet_text

DURATION_S = 12.0
LABELS = ("joy", "sadness")
COLUMNS = """
subject session track scope modality measure t_start t_end value ci_low ci_high baseline unit
n_expected n_valid confidence mask_reason grade version
""".split()  # noqa: SIM905


def block(measure: str, values: list[float], windows: tuple[Interval, ...], **change: Any) -> Any:
    value = np.array(values)
    n = len(value)
    fields: dict[str, Any] = {
        "scope": "window",
        "modality": "fused",
        "measure": measure,
        "unit": "0–1",
        "grade": None,
        "t_start": np.array([w.start_s for w in windows[:n]]),
        "t_end": np.array([w.end_s for w in windows[:n]]),
        "value": value,
        "n_expected": np.full(n, 40),
        "n_valid": np.where(np.isnan(value), 3, 40),
        "confidence": np.where(np.isnan(value), np.nan, 0.9),
        "mask_reason": np.where(np.isnan(value), "no_face", ""),
    }
    return MeasureBlock(**(fields | change))


def track(track_id: int, times: list[float], pose: tuple[float, float, float]) -> FaceTrack:
    n = len(times)
    pose_deg = np.tile(np.array(pose, float), (n, 1))
    return FaceTrack(
        track_id=track_id,
        times_s=np.array(times),
        boxes_xyxy=np.tile(np.array([10, 20, 110, 140], np.float32), (n, 1)),
        det_score=np.full(n, 0.95, np.float32),
        sharpness=np.full(n, 120.0, np.float32),
        reasons=np.array(["low_quality" if i == 0 else "" for i in range(n)]),
        rotation=rotation_from_angles(pose_deg),
        pose_deg=pose_deg,
        landmarks=None,
        mouth_open=np.full(n, 0.1, np.float32),
        eye_aspect=np.full(n, np.nan, np.float32),
        probabilities=np.tile(np.array([0.7, 0.3], np.float32), (n, 1)),
    )


def word(start: float, end: float, text: str, **change: Any) -> Word:
    return Word(Interval(start, end), text, **({"confidence": 0.75, "syllables": 2} | change))


def transcript() -> Transcript:
    """Two speakers at once, odd characters, a filler, one utterance without word times."""
    first = (word(1.0004, 1.4571, "나는"), word(1.4571, 2.0, '"좋다"'), word(2.3, 2.8, "<b>&c"))
    second = (word(2.5, 2.75, "어…", filler=True), word(2.75, 3.5, "그래"))
    guess = (word(6.0, 6.5, "글쎄", estimated=True), word(6.5, 7.0, "요", estimated=True))
    return Transcript(
        (
            Utterance(Interval(1.0, 3.0), '나는 "좋다" <b>&c', "화자1", 0.75, first),
            Utterance(Interval(2.4, 3.6), "어… 그래", "Dr. 김", 0.75, second),
            Utterance(Interval(6.0, 7.0), "글쎄 요", "화자1", None, guess),
        ),
        "whisper",
        "ko",
    )


def timeline(**change: Any) -> Timeline:
    windows = window_grid(DURATION_S)
    times = np.arange(1200) * 0.01 + 0.005
    samples = np.arange(120) / 10
    joy = [0.8, 0.7, 0.2, np.nan, np.nan, 0.4, 0.6, 0.9, 0.9]
    faces = FaceStream(
        rate_hz=10.0,
        sample_times_s=samples,
        n_faces=np.ones(120, np.int64),
        tracks=(track(0, list(samples[:50]), (10, 5, 3)), track(1, [2.0, 2.1], (0, 0, 0))),
        targets=(0,),
        labels=LABELS,
        has_landmarks=True,
    )
    voice = VoiceStream(
        times_s=times,
        present=np.ones(1200, bool),
        speech=(times > 1) & (times < 3),
        f0_hz=np.where(times < 3, 210.0, np.nan).astype(np.float32),
        level_dbfs=np.full(1200, -23.0, np.float32),
        segments=(Interval(1.0, 2.0), Interval(2.3, 3.0), Interval(3.1, 3.6), Interval(6.0, 7.0)),
        f0_range_hz=(75.0, 300.0),
    )
    made = Timeline(
        media=MediaInfo("녹화 1.mp4", DURATION_S, VideoInfo(640, 480, 0, "25", 0.0, 12.0), None),
        session="녹화 1",
        subject="p01",
        labels=LABELS,
        windows=windows,
        faces=faces,
        voice=voice,
        transcript=transcript(),
        turns=(
            Turn(Interval(1.0, 3.6), "화자1", target=True),
            Turn(Interval(4.0, 5.0), "Dr. 김", target=False),
        ),
        blocks=(
            block("p_joy", joy, windows),
            block("p_sadness", [1 - p for p in joy], windows),
            block("expressivity", joy[:1], windows, scope="session", modality="face", grade="B",
                  ci_low=np.array([0.1]), ci_high=np.array([0.9]), baseline=0.3),
        ),
        episodes=(
            Episode("no_face", Interval(3.0, 5.0)),
            Episode("silence", Interval(4.0, 6.0)),
            Episode("joy", Interval(0.0, 1.5), peak=0.8),
        ),
        path="../녹화 1.mp4",
        names={"joy": "기쁨", "sadness": "슬픔"},
    )  # fmt: skip
    return replace(made, **change)


def words_of(found: Transcript) -> list[tuple[float, float, str, str | None]]:
    return [
        (w.interval.start_s, w.interval.end_s, w.text, u.speaker)
        for u in found.utterances
        for w in u.words
    ]


def assert_same_words(found: Transcript, expected: Transcript, *, ends: bool = True) -> None:
    """Words, speakers and times within 1 ms."""
    got, want = words_of(found), words_of(expected)
    assert [row[2:] for row in got] == [row[2:] for row in want]
    for (start, end, text, _), (true_start, true_end, _, _) in zip(got, want, strict=True):
        assert abs(start - true_start) <= 0.001, text
        assert not ends or abs(end - true_end) <= 0.001, text


# ---------------------------------------------------------------- Parquet


def test_timeline_table_has_the_columns_of_the_contract(tmp_path: Path) -> None:
    write_timeline(tmp_path / "out", timeline())
    table = read_timeline_table(tmp_path / "out")
    assert table.column_names == COLUMNS
    rows = table.to_pylist()
    assert len(rows) == 9 + 9 + 1
    third = rows[3]
    assert np.isnan(third["value"])
    assert third["value"] is not None
    assert (third["mask_reason"], third["n_expected"], third["n_valid"]) == ("no_face", 40, 3)
    assert (third["subject"], third["session"], third["track"]) == ("p01", "녹화 1", "")
    assert third["grade"] is None
    assert np.isnan(third["baseline"])
    session = rows[-1]
    assert (session["scope"], session["grade"], session["baseline"]) == ("session", "B", 0.3)
    assert (session["ci_low"], session["ci_high"], session["version"]) == (0.1, 0.9, "1")
    stored = pq.read_schema(tmp_path / "out" / "timeline.parquet")
    assert all(
        pa.types.is_dictionary(stored.field(name).type)
        for name in COLUMNS
        if pa.types.is_dictionary(table.schema.field(name).type)
    )
    assert pa.types.is_dictionary(table.schema.field("measure").type)


def test_timeline_table_can_be_read_in_part(tmp_path: Path) -> None:
    write_timeline(tmp_path, timeline())
    part = read_timeline_table(tmp_path, columns=["measure", "value"], scope="session")
    assert part.to_pylist() == [{"measure": "expressivity", "value": 0.8}]


def test_other_tables(tmp_path: Path) -> None:
    write_timeline(tmp_path, timeline())
    frames = pq.read_table(tmp_path / "frames.parquet")
    assert " ".join(frames.column_names) == (
        "time track target x0 y0 x1 y1 det_score sharpness reason yaw pitch roll mouth_open "
        "eye_aspect p_joy p_sadness"
    )
    assert frames.num_rows == 52
    assert (np.diff(frames["time"].to_numpy()) >= 0).all()
    both = [row for row in frames.to_pylist() if row["time"] == 2.0]
    assert [(row["track"], row["target"]) for row in both] == [(0, True), (1, False)]
    assert both[0]["yaw"] == pytest.approx(10.0)
    assert both[0]["p_joy"] == pytest.approx(0.7)
    assert (both[1]["reason"], both[0]["reason"]) == ("low_quality", "")
    assert np.isnan(both[0]["eye_aspect"])
    words = pq.read_table(tmp_path / "words.parquet").to_pylist()
    assert [row["text"] for row in words][:2] == ["나는", '"좋다"']
    assert [row["utterance"] for row in words] == [0, 0, 0, 1, 1, 2, 2]
    assert [row["filler"] for row in words] == [False, False, False, True, False, False, False]
    assert words[0]["speaker"] == "화자1"
    assert words[0]["t_start"] == 1.0004
    voice = pq.read_table(tmp_path / "voice.parquet")
    assert voice.column_names == ["time", "present", "speech", "f0_hz", "level_dbfs"]
    assert voice["f0_hz"].null_count == 0
    assert np.isnan(voice["f0_hz"].to_numpy()[-1])


def test_absent_modalities_leave_empty_tables(tmp_path: Path) -> None:
    write_timeline(tmp_path, timeline())
    write_timeline(tmp_path, timeline(faces=None, voice=None, transcript=None, blocks=()))
    for name in ("timeline", "frames", "words", "voice"):
        assert pq.read_table(tmp_path / f"{name}.parquet").num_rows == 0
    assert "p_joy" in pq.read_schema(tmp_path / "frames.parquet").names


def test_missing_speaker_and_confidence(tmp_path: Path) -> None:
    said = Utterance(Interval(0, 1), "네", None, None, (word(0, 1, "네", confidence=None),))
    write_timeline(tmp_path, timeline(transcript=Transcript((said,), "srt")))
    (row,) = pq.read_table(tmp_path / "words.parquet").to_pylist()
    assert row["speaker"] is None
    assert np.isnan(row["confidence"])


def test_no_table_and_damaged_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the timeline table"):
        read_timeline_table(tmp_path)
    (tmp_path / "timeline.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(InputError, match="run `analyze` again"):
        read_timeline_table(tmp_path)


def test_two_hours_are_written_in_bounded_memory(tmp_path: Path) -> None:
    """A million rows: what is allocated at once stays far below the table."""
    windows = window_grid(7200.0)
    base = block("p_joy", [0.5] * len(windows), windows)
    blocks = tuple(replace(base, measure=f"m{i}") for i in range(140))  # arrays are shared
    whole = timeline(blocks=blocks, faces=None, voice=None)
    write_timeline(tmp_path, timeline())  # imports and caches are not counted
    before = pa.total_allocated_bytes()
    pool = pa.default_memory_pool()
    tracemalloc.start()
    write_timeline(tmp_path, whole)
    peak_python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    n = 140 * len(windows)
    assert n > 1_000_000
    file = pq.ParquetFile(tmp_path / "timeline.parquet")
    assert file.metadata.num_rows == n
    assert file.metadata.num_row_groups >= n // 65_536
    assert max(
        file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)
    ) <= 65_536  # fmt: skip
    assert peak_python < 60e6
    assert pool.max_memory() is None or pool.max_memory() - before < 250e6
    assert (tmp_path / "timeline.parquet").stat().st_size < 20e6
    assert read_timeline_table(tmp_path, columns=["measure"], scope="turn").num_rows == 0


# ---------------------------------------------------------------- intervals


def test_emotion_follows_the_nearest_window() -> None:
    runs = emotion_runs(timeline())
    # Windows of 4 s every second: centres 2, 3 … 10; the fourth and fifth are masked.
    spans = [(run.interval.start_s, run.interval.end_s, run.name) for run in runs]
    assert spans == [
        (0.0, 3.5, "기쁨"),
        (3.5, 4.5, "슬픔"),
        (6.5, 7.5, "슬픔"),
        (7.5, 12.0, "기쁨"),
    ]
    assert runs[0].text == "기쁨 0.75 (지수)"  # fused: an index, no probability
    assert emotion_runs(timeline(blocks=())) == ()


def test_emotion_falls_back_to_the_face() -> None:
    windows = window_grid(DURATION_S)
    gone = [block(f"p_{k}", [np.nan] * 9, windows) for k in LABELS]
    known = dict(zip(LABELS, (0.4, 0.6), strict=True))
    face = [block(f"p_{k}", [v] * 9, windows, modality="face") for k, v in known.items()]
    (run,) = emotion_runs(timeline(blocks=(*gone, *face)))
    assert (run.label, run.interval) == ("sadness", Interval(0.0, 12.0))
    assert run.text.endswith(" 0.60")


def test_pauses_are_gaps_of_the_target_of_a_quarter_second() -> None:
    (pause,) = pauses(timeline())  # 2.0–2.3; the gap of 0.1 s is too short
    assert (pause.start_s, pause.end_s) == (2.0, 2.3)
    assert pauses(timeline(voice=None)) == ()


def test_pauses_are_those_that_the_measures_count() -> None:
    times = np.arange(0.0, 19.0, 0.01) + 0.005
    present = (times < 9.2) | (times > 10.8)
    segments = tuple(Interval(a, b) for a, b in ((1.0, 4.0), (5.0, 9.0), (11.0, 18.0)))
    speech = np.array([any(s.start_s <= t < s.end_s for s in segments) for t in times])
    voice = VoiceStream(
        times_s=times, present=present, speech=speech, f0_hz=np.full(len(times), np.nan),
        level_dbfs=np.full(len(times), -20.0), segments=segments,
    )  # fmt: skip
    whole = timeline(voice=voice, turns=(Turn(Interval(0.0, 19.0), "A", True),))
    # Neither before the first word, nor after the last, nor where sound is missing.
    assert [(p.start_s, p.end_s) for p in pauses(whole)] == [(4.0, 5.0)]


def test_overlaps_become_layers() -> None:
    same = tuple(replace(u, speaker=None) for u in transcript().utterances)
    tiers = annotation_tiers(timeline(transcript=Transcript(same, "srt", "ko")))
    names = [tier.name for tier in tiers]
    assert names == [
        "화자 speaker", "발화 speech", "단어 words", "발화2 speech2", "단어2 words2",
        "감정 emotion", "휴지 pause", "품질 quality", "품질2 quality2",
    ]  # fmt: skip
    for tier in tiers:
        for (first, _), (second, _) in zip(tier.entries, tier.entries[1:], strict=False):
            assert first.end_s <= second.start_s
    quality = [text for tier in tiers if "quality" in tier.name for _, text in tier.entries]
    assert quality == ["얼굴 없음", "무음"]


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize("kind", ["eaf", "textgrid"])
def test_words_and_utterances_come_back(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a{SUFFIXES[kind]}"
    EXPORTS[kind](path, timeline())
    found = read_transcript(path, duration_s=DURATION_S)
    assert found.language == "ko"
    assert_same_words(found, transcript())
    for got, want in zip(found.utterances, transcript().utterances, strict=True):
        assert (got.text, got.speaker) == (want.text, want.speaker)
        assert abs(got.interval.start_s - want.interval.start_s) <= 0.001
        assert abs(got.interval.end_s - want.interval.end_s) <= 0.001


@pytest.mark.parametrize("kind", ["eaf", "textgrid"])
def test_overlapping_utterances_without_speakers_come_back(tmp_path: Path, kind: str) -> None:
    same = tuple(replace(u, speaker=None) for u in transcript().utterances)
    path = tmp_path / f"a{SUFFIXES[kind]}"
    EXPORTS[kind](path, timeline(transcript=Transcript(same, "srt", "ko")))
    assert_same_words(read_transcript(path), Transcript(same, "srt", "ko"))


@pytest.mark.parametrize("kind", ["csv", "eaf", "textgrid"])
def test_many_words_come_back_within_a_millisecond(tmp_path: Path, kind: str) -> None:
    """Times with microseconds, words that touch, short words, two speakers at once."""
    rng = np.random.default_rng(3)
    utterances = []
    for speaker in ("가", "나"):
        edges = np.cumsum(rng.uniform(0.012, 0.6, 401))
        for number in range(0, 400, 8):
            own = edges[number : number + 9]
            words = tuple(
                word(float(a), float(b), f"말{number}") for a, b in itertools.pairwise(own)
            )
            text = " ".join(w.text for w in words)
            span = Interval(float(own[0]), float(own[-1]))
            utterances.append(Utterance(span, text, speaker, 0.75, words))
    said = Transcript(tuple(sorted(utterances, key=lambda u: u.interval)), "whisper", "ko")
    end_s = max(u.interval.end_s for u in utterances)
    media = MediaInfo("a.mp4", end_s, None, None)
    path = tmp_path / f"a{SUFFIXES[kind]}"
    EXPORTS[kind](path, timeline(transcript=said, media=media, turns=(), episodes=()))
    if kind == "csv":
        path = tmp_path / "a.words.csv"
    assert_same_words(read_transcript(path), said)


def test_subtitles_come_back(tmp_path: Path) -> None:
    write_vtt(tmp_path / "a.vtt", timeline())
    text = (tmp_path / "a.vtt").read_text(encoding="utf-8")
    assert text.startswith("WEBVTT\nLanguage: ko\n\n00:00:01.000 --> 00:00:03.000\n<v 화자1>나는")
    assert "<c.emotion>[기쁨 0.75 (지수)]</c>" in text
    found = read_transcript(tmp_path / "a.vtt")
    assert [u.text for u in found.utterances] == [u.text for u in transcript().utterances]
    assert [u.speaker for u in found.utterances] == ["화자1", "Dr. 김", "화자1"]
    # WebVTT dates the beginning of a word inside its cue, not its end.
    for got, want in zip(found.utterances[:2], transcript().utterances[:2], strict=True):
        assert [w.text for w in got.words] == want.text.split()
    starts = {w.text: w.interval.start_s for u in found.utterances for w in u.words}
    assert abs(starts["그래"] - 2.75) <= 0.001
    assert abs(starts['"좋다"'] - 1.4571) <= 0.001
    assert found.utterances[2].words[0].estimated  # estimated times are not passed off as measured


def test_subtitles_without_words_show_the_emotion(tmp_path: Path) -> None:
    write_vtt(tmp_path / "a.vtt", timeline(transcript=None))
    text = (tmp_path / "a.vtt").read_text(encoding="utf-8")
    assert text.count("-->") == 4
    assert "00:00:07.500 --> 00:00:12.000\n<c.emotion>[기쁨 0.80 (지수)]</c>" in text


def test_spreadsheet_has_every_row_and_empty_cells(tmp_path: Path) -> None:
    write_csv(tmp_path / "녹화.csv", timeline())
    data = (tmp_path / "녹화.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")  # spreadsheets garble Hangul without it
    rows = list(csv.DictReader(data.decode("utf-8-sig").splitlines()))
    assert list(rows[0]) == COLUMNS
    assert len(rows) == 19
    assert (rows[3]["value"], rows[3]["mask_reason"]) == ("", "no_face")
    assert rows[9]["value"] == "0.2"  # 1 - 0.8 without its rounding error
    assert rows[0]["session"] == "녹화 1"
    found = read_transcript(tmp_path / "녹화.words.csv")
    assert_same_words(found, transcript())
    assert found.utterances[0].words[0].confidence == 0.75


def test_spreadsheet_without_words(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", timeline(transcript=None, blocks=()))
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


# ---------------------------------------------------------------- other tools


def test_eaf_is_built_as_elan_wants_it(tmp_path: Path) -> None:
    bad = (word(1.0, 1.5, "a\x00b"),)
    odd = Transcript((Utterance(Interval(1.0, 2.0), "a\x00b", None, None, bad),), "srt")
    for made in (timeline(), timeline(transcript=odd), timeline(transcript=None, turns=())):
        write_eaf(tmp_path / "a.eaf", made)
        root = ET.parse(tmp_path / "a.eaf").getroot()
        order = [child.tag for child in root]
        wanted = ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LOCALE", "CONSTRAINT"]
        assert list(dict.fromkeys(order)) == wanted  # the schema fixes the sequence
        assert {"AUTHOR", "DATE", "VERSION", "FORMAT"} <= set(root.attrib)
        schema = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"
        assert root.attrib[schema] == "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", root.attrib["DATE"])
        slots = {
            s.get("TIME_SLOT_ID"): int(s.get("TIME_VALUE", "x")) for s in root.iter("TIME_SLOT")
        }
        assert list(slots.values()) == sorted(set(slots.values()))
        types = {t.get("LINGUISTIC_TYPE_ID") for t in root.iter("LINGUISTIC_TYPE")}
        ids = [a.get("ANNOTATION_ID") for a in root.iter("ALIGNABLE_ANNOTATION")]
        assert len(ids) == len(set(ids))
        names = [tier.get("TIER_ID") for tier in root.iter("TIER")]
        assert len(names) == len(set(names))
        for tier in root.iter("TIER"):
            assert tier.get("LINGUISTIC_TYPE_REF") in types
            last = -1
            for note in tier.iter("ALIGNABLE_ANNOTATION"):
                start = slots[note.get("TIME_SLOT_REF1")]
                end = slots[note.get("TIME_SLOT_REF2")]
                assert last <= start < end <= DURATION_S * 1000
                assert note.find("ANNOTATION_VALUE") is not None
                last = end
        medium = root.find("HEADER/MEDIA_DESCRIPTOR")
        assert medium is not None
        assert medium.get("RELATIVE_MEDIA_URL") == "../녹화 1.mp4"
        assert medium.get("MIME_TYPE") == "video/mp4"


def test_textgrid_opens_in_praat(tmp_path: Path) -> None:
    parselmouth = pytest.importorskip("parselmouth")
    path = tmp_path / "a.TextGrid"
    write_textgrid(path, timeline())
    call = parselmouth.praat.call
    grid = parselmouth.read(str(path))
    assert call(grid, "Get end time") == DURATION_S
    tiers = annotation_tiers(timeline())
    assert call(grid, "Get number of tiers") == len(tiers)
    for number, tier in enumerate(tiers, start=1):
        assert call(grid, "Get tier name", number) == tier.name
        count = call(grid, "Get number of intervals", number)
        found = []
        last = 0.0
        for i in range(1, count + 1):
            start = call(grid, "Get start time of interval", number, i)
            end = call(grid, "Get end time of interval", number, i)
            assert start == pytest.approx(last, abs=1e-9)
            last = end
            label = call(grid, "Get label of interval", number, i)
            if label:
                found.append((start, end, label))
        assert last == DURATION_S
        assert [row[2] for row in found] == [text for _, text in tier.entries]
        for (start, end, _), (interval, _) in zip(found, tier.entries, strict=True):
            assert abs(start - interval.start_s) <= 0.001
            assert abs(end - interval.end_s) <= 0.001


# ---------------------------------------------------------------- OpenFace


@pytest.mark.parametrize(
    ("pose", "angles"),
    [
        ((0, 0, 0), (0, 0, 0)),
        ((20, 0, 0), (0, -20, 0)),  # to the image's right: OpenFace's Ry is negative
        ((0, 15, 0), (15, 0, 0)),  # down: positive
        ((0, 0, 10), (0, 0, 10)),  # clockwise: positive
    ],
)
def test_openface_signs(pose: tuple[float, ...], angles: tuple[float, ...]) -> None:
    found = openface_angles(rotation_from_angles(np.array(pose, float)))
    np.testing.assert_allclose(np.degrees(found), angles, atol=1e-9)


def test_openface_angles_rebuild_the_rotation() -> None:
    """R = Rx Ry Rz, element by element as in OpenFace's RotationHelpers.h."""
    rotations = rotation_from_angles(np.random.default_rng(1).uniform(-60, 60, (50, 3)))
    x, y, z = openface_angles(rotations).T
    s1, s2, s3, c1, c2, c3 = *np.sin([x, y, z]), *np.cos([x, y, z])
    rebuilt = np.array([
        [c2 * c3, -c2 * s3, s2],
        [c1 * s3 + c3 * s1 * s2, c1 * c3 - s1 * s2 * s3, -c2 * s1],
        [s1 * s3 - c1 * c3 * s2, c3 * s1 + c1 * s2 * s3, c1 * c2],
    ])  # fmt: skip
    np.testing.assert_allclose(np.moveaxis(rebuilt, 2, 0), rotations, atol=1e-9)


def test_openface_file_has_only_what_was_measured(tmp_path: Path) -> None:
    write_openface(tmp_path / "a.csv", timeline())
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        "frame", "face_id", "timestamp", "confidence", "success",
        "pose_Rx", "pose_Ry", "pose_Rz",
    ]  # fmt: skip
    assert len(rows) == 120 + 2  # every sampled frame, and twice a second person
    assert (rows[0]["frame"], rows[0]["success"]) == ("1", "0")  # low quality
    assert float(rows[1]["pose_Ry"]) == pytest.approx(-np.radians(10), abs=0.01)
    assert [row["face_id"] for row in rows if row["timestamp"] == "2.0000"] == ["0", "1"]
    nobody = rows[-1]
    assert (nobody["frame"], nobody["timestamp"], nobody["success"]) == ("120", "11.9000", "0")
    assert nobody["pose_Rx"] == ""
    faces = timeline().faces
    assert faces is not None
    write_openface(tmp_path / "b.csv", timeline(faces=replace(faces, has_landmarks=False)))
    header = (tmp_path / "b.csv").read_text(encoding="utf-8").split("\n")[0]
    assert header == "frame,face_id,timestamp,confidence,success"


def test_openface_needs_a_video(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no video"):
        write_openface(tmp_path / "a.csv", timeline(faces=None))


def test_exports_are_named_and_atomic(tmp_path: Path) -> None:
    assert sorted(EXPORTS) == sorted(SUFFIXES)
    blocked = tmp_path / "file"
    blocked.write_text("x")
    for write in EXPORTS.values():
        with pytest.raises(InputError):
            write(blocked / "a", timeline())
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_no_cell_is_a_formula_and_numbers_keep_their_sign(tmp_path: Path) -> None:
    spoken = (word(1.0, 1.5, "=HYPERLINK(1)"), word(1.5, 2.0, "-네"))
    said = Utterance(Interval(1.0, 2.0), "x", "=cmd|calc", 0.5, spoken)
    given = timeline(
        subject="@p", session="+s", transcript=Transcript((said,), "srt"),
        blocks=(block("valence", [-0.5] * 9, window_grid(DURATION_S)),),
    )  # fmt: skip
    write_csv(tmp_path / "a.csv", given)
    for name in ("a.csv", "a.words.csv"):
        with (tmp_path / name).open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert rows
        for row in rows:
            for cell in row.values():
                number = cell.lstrip("-").replace(".", "", 1).isdigit()
                assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as stream:
        first = next(csv.DictReader(stream))
    assert first["value"] == "-0.5"
    assert from_spreadsheet_text(first["subject"]) == "@p"
    with (tmp_path / "a.words.csv").open(encoding="utf-8-sig", newline="") as stream:
        words = [from_spreadsheet_text(row["word"]) for row in csv.DictReader(stream)]
    assert words == ["=HYPERLINK(1)", "-네"]


def test_half_characters_from_a_transcript_do_not_lose_the_analysis(tmp_path: Path) -> None:
    said = Utterance(Interval(1.0, 2.0), "\ud800", "\udcffkim", 0.5, (word(1.0, 2.0, "a\ud800"),))
    given = timeline(subject="\udc80", session="s\udcff", transcript=Transcript((said,), "json"))
    write_timeline(tmp_path / "out", given)
    for kind, write in EXPORTS.items():
        write(tmp_path / "out" / f"s.{kind}", given)
    words = pq.read_table(tmp_path / "out" / "words.parquet").to_pylist()
    assert (words[0]["text"], words[0]["speaker"]) == ("a\ufffd", "\ufffdkim")
