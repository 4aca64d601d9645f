"""A timeline as intervals for other tools: ELAN, Praat's TextGrid, WebVTT subtitles.

Annotation tools want tiers without overlaps. Overlapping annotations (two people or two states at
once) go to a further layer of the tier, so that no time has to change.
"""

from __future__ import annotations

import html
import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import numpy as np

from nunbit.core.spans import lists_by_key
from nunbit.core.streams import MODALITIES, Floats, Interval, Timeline, Utterance
from nunbit.core.timebase import stamp
from nunbit.measures.voice_measures import pauses_in
from nunbit.runtime.files import write_text

# --- tiers ---------------------------------------------------------------------------------------

_WRITTEN_S = 0.0005  # half of the milliseconds that times are written in

_STATES = {
    "gap": "결손",
    "low_quality": "화질 낮음",
    "mouth_covered": "입 가림",
    "multiple_faces": "여러 얼굴",
    "no_face": "얼굴 없음",
    "silence": "무음",
}
_SHOWN = ("fused", *MODALITIES)  # the first that has values is shown

Entry = tuple[Interval, str]


@dataclass(frozen=True, slots=True)
class AnnotationTier:
    """One tier.

    Attributes:
        name: Korean and English, after the speaker's name where there is one.
        entries: In order, not overlapping, inside the medium.
        speaker: Its speaker, or None.
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
        """Text for annotation tools: ``기쁨 0.62``, or ``기쁨 0.62 (지수)`` for the index."""
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
    silent = [(pause, "휴지") for pause in pauses(timeline)]
    return (
        *_layered("화자", "speaker", turns, duration),
        *_speech_tiers(timeline),
        *_layered("감정", "emotion", runs, duration),
        *_layered("휴지", "pause", silent, duration),
        *_layered("품질", "quality", states, duration),
    )


def pauses(timeline: Timeline) -> tuple[Interval, ...]:
    """Pauses of the person analysed, as the measures count them (``voice_measures.pauses_in``)."""
    return pauses_in(timeline.voice, timeline.turns) if timeline.voice else ()


def emotion_runs(timeline: Timeline) -> tuple[EmotionRun, ...]:
    """Stretches of the class with the highest value.

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
    stretches = itertools.groupby(range(len(best)), key=lambda row: int(best[row]))
    return tuple(
        EmotionRun(
            Interval(float(edges[run[0]]), float(edges[run[-1] + 1])),
            labels[code],
            timeline.names.get(labels[code]) or labels[code],
            float(values[run, code].mean()),
            modality == "fused",
        )
        for code, run in ((code, list(rows)) for code, rows in stretches)
        if code >= 0
    )


def _window_values(
    timeline: Timeline,
) -> tuple[str, tuple[str, ...], Floats, Floats, Floats] | None:
    """The modality shown, labels, window starts and ends (W,), and class values (W, K)."""
    for modality in _SHOWN:
        blocks = {
            block.measure.removeprefix("p_"): block
            for block in timeline.blocks
            if block.scope == "window"
            and block.modality == modality
            and block.measure.startswith("p_")
            and block.track == ""
        }
        labels = tuple(label for label in timeline.labels if label in blocks)
        if any(not np.isnan(blocks[label].value).all() for label in labels):
            values = np.stack([blocks[label].value for label in labels], axis=1)
            first = blocks[labels[0]]
            return modality, labels, first.t_start, first.t_end, values
    return None


def _speech_tiers(timeline: Timeline) -> Iterator[AnnotationTier]:
    """Utterances and words of each speaker; words lie in the layer of their utterance."""
    said = timeline.transcript.utterances if timeline.transcript else ()
    for speaker, utterances in lists_by_key((u.speaker, u) for u in said).items():
        for number, rows in enumerate(_layers([u.interval for u in utterances])):
            own = [utterances[row] for row in rows]
            spoken = [(u.interval, u.text) for u in own]
            words = [(w.interval, w.text) for u in own for w in u.words]
            for ko, en, entries in (("발화", "speech", spoken), ("단어", "words", words)):
                name = _tier_name(ko, en, number, speaker)
                yield AnnotationTier(name, _apart(entries, timeline.media.duration_s), speaker)


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
        latest = intervals[row].start_s + _WRITTEN_S
        free = (layer for layer in layers if intervals[layer[-1]].end_s <= latest)
        if (layer := next(free, None)) is not None:
            layer.append(row)
        else:
            layers.append([row])
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


# --- Praat: TextGrid, long text form, UTF-8 ---


