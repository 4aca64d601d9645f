"""ELAN annotation files (.eaf).

Why not pympi-ling (1.71, MIT), tried on the same files: it raises KeyError for files without a
schema location, wants whole numbers in every time slot, leaves annotations without a time slot
value out, and does nothing with TIME_ORIGIN. What is used here of the format is one page.
"""

from __future__ import annotations

import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import numpy as np

from nunbit.transcript.cues import Cue, Cues, RawWord, bad_file
from nunbit.transcript.notes import Notes
from nunbit.transcript.tiers import Tier, cues_of, meaning_of

_MOST_MS = 1_000_000_000_000  # 31 years; more is no time
_CONTROLLED = "CONTROLLED_VOCABULARY_REF"


def read_eaf(path: Path, text: str, notes: Notes, media: str | None = None) -> Cues:
    """Read the tiers of an ELAN file that hold words or utterances.

    Time slots without a value are spread evenly between their neighbours, as ELAN shows them.
    Words that only subdivide an utterance (no times of their own) get estimated times later.

    Args:
        path: For messages.
        text: The file's text.
        notes: Takes what was odd.
        media: File name of the recording: an ELAN file may name several media, each with a start
            of its own (TIME_ORIGIN).

    Raises:
        InputError: The file is cut off, not ELAN, or has no such tier.
    """
    root = _root(path, text)
    units = root.find("HEADER")
    unit = units.get("TIME_UNITS", "milliseconds") if units is not None else "milliseconds"
    if unit != "milliseconds":
        raise bad_file(
            path,
            f"times in {unit[:40]}; save it from ELAN with milliseconds",
            f"시간 단위가 {unit[:40]}입니다. ELAN에서 밀리초로 저장하십시오",
        )
    origin_s = _origin_s(root, media, notes)
    slots = {slot: time + origin_s for slot, time in _slots(path, root, notes).items()}
    tiers = _tiers(root, slots)
    if origin_s:
        notes.add("time_shifted", shift_s=origin_s)
    # No language: DEFAULT_LOCALE is what the interface was set to, often 'en' in Korean files.
    return Cues(cues_of(path, tiers, notes), "eaf")


def _root(path: Path, text: str) -> ET.Element:
    # The text is decoded already: the declaration may name the encoding it came in.
    declared = text.lstrip().startswith("<?xml") and "?>" in text
    try:
        root = ET.fromstring(text[text.index("?>") + 2 :] if declared else text)
    except (ET.ParseError, UnicodeError, ValueError) as exc:
        line, _ = exc.position if isinstance(exc, ET.ParseError) else (1, 0)
        raise bad_file(
            path,
            f"not a complete XML file (line {line}); it may be cut off: save it from ELAN again",
            f"온전한 XML 파일이 아닙니다({line}행). 잘렸을 수 있으니 ELAN에서 다시 저장하십시오",
        ) from exc
    if root.tag != "ANNOTATION_DOCUMENT":
        raise bad_file(
            path,
            f"an XML file, but not ELAN (<{root.tag[:60]}>)",
            f"XML 파일이지만 ELAN 파일이 아닙니다 (<{root.tag[:60]}>)",
        )
    return root


def _origin_s(root: ET.Element, media: str | None, notes: Notes) -> float:
    """Offset of the recording: its time is the annotation's time plus this."""
    media_named = root.findall("HEADER/MEDIA_DESCRIPTOR")
    if not media_named:
        return 0.0
    chosen = _own_medium(media_named, media)
    if chosen is None:
        chosen = media_named[0]
        if media is not None and len({m.get("TIME_ORIGIN", "0") for m in media_named}) > 1:
            first = _file_name(chosen) or "1"
            notes.add("medium_not_named", first, len(media_named), name=media)
    value = chosen.get("TIME_ORIGIN", "0")
    milliseconds = _whole_ms(value)
    if milliseconds is None:
        notes.add("time_origin_unreadable", _file_name(chosen) or "1")
    return (milliseconds or 0) / 1000.0


