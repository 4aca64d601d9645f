"""What the page's script draws: every track of a recording as packed arrays.

A track is plain data: ``kind`` names its painter in ``timeline_draw.js``, arrays are packed by
``timeline_pack``. A track of which nothing is there is left out.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.labels import DEPRESSION_RELATED
from nunbit.report import timeline_signals as signals
from nunbit.report.timeline_colours import stacking_order
from nunbit.report.timeline_data import Series
from nunbit.report.timeline_definitions import parts_of
from nunbit.report.timeline_pack import Packed, pack, pack_codes, pack_fit, pack_times
from nunbit.report.timeline_pairs import by_first_definition, disagreements
from nunbit.report.timeline_view import MODALITIES, UNPROVEN, TimelineView, is_share

Document = dict[str, Any]

_PERSONS = 4
_LINE_COLOURS = ("face", "voice", "text", "fused")
_AGREEMENT = re.compile(r"agreement_(face|voice)_(voice|text)")
_DRAWN_APART = ("valence", "depgroup_share", "incongruence", "agreement", "modalities_used")


def payload(view: TimelineView) -> Document:
    """Everything the script needs, ready for JSON."""
    return _Payload(view).document()


class _Payload:
    """Gathers the tracks; arrays of reasons that several tracks share are stored once."""

    def __init__(self, view: TimelineView) -> None:
        self.view, self.t = view, view.t
        self._reason_sets: list[Packed] = []
        self._reason_index: dict[str, int] = {}

    def document(self) -> Document:
        view = self.view
        tracks = [
            *self._ribbons(),
            self._valence(),
            self._disagreement(),
            self._likeness(),
            self._depgroup(),
            self._spans("episodes"),
            self._spans("states"),
            signals.speech_track(view),
            signals.curve_track(view, "pitch"),
            signals.curve_track(view, "level"),
            signals.words_track(view),
            signals.head_track(view),
            signals.mouth_track(view),
            self._chosen(),
        ]
        r = view.r
        return {
            "version": 1,
            "lang": view.lang,
            "duration": round(r.duration_s, 4),
            "media": view.media_name,
            "text": self.t.section("js"),
            "reasons": [view.reason(code) for code in r.reasons],
            "reasonSets": self._reason_sets,
            "classes": [{"id": c, "name": view.name(c)} for c in view.classes],
            "windows": {"middle": pack_times((r.starts + r.ends) / 2), "hop": r.hop_s},
            "frames": signals.frame_times(view),
            "tracks": [track for track in tracks if track is not None],
        }

    def _reasons(self, reasons: NDArray[np.object_]) -> int:
        """Place of these reasons among the stored sets."""
        table = {reason: code for code, reason in enumerate(self.view.r.reasons)}
        names, inverse = np.unique(reasons, return_inverse=True)
        codes = np.array([table[str(name)] for name in names], dtype=np.int64)[inverse]
        packed = pack_codes(codes)
        if packed["d"] not in self._reason_index:
            self._reason_index[packed["d"]] = len(self._reason_sets)
            self._reason_sets.append(packed)
        return self._reason_index[packed["d"]]

    def _ribbons(self) -> list[Document]:
        found = []
        for modality in MODALITIES:
            for number, track in enumerate(self.view.r.tracks(modality)[:_PERSONS], 1):
                columns = self.view.probabilities(modality, track)
                if columns:
                    found.append(self._ribbon(modality, track, number, columns))
        return found

    def _ribbon(
        self, modality: str, track: str, number: int, columns: dict[str, Series]
    ) -> Document:
        view = self.view
        order = stacking_order(view.r.label_set, tuple(columns))
        first, name = columns[order[0]], view.source(modality)
        title = (
            self.t("track.ribbon_person", modality=name, n=number)
            if track
            else self.t("track.ribbon", modality=name)
        )
        return {
            "kind": "ribbon",
            "id": f"ribbon-{modality}" + (f"-{track}" if track else ""),
            "modality": modality,
            "source": name,
            "main": track == "",
            "title": title,
            "classes": [view.classes.index(c) for c in order],
            "values": [pack(columns[c].value, 0.0, 1.0) for c in order],
            "reasons": self._reasons(first.reasons),
            "used": pack(first.used, 0.0, 1.0, "u1"),
        }

    def _line(self, name: str, colour: str, series: Series) -> Document:
        line: Document = {
            "name": name,
            "colour": colour,
            "value": pack_fit(series.value),
            "reasons": self._reasons(series.reasons),
        }
        if (np.isfinite(series.low) & np.isfinite(series.high)).any():
            line |= {"low": pack_fit(series.low), "high": pack_fit(series.high)}
        if np.isfinite(series.baseline):
            line["baseline"] = round(series.baseline, 6)
        return line

    def _valence(self) -> Document | None:
        lines = [
            self._line(self.view.source(modality), modality, series)
            for modality, series in self.view.valences().items()
        ]
        if not lines:
            return None
        return {
            "kind": "lines",
            "id": "valence",
            "title": self.t("track.valence"),
            "note": self.t("track.valence_note"),
            "lines": lines,
            "low": -1.0,
            "high": 1.0,
            "ticks": [-1, 0, 1],
            "signed": True,
        }

    def _disagreement(self) -> Document | None:
        found = disagreements(self.view)
        if not found:
            return None
        lines = [
            self._line(name, _LINE_COLOURS[(i - len(found)) % 4], series)
            for i, (name, series) in enumerate(found.items())
        ]
        top = max(float(np.nanmax(series.value)) for series in found.values())
        old = by_first_definition(found.values())
        note = "agreement_note_1" if old else "agreement_note"
        return {
            "kind": "lines",
            "id": "disagreement",
            "title": self.t("track.agreement"),
            "note": self.t(f"track.{note}"),
            "lines": lines,
            "low": 0.0,
            "high": 1.0 if top <= 1.0 else 2.0,
            "ticks": [0, 0.5, 1] if top <= 1.0 else [0, 1, 2],
            "filled": len(lines) == 1,
        }

    def _likeness(self) -> Document | None:
        """Cosines in the shared space of an aligned bundle, one line a pair of modalities."""
        lines: list[Document] = []
        for (_, measure, track), series in sorted(self.view.r.series.items()):
            pair = _AGREEMENT.fullmatch(measure)
            if pair is None or track or not series.there.any():
                continue
            name = "–".join(self.t(f"modality.{modality}") for modality in pair.groups())
            lines.append(self._line(name, _LINE_COLOURS[len(lines) % 4], series))
        if not lines:
            return None
        unproven = UNPROVEN in (self.view.d.get("told") or ())
        note = "likeness_note_unproven" if unproven else "likeness_note"
        return {
            "kind": "lines",
            "id": "likeness",
            "title": self.t("track.likeness"),
            "note": self.t(f"track.{note}"),
            "lines": lines,
            "low": -1.0,
            "high": 1.0,
            "ticks": [-1, 0, 1],
            "signed": True,
        }

    def _depgroup(self) -> Document | None:
        find = self.view.r.find
        found = [s for m in MODALITIES if (s := find(m, "depgroup_share")) is not None]
        if not found or DEPRESSION_RELATED not in self.view.r.label_set.groups:
            return None
        return {
            "kind": "lines",
            "id": "depgroup",
            "title": self.view.depgroup_name(),
            "note": self.view.depgroup_note(),
            "lines": [self._line(self.view.depgroup_name(), "face", found[0])],
            "low": 0.0,
            "high": 1.0,
            "ticks": [0, 0.5, 1],
            "filled": True,
        }

    def _spans(self, which: str) -> Document | None:
        entries = self.view.d.get(which) or []
        if not entries:
            return None
        lanes, places = _lanes(entries)
        return {
            "kind": "spans",
            "id": which,
            "title": self.t(f"track.{which}"),
            "hatched": which == "states",
            "lanes": [self.view.kind(kind) for kind in lanes],
            "colours": lanes,
            "spans": [
                [
                    place,
                    round(e["start"], 3),
                    round(e["end"], 3),
                    None if e.get("peak") is None else round(e["peak"], 3),
                    self.view.note(e.get("note") or ""),
                ]
                for e, place in zip(entries, places, strict=True)
            ],
        }

    def _chosen(self) -> Document | None:
        """Every other window measure, one at a time."""
        options = []
        for (modality, measure, track), series in sorted(self.view.r.series.items()):
            base, part, functional = parts_of(measure)
            apart = base.startswith(("p_", *_DRAWN_APART)) and base != "valence_sd"
            if track or part or functional or apart or not series.there.any():
                continue
            values = series.value[series.there]
            low, high = float(values.min()), float(values.max())
            name = self.view.measure_name(measure)
            options.append(
                {
                    "id": f"{modality}.{measure}",
                    "name": f"{self.t(f'modality.{modality}')}: {name}",
                    "unit": self.view.unit(series.unit),
                    "low": 0.0 if is_share(series.unit) else low,
                    "high": 1.0 if is_share(series.unit) else max(high, low + 1e-6),
                    "line": self._line(name, modality, series),
                }
            )
        if not options:
            return None
        return {
            "kind": "chosen",
            "id": "chosen",
            "title": self.t("track.chosen"),
            "options": options,
        }


def _lanes(entries: list[Document]) -> tuple[list[str], list[int]]:
    """Lanes by kind, and the lane of every entry; what overlaps within a kind never shares one."""
    ends: dict[str, list[float]] = {}
    places: dict[int, tuple[str, int]] = {}
    for i in sorted(range(len(entries)), key=lambda i: float(entries[i]["start"])):
        kind, start = entries[i]["kind"], float(entries[i]["start"])
        taken = ends.setdefault(kind, [])
        row = next((n for n, end in enumerate(taken) if end <= start), len(taken))
        taken[row : row + 1] = [float(entries[i]["end"])]
        places[i] = kind, row
    kinds = list(dict.fromkeys(e["kind"] for e in entries))
    firsts = {kind: sum(len(ends[k]) for k in kinds[:n]) for n, kind in enumerate(kinds)}
    lanes = [kind for kind in kinds for _ in ends[kind]]
    return lanes, [firsts[kind] + row for kind, row in (places[i] for i in range(len(entries)))]
