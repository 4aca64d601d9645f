"""ELAN annotation file (.eaf), format 3.0."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from nunbit.exports.annotations import AnnotationTier, annotation_tiers
from nunbit.files import write_text
from nunbit.streams import Timeline

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_TYPE = "default-lt"
_CONSTRAINTS = {
    "Time_Subdivision": "Time subdivision of parent annotation's time interval, no time gaps "
    "allowed within this interval",
    "Symbolic_Subdivision": "Symbolic subdivision of a parent annotation. Annotations refering to "
    "the same parent are ordered",
    "Symbolic_Association": "1-1 association with a parent annotation",
    "Included_In": "Time alignable annotations within the parent annotation's time interval, gaps "
    "are allowed",
}
_MIME = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg", ".wav": "audio/x-wav", ".mp3": "audio/mpeg", ".m4a": "audio/mp4",
}  # fmt: skip
# Characters that XML 1.0 cannot hold.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def write_eaf(path: Path, timeline: Timeline) -> None:
    """Write the tiers of a timeline for ELAN; times are whole milliseconds.

    The medium is named relative to the file, so that the folder can be moved.

    Args:
        path: ``….eaf``.
        timeline: What was found.

    Raises:
        InputError: The file cannot be written.
    """
    ET.register_namespace("xsi", _XSI)
    tiers = annotation_tiers(timeline)
    root = ET.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "nunbit",
            "DATE": datetime.now(UTC).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            f"{{{_XSI}}}noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    _add_header(root, timeline, sum(len(tier.entries) for tier in tiers))
    rows = [list(_rounded(tier)) for tier in tiers]
    slots = _add_times(
        root, {time for own in rows for start, end, _ in own for time in (start, end)}
    )
    number = 0
    for tier, own in zip(tiers, rows, strict=True):
        number = _add_tier(root, tier, own, slots, number)
    ET.SubElement(
        root,
        "LINGUISTIC_TYPE",
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID=_TYPE,
        TIME_ALIGNABLE="true",
    )
    ET.SubElement(root, "LOCALE", COUNTRY_CODE="KR", LANGUAGE_CODE="ko")
    for stereotype, description in _CONSTRAINTS.items():
        ET.SubElement(root, "CONSTRAINT", DESCRIPTION=description, STEREOTYPE=stereotype)
    ET.indent(root, "    ")
    body = ET.tostring(root, encoding="unicode")
    write_text(path, f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n')


def _add_header(root: ET.Element, timeline: Timeline, annotations: int) -> None:
    header = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    stored = timeline.document.get("media", {}).get("path") or timeline.media.name
    where = PurePosixPath(str(stored).replace("\\", "/"))
    here = f"./{where.name}" if where.is_absolute() else f"./{where}"
    relative = here.removeprefix("./") if here.startswith("./../") else here
    kind = "video" if timeline.media.video is not None else "audio"
    ET.SubElement(
        header,
        "MEDIA_DESCRIPTOR",
        MEDIA_URL=f"file://{where}" if where.is_absolute() else relative,
        MIME_TYPE=_MIME.get(where.suffix.lower(), f"{kind}/*"),
        RELATIVE_MEDIA_URL=relative,
    )
    ET.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(annotations)


def _rounded(tier: AnnotationTier) -> Iterator[tuple[int, int, str]]:
    """Start and end in whole milliseconds, at least one long, not overlapping."""
    last = 0
    for interval, text in tier.entries:
        start = max(last, round(interval.start_s * 1000))
        end = max(start + 1, round(interval.end_s * 1000))
        last = end
        yield start, end, _FORBIDDEN.sub(" ", text)


def _add_times(root: ET.Element, times: set[int]) -> dict[int, str]:
    """One time slot for each time; milliseconds -> id."""
    order = ET.SubElement(root, "TIME_ORDER")
    slots = {time: f"ts{number}" for number, time in enumerate(sorted(times), start=1)}
    for time, name in slots.items():
        ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=name, TIME_VALUE=str(time))
    return slots


def _add_tier(
    root: ET.Element,
    tier: AnnotationTier,
    rows: list[tuple[int, int, str]],
    slots: dict[int, str],
    number: int,
) -> int:
    attributes = {"DEFAULT_LOCALE": "ko", "LINGUISTIC_TYPE_REF": _TYPE, "TIER_ID": tier.name}
    if tier.speaker is not None:
        attributes["PARTICIPANT"] = tier.speaker
    element = ET.SubElement(root, "TIER", attributes)
    for start, end, text in rows:
        number += 1
        annotation = ET.SubElement(
            ET.SubElement(element, "ANNOTATION"),
            "ALIGNABLE_ANNOTATION",
            ANNOTATION_ID=f"a{number}",
            TIME_SLOT_REF1=slots[start],
            TIME_SLOT_REF2=slots[end],
        )
        ET.SubElement(annotation, "ANNOTATION_VALUE").text = text
    return number
