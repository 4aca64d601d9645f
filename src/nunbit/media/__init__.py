"""Video and sound files as frames and samples on the media clock, read in one pass.

``container`` opens a file and says why when that cannot be, ``pictures`` picks and turns frames,
``sound`` makes 16 kHz mono samples without drift, ``reading`` joins them. The clock's zero is the
earliest start of any picture or sound stream of the file, whichever of them are read, which is
also what a browser's video element counts from. Knows nothing of faces, voices or timelines;
memory does not grow with the length of the file.
"""

from nunbit.media.levels import SoundFacts, SoundMeter, channel_notes, level_notes, sound_notes
from nunbit.media.reading import iter_audio, iter_frames, probe_media, read_media, sample_sound

__all__ = [
    "SoundFacts",
    "SoundMeter",
    "channel_notes",
    "iter_audio",
    "iter_frames",
    "level_notes",
    "probe_media",
    "read_media",
    "sample_sound",
    "sound_notes",
]
