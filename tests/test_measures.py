"""Measures of face, turns and the whole: hand arrays, closed forms, invariances, fast = naive."""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Any

import numpy as np
import pytest

from make_measures import (
    AIHUB,
    FER,
    chances,
    faces_of,
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
from nunbit.core.spans import Mass, Spans, held, lay_out, mad_rows, quantile_rows, rows_in, runs
from nunbit.core.spans import sum_rows as fast_sum
from nunbit.core.streams import REASONS, Interval, MeasureBlock
from nunbit.core.timebase import window_grid
from nunbit.language.labels import load_label_set
from nunbit.measures import (
    FUNCTIONALS,
    Definition,
    compute_measures,
    definition_of,
    definitions,
    measure_notices,
    session_rows,
    turns_from,
)
from nunbit.measures.compute import FUSED_HERE
from nunbit.measures.definitions import roles_of
from nunbit.measures.estimate import combine
from nunbit.pictures.landmarks import KEPT_POINTS

NEGATIVE = ("anger", "anxiety", "hurt", "sadness")


# -- definitions ---------------------------------------------------------------------------------


def test_all_twenty_measures_are_defined() -> None:
    assert {d.number for d in definitions()} - {None} == set(range(1, 21))
    ids = [d.id for d in definitions()]
    assert len(ids) == len(set(ids))


def test_grades_are_those_of_the_evidence() -> None:
    graded = {g: {d.id for d in definitions() if d.grade == g} for g in "AB"}
    assert graded["A"] == {"speech_rate"}
    assert {"pause_sd", "response_latency"} <= graded["B"]  # one study each
    assert "head_speed" not in graded["B"]  # until its noise floor has been tried on real heads


def test_grade_a_needs_several_studies() -> None:
    for definition in definitions():
        if definition.grade == "A":
            assert len(definition.source.split(";")) >= 2, definition.id


@pytest.mark.parametrize("definition", definitions(), ids=lambda d: d.id)
def test_definitions_are_complete_and_never_diagnose(definition: Definition) -> None:
    for lang in ("ko", "en"):
        for text in (
            definition.name.pick(lang),
            definition.valid_if.pick(lang),
            definition.meaning.pick(lang),
        ):
            hangul, latin = (len(re.findall(kind, text)) for kind in ("[가-힣]", "[a-zA-Z]"))
            assert (hangul > latin) == (lang == "ko")
    assert definition.formula
    assert definition.source
    assert not re.search("위험군|양성|진단|depression score:|patient", definition.meaning.ko)
    assert re.search("(니다|십시오)[.(]", definition.meaning.ko)


def test_names_with_suffixes_lead_to_their_definition() -> None:
    for name in ("expressivity", "expressivity_speaking", "expressivity_not_speaking",
                 "expressivity.sd", "expressivity_speaking.z"):  # fmt: skip
        found = definition_of(name)
        assert found is not None
        assert found.id == "expressivity"
    assert definition_of("p_joy") is None


def test_definitions_name_the_classes_and_what_they_stand_in_for() -> None:
    by_id = {d.id: d for d in definitions(load_label_set("fer7"))}
    assert by_id["depgroup_share"].classes == ("fear", "sadness")
    assert by_id["depgroup_share"].stand_in_for == ("sadness", "anxiety", "hurt")
    assert by_id["negative_share"].classes == ("anger", "fear", "disgust", "sadness")
    assert by_id["expressivity"].stand_in_for == ()
    plain = {d.id: d for d in definitions(load_label_set("aihub7"))}
    assert plain["depgroup_share"].classes == ("anxiety", "hurt", "sadness")
    assert plain["depgroup_share"].stand_in_for == ()


# -- spans: fast = naive --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ragged() -> tuple[np.ndarray, np.ndarray, Spans]:
    rng = np.random.default_rng(3)
    times = np.sort(rng.uniform(0, 100, 700))
    edges = np.sort(rng.uniform(-5, 105, (300, 2)), axis=1)
    edges[7] = (50.0, 50.0)
    edges[8] = (200.0, 201.0)
    return times, rng.normal(size=700), lay_out({"window": [tuple(e) for e in edges]})


def test_rows_sums_quantiles_and_mads_equal_the_naive_loops(ragged: Any) -> None:
    times, values, spans = ragged
    rows = rows_in(times, spans)
    for i, (start, end) in enumerate(zip(spans.start_s, spans.end_s, strict=True)):
        inside = values[(times >= start) & (times < end)]
        assert rows[i, 1] - rows[i, 0] == len(inside)
        assert fast_sum(values, rows)[i] == pytest.approx(inside.sum(), abs=1e-12)
    for q in (0.0, 0.2, 0.5, 0.9, 1.0):
        fast = quantile_rows(values, rows, q)
        naive = [np.quantile(values[a:b], q) if b > a else np.nan for a, b in rows]
        np.testing.assert_allclose(fast, naive, atol=1e-12)
    naive = [
        np.median(np.abs(values[a:b] - np.median(values[a:b]))) if b > a else np.nan
        for a, b in rows
    ]
    np.testing.assert_allclose(mad_rows(values, rows), naive, atol=1e-12)


def test_mass_equals_the_naive_overlap(ragged: Any) -> None:
    _, _, spans = ragged
    rng = np.random.default_rng(4)
    starts = rng.uniform(0, 100, 200)
    ends = starts + rng.exponential(1.0, 200) + 0.01
    mass = rng.uniform(0, 5, 200)
    fast = Mass(np.stack([starts, ends], axis=1), mass).within(spans)
    shared = np.minimum(ends, spans.end_s[:, None]) - np.maximum(starts, spans.start_s[:, None])
    naive = (np.maximum(shared, 0) / (ends - starts) * mass).sum(axis=1)
    np.testing.assert_allclose(fast, naive, atol=1e-9)


def test_hysteresis_and_runs_equal_the_naive_loop() -> None:
    rng = np.random.default_rng(5)
    values = rng.uniform(0, 1, 500)
    breaks = rng.random(500) < 0.05
    breaks[0] = True
    on, naive = False, []
    for v, cut in zip(values, breaks, strict=True):
        on = False if cut else on
        on = True if v >= 0.5 else False if v < 0.4 else on
        naive.append(on)
    flags = held(values, 0.5, 0.4, breaks)
    np.testing.assert_array_equal(flags, naive)
    found = runs(flags, breaks)
    covered = np.zeros(500, int)
    for a, b in found:
        covered[a:b] += 1
        assert not breaks[a + 1 : b].any()
    np.testing.assert_array_equal(covered, flags.astype(int))


@pytest.mark.parametrize("flags", [[], [True], [False], [True, True], [False, True, False]])
def test_runs_of_few(flags: list[bool]) -> None:
    found = runs(np.array(flags, bool))
    assert sum(b - a for a, b in found) == sum(flags)


# -- the face -------------------------------------------------------------------------------------


def test_expression_measures_equal_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(7), 900).astype(np.float32)
    blocks = compute_measures(make_input(90.0, faces=faces_of(p)))
    column = {label: p[:, i].astype(float) for i, label in enumerate(AIHUB)}
    negative = sum(column[label] for label in NEGATIVE)
    assert value(blocks, "expressivity") == pytest.approx((1 - column["neutral"]).mean(), abs=1e-6)
    assert value(blocks, "negative_share") == pytest.approx(negative.mean(), abs=1e-6)
    assert value(blocks, "joy_time") == pytest.approx((column["joy"] >= 0.5).mean(), abs=1e-6)
    valence = column["joy"] - negative
    assert value(blocks, "valence_sd") == pytest.approx(valence.std(), abs=1e-6)
    group = column["sadness"] + column["anxiety"] + column["hurt"]
    assert value(blocks, "depgroup_share") == pytest.approx(group.mean(), abs=1e-6)
    window = pick(blocks, "expressivity", "window")
    naive = [(1 - column["neutral"])[k * 10 : k * 10 + 40].mean() for k in range(len(window.value))]
    np.testing.assert_allclose(window.value, naive, atol=1e-6)


