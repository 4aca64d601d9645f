"""Frozen types that cross rooms: labelled records, and notes on how a file was read.

Nothing here reads files or knows a source, a model or a page. Absent is ``None``, never zero and
never 'neutral'.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import NO_TEXT, Text, joined

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Policy = Literal["uploader", "annot_a", "majority", "unanimous", "votes"]
POLICIES: tuple[Policy, ...] = ("uploader", "annot_a", "majority", "unanimous", "votes")

SYNTHETIC_MARK = ".nunbit-synth"
"""A file of this name marks a folder of drawn data; all results from it state that."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the upright image (EXIF orientation applied)."""


def box_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of every pair of (n, 4) and (m, 4) boxes: (n, m)."""
    corners = np.maximum(first[:, None, :2], second[None, :, :2])
    ends = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.clip(ends - corners, 0.0, math.inf)
    common = sides[..., 0] * sides[..., 1]
    areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - common
    return np.asarray(common / np.maximum(union, 1e-9))


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Place of the bytes of one image.

    Attributes:
        path: The image file, or the zip that holds it; absolute.
        member: The member's name exactly as the zip's directory spells it, or None for a file.
        source_path: Readable path: relative to SRC, NFC, ``zip!member`` inside a zip.
    """

    path: str
    member: str | None
    source_path: str


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """One labelled image, before any policy has turned votes into a label.

    Attributes:
        record_id: Unique in the data set; no ``.`` and no ``/``.
        image: Where the bytes are.
        split: The official or given split.
        uploader_label: Label id the person who made the photo (or the table) gave, or None.
        votes: One label id per annotator; None where unknown, contempt or not a face.
        subject_id: Person key verbatim, or None where the source has none.
        box_xyxy: Face box in pixels of the upright image as the source has it (not clamped:
            only the decoded image knows its size); None means the whole image.
        fallback_boxes: Other annotators' boxes in order of preference.
        gender: Raw value of the source, or None.
        age: Raw value of the source, or None.
        place: Raw value of the source, or None.
    """

    record_id: str
    image: ImageRef
    split: Split
    uploader_label: str | None
    votes: tuple[str | None, ...] = ()
    subject_id: str | None = None
    box_xyxy: Box | None = None
    fallback_boxes: tuple[Box, ...] = ()
    gender: str | None = None
    age: str | None = None
    place: str | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """An input that was not used, with the reason; one line of ``rejects.jsonl``.

    Attributes:
        file: ``source_path`` of the image, or of the label file.
        reason: A short stable id such as ``truncated`` or ``no_record``.
        text: One line for people; the same in both languages where it is the system's or a
            library's own words.
    """

    file: str
    reason: str
    text: Text = NO_TEXT

    def said(self) -> Text:
        """File, reason and detail for a message."""
        return self.text.under(f"{self.file}: {self.reason}")

    def to_row(self) -> dict[str, str]:
        """Plain data, both languages whatever that of the run: the same input, the same bytes."""
        en, ko = self.text.pair()
        return {
            "file": self.file,
            "reason": self.reason,
            "detail": en,
            "detail_ko": "" if ko == en else ko,
        }


# -- notes of the reading protocol -----------------------------------------------------------------
# Readers of media, transcripts and tables make them; ``check``, ``analyze`` and the report show
# them. Either a file is read correctly, or a note reports the difference.

Treatment = Literal["read", "repaired", "left_out"]
TREATMENTS: tuple[Treatment, ...] = ("read", "repaired", "left_out")

TREATMENT_NAMES: dict[str, Text] = {
    "read": Text("read", "읽음"),
    "repaired": Text("repaired", "고쳐 읽음"),
    "left_out": Text("left out", "제외"),
}

PLAIN_CODES = frozenset({"video", "sound", "transcript", "speakers", "photo"})
"""Codes of notes that only state what was read; every other note reports something unusual."""

_COUNTED = {
    "line": "행", "row": "행", "segment": "번째 항목", "item": "번째 항목", "result": "번째 항목",
    "word": "번째 단어", "token": "번째 단어", "value": "번째 값",
}  # fmt: skip
_PLACE = re.compile(rf"({'|'.join(_COUNTED)}) (\d+)")
_PLACES = re.compile(rf"{_PLACE.pattern}(?: {_PLACE.pattern})*")


@dataclass(frozen=True, slots=True)
class ReadingNote:
    """One note about how a file was read.

    Attributes:
        treatment: ``read`` (as it is, but the user should know), ``repaired`` (another value than
            the file's was used) or ``left_out``.
        code: Stable name in snake case, such as ``time_not_a_number``; the same in all languages.
        count: How many entries, samples or frames it concerns, at least 1.
        first: The first place: ``line 12``, ``0:03.2`` (media time), or a file name.
        text: One sentence for a reader: what, where, what to do.
    """

    treatment: Treatment
    code: str
    count: int
    first: str
    text: Text


def reading_document(notes: Iterable[ReadingNote]) -> dict[str, list[dict[str, object]]]:
    """Plain data for JSON: lists of ``{code, count, first, en, ko}`` by treatment."""
    listed = tuple(notes)
    return {
        treatment: [
            {"code": note.code, "count": note.count, "first": note.first, **note.text.to_dict()}
            for note in listed
            if note.treatment == treatment
        ]
        for treatment in TREATMENTS
    }


def first_place(first: str) -> Text:
    """The first place of a note for a reader: ``line 12`` is ``12행`` in Korean.

    ``segment 3 word 1`` is ``3번째 항목 1번째 단어``; times and file names stay as they are.
    """
    if not _PLACES.fullmatch(first):
        return Text(first, first)
    return Text(first, _PLACE.sub(lambda found: f"{found[2]}{_COUNTED[found[1]]}", first))


def problems(notes: Iterable[ReadingNote]) -> tuple[ReadingNote, ...]:
    """Notes about problems: all but those that only state what was read.

    A note of treatment ``read`` with another code than those made here is one of them: the file
    was read as it is, and the reader should know something about it.
    """
    return tuple(n for n in notes if not (n.treatment == "read" and n.code in PLAIN_CODES))


def note_lines(notes: Iterable[ReadingNote]) -> list[Text]:
    """The protocol for a terminal: treatment and sentence, a line each."""
    return [joined(": ", (TREATMENT_NAMES[n.treatment], _sentence(n))) for n in notes]


def unsaid(notices: Iterable[Text], notes: Iterable[ReadingNote]) -> tuple[Text, ...]:
    """Notices without a note of the same wording, each once."""
    said = {note.text.en for note in notes}
    return tuple(text for text in dict.fromkeys(notices) if text.en not in said)


def notes_of_document(document: Mapping[str, Any] | None) -> tuple[ReadingNote, ...]:
    """The notes in ``reading`` of a stored document; what does not fit is passed over."""
    rows = ((kind, row) for kind in TREATMENTS for row in (document or {}).get(kind) or ())
    found = []
    for treatment, row in rows:
        code, first, en, ko = (str(row.get(key, "")) for key in ("code", "first", "en", "ko"))
        found.append(ReadingNote(treatment, code, int(row.get("count", 1)), first, Text(en, ko)))
    return tuple(found)


def _sentence(note: ReadingNote) -> Text:
    text, count = note.text, str(note.count)
    if note.count < 2 or note.treatment == "read":
        return text
    return Text(
        text.en if count in text.en else f"{text.en} ({note.count:,} places)",
        text.ko if count in text.ko else f"{text.ko} ({note.count:,}곳)",
    )
