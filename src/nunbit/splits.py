"""Splits by person: a hold-out and folds in which nobody is on both sides.

The official split of AI Hub is by photo, so a quarter of its validation shows people seen in
training; everything nunbit chooses on (early stopping, temperature, thresholds) uses these splits
instead. Pure: ids in, arrays out; the result depends on the ids and the seed, not on their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nunbit.errors import SettingsError


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
            en=f"hold-out fraction must be between 0 and 1, got {fraction}",
            ko=f"떼어 둘 비율은 0과 1 사이여야 합니다: {fraction}",
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
        # Everybody is larger than twice the wanted share: the smallest comes closest.
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
            en=f"cannot make {n_folds} folds of {len(keys)} persons: choose 2 to {len(keys)} folds",
            ko=f"인물 {len(keys)}명을 {n_folds}개로 나눌 수 없습니다. "
            f"2에서 {len(keys)} 사이로 고르십시오",
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
