"""A result beside another one: the paper's Table 2, an evaluation of the same images, seeds.

What follows from Table 2 is arithmetic on what the paper prints. Conclusions are marked as such:
they say 'most likely' and name the alternatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit import statistics
from nunbit.core.messages import InputError, Text
from nunbit.datasets.predictions import Predictions, read_predictions
from nunbit.runtime.files import read_json
from nunbit.runtime.resources import packaged
from nunbit.runtime.results import as_written
from nunbit.stories.evaluate.board import HEADLINE, Board, number, numbers

# --- the paper's Table 2


@dataclass(frozen=True, slots=True)
class PaperTable:
    """What the paper prints; see ``stories/evaluate/data/paper_table2.toml``.

    Attributes:
        label_set: Name of the label set.
        labels: K label ids.
        confusion: Table 2, rows = truth.
        n_train_stated: Training images the text names.
        n_validation_stated: Validation images the text names.
        per_class_stated: Validation images a class, about, that the text names.
        accuracy_stated: Seven-class accuracy the text names.
        binary_accuracy_stated: Two-class accuracy the text names.
        binary_group: Labels of the depression-related side.
        official_validation: Images per folder of the official Validation.
        official_train_01: Images of TRAIN_01.
        majority_shares: Share of each class under the annotators' majority, ties by the uploader.
        majority_exists: Share of records with a majority of the annotators.
        unanimous: Share of records whose three annotators all give one label.
        majority_is_uploader: Share of records with a majority that is the uploader's label.
        folder_cnn_accuracy: Lowest and highest accuracy of public CNNs on folder labels.
    """

    label_set: str
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    n_train_stated: int
    n_validation_stated: int
    per_class_stated: int
    accuracy_stated: float
    binary_accuracy_stated: float
    binary_group: tuple[str, ...]
    official_validation: tuple[int, ...]
    official_train_01: int
    majority_shares: tuple[float, ...]
    majority_exists: float
    unanimous: float
    majority_is_uploader: float
    folder_cnn_accuracy: tuple[float, float]

    @property
    def matrix(self) -> NDArray[np.int64]:
        """Table 2 as an array, (K, K)."""
        return np.array(self.confusion, dtype=np.int64)


def paper_table() -> PaperTable:
    """Read the shipped table."""
    return packaged("stories/evaluate/data/paper_table2.toml", PaperTable)


def paper_scores(table: PaperTable) -> dict[str, Any]:
    """Scores of Table 2 in the shape of ``result.json``; no intervals: no images are known."""
    matrix = table.matrix
    columns = {
        "precision": statistics.precision(matrix),
        "recall": statistics.recall(matrix),
        "f1": statistics.f1(matrix),
        "support": matrix.sum(axis=1),
    }
    return {
        "labels": list(table.labels),
        "n": int(matrix.sum()),
        "top1": number(statistics.top1(matrix)),
        "macro_f1": number(statistics.macro_f1(matrix)),
        "uar": number(statistics.uar(matrix)),
        "confusion": [[int(c) for c in row] for row in matrix],
        "per_class": {
            label: {
                name: int(values[i]) if name == "support" else number(values[i])
                for name, values in columns.items()
            }
            for i, label in enumerate(table.labels)
        },
    }


def paper_findings(table: PaperTable) -> dict[str, Any]:
    """What follows from the printed numbers by arithmetic."""
    matrix = table.matrix
    total, hits = int(matrix.sum()), int(np.trace(matrix))
    members = [table.labels.index(label) for label in table.binary_group]
    two = statistics.binary_confusion(matrix, members)
    columns = matrix.sum(axis=0)
    rows, folders = matrix.sum(axis=1), np.array(table.official_validation)
    return {
        "table_sum": total,
        "n_stated": table.n_validation_stated,
        "sum_minus_stated": total - table.n_validation_stated,
        "hits": hits,
        "accuracy_by_stated_n": number(hits / table.n_validation_stated),
        "accuracy_by_table_sum": number(hits / total),
        "accuracy_stated": table.accuracy_stated,
        "truth_counts": [int(c) for c in rows],
        "truth_shares": numbers(rows / total),
        "folder_counts": list(table.official_validation),
        "folder_shares": numbers(folders / folders.sum()),
        "largest_row_to_folder": number((rows / folders).max()),
        "smallest_row_to_folder": number((rows / folders).min()),
        "majority_shares": list(table.majority_shares),
        # Total variation: the share of images that would have to change their class.
        "distance_to_folders": number(_distance(rows, folders)),
        "distance_to_majority": number(_distance(rows, np.array(table.majority_shares))),
        "n_if_ties_were_dropped": round(int(folders.sum()) * table.majority_exists),
        "majority_is_uploader": table.majority_is_uploader,
        "majority_exists": table.majority_exists,
        "unanimous": table.unanimous,
        # Of three annotators, two who agree against the third are one pair of three.
        "pairwise_agreement": number(
            table.unanimous + (table.majority_exists - table.unanimous) / 3.0
        ),
        # If the columns were the truth, their sums would have to follow the annotators; and the
        # two-class figure the paper prints would be the columns' share.
        "columns": {
            "share_of_group": number(columns[members].sum() / total),
            "distance_to_majority": number(_distance(columns, np.array(table.majority_shares))),
        },
        "over_predicted": {
            label: number(columns[i] / rows[i] - 1.0) for i, label in enumerate(table.labels)
        },
        "images_missing": {
            "train": table.official_train_01 - table.n_train_stated,
            "validation": int(folders.sum()) - table.n_validation_stated,
        },
        "binary": {
            "accuracy_stated": table.binary_accuracy_stated,
            "n_of_group": int(rows[members].sum()),
            "share_of_group": number(rows[members].sum() / total),
            "best_constant": number(max(rows[members].sum(), total - rows[members].sum()) / total),
            "collapsed_accuracy": number(statistics.top1(two)),
            "collapsed_sensitivity": number(statistics.recall(two)[1]),
            "collapsed_specificity": number(statistics.recall(two)[0]),
        },
    }


def _distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Total variation distance of two distributions given as counts or shares."""
    return float(np.abs(a / a.sum() - b / b.sum()).sum() / 2)


