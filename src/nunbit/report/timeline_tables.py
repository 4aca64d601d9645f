"""Tables of the timeline page: session measures, class shares, episodes, gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nunbit.core.timebase import clock
from nunbit.measures import FUNCTIONALS, SUFFIXES
from nunbit.report import shapes
from nunbit.report.shapes import Document
from nunbit.report.timeline_meaning import parts_of, stacking_order
from nunbit.report.timeline_view import EXPERIMENTAL, SOURCES, TimelineView, is_share

_COLLAPSED = 3
"""Measures missing for the same reason share one line when there are at least this many."""

_NO_MEASURES = ("modalities_used",)  # it shows what was fused, as the ribbons do


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """One line of the table of measures, as text.

    Attributes:
        id: Name in the files.
        name: Name for people.
        meaning: One sentence, or ''.
        value: With its unit; '' where missing.
        interval: 95% interval; '' where there is none.
        uncertain: Why there is none although there is a value, '' if unknown.
        reason: Why it is missing, or ''.
        splits: The same while speaking and while not speaking, where known.
        baseline: The person's own value, or ''.
        z: Distance from it, or ''.
        grade: A to C, or ''.
        valid: How many of the expected samples were used.
    """

    id: str
    name: str
    meaning: str
    value: str
    interval: str
    uncertain: str
    reason: str
    splits: tuple[str, ...]
    baseline: str
    z: str
    grade: str
    valid: str


@dataclass(frozen=True, slots=True)
class MeasureGroup:
    """The measures of one source.

    Attributes:
        title: Name of the source.
        rows: Its measures, except those in ``missing``.
        missing: Reason and names where several measures are missing for the same reason.
        without: Sentences naming the measures that have a value and no interval, one a reason.
    """

    title: str
    rows: tuple[MeasureRow, ...]
    missing: tuple[tuple[str, str], ...] = ()
    without: tuple[str, ...] = ()


def measure_tables(view: TimelineView) -> tuple[list[MeasureGroup], list[MeasureGroup]]:
    """Session measures of the person analysed: the ordinary ones, then the experimental ones.

    Class probabilities and spreads over the windows have tables of their own.
    """
    found: dict[bool, dict[str, list[MeasureRow]]] = {False: {}, True: {}}
    entries = _own_entries(view)
    for (measure, modality), entry in entries.items():
        _, part, functional = parts_of(measure)
        if measure.startswith("p_") or part or functional or measure in _NO_MEASURES:
            continue
        unproven = measure == "valence" and modality in EXPERIMENTAL
        groups = found[bool(entry.get("experimental")) or unproven]
        groups.setdefault(modality, []).append(_measure_row(view, entry, entries))
    plain, experimental = (
        [_group(view, m, groups[m]) for m in (*SOURCES, "media") if m in groups]
        for groups in found.values()
    )
    return plain, experimental


def _group(view: TimelineView, modality: str, rows: list[MeasureRow]) -> MeasureGroup:
    reasons = [row.reason for row in rows if row.reason]
    common = [reason for reason in dict.fromkeys(reasons) if reasons.count(reason) >= _COLLAPSED]
    return MeasureGroup(
        view.t.get(f"modality.{modality}"),
        tuple(row for row in rows if row.reason not in common),
        tuple((why, ", ".join(r.name for r in rows if r.reason == why)) for why in common),
        tuple(_without(view, rows)),
    )


def _without(view: TimelineView, rows: list[MeasureRow]) -> list[str]:
    bare = [row for row in rows if row.value and not row.interval]
    return [
        view.t(
            "measures.no_interval_why" if why else "measures.no_interval",
            reason=why,
            names=", ".join(row.name for row in bare if row.uncertain == why),
        )
        for why in dict.fromkeys(row.uncertain for row in bare)
    ]


def _own_entries(view: TimelineView) -> dict[tuple[str, str], Document]:
    """Session rows of the person analysed by measure and modality."""
    return {(e["measure"], e["modality"]): e for e in view.d["measures"] if not e.get("track")}


def _measure_row(
    view: TimelineView, entry: Document, entries: dict[tuple[str, str], Document]
) -> MeasureRow:
    t, unit, measure = view.t, entry.get("unit") or "", entry["measure"]

    def beside(ending: str) -> Any:
        return entries.get((measure + ending, entry["modality"]), {}).get("value")

    value, baseline, z = (entry.get(key) for key in ("value", "baseline", "z"))
    z = beside(".z") if z is None else z
    known = view.meaning(measure)
    meaning = known.meaning.pick(view.lang) if known else ""
    if measure == "valence":
        meaning = t("measures.valence_meaning")
    splits = tuple(
        " ".join((t("measures." + suffix.removeprefix("_")), quantity(view, part, unit)))
        for suffix in SUFFIXES
        if (part := beside(suffix)) is not None
    )
    return MeasureRow(
        id=measure,
        name=view.measure_name(measure),
        meaning=meaning,
        value="" if value is None else quantity(view, value, unit),
        interval="" if value is None or not entry.get("ci") else span(view, entry["ci"], unit),
        uncertain=view.reason(entry.get("ci_reason") or "") if value is not None else "",
        reason=view.reason(entry.get("mask_reason") or "unknown") if value is None else "",
        splits=splits,
        baseline="" if baseline is None else quantity(view, baseline, unit),
        z="" if z is None else t("measures.z", z=f"{z:+.1f}".replace("-", "−")),
        grade=entry.get("grade") or "",
        valid=t("measures.n_of", n=f"{entry['n_valid']:,}", expected=f"{entry['n_expected']:,}"),
    )


def spread_rows(view: TimelineView) -> list[tuple[str, list[str]]]:
    """Spread of the window values of measures over the session, by ``FUNCTIONALS``."""
    entries = _own_entries(view)
    found: dict[tuple[str, str], list[str]] = {}
    for (measure, modality), entry in entries.items():
        base, _, functional = parts_of(measure)
        if functional not in FUNCTIONALS or entry.get("experimental"):
            continue
        cells = found.setdefault((base, modality), [shapes.MISSING] * len(FUNCTIONALS))
        if entry.get("value") is not None:
            # The column says that a slope is per minute.
            unit = (entry.get("unit") or "").removesuffix("/min" if functional == "slope" else "")
            cells[FUNCTIONALS.index(functional)] = quantity(view, entry["value"], unit)
    return [(view.measure_name(base), cells) for (base, _), cells in found.items()]


def quantity(view: TimelineView, value: float, unit: str) -> str:
    """A value with its unit: 46.0%, 171.6 Hz, −0.31."""
    if is_share(unit):
        return shapes.percent(value)
    if unit == "%":
        return f"{value:.1f}%"
    name, number = view.unit(unit), _number(value)
    # 4.12음절/초 and 6.2°/s, but 0.07 눈 사이 거리/초.
    attached = name.startswith("°") or (name[:1] >= "가" and " " not in name)
    return f"{number}{'' if attached else ' '}{name}".strip()


def span(view: TimelineView, ends: Any, unit: str) -> str:
    """An interval without its unit: 42.0–50.0%."""
    low, high = ends
    if is_share(unit):
        return shapes.percent_interval((low, high))
    like = max(abs(low), abs(high))
    if low < 0 or high < 0:
        return f"[{_number(low, like)}, {_number(high, like)}]"
    return f"{_number(low, like)}–{_number(high, like)}" + ("%" if unit == "%" else "")


def _number(value: float, like: float | None = None) -> str:
    """Three digits of ``like`` (or of the value), never in powers of ten; a real minus."""
    size = abs(value if like is None else like)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3
    return shapes.signed(f"{value:,.{digits}f}")


@dataclass(frozen=True, slots=True)
class Share:
    """Mean probability of one class from one source."""

    label: str
    name: str
    value: float
    text: str


def class_shares(view: TimelineView) -> list[tuple[str, list[Share]]]:
    """Mean class probabilities per source, in the order of the ribbons."""
    found = []
    for modality in SOURCES:
        columns = view.probabilities(modality)
        if not columns:
            continue
        stored = {
            e["measure"].removeprefix("p_"): e.get("value")
            for e in view.d["measures"]
            if e["measure"].startswith("p_") and e["modality"] == modality and not e.get("track")
        }
        known = {c: v for c, v in stored.items() if v is not None and c not in view.r.unvalidated}
        values = known or {
            c: float(s.value[s.there].mean()) for c, s in columns.items() if s.there.any()
        }
        order = stacking_order(view.r.label_set, tuple(values))
        shares = [Share(c, view.name(c), values[c], _share(modality, values[c])) for c in order]
        if shares:
            found.append((view.source(modality), shares))
    return found


def _share(modality: str, value: float) -> str:
    """A share of one: per cent for a probability, a plain number for the index."""
    return shapes.decimal(value, 2) if modality == "fused" else shapes.percent(value, 0)


def glance(view: TimelineView) -> list[tuple[str, str, str]]:
    """How much was readable: name, number, note."""
    t, d = view.t, view.d
    values = {(e["measure"], e["modality"]): e.get("value") for e in d["measures"]}
    note = t("glance.length_note", n=f"{d['windows']['n']:,}")
    figures = [(t("glance.length"), view.length_text, note)]
    for key, measure in (
        ("face", ("face_coverage", "face")),
        ("speech", ("speech_share", "voice")),
    ):
        if (share := values.get(measure)) is not None:
            figures.append((t(f"glance.{key}"), shapes.percent(share, 0), t(f"glance.{key}_note")))
    if words := d.get("transcript"):
        confidence = words.get("mean_confidence")
        key = "words_plain" if confidence is None else "words_note"
        note = t(f"glance.{key}", source=words["source"], value=shapes.percent(confidence, 0))
        figures.append((t("glance.words"), f"{words['words']:,}", note))
    return figures


def episode_rows(view: TimelineView) -> list[Document]:
    """Episodes by start, as text."""
    return [_span_row(view, entry) for entry in _sorted(view.d.get("episodes"))]


MOST_MOMENTS = 5
_KINDS = ("incongruence", "depgroup", "low_agreement", "joy")
"""Kinds of moments, those first that a viewer would miss without being told."""


def first_moments(view: TimelineView) -> list[Document]:
    """At most five moments to watch first, each with why.

    The kinds take turns, so that many disagreements do not hide all else; within a kind the
    strongest comes first. A fixed rule, not a judgement of what matters.
    """
    queues = []
    for kind in _KINDS:
        own = [e for e in view.d.get("episodes") or () if e["kind"] == kind]
        sign = 1.0 if kind == "low_agreement" else -1.0
        own.sort(key=lambda e: (sign * (e.get("peak") or 0.0), e["start"]))
        queues.append([(n, len(own), e) for n, e in enumerate(own, start=1)])
    longest = max(map(len, queues), default=0)
    turns = [queue[n] for n in range(longest) for queue in queues if n < len(queue)]
    return [_moment(view, *turn) for turn in turns[:MOST_MOMENTS]]


def _moment(view: TimelineView, place: int, count: int, entry: Document) -> Document:
    row = _span_row(view, entry)
    key = "only" if count == 1 else "strongest" if place == 1 else "place"
    why = view.t(
        f"moments.{key}", kind=row["kind"], peak=row["peak"], n=count, place=place,
        length=row["length"],
    )  # fmt: skip
    return row | {"why": f"{why} {row['note']}".strip()}


def interval_note(view: TimelineView) -> str:
    """Explanation of intervals and z; for timelines of version 0.1, of its rules."""
    old = view.d.get("episodes_expected") is None
    return view.t("measures.interval_note_1" if old else "measures.interval_note")


def expected_lines(view: TimelineView) -> list[str]:
    """Episodes found, and expected without change, by kind; for old timelines, their rule."""
    expected = view.d.get("episodes_expected")
    if expected is None:
        return [view.t("states.old_rule")]
    kinds = [entry["kind"] for entry in view.d.get("episodes") or ()]
    return [
        view.t(
            "states.expected",
            kind=view.kind(kind),
            n=f"{kinds.count(kind):,}",
            expected=f"{most:g}",
        )
        for kind, most in expected.items()
    ]


def state_groups(view: TimelineView) -> list[Document]:
    """Gaps and states by kind, each with its sum and its rows."""
    entries = _sorted(view.d.get("states"))
    groups = []
    for kind in dict.fromkeys(e["kind"] for e in entries):
        rows = [e for e in entries if e["kind"] == kind]
        total = sum(e["end"] - e["start"] for e in rows)
        title = view.t(
            "states.total",
            kind=view.kind(kind),
            n=f"{len(rows):,}",
            total=_number(total) if total < 100 else f"{total:,.0f}",
            share=shapes.percent(min(1.0, total / max(view.r.duration_s, 1e-9))),
        )
        groups.append({"title": title, "rows": [_span_row(view, e) for e in rows]})
    return groups


def _sorted(entries: list[Document] | None) -> list[Document]:
    return sorted(entries or [], key=lambda e: (e["start"], e["end"]))


def _span_row(view: TimelineView, entry: Document) -> Document:
    peak = entry.get("peak")
    return {
        "at": round(entry["start"], 3),
        "time": f"{clock(entry['start'], tenths=True)}–{clock(entry['end'], tenths=True)}",
        "kind": view.kind(entry["kind"]),
        "length": view.t("states.seconds", n=f"{entry['end'] - entry['start']:.1f}"),
        "peak": "" if peak is None else shapes.decimal(peak, 2),
        "note": view.note(entry.get("note") or ""),
    }
