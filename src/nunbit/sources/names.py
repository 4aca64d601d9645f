"""Names as sources spell them: repaired, compared, and turned into record ids and splits.

AI Hub's zips hold CP949 names without the UTF-8 flag, macOS unpacks to NFD, other tools to
mojibake. Everything behind this module sees NFC. Strings in, strings out; no files.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata

from nunbit.schema import Split

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MAX_ID_BYTES = 200

# A syllable of KS X 1001 in CP949; read as CP437 its first byte is a box-drawing character, which
# no honest name holds, while "éA" would pass for one of CP949's rarer syllables.
_COMMON_SYLLABLE = re.compile(rb"[\xb0-\xc8][\xa1-\xfe]")
_UNDECODABLE = re.compile("[\udc80-\udcff]")  # as os.fsdecode represents bytes
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")
# Not allowed in a record id: '.' ends the key in WebDataset, the rest cannot be in a file name
# on one system or another.
_UNSAFE_IN_ID = re.compile(r'[./\\<>:"|?*\x00-\x1f\x7f\ud800-\udfff]')
_SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "publictest"), "validation"),
    **dict.fromkeys(("test", "testing", "privatetest"), "test"),
}
_VALIDATION_SHARE = 10


def nfc(text: str) -> str:
    """Unicode NFC, so that names from macOS equal names from elsewhere."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def repair_name(raw: str) -> str:
    """The name as its author typed it, NFC.

    Three kinds of damage are undone: UTF-8 or CP949 bytes that a zip directory without the UTF-8
    flag makes Python read as CP437 (also when such names were unpacked to disk), CP949 bytes on
    a UTF-8 file system, and NFD. A name that is fine stays as it is: the repair is taken only
    if it brings Hangul into a name that has none.
    """
    if raw.isascii():
        return raw
    data = _as_cp437(raw)
    if data is None:  # holds more than CP437 has: Hangul, combining marks, undecodable bytes
        if _UNDECODABLE.search(raw):
            data = os.fsencode(raw)
            return nfc(_decoded(data) or data.decode("utf-8", "replace"))
        raw = unicodedata.normalize("NFC", raw)
        data = _as_cp437(raw)
        if data is None:
            return raw
    repaired = _decoded(data)
    if repaired is None or not _HANGUL.search(repaired):
        return nfc(raw)
    if not _COMMON_SYLLABLE.search(data) and data != repaired.encode("utf-8"):
        return nfc(raw)
    return nfc(repaired)


def _as_cp437(text: str) -> bytes | None:
    try:
        return text.encode("cp437")
    except UnicodeEncodeError:
        return None


def _decoded(data: bytes) -> str | None:
    # Strict UTF-8 first: CP949 text is practically never valid UTF-8, the reverse happens.
    for encoding in ("utf-8", "cp949"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def split_name(file_name: str) -> tuple[str, str]:
    """Base name without its suffix, and the suffix in lower case with its dot."""
    stem, dot, suffix = file_name.rpartition(".")
    return (stem, f".{suffix.lower()}") if dot and stem else (file_name, "")


def is_image_name(file_name: str) -> bool:
    """Whether the suffix, in any case, is one of ``IMAGE_SUFFIXES``."""
    return file_name.lower().endswith(IMAGE_SUFFIXES)


def is_unsafe_member(name: str) -> bool:
    """Whether a zip member's name points outside the folder it would be unpacked to."""
    parts = name.replace("\\", "/").split("/")
    return not parts[0] or ".." in parts or (len(parts[0]) >= 2 and parts[0][1] == ":")


def parse_split(word: str) -> Split | None:
    """The split that a folder or a table cell names, in any case; None if it names none."""
    return _SPLIT_WORDS.get(word.strip().casefold())


def implicit_split(key: str) -> Split:
    """Train, or validation for one key in ten, for sources that have no split of their own.

    It depends on ``key`` alone: other files can come and go without moving this one.
    """
    digest = hashlib.sha256(nfc(key).encode("utf-8", "replace")).digest()
    number = int.from_bytes(digest[:8], "big")
    return "validation" if number % _VALIDATION_SHARE == 0 else "train"


def record_id_from(file_name: str) -> str:
    """A record id from a file name: its stem, safe in any file system and inside a tar.

    At most ``MAX_ID_BYTES`` bytes of UTF-8; of a longer one the end becomes a digest. Two file
    names can give the same id (``a.jpg``, ``a.jpeg``); ``RecordPacker`` tells them apart.
    """
    stem = _UNSAFE_IN_ID.sub("_", nfc(split_name(file_name)[0])).strip() or "_"
    return _shortened(stem, "")


def distinct_record_id(record_id: str, key: str) -> str:
    """``record_id`` with a digest of ``key`` behind it, still within ``MAX_ID_BYTES``."""
    return _shortened(record_id, f"-{_digest(key, 12)}")


def check_record_id(record_id: str) -> bool:
    """Whether a given id may be used as it is: safe, not empty, not too long."""
    return (
        bool(record_id.strip())
        and record_id == record_id.strip()
        and not _UNSAFE_IN_ID.search(record_id)
        and len(record_id.encode("utf-8", "replace")) <= MAX_ID_BYTES
    )


def _shortened(stem: str, tail: str) -> str:
    data = stem.encode("utf-8")
    room = MAX_ID_BYTES - len(tail)
    if len(data) > room:
        tail = f"-{_digest(stem, 16)}{tail}"
        stem = data[: MAX_ID_BYTES - len(tail)].decode("utf-8", "ignore")
    return stem + tail


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:length]
