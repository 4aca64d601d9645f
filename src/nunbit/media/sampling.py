"""A few frames and a few stretches of sound of a long file, without reading what lies between.

For a first look only: which frame comes is the file's choice, as decoding begins at key frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nunbit.media.container import GUESSED_LENGTH, Source, open_media
from nunbit.media.fields import Fields
from nunbit.media.pictures import Pictures
from nunbit.media.reading import read_media
from nunbit.reading import ReadingNote
from nunbit.streams import AudioChunk, Frame, Interval

_LATER_S = 1e-6  # the frame that was given is not given again


def sample_frames(
    path: Path,
    times_s: Sequence[float],
    *,
    max_side: int = 1280,
    noted: list[ReadingNote] | None = None,
) -> Iterator[Frame]:
    """About one frame for each time: a key frame before it, or a later one where that was given.

    Args:
        path: Any video file.
        times_s: Increasing, media clock.
        max_side: Larger pictures are shrunk to this longer side.
        noted: Gets what decoding showed of the pictures (interlacing) after the last frame; counts
            are of the frames given.

    Returns:
        Frames with increasing times, fewer than asked for where the file has fewer; none without
        video.

    Raises:
        MediaError: The file cannot be opened.
        MissingExtra: PyAV is not installed.
    """
    with open_media(path, want_audio=False) as source:
        if source.video is None:
            return
        fields = Fields(every=1)
        least_s = 0.0
        for time_s, next_s in zip(times_s, (*times_s[1:], None), strict=True):
            # A key frame further back than half a step would stand for another stretch.
            half_s = 0.0 if next_s is None else (next_s - time_s) / 2
            frame = _frame_near(source, time_s, max(least_s, time_s - half_s), max_side, fields)
            if frame is None:
                continue
            least_s = frame.time_s + _LATER_S
            yield frame
        if noted is not None:
            noted += fields.notes()


def _frame_near(
    source: Source, time_s: float, least_s: float, max_side: int, fields: Fields
) -> Frame | None:
    """The first frame at ``least_s`` or later that decoding from before ``time_s`` gives."""
    source.seek(time_s)
    # Frames before the wanted one are decoded but not converted.
    pictures = Pictures(source, rate_hz=None, start_s=least_s, max_side=max_side, fields=fields)
    for packet in source.packets():
        for frame in pictures.add(packet):
            return frame
    return next(pictures.finish(), None)


def sample_stretches(
    path: Path, stretches: Sequence[Interval], *, audio_stream: int = 0
) -> Iterator[tuple[Interval, tuple[AudioChunk, ...]]]:
    """Sound in each stretch, as far as the file has any there; chunks may begin or end outside.

    Args:
        path: Any file with sound.
        stretches: In order, not overlapping.
        audio_stream: Which sound stream, from 0.

    Raises:
        MediaError: The file cannot be opened.
        InputError: It has no such sound stream.
        MissingExtra: PyAV is not installed.
    """
    with open_media(path, audio_stream=audio_stream, want_video=False) as source:
        whole = source.container.format.name in GUESSED_LENGTH  # seeking would only guess, too
    if whole:
        yield from _in_one_pass(path, stretches, audio_stream)
        return
    for stretch in stretches:
        chunks = []
        for item in read_media(
            path, start_s=stretch.start_s, want_video=False, audio_stream=audio_stream
        ):
            if isinstance(item, AudioChunk):
                if item.start_s >= stretch.end_s:
                    break
                chunks.append(item)
        yield stretch, tuple(chunks)


def _in_one_pass(
    path: Path, stretches: Sequence[Interval], audio_stream: int
) -> Iterator[tuple[Interval, tuple[AudioChunk, ...]]]:
    left = list(stretches)
    chunks: list[AudioChunk] = []
    for item in read_media(path, want_video=False, audio_stream=audio_stream):
        if not left:
            return
        if not isinstance(item, AudioChunk):
            continue
        if item.start_s >= left[0].end_s:
            yield left.pop(0), tuple(chunks)
            chunks = []
        elif item.start_s >= left[0].start_s:
            chunks.append(item)
    for stretch in left:
        yield stretch, tuple(chunks)
        chunks = []
