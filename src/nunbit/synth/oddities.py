"""The strange cases of the real data, each a change to an ordinary record.

EXIF tags 0 to 8 and none, suffixes, unusable and missing boxes, unknown votes, broken files, an
image without a record, a very large one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nunbit.synth.records import PARTS, Part, SynthRecord, SynthSettings, sample_boxes
from nunbit.synth.votes import UNKNOWN


@dataclass(frozen=True, slots=True)
class StrangeCase:
    """One strange case: where it goes, and what it does to an ordinary record."""

    part: Part
    label: str
    kind: str
    value: Any = None

    def apply(self, record: SynthRecord) -> SynthRecord:
        """The ordinary record, made strange."""
        record = replace(record, note=self.kind)
        if self.kind == "orientation":
            return replace(record, orientation=self.value, note=f"orientation {self.value}")
        if self.kind == "suffix":
            name = record.file_name.rpartition(".")[0] + self.value
            return replace(record, file_name=name, note=f"suffix {self.value}")
        if self.kind == "boxes":
            return _with_boxes(record, self.value)
        if self.kind == "votes":
            return _with_votes(record, self.value)
        tag = 1 if self.value == "giant" else record.orientation
        return _redrawn(replace(record, oddity=self.value, orientation=tag, note=str(self.value)))


def strange_cases(settings: SynthSettings, part: Part, label: str) -> list[StrangeCase]:
    """The cases that stand in one class folder; none if the settings leave them out."""
    cases = _cases(settings.giant) if settings.oddities else ()
    return [case for case in cases if (case.part, case.label) == (part, label)]


def _cases(giant: bool) -> Iterator[StrangeCase]:
    for tag in (*range(9), None):
        yield StrangeCase("train", "flustered", "orientation", tag)
    for suffix in (".jpeg", ".JPG", ".JPEG"):
        yield StrangeCase("train", "joy", "suffix", suffix)
    for what in ("zero", "edge", "missing", "outside"):
        yield StrangeCase("train", "anger", "boxes", what)
    for what in ("a", "b", "all"):
        yield StrangeCase("train", "anxiety", "votes", what)
    yield StrangeCase("train", "hurt", "file", "orphan")
    yield StrangeCase("train", "sadness", "file", "large")
    if giant:
        yield StrangeCase("train", "sadness", "file", "giant")
    for part in PARTS:
        yield StrangeCase(part, "neutral" if part == "train" else "joy", "file", "truncated")
        yield StrangeCase(part, "neutral" if part == "train" else "joy", "file", "damaged")
    yield StrangeCase("validation", "anger", "boxes", "zero")


def _with_boxes(record: SynthRecord, what: str) -> SynthRecord:
    a, b, c = (dict(x) for x in record.annotations)
    photo = record.photo
    if photo is None:
        raise ValueError("a strange box needs a photo")
    if what == "zero":
        point = a["boxes"]["minX"]
        a["boxes"] = {"maxX": point, "maxY": point, "minX": point, "minY": point}
    elif what == "missing":
        del a["boxes"]
        b["boxes"] = None
    elif what == "outside":
        width, height = photo.size
        a["boxes"] = {
            "maxX": width + 210.5, "maxY": height + 180.25, "minX": width + 10.5,
            "minY": height + 3.75,
        }  # fmt: skip
    else:  # the face itself leaves the frame, and its box follows
        pose = replace(photo.pose, x=0.3 * photo.pose.scale)
        return _redrawn(replace(record, photo=replace(photo, pose=pose), note="box edge"))
    return replace(record, annotations=(a, b, c), note=f"box {what}")


def _redrawn(record: SynthRecord) -> SynthRecord:
    """The record with its annotators' boxes around where the face is now."""
    rng = np.random.default_rng([7, len(record.note)])
    a, b, c = ({**x, "boxes": sample_boxes(record.face_box, rng)} for x in record.annotations)
    return replace(record, annotations=(a, b, c))


def _with_votes(record: SynthRecord, what: str) -> SynthRecord:
    unknown = {"a": (0,), "b": (1,), "all": (0, 1, 2)}[what]
    votes, notes = list(record.votes), [dict(x) for x in record.annotations]
    for k in unknown:
        votes[k], notes[k]["faceExp"] = UNKNOWN, UNKNOWN
    return replace(
        record,
        votes=(votes[0], votes[1], votes[2]),
        annotations=(notes[0], notes[1], notes[2]),
        note=f"unknown {what}",
    )
