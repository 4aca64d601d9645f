"""The shared space on vectors with known truth: what is planted is found, and nothing else."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from nunbit.core.streams import (
    FaceStream,
    FaceTrack,
    Interval,
    Transcript,
    Turn,
    Utterance,
    VoiceStream,
)
from nunbit.space.cca import CcaSettings, Head, Heads, fit_cca, independent_windows
from nunbit.space.controls import fit_eraser, identity_probe, over_persons
from nunbit.space.held_out import assess_alignment
from nunbit.space.retrieval import RetrievalSettings, ranks_of, recall_summary, time_shift_null
from nunbit.space.vectors import (
    PROSODY,
    WindowTable,
    centred,
    detrended,
    face_vectors,
    nuisance_numbers,
    own_stretches,
    prosody_vectors,
    text_vectors,
)
from nunbit.statistics.resampling import distinct_draws

SIZES = {"face": 24, "voice": 12, "text": 16}
QUICK = CcaSettings(ridges=(0.1,), n_folds=3)
RETRIEVAL = RetrievalSettings()


def planted(
    *,
    identity: bool,
    shared: bool,
    people: int = 40,
    windows: int = 60,
    modalities: tuple[str, ...] = ("face", "voice"),
    seed: int = 0,
    drift: float = 0.0,
    talk: float = 0.0,
) -> WindowTable:
    """Vectors of 4 s windows made of who (three times as strong), how, and noise.

    Drift and talking (in standard deviations) are what both modalities have without any state.
    """
    rng = np.random.default_rng(seed)
    n, n_state, n_who = people * windows, 4, 8
    person = np.repeat(np.arange(people), windows)
    who = rng.standard_normal((people, n_who))[person]
    state = rng.standard_normal((n, n_state))
    spoken = rng.standard_normal(n)
    time = np.tile(np.linspace(-1.7, 1.7, windows), people)
    vectors = {}
    for name in modalities:
        width = SIZES[name]
        own = state if shared else rng.standard_normal((n, n_state))
        rows = own @ rng.standard_normal((n_state, width)) / 2.0
        if identity:
            rows += 3.0 * who @ rng.standard_normal((n_who, width)) / np.sqrt(n_who)
        if drift or talk:
            rows += np.outer(drift * time + talk * spoken, rng.standard_normal(width))
        vectors[name] = (rows + 0.6 * rng.standard_normal((n, width))).astype(np.float32)
    measured = {
        "talk_share": 0.8 * spoken + 0.6 * rng.standard_normal(n),  # as well as a detector does
        "mouth_open": rng.standard_normal(n),
        "mouth_moves": rng.standard_normal(n),
    }
    return WindowTable(vectors, person, person, np.tile(np.arange(windows) * 4.0, people),
                       nuisance=measured)  # fmt: skip


def fit(table: WindowTable) -> Heads:
    centres = {m: np.zeros(v.shape[1], np.float32) for m, v in table.vectors.items()}
    return fit_cca(table, QUICK, centres=centres)


@pytest.mark.parametrize(
    ("identity", "shared", "centre", "within", "across"),
    [
        (True, False, "none", (0.0, 0.08), (0.60, 1.0)),
        (True, False, "recording", (0.0, 0.08), (0.0, 0.09)),
        (False, True, "recording", (0.45, 1.0), (0.45, 1.0)),
        (True, True, "none", (0.20, 1.0), (0.85, 1.0)),
        (True, True, "recording", (0.45, 1.0), (0.45, 1.0)),
    ],
    ids=["identity-raw", "identity", "state", "both-raw", "both"],
)
@pytest.mark.seconds
def test_planted_state_is_found_and_identity_is_not(
    identity: bool,
    shared: bool,
    centre: str,
    within: tuple[float, float],
    across: tuple[float, float],
) -> None:
    raw = planted(identity=identity, shared=shared, people=20)
    table = centred(raw, centre)  # type: ignore[arg-type]
    document = assess_alignment(table, raw, fit, RETRIEVAL).document
    pair = document["pairs"]["face-voice"]
    plain = pair["steps"]["plain"]
    assert within[0] <= plain["r1"] <= within[1]
    assert plain["null"] <= 0.08
    if centre == "recording":
        for side in (pair["forward"], pair["backward"]):
            assert within[0] <= side["within"]["r1"] <= within[1]
            assert across[0] <= side["across"]["r1"] <= across[1]
    probe = document["identity"]["face"]
    if identity:
        assert probe["accuracy"]["raw"]["logistic"] > 0.9
    assert probe["state"] == "passed"
    assert (pair["verdict"]["code"] == "found") == shared


def test_a_leak_of_identity_fails_the_probe() -> None:
    table = planted(identity=True, shared=True, people=12)
    clean = centred(table)
    probe = identity_probe(
        clean, {"embeddings": table.vectors["face"], "mean_removed": clean.vectors["face"]}
    )
    assert probe is not None
    assert probe["state"] == "failed"
    assert probe["above_chance"]["logistic"]["ci95"][0] > 0.5


def test_a_small_leak_among_few_people_does_not_pass() -> None:
    """Six to nine points above chance with 3 to 10 people: never called none by lack of power."""
    states = collections.Counter()
    for people, strength in {3: 0.15, 5: 0.17, 7: 0.18, 10: 0.22}.items():
        for seed in range(8):
            rng = np.random.default_rng([seed, people])
            person = np.repeat(np.arange(people), 120)
            who = rng.standard_normal((people, 6))
            rows = strength * who[person] + rng.standard_normal((len(person), 6))
            table = WindowTable({"face": rows.astype(np.float32)}, person, person,
                                np.tile(np.arange(120) * 1.0, people))  # fmt: skip
            probe = identity_probe(table, {"embeddings": table.vectors["face"]})
            assert probe is not None
            states[probe["state"]] += 1
    assert states["passed"] <= 3  # of 32
    assert states["failed"] + states["cannot_tell"] >= 29


@pytest.mark.parametrize(
    ("drift", "talk"), [(0.5, 0.0), (1.0, 0.0), (0.0, 0.5), (0.0, 1.0)],
    ids=["drift-half", "drift-one", "talk-half", "talk-one"],
)  # fmt: skip
@pytest.mark.seconds
def test_what_is_shared_without_any_state_is_not_found(drift: float, talk: float) -> None:
    raw = planted(identity=False, shared=False, people=20, drift=drift, talk=talk)
    pair = assess_alignment(centred(raw), raw, fit, RETRIEVAL).document["pairs"]["face-voice"]
    plain = pair["steps"]["plain"]
    assert plain["above_null_ci95"][0] > 0  # what used to be read as found
    assert pair["verdict"]["code"] == "not_more_than_nuisance"
    assert "NOT shown" in pair["verdict"]["text"]
    left = pair["steps"]["without_talking"]
    assert abs(left["above_null"]) < 0.02
    assert pair["steps"]["nuisance"]["r1"] > 0.08


@pytest.mark.seconds
def test_a_state_beside_talking_and_drift_is_still_found() -> None:
    raw = planted(identity=True, shared=True, people=12, drift=0.5, talk=0.5)
    pair = assess_alignment(centred(raw), raw, fit, RETRIEVAL).document["pairs"]["face-voice"]
    assert pair["verdict"]["code"] == "found"
    assert pair["steps"]["matched"]["r1"] > 0.45
    assert pair["steps"]["without_talking"]["r1"] > 0.3


@pytest.mark.seconds
def test_without_a_measure_of_talking_nothing_is_found() -> None:
    whole = planted(identity=False, shared=True, people=10)
    raw = WindowTable(whole.vectors, whole.person, whole.person, whole.start_s)
    document = assess_alignment(centred(raw), raw, fit, RETRIEVAL).document
    assert document["pairs"]["face-voice"]["verdict"]["code"] == "talking_unmeasured"
    assert "talking_unmeasured" in document["limits"]
    lips = dict(whole.nuisance) | {"mouth_open": np.full(len(whole), np.nan)}
    raw = WindowTable(whole.vectors, whole.person, whole.person, whole.start_s, nuisance=lips)
    document = assess_alignment(centred(raw), raw, fit, RETRIEVAL).document
    assert document["verdict"]["code"] == "talking_unmeasured"


@pytest.mark.parametrize(
    ("people", "windows", "code"),
    [(1, 120, "too_little"), (4, 60, "too_little"), (6, 14, "too_little")],
    ids=["one-person", "four-people", "short"],
)
def test_too_little_is_a_verdict(people: int, windows: int, code: str) -> None:
    raw = planted(identity=False, shared=True, people=people, windows=windows)
    document = assess_alignment(centred(raw), raw, fit, RETRIEVAL).document
    verdict = document["pairs"]["face-voice"]["verdict"]
    assert verdict["code"] == code
    assert verdict["text_ko"].startswith("얼굴과 목소리")


def test_a_constant_series_and_holes_are_no_agreement() -> None:
    raw = planted(identity=False, shared=False, people=8)
    raw.vectors["voice"][:] = 1.0  # nothing moves
    raw.vectors["face"][::3] = np.nan
    document = assess_alignment(centred(raw), raw, fit, RETRIEVAL).document
    verdict = document["pairs"].get("face-voice", {"verdict": {"code": "too_little"}})["verdict"]
    assert verdict["code"] != "found"


@pytest.mark.slow
def test_nothing_found_says_what_is_ruled_out() -> None:
    raw = planted(identity=True, shared=False, people=30)
    verdict = assess_alignment(centred(raw), raw, fit, RETRIEVAL).document["pairs"]["face-voice"][
        "verdict"
    ]
    assert verdict["code"] == "not_found"
    low, high = verdict["null_ci95"]
    assert low < verdict["null"] < high
    assert f"{100 * verdict['above_null_ci'][1]:.1f} points" in verdict["text"]
    few = planted(identity=True, shared=False, people=5, windows=30)
    verdict = assess_alignment(centred(few), few, fit, RETRIEVAL).document["pairs"]["face-voice"][
        "verdict"
    ]
    assert verdict["code"] in {"cannot_tell", "not_found"}


@pytest.mark.seconds
def test_three_modalities_with_gaps() -> None:
    raw = planted(identity=True, shared=True, people=16, modalities=("face", "voice", "text"))
    rng = np.random.default_rng(3)
    for m, rows in raw.vectors.items():
        rows[rng.random(len(rows)) < {"face": 0.1, "voice": 0.3, "text": 0.5}[m]] = np.nan
    table = centred(raw)
    document = assess_alignment(table, raw, fit, RETRIEVAL).document
    assert set(document["pairs"]) == {"face-voice", "face-text", "voice-text"}
    for name, pair in document["pairs"].items():
        a, b = name.split("-")
        assert pair["forward"]["within"]["r1"] > 0.4, name
        both = int((table.present(a) & table.present(b)).sum())
        asked = pair["forward"]["within"]
        assert asked["n"] + asked["n_skipped"] == both


def test_two_modalities_are_ridge_cca() -> None:
    table = centred(planted(identity=False, shared=True, people=8))
    heads = fit_cca(table, CcaSettings(ridges=(0.1,), size=4), centres=_zeros(table))
    rows = {m: table.vectors[m].astype(float) / heads.heads[m].scale for m in table.vectors}
    n = len(table)
    roots = []
    for m in ("face", "voice"):
        within = rows[m].T @ rows[m] / n + 0.1 * np.eye(SIZES[m])
        values, vectors = np.linalg.eigh(within)
        roots.append(vectors @ np.diag(values**-0.5) @ vectors.T)
    naive = np.linalg.svd(roots[0] @ (rows["face"].T @ rows["voice"] / n) @ roots[1])
    for k in range(4):
        expected = rows["face"] @ roots[0] @ naive[0][:, k]
        found = rows["face"] @ heads.heads["face"].weight[:, k].astype(float)
        assert abs(np.corrcoef(expected, found)[0, 1]) > 0.9999


def test_fitting_is_deterministic_and_ignores_missing_rows() -> None:
    table = centred(planted(identity=False, shared=True, people=6))
    once, again = fit(table), fit(table)
    for m in once.modalities:
        np.testing.assert_array_equal(once.heads[m].weight, again.heads[m].weight)
    assert once.size == 128
    assert (once.heads["voice"].weight[:, 24:] == 0).all()  # 12 + 24 dimensions share no more


def test_one_modality_cannot_be_aligned() -> None:
    table = planted(identity=False, shared=True, people=2).only(("face",))
    with pytest.raises(ValueError, match="two modalities"):
        fit(table)


def test_one_person_is_judged_on_other_times() -> None:
    raw = planted(identity=False, shared=True, people=1, windows=600)
    document = assess_alignment(centred(raw), raw, fit, RETRIEVAL).document
    assert document["by"] == "time"
    assert {"one_person"} <= set(document["limits"])
    side = document["pairs"]["face-voice"]["forward"]
    assert side["within"]["r1"] > 0.4
    assert side["within"]["ci95"]["r1"] is None
    assert side["across"] is None


# ---------------------------------------------------------------- retrieval


def _line(n: int = 40, people: int = 1) -> WindowTable:
    person = np.repeat(np.arange(people), n)
    rows = np.zeros((n * people, 2), np.float32)
    return WindowTable({"face": rows}, person, person, np.tile(np.arange(n) * 1.0, people))


def _unit(rng: np.random.Generator, n: int, d: int = 8) -> NDArray[np.float32]:
    rows = rng.standard_normal((n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_ranks_of_perfect_reversed_and_constant_answers() -> None:
    table = _line(60)
    rows = _unit(np.random.default_rng(0), 60)
    assert (ranks_of(table, rows, rows, RETRIEVAL).rank == 1).all()
    assert (ranks_of(table, rows, -rows, RETRIEVAL).rank == 20).all()
    same = np.tile(rows[:1], (60, 1))
    tied = ranks_of(table, same, same, RETRIEVAL)
    assert (tied.rank == 10.5).all()
    assert tied.first.mean() == pytest.approx(0.05)
    assert tied.five.mean() == pytest.approx(0.25)


def test_candidates_are_other_people_and_all_of_them_are_as_likely() -> None:
    people, n = 6, 10
    table = _line(n, people=people)
    # Each window's answer says its number: the best of its 19 candidates is read from the rank.
    angle = np.arange(n * people) / (n * people) * np.pi / 2
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    settings = RetrievalSettings(n_candidates=n * (people - 1) + 1)
    every = ranks_of(table, rows, rows, settings, against="others")
    assert (every.rank == 1).all()  # all 50 windows of the others, and none twice
    turned = ranks_of(table, rows, rows[::-1].copy(), settings, against="others")
    score = rows.astype(np.float64) @ rows[::-1].T.astype(np.float64)
    for rank, row in zip(turned.rank, turned.row, strict=True):
        others = score[row][table.person != table.person[row]]
        own = score[row, row]
        assert rank == 1 + (others > own + 1e-7).sum() + (abs(others - own) <= 1e-7).sum() / 2
    drawn = distinct_draws(np.random.default_rng(0), np.full(50_000, 5), 3)
    counts = collections.Counter(tuple(sorted(each)) for each in drawn.tolist())
    assert len(counts) == 10
    assert all(abs(count - 5_000) < 350 for count in counts.values())  # five standard deviations


@pytest.mark.seconds
def test_time_does_not_grow_with_the_square_of_people() -> None:
    def seconds(people: int, work: Callable[[WindowTable], object]) -> float:
        table = planted(identity=True, shared=True, people=people, windows=30)
        begun = time.process_time()
        work(table)
        return time.process_time() - begun

    def ranked(table: WindowTable) -> object:
        rows = _unit(np.random.default_rng(0), len(table))
        return ranks_of(table, rows, rows, RETRIEVAL, against="others")

    def probed(table: WindowTable) -> object:
        return identity_probe(table, {"embeddings": table.vectors["face"]})

    for work in (ranked, probed):
        few, many = (min(seconds(people, work) for _ in range(3)) for people in (100, 400))
        assert many < 8 * few  # 16 times as much work before


def test_people_are_told_apart_in_circles_of_twenty() -> None:
    table = planted(identity=True, shared=True, people=50, windows=24)
    probe = identity_probe(table, {"embeddings": table.vectors["face"]})
    assert probe is not None
    assert probe["people"] == 50
    assert probe["chance"] == pytest.approx(3 / 50, abs=0.001)  # 17, 17 and 16 people, not 50
    assert probe["accuracy"]["embeddings"]["logistic"] > 0.9
    assert probe["state"] == "failed"


def test_chance_is_one_in_twenty() -> None:
    table = _line(200, people=10)
    rng = np.random.default_rng(1)
    a, b = _unit(rng, 2000), _unit(rng, 2000)
    for against in ("same", "others"):
        found = recall_summary(ranks_of(table, a, b, RETRIEVAL, against=against))  # type: ignore[arg-type]
        assert found is not None
        assert abs(found["r1"] - 0.05) < 0.015  # type: ignore[operator]
        assert abs(found["r5"] - 0.25) < 0.03  # type: ignore[operator]
        assert abs(found["median_rank"] - 10.5) < 1.5  # type: ignore[operator]
    null = time_shift_null(table, a, b, RETRIEVAL)
    assert null is not None
    assert null.first.mean() == pytest.approx(0.05, abs=0.01)


def test_candidates_keep_their_distance() -> None:
    """Neighbours of the right window look the same: were they candidates, ranks would suffer."""
    table = _line(60)
    angle = np.arange(60) * 0.05
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    blurred = np.stack([np.cos(angle + 0.19), np.sin(angle + 0.19)], axis=1).astype(np.float32)
    # 0.19 rad are almost four windows, and all candidates are eight away or more.
    inside = ranks_of(table, rows, blurred, RETRIEVAL)
    assert (inside.rank == 1).all()
    near = RetrievalSettings(apart_s=1.0)
    assert (ranks_of(table, rows, blurred, near).rank > 1).any()


def test_too_short_a_recording_is_skipped_and_counted() -> None:
    table = _line(20)
    rows = _unit(np.random.default_rng(2), 20)
    found = ranks_of(table, rows, rows, RETRIEVAL)
    assert len(found) == 0
    assert found.n_skipped == 20
    assert recall_summary(found) is None
    assert time_shift_null(_line(10), rows[:10], rows[:10], RETRIEVAL) is None


def test_one_short_recording_does_not_take_the_null_from_all() -> None:
    short, long = _line(12), _line(60)
    rows = _unit(np.random.default_rng(4), 72)
    table = WindowTable(
        {"face": rows}, np.repeat([0, 1], [12, 60]), np.repeat([0, 1], [12, 60]),
        np.concatenate([short.start_s, long.start_s]),
    )  # fmt: skip
    null = time_shift_null(table, rows, rows, RETRIEVAL)
    assert null is not None
    assert set(null.person) == {1}
    assert time_shift_null(short, rows[:12], rows[:12], RETRIEVAL) is None


# ---------------------------------------------------------------- table and heads


def test_centring_takes_out_each_recordings_mean() -> None:
    table = planted(identity=True, shared=True, people=3, windows=20)
    table.vectors["voice"][0:15] = np.nan  # five windows are left: too few for a mean
    clean = centred(table)
    for k in range(3):
        own = clean.recording == k
        assert abs(clean.vectors["face"][own].mean(axis=0)).max() < 1e-5
    assert not clean.present("voice")[:20].any()
    assert clean.present("voice")[20:].all()


@pytest.mark.parametrize(("hop", "length", "expected"), [(1.0, 4.0, 15), (4.0, 4.0, 60)])
def test_windows_that_do_not_overlap(hop: float, length: float, expected: int) -> None:
    rows = np.zeros((60, 2), np.float32)
    zeros = np.zeros(60, np.int64)
    table = WindowTable({"face": rows, "voice": rows}, zeros, zeros, np.arange(60) * hop, length)
    assert independent_windows(table) == expected
    assert independent_windows(table.only(("face",))) == 0


def test_a_curve_is_taken_out_of_each_recording() -> None:
    raw = planted(identity=True, shared=True, people=3, windows=40)
    time = np.tile(np.arange(40.0), 3)
    bent = WindowTable(
        {m: v + (0.01 * time**2 - 0.3 * time)[:, None].astype(np.float32)
         for m, v in raw.vectors.items()},
        raw.recording, raw.person, raw.start_s, nuisance=dict(raw.nuisance),
    )  # fmt: skip
    bent.vectors["face"][5:9] = np.nan
    raw.vectors["face"][5:9] = np.nan
    straight, bent = detrended(raw), detrended(bent)
    for m in ("face", "voice"):
        np.testing.assert_allclose(bent.vectors[m], straight.vectors[m], atol=1e-4)
        assert (bent.present(m) == raw.present(m)).all()
    slope = np.polyfit(raw.start_s[:40], bent.nuisance["talk_share"][:40], 2)
    assert np.abs(slope).max() < 1e-9


def test_talking_is_erased_although_its_measure_is_noisy() -> None:
    raw = detrended(planted(identity=False, shared=False, people=20, talk=1.0))
    eraser = fit_eraser(raw)
    assert eraser.axes["face"].shape == (24, 1)
    erased = eraser.apply(raw)
    talk = raw.nuisance["talk_share"]
    for m in ("face", "voice"):
        before, after = (np.abs(np.corrcoef(t.vectors[m].T, talk)[-1, :-1]).max()
                         for t in (raw, erased))  # fmt: skip
        assert before > 0.3
        assert after < 0.1
    heads = fit(erased)
    folded = eraser.before(heads)
    for m in ("face", "voice"):
        wanted = heads.heads[m].project(erased.vectors[m])
        np.testing.assert_allclose(folded.heads[m].project(raw.vectors[m]), wanted, atol=1e-4)


def test_what_is_unrelated_to_talking_is_not_erased() -> None:
    counts = [fit_eraser(detrended(planted(identity=False, shared=True, people=12, seed=seed))).axes
              for seed in range(5)]  # fmt: skip
    assert sum(axes[m].shape[1] for axes in counts for m in axes) <= 2


def test_matched_candidates_are_the_nearest_in_talking() -> None:
    table = _line(60)
    rng = np.random.default_rng(0)
    talk = rng.random(60)
    rows = np.stack([talk, np.sqrt(1.0 - talk**2)], axis=1).astype(np.float32)
    free = ranks_of(table, rows, rows + 0, RETRIEVAL)
    near = ranks_of(table, rows, rows, RETRIEVAL, match=talk)
    assert (free.rank == 1).all()
    assert (near.rank == 1).all()
    # Found by the rough share alone: easy among any windows, near chance among alike ones.
    rough = np.round(talk * 4) / 4 + 1e-3 * rng.random(60)
    rough = np.stack([rough, np.sqrt(1.0 - np.clip(rough, 0, 1) ** 2)], axis=1).astype(np.float32)
    free = ranks_of(table, rough, rows, RETRIEVAL)
    near = ranks_of(table, rough, rows, RETRIEVAL, match=talk)
    assert near.first.mean() < free.first.mean()
    talk[:30] = np.nan
    assert len(ranks_of(table, rows, rows, RETRIEVAL, match=talk)) <= 30


def test_intervals_over_few_people_cover() -> None:
    rng = np.random.default_rng(0)
    for people in (4, 7, 12):
        inside = 0
        for _ in range(400):
            person = np.repeat(np.arange(people), 20)
            values = rng.standard_normal(people)[person] + rng.standard_normal(len(person))
            low, high = over_persons(values, person).ci() or [1.0, -1.0]
            inside += low <= 0.0 <= high
        assert 0.92 <= inside / 400 <= 0.98
    assert over_persons(np.ones(3), np.zeros(3, np.int64)).ci() is None


def test_a_head_gives_unit_rows_and_keeps_gaps() -> None:
    rng = np.random.default_rng(0)
    head = Head(np.ones(3, np.float32), np.full(3, 2.0, np.float32),
                rng.standard_normal((3, 5)).astype(np.float32))  # fmt: skip
    rows = np.array([[1, 2, 3], [np.nan] * 3, [0, 0, 0]], np.float32)
    placed = head.project(rows)
    assert np.linalg.norm(placed[0]) == pytest.approx(1.0, abs=1e-6)
    assert np.isnan(placed[1:]).all()
    np.testing.assert_allclose(head.project_alone(rows[:1] + 1), placed[:1], atol=1e-6)


def test_a_table_of_unequal_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="voice"):
        WindowTable({"voice": np.zeros((3, 2), np.float32)}, np.zeros(2, int), np.zeros(2, int),
                    np.zeros(2))  # fmt: skip


# ---------------------------------------------------------------- vectors of windows

WINDOWS = tuple(Interval(float(k), k + 4.0) for k in range(0, 16, 4))


def _voice(f0: NDArray[np.float64], level: NDArray[np.float64],
           speech: NDArray[np.bool_]) -> VoiceStream:  # fmt: skip
    n = len(f0)
    return VoiceStream(
        times_s=np.arange(n) * 0.01 + 0.005,
        present=np.ones(n, bool),
        speech=speech,
        f0_hz=f0.astype(np.float32),
        level_dbfs=level.astype(np.float32),
        segments=(),
    )


def test_prosody_of_a_known_voice() -> None:
    t = np.arange(1600) * 0.01
    speech = (t % 2.0) < 1.4  # pauses of 0.6 s
    f0 = np.where(speech, 110.0 * 2 ** (t / 12.0), np.nan)  # an octave in 12 s: 1 st/s
    f0[1200:] = np.nan
    speech[1200:] = False
    rows = prosody_vectors(_voice(f0, np.full(1600, -30.0), speech), WINDOWS)
    assert rows is not None
    assert rows.shape == (4, len(PROSODY)) == (4, 22)
    assert np.isnan(rows[3]).all()
    named = dict(zip(PROSODY, rows[0], strict=True))
    assert named["f0_slope"] == pytest.approx(1.0, abs=1e-3)
    assert named["f0_median"] == pytest.approx(24.0 + 1.7, abs=0.3)
    assert named["f0_rising"] == 1.0
    assert named["speech_share"] == pytest.approx(0.7, abs=0.01)
    assert named["pause_share"] == pytest.approx(0.6 / 3.4, abs=0.01)
    assert named["pause_rate"] == pytest.approx(0.25)
    assert named["voiced_length"] == pytest.approx(1.4, abs=0.01)
    assert named["level_mean"] == -30.0
    assert np.isfinite(rows[:3]).all()
    gains = np.diff(rows[:3, PROSODY.index("f0_median")])
    assert gains == pytest.approx([4.0, 4.0], abs=0.05)


def test_only_the_persons_own_speech_counts() -> None:
    n = 1600
    f0 = np.full(n, 100.0)
    f0[800:] = 200.0
    voice = _voice(f0, np.full(n, -20.0), np.ones(n, bool))
    turns = (Turn(Interval(0, 8), "a", True), Turn(Interval(8, 16), "b", False))
    rows = prosody_vectors(voice, WINDOWS, own_stretches(turns))
    assert rows is not None
    assert np.isfinite(rows[:2]).all()
    assert np.isnan(rows[2:]).all()
    assert own_stretches(turns[:1]) is None
    assert prosody_vectors(None, WINDOWS) is None


def test_all_silent_is_missing_and_not_zero() -> None:
    nothing = _voice(np.full(1600, np.nan), np.full(1600, -120.0), np.zeros(1600, bool))
    rows = prosody_vectors(nothing, WINDOWS)
    assert rows is not None
    assert np.isnan(rows).all()


def _track(
    times: NDArray[np.float64], vectors: NDArray[np.float32], reasons: list[str]
) -> FaceTrack:
    n = len(times)
    empty = np.zeros(n, np.float32)
    return FaceTrack(0, times, np.zeros((n, 4), np.float32), empty, empty, np.array(reasons),
                     np.zeros((n, 3, 3)), np.zeros((n, 3)), None, empty, empty,
                     vectors)  # fmt: skip


def test_face_windows_need_half_their_samples() -> None:
    times = np.arange(80) * 0.2  # 5 Hz over 16 s
    vectors = np.repeat(np.eye(4, dtype=np.float32), 20, axis=0)
    reasons = [""] * 80
    reasons[20:31] = ["low_quality"] * 11  # window 1: 9 of 20 are left
    reasons[40:50] = ["low_conf"] * 10  # window 2: 10 of 20
    faces = FaceStream(5.0, times, np.ones(80, np.int64), (_track(times, vectors, reasons),), (0,))
    rows = face_vectors(faces, WINDOWS)
    assert rows is not None
    np.testing.assert_array_equal(np.isfinite(rows).all(axis=1), [True, False, True, True])
    np.testing.assert_allclose(rows[0], [1, 0, 0, 0])
    assert face_vectors(None, WINDOWS) is None


def test_talking_and_mouth_of_a_window() -> None:
    times = np.arange(80) * 0.2
    track = _track(times, np.zeros((80, 4), np.float32), [""] * 80)
    opening = np.where(np.arange(80) % 2, 0.1, 0.3).astype(np.float32)
    opening[20:40] = np.nan  # the second window: no landmarks
    track = dataclasses.replace(track, mouth_open=opening)
    faces = FaceStream(5.0, times, np.ones(80, np.int64), (track,), (0,), has_landmarks=True)
    speech = np.zeros(1600, bool)
    speech[:100] = True  # one second of the first window
    speech[800:1200] = True  # all of the third, but somebody else's
    voice = _voice(np.full(1600, 100.0), np.full(1600, -20.0), speech)
    found = nuisance_numbers(faces, voice, None, WINDOWS, [Interval(0.0, 8.0)])
    np.testing.assert_allclose(found["talk_share"], [0.25, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(found["mouth_open"][[0, 2, 3]], 0.2, atol=1e-6)
    np.testing.assert_allclose(found["mouth_moves"][[0, 2, 3]], 0.1, atol=1e-6)
    assert np.isnan(found["mouth_open"][1])
    said = Transcript((Utterance(Interval(2.0, 4.0), "말"),), "srt")
    silent = nuisance_numbers(None, None, said, WINDOWS)
    np.testing.assert_allclose(silent["talk_share"], [0.5, 0.0, 0.0, 0.0])
    assert np.isnan(silent["mouth_open"]).all()
    assert np.isnan(nuisance_numbers(None, None, None, WINDOWS)["talk_share"]).all()


def test_sentences_count_by_their_seconds_in_the_window() -> None:
    said = tuple(
        Utterance(Interval(a, b), text)
        for a, b, text in ((0, 3, "x"), (3, 5, "y"), (12.5, 13, "z"))
    )
    sentences = np.eye(3, dtype=np.float32)
    rows = text_vectors(Transcript(said, "srt"), sentences, WINDOWS)
    assert rows is not None
    np.testing.assert_allclose(rows[0], [0.75, 0.25, 0.0])
    np.testing.assert_allclose(rows[1], [0.0, 1.0, 0.0])
    assert np.isnan(rows[2:]).all()  # nothing, and half a second
    assert text_vectors(None, sentences, WINDOWS) is None
    assert text_vectors(Transcript((), "srt"), sentences[:0], WINDOWS) is None


def _zeros(table: WindowTable) -> dict[str, NDArray[np.float32]]:
    return {m: np.zeros(v.shape[1], np.float32) for m, v in table.vectors.items()}


# ---------------------------------------------------------------- contrastive learning


@pytest.mark.train
def test_negatives_are_mostly_the_persons_own() -> None:
    pytest.importorskip("torch")
    from nunbit.training.losses import negative_weights

    person = np.array([0] * 12 + [1] * 30)
    start = np.concatenate([np.arange(12) * 4.0, np.arange(30) * 4.0])
    weights = negative_weights(person, person, start, 8.0)
    np.fill_diagonal(weights, 0.0)
    for i, j in itertools.product(range(42), repeat=2):
        if i != j and person[i] == person[j]:
            assert (weights[i, j] > 0) == (abs(start[i] - start[j]) >= 8.0)
    same = person[:, None] == person[None, :]
    own = (weights * same).sum(axis=1)
    assert (own >= weights.sum(axis=1) / 2 - 1e-9).all()


@pytest.mark.train
def test_contrastive_heads_find_the_state_and_not_the_person() -> None:
    pytest.importorskip("torch")
    from nunbit.space.window_reading import AlignSettings
    from nunbit.training.losses import fit_infonce

    raw = planted(identity=True, shared=True, people=8)
    table = centred(raw)
    settings = AlignSettings(steps=15, batch_size=96)

    def trained(part: WindowTable) -> Heads:
        return fit_infonce(part, fit(part), settings)

    document = assess_alignment(table, raw, trained, RETRIEVAL, most_folds=2).document
    side = document["pairs"]["face-voice"]["forward"]
    assert side["within"]["r1"] > 0.4
    assert side["null"]["r1"] < 0.09
    assert not any(probe["state"] == "failed" for probe in document["identity"].values())
