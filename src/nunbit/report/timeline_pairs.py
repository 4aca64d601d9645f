"""Lines of disagreement between two sources, and by which definition they were made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from nunbit.report.timeline_data import Recording, Series

if TYPE_CHECKING:
    from nunbit.report.timeline_view import TimelineView

_BITS = {"face": 1, "voice": 2, "text": 4}  # of the column modalities_used


def disagreements(view: TimelineView) -> dict[str, Series]:
    """Disagreement by its line: a pair of sources, or the mean of the pairs."""
    found = {
        measure: series
        for (_, measure, track), series in sorted(view.r.series.items())
        if measure.startswith("incongruence")
        and not (track or measure.endswith("_signed") or "." in measure)
        and series.there.any()
    }
    # The mean over the pairs says nothing new where there is one pair only.
    if len(found) == 2:
        found.pop("incongruence", None)
    names = {}
    for measure, series in found.items():
        pair = "–".join(view.t(f"modality.{name}") for name in measure.split("_")[1:])
        names[pair or view.t("track.agreement_mean")] = series
    return names


def by_first_definition(series: Iterable[Series]) -> bool:
    """Whether all are of version 1: the mean of the sources, differences with the models' bias."""
    return all(s.version == "1" for s in series)


def sources_used(recording: Recording) -> tuple[str, ...]:
    """Sources that took part in what is fused, in any window; () where no file says so.

    A source can have class probabilities and take no part: its model is experimental.
    """
    used = recording.find("fused", "modalities_used")
    if used is None:
        return ()
    bits = np.bitwise_or.reduce(used.value[used.there].astype(np.int64))
    return tuple(name for name, bit in _BITS.items() if bits & bit)


def fusion_sentences(view: TimelineView) -> list[str]:
    """How to read what is put together of several sources, and where they differ."""
    found = []
    if fused := view.probabilities("fused"):
        old = by_first_definition(fused.values())
        found.append(view.t("method.together_1" if old else "method.together"))
    elif len(view.fused_sources) == 1:
        found.append(view.t("method.single", name=view.t(f"modality.{view.fused_sources[0]}")))
    if pairs := disagreements(view):
        old = by_first_definition(pairs.values())
        found.append(view.t("method.disagreement_1" if old else "method.disagreement"))
    return found
