"""From a recording to what the page says: names, sentences, tables, ready to print.

The template only lays out; every word and number outside the canvases is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from nunbit.errors import Lang
from nunbit.labels import DEPRESSION_RELATED, load_label_set
from nunbit.measures.definitions import sum_name
from nunbit.reading import PLAIN_CODES, TREATMENTS, place_text
from nunbit.report import shapes
from nunbit.report.texts import Texts
from nunbit.report.timeline_data import Recording, Series, person_tracks
from nunbit.report.timeline_definitions import Meaning, meaning_of, meanings, parts_of
from nunbit.report.timeline_pairs import fusion_sentences, sources_used
from nunbit.sync import WARN_S
from nunbit.timebase import clock, frame_rate

Document = dict[str, Any]

_BRIGHTER = re.compile(r"(\w+)\+ (\w+)−(?:: (.*))?", re.DOTALL)
_PAIR = re.compile(r"(face|voice)/(voice|text): (.*)", re.DOTALL)

SOURCES = ("face", "voice", "text")
MODALITIES = (*SOURCES, "fused")
TEXTS_FILE = "timeline_texts.toml"

EXPERIMENTAL = frozenset({"voice"})
"""Sources whose class probabilities are experimental: a voice tower learned from acted speech."""

_FINDINGS = 4  # so many are said at the top of the page; the table of what was read has them all

STAND_IN, UNVALIDATED, BASELINE_UNUSED = "stand_in", "unvalidated", "baseline_unused"
ASSUMED_SINGLE, UNPROVEN = "assumed_single", "unproven_agreement"
"""What ``told`` in ``summary.json`` may hold: things that its ``notices`` say already."""


class TimelineView:
    """A recording with its texts.

    Args:
        recording: What was read from ``OUT/<stem>/``.
        lang: Language of the page.
    """

    def __init__(self, recording: Recording, lang: Lang) -> None:
        self.r, self.d, self.lang = recording, recording.summary, lang
        self.t = Texts(lang, TEXTS_FILE)
        self.classes: tuple[str, ...] = recording.label_set.ids
        self._names = {
            label.id: label.name(lang)
            for known in (load_label_set("fer7"), load_label_set("aihub7"), recording.label_set)
            for label in known.labels
        }

    # -- names -------------------------------------------------------------------------------

    @property
    def media_name(self) -> str:
        """Name of the recording's file."""
        return str(self.d["media"]["name"])

    @property
    def length_text(self) -> str:
        """Length of the recording as people read it."""
        return clock(self.r.duration_s)

    @property
    def target_speaker(self) -> str | None:
        """The person analysed, as transcript or diarisation name them."""
        return (self.d.get("speech") or {}).get("target")

    def name(self, label: str) -> str:
        """Name of a class in the language of the page."""
        return self._names.get(label, label)

    def source(self, modality: str) -> str:
        """Name of a source of class probabilities, with a word on it where it is experimental."""
        name = self.t.get(f"modality.{modality}")
        return self.t("track.experimental", name=name) if modality in EXPERIMENTAL else name

    def reason(self, code: str) -> str:
        """A mask reason in words; '' for a valid value."""
        return self.t.get(f"reason.{code}") if code else ""

    def unit(self, unit: str) -> str:
        """A unit as people read it; '' for shares and plain numbers."""
        return "" if is_share(unit) else self.t.get(f"unit.{unit}") if unit else ""

    def measure_name(self, measure: str) -> str:
        """What people call a measure; its id where nobody says."""
        if measure.startswith("p_"):
            return self.name(measure.removeprefix("p_"))
        base, part, functional = parts_of(measure)
        known = self.meaning(base)
        name = base.replace("_", " ") if known is None else known.name
        if base == "valence":
            name = self.t("measures.valence_name")
        details = [self.t(f"measures.{part}")] if part else []
        details += [self.t.get(f"functional.{functional}")] if functional else []
        return f"{name} ({', '.join(details)})" if details else name

    def meaning(self, measure: str) -> Meaning | None:
        """What a measure means for this recording's classes; None for unknown names."""
        known = meaning_of(measure, self.lang)
        group = self.r.label_set.groups.get(DEPRESSION_RELATED)
        if known is None or known.id != "depgroup_share" or group is None:
            return known
        origin = "origin_stand_in" if group.stand_in_for else "origin_paper"
        text = self.t("measures.depgroup_meaning", members=self.names(group.labels),
                      origin=self.t(f"track.{origin}"))  # fmt: skip
        return replace(known, name=self.depgroup_name(), meaning=text)

    def definitions(self) -> list[Meaning]:
        """Every measure there is, for this recording's classes."""
        return [m for measure in meanings(self.lang) if (m := self.meaning(measure)) is not None]

    @staticmethod
    def column_names(lang: Lang, measures: Sequence[str]) -> list[str]:
        """What people call measures, where no recording is at hand."""
        known = meanings(lang)
        return [known[m].name if m in known else m.replace("_", " ") for m in measures]

    def depgroup_name(self) -> str:
        """What the group's sum is called: by the classes this model has of it."""
        group = self.r.label_set.groups.get(DEPRESSION_RELATED)
        return sum_name([self.name(x) for x in group.labels] if group else [], self.lang)

    def kind(self, kind: str) -> str:
        """What people call a kind of episode or state."""
        return self.depgroup_name() if kind == "depgroup" else self.t.get(f"kind.{kind}")

    def depgroup_note(self) -> str:
        """Which classes the group's sum has, and whether they stand in for others."""
        group = self.r.label_set.groups.get(DEPRESSION_RELATED)
        if group is None:
            return ""
        origin = "origin_stand_in" if group.stand_in_for else "origin_paper"
        return self.t(
            "track.depgroup_note",
            members=self.names(group.labels),
            origin=self.t(f"track.{origin}"),
        )

    def names(self, labels: Any) -> str:
        """Names of several classes."""
        return ", ".join(self.name(label) for label in labels)

    def note(self, note: str) -> str:
        """The note of an episode in words; what is no code stays as it is."""
        if note in ("baseline", "no_baseline"):
            return self.t(f"states.{note}")
        if found := _BRIGHTER.fullmatch(note):
            up, down = (self.t.get(f"modality.{name}") for name in found.groups()[:2])
            brighter = self.t("states.brighter", up=up, down=down)
            return f"{brighter}: {found[3]}" if found[3] else brighter
        if found := _PAIR.fullmatch(note):
            pair = "–".join(self.t.get(f"modality.{name}") for name in found.groups()[:2])
            return f"{pair}: {found[3]}" if found[3] else pair
        return note

    # -- series ------------------------------------------------------------------------------

    def probabilities(self, modality: str, track: str = "") -> dict[str, Series]:
        """Class probabilities of a modality by class; empty where no window has any.

        What is fused of one source alone says nothing of its own: empty, too.
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
        """Sources that took part in what is fused, in any window."""
        return sources_used(self.r) or tuple(m for m in SOURCES if self.probabilities(m))

    def valences(self) -> dict[str, Series]:
        """Valence per modality: as measured, or else from the class probabilities."""
        found: dict[str, Series] = {}
        for modality in MODALITIES:
            if modality == "fused" and (len(found) < 2 or len(self.fused_sources) < 2):
                continue
            series = self.r.find(modality, "valence") or self._valence(modality)
            if series is not None:
                found[modality] = self._banded(modality, series)
        return found

    @cached_property
    def valence_is_computed(self) -> bool:
        """Whether no file holds the valence and this page computes it."""
        return not any(self.r.find(m, "valence") for m in MODALITIES)

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
        """With one SD within the window as a band where there is no interval."""
        spread = self.r.find(modality, "valence_sd")
        if np.isfinite(series.low).any() or spread is None:
            return series
        low = np.clip(series.value - spread.value, -1, 1)
        high = np.clip(series.value + spread.value, -1, 1)
        return Series(series.value, low, high, series.used, series.reasons, series.unit,
                      series.grade, series.baseline)  # fmt: skip

    @cached_property
    def band(self) -> str:
        """What the band around valence is, or ''."""
        if any(
            (s := self.r.find(m, "valence")) is not None and np.isfinite(s.low).any()
            for m in MODALITIES
        ):
            return self.t("method.band_interval")
        spread = any(self.r.find(m, "valence_sd") is not None for m in MODALITIES)
        return self.t("method.band_spread") if spread else ""

    # -- sentences ---------------------------------------------------------------------------

    def facts(self) -> list[tuple[str, str]]:
        """What was analysed, as pairs of name and value."""
        d, t = self.d, self.t
        media, bundle, words = d["media"], d.get("bundle") or {}, d.get("transcript")
        pairs = [("file", self.media_name), ("duration", clock(self.r.duration_s))]
        if d.get("subject"):
            pairs.insert(1, ("subject", d["subject"]))
        video = media.get("video")
        if video is None:
            pairs.append(("video", t("facts.none")))
        else:
            key = "facts.video_text" if video.get("fps") else "facts.video_plain"
            pairs.append(("video", t(key, width=video["width"], height=video["height"],
                                     fps=frame_rate(video.get("fps")))))  # fmt: skip
        audio = media.get("audio")
        pairs.append(
            ("audio", t("facts.none") if audio is None
             else t("facts.audio_text", rate=audio["rate_hz"], channels=audio["channels"]))
        )  # fmt: skip
        if video is not None:
            pairs.append(("persons", self._persons()))
        pairs.append(("transcript", t("facts.none") if not words else
                      t("facts.transcript_text", words=f"{words['words']:,}",
                        source=words["source"])))  # fmt: skip
        name = bundle.get("name")
        pairs.append(("model", name or t("facts.no_model")))
        if name:
            pairs.append(("labels", f"{self.r.label_set.name}: {self.names(self.classes)}"))
        pairs.append(("windows", self._windows()))
        return [(t(f"facts.{key}"), value) for key, value in pairs]

    def _windows(self) -> str:
        w = self.d["windows"]
        length, hop = f"{w['length_s']:g}", f"{w['hop_s']:g}"
        return self.t("facts.window_text", n=f"{w['n']:,}", length=length, hop=hop)

    def _persons(self) -> str:
        persons = self.d.get("persons") or []
        if not persons:
            return self.t("facts.none")
        share = sum(float(p.get("share") or 0.0) for p in persons if p.get("target"))
        tracks = {i for p in persons for i in person_tracks(p)}
        return self.t("facts.persons_text", n=len(tracks), share=shapes.percent(min(share, 1.0)))

    def notices(self) -> list[str]:
        """What to know before reading: stand-ins, left out classes, oddities of the files."""
        given = [pair[0 if self.lang == "en" else 1] for pair in self.d.get("notices") or []]
        told = set(self.d.get("told") or ())  # what the notices of `analyze` say already
        own = []
        group = self.r.label_set.groups.get(DEPRESSION_RELATED)
        if (
            group is not None
            and group.stand_in_for
            and self._has("depgroup_share")
            and STAND_IN not in told
        ):
            own.append(self.t("notices.stand_in", wanted=self.names(group.stand_in_for),
                              members=self.names(group.labels)))  # fmt: skip
        if self.r.unvalidated and UNVALIDATED not in told:
            own.append(self.t("notices.unvalidated", labels=self.names(self.r.unvalidated)))
        if (self.d.get("speech") or {}).get("assumed_single") and ASSUMED_SINGLE not in told:
            own.append(self.t("notices.assumed_single"))
        measures = self.d["measures"]
        unmarked = BASELINE_UNUSED not in told
        if unmarked and measures and all(m.get("baseline") is None for m in measures):
            own.append(self.t("notices.no_baseline"))
        found = dict.fromkeys([*own, *given])
        return [_ended(text) for text in found if text not in self._found()]

    def _found(self) -> list[str]:
        rows = {t: (self.d.get("reading") or {}).get(t) or [] for t in TREATMENTS}
        odd = [
            n
            for t in TREATMENTS
            for n in rows[t]
            if t != "read" or n.get("code") not in PLAIN_CODES
        ]
        return [str(n.get(self.lang) or n.get("en") or n.get("code") or "") for n in odd]

    def findings(self) -> list[str]:
        """What is odd about the files, said before anything else; the table has the rest."""
        found = [_ended(text) for text in dict.fromkeys(self._found())]
        more = len(found) - _FINDINGS
        if more > 1:
            found = [*found[:_FINDINGS], self.t("reading.more", n=more)]
        return found

    def reading(self) -> list[tuple[str, str, str, str]]:
        """The reading protocol: treatment, sentence, count and first place of each note."""
        rows: list[tuple[str, str, str, str]] = []
        for treatment in TREATMENTS:
            for note in (self.d.get("reading") or {}).get(treatment) or []:
                count = int(note.get("count") or 1)
                rows.append(
                    (
                        treatment,
                        str(note.get(self.lang) or note.get("en") or note.get("code") or ""),
                        f"{count:,}" if count > 1 else "",
                        place_text(str(note.get("first") or ""), self.lang),
                    )
                )
        return rows

    def reading_summary(self) -> str:
        """What was read, and whether all was as it should be, in one line."""
        read = (self.d.get("reading") or {}).get("read") or []
        texts = [str(n.get(self.lang) or "") for n in read if n.get("code") in PLAIN_CODES]
        state = self.t("reading.clean" if self.reading_is_clean() else "reading.odd")
        return " · ".join([*texts, state])

    def reading_is_clean(self) -> bool:
        """Whether everything was read as it is, with nothing to know about it."""
        found = self.d.get("reading") or {}
        odd = [n for n in found.get("read") or [] if n.get("code") not in PLAIN_CODES]
        return not (odd or found.get("repaired") or found.get("left_out"))

    def _has(self, measure: str) -> bool:
        return any(m["measure"] == measure for m in self.d["measures"])

    def missing(self) -> list[tuple[str, str, str]]:
        """What was not there, why, and the line that installs it ('' if none helps)."""
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
        for modality in MODALITIES:
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
        r = found.get("correlation")
        first = t(
            "sync.late" if offset >= 0 else "sync.early",
            ms=round(abs(offset) * 1000),
            r=shapes.decimal(r, 2),
            n=found.get("stretches", 1),
        )
        return [first, t("sync.warning" if warn else "sync.fine"), t("sync.how")], warn

    def method(self) -> list[str]:
        """How to read the page."""
        t, w = self.t, self.d["windows"]
        negative = [label.id for label in self.r.label_set.labels if label.valence < 0]
        valences = self.valences()
        sentences = [
            t("method.window", length=f"{w['length_s']:g}"),
            t("method.gaps"),
            t("method.probability"),
        ]
        if valences:
            sentences.append(t("method.valence", negative=self.names(negative)))
        if valences and self.valence_is_computed:
            sentences.append(t("method.valence_computed"))
        if valences and self.band:
            sentences.append(self.band)
        sentences += fusion_sentences(self)
        if any(measure.startswith("agreement_") for _, measure, _ in self.r.series):
            sentences.append(t("method.likeness"))
        if self.r.words is not None:
            sentences.append(t("method.words"))
        if self.r.voice is not None:
            sentences.append(t("method.pauses"))
        return [*sentences, t("method.estimates")]

    def provenance(self) -> list[tuple[str, str]]:
        """How this was made, as pairs of name and value."""
        p, bundle = self.d.get("provenance") or {}, self.d.get("bundle") or {}
        pairs = [
            ("command", f"nunbit {p.get('command', 'analyze')}"),
            ("version", f"nunbit {p.get('nunbit', '')}, Python {p.get('python', '')}, "
                        f"{p.get('system', '')}"),
            ("created", str(p.get("created", ""))),
        ]  # fmt: skip
        if bundle.get("name"):
            pairs.append(("bundle", f"{bundle['name']} {bundle.get('hash', '')}".strip()))
        for key in ("inputs", "settings", "packages"):
            if p.get(key):
                text = ", ".join(f"{name} {value}" for name, value in p[key].items())
                pairs.append((key, text))
        return [(self.t(f"provenance.{key}"), value) for key, value in pairs]


def _ended(text: str) -> str:
    """A sentence with its capital and its full stop; the notices of a run have neither."""
    whole = text[:1].upper() + text[1:]
    return whole if not whole or whole.endswith((".", "?", "!")) else f"{whole}."


def is_share(unit: str) -> bool:
    """Whether a unit is a share of one, shown as per cent."""
    return unit in ("0–1", "0-1")
