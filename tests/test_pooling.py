"""The fused index: log-linear pool, evidence, and spans longer than a window."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from make_measures import (
    FER,
    chances,
    make_faces,
    make_input,
    make_track,
    make_transcript,
    make_voice,
    make_words,
    pick,
    softmax,
    turn,
    value,
)
from nunbit.core.timebase import window_grid
from nunbit.measures.fusion import FUSED_VERSION, fuse_windows
from nunbit.statistics.pooling import FLOOR, evidence_share, pool, relative_weights

K = 7
seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int, n_modalities: int = 3, n_spans: int = 5, spread: float = 2.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([softmax(rng.normal(0, spread, (n_spans, K))) for _ in range(n_modalities)])


def by_hand(tables: np.ndarray, weights: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Bayes' rule: the prior times the weighted ratios, and a trace of it in every table."""
    tables = (1 - FLOOR) * tables + FLOOR * prior
    made = prior * np.prod((tables / prior) ** weights[:, :, None], axis=0)
    return made / made.sum(axis=1, keepdims=True)


# -- the pool -------------------------------------------------------------------------------------


@given(seeds)
def test_the_pool_is_bayes_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables, weights = drawn(seed), rng.uniform(0.01, 1, (3, 5))
    prior = rng.dirichlet(np.ones(K)) + 0.05
    prior /= prior.sum()
    found = pool(tables, weights, prior)
    np.testing.assert_allclose(found, by_hand(tables, weights, prior), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)


@given(seeds, st.permutations(range(3)))
def test_the_order_of_the_modalities_does_not_matter(seed: int, order: list[int]) -> None:
    tables = drawn(seed)
    weights = np.random.default_rng(seed).uniform(0, 1, (3, 5))
    np.testing.assert_array_equal(pool(tables, weights), pool(tables[order], weights[order]))


@given(seeds)
def test_what_says_the_prior_changes_nothing(seed: int) -> None:
    prior = np.random.default_rng(seed).dirichlet(np.ones(K)) + 0.01
    prior /= prior.sum()
    tables = drawn(seed, 2)
    told = np.concatenate([tables, np.tile(prior, (1, 5, 1))])
    without = pool(tables, np.ones((2, 5)), prior)
    np.testing.assert_allclose(pool(told, np.ones((3, 5)), prior), without, atol=1e-9)


@given(seeds)
def test_a_missing_modality_is_the_neutral_element(seed: int) -> None:
    tables = drawn(seed)
    gone = tables.copy()
    gone[1] = np.nan
    weights = np.ones((3, 5))
    weights[1] = 0.0
    np.testing.assert_array_equal(pool(gone, weights), pool(tables[[0, 2]], weights[[0, 2]]))


@given(seeds)
def test_less_and_less_evidence_leads_to_the_index_without_it(seed: int) -> None:
    tables = drawn(seed, 2, spread=4.0)
    alone = pool(tables[:1], np.ones((1, 5)))
    uniform = np.full(K, 1 / K)
    by_weight, by_prior = [], []
    for less in (0.5, 0.1, 0.01, 0.001):
        weights = np.stack([np.ones(5), np.full(5, less)])
        by_weight.append(np.abs(pool(tables, weights) - alone).max())
        flat = np.stack([tables[0], less * tables[1] + (1 - less) * uniform])
        by_prior.append(np.abs(pool(flat, np.ones((2, 5))) - alone).max())
    for gaps in (by_weight, by_prior):
        assert gaps[-1] < 0.01
        assert gaps[-1] <= gaps[0] + 1e-12


@given(seeds)
def test_a_modality_alone_is_shown_as_it_is(seed: int) -> None:
    table = drawn(seed, 1)
    found = pool(table, relative_weights(np.full((1, 5), 0.2), np.ones((1, 5), bool)))
    np.testing.assert_allclose(found, table[0], atol=2e-6)


