"""What each measure is, and which classes of a label set play which part in its formula.

The texts are data (``definitions.toml``) that the command line, the report and the documentation
share. A name found in a table may carry a suffix: a part of the session (``_speaking``), a
functional (``.sd``) or a comparison with the baseline (``.z``); :func:`definition_of` knows them.

The formulas use 기쁨, 중립, the negative classes and the paper's group 슬픔, 불안, 상처. A label
set without some of these has a published stand-in (``fer7``: 슬픔 and 공포), which every result
names. Classes that a model knows by their prompt only are not used. K labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Literal

import msgspec
import numpy as np

from nunbit.core.messages import LANGS, Lang, Text, joined
from nunbit.core.streams import Floats, Grade, Modality, Scope, Singles
from nunbit.language.labels import (
    DEPRESSION_RELATED,
    Label,
    LabelSet,
    label_set_names,
    load_label_set,
)
from nunbit.language.prompts import with_particle
from nunbit.runtime.resources import packaged_table
from nunbit.statistics.scores import ratio

Role = Literal["joy", "neutral", "negative", "depgroup"]


@dataclass(frozen=True, slots=True)
class RolePart:
    """The classes that play one part.

    Attributes:
        ids: Label ids, in the order of the labels; empty where the label set has none.
        reason: '' where the part can be played, else ``no_label`` or ``unvalidated``.
    """

    ids: tuple[str, ...]
    reason: str


@dataclass(frozen=True, eq=False)
class Roles:
    """The parts of all classes of one model.

    Attributes:
        labels: K label ids.
        validated: (K,) whether a class takes part.
        parts: By role.
        stand_in_for: Ids of the paper's group where other classes stand in for it, else empty.
        names: By label id.
    """

    labels: tuple[str, ...]
    validated: tuple[bool, ...]
    parts: dict[Role, RolePart]
    stand_in_for: tuple[str, ...]
    names: dict[str, Text]

    def weights(self, role: Role) -> Floats:
        """(K,) 1 for the classes of a role, 0 for the others."""
        return np.array([float(label in self.parts[role].ids) for label in self.labels])

    def valence_weights(self) -> Floats:
        """(K,) of v = p_joy - sum of p_negative; a startled face is neither."""
        return self.weights("joy") - self.weights("negative")

    def reason(self, *roles: Role) -> str:
        """Why a measure that needs these roles cannot be computed, '' where it can."""
        found = [self.parts[role].reason for role in roles]
        return next((r for r in ("no_label", "unvalidated") if r in found), "")

    def usable(self, probabilities: Singles | Floats) -> Floats:
        """(N, K) over the validated classes only, rows sum to one; 0 for the others.

        A softmax over fewer classes is the old one divided by the remaining sum, so the rows are
        what a model without the unvalidated classes would give.
        """
        kept = np.asarray(probabilities, np.float64) * np.array(self.validated, np.float64)
        return ratio(kept, kept.sum(axis=1, keepdims=True))

    def notices(self) -> Iterator[Text]:
        """What a reader must know about the classes."""
        if self.stand_in_for:
            have = self._list(self.parts["depgroup"].ids)
            want = self._list(self.stand_in_for)
            yield Text(
                f"this model lacks classes of the paper's group ({want.en}): {have.en} stand "
                "in for them in the sum of the group",
                f"이 모델에는 논문의 묶음({want.ko})에 속한 클래스 일부가 없어 묶음의 확률 "
                f"합은 {with_particle(have.ko, '로')} 대신했습니다",
            )
        out = [label for label, ok in zip(self.labels, self.validated, strict=True) if not ok]
        left_out = self._list(out)
        if out:
            yield Text(
                f"unvalidated classes, which the model knows by prompt only: {left_out.en}; "
                "left out of measures, summaries and fusion",
                f"검증되지 않은 클래스(모델이 프롬프트로만 아는 클래스): {left_out.ko}. "
                "측정값, 요약, 결합에서 제외했습니다",
            )

    def _list(self, ids: Sequence[str]) -> Text:
        names = [self.names.get(i, Text(i, i)) for i in ids]
        return joined(", ", [Text(f"{name.en} ({name.ko})", name.ko) for name in names])


def roles_of(
    labels: tuple[str, ...],
    unvalidated: frozenset[str] = frozenset(),
    label_set: LabelSet | None = None,
) -> Roles:
    """Find the parts of the classes.

    Args:
        labels: K label ids, empty without a model.
        unvalidated: Ids the model knows by their prompt only.
        label_set: Valence and groups; None takes the packaged set with the same ids, or what the
            packaged sets say of single ids.
    """
    base = label_set or _packaged(labels)
    known = {label.id: label for label in base.labels}
    valence = {i: known[i].valence for i in labels if i in known}
    group = base.groups.get(DEPRESSION_RELATED)
    members: dict[Role, tuple[str, ...]] = {
        "joy": tuple(i for i, value in valence.items() if value > 0),
        "neutral": tuple(i for i in labels if i == "neutral"),
        "negative": tuple(i for i, value in valence.items() if value < 0),
        "depgroup": tuple(i for i in labels if group and i in group.labels),
    }
    return Roles(
        labels=labels,
        validated=tuple(label not in unvalidated for label in labels),
        parts={role: _part(ids, unvalidated) for role, ids in members.items()},
        stand_in_for=group.stand_in_for if group and members["depgroup"] else (),
        names={i: label.name for i, label in (_everything() | known).items()},
    )


def _part(ids: tuple[str, ...], unvalidated: frozenset[str]) -> RolePart:
    if not ids:
        return RolePart((), "no_label")
    return RolePart(ids, "unvalidated" if set(ids) & unvalidated else "")


def _packaged(labels: tuple[str, ...]) -> LabelSet:
    sets = [load_label_set(name) for name in label_set_names()]
    for known in sets:
        if set(known.ids) == set(labels):
            return known
    table = _everything()
    chosen = tuple(table[i] for i in labels if i in table)
    # Some classes of a packaged set: its grouping holds only where all members are there.
    groups = [known.groups[DEPRESSION_RELATED] for known in sets
              if DEPRESSION_RELATED in known.groups]  # fmt: skip
    whole = [group for group in groups if set(group.labels) <= set(labels)]
    grouped = {DEPRESSION_RELATED: whole[0]} if whole else {}
    return replace(sets[0], name="", labels=chosen, groups=grouped, merges={})


def _everything() -> dict[str, Label]:
    """Every packaged label; the first set that has one decides."""
    sets = (load_label_set(name) for name in reversed(label_set_names()))
    return {label.id: label for known in sets for label in reversed(known.labels)}


SCOPES: tuple[Scope, ...] = ("window", "turn", "question", "session")
SUFFIXES = ("_speaking", "_not_speaking")


@dataclass(frozen=True, slots=True)
class Definition:
    """One measure.

    Attributes:
        id: Name in every file.
        number: Of the measure in the list of twenty; None for what is not on it.
        name: Short name.
        formula: Plain text.
        unit: Of the value.
        valid_if: Condition for a valid value.
        meaning: Meaning in plain words.
        source: Where formula or evidence come from.
        grade: Strength of evidence as a depression-related signal; None for context.
        modality: Where the value comes from.
        needs: Parts of the classes it needs.
        split: Whether it is also given for speaking and not speaking.
        functionals: Whether its window values are summed up over the session.
        causal: Whether the value of a window is final at the window's end; else it needs what
            comes later: the whole recording's tremor, pitch range, turns or baseline.
        experimental: Left out of summaries unless requested.
        noise_floor: Values below it cannot be told from 0, in the unit; None where unknown or
            where the measure itself leaves such values out.
        version: Goes up when the formula changes.
        scopes: What it is computed for; every one has rows, valid or not.
        classes: Label ids that play the needed parts, where a label set was given.
        stand_in_for: Label ids they stand in for, where the label set lacks these.
    """

    id: str
    number: int | None
    name: Text
    formula: str
    unit: str
    valid_if: Text
    meaning: Text
    source: str
    grade: Grade | None
    modality: Modality
    needs: tuple[Role, ...] = ()
    split: bool = False
    functionals: bool = False
    causal: bool = False
    experimental: bool = False
    noise_floor: float | None = None
    version: str = "1"
    scopes: tuple[Scope, ...] = SCOPES
    classes: tuple[str, ...] = ()
    stand_in_for: tuple[str, ...] = ()


def definitions(label_set: LabelSet | None = None) -> tuple[Definition, ...]:
    """All measures, in the order of tables.

    Args:
        label_set: Fills in which classes play the needed parts, and what they stand in for.
    """
    if label_set is None:
        return _read()
    roles = roles_of(label_set.ids, label_set=label_set)
    names = {}
    if group := label_set.groups.get(DEPRESSION_RELATED):
        members = [label_set.labels[label_set.index(label)].name for label in group.labels]
        names["depgroup_share"] = sum_name(members)
    return tuple(
        replace(
            d,
            name=names.get(d.id, d.name),
            classes=tuple(
                label
                for label in label_set.ids
                if any(label in roles.parts[role].ids for role in d.needs)
            ),
            stand_in_for=roles.stand_in_for if "depgroup" in d.needs else (),
        )
        for d in _read()
    )


def sum_name(members: Sequence[Text]) -> Text:
    """Name of the sum of the paper's group, by the classes that the model has of it."""
    return Text(f"sum of {joined(', ', members).en}", f"{joined('·', members).ko} 확률의 합")


