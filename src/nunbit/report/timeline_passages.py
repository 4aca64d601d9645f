"""Passages that a reader of the recording should see: wording of wanting to die or of self-harm.

Found anew whenever the page is rendered, from the words beside it; kept nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from nunbit.measures.wording import find_passage_groups
from nunbit.report.timeline_data import Words
from nunbit.report.timeline_view import TimelineView
from nunbit.streams import Interval, Utterance, Word
from nunbit.timebase import clock


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage.

    Attributes:
        at: Where it begins, seconds, as the page's links have it.
        time: The same as people read it.
        speaker: '' where nobody is named.
        text: What is written there.
    """

    at: str
    time: str
    speaker: str
    text: str


def passages(view: TimelineView) -> list[Passage]:
    """The passages of a recording, in order; none without words."""
    words = view.r.words
    if words is None:
        return []
    utterances = _utterances(words)
    found = []
    for group in find_passage_groups(utterances):
        said = [utterances[i] for i in group]
        start = said[0].interval.start_s
        found.append(
            Passage(
                f"{start:.3f}",
                clock(start, tenths=True),
                said[0].speaker or "",
                " ".join(u.text for u in said),
            )
        )
    return sorted(found, key=lambda passage: float(passage.at))


def _utterances(words: Words) -> list[Utterance]:
    rows: dict[int, list[int]] = {}
    for row, number in enumerate(words.utterance.tolist()):
        rows.setdefault(number if number >= 0 else -2 - row, []).append(row)
    utterances = []
    for members in rows.values():
        spoken = tuple(
            Word(
                # Times of words may be equal where a source rounds them.
                Interval(
                    float(words.start_s[i]), max(float(words.end_s[i]), words.start_s[i] + 1e-3)
                ),
                words.text[i],
                filler=bool(words.filler[i]),
            )
            for i in members
        )
        whole = Interval(spoken[0].interval.start_s, max(w.interval.end_s for w in spoken))
        speaker = words.speaker[members[0]] or None
        utterances.append(Utterance(whole, " ".join(w.text for w in spoken), speaker, words=spoken))
    return utterances
