"""Which classes of a label set play which part in a formula, and what stands in for the absent.

The formulas speak of 기쁨, 중립, the negative classes and the paper's grouping 슬픔, 불안, 상처. A
label set without some of these has a published stand-in (``fer7``: 슬픔 and 공포), which every
result names. Classes a model knows by their prompt only take no part. K labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from nunbit.labels import (
    DEPRESSION_RELATED,
    Group,
    Label,
    LabelSet,
    label_set_names,
    load_label_set,
)
from nunbit.particles import with_particle
from nunbit.streams import Floats, Singles

Role = Literal["joy", "neutral", "negative", "depgroup"]


@dataclass(frozen=True, slots=True)
class Part:
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
        stand_in_for: Ids of the paper's grouping where other classes stand in for it, else empty.
        names: Label id -> (English, Korean) name.
    """

    labels: tuple[str, ...]
    validated: tuple[bool, ...]
    parts: dict[Role, Part]
    stand_in_for: tuple[str, ...]
    names: dict[str, tuple[str, str]]

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

        A softmax without some of its classes is the old one divided by what is left: the rows are
        what the model would have said had it never heard of the unvalidated classes.
        """
        kept = np.asarray(probabilities, np.float64) * np.array(self.validated, np.float64)
        total = kept.sum(axis=1, keepdims=True)
        shared = np.full(kept.shape, np.nan)
        np.divide(kept, total, out=shared, where=total > 0)
        return shared

    def notices(self) -> tuple[tuple[str, str], ...]:
        """What a reader must know about the classes, as (en, ko) pairs."""
        notes = []
        if self.stand_in_for:
            have_en, have_ko = self._list(self.parts["depgroup"].ids)
            want_en, want_ko = self._list(self.stand_in_for)
            notes.append(
                (
                    f"this model lacks classes of the paper's grouping ({want_en}): {have_en} "
                    "stand in for it, and the sum of the group is theirs",
                    f"이 모델에는 논문의 묶음({want_ko})에 속한 클래스가 모두 있지 않아 "
                    f"묶음의 확률 합은 {with_particle(have_ko, '로')} 대신했습니다",
                )
            )
        out = [label for label, ok in zip(self.labels, self.validated, strict=True) if not ok]
        if out:
            out_en, out_ko = self._list(out)
            notes.append(
                (
                    f"unvalidated, known to the model by prompt only: {out_en}; left out of "
                    "measures, summaries and fusion",
                    f"모델이 프롬프트로만 아는 검증되지 않은 클래스: {out_ko}. 측정값, 요약, "
                    "결합에서 제외했습니다",
                )
            )
        return tuple(notes)

    def _list(self, ids: Sequence[str]) -> tuple[str, str]:
        pairs = [self.names.get(i, (i, i)) for i in ids]
        return ", ".join(f"{en} ({ko})" for en, ko in pairs), ", ".join(ko for _, ko in pairs)


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
    names = {i: (label.en, label.ko) for i, label in _everything().items()}
    names |= {i: (label.en, label.ko) for i, label in known.items()}
    group = base.groups.get(DEPRESSION_RELATED)
    members: dict[Role, tuple[str, ...]] = {
        "joy": tuple(i for i in labels if i in known and known[i].valence > 0),
        "neutral": tuple(i for i in labels if i == "neutral"),
        "negative": tuple(i for i in labels if i in known and known[i].valence < 0),
        "depgroup": tuple(i for i in labels if group and i in group.labels),
    }
    return Roles(
        labels=labels,
        validated=tuple(label not in unvalidated for label in labels),
        parts={role: _part(ids, unvalidated) for role, ids in members.items()},
        stand_in_for=group.stand_in_for if group and members["depgroup"] else (),
        names=names,
    )


def _part(ids: tuple[str, ...], unvalidated: frozenset[str]) -> Part:
    if not ids:
        return Part((), "no_label")
    return Part(ids, "unvalidated" if set(ids) & unvalidated else "")


def _packaged(labels: tuple[str, ...]) -> LabelSet:
    sets = [load_label_set(name) for name in label_set_names()]
    for known in sets:
        if set(known.ids) == set(labels):
            return known
    table = _everything()
    chosen = tuple(table[i] for i in labels if i in table)
    # Some classes of a packaged set: its grouping holds only where all members are there.
    groups: dict[str, Group] = {}
    for known in sets:
        group = known.groups.get(DEPRESSION_RELATED)
        if group and not groups and set(group.labels) <= set(labels):
            groups = {DEPRESSION_RELATED: group}
    return replace(sets[0], name="", labels=chosen, groups=groups, merges={})


def _everything() -> dict[str, Label]:
    table: dict[str, Label] = {}
    for name in label_set_names():
        for label in load_label_set(name).labels:
            table.setdefault(label.id, label)
    return table
