"""Label policies (from votes to one label or none), and splits by person.

The truth is a choice: the label of the uploader, of one annotator, of the majority, of all
annotators, or the whole distribution of votes. Results under different policies are not
comparable, so every output names the policy. Pure: knows no source and no file.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import SettingsError, Text
from nunbit.core.schema import POLICIES

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

    Three annotators and seven labels give only some hundred combinations, which are cached: half a
    million records take about half a second.

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
    if unknown := [vote for vote in cast if vote not in label_ids]:
        raise ValueError(f"votes: expected one of {', '.join(label_ids)}, got {unknown[0]}")
    counts = np.array([cast.count(label) for label in label_ids], dtype=np.float32)
    return np.asarray(counts / len(cast), dtype=np.float32)


def vote_distributions(votes: Sequence[Votes], label_ids: Sequence[str]) -> NDArray[np.float32]:
    """``vote_distribution`` for N records.

    Returns:
        (N, K) float32; a row is NaN where nobody gave a label, for absent is not zero.

    Raises:
        ValueError: A vote is none of ``label_ids``.
    """
    cast = [tuple(each) for each in votes]
    known = {each: vote_distribution(each, label_ids) for each in dict.fromkeys(cast)}
    table = np.full((len(votes), len(label_ids)), np.nan, dtype=np.float32)
    for row, each in enumerate(cast):
        if (shares := known[each]) is not None:
            table[row] = shares
    return table


def check_policy(policy: str) -> None:
    """Raise if a policy does not exist.

    Raises:
        SettingsError: The policy is unknown.
    """
    if policy not in POLICIES:
        known = ", ".join(POLICIES)
        raise SettingsError(
            Text(
                f"unknown label policy '{policy}'; there are: {known}",
                f"알 수 없는 레이블 정책 '{policy}'. 쓸 수 있는 정책: {known}",
            )
        )


def refuse_anonymous(
    policy: str, vote_names: Sequence[str], votes: Iterable[Votes], where: str
) -> None:
    """Refuse ``annot_a`` if the votes have no annotators' names.

    Counts such as FER+'s become votes in the order of their columns: the first vote is the label
    that comes first, not the opinion of an annotator.

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
            Text(
                f"{where}: the votes are counts without names, so there is no annotator A; choose "
                "`policy` majority, unanimous, votes or uploader",
                f"{where}: 이 투표는 주석자 이름이 없는 득표수이므로 주석자 A가 없습니다. "
                "`policy`로 majority, unanimous, votes, uploader 중에서 고르십시오",
            )
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
    agreed = {
        "majority": 2 * count > len(votes),
        "unanimous": count == len(votes),
        "votes": len(ranked) == 1 or count > ranked[1][1],
    }
    return label if agreed[policy] else None


# -- splits by person -----------------------------------------------------------------------------
# The official split of AI Hub is by photo, so a quarter of its validation shows people seen in
# training; for every choice (early stopping, temperature, thresholds) nunbit uses these splits
# instead. The result depends on the ids and the seed, not on their order.


def person_holdout(
    subject_ids: Sequence[str | None],
    record_ids: Sequence[str],
    fraction: float,
    seed: int,
) -> NDArray[np.bool_]:
    """Hold out whole persons until about ``fraction`` of the records is held out.

    Persons come in an order that is random by seed; one is taken if that brings the number of
    held-out records closer to the wanted number. At least one person is held out and at least one
    is not; with a single person nobody is. Classes are not balanced on purpose: each person shows
    all expressions, so the shares follow.

    Args:
        subject_ids: Person of each of N records, None where unknown: such a record is a person
            of its own.
        record_ids: N ids, unique.
        fraction: Wanted share of records, in (0, 1).
        seed: Another seed gives other persons.

    Returns:
        (N,) bool, True = held out.

    Raises:
        SettingsError: ``fraction`` is out of range.
        ValueError: The sequences differ in length or a record id occurs twice.
    """
    if not 0.0 < fraction < 1.0:
        raise SettingsError(
            Text(
                f"hold-out fraction must be between 0 and 1, got {fraction}",
                f"떼어 둘 비율은 0과 1 사이여야 합니다: {fraction}",
            )
        )
    persons, keys = _persons(subject_ids, record_ids)
    sizes = np.bincount(persons, minlength=len(keys))
    held = np.zeros(len(keys), dtype=np.bool_)
    if len(keys) < 2:
        return held[persons]
    wanted = fraction * len(persons)
    order = _shuffled(keys, seed)
    total = 0
    for person in order[:-1]:  # the last one always stays
        size = int(sizes[person])
        if abs(total + size - wanted) < abs(total - wanted):
            held[person] = True
            total += size
    if not held.any():
        # Every person has more than twice the wanted share: the smallest comes closest.
        held[min(order, key=lambda person: sizes[person])] = True
    return held[persons]


def person_folds(
    subject_ids: Sequence[str | None],
    record_ids: Sequence[str],
    n_folds: int,
    seed: int,
) -> NDArray[np.int64]:
    """Divide records into folds of about equal size such that no person is in two.

    The largest persons are dealt first, each to the fold with the fewest records so far; among
    persons of equal size the seed decides.

    Args:
        subject_ids: Person of each of N records, None = a person of its own.
        record_ids: N ids, unique.
        n_folds: At least 2 and at most the number of persons.
        seed: Another seed gives other folds.

    Returns:
        (N,) fold numbers, 0 to ``n_folds - 1``.

    Raises:
        SettingsError: ``n_folds`` is below 2 or above the number of persons.
        ValueError: The sequences differ in length or a record id occurs twice.
    """
    persons, keys = _persons(subject_ids, record_ids)
    if not 2 <= n_folds <= len(keys):
        raise SettingsError(
            Text(
                f"cannot make {n_folds} folds of {len(keys)} persons: choose 2 to {len(keys)} "
                "folds",
                f"인물 {len(keys)}명을 {n_folds}개로 나눌 수 없습니다. "
                f"2에서 {len(keys)} 사이로 고르십시오",
            )
        )
    sizes = np.bincount(persons, minlength=len(keys))
    fold_of = np.zeros(len(keys), dtype=np.int64)
    filled = np.zeros(n_folds, dtype=np.int64)
    for person in sorted(_shuffled(keys, seed), key=lambda person: -sizes[person]):
        fold = int(filled.argmin())
        fold_of[person] = fold
        filled[fold] += sizes[person]
    return fold_of[persons]


def _persons(
    subject_ids: Sequence[str | None], record_ids: Sequence[str]
) -> tuple[NDArray[np.int64], list[str]]:
    """Number the persons: (N,) person of each record, and each person's key."""
    if len(subject_ids) != len(record_ids):
        raise ValueError(
            f"subject_ids: expected {len(record_ids)} as record_ids, got {len(subject_ids)}"
        )
    if len(set(record_ids)) != len(record_ids):
        raise ValueError("record_ids: expected unique ids, one occurs twice")
    numbers: dict[str, int] = {}
    persons = np.empty(len(record_ids), dtype=np.int64)
    for row, (subject, record) in enumerate(zip(subject_ids, record_ids, strict=True)):
        # The prefixes keep a subject apart from a record that happens to have the same name.
        key = f"record:{record}" if subject is None else f"subject:{subject}"
        persons[row] = numbers.setdefault(key, len(numbers))
    return persons, list(numbers)


def _shuffled(keys: list[str], seed: int) -> list[int]:
    """Person numbers in an order that depends on keys and seed only, not on the input's order."""
    digests = [hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=16).digest() for key in keys]
    return sorted(range(len(keys)), key=digests.__getitem__)
