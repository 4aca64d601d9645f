"""Measures as tiers for ELAN (``--export eaf:valence,pitch``), a value for every step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from nunbit.core.messages import SettingsError, Text
from nunbit.core.streams import MODALITIES, Interval, MeasureBlock, Timeline
from nunbit.measures.definitions import definition_of, definitions
from nunbit.report.annotations import AnnotationTier

SHORT = {
    "valence": "valence",
    "disagreement": "incongruence",
    "pitch": "f0_median",
    "level": "level_sd",
    "expressivity": "expressivity",
    "speech": "speech_share",
}
"""Short name of a measure on the command line -> its id; ids and ``face.p_joy`` work as well."""

FORMATS = ("eaf", "textgrid", "vtt", "csv", "openface")
_SOURCES = (*MODALITIES, "fused", "media")


def parse_export(given: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Formats, and measures that become tiers, of ``eaf:valence,pitch,csv``.

    What follows ``eaf:`` and is no format is a measure.

    Raises:
        SettingsError: There is no such measure.
    """
    formats: list[str] = []
    measures: list[str] = []
    in_tiers = False
    for item in filter(None, (part.strip() for part in given.split(","))):
        name, colon, first = item.partition(":")
        if colon and name == "eaf":
            formats.append(name)
            in_tiers, item = True, first.strip()
            if item:
                measures.append(item)
        elif in_tiers and item not in FORMATS:
            measures.append(item)
        else:
            formats.append(item)
    check_tiers(measures)
    return tuple(dict.fromkeys(formats)), tuple(dict.fromkeys(measures))


def check_tiers(measures: Iterable[str]) -> None:
    """Refuse names that no measure has.

    Raises:
        SettingsError: There is no such measure.
    """
    for name in measures:
        source, _, rest = name.rpartition(".")
        known = rest in SHORT or rest.startswith("p_") or definition_of(rest) is not None
        if not known or (source and source not in _SOURCES):
            some = ", ".join([*SHORT, "face.p_joy", *(d.id for d in definitions()[:3])])
            raise SettingsError(
                Text(
                    f"--export eaf:{name}: no such measure; for example {some} (all: `nunbit "
                    "measures`)",
                    f"--export eaf:{name}: 그런 측정값이 없습니다. 예: {some}(모두: `nunbit "
                    "measures`)",
                )
            )


def measure_tiers(timeline: Timeline, measures: Sequence[str]) -> tuple[AnnotationTier, ...]:
    """One tier a measure and source, of the person analysed.

    Windows overlap and tiers may not: the value of a window stands from half a step before its
    centre to half a step after it. A missing value leaves a gap. A measure without any value has
    an empty tier, so that nobody looks for it in vain.

    Args:
        timeline: With its window blocks.
        measures: As :func:`parse_export` gives them.
    """
    found: list[AnnotationTier] = []
    for name in measures:
        source, _, short = name.rpartition(".")
        wanted = SHORT.get(short, short)
        blocks = [
            b
            for b in timeline.blocks
            if b.scope == "window" and not b.track and b.measure == wanted
            and source in ("", b.modality)
        ]  # fmt: skip
        found += [_tier(b, timeline.media.duration_s) for b in blocks]
        if not blocks:
            found.append(AnnotationTier(name, ()))
    return tuple(found)


def _tier(block: MeasureBlock, end_s: float) -> AnnotationTier:
    unit = f" [{block.unit}]" if block.unit else ""
    return AnnotationTier(f"{block.modality}.{block.measure}{unit}", tuple(_values(block, end_s)))


def _values(block: MeasureBlock, end_s: float) -> Iterator[tuple[Interval, str]]:
    centres = (block.t_start + block.t_end) / 2
    if not len(centres):
        return
    edges = np.concatenate([[block.t_start[0]], (centres[1:] + centres[:-1]) / 2, [end_s]])
    for start, end, value in zip(edges[:-1], edges[1:], block.value, strict=True):
        if np.isfinite(value) and start < end:
            yield Interval(float(start), float(end)), f"{value:.3g}"
