"""Results of ``nunbit adapt``: scores before and after, JSON document, text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from nunbit import statistics
from nunbit.core.messages import Lang, Text
from nunbit.model.posterior import Adaptation
from nunbit.runtime.resources import Provenance
from nunbit.runtime.results import Result
from nunbit.stories.adapt.choice import Labelled

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "nunbit-adapt-1"
SCORES = ("top1", "uar")

_RESAMPLES = 2000

METHODS: Mapping[str, Text] = {
    "none": Text("nothing", "없음"),
    "temperature": Text("temperature", "온도"),
    "bias": Text("bias of the classes", "클래스 편향"),
    "bias_temperature_little": Text("a little bias and temperature", "약한 편향과 온도"),
    "bias_temperature": Text("bias and temperature", "편향과 온도"),
    "remap_little": Text("a little re-mapping", "약한 재배치"),
    "remap": Text("re-mapping", "재배치"),
    "bias_temperature_own_neutral": Text(
        "bias and temperature, relative to the own neutral", "자기 중립 기준 편향과 온도"
    ),
    "remap_own_neutral": Text("re-mapping, relative to the own neutral", "자기 중립 기준 재배치"),
    "prior": Text("class shares, estimated without labels", "레이블 없이 추정한 클래스 비율"),
    "removed": Text("adaptation removed", "맞춤 제거"),
}

Scores = dict[str, Any]


class Tried(TypedDict):
    """The best that was tried, also where it was refused."""

    method: str
    after: Scores | None


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class AdaptResult(Result):
    """What an adaptation is worth, and whether it was written.

    Attributes:
        written: Whether there is a new bundle.
        method: What it does; ``none`` where nothing helps.
        before: ``top1``, ``uar`` and ``ci95`` of each, of the bundle as it was, on the given faces;
            None without labels.
        after: The same of what is written, every face judged by a fit without its person.
        tried: ``method`` and ``after`` of the best that was tried, also where it was refused.
        gain: ``log_loss`` before minus after on persons left out, and its lower bound ``low``.
        losses: Form -> cross-validated log loss.
        n_images: Faces used.
        n_persons: Persons; None where unknown.
        counts: Label id -> faces.
        limits: What speaks against the figures.
        bundle_name: Of the old bundle.
        bundle_hash: Of the old bundle.
        labels: K label ids.
        adaptation: What is written into the bundle, None for nothing.
        shares: Estimated class shares, where no labels were used.
        reason: Why nothing was written; None where something was.
        folder: Of the new bundle.
        figure: The picture of before and after, None without one.
        provenance: How this came about.
    """

    written: bool
    method: str
    before: Scores | None
    after: Scores | None
    tried: Tried
    gain: dict[str, float]
    losses: dict[str, float]
    n_images: int
    n_persons: int | None
    counts: dict[str, int]
    limits: tuple[Text, ...]
    bundle_name: str
    bundle_hash: str
    labels: tuple[str, ...]
    adaptation: Adaptation | None = None
    shares: dict[str, float] | None = None
    reason: Text | None = None
    folder: Path | None = None
    figure: Path | None = None
    provenance: Provenance | None = None

    @property
    def evidence(self) -> Mapping[str, Any]:
        """What ``bundle.json`` keeps of it."""
        return {
            "before": self.before,
            "after": self.after,
            "gain": _finite(self.gain),
            "losses": _finite(self.losses),
            "n_images": self.n_images,
            "n_persons": self.n_persons,
            "faces_of_class": self.counts,
            "limits": [limit.to_dict() for limit in self.limits],
            "provenance": self.provenance,
        }

    @property
    def document(self) -> dict[str, Any]:
        """The result as plain data for ``--json``."""
        why = self.reason or (None if self.written else REFUSED)
        return {
            "format": FORMAT,
            "written": self.written,
            "method": self.method,
            **self.evidence,
            "tried": self.tried,
            "shares": self.shares,
            "reason": None if self.written or why is None else why.to_dict(),
            "bundle": {"name": self.bundle_name, "sha256": self.bundle_hash},
            "out": None if self.folder is None else str(self.folder),
            "figure": None if self.figure is None else str(self.figure),
        }

    def _plain_document(self) -> Any:
        return self.document

    def to_arrow(self) -> pa.Table:
        """A row a score: ``score``, ``before``, ``after``, each with ``low`` and ``high``."""
        import pyarrow as pa

        rows = []
        for name in SCORES if self.before and self.after else ():
            row: dict[str, Any] = {"score": name}
            for when, scores in (("before", self.before), ("after", self.after)):
                low, high = (scores or {})["ci95"][name] or (None, None)
                row |= {when: (scores or {})[name], f"{when}_low": low, f"{when}_high": high}
            rows.append(row)
        return pa.Table.from_pylist(rows)

    def __repr__(self) -> str:
        state = f"written to {self.folder}" if self.written else "not written"
        return f"<AdaptResult: {self.method}; {state}>"

    def text(self, lang: Lang) -> str:
        """Before and after, what was chosen, and what speaks against it."""
        lines = [] if self.before is None else self._table(lang)
        if self.shares is not None:
            lines += [f"{label}  {share:.1%}" for label, share in self.shares.items()]
        lines += [f"! {limit.line(lang)}" for limit in self.limits]
        name = METHODS.get(self.method, Text(self.method, self.method))
        if self.written:
            done = Text("written: {name}; {out}", "저장함: {name}. {out}")
            lines.append(done.fill(name=name, out=self.folder).pick(lang))
        else:
            lines.append((self.reason or REFUSED).pick(lang))
        if self.figure is not None:
            lines.append(str(self.figure))
        return "\n".join(lines)

    @property
    def captions(self) -> tuple[Text, ...]:
        """What the figures are of: faces, persons, what was tried, and how it was judged."""
        unit = Text("persons", "명") if self.n_persons is not None else Text("pictures", "장")
        n = self.n_persons if self.n_persons is not None else self.n_images
        method = METHODS.get(self.tried["method"], Text("", ""))
        head = Text(
            f"{self.n_images} faces of {n} {unit.en}; tried: {method.en}.\n"
            "Each face is judged by a fit without its person.",
            f"얼굴 {self.n_images}장, {n}{unit.ko}. 시도한 방법: {method.ko}.\n"
            "각 얼굴은 그 인물을 빼고 맞춘 값으로 평가합니다.",
        )
        state = Text("written", "저장함") if self.written else Text("not written", "저장하지 않음")
        return (Text(f"{self.bundle_name}: {state.en}", f"{self.bundle_name}: {state.ko}"), head)

    def _table(self, lang: Lang) -> list[str]:
        tried = self.tried["after"]
        names = {"top1": Text("top-1", "정확도"), "uar": Text("mean recall", "평균 재현율")}
        rows = [
            Text("{name}: before {before}, after {after}", "{name}: 전 {before}, 후 {after}")
            .fill(name=names[key], before=_shown(self.before, key), after=_shown(tried, key))
            .pick(lang)
            for key in SCORES
        ]
        gain, low = self.gain["log_loss"], self.gain["low"]
        more = Text(
            f"log loss lower by {gain:.3f} (one-sided 95% bound {low:.3f})",
            f"로그 손실 {gain:.3f} 감소(한쪽 95% 하한 {low:.3f})",
        )
        return [self.captions[-1].pick(lang), *rows, more.pick(lang)]


REFUSED = Text(
    "nothing is written: on persons left out no correction is surely better; keep the bundle as it "
    "is, or label more faces of more persons",
    "아무것도 저장하지 않았습니다. 떼어 둔 인물에게 확실히 나은 방법이 없습니다. 번들을 그대로 "
    "쓰거나 더 많은 인물의 얼굴에 레이블을 붙이십시오",
)


def scores_of(answers: NDArray[Any], faces: Labelled, seed: int) -> Scores:
    """``top1``, ``uar``, ``ci95`` of each by persons, and ``n``.

    Args:
        answers: (N, K), the largest of a row is the answer.
        faces: The truth and the persons.
        seed: Of the bootstrap; the same seed gives paired draws.
    """
    k = answers.shape[1]
    entry = statistics.confusion_cells(faces.truth, answers.argmax(axis=1), k)
    table = statistics.per_cluster(entry, faces.person)
    draws = None
    if len(table) >= statistics.FEW:
        sums = {"c": entry}
        draws = statistics.resample(sums, faces.person, n_resamples=_RESAMPLES, seed=seed)["c"]
    found: Scores = {"n": len(faces)}
    intervals: dict[str, list[float] | None] = {}
    for name, score in (("top1", statistics.top1), ("uar", statistics.uar)):

        def of(cells: Any, score: Any = score) -> Any:
            return score(cells.reshape(*cells.shape[:-1], k, k))

        value = float(of(entry.total()))
        found[name] = round(value, 6)
        # A mean over classes is as uncertain as its rarest class.
        sides = [table] if name == "top1" else statistics.class_sides(table, k)
        sizes = [side.sum(axis=1) for side in sides]
        n_persons = [int((size > 0).sum()) for size in sizes]
        resampled = of(draws) if draws is not None and min(n_persons) >= statistics.FEW else None
        if value in (0.0, 1.0):
            known = len(sides) > 1 or n_persons[0] > 1
            pair = statistics.all_alike_interval(value, *n_persons) if known else None
        elif resampled is not None and not statistics.lopsided(value, resampled):
            pair = statistics.interval(resampled)
        else:
            pair = statistics.jackknife_interval(of, [table], sizes)
        intervals[name] = None if pair is None else [round(edge, 6) for edge in pair]
    return {**found, "ci95": intervals}


def _shown(scores: Scores | None, key: str) -> str:
    if scores is None:
        return "-"
    pair = scores["ci95"][key]
    shown = "" if pair is None else f" [{100 * pair[0]:.1f}, {100 * pair[1]:.1f}]"
    return f"{100 * scores[key]:.1f}%{shown}"


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {key: round(float(v), 6) if np.isfinite(v) else None for key, v in values.items()}
