"""ELAN annotation files (.eaf)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from nunbit.transcript.cues import Cue, Cues, Notice, RawWord, bad_file
from nunbit.transcript.tiers import Tier, cues_of, meaning_of


def read_eaf(path: Path, text: str) -> Cues:
    """Read the tiers of an ELAN file that hold words or utterances.

    Time slots without a value are spread evenly between their neighbours, as ELAN shows them.
    Words that only subdivide an utterance (no times of their own) get estimated times later.

    Raises:
        InputError: The file is cut off, not ELAN, or has no such tier.
    """
    root = _root(path, text)
    units = root.find("HEADER")
    unit = units.get("TIME_UNITS", "milliseconds") if units is not None else "milliseconds"
    if unit != "milliseconds":
        raise bad_file(
            path,
            f"times in {unit}; save it from ELAN with milliseconds",
            f"시간 단위가 {unit}입니다. ELAN에서 밀리초로 저장하십시오",
        )
    origin_s = _origin_s(root)
    slots = {slot: time + origin_s for slot, time in _slots(path, root).items()}
    tiers = _tiers(root, slots)
    notices: tuple[Notice, ...] = ()
    if origin_s:
        notices = (
            (
                f"the ELAN file says the medium starts {origin_s:.3f} s earlier; "
                "its times were shifted",
                f"ELAN 파일에 적힌 매체 시작 차이 {origin_s:.3f}초만큼 시간을 옮겼습니다",
            ),
        )
    # No language: DEFAULT_LOCALE is what the interface was set to, often 'en' in Korean files.
    return Cues(cues_of(path, tiers), "eaf", notices=notices)


def _root(path: Path, text: str) -> ET.Element:
    # The text is decoded already: the declaration may name the encoding it came in.
    declared = text.lstrip().startswith("<?xml") and "?>" in text
    try:
        root = ET.fromstring(text[text.index("?>") + 2 :] if declared else text)
    except ET.ParseError as exc:
        line, _ = exc.position
        raise bad_file(
            path,
            f"not a complete XML file (line {line}); it may be cut off: save it from ELAN again",
            f"온전한 XML 파일이 아닙니다({line}행). 잘렸을 수 있으니 ELAN에서 다시 저장하십시오",
        ) from exc
    if root.tag != "ANNOTATION_DOCUMENT":
        raise bad_file(
            path,
            f"an XML file, but not ELAN (<{root.tag}>)",
            f"XML 파일이지만 ELAN 파일이 아닙니다 (<{root.tag}>)",
        )
    return root


def _origin_s(root: ET.Element) -> float:
    """Offset of the (first) medium: its time is the annotation's time plus this."""
    medium = root.find("HEADER/MEDIA_DESCRIPTOR")
    return int(medium.get("TIME_ORIGIN", "0")) / 1000.0 if medium is not None else 0.0


def _slots(path: Path, root: ET.Element) -> dict[str, float]:
    """Time slot id -> seconds."""
    slots = list(root.iterfind("TIME_ORDER/TIME_SLOT"))
    try:
        values = {
            i: int(slot.attrib["TIME_VALUE"]) / 1000.0
            for i, slot in enumerate(slots)
            if "TIME_VALUE" in slot.attrib
        }
    except ValueError as exc:
        raise bad_file(
            path, f"a time slot is no number: {exc}", f"시간 값이 수가 아닙니다: {exc}"
        ) from exc
    if not values:
        return {}
    times = np.interp(range(len(slots)), list(values), list(values.values()))
    return {slot.get("TIME_SLOT_ID", ""): float(t) for slot, t in zip(slots, times, strict=True)}


def _tiers(root: ET.Element, slots: Mapping[str, float]) -> list[Tier]:
    """All tiers; subdivisions of an utterance become its words."""
    children = _subdivisions(root)
    tiers = []
    for tier in root.iterfind("TIER"):
        cues = tuple(_aligned(tier, slots, children))
        if cues:
            tiers.append(Tier(tier.get("TIER_ID", ""), cues, tier.get("PARTICIPANT") or None))
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
