"""The intervals that ELAN, Praat and subtitles show: speakers, speech, words, emotion, pauses.

Annotation tools want tiers without overlaps. What overlaps (two people at once, two states at
once) goes to a further layer of the tier, so that no time has to be changed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nunbit.streams import Floats, Interval, Timeline, Utterance
from nunbit.timebase import subtract_intervals

_PAUSE_S = 0.25  # signals.md #9: shorter ones are closures of consonants
_SAME_S = 0.0005  # times are written in milliseconds

_STATES = {
    "gap": "결손",
    "low_quality": "화질 낮음",
    "multiple_faces": "여러 얼굴",
    "no_face": "얼굴 없음",
    "silence": "무음",
}
_MODALITIES = ("fused", "face", "voice", "text")  # the first that has values is shown

Entry = tuple[Interval, str]


@dataclass(frozen=True, slots=True)
class AnnotationTier:
    """One tier.

    Attributes:
        name: Korean and English, after the speaker's name where there is one.
        entries: In order, not overlapping, inside the medium.
        speaker: Whose it is, or None.
    """

    name: str
    entries: tuple[Entry, ...]
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class EmotionRun:
    """A stretch in which one class had the highest value.

    Attributes:
        interval: Seconds.
        label: Id.
        name: Korean name.
        value: Mean over the stretch, 0 to 1.
        index: Whether that is the fused index; else it is a probability of one modality.
    """

    interval: Interval
    label: str
    name: str
    value: float
    index: bool = False

    @property
    def text(self) -> str:
        """What annotation tools show: ``기쁨 0.62``, or ``기쁨 0.62 (지수)`` for the index."""
        return f"{self.name} {self.value:.2f}" + (" (지수)" if self.index else "")


def annotation_tiers(timeline: Timeline) -> tuple[AnnotationTier, ...]:
    """All tiers of a timeline; speaker, emotion, pause and quality exist even when empty."""
    duration = timeline.media.duration_s
    turns = [(turn.interval, turn.speaker) for turn in timeline.turns]
    states = [
        (episode.interval, _STATES[episode.kind])
        for episode in timeline.episodes
        if episode.kind in _STATES
    ]
    runs = [(run.interval, run.text) for run in emotion_runs(timeline)]
    tiers = [
        *_layered("화자", "speaker", turns, duration),
        *_speech_tiers(timeline),
        *_layered("감정", "emotion", runs, duration),
        *_layered("휴지", "pause", [(pause, "휴지") for pause in pauses(timeline)], duration),
        *_layered("품질", "quality", states, duration),
    ]
    return tuple(tiers)


def pauses(timeline: Timeline) -> tuple[Interval, ...]:
    """Stretches of 0.25 s and more without speech inside the turns of the person analysed."""
    if timeline.voice is None:
        return ()
    turns = [turn.interval for turn in timeline.turns if turn.target]
    gaps = subtract_intervals(turns, timeline.voice.segments)
    return tuple(gap for gap in gaps if gap.duration_s >= _PAUSE_S)


def emotion_runs(timeline: Timeline) -> tuple[EmotionRun, ...]:
    """The class with the highest value over time.

    Windows overlap; each moment takes the window whose centre is nearest. The fused index is taken,
    else the probabilities of face, voice, text, whichever has values. Windows without values leave
    a gap.
    """
    found = _window_values(timeline)
    if found is None:
        return ()
    modality, labels, starts, ends, values = found
    centres = (starts + ends) / 2
    edges = np.concatenate([[starts[0]], (centres[1:] + centres[:-1]) / 2, [ends[-1]]])
    known = ~np.isnan(values).all(axis=1)
    best = np.where(known, np.nan_to_num(values, nan=-1.0).argmax(axis=1), -1)
    names = label_names(timeline)
    runs = []
    for code, rows in itertools.groupby(range(len(best)), key=lambda row: int(best[row])):
        if code < 0:
            continue
        run = list(rows)
        interval = Interval(float(edges[run[0]]), float(edges[run[-1] + 1]))
        mean = float(values[run, code].mean())
        index = modality == "fused"
        runs.append(EmotionRun(interval, labels[code], names[labels[code]], mean, index))
    return tuple(runs)


def label_names(timeline: Timeline) -> dict[str, str]:
    """Label id -> Korean name, or the id where the timeline does not say."""
    listed = timeline.document.get("label_set", {}).get("labels", [])
    known = {entry["id"]: entry.get("ko") or entry["id"] for entry in listed}
    return {label: known.get(label, label) for label in timeline.labels}


def _window_values(
    timeline: Timeline,
) -> tuple[str, tuple[str, ...], Floats, Floats, Floats] | None:
    """The modality shown, labels, window starts and ends (W,), and class values (W, K)."""
    for modality in _MODALITIES:
        blocks = {
            block.measure.removeprefix("p_"): block
            for block in timeline.blocks
            if block.scope == "window"
            and block.modality == modality
            and block.measure.startswith("p_")
            and block.track == ""
        }
        labels = tuple(label for label in timeline.labels if label in blocks)
        if not labels or not len(blocks[labels[0]].value):
            continue
        values = np.stack([blocks[label].value for label in labels], axis=1)
        if not np.isnan(values).all():
            first = blocks[labels[0]]
            return modality, labels, first.t_start, first.t_end, values
    return None


def _speech_tiers(timeline: Timeline) -> list[AnnotationTier]:
    """Utterances and words of each speaker; words lie in the layer of their utterance."""
    if timeline.transcript is None:
        return []
    by_speaker: dict[str | None, list[Utterance]] = {}
    for utterance in timeline.transcript.utterances:
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    tiers = []
    duration = timeline.media.duration_s
    for speaker, utterances in by_speaker.items():
        intervals = [utterance.interval for utterance in utterances]
        for number, rows in enumerate(_layers(intervals)):
            own = [utterances[row] for row in rows]
            spoken = [(u.interval, u.text) for u in own]
            words = [(w.interval, w.text) for u in own for w in u.words]
            for ko, en, entries in (("발화", "speech", spoken), ("단어", "words", words)):
                name = _tier_name(ko, en, number, speaker)
                tiers.append(AnnotationTier(name, _apart(entries, duration), speaker))
    return tiers


def _layered(ko: str, en: str, entries: Sequence[Entry], end_s: float) -> list[AnnotationTier]:
    layers = _layers([interval for interval, _ in entries]) or [[]]
    return [
        AnnotationTier(_tier_name(ko, en, number), _apart([entries[r] for r in rows], end_s))
        for number, rows in enumerate(layers)
    ]


def _tier_name(ko: str, en: str, layer: int, speaker: str | None = None) -> str:
    mark = "" if layer == 0 else str(layer + 1)
    name = f"{ko}{mark} {en}{mark}"
    return name if speaker is None else f"{speaker} - {name}"


def _layers(intervals: Sequence[Interval]) -> list[list[int]]:
    """Rows of the intervals, spread over as few layers as keep each free of overlaps."""
    layers: list[list[int]] = []
    for row in sorted(range(len(intervals)), key=lambda row: intervals[row]):
        free = next(
            (
                layer
                for layer in layers
                if intervals[layer[-1]].end_s <= intervals[row].start_s + _SAME_S
            ),
            None,
        )
        if free is None:
            layers.append([row])
        else:
            free.append(row)
    return layers


def _apart(entries: Iterable[Entry], end_s: float) -> tuple[Entry, ...]:
    """Entries in order, inside the medium, each cut where the next begins."""
    ordered = sorted(entries, key=lambda entry: entry[0])
    result: list[Entry] = []
    for place, (interval, text) in enumerate(ordered, start=1):
        limit = ordered[place][0].start_s if place < len(ordered) else end_s
        start, end = max(0.0, interval.start_s), min(interval.end_s, limit, end_s)
        if start < end:
            result.append((Interval(start, end), text))
    return tuple(result)