def test_a_flustered_face_counts_for_neither_side() -> None:
    p = chances(AIHUB, flustered=np.full(100, 0.9))
    blocks = compute_measures(make_input(10.0, faces=faces_of(p)))
    assert value(blocks, "negative_share") == pytest.approx(0.0)
    assert value(blocks, "valence_sd") == pytest.approx(0.0, abs=1e-6)


def test_fer7_uses_its_stand_ins_and_says_so() -> None:
    p = chances(FER, anger=0.1, fear=0.2, sadness=0.3, disgust=0.05, surprise=0.15)
    p = np.tile(p, (100, 1))
    given = make_input(10.0, labels=FER, faces=faces_of(p, labels=FER))
    blocks = compute_measures(given)
    assert value(blocks, "depgroup_share") == pytest.approx(0.5, abs=1e-6)
    assert value(blocks, "negative_share") == pytest.approx(0.65, abs=1e-6)
    said = measure_notices(given)[0]
    assert "fear" in said.en
    assert "공포" in said.ko
    assert "불안" in said.ko


def test_unvalidated_classes_take_no_part() -> None:
    p = np.tile(chances(AIHUB, joy=0.2, hurt=0.5), (100, 1))
    given = make_input(10.0, faces=faces_of(p), unvalidated=frozenset({"hurt"}))
    blocks = compute_measures(given)
    # Without 상처 the rest is shared anew: joy 0.4, neutral 0.6.
    assert value(blocks, "expressivity") == pytest.approx(0.4, abs=1e-6)
    for name in ("depgroup_share", "negative_share", "valence_sd"):
        assert reason(blocks, name) == "unvalidated"
    assert any("hurt" in said.en for said in measure_notices(given))


