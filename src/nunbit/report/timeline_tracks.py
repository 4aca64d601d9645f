"""Tracks of the timeline page as packed data, and the passages that are left unscored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.core.spans import lists_by_key
from nunbit.core.streams import Interval, Utterance, Word
from nunbit.core.timebase import clock
from nunbit.measures.wording import find_passage_groups
from nunbit.report import timeline_signals as signals
from nunbit.report.shapes import Document
from nunbit.report.timeline_data import Series, Words
from nunbit.report.timeline_meaning import disagreements, of_definition, parts_of, stacking_order
from nunbit.report.timeline_signals import Packed, pack, pack_codes, pack_fit, pack_times
from nunbit.report.timeline_view import SOURCES, UNPROVEN, TimelineView, is_share

# --- passages about wanting to die or self-harm, which a reader of the recording should see ---
#
# They are found again at every rendering, from the words table, and stored nowhere.


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage.

    Attributes:
        at: Where it begins, seconds, as the page's links have it.
        time: The same for people.
        speaker: '' if there is no name.
        text: Its text.
    """

    at: str
    time: str
    speaker: str
    text: str


def passages(view: TimelineView) -> list[Passage]:
    """The passages of a recording, in order; none without words."""
    if view.r.words is None:
        return []
    utterances, numbers = _utterances(view.r.words)
    unscored = None if view.unscored is None else {
        i for i, number in enumerate(numbers) if number < 0 or number in view.unscored
    }  # fmt: skip
    found = []
    for group in find_passage_groups(utterances, unscored):
        first, text = utterances[group[0]], " ".join(utterances[i].text for i in group)
        start = first.interval.start_s
        at, time = f"{start:.3f}", clock(start, tenths=True)
        found.append(Passage(at, time, first.speaker or "", text))
    return sorted(found, key=lambda passage: float(passage.at))


def _utterances(words: Words) -> tuple[list[Utterance], list[int]]:
    """The utterances of the table, and their numbers there: below 0 for a word that is in none."""
    numbers = enumerate(words.utterance.tolist())
    rows = lists_by_key((number if number >= 0 else -2 - row, row) for row, number in numbers)
    # Times of words may be equal where a source rounds them.
    ends_s = np.maximum(words.end_s, words.start_s + 1e-3)
    utterances = []
    for members in rows.values():
        spoken = tuple(
            Word(Interval(float(words.start_s[i]), float(ends_s[i])), words.text[i],
                 filler=bool(words.filler[i]))
            for i in members
        )  # fmt: skip
        utterances.append(
            Utterance(
                Interval(spoken[0].interval.start_s, max(w.interval.end_s for w in spoken)),
                " ".join(word.text for word in spoken),
                words.speaker[members[0]] or None,
                words=spoken,
            )
        )
    return utterances, list(rows)


# --- tracks as packed arrays for the page's script ---
#
# A track is plain data: ``kind`` names its painter in ``timeline_draw.js``. A track without data is
# left out.

_PERSONS = 4
_AGREEMENT = re.compile(r"agreement_(face|voice)_(voice|text)")
_DRAWN_APART = ("valence", "depgroup_share", "incongruence", "agreement", "modalities_used")
_CHANNELS = {
    "smile": ("smile",),
    "lips": ("mouth_corners_down", "dimpler", "lips_pressed", "jaw_open"),
    "brows": ("brow_lowering", "brow_raise"),
    "eyes": ("gaze_down", "lids_shut_share"),
}
"""Tracks of the expression channels, folded at first -> their measures, a line each."""


def payload(view: TimelineView) -> Document:
    """Everything that the script needs, ready for JSON."""
    return _Payload(view).document()


