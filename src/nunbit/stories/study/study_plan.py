"""Settings of a study, and ``plan.toml``: what was decided before labels were read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import tomli_w

from nunbit.core.messages import InputError, Text
from nunbit.runtime.config import Seed, settings_to_dict
from nunbit.runtime.files import write_text
from nunbit.statistics.nested import PENALTIES, Codes
from nunbit.statistics.outcome_scores import RESAMPLES
from nunbit.stories.study.study_labels import Columns

PLAN = "plan.toml"
FORMAT = "nunbit-study-plan-1"

FEWEST = 50
"""Persons below which no outcome is predicted: at 47 an accuracy of .75 is known to ±.12."""

AUROC_FROM = 100
"""Persons from which an AUROC is given; below, its interval spans most of what is possible."""

FEWEST_LABELLED = 10
"""Persons with labelled stretches below which there is no verdict: intervals over persons and
person-grouped folds rest on nobody."""

SITE_PERSONS = 10
"""Persons a site needs to be left out in turn."""

Headline = Literal["concat", "mean", "hybrid"]


@dataclass(frozen=True, slots=True)
class StudySettings:
    """Settings of ``nunbit study``.

    Attributes:
        kind: ``outcome`` = a number a person or session, ``emotion`` = a class a stretch of time;
            ``auto`` reads it from the header of the labels.
        outcome: Column of the outcome or class; None = found by its usual name.
        covariates: Columns of the labels that the control of covariates uses; none = those called
            age, sex, gender or education.
        headline: Model that the verdict is about: ``concat`` = one ridge on all modalities,
            ``mean`` = equal mean of one ridge a modality, ``hybrid`` = both levels, after [6].
        cutoff: Outcome from which a person counts as positive for the AUROC; none = no AUROC,
            unless the outcome has two values.
        folds: Outer folds, whole persons.
        inner_folds: Folds inside each training part, for the penalty.
        repeats: How often persons are dealt to the folds anew (outcomes).
        permutations: Permutations of the labels between persons.
        functionals: Whether ``.sd``, ``.median`` and the like of measures are features, too.
        transformer: Whether the cross-modal transformer takes part (emotion; needs torch).
        plan_only: Write ``plan.toml`` and its hash, and stop before the labels are read.
        seed: Of folds, draws and permutations.
    """

    kind: Literal["auto", "outcome", "emotion"] = "auto"
    outcome: str | None = None
    covariates: tuple[str, ...] = ()
    headline: Headline = "concat"
    cutoff: Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)] | None = None
    folds: Annotated[int, msgspec.Meta(ge=2, le=50)] = 10
    inner_folds: Annotated[int, msgspec.Meta(ge=2, le=20)] = 5
    repeats: Annotated[int, msgspec.Meta(ge=1, le=50)] = 5
    permutations: Annotated[int, msgspec.Meta(ge=99, le=100_000)] = 1000
    functionals: bool = False
    transformer: bool = True
    plan_only: bool = False
    seed: Seed = 0


_RULES = {
    "outcome": "more_than_controls only if the 95% interval (persons drawn with replacement, all "
    "models with the same draws) of CCC(headline) - CCC(control) is above 0 for every control "
    "(mean, interviewer, covariates), the interval of the CCC with whole sites left out is above "
    "0 where sites are given, and p of the permutations is below .05",
    "emotion": "more_than_controls only if the 95% interval over persons of UAR(headline) - "
    "UAR(control) is above 0 for every control (prior, interviewer, covariates), also with whole "
    "sites left out where sites are given, and p of the permutations is below .05",
}


def why_no_sites(site: Codes | None, person: Codes) -> dict[str, Any] | None:
    """The section of ``result.json`` where sites cannot be left out; None where they can.

    Args:
        site: (N,) codes, or None.
        person: (N,) codes.
    """
    if site is None:
        return {"state": "absent", "reason": "no_site"}
    sizes = [len(np.unique(person[site == each])) for each in np.unique(site)]
    few = len(sizes) < 2 or min(sizes) < SITE_PERSONS
    return {"state": "absent", "reason": "few_persons_of_a_site", "persons": sizes} if few else None


def plan_document(
    settings: StudySettings,
    columns: Columns,
    features: Mapping[str, Sequence[str]],
    digest: str,
    labels: Path,
) -> dict[str, Any]:
    """The plan as plain data: the same plan gives the same bytes."""
    emotion = columns.kind == "emotion"
    question = (
        f"Do the measures of face, voice and words of participants say anything about "
        f"'{columns.outcome}' beyond the controls?"
    )
    return {
        "format": FORMAT,
        "question": question,
        "kind": columns.kind,
        "outcome": columns.outcome,
        "unit": "persons; all sessions or stretches of a person are in one fold",
        "headline": settings.headline,
        "metric": "UAR" if emotion else "CCC of predictions for persons left out, mean of repeats",
        "models": list(_EMOTION_MODELS if emotion else _OUTCOME_MODELS),
        "controls": ["prior" if emotion else "mean", "interviewer", "covariates", "leave_site_out",
                     "permutations"],
        "rule": _RULES[columns.kind],
        "exclusions": "rows without a label, labels without a timeline, timelines without a label; "
        "no other",
        "correction": "Benjamini-Hochberg over measures; largest score of all models in each "
        "permutation over models",
        "fewest_persons": FEWEST_LABELLED if emotion else FEWEST,
        "auroc_from_persons": AUROC_FROM,
        "fewest_persons_of_a_site": SITE_PERSONS,
        "resamples": RESAMPLES,
        "penalties": list(PENALTIES),
        "settings": {k: v for k, v in settings_to_dict(settings).items() if k != "plan_only"},
        "columns": {
            "covariates": list(columns.covariates),
            "site": columns.site or "",
            "interviewer": columns.interviewer or "",
            "unused": list(columns.unused),
        },
        "features": {m: list(names) for m, names in features.items()},
        "inputs": {"timelines_sha256": digest, "labels": labels.name},
    }  # fmt: skip


_OUTCOME_MODELS = ("each modality", "mean", "concat", "hybrid")
_EMOTION_MODELS = ("each modality", "mean", "pool", "concat", "hybrid", "shared_space", "index",
                   "transformer")  # fmt: skip


def write_plan(out: Path, plan: Mapping[str, Any]) -> str:
    """Write ``plan.toml`` and return its sha256; the same plan may be there already.

    Raises:
        InputError: Another plan is there: its study may have read labels.
    """
    text = (
        "# Written and hashed by nunbit before any label was read. Change nothing here: a study\n"
        "# with another plan belongs in another folder.\n" + tomli_w.dumps(dict(plan))
    )
    path = out / PLAN
    if path.is_file():
        try:
            before = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            before = ""
        if before != text:
            raise InputError(
                Text(
                    f"{path}: the plan of another study (other settings, columns or timelines); "
                    "labels may have been read since. Choose another `out`",
                    f"{path}: 다른 연구의 계획입니다(설정, 열, 타임라인이 다름). 그 뒤에 레이블을 "
                    "읽었을 수 있으니 다른 `out`을 고르십시오",
                )
            )
    else:
        write_text(path, text)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
