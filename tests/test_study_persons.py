"""Studies: persons stay apart, chance is what permutations say, intervals rest on who is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from nunbit.statistics.nested import nested_splits, without_spread
from nunbit.statistics.resampling import all_alike_interval
from nunbit.statistics.scores import confusion_matrix, uar
from nunbit.stories.study.emotions import _Judge, assess_stretches
from nunbit.stories.study.fusions import FoldedModels, LabelledStretches
from nunbit.stories.study.joining import JoinedLabels, join_outcomes
from nunbit.stories.study.matching import Matching, whose_sessions
from nunbit.stories.study.outcome_study import (
    OutcomeSample,
    _auroc,
    _Nested,
    assess_outcomes,
)
from nunbit.stories.study.study_labels import Columns, LabelRow
from nunbit.stories.study.study_plan import StudySettings
from nunbit.stories.study.study_sample import StudySession, Timelines

QUICK = StudySettings(permutations=99, repeats=1, folds=4, inner_folds=3, transformer=False)
COLUMNS = Columns("outcome", None, "session", None, None, "score", None, (), ())

# -- whose a recording is --------------------------------------------------------------------------


def _joined(
    names: Sequence[str], persons: Sequence[int], seed: int, keys: dict[str, str] | None = None
) -> JoinedLabels:
    """A null world: measures and outcome are a person's own and know nothing of one another."""
    rng = np.random.default_rng(seed)
    own, outcome = rng.normal(size=(max(persons) + 1, 12)), rng.normal(size=max(persons) + 1)
    sessions, rows = {}, []
    for line, (name, at) in enumerate(zip(names, persons, strict=True)):
        values = own[at] + 0.2 * rng.normal(size=12)
        measures = {f"face.m{i}": float(v) for i, v in enumerate(values)}
        sessions[name] = StudySession(name, "", float(rng.uniform(60, 90)), measures, {}, {})
        score = float(outcome[at] + 0.2 * rng.normal())
        rows.append(LabelRow(line + 2, (keys or {}).get(name), name, None, None, outcome=score))
    features = {"face": [f"face.m{i}" for i in range(12)]}
    return join_outcomes(Timelines(sessions, ""), COLUMNS, rows, features)


@pytest.mark.parametrize("seed", range(4))
def test_recordings_of_one_person_are_not_trained_and_tested_on_at_once(seed: int) -> None:
    """Taken for 180 persons, such worlds without any effect were called effects in 9 of 15."""
    persons = np.repeat(np.arange(60), 3)
    names = [f"P{p:02d}_s{i % 3}" for i, p in enumerate(persons)]
    joined = _joined(names, persons.tolist(), seed)
    assert joined.n_persons == 60
    assert any("begin alike up to '_' count as one (60 persons)" in n.en for n in joined.notices)
    found = assess_outcomes(joined.outcomes(), QUICK)
    assert found["code"] == "not_more_than_controls"
    assert found["models"]["concat"]["ccc"] < 0.2


def test_unknown_persons_are_told_where_no_name_groups_them() -> None:
    names = [f"visit{i}" for i in range(8)]
    joined = _joined(names, list(range(8)), 0)
    assert joined.n_persons == 8
    told = [n for n in joined.notices if "persons unknown: each recording counts as" in n.en]
    assert len(told) == 1
    assert "녹화마다 다른 사람" in told[0].ko
    known = _joined(names, list(range(8)), 0, {n: f"K{n}" for n in names})
    assert not any("person" in n.en for n in known.notices)


