"""How three annotators disagree with the uploader and with one another.

The shares per uploader class follow what is published about AI Hub's emotion photos: how often
all three agree, how often all three differ, and how often the majority confirms the uploader.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNKNOWN = "알수없음"
"""AI Hub's vote for "cannot tell"."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Shares among the photos that were uploaded under one emotion.

    Attributes:
        unanimous: All three annotators agree (with one another, not always with the uploader).
        all_differ: All three say something else.
        confirmed: The majority says what the uploader said, where there is a majority.
        instead: What the photos are called otherwise; weights.
    """

    unanimous: float
    all_differ: float
    confirmed: float
    instead: dict[str, float]


# Unanimity: published for each class. All three differ: published for joy, flustered, anxiety,
# hurt and neutral. Confirmed: published for joy, flustered, anxiety and neutral. What flustered is
# called instead: published counts. Everything else is chosen so that the totals come out as
# published: a majority in 86%, the uploader confirmed in 78% of those.
AGREEMENT: dict[str, Agreement] = {
    "joy": Agreement(0.9247, 0.0080, 0.975, {
        "flustered": 40, "neutral": 40, "sadness": 10, "anxiety": 4, "hurt": 3, "anger": 3}),
    "flustered": Agreement(0.5156, 0.1100, 0.775, {
        "anxiety": 2590, "joy": 1668, "neutral": 1580, "anger": 1015, "hurt": 535,
        "sadness": 484}),
    "anger": Agreement(0.5111, 0.1300, 0.85, {
        "flustered": 24, "anxiety": 22, "sadness": 20, "neutral": 18, "hurt": 12, "joy": 4}),
    "anxiety": Agreement(0.2171, 0.2663, 0.378, {
        "flustered": 30, "sadness": 26, "neutral": 22, "hurt": 12, "anger": 7, "joy": 3}),
    "hurt": Agreement(0.2009, 0.2804, 0.55, {
        "sadness": 44, "neutral": 22, "anxiety": 14, "flustered": 10, "anger": 8, "joy": 2}),
    "sadness": Agreement(0.4779, 0.1300, 0.85, {
        "hurt": 32, "neutral": 26, "anxiety": 22, "anger": 12, "flustered": 6, "joy": 2}),
    "neutral": Agreement(0.7362, 0.0290, 0.946, {
        "sadness": 46, "flustered": 16, "anxiety": 12, "hurt": 10, "anger": 8, "joy": 8}),
}  # fmt: skip


def sample_votes(uploader: str, rng: np.random.Generator) -> tuple[str, str, str]:
    """Votes of annotators A, B and C for a photo uploaded under a label.

    Args:
        uploader: Label id, a key of ``AGREEMENT``.
        rng: Source of the variation.
    """
    table = AGREEMENT[uploader]
    names = list(table.instead)
    share = np.array(list(table.instead.values())) / sum(table.instead.values())
    draw = rng.random()
    if draw < table.all_differ:
        # The uploader's word is about as likely as all the others together.
        pool, weights = [uploader, *names], np.concatenate([[1.0], share]) / 2.0
        a, b, c = (pool[k] for k in rng.choice(len(pool), 3, replace=False, p=weights))
        return a, b, c
    confirmed = rng.random() < table.confirmed
    major = uploader if confirmed else names[int(rng.choice(len(names), p=share))]
    if draw < table.all_differ + table.unanimous:
        return major, major, major
    if not confirmed and rng.random() < 0.5:
        minor = uploader
    else:
        left = np.where([name == major for name in names], 0.0, share)
        minor = names[int(rng.choice(len(names), p=left / left.sum()))]
    votes = [major, major, major]
    votes[int(rng.integers(3))] = minor
    return votes[0], votes[1], votes[2]