def write_textgrid(path: Path, timeline: Timeline) -> None:
    """Write the tiers of a timeline for Praat.

    Praat wants every tier filled from beginning to end: stretches without an annotation are
    intervals with empty text.

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
    yield from (
        f"    item [{number}]:",
        '        class = "IntervalTier" ',
        f"        name = {_quoted(tier.name)} ",
        "        xmin = 0 ",
        f"        xmax = {_number(end_s)} ",
        f"        intervals: size = {len(intervals)} ",
    )
    for index, (start, end, text) in enumerate(intervals, start=1):
        yield from (
            f"        intervals [{index}]:",
            f"            xmin = {start} ",
            f"            xmax = {end} ",
            f"            text = {_quoted(text)} ",
        )


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


# --- WebVTT: what was said, by whom, and the class with the highest value below it ---


def write_vtt(path: Path, timeline: Timeline) -> None:
    """Write subtitles: one cue for each utterance, with its voice and measured word times.

    The second line, in class ``emotion``, is the class that lasted longest under the utterance; it
    is an estimate of the apparent expression. Without a transcript the cues are the stretches of
    one class; '(지수)' marks a value of the fused index, which is no probability.

    Raises:
        InputError: The file cannot be written.
    """
    runs, transcript = emotion_runs(timeline), timeline.transcript
    language = transcript.language if transcript else None
    header = f"WEBVTT\nLanguage: {language}" if language else "WEBVTT"
    cues = [_spoken(utterance, runs) for utterance in transcript.utterances] if transcript else []
    marked = [f"{_times(run.interval)}\n{_marked(run)}" for run in runs]
    write_text(path, "\n\n".join([header, *(cues or marked)]) + "\n")


def _spoken(utterance: Utterance, runs: Sequence[EmotionRun]) -> str:
    interval = utterance.interval
    speaker = "" if utterance.speaker is None else f"<v {_escaped(utterance.speaker)}>"
    lines = [_times(interval), speaker + "".join(_timed(utterance))]
    longest = max(runs, key=lambda run: run.interval.overlap_s(interval), default=None)
    if longest is not None and longest.interval.overlap_s(interval) > 0:
        lines.append(_marked(longest))
    return "\n".join(lines)


def _timed(utterance: Utterance) -> Iterator[str]:
    """The text; where words were timed, each with the time at which it begins."""
    measured = utterance.words if not any(word.estimated for word in utterance.words) else ()
    yield _escaped(measured[0].text if measured else utterance.text)
    for word in measured[1:]:
        yield f"<{stamp(word.interval.start_s)}><c> {_escaped(word.text)}</c>"


def _marked(run: EmotionRun) -> str:
    return f"<c.emotion>[{_escaped(run.text)}]</c>"


def _times(interval: Interval) -> str:
    start, end = round(interval.start_s * 1000), round(interval.end_s * 1000)
    return f"{stamp(start / 1000)} --> {stamp(max(end, start + 1) / 1000)}"


def _escaped(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False)


# --- ELAN: annotation file (.eaf), format 3.0 ---

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


def write_eaf(path: Path, timeline: Timeline, more: Sequence[AnnotationTier] = ()) -> None:
    """Write the tiers of a timeline for ELAN; times are whole milliseconds.

    The medium is named relative to the file, so that the folder can be moved.

    Raises:
        InputError: The file cannot be written.
    """
    ET.register_namespace("xsi", _XSI)
    tiers = (*annotation_tiers(timeline), *more)
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
    rows = [list(_rounded(tier)) for tier in tiers]
    _add_header(root, timeline, sum(map(len, rows)))
    times = sorted({time for own in rows for start, end, _ in own for time in (start, end)})
    slots = {time: f"ts{number}" for number, time in enumerate(times, start=1)}
    order = ET.SubElement(root, "TIME_ORDER")
    for time, name in slots.items():
        ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=name, TIME_VALUE=str(time))
    ids = (f"a{number}" for number in itertools.count(1))
    for tier, own in zip(tiers, rows, strict=True):
        _add_tier(root, tier, [(next(ids), slots[a], slots[b], text) for a, b, text in own])
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": _TYPE, "TIME_ALIGNABLE": "true"}
    ET.SubElement(root, "LINGUISTIC_TYPE", kind)
    ET.SubElement(root, "LOCALE", COUNTRY_CODE="KR", LANGUAGE_CODE="ko")
    for stereotype, description in _CONSTRAINTS.items():
        ET.SubElement(root, "CONSTRAINT", DESCRIPTION=description, STEREOTYPE=stereotype)
    ET.indent(root, "    ")
    body = ET.tostring(root, encoding="unicode")
    write_text(path, f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n')


def _add_header(root: ET.Element, timeline: Timeline, annotations: int) -> None:
    header = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    where = PurePosixPath((timeline.path or timeline.media.name).replace("\\", "/"))
    here = where.name if where.is_absolute() else str(where)
    relative = here if here.startswith("../") else f"./{here}"
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
        last = max(start + 1, round(interval.end_s * 1000))
        yield start, last, _FORBIDDEN.sub(" ", text)


def _add_tier(
    root: ET.Element, tier: AnnotationTier, rows: Iterable[tuple[str, str, str, str]]
) -> None:
    """Add a tier; rows are id, both time slots and text."""
    who = {} if tier.speaker is None else {"PARTICIPANT": tier.speaker}
    element = ET.SubElement(
        root,
        "TIER",
        {"DEFAULT_LOCALE": "ko", "LINGUISTIC_TYPE_REF": _TYPE, "TIER_ID": tier.name, **who},
    )
    for name, start, end, text in rows:
        annotation = ET.SubElement(
            ET.SubElement(element, "ANNOTATION"),
            "ALIGNABLE_ANNOTATION",
            {"ANNOTATION_ID": name, "TIME_SLOT_REF1": start, "TIME_SLOT_REF2": end},
        )
        ET.SubElement(annotation, "ANNOTATION_VALUE").text = text
