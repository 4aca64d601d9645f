"""Praat TextGrid, long text form, UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nunbit.exports.annotations import AnnotationTier, annotation_tiers
from nunbit.files import write_text
from nunbit.streams import Timeline


def write_textgrid(path: Path, timeline: Timeline) -> None:
    """Write the tiers of a timeline for Praat.

    Praat wants every tier filled from beginning to end: stretches without an annotation are
    intervals with empty text.

    Args:
        path: ``….TextGrid``.
        timeline: What was found.

    Raises:
        InputError: The file cannot be written.
    """
    end_s = timeline.media.duration_s
    tiers = annotation_tiers(timeline)
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0 ",
        f"xmax = {_number(end_s)} ",
        "tiers? <exists> ",
        f"size = {len(tiers)} ",
        "item []: ",
    ]
    for number, tier in enumerate(tiers, start=1):
        lines += _tier_lines(number, tier, end_s)
    write_text(path, "\n".join(lines) + "\n")


def _tier_lines(number: int, tier: AnnotationTier, end_s: float) -> Iterator[str]:
    intervals = list(_contiguous(tier, end_s))
    yield f"    item [{number}]:"
    yield '        class = "IntervalTier" '
    yield f"        name = {_quoted(tier.name)} "
    yield "        xmin = 0 "
    yield f"        xmax = {_number(end_s)} "
    yield f"        intervals: size = {len(intervals)} "
    for index, (start, end, text) in enumerate(intervals, start=1):
        yield f"        intervals [{index}]:"
        yield f"            xmin = {start} "
        yield f"            xmax = {end} "
        yield f"            text = {_quoted(text)} "


def _contiguous(tier: AnnotationTier, end_s: float) -> Iterator[tuple[str, str, str]]:
    """Intervals from 0 to the end without gaps; edges compared as they will be written."""
    last = _number(0.0)
    for interval, text in tier.entries:
        start, end = _number(interval.start_s), _number(interval.end_s)
        if float(start) > float(last):
            yield last, start, ""
        if float(end) > max(float(start), float(last)):
            yield max(last, start, key=float), end, text
            last = end
    if float(last) < float(_number(end_s)):
        yield last, _number(end_s), ""


def _number(seconds: float) -> str:
    """Microseconds are kept; 1.500000 is written 1.5."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    return '"' + " ".join(text.split()).replace('"', '""') + '"'