def definition_of(measure: str) -> Definition | None:
    """The definition behind a name in a table; None for class probabilities and unknown names."""
    base, table = measure.split(".")[0], _by_id()
    suffixes = ("", *reversed(SUFFIXES))  # the longer one first
    names = (base.removesuffix(suffix) for suffix in suffixes if base.endswith(suffix))
    return next((table[name] for name in names if name in table), None)


@cache
def _read() -> tuple[Definition, ...]:
    rows = [
        {
            "number": None,
            **row,
            # TOML has no null: '' is the grade of what is no depression-related signal.
            "grade": row.get("grade") or None,
            **{key: {lang: row[f"{key}_{lang}"] for lang in LANGS} for key in _TEXTS},
        }
        for row in packaged_table("measures/definitions.toml")["measures"]
    ]
    return msgspec.convert(rows, tuple[Definition, ...])


_TEXTS = ("name", "valid_if", "meaning")
"""Fields that the file has in two languages, as ``name_en`` and ``name_ko``."""


def definitions_document(found: Sequence[Definition]) -> list[dict[str, object]]:
    """Plain data for ``--json``, with the keys of the file."""
    return [
        {
            f"{key}_{part}" if key in _TEXTS else key: each
            for key, value in asdict(definition).items()
            for part, each in (value.items() if key in _TEXTS else [("", value)])
        }
        for definition in found
    ]


