"""Fusion, incongruence, episodes and states on recordings with known truth."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from make_measures import (
    AIHUB,
    chances,
    long_recording,
    make_faces,
    make_input,
    make_track,
    make_transcript,
    make_voice,
    make_words,
    pick,
    reason,
    turn,
    value,
)
from nunbit.core.streams import MODALITIES, Interval
from nunbit.core.timebase import window_grid
from nunbit.measures import compute_measures, definitions, turns_from
from nunbit.measures.compute import FUSED_HERE
from nunbit.measures.episodes import find_episodes, find_states
from nunbit.measures.fusion import USED_BITS, fuse_windows

SCOPES = ("window", "turn", "question", "session")


def speech(duration_s: float, **fields: Any) -> Any:
    """Face, voice and words that say the same class all along, unless told otherwise."""
    windows = window_grid(duration_s)
    times = np.arange(round(duration_s * 10)) / 10
    face = fields.pop("face", chances(AIHUB, joy=0.8))
    text = fields.pop("text", chances(AIHUB, joy=0.8))
    voice = fields.pop("voice_chances", chances(AIHUB, joy=0.8))
    utterances = [make_words(float(t), "이것은 말 입니다 정말 그래요", word_s=0.5)
                  for t in np.arange(0, duration_s - 2.4, 2.5)]  # fmt: skip
    heard = make_voice(duration_s, [(0.0, duration_s)])
    given: dict[str, Any] = {
        "faces": make_faces(
            [make_track(times, probabilities=np.resize(face, (len(times), 7)))],
            duration_s=duration_s,
        ),
        "voice": heard,
        "transcript": make_transcript(*utterances),
        "turns": (turn(0.0, duration_s),),
        "text_probabilities": np.resize(text, (len(utterances), 7)),
        "voice_probabilities": np.resize(voice, (len(windows), 7)),
    }
    return make_input(duration_s, **(given | fields))


SAID = {
    "face": chances(AIHUB, joy=0.5, sadness=0.1, anger=0.1),
    "text": chances(AIHUB, joy=0.2, sadness=0.4, anger=0.1),
    "voice": chances(AIHUB, joy=0.1, sadness=0.2, anger=0.3),
}


def three_voices(**fields: Any) -> Any:
    return speech(20.0, face=SAID["face"], text=SAID["text"], voice_chances=SAID["voice"], **fields)


def product(*names: str) -> np.ndarray:
    """The pool of weight one and equal priors."""
    made = np.prod([np.maximum(SAID[name][0], 1e-7) for name in names], axis=0, dtype=np.float64)
    return np.asarray(made / made.sum())


def test_fused_is_the_log_linear_pool_of_what_is_there() -> None:
    blocks = fuse_windows(three_voices())
    for scope in SCOPES[:2] + SCOPES[3:]:
        for label, wanted in zip(AIHUB, product("face", "voice", "text"), strict=True):
            found = pick(blocks, f"p_{label}", scope, "fused")
            np.testing.assert_allclose(found.value, wanted, atol=1e-4)
        total = sum(pick(blocks, f"p_{label}", scope, "fused").value for label in AIHUB)
        np.testing.assert_allclose(total, 1.0, atol=1e-6)
        assert set(pick(blocks, "modalities_used", scope).value) == {7.0}
        assert set(pick(blocks, "p_joy", scope, "fused").n_valid) == {3}


@pytest.mark.parametrize("absent", MODALITIES)
def test_a_missing_modality_takes_no_part_and_is_named(absent: str) -> None:
    gone = {
        "face": {"faces": None},
        "voice": {"voice_probabilities": None},
        "text": {"transcript": None, "text_probabilities": None},
    }[absent]
    blocks = fuse_windows(dataclasses.replace(three_voices(), **gone))
    there = [name for name in MODALITIES if name != absent]
    for label, wanted in zip(AIHUB, product(*there), strict=True):
        assert value(blocks, f"p_{label}", modality="fused") == pytest.approx(wanted, abs=1e-4)
    assert value(blocks, "modalities_used") == 7 - USED_BITS[absent]
    why = {"face": "no_video", "voice": "no_model", "text": "no_transcript"}[absent]
    assert reason(blocks, "p_joy", modality=absent) == why
    assert reason(blocks, "valence", modality=absent) == why


def test_an_experimental_modality_is_shown_but_neither_fused_nor_compared() -> None:
    given = three_voices(apart=frozenset({"voice"}))
    blocks = fuse_windows(given)
    assert set(pick(blocks, "modalities_used", "window").value) == {5.0}  # face and text
    assert set(pick(blocks, "p_joy", "window", "fused").n_expected) == {2}
    for label, wanted in zip(AIHUB, product("face", "text"), strict=True):
        assert value(blocks, f"p_{label}", modality="fused") == pytest.approx(wanted, abs=1e-4)
    assert value(blocks, "p_anger", modality="voice") == pytest.approx(0.3, abs=1e-6)
    assert reason(blocks, "incongruence_face_voice") == "unvalidated"
    assert reason(blocks, "incongruence_voice_text") == "unvalidated"
    # Where nothing else is there, the fused value is missing and says why.
    alone = dataclasses.replace(given, faces=None, transcript=None, text_probabilities=None)
    lonely = fuse_windows(alone)
    assert np.isnan(pick(lonely, "p_joy", "window", "fused").value).all()
    assert reason(lonely, "p_joy", modality="fused") == "unvalidated"


def test_nothing_at_all_is_missing_everywhere() -> None:
    blocks = fuse_windows(make_input(10.0))
    for block in blocks:
        if block.measure == "modalities_used":
            assert block.n_valid.sum() == 0
        else:
            assert np.isnan(block.value).all()
    assert reason(blocks, "p_joy", modality="fused") == "no_transcript"


def test_every_class_and_incongruence_has_rows_in_every_scope() -> None:
    given = long_recording(0.05)
    blocks = fuse_windows(given)
    wanted = {d.id for d in definitions() if d.id.startswith(FUSED_HERE)}
    for scope in SCOPES:
        for modality in (*MODALITIES, "fused"):
            for label in AIHUB:
                assert pick(blocks, f"p_{label}", scope, modality).grade is None
            pick(blocks, "valence", scope, modality)
        for name in wanted:
            assert pick(blocks, name, scope).grade == "C"
    measured = {b.measure for b in compute_measures(given)}
    assert not measured & {b.measure for b in blocks}


def test_unvalidated_classes_are_marked_and_stay_out() -> None:
    given = speech(20.0, face=chances(AIHUB, hurt=0.5, joy=0.2), unvalidated=frozenset({"hurt"}))
    blocks = fuse_windows(given)
    shown = pick(blocks, "p_hurt", "window", "face")
    np.testing.assert_allclose(shown.value, 0.5, atol=1e-6)
    assert set(shown.mask_reason) == {"unvalidated"}
    assert shown.experimental
    assert reason(blocks, "p_hurt", "session", "face") == "unvalidated"
    assert reason(blocks, "p_hurt", "session", "fused") == "unvalidated"
    # What is left is shared anew: 0.2 of 0.5.
    assert value(blocks, "p_joy", modality="face") == pytest.approx(0.4, abs=1e-6)
    assert reason(blocks, "incongruence") == "unvalidated"


def test_other_people_have_ribbons_of_their_own() -> None:
    times = np.arange(100) / 10
    tracks = [
        make_track(times, track_id=i, probabilities=np.tile(chances(AIHUB, joy=p), (100, 1)))
        for i, p in enumerate((0.3, 0.7))
    ]
    blocks = fuse_windows(make_input(10.0, faces=make_faces(tracks, duration_s=10.0)))
    found = {
        b.track: b.value[0]
        for b in blocks
        if b.measure == "p_joy" and b.modality == "face" and b.scope == "window"
    }
    assert found == {"": pytest.approx(0.3, abs=1e-6), "1": pytest.approx(0.7, abs=1e-6)}


def test_words_count_by_their_overlap() -> None:
    words = (make_words(0.0, "가 나 다 라", word_s=0.5), make_words(2.0, "마 바 사 아", word_s=0.5))
    text = np.concatenate([chances(AIHUB, joy=1.0), chances(AIHUB, sadness=1.0)])
    given = make_input(
        8.0, transcript=make_transcript(*words), turns=(turn(0, 4),), text_probabilities=text
    )
    blocks = fuse_windows(given)
    window = pick(blocks, "p_joy", "window", "text")
    np.testing.assert_allclose(window.value[:3], [0.5, 1 / 3, 0.0], atol=1e-6)
    assert window.mask_reason[4] == "silence"
    assert value(blocks, "p_joy", "turn", "text") == pytest.approx(0.5)


def test_the_others_words_are_not_the_persons() -> None:
    words = (
        make_words(0.0, "가 나 다 라", speaker="Q"),
        make_words(4.0, "마 바 사 아", speaker="P"),
    )
    text = np.concatenate([chances(AIHUB, joy=1.0), chances(AIHUB, sadness=1.0)])
    turns = (turn(0, 2, "Q", False), turn(4, 6, "P", True, 0))
    blocks = fuse_windows(
        make_input(8.0, transcript=make_transcript(*words), turns=turns, text_probabilities=text)
    )
    assert value(blocks, "p_sadness", "session", "text") == pytest.approx(1.0)
    assert pick(blocks, "p_joy", "window", "text").mask_reason[0] == "other_speaker"
    np.testing.assert_allclose(pick(blocks, "p_sadness", "question", "text").value, [1.0])


def test_voice_windows_that_are_clipped_say_so() -> None:
    given = speech(20.0)
    assert given.voice is not None
    voice = dataclasses.replace(given.voice, clipped=given.voice.times_s < 8.0)
    table = np.array(given.voice_probabilities)
    table[:5] = np.nan
    table[12] = np.nan
    changed = dataclasses.replace(given, voice=voice, voice_probabilities=table)
    window = pick(fuse_windows(changed), "p_joy", "window", "voice")
    assert set(window.mask_reason[:5]) == {"clipped"}
    assert window.mask_reason[12] == "silence"


def test_voice_windows_without_a_value_are_silent() -> None:
    given = speech(20.0)
    table = np.array(given.voice_probabilities)
    table[3:9] = np.nan
    blocks = fuse_windows(dataclasses.replace(given, voice_probabilities=table))
    window = pick(blocks, "p_joy", "window", "voice")
    np.testing.assert_array_equal(np.isnan(window.value), np.isnan(table[:, 0]))
    assert set(window.mask_reason[3:9]) == {"silence"}
    used = pick(blocks, "modalities_used", "window")
    assert used.value[0] == 7.0
    assert used.value[4] == 5.0


# -- episodes -------------------------------------------------------------------------------------


def found(given: Any, kind: str) -> list[Any]:
    blocks = (*compute_measures(given), *fuse_windows(given))
    return [e for e in find_episodes(given, blocks) if e.kind == kind]


def test_episodes_of_joy() -> None:
    joy = np.full(600, 0.1)
    joy[100:130] = 0.8
    joy[115] = 0.95
    track = make_track(np.arange(600) / 10, probabilities=chances(AIHUB, joy=joy))
    episodes = found(make_input(60.0, faces=make_faces([track], duration_s=60.0)), "joy")
    assert len(episodes) == 1
    assert episodes[0].interval.start_s == pytest.approx(10.0)
    assert episodes[0].interval.end_s == pytest.approx(13.0)
    assert episodes[0].peak == pytest.approx(0.95)


def sad_stretch(baseline: Interval | None) -> Any:
    rng = np.random.default_rng(0)
    share = 0.15 + rng.normal(0, 0.03, 6000)
    share[1500:1800] += 0.5
    track = make_track(
        np.arange(6000) / 10, probabilities=chances(AIHUB, sadness=np.clip(share, 0, 1))
    )
    return make_input(600.0, faces=make_faces([track], duration_s=600.0), baseline=baseline)


@pytest.mark.parametrize(
    ("baseline", "note"), [(Interval(0.0, 90.0), "baseline"), (None, "no_baseline")]
)
def test_episodes_of_the_grouping_against_the_person(baseline: Any, note: str) -> None:
    episodes = found(sad_stretch(baseline), "depgroup")
    assert len(episodes) == 1
    assert episodes[0].interval.start_s == pytest.approx(150.0, abs=4.0)
    assert episodes[0].interval.end_s == pytest.approx(180.0, abs=4.0)
    assert episodes[0].peak == pytest.approx(0.65, abs=0.02)
    assert episodes[0].note == note


def test_small_changes_of_a_still_face_are_no_episode() -> None:
    share = np.full(3000, 0.2)
    share[1500:1800] = 0.25
    track = make_track(np.arange(3000) / 10, probabilities=chances(AIHUB, sadness=share))
    given = make_input(300.0, faces=make_faces([track], duration_s=300.0),
                       baseline=Interval(0.0, 90.0))  # fmt: skip
    assert found(given, "depgroup") == []


@pytest.mark.parametrize("marked", [None, Interval(0.0, 200.0)])
def test_episodes_of_low_agreement_have_time_and_words(marked: Interval | None) -> None:
    given = speech(600.0, baseline=marked)
    like = pick(fuse_windows(given), "incongruence_face_text", "window", "fused")
    middle = (like.t_start + like.t_end) / 2
    low = (middle >= 300) & (middle < 320)
    rng = np.random.default_rng(0)
    cosine = np.where(low, -0.4, 0.5) + rng.normal(0, 0.02, len(middle))
    block = dataclasses.replace(like, measure="agreement_face_text", value=cosine)
    (episode,) = [e for e in find_episodes(given, [block]) if e.kind == "low_agreement"]
    assert episode.interval.start_s == pytest.approx(300.0, abs=4.0)
    assert episode.interval.end_s == pytest.approx(320.0, abs=4.0)
    assert episode.peak == pytest.approx(cosine[low].min())
    assert episode.note.startswith("face/text: ")
    assert "말" in episode.note
    flat = dataclasses.replace(block, value=np.where(low, 0.45, 0.5))
    assert not [e for e in find_episodes(given, [flat]) if e.kind == "low_agreement"]


# -- states ---------------------------------------------------------------------------------------


def states(given: Any, kind: str) -> list[tuple[float, float, str]]:
    return [
        (round(e.interval.start_s, 3), round(e.interval.end_s, 3), e.note)
        for e in find_states(given)
        if e.kind == kind
    ]


def test_states_follow_the_script() -> None:
    grid = np.concatenate([np.arange(0, 250), np.arange(270, 400)]) / 10  # no frames 25-27 s
    seen = grid[(grid < 5) | (grid >= 8)]
    reasons = np.full(len(seen), "", "<U12")
    reasons[(seen >= 12) & (seen < 14)] = "low_quality"
    reasons[(seen >= 15) & (seen < 15.3)] = "low_quality"  # too short to tell
    track = make_track(seen, probabilities=np.tile(chances(AIHUB, joy=0.5), (len(seen), 1)),
                       reasons=reasons)  # fmt: skip
    n_faces = np.where((grid >= 5) & (grid < 8), 0, np.where((grid >= 30) & (grid < 33), 2, 1))
    faces = make_faces([track], duration_s=40.0, n_faces=n_faces, sample_times=grid)
    voice = make_voice(40.0, [(1, 10), (10.5, 20), (24, 30)], present=[(0, 35), (36, 40)])
    given = make_input(40.0, faces=faces, voice=voice, turns=turns_from(voice, None, (), 40.0))
    assert states(given, "no_face") == [(5.0, 8.0, "")]
    assert states(given, "low_quality") == [(12.0, 14.0, "")]
    assert states(given, "multiple_faces") == [(30.0, 33.0, "")]
    assert states(given, "gap") == [(25.0, 27.0, "video"), (35.0, 36.0, "audio")]
    assert states(given, "silence") == [
        (0.0, 1.0, ""), (20.0, 24.0, ""), (30.0, 35.0, ""), (36.0, 40.0, "")
    ]  # fmt: skip
    assert all(np.isnan(e.peak) for e in find_states(given))
    starts = [e.interval.start_s for e in find_states(given)]
    assert starts == sorted(starts)


def test_a_recording_without_anything_has_no_states() -> None:
    assert find_states(make_input(10.0)) == ()
    assert find_episodes(make_input(10.0), ()) == ()