@pytest.mark.parametrize(
    ("keys", "persons"),
    [
        ({"P1_a": "", "P1_b": "", "P2_a": ""}, {"P1_a": "P1", "P1_b": "P1", "P2_a": "P2_a"}),
        # The beginning that tells sessions apart, not the one that all have.
        ({"st_P1_a": "", "st_P1_b": "", "st_P2_a": ""},
         {"st_P1_a": "st_P1", "st_P1_b": "st_P1", "st_P2_a": "st_P2_a"}),
        ({"visit_1": "", "visit_2": ""}, {"visit_1": "visit_1", "visit_2": "visit_2"}),
        # One recording of a person has a key, another one has not.
        ({"P1_a": "K", "P1_b": "", "P2_a": ""}, {"P1_a": "K", "P1_b": "K", "P2_a": "P2_a"}),
        ({"x": "P1", "P1_b": "", "P2_a": ""}, {"x": "P1", "P1_b": "P1", "P2_a": "P2_a"}),
        # A beginning that several persons have is a group, and nobody's name.
        ({"ill_1": "A", "ill_2": "B", "ill_3": "", "well_1": "C"},
         {"ill_1": "A", "ill_2": "B", "ill_3": "ill_3", "well_1": "C"}),
    ],
)  # fmt: skip
def test_whose_a_recording_is(keys: dict[str, str], persons: dict[str, str]) -> None:
    found, said = whose_sessions(keys)
    assert found == persons
    assert said
    assert not any(name in text.en + text.ko for text in said for name in keys)


def test_a_session_is_one_person_although_one_of_its_rows_names_nobody() -> None:
    columns = Columns("emotion", "person", "session", None, None, "label", ("a", "b"), (), ())
    sessions = {n: StudySession(n, "", 60.0, {}, {}, {}) for n in ("one", "two")}
    rows = [
        LabelRow(2, "A", "one", None, None, label="x", span=(0.0, 1.0)),
        LabelRow(3, None, "one", None, None, label="y", span=(2.0, 3.0)),
        LabelRow(4, "B", "two", None, None, label="y", span=(2.0, 3.0)),
    ]
    matched = Matching(Timelines(sessions, ""), rows, columns)
    assert [p.person for p in matched.pairs] == ["A", "A", "B"]
    assert matched.about_persons == []


# -- chance ----------------------------------------------------------------------------------------


def _stretches(
    truth: np.ndarray, person: np.ndarray, face: np.ndarray, **more: Any
) -> LabelledStretches:
    classes = tuple("abcdefg"[: int(truth.max()) + 1])
    return LabelledStretches(
        person, truth, classes, {"face": face}, {"face": tuple(map(str, range(face.shape[1])))},
        None, None, np.ones((len(truth), 1)), ("one",), **more,
    )  # fmt: skip


def _null(seed: int) -> LabelledStretches:
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(20), 4)
    return _stretches(rng.integers(0, 3, 80), person, rng.normal(size=(80, 6)))


def test_permuted_labels_go_through_what_the_true_ones_went_through() -> None:
    """Labels that are permuted to themselves are answered as the true ones are."""
    for seed in range(3):
        sample = _null(seed)
        study = FoldedModels(sample, nested_splits(sample.person, 4, 3, 1, 0)[0])
        answers = study.answers()
        for model in ("mean", "pool", "concat", "hybrid"):
            again = study.permuted(sample.truth[:, None], model)[:, 0]
            np.testing.assert_array_equal(again, answers[model].answer)


def test_permuted_labels_are_guessed_as_often_as_chance_says() -> None:
    nulls = [assess_stretches(_null(seed), QUICK) for seed in range(12)]
    assert np.mean([n["permutations"]["mean"] for n in nulls]) == pytest.approx(1 / 3, abs=0.03)
    assert sum(n["controls"]["permutations"]["p"] < 0.05 for n in nulls) <= 3


def test_a_row_without_any_modality_is_not_predicted_by_its_own_label() -> None:
    outcome = np.array([100.0] + [0.0] * 11)
    face = np.random.default_rng(0).normal(size=(12, 3))
    face[0] = np.nan
    sample = OutcomeSample(np.arange(12), outcome, {"face": face}, {"face": ("a", "b", "c")},
                           None, (), np.ones((12, 1)), ("one",))  # fmt: skip
    found = _Nested(sample, QUICK).predictions()
    for model in ("mean", "concat", "hybrid"):
        assert found[model][0] == pytest.approx(0.0, abs=1e-9), model