def test_a_label_set_without_a_class_says_so() -> None:
    p = np.tile(np.array([[0.3, 0.7]], np.float32), (100, 1))
    labels = load_label_set("dep2").ids
    blocks = compute_measures(make_input(10.0, labels=labels, faces=faces_of(p, labels=labels)))
    assert reason(blocks, "expressivity") == "no_label"
    assert value(blocks, "depgroup_share") == pytest.approx(0.3, abs=1e-6)


def test_roles_of_a_label_set_of_ones_own() -> None:
    own = load_label_set("aihub7")
    turned = dataclasses.replace(
        own,
        labels=tuple(dataclasses.replace(label, valence=-label.valence) for label in own.labels),
    )
    roles = roles_of(own.ids, label_set=turned)
    assert roles.parts["negative"].ids == ("joy",)
    assert set(roles.parts["joy"].ids) == set(NEGATIVE)


def test_joy_episodes_follow_the_script() -> None:
    joy = np.full(1200, 0.1)
    joy[100:130] = 0.8  # 3 s
    joy[130:140] = 0.45  # held by the hysteresis: 1 s more
    joy[300:304] = 0.9  # 0.4 s: too short
    joy[500:505] = 0.6  # 0.5 s: just long enough
    blocks = compute_measures(make_input(120.0, faces=faces_of(chances(AIHUB, joy=joy))))
    assert value(blocks, "joy_episode_rate") == pytest.approx(2 / 2.0)
    assert value(blocks, "joy_episode_mean_s") == pytest.approx((4.0 + 0.5) / 2)
    assert value(blocks, "joy_time") == pytest.approx(39 / 1200)
    assert reason(blocks, "joy_episode_rate", "turn") == "no_turns"
    windows = pick(blocks, "joy_episode_rate", "window")
    assert set(windows.mask_reason) == {"too_short"}


