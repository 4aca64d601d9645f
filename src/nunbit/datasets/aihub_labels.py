"""AI Hub's data set 82 itself: its file names, its label files, and its published counts.

A photo is called ``<64 hex>_<gender>_<age>_<label>_<place>_<14 digits>-<NNN>-<NNN>.jpg``; the
first field is the uploader's hash and thus the person.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypedDict

import msgspec

from nunbit.core.messages import Text, text_of
from nunbit.core.schema import Box, Reject, Split
from nunbit.datasets.archives import parse_split, split_name

_PERSON = re.compile(r"[0-9a-fA-F]{64}")
_TRAIT = re.compile(
    r"(?<![A-Za-z])(training|train|validation|valid|val|testing|test|sample)(?:_(\d{1,2}))?"
    r"(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_CLASS = re.compile(r"EMOIMG_([^_/]+)_", re.IGNORECASE)
_IN_PARENTHESES = re.compile(r"img_emotion_\w+?_data\s*\(([^)]+)\)", re.IGNORECASE)
_PARTS = {"train": "TRAIN", "validation": "VALID", "test": "TEST", None: "SAMPLE"}
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class NameFields:
    """The fields of a photo's name; None where the name does not have the form.

    Attributes:
        subject_id: The 64 hex digits verbatim.
        gender: ``남`` or ``여``.
        age: Decade as digits.
        label: The uploader's label as spelled.
        place: With ``/`` where the name has ``&`` or ``_``, as the label files write it.
    """

    subject_id: str | None = None
    gender: str | None = None
    age: str | None = None
    label: str | None = None
    place: str | None = None


@dataclass(frozen=True, slots=True)
class FolderTraits:
    """What a folder path states.

    Attributes:
        split: Official split, or None.
        part: ``TRAIN_01``, ``VALID``, ``SAMPLE`` and the like, or ``unknown``.
        label: Class as spelled in ``EMOIMG_<class>_…``, or None.
    """

    split: Split | None
    part: str
    label: str | None


def parse_photo_name(name: str) -> NameFields:
    """Read the fields of a photo's base name.

    The place may hold underscores (some unpackers write ``_`` for ``&``), so four fields are taken
    from the left and one from the right.
    """
    fields = split_name(name)[0].split("_")
    if not _PERSON.fullmatch(fields[0]):
        return NameFields()
    if len(fields) < 6:
        return NameFields(subject_id=fields[0])
    place = "/".join(fields[4:-1]).replace("&", "/")
    return NameFields(fields[0], fields[1], fields[2], fields[3], place)


@lru_cache(maxsize=4096)
def folder_traits(path: str) -> FolderTraits:
    """Read split, part and class from a path of folders and zips; the deepest that says so wins.

    The deepest, because both roots nest: ``1.Training/원천데이터/EMOIMG_기쁨_TRAIN_01/``.
    """
    split: Split | None = None
    part, label = UNKNOWN, None
    for component in reversed(path.split("/")):
        if (trait := _TRAIT.search(component)) and part == UNKNOWN:
            split = parse_split(trait.group(1))  # None for the sample
            part = _PARTS[split] + (f"_{int(trait.group(2)):02d}" if trait.group(2) else "")
        if (emotion := _CLASS.search(component)) and label is None:
            label = emotion.group(1)
    return FolderTraits(split, part, label)


def label_file_class(name: str) -> str | None:
    """The class in ``img_emotion_training_data(<class>).json``, as spelled, or None."""
    match = _IN_PARENTHESES.search(name)
    return match.group(1) if match else None


def is_aihub_path(path: str) -> bool:
    """Whether a path carries one of the data set's own names."""
    lower = path.lower()
    return "emoimg" in lower or "img_emotion_" in lower or "한국인 감정인식" in path


def is_photo_name(name: str) -> bool:
    """Whether a base name begins with a person key as AI Hub writes it."""
    return bool(_PERSON.fullmatch(name.partition("_")[0]))


def loose_key(name: str) -> str:
    """A photo's name whatever the unpacker: ``_`` for ``&``, ``/`` and blanks, small suffix."""
    stem, suffix = split_name(name)
    return stem.replace("&", "_").replace(" ", "_").replace("/", "_") + suffix


