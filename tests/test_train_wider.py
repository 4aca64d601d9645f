"""Batches of two sources: what is drawn, how often, and what the loss holds fast."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from train_wider import WEB_SHARES, Draws, Source, loss_of

pytestmark = pytest.mark.train

OPTIONS = Namespace(batch=40, web=32, seed=3, degrade=0.0, occlude=0.0, blur=0.0)


def source(labels: list[int], persons: list[str]) -> Source:
    """Crops whose embedding names their row."""
    n = len(labels)
    guides = np.zeros((n, 4), np.float32)
    guides[:, 0] = np.arange(n)
    targets = np.eye(7, dtype=np.float32)[labels]
    crops = np.full((n, 8, 8, 3), 128, np.uint8)
    return Source(crops, targets, guides, np.array(labels), persons)


def test_web_faces_are_drawn_by_class_then_person_then_picture() -> None:
    labels = [0] * 90 + [1] * 12 + [2, 3, 4, 5, 6]
    # One person has eleven of the twelve pictures of surprise.
    persons = [f"j{k}" for k in range(90)] + ["many"] * 11 + ["one"] + list("abcde")
    web = source(labels, persons)
    draws = Draws(source([0] * 400, [""] * 400), web, OPTIONS)
    rows = np.concatenate([draws.step(k)[2][8:, 0].astype(int) for k in range(60)])
    counts = np.bincount(np.array(labels)[rows], minlength=7) / len(rows)
    assert counts == pytest.approx(np.array(WEB_SHARES), abs=0.03)
    surprised = rows[(rows >= 90) & (rows < 102)]
    assert (surprised == 101).mean() == pytest.approx(0.5, abs=0.1)


def test_a_step_is_the_same_whenever_it_is_drawn_and_an_epoch_shows_every_face_once() -> None:
    web = source(list(range(7)), list("abcdefg"))
    fer = source([0] * 400, [""] * 400)
    draws = Draws(fer, web, OPTIONS)
    for one, other in zip(draws.step(5), Draws(fer, web, OPTIONS).step(5), strict=True):
        assert np.array_equal(one, other)
    seen = np.concatenate([draws.step(k)[2][:8, 0] for k in range(50)])
    assert sorted(seen) == list(range(400))


def test_faces_of_known_persons_are_held_less() -> None:
    options = Namespace(web=1, web_weight=1.0, scale=1.0, hold=1.0)
    vectors = torch.nn.functional.normalize(torch.ones(2, 4), dim=1)
    prompts, targets = torch.zeros(7, 4), torch.eye(7)[:2]
    base = float(loss_of(vectors, prompts, targets, vectors, options))
    moved = [vectors.clone(), vectors.clone()]
    for row, guides in enumerate(moved):
        guides[row] *= -1
    fer, web = (float(loss_of(vectors, prompts, targets, g, options)) - base for g in moved)
    assert fer == pytest.approx(1.0, abs=1e-5)
    assert web == pytest.approx(0.3, abs=1e-5)