def _own_medium(media_named: list[ET.Element], media: str | None) -> ET.Element | None:
    """The descriptor of the recording: by its file name, else by the name without suffix."""
    if media is None:
        return None
    name = unicodedata.normalize("NFC", PurePosixPath(media).name).casefold()
    named = [(_file_name(medium).casefold(), medium) for medium in media_named]
    for key in (str, _stem):
        for own, medium in named:
            if own and key(own) == key(name):
                return medium
    return None


def _file_name(medium: ET.Element) -> str:
    url = medium.get("MEDIA_URL") or medium.get("RELATIVE_MEDIA_URL") or ""
    name = unquote(url).replace("\\", "/").rpartition("/")[2]
    return unicodedata.normalize("NFC", name)


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _whole_ms(text: str) -> int | None:
    """Whole milliseconds; None for anything else."""
    digits = text.strip().removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        return None
    value = int(text)
    return value if abs(value) <= _MOST_MS else None


def _slots(path: Path, root: ET.Element, notes: Notes) -> dict[str, float]:
    """Time slot id -> seconds; slots whose value is no number are as if they had none."""
    slots = list(root.iterfind("TIME_ORDER/TIME_SLOT"))
    values: dict[int, float] = {}
    bad: list[str] = []
    for i, slot in enumerate(slots):
        if "TIME_VALUE" in slot.attrib:
            milliseconds = _whole_ms(slot.attrib["TIME_VALUE"])
            if milliseconds is None:
                bad.append(slot.get("TIME_SLOT_ID", "?"))
            else:
                values[i] = milliseconds / 1000.0
    if bad and not values:
        raise bad_file(
            path,
            f"no time slot holds a number (first: {bad[0]})",
            f"시간 값이 모두 수가 아닙니다 (처음: {bad[0]})",
        )
    if bad:
        notes.add("time_not_a_number", bad[0], len(bad), what=("time slot(s)", "시간 칸"))
    if not values:
        return {}
    times = np.interp(range(len(slots)), list(values), list(values.values()))
    lost = set(bad)
    return {
        name: float(t)
        for slot, t in zip(slots, times, strict=True)
        if (name := slot.get("TIME_SLOT_ID", "")) not in lost
    }


def _tiers(root: ET.Element, slots: Mapping[str, float]) -> list[Tier]:
    """All tiers; subdivisions of an utterance become its words."""
    children = _subdivisions(root)
    coded = {
        kind.get("LINGUISTIC_TYPE_ID")
        for kind in root.iterfind("LINGUISTIC_TYPE")
        if kind.get(_CONTROLLED)
    }
    tiers = []
    for tier in root.iterfind("TIER"):
        cues = tuple(_aligned(tier, slots, children))
        if cues:
            name, speaker = tier.get("TIER_ID", ""), tier.get("PARTICIPANT") or None
            coding = tier.get("LINGUISTIC_TYPE_REF") in coded
            tiers.append(Tier(name, cues, speaker, coding))
    return tiers


def _aligned(
    tier: ET.Element, slots: Mapping[str, float], children: Mapping[str, list[str]]
) -> Iterator[Cue]:
    for annotation in tier.iterfind("ANNOTATION/ALIGNABLE_ANNOTATION"):
        start = slots.get(annotation.get("TIME_SLOT_REF1", ""))
        end = slots.get(annotation.get("TIME_SLOT_REF2", ""))
        text = " ".join((annotation.findtext("ANNOTATION_VALUE") or "").split())
        if start is not None and end is not None and text:
            words = children.get(annotation.get("ANNOTATION_ID", ""), [])
            yield Cue(start, end, text, words=tuple(RawWord(word) for word in words))


def _subdivisions(root: ET.Element) -> dict[str, list[str]]:
    """Annotation id -> texts of the word annotations that refer to it, in order."""
    children: dict[str, list[str]] = {}
    for tier in root.iterfind("TIER"):
        if meaning_of(tier.get("TIER_ID", "")).role != "words":
            continue
        for reference in tier.iterfind("ANNOTATION/REF_ANNOTATION"):
            text = " ".join((reference.findtext("ANNOTATION_VALUE") or "").split())
            if text:
                children.setdefault(reference.get("ANNOTATION_REF", ""), []).append(text)
    return children
