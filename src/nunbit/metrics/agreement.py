"""How far human annotators agree with one another.

Votes are (N, A) class positions, ``NULL`` for a null vote ("cannot tell", not one of the
classes), ``ABSENT`` where an image has fewer votes than others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]

NULL, ABSENT = -1, -2
UNANIMOUS, MAJORITY, SPLIT, UNJUDGED = 0, 1, 2, -1


@dataclass(frozen=True, eq=False)
class Pairwise:
    """Every two annotators of an image, wherever both named a class.

    Attributes:
        agreed: (N,) pairs of annotators with the same class.
        pairs: (N,) pairs who both named a class.
        n_null: Pairs left out because a vote is null.
    """

    agreed: Codes
    pairs: Codes
    n_null: int


@dataclass(frozen=True, eq=False)
class OneAgainstOthers:
    """One annotator against the majority of the others, where these have one.

    This is another truth than any label policy's: what the others dispute is left out. A model can
    therefore exceed it, and it is no ceiling.

    Attributes:
        truth: (M,) majority of the others, over all annotators and images where there is one.
        answer: (M,) the annotator's vote.
        image: (M,) which image.
        annotator: (M,) which annotator.
        n_null: Cases left out because the annotator's vote is null.
    """

    truth: Codes
    answer: Codes
    image: Codes
    annotator: Codes
    n_null: int


def pairwise(votes: Codes, n_classes: int) -> Pairwise:
    """Count on each image how many pairs of annotators agree."""
    counts = vote_counts(votes, n_classes)
    named, cast = counts.sum(axis=1), (votes != ABSENT).sum(axis=1)
    pairs = named * (named - 1) // 2
    agreed = (counts * (counts - 1) // 2).sum(axis=1)
    return Pairwise(agreed, pairs, int((cast * (cast - 1) // 2 - pairs).sum()))


def one_against_others(votes: Codes, n_classes: int) -> OneAgainstOthers:
    """Hold each annotator against the majority of the others.

    A majority is strictly more than half of all the others' votes, null ones counted, as in the
    label policy of that name. Two annotators or more are needed; with two, the other one's vote
    is the majority.
    """
    n_images, n_annotators = votes.shape
    counts = vote_counts(votes, n_classes)
    n_votes = (votes != ABSENT).sum(axis=1)
    parts: list[tuple[Codes, Codes, Codes, Codes]] = []
    n_null = 0
    images = np.arange(n_images)
    for annotator in range(n_annotators if n_annotators > 1 else 0):
        own = votes[:, annotator]
        others = counts.copy()
        cast = own >= 0
        others[images[cast], own[cast]] -= 1
        winner = others.argmax(axis=1)
        judged = (own != ABSENT) & (2 * others.max(axis=1) > n_votes - 1)
        n_null += int((judged & ~cast).sum())
        use = np.flatnonzero(judged & cast)
        parts.append((winner[use], own[use], use, np.full(len(use), annotator)))
    empty = np.zeros(0, dtype=np.int64)
    truth, answer, image, who = (
        (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else [empty] * 4
    )
    return OneAgainstOthers(truth, answer, image, who, n_null)


def agreement_level(votes: Codes, n_classes: int) -> Codes:
    """How far annotators agree on each image; (N,).

    ``UNANIMOUS``: all votes equal and none null; ``MAJORITY``: more than half, not all;
    ``SPLIT``: no majority; ``UNJUDGED``: fewer than two annotators.
    """
    n_votes = (votes != ABSENT).sum(axis=1)
    top = vote_counts(votes, n_classes).max(axis=1)
    level = np.where(top == n_votes, UNANIMOUS, np.where(2 * top > n_votes, MAJORITY, SPLIT))
    return np.where(n_votes < 2, UNJUDGED, level)


def vote_counts(votes: Codes, n_classes: int) -> Codes:
    """Votes per class; (N, K)."""
    # Null and absent votes fall into two columns of their own, which are cut off.
    n_images = len(votes)
    width = n_classes + 2
    cells = np.arange(n_images)[:, None] * width + votes + 2
    flat = np.bincount(cells.ravel(), minlength=n_images * width)
    return flat.reshape(n_images, width)[:, 2:].copy()
