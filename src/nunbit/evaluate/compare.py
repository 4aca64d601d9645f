"""A result beside another one: the paper's Table 2, or an evaluation of the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nunbit import metrics
from nunbit.errors import InputError
from nunbit.evaluate.board import Board
from nunbit.evaluate.paper import paper_findings, paper_scores, paper_table
from nunbit.evaluate.predictions import Predictions, read_predictions
from nunbit.files import read_json

_SHOWN = ("top1", "macro_f1", "uar", "n", "ci95", "per_class")


def compare_with_paper(document: dict[str, Any]) -> dict[str, Any]:
    """Put Table 2 beside a result.

    Args:
        document: ``result.json`` so far.
    """
    table = paper_table()
    scores = paper_scores(table)
    notes = [
        {
            "en": "Table 2 most likely uses one annotator's label as the truth (its row sums do "
            "not fit the folders; other readings: a majority with ties kept, another annotator, "
            "an undocumented relabelling). Compare it with policy annot_a.",
            "ko": "표 2의 정답은 주석자 한 명의 레이블일 가능성이 가장 큽니다(행 합계가 폴더별 "
            "수와 맞지 않음. 다른 해석: 동률을 둔 다수결, 다른 주석자, 문서화되지 않은 재분류). "
            "annot_a 정책과 비교하십시오.",
        }
    ]
    if document["policy"] != "annot_a":
        notes.append(
            {
                "en": f"This result uses policy {document['policy']}: not comparable with Table 2.",
                "ko": f"이 결과는 {document['policy']} 정책을 씁니다. 표 2와 비교할 수 없습니다.",
            }
        )
    if document["labels"] != scores["labels"]:
        notes.append(
            {
                "en": "The label sets differ: other classes, other data. The rows are beside each "
                "other for orientation only.",
                "ko": "레이블 집합이 다릅니다. 클래스도 데이터도 달라 참고용으로만 나란히 둡니다.",
            }
        )
    return {
        "kind": "paper",
        "name": {"en": "paper, Table 2", "ko": "논문 표 2"},
        "other": scores,
        "findings": paper_findings(table),
        "paired": None,
        "notes": notes,
    }


def compare_with_evaluation(
    folder: Path, document: dict[str, Any], p: Predictions, *, n_resamples: int, seed: int
) -> dict[str, Any]:
    """Put another evaluation beside a result, paired on the images both have.

    Raises:
        InputError: ``folder`` is no evaluation, or the label sets differ.
    """
    other = read_json(folder / "result.json")
    theirs = read_predictions(folder / "predictions.parquet")
    if theirs.label_set.ids != p.label_set.ids:
        raise InputError(
            en=f"{folder}: label set {theirs.label_set.name} differs from {p.label_set.name}; "
            "only evaluations with the same classes can be compared",
            ko=f"{folder}: 레이블 집합 {theirs.label_set.name}이(가) {p.label_set.name}과(와) "
            "다릅니다. 클래스가 같은 평가끼리만 비교할 수 있습니다",
        )
    notes = []
    if other.get("policy") != document["policy"]:
        notes.append(
            {
                "en": f"The other evaluation used policy {other.get('policy')}; the paired figures "
                f"take the truth of this one ({document['policy']}) for both.",
                "ko": f"다른 평가는 {other.get('policy')} 정책을 썼습니다. 짝지은 수치는 둘 다 "
                f"이 평가의 정답({document['policy']})으로 계산했습니다.",
            }
        )
    paired = _paired(p, theirs, n_resamples=n_resamples, seed=seed)
    if paired is None:
        notes.append(
            {
                "en": "The two evaluations share no image: the figures stand side by side, "
                "unpaired.",
                "ko": "두 평가에 공통된 이미지가 없어 짝짓지 않고 나란히 둡니다.",
            }
        )
    # Several evaluations of one bundle would all have its name; the folder tells them apart.
    model = other.get("model") or (other.get("bundle") or {}).get("name")
    name = f"{model} ({folder.name})" if model else folder.name
    return {
        "kind": "evaluation",
        "name": {"en": name, "ko": name},
        "other": {key: other.get(key) for key in ("labels", *_SHOWN)},
        "findings": None,
        "paired": paired,
        "notes": notes,
    }


def _paired(
    p: Predictions, theirs: Predictions, *, n_resamples: int, seed: int
) -> dict[str, Any] | None:
    """This minus the other on common labelled images, by person; None without any."""
    row_of = {record: row for row, record in enumerate(theirs.record_id)}
    mine = [i for i, r in enumerate(p.record_id) if r in row_of and p.truth[i] >= 0]
    if not mine:
        return None
    here = np.array(mine)
    there = np.array([row_of[p.record_id[i]] for i in mine])
    truth, first, second = p.truth[here], p.predicted[here], theirs.predicted[there]
    subjects = [p.subject_id[i] for i in mine] if p.knows_persons else None
    board = Board(
        metrics.cluster_codes(subjects, len(mine)),
        persons=p.knows_persons,
        n_classes=len(p.label_set.labels),
        n_resamples=n_resamples,
        seed=seed,
    )
    board.add_confusion("this", truth, first)
    board.add_confusion("other", truth, second)
    board.run()
    return {
        "n": len(mine),
        "this": board.scores("this"),
        "other": board.scores("other"),
        "difference": board.difference("this", "other"),
        "mcnemar": metrics.mcnemar(first == truth, second == truth),
    }