@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_every_frame_gives_the_same_as_ten_a_second(fps: float) -> None:
    times = np.arange(round(90 * fps)) / fps
    joy = np.where((times >= 10) & (times < 14), 0.8, 0.2)
    track = make_track(times, probabilities=chances(AIHUB, joy=joy))
    faces = make_faces([track], duration_s=90.0, sample_times=times)  # asked for 10 a second
    blocks = compute_measures(make_input(90.0, faces=faces, full_rate=True))
    assert value(blocks, "joy_episode_rate") == pytest.approx(1 / 1.5)
    assert value(blocks, "joy_episode_mean_s") == pytest.approx(4.0)
    coverage = pick(blocks, "face_coverage")
    assert coverage.n_valid[0] == coverage.n_expected[0] == len(times)


def test_an_episode_does_not_outlast_a_hole() -> None:
    times = np.concatenate([np.arange(0, 30) / 10, np.arange(40, 640) / 10])
    joy = np.where(times < 5, 0.8, 0.1)
    track = make_track(times, probabilities=chances(AIHUB, joy=joy))
    blocks = compute_measures(make_input(64.0, faces=make_faces([track], duration_s=64.0)))
    minutes = len(times) / 600
    assert value(blocks, "joy_episode_rate") == pytest.approx(2 / minutes)
    assert value(blocks, "joy_episode_mean_s") == pytest.approx((3.0 + 1.0) / 2)


def test_short_sessions_have_no_time_with_joy() -> None:
    blocks = compute_measures(make_input(50.0, faces=faces_of(chances(AIHUB, joy=np.ones(500)))))
    assert reason(blocks, "joy_time") == "too_short"


def test_coverage_counts_dropouts_exactly_and_windows_say_why() -> None:
    times = np.setdiff1d(np.arange(200), np.arange(50, 120)) / 10.0
    reasons = np.full(len(times), "", "<U12")
    reasons[times >= 16.0] = "low_quality"
    track = make_track(times, probabilities=chances(AIHUB, joy=np.full(len(times), 0.5)),
                       reasons=reasons)  # fmt: skip
    blocks = compute_measures(make_input(20.0, faces=make_faces([track], duration_s=20.0)))
    assert value(blocks, "face_coverage") == pytest.approx((200 - 70 - 40) / 200)
    coverage = pick(blocks, "face_coverage", "window")
    naive = [
        np.mean([0 <= t < 5 or 12 <= t < 16 for t in (np.arange(k * 10, k * 10 + 40) / 10)])
        for k in range(17)
    ]
    np.testing.assert_allclose(coverage.value, naive, atol=1e-12)
    window = pick(blocks, "expressivity", "window")
    missing = np.array(naive) < 0.5
    np.testing.assert_array_equal(np.isnan(window.value), missing)
    assert set(window.mask_reason[4:10]) == {"no_face"}
    assert set(window.mask_reason[15:]) == {"low_quality"}
    np.testing.assert_array_equal(window.n_expected, 40)
    np.testing.assert_array_equal(window.n_valid, np.rint(np.array(naive) * 40))


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("no_video", "no_video"),
        ("no_model", "no_model"),
        ("several", "multiple_faces"),
        ("nobody", "no_face"),
        ("unsure", "low_conf"),
        ("small", "low_quality"),
        ("hole", "gap"),
    ],
)
def test_a_face_that_cannot_be_read_says_why(case: str, expected: str) -> None:
    p = np.tile(chances(AIHUB, joy=0.5), (100, 1))
    faces: Any = faces_of(p)
    if case == "no_video":
        faces = None
    elif case == "no_model":
        faces = make_faces([make_track(np.arange(100) / 10)], duration_s=10.0)
    elif case == "several":
        faces = make_faces([], duration_s=10.0, n_faces=np.full(100, 2), targets=())
    elif case == "nobody":
        faces = make_faces(
            [make_track([0.0], probabilities=p[:1])], duration_s=10.0, n_faces=np.zeros(100)
        )
    elif case == "unsure":
        faces = faces_of(p, det_score=np.full(100, 0.61, np.float32))
    elif case == "small":
        faces = faces_of(p, reasons=np.full(100, "low_quality"))
    elif case == "hole":
        faces = make_faces(
            [make_track([0.0, 0.1], probabilities=p[:2])], duration_s=10.0, sample_times=[0.0, 0.1]
        )
    blocks = compute_measures(make_input(10.0, faces=faces))
    assert reason(blocks, "expressivity") == expected


