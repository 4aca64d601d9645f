"""AI Hub's label JSON, decoded with types: one file of 60,000 records in a fifth of a second."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from nunbit.schema import Box, Reject

MAX_LABEL_BYTES = 128 << 20  # the largest label file has some 45 MB; decoded it takes six times
MISSING_BOX: Box = (math.nan, math.nan, math.nan, math.nan)
_BOM = b"\xef\xbb\xbf"


class Corners(msgspec.Struct, gc=False):
    """Box of one annotator, pixels of the upright frame; ``label`` only in the older layout."""

    min_x: float | None = msgspec.field(default=None, name="minX")
    min_y: float | None = msgspec.field(default=None, name="minY")
    max_x: float | None = msgspec.field(default=None, name="maxX")
    max_y: float | None = msgspec.field(default=None, name="maxY")
    label: str | None = None

    def box(self) -> Box:
        """x0, y0, x1, y1 verbatim; NaN where a corner is missing."""
        corners = (self.min_x, self.min_y, self.max_x, self.max_y)
        x0, y0, x1, y1 = (math.nan if value is None else value for value in corners)
        return (x0, y0, x1, y1)


class Annotation(msgspec.Struct, gc=False):
    """What one annotator said."""

    boxes: Corners | None = None
    vote: str | None = msgspec.field(default=None, name="faceExp")


class LabelRecord(msgspec.Struct, gc=False):
    """One photo's entry.

    The released files name the annotators ``annot_A`` to ``annot_C``; AI Hub's annotation document
    has ``faceBB_A`` with the label inside ``boxes``. Both are read.
    """

    filename: str
    gender: str | None = None
    age: int | float | str | None = None
    uploader: str | None = msgspec.field(default=None, name="faceExp_uploader")
    place: str | None = msgspec.field(default=None, name="bg_uploader")
    annot_a: Annotation | None = msgspec.field(default=None, name="annot_A")
    annot_b: Annotation | None = msgspec.field(default=None, name="annot_B")
    annot_c: Annotation | None = msgspec.field(default=None, name="annot_C")
    face_a: Annotation | None = msgspec.field(default=None, name="faceBB_A")
    face_b: Annotation | None = msgspec.field(default=None, name="faceBB_B")
    face_c: Annotation | None = msgspec.field(default=None, name="faceBB_C")

    def annotations(self) -> tuple[Annotation | None, Annotation | None, Annotation | None]:
        """Annotators A, B, C."""
        return (
            self.annot_a or self.face_a,
            self.annot_b or self.face_b,
            self.annot_c or self.face_c,
        )

    def votes(self) -> tuple[str | None, str | None, str | None]:
        """The three votes as spelled; None where an annotator or the vote is missing."""
        a, b, c = (_vote(annotation) for annotation in self.annotations())
        return (a, b, c)

    def boxes(self) -> tuple[Box, Box, Box]:
        """The three boxes verbatim; ``MISSING_BOX`` keeps the place of one that is not there."""
        a, b, c = (_box(annotation) for annotation in self.annotations())
        return (a, b, c)

    def is_labelled(self) -> bool:
        """Whether the entry says anything about an expression."""
        return self.uploader is not None or any(self.annotations())


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The readable entries of one file, and what was wrong with the rest."""

    records: list[LabelRecord]
    rejects: list[Reject]


_ALL = msgspec.json.Decoder(list[LabelRecord])
_RAW = msgspec.json.Decoder(list[msgspec.Raw])
_ONE = msgspec.json.Decoder(LabelRecord)


def decode_labels(data: bytes, shown: str) -> LabelFile:
    """Decode a label file: UTF-8, with or without BOM, a flat list of objects.

    Entries that do not fit are rejected one by one (``bad_record``); a file that is no JSON is
    one reject (``broken_json``), and so is JSON of another kind (``not_labels``).
    """
    rejects: list[Reject] = []
    body = data.removeprefix(_BOM)
    if _is_too_dense(body):
        return LabelFile([], [Reject(shown, "not_labels", *_TOO_DENSE)])
    try:
        records = _ALL.decode(body)
    except msgspec.ValidationError as exc:
        try:
            records, rejects = _one_by_one(body, shown)
        except msgspec.ValidationError:
            return LabelFile([], [Reject(shown, "not_labels", str(exc))])
        except RecursionError:
            return LabelFile([], [Reject(shown, "broken_json", *_TOO_DEEP)])
        if not records and rejects:
            return LabelFile([], [Reject(shown, "not_labels", rejects[0].detail)])
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        en, ko = f"broken JSON, or not UTF-8: {exc}", f"JSON이 손상되었거나 UTF-8이 아닙니다: {exc}"
        return LabelFile([], [Reject(shown, "broken_json", en, ko)])
    except RecursionError:
        return LabelFile([], [Reject(shown, "broken_json", *_TOO_DEEP)])
    if records and not any(record.is_labelled() for record in records):
        en, ko = "JSON without expression labels", "표정 레이블이 없는 JSON"
        return LabelFile([], [Reject(shown, "not_labels", en, ko)])
    return LabelFile(records, rejects)


_JUDGED_FROM = 8 << 20  # smaller files cannot fill the memory
_TOO_DENSE = (
    "millions of tiny entries: no label file",
    "아주 작은 항목이 수백만 개인 파일로, 레이블 파일이 아닙니다",
)
_TOO_DEEP = ("JSON nested too deeply", "JSON의 중첩이 너무 깊습니다")


def _is_too_dense(body: bytes) -> bool:
    """Whether a large file has far more entries a byte than labels have.

    A record has some 750 bytes, 7 braces and 30 commas; ``[1,1,1,…`` of the same size would become
    a hundred times as many objects, and more memory than a computer has.
    """
    if len(body) < _JUDGED_FROM:
        return False
    return max(30 * body.count(b"{"), 8 * body.count(b","), 30 * body.count(b"[")) > len(body)


def _one_by_one(body: bytes, shown: str) -> tuple[list[LabelRecord], list[Reject]]:
    records: list[LabelRecord] = []
    rejects: list[Reject] = []
    for number, raw in enumerate(_RAW.decode(body)):
        try:
            records.append(_ONE.decode(raw))
        except (msgspec.ValidationError, RecursionError) as exc:
            rejects.append(Reject(f"{shown}#{number}", "bad_record", str(exc)))
    return records, rejects


def _vote(annotation: Annotation | None) -> str | None:
    if annotation is None:
        return None
    if annotation.vote is None and annotation.boxes is not None:
        return annotation.boxes.label
    return annotation.vote


def _box(annotation: Annotation | None) -> Box:
    if annotation is None or annotation.boxes is None:
        return MISSING_BOX
    return annotation.boxes.box()


def file_names(records: list[LabelRecord]) -> Iterator[str]:
    """Base names of the records' photos, not normalised."""
    for record in records:
        yield record.filename.rpartition("/")[2]
