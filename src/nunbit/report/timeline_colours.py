"""Colours and order of the classes, the same in every report and figure.

Told apart by lightness too, for readers who see fewer colours; a class keeps its colour across
label sets (fear and anxiety, surprise and flustered share one: no set has both).
"""

from __future__ import annotations

from collections.abc import Sequence

from nunbit.labels import DEPRESSION_RELATED, Label, LabelSet

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

MODALITIES = {
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
        if label.valence < 0:
            return 1, 0
        if label.id in ("neutral", "other"):
            return 2, 0
        return (3 if label.valence == 0 else 4), 0

    kept = [label for label in label_set.labels if label.id in shown]
    return tuple(label.id for label in sorted(kept, key=rank))