def test_other_people_are_reported_apart() -> None:
    times = np.arange(700) / 10
    own = make_track(times, probabilities=np.tile(chances(AIHUB, joy=0.2), (700, 1)))
    other = make_track(
        times[:400], track_id=5, probabilities=np.tile(chances(AIHUB, joy=0.9), (400, 1))
    )
    passing = make_track(
        times[:30], track_id=6, probabilities=np.tile(chances(AIHUB, joy=0.9), (30, 1))
    )
    faces = make_faces([own, other, passing], duration_s=70.0)
    blocks = compute_measures(make_input(70.0, faces=faces, baseline=Interval(0, 65)))
    found = {
        b.track: (b.value[0], b.baseline)
        for b in blocks
        if b.measure == "expressivity" and b.scope == "session"
    }
    assert set(found) == {"", "5"}
    assert found[""] == (pytest.approx(0.2, abs=1e-6), pytest.approx(0.2, abs=1e-6))
    assert found["5"][0] == pytest.approx(0.9, abs=1e-6)
    assert np.isnan(found["5"][1])


def test_a_person_who_leaves_and_returns_is_one() -> None:
    p = chances(AIHUB, joy=np.full(300, 0.4))
    first = make_track(np.arange(300) / 10, probabilities=p)
    second = make_track(40 + np.arange(300) / 10, track_id=3, probabilities=p)
    faces = make_faces([first, second], duration_s=70.0, targets=(0, 3))
    blocks = compute_measures(make_input(70.0, faces=faces))
    assert value(blocks, "face_coverage") == pytest.approx(6 / 7)
    assert value(blocks, "expressivity") == pytest.approx(0.4, abs=1e-6)


def test_face_measures_are_split_by_speaking() -> None:
    joy = np.where(np.arange(400) % 200 < 100, 0.8, 0.2)  # 0-10 s and 20-30 s lively
    voice = make_voice(40.0, [(0.0, 10.0), (20.0, 30.0)])
    turns = turns_from(voice, None, (), 40.0)
    blocks = compute_measures(
        make_input(40.0, faces=faces_of(chances(AIHUB, joy=joy)), voice=voice, turns=turns)
    )
    assert value(blocks, "expressivity_speaking") == pytest.approx(0.8, abs=1e-6)
    assert value(blocks, "expressivity_not_speaking") == pytest.approx(0.2, abs=1e-6)
    assert pick(blocks, "expressivity_speaking").n_valid[0] == 200
    windows = pick(blocks, "expressivity_speaking", "window")
    assert windows.mask_reason[12] == "silence"
    silent = compute_measures(make_input(40.0, faces=faces_of(chances(AIHUB, joy=joy))))
    assert reason(silent, "expressivity_speaking") == "no_audio"


# -- scopes, functionals, intervals, baseline ----------------------------------------------------


def everything() -> Any:
    return long_recording(0.1, landmarks=len(KEPT_POINTS))


@pytest.fixture(scope="module")
def whole() -> tuple[Any, tuple[MeasureBlock, ...]]:
    given = everything()
    return given, compute_measures(given)


def expected_names() -> set[str]:
    names = set()
    for d in definitions():
        if not d.id.startswith(FUSED_HERE):
            names |= {d.id}
            if d.split:
                names |= {f"{d.id}_speaking", f"{d.id}_not_speaking"}
    return names