# -- label files, decoded with types: 60,000 records in a fifth of a second -----------------------

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
    """What one annotator stated."""

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

    def annotations(self) -> tuple[Annotation | None, ...]:
        """Annotators A, B, C."""
        return (
            self.annot_a or self.face_a,
            self.annot_b or self.face_b,
            self.annot_c or self.face_c,
        )

    def votes(self) -> tuple[str | None, ...]:
        """The three votes as spelled; None where an annotator or the vote is missing."""
        return tuple(_vote(annotation) for annotation in self.annotations())

    def boxes(self) -> tuple[Box, ...]:
        """The three boxes verbatim; ``MISSING_BOX`` keeps the place of one that is not there."""
        given = (None if each is None else each.boxes for each in self.annotations())
        return tuple(MISSING_BOX if boxes is None else boxes.box() for boxes in given)


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The readable entries of one file, and the rejects."""

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
    body = data.removeprefix(_BOM)
    if _is_too_dense(body):
        return _refused(shown, "not_labels", _TOO_DENSE)
    try:
        found = _entries(body, shown)
    except msgspec.ValidationError as exc:
        return _refused(shown, "not_labels", text_of(str(exc)))
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        text = Text(
            f"broken JSON, or not UTF-8: {exc}", f"JSON이 손상되었거나 UTF-8이 아닙니다: {exc}"
        )
        return _refused(shown, "broken_json", text)
    except RecursionError:
        return _refused(shown, "broken_json", _TOO_DEEP)
    if not found.records and found.rejects:
        return _refused(shown, "not_labels", found.rejects[0].text)
    labelled = (r.uploader is not None or any(r.annotations()) for r in found.records)
    return found if not found.records or any(labelled) else _refused(shown, "not_labels", _NO_LABEL)


def _refused(shown: str, reason: str, text: Text) -> LabelFile:
    return LabelFile([], [Reject(shown, reason, text)])


_JUDGED_FROM = 8 << 20  # smaller files cannot fill the memory
_TOO_DENSE = Text(
    "millions of tiny entries: no label file",
    "아주 작은 항목이 수백만 개인 파일로, 레이블 파일이 아닙니다",
)
_NO_LABEL = Text("JSON without expression labels", "표정 레이블이 없는 JSON")
_TOO_DEEP = Text("JSON nested too deeply", "JSON의 중첩이 너무 깊습니다")


def _is_too_dense(body: bytes) -> bool:
    """Whether a large file has far more entries per byte than a label file.

    A record has some 750 bytes, 7 braces and 30 commas; ``[1,1,1,…`` of the same size would become
    a hundred times as many objects, and more memory than a computer has.
    """
    return len(body) >= _JUDGED_FROM and any(
        n * body.count(m) > len(body) for m, n in {b"{": 30, b",": 8, b"[": 30}.items()
    )


def _entries(body: bytes, shown: str) -> LabelFile:
    """All entries at once, or one by one where some do not fit."""
    with contextlib.suppress(msgspec.ValidationError):
        return LabelFile(_ALL.decode(body), [])
    found = LabelFile([], [])
    for number, raw in enumerate(_RAW.decode(body)):
        try:
            found.records.append(_ONE.decode(raw))
        except (msgspec.ValidationError, RecursionError) as exc:
            found.rejects.append(Reject(f"{shown}#{number}", "bad_record", text_of(str(exc))))
    return found


def _vote(annotation: Annotation | None) -> str | None:
    if annotation is None:
        return None
    if annotation.vote is None and annotation.boxes is not None:
        return annotation.boxes.label
    return annotation.vote


def file_names(records: list[LabelRecord]) -> Iterator[str]:
    """Base names of the records' photos, not normalised."""
    return (record.filename.rpartition("/")[2] for record in records)


LABELS = ("joy", "flustered", "anger", "anxiety", "hurt", "sadness", "neutral")

REAL_SET_MINIMUM = 1000


def _by_label(*counts: int) -> dict[str, int]:
    return dict(zip(LABELS, counts, strict=True))


KNOWN_COUNTS: dict[str, dict[str, dict[str, int]]] = {
    "images": {
        "TRAIN_01": _by_label(16072, 16170, 16234, 16133, 16023, 15874, 16197),
        "TRAIN_02": _by_label(15914, 15924, 15880, 15913, 15506, 15804, 15934),
        "TRAIN_03+TRAIN_04": _by_label(28117, 27549, 27582, 27216, 27860, 28163, 27102),
        "VALID": _by_label(7499, 7454, 7461, 7407, 7423, 7479, 7403),
    },
    "label_records": {
        "train": _by_label(60103, 59643, 59696, 59262, 59389, 59841, 59233),
        "validation": _by_label(7499, 7454, 7461, 7407, 7423, 7479, 7403),
    },
    "totals": {
        "images": {
            "TRAIN_01": 112_703,
            "TRAIN_02": 110_875,
            "TRAIN_03+TRAIN_04": 193_589,
            "VALID": 52_126,
        },
        "label_records": {"train": 417_167, "validation": 52_126},
    },
}


class CountDifference(TypedDict):
    """A count that is not the known one."""

    what: str
    label: str
    found: int
    known: int


class ComparedCounts(TypedDict):
    """Counts of a source held against those of the real set; empty for anything else."""

    compared: list[str]
    differences: list[CountDifference]


def compare_counts(raw_counts: Mapping[str, Any]) -> ComparedCounts:
    """Compare a listing's counts with the known ones, part by part.

    A part is compared only where the input looks like the real set: some class has more than
    ``REAL_SET_MINIMUM`` images (label records only where some part was compared). Parts 3 and 4
    are known only as a sum and compared when both are there.

    Args:
        raw_counts: ``Listing.raw_counts`` of an AI Hub source.

    Returns:
        Plain data: ``compared`` (names of what was compared) and ``differences``, each with
        ``what``, ``label``, ``found`` and ``known``. Both empty for anything but the real set.
    """
    found = {part: dict(counts) for part, counts in raw_counts.get("images_by_part", {}).items()}
    if "TRAIN_03" in found and "TRAIN_04" in found:
        third, fourth = found["TRAIN_03"], found["TRAIN_04"]
        found["TRAIN_03+TRAIN_04"] = {
            label: third.get(label, 0) + fourth.get(label, 0) for label in {*third, *fourth}
        }
    pairs = _real_parts("images", found)
    if pairs:
        pairs |= _real_parts("label_records", raw_counts.get("label_records", {}))
    return {
        "compared": list(pairs),
        "differences": [each for what, pair in pairs.items() for each in _differences(what, *pair)],
    }


def _real_parts(
    what: str, found: Mapping[str, dict[str, int]]
) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    """Found and known counts of the parts that look like the real set."""
    return {
        f"{what} {part}": (found[part], known)
        for part, known in KNOWN_COUNTS[what].items()
        if max(found.get(part, {}).values(), default=0) > REAL_SET_MINIMUM
    }


def difference_lines(raw_counts: Mapping[str, Any]) -> tuple[Text, ...]:
    """``compare_counts``: one line per difference, or one that says 'equal'.

    Empty for anything but the real set.
    """
    result = compare_counts(raw_counts)
    if not result["compared"]:
        return ()
    if not result["differences"]:
        what = ", ".join(result["compared"])
        return (
            Text(
                f"all counts equal the known ones: {what}", f"알려진 개수와 모두 같습니다: {what}"
            ),
        )
    difference = Text(
        "{what}, {label}: {found:,} found, {known:,} known ({change:+,})",
        "{what}, {label}: {found:,}개, 알려진 수 {known:,}개 ({change:+,})",
    )
    return tuple(
        difference.fill(change=item["found"] - item["known"], **item)
        for item in result["differences"]
    )


def _differences(
    what: str, found: Mapping[str, int], known: Mapping[str, int]
) -> list[CountDifference]:
    return [
        {"what": what, "label": label, "found": found.get(label, 0), "known": known.get(label, 0)}
        for label in [*known, *(label for label in sorted(found) if label not in known)]
        if found.get(label, 0) != known.get(label, 0)
    ]