# --- comparisons


def check_others(out: Path, comparisons: Sequence[str], seeds: Sequence[str], **known: Any) -> None:
    """Check what a result will be put beside, before hours of scoring.

    Args:
        out: Folder of the evaluation, which is neither.
        comparisons: ``paper``, or folders of evaluations.
        seeds: Folders of evaluations of the same recipe.
        known: What the result will have of ``_SAME``; ``dataset`` where it is of a data set.

    Raises:
        InputError: A folder is no evaluation, is ``out`` itself, a seed is given twice, or its
            evaluation is of something else.
    """
    for folder in (Path(each) for each in comparisons if each != "paper"):
        _refuse_itself(folder, out)
        _evaluation(folder, known["labels"])
    seen: dict[Path, str] = {}
    for given in seeds:
        folder = Path(given)
        _refuse_itself(folder, out)
        if (first := seen.get(folder.resolve())) is not None:
            raise InputError(
                Text(
                    f"{folder}: the same evaluation as {first}; give every seed once",
                    f"{folder}: {first}과(와) 같은 평가입니다. 시드마다 한 번만 적으십시오",
                )
            )
        seen[folder.resolve()] = given
        _require_same(folder, _result_of(folder), known)


def _refuse_itself(folder: Path, out: Path) -> None:
    if folder.resolve() == out.resolve():
        raise InputError(
            Text(
                f"{folder}: is the output itself, whose result is made anew; choose another `out`",
                f"{folder}: 새로 만들 출력 폴더 자신입니다. 다른 `out`을 고르십시오",
            )
        )


def _evaluation(folder: Path, labels: Sequence[str]) -> tuple[dict[str, Any], Predictions]:
    """Result and predictions of an evaluation of the same classes."""
    other = _result_of(folder)
    theirs = read_predictions(folder / "predictions.parquet")
    if list(theirs.label_set.ids) != list(labels):
        raise InputError(
            Text(
                f"{folder}: label set {theirs.label_set.name} differs from that of this one; "
                "only evaluations with the same classes can be compared",
                f"{folder}: 레이블 집합 {theirs.label_set.name}이(가) 이 평가와 다릅니다. "
                "클래스가 같은 평가끼리만 비교할 수 있습니다",
            )
        )
    return other, theirs


_SHOWN = ("top1", "macro_f1", "uar", "n", "ci95", "per_class")


def compare_with_paper(document: dict[str, Any]) -> dict[str, Any]:
    """Compare a result with Table 2.

    Args:
        document: ``result.json`` so far.
    """
    table = paper_table()
    scores = paper_scores(table)
    notes = [
        Text(
            "Table 2 most likely uses one annotator's label as the truth (its row sums do "
            "not fit the folders; other readings: a majority with ties kept, another annotator, "
            "an undocumented relabelling). Compare it with policy annot_a.",
            "표 2의 정답은 주석자 한 명의 레이블일 가능성이 가장 큽니다(행 합계가 폴더별 "
            "수와 맞지 않음. 다른 해석: 동률을 둔 다수결, 다른 주석자, 문서화되지 않은 재분류). "
            "annot_a 정책과 비교하십시오.",
        ).to_dict()
    ]
    if document["policy"] != "annot_a":
        notes.append(
            Text(
                f"This result uses policy {document['policy']}: not comparable with Table 2.",
                f"이 결과는 {document['policy']} 정책을 씁니다. 표 2와 비교할 수 없습니다.",
            ).to_dict()
        )
    if document["labels"] != scores["labels"]:
        notes.append(
            Text(
                "The label sets differ, and so do classes and data. The rows are shown together "
                "for orientation only.",
                "레이블 집합이 다릅니다. 클래스도 데이터도 달라 참고용으로만 나란히 둡니다.",
            ).to_dict()
        )
    return {
        "kind": "paper",
        "name": Text("paper, Table 2", "논문 표 2").to_dict(),
        "other": scores,
        "findings": paper_findings(table),
        "paired": None,
        "notes": notes,
    }


