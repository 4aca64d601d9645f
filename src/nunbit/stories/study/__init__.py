"""The story of ``nunbit study``: timelines and labels in, ``STUDY/`` out.

The timelines and the header of the labels are read first, then ``plan.toml`` is written and hashed,
then the labels are read. ``STUDY/`` gets ``plan.toml``, ``result.json``, ``report.html`` and
``figures/``; ``parts/`` holds the finished permutations of an interrupted run and goes with its
end. Nothing there is about a single person: no prediction, no score, no code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nunbit.core.messages import MissingExtra, Text
from nunbit.core.messages import joined as joined_texts
from nunbit.report.study_page import FORMAT, render_study
from nunbit.runtime.claims import claimed, remove_own_parts, require_own
from nunbit.runtime.config import settings_to_dict
from nunbit.runtime.files import PartStore, sha256_file, write_json
from nunbit.runtime.progress import say, spoken_lang
from nunbit.runtime.resources import provenance
from nunbit.stories.study.emotions import PermutedUars, assess_stretches
from nunbit.stories.study.fusions import CrossModal
from nunbit.stories.study.joining import JoinedLabels, join_outcomes, join_stretches
from nunbit.stories.study.outcome_study import PermutedScores, assess_outcomes
from nunbit.stories.study.study_labels import Columns, read_columns, read_labels
from nunbit.stories.study.study_plan import (
    AUROC_FROM,
    FEWEST,
    PLAN,
    StudySettings,
    plan_document,
    write_plan,
)
from nunbit.stories.study.study_sample import Timelines, read_study_timelines

RESULT = "result.json"
PARTS = "parts"
_PARTS = "2"
"""Changes when permutations are computed otherwise: those of an interrupted run then start anew."""


@dataclass(frozen=True, eq=False)
class Study:
    """A finished study.

    Attributes:
        document: ``result.json``; of ``plan_only`` the plan's hash alone.
        finished: Whether labels were read and judged.
    """

    document: Mapping[str, Any] = field(default_factory=dict)
    finished: bool = True


def study(
    timelines: Sequence[Path],
    labels: Path,
    out: Path,
    settings: StudySettings,
    *,
    cross_modal: CrossModal | None = None,
) -> Study:
    """Ask whether measures of participants say more about labels than the controls do.

    Args:
        timelines: Folders that ``analyze`` wrote.
        labels: Table with an outcome a person or session, or a class a stretch of time.
        out: Folder of the study; an interrupted one goes on.
        settings: How.
        cross_modal: The transformer of the training extra; None where torch is not installed.

    Returns:
        The result; nothing in it is about a single person.

    Raises:
        InputError: Timelines or labels cannot be used, or ``out`` holds another study.
        SettingsError: A column was named that the labels do not have.
    """
    with claimed(out):
        return _study(timelines, labels, out, settings, cross_modal)


def _study(
    timelines: Sequence[Path],
    labels: Path,
    out: Path,
    settings: StudySettings,
    cross_modal: CrossModal | None,
) -> Study:
    require_own(out / RESULT, (FORMAT,))
    table, columns = read_columns(labels, settings.kind, settings.outcome, settings.covariates)
    emotion = columns.kind == "emotion"
    found = read_study_timelines(
        timelines, windows=emotion, functionals=settings.functionals and not emotion
    )
    plan = plan_document(settings, columns, _features(found, columns), found.digest, labels)
    digest = write_plan(out, plan)
    say(Text(f"plan: {out / PLAN}, sha256 {digest}", f"계획: {out / PLAN}, sha256 {digest}"))
    if settings.plan_only:
        return Study({"plan": {"file": PLAN, "sha256": digest}, "finished": False}, False)
    rows = read_labels(table, columns)
    key = {"plan": digest, "labels": sha256_file(labels), "version": FORMAT, "parts": _PARTS}
    judged, joined = (_stretches if emotion else _outcomes)(
        found, columns, rows, settings, (out / PARTS, key), cross_modal
    )
    for notice in (*joined.notices, *joined.names):
        say(notice)
    document = _document(columns, found, joined, judged, settings)
    document["plan"] = {"file": PLAN, "sha256": digest}
    document["provenance"]["inputs"] = {
        "timelines": found.digest, "labels": key["labels"], "plan": digest}  # fmt: skip
    write_json(out / RESULT, document)
    remove_own_parts(out / PARTS)
    render_study(out, lang=spoken_lang())
    return Study(document)


def _features(found: Timelines, columns: Columns) -> dict[str, tuple[str, ...]]:
    """Modality -> measures that take part, as the timelines have them."""
    names = found.columns()
    if columns.kind == "outcome":
        return names
    windows = {
        n for s in found.participants.values() if s.windows is not None for n in s.windows.names
    }
    return {
        m: tuple(sorted(n for n in windows if n.startswith(f"{m}.")))
        for m in names
        if m != "fused" and any(n.startswith(f"{m}.") for n in windows)
    }


def _outcomes(
    found: Timelines,
    columns: Columns,
    rows: Sequence[Any],
    settings: StudySettings,
    parts: tuple[Path, Mapping[str, str]],
    _: CrossModal | None,
) -> tuple[dict[str, Any], JoinedLabels]:
    joined = join_outcomes(found, columns, rows, _features(found, columns))
    store: PartStore[PermutedScores] = PartStore(parts[0], PermutedScores, parts[1])
    return assess_outcomes(joined.outcomes(), settings, store), joined


def _stretches(
    found: Timelines,
    columns: Columns,
    rows: Sequence[Any],
    settings: StudySettings,
    parts: tuple[Path, Mapping[str, str]],
    cross_modal: CrossModal | None,
) -> tuple[dict[str, Any], JoinedLabels]:
    joined = join_stretches(found, columns, rows, _features(found, columns))
    if settings.transformer and cross_modal is None:
        missing = MissingExtra("torch", "train").text
        joined = replace(joined, notices=(*joined.notices, Text(
            f"no cross-modal transformer: {missing.en}",
            f"교차 모달 트랜스포머를 하지 않았습니다: {missing.ko}")))  # fmt: skip
    kept: PartStore[PermutedUars] = PartStore(parts[0] / "permuted", PermutedUars, parts[1])
    wanted = cross_modal if settings.transformer else None
    return assess_stretches(joined.stretches(), settings, wanted, kept), joined


def _document(
    columns: Columns,
    found: Timelines,
    joined: JoinedLabels,
    judged: dict[str, Any],
    settings: StudySettings,
) -> dict[str, Any]:
    """``result.json``, plan and inputs aside."""
    code = judged.pop("code")
    said = verdict_text(code, columns, judged, joined)
    return {
        "format": FORMAT,
        "kind": columns.kind,
        "outcome": columns.outcome,
        "synthetic": found.synthetic,
        "n_persons": joined.n_persons,
        "n_rows": joined.n_rows,
        "n_sites": joined.n_sites,
        "sample": joined.facts,
        "headline": settings.headline,
        "verdict": {"code": code, "text": said.en, "text_ko": said.ko},
        **judged,
        "limits": {"fewest_persons": FEWEST, "auroc_from_persons": AUROC_FROM},
        "columns": {"covariates": list(columns.covariates), "unused": list(columns.unused)},
        "notices": [notice.pair() for notice in dict.fromkeys((*found.notices, *joined.notices))],
        "provenance": provenance(
            "study", settings_to_dict(settings), seeds={"seed": settings.seed}
        ),
    }


_NAMES = {
    "mean": Text("the mean of everybody", "전체 평균"),
    "prior": Text("the share of the classes", "클래스 비율"),
    "interviewer": Text("the interviewer alone", "면담자만"),
    "covariates": Text("covariates, duration and coverage alone", "공변량·길이·판독률만"),
    "leave_site_out": Text("whole sites left out", "기관을 통째로 제외한 평가"),
    "permutations": Text("permuted labels", "섞은 레이블"),
}


def verdict_text(
    code: str, columns: Columns, judged: Mapping[str, Any], joined: JoinedLabels
) -> Text:
    """The verdict as a sentence; what could not be controlled is part of it."""
    controls = judged["controls"]
    if code == "too_few":
        return Text(
            f"Too few persons ({joined.n_persons}) for a verdict: no claim in either direction.",
            f"사람이 {joined.n_persons}명뿐이라 판정하지 않습니다. 어느 쪽으로도 주장할 수 "
            "없습니다.",
        )
    absent = [n for n, c in controls.items()
              if c["state"] == "absent" and n in ("interviewer", "leave_site_out")]  # fmt: skip
    open_ = joined_texts(", ", [_NAMES[n] for n in absent])
    tail = Text(
        f" Not controlled here: {open_.en}." if absent else "",
        f" 이 자료로는 통제하지 못한 것: {open_.ko}." if absent else "",
    )
    if code == "more_than_controls":
        return Text(
            f"The participants' measures say more about '{columns.outcome}' than every control "
            f"that could be run.{tail.en} This is about groups and never about a person.",
            f"대상자의 측정값은 시행한 모든 대조보다 '{columns.outcome}'에 대해 더 많은 것을 "
            f"담고 있습니다.{tail.ko} 집단에 관한 결과이며 개인에 관한 것이 아닙니다.",
        )
    failed = [n for n, c in controls.items() if c["state"] == "run" and not c["beaten"]]
    names = joined_texts(", ", [_NAMES[n] for n in failed])
    return Text(
        f"Not more than the controls: not clearly above {names.en}. An effect is not excluded, but "
        f"these data do not show one.{tail.en}",
        f"대조보다 낫다고 할 수 없습니다. 다음보다 분명히 낫지 않습니다: {names.ko}. 효과가 "
        f"없다는 뜻은 아니며, 이 자료로는 보이지 않습니다.{tail.ko}",
    )
