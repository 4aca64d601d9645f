"""The settings, people and records of a synthetic AI Hub tree, as plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from nunbit.config import Seed, Workers
from nunbit.schema import Box
from nunbit.synth.jpegs import giant_offset
from nunbit.synth.people import Person
from nunbit.synth.photo import Photo

Part = Literal["train", "validation"]
PARTS: tuple[Part, ...] = ("train", "validation")
Oddity = Literal["truncated", "damaged", "giant", "large", "orphan"]
Annotation = dict[str, Any]

KOREAN: dict[str, str] = {
    "joy": "기쁨", "flustered": "당황", "anger": "분노", "anxiety": "불안", "hurt": "상처",
    "sadness": "슬픔", "neutral": "중립",
}  # fmt: skip

# Spelling in the label files, code in the file name, scene that is drawn. Places 1, 2 and 10 are
# spelled as published, the others after the published table of places.
PLACES: tuple[tuple[str, int, str], ...] = (
    ("공공시설/종교/의료시설", 1, "public"),
    ("교통/이동수단(엘리베이터 포함)", 2, "transport"),
    ("상업시설/점포/시장", 3, "shop"),
    ("스포츠 관람 및 레저시설", 4, "sports"),
    ("오락/공연시설", 5, "theatre"),
    ("행사/사무공간", 6, "office"),
    ("실외 자연환경", 7, "nature"),
    ("도심 환경", 8, "city"),
    ("문화재 및 유적지", 9, "heritage"),
    ("숙박 및 거주공간", 10, "room"),
)


@dataclass(frozen=True)
class SynthSettings:
    """What to write.

    Attributes:
        per_class: Ordinary photos of each emotion in the training part.
        per_class_validation: The same for validation; None takes 30% of ``per_class``.
        seed: Everything follows from it.
        photo_width: Typical width of the photos, pixels; they vary by a quarter.
        extra_records: Label records without a photo, per training photo (the real label files
            cover four parts, of which people mostly have one).
        persons: People in the training part; 0 takes one for ten photos.
        shared: Share of validation photos whose person also occurs in training.
        oddities: Whether to add the damaged, large and strange cases of the real set.
        giant: Whether one of those is a 216-megapixel photo.
        num_workers: Processes; 0 takes all cores. Does not change a byte.
    """

    per_class: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 200
    per_class_validation: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    seed: Seed = 0
    photo_width: Annotated[int, msgspec.Meta(ge=160, le=4096)] = 960
    extra_records: Annotated[float, msgspec.Meta(ge=0, le=10)] = 1.0
    persons: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    shared: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.27
    oddities: bool = True
    giant: bool = True
    num_workers: Workers = 0

    def count(self, part: Part) -> int:
        """Ordinary photos of each emotion in a part."""
        if part == "train":
            return self.per_class
        return self.per_class_validation or max(1, round(0.3 * self.per_class))


@dataclass(frozen=True, slots=True)
class Subject:
    """A person of the tree: the key in file names, and who is drawn.

    Attributes:
        key: 64 hexadecimal digits.
        person: Traits.
        professional: Whether the record says ``전문인``.
        habit: EXIF tag that most of this person's photos carry.
    """

    key: str
    person: Person
    professional: bool
    habit: int


@dataclass(frozen=True, slots=True)
class SynthRecord:
    """One record of a label file, its photo, and the truth.

    Attributes:
        file_name: Base name with extension.
        subject: Who.
        uploader: Label id.
        votes: Label ids of A, B and C, or ``알수없음``.
        drawn: Label id of the expression that is drawn (A's vote where there is one).
        place: Spelling in the label file.
        photo: The picture, or None for a record without one.
        annotations: ``annot_A`` to ``annot_C`` as the label file has them.
        orientation: EXIF tag, or None for a file without EXIF.
        oddity: What is wrong with the file, or None.
        note: Why this record was added, for the truth file; empty for ordinary ones.
    """

    file_name: str
    subject: Subject
    uploader: str
    votes: tuple[str, str, str]
    drawn: str
    place: str
    photo: Photo | None
    annotations: tuple[Annotation, Annotation, Annotation]
    orientation: int | None
    oddity: Oddity | None = None
    note: str = ""

    @property
    def zoom(self) -> int:
        """Factor by which the drawing is enlarged in the file."""
        columns = self.photo.size[0] if self.photo else 1
        return {"large": max(1, 4000 // columns), "giant": max(1, 6000 // columns)}.get(
            self.oddity or "", 1
        )

    @property
    def face_box(self) -> Box:
        """The true face box in pixels of the upright file; needs a photo."""
        if self.photo is None:
            raise ValueError(f"{self.file_name} has no photo")
        zoom, size = self.zoom, self.photo.size
        dx, dy = giant_offset(size, zoom) if self.oddity == "giant" else (0, 0)
        x0, y0, x1, y1 = self.photo.box_xyxy
        return x0 * zoom + dx, y0 * zoom + dy, x1 * zoom + dx, y1 * zoom + dy

    def document(self) -> dict[str, Any]:
        """The record as the label file spells it: nine keys in this order."""
        a, b, c = self.annotations
        return {
            "filename": self.file_name,
            "gender": gender_of(self.subject.person),
            "age": self.subject.person.age,
            "isProf": "전문인" if self.subject.professional else "일반인",
            "faceExp_uploader": KOREAN[self.uploader],
            "bg_uploader": self.place,
            "annot_A": a,
            "annot_B": b,
            "annot_C": c,
        }


def gender_of(person: Person) -> str:
    """The label file's word."""
    return "여" if person.gender == "f" else "남"


def sample_boxes(box: Box, rng: np.random.Generator) -> dict[str, float]:
    """One annotator's box around the true one, as the label file spells it."""
    width, height = box[2] - box[0], box[3] - box[1]
    shift = rng.normal(0.0, 0.018, 4) * (width, height, width, height)
    x0, y0, x1, y1 = (float(v + d) for v, d in zip(box, shift, strict=True))
    if rng.random() < 0.2:  # the real digits run from 5 to 17
        x0, y0, x1, y1 = round(x0, 3), round(y0, 3), round(x1, 3), round(y1, 3)
    return {"maxX": x1, "maxY": y1, "minX": x0, "minY": y0}
