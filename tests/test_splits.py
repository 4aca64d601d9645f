"""Person-grouped splits: nobody on both sides, deterministic, balanced within reason."""

from __future__ import annotations

import numpy as np
import pytest

from nunbit.core.messages import SettingsError
from nunbit.datasets.policies import person_folds, person_holdout


def _people(
    n_persons: int, seed: int = 0, largest: int = 60
) -> tuple[list[str | None], list[str], list[int]]:
    """Persons with 1 to ``largest`` records of seven classes each, shuffled."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"p{person}", f"r{person}-{k}", int(rng.integers(7)))
        for person in range(n_persons)
        for k in range(int(rng.integers(1, largest + 1)))
    ]
    order = rng.permutation(len(rows))
    shuffled = [rows[i] for i in order]
    return [r[0] for r in shuffled], [r[1] for r in shuffled], [r[2] for r in shuffled]


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_holdout_keeps_persons_together_and_hits_the_fraction(fraction: float, seed: int) -> None:
    subjects, records, labels = _people(200, seed)
    held = person_holdout(subjects, records, fraction, seed)
    inside = {s for s, h in zip(subjects, held, strict=True) if h}
    outside = {s for s, h in zip(subjects, held, strict=True) if not h}
    assert inside
    assert outside
    assert not inside & outside
    assert held.mean() == pytest.approx(fraction, abs=0.01)
    share = np.bincount(np.array(labels)[held], minlength=7) / held.sum()
    assert share.min() > 0.5 / 7
    assert share.max() < 2 / 7


def test_holdout_depends_on_ids_and_seed_only() -> None:
    subjects, records, _ = _people(100)
    held = person_holdout(subjects, records, 0.1, seed=3)
    reverse = person_holdout(subjects[::-1], records[::-1], 0.1, seed=3)
    assert (reverse[::-1] == held).all()
    assert (person_holdout(subjects, records, 0.1, seed=4) != held).any()


def test_records_without_subject_are_their_own_person() -> None:
    records = [f"r{k}" for k in range(1000)]
    held = person_holdout([None] * 1000, records, 0.1, seed=0)
    assert held.sum() == 100
    # A subject that is called like a record is still somebody else.
    folds = person_folds(["r1", None, None], ["a", "r1", "b"], 3, seed=0)
    assert sorted(folds) == [0, 1, 2]


@pytest.mark.parametrize(
    ("subjects", "held_persons"),
    [
        (["a"] * 9, set()),  # one person cannot be divided
        (["a"] * 90 + ["b"] * 10, {"b"}),
        (["a"] * 5 + ["b"] * 5, None),  # either, but exactly one
        ([], set()),
    ],
)
def test_holdout_of_few_persons(subjects: list[str], held_persons: set[str] | None) -> None:
    records = [f"r{k}" for k in range(len(subjects))]
    for seed in range(10):
        held = person_holdout(subjects, records, 0.1, seed)
        names = {s for s, h in zip(subjects, held, strict=True) if h}
        assert names == held_persons if held_persons is not None else len(names) == 1


@pytest.mark.parametrize("n_folds", [2, 5, 10])
def test_folds_keep_persons_together_and_are_even(n_folds: int) -> None:
    subjects, records, _ = _people(200)
    folds = person_folds(subjects, records, n_folds, seed=1)
    by_person: dict[str | None, set[int]] = {}
    for subject, fold in zip(subjects, folds, strict=True):
        by_person.setdefault(subject, set()).add(int(fold))
    assert all(len(in_folds) == 1 for in_folds in by_person.values())
    sizes = np.bincount(folds, minlength=n_folds)
    assert sizes.max() - sizes.min() <= 60  # never more than one person's records
    assert (person_folds(subjects[::-1], records[::-1], n_folds, seed=1)[::-1] == folds).all()
    assert (person_folds(subjects, records, n_folds, seed=2) != folds).any()


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(SettingsError, match="fraction"):
        person_holdout(["a", "b"], ["1", "2"], fraction, 0)


@pytest.mark.parametrize("n_folds", [0, 1, 3])
def test_number_of_folds_out_of_range(n_folds: int) -> None:
    with pytest.raises(SettingsError, match="folds of 2 persons"):
        person_folds(["a", "b", "b"], ["1", "2", "3"], n_folds, 0)


def test_ids_must_fit() -> None:
    with pytest.raises(ValueError, match="twice"):
        person_holdout([None, None], ["1", "1"], 0.5, 0)
    with pytest.raises(ValueError, match="expected 2"):
        person_folds(["a"], ["1", "2"], 2, 0)
