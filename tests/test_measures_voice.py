"""Measures of voice and words, and turns: scripted speech with known pauses, pitch and words."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from make_measures import (
    make_input,
    make_transcript,
    make_voice,
    make_words,
    pick,
    reason,
    turn,
    value,
)
from nunbit.core.messages import InputError
from nunbit.core.streams import Interval, Transcript, Turn, Utterance, Word
from nunbit.core.timebase import merge_intervals
from nunbit.measures import compute_measures, measure_notices, turns_from
from nunbit.measures.word_measures import mattr
from nunbit.measures.wording import LISTED as WORD_LISTS
from nunbit.measures.wording import find_in_english, load_lexicon, read_wording
from nunbit.recording.voice.quality import VoiceQuality, quality_stretches

PAUSES = (0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 0.26)


def scripted(pauses: Any = PAUSES, talk_s: float = 1.5, start_s: float = 1.0) -> Any:
    """Stretches of speech with these pauses between them."""
    segments, at = [], start_s
    for pause in (*pauses, None):
        segments.append((at, at + talk_s))
        at += talk_s + (pause or 0.0)
    return segments


def analysed(duration_s: float, voice: Any, turns: Any = None, **fields: Any) -> Any:
    if turns is None:
        turns = turns_from(voice, fields.get("transcript"), (), duration_s)
    return compute_measures(make_input(duration_s, voice=voice, turns=turns, **fields))


# -- pauses ---------------------------------------------------------------------------------------


def test_pauses_follow_the_script() -> None:
    segments = scripted()
    blocks = analysed(30.0, make_voice(30.0, segments))
    long = np.array([p for p in PAUSES if p >= 0.25])
    whole = segments[-1][1] - segments[0][0]
    assert value(blocks, "pause_ratio") == pytest.approx(long.sum() / whole, abs=1e-6)
    assert value(blocks, "pause_mean") == pytest.approx(long.mean(), abs=1e-6)
    assert value(blocks, "pause_sd") == pytest.approx(long.std(), abs=1e-6)
    assert pick(blocks, "pause_sd").n_valid[0] == len(long)


def test_silence_before_and_after_is_no_pause() -> None:
    early = analysed(60.0, make_voice(60.0, scripted()))
    late = analysed(60.0, make_voice(60.0, scripted(start_s=25.0)))
    for name in ("pause_ratio", "pause_mean", "pause_sd"):
        assert value(early, name) == pytest.approx(value(late, name), abs=1e-6)


def test_pauses_in_windows_equal_the_naive_count() -> None:
    segments = scripted((0.4, 0.6, 0.3, 1.0, 0.7) * 6, talk_s=0.9)
    voice = make_voice(60.0, segments)
    blocks = analysed(60.0, voice)
    gaps = [(a[1], b[0]) for a, b in itertools.pairwise(segments)]
    first, last = segments[0][0], segments[-1][1]
    window = pick(blocks, "pause_ratio", "window")
    for start, end, found in zip(window.t_start, window.t_end, window.value, strict=True):
        floor = max(0.0, min(end, last) - max(start, first))
        paused = sum(max(0.0, min(end, b) - max(start, a)) for a, b in gaps)
        if floor < 2.0:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(paused / floor, abs=1e-6)


def test_too_few_pauses() -> None:
    blocks = analysed(20.0, make_voice(20.0, scripted((0.5, 0.5, 0.5, 0.5))))
    assert reason(blocks, "pause_sd") == "too_few"
    assert value(blocks, "pause_ratio") > 0


def test_a_gap_of_the_recording_is_no_pause() -> None:
    segments = [(1.0, 4.0), (5.0, 8.0), (11.0, 14.0)]
    voice = make_voice(15.0, segments, present=[(0.0, 8.5), (10.5, 15.0)])
    blocks = analysed(15.0, voice)
    # The first pause counts; of the second, two seconds were not recorded.
    assert value(blocks, "pause_ratio") == pytest.approx(1.0 / (13.0 - 2.0), abs=1e-6)


def test_turns_below_two_seconds_have_no_pauses() -> None:
    turns = (turn(0, 1.8, "a"), turn(2, 3, "b", False), turn(4, 10, "a", True, 1))
    voice = make_voice(12.0, [(0, 0.7), (1.2, 1.8), (2, 3), (4, 6), (7, 10)])
    blocks = analysed(12.0, voice, turns)
    assert value(blocks, "pause_ratio") == pytest.approx(1.0 / 6.0, abs=1e-6)
    by_turn = pick(blocks, "pause_ratio", "turn")
    assert by_turn.mask_reason[0] == "too_short"
    assert by_turn.value[1] == pytest.approx(1.0 / 6.0, abs=1e-6)


def test_no_speech_and_no_sound() -> None:
    quiet = analysed(20.0, make_voice(20.0, []))
    assert reason(quiet, "pause_ratio") == "silence"
    assert reason(quiet, "f0_median") == "silence"
    assert reason(quiet, "pause_ratio", "turn") == "no_turns"
    silent = compute_measures(make_input(20.0))
    for name in ("speech_share", "pause_sd", "level_mean", "f0_sd_st"):
        assert reason(silent, name) == "no_audio"
    lost = analysed(20.0, make_voice(20.0, [(1, 9)], present=[(0.0, 9.0)]))
    assert reason(lost, "speech_share") == "gap"


# -- share of speech, latency ---------------------------------------------------------------------


def interview() -> tuple[Any, tuple[Turn, ...]]:
    spans = [
        (Interval(0, 4), "Q"), (Interval(5, 12), "P"), (Interval(13, 15), "Q"),
        (Interval(15.5, 20), "P"), (Interval(21, 24), "Q"), (Interval(26, 33), "P"),
        (Interval(34, 38), "Q"), (Interval(37.5, 45), "P"),
    ]  # fmt: skip
    voice = make_voice(50.0, [(0, 4), (5, 12), (13, 15), (15.5, 20), (21, 24), (26, 33), (34, 45)])
    return voice, turns_from(voice, None, spans, 50.0)


def test_latencies_follow_the_script() -> None:
    voice, turns = interview()
    assert [t.speaker for t in turns] == ["Q", "P"] * 4
    assert [t.question for t in turns if t.target] == [0, 2, 4, 6]
    blocks = analysed(50.0, voice, turns)
    assert value(blocks, "response_latency") == pytest.approx(np.median([1.0, 0.5, 2.0]))
    assert value(blocks, "response_overlap") == pytest.approx(0.25)
    assert pick(blocks, "response_latency").n_expected[0] == 4
    by_turn = pick(blocks, "response_latency", "turn")
    np.testing.assert_allclose(by_turn.value, [1.0, 0.5, 2.0, np.nan])
    assert value(blocks, "speech_share") == pytest.approx((7 + 4.5 + 7 + 7.5) / 50, abs=1e-3)


def test_latency_begins_with_the_first_timed_word() -> None:
    voice, turns = interview()
    words = [make_words(t.interval.start_s + 0.2, "네 그렇습니다 저는", speaker="P")
             for t in turns if t.target]  # fmt: skip
    timed = analysed(50.0, voice, turns, transcript=make_transcript(*words))
    assert value(timed, "response_latency") == pytest.approx(1.2)
    guessed = [
        dataclasses.replace(u, words=tuple(dataclasses.replace(w, estimated=True) for w in u.words))
        for u in words
    ]
    spread = analysed(50.0, voice, turns, transcript=make_transcript(*guessed))
    assert value(spread, "response_latency") == pytest.approx(1.0)


def test_latency_needs_three_answers_and_somebody_who_asks() -> None:
    voice, turns = interview()
    assert reason(analysed(50.0, voice, turns[:4]), "response_latency") == "too_few"
    alone = make_voice(50.0, [(0, 4), (5, 12)])
    assert reason(analysed(50.0, alone), "response_latency") == "no_turns"


def test_the_share_of_speech_needs_to_know_who_speaks() -> None:
    voice = make_voice(20.0, [(0, 5), (10, 15)])
    assert reason(analysed(20.0, voice), "speech_share") == "uncertain_speaker"
    alone = analysed(20.0, voice, single_speaker=True)
    assert value(alone, "speech_share") == pytest.approx(0.5, abs=1e-6)


def test_the_others_speech_is_not_the_persons() -> None:
    voice, turns = interview()
    blocks = analysed(50.0, voice, turns)
    window = pick(blocks, "f0_median", "window")
    assert window.mask_reason[0] == "other_speaker"
    assert pick(blocks, "pause_ratio", "window").mask_reason[0] == "other_speaker"
    assert window.mask_reason[46] == "silence"


# -- pitch and level ------------------------------------------------------------------------------


def test_pitch_follows_the_script() -> None:
    def sweep(t: np.ndarray) -> np.ndarray:
        return 150.0 * 2 ** (3 * np.sin(t) / 12)

    voice = make_voice(30.0, [(2.0, 28.0)], f0=sweep)
    blocks = analysed(30.0, voice)
    t = voice.times_s[(voice.times_s >= 2) & (voice.times_s < 28)]
    st = 12 * np.log2(sweep(t).astype(np.float32).astype(float) / 27.5)
    mad = 1.4826 * np.median(np.abs(st - np.median(st)))
    assert value(blocks, "f0_sd_st") == pytest.approx(st.std(), abs=1e-6)
    assert value(blocks, "f0_mad_st") == pytest.approx(mad, abs=1e-6)
    assert value(blocks, "f0_median") == pytest.approx(np.median(sweep(t)), rel=1e-5)
    for name, naive in (("f0_sd_st", np.std), ("f0_median", None)):
        window = pick(blocks, name, "window")
        k = 10
        inside = (t >= window.t_start[k]) & (t < window.t_end[k])
        wanted = naive(st[inside]) if naive else np.median(sweep(t[inside]))
        assert window.value[k] == pytest.approx(wanted, rel=1e-5)


def test_wrong_octaves_hardly_move_the_robust_spread() -> None:
    rng = np.random.default_rng(0)

    def f0(t: np.ndarray) -> np.ndarray:
        return np.where(
            rng.random(len(t)) < 0.03, 60.0, 120.0 * 2 ** (rng.normal(0, 1, len(t)) / 12)
        )

    blocks = analysed(30.0, make_voice(30.0, [(0, 30)], f0=f0))
    assert value(blocks, "f0_sd_st") > 2.0
    assert value(blocks, "f0_mad_st") == pytest.approx(1.0, abs=0.15)


def test_fifty_voiced_frames_are_needed() -> None:
    def voiced(until: float) -> Any:
        return make_voice(10.0, [(2, 8)], f0=lambda t: np.where(t < until, 120.0, np.nan))

    assert reason(analysed(10.0, voiced(2.49)), "f0_median") == "too_few"
    assert value(analysed(10.0, voiced(2.5)), "f0_median") == pytest.approx(120.0)


def test_level_is_the_mean_energy_and_gain_adds_decibels() -> None:
    def level(t: np.ndarray) -> np.ndarray:
        return np.where(t % 2 < 1, -20.0, -30.0)

    plain = analysed(20.0, make_voice(20.0, [(0, 20)], level=level))
    louder = analysed(20.0, make_voice(20.0, [(0, 20)], level=lambda t: level(t) + 6.02))
    assert value(plain, "level_mean") == pytest.approx(10 * np.log10((0.01 + 0.001) / 2), abs=1e-4)
    assert value(plain, "level_sd") == pytest.approx(5.0, abs=1e-4)
    assert value(louder, "level_mean") - value(plain, "level_mean") == pytest.approx(6.02, abs=0.05)
    assert value(louder, "level_sd") == pytest.approx(value(plain, "level_sd"), abs=1e-4)


def test_digital_silence_inside_speech_has_no_level() -> None:
    voice = make_voice(20.0, [(0, 20)], level=lambda t: np.where(t < 5, -120.0, -20.0))
    assert value(analysed(20.0, voice), "level_sd") == pytest.approx(0.0, abs=1e-4)


@dataclasses.dataclass(frozen=True)
class Heard:
    """One stretch as the voice reader describes it."""

    interval: Interval
    n_periods: int
    jitter_local: float
    hnr_db: float
    n_frames: int = 10
    shimmer_local_db: float = 0.5
    clipped: bool = False


def test_voice_quality_is_the_weighted_mean_of_the_persons_stretches() -> None:
    voice, turns = interview()
    quality = VoiceQuality.of(
        [
            Heard(Interval(26.0, 28.0), 0, np.nan, 14.0, n_frames=20),
            Heard(Interval(5.0, 7.0), 100, 0.01, 10.0),
            Heard(Interval(0.0, 2.0), 100, 0.9, 0.0),  # the interviewer's
            Heard(Interval(7.0, 9.0), 300, 0.02, 12.0),
        ]
    )
    blocks = analysed(50.0, voice, turns, voice_quality=quality)
    assert value(blocks, "jitter_local") == pytest.approx(0.0175)
    assert value(blocks, "hnr_db") == pytest.approx((10 + 12 + 2 * 14) / 4)
    assert value(blocks, "shimmer_local_db") == pytest.approx(0.5)
    assert pick(blocks, "jitter_local").n_valid[0] == 2
    assert pick(blocks, "jitter_local").experimental
    assert reason(analysed(50.0, voice, turns), "jitter_local") == "no_model"


def test_clipped_stretches_have_no_voice_quality() -> None:
    voice, turns = interview()
    heard = Heard(Interval(5.0, 7.0), 100, 0.01, 10.0)
    spoilt = Heard(Interval(7.0, 9.0), 0, np.nan, np.nan, n_frames=0, clipped=True)
    worse = Heard(Interval(26.0, 28.0), 0, np.nan, np.nan, n_frames=0, clipped=True)
    half = analysed(50.0, voice, turns, voice_quality=VoiceQuality.of([heard, spoilt]))
    assert value(half, "hnr_db") == pytest.approx(10.0)
    most = analysed(50.0, voice, turns, voice_quality=VoiceQuality.of([heard, spoilt, worse]))
    assert reason(most, "hnr_db") == "clipped"
    assert reason(most, "shimmer_local_db") == "clipped"


def test_stretches_for_voice_quality_cover_all_speech() -> None:
    voice = make_voice(20.0, [(0.0, 1.5), (3.0, 8.0), (9.0, 11.0)])
    pieces = quality_stretches(voice)
    assert max(p.duration_s for p in pieces) <= 2.0
    assert merge_intervals(pieces) == voice.segments


# -- rates ----------------------------------------------------------------------------------------


def test_rates_equal_the_hand_count() -> None:
    # 12 words of 3 syllables from 1.0 to 6.9 s, and one filler that does not count.
    said = make_words(1.0, "고양이 " * 6 + "어 " + "강아지 " * 5)
    segments = [(1.0, 3.0), (3.5, 6.9)]
    blocks = analysed(10.0, make_voice(10.0, segments), transcript=make_transcript(said))
    assert value(blocks, "speech_rate") == pytest.approx(33 / 5.9, abs=1e-6)
    assert value(blocks, "articulation_rate") == pytest.approx(33 / 5.4, abs=1e-6)
    assert pick(blocks, "speech_rate").n_valid[0] == 33


def test_words_at_the_edge_of_a_window_count_by_their_part() -> None:
    said = make_words(0.0, "가나다라마 " * 20, word_s=0.5)
    blocks = analysed(10.0, make_voice(10.0, [(0.0, 10.0)]), transcript=make_transcript(said))
    window = pick(blocks, "speech_rate", "window")
    np.testing.assert_allclose(window.value, 10.0, atol=1e-6)


def test_few_syllables_and_no_words() -> None:
    voice = make_voice(10.0, [(0, 1.4)])
    few = analysed(10.0, voice, transcript=make_transcript(make_words(0.0, "그래서 아마도 저는")))
    assert reason(few, "speech_rate") == "too_few"
    assert reason(analysed(10.0, voice), "speech_rate") == "no_transcript"


def test_a_turn_that_is_hardly_transcribed_gives_no_rate() -> None:
    voice = make_voice(60.0, [(0, 60)])
    said = make_words(0.0, "가나다라마 " * 10)
    blocks = analysed(60.0, voice, transcript=make_transcript(said))
    assert reason(blocks, "speech_rate") == "no_transcript"


def test_words_of_others_do_not_count() -> None:
    voice, turns = interview()
    own = make_words(5.0, "고양이가 " * 12, speaker="P")
    other = make_words(0.0, "강아지가 " * 8, speaker="Q")
    nobody = make_words(13.0, "강아지가 " * 4)  # by its time in Q's turn
    blocks = analysed(50.0, voice, turns, transcript=make_transcript(own, other, nobody))
    assert value(blocks, "speech_rate") == pytest.approx(48 / 7.0, abs=1e-6)


# -- word lists -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "hits"),
    [
        (
            "first_person",
            "나는 내가 저도 제 말을 저를 나한테 우리 나무 저녁 제주도 내일 나라 날씨",
            6,
        ),
        ("first_person", "I think my dog and I'm sure we are", 3),
        ("first_person_plural", "우리는 저희가 우리나라 우린 나는", 3),
        ("negative", "슬펐어요 너무 우울해서 힘들었고 슬픔이 컸다", 4),
        ("negative", "안 슬퍼요", 0),
        ("negative", "슬프지 않아요", 0),
        ("negative", "힘들지는 않았는데 불안했어요", 1),
        ("negative", "아프리카에 갔다", 0),
        ("negative", "I am not sad but anxious", 1),
        ("negative", "I don't feel sad", 0),
        ("positive", "행복하고 즐거웠어요 좋았다", 3),
        ("positive", "좋지 않았다", 0),
        ("absolutist", "항상 절대로 전혀 아무도 완전히 모든 것", 6),
        ("absolutist", "가끔 조금 사람", 0),
    ],
)
def test_word_lists_equal_the_hand_count(name: str, text: str, hits: int) -> None:
    words = tuple(
        Word(Interval(float(k), k + 1.0), word) for k, word in enumerate(text.split())
    )  # fmt: skip
    said = Utterance(Interval(0.0, float(len(words))), text, words=words)
    (found,) = read_wording(Transcript((said,), "srt"))
    column = WORD_LISTS.index(name)
    assert sum(row[column] for row in found.counts) == hits


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("I am happy", 1),
        ("I was never happy there", 0),
        ("I wish I were happy", 0),
        ("I do not think it was any good", 0),
        ("It was not easy, but a good day", 1),
        ("nothing good ever happens", 0),
    ],
)
def test_english_words_that_are_negated_or_wished_for_do_not_count(text: str, hits: int) -> None:
    assert find_in_english(load_lexicon("positive"), text).sum() == hits


@pytest.mark.parametrize("name", sorted(WORD_LISTS))
def test_word_lists_say_that_they_are_unvalidated(name: str) -> None:
    lexicon = load_lexicon(name)
    assert lexicon.version
    assert lexicon.source
    assert not lexicon.validated
    for entries in (lexicon.ko, lexicon.en):
        words = [*entries.words, *entries.nouns, *entries.pronouns, *entries.predicates]
        assert len(words) == len(set(words))
        assert len(entries.stems) == len(set(entries.stems))


def test_rates_of_words_per_hundred_eojeol() -> None:
    text = "나는 항상 슬펐어요, 음 그래서 우리는 갔다. " * 10  # 6 eojeol and a filler each
    said = make_words(0.0, text)
    transcript = make_transcript(said)
    given = make_input(40.0, transcript=transcript, turns=turns_from(None, transcript, (), 40.0))
    blocks = compute_measures(given)
    for name in ("fps_rate", "neg_rate", "absolutist_rate", "fps_plural_rate"):
        assert value(blocks, name) == pytest.approx(100 / 6)
    assert value(blocks, "pos_rate") == 0.0
    assert value(blocks, "filler_rate") == pytest.approx(100 / 7)
    assert value(blocks, "mattr_50") == pytest.approx(6 / 50)
    assert set(pick(blocks, "fps_rate", "window").mask_reason) <= {"too_few", "silence"}
    assert any("negative" in said.en for said in measure_notices(given))


def test_fifty_eojeol_are_needed() -> None:
    for n, enough in ((49, False), (50, True)):
        transcript = make_transcript(make_words(0.0, "집에 " * n))
        turns = turns_from(None, transcript, (), 40.0)
        blocks = compute_measures(make_input(40.0, transcript=transcript, turns=turns))
        assert np.isfinite(pick(blocks, "neg_rate").value[0]) == enough


def test_confidence_of_the_words() -> None:
    transcript = make_transcript(
        make_words(0.0, "가나다라 " * 20, word_confidence=0.9),
        make_words(10.0, "가나다라 " * 20, word_confidence=0.5),
    )
    turns = turns_from(None, transcript, (), 40.0)
    blocks = compute_measures(make_input(40.0, transcript=transcript, turns=turns))
    assert pick(blocks, "speech_rate").confidence[0] == pytest.approx(0.7)


def test_mattr_equals_the_naive_loop() -> None:
    rng = np.random.default_rng(0)
    for n, kinds in ((50, 10), (51, 30), (400, 60), (73, 1)):
        words = rng.integers(0, kinds, n)
        naive = np.mean([len(set(words[i : i + 50])) / 50 for i in range(n - 49)])
        assert mattr(words, 50) == pytest.approx(naive)


# -- turns ----------------------------------------------------------------------------------------


def test_unnamed_speech_is_one_persons_until_a_long_silence() -> None:
    voice = make_voice(60.0, [(1, 4), (6, 9), (20, 25)])
    turns = turns_from(voice, None, (), 60.0)
    assert [(t.interval.start_s, t.interval.end_s) for t in turns] == [(1, 9), (20, 25)]
    assert all(t.target and t.speaker == "" and t.question is None for t in turns)


def test_turns_of_speakers_named_by_the_transcript() -> None:
    transcript = make_transcript(
        make_words(0.0, "오늘 어떻게 지내셨어요", speaker="상담자"),
        make_words(3.0, "잘 지냈어요 정말로", speaker="내담자"),
        make_words(12.0, "그리고 밥도 먹었어요 맛있게", speaker="내담자"),
    )
    turns = turns_from(None, transcript, (), 60.0)
    assert [(t.speaker, t.target) for t in turns] == [("상담자", False), ("내담자", True)]
    assert turns[1].interval.end_s == pytest.approx(12.0 + 1.9)
    asked = turns_from(None, transcript, (), 60.0, target="상담자")
    assert [t.target for t in asked] == [True, False]


def test_an_interjection_does_not_take_the_floor() -> None:
    spans = [(Interval(0, 10), "P"), (Interval(4, 4.5), "Q"), (Interval(10.2, 15), "P")]
    turns = turns_from(None, None, spans, 20.0)
    assert [(t.interval.start_s, t.interval.end_s, t.speaker) for t in turns] == [(0, 15, "P")]


def test_speech_sharpens_the_edges_of_turns() -> None:
    voice = make_voice(30.0, [(1.2, 4.3), (6.0, 9.9)])
    spans = [(Interval(1.0, 4.0), "Q"), (Interval(5.0, 9.6), "P"), (Interval(20.0, 21.0), "Q")]
    turns = turns_from(voice, None, spans, 30.0)
    edges = [(t.interval.start_s, t.interval.end_s) for t in turns]
    # Speech carries a turn on by half a second at most; where none is heard the turn stays.
    np.testing.assert_allclose(edges, [(1.2, 4.3), (6.0, 9.9), (20.0, 21.0)])


def test_turns_are_clipped_to_the_medium_and_may_be_none() -> None:
    spans = [(Interval(-1.0, 4.0), "P"), (Interval(8.0, 30.0), "P"), (Interval(40, 50), "Q")]
    turns = turns_from(None, None, spans, 10.0)
    assert [(t.interval.start_s, t.interval.end_s) for t in turns] == [(0.0, 10.0)]
    assert turns_from(None, None, (), 10.0) == ()
    assert turns_from(make_voice(5.0, []), None, (), 5.0) == ()


def test_turns_can_be_given_as_turns() -> None:
    given = [turn(0, 3, "Q", False), turn(4, 9, "P")]
    assert [t.question for t in turns_from(None, None, given, 10.0)] == [None, 0]


def test_a_target_nobody_is_called_is_refused() -> None:
    with pytest.raises(InputError, match="speakers are P, Q") as caught:
        turns_from(None, None, [(Interval(0, 1), "P"), (Interval(2, 3), "Q")], 9.0, target="X")
    assert "대상 화자" in caught.value.text.ko


def test_unnamed_speech_is_said_to_be_unnamed() -> None:
    voice = make_voice(20.0, [(0, 5)])
    given = make_input(20.0, voice=voice, turns=turns_from(voice, None, (), 20.0))
    assert any("speakers are not named" in said.en for said in measure_notices(given))
    assert not measure_notices(dataclasses.replace(given, single_speaker=True))