@pytest.mark.parametrize("kind", ["full", "empty", "zero", "audio only", "words only"])
def test_every_measure_has_rows_in_every_scope(kind: str, whole: Any) -> None:
    given, blocks = whole
    if kind == "empty":
        blocks = compute_measures(make_input(30.0))
    elif kind == "zero":
        blocks = compute_measures(make_input(0.0))
    elif kind == "audio only":
        blocks = compute_measures(dataclasses.replace(given, faces=None, transcript=None,
                                                      text_probabilities=None))  # fmt: skip
    elif kind == "words only":
        blocks = compute_measures(dataclasses.replace(given, faces=None, voice=None))
    for name in expected_names():
        for scope in ("window", "turn", "question", "session"):
            block = pick(blocks, name, scope)
            assert len(block.value) > 0 or kind == "zero"
            assert set(block.mask_reason) <= set(REASONS)
            valid = block.mask_reason == ""
            np.testing.assert_array_equal(np.isfinite(block.value), valid)
            assert (block.t_end >= block.t_start).all()
    if kind in ("empty", "zero"):
        assert all(np.isnan(b.value).all() for b in blocks)


def test_windows_are_the_grid_and_turns_those_of_the_person(whole: Any) -> None:
    given, blocks = whole
    window = pick(blocks, "pause_ratio", "window")
    np.testing.assert_allclose(window.t_start, [w.start_s for w in given.windows])
    own = [t.interval for t in given.turns if t.target]
    np.testing.assert_allclose(pick(blocks, "pause_ratio", "turn").t_end, [t.end_s for t in own])
    question = pick(blocks, "pause_ratio", "question")
    np.testing.assert_allclose(question.t_start, [t.interval.start_s for t in given.turns
                                                  if not t.target])  # fmt: skip
    np.testing.assert_allclose(question.t_end, [t.end_s for t in own])


def test_functionals_of_the_windows(whole: Any) -> None:
    _, blocks = whole
    window = pick(blocks, "expressivity", "window")
    x = window.value[np.isfinite(window.value)]
    minutes = ((window.t_start + window.t_end) / 120)[np.isfinite(window.value)]
    wanted = {
        "mean": x.mean(), "sd": x.std(), "median": np.median(x), "p20": np.quantile(x, 0.2),
        "p80": np.quantile(x, 0.8), "slope": np.polyfit(minutes, x, 1)[0],
    }  # fmt: skip
    assert tuple(wanted) == FUNCTIONALS
    for kind, number in wanted.items():
        block = pick(blocks, f"expressivity.{kind}")
        assert block.value[0] == pytest.approx(number, abs=1e-9)
        assert block.ci_low is not None
        assert block.ci_high is not None
        if kind == "sd":  # no interval of it would hold
            assert np.isnan([block.ci_low[0], block.ci_high[0]]).all()
            assert block.ci_reason == "not_a_mean"
        else:
            assert block.ci_low[0] <= number <= block.ci_high[0]
        assert block.n_valid[0] == len(x)
    assert pick(blocks, "expressivity.slope").unit == "0–1/min"


@pytest.mark.seconds
def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    covered = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        slow = np.repeat(rng.normal(0, 0.1, 60), 100)  # each 10 s has its own level
        p = chances(AIHUB, joy=np.clip(0.5 + slow + rng.normal(0, 0.05, 6000), 0, 1))
        # One window a block is enough here: the interval of the session value is asked for.
        blocks = compute_measures(
            make_input(600.0, faces=faces_of(p), windows=window_grid(600.0, 10.0, 10.0), seed=seed)
        )
        found = pick(blocks, "expressivity")
        assert found.ci_low is not None
        assert found.ci_high is not None
        if np.isfinite(found.ci_low[0]):  # else it says why
            covered.append(found.ci_low[0] <= 0.5 <= found.ci_high[0])
    assert len(covered) >= 10
    assert 0.85 <= np.mean(covered) <= 1.0


