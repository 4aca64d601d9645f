"""Label policies: from an uploader's label and annotators' votes to one label, or none.

What counts as the truth is a choice: the person who made the photo, one annotator, the majority,
all of them, or the whole distribution. Results under different policies are not comparable, so
every output names the policy. Pure: knows no source and no file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nunbit.errors import SettingsError
from nunbit.schema import POLICIES

Votes = Sequence[str | None]


def label_under(policy: str, uploader_label: str | None, votes: Votes) -> str | None:
    """The label of one record under a policy, or None where the policy gives none.

    - ``uploader``: the uploader's label.
    - ``annot_a``: the first annotator's vote.
    - ``majority``: the label with strictly more than half of all votes cast, null votes included.
    - ``unanimous``: the label that every annotator gave; one null vote is enough for None.
    - ``votes``: the unique most frequent label among the non-null votes; a tie gives None.

    Args:
        policy: One of ``schema.POLICIES``.
        uploader_label: Label id or None.
        votes: One label id per annotator, None where unknown; may be empty.

    Raises:
        SettingsError: The policy is unknown.
    """
    return _label_under(policy, uploader_label, tuple(votes))


def labels_under(
    policy: str, uploader_labels: Sequence[str | None], votes: Sequence[Votes]
) -> list[str | None]:
    """``label_under`` for N records.

    Three annotators and seven labels have only some hundred combinations, which are remembered:
    half a million records take about half a second.

    Raises:
        SettingsError: The policy is unknown.
        ValueError: The two sequences differ in length.
    """
    check_policy(policy)
    return [
        _label_under(policy, uploader, tuple(cast))
        for uploader, cast in zip(uploader_labels, votes, strict=True)
    ]


def vote_distribution(votes: Votes, label_ids: Sequence[str]) -> NDArray[np.float32] | None:
    """Share of each label among the non-null votes: the soft target of the ``votes`` policy.

    Args:
        votes: One label id per annotator, None where unknown.
        label_ids: The K ids in the order of the result.

    Returns:
        (K,) float32 that sums to one, or None where nobody gave a label.

    Raises:
        ValueError: A vote is none of ``label_ids``.
    """
    cast = [vote for vote in votes if vote is not None]
    if not cast:
        return None
    index = {label: k for k, label in enumerate(label_ids)}
    counts = np.zeros(len(label_ids), dtype=np.float32)
    for vote in cast:
        if vote not in index:
            raise ValueError(f"votes: expected one of {', '.join(label_ids)}, got {vote}")
        counts[index[vote]] += 1.0
    return np.asarray(counts / len(cast), dtype=np.float32)


def vote_distributions(votes: Sequence[Votes], label_ids: Sequence[str]) -> NDArray[np.float32]:
    """``vote_distribution`` for N records.

    Returns:
        (N, K) float32; a row is NaN where nobody gave a label, for absent is not zero.

    Raises:
        ValueError: A vote is none of ``label_ids``.
    """
    known: dict[tuple[str | None, ...], NDArray[np.float32]] = {}
    absent = np.full(len(label_ids), np.nan, dtype=np.float32)
    table = np.empty((len(votes), len(label_ids)), dtype=np.float32)
    for row, cast in enumerate(votes):
        key = tuple(cast)
        if key not in known:
            shares = vote_distribution(key, label_ids)
            known[key] = absent if shares is None else shares
        table[row] = known[key]
    return table


def check_policy(policy: str) -> None:
    """Refuse a policy that does not exist.

    Raises:
        SettingsError: The policy is unknown.
    """
    if policy not in POLICIES:
        known = ", ".join(POLICIES)
        raise SettingsError(
            en=f"unknown label policy '{policy}'; there are: {known}",
            ko=f"알 수 없는 레이블 정책 '{policy}'. 쓸 수 있는 정책: {known}",
        )


def refuse_anonymous(
    policy: str, vote_names: Sequence[str], votes: Iterable[Votes], where: str
) -> None:
    """Refuse ``annot_a`` where votes belong to nobody in particular.

    Counts such as FER+'s are votes in the order of their columns: the first of them is whatever
    label comes first, not an annotator's opinion.

    Args:
        policy: The policy asked for.
        vote_names: Names of the annotators; empty where there are none.
        votes: Of the records; read only where it matters.
        where: What the message names.

    Raises:
        SettingsError: The policy is ``annot_a``, there are votes and they have no names.
    """
    if policy == "annot_a" and not vote_names and any(len(cast) for cast in votes):
        raise SettingsError(
            en=f"{where}: the votes are counts without names, so there is no annotator A; choose "
            "--labels majority, unanimous, votes or uploader",
            ko=f"{where}: 이 투표는 이름 없는 득표수라서 주석자 A가 없습니다. --labels로 majority, "
            "unanimous, votes, uploader 중에서 고르십시오",
        )


@lru_cache(maxsize=1 << 16)
def _label_under(
    policy: str, uploader_label: str | None, votes: tuple[str | None, ...]
) -> str | None:
    check_policy(policy)
    if policy == "uploader":
        return uploader_label
    if not votes:
        return None
    if policy == "annot_a":
        return votes[0]
    ranked = Counter(vote for vote in votes if vote is not None).most_common(2)
    if not ranked:
        return None
    label, count = ranked[0]
    if policy == "majority":
        agreed = 2 * count > len(votes)
    elif policy == "unanimous":
        agreed = count == len(votes)
    else:
        agreed = len(ranked) == 1 or count > ranked[1][1]
    return label if agreed else None
