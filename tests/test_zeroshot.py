from __future__ import annotations

import numpy as np
import pytest

from nunbit.model.zeroshot import (
    ENSEMBLES,
    ensemble_cosines,
    normalise,
    probabilities,
    prompt_cosines,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(40, 16)).astype(np.float32)
PROMPTS = RNG.normal(size=(5, 7, 16)).astype(np.float32)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_prompt_cosines_match_the_definition() -> None:
    fast = prompt_cosines(IMAGES, PROMPTS)
    slow = [[[_cosine(i, p) for p in row] for row in PROMPTS] for i in IMAGES]
    np.testing.assert_allclose(fast, slow, atol=1e-6)


def test_ensembles_match_their_definitions() -> None:
    cosines = prompt_cosines(IMAGES, PROMPTS)
    np.testing.assert_allclose(
        ensemble_cosines(IMAGES, PROMPTS, "mean_similarity"), cosines.mean(1), atol=1e-6
    )
    np.testing.assert_allclose(ensemble_cosines(IMAGES, PROMPTS, "max"), cosines.max(1), atol=1e-6)
    means = [np.mean([p / np.linalg.norm(p) for p in PROMPTS[:, k]], axis=0) for k in range(7)]
    slow = [[_cosine(i, m) for m in means] for i in IMAGES]
    np.testing.assert_allclose(ensemble_cosines(IMAGES, PROMPTS, "mean_embedding"), slow, atol=1e-6)


def test_vote_is_the_plurality_and_ties_go_to_the_mean() -> None:
    cosines = prompt_cosines(IMAGES, PROMPTS)
    votes = ensemble_cosines(IMAGES, PROMPTS, "vote")
    for row, per_template, mean in zip(votes, cosines, cosines.mean(1), strict=True):
        counts = np.bincount(per_template.argmax(1), minlength=7)
        tied = np.flatnonzero(counts == counts.max())
        assert row.argmax() == tied[mean[tied].argmax()]


@pytest.mark.parametrize("rule", ENSEMBLES)
def test_one_template_makes_all_rules_agree(rule: str) -> None:
    got = ensemble_cosines(IMAGES, PROMPTS[:1], rule).argmax(1)  # type: ignore[arg-type]
    assert (got == prompt_cosines(IMAGES, PROMPTS[:1])[:, 0].argmax(1)).all()


def test_probabilities_are_a_softmax_and_survive_large_scales() -> None:
    cosines = RNG.uniform(-1, 1, (9, 7)).astype(np.float32)
    p = probabilities(cosines, 100.0, 0.5)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    exact = np.exp(cosines.astype(np.float64) * 200)
    np.testing.assert_allclose(p, exact / exact.sum(1, keepdims=True), atol=1e-6)
    assert (probabilities(cosines, 1e6) >= 0).all()


def test_normalise_leaves_a_zero_vector() -> None:
    assert (normalise(np.zeros((2, 3), np.float32)) == 0).all()
