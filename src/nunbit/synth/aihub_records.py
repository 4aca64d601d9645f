"""The settings, people and records of a synthetic AI Hub tree, votes and strange cases included.

Annotators disagree with the uploader and with one another as is published about AI Hub's emotion
photos: how often all three agree, how often all three differ, and how often the majority confirms
the uploader. The strange cases of the real data are changes to ordinary records: EXIF tags 0 to 8
and none, suffixes, unusable and missing boxes, unknown votes, broken files, an image without a
record, one of 216 megapixels.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from PIL import Image

from nunbit.core.schema import Box
from nunbit.runtime.config import Seed, Workers
from nunbit.synth.actors import DrawnPerson
from nunbit.synth.drawn_photo import DrawnPhoto, exif_of

# --- files that break readers ---------------------------------------------------------------------

GIANT_SIZE = (17084, 12648)
"""The largest picture among the real photos."""


_STRIP = 256  # rows; a multiple of 8 MCU rows, so that restart markers count on without a change


_MCU = 16


_SOF0, _DHT, _SOS = 0xC0, 0xC4, 0xDA


def damage(data: bytes) -> bytes:
    """A file whose Huffman table is nonsense: decoders stop with 'broken data stream'."""
    start, _ = _segment(data, _DHT)
    # 16 counts follow the length and the table's class; 255 codes of one bit cannot exist.
    return data[: start + 5] + b"\xff" * 16 + data[start + 21 :]


def giant_offset(picture: tuple[int, int], zoom: int) -> tuple[int, int]:
    """Where the left upper corner of an enlarged picture lies in a giant one."""
    return (GIANT_SIZE[0] - picture[0] * zoom) // 2, (GIANT_SIZE[1] - picture[1] * zoom) // 2


def giant_jpeg(picture: Image.Image, zoom: int, quality: int) -> bytes:
    """A valid baseline JPEG of ``GIANT_SIZE`` with an enlarged picture in its middle.

    The picture is encoded in strips and spliced at restart markers, so memory stays that of one
    strip (a few tens of megabytes), however large the result is.

    Args:
        picture: RGB.
        zoom: Factor by which the picture is enlarged.
        quality: JPEG quality.
    """
    columns, rows = GIANT_SIZE
    wide, tall = picture.width * zoom, picture.height * zoom
    left, top = giant_offset(picture.size, zoom)
    flat: dict[int, bytes] = {}
    header, scans = b"", []
    for y in range(0, rows, _STRIP):
        height = min(_STRIP, rows - y)
        inside = max(0, min(y + height, top + tall) - max(y, top))
        if not inside and height in flat:
            scans.append(flat[height])
            continue
        strip = Image.new("RGB", (columns, height), (176, 186, 196))
        if inside:
            first = max(y, top)
            box = (0.0, (first - top) / zoom, float(picture.width), (first - top + inside) / zoom)
            part = picture.resize((wide, inside), Image.Resampling.BILINEAR, box=box)
            strip.paste(part, (left, first - y))
        buffer = io.BytesIO()
        options = {"subsampling": "4:2:0", "restart_marker_rows": 1, "exif": exif_of(1)}
        strip.save(buffer, "JPEG", quality=quality, **options)
        data = buffer.getvalue()
        begin, length = _segment(data, _SOS)
        header = header or data[: begin + length]
        scan = data[begin + length : -2]  # without the end marker
        scans.append(scan)
        if not inside:
            flat[height] = scan
    start, _ = _segment(header, _SOF0)
    header = header[: start + 5] + rows.to_bytes(2, "big") + header[start + 7 :]
    restart = bytes((0xFF, 0xD0 + (_STRIP // _MCU - 1) % 8))
    return header + restart.join(scans) + b"\xff\xd9"


def _segment(data: bytes, marker: int) -> tuple[int, int]:
    """Start of a marker segment's two marker bytes, and its length including them."""
    at = 2
    while at < len(data):
        length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == marker:
            return at, length
        at += length
    raise ValueError(f"no marker {marker:#x} in {len(data)} bytes")


# --- votes ----------------------------------------------------------------------------------------

UNKNOWN = "알수없음"
"""AI Hub's vote for "cannot tell"."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Shares among the photos that were uploaded under one emotion.

    Attributes:
        unanimous: All three annotators agree (with one another, not always with the uploader).
        all_differ: All three choose different labels.
        confirmed: The majority says what the uploader said, where there is a majority.
        instead: Labels chosen instead, with weights.
    """

    unanimous: float
    all_differ: float
    confirmed: float
    instead: dict[str, float]