@pytest.mark.parametrize(
    "name",
    ["face_coverage", "head_speed", "level_mean", "f0_median", "f0_mad_st", "speech_rate",
     "neg_rate"],
)  # fmt: skip
def test_session_intervals_hold_their_value(name: str, whole: Any) -> None:
    block = pick(whole[1], name)
    assert block.ci_low is not None
    assert block.ci_high is not None
    # Of a median the resampled ones come in steps: the value may lie at the edge.
    slack = 1e-3 * abs(block.value[0])
    assert block.ci_low[0] - slack <= block.value[0] <= block.ci_high[0] + slack
    assert pick(whole[1], name, "window").ci_low is None


@pytest.mark.parametrize("name", ["valence_sd", "pause_sd"])
def test_a_spread_has_no_interval_because_none_would_hold(name: str, whole: Any) -> None:
    block = pick(whole[1], name)
    assert np.isfinite(block.value[0])
    assert block.ci_low is not None
    assert np.isnan(block.ci_low[0])
    assert block.ci_reason == "not_a_mean"


def test_a_short_recording_has_no_interval() -> None:
    p = np.tile(chances(AIHUB, joy=0.5), (300, 1))
    block = pick(compute_measures(make_input(30.0, faces=faces_of(p))), "expressivity")
    assert block.ci_low is not None
    assert np.isnan(block.ci_low[0])


def shifted(baseline: Interval | None, **fields: Any) -> tuple[MeasureBlock, ...]:
    """Joy varies about 0.3 in the first 80 s, then about 0.6."""
    t = np.arange(2000) / 10
    joy = np.where(t < 80, 0.3, 0.6) + 0.1 * np.sin(t / 3)
    return compute_measures(
        make_input(200.0, faces=faces_of(chances(AIHUB, joy=joy)), baseline=baseline, **fields)
    )


def test_baseline_is_the_persons_own() -> None:
    blocks = shifted(Interval(0.0, 80.0))
    window = pick(blocks, "expressivity", "window")
    usual = window.value[:77]
    middle, mean = np.median(usual), usual.mean()
    z = pick(blocks, "expressivity.z", "window")
    # How far the scale goes beyond the plain SD depends on the memory; order and zero do not.
    assert np.array_equal(np.argsort(z.value), np.argsort(window.value))
    assert (np.sign(z.value) == np.sign(window.value - mean)).all()
    assert (np.abs(z.value) < np.abs(window.value - mean) / usual.std()).all()
    assert window.baseline == pytest.approx(middle)
    assert pick(blocks, "expressivity").baseline == pytest.approx(0.3, abs=0.02)
    assert value(blocks, "expressivity.z") == pytest.approx(np.median(z.value))
    rows = {row["measure"]: row for row in session_rows(blocks)}
    assert rows["expressivity"]["z"] == pytest.approx(value(blocks, "expressivity.z"))
    assert "expressivity.sd" not in rows
    assert "expressivity.sd" in {r["measure"] for r in session_rows(blocks, functionals=True)}


def test_openwillis_form() -> None:
    blocks = shifted(Interval(0.0, 80.0), baseline_form="openwillis")
    window = pick(blocks, "expressivity", "window")
    wanted = (window.value + 1) / (window.value[:77].mean() + 1) - 1
    np.testing.assert_allclose(pick(blocks, "expressivity.relative", "window").value, wanted)


@pytest.mark.parametrize("baseline", [None, Interval(0.0, 50.0), Interval(500.0, 600.0)])
def test_no_baseline(baseline: Interval | None) -> None:
    blocks = shifted(baseline)
    assert np.isnan(pick(blocks, "expressivity").baseline)
    assert not [b for b in blocks if b.measure.endswith(".z")]


