"""What AI Hub's file and folder names say: person, gender, age, label, place, split, part.

A photo is called ``<64 hex>_<gender>_<age>_<label>_<place>_<14 digits>-<NNN>-<NNN>.jpg``; the first
field is the uploader's hash and thus the person. Strings in, values out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from nunbit.schema import Split
from nunbit.sources.names import split_name

_PERSON = re.compile(r"[0-9a-fA-F]{64}")
_TRAIT = re.compile(
    r"(?<![A-Za-z])(training|train|validation|valid|val|testing|test|sample)(?:_(\d{1,2}))?"
    r"(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_CLASS = re.compile(r"EMOIMG_([^_/]+)_", re.IGNORECASE)
_IN_PARENTHESES = re.compile(r"img_emotion_\w+?_data\s*\(([^)]+)\)", re.IGNORECASE)
_SPLITS: dict[str, Split | None] = {
    "training": "train",
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "testing": "test",
    "test": "test",
    "sample": None,
}
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
    """What a folder path says.

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
        trait = _TRAIT.search(component)
        if trait and part == UNKNOWN:
            split = _SPLITS[trait.group(1).lower()]
            number = f"_{int(trait.group(2)):02d}" if trait.group(2) else ""
            part = _PARTS[split] + number
        emotion = _CLASS.search(component)
        if emotion and label is None:
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