# Unanimity: published for each class. All three differ: published for joy, flustered, anxiety,
# hurt and neutral. Confirmed: published for joy, flustered, anxiety and neutral. What flustered is
# called instead: published counts. Everything else is chosen so that the totals come out as
# published: a majority in 86%, the uploader confirmed in 78% of those.
AGREEMENT: dict[str, Agreement] = {
    "joy": Agreement(0.9247, 0.0080, 0.975, {
        "flustered": 40, "neutral": 40, "sadness": 10, "anxiety": 4, "hurt": 3, "anger": 3}),
    "flustered": Agreement(0.5156, 0.1100, 0.775, {
        "anxiety": 2590, "joy": 1668, "neutral": 1580, "anger": 1015, "hurt": 535,
        "sadness": 484}),
    "anger": Agreement(0.5111, 0.1300, 0.85, {
        "flustered": 24, "anxiety": 22, "sadness": 20, "neutral": 18, "hurt": 12, "joy": 4}),
    "anxiety": Agreement(0.2171, 0.2663, 0.378, {
        "flustered": 30, "sadness": 26, "neutral": 22, "hurt": 12, "anger": 7, "joy": 3}),
    "hurt": Agreement(0.2009, 0.2804, 0.55, {
        "sadness": 44, "neutral": 22, "anxiety": 14, "flustered": 10, "anger": 8, "joy": 2}),
    "sadness": Agreement(0.4779, 0.1300, 0.85, {
        "hurt": 32, "neutral": 26, "anxiety": 22, "anger": 12, "flustered": 6, "joy": 2}),
    "neutral": Agreement(0.7362, 0.0290, 0.946, {
        "sadness": 46, "flustered": 16, "anxiety": 12, "hurt": 10, "anger": 8, "joy": 8}),
}  # fmt: skip


def sample_votes(uploader: str, rng: np.random.Generator) -> tuple[str, str, str]:
    """Votes of annotators A, B and C for a photo uploaded under a label.

    Args:
        uploader: Label id, a key of ``AGREEMENT``.
        rng: Source of the variation.
    """
    table = AGREEMENT[uploader]
    names = list(table.instead)
    share = np.array(list(table.instead.values())) / sum(table.instead.values())
    draw = rng.random()
    if draw < table.all_differ:
        # The uploader's word is about as likely as all the others together.
        pool, weights = [uploader, *names], np.concatenate([[1.0], share]) / 2.0
        a, b, c = (pool[k] for k in rng.choice(len(pool), 3, replace=False, p=weights))
        return a, b, c
    confirmed = rng.random() < table.confirmed
    major = uploader if confirmed else names[int(rng.choice(len(names), p=share))]
    if draw < table.all_differ + table.unanimous:
        return major, major, major
    minor = uploader
    if confirmed or rng.random() >= 0.5:
        left = np.where([name == major for name in names], 0.0, share)
        minor = names[int(rng.choice(len(names), p=left / left.sum()))]
    votes = [major, major, major]
    votes[int(rng.integers(3))] = minor
    return votes[0], votes[1], votes[2]


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
        per_class_validation: The same for validation; None = 30% of ``per_class``.
        seed: Decides everything that is random.
        photo_width: Typical width of the photos, pixels; they vary by a quarter.
        extra_records: Label records without a photo, for each training photo (the real label files
            cover four parts, of which people mostly have one).
        persons: People in the training part; 0 = one for every ten photos.
        shared: Share of validation photos whose person also occurs in training.
        oddities: Add the damaged, large and strange cases of the real data set.
        giant: Make one of those a 216-megapixel photo.
        num_workers: Processes; 0 = one a core. The bytes written are the same.
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
    person: DrawnPerson
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
    photo: DrawnPhoto | None
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


def gender_of(person: DrawnPerson) -> str:
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


@dataclass(frozen=True, slots=True)
class StrangeCase:
    """One strange case: where it goes, and what it does to an ordinary record."""

    part: Part
    label: str
    kind: str
    value: Any = None

    def apply(self, record: SynthRecord) -> SynthRecord:
        """The ordinary record, made strange."""
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
    for label, kind, values in (
        ("flustered", "orientation", (*range(9), None)),
        ("joy", "suffix", (".jpeg", ".JPG", ".JPEG")),
        ("anger", "boxes", ("zero", "edge", "missing", "outside")),
        ("anxiety", "votes", ("a", "b", "all")),
        ("hurt", "file", ("orphan",)),
        ("sadness", "file", ("large", "giant") if giant else ("large",)),
    ):
        yield from (StrangeCase("train", label, kind, value) for value in values)
    for part in PARTS:
        for what in ("truncated", "damaged"):
            yield StrangeCase(part, "neutral" if part == "train" else "joy", "file", what)
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
