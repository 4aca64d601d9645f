"""Colours and order of the classes, and how the sources of a timeline were joined.

Colours are the same in every report and figure and also differ in lightness, for colour-blind
readers. A class has the same colour in all label sets (fear and anxiety share one, and so do
surprise and flustered: no set has both).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nunbit.language.labels import DEPRESSION_RELATED, Label, LabelSet
from nunbit.measures.definitions import SUFFIXES
from nunbit.report.timeline_data import Recording, Series

if TYPE_CHECKING:
    from nunbit.report.timeline_view import TimelineView


# id -> (on white, on black)
_CLASSES = {
    "joy": ("#e9a820", "#f0bd4b"),
    "flustered": ("#9a7bc8", "#b49ae0"),
    "surprise": ("#9a7bc8", "#b49ae0"),
    "anger": ("#c5452f", "#e2694f"),
    "disgust": ("#7c8a2e", "#a5b256"),
    "anxiety": ("#23978c", "#45b8ac"),
    "fear": ("#23978c", "#45b8ac"),
    "hurt": ("#d07ca6", "#e095bb"),
    "sadness": ("#2a63a8", "#5f96dc"),
    "distress": ("#2a63a8", "#5f96dc"),
    "neutral": ("#ccd4dc", "#4a5663"),
    "other": ("#ccd4dc", "#4a5663"),
}
_OTHERS = (
    ("#5d8a52", "#83b277"), ("#a0693a", "#c68f5f"), ("#6a6fb5", "#9298d8"),
    ("#b0587f", "#d3809f"), ("#4f98b8", "#79bdd9"), ("#8a8172", "#b0a898"),
)  # fmt: skip

MODALITY_COLOURS = {
    "fused": ("#1b2530", "#e7ecf1"),
    "face": ("#1f5f9e", "#79b4ee"),
    "voice": ("#b55a00", "#eea25b"),
    "text": ("#4d7d3a", "#8cc276"),
}


def class_colours(label_set: LabelSet) -> dict[str, tuple[str, str]]:
    """Colour of every class on a light and on a dark page."""
    unknown = [label for label in label_set.ids if label not in _CLASSES]
    given = {label: _OTHERS[i % len(_OTHERS)] for i, label in enumerate(unknown)}
    return {label: _CLASSES.get(label) or given[label] for label in label_set.ids}


def stacking_order(label_set: LabelSet, shown: Sequence[str]) -> tuple[str, ...]:
    """Classes from the bottom of a ribbon to its top.

    The depression-related group and the other negative ones grow from below, the positive ones
    hang from above, so that both edges of the ribbon can be read.
    """
    group = label_set.groups.get(DEPRESSION_RELATED)
    members = group.labels if group else ()

    def rank(label: Label) -> tuple[int, int]:
        if label.id in members:
            return 0, members.index(label.id)
        if label.id in ("neutral", "other") and label.valence >= 0:
            return 2, 0
        return {-1: 1, 0: 3, 1: 4}[int(np.sign(label.valence))], 0

    kept = [label for label in label_set.labels if label.id in shown]
    return tuple(label.id for label in sorted(kept, key=rank))


# --- measures and pairs of sources ---

_BITS = {"face": 1, "voice": 2, "text": 4}  # of the column modalities_used


def parts_of(measure: str) -> tuple[str, str, str]:
    """Split a name in a table into base, part of the session and functional.

    ``expressivity_speaking`` gives ("expressivity", "speaking", ""), ``head_speed.sd`` gives
    ("head_speed", "", "sd").
    """
    name, _, functional = measure.partition(".")
    for suffix in reversed(SUFFIXES):  # the longer one first
        if name.endswith(suffix):
            return name.removesuffix(suffix), suffix.removeprefix("_"), functional
    return name, "", functional


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
    mean = view.t("track.agreement_mean")
    return {view.pair(m.split("_")[1:]) or mean: series for m, series in found.items()}


def of_definition(series: Iterable[Series]) -> str:
    """Ending of a text's key: ``_1`` if all blocks have version 1, else none.

    By that version the fused value was the mean of the sources, and differences had the models'
    bias.
    """
    return "_1" if all(s.version == "1" for s in series) else ""


def sources_used(recording: Recording) -> tuple[str, ...]:
    """Sources that took part in the fused index in any window; () if no file states it.

    A source can have class probabilities and take no part: its model is experimental.
    """
    used = recording.find("fused", "modalities_used")
    if used is None:
        return ()
    bits = np.bitwise_or.reduce(used.value[used.there].astype(np.int64))
    return tuple(name for name, bit in _BITS.items() if bits & bit)


def fusion_sentences(view: TimelineView) -> Iterator[str]:
    """Sentences on how to read the fused index and the disagreement."""
    fused, pairs = view.probabilities("fused").values(), disagreements(view).values()
    if fused:
        yield view.t("method.together" + of_definition(fused))
    elif len(view.fused_sources) == 1:
        yield view.t("method.single", name=view.t(f"modality.{view.fused_sources[0]}"))
    if pairs:
        yield view.t("method.disagreement" + of_definition(pairs))