@cache
def _by_id() -> dict[str, Definition]:
    return {definition.id: definition for definition in _read()}


def definitions_text(found: Sequence[Definition], lang: Lang) -> str:
    """Every measure with formula, unit, validity, grade and source; a blank line between."""
    return "\n\n".join(_entry(definition, lang) for definition in found)


def _entry(d: Definition, lang: Lang) -> str:
    number = "" if d.number is None else f"#{d.number} "
    grade = [] if d.grade is None else [Text(f"grade {d.grade}", f"등급 {d.grade}")]
    marks = joined(", ", [*grade, *[Text("experimental", "실험적")] * d.experimental]).pick(lang)
    about = "; ".join(part for part in (d.modality, d.unit, marks) if part)
    played, missing = ", ".join(d.classes), ", ".join(d.stand_in_for)
    floor = Text(
        f"  noise floor: {d.noise_floor} (less cannot be told from 0)",
        f"  잡음 한계: {d.noise_floor} (이보다 작은 값은 0과 구별되지 않음)",
    )
    stand_in = Text(f"{played} stand in for {missing}", f"{missing} 대신 {played}")
    lines = [
        Text(f"{number}{d.id}: {d.name.en} [{about}]", f"{number}{d.id}: {d.name.ko} [{about}]"),
        Text(f"  {d.meaning.en}", f"  {d.meaning.ko}"),
        Text(f"  formula: {d.formula}", f"  식: {d.formula}"),
        Text(f"  valid if: {d.valid_if.en}", f"  유효 조건: {d.valid_if.ko}"),
        *([Text(f"  {stand_in.en}", f"  {stand_in.ko}")] if d.stand_in_for else ()),
        *([floor] if d.noise_floor is not None else ()),
        Text(f"  source: {d.source}", f"  출처: {d.source}"),
    ]
    return joined("\n", lines).pick(lang)
