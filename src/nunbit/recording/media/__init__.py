"""Read video and sound files in one pass, as frames and samples on the media clock.

``container`` opens a file or reports why it cannot, ``frames`` selects and turns pictures,
``sound`` makes 16 kHz mono samples without drift, ``decoder`` joins them. The clock's zero is the
earliest start of any picture or sound stream of the file, whichever of them are read, which is also
what a browser's video element counts from. Knows nothing of faces, voices or timelines; memory does
not grow with the length of the file.
"""

from nunbit.recording.media.container import copy_without
from nunbit.recording.media.decoder import (
    iter_audio,
    iter_frames,
    probe_media,
    read_media,
    sample_sound,
)
from nunbit.recording.media.levels import SoundFacts, SoundMeter, channel_notes, level_notes

__all__ = [
    "SoundFacts",
    "SoundMeter",
    "channel_notes",
    "copy_without",
    "iter_audio",
    "iter_frames",
    "level_notes",
    "probe_media",
    "read_media",
    "sample_sound",
]