def test_a_baseline_needs_a_minute_of_valid_time() -> None:
    t = np.arange(2000) / 10
    seen = (t < 40) | (t >= 80)
    track = make_track(t[seen], probabilities=chances(AIHUB, joy=np.full(seen.sum(), 0.3)))
    blocks = compute_measures(
        make_input(200.0, faces=make_faces([track], duration_s=200.0), baseline=Interval(0, 80))
    )
    assert np.isnan(pick(blocks, "expressivity").baseline)


def test_a_measure_without_windows_is_held_against_the_whole_stretch(whole: Any) -> None:
    given, blocks = whole
    assert given.baseline is not None
    part = compute_measures(dataclasses.replace(given, baseline=None))
    assert np.isfinite(pick(blocks, "pause_sd").baseline)
    assert not [b for b in blocks if b.measure == "pause_sd.z"]
    assert np.isnan(pick(part, "pause_sd").baseline)


def test_the_same_input_gives_the_same_rows(whole: Any) -> None:
    _, blocks = whole
    for a, b in zip(blocks, compute_measures(everything()), strict=True):
        assert a.measure == b.measure
        np.testing.assert_array_equal(a.value, b.value)
        if a.ci_low is not None:
            np.testing.assert_array_equal(a.ci_low, b.ci_low)


def test_everything_later_is_the_same_later() -> None:
    p = np.random.default_rng(1).dirichlet(np.ones(7), 700).astype(np.float32)
    early = compute_measures(make_input(70.0, faces=faces_of(p)))
    times = np.arange(700) / 10 + 30.0
    late_faces = make_faces([make_track(times, probabilities=p)], duration_s=100.0)
    late = compute_measures(make_input(100.0, faces=late_faces))
    for name in ("expressivity", "valence_sd", "negative_share"):
        a, b = pick(early, name, "window"), pick(late, name, "window")
        np.testing.assert_allclose(b.value[30:], a.value, atol=1e-9)
        assert np.isnan(b.value[:28]).all()


@pytest.mark.parametrize(
    ("formula", "parts", "wanted"),
    [
        ("ratio", (3.0, 4.0), 0.75),
        ("ratio", (3.0, 0.0), np.nan),
        ("decibel", (1e-3, 10.0), -40.0),
        ("decibel", (0.0, 1.0), np.nan),
        ("sd", (2.0, 0.0, 2.0), 1.0),
        ("sd", (0.0, 0.0, 0.0), np.nan),
    ],
)
def test_formulas(formula: Any, parts: tuple[float, ...], wanted: float) -> None:
    found = combine(formula, tuple(np.array([p]) for p in parts))
    np.testing.assert_allclose(found, [wanted])


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="voice_probabilities"):
        make_input(10.0, voice_probabilities=np.zeros((3, 7), np.float32))
    with pytest.raises(ValueError, match="text_probabilities"):
        make_input(10.0, text_probabilities=np.zeros((3, 7), np.float32))
    with pytest.raises(ValueError, match="track 0"):
        make_input(10.0, faces=faces_of(np.ones((5, 3), np.float32)))


@pytest.mark.slow
def test_an_hour_takes_seconds() -> None:
    given = long_recording(1.0, landmarks=len(KEPT_POINTS))
    began = time.process_time()
    compute_measures(given)
    assert time.process_time() - began < 5.0  # about 0.9 s on an idle core


@pytest.mark.seconds
def test_words_and_turns_need_no_sound() -> None:
    said = make_words(0.0, "나는 오늘 아침에 밥을 먹었어요", speaker="p")
    transcript = make_transcript(said)
    turns = turns_from(None, transcript, (), 10.0)
    blocks = compute_measures(make_input(10.0, transcript=transcript, turns=turns))
    assert value(blocks, "speech_rate") == pytest.approx(13 / 2.4)
    assert reason(blocks, "articulation_rate") == "no_audio"
    assert turn(0, 1).interval.duration_s == 1