def test_certain_contradictions_and_nothing_at_all() -> None:
    sure = np.stack([np.eye(K)[[0]], np.eye(K)[[6]]])
    np.testing.assert_allclose(pool(sure, np.ones((2, 1)))[0, [0, 6]], 0.5, atol=1e-4)
    assert np.isnan(pool(np.full((2, 3, K), np.nan), np.zeros((2, 3)))).all()
    assert pool(np.empty((3, 4, 0)), np.zeros((3, 4))).shape == (4, 0)
    # A class that takes no part stays at zero.
    kept = np.array([1, 1, 0, 1, 1, 1, 1.0])
    tables = drawn(0) * kept
    tables /= tables.sum(axis=2, keepdims=True)
    found = pool(tables, np.ones((3, 5)), kept)
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_evidence_grows_from_the_mask_to_enough() -> None:
    amount = np.array([0.0, 1.0, 1.25, 2.0, 9.0, np.nan])
    np.testing.assert_allclose(evidence_share(amount, 1.0, 2.0), [0, 0, 0.25, 1, 1, 0])
    shares = np.array([[0.8, 0.1, 0.0, 0.0], [0.4, 0.0, 0.0, 0.5]])
    there = np.array([[True, True, True, False], [True, False, True, False]])
    wanted = [[1, 1, 1, 0], [0.5, 0, 1, 0]]
    np.testing.assert_allclose(relative_weights(shares, there), wanted)


# -- recordings -----------------------------------------------------------------------------------


def recording(face: Any, words: list[tuple[float, str, np.ndarray]], duration_s: float = 40.0,
              voice: Any = None, **fields: Any) -> Any:  # fmt: skip
    """A face all along, and utterances at their times, half a second a word."""
    times = np.arange(round(duration_s * 10)) / 10
    rows = np.resize(face, (len(times), K))
    keep = fields.pop("keep", np.ones(len(times), bool))
    windows = window_grid(duration_s)
    said = make_transcript(*[make_words(at, text, word_s=0.5) for at, text, _ in words])
    given_: dict[str, Any] = {
        "labels": FER,
        "faces": make_faces([make_track(times[keep], probabilities=rows[keep])],
                            duration_s=duration_s, labels=FER),
        "voice": make_voice(duration_s, [(0.0, duration_s)]),
        "turns": (turn(0.0, duration_s),),
        "transcript": said if words else None,
        "text_probabilities": np.concatenate([p for *_, p in words]) if words else None,
        "voice_probabilities": None if voice is None else np.resize(voice, (len(windows), K)),
    }  # fmt: skip
    return make_input(duration_s, **(given_ | fields))


def fused(given_: Any, scope: str = "window") -> np.ndarray:
    blocks = fuse_windows(given_)
    return np.stack([pick(blocks, f"p_{label}", scope, "fused").value for label in FER], axis=1)


CALM = chances(FER, joy=0.3, sadness=0.2, anger=0.1)
SAD = chances(FER, joy=0.05, sadness=0.85)


def test_a_word_that_reaches_into_a_window_does_not_pull_it_over() -> None:
    without = fused(recording(CALM, []))
    steps = []
    # The words end ever later in the windows: 0.9 s of them is masked, 2 s are all there is.
    for seconds in np.arange(0.9, 2.2, 0.1):
        words = [(12.0 - 4.0 + seconds - 4.0, "하나 둘 셋 넷 다섯 여섯 일곱 여덟", SAD)]
        steps.append(fused(recording(CALM, words))[8, FER.index("sadness")])
    jumps = np.abs(np.diff([without[8, FER.index("sadness")], *steps]))
    assert steps[-1] > without[8, FER.index("sadness")] + 0.4
    assert jumps.max() < 0.12


def test_one_word_weighs_next_to_nothing() -> None:
    without = fused(recording(CALM, []))
    found = fused(recording(CALM, [(20.0, "글쎄요", SAD)]))
    np.testing.assert_allclose(found, without, atol=1e-6)
    short = fused(recording(CALM, [(20.0, "네 네", SAD)]))  # a second: the edge of the mask
    np.testing.assert_allclose(short, without, atol=0.01)


