"""Turn a recording into the names, sentences and tables of the page.

The template only lays them out; every word and number outside the canvases is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from nunbit.core.messages import Lang, Text, text_of
from nunbit.core.schema import PLAIN_CODES, TREATMENTS, first_place
from nunbit.core.streams import MODALITIES
from nunbit.core.timebase import clock, frame_rate
from nunbit.language.labels import DEPRESSION_RELATED
from nunbit.measures.definitions import Definition, definition_of, definitions, sum_name
from nunbit.recording.synchrony import WARN_S
from nunbit.report import shapes
from nunbit.report.shapes import ClassNames, Document, Texts
from nunbit.report.timeline_data import Recording, Series, person_tracks
from nunbit.report.timeline_meaning import fusion_sentences, parts_of, sources_used

_BRIGHTER = re.compile(r"(\w+)\+ (\w+)−(?:: (.*))?", re.DOTALL)
_PAIR = re.compile(r"(face|voice)/(voice|text)(?:: (.*))?", re.DOTALL)
_BREAK = re.compile(r"(?<=[.?!])\s+|;\s+")
_ARGUMENT = re.compile(r"`|--[a-z]")

SOURCES = (*MODALITIES, "fused")
TEXTS_FILE = "timeline_texts.toml"

EXPERIMENTAL = frozenset({"voice"})
"""Sources whose class probabilities are experimental: a voice tower learned from acted speech."""

_FINDINGS = 4  # shown at the top of the page; the table of the reading protocol has all

STAND_IN, UNVALIDATED, BASELINE_UNUSED = "stand_in", "unvalidated", "baseline_unused"
ASSUMED_SINGLE, UNPROVEN = "assumed_single", "unproven_agreement"
"""Codes in ``told`` of ``summary.json``: facts that its ``notices`` already state."""


class TimelineView(ClassNames):
    """A recording with its texts.

    Args:
        recording: What was read from ``OUT/<stem>/``.
        lang: Language of the page.
        plain: In the words of the table's section ``plain``: for the app's pages.
        unscored: Numbers of the utterances whose wording is not scored; None where nobody knows.
    """

    def __init__(
        self,
        recording: Recording,
        lang: Lang,
        *,
        plain: bool = False,
        unscored: Container[int] | None = None,
    ) -> None:
        self.r, self.d, self.lang = recording, recording.summary, lang
        self.unscored = unscored
        self.t = Texts(lang, TEXTS_FILE, plain=plain)
        self.classes: tuple[str, ...] = recording.label_set.ids
        self.group = recording.label_set.groups.get(DEPRESSION_RELATED)
        super().__init__(recording.label_set, lang)

    # -- names -------------------------------------------------------------------------------

    @property
    def length_text(self) -> str:
        """Length of the recording as people read it."""
        return clock(self.r.duration_s)

    @property
    def target_speaker(self) -> str | None:
        """The person analysed, as transcript or diarisation name them."""
        return (self.d.get("speech") or {}).get("target")

    def source(self, modality: str) -> str:
        """Name of a source of class probabilities, marked if it is experimental."""
        name = self.t.get(f"modality.{modality}")
        return self.t("track.experimental", name=name) if modality in EXPERIMENTAL else name

    def reason(self, code: str) -> str:
        """A mask reason in words; '' for a valid value."""
        return self.t.get(f"reason.{code}") if code else ""

    def unit(self, unit: str) -> str:
        """A unit for people; '' for shares and plain numbers."""
        return "" if is_share(unit) else self.t.get(f"unit.{unit}") if unit else ""

    def measure_name(self, measure: str) -> str:
        """Name of a measure for people; its id if there is none."""
        if measure.startswith("p_"):
            return self.name(measure.removeprefix("p_"))
        base, part, functional = parts_of(measure)
        known = self.meaning(base)
        name = base.replace("_", " ") if known is None else known.name.pick(self.lang)
        if base == "valence":
            name = self.t("measures.valence_name")
        details = [self.t(f"measures.{part}")] if part else []
        details += [self.t.get(f"functional.{functional}")] if functional else []
        return f"{name} ({', '.join(details)})" if details else name

    def meaning(self, measure: str) -> Definition | None:
        """What a measure means for this recording's classes; None for unknown names."""
        known = definition_of(measure)
        if known is None or known.id != "depgroup_share" or self.group is None:
            return known
        name, text = self.depgroup_name(), self._of_group("measures.depgroup_meaning")
        return replace(known, name=Text(name, name), meaning=Text(text, text))

    def definitions(self) -> list[Definition]:
        """Every measure there is, for this recording's classes."""
        return [m for d in definitions() if (m := self.meaning(d.id)) is not None]

    @staticmethod
    def column_names(lang: Lang, measures: Sequence[str]) -> list[str]:
        """Names of measures for people, without a recording."""
        known = {d.id: d.name.pick(lang) for d in definitions()}
        return [known.get(m, m.replace("_", " ")) for m in measures]

    def depgroup_name(self) -> str:
        """Name of the group's sum, by the classes that this model has of it."""
        members = [text_of(self.name(x)) for x in self.group.labels] if self.group else []
        return sum_name(members).pick(self.lang)

    def depgroup_note(self) -> str:
        """Which classes the group's sum has, and whether they stand in for others."""
        return self._of_group("track.depgroup_note") if self.group else ""

    def _of_group(self, key: str) -> str:
        assert self.group is not None
        origin = "origin_stand_in" if self.group.stand_in_for else "origin_paper"
        return self.t(key, members=self.names(self.group.labels), origin=self.t(f"track.{origin}"))

    def pair(self, modalities: Iterable[str]) -> str:
        """Names of two sources with a dash between them."""
        return "–".join(self.t.get(f"modality.{name}") for name in modalities)

    def kind(self, kind: str) -> str:
        """Name of a kind of episode or state for people."""
        return self.depgroup_name() if kind == "depgroup" else self.t.get(f"kind.{kind}")

    def note(self, note: str) -> str:
        """The note of an episode in words; a text that is no code stays as it is."""
        if note in ("baseline", "no_baseline"):
            return self.t(f"states.{note}")
        if found := _BRIGHTER.fullmatch(note):
            up, down = (self.t.get(f"modality.{name}") for name in found.groups()[:2])
            brighter = self.t("states.brighter", up=up, down=down)
            return f"{brighter}: {found[3]}" if found[3] else brighter
        if found := _PAIR.fullmatch(note):
            pair = self.pair(found.groups()[:2])
            return f"{pair}: {found[3]}" if found[3] else pair
        return note

    # -- series ------------------------------------------------------------------------------

    def probabilities(self, modality: str, track: str = "") -> dict[str, Series]:
        """Class probabilities of a modality by class; empty where no window has any.

        Also empty if one source alone is fused, because the index then equals that source.
        """
        if modality == "fused" and len(self.fused_sources) < 2:
            return {}
        found = {
            label: series
            for label in self.classes
            if label not in self.r.unvalidated
            and (series := self.r.series.get((modality, f"p_{label}", track))) is not None
        }
        return found if any(s.there.any() for s in found.values()) else {}

    @cached_property
    def fused_sources(self) -> tuple[str, ...]:
        """Sources that took part in the fused index in any window."""
        return sources_used(self.r) or tuple(m for m in MODALITIES if self.probabilities(m))

    def valences(self) -> dict[str, Series]:
        """Valence per modality: as stored, or else computed from the class probabilities."""
        found: dict[str, Series] = {
            modality: self._banded(modality, series)
            for modality in SOURCES
            if (series := self.r.find(modality, "valence") or self._valence(modality)) is not None
        }
        if len(found) < 3 or len(self.fused_sources) < 2:
            found.pop("fused", None)
        return found

    def _valence(self, modality: str) -> Series | None:
        columns = self.probabilities(modality)
        signs = {label.id: label.valence for label in self.r.label_set.labels}
        # Without one of the signed classes it would be another quantity under the same name.
        if not columns or any(sign and label not in columns for label, sign in signs.items()):
            return None
        first = next(iter(columns.values()))
        total = np.zeros(len(first.value))
        for label, series in columns.items():
            total += signs[label] * series.value
        nothing = np.full(len(total), np.nan)
        return Series(total, nothing, nothing, first.used, first.reasons, "", "", float("nan"))

    def _banded(self, modality: str, series: Series) -> Series:
        """Add a band of one SD within the window if there is no interval."""
        spread = self.r.find(modality, "valence_sd")
        if np.isfinite(series.low).any() or spread is None:
            return series
        low, high = (np.clip(series.value + s * spread.value, -1, 1) for s in (-1, 1))
        return replace(series, low=low, high=high)

    @cached_property
    def band(self) -> str:
        """Meaning of the band around valence, or ''."""
        stored = [s for m in SOURCES if (s := self.r.find(m, "valence")) is not None]
        if any(np.isfinite(series.low).any() for series in stored):
            return self.t("method.band_interval")
        spread = any(self.r.find(m, "valence_sd") is not None for m in SOURCES)
        return self.t("method.band_spread") if spread else ""

    # -- sentences ---------------------------------------------------------------------------

    def facts(self) -> list[tuple[str, str]]:
        """What was analysed, as pairs of name and value."""
        d, t = self.d, self.t
        media, words, none = d["media"], d.get("transcript"), t("facts.none")
        video, audio = media.get("video"), media.get("audio")
        name, w = (d.get("bundle") or {}).get("name"), d["windows"]
        pairs = {
            "file": media["name"],
            "subject": d.get("subject") or None,
            "duration": self.length_text,
            "video": none if video is None else t(
                "facts.video_text" if video.get("fps") else "facts.video_plain",
                width=video["width"], height=video["height"], fps=frame_rate(video.get("fps")),
            ),
            "audio": none if audio is None else t(
                "facts.audio_text", rate=audio["rate_hz"], channels=audio["channels"]
            ),
            "persons": None if video is None else self._persons(),
            "transcript": none if not words else t(
                "facts.transcript_text", words=f"{words['words']:,}", source=words["source"]
            ),
            "model": name or t("facts.no_model"),
            "labels": f"{self.r.label_set.name}: {self.names(self.classes)}" if name else None,
            "windows": t(
                "facts.window_text",
                n=f"{w['n']:,}", length=f"{w['length_s']:g}", hop=f"{w['hop_s']:g}",
            ),
        }  # fmt: skip
        return [(t(f"facts.{key}"), text) for key, text in pairs.items() if text is not None]

    def _persons(self) -> str:
        persons = self.d.get("persons") or []
        if not persons:
            return self.t("facts.none")
        share = sum(float(p.get("share") or 0.0) for p in persons if p.get("target"))
        tracks = {i for p in persons for i in person_tracks(p)}
        return self.t("facts.persons_text", n=len(tracks), share=shapes.percent(min(share, 1.0)))

    def notices(self) -> list[str]:
        """Notices to read first: stand-ins, classes left out, oddities of the files."""
        measures, speech = self.d["measures"], self.d.get("speech") or {}
        own: dict[str, str] = {}  # by its code in `told`
        shown = any(m["measure"] == "depgroup_share" for m in measures)
        if self.group and self.group.stand_in_for and shown:
            wanted, members = self.names(self.group.stand_in_for), self.names(self.group.labels)
            own[STAND_IN] = self.t("notices.stand_in", wanted=wanted, members=members)
        if labels := self.names(self.r.unvalidated):
            own[UNVALIDATED] = self.t("notices.unvalidated", labels=labels)
        if speech.get("assumed_single"):
            own[ASSUMED_SINGLE] = self.t("notices.assumed_single")
        if measures and all(m.get("baseline") is None for m in measures):
            own[BASELINE_UNUSED] = self.t("notices.no_baseline")
        told = self.d.get("told") or ()  # already in the notices of `analyze`
        given = [text_of(pair).pick(self.lang) for pair in self.d.get("notices") or []]
        found = dict.fromkeys([*(s for code, s in own.items() if code not in told), *given])
        said = [said_plainly(text) for text in found if text not in self._odd()]
        return [_ended(text) for text in dict.fromkeys(said) if text]

    @cached_property
    def _notes(self) -> list[tuple[str, Document, str]]:
        """The reading protocol: treatment, note, and its sentence."""
        return [
            (treatment, n, str(n.get(self.lang) or n.get("en") or n.get("code") or ""))
            for treatment in TREATMENTS
            for n in (self.d.get("reading") or {}).get(treatment) or []
        ]

    def _odd(self) -> list[str]:
        """Sentences on what was not simply read."""
        return [text for treatment, note, text in self._notes if not _is_plain(treatment, note)]

    def findings(self) -> list[str]:
        """The first notes about the files, shown at the top; the table has the rest."""
        said = dict.fromkeys(said_plainly(text) for text in self._odd())
        found = [_ended(text) for text in said if text]
        more = len(found) - _FINDINGS
        if more > 1:
            found = [*found[:_FINDINGS], self.t("reading.more", n=more)]
        return found

    def reading(self) -> list[tuple[str, str, str, str]]:
        """The reading protocol: treatment, sentence, count and first place of each note."""
        return [
            (
                treatment,
                text,
                f"{int(note['count']):,}" if int(note.get("count") or 1) > 1 else "",
                first_place(str(note.get("first") or "")).pick(self.lang),
            )
            for treatment, note, text in self._notes
        ]

    def reading_summary(self) -> str:
        """One line about what was read and whether there are notes."""
        plain = [text for treatment, note, text in self._notes if _is_plain(treatment, note)]
        state = self.t("reading.clean" if self.reading_is_clean() else "reading.odd")
        return " · ".join([*plain, state])

    def reading_is_clean(self) -> bool:
        """Whether everything was read without a note of a problem."""
        return not self._odd()

    def missing(self) -> list[tuple[str, str, str]]:
        """What is missing, why, and the line that installs it ('' if none helps)."""
        return [
            (
                self.t.get(f"what.{m.get('what', '')}"),
                str(m.get(f"reason_{self.lang}") or m.get("reason_en") or ""),
                str(m.get("install") or ""),
            )
            for m in self.d.get("missing") or []
        ]

    def absent_tracks(self) -> str:
        """One sentence on the sources of class probabilities that have none, or ''."""
        rows = []
        for modality in SOURCES:
            if self.probabilities(modality) or modality == "fused":
                continue
            reasons = [
                str(reason)
                for (m, measure, track), series in self.r.series.items()
                if m == modality and measure.startswith("p_") and not track
                and measure.removeprefix("p_") not in self.r.unvalidated
                for reason in np.unique(series.reasons)
            ]  # fmt: skip
            why = max(set(reasons), key=reasons.count) if reasons else "no_model"
            name = self.t("track.ribbon", modality=self.t(f"modality.{modality}"))
            rows.append(self.t("track.absent_row", track=name, reason=self.reason(why)))
        return self.t("track.absent", list=", ".join(rows)) if rows else ""

    def sync(self) -> tuple[list[str], bool]:
        """Sentences on sound and picture, and whether they warn."""
        found, t = self.d.get("sync") or {}, self.t
        if self.d["media"].get("video") is None or self.d["media"].get("audio") is None:
            return [t("sync.single")], False
        offset = found.get("offset_s")
        if offset is None:
            reason = self.reason(found.get("reason") or "unknown")
            return [t("sync.unknown", reason=reason)], False
        warn = bool(found.get("warning", abs(offset) > WARN_S))
        first = t(
            "sync.late" if offset >= 0 else "sync.early",
            ms=round(abs(offset) * 1000),
            r=shapes.decimal(found.get("correlation"), 2),
            n=found.get("stretches", 1),
        )
        return [first, t("sync.warning" if warn else "sync.fine"), t("sync.how")], warn

    def method(self) -> list[str]:
        """How to read the page."""
        t, valences = self.t, self.valences()
        computed = valences and not any(self.r.find(m, "valence") for m in SOURCES)
        negative = self.names(x.id for x in self.r.label_set.labels if x.valence < 0)
        likeness = any(measure.startswith("agreement_") for _, measure, _ in self.r.series)
        sentences = [
            t("method.window", length=f"{self.d['windows']['length_s']:g}"),
            t("method.gaps"),
            t("method.probability"),
            t("method.valence", negative=negative) if valences else "",
            t("method.valence_computed") if computed else "",
            self.band if valences else "",
            *fusion_sentences(self),
            t("method.likeness") if likeness else "",
            t("method.words") if self.r.words is not None else "",
            t("method.pauses") if self.r.voice is not None else "",
            t("method.estimates"),
        ]
        return [sentence for sentence in sentences if sentence]

    def provenance(self) -> list[tuple[str, str]]:
        """How this was made, as pairs of name and value."""
        p, bundle = self.d.get("provenance") or {}, self.d.get("bundle") or {}
        versions = (p.get(key, "") for key in ("nunbit", "python", "system"))
        name = bundle.get("name")
        pairs = {
            "command": f"nunbit {p.get('command', 'analyze')}",
            "version": "nunbit {}, Python {}, {}".format(*versions),
            "created": str(p.get("created", "")),
            "bundle": f"{name} {bundle.get('hash', '')}".strip() if name else None,
            **{
                key: ", ".join(f"{what} {value}" for what, value in p[key].items())
                for key in ("inputs", "settings", "packages")
                if p.get(key)
            },
        }
        return [(self.t(f"provenance.{key}"), v) for key, v in pairs.items() if v is not None]


def said_plainly(text: str) -> str:
    """A notice without the parts that name an argument: a page has no line to write it on.

    Where every part names one, the words stay and lose their marks.
    """
    kept = ""
    at = 0
    for end in [*_BREAK.finditer(text), None]:
        piece = text[at : end.start() if end else len(text)]
        if not _ARGUMENT.search(piece):
            kept += (
                "; " if kept and not kept.endswith((".", "?", "!")) else " " * bool(kept)
            ) + piece
        at = end.end() if end else len(text)
    return kept or text.replace("`", "").replace("--", "")


def _is_plain(treatment: str, note: Document) -> bool:
    """Whether a note only says what was read."""
    return treatment == "read" and note.get("code") in PLAIN_CODES


def _ended(text: str) -> str:
    """Add capital letter and full stop, which notices lack."""
    whole = text[:1].upper() + text[1:]
    return whole if not whole or whole.endswith((".", "?", "!")) else f"{whole}."


def is_share(unit: str) -> bool:
    """Whether a unit is a share of one, shown as per cent."""
    return unit in ("0–1", "0-1")