class _Payload:
    """Collects the tracks; arrays of reasons shared by several tracks are stored once."""

    def __init__(self, view: TimelineView) -> None:
        self.view, self.t = view, view.t
        self._reason_sets: list[Packed] = []

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
            *map(self._channels, _CHANNELS),
        ]
        r = view.r
        return {
            "version": 1,
            "lang": view.lang,
            "duration": round(r.duration_s, 4),
            "media": view.d["media"]["name"],
            "text": self.t.section("js"),
            "reasons": [view.reason(code) for code in r.reasons],
            "reasonSets": self._reason_sets,
            "classes": [{"id": c, "name": view.name(c)} for c in view.classes],
            "windows": {"middle": pack_times((r.starts + r.ends) / 2), "hop": r.hop_s},
            "frames": signals.frame_times(view),
            "tracks": [track for track in tracks if track is not None],
        }

    def _reasons(self, reasons: NDArray[np.object_]) -> int:
        """Position of these reasons among the stored sets."""
        table = {reason: code for code, reason in enumerate(self.view.r.reasons)}
        codes = np.array([table[reason] for reason in reasons.tolist()], dtype=np.int64)
        packed = pack_codes(codes)
        if packed not in self._reason_sets:
            self._reason_sets.append(packed)
        return self._reason_sets.index(packed)

    def _ribbons(self) -> list[Document]:
        return [
            self._ribbon(modality, track, number, columns)
            for modality in SOURCES
            for number, track in enumerate(self.view.r.tracks(modality)[:_PERSONS], 1)
            if (columns := self.view.probabilities(modality, track))
        ]

    def _ribbon(
        self, modality: str, track: str, number: int, columns: dict[str, Series]
    ) -> Document:
        view = self.view
        order = stacking_order(view.r.label_set, tuple(columns))
        first, name = columns[order[0]], view.source(modality)
        title = "track.ribbon_person" if track else "track.ribbon"
        return {
            "kind": "ribbon",
            "id": f"ribbon-{modality}" + (f"-{track}" if track else ""),
            "modality": modality,
            "source": name,
            "main": track == "",
            "title": self.t(title, modality=name, n=number),
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

    def _lines(
        self, name: str, texts: tuple[str, str], lines: list[Document], **scale: Any
    ) -> Document | None:
        """A track of lines with title, note and scale; a signed one where no scale is given."""
        if not lines:
            return None
        signed = {"low": -1.0, "high": 1.0, "ticks": [-1, 0, 1], "signed": True}
        title, note = texts
        return {
            "kind": "lines", "id": name, "title": title, "note": note, "lines": lines,
            **(scale or signed),
        }  # fmt: skip

    def _valence(self) -> Document | None:
        lines = [
            self._line(self.view.source(modality), modality, series)
            for modality, series in self.view.valences().items()
        ]
        texts = (self.t("track.valence"), self.t("track.valence_note"))
        return self._lines("valence", texts, lines)

    def _disagreement(self) -> Document | None:
        found = disagreements(self.view)
        lines = [
            self._line(name, SOURCES[(i - len(found)) % 4], series)
            for i, (name, series) in enumerate(found.items())
        ]
        within = all(float(np.nanmax(series.value)) <= 1.0 for series in found.values())
        note = self.t("track.agreement_note" + of_definition(found.values()))
        scale = {"high": 1.0, "ticks": [0, 0.5, 1]} if within else {"high": 2.0, "ticks": [0, 1, 2]}
        texts = (self.t("track.agreement"), note)
        return self._lines("disagreement", texts, lines, low=0.0, **scale, filled=len(lines) == 1)

    def _likeness(self) -> Document | None:
        """Cosines in the shared space of an aligned bundle, one line a pair of modalities."""
        lines: list[Document] = []
        for (_, measure, track), series in sorted(self.view.r.series.items()):
            pair = _AGREEMENT.fullmatch(measure)
            if pair is not None and not track and series.there.any():
                colour = SOURCES[len(lines) % 4]
                lines.append(self._line(self.view.pair(pair.groups()), colour, series))
        unproven = "_unproven" if UNPROVEN in (self.view.d.get("told") or ()) else ""
        texts = (self.t("track.likeness"), self.t(f"track.likeness_note{unproven}"))
        return self._lines("likeness", texts, lines)

    def _channels(self, name: str) -> Document | None:
        """A track of expression channels; the page folds it away at first."""
        found = {m: s for m in _CHANNELS[name] if (s := self.view.r.find("face", m)) is not None}
        lines = [
            self._line(self.view.measure_name(measure), SOURCES[at], series)
            for at, (measure, series) in enumerate(found.items())
            if series.there.any()
        ]
        most = max((float(np.nanmax(s.value)) for s in found.values() if s.there.any()), default=0)
        high = 1.0 if most > 0.5 else 0.5
        texts = (self.t(f"track.channels_{name}"), self.t("track.channels_note"))
        scale = {"low": 0.0, "high": high, "ticks": [0, high / 2, high]}
        track = self._lines(f"channels-{name}", texts, lines, **scale, filled=len(lines) == 1)
        return None if track is None else track | {"folded": True}

    def _depgroup(self) -> Document | None:
        view = self.view
        found = [s for m in SOURCES if (s := view.r.find(m, "depgroup_share")) is not None]
        name = view.depgroup_name()
        lines = [self._line(name, "face", series) for series in found[:1] if view.group]
        texts = (name, view.depgroup_note())
        scale = {"low": 0.0, "high": 1.0, "ticks": [0, 0.5, 1], "filled": True}
        return self._lines("depgroup", texts, lines, **scale)

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
        title = self.t("track.chosen")
        chosen = {"kind": "chosen", "id": "chosen", "title": title, "options": options}
        return chosen if options else None


def _lanes(entries: list[Document]) -> tuple[list[str], list[int]]:
    """Lanes by kind, and each entry's lane; overlapping entries of a kind have different ones."""
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