def compare_with_evaluation(
    folder: Path, document: dict[str, Any], p: Predictions, *, n_resamples: int, seed: int
) -> dict[str, Any]:
    """Compare a result with another evaluation, paired on their common images.

    Raises:
        InputError: ``folder`` is no evaluation, or the label sets differ.
    """
    other, theirs = _evaluation(folder, p.label_set.ids)
    notes = []
    if other.get("policy") != document["policy"]:
        notes.append(
            Text(
                f"The other evaluation used policy {other.get('policy')}; the paired figures "
                f"take the truth of this one ({document['policy']}) for both.",
                f"다른 평가는 {other.get('policy')} 정책을 썼습니다. 짝지은 수치는 둘 다 "
                f"이 평가의 정답({document['policy']})으로 계산했습니다.",
            ).to_dict()
        )
    paired = _paired(p, theirs, n_resamples=n_resamples, seed=seed)
    if paired is None:
        notes.append(
            Text(
                "The two evaluations share no image: the scores are shown side by side, unpaired.",
                "두 평가에 공통된 이미지가 없어 짝짓지 않고 나란히 둡니다.",
            ).to_dict()
        )
    # Several evaluations of one bundle would all have its name; the folder tells them apart.
    model = other.get("model") or (other.get("bundle") or {}).get("name")
    name = f"{model} ({folder.name})" if model else folder.name
    return {
        "kind": "evaluation",
        "name": Text(name, name).to_dict(),
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
        statistics.cluster_codes(subjects, len(mine)),
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
        "mcnemar": statistics.mcnemar(first == truth, second == truth),
    }


# --- seeds of one recipe

_SAME = ("labels", "policy", "split", "n", "prompts")


def seeds_section(document: dict[str, Any], folders: Sequence[str]) -> dict[str, Any] | None:
    """Mean, standard deviation and range of the headline scores over this run and others.

    The standard deviation (with n - 1) shows how much the result depends on the seed. The intervals
    show the uncertainty about people, which is something else.

    Args:
        document: ``result.json`` of this run so far.
        folders: Evaluations of the same recipe with other seeds; none gives None.

    Raises:
        InputError: A folder is no evaluation, or of other images, classes, prompts or policy.
    """
    if not folders:
        return None
    runs = [("", document)]
    for folder in folders:
        other = _result_of(Path(folder))
        _require_same(Path(folder), other, document)
        runs.append((Path(folder).name, other))
    return {
        "n": len(runs),
        "runs": [{"name": name, **{key: run[key] for key in HEADLINE}} for name, run in runs],
        **{key: _spread([run[key] for _, run in runs]) for key in HEADLINE},
    }


def _require_same(folder: Path, other: dict[str, Any], known: dict[str, Any]) -> None:
    path = folder / "result.json"
    key = next((key for key in _SAME if other.get(key) != known[key]), None)
    if key is not None:
        raise InputError(
            Text(
                f"{path}: {key} is {other.get(key)}, here {known[key]}; only evaluations "
                "of the same images with the same settings can be summarised over seeds",
                f"{path}: {key} 값이 {other.get(key)}인데 여기서는 {known[key]}입니다. 같은 "
                "이미지를 같은 방법으로 평가한 결과끼리만 시드를 요약합니다",
            )
        )
    with as_written(path):
        inputs = dict(dict(other.get("provenance") or {}).get("inputs") or {})
    theirs, own = inputs.get("dataset"), known.get("dataset")
    if isinstance(theirs, str) and isinstance(own, str) and theirs != own:
        raise InputError(
            Text(
                f"{path}: is of another data set; only evaluations of the same images can be "
                "summarised over seeds",
                f"{path}: 다른 데이터 세트의 평가입니다. 같은 이미지를 평가한 결과끼리만 시드를 "
                "요약합니다",
            )
        )


def _result_of(folder: Path) -> dict[str, Any]:
    """``result.json`` of an evaluation.

    Raises:
        InputError: There is none, or it was changed.
    """
    path = folder / "result.json"
    with as_written(path):
        document: dict[str, Any] = read_json(path)
        for key in HEADLINE:
            if document[key] is not None:
                float(document[key])
        return document


def _spread(values: list[float | None]) -> dict[str, float | None]:
    known = np.array([np.nan if v is None else v for v in values])
    return {
        "mean": number(known.mean()),
        "sd": number(known.std(ddof=1)),
        "min": number(known.min()),
        "max": number(known.max()),
    }