def test_a_face_that_is_lost_fades_out() -> None:
    words = [(at, "하나 둘 셋 넷 다섯 여섯 일곱 여덟", SAD) for at in np.arange(0, 36, 4.0)]
    alone = pick(fuse_windows(recording(CALM, words)), "p_sadness", "window", "text").value[10]
    values = []
    for n in range(0, 41, 2):
        keep = np.ones(400, bool)
        keep[100 : 100 + n] = False
        found = fused(recording(CALM, words, keep=keep))
        values.append(found[10, FER.index("sadness")])
    assert np.abs(np.diff(values)).max() < 0.08
    assert values[-1] == pytest.approx(alone, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_rows_sum_to_one_or_are_missing_with_a_reason(seed: int) -> None:
    rng = np.random.default_rng(seed)
    face = softmax(rng.normal(0, 3, (400, K)))
    face[rng.random(400) < 0.3] = np.nan
    words = [(float(at), "하나 둘 셋", softmax(rng.normal(0, 3, (1, K))))
             for at in np.sort(rng.uniform(0, 35, 8))]  # fmt: skip
    heard = softmax(rng.normal(0, 3, (37, K)))
    heard[rng.random(37) < 0.5] = np.nan
    text = [p if rng.random() < 0.7 else np.full((1, K), np.nan) for *_, p in words]
    made = recording(face, words, voice=heard, text_probabilities=np.concatenate(text))
    blocks = fuse_windows(made)
    for scope in ("window", "turn", "session"):
        table = np.stack([pick(blocks, f"p_{c}", scope, "fused").value for c in FER], axis=1)
        why = pick(blocks, "p_joy", scope, "fused").mask_reason
        there = np.isfinite(table).all(axis=1)
        np.testing.assert_array_equal(there, why == "")
        np.testing.assert_allclose(table[there].sum(axis=1), 1.0, atol=1e-9)
        used = pick(blocks, "modalities_used", scope).value
        np.testing.assert_array_equal(used > 0, there)


# -- longer spans ---------------------------------------------------------------------------------


def test_a_session_is_no_surer_than_its_windows() -> None:
    """Joy in 70% of the time in both modalities is an index of 0.7, not of 0.82."""
    joy = np.where(np.arange(4000) % 400 < 280, 0.95, 0.05)
    words = [(float(at), "하나 둘 셋 넷 다섯 여섯 일곱 여덟", chances(FER, joy=joy[int(at * 10)]))
             for at in np.arange(0, 396, 4.0)]  # fmt: skip
    made = recording(chances(FER, joy=joy), words, duration_s=400.0)
    blocks = fuse_windows(made)
    windows = pick(blocks, "p_joy", "window", "fused").value
    assert value(blocks, "p_joy", modality="fused") == pytest.approx(windows.mean(), abs=1e-9)
    assert value(blocks, "p_joy", modality="fused") == pytest.approx(0.7, abs=0.03)


def test_ten_times_the_same_is_worth_no_more() -> None:
    def told(duration_s: float) -> np.ndarray:
        words = [(float(at), "하나 둘 셋 넷 다섯 여섯 일곱 여덟", SAD)
                 for at in np.arange(0, duration_s, 4.0)]  # fmt: skip
        return fused(recording(CALM, words, duration_s=duration_s), "session")

    np.testing.assert_allclose(told(400.0), told(40.0), atol=1e-9)


@pytest.mark.parametrize("scope", ["window", "turn", "session"])
def test_one_modality_alone_is_its_own_index(scope: str) -> None:
    rng = np.random.default_rng(0)
    made = recording(softmax(rng.normal(0, 2, (400, K))), [])
    blocks = fuse_windows(made)
    for label in FER:
        own = pick(blocks, f"p_{label}", scope, "face").value
        np.testing.assert_allclose(pick(blocks, f"p_{label}", scope, "fused").value, own, atol=2e-6)
    assert set(pick(blocks, "modalities_used", scope).value) == {1.0}


def test_rows_say_that_they_are_an_index_of_another_definition() -> None:
    blocks = fuse_windows(recording(CALM, [(20.0, "하나 둘 셋 넷", SAD)]))
    for name in ("p_joy", "valence", "modalities_used"):
        assert pick(blocks, name, "window", "fused").version == FUSED_VERSION == "2"
    assert "index" in pick(blocks, "p_joy", "session", "fused").unit
    face = pick(blocks, "p_joy", "window", "face")
    assert (face.version, face.unit) == ("1", "0–1")


def test_an_experimental_voice_is_fused_when_asked_but_never_compared() -> None:
    heard = chances(FER, anger=0.8)
    words = [(at, "하나 둘 셋 넷 다섯 여섯 일곱 여덟", SAD) for at in np.arange(0, 40, 4.0)]
    asked = recording(CALM, words, voice=heard, experimental=frozenset({"voice"}))
    plain = dataclasses.replace(asked, apart=frozenset({"voice"}))
    with_voice, without = fuse_windows(asked), fuse_windows(plain)
    assert set(pick(with_voice, "modalities_used", "window").value) == {7.0}
    assert set(pick(without, "modalities_used", "window").value) == {5.0}
    assert value(with_voice, "p_anger", modality="fused") > value(
        without, "p_anger", modality="fused"
    )
    for blocks in (with_voice, without):
        for pair in ("face_voice", "voice_text"):
            found = pick(blocks, f"incongruence_{pair}", "window")
            assert np.isnan(found.value).all()
            assert set(found.mask_reason) == {"unvalidated"}
        assert np.isfinite(pick(blocks, "incongruence_face_text", "window").value).all()


# -- words that are left out ----------------------------------------------------------------------


def test_utterances_that_are_left_out_are_no_evidence_and_their_reason_is_told() -> None:
    """Half of what was said is negated: the rest is no fair sample of it, in any scope."""
    glad = chances(FER, joy=0.9)
    words = [(at, "하나 둘 셋 넷 다섯 여섯 일곱 여덟", glad) for at in np.arange(0, 40, 4.0)]
    left_out = np.concatenate([p for *_, p in words])
    left_out[:6] = np.nan
    given_ = recording(CALM, words, text_probabilities=left_out,
                       text_reasons=("negated",) * 6 + ("",) * 4)  # fmt: skip
    blocks, alone = fuse_windows(given_), fuse_windows(recording(CALM, []))
    early = pick(blocks, "p_joy", "window", "text")
    assert set(early.mask_reason[:20]) == {"negated"}
    for scope in ("turn", "session"):
        assert set(pick(blocks, "p_joy", scope, "text").mask_reason) == {"negated"}
        for label in FER:
            np.testing.assert_allclose(
                pick(blocks, f"p_{label}", scope, "fused").value,
                pick(alone, f"p_{label}", scope, "face").value,
                atol=1e-6,
            )
        assert set(pick(blocks, "modalities_used", scope).value) == {1.0}
    np.testing.assert_allclose(
        pick(blocks, "p_joy", "window", "fused").value[:20],
        pick(alone, "p_joy", "window", "face").value[:20],
        atol=1e-6,
    )


def test_a_session_does_not_jump_where_its_words_come_to_be_masked() -> None:
    glad = chances(FER, joy=0.9)
    values = []
    for seconds in np.arange(17.0, 23.1, 1.0):  # of 40 s of words, so many are left out
        cut = int(seconds // 0.25)
        words = [(0.25 * i, "하나", glad) for i in range(160)]
        said = make_transcript(*[make_words(at, text, word_s=0.25) for at, text, _ in words])
        rows = np.tile(glad, (160, 1))
        rows[np.arange(160) % 40 < cut // 4] = np.nan
        made = recording(CALM, words, transcript=said, text_probabilities=rows)
        values.append(value(fuse_windows(made), "p_joy", modality="fused"))
    assert max(values) > 0.5
    assert min(values) == pytest.approx(0.3, abs=1e-6)
    assert np.abs(np.diff(values)).max() < 0.15
