"""Join labels and timelines: whose row is whose session, and what is left out, with a notice.

Names of persons stay in here: a result knows codes of this run only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nunbit.core.messages import InputError, Text
from nunbit.core.streams import Floats
from nunbit.runtime.progress import listed
from nunbit.statistics.nested import Codes, columns_there, rows_there
from nunbit.stories.study.fusions import LabelledStretches
from nunbit.stories.study.matching import Matching
from nunbit.stories.study.outcome_study import OutcomeSample
from nunbit.stories.study.stretch_windows import (
    LabelledSession,
    about_session_mean,
    aligned_vectors,
    asked_in_stretch,
    has_windows,
    index_of,
    span_of,
    window_table,
)
from nunbit.stories.study.study_labels import Columns, LabelRow, Value
from nunbit.stories.study.study_sample import Timelines, over_stretch

FEWEST_GROUPED = 3
"""Persons that nested folds by person need: one to test, one to fit, one to choose the penalty."""

_MOST_NAMED = 3
_FEW_OF_MODALITY = 0.9
"""Share of rows below which a modality that is partly missing is told."""

Features = Mapping[str, Sequence[str]]


@dataclass(frozen=True, eq=False)
class JoinedLabels:
    """Labels with their timelines.

    Attributes:
        sample: Outcomes or stretches, as arrays.
        n_persons, n_rows, n_sites: Counts.
        facts: What was left out, by reason, and the share of rows with each modality.
        notices: What a reader must know.
        names: Which rows and timelines were left out; for the terminal, written nowhere.
    """

    sample: OutcomeSample | LabelledStretches
    n_persons: int
    n_rows: int
    n_sites: int
    facts: dict[str, Any] = field(default_factory=dict)
    notices: tuple[Text, ...] = ()
    names: tuple[Text, ...] = ()

    def outcomes(self) -> OutcomeSample:
        """The sample of a study of outcomes."""
        assert isinstance(self.sample, OutcomeSample)
        return self.sample

    def stretches(self) -> LabelledStretches:
        """The sample of a study of stretches."""
        assert isinstance(self.sample, LabelledStretches)
        return self.sample


def join_outcomes(
    found: Timelines, columns: Columns, rows: Sequence[LabelRow], features: Features
) -> JoinedLabels:
    """Join outcomes to sessions.

    Raises:
        InputError: No row has a timeline, or nothing varies among those that have.
    """
    matched = Matching(found, rows, columns)
    pairs = [p for p in matched.pairs if math.isfinite(p.row.outcome)]
    unlabelled = len(matched.pairs) - len(pairs)
    _need(pairs, columns, {p.row.outcome for p in pairs})
    person, site = _codes([p.person for p in pairs]), _sites(pairs)
    asked, asked_names = _table([_others_of(p) for p in pairs])
    covariates, names = _covariates(pairs, columns, site)
    modalities = {m: _rows([p.session.own for p in pairs], cols) for m, cols in features.items()}
    modalities, kept, gone = _usable(modalities, features)
    sample = OutcomeSample(
        person=person,
        outcome=np.array([p.row.outcome for p in pairs]),
        modalities=modalities,
        names=kept,
        interviewer=asked,
        interviewer_names=asked_names,
        covariates=covariates,
        covariate_names=names,
        site=site,
    )
    return _joined(sample, pairs, matched, unlabelled, modalities, gone, columns)


def join_stretches(
    found: Timelines, columns: Columns, rows: Sequence[LabelRow], features: Features
) -> JoinedLabels:
    """Join labelled stretches to the windows of their sessions.

    Measures are relative to the mean of the session's windows, which needs no label and takes out
    the person, the camera and the microphone.

    Raises:
        InputError: No row has windows, or fewer than two classes are left.
    """
    matched = Matching(found, rows, columns)
    pairs = [p for p in matched.pairs if p.row.label and p.session.windows is not None]
    levels = {
        id(p.session): about_session_mean(p.session.windows) for p in pairs if p.session.windows
    }
    inside = [p for p in pairs if has_windows(levels[id(p.session)], p.row)]
    _need(inside, columns, {p.row.label for p in inside})
    if (n := len({p.person for p in inside})) < FEWEST_GROUPED:
        raise InputError(
            Text(
                f"labels of {n} persons; at least {FEWEST_GROUPED} are needed, so that each can be "
                "left out in turn (a column person says who is who)",
                f"{n}명의 레이블뿐입니다. 한 사람씩 제외하며 평가하려면 적어도 "
                f"{FEWEST_GROUPED}명이 필요합니다(person 열로 누구인지 구별합니다)",
            )
        )
    person, site = _codes([p.person for p in inside]), _sites(inside)
    classes = tuple(sorted({p.row.label for p in inside}))
    modalities = {
        m: np.stack([over_stretch(levels[id(p.session)], cols, *span_of(p.row)) for p in inside])
        for m, cols in features.items()
    }
    modalities, kept, gone = _usable(modalities, features)
    asked = [asked_in_stretch(p) for p in inside]
    covariates, names = _covariates(inside, columns, site)
    table, inside_rows = window_table(inside, levels, kept, person)
    sample = LabelledStretches(
        person=person,
        truth=np.array([classes.index(p.row.label) for p in inside]),
        classes=classes,
        modalities=modalities,
        names=kept,
        index=index_of(inside, classes),
        interviewer=_table(asked)[0],
        covariates=covariates,
        covariate_names=names,
        site=site,
        windows=table,
        inside=inside_rows,
        aligned=aligned_vectors(inside),
    )
    left = len(matched.pairs) - len(inside)
    return _joined(sample, inside, matched, left, modalities, gone, columns)


def _need(pairs: Sequence[LabelledSession], columns: Columns, values: set[Any]) -> None:
    if not pairs:
        raise InputError(
            Text(
                "no row of the labels has a timeline: names of sessions, or of persons "
                "(`subject` of analyze), must be those of the labels",
                "레이블 표의 어느 행에도 맞는 타임라인이 없습니다. 세션 이름이나 사람 이름"
                "(analyze의 `subject`)이 표와 같아야 합니다",
            )
        )
    if len(values) < 2:
        raise InputError(
            Text(
                f"all rows that have a timeline have the same {columns.outcome}: nothing can be "
                "studied",
                f"타임라인이 있는 모든 행의 {columns.outcome} 값이 같아 연구할 수 없습니다",
            )
        )


def _joined(
    sample: OutcomeSample | LabelledStretches,
    pairs: Sequence[LabelledSession],
    matched: Matching,
    left: int,
    modalities: Mapping[str, Floats],
    gone: Sequence[str],
    columns: Columns,
) -> JoinedLabels:
    shares = {m: float(rows_there(x).mean()) for m, x in modalities.items()}
    left_out = {
        "labels_without_timeline": len(matched.without_timeline),
        "timelines_without_label": len(matched.without_label),
        "rows_without_label_or_windows": left,
    }
    site = sample.site
    return JoinedLabels(
        sample=sample,
        n_persons=len({p.person for p in pairs}),
        n_rows=len(pairs),
        n_sites=0 if site is None else len(np.unique(site)),
        facts={"left_out": left_out, "modalities": shares,
               "measures": {m: x.shape[1] for m, x in modalities.items()},
               "interviewer": sample.interviewer is not None},
        notices=tuple(_notices(matched, left, shares, gone, sample, columns)),
        names=tuple(_left_out_names(matched)),
    )  # fmt: skip


def _left_out_names(matched: Matching) -> list[Text]:
    """Name them on the terminal alone: names of sessions can be names of persons."""
    told = (
        (matched.without_timeline, Text("labels without a timeline", "타임라인이 없는 레이블")),
        (matched.without_label, Text("timelines without a label", "레이블이 없는 타임라인")),
    )
    shown = (
        (what, listed(list(dict.fromkeys(names)), _MOST_NAMED)) for names, what in told if names
    )
    return [Text(f"{what.en}: {names}", f"{what.ko}: {names}") for what, names in shown]


def _notices(
    matched: Matching,
    left: int,
    shares: Mapping[str, float],
    gone: Sequence[str],
    sample: OutcomeSample | LabelledStretches,
    columns: Columns,
) -> list[Text]:
    said = [
        Text(f"{len(names)} {en}", f"{len(names)}{ko}")
        for names, en, ko in (
            (matched.without_timeline, "rows of labels have no timeline and are left out",
             "행의 레이블은 맞는 타임라인이 없어 제외했습니다"),
            (matched.without_label, "timelines have no label and are left out",
             "개 타임라인은 레이블이 없어 제외했습니다"),
        )
        if names
    ]  # fmt: skip
    said += matched.about_persons
    if left:
        said.append(
            Text(
                f"{left} rows have no label, or no window of the timeline in their time: left out",
                f"{left}개 행은 레이블이 없거나 그 시간에 타임라인의 창이 없어 제외했습니다",
            )
        )
    said += [
        Text(
            f"{modality} is missing in {1 - share:.0%} of the rows: filled with the mean of the "
            "training part in joint models, left out of means of modalities; if it is missing for "
            "a reason that has to do with the outcome, results are biased",
            f"{_KO[modality]} 자료가 {1 - share:.0%}의 행에 없습니다. 통합 모델에서는 학습 부분의 "
            "평균으로 채우고 모달리티 평균에서는 뺐습니다. 없는 이유가 결과와 관련되면 결과가 "
            "치우칩니다",
        )
        for modality, share in shares.items()
        if share < _FEW_OF_MODALITY
    ]
    if gone:
        said.append(
            Text(
                f"no value in any row, so not used: {listed(list(gone), 6)}",
                f"어느 행에도 값이 없어 쓰지 않았습니다: {listed(list(gone), 6)}",
            )
        )
    if sample.interviewer is None:
        said.append(_NO_INTERVIEWER)
    if columns.unused:
        unused = listed(list(columns.unused), 6)
        said.append(
            Text(
                f"columns of the labels that are not used: {unused}; name covariates with "
                "`covariates`",
                f"쓰지 않은 레이블 열: {unused}. 공변량은 `covariates`로 지정하십시오",
            )
        )
    return said


_NO_INTERVIEWER = Text(
    "nothing of an interviewer is known (no timeline ending in _interviewer, no column "
    "interviewer, no other face or speaker): the control 'interviewer' could not run",
    "면담자 자료가 없어(_interviewer로 끝나는 타임라인, interviewer 열, 다른 얼굴이나 화자 없음) "
    "'면담자만' 대조를 하지 못했습니다",
)
_KO = {"face": "얼굴", "voice": "목소리", "text": "말", "fused": "결합"}


def _codes(names: Sequence[str]) -> Codes:
    known = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([known[name] for name in names], np.int64)


def _sites(pairs: Sequence[LabelledSession]) -> Codes | None:
    """(N,) codes; None where no site is given. A row without one is a site of its own name."""
    if not any(p.row.site for p in pairs):
        return None
    return _codes([p.row.site or "" for p in pairs])


def _rows(sessions: Sequence[Mapping[str, float]], columns: Sequence[str]) -> Floats:
    """(N, F) values, NaN where missing."""
    return np.array(
        [[own.get(c, math.nan) for c in columns] for own in sessions], np.float64
    ).reshape(len(sessions), len(columns))


def _table(rows: Sequence[Mapping[str, float]]) -> tuple[Floats | None, tuple[str, ...]]:
    """(N, G) of rows with different columns; None without any value."""
    names = tuple(sorted({n for row in rows for n in row}))
    table = _rows(rows, names)
    there = columns_there(table)
    if not there.any():
        return None, ()
    return table[:, there], tuple(n for n, ok in zip(names, there, strict=True) if ok)


def _usable(
    modalities: Mapping[str, Floats], features: Features
) -> tuple[dict[str, Floats], dict[str, tuple[str, ...]], list[str]]:
    """Modalities and measures with any value, and the measures without.

    Raises:
        InputError: None has any.
    """
    kept, names, gone = {}, {}, []
    for m, table in modalities.items():
        there = columns_there(table)
        gone += [n for n, ok in zip(features[m], there, strict=True) if not ok]
        if there.any():
            kept[m] = table[:, there]
            names[m] = tuple(n for n, ok in zip(features[m], there, strict=True) if ok)
    if not kept:
        raise InputError(
            Text(
                "no measure has a value in any labelled timeline; nothing can be studied",
                "레이블이 있는 타임라인에 값이 있는 측정값이 하나도 없어 연구할 수 없습니다",
            )
        )
    return kept, names, gone


def _others_of(pair: LabelledSession) -> dict[str, float]:
    """Everything known of whoever asked."""
    own = {} if pair.interviewer is None else dict(pair.interviewer.own)
    return {**{f"other.{n}": v for n, v in pair.session.others.items()},
            **{f"interviewer.{n}": v for n, v in own.items()}}  # fmt: skip


def _covariates(
    pairs: Sequence[LabelledSession], columns: Columns, site: Codes | None
) -> tuple[Floats, tuple[str, ...]]:
    """(N, C) covariates, duration, what could be read, place in the recording, sites."""
    duration_s = np.array([p.session.duration_s for p in pairs])
    found: list[tuple[str, Floats]] = [("duration_s", duration_s)]
    coverage, names = _table([p.session.coverage for p in pairs])
    if coverage is not None:
        found += zip(names, coverage.T, strict=True)
    if pairs and pairs[0].row.span is not None:
        spans = np.array([span_of(p.row) for p in pairs])
        place = spans[:, 0] / np.maximum(duration_s, 1e-9)
        found += [("place", place), ("place_squared", place**2)]
        found.append(("length_s", spans[:, 1] - spans[:, 0]))
    for column in columns.covariates:
        found += _coded(column, [p.row.covariates.get(column) for p in pairs])
    if site is not None:
        found += [(f"site_{code + 1}", (site == code).astype(float)) for code in np.unique(site)]
    return np.stack([numbers for _, numbers in found], axis=1), tuple(name for name, _ in found)


def _coded(column: str, values: Sequence[Value | None]) -> list[tuple[str, Floats]]:
    """A column of numbers as it is, one of words as a flag a word."""
    if any(isinstance(v, str) for v in values):
        words = sorted({str(v) for v in values if v is not None})
        return [
            (f"{column}={w}", np.array([float(v is not None and str(v) == w) for v in values]))
            for w in words
        ]
    return [(column, np.array([math.nan if v is None else float(v) for v in values]))]