# -- intervals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("persons", [12, 48])
def test_a_perfect_classifier_beats_chance(persons: int) -> None:
    """Nobody who is left out, or drawn, changes anything: that is no reason to know nothing."""
    person = np.repeat(np.arange(persons), 6)
    truth = np.tile(np.arange(3), 2 * persons)
    site = np.repeat(np.arange(2), len(person) // 2) if persons > 40 else None
    found = assess_stretches(_stretches(truth, person, np.eye(3)[truth], site=site), QUICK)
    head = found["models"]["concat"]
    assert head["uar"] == 1.0
    assert head["ci95"] == pytest.approx(all_alike_interval(1.0, persons))
    controls = found["controls"]
    assert controls["prior"]["beaten"]
    assert controls["prior"]["difference_ci95"][0] == pytest.approx(head["ci95"][0] - 1 / 3)
    # Against the covariates, too, which answer the same of everybody.
    assert controls["covariates"]["uar"] == pytest.approx(1 / 3)
    assert controls["covariates"]["beaten"]
    if site is not None:
        assert controls["leave_site_out"]["beaten"]
    assert found["code"] == "more_than_controls"


def test_a_perfect_classifier_of_very_few_does_not_beat_chance() -> None:
    """Three persons who show a class say little, however many show the others."""
    person = np.repeat(np.arange(30), 4)
    truth = np.tile([0, 1, 0, 1], 30)
    truth[person < 3] = 2
    sample = _stretches(truth, person, np.zeros((120, 1)))
    low, high = _Judge(sample, QUICK).interval(truth) or (math.nan, math.nan)
    assert (low, high) == pytest.approx(all_alike_interval(1.0, 3))
    assert low < 1 / 3


def test_an_interval_of_an_uar_knows_how_few_persons_show_a_class() -> None:
    """Four of sixty persons show the third class; each of them is read as a whole or not.

    Where all four are, nothing shows that a fifth might not be: 69 intervals of 120 held the truth.
    """
    rng = np.random.default_rng(5)
    person = np.repeat(np.arange(60), 4)
    truth = np.tile([0, 1, 0, 1], 60)
    truth[person < 4] = 2
    judge = _Judge(_stretches(truth, person, np.zeros((240, 1))), QUICK)
    true, held, runs = (0.9 + 0.9 + 0.8) / 3, 0, 120
    for _ in range(runs):
        right = np.where(person < 4, (rng.random(60) < 0.8)[person], rng.random(240) < 0.9)
        answer = np.where(right, truth, (truth + 1) % 3)
        low, high = judge.interval(answer) or (math.nan, math.nan)
        assert low <= float(uar(confusion_matrix(truth, answer, 3))) <= high
        held += low <= true <= high
    assert held / runs >= 0.93


def test_a_perfect_auroc_of_five_persons_has_an_interval() -> None:
    settings = StudySettings(cutoff=1.0)
    for persons in (100, 333):
        outcome = np.zeros(persons)
        outcome[:5] = 1.0
        found = _auroc(outcome, outcome + np.linspace(0.1, 0.0, persons), settings)
        assert found["value"] == 1.0
        assert found["ci95"] == pytest.approx(all_alike_interval(1.0, 5))


def test_no_spread_is_no_certainty() -> None:
    assert without_spread(1.0, 7) == pytest.approx(all_alike_interval(1.0, 7))
    assert without_spread(0.0, 7) == pytest.approx(all_alike_interval(0.0, 7))
    low, high = without_spread(0.0, 7, -1.0)
    assert low == pytest.approx(-high)
    assert without_spread(0.5, 10, -1.0)[0] == pytest.approx(0.0372, abs=1e-3)
