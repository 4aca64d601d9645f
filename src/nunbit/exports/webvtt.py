"""WebVTT subtitles: what was said, by whom, and the class with the highest value below it."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path

from nunbit.exports.annotations import EmotionRun, emotion_runs
from nunbit.files import write_text
from nunbit.streams import Timeline, Utterance


def write_vtt(path: Path, timeline: Timeline) -> None:
    """Write subtitles: one cue for each utterance, with its voice and measured word times.

    The second line, in class ``emotion``, is the class that lasted longest under the utterance; it
    is an estimate of the apparent expression. Without a transcript the cues are the stretches of
    one class; '(지수)' marks a value of the fused index, which is no probability.

    Args:
        path: ``….vtt``.
        timeline: What was found.

    Raises:
        InputError: The file cannot be written.
    """
    runs = emotion_runs(timeline)
    transcript = timeline.transcript
    header = "WEBVTT"
    if transcript is not None and transcript.language:
        header += f"\nLanguage: {transcript.language}"
    if transcript is not None and transcript.utterances:
        cues = [_spoken(utterance, runs) for utterance in transcript.utterances]
    else:
        cues = [
            f"{_times(run.interval.start_s, run.interval.end_s)}\n{_marked(run)}" for run in runs
        ]
    write_text(path, "\n\n".join([header, *cues]) + "\n")


def _spoken(utterance: Utterance, runs: Sequence[EmotionRun]) -> str:
    interval = utterance.interval
    speaker = "" if utterance.speaker is None else f"<v {_escaped(utterance.speaker)}>"
    lines = [_times(interval.start_s, interval.end_s), speaker + "".join(_words(utterance))]
    longest = max(runs, key=lambda run: run.interval.overlap_s(interval), default=None)
    if longest is not None and longest.interval.overlap_s(interval) > 0:
        lines.append(_marked(longest))
    return "\n".join(lines)


def _words(utterance: Utterance) -> Iterator[str]:
    """The text; where words were timed, each with the time at which it begins."""
    if not utterance.words or any(word.estimated for word in utterance.words):
        yield _escaped(utterance.text)
        return
    for number, word in enumerate(utterance.words):
        if number == 0:
            yield _escaped(word.text)
        else:
            yield f"<{_clock(word.interval.start_s)}><c> {_escaped(word.text)}</c>"


def _marked(run: EmotionRun) -> str:
    return f"<c.emotion>[{_escaped(run.text)}]</c>"


def _times(start_s: float, end_s: float) -> str:
    start, end = round(start_s * 1000), round(end_s * 1000)
    return f"{_clock(start / 1000)} --> {_clock(max(end, start + 1) / 1000)}"


def _clock(seconds: float) -> str:
    total_ms = round(seconds * 1000)
    minutes, ms = divmod(total_ms, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{ms // 1000:02d}.{ms % 1000:03d}"


def _escaped(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False)
